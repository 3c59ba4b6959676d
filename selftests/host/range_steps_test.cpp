// SPDX-License-Identifier: MIT
//
// Hard real time: every call of RangeAllocator keeps to its step_bound(), whatever was done
// before. Steps are counted by an accessor that this test brings; the states are the worst
// that are known: all sizes equal, all places misaligned, alternating holes, everything in one
// bucket; with 10^6 live (10^5 under a sanitizer).
#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <vector>

#include "../../module/core/range/range_allocator.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

#if QUARRY_HOST_TSAN || defined(__SANITIZE_ADDRESS__)
constexpr u64 kLive = 100'000;
#else
constexpr u64 kLive = 1'000'000;
#endif

struct Counted {
    static inline u64 steps = 0;
    static void step() { ++steps; }
};
using Ranges = RangeAllocator<P, u64, Counted>;

class RangeSteps : public ::testing::Test {
protected:
    void init(const RangeShape& shape) {
        ASSERT_EQ(ranges.init(shape), Error::none);
        bound = ranges.step_bound();
        // Stated, and logarithmic: some constant times the bits of the capacity and of the nodes.
        const u64 bits = std::bit_width(shape.capacity / shape.granule) + std::bit_width(shape.max_live);
        const u64 indices = 1 + static_cast<u64>(std::size(shape.aligns));
        EXPECT_LE(bound, 100 + (8 * indices + 4) * bits);
    }
    void TearDown() override {
        Audit audit;
        ranges.verify(audit);
        EXPECT_TRUE(audit.clean()) << audit.result().first;
        EXPECT_LE(worst, bound);
        RecordProperty("worst", static_cast<int>(worst));
        RecordProperty("bound", static_cast<int>(bound));
    }
    template <typename Call>
    auto counted(Call&& call) {
        Counted::steps = 0;
        auto result = call();
        worst = std::max(worst, Counted::steps);
        sum += Counted::steps;
        ++calls;
        return result;
    }
    Result<RangeHandle> take(u64 size, u64 align = 1) {
        return counted([&] { return ranges.allocate(size, align); });
    }
    bool give(Offset at) {
        return bool(counted([&] { return ranges.free(at); }));
    }
    // Random frees and allocations of what was freed; wrong calls between.
    void churn(std::vector<Offset>& live, u64 size, u64 align, int rounds) {
        std::mt19937_64 random(1);
        for (int i = 0; i < rounds; ++i) {
            const size_t k = random() % live.size();
            ASSERT_TRUE(give(live[k]));
            (void)counted([&] { return ranges.free(live[k]); });
            (void)counted([&] { return ranges.size_of(random() % ranges.capacity()); });
            (void)counted([&] { return ranges.range_at(random() % ranges.capacity()); });
            (void)counted([&] { return ranges.try_reallocate(live[(k + 1) % live.size()], 2 * size); });
            (void)counted([&] { return ranges.try_reallocate(live[(k + 1) % live.size()], size); });
            const auto got = take(size, align);
            if (got) {
                live[k] = got->offset;
            } else {
                live[k] = live.back();
                live.pop_back();
            }
        }
    }

    Ranges ranges;
    u64 bound = 0;
    u64 worst = 0;
    u64 sum = 0;
    u64 calls = 0;
};

TEST_F(RangeSteps, AlternatingHolesOfOneGranule) {
    init({.capacity = 2 * kLive, .max_live = 2 * kLive});
    std::vector<Offset> live;
    for (u64 i = 0; i < 2 * kLive; ++i) ASSERT_TRUE(take(1));
    for (u64 i = 0; i < 2 * kLive; i += 2) {
        ASSERT_TRUE(give(i));
        live.push_back(i + 1);
    }
    EXPECT_EQ(take(2).error(), Error::pool_full);
    churn(live, 1, 1, 20000);
    EXPECT_LE(sum, calls * 12) << "mostly about ten";
}

TEST_F(RangeSteps, EqualLargeSizesInOneBin) {
    constexpr u64 kSize = 5000;
    init({.capacity = 2 * kLive * kSize, .max_live = 2 * kLive});
    std::vector<Offset> live;
    for (u64 i = 0; i < 2 * kLive; ++i) ASSERT_TRUE(take(kSize));
    for (u64 i = 0; i < 2 * kLive; i += 2) {
        ASSERT_TRUE(give(i * kSize));
        live.push_back((i + 1) * kSize);
    }
    EXPECT_EQ(ranges.report().free_ranges, kLive);
    EXPECT_EQ(take(kSize + 1).error(), Error::pool_full);
    churn(live, kSize, 1, 20000);
}

TEST_F(RangeSteps, NearlyEqualLargeSizesInOneBin) {
    // All sizes of one bin, which its tree tells apart by their last bits.
    const u64 base = u64{1} << 26;
    init({.capacity = u64{1} << 47, .max_live = 2 * kLive});
    std::mt19937_64 random(2);
    std::vector<Offset> live, holes;
    for (u64 i = 0; i < kLive; ++i) {
        const auto hole = take(base + random() % (base / 64));
        if (!hole) break;
        holes.push_back(hole->offset);
        const auto wall = take(1);
        if (!wall) break;
        live.push_back(wall->offset);
    }
    for (const Offset at : holes) ASSERT_TRUE(give(at));
    churn(live, base + base / 128, 1, 20000);
}

TEST_F(RangeSteps, EverythingInOneBucketOfAVastPool) {
    init({.capacity = u64{1} << 60, .max_live = kLive, .aligns = {4}});
    std::vector<Offset> live;
    for (u64 i = 0; i < kLive; ++i) live.push_back(take(1)->offset);
    EXPECT_LE(live.back(), kLive);
    churn(live, 1, 1, 20000);
    churn(live, 1, 4, 1000);
}

TEST_F(RangeSteps, EveryLargerHoleIsMisaligned) {
    // Holes of 7 granules, none with a place at 8; asked for at every alignment.
    init({.capacity = 8 * kLive, .max_live = 2 * kLive, .aligns = {8, 64, 512}});
    std::vector<Offset> live;
    for (u64 i = 0; i < kLive; ++i) {
        live.push_back(take(1)->offset);
        ASSERT_TRUE(take(7));
    }
    for (u64 i = 0; i < kLive; ++i) ASSERT_TRUE(give(8 * i + 1));
    for (const u64 align : {8, 16, 64, 512, 1024}) {
        EXPECT_EQ(take(2, align).error(), Error::pool_full) << align;
        EXPECT_EQ(take(8, align).error(), Error::pool_full) << align;
    }
    churn(live, 1, 8, 5000);
    churn(live, 5, 2, 5000);
    churn(live, 9, 64, 5000);
}

TEST_F(RangeSteps, EqualHolesThatFitOnlyAtTheirEnd) {
    // 4097 granules from 1 behind a multiple of 4096 on: room for one at 4096.
    constexpr u64 kLargeLive = kLive / 10;
    init({.capacity = 8192 * kLargeLive, .max_live = 3 * kLargeLive, .aligns = {4096}});
    std::vector<Offset> live, holes;
    for (u64 i = 0; i < kLargeLive; ++i) {
        live.push_back(take(1)->offset);
        holes.push_back(take(4096)->offset);
        ASSERT_TRUE(take(4095));
    }
    for (const Offset at : holes) ASSERT_TRUE(give(at));
    ASSERT_EQ(take(2, 4096).error(), Error::pool_full);
    const auto got = take(1, 4096);
    ASSERT_TRUE(got);
    live.push_back(got->offset);
    churn(live, 1, 4096, 10000);
    churn(live, 4000, 2, 10000);
}

TEST(RangeStepsOff, CountingCostsNothingWhereItIsAbsent) {
    EXPECT_EQ(sizeof(RangeAllocator<P>), sizeof(Ranges));
    EXPECT_TRUE(std::is_empty_v<NoSteps>);
}

}  // namespace
}  // namespace quarry
