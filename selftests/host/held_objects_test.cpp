// SPDX-License-Identifier: MIT
//
// Runs of a heap, and slots of a fixed pool, that I/O holds when their owner frees them or dies:
// nobody else gets them before they are let go, they are counted apart, and nothing is lost.
#include "pool_fixture.hpp"

#include <thread>

#include "../../module/core/pool/share_calls.hpp"

namespace quarry {
namespace {

class HeldObjectsTest : public PoolTest {
protected:
    void SetUp() override {
        PoolConfig config;
        config.hold_pinned = true;
        make(64, 64, config);
        a = &join();
        b = &join();
    }
    u64 held() { return pool->held()->bytes() / kPageBytes; }
    // What a client gets of the pool until it says no, in pages.
    std::set<Offset> take_all(TestClient& c) {
        std::set<Offset> got;
        for (;;) {
            const auto one = alloc(c, kPageBytes);
            if (one.empty()) return got;
            EXPECT_TRUE(got.insert(one[0]).second);
        }
    }

    TestClient* a = nullptr;
    TestClient* b = nullptr;
};

TEST_F(HeldObjectsTest, AFreedRunThatIsHeldGoesToNobodyUntilItIsLetGo) {
    const Offset run = alloc(*a, 4 * kPageBytes)[0];
    P::hold(run + 2 * kPageBytes);
    EXPECT_EQ(free(*a, run), Error::none);
    EXPECT_EQ(held(), 4u);
    EXPECT_EQ(a->objects(), 0u);
    EXPECT_EQ(a->bytes(), 0u) << "it is not its last owner's any more";
    verify();
    EXPECT_EQ(audited.objects, 0u) << "nor anybody's";
    const auto rest = take_all(*b);
    EXPECT_EQ(rest.size(), 60u);
    for (u64 i = 0; i < 4; ++i) EXPECT_FALSE(rest.count(run + i * kPageBytes));
    EXPECT_EQ(last.why, Error::pool_full);

    P::let_go(run + 2 * kPageBytes);
    EXPECT_EQ(alloc(*b, 4 * kPageBytes), std::vector<Offset>{run}) << "before it says full";
    EXPECT_EQ(held(), 0u);
    verify();
}

TEST_F(HeldObjectsTest, WhatADeadClientLeavesIsHeldWhateverTheBound) {
    const auto runs = alloc(*a, 8 * kPageBytes, 8);
    ASSERT_EQ(runs.size(), 8u);
    for (const Offset run : runs) P::hold(run);
    const auto taken = reap(*a);
    EXPECT_EQ(taken.objects, 8u);
    EXPECT_EQ(taken.bytes, 64 * kPageBytes);
    EXPECT_EQ(held(), 64u);
    verify();
    EXPECT_TRUE(alloc(*b, 8).empty()) << "slots want pages too";
    for (u64 i = 0; i < 8; ++i) {
        P::let_go(runs[i]);
        EXPECT_EQ(pool->held()->recheck(), 8u);
        EXPECT_EQ(held(), 64 - 8 * (i + 1));
        verify();
    }
    EXPECT_FALSE(alloc(*b, 8).empty());
}

TEST_F(HeldObjectsTest, AFreeThatWouldHoldMoreThanAQuarterIsBusyAndChangesNothing) {
    const auto runs = alloc(*a, 8 * kPageBytes, 3);
    for (const Offset run : runs) P::hold(run);
    EXPECT_EQ(free_all(*a, runs), Error::busy);
    EXPECT_EQ(last.done, 2u);
    EXPECT_EQ(refusal.offset, runs[2]);
    EXPECT_EQ(held(), 16u);
    EXPECT_EQ(a->objects(), 1u);
    verify();
    const Offset other = alloc(*a, kPageBytes)[0];
    EXPECT_EQ(free(*a, other), Error::none) << "what is not held may go";
    P::let_go(runs[2]);
    EXPECT_EQ(free(*a, runs[2]), Error::none);
    EXPECT_EQ(held(), 16u);
    P::let_go(runs[0]);
    P::let_go(runs[1]);
    EXPECT_EQ(pool->held()->recheck(), 16u);
    expect_fresh(64);
}

TEST_F(HeldObjectsTest, AHeldRunIsFreeToEveryCall) {
    const Offset run = alloc(*a, kPageBytes)[0];
    P::hold(run);
    EXPECT_EQ(free(*a, run), Error::none);
    EXPECT_EQ(free(*a, run), Error::already_free);
    EXPECT_EQ(free(*b, run), Error::already_free);
    EXPECT_EQ(move(*a, *b, {run}), Error::already_free);
    EXPECT_EQ(ShareCalls<P>(*pool).share(*a, *b, &run, 1, refusal).why, Error::already_free);
    EXPECT_EQ(held(), 1u);
    P::let_go(run);
}

TEST_F(HeldObjectsTest, AHandedOrSharedRunIsHeldWhenItsLastOwnerFreesIt) {
    const auto runs = alloc(*a, kPageBytes, 2);
    for (const Offset run : runs) P::hold(run);
    EXPECT_EQ(move(*a, *b, {runs[0]}), Error::none) << "its owner's word; nobody is given it";
    EXPECT_EQ(ShareCalls<P>(*pool).share(*a, *b, &runs[1], 1, refusal).why, Error::none);
    EXPECT_EQ(free(*b, runs[0]), Error::none);
    EXPECT_EQ(held(), 1u);
    EXPECT_EQ(free(*b, runs[1]), Error::none);
    EXPECT_EQ(held(), 1u) << "it has a holder";
    EXPECT_EQ(free(*a, runs[1]), Error::none);
    EXPECT_EQ(held(), 2u);
    verify();
    for (const Offset run : runs) P::let_go(run);
}

TEST_F(HeldObjectsTest, ManyAreLookedAtThoughTheFirstOnesStayHeld) {
    const auto runs = alloc(*a, kPageBytes, 64);
    for (const Offset run : runs) P::hold(run);
    reap(*a);
    // Each other one: no step of 32 is all held or all let go.
    for (std::size_t i = 0; i < runs.size(); i += 2) P::let_go(runs[i]);
    EXPECT_EQ(pool->held()->recheck(), 32u);
    EXPECT_EQ(held(), 32u);
    verify();
    EXPECT_EQ(take_all(*b).size(), 32u);
    for (std::size_t i = 1; i < runs.size(); i += 2) P::let_go(runs[i]);
    EXPECT_EQ(pool->held()->recheck(), 32u);
    verify();
}

TEST_F(HeldObjectsTest, APoolEndsWithRunsThatAreHeld) {
    const Offset run = alloc(*a, kPageBytes)[0];
    P::hold(run);
    reap(*a);
    drop();
    P::let_go(run);
}

TEST_F(HeldObjectsTest, OnlyPoolsOfWholePagesHold) {
    PoolConfig config;
    config.hold_pinned = true;
    config.max_pages = 64;
    config.max_clients = 1;
    EXPECT_EQ(check_pool<P>(config), Error::none);
    config.fixed = true;
    config.object_size = kPageBytes;
    config.object_count = 4;
    EXPECT_EQ(check_pool<P>(config), Error::none);
    config.object_size = kPageBytes + 8;  // two objects share a page
    EXPECT_EQ(check_pool<P>(config), Error::not_supported);
    config.object_size = 64;
    EXPECT_EQ(check_pool<P>(config), Error::not_supported);
    PoolConfig ranges;
    ranges.hold_pinned = true;
    ranges.max_pages = 1;
    ranges.max_clients = 1;
    ranges.range = {.capacity = 4096, .granule = 256, .max_live = 4, .aligns = {}};
    EXPECT_EQ(check_pool<P>(ranges), Error::not_supported);
}

// Frees, rechecks and allocations on two threads, holds that come and go: the books are exact.
TEST_F(HeldObjectsTest, RechecksBesideFreesLoseNothing) {
    const auto work = [&](TestClient* me, u32 seed) {
        std::mt19937 random(seed);
        for (int i = 0; i < 3000; ++i) {
            Offset run;
            const auto got =
                pool->alloc(*me, (1 + random() % 3) * kPageBytes, 8, 1, &run, Context::may_sleep, false);
            if (!got.done) continue;
            const bool hold = random() % 2;
            if (hold) P::hold(run);
            PoolRefusal mine;
            while (pool->free(*me, &run, 1, mine).why == Error::busy) (void)pool->held()->recheck();
            if (hold) P::let_go(run);
            if (random() % 4 == 0) (void)pool->held()->recheck();
        }
    };
    std::thread other([&] { work(b, 2); });
    work(a, 1);
    other.join();
    (void)pool->held()->recheck();
    EXPECT_EQ(held(), 0u);
    expect_fresh(64);
}

// A fixed pool of 32 objects of two pages each.
class HeldSlotsTest : public PoolTest {
protected:
    static constexpr u64 kSize = 2 * kPageBytes;
    static constexpr u64 kObjects = 32;

    void SetUp() override {
        PoolConfig config;
        config.hold_pinned = true;
        config.fixed = true;
        config.object_size = kSize;
        config.object_count = kObjects;
        make(64, 64, config);
        ASSERT_EQ(pool->populate(), Error::none);
        a = &join();
        b = &join();
    }
    u64 held() { return pool->held()->bytes() / kSize; }

    TestClient* a = nullptr;
    TestClient* b = nullptr;
};

TEST_F(HeldSlotsTest, AFreedSlotThatIsHeldGoesToNobodyUntilItIsLetGo) {
    const Offset slot = alloc(*a, kSize)[0];
    P::hold(slot + kPageBytes);
    EXPECT_EQ(free(*a, slot), Error::none);
    EXPECT_EQ(held(), 1u);
    EXPECT_EQ(a->objects(), 0u);
    EXPECT_EQ(a->bytes(), 0u);
    verify();
    EXPECT_EQ(audited.objects, 0u) << "it is nobody's";
    const auto rest = alloc(*b, kSize, kObjects);
    EXPECT_EQ(rest.size(), kObjects - 1);
    EXPECT_EQ(last.why, Error::pool_full);
    EXPECT_EQ(std::count(rest.begin(), rest.end(), slot), 0);
    P::let_go(slot + kPageBytes);
    EXPECT_EQ(alloc(*b, kSize), std::vector<Offset>{slot}) << "before it says full";
    EXPECT_EQ(held(), 0u);
    EXPECT_TRUE(alloc(*b, kSize).empty());
    verify();
}

TEST_F(HeldSlotsTest, WhatADeadClientLeavesIsHeldWhateverTheBound) {
    const auto slots = alloc(*a, kSize, kObjects);
    ASSERT_EQ(slots.size(), kObjects);
    for (std::size_t i = 0; i < slots.size(); ++i)
        if (i % 4) P::hold(slots[i]);
    const auto taken = reap(*a);
    EXPECT_EQ(taken.objects, kObjects);
    EXPECT_EQ(taken.bytes, kObjects * kSize);
    EXPECT_EQ(held(), 24u);
    verify();
    EXPECT_EQ(alloc(*b, kSize, kObjects).size(), 8u);
    for (std::size_t i = 0; i < slots.size(); ++i)
        if (i % 4) P::let_go(slots[i]);
    EXPECT_EQ(pool->held()->recheck(), 48u);
    EXPECT_EQ(alloc(*b, kSize, kObjects).size(), 24u);
    verify();
}

TEST_F(HeldSlotsTest, AFreeThatWouldHoldMoreThanAQuarterIsBusyAndChangesNothing) {
    const auto slots = alloc(*a, kSize, 9);
    for (const Offset slot : slots) P::hold(slot);
    EXPECT_EQ(free_all(*a, slots), Error::busy);
    EXPECT_EQ(last.done, 8u);
    EXPECT_EQ(refusal.offset, slots[8]);
    EXPECT_EQ(a->objects(), 1u);
    verify();
    const Offset other = alloc(*a, kSize)[0];
    EXPECT_EQ(free(*a, other), Error::none) << "what is not held may go";
    for (const Offset slot : slots) P::let_go(slot);
    EXPECT_EQ(free(*a, slots[8]), Error::none);
    EXPECT_EQ(pool->held()->recheck(), 16u);
    EXPECT_EQ(alloc(*a, kSize, kObjects).size(), kObjects);
    verify();
}

TEST_F(HeldSlotsTest, AHeldSlotIsFreeToEveryCall) {
    const Offset slot = alloc(*a, kSize)[0];
    P::hold(slot);
    EXPECT_EQ(free(*a, slot), Error::none);
    EXPECT_EQ(free(*a, slot), Error::already_free);
    EXPECT_EQ(free(*b, slot), Error::already_free);
    EXPECT_EQ(move(*a, *b, {slot}), Error::already_free);
    EXPECT_EQ(ShareCalls<P>(*pool).share(*a, *b, &slot, 1, refusal).why, Error::already_free);
    EXPECT_EQ(held(), 1u);
    P::let_go(slot);
}

TEST_F(HeldSlotsTest, AHandedOrSharedSlotIsHeldWhenItsLastOwnerFreesIt) {
    const auto slots = alloc(*a, kSize, 2);
    for (const Offset slot : slots) P::hold(slot);
    EXPECT_EQ(move(*a, *b, {slots[0]}), Error::none);
    EXPECT_EQ(ShareCalls<P>(*pool).share(*a, *b, &slots[1], 1, refusal).why, Error::none);
    EXPECT_EQ(free(*b, slots[0]), Error::none);
    EXPECT_EQ(held(), 1u);
    EXPECT_EQ(free(*b, slots[1]), Error::none);
    EXPECT_EQ(held(), 1u) << "it has a holder";
    EXPECT_EQ(free(*a, slots[1]), Error::none);
    EXPECT_EQ(held(), 2u);
    verify();
    for (const Offset slot : slots) P::let_go(slot);
    EXPECT_EQ(pool->held()->recheck(), 4u);
    EXPECT_EQ(alloc(*b, kSize, kObjects).size(), kObjects);
    verify();
}

// More clients have used a slab than its dictionary has entries: the rest own by the overflow table.
TEST_F(HeldSlotsTest, SlotsOfTheOverflowTableAreHeldToo) {
    for (u32 i = 0; i < kOwnerEntries; ++i) {
        TestClient& c = join();
        const auto all = alloc(c, kSize, kObjects);
        ASSERT_EQ(all.size(), kObjects);
        ASSERT_EQ(free_all(c, all), Error::none);
    }
    const auto slots = alloc(*a, kSize, 8);
    ASSERT_EQ(slots.size(), 8u);
    ASSERT_EQ(pool->overflow().used(), 8u);
    for (const Offset slot : slots) P::hold(slot);
    EXPECT_EQ(free(*a, slots[0]), Error::none);
    EXPECT_EQ(pool->overflow().used(), 7u);
    EXPECT_EQ(held(), 1u);
    verify();
    P::let_go(slots[1]);
    EXPECT_EQ(reap(*a).objects, 7u);
    EXPECT_EQ(held(), 7u);
    EXPECT_EQ(pool->overflow().used(), 0u);
    verify();
    EXPECT_EQ(alloc(*b, kSize, kObjects).size(), kObjects - 7);
    for (const Offset slot : slots)
        if (slot != slots[1]) P::let_go(slot);
    EXPECT_EQ(pool->held()->recheck(), 14u);
    EXPECT_EQ(alloc(*b, kSize, kObjects).size(), 7u);
    verify();
}

TEST_F(HeldSlotsTest, APoolEndsWithSlotsThatAreHeld) {
    const Offset slot = alloc(*a, kSize)[0];
    P::hold(slot);
    reap(*a);
    drop();
    P::let_go(slot);
}

TEST_F(HeldSlotsTest, RechecksBesideFreesLoseNothing) {
    const auto work = [&](TestClient* me, u32 seed) {
        std::mt19937 random(seed);
        for (int i = 0; i < 3000; ++i) {
            Offset slot;
            if (!pool->alloc(*me, kSize, 8, 1, &slot, Context::may_sleep, false).done) continue;
            const bool hold = random() % 2;
            if (hold) P::hold(slot);
            PoolRefusal mine;
            while (pool->free(*me, &slot, 1, mine).why == Error::busy) (void)pool->held()->recheck();
            if (hold) P::let_go(slot);
            if (random() % 4 == 0) (void)pool->held()->recheck();
        }
    };
    std::thread other([&] { work(b, 2); });
    work(a, 1);
    other.join();
    (void)pool->held()->recheck();
    EXPECT_EQ(held(), 0u);
    EXPECT_EQ(alloc(*a, kSize, kObjects).size(), kObjects);
    verify();
}

}  // namespace
}  // namespace quarry
