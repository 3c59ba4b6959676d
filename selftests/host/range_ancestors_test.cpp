// SPDX-License-Identifier: MIT
//
// What the ancestors of RangeAllocator offer, one capability a test, under their names for it:
// orderly-allocator, and OffsetAllocator, which it names.
#include <gtest/gtest.h>

#include <vector>

#include "../../module/core/range/range_allocator.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

class RangeAncestors : public ::testing::Test {
protected:
    RangeAncestors() {
        EXPECT_EQ(ranges.init({.capacity = 1000, .max_live = 100, .max_capacity = 2000}), Error::none);
    }
    ~RangeAncestors() override {
        Audit audit;
        ranges.verify(audit);
        EXPECT_TRUE(audit.clean()) << audit.result().first;
    }
    RangeAllocator<P> ranges;
};

// ---- orderly-allocator ----

TEST_F(RangeAncestors, OrderlyNewTakesACapacity) {
    EXPECT_EQ(ranges.capacity(), 1000u);
    EXPECT_EQ(ranges.total_available(), 1000u);
}

TEST_F(RangeAncestors, OrderlyAlloc) {
    const auto a = ranges.allocate(10);
    const auto b = ranges.allocate(10);
    ASSERT_TRUE(a && b);
    EXPECT_TRUE(a->offset + 10 <= b->offset || b->offset + 10 <= a->offset);
    EXPECT_EQ(ranges.allocate(981).error(), Error::pool_full);
}

TEST_F(RangeAncestors, OrderlyAllocWithAlign) {
    ASSERT_TRUE(ranges.allocate(3));
    for (u64 align = 1; align <= 256; align *= 2)
        EXPECT_EQ(ranges.allocate(5, align)->offset % align, 0u);
}

TEST_F(RangeAncestors, OrderlyFreeTakesAnAllocation) {
    const auto a = ranges.allocate(10);
    EXPECT_EQ(*ranges.free(*a), 10u);
    EXPECT_EQ(ranges.total_available(), 1000u);
}

TEST_F(RangeAncestors, OrderlyTryReallocateInPlace) {
    const auto a = ranges.allocate(100);
    EXPECT_EQ(*ranges.try_reallocate(*a, 200), 200u);
    EXPECT_EQ(*ranges.try_reallocate(*a, 50), 50u);
    const auto b = ranges.allocate(900);
    EXPECT_EQ(b->offset, 50u);
    EXPECT_EQ(ranges.try_reallocate(*a, 51).error(), Error::cannot_grow);
    EXPECT_EQ(*ranges.size_of(*a), 50u);
}

TEST_F(RangeAncestors, OrderlyGrowCapacity) {
    ASSERT_TRUE(ranges.allocate(1000));
    EXPECT_EQ(ranges.grow_capacity(1500), Error::none);
    EXPECT_EQ(ranges.allocate(500)->offset, 1000u);
}

TEST_F(RangeAncestors, OrderlyReset) {
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(ranges.allocate(7));
    ranges.reset();
    EXPECT_TRUE(ranges.is_empty());
    EXPECT_EQ(ranges.largest_available(), 1000u);
}

TEST_F(RangeAncestors, OrderlyTotalAndLargestAvailable) {
    std::vector<RangeHandle> all;
    for (int i = 0; i < 10; ++i) all.push_back(*ranges.allocate(100));
    EXPECT_EQ(ranges.largest_available(), 0u);
    ASSERT_TRUE(ranges.free(all[1]));
    ASSERT_TRUE(ranges.free(all[5]));
    ASSERT_TRUE(ranges.free(all[6]));
    EXPECT_EQ(ranges.total_available(), 300u);
    EXPECT_EQ(ranges.largest_available(), 200u);
}

TEST_F(RangeAncestors, OrderlyIsEmpty) {
    EXPECT_TRUE(ranges.is_empty());
    const auto a = ranges.allocate(1);
    EXPECT_FALSE(ranges.is_empty());
    ASSERT_TRUE(ranges.free(*a));
    EXPECT_TRUE(ranges.is_empty());
}

TEST_F(RangeAncestors, OrderlyReportFreeRegions) {
    const auto a = ranges.allocate(100);
    ASSERT_TRUE(ranges.allocate(100));
    ASSERT_TRUE(ranges.free(*a));
    std::vector<std::pair<u64, u64>> seen;
    ranges.for_each_free([&](const RangeView& v) { seen.emplace_back(v.offset, v.size); });
    EXPECT_EQ(seen, (std::vector<std::pair<u64, u64>>{{0, 100}, {200, 800}}));
}

TEST_F(RangeAncestors, OrderlyAnAllocationKnowsItsOffsetSizeAndRange) {
    ASSERT_TRUE(ranges.allocate(10));
    const auto a = ranges.allocate(20);
    EXPECT_EQ(a->offset, 10u);
    EXPECT_EQ(*ranges.size_of(*a), 20u);
    const auto range = ranges.range_at(a->offset + 5);
    EXPECT_EQ(range->offset, 10u);
    EXPECT_EQ(range->size, 20u);
    EXPECT_TRUE(range->live);
}

TEST_F(RangeAncestors, OrderlyBestFit) {
    std::vector<RangeHandle> holes;
    for (const u64 n : {40, 20, 30}) {
        holes.push_back(*ranges.allocate(n));
        ASSERT_TRUE(ranges.allocate(1));
    }
    for (const auto& h : holes) ASSERT_TRUE(ranges.free(h));
    EXPECT_EQ(ranges.allocate(25)->offset, holes[2].offset);
}

TEST_F(RangeAncestors, OrderlyImmediateCoalescing) {
    std::vector<RangeHandle> all;
    for (int i = 0; i < 100; ++i) all.push_back(*ranges.allocate(10));
    for (const auto& a : all) ASSERT_TRUE(ranges.free(a));
    EXPECT_EQ(ranges.report().free_ranges, 1u);
}

TEST_F(RangeAncestors, OrderlyMetadataIsApartFromThePool) {
    // The pool is offsets of nothing at all: a capacity beyond any memory works as well.
    RangeAllocator<P> vast;
    ASSERT_EQ(vast.init({.capacity = u64{1} << 61, .max_live = 4}), Error::none);
    EXPECT_TRUE(vast.allocate(u64{1} << 60, u64{1} << 60));
    EXPECT_TRUE(vast.allocate(u64{1} << 60, u64{1} << 60));
    EXPECT_EQ(vast.allocate(1).error(), Error::pool_full);
}

TEST_F(RangeAncestors, OrderlyNodesArePreallocated) {
    const u64 before = P::allocations();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(ranges.allocate(2, 4));
    EXPECT_EQ(ranges.allocate(2).error(), Error::out_of_nodes);
    EXPECT_EQ(P::allocations(), before);
}

// ---- OffsetAllocator ----

TEST_F(RangeAncestors, OffsetAllocatorNodeIndicesAsHandles) {
    const auto a = ranges.allocate(10);
    const auto b = ranges.allocate(10);
    EXPECT_NE(a->node, b->node);
    EXPECT_EQ(*ranges.free(*a), 10u);
    EXPECT_EQ(*ranges.free(*b), 10u);
}

TEST_F(RangeAncestors, OffsetAllocatorStorageReport) {
    ASSERT_TRUE(ranges.allocate(400));
    const RangeReport r = ranges.report();
    EXPECT_EQ(r.capacity, 1000u);
    EXPECT_EQ(r.free_bytes, 600u);
    EXPECT_EQ(r.largest, 600u);
    EXPECT_EQ(r.free_ranges, 1u);
    EXPECT_EQ(r.live, 1u);
    EXPECT_EQ(r.max_live, 100u);
}

TEST_F(RangeAncestors, OffsetAllocatorStorageReportFull) {
    std::vector<RangeHandle> all;
    for (const u64 n : {10, 1, 20, 1, 10, 1, 300, 1}) all.push_back(*ranges.allocate(n));
    for (size_t i = 0; i < all.size(); i += 2) ASSERT_TRUE(ranges.free(all[i]));
    std::vector<std::pair<u64, u64>> seen;
    ranges.for_each_free_size([&](u64 bytes, u64 n) { seen.emplace_back(bytes, n); });
    EXPECT_EQ(seen, (std::vector<std::pair<u64, u64>>{{10, 2}, {20, 1}, {300, 1}, {656, 1}}));
}

TEST(RangeAncestorsLarge, OffsetAllocatorStorageReportFullCountsLargeSizesByTheirBin) {
    RangeAllocator<P> ranges;
    ASSERT_EQ(ranges.init({.capacity = 1 << 20, .max_live = 100}), Error::none);
    std::vector<RangeHandle> all;
    for (const u64 n : {4096, 1, 4100, 1, 8192, 1, 8200, 1, 8320, 1}) all.push_back(*ranges.allocate(n));
    ASSERT_TRUE(ranges.allocate(ranges.largest_available()));
    for (size_t i = 0; i < all.size(); i += 2) ASSERT_TRUE(ranges.free(all[i]));
    std::vector<std::pair<u64, u64>> seen;
    ranges.for_each_free_size([&](u64 bytes, u64 n) { seen.emplace_back(bytes, n); });
    EXPECT_EQ(seen, (std::vector<std::pair<u64, u64>>{{4096, 2}, {8192, 2}, {8320, 1}}));
}

TEST_F(RangeAncestors, OffsetAllocatorAllocationSize) {
    const auto a = ranges.allocate(123);
    EXPECT_EQ(*ranges.size_of(*a), 123u);
    EXPECT_EQ(*ranges.size_of(a->offset), 123u);
}

TEST_F(RangeAncestors, OffsetAllocatorMostAllocationsAreGivenAtConstruction) {
    EXPECT_EQ(ranges.max_live(), 100u);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(ranges.allocate(1));
    EXPECT_EQ(ranges.allocate(1).error(), Error::out_of_nodes);
}

}  // namespace
}  // namespace quarry
