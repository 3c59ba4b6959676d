// SPDX-License-Identifier: MIT
//
// BitmapSlab: layout by brute force, errors, handles, spares, every short history. Threads are
// in bitmap_threads_test.cpp, the bits below it in atomic_bits_test.cpp.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "../../module/core/slots/bitmap_slab.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

struct Counter {
    static inline u64 reads = 0;
    static inline u64 races = 0;
    static void read() { ++reads; }
    static void raced() { ++races; }
};

template <u64 Bytes>
struct Object {
    unsigned char bytes[Bytes];
};
using Word = u64;

template <typename Slab>
u64 expect_clean(const Slab& slab) {
    Audit audit;
    slab.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
    return audit.result().objects;
}

// A block of exactly so many bytes, so that the sanitizer sees what lies beside it.
class Block {
public:
    explicit Block(u64 bytes, u64 shift = 0)
        : memory_(new (std::align_val_t{64}) unsigned char[bytes + shift]), bytes_(bytes), shift_(shift) {
        memset(memory_, 0xa5, bytes + shift);
    }
    ~Block() { ::operator delete[](memory_, std::align_val_t{64}); }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    void* get() { return memory_ + shift_; }
    u64 bytes() const { return bytes_; }

private:
    unsigned char* memory_;
    u64 bytes_, shift_;
};

// ---- the layout ----

// What `n` objects and their bitmap take, counted by hand.
u64 bytes_by_hand(u64 n, u64 size) {
    u64 bytes = n * size;
    while (bytes % 8) ++bytes;
    for (u64 below = n; below;) {
        const u64 words = below / 64 + (below % 64 != 0);
        bytes += 8 * words;
        below = words > 1 ? words : 0;
    }
    return bytes;
}
// In the plain build every block size; under a sanitizer, which has nothing to see in this
// arithmetic, every seventh.
#if QUARRY_HOST_TSAN || defined(__SANITIZE_ADDRESS__)
constexpr u64 kStep = 7;
constexpr u32 kDepth = 5;
#else
constexpr u64 kStep = 1;
constexpr u32 kDepth = 6;
#endif
template <u64 Size>
void check_counts_up_to(u64 most) {
    u64 n = 0;
    for (u64 bytes = 0; bytes <= most; bytes += kStep) {
        while (bytes_by_hand(n + 1, Size) <= bytes) ++n;
        ASSERT_EQ(BitmapSlab<Object<Size>>::count_for(bytes), n) << bytes << " bytes of " << Size;
    }
}
TEST(BitmapSlab, TheCountIsTheLargestThatFitsForEveryBlockSizeUpTo64KiB) {
    check_counts_up_to<1>(65536);
    check_counts_up_to<2>(65536);
    check_counts_up_to<3>(65536);
    check_counts_up_to<8>(65536);
    check_counts_up_to<24>(65536);
    check_counts_up_to<64>(65536);
    check_counts_up_to<100>(65536);
    check_counts_up_to<4097>(65536);
    check_counts_up_to<9000>(65536);
}

// Fills a block of so many bytes; every byte of every object is its own.
template <u64 Size>
void fill_block(u64 bytes) {
    using T = Object<Size>;
    Block block(bytes);
    BitmapSlab<T> slab;
    const u64 n = BitmapSlab<T>::count_for(bytes);
    ASSERT_EQ(slab.init(block.get(), bytes), n ? Error::none : Error::invalid);
    if (!n) return;
    ASSERT_EQ(slab.count(), n);
    std::vector<T*> live;
    while (const auto object = slab.alloc(T{})) {
        memset((*object)->bytes, static_cast<int>(live.size()), Size);
        live.push_back(*object);
    }
    ASSERT_EQ(live.size(), n);
    ASSERT_EQ(expect_clean(slab), n);
    for (u64 i = 0; i < n; ++i)
        for (const unsigned char byte : live[i]->bytes) ASSERT_EQ(byte, i & 0xff);
    for (T* object : live) ASSERT_EQ(slab.free(object), Error::none);
    ASSERT_EQ(slab.live(), 0u);
    ASSERT_EQ(expect_clean(slab), 0u);
}
TEST(BitmapSlab, ObjectsOfAnySizeNeverOverlapEachOtherOrTheirBitmap) {
    for (u64 bytes = 0; bytes < 700; ++bytes) {
        fill_block<1>(bytes);
        fill_block<3>(bytes);
        fill_block<24>(bytes);
    }
    for (const u64 bytes : {4096, 4999, 40000, 65536}) {
        fill_block<1>(bytes);
        fill_block<3>(bytes);
        fill_block<24>(bytes);
        fill_block<64>(bytes);
        fill_block<5000>(bytes);
    }
}
TEST(BitmapSlab, TheBitmapStandsApartAsTheCallerChooses) {
    Block block(100 * 24), bitmap(BitmapSlab<Object<24>>::bitmap_bytes(100));
    BitmapSlab<Object<24>> slab;
    ASSERT_EQ(slab.init_apart(block.get(), block.bytes(), bitmap.get(), bitmap.bytes()), Error::none);
    EXPECT_EQ(slab.count(), 100u);
    for (u32 i = 0; i < 100; ++i) EXPECT_TRUE(slab.alloc(Object<24>{}));
    EXPECT_EQ(slab.alloc(Object<24>{}).error(), Error::pool_full);
    EXPECT_EQ(expect_clean(slab), 100u);
    // Too little of either is what decides.
    EXPECT_EQ(BitmapSlab<Object<24>>::count_for(1000 * 24, 8), 64u);
    EXPECT_EQ(BitmapSlab<Object<24>>::count_for(1000 * 24, 23), 64u);
    EXPECT_EQ(BitmapSlab<Object<24>>::count_for(1000 * 24, 24), 128u);
    EXPECT_EQ(BitmapSlab<Object<24>>::count_for(99 * 24, 4096), 99u);
}
TEST(BitmapSlab, WhatCannotBeASlabIsRefusedByName) {
    Block block(4096), odd(4096, 1), four(4096, 4);
    u64 words[8];
    BitmapSlab<Object<24>> slab;
    EXPECT_EQ(slab.init(nullptr, 4096), Error::invalid);
    EXPECT_EQ(slab.init(block.get(), 31), Error::invalid);
    EXPECT_EQ(slab.init_apart(block.get(), 4096, nullptr, 64), Error::invalid);
    EXPECT_EQ(slab.init_apart(block.get(), 4096, words, 7), Error::invalid);
    EXPECT_EQ(slab.init_apart(block.get(), 4096, reinterpret_cast<char*>(words) + 4, 56), Error::misaligned);
    EXPECT_EQ(slab.count(), 0u);
    EXPECT_EQ(slab.init(block.get(), 32), Error::none);
    EXPECT_EQ(slab.count(), 1u);
    EXPECT_EQ(slab.init(block.get(), 4096), Error::initialised);
    EXPECT_EQ(slab.count(), 1u);
}
TEST(BitmapSlab, AMisalignedBaseIsAnError) {
    struct alignas(32) Wide {
        u64 x;
    };
    Block odd(4096, 1), four(4096, 4), eight(4096, 8);
    u64 words[64];
    BitmapSlab<Word> slab;
    EXPECT_EQ(slab.init(odd.get(), 4095), Error::misaligned);
    EXPECT_EQ(slab.init(four.get(), 4092), Error::misaligned);
    EXPECT_EQ(slab.init_apart(four.get(), 4092, words, sizeof(words)), Error::misaligned);
    EXPECT_EQ(slab.init(eight.get(), 4088), Error::none);
    BitmapSlab<Wide> wide;
    EXPECT_EQ(wide.init(eight.get(), 4088), Error::misaligned);
    // Objects that need no alignment need none, unless their bitmap stands in the block.
    BitmapSlab<Object<3>> bytes;
    EXPECT_EQ(bytes.init(odd.get(), 4095), Error::misaligned);
    EXPECT_EQ(bytes.init_apart(odd.get(), 4095, words, sizeof(words)), Error::none);
    EXPECT_EQ(bytes.count(), 1365u);
}

// ---- objects and errors ----

class Small : public ::testing::Test {
protected:
    Small() { EXPECT_EQ(slab.init(block.get(), block.bytes()), Error::none); }
    ~Small() override { EXPECT_EQ(expect_clean(slab), slab.live()); }
    Block block{100 * 24 + 24};
    BitmapSlab<Object<24>> slab;
};

TEST_F(Small, AllocationFailsOnlyWhenEverySlotIsLiveAndChangesNothingThen) {
    std::vector<Object<24>*> live;
    while (const auto object = slab.alloc(Object<24>{})) live.push_back(*object);
    EXPECT_EQ(live.size(), 100u);
    EXPECT_EQ(slab.alloc(Object<24>{}).error(), Error::pool_full);
    EXPECT_FALSE(slab.make(Object<24>{}));
    EXPECT_EQ(slab.live(), 100u);
    for (auto* object : live) {
        EXPECT_EQ(slab.free(object), Error::none);
        EXPECT_EQ(*slab.alloc(Object<24>{}), object);
    }
}
TEST_F(Small, EveryWrongFreeIsItsOwnErrorAndChangesNothing) {
    const auto object = slab.alloc(Object<24>{}), other = slab.alloc(Object<24>{});
    auto* base = reinterpret_cast<unsigned char*>(*object);
    auto at = [&](u64 offset) { return reinterpret_cast<Object<24>*>(base + offset); };
    EXPECT_EQ(slab.free(nullptr), Error::invalid);
    for (u64 inside = 1; inside < 24; ++inside) EXPECT_EQ(slab.free(at(inside)), Error::misaligned);
    EXPECT_EQ(slab.free(at(48)), Error::already_free);    // never allocated
    EXPECT_EQ(slab.free(at(2400)), Error::out_of_range);  // the bitmap
    EXPECT_EQ(slab.free(at(u64{0} - 24)), Error::out_of_range);
    Object<24> foreign;
    EXPECT_EQ(slab.free(&foreign), Error::out_of_range);
    EXPECT_EQ(slab.live(), 2u);
    EXPECT_EQ(slab.free(*object), Error::none);
    EXPECT_EQ(slab.free(*object), Error::already_free);
    EXPECT_EQ(slab.free(*other), Error::none);
    EXPECT_EQ(slab.live(), 0u);
}

struct Noisy {
    static inline int alive = 0;
    static inline int moves = 0;
    std::unique_ptr<int> value;
    explicit Noisy(int v) : value(new int(v)) { ++alive; }
    Noisy(Noisy&& from) noexcept : value(std::move(from.value)) { ++alive, ++moves; }
    ~Noisy() { --alive; }
};

TEST(BitmapSlab, AllocMovesAValueInAndTheHandleGivesTheSlotBack) {
    Block block(4096);
    BitmapSlab<Noisy> slab;
    ASSERT_EQ(slab.init(block.get(), block.bytes()), Error::none);
    Noisy::alive = Noisy::moves = 0;
    {
        auto handle = slab.make(Noisy(7));
        ASSERT_TRUE(handle);
        EXPECT_EQ(*handle->value, 7);
        EXPECT_EQ(Noisy::moves, 1);
        EXPECT_EQ(Noisy::alive, 1);
        EXPECT_EQ(slab.live(), 1u);
        auto built = slab.make(8);  // in place, without a move
        EXPECT_EQ(Noisy::moves, 1);
        auto moved = std::move(handle);
        EXPECT_FALSE(handle);
        EXPECT_EQ(*moved->value, 7);
        built = std::move(moved);  // the 8 goes home
        EXPECT_EQ(Noisy::alive, 1);
        EXPECT_EQ(slab.live(), 1u);
        EXPECT_EQ(*built->value, 7);
    }
    EXPECT_EQ(Noisy::alive, 0);
    EXPECT_EQ(expect_clean(slab), 0u);
}
TEST(BitmapSlab, AFailedAllocationLeavesTheValueToItsCaller) {
    Block block(64);
    BitmapSlab<Noisy> slab;
    ASSERT_EQ(slab.init(block.get(), block.bytes()), Error::none);
    std::vector<BitmapSlab<Noisy>::Handle> all;
    while (auto handle = slab.make(1)) all.push_back(std::move(handle));
    Noisy mine(9);
    EXPECT_EQ(slab.alloc(std::move(mine)).error(), Error::pool_full);
    ASSERT_TRUE(mine.value);
    EXPECT_EQ(*mine.value, 9);
}
TEST(BitmapSlab, ReleaseAndAdoptHandOwnershipOverAndCheckIt) {
    Block block(4096);
    BitmapSlab<Noisy> slab;
    ASSERT_EQ(slab.init(block.get(), block.bytes()), Error::none);
    auto handle = slab.make(1);
    Noisy* raw = handle.release();
    EXPECT_FALSE(handle);
    EXPECT_EQ(slab.live(), 1u);
    auto again = slab.adopt(raw);
    EXPECT_TRUE(again);
    EXPECT_EQ(again.reset(), Error::none);
    EXPECT_FALSE(slab.adopt(raw));
    EXPECT_FALSE(slab.adopt(nullptr));
    EXPECT_EQ(slab.free(raw), Error::already_free);
    EXPECT_EQ(Noisy::alive, 0);
}
TEST(BitmapSlab, AFreeBehindAHandlesBackIsToldAtItsReset) {
    Block block(4096);
    BitmapSlab<Word> slab;
    ASSERT_EQ(slab.init(block.get(), block.bytes()), Error::none);
    auto handle = slab.make(1u);
    EXPECT_EQ(slab.free(handle.get()), Error::none);
    EXPECT_EQ(handle.reset(), Error::already_free);
    EXPECT_EQ(handle.reset(), Error::none);  // empty now
    BitmapSlab<Word>::Local local(slab);
    auto other = local.make(1u);
    EXPECT_EQ(slab.free(other.get()), Error::none);
    EXPECT_EQ(local.drop(std::move(other)), Error::already_free);
    EXPECT_EQ(expect_clean(slab), 0u);
}

// ---- spares ----

using Words = BitmapSlab<Word, Counter, 2>;
class Spares : public ::testing::Test {
protected:
    Spares() { EXPECT_EQ(slab.init(block.get(), block.bytes()), Error::none); }
    ~Spares() override { EXPECT_EQ(expect_clean(slab), slab.live()); }
    Block block{4 * 8 + 8};
    Words slab;
};

TEST_F(Spares, WhatALocalDroppedItMakesNextWithoutReadingTheBitmap) {
    Words::Local local(slab);
    auto first = local.make(1u);
    Word* slot = first.get();
    EXPECT_EQ(local.drop(std::move(first)), Error::none);
    EXPECT_EQ(slab.live(), 0u);
    Counter::reads = 0;
    auto second = local.make(2u);
    EXPECT_EQ(second.get(), slot);
    EXPECT_EQ(*second, 2u);
    EXPECT_EQ(Counter::reads, 0u);
    EXPECT_EQ(slab.live(), 1u);
}
TEST_F(Spares, ASpareIsFreeToEveryoneElse) {
    Words::Local a(slab), b(slab);
    auto x = a.make(1u), y = b.make(2u);
    EXPECT_EQ(a.drop(std::move(x)), Error::none);
    EXPECT_EQ(b.drop(std::move(y)), Error::none);
    EXPECT_EQ(slab.live(), 0u);
    std::set<Word*> all;
    while (const auto object = slab.alloc(3u)) all.insert(*object);
    EXPECT_EQ(all.size(), 4u);
    EXPECT_EQ(a.alloc(1u).error(), Error::pool_full);
    for (Word* object : all) EXPECT_EQ(slab.free(object), Error::none);
}
TEST_F(Spares, AFreeOfASpareIsADoubleFree) {
    Words::Local local(slab);
    auto handle = local.make(1u);
    Word* slot = handle.get();
    EXPECT_EQ(local.drop(std::move(handle)), Error::none);
    EXPECT_EQ(slab.free(slot), Error::already_free);
    EXPECT_FALSE(slab.adopt(slot));
    EXPECT_EQ(slab.live(), 0u);
    EXPECT_EQ(*local.alloc(1u), slot);
    EXPECT_EQ(slab.free(slot), Error::none);
}
TEST_F(Spares, ALocalGivesItsSpareAndItsCellBack) {
    for (int i = 0; i < 10; ++i) {
        Words::Local a(slab), b(slab);
        auto x = a.make(1u);
        EXPECT_EQ(b.drop(std::move(x)), Error::none);
    }
    EXPECT_EQ(slab.bits().count(), 0u);
}
TEST_F(Spares, MoreLocalsThanCellsWorkWithoutASpare) {
    Words::Local a(slab), b(slab), c(slab);
    auto x = c.make(1u);
    EXPECT_TRUE(x);
    EXPECT_EQ(c.drop(std::move(x)), Error::none);
    EXPECT_EQ(slab.bits().count(), 0u);
    c.flush();
}
TEST_F(Spares, DropTakesOnlyWhatIsThisSlabs) {
    Block other_block(64);
    Words other;
    ASSERT_EQ(other.init(other_block.get(), 64), Error::none);
    Words::Local local(slab), wrong(other);
    auto handle = local.make(5u);
    EXPECT_EQ(wrong.drop(std::move(handle)), Error::out_of_range);
    ASSERT_TRUE(handle);  // NOLINT: a refused drop leaves it
    EXPECT_EQ(*handle, 5u);
    EXPECT_EQ(local.drop(Words::Handle()), Error::invalid);
    EXPECT_EQ(slab.live(), 1u);
}
TEST_F(Spares, ADropWithASpareAtHandGoesToTheBitmap) {
    Words::Local local(slab);
    auto x = local.make(1u), y = local.make(2u);
    EXPECT_EQ(local.drop(std::move(x)), Error::none);
    EXPECT_EQ(local.drop(std::move(y)), Error::none);
    EXPECT_EQ(slab.bits().count(), 1u);
    EXPECT_EQ(slab.live(), 0u);
}

// ---- every short history ----

// Every history of 6 calls on three slots with two Locals.
TEST(BitmapSlab, EveryShortHistoryKeepsTheModel) {
    constexpr u32 kCalls = 11;
    u32 histories = kCalls;
    for (u32 d = 1; d < kDepth; ++d) histories *= kCalls;
    for (u32 history = 0; history < histories; ++history) {
        u64 block[4];
        BitmapSlab<Word, NoTrace, 2> slab;
        ASSERT_EQ(slab.init(block, sizeof(block)), Error::none);
        using Handle = decltype(slab)::Handle;
        decltype(slab)::Local local[2]{decltype(slab)::Local(slab), decltype(slab)::Local(slab)};
        Handle handles[3];
        bool live[3] = {};
        u32 count = 0;
        u32 code = history;
        for (u32 d = 0; d < kDepth; ++d, code /= kCalls) {
            const u32 call = code % kCalls;
            if (call < 3) {  // make by local 0, local 1, or neither
                Handle h = call < 2 ? local[call].make(d) : slab.make(d);
                ASSERT_EQ(bool{h}, count < 3);
                if (!h) continue;
                u32 slot = 9;
                ASSERT_EQ(slab.slot_of(h.get(), slot), Error::none);
                ASSERT_FALSE(live[slot]);
                live[slot] = true;
                ++count;
                handles[slot] = std::move(h);
            } else if (call < 9) {  // drop by local 0 or 1
                const u32 slot = (call - 3) / 2;
                ASSERT_EQ(local[call % 2].drop(std::move(handles[slot])),
                          live[slot] ? Error::none : Error::invalid);
                count -= live[slot];
                live[slot] = false;
            } else if (call == 9) {  // a raw free of slot 0
                ASSERT_EQ(slab.free(slab.at(0)), live[0] ? Error::none : Error::already_free);
                (void)handles[0].release();
                count -= live[0];
                live[0] = false;
            } else {
                local[0].flush();
            }
            ASSERT_EQ(slab.live(), count);
        }
        Audit audit;
        slab.verify(audit);
        ASSERT_TRUE(audit.clean()) << audit.result().first << " in history " << history;
    }
}

// ---- the audit can fail ----

TEST(BitmapSlab, TheAuditSeesATornSpare) {
    u64 block[5];
    BitmapSlab<Word, NoTrace, 2> slab;
    ASSERT_EQ(slab.init(block, sizeof(block)), Error::none);
    BitmapSlab<Word, NoTrace, 2>::Local local(slab);
    auto handle = local.make(1u);
    u32 slot = 0;
    ASSERT_EQ(slab.slot_of(handle.get(), slot), Error::none);
    ASSERT_EQ(local.drop(std::move(handle)), Error::none);
    ASSERT_EQ(slab.bits().give(slot), Error::none);
    Audit audit;
    slab.verify(audit);
    EXPECT_STREQ(audit.result().first, "a spare slot is free in the bitmap");
    // And such a spare is not handed out a second time.
    EXPECT_EQ(slab.bits().take_this(3), Error::none);
    std::set<Word*> all;
    while (const auto object = local.alloc(1u)) EXPECT_TRUE(all.insert(*object).second);
    EXPECT_EQ(all.size(), 3u);
}

// ---- the example of the header ----

TEST(BitmapSlab, TheHeadersExampleWorks) {
    struct Packet {
        int number;
        void send() { ++number; }
    };
    alignas(64) static unsigned char block[64 << 10];
    BitmapSlab<Packet> slab;
    ASSERT_TRUE(ok(slab.init(block, sizeof(block))));
    auto packet = slab.make(Packet{7});
    if (packet) packet->send();
    EXPECT_EQ(packet->number, 8);
    BitmapSlab<Packet>::Local mine(slab);
    auto other = mine.make(Packet{8});
    EXPECT_EQ(mine.drop(std::move(other)), Error::none);
}

}  // namespace
}  // namespace quarry
