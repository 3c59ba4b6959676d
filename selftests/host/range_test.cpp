// SPDX-License-Identifier: MIT
//
// RangeAllocator, one behaviour a test: shapes and their metadata, best fit and coalescing,
// alignment, each error of each call, resizing, growing, what its ancestors offer, and the
// audit, which sees what is planted.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "../../module/core/range/range_allocator.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using Ranges = RangeAllocator<P>;

#if QUARRY_HOST_TSAN || defined(__SANITIZE_ADDRESS__)
constexpr u64 kMany = 100'000;
#else
constexpr u64 kMany = 1'000'000;
#endif

template <typename R>
void expect_clean(const R& ranges) {
    Audit audit;
    ranges.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
}

// 64 KiB in granules of 16, indices for 64 and 1024.
class RangeTest : public ::testing::Test {
protected:
    RangeTest() {
        EXPECT_EQ(ranges.init({.capacity = 65536, .granule = 16, .max_live = 1000,
                               .aligns = {64, 1024}}),
                  Error::none);
    }
    ~RangeTest() override { expect_clean(ranges); }

    Offset take(u64 size, u64 align = 1) {
        const auto got = ranges.allocate(size, align);
        EXPECT_TRUE(got) << static_cast<int>(got.error());
        return got ? got->offset : ~u64{0};
    }
    Ranges ranges;
};

// ---- the example of the header ----

namespace example {

using Platform = HostPlatform;
u64 uploaded, used;
void upload(u64 offset) { uploaded = offset; }
void use(u64 size) { used = size; }

void texture() {
    quarry::RangeAllocator<Platform> ranges;
    // 64 MiB in granules of 256 bytes, at most 10,000 ranges live, 4 KiB alignment indexed.
    const quarry::RangeShape shape{.capacity = 64 << 20, .granule = 256, .max_live = 10000,
                                   .aligns = {4096}};
    if (!ok(ranges.init(shape))) return;       // the only call that allocates
    const auto texture = ranges.allocate(100'000, 4096);
    if (!texture) return;                      // texture.error() says why
    upload(texture->offset);                   // 0 .. capacity, in bytes
    if (auto size = ranges.try_reallocate(*texture, 90'000)) use(*size);
    if (!ranges.free(*texture)) return;        // or by offset: ranges.free(texture->offset)
}

}  // namespace example

TEST(Range, TheExampleOfTheHeaderWorks) {
    example::uploaded = 1;
    example::texture();
    EXPECT_EQ(example::uploaded, 0u);
    EXPECT_EQ(example::used, 90'112u);
}

// ---- shapes and metadata ----

TEST(Range, RequiredMetadataIsWhatInitTakes) {
    const RangeShape shapes[] = {
        {.capacity = 1, .max_live = 1},
        {.capacity = 64, .granule = 64, .max_live = 1},
        {.capacity = 4095, .max_live = 77, .aligns = {2}},
        {.capacity = 4096, .max_live = 4096, .aligns = {2, 4, 8}},
        {.capacity = u64{1} << 62, .max_live = 12345, .aligns = {0, 0, 4096}},
        {.capacity = u64{7} << 40, .granule = 4096, .max_live = 100000},
        {.capacity = 100, .max_live = 10, .max_capacity = 1'000'000},
    };
    for (const RangeShape& shape : shapes) {
        Ranges ranges;
        ASSERT_EQ(ranges.init(shape), Error::none);
        EXPECT_EQ(*Ranges::required_meta_bytes(shape), P::meta_bytes());
        EXPECT_EQ(ranges.meta_bytes(), P::meta_bytes());
        expect_clean(ranges);
    }
}

TEST(Range, MetadataIsBoundedByWhatMayLiveAndNotByTheCapacity) {
    const u64 small = *Ranges::required_meta_bytes({.capacity = 1 << 20, .max_live = 10000});
    const u64 huge = *Ranges::required_meta_bytes({.capacity = u64{1} << 62, .max_live = 10000});
    // Starts in full, 64 bytes a bucket of eight; the index by size of a larger capacity.
    EXPECT_LT(huge, small + 10000 * 64 + 32'768);
    EXPECT_LT(huge, 10000u * 180);
}

TEST(Range, NothingIsAllocatedAfterInit) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 5000, .max_live = 5000, .aligns = {16}}), Error::none);
    const u64 before = P::allocations();
    P::refuse_allocations_from(1);
    std::vector<Offset> live;
    while (const auto got = ranges.allocate(1)) live.push_back(got->offset);
    EXPECT_EQ(live.size(), 5000u);
    for (size_t i = 0; i < live.size(); i += 2) EXPECT_TRUE(ranges.free(live[i]));
    for (size_t i = 1; i < live.size(); i += 2) EXPECT_TRUE(ranges.free(live[i]));
    ranges.reset();
    EXPECT_EQ(P::allocations(), before);
    EXPECT_EQ(P::refusals(), 0u);
    P::refuse_allocation(0);
    expect_clean(ranges);
}

TEST(Range, RefusedMetadataIsAnErrorAndNothingIsLeft) {
    const RangeShape shape{.capacity = 1000, .max_live = 10, .aligns = {8}};
    Ranges ranges;
    u64 refused = 0;
    for (u64 n = 1;; ++n) {
        P::refuse_allocation(n);
        const Error e = ranges.init(shape);
        if (ok(e)) break;
        EXPECT_EQ(e, Error::no_memory);
        EXPECT_EQ(P::meta_blocks(), 0u);
        EXPECT_EQ(ranges.allocate(1).error(), Error::uninitialised);
        ++refused;
    }
    P::refuse_allocation(0);
    EXPECT_EQ(refused, 2u);
    EXPECT_TRUE(ranges.allocate(1));
}

TEST(Range, AWrongShapeIsRefused) {
    const auto error = [](const RangeShape& shape) {
        Ranges ranges;
        const Error e = ranges.init(shape);
        EXPECT_EQ(Ranges::required_meta_bytes(shape).error(), e);
        return e;
    };
    EXPECT_EQ(error({.capacity = 0, .max_live = 1}), Error::invalid);
    EXPECT_EQ(error({.capacity = 10, .max_live = 0}), Error::invalid);
    EXPECT_EQ(error({.capacity = 10, .granule = 0, .max_live = 1}), Error::invalid);
    EXPECT_EQ(error({.capacity = 12, .granule = 6, .max_live = 1}), Error::invalid);
    EXPECT_EQ(error({.capacity = 12, .granule = 8, .max_live = 1}), Error::invalid);
    EXPECT_EQ(error({.capacity = 16, .granule = 8, .max_live = 1, .max_capacity = 20}), Error::invalid);
    EXPECT_EQ(error({.capacity = 16, .granule = 8, .max_live = 1, .max_capacity = 8}), Error::invalid);
    EXPECT_EQ(error({.capacity = 16, .granule = 8, .max_live = 1, .aligns = {8}}), Error::invalid);
    EXPECT_EQ(error({.capacity = 16, .granule = 8, .max_live = 1, .aligns = {48}}), Error::invalid);
    EXPECT_EQ(error({.capacity = 16, .max_live = 1, .aligns = {4, 0, 4}}), Error::invalid);
    EXPECT_EQ(error({.capacity = u64{1} << 63, .max_live = 1}), Error::too_large);
    EXPECT_EQ(error({.capacity = u64{1} << 40, .max_live = (u64{1} << 28) + 1}), Error::too_large);
    EXPECT_EQ(error({.capacity = u64{1} << 63, .granule = 2, .max_live = 1}), Error::none);
    using Narrow = RangeAllocator<P, u32>;
    EXPECT_EQ(Narrow().init({.capacity = u64{1} << 31, .max_live = 1}), Error::too_large);
    EXPECT_EQ(Narrow().init({.capacity = (u64{1} << 31) - 1, .max_live = 1}), Error::none);
}

TEST(Range, BeforeInitEveryCallIsUninitialised) {
    Ranges ranges;
    EXPECT_EQ(ranges.allocate(1).error(), Error::uninitialised);
    EXPECT_EQ(ranges.allocate(0).error(), Error::uninitialised);
    EXPECT_EQ(ranges.free(Offset{0}).error(), Error::uninitialised);
    EXPECT_EQ(ranges.free(RangeHandle{0, 1}).error(), Error::uninitialised);
    EXPECT_EQ(ranges.try_reallocate(Offset{0}, 1).error(), Error::uninitialised);
    EXPECT_EQ(ranges.size_of(Offset{0}).error(), Error::uninitialised);
    EXPECT_EQ(ranges.find(0).error(), Error::uninitialised);
    EXPECT_EQ(ranges.range_at(0).error(), Error::uninitialised);
    EXPECT_EQ(ranges.grow_capacity(1), Error::uninitialised);
    EXPECT_EQ(ranges.required_growth_bytes(1).error(), Error::uninitialised);
    EXPECT_EQ(ranges.shrink_capacity(1), Error::uninitialised);
    EXPECT_EQ(ranges.capacity() + ranges.total_available() + ranges.largest_available(), 0u);
    EXPECT_TRUE(ranges.is_empty());
    ranges.reset();
    ranges.for_each_live([](const RangeView&) { FAIL(); });
    ranges.for_each_free_size([](u64, u64) { FAIL(); });
    expect_clean(ranges);
}

TEST_F(RangeTest, ASecondInitIsRefused) {
    const Offset at = take(100);
    EXPECT_EQ(ranges.init({.capacity = 10, .max_live = 1}), Error::initialised);
    EXPECT_EQ(*ranges.size_of(at), 112u);
}

// ---- best fit, coalescing ----

TEST_F(RangeTest, TheSmallestRangeThatFitsIsTaken) {
    // Holes of 3, 9, 5 and 7 granules, walls between them.
    std::vector<Offset> holes;
    for (const u64 n : {3, 9, 5, 7}) {
        holes.push_back(take(n * 16));
        take(16);
    }
    for (const Offset h : holes) EXPECT_TRUE(ranges.free(h));
    EXPECT_EQ(take(4 * 16), holes[2]);
    EXPECT_EQ(take(3 * 16), holes[0]);
    EXPECT_EQ(take(6 * 16), holes[3]);
    EXPECT_EQ(take(8 * 16), holes[1]);
    // What is left of each: 1, 1 and 1.
    EXPECT_EQ(ranges.report().free_ranges, 4u);
}

TEST_F(RangeTest, WhatIsFreedMergesWithBothNeighboursInAnyOrder) {
    constexpr int kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (const auto& order : kOrders) {
        Offset at[3];
        for (Offset& o : at) o = take(1000);
        for (const int i : order) {
            EXPECT_EQ(*ranges.free(at[i]), 1008u);
            expect_clean(ranges);
        }
        EXPECT_EQ(ranges.report().free_ranges, 1u);
        EXPECT_EQ(ranges.largest_available(), 65536u);
    }
}

TEST_F(RangeTest, SizesAreRoundedUpToGranules) {
    const Offset at = take(1);
    EXPECT_EQ(*ranges.size_of(at), 16u);
    EXPECT_EQ(ranges.total_available(), 65536u - 16);
    EXPECT_EQ(*ranges.size_of(take(17)), 32u);
    EXPECT_EQ(*ranges.size_of(take(32)), 32u);
}

TEST_F(RangeTest, TheWholeCapacityIsOneRange) {
    const Offset at = take(65536);
    EXPECT_EQ(at, 0u);
    EXPECT_EQ(ranges.largest_available(), 0u);
    EXPECT_EQ(ranges.allocate(1).error(), Error::pool_full);
    EXPECT_EQ(*ranges.free(at), 65536u);
}

TEST(Range, AMillionRangesOfOneFillAPoolOfAMillion) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = kMany, .max_live = kMany}), Error::none);
    std::vector<bool> seen(kMany);
    for (u64 i = 0; i < kMany; ++i) {
        const auto got = ranges.allocate(1);
        ASSERT_TRUE(got) << i;
        ASSERT_FALSE(seen[got->offset]);
        seen[got->offset] = true;
    }
    EXPECT_EQ(ranges.live(), kMany);
    EXPECT_EQ(ranges.total_available(), 0u);
    expect_clean(ranges);
    for (u64 i = 0; i < kMany; i += 2) ASSERT_TRUE(ranges.free(Offset{i}));
    EXPECT_EQ(ranges.report().free_ranges, kMany / 2);
    expect_clean(ranges);
    for (u64 i = 1; i < kMany; i += 2) ASSERT_TRUE(ranges.free(Offset{i}));
    EXPECT_EQ(ranges.largest_available(), kMany);
}

TEST(Range, OneMoreThanMayLiveIsOutOfNodes) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 1000, .max_live = 10, .aligns = {4}}), Error::none);
    std::vector<Offset> live;
    // Each between two holes: the state with the most nodes.
    for (int i = 0; i < 10; ++i) live.push_back(ranges.allocate(3, 4)->offset);
    EXPECT_EQ(ranges.allocate(1).error(), Error::out_of_nodes);
    EXPECT_EQ(ranges.allocate(4, 8).error(), Error::out_of_nodes);
    EXPECT_EQ(ranges.allocate(990).error(), Error::out_of_nodes);
    EXPECT_TRUE(ranges.free(live[4]));
    EXPECT_TRUE(ranges.allocate(1));
    expect_clean(ranges);
}

TEST(Range, EveryStateThatMayLiveHasItsNodes) {
    Ranges ranges;
    constexpr u64 kLive = 100;
    ASSERT_EQ(ranges.init({.capacity = 1000, .max_live = kLive, .aligns = {2}}), Error::none);
    // A hole before each and one behind the last: 2 x live + 1 nodes.
    ASSERT_TRUE(ranges.allocate(1));
    for (u64 i = 1; i < kLive; ++i) ASSERT_TRUE(ranges.allocate(1, 2));
    ASSERT_TRUE(ranges.free(Offset{0}));
    ASSERT_EQ(ranges.report().free_ranges, kLive);
    ASSERT_TRUE(ranges.allocate(1, 256));
    EXPECT_EQ(ranges.live() + ranges.report().free_ranges, 2 * kLive + 1);
    expect_clean(ranges);
}

// ---- alignment ----

TEST(Range, SixtyFourAlignedToSixtyFourFromAPoolOfSixtyFour) {
    for (const u64 declared : {0, 64}) {
        Ranges ranges;
        ASSERT_EQ(ranges.init({.capacity = 64, .max_live = 4, .aligns = {declared}}), Error::none);
        const auto got = ranges.allocate(64, 64);
        ASSERT_TRUE(got);
        EXPECT_EQ(got->offset, 0u);
    }
}

TEST_F(RangeTest, AnAlignmentUpToTheGranuleCostsNothing) {
    take(16);
    for (u64 align = 1; align <= 16; align *= 2) {
        const u64 before = ranges.report().free_ranges;
        EXPECT_EQ(take(16, align) % align, 0u);
        EXPECT_EQ(ranges.report().free_ranges, before);
    }
}

TEST(Range, ADeclaredAlignmentIsExactWhereEveryLargerHoleIsMisaligned) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 128 * 100, .max_live = 12800, .aligns = {64}}), Error::none);
    while (ranges.allocate(1)) {}
    // Holes of 126 bytes that end just before an aligned place has room, and one of 64 that fits.
    for (u64 base = 0; base < 128 * 99; base += 128)
        for (u64 i = 1; i < 127; ++i) ASSERT_TRUE(ranges.free(base + i));
    EXPECT_EQ(ranges.allocate(64, 64).error(), Error::pool_full);
    for (u64 i = 0; i < 64; ++i) ASSERT_TRUE(ranges.free(128 * 99 + i));
    const auto got = ranges.allocate(64, 64);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->offset, 128u * 99);
    EXPECT_EQ(ranges.allocate(63, 64)->offset % 128, 64u);
    expect_clean(ranges);
}

TEST(Range, AnyOtherAlignmentSucceedsWhereverSizePlusAlignmentMinusGranuleIs) {
    for (u64 first = 1; first < 64; ++first) {
        Ranges ranges;
        ASSERT_EQ(ranges.init({.capacity = 1024, .max_live = 200}), Error::none);
        // Nine misaligned holes that are large enough but never fit, so that no candidate does.
        std::vector<Offset> holes;
        while (ranges.live() < 16) holes.push_back(ranges.allocate(32)->offset);
        ASSERT_TRUE(ranges.allocate(first));
        const auto hole = ranges.allocate(10 + 64 - 1);
        ASSERT_TRUE(ranges.allocate(ranges.largest_available()));
        ASSERT_TRUE(ranges.free(*hole));
        for (size_t i = 1; i < holes.size(); i += 2) ASSERT_TRUE(ranges.free(holes[i]));
        // The holes of 32 begin at 32 mod 64: 10 bytes at 64 fit in none.
        const auto got = ranges.allocate(10, 64);
        ASSERT_TRUE(got) << first;
        EXPECT_EQ(got->offset % 64, 0u);
        EXPECT_GE(got->offset, hole->offset);
        expect_clean(ranges);
    }
}

TEST(Range, ALargerDeclaredAlignmentServesASmallerOneThatIsNot) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 4096, .max_live = 4096, .aligns = {256}}), Error::none);
    while (ranges.allocate(1)) {}
    // Twenty holes of 9 that fit for no alignment of 16, one of 9 at 1024.
    for (u64 k = 0; k < 20; ++k)
        for (u64 i = 0; i < 10; ++i) ASSERT_TRUE(ranges.free(2048 + 32 * k + 1 + i));
    for (u64 i = 0; i < 11; ++i) ASSERT_TRUE(ranges.free(1024 + i));
    EXPECT_EQ(ranges.allocate(10, 16)->offset, 1024u);
}

TEST_F(RangeTest, OffsetsAreMultiplesOfTheAlignmentAsked) {
    std::mt19937_64 random(3);
    std::vector<Offset> live;
    for (int i = 0; i < 2000; ++i) {
        const u64 align = u64{1} << random() % 14;
        if (const auto got = ranges.allocate(1 + random() % 500, align)) {
            EXPECT_EQ(got->offset % align, 0u);
            live.push_back(got->offset);
        } else {
            ASSERT_FALSE(live.empty());
            const size_t k = random() % live.size();
            EXPECT_TRUE(ranges.free(live[k]));
            live[k] = live.back();
            live.pop_back();
        }
    }
}

// ---- errors, nothing changed by any ----

TEST_F(RangeTest, AWrongRequestIsItsOwnError) {
    EXPECT_EQ(ranges.allocate(0).error(), Error::invalid);
    EXPECT_EQ(ranges.allocate(0, 64).error(), Error::invalid);
    EXPECT_EQ(ranges.allocate(16, 0).error(), Error::invalid);
    EXPECT_EQ(ranges.allocate(16, 3).error(), Error::invalid);
    EXPECT_EQ(ranges.allocate(16, 96).error(), Error::invalid);
    EXPECT_EQ(ranges.allocate(65537).error(), Error::too_large);
    EXPECT_EQ(ranges.allocate(~u64{0}).error(), Error::too_large);
    EXPECT_EQ(ranges.allocate(~u64{0}, u64{1} << 63).error(), Error::too_large);
    take(16);
    EXPECT_EQ(ranges.allocate(65536).error(), Error::pool_full);
    EXPECT_EQ(ranges.allocate(1, u64{1} << 63).error(), Error::pool_full);
    EXPECT_EQ(ranges.allocate(1, 65536).error(), Error::pool_full);
    EXPECT_EQ(ranges.live(), 1u);
}

TEST_F(RangeTest, DoubleForeignAndPartialFreesAreDistinctErrors) {
    const Offset a = take(64), b = take(64), c = take(64), d = take(64);
    ASSERT_TRUE(ranges.free(b));
    EXPECT_EQ(ranges.free(b).error(), Error::already_free);
    EXPECT_EQ(ranges.free(c + 16).error(), Error::not_object);
    EXPECT_EQ(ranges.free(c + 48).error(), Error::not_object);
    EXPECT_EQ(ranges.free(c + 8).error(), Error::misaligned);
    EXPECT_EQ(ranges.free(Offset{65536}).error(), Error::out_of_range);
    EXPECT_EQ(ranges.free(~u64{0}).error(), Error::out_of_range);
    // The neighbours coalesce: b, c and what is behind d are one.
    ASSERT_TRUE(ranges.free(d));
    ASSERT_TRUE(ranges.free(c));
    for (const Offset at : {b, b + 16, c, c + 16, d, d + 48})
        EXPECT_EQ(ranges.free(at).error(), Error::already_free) << at;
    EXPECT_EQ(ranges.free(a + 16).error(), Error::not_object);
    EXPECT_EQ(ranges.live(), 1u);
}

TEST_F(RangeTest, AHandleIsCheckedAsAnOffsetIs) {
    const auto a = ranges.allocate(64);
    const auto b = ranges.allocate(64);
    EXPECT_EQ(ranges.free(RangeHandle{a->offset, b->node}).error(), Error::not_found);
    EXPECT_EQ(ranges.free(RangeHandle{a->offset, 0}).error(), Error::not_found);
    EXPECT_EQ(ranges.free(RangeHandle{a->offset, ~u32{0}}).error(), Error::not_found);
    EXPECT_EQ(ranges.free(RangeHandle{a->offset + 16, a->node}).error(), Error::not_object);
    EXPECT_EQ(ranges.free(RangeHandle{a->offset + 1, a->node}).error(), Error::misaligned);
    EXPECT_EQ(ranges.free(RangeHandle{1 << 20, a->node}).error(), Error::out_of_range);
    EXPECT_EQ(*ranges.size_of(*a), 64u);
    EXPECT_EQ(*ranges.free(*a), 64u);
    EXPECT_EQ(ranges.free(*a).error(), Error::already_free);
    EXPECT_EQ(ranges.size_of(*a).error(), Error::already_free);
    EXPECT_EQ(ranges.try_reallocate(*a, 32).error(), Error::already_free);
    EXPECT_EQ(*ranges.free(*b), 64u);
    EXPECT_EQ(ranges.free(*b).error(), Error::already_free);
}

TEST_F(RangeTest, FindTurnsAnOffsetIntoItsHandle) {
    const auto a = ranges.allocate(64);
    const auto found = ranges.find(a->offset);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->node, a->node);
    EXPECT_TRUE(ranges.free(*found));
    EXPECT_EQ(ranges.find(a->offset).error(), Error::already_free);
}

TEST_F(RangeTest, ANodeIsTheSameAsLongAsItsRangeLives) {
    const auto a = ranges.allocate(64);
    const auto b = ranges.allocate(64);
    ASSERT_TRUE(ranges.try_reallocate(*b, 640));
    ASSERT_TRUE(ranges.free(*a));
    ASSERT_TRUE(ranges.allocate(16));
    EXPECT_EQ(ranges.find(b->offset)->node, b->node);
    EXPECT_LT(b->node, ranges.nodes());
}

// ---- resizing in place ----

TEST_F(RangeTest, ARangeShrinksAndGrowsWhereItStands) {
    const Offset a = take(1024);
    const Offset b = take(64);
    EXPECT_EQ(*ranges.try_reallocate(a, 500), 512u);
    EXPECT_EQ(ranges.total_available(), 65536u - 512 - 64);
    EXPECT_EQ(ranges.report().free_ranges, 2u);
    EXPECT_EQ(*ranges.try_reallocate(a, 512), 512u);
    EXPECT_EQ(*ranges.try_reallocate(a, 256), 256u);
    EXPECT_EQ(ranges.report().free_ranges, 2u);
    EXPECT_EQ(*ranges.try_reallocate(a, 1024), 1024u);
    EXPECT_EQ(ranges.report().free_ranges, 1u);
    EXPECT_EQ(ranges.try_reallocate(a, 1025).error(), Error::cannot_grow);
    EXPECT_EQ(*ranges.size_of(a), 1024u);
    EXPECT_EQ(*ranges.try_reallocate(b, 65536 - 1024), 65536u - 1024);
    EXPECT_EQ(ranges.total_available(), 0u);
    EXPECT_EQ(ranges.try_reallocate(b, ~u64{0}).error(), Error::cannot_grow);
    EXPECT_EQ(ranges.try_reallocate(b, 0).error(), Error::invalid);
    EXPECT_EQ(ranges.try_reallocate(b + 16, 64).error(), Error::not_object);
    EXPECT_EQ(ranges.try_reallocate(b + 3, 64).error(), Error::misaligned);
}

TEST(Range, AShrinkHasItsNodeEvenWhereAllAreLive) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 8, .max_live = 4}), Error::none);
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(ranges.allocate(2));
    for (u64 at = 0; at < 8; at += 2) EXPECT_EQ(*ranges.try_reallocate(at, 1), 1u);
    EXPECT_EQ(ranges.report().free_ranges, 4u);
    EXPECT_EQ(ranges.allocate(1).error(), Error::out_of_nodes);
    expect_clean(ranges);
}

// ---- capacity ----

TEST(Range, TheCapacityGrowsWithoutMetadataUpToItsMaximum) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 100, .max_live = 50, .max_capacity = 10000}), Error::none);
    const u64 before = P::allocations();
    ASSERT_TRUE(ranges.allocate(100));
    EXPECT_EQ(ranges.allocate(200).error(), Error::too_large);
    EXPECT_EQ(ranges.grow_capacity(300), Error::none);
    EXPECT_EQ(ranges.allocate(200)->offset, 100u);
    EXPECT_EQ(ranges.grow_capacity(400), Error::none);
    EXPECT_EQ(ranges.grow_capacity(10000), Error::none);
    EXPECT_EQ(ranges.largest_available(), 9700u);
    EXPECT_EQ(ranges.grow_capacity(10001), Error::no_memory);
    EXPECT_EQ(ranges.grow_capacity(10000), Error::invalid);
    EXPECT_EQ(ranges.grow_capacity(5), Error::invalid);
    EXPECT_EQ(P::allocations(), before);
    expect_clean(ranges);
}

TEST(Range, TheCapacityGrowsFurtherByMetadataOfTheCaller) {
    Ranges ranges;
    ASSERT_EQ(ranges.init({.capacity = 64, .granule = 8, .max_live = 40, .aligns = {16}}), Error::none);
    std::vector<RangeHandle> live;
    u64 capacity = 64;
    for (int round = 0; round < 8; ++round) {
        while (ranges.live() < 4u * (round + 1)) live.push_back(*ranges.allocate(8, 16));
        capacity *= 37;
        const u64 need = *ranges.required_growth_bytes(capacity);
        EXPECT_EQ(ranges.grow_capacity(capacity, nullptr), Error::no_memory);
        void* tables = P::meta_alloc(need, Context::may_sleep);
        ASSERT_EQ(ranges.grow_capacity(capacity, tables), Error::none);
        EXPECT_EQ(ranges.meta_bytes(), P::meta_bytes());
        EXPECT_EQ(ranges.max_capacity(), capacity);
        for (const RangeHandle h : live) EXPECT_EQ(*ranges.size_of(h), 8u);
        expect_clean(ranges);
    }
    EXPECT_EQ(ranges.required_growth_bytes(capacity + 1).error(), Error::invalid);
    EXPECT_EQ(ranges.required_growth_bytes(~u64{0} & ~u64{7}).error(), Error::none);
    for (const RangeHandle h : live) EXPECT_TRUE(ranges.free(h));
    EXPECT_EQ(ranges.largest_available(), capacity);
}

TEST_F(RangeTest, TheCapacityShrinksIfNothingIsLiveBehind) {
    const Offset at = take(1024);
    EXPECT_EQ(ranges.shrink_capacity(0), Error::invalid);
    EXPECT_EQ(ranges.shrink_capacity(65536), Error::invalid);
    EXPECT_EQ(ranges.shrink_capacity(2000 + 8), Error::invalid);
    EXPECT_EQ(ranges.shrink_capacity(1008), Error::busy);
    EXPECT_EQ(ranges.shrink_capacity(4096), Error::none);
    EXPECT_EQ(ranges.capacity(), 4096u);
    EXPECT_EQ(ranges.largest_available(), 3072u);
    EXPECT_EQ(ranges.shrink_capacity(1024), Error::none);
    EXPECT_EQ(ranges.allocate(1).error(), Error::pool_full);
    EXPECT_EQ(ranges.free(Offset{1024}).error(), Error::out_of_range);
    EXPECT_EQ(ranges.shrink_capacity(512), Error::busy);
    EXPECT_EQ(ranges.grow_capacity(65536), Error::none);
    EXPECT_TRUE(ranges.free(at));
    EXPECT_EQ(ranges.largest_available(), 65536u);
}

TEST_F(RangeTest, AfterAResetEverythingIsAsAtTheStart) {
    for (int i = 0; i < 500; ++i) take(1 + i % 100, u64{1} << i % 8);
    EXPECT_EQ(ranges.shrink_capacity(65536 - 16), Error::none);
    ranges.reset();
    EXPECT_TRUE(ranges.is_empty());
    EXPECT_EQ(ranges.capacity(), 65520u);
    EXPECT_EQ(ranges.largest_available(), 65520u);
    EXPECT_EQ(ranges.free(Offset{0}).error(), Error::already_free);
    EXPECT_EQ(take(65520), 0u);
}

// ---- iteration ----

TEST_F(RangeTest, IterationInStepsSeesEveryRangeOnce) {
    std::vector<Offset> live;
    for (int i = 0; i < 300; ++i) live.push_back(take(16 + i % 7 * 16));
    for (size_t i = 0; i < live.size(); i += 3) EXPECT_TRUE(ranges.free(live[i]));
    u64 at = 0, count = 0, lived = 0;
    while (const auto range = ranges.range_at(at)) {
        ASSERT_EQ(range->offset, at);
        EXPECT_EQ(ranges.range_at(at + range->size - 1)->offset, at);
        at += range->size;
        ++count;
        lived += range->live;
    }
    EXPECT_EQ(at, 65536u);
    EXPECT_EQ(lived, 200u);
    EXPECT_EQ(count, lived + ranges.report().free_ranges);
}

TEST_F(RangeTest, AWholeWalkByOffsetIsInOrder) {
    for (int i = 0; i < 100; ++i) take(48, 64);
    u64 end = 0, live = 0, free_bytes = 0;
    ranges.for_each_live([&](const RangeView& v) {
        EXPECT_TRUE(v.live);
        EXPECT_GE(v.offset, end);
        end = v.offset + v.size;
        ++live;
    });
    ranges.for_each_free([&](const RangeView& v) { free_bytes += v.size; });
    EXPECT_EQ(live, 100u);
    EXPECT_EQ(free_bytes, ranges.total_available());
}

}  // namespace
}  // namespace quarry
