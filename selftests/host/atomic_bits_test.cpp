// SPDX-License-Identifier: MIT
//
// AtomicBits: how many words a search reads, borders of levels, a model, torn summaries.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../module/core/slots/atomic_bits.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

struct Counter {
    static inline u64 reads = 0;
    static inline u64 races = 0;
    static void read() { ++reads; }
    static void raced() { ++races; }
};

template <typename Bits>
void expect_clean(const Bits& bits) {
    Audit audit;
    bits.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
}

// ---- search ----

TEST(AtomicBits, AtMostFourWordsAreReadAtAMillionLive) {
    constexpr u32 kSlots = 1'050'000, kLive = 1'000'000;
    std::vector<u64> words(AtomicBits<>::words_for(kSlots));
    AtomicBits<Counter> bits;
    ASSERT_EQ(bits.init(words.data(), kSlots), Error::none);
    std::vector<u32> live;
    std::mt19937 random(1);
    u64 most = 0;
    auto take = [&](u32 near) {
        Counter::reads = 0;
        const auto slot = bits.take(near);
        ASSERT_TRUE(slot);
        most = std::max(most, Counter::reads);
        live.push_back(*slot);
    };
    while (live.size() < kLive) take(live.size() % 2 ? random() % kSlots : 0);
    for (u32 i = 0; i < 300'000; ++i) {
        const u32 n = random() % live.size();
        ASSERT_EQ(bits.give(live[n]), Error::none);
        live[n] = live.back();
        live.pop_back();
        take(i % 3 ? random() % kSlots : 0);
    }
    EXPECT_EQ(most, 4u);
    while (live.size() < kSlots) take(random() % kSlots);
    EXPECT_EQ(bits.take().error(), Error::pool_full);
    EXPECT_EQ(bits.count(), kSlots);
    EXPECT_EQ(Counter::races, 0u);
    expect_clean(bits);
    // The last free slot of all is found in four words, wherever it is.
    for (u32 i = 0; i < 1000; ++i) {
        const u32 slot = random() % kSlots;
        ASSERT_EQ(bits.give(slot), Error::none);
        Counter::reads = 0;
        ASSERT_EQ(*bits.take(random() % kSlots), slot);
        ASSERT_LE(Counter::reads, 4u);
    }
    expect_clean(bits);
}
TEST(AtomicBits, AHintNamesASlotAndTheSlotIsTaken) {
    for (const u32 slots : {1u, 63u, 64u, 65u, 4096u, 4097u, 300'000u}) {
        std::vector<u64> words(AtomicBits<>::words_for(slots));
        AtomicBits<> bits;
        ASSERT_EQ(bits.init(words.data(), slots), Error::none);
        for (u32 slot = 0; slot < slots; slot += 1 + slots / 100) {
            EXPECT_EQ(*bits.take(slot), slot);
            EXPECT_EQ(bits.take_this(slot), Error::busy);
            EXPECT_EQ(bits.give(slot), Error::none);
            EXPECT_EQ(bits.take_this(slot), Error::none);
        }
        EXPECT_EQ(bits.take_this(slots), Error::out_of_range);
        EXPECT_EQ(bits.give(slots), Error::out_of_range);
        expect_clean(bits);
    }
}
TEST(AtomicBits, TheNumberOfSlotsIsExactAroundEachLevelsBorder) {
    for (const u32 slots : {1u, 2u, 63u, 64u, 65u, 127u, 128u, 129u, 4095u, 4096u, 4097u, 262'143u,
                            262'144u, 262'145u}) {
        std::vector<u64> words(AtomicBits<>::words_for(slots), 0x5555);
        AtomicBits<> bits;
        ASSERT_EQ(bits.init(words.data(), slots), Error::none);
        EXPECT_EQ(bits.count(), 0u);
        for (u32 n = 0; n < slots; ++n) ASSERT_EQ(*bits.take(), n);
        EXPECT_EQ(bits.take().error(), Error::pool_full);
        expect_clean(bits);
        u32 next = 0;
        bits.for_each([&](u32 slot) { EXPECT_EQ(slot, next++); });
        EXPECT_EQ(next, slots);
        for (u32 n = slots; n-- > 0;) ASSERT_EQ(bits.give(n), Error::none);
        expect_clean(bits);
    }
    AtomicBits<> bits;
    u64 word;
    EXPECT_EQ(bits.init(&word, 0), Error::invalid);
    EXPECT_EQ(bits.init(&word, (u64{1} << 30) + 1), Error::too_large);
}

// ---- models ----

TEST(AtomicBits, AModelAgreesAfterEveryStepWithTheAuditClean) {
    for (const u32 slots : {1u, 5u, 64u, 130u, 4200u}) {
        std::vector<u64> words(AtomicBits<>::words_for(slots));
        AtomicBits<> bits;
        ASSERT_EQ(bits.init(words.data(), slots), Error::none);
        std::set<u32> model;
        std::mt19937 random(slots);
        for (u32 step = 0; step < 20000; ++step) {
            const u32 slot = random() % (slots + 1);
            // Long runs towards full and towards empty.
            if (random() % 8 < (step / (2 * slots + 50) % 2 ? 6u : 2u)) {
                const auto got = bits.take(slot);
                ASSERT_EQ(bool{got}, model.size() < slots);
                if (got) {
                    ASSERT_TRUE(model.insert(*got).second);
                    if (slot < slots && !model.count(slot)) { ASSERT_EQ(*got / 64, slot / 64); }
                }
            } else {
                const Error expected = slot >= slots        ? Error::out_of_range
                                       : model.erase(slot) ? Error::none
                                                            : Error::already_free;
                ASSERT_EQ(bits.give(slot), expected);
            }
            if (slots > 1000 && step % 64) continue;
            ASSERT_EQ(bits.count(), model.size());
            expect_clean(bits);
        }
    }
}
// ---- the audit can fail, and a torn summary is mended ----

TEST(AtomicBits, TheAuditSeesEveryTornWord) {
    std::vector<u64> words(AtomicBits<>::words_for(200));
    AtomicBits<> bits;
    ASSERT_EQ(bits.init(words.data(), 200), Error::none);
    auto first = [&] {
        Audit audit;
        bits.verify(audit);
        return std::string(audit.result().first);
    };
    bits.word(0, 3) = 0;
    EXPECT_EQ(first(), "a bit behind the last slot is clear");
    bits.word(0, 3) = ~u64{0} << 8;
    bits.word(1, 0) |= 2;
    EXPECT_EQ(first(), "a word with a free slot is known as full");
    bits.word(1, 0) &= ~u64{2};
    bits.word(0, 1) = ~u64{0};
    EXPECT_EQ(first(), "a full word is not known as full");
    bits.word(0, 1) = 0;
    EXPECT_EQ(first(), "");
}
TEST(AtomicBits, ASummaryBehindTheTruthIsMendedByWhoeverMeetsIt) {
    std::vector<u64> words(AtomicBits<>::words_for(192));
    AtomicBits<Counter> bits;
    ASSERT_EQ(bits.init(words.data(), 192), Error::none);
    bits.word(0, 0) = bits.word(0, 1) = ~u64{0};  // filled, but the summary does not know yet
    Counter::reads = 0;
    EXPECT_EQ(*bits.take(), 128u);
    EXPECT_EQ(Counter::reads, 6u);
    expect_clean(bits);
    Counter::reads = 0;
    EXPECT_EQ(*bits.take(), 129u);
    EXPECT_EQ(Counter::reads, 2u);
}
TEST(AtomicBits, TheHeadersExampleWorks) {
    u64 memory[AtomicBits<>::words_for(1000)];
    AtomicBits<> bits;
    ASSERT_EQ(bits.init(memory, 1000), Error::none);
    const auto slot = bits.take();
    ASSERT_TRUE(slot);
    EXPECT_EQ(bits.give(*slot), Error::none);
}

}  // namespace
}  // namespace quarry
