// SPDX-License-Identifier: MIT
//
// The host platform itself: what it detects, it detects.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

TEST(HostPlatformDeathTest, AThreadThatTakesALockOfALowerOrEqualRankAbortsWithBothNames) {
    EXPECT_DEATH(
        {
            P::Lock pages(QUARRY_LOCK_PAGES);
            P::Lock klass(QUARRY_LOCK_CLASS);
            Guard a(pages);
            Guard b(klass);
        },
        "lock order: CLASS PAGES");
    EXPECT_DEATH(
        {
            P::Lock one(QUARRY_LOCK_CLIENT);
            P::Lock two(QUARRY_LOCK_CLIENT);
            Guard a(one);
            Guard b(two);
        },
        "lock order: CLIENT CLIENT");
}

TEST(HostPlatformDeathTest, SleepingWithALockAsAReaderOrPinnedAborts) {
    EXPECT_DEATH(
        {
            P::Lock lock(QUARRY_LOCK_PAGES);
            Guard guard(lock);
            P::breathe();
        },
        "breathe with a lock held: PAGES");
    EXPECT_DEATH(
        {
            ReadGuard<P> reader;
            P::meta_alloc(64, Context::may_sleep);
        },
        "a sleeping allocation as a reader");
    EXPECT_DEATH(
        {
            PinGuard<P> pin;
            P::meta_alloc(64, Context::may_sleep);
        },
        "a sleeping allocation while pinned");
    EXPECT_DEATH(
        {
            P::Lock lock(QUARRY_LOCK_DEPOT);
            Guard guard(lock);
            P::meta_alloc(64, Context::atomic);
        },
        "an allocation with a lock held: DEPOT");
}

TEST(HostPlatformDeathTest, AWrongOrSecondFreeOfMetadataAborts) {
    EXPECT_DEATH(P::meta_free(P::meta_alloc(64, Context::atomic), 128), "another size");
    EXPECT_DEATH(P::meta_retire(P::meta_alloc(64, Context::atomic), 63), "another size");
    EXPECT_DEATH(
        {
            void* meta = P::meta_alloc(64, Context::atomic);
            P::meta_free(meta, 64);
            P::meta_free(meta, 64);
        },
        "freed twice");
}

TEST(HostPlatformDeathTest, AnUnbalancedReaderOrPinAborts) {
    EXPECT_DEATH(P::read_leave(), "read_leave without read_enter");
    EXPECT_DEATH(P::unpin(), "unpin without pin");
}

TEST(HostPlatform, MetadataIsZeroedAlignedAndCounted) {
    for (const std::size_t bytes : {1, 63, 64, 65, 5000}) {
        auto* meta = static_cast<unsigned char*>(P::meta_alloc(bytes, Context::may_sleep));
        ASSERT_NE(meta, nullptr);
        EXPECT_EQ(reinterpret_cast<u64>(meta) % 64, 0u);
        for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(meta[i], 0);
        EXPECT_EQ(P::meta_bytes(), bytes);
        P::meta_free(meta, bytes);
        EXPECT_EQ(P::meta_bytes(), 0u);
    }
}

TEST(HostPlatform, TheNthAllocationIsRefusedAndNoOther) {
    P::refuse_allocation(3);
    void* got[5];
    for (auto& g : got) g = P::meta_alloc(64, Context::atomic);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(got[i] == nullptr, i == 2);
    EXPECT_EQ(P::refusals(), 1u);
    P::refuse_allocations_from(2);
    EXPECT_NE(got[2] = P::meta_alloc(64, Context::atomic), nullptr);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(P::meta_alloc(64, Context::atomic), nullptr);
    EXPECT_EQ(P::refusals(), 4u);
    for (auto* g : got) P::meta_free(g, 64);
}

TEST(HostPlatform, WhatIsRetiredStaysUntilItsReadersHaveLeft) {
    auto* meta = static_cast<u64*>(P::meta_alloc(64, Context::may_sleep));
    meta[7] = 77;
    std::atomic<int> stage{0};
    std::thread reader([&] {
        P::Thread scope;
        P::read_enter();
        P::read_enter();
        stage = 1;
        while (stage.load() != 2) std::this_thread::yield();
        P::read_leave();
        EXPECT_EQ(meta[7], 77u);
        P::read_leave();
        stage = 3;
    });
    while (stage.load() != 1) std::this_thread::yield();
    P::meta_retire(meta, 64);
    for (int i = 0; i < 200; ++i) P::meta_retire(P::meta_alloc(64, Context::atomic), 64);
    EXPECT_GE(P::retired_blocks(), 201u);  // all newer than the reader, too
    stage = 2;
    reader.join();
    P::settle();
    EXPECT_EQ(P::retired_blocks(), 0u);
}

TEST(HostPlatform, CallsThatWaitForReadersAreMadeOnceAfterThemAndUnderNoLock) {
    static constexpr int kCalls = 200;
    struct Late {
        quarry_os_after after;
        std::atomic<int> calls;
    };
    std::vector<Late> late(kCalls);
    std::atomic<int> stage{0};
    std::thread reader([&] {
        P::Thread scope;
        {
            ReadGuard<P> guard;
            stage = 1;
            while (stage.load() != 2) std::this_thread::yield();
            for (const Late& one : late) EXPECT_EQ(one.calls, 0);
        }
        stage = 3;
    });
    while (stage.load() != 1) std::this_thread::yield();
    const auto fn = [](quarry_os_after* after) {
        EXPECT_TRUE(P::idle());
        ++reinterpret_cast<Late*>(after)->calls;
    };
    P::Lock lock(QUARRY_LOCK_PAGES);
    for (Late& one : late) {
        Guard guard(lock);
        P::after_readers(&one.after, fn);
    }
    EXPECT_EQ(P::waiting_calls(), u64{kCalls});
    stage = 2;
    reader.join();
    P::settle();
    EXPECT_EQ(P::waiting_calls(), 0u);
    for (const Late& one : late) EXPECT_EQ(one.calls, 1);
}

TEST(HostPlatform, ReadersOfALaterTimeDoNotHoldUpWhatWasRetiredBefore) {
    P::meta_retire(P::meta_alloc(64, Context::atomic), 64);
    std::atomic<int> stage{0};
    std::thread reader([&] {
        P::Thread scope;
        ReadGuard<P> guard;
        stage = 1;
        while (stage.load() != 2) std::this_thread::yield();
    });
    while (stage.load() != 1) std::this_thread::yield();
    P::settle();
    EXPECT_EQ(P::retired_blocks(), 0u);
    stage = 2;
    reader.join();
}

TEST(HostPlatform, PointersThatAreSwappedUnderReadersAreNeverSeenFreed) {
    constexpr std::size_t kBytes = 64;
    struct Block {
        u64 platforms[2];
        u64 value[6];
    };
    std::atomic<Block*> current{static_cast<Block*>(P::meta_alloc(kBytes, Context::atomic))};
    std::atomic<bool> stop{false};
    std::atomic<u64> seen{0};
    std::vector<std::thread> readers;
    for (int t = 0; t < 2; ++t)
        readers.emplace_back([&] {
            P::Thread scope;
            while (!stop.load()) {
                ReadGuard<P> guard;
                const Block* b = current.load(std::memory_order_acquire);
                for (int i = 1; i < 6; ++i) EXPECT_EQ(b->value[i], b->value[0]);
                ++seen;
            }
        });
    for (u64 n = 1; n < 20000 || seen.load() < 1000; ++n) {
        auto* fresh = static_cast<Block*>(P::meta_alloc(kBytes, Context::atomic));
        for (auto& v : fresh->value) v = n;
        P::meta_retire(current.exchange(fresh), kBytes);
    }
    stop = true;
    for (auto& r : readers) r.join();
    P::meta_free(current.load(), kBytes);
}

TEST(HostPlatform, ACpuIsAThreadsSlotAndIsGivenBack) {
    P::Thread mine;
    const unsigned here = P::cpu();
    unsigned there = here, again = here;
    std::thread([&] { there = P::cpu(); }).join();
    EXPECT_NE(there, here);
    const unsigned before = P::threads();
    std::thread([&] {
        P::Thread scope;
        again = P::pin();
        P::unpin();
        EXPECT_EQ(P::threads(), before + 1);
    }).join();
    EXPECT_EQ(again, there);
    EXPECT_EQ(P::threads(), before);
    for (int i = 0; i < 200; ++i) std::thread([] { ReadGuard<P> guard; }).join();
}

TEST(HostPlatform, SlotsAreCountedByHold) {
    P::reset_max_slots();
    P::Lock lock(QUARRY_LOCK_PAGES);
    {
        Guard guard(lock);
        P::note_slots(3);
        P::note_slots(4);
        guard.cycle();
        P::note_slots(5);
    }
    EXPECT_EQ(P::max_slots_per_hold(), 7u);
}

TEST(HostPlatform, ZeroingReachesTheMemoryThatStandsBehindAPool) {
    HostBacking memory(4096);
    for (u64 i = 0; i < 4096; ++i) *memory.at(i) = 0xff;
    P::zero(&memory, 100, 50);
    for (u64 i = 0; i < 4096; ++i) ASSERT_EQ(*memory.at(i), i >= 100 && i < 150 ? 0 : 0xff);
    int other;
    P::zero(&other, 0, 4096);  // no backing: counted only
    EXPECT_EQ(P::zeroed_bytes(), 50u + 4096u);
}

TEST(HostPlatform, CorruptionIsRecordedUntilItIsTaken) {
    P::corruption(nullptr, QUARRY_CORRUPT_MAGAZINE, 4096, 7);
    const auto reports = P::take_corruptions();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].what, QUARRY_CORRUPT_MAGAZINE);
    EXPECT_EQ(reports[0].offset, 4096u);
    EXPECT_EQ(reports[0].client, 7u);
    EXPECT_TRUE(P::take_corruptions().empty());
}

}  // namespace
}  // namespace quarry
