// SPDX-License-Identifier: MIT
//
// The buddy, one behaviour a test: orders and exact runs, zones, regions of any place,
// each error of each call, slab pages, hold times, refused metadata.
#include <gtest/gtest.h>

#include <vector>

#include "../../module/core/pages/buddy.hpp"
#include "host_platform.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using TestBuddy = Buddy<P>;

constexpr Order order(unsigned o) { return Order{static_cast<u8>(o)}; }
constexpr PageNumber page(u64 n) { return PageNumber{n}; }

void expect_clean(TestBuddy& buddy) {
    Audit audit;
    const BuddyCensus seen = buddy.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at page "
                               << (audit.result().first_offset >> 12);
    EXPECT_TRUE(seen.quiet);
}

// A buddy of one region of 64 pages from page 0.
class BuddyTest : public ::testing::Test {
protected:
    BuddyTest() { EXPECT_TRUE(buddy.add_region(page(0), 64, Zone::normal, nullptr)); }
    ~BuddyTest() override { expect_clean(buddy); }

    TestBuddy buddy{4096};
};

// ---- orders ----

TEST_F(BuddyTest, ABlockOfAnOrderHasItsSizeAndIsAlignedToIt) {
    for (unsigned o = 0; o <= 5; ++o) {
        const auto block = buddy.alloc(order(o));
        ASSERT_TRUE(block);
        EXPECT_EQ(value(*block) % (u64{1} << o), 0u);
        ReadGuard<P> reader;
        EXPECT_EQ(*buddy.run_pages(*block), u64{1} << o);
    }
    EXPECT_EQ(buddy.free_pages(), 1u);
}

TEST_F(BuddyTest, EveryPageCanBeHadAloneAndMergesBackToOneBlock) {
    std::vector<PageNumber> pages;
    while (const auto got = buddy.alloc(order(0))) pages.push_back(*got);
    EXPECT_EQ(pages.size(), 64u);
    EXPECT_EQ(buddy.free_pages(), 0u);
    EXPECT_EQ(buddy.alloc(order(0)).error(), Error::pool_full);
    for (const PageNumber p : pages) EXPECT_EQ(buddy.free(p, order(0)), Error::none);
    EXPECT_EQ(buddy.free_blocks(order(6), Zone::normal), 1u);
    EXPECT_EQ(*buddy.largest_free(), order(6));
}

TEST_F(BuddyTest, ASplitLeavesOneBlockOfEachSmallerOrder) {
    ASSERT_TRUE(buddy.alloc(order(0)));
    for (unsigned o = 0; o < 6; ++o) EXPECT_EQ(buddy.free_blocks(order(o), Zone::normal), 1u) << o;
    EXPECT_EQ(buddy.free_blocks(order(6), Zone::normal), 0u);
}

TEST_F(BuddyTest, CanAllocAndLargestFreeFollowWhatIsThere) {
    EXPECT_TRUE(buddy.can_alloc(order(6)));
    EXPECT_FALSE(buddy.can_alloc(order(7)));
    EXPECT_FALSE(buddy.can_alloc(order(21)));
    const auto block = buddy.alloc(order(6));
    EXPECT_FALSE(buddy.can_alloc(order(0)));
    EXPECT_EQ(buddy.largest_free().error(), Error::pool_full);
    EXPECT_EQ(buddy.free(*block, order(6)), Error::none);
    EXPECT_EQ(*buddy.largest_free(), order(6));
}

TEST_F(BuddyTest, CountsOfPagesAndBytesAreExact) {
    EXPECT_EQ(buddy.total_pages(), 64u);
    EXPECT_EQ(buddy.managed_bytes(), 64u * 4096);
    EXPECT_EQ(buddy.allocated_bytes(), 0u);
    const auto run = buddy.alloc_exact(7);
    EXPECT_EQ(buddy.free_pages(), 57u);
    EXPECT_EQ(buddy.allocated_bytes(), 7u * 4096);
    EXPECT_EQ(*buddy.free_run(*run), 7u);
    EXPECT_EQ(buddy.allocated_bytes(), 0u);
    EXPECT_EQ(buddy.meta_bytes(), P::meta_bytes());
}

TEST(Buddy, RequiredMetadataCoversOneRegionExactly) {
    TestBuddy buddy(4096);
    ASSERT_TRUE(buddy.add_region(page(3), 777, Zone::normal, nullptr));
    EXPECT_EQ(TestBuddy::required_meta_bytes(777), P::meta_bytes());
}

TEST(Buddy, OrdersUpToTwentyAreServedFromAnUnalignedRegion) {
    // Alone, so for the race detector a smaller one tells as much.
    constexpr int kTop = by_variant(20, 20, 17);
    constexpr u64 kHuge = u64{1} << kTop;
    TestBuddy buddy(4 * kHuge);
    // 40 canonical blocks, or 34: more than one step of insertion, isolation and audit.
    ASSERT_TRUE(buddy.add_region(page(1), 2 * kHuge - 2, Zone::normal, nullptr));
    EXPECT_EQ(*buddy.largest_free(), order(kTop - 1));
    EXPECT_EQ(buddy.alloc(order(kTop)).error(), Error::pool_full);
    ASSERT_TRUE(buddy.add_region(page(2 * kHuge), kHuge, Zone::normal, nullptr));
    const auto block = buddy.alloc(order(kTop));
    ASSERT_TRUE(block);
    EXPECT_EQ(value(*block), 2 * kHuge);
    // No such block is left, but so many pages in a row.
    const auto row = buddy.alloc_exact(kHuge);
    ASSERT_TRUE(row);
    EXPECT_EQ(*buddy.free_run(*row), kHuge);
    EXPECT_EQ(buddy.free(*block, order(kTop)), Error::none);
    EXPECT_EQ(buddy.isolate_region(page(1)), Error::none);
    EXPECT_EQ(buddy.total_pages(), kHuge);
    expect_clean(buddy);
    buddy.restore_region(page(1));
    EXPECT_EQ(buddy.free_pages(), 3 * kHuge - 2);
    const auto run = buddy.alloc_exact(kHuge - 1);
    EXPECT_EQ(*buddy.free_run(*run), kHuge - 1);
    expect_clean(buddy);
    EXPECT_EQ(buddy.remove_region(page(1)), Error::none);
}

TEST_F(BuddyTest, AnOrderAboveTwentyIsTooLarge) {
    EXPECT_EQ(buddy.alloc(order(21)).error(), Error::too_large);
    EXPECT_EQ(buddy.alloc_exact((u64{1} << 20) + 1).error(), Error::too_large);
    EXPECT_EQ(buddy.alloc_exact(1, Zone::normal, order(21)).error(), Error::too_large);
    EXPECT_EQ(buddy.free(page(0), order(21)), Error::wrong_size);
}

TEST(Buddy, WithoutARegionItIsUninitialised) {
    TestBuddy buddy(64);
    EXPECT_EQ(buddy.alloc(order(0)).error(), Error::uninitialised);
    EXPECT_EQ(buddy.alloc_exact(3).error(), Error::uninitialised);
    EXPECT_EQ(buddy.free(page(1), order(0)), Error::no_region);
    EXPECT_EQ(buddy.free(page(64), order(0)), Error::out_of_range);
    EXPECT_EQ(buddy.find(page(0)), nullptr);
    EXPECT_EQ(buddy.region_count(), 0u);
    expect_clean(buddy);
}

TEST_F(BuddyTest, AnUnknownZoneIsInvalid) {
    EXPECT_EQ(buddy.alloc(order(0), static_cast<Zone>(2)).error(), Error::invalid);
    EXPECT_EQ(buddy.alloc_exact(1, static_cast<Zone>(7)).error(), Error::invalid);
    EXPECT_EQ(buddy.add_region(page(64), 1, static_cast<Zone>(2), nullptr).error(), Error::invalid);
}

// ---- frees: each error at the call, and nothing changes ----

TEST_F(BuddyTest, ASecondFreeIsRefused) {
    const auto block = buddy.alloc(order(3));
    EXPECT_EQ(buddy.free(*block, order(3)), Error::none);
    EXPECT_EQ(buddy.free(*block, order(3)), Error::already_free);
    EXPECT_EQ(buddy.free_run(*block).error(), Error::already_free);
    EXPECT_EQ(buddy.free_pages(), 64u);
}

TEST_F(BuddyTest, ASecondFreeIsRefusedEvenWhenTheBlockHasMergedIntoALargerOne) {
    const auto a = buddy.alloc(order(2));
    const auto b = buddy.alloc(order(2));
    EXPECT_EQ(buddy.free(*a, order(2)), Error::none);
    EXPECT_EQ(buddy.free(*b, order(2)), Error::none);
    EXPECT_EQ(buddy.free(*b, order(2)), Error::already_free);
    EXPECT_EQ(buddy.free(*a + 1, order(0)), Error::already_free);
}

TEST_F(BuddyTest, AFreeOfTheMiddleOfABlockIsRefused) {
    const auto block = buddy.alloc(order(3));
    for (u64 i = 1; i < 8; ++i) {
        EXPECT_EQ(buddy.free(*block + i, order(0)), Error::not_object);
        EXPECT_EQ(buddy.free_run(*block + i).error(), Error::not_object);
    }
    EXPECT_EQ(buddy.free(*block, order(3)), Error::none);
}

TEST_F(BuddyTest, AFreeOfAPartOfARunByItsBlockIsRefused) {
    const auto run = buddy.alloc_exact(7);
    EXPECT_EQ(buddy.free(*run + 4, order(1)), Error::not_object);
    EXPECT_EQ(buddy.free(*run + 6, order(0)), Error::not_object);
    EXPECT_EQ(buddy.free_run(*run + 4).error(), Error::not_object);
    EXPECT_EQ(*buddy.free_run(*run), 7u);
}

TEST_F(BuddyTest, AFreeOfAnotherOrderIsRefused) {
    const auto block = buddy.alloc(order(3));
    for (unsigned o : {0, 1, 2, 4, 5, 20}) EXPECT_EQ(buddy.free(*block, order(o)), Error::wrong_size);
    const auto run = buddy.alloc_exact(7);
    for (unsigned o = 0; o < 6; ++o) EXPECT_EQ(buddy.free(*run, order(o)), Error::wrong_size);
    EXPECT_EQ(buddy.free(*block, order(3)), Error::none);
}

TEST_F(BuddyTest, AForeignPageIsInNoRegionOrOutOfRange) {
    EXPECT_EQ(buddy.free(page(64), order(0)), Error::no_region);
    EXPECT_EQ(buddy.free(page(4095), order(0)), Error::no_region);
    EXPECT_EQ(buddy.free(page(4096), order(0)), Error::out_of_range);
    EXPECT_EQ(buddy.free(page(~u64{0}), order(0)), Error::out_of_range);
    EXPECT_EQ(buddy.free(page(4096), u64{1}), Error::out_of_range);
    EXPECT_EQ(buddy.free_run(page(64)).error(), Error::no_region);
    ReadGuard<P> reader;
    EXPECT_EQ(buddy.run_pages(page(64)).error(), Error::no_region);
    EXPECT_EQ(buddy.run_pages(page(4096)).error(), Error::out_of_range);
}

TEST_F(BuddyTest, AFreeOfNoPageIsInvalid) {
    EXPECT_EQ(buddy.free(page(0), u64{0}), Error::invalid);
    EXPECT_EQ(buddy.alloc_exact(0).error(), Error::invalid);
}

// ---- exact runs ----

TEST_F(BuddyTest, AnExactRunHasExactlyItsPagesAndGivesItsTailBack) {
    for (u64 n = 1; n <= 64; ++n) {
        const auto run = buddy.alloc_exact(n);
        ASSERT_TRUE(run) << n;
        EXPECT_EQ(buddy.free_pages(), 64 - n);
        {
            ReadGuard<P> reader;
            EXPECT_EQ(*buddy.run_pages(*run), n);
            EXPECT_EQ(buddy.find(*run)->run().owner.load(), kNobody);
            EXPECT_EQ(buddy.find(*run)->run().next, 0u);
            EXPECT_EQ(buddy.find(*run)->run().prev, 0u);
        }
        expect_clean(buddy);
        EXPECT_EQ(*buddy.free_run(*run), n);
    }
}

TEST_F(BuddyTest, AnExactRunIsAlignedByItsAbsolutePageNumber) {
    TestBuddy odd(4096);
    ASSERT_TRUE(odd.add_region(page(5), 300, Zone::normal, nullptr));
    for (unsigned a = 0; a <= 7; ++a) {
        const auto run = odd.alloc_exact(3, Zone::normal, order(a));
        ASSERT_TRUE(run) << a;
        EXPECT_EQ(value(*run) % (u64{1} << a), 0u);
        EXPECT_EQ(*odd.free_run(*run), 3u);
    }
    EXPECT_EQ(odd.alloc_exact(3, Zone::normal, order(9)).error(), Error::pool_full);
}

TEST_F(BuddyTest, AnAlignmentLargerThanAnyBlockIsServedByABlockThatHappensToLieThere) {
    TestBuddy small(4096);
    ASSERT_TRUE(small.add_region(page(1024), 8, Zone::normal, nullptr));
    const auto run = small.alloc_exact(5, Zone::normal, order(10));
    ASSERT_TRUE(run);
    EXPECT_EQ(value(*run), 1024u);
    const auto next = small.alloc_exact(1, Zone::normal, order(10));
    EXPECT_EQ(next.error(), Error::pool_full);
    expect_clean(small);
}

TEST_F(BuddyTest, ABlockOfAnOrderIsAnExactRunAndTheOtherWayRound) {
    const auto run = buddy.alloc_exact(8);
    EXPECT_EQ(buddy.free(*run, order(3)), Error::none);
    const auto block = buddy.alloc(order(3));
    EXPECT_EQ(*buddy.free_run(*block), 8u);
}

TEST_F(BuddyTest, AnyPartOfARunCanBeFreedAndTheRestStaysAllocated) {
    const auto run = buddy.alloc_exact(13);
    EXPECT_EQ(buddy.free(*run + 3, u64{5}), Error::none);
    EXPECT_EQ(buddy.free_pages(), 64u - 8);
    {
        ReadGuard<P> reader;
        EXPECT_EQ(*buddy.run_pages(*run), 3u);
        EXPECT_EQ(*buddy.run_pages(*run + 8), 5u);
        EXPECT_EQ(buddy.run_pages(*run + 3).error(), Error::already_free);
        EXPECT_EQ(buddy.run_pages(*run + 9).error(), Error::not_object);
    }
    EXPECT_EQ(buddy.free(*run, u64{4}), Error::wrong_size);  // it would reach over its end
    EXPECT_EQ(buddy.free(*run + 3, u64{1}), Error::already_free);
    EXPECT_EQ(*buddy.free_run(*run), 3u);
    EXPECT_EQ(*buddy.free_run(*run + 8), 5u);
    EXPECT_EQ(buddy.free_blocks(order(6), Zone::normal), 1u);
}

TEST_F(BuddyTest, ThePartBeforeAFreedOneKeepsTheRunsOwner) {
    const auto run = buddy.alloc_exact(6);
    ReadGuard<P> reader;
    buddy.find(*run)->run().owner.store(7);
    EXPECT_EQ(buddy.free(*run + 2, u64{4}), Error::none);
    EXPECT_EQ(buddy.find(*run)->run().owner.load(), 7u);
    buddy.find(*run)->run().owner.store(kNobody);
    EXPECT_EQ(*buddy.free_run(*run), 2u);
}

TEST_F(BuddyTest, SinglePagesComeAndGoInBatches) {
    PageNumber pages[70];
    EXPECT_EQ(buddy.alloc_blocks(Order{0}, 70, Zone::normal, pages), 64u);
    EXPECT_EQ(buddy.alloc_blocks(Order{0}, 1, Zone::normal, pages + 64), 0u);
    buddy.free_blocks(Order{0}, pages, 64);
    EXPECT_EQ(buddy.free_blocks(order(6), Zone::normal), 1u);
}

// ---- zones and regions ----

TEST(Buddy, NormalPrefersNormalMemoryAndFallsBackToLowmem) {
    TestBuddy buddy(256);
    ASSERT_TRUE(buddy.add_region(page(0), 16, Zone::lowmem, nullptr));
    ASSERT_TRUE(buddy.add_region(page(64), 16, Zone::normal, nullptr));
    EXPECT_EQ(value(*buddy.alloc(order(4), Zone::normal)), 64u);
    EXPECT_EQ(value(*buddy.alloc(order(3), Zone::normal)), 0u);
    EXPECT_EQ(value(*buddy.alloc_exact(5, Zone::normal)), 8u);
    EXPECT_EQ(buddy.free_pages(), 3u);
    expect_clean(buddy);
}

TEST(Buddy, LowmemIsServedFromLowmemAlone) {
    TestBuddy buddy(256);
    ASSERT_TRUE(buddy.add_region(page(64), 16, Zone::normal, nullptr));
    EXPECT_EQ(buddy.alloc(order(0), Zone::lowmem).error(), Error::pool_full);
    EXPECT_EQ(buddy.alloc_exact(3, Zone::lowmem).error(), Error::pool_full);
    EXPECT_FALSE(buddy.can_alloc(order(0), Zone::lowmem));
    ASSERT_TRUE(buddy.add_region(page(0), 4, Zone::lowmem, nullptr));
    EXPECT_EQ(value(*buddy.alloc(order(2), Zone::lowmem)), 0u);
    EXPECT_EQ(buddy.alloc(order(0), Zone::lowmem).error(), Error::pool_full);
    EXPECT_EQ(buddy.free_blocks(order(4), Zone::normal), 1u);
}

TEST(Buddy, BlocksNeverMergeAcrossRegionsThatTouch) {
    TestBuddy buddy(64);
    for (u64 at : {0, 8, 16, 24}) ASSERT_TRUE(buddy.add_region(page(at), 8, Zone::normal, nullptr));
    EXPECT_EQ(*buddy.largest_free(), order(3));
    std::vector<PageNumber> all;
    while (const auto p = buddy.alloc(order(0))) all.push_back(*p);
    EXPECT_EQ(all.size(), 32u);
    for (const auto p : all) EXPECT_EQ(buddy.free(p, order(0)), Error::none);
    EXPECT_EQ(buddy.free_blocks(order(3), Zone::normal), 4u);
    EXPECT_EQ(buddy.alloc_exact(9).error(), Error::pool_full);
    expect_clean(buddy);
}

TEST(Buddy, PageSizeIsATemplateArgument) {
    Buddy<P, 16> buddy(64);
    ASSERT_TRUE(buddy.add_region(page(0), 3, Zone::normal, nullptr));
    EXPECT_EQ(buddy.managed_bytes(), 3u * 65536);
    const auto run = buddy.alloc_exact(3);
    EXPECT_EQ(buddy.allocated_bytes(), 3u * 65536);
    EXPECT_EQ(*buddy.free_run(*run), 3u);
}

// ---- slab pages ----

TEST_F(BuddyTest, EveryPageOfASlabNamesItAndNoneCanBeFreed) {
    alignas(64) char slab[64];
    const auto block = buddy.alloc(order(3));
    buddy.mark_slab(*block, order(3), slab, 41);
    expect_clean(buddy);
    for (u64 i = 0; i < 8; ++i) {
        ReadGuard<P> reader;
        const PageDesc* desc = buddy.find(*block + i);
        EXPECT_EQ(desc->state(), PageState::slab);
        EXPECT_EQ(PageDesc::slab<char>(desc->word()), slab);
        EXPECT_EQ(desc->size_class(), 41);
        EXPECT_EQ(buddy.number_of(*desc), *block + i);
        EXPECT_EQ(buddy.free(*block + i, order(0)), Error::not_object);
        EXPECT_EQ(buddy.free(*block + i, order(3)), Error::not_object);
        EXPECT_EQ(buddy.free(*block + i, u64{1}), Error::not_object);
        EXPECT_EQ(buddy.free_run(*block + i).error(), Error::not_object);
        EXPECT_EQ(buddy.run_pages(*block + i).error(), Error::not_object);
    }
    Audit audit;
    EXPECT_EQ(buddy.verify(audit).slab_pages, 8u);
    buddy.unmark_slab(*block, order(3));
    EXPECT_EQ(buddy.free(*block, order(3)), Error::none);
}

// ---- bounds ----

TEST_F(BuddyTest, NoHoldTouchesMoreThanThirtyTwoSlots) {
    P::reset_max_slots();
    for (u64 n = 1; n <= 64; ++n) EXPECT_EQ(*buddy.free_run(*buddy.alloc_exact(n)), n);
    PageNumber pages[64];
    const u32 got = buddy.alloc_blocks(Order{0}, 64, Zone::normal, pages);
    buddy.free_blocks(Order{0}, pages, got);
    expect_clean(buddy);
    EXPECT_EQ(buddy.isolate_region(page(0)), Error::none);
    buddy.restore_region(page(0));
    EXPECT_GT(P::max_slots_per_hold(), 1u);
    EXPECT_LE(P::max_slots_per_hold(), 32u);
}

TEST(Buddy, EachRefusedMetadataAllocationIsAnErrorAndNothingIsLost) {
    u64 nth = 1, without_map = 0;
    for (bool refused = true; refused; ++nth) {
        P::refuse_allocation(nth);
        {
            TestBuddy buddy(1 << 16);
            u64 regions = 0;
            for (u64 i = 0; i < 40; ++i) {
                const auto added = buddy.add_region(page(i % 2 ? 4000 - i * 8 : i * 8), 5,
                                                    Zone::normal, nullptr);
                regions += bool(added);
                EXPECT_EQ(added.error(), added ? Error::none : Error::no_memory);
                EXPECT_EQ(buddy.region_count(), regions);
                EXPECT_EQ(buddy.total_pages(), regions * 5);
            }
            refused = P::refusals() != 0;
            EXPECT_TRUE(regions == 40 || (regions == 39 && refused));
            without_map += refused && regions == 40;
            expect_clean(buddy);
            P::settle();
            EXPECT_EQ(buddy.meta_bytes(), P::meta_bytes()) << nth;
        }
        P::refuse_allocation(0);
        P::settle();
        ASSERT_EQ(P::meta_bytes(), 0u) << nth;
    }
    EXPECT_GT(nth, 40u);
    EXPECT_EQ(without_map, 3u) << "the map is made, and grows twice";
}

}  // namespace
}  // namespace quarry
