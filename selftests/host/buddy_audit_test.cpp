// SPDX-License-Identifier: MIT
//
// The audit of the buddy sees what it claims to see: each contradiction is planted by hand
// in the descriptors, found by its name, and repaired.
#include <gtest/gtest.h>

#include "../../module/core/pages/buddy.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

constexpr Order order(unsigned o) { return Order{static_cast<u8>(o)}; }
constexpr PageNumber page(u64 n) { return PageNumber{n}; }

class BuddyAuditTest : public ::testing::Test {
protected:
    BuddyAuditTest() {
        EXPECT_TRUE(buddy.add_region(page(0), 64, Zone::normal, nullptr));
        EXPECT_TRUE(buddy.add_region(page(64), 16, Zone::lowmem, nullptr));
    }
    ~BuddyAuditTest() override { EXPECT_EQ(audit(), "") << "after the repair"; }

    std::string audit() {
        Audit audit;
        buddy.verify(audit);
        return audit.result().first;
    }
    PageDesc& desc(u64 n) {
        ReadGuard<P> reader;
        return *buddy.find(page(n));
    }
    // Plants a word, expects the finding, puts the old word back.
    void plant(u64 at, u64 word, const char* finding) {
        PageDesc& d = desc(at);
        const u64 old = d.word();
        d.set(word);
        EXPECT_EQ(audit(), finding) << "page " << at;
        d.set(old);
        EXPECT_EQ(audit(), "") << "page " << at;
    }
    static u64 word(PageState state, unsigned o, u32 region, u64 pages = 0) {
        return PageDesc::make(state, order(o), region, pages);
    }

    Buddy<P> buddy{4096};
};

TEST_F(BuddyAuditTest, SeesAPageThatNoBlockCovers) {
    const auto run = buddy.alloc_exact(3);
    plant(value(*run) + 2, word(PageState::body, 0, 0), "a run lacks a part");
    const auto one = buddy.alloc(order(0));
    plant(value(*one), word(PageState::body, 0, 0), "a page is covered by no block");
}

TEST_F(BuddyAuditTest, SeesABlockThatDoesNotFitWhereItLies) {
    const auto block = buddy.alloc(order(2));
    plant(value(*block), word(PageState::run, 2, 1, 4), "a block does not fit where it lies");
    plant(64, word(PageState::free, 5, 1), "a block does not fit where it lies");
    plant(64, word(PageState::free, 60, 1), "a block does not fit where it lies");
}

TEST_F(BuddyAuditTest, SeesAHeadInsideABlock) {
    const auto block = buddy.alloc(order(3));
    for (u64 i = 1; i < 8; ++i)
        plant(value(*block) + i, word(PageState::run, 0, 0, 1), "a page inside a block is no body");
}

TEST_F(BuddyAuditTest, SeesTwoFreeBuddiesThatAreNotMerged) {
    // One free page 0 and page 1 allocated; its word says free.
    PageNumber pages[64];
    ASSERT_EQ(buddy.alloc_blocks(Order{0}, 64, Zone::normal, pages), 64u);
    EXPECT_EQ(buddy.free(page(0), order(0)), Error::none);
    plant(1, word(PageState::free, 0, 0), "two free buddies are not merged");
    buddy.free_blocks(Order{0}, pages + 1, 63);
}

TEST_F(BuddyAuditTest, SeesAFreeBlockInNoList) {
    const auto one = buddy.alloc(order(0));
    // Its links are those of an end, so the head of the list must be it.
    PageDesc& d = desc(value(*one));
    const u64 old = d.word();
    d.set_next({PageDesc::kNoPage, 0});
    d.set_prev({PageDesc::kNoPage, 0});
    d.set(word(PageState::free, 0, 0));
    EXPECT_NE(audit(), "");
    d.set(old);
    d.begin_run(old);
}

TEST_F(BuddyAuditTest, SeesATornFreeList) {
    // Two free blocks of order 0 that are no buddies.
    PageNumber pages[64];
    ASSERT_EQ(buddy.alloc_blocks(Order{0}, 64, Zone::normal, pages), 64u);
    EXPECT_EQ(buddy.free(page(0), order(0)), Error::none);
    EXPECT_EQ(buddy.free(page(2), order(0)), Error::none);
    PageDesc& newest = desc(2);
    const PageDesc::Link next = newest.next();
    newest.set_next({PageDesc::kNoPage, 0});
    EXPECT_EQ(audit(), "a free list is torn before a block");
    newest.set_next(next);
    PageDesc& oldest = desc(0);
    const PageDesc::Link prev = oldest.prev();
    oldest.set_prev({PageDesc::kNoPage, 0});
    EXPECT_EQ(audit(), "a free list is torn before a block");
    oldest.set_prev(prev);
    newest.set_prev({0, 0});
    EXPECT_NE(audit(), "");
    newest.set_prev({PageDesc::kNoPage, 0});
    buddy.free_blocks(Order{0}, pages + 1, 1);
    for (u64 i = 3; i < 64; ++i) EXPECT_EQ(buddy.free(page(i), order(0)), Error::none);
}

TEST_F(BuddyAuditTest, SeesARunThatIsNotCanonical) {
    const auto run = buddy.alloc_exact(7);
    ASSERT_EQ(value(*run) % 8, 0u);
    const u64 at = value(*run);
    plant(at, word(PageState::run, 1, 0, 7), "a run is not canonical");
    plant(at, word(PageState::run, 2, 0, 8), "a run is not canonical");
    plant(at, word(PageState::run, 2, 0, 6), "a run ends before its block, or outside");
    plant(at, word(PageState::run, 2, 0, 0), "a run ends before its block, or outside");
    plant(at, word(PageState::run, 2, 0, 100), "a run ends before its block, or outside");
}

TEST_F(BuddyAuditTest, SeesAPartOfARunThatNamesAnother) {
    const auto run = buddy.alloc_exact(7);
    PageDesc& part = desc(value(*run) + 4);
    const u32 start = part.run_start();
    part.set_run_start(start + 1);
    EXPECT_EQ(audit(), "a run lacks a part");
    part.set_run_start(start);
}

TEST_F(BuddyAuditTest, SeesASlabWhosePagesDisagree) {
    alignas(64) static char slab[128];
    const auto block = buddy.alloc(order(2));
    buddy.mark_slab(*block, order(2), slab, 3);
    for (u64 i = 1; i < 4; ++i)
        plant(value(*block) + i, reinterpret_cast<u64>(slab + 64) | 5,
              "a page of a slab does not name it");
    buddy.unmark_slab(*block, order(2));
    // One page of a run still names a slab, and nobody is marking.
    plant(value(*block) + 3, reinterpret_cast<u64>(slab) | 5, "a page inside a run names a slab");
}

TEST_F(BuddyAuditTest, SeesAnIsolatedBlockInALiveRegion) {
    const auto one = buddy.alloc(order(0));
    plant(value(*one), word(PageState::isolated, 0, 0), "a block is isolated, its region is not");
}

TEST_F(BuddyAuditTest, SeesACachedBlockThatIsTooLargeForAMagazine) {
    const auto block = buddy.alloc(order(4));
    plant(value(*block), word(PageState::cached, 4, 0), "a cached block is too large for a magazine");
}

TEST_F(BuddyAuditTest, SeesAFreeBlockWithAnOwner) {
    const auto run = buddy.alloc_exact(3);
    desc(value(*run)).run().owner.store(9);
    EXPECT_EQ(*buddy.free_run(*run), 3u);
    EXPECT_EQ(audit(), "a free block has an owner");
    desc(value(*run)).run().owner.store(kNobody);
}

TEST_F(BuddyAuditTest, CountsWhatEveryPageIsFor) {
    alignas(64) static char slab[64];
    const auto run = buddy.alloc_exact(5);
    const auto block = buddy.alloc(order(3));
    buddy.mark_slab(*block, order(3), slab, 1);
    EXPECT_EQ(buddy.isolate_region(page(64)), Error::none);
    Audit audit;
    const BuddyCensus seen = buddy.verify(audit);
    EXPECT_EQ(seen.run_pages, 5u);
    EXPECT_EQ(seen.runs, 1u);
    EXPECT_EQ(seen.slab_pages, 8u);
    EXPECT_EQ(seen.isolated_pages, 16u);
    EXPECT_EQ(seen.free_pages, 51u);
    EXPECT_EQ(seen.regions, 2u);
    EXPECT_EQ(audit.result().pages, 80u);
    buddy.unmark_slab(*block, order(3));
    EXPECT_EQ(*buddy.free_run(*run), 5u);
}

}  // namespace
}  // namespace quarry
