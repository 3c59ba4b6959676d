// SPDX-License-Identifier: MIT
//
// How much one call of a heap does at a time: a few slots, never an array, and what is long never pinned.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "heap_fixture.hpp"

namespace {

using namespace quarry;
using P = HostPlatform;

class HeapStepsTest : public HeapFixture<P> {};

TEST_F(HeapStepsTest, AFreeThatFindsEverythingFullMovesAFewSlotsAndNotAnArray) {
    make(8192);
    std::vector<Offset> all(20000);
    ASSERT_EQ(heap->alloc_bulk(64, 8, 20000, all.data()).done, 20000u);
    const u32 batch = batch_of(64);
    u32 steps = 0;
    for (const Offset o : all) {
        const u64 home = P::remote_frees();
        const u64 drained = P::drained();
        ASSERT_EQ(heap->free(o), Error::none);
        if (P::remote_frees() == home) continue;
        ++steps;
        ASSERT_EQ(P::drained() - drained, 16u);
        ASSERT_EQ(P::remote_frees() - home, 16u);
    }
    EXPECT_GT(steps, (20000 - 2 * batch - kDepotBytes / 64) / 16 - 1);
    expect_fresh();
}

TEST_F(HeapStepsTest, AnAllocationThatFindsEverythingEmptyTakesAFewSlotsAndNotAnArray) {
    make(8192);
    for (u32 i = 0; i < 2000; ++i) {
        const u64 refilled = P::refilled();
        alloc(64);
        ASSERT_LE(P::refilled() - refilled, kStepSlots);
    }
}

// Two threads of their own took 13 times as long.
TEST_F(HeapStepsTest, TwoCpusThatRefillInTurnShareHardlyALineOfLiveBytes) {
    make(1024);
    Cpu other;
    std::set<u64> lines[2];
    const auto take = [&](int who) {
        for (int i = 0; i < 40; ++i) lines[who].insert(alloc(64) / (64 * 64));  // a byte for 64 bytes
    };
    for (int round = 0; round < 30; ++round) {
        take(0);
        other.run([&] { take(1); });
    }
    u64 shared = 0;
    for (const u64 line : lines[0]) shared += lines[1].count(line);
    // What the one leaves of its part of a slab, the other takes before there is a new slab.
    EXPECT_LE(shared, lines[0].size() / 4) << "of " << lines[0].size();
}

TEST_F(HeapStepsTest, WhileACpuIsPinnedNothingIsAllocatedAndNothingGoesHome) {
    make(8192);
    const u64 before = P::long_while_pinned();
    std::mt19937 random(1);
    std::vector<Offset> held;
    for (u32 i = 0; i < 60000; ++i) {
        const u64 size = u64{8} << random() % 13;
        if (i % 20000 < 12000) {
            if (const auto o = heap->alloc(size)) held.push_back(*o);
        } else if (!held.empty()) {
            std::swap(held[random() % held.size()], held.back());
            ASSERT_EQ(heap->free(held.back()), Error::none);
            held.pop_back();
        }
        if (i % 7000 == 0) heap->drain();
    }
    for (const Offset o : held) ASSERT_EQ(heap->free(o), Error::none);
    heap->drain();
    EXPECT_EQ(P::long_while_pinned(), before);
    expect_fresh();
}

TEST_F(HeapStepsTest, ADrainGivesTheArraysOfMagazinesBack) {
    make(1024);
    std::vector<Offset> all(1000);
    const u64 fresh = heap->stat().meta_bytes;
    ASSERT_EQ(heap->alloc_bulk(64, 8, 1000, all.data()).done, 1000u);
    ASSERT_EQ(heap->free_bulk(all.data(), 1000).done, 1000u);
    EXPECT_GE(heap->stat().meta_bytes, fresh + 2 * 4096);
    heap->drain();
    EXPECT_EQ(heap->stat().meta_bytes, fresh);
    ASSERT_EQ(heap->free(alloc(64)), Error::none);
    expect_fresh();
}

}  // namespace
