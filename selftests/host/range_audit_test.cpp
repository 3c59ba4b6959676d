// SPDX-License-Identifier: MIT
//
// The audit of RangeAllocator sees what it claims to see: each contradiction is planted by
// hand in the metadata, found, and repaired.
#include <gtest/gtest.h>

#include <cstring>
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

class RangeAuditTest : public ::testing::Test {
protected:
    RangeAuditTest() {
        Shown::blocks.clear();
        EXPECT_EQ(ranges.init({.capacity = 1000, .max_live = 20, .aligns = {16}}), Error::none);
        for (int i = 0; i < 10; ++i) all.push_back(*ranges.allocate(20));
        for (const int i : {2, 5, 8}) EXPECT_TRUE(ranges.free(all[i]));
        EXPECT_EQ(audit(), "");
    }
    ~RangeAuditTest() override { EXPECT_EQ(audit(), "") << "after the repair"; }

    std::string audit() {
        Audit audit;
        ranges.verify(audit);
        return audit.result().first;
    }
    using Node = RangeNode<u64>;
    Node& node(u32 i) { return static_cast<Node*>(Shown::blocks[0].first)[i]; }
    Node& of(int i) { return node(all[i].node); }
    FreeRange<u64>& record(u32 f) {
        const auto l = NodeTable<u64, NoSteps>::layout(1000, 20);
        return reinterpret_cast<FreeRange<u64>*>(static_cast<char*>(Shown::blocks[0].first) +
                                                 round_up(l.bytes(), 8))[f];
    }
    // Plants a value, expects the finding, puts the old one back.
    template <typename T>
    void plant(T& at, std::type_identity_t<T> value, const char* finding) {
        const T old = at;
        at = value;
        EXPECT_EQ(audit(), finding);
        at = old;
        EXPECT_EQ(audit(), "");
    }

    RangeAllocator<Shown> ranges;
    std::vector<RangeHandle> all;
};

TEST_F(RangeAuditTest, SeesATornChain) {
    plant(of(3).next, 1'000'000, "the chain of ranges is torn");
    plant(of(3).next, all[1].node, "a range does not know the one before");
    plant(of(3).prev, all[0].node, "a range does not know the one before");
    plant(node(0).prev, all[0].node, "the last range is not known");
}

TEST_F(RangeAuditTest, SeesAGapAndAnOverlap) {
    plant(of(3).start, 61, "a gap or an overlap between ranges");
    plant(of(3).word, 19 << 1 | 1, "a gap or an overlap between ranges");
    plant(of(3).word, 21 << 1 | 1, "a gap or an overlap between ranges");
    plant(of(3).word, 1, "a range of no size");
}

TEST_F(RangeAuditTest, SeesARangeInTheWrongState) {
    plant(of(3).word, 20 << 1, "two free neighbours are not merged");
    plant(of(2).word, 20 << 1 | 1, "the count of live ranges is wrong");
    plant(of(0).word, 20 << 1, "a free range has another's number");
    plant(of(2).word, of(5).word, "a free range has another's number");
}

TEST_F(RangeAuditTest, SeesATornListOfASize) {
    // The three holes of 20 are one list, the last freed first: 8, 5, 2.
    const u32 first = of(8).free_range(), middle = of(5).free_range(), last = of(2).free_range();
    plant(record(middle).link[1], 0, "the bins hold not just the free ranges");
    plant(record(middle).link[0], 0, "the bins by size are torn");
    plant(record(last).link[1], first, "the bins by size are torn");
    plant(record(middle).size, 19, "a gap or an overlap between ranges");
    plant(record(middle).node, all[3].node, "a free range has another's number");
}

TEST_F(RangeAuditTest, SeesANodeThatIsNotAtHome) {
    u32 spare = 0;
    for (u32 i = 4; i < ranges.nodes(); ++i)
        if (node(i).unused()) spare = i;
    ASSERT_NE(spare, 0u);
    plant(node(spare).word, 3, "the table of nodes is torn");
    plant(node(spare).start, 1, "the table of nodes is torn");
    plant(node(1).word, 2, "the table of nodes is torn");
    plant(node(2).word, 0, "the table of nodes is torn");
}

// Every word of the tables is looked at.
TEST_F(RangeAuditTest, SeesEachWordOfTheTablesThatIsNotWhatItShouldBe) {
    auto* words = static_cast<u32*>(Shown::blocks[1].first);
    const std::size_t count = Shown::blocks[1].second / sizeof(u32);
    u64 missed = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const u32 old = words[i];
        words[i] = old ? 0 : all[0].node;
        missed += audit().empty();
        words[i] = old;
    }
    // The second halves of what is padded to 8 bytes, and bits above the last bin or bucket.
    EXPECT_LE(missed, 6u);
}

}  // namespace
}  // namespace quarry
