// SPDX-License-Identifier: MIT
//
// SlotPool: block size and count at run time; errors, a model, every short history.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../module/core/slots/slot_pool.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

void expect_clean(const SlotPool& pool) {
    Audit audit;
    pool.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
    EXPECT_EQ(audit.result().objects, pool.allocated());
}

// A pool with memory of exactly its size.
struct Owned {
    Owned(u64 block_bytes, u64 count)
        : blocks(new unsigned char[block_bytes * count]), words(SlotPool::meta_bytes(count) / 8, ~u64{0}) {
        EXPECT_EQ(pool.init(blocks.get(), block_bytes * count, block_bytes, count, words.data()),
                  Error::none);
    }
    ~Owned() { expect_clean(pool); }
    std::unique_ptr<unsigned char[]> blocks;
    std::vector<u64> words;
    SlotPool pool;
};

TEST(SlotPool, BlocksOfAnySizeNeverOverlap) {
    for (const u64 size : {1, 2, 3, 7, 8, 24, 64, 100, 4095, 4096, 4097}) {
        Owned owned(size, 200);
        std::vector<unsigned char*> live;
        while (const auto block = owned.pool.alloc()) {
            memset(*block, static_cast<int>(live.size()), size);
            live.push_back(static_cast<unsigned char*>(*block));
        }
        ASSERT_EQ(live.size(), 200u);
        for (u64 i = 0; i < live.size(); ++i)
            for (u64 k = 0; k < size; ++k) ASSERT_EQ(live[i][k], i & 0xff);
        EXPECT_EQ(std::set<unsigned char*>(live.begin(), live.end()).size(), 200u);
    }
}
TEST(SlotPool, BlocksOfFourMebibytesAreNeverTouched) {
    // Memory that is not there: a touch would end the test.
    auto* base = reinterpret_cast<unsigned char*>(u64{1} << 46);
    std::vector<u64> words(SlotPool::meta_bytes(4096) / 8);
    SlotPool pool;
    ASSERT_EQ(pool.init(base, u64{4096} << 22, u64{4} << 20, 4096, words.data()), Error::none);
    std::set<void*> all;
    while (const auto block = pool.alloc()) all.insert(*block);
    EXPECT_EQ(all.size(), 4096u);
    EXPECT_EQ(*all.rbegin(), base + (u64{4095} << 22));
    for (void* block : all) EXPECT_EQ(pool.free(block), Error::none);
    expect_clean(pool);
}
TEST(SlotPool, ExhaustionIsAnErrorAndChangesNothing) {
    for (const u64 count : {1, 2, 63, 64, 65, 4096, 4097}) {
        Owned owned(8, count);
        for (u64 i = 0; i < count; ++i) ASSERT_TRUE(owned.pool.alloc());
        EXPECT_EQ(owned.pool.alloc().error(), Error::pool_full);
        EXPECT_EQ(owned.pool.allocated(), count);
        EXPECT_EQ(owned.pool.free(owned.pool.at(static_cast<u32>(count / 2))), Error::none);
        EXPECT_EQ(*owned.pool.alloc(), owned.pool.at(static_cast<u32>(count / 2)));
        EXPECT_EQ(owned.pool.alloc().error(), Error::pool_full);
    }
}
TEST(SlotPool, NullDoubleFreeOutOfBoundsAndUnalignedAreErrorsOfTheirOwn) {
    for (const u64 size : {2, 16, 24, 4096}) {
        Owned owned(size, 70);
        SlotPool& pool = owned.pool;
        auto* first = static_cast<unsigned char*>(*pool.alloc());
        void* second = *pool.alloc();
        void* third = *pool.alloc();
        EXPECT_EQ(pool.free(nullptr), Error::invalid);
        for (u64 inside = 1; inside < size; ++inside)
            EXPECT_EQ(pool.free(first + inside), Error::misaligned);
        EXPECT_EQ(pool.free(first + 70 * size), Error::out_of_range);
        EXPECT_EQ(pool.free(first - 1), Error::out_of_range);
        EXPECT_EQ(pool.free(first - size), Error::out_of_range);
        EXPECT_EQ(pool.free(first + 50 * size), Error::already_free);  // never given out
        EXPECT_EQ(pool.allocated(), 3u);
        expect_clean(pool);
        // As the one freed last, and as one freed before that.
        EXPECT_EQ(pool.free(second), Error::none);
        EXPECT_EQ(pool.free(second), Error::already_free);
        EXPECT_EQ(pool.free(third), Error::none);
        EXPECT_EQ(pool.free(third), Error::already_free);
        EXPECT_EQ(pool.free(second), Error::already_free);
        EXPECT_EQ(pool.free(first), Error::none);
        EXPECT_EQ(pool.free(first), Error::already_free);
        EXPECT_EQ(pool.allocated(), 0u);
        expect_clean(pool);
    }
}
TEST(SlotPool, WhatCannotBeAPoolIsRefusedByName) {
    u64 memory[16], words[2];
    SlotPool pool;
    EXPECT_EQ(pool.alloc().error(), Error::uninitialised);
    EXPECT_EQ(pool.free(memory), Error::out_of_range);
    pool.free_all();
    EXPECT_EQ(pool.init(nullptr, 128, 8, 16, words), Error::invalid);
    EXPECT_EQ(pool.init(memory, 128, 8, 16, nullptr), Error::invalid);
    EXPECT_EQ(pool.init(memory, 128, 0, 16, words), Error::invalid);
    EXPECT_EQ(pool.init(memory, 128, 8, 0, words), Error::invalid);
    EXPECT_EQ(pool.init(memory, 128, 8, 17, words), Error::invalid);
    EXPECT_EQ(pool.init(memory, ~u64{0}, (u64{4} << 20) + 1, 1, words), Error::too_large);
    EXPECT_EQ(pool.init(memory, ~u64{0}, 1, (u64{1} << 30) + 1, words), Error::too_large);
    EXPECT_EQ(pool.init(memory, 128, 8, 16, reinterpret_cast<char*>(words) + 1), Error::misaligned);
    EXPECT_EQ(pool.total(), 0u);
    EXPECT_EQ(pool.init(memory, 128, 8, 16, words), Error::none);
    EXPECT_EQ(pool.init(memory, 128, 8, 16, words), Error::initialised);
    expect_clean(pool);
}
TEST(SlotPool, FreeAllMakesEveryBlockFreeAgain) {
    Owned owned(24, 5000);
    std::set<void*> first, second;
    while (const auto block = owned.pool.alloc()) first.insert(*block);
    for (u32 i = 0; i < 5000; i += 3) EXPECT_EQ(owned.pool.free(owned.pool.at(i)), Error::none);
    owned.pool.free_all();
    EXPECT_EQ(owned.pool.allocated(), 0u);
    EXPECT_EQ(owned.pool.free_blocks(), 5000u);
    EXPECT_EQ(owned.pool.free(owned.pool.at(1)), Error::already_free);
    expect_clean(owned.pool);
    while (const auto block = owned.pool.alloc()) second.insert(*block);
    EXPECT_EQ(first, second);
}
TEST(SlotPool, TotalAllocatedAndFreeBlocksAddUp) {
    Owned owned(8, 100);
    EXPECT_EQ(owned.pool.total(), 100u);
    EXPECT_EQ(owned.pool.block_bytes(), 8u);
    for (u32 n = 1; n <= 100; ++n) {
        ASSERT_TRUE(owned.pool.alloc());
        EXPECT_EQ(owned.pool.allocated(), n);
        EXPECT_EQ(owned.pool.free_blocks(), 100 - n);
    }
}
TEST(SlotPool, AddressToNumberAndBackByArithmetic) {
    for (const u64 size : {1, 8, 24, 4096, 5000}) {
        Owned owned(size, 100);
        for (u32 n = 0; n < 100; ++n) {
            u32 back = 0;
            EXPECT_EQ(owned.pool.at(n), owned.blocks.get() + n * size);
            EXPECT_EQ(owned.pool.number_of(owned.pool.at(n), back), Error::none);
            EXPECT_EQ(back, n);
        }
    }
}
TEST(SlotPool, IterationVisitsEveryLiveBlockOnceAndMayFreeIt) {
    Owned owned(16, 300);
    std::set<void*> live;
    while (const auto block = owned.pool.alloc()) live.insert(*block);
    for (u32 n = 0; n < 300; ++n) {
        if (n % 5 == 0 || (n >= 64 && n < 200)) continue;
        EXPECT_EQ(owned.pool.free(owned.pool.at(n)), Error::none);
        live.erase(owned.pool.at(n));
    }
    std::vector<void*> seen;
    owned.pool.for_each([&](void* block) { seen.push_back(block); });
    EXPECT_EQ(seen, std::vector<void*>(live.begin(), live.end()));
    owned.pool.for_each([&](void* block) { EXPECT_EQ(owned.pool.free(block), Error::none); });
    EXPECT_EQ(owned.pool.allocated(), 0u);
    owned.pool.for_each([&](void*) { ADD_FAILURE() << "a block is live in an empty pool"; });
}
TEST(SlotPool, AModelAgreesAfterEveryStepWithTheAuditClean) {
    for (const u32 count : {1u, 3u, 64u, 130u, 4200u}) {
        Owned owned(8, count);
        SlotPool& pool = owned.pool;
        std::set<u32> model;
        std::mt19937 random(count);
        for (u32 step = 0; step < 20000; ++step) {
            if (random() % 8 < (step / (2 * count + 50) % 2 ? 6u : 2u)) {
                const auto block = pool.alloc();
                ASSERT_EQ(bool{block}, model.size() < count);
                u32 number = 0;
                if (!block) continue;
                ASSERT_EQ(pool.number_of(*block, number), Error::none);
                ASSERT_TRUE(model.insert(number).second);
            } else {
                const u32 number = random() % count;
                ASSERT_EQ(pool.live(number), model.count(number) == 1);
                ASSERT_EQ(pool.free(pool.at(number)),
                          model.erase(number) ? Error::none : Error::already_free);
            }
            ASSERT_EQ(pool.allocated(), model.size());
            if (count < 1000 || step % 64 == 0) expect_clean(pool);
        }
    }
}
// Every history of up to 8 calls on three blocks.
TEST(SlotPool, EveryShortHistoryKeepsTheModel) {
    constexpr u32 kCalls = 5, kDepth = 8;
    u32 histories = 1;
    for (u32 d = 0; d < kDepth; ++d) histories *= kCalls;
    for (u32 history = 0; history < histories; ++history) {
        u64 blocks[3], words[1];
        SlotPool pool;
        ASSERT_EQ(pool.init(blocks, sizeof(blocks), 8, 3, words), Error::none);
        u32 live = 0;
        for (u32 d = 0, code = history; d < kDepth; ++d, code /= kCalls) {
            const u32 call = code % kCalls;
            if (call == 0) {
                const auto block = pool.alloc();
                ASSERT_EQ(bool{block}, live != 7);
                u32 number = 3;
                if (block) { ASSERT_EQ(pool.number_of(*block, number), Error::none); }
                ASSERT_EQ(live >> number & 1, 0u);
                live |= u32{1} << number & 7;
            } else if (call == 4) {
                pool.free_all();
                live = 0;
            } else {
                ASSERT_EQ(pool.free(&blocks[call - 1]),
                          live >> (call - 1) & 1 ? Error::none : Error::already_free);
                live &= ~(u32{1} << (call - 1));
            }
            Audit audit;
            pool.verify(audit);
            ASSERT_TRUE(audit.clean()) << audit.result().first << " in history " << history;
            ASSERT_EQ(pool.allocated(), popcount(live));
        }
    }
}
TEST(SlotPool, TheAuditSeesEveryTornWord) {
    Owned owned(8, 200);
    SlotPool& pool = owned.pool;
    for (u32 n = 0; n < 150; ++n) (void)pool.alloc();
    for (u32 n = 0; n < 150; n += 2) (void)pool.free(pool.at(n));
    auto tear = [&](u32 word, u64 bits) {
        owned.words[word] ^= bits;
        Audit audit;
        pool.verify(audit);
        owned.words[word] ^= bits;
        return std::string(audit.result().first);
    };
    EXPECT_EQ(tear(2, u64{1} << 40), "a block is free that was never in use");
    EXPECT_EQ(tear(1, 2), "the count of free blocks is wrong");
    EXPECT_EQ(tear(4, 1), "a summary bit lies about its word");
    EXPECT_EQ(tear(4, 8), "a summary bit lies about its word");
    EXPECT_EQ(tear(4, 16), "a summary bit has no word");
    EXPECT_EQ(tear(0, 0), "");
}
TEST(SlotPool, TheHeadersExampleWorks) {
    alignas(8) static unsigned char blocks[100 * 24];
    static u64 bits[SlotPool::meta_bytes(100) / 8];
    SlotPool pool;
    ASSERT_TRUE(ok(pool.init(blocks, sizeof(blocks), 24, 100, bits)));
    const auto block = pool.alloc();
    ASSERT_TRUE(block);
    EXPECT_EQ(pool.free(*block), Error::none);
}

}  // namespace
}  // namespace quarry
