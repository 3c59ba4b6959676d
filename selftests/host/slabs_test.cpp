// SPDX-License-Identifier: MIT
//
// Slabs with live bytes: the size classes, the bytes, taking and coming home, the life of a
// slab, the reserve of metadata, and threads that free each other's slots.
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "../../module/core/cache/cache.hpp"
#include "../../module/core/slabs/slab_audit.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using Slabs = SlabAllocator<P, LiveBytes>;
using SlabT = Slab<LiveBytes>;

// ---- size classes ----

TEST(SizeClasses, EverySizeGetsTheSmallestClassThatHoldsIt) {
    for (u64 size = 1; size <= kMaxSlot; ++size) {
        const u32 c = class_of(size);
        ASSERT_LT(c, kClasses);
        EXPECT_GE(kSizeClasses[c].slot_bytes, size);
        if (c) {
            EXPECT_LT(kSizeClasses[c - 1].slot_bytes, size);
        }
    }
}

TEST(SizeClasses, ALargerAlignmentTakesTheSmallestClassThatIsAMultipleOfIt) {
    for (u64 align = 8; align <= kMaxSlot; align *= 2)
        for (u64 size = 1; size <= kMaxSlot; ++size) {
            const u32 c = class_of(size, align);
            ASSERT_EQ(kSizeClasses[c].slot_bytes % align, 0u);
            ASSERT_GE(kSizeClasses[c].slot_bytes, size);
            for (u32 smaller = 0; smaller < c; ++smaller)
                ASSERT_FALSE(kSizeClasses[smaller].slot_bytes % align == 0 &&
                             kSizeClasses[smaller].slot_bytes >= size);
        }
}

TEST(SizeClasses, SlackIsAtMostAnEighthAndTailsAtMostFourPercent) {
    for (u64 size = 65; size <= kMaxSlot; ++size) {
        const u64 slot = kSizeClasses[class_of(size)].slot_bytes;
        EXPECT_LE((slot - size) * 8, slot) << size;
    }
    for (const SizeClass& c : kSizeClasses) EXPECT_LE(c.tail() * 25, c.slab_bytes());
}

// ---- live bytes ----

TEST(LiveBytes, NoTwoSlotsOfASlabShareAByteAndAllHaveRoom) {
    for (const SizeClass& c : kSizeClasses) {
        std::set<u32> seen;
        for (u32 slot = 0; slot < c.slots; ++slot) {
            const u32 index = LiveBytes::Marks::index(c, slot * c.slot_bytes);
            EXPECT_LT(index, LiveBytes::Marks::bytes(c));
            EXPECT_TRUE(seen.insert(index).second) << c.slot_bytes << " slot " << slot;
        }
        EXPECT_EQ(LiveBytes::Marks::bytes(c) % 8, 0u);
    }
}

TEST(LiveBytes, AByteTellsTheStartOfItsSlotFromEveryOtherGrain) {
    for (const SizeClass& c : kSizeClasses) {
        std::vector<u8> marks(LiveBytes::Marks::bytes(c));
        for (u32 i = 0; i < marks.size(); ++i)
            marks[i] = free_mark(u64{i} << cell_shift(c.slot_bytes));
        for (u32 slot = 0; slot < c.slots; ++slot) {
            const u32 at = slot * c.slot_bytes;
            marks[LiveBytes::Marks::index(c, at)] = live_mark(at);
        }
        for (u32 at = 0; at < c.slots * c.slot_bytes; ++at)
            ASSERT_EQ(marks[LiveBytes::Marks::index(c, at)] == live_mark(at),
                      at % c.slot_bytes == 0)
                << c.slot_bytes << " at " << at;
        for (u32 slot = 0; slot < c.slots; ++slot) {
            const u32 at = slot * c.slot_bytes;
            marks[LiveBytes::Marks::index(c, at)] = free_mark(at);
        }
        for (u32 at = 0; at < c.slots * c.slot_bytes; ++at)
            ASSERT_NE(marks[LiveBytes::Marks::index(c, at)], live_mark(at))
                << "a free slot of " << c.slot_bytes << " at " << at;
    }
}

TEST(LiveBytes, TheyCostAtMostOneSixtyfourthFromSixtyfourBytesUp) {
    for (const SizeClass& c : kSizeClasses)
        if (c.slot_bytes >= 64) {
            EXPECT_LE(LiveBytes::Marks::bytes(c) * 64, c.slab_bytes());
        }
}

TEST(LiveBytes, APageWordFindsTheByteOfEverySlotWhereverSlabAndMetadataLie) {
    std::vector<LiveByte> marks(4096);
    for (u32 c = 0; c < kClasses; ++c) {
        const SizeClass& sc = kSizeClasses[c];
        for (const Offset base : {Offset{0}, Offset{8} << 12, Offset{123456} << 15,
                                  kMaxWordOffset - sc.slab_bytes()}) {
            const u64 word = PageWord::make(place_of(c), marks.data(), base);
            ASSERT_NE(word, 0u);
            ASSERT_EQ(PageWord::place(word), place_of(c));
            for (u32 slot = 0; slot < sc.slots; ++slot) {
                const u32 at = slot * sc.slot_bytes;
                ASSERT_EQ(&PageWord::byte(word, place_of(c), base + at),
                          &marks[LiveBytes::Marks::index(sc, at)]);
            }
        }
    }
}

TEST(LiveBytes, MetadataOfASlabStaysWithinItsBar) {
    for (const SizeClass& c : kSizeClasses) {
        const double bar = c.slot_bytes >= 64 ? 0.032 : c.slot_bytes >= 16 ? 0.125 : 0.17;
        const double pages = 32.0 / 4096;
        const double ratio = static_cast<double>(SlabT::meta_bytes(c)) /
                             static_cast<double>(c.slab_bytes());
        EXPECT_LE(ratio + pages, bar) << c.slot_bytes;
    }
}

// ---- slabs ----

class SlabsTest : public ::testing::Test {
protected:
    void make(u64 pages) {
        buddy = std::make_unique<Buddy<P>>(pages);
        slabs = std::make_unique<Slabs>(*buddy, policy, kHeapClassTable.data(), kHeapClasses,
                                        nullptr);
        ASSERT_EQ(slabs->init(), Error::none);
        ASSERT_TRUE(buddy->add_region(PageNumber{0}, pages, Zone::normal, nullptr));
    }
    void TearDown() override {
        slabs.reset();
        if (buddy) {
            EXPECT_EQ(buddy->free_pages(), buddy->total_pages());
        }
        buddy.reset();
        P::settle();
    }
    std::vector<Offset> take(u32 c, u32 n) {
        ReadGuard<P> reader;
        std::vector<Offset> out(n);
        out.resize(slabs->take(c, n, nobody, out.data()));
        return out;
    }
    SlabT& slab_of(Offset offset) {
        return *PageDesc::slab<SlabT>(buddy->find(PageNumber{offset / kPageBytes})->word());
    }
    void home(Offset offset) {
        ReadGuard<P> reader;
        Slabs::Homing homing(*slabs);
        SlabT& slab = slab_of(offset);
        homing.add(slab, slab.slot_at(offset));
    }
    void set_live(Offset offset, bool live) {
        LiveBytes::byte_of(slab_of(offset), offset).store(live ? live_mark(offset)
                                                                  : free_mark(offset));
    }
    u32 collect(u32 c) {
        ReadGuard<P> reader;
        return slabs->collect(c);
    }

    LiveBytes policy;
    LiveBytes::Grantee nobody;
    std::unique_ptr<Buddy<P>> buddy;
    std::unique_ptr<Slabs> slabs;
};

TEST_F(SlabsTest, ASlabGivesEachOfItsSlotsOnceAndThenNoMore) {
    make(64);
    for (u32 c = 0; c < kClasses; ++c) {
        EXPECT_TRUE(take(c, 1).empty());
        ASSERT_EQ(slabs->add_slab(c, Zone::normal, Context::may_sleep), Error::none);
        const SizeClass& sc = kSizeClasses[c];
        const auto slots = take(c, sc.slots + 1);
        ASSERT_EQ(slots.size(), sc.slots);
        const std::set<Offset> all(slots.begin(), slots.end());
        EXPECT_EQ(all.size(), sc.slots);
        for (Offset o : slots) ASSERT_EQ((o - *all.begin()) % sc.slot_bytes, 0u);
        for (Offset o : slots) home(o);
        EXPECT_EQ(collect(c), sc.slots);
        ReadGuard<P> reader;
        EXPECT_EQ(slabs->reclaim(c), 1u);
    }
}

TEST_F(SlabsTest, TakingMarksNothingLive) {
    make(64);
    ASSERT_EQ(slabs->add_slab(7, Zone::normal, Context::may_sleep), Error::none);
    for (Offset o : take(7, 64))
        EXPECT_FALSE(LiveBytes::is_live(LiveBytes::byte_of(slab_of(o), o)));
}

TEST_F(SlabsTest, ASlotThatComesHomeWhileLiveIsReportedAndStaysOut) {
    make(64);
    ASSERT_EQ(slabs->add_slab(7, Zone::normal, Context::may_sleep), Error::none);
    const auto slots = take(7, 2);
    set_live(slots[0], true);
    home(slots[0]);
    home(slots[1]);
    EXPECT_EQ(collect(7), 1u);
    const auto reports = P::take_corruptions();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].what, QUARRY_CORRUPT_STRAY_HOME);
    EXPECT_EQ(reports[0].offset, slots[0]);
    // It is a caller's doubled free: the slab goes on, the slot is not given out again.
    const auto rest = take(7, kSizeClasses[7].slots);
    EXPECT_EQ(rest.size(), kSizeClasses[7].slots - 1);
    EXPECT_EQ(std::count(rest.begin(), rest.end(), slots[0]), 0);
}

TEST_F(SlabsTest, ASlotThatComesHomeTwiceIsReportedAtOnceOrWhenItIsCollected) {
    make(64);
    ASSERT_EQ(slabs->add_slab(9, Zone::normal, Context::may_sleep), Error::none);
    const Offset slot = take(9, 1)[0];
    home(slot);
    home(slot);
    auto reports = P::take_corruptions();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].what, QUARRY_CORRUPT_DOUBLE_HOME);
    EXPECT_EQ(collect(9), 1u);
    home(slot);
    EXPECT_EQ(collect(9), 0u);
    reports = P::take_corruptions();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].what, QUARRY_CORRUPT_STRAY_HOME);
    // However often it came home: the slab has not more slots than it has.
    EXPECT_EQ(take(9, 4096).size(), kSizeClasses[9].slots);
}

TEST_F(SlabsTest, AnEmptySlabIsKeptForTheNextBatchAndGivenBackOnRequest) {
    make(256);
    const u32 c = class_of(1024);
    const u32 slots = kSizeClasses[c].slots;
    const u64 before = P::slabs_created();
    for (int round = 0; round < 100; ++round) {
        std::vector<Offset> batch = take(c, slots);
        if (batch.size() < slots) {
            ASSERT_EQ(slabs->add_slab(c, Zone::normal, Context::may_sleep), Error::none);
            for (Offset o : take(c, slots - static_cast<u32>(batch.size()))) batch.push_back(o);
        }
        ASSERT_EQ(batch.size(), slots);
        for (Offset o : batch) home(o);
    }
    EXPECT_EQ(P::slabs_created() - before, 1u);
    ReadGuard<P> reader;
    EXPECT_EQ(slabs->reclaim_all(), 1u);
    EXPECT_EQ(buddy->free_pages(), buddy->total_pages());
}

TEST_F(SlabsTest, AtMostTwoIdleSlabsOfAClassAreKept) {
    make(512);
    const u32 c = class_of(2048);
    std::vector<Offset> all;
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(slabs->add_slab(c, Zone::normal, Context::may_sleep), Error::none);
        for (Offset o : take(c, 64)) all.push_back(o);
    }
    for (Offset o : all) home(o);
    EXPECT_EQ(collect(c), all.size());
    EXPECT_EQ(buddy->total_pages() - buddy->free_pages(),
              Slabs::kKeepIdle * pages_of(kSizeClasses[c].order));
}

TEST_F(SlabsTest, NoPagesAndNoMetadataAreErrorsThatChangeNothing) {
    make(16);
    P::refuse_allocation(1);
    EXPECT_EQ(slabs->add_slab(0, Zone::normal, Context::may_sleep), Error::no_memory);
    EXPECT_EQ(buddy->free_pages(), 16u);
    EXPECT_EQ(slabs->add_slab(0, Zone::normal, Context::may_sleep), Error::none);
    EXPECT_EQ(slabs->add_slab(0, Zone::normal, Context::may_sleep), Error::none);
    EXPECT_EQ(slabs->add_slab(0, Zone::normal, Context::may_sleep), Error::pool_full);
    EXPECT_EQ(slabs->add_slab(0, Zone::lowmem, Context::may_sleep), Error::pool_full);
}

// ---- the reserve ----

TEST_F(SlabsTest, AtomicCallersDrawTheirMetadataOnTheReserveThatSleepersRefill) {
    const u64 block = Slabs::largest_meta_bytes(kHeapClassTable.data(), kHeapClasses);
    MetaReserve<P> reserve(block);
    ASSERT_EQ(reserve.init(), Error::none);
    make(256);
    slabs->use_reserve(reserve);
    reserve.refill();
    EXPECT_EQ(reserve.meta_bytes(),
              P::cpus() * 64 + MetaReserve<P>::kBlocks * block);
    EXPECT_GE(MetaReserve<P>::required_meta_bytes(block), reserve.meta_bytes());
    P::refuse_allocations_from(1);
    for (u32 i = 0; i < MetaReserve<P>::kBlocks; ++i)
        EXPECT_EQ(slabs->add_slab(i, Zone::normal, Context::atomic), Error::none);
    EXPECT_EQ(P::refusals(), 0u);
    EXPECT_EQ(slabs->add_slab(5, Zone::normal, Context::atomic), Error::no_memory);
    EXPECT_EQ(P::refusals(), 1u);
    P::refuse_allocation(0);
    reserve.refill();
    EXPECT_EQ(slabs->add_slab(5, Zone::normal, Context::atomic), Error::none);
    slabs.reset();  // slabs made of reserve blocks give them back whole
}

TEST(MetaReserve, ABlockOfAnotherCpuIsFoundToo) {
    MetaReserve<P> reserve(1024);
    ASSERT_EQ(reserve.init(), Error::none);
    std::thread([&] { reserve.refill(); }).join();
    P::Thread here;
    for (u32 i = 0; i < MetaReserve<P>::kBlocks; ++i) {
        void* block = reserve.take();
        ASSERT_NE(block, nullptr);
        P::meta_free(block, 1024);
    }
    EXPECT_EQ(reserve.take(), nullptr);
}

TEST(MetaReserve, ARefusedRefillLeavesItEmptyAndHarmless) {
    MetaReserve<P> reserve(1024);
    P::refuse_allocation(1);
    EXPECT_EQ(reserve.init(), Error::no_memory);
    EXPECT_EQ(reserve.take(), nullptr);
    ASSERT_EQ(reserve.init(), Error::none);
    P::refuse_allocation(1);
    reserve.refill();
    EXPECT_EQ(reserve.take(), nullptr);
}

TEST(MetaReserve, RacingTakersAndRefillersNeverShareABlock) {
    MetaReserve<P> reserve(256);
    ASSERT_EQ(reserve.init(), Error::none);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&reserve] {
            P::Thread slot;
            for (int i = 0; i < 5000; ++i) {
                reserve.refill();
                if (void* block = reserve.take()) {
                    static_cast<char*>(block)[0] = 1;  // a shared block is a race
                    P::meta_free(block, 256);
                }
            }
        });
    for (auto& t : threads) t.join();
}

// ---- the audit ----

// Does something at the n-th breath.
struct BreathPlatform : HostPlatform {
    static inline u64 left = 0;
    static inline std::function<void()> then;
    static void breathe() {
        HostPlatform::breathe();
        if (left && --left == 0) then();
    }
};

TEST(SlabAudit, ASlabMadeSinceTheAuditPassedItsFirstPageIsNoSlabThatLiesElsewhere) {
    using B = BreathPlatform;
    Buddy<B> buddy(16);
    LiveBytes policy;
    SlabAllocator<B, LiveBytes> slabs(buddy, policy, kHeapClassTable.data(), kHeapClasses, nullptr);
    ASSERT_EQ(slabs.init(), Error::none);
    ASSERT_TRUE(buddy.add_region(PageNumber{0}, 16, Zone::normal, nullptr));
    u64 made = 0;
    for (u64 breath = 1; breath <= 16; ++breath) {
        B::left = breath;
        B::then = [&] {
            ASSERT_EQ(slabs.add_slab(0, Zone::normal, Context::may_sleep), Error::none);
            ++made;
        };
        Audit audit;
        u32 seen[kHeapClasses] = {};
        SlabAudit<B, LiveBytes>(buddy, slabs, audit)
            .run(seen, [](auto&) {}, [](auto&, u32, u32, u32) {});
        EXPECT_TRUE(audit.clean()) << audit.result().first << " after breath " << breath;
        ReadGuard<B> reader;
        slabs.reclaim(0);
    }
    EXPECT_EQ(made, 16u);
}

// ---- threads ----

TEST_F(SlabsTest, ThreadsThatFreeEachOthersSlotsLoseNoneAndDoubleNone) {
    for (const unsigned count : {2u, 4u}) {
        make(1024);
        const u32 c = class_of(256);
        std::vector<std::atomic<u32>> held(1024 * kPageBytes / 256);
        struct alignas(64) Box {
            std::atomic<Offset> slot{0};
        };
        std::vector<Box> boxes(256);  // slot + 1, or 0
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < count; ++t)
            threads.emplace_back([&, t] {
                P::Thread cpu;
                std::mt19937 random(t);
                LiveBytes::Grantee me;
                for (int i = 0; i < 20000; ++i) {
                    Offset out[8];
                    u32 n;
                    {
                        ReadGuard<P> reader;
                        n = slabs->take(c, 1 + random() % 8, me, out);
                    }
                    if (!n) (void)slabs->add_slab(c, Zone::normal, Context::may_sleep);
                    for (u32 k = 0; k < n; ++k) {
                        EXPECT_EQ(held[out[k] / 256].fetch_add(1), 0u);
                        const Offset old = boxes[random() % boxes.size()].slot.exchange(out[k] + 1);
                        if (!old) continue;
                        held[(old - 1) / 256].fetch_sub(1);
                        home(old - 1);
                    }
                }
            });
        for (auto& t : threads) t.join();
        for (auto& box : boxes)
            if (box.slot) home(box.slot - 1);
        (void)collect(c);
        {
            ReadGuard<P> reader;
            const auto counts = slabs->count(c);
            EXPECT_EQ(counts.taken, 0u);
            slabs->reclaim_all();
        }
        EXPECT_EQ(buddy->free_pages(), buddy->total_pages());
        slabs.reset();
        buddy.reset();
        P::settle();
    }
}

}  // namespace
}  // namespace quarry
