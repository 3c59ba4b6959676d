// SPDX-License-Identifier: MIT
//
// The audit of RangeAllocator sees what it claims to see: each contradiction is planted by
// hand in the metadata, found, and repaired. In steps it says the same as at once.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../../module/core/range/range_allocator.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

// HostPlatform that shows the two blocks of the allocator under test.
struct Shown : HostPlatform {
    static inline std::vector<std::pair<void*, std::size_t>> blocks;
    static void* meta_alloc(std::size_t bytes, Context context) {
        blocks.emplace_back(HostPlatform::meta_alloc(bytes, context), bytes);
        return blocks.back().first;
    }
};
using Ranges = RangeAllocator<Shown>;

// Ten ranges of 20, from 0 on, in buckets of 64; 40, 100 and 160 are free again, the last freed
// first in the list of their size.
class RangeAuditTest : public ::testing::Test {
protected:
    static constexpr RangeShape kShape{.capacity = 1000, .max_live = 20, .aligns = {16}};
    using Table = NodeTable<u64, NoSteps>;

    RangeAuditTest() {
        Shown::blocks.clear();
        EXPECT_EQ(ranges.init(kShape), Error::none);
        EXPECT_EQ(layout.shift, 6u);
        for (int i = 0; i < 10; ++i) all.push_back(*ranges.allocate(20));
        for (const int i : {2, 5, 8}) EXPECT_TRUE(ranges.free(all[i]));
        EXPECT_EQ(audit(), "");
    }
    ~RangeAuditTest() override { EXPECT_EQ(audit(), "") << "after the repair"; }

    std::string audit() {
        Audit audit;
        ranges.verify(audit);
        Audit in_steps;
        RangeAudit steps(ranges, in_steps);
        while (steps.step(1)) {}
        EXPECT_STREQ(audit.result().first, in_steps.result().first);
        EXPECT_EQ(audit.result().objects, in_steps.result().objects);
        return audit.result().first;
    }
    // Plants something, expects the finding, puts everything back.
    void plant(const std::function<void()>& fault, const char* finding) {
        std::vector<std::string> old;
        for (const auto& [at, bytes] : Shown::blocks) old.emplace_back(static_cast<char*>(at), bytes);
        fault();
        EXPECT_EQ(audit(), finding);
        for (size_t i = 0; i < old.size(); ++i)
            std::memcpy(Shown::blocks[i].first, old[i].data(), old[i].size());
        EXPECT_EQ(audit(), "");
    }

    char* records() { return static_cast<char*>(Shown::blocks[0].first); }
    RangeHome& home(u64 bucket) { return reinterpret_cast<RangeHome*>(records())[bucket]; }
    RangeSpare<u64>& spare(u32 i) {
        return reinterpret_cast<RangeSpare<u64>*>(records() + layout.spares_at())[i];
    }
    u32& unused_spare(u64 k) { return reinterpret_cast<u32*>(records() + layout.stack_at())[k]; }
    u32& head(u64 bucket) { return reinterpret_cast<u32*>(records() + layout.heads_at())[bucket]; }
    u64& summary(u64 word) { return reinterpret_cast<u64*>(records() + layout.words_at())[word]; }
    FreeRange<u64>& record(u32 f) {
        return reinterpret_cast<FreeRange<u64>*>(records() + round_up(layout.bytes(), 8))[f];
    }
    u32& unused_number(u32 k) {
        return reinterpret_cast<u32*>(&record(static_cast<u32>(kShape.max_live) + 2))[k];
    }
    u32 free_at(u64 start) {
        for (u32 f = 1; f < kShape.max_live + 2; ++f)
            if (record(f).start == start) return f;
        return 0;
    }

    const Table::Layout layout = Table::layout(kShape.capacity, kShape.max_live);
    Ranges ranges;
    std::vector<RangeHandle> all;
};

constexpr const char* kTorn = "the table of ranges is torn";

TEST_F(RangeAuditTest, SeesATornHome) {
    // Bucket 1 holds 80, 100 (free) and 120; in bytes from 64 on.
    ASSERT_EQ(home(1).tags & 0xffffff, 0x382410u);
    plant([&] { home(1).tags += 0x100; }, kTorn);          // 101: the chain's 100 is not there
    plant([&] { home(1).tags += 0x40; }, kTorn);           // 144 before 100
    plant([&] { home(1).tags += 0x300000; }, kTorn);       // 168, which is of bucket 2
    plant([&] { home(1).tags &= ~(u64{1} << 40); }, kTorn);
    plant([&] { home(1).slots ^= 1; }, kTorn);             // two of the same slot
    plant([&] { home(1).slots ^= 8; }, kTorn);             // 80 is free, but in no chain
    plant([&] { home(1).slots ^= 8 << 4; }, kTorn);        // 100 is live, but in the chain
    plant([&] { home(1).slots ^= 8u << 28; }, kTorn);
    plant([&] { home(1).rest += 1; }, kTorn);
    plant([&] { home(1).rest -= 1; }, kTorn);
    plant([&] { home(1).rest += 9; }, kTorn);
    plant([&] { home(1).rest ^= RangeHome::kCrowded; }, kTorn);
    plant([&] { home(1).set_first(0); }, kTorn);
    plant([&] { home(1).set_first(free_at(160)); }, kTorn);
    plant([&] { home(1).set_first(1'000'000); }, kTorn);
    plant([&] { record(free_at(100)).chain = free_at(40); }, kTorn);
    plant([&] { home(9).rest += 1; }, kTorn);              // which holds none
    plant([&] { head(1) = 1; }, kTorn);
    plant([&] { summary(0) ^= 2; }, kTorn);
    plant([&] { summary(0) ^= 1 << 9; }, kTorn);
}

TEST_F(RangeAuditTest, SeesARangeThatIsNotWhereItShouldBe) {
    plant([&] { home(0).tags -= 0x140000; }, kTorn);       // 40 starts at 20
    plant([&] { home(0).tags += 1; }, "no range starts where one ends");
    // 80 starts at 90; so 60 ends there, which nothing contradicts; but it may not be free.
    plant([&] { record(free_at(100)).size = 19; }, "a free range is not what its record says");
    plant([&] { home(1).tags += 0x10000; }, "a free range is not what its record says");
    plant([&] { record(free_at(200)).size = 799; }, "a free range is not what its record says");
}

TEST_F(RangeAuditTest, SeesFreeNeighbours) {
    plant(
        [&] {  // 60, behind 40
            const u32 f = unused_number(15);
            record(f) = {60, 20, {0, 0}, home(0).first()};
            home(0).slots |= 8 << 12;
            home(0).set_first(f);
        },
        "two free neighbours are not merged");
    plant(
        [&] {  // 40 is live
            home(0).slots ^= 8 << 8;
            home(0).set_first(0);
        },
        "the count of live ranges is wrong");
    plant([&] { home(2).remove(2); }, "a free range is not what its record says");  // 180
    plant(
        [&] {  // 80 is one with 60
            home(1).remove(0);
        },
        "the count of live ranges is wrong");
}

TEST_F(RangeAuditTest, SeesATornListOfASize) {
    const u32 first = free_at(160), middle = free_at(100), last = free_at(40);
    plant([&] { record(middle).link[1] = 0; }, "the bins hold not just the free ranges");
    plant([&] { record(middle).link[0] = 0; }, "the bins by size are torn");
    plant([&] { record(last).link[1] = first; }, "the bins by size are torn");
    plant([&] { record(first).link[1] = free_at(200); }, "a bin holds what is not its own");
    plant([&] { record(first).link[1] = 1'000'000; }, "a bin holds what is not its own");
}

TEST_F(RangeAuditTest, SeesANumberThatIsInUseAndAmongTheUnused) {
    plant([&] { unused_number(3) = free_at(100); }, "a number in use is among the unused");
    plant([&] { unused_number(3) = 0; }, "a number in use is among the unused");
    plant([&] { unused_number(3) = 1'000'000; }, "a number in use is among the unused");
}

TEST_F(RangeAuditTest, SeesATornTreeOfSpares) {
    ranges.reset();
    std::vector<Offset> live;
    for (int i = 0; i < 14; ++i) live.push_back(ranges.allocate(1)->offset);
    // Eight of 0..13 and what is behind them are at home at most.
    ASSERT_TRUE(home(0).crowded());
    const u32 root = head(0);
    ASSERT_NE(spare(root).kids[0] | spare(root).kids[1], 0u);
    const int side = spare(root).kids[0] == 0;
    const u32 kid = spare(root).kids[side];
    constexpr const char* kTree = "a tree of spare ranges is torn";
    plant([&] { head(0) = 0; }, kTorn);
    plant([&] { head(0) = kid; }, kTree);  // whose own bits led elsewhere
    plant([&] { spare(root).kids[side] = 0; }, "a spare range is neither in use nor unused");
    plant([&] { spare(kid).start = 700; }, kTree);
    plant([&] { spare(kid).number = ~u32{0}; }, kTree);
    plant([&] { spare(kid).number = 3; }, "a free range is not what its record says");
    plant([&] { unused_spare(0) = kid; }, "a spare range in use is among the unused");
    plant([&] { unused_spare(0) = unused_spare(1); }, "a spare range in use is among the unused");
    for (const Offset at : live) EXPECT_TRUE(ranges.free(at));
}

TEST(RangeAuditWide, SeesAStartInFullThatIsNotItsTag) {
    Shown::blocks.clear();
    Ranges ranges;
    const RangeShape shape{.capacity = 1 << 20, .max_live = 20};
    ASSERT_EQ(ranges.init(shape), Error::none);
    const auto layout = NodeTable<u64, NoSteps>::layout(shape.capacity, shape.max_live);
    ASSERT_TRUE(layout.wide());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(ranges.allocate(100));
    auto* starts = reinterpret_cast<u64*>(static_cast<char*>(Shown::blocks[0].first) +
                                          layout.starts_at());
    const auto finding = [&](u64& at, u64 value) -> std::string {
        const u64 old = at;
        at = value;
        Audit audit;
        ranges.verify(audit);
        at = old;
        return audit.result().first;
    };
    u32 of_100 = 0;
    while (starts[of_100] != 100) ++of_100;
    ASSERT_LT(of_100, 8u);
    EXPECT_EQ(finding(starts[of_100], 100), "");
    EXPECT_EQ(finding(starts[of_100], 700), kTorn) << "behind the next";
    EXPECT_EQ(finding(starts[of_100], 100 + (1 << layout.shift)), kTorn) << "of another bucket";
    EXPECT_EQ(finding(starts[of_100], 0), kTorn) << "twice";
}

// Every word of the tables is looked at.
TEST_F(RangeAuditTest, SeesEachWordOfTheTablesThatIsNotWhatItShouldBe) {
    auto* words = static_cast<u32*>(Shown::blocks[1].first);
    const std::size_t count = Shown::blocks[1].second / sizeof(u32);
    u64 missed = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const u32 old = words[i];
        words[i] = old ? 0 : free_at(100);
        missed += audit().empty();
        words[i] = old;
    }
    // The second halves of what is padded to 8 bytes, and bits above the last bin or bucket.
    EXPECT_LE(missed, 6u);
}

TEST_F(RangeAuditTest, AStepLooksAtNoMoreThanItSays) {
    // Homes of eight, words of 64 bins, ranges, numbers: each step of 8 is one of the first, or
    // eight of the others at most; so there are at least as many steps.
    Audit audit;
    RangeAudit steps(ranges, audit);
    u64 count = 1;
    while (steps.step(8)) ++count;
    EXPECT_TRUE(audit.clean());
    EXPECT_EQ(audit.result().objects, 7u);
    EXPECT_GE(count, layout.buckets + 1 + 2 * (1000 / 64) + layout.spares / 8);
}

}  // namespace
}  // namespace quarry
