// SPDX-License-Identifier: MIT
//
// Regions: adding, finding, isolating and removing them, their gaps, their numbers, and
// look-ups beside all of that.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>
#include <vector>

#include "../../module/core/pages/buddy.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using TestBuddy = Buddy<P>;

// Steps of the other threads that a test beside them waits for.
#if QUARRY_HOST_TSAN
constexpr u64 kSteps = 20000;
#else
constexpr u64 kSteps = 200000;
#endif

constexpr Order order(unsigned o) { return Order{static_cast<u8>(o)}; }
constexpr PageNumber page(u64 n) { return PageNumber{n}; }

void expect_clean(TestBuddy& buddy) {
    Audit audit;
    buddy.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at page "
                               << (audit.result().first_offset >> 12);
}

Error add(TestBuddy& buddy, u64 first, u64 pages, void* cookie = nullptr) {
    return buddy.add_region(page(first), pages, Zone::normal, cookie).error();
}

TEST(Region, EachWrongAddIsItsOwnErrorAndAddsNothing) {
    TestBuddy buddy(1000);
    EXPECT_EQ(add(buddy, 10, 0), Error::invalid);
    EXPECT_EQ(add(buddy, 0, u64{1} << 32), Error::invalid);
    EXPECT_EQ(add(buddy, 0, 1001), Error::out_of_range);
    EXPECT_EQ(add(buddy, 990, 11), Error::out_of_range);
    EXPECT_EQ(add(buddy, ~u64{0}, 2), Error::out_of_range);
    EXPECT_EQ(P::meta_bytes(), 0u);
    EXPECT_EQ(add(buddy, 100, 50), Error::none);
    for (const auto& [first, pages] : std::vector<std::pair<u64, u64>>{
             {100, 50}, {100, 1}, {149, 1}, {99, 2}, {149, 100}, {0, 1000}, {120, 5}, {0, 101}})
        EXPECT_EQ(add(buddy, first, pages), Error::overlap) << first << " " << pages;
    EXPECT_EQ(buddy.region_count(), 1u);
    EXPECT_EQ(buddy.total_pages(), 50u);
    EXPECT_EQ(add(buddy, 99, 1), Error::none);
    EXPECT_EQ(add(buddy, 150, 850), Error::none);
    EXPECT_EQ(add(buddy, 0, 99), Error::none);
    EXPECT_EQ(buddy.total_pages(), 1000u);
    expect_clean(buddy);
}

TEST(Region, ALookupFindsTheRegionOfEveryPageAndNoneInAHole) {
    TestBuddy buddy(1000);
    int cookies[30];
    // In an order that makes every kind of insertion.
    for (u64 i : {20, 3, 29, 0, 11, 12, 28, 1, 19, 5, 6, 4, 25})
        ASSERT_EQ(add(buddy, i * 30 + 5, 20, &cookies[i]), Error::none);
    ReadGuard<P> reader;
    for (u64 p = 0; p < 1005; ++p) {
        const u64 i = p < 5 ? 99 : (p - 5) / 30;
        const bool in = p >= 5 && (p - 5) % 30 < 20 && i < 30 &&
                        std::set<u64>{20, 3, 29, 0, 11, 12, 28, 1, 19, 5, 6, 4, 25}.count(i);
        const Region* region = buddy.region_of(page(p));
        ASSERT_EQ(region != nullptr, in) << p;
        if (!region) continue;
        ASSERT_EQ(region->cookie, &cookies[i]);
        ASSERT_EQ(buddy.number_of(*buddy.find(page(p))), page(p));
    }
}

TEST(Region, RegionsAreVisitedInOrderAndTheVisitorMaySleep) {
    TestBuddy buddy(1000);
    for (u64 i : {5, 1, 9, 3}) ASSERT_EQ(add(buddy, i * 100, 10), Error::none);
    ASSERT_EQ(buddy.remove_region(page(300)), Error::none);
    std::vector<u64> seen;
    buddy.for_each_region([&](const auto& region) {
        P::breathe();
        seen.push_back(region.first);
        EXPECT_EQ(region.pages, 10u);
    });
    EXPECT_EQ(seen, (std::vector<u64>{100, 500, 900}));
}

TEST(Region, AGapIsTheFirstThatIsLargeEnoughAndAligned) {
    TestBuddy buddy(8192);
    EXPECT_EQ(value(*buddy.find_gap(3)), 0u);
    ASSERT_EQ(add(buddy, 0, 3), Error::none);
    EXPECT_EQ(value(*buddy.find_gap(3)), 4u);
    EXPECT_EQ(value(*buddy.find_gap(1)), 3u);
    EXPECT_EQ(value(*buddy.find_gap(1000)), 1024u);
    EXPECT_EQ(value(*buddy.find_gap(4000)), 1024u);  // aligned to 2^10 at most
    ASSERT_EQ(add(buddy, 1024, 2000), Error::none);
    EXPECT_EQ(value(*buddy.find_gap(1000)), 3072u);
    EXPECT_EQ(value(*buddy.find_gap(8)), 8u);
    EXPECT_EQ(buddy.find_gap(8192).error(), Error::pool_full);
    EXPECT_EQ(buddy.find_gap(0).error(), Error::invalid);
    EXPECT_EQ(value(*buddy.find_gap(5120)), 3072u);
    EXPECT_EQ(buddy.find_gap(5121).error(), Error::pool_full);
}

TEST(Region, AnIsolatedRegionServesNothingAndCountsAsGoneUntilItIsRestored) {
    TestBuddy buddy(256);
    ASSERT_EQ(add(buddy, 3, 50), Error::none);
    EXPECT_EQ(buddy.isolate_region(page(3)), Error::none);
    EXPECT_EQ(buddy.isolate_region(page(3)), Error::none);
    EXPECT_EQ(buddy.total_pages(), 0u);
    EXPECT_EQ(buddy.free_pages(), 0u);
    EXPECT_EQ(buddy.alloc(order(0)).error(), Error::pool_full);
    EXPECT_EQ(buddy.free(page(3), order(0)), Error::already_free);
    expect_clean(buddy);
    buddy.restore_region(page(3));
    buddy.restore_region(page(3));
    EXPECT_EQ(buddy.total_pages(), 50u);
    EXPECT_EQ(buddy.free_pages(), 50u);
    EXPECT_TRUE(buddy.alloc(order(4)));
    expect_clean(buddy);
}

TEST(Region, ARegionInUseIsBusyAndNothingChanges) {
    TestBuddy buddy(256);
    ASSERT_EQ(add(buddy, 0, 64), Error::none);
    const auto one = buddy.alloc(order(0));
    EXPECT_EQ(buddy.isolate_region(page(0)), Error::busy);
    EXPECT_EQ(buddy.remove_region(page(0)), Error::busy);
    EXPECT_EQ(buddy.free_pages(), 63u);
    expect_clean(buddy);
    EXPECT_EQ(buddy.free(*one, order(0)), Error::none);
    EXPECT_EQ(buddy.remove_region(page(0)), Error::none);
    EXPECT_EQ(buddy.total_pages(), 0u);
}

TEST(Region, OnlyTheFirstPageNamesARegion) {
    TestBuddy buddy(256);
    ASSERT_EQ(add(buddy, 10, 20), Error::none);
    for (u64 p : {0, 9, 11, 29, 30, 1000}) {
        EXPECT_EQ(buddy.isolate_region(page(p)), Error::not_found);
        EXPECT_EQ(buddy.remove_region(page(p)), Error::not_found);
        buddy.restore_region(page(p));
    }
    EXPECT_EQ(buddy.free_pages(), 20u);
}

TEST(Region, RemovingNeedsNoMemory) {
    TestBuddy buddy(1024);
    for (u64 i = 0; i < 20; ++i) ASSERT_EQ(add(buddy, i * 10, 10), Error::none);
    P::refuse_allocations_from(1);
    for (u64 i = 0; i < 20; i += 2) EXPECT_EQ(buddy.remove_region(page(i * 10)), Error::none);
    EXPECT_EQ(P::refusals(), 0u);
    P::refuse_allocation(0);
    EXPECT_EQ(buddy.region_count(), 10u);
    expect_clean(buddy);
}

TEST(Region, AReaderKeepsARemovedRegionFromGoing) {
    TestBuddy buddy(256);
    ASSERT_EQ(add(buddy, 0, 64), Error::none);
    P::read_enter();
    const Region* region = buddy.region_of(page(5));
    const PageDesc* desc = buddy.find(page(5));
    std::thread other([&] {
        P::Thread scope;
        EXPECT_EQ(buddy.remove_region(page(0)), Error::none);
    });
    other.join();
    EXPECT_EQ(buddy.region_of(page(5)), nullptr);
    EXPECT_EQ(P::retired_blocks(), 1u);
    EXPECT_EQ(region->pages, 64u);  // under AddressSanitizer this would be seen
    EXPECT_EQ(desc->state(), PageState::body);
    P::read_leave();
    P::settle();
    EXPECT_EQ(P::retired_blocks(), 0u);
}

TEST(Region, TheSamePlaceCanBeAddedAndRemovedForEverWithoutGrowth) {
    TestBuddy buddy(4096);
    ASSERT_EQ(add(buddy, 0, 4), Error::none);
    ASSERT_EQ(add(buddy, 1000, 4), Error::none);
    u64 most = 0;
    for (u64 i = 0; i < 1000; ++i) {
        ASSERT_EQ(add(buddy, 500 + i % 7, 10 + i % 90), Error::none);
        ASSERT_EQ(add(buddy, 2000 + i % 5, 10), Error::none);
        expect_clean(buddy);
        ASSERT_EQ(buddy.remove_region(page(500 + i % 7)), Error::none);
        ASSERT_EQ(buddy.remove_region(page(2000 + i % 5)), Error::none);
        P::settle();
        most = std::max(most, buddy.meta_bytes());
    }
    EXPECT_EQ(buddy.region_count(), 2u);
    // One chunk of numbers, one small table, the map, the regions.
    EXPECT_LE(most, 2048u + 64 + 16 * 16 + 384 + 4 * 64 + 120 * 24);
}

TEST(Region, A65537thRegionIsTooManyAndAllOthersAreFound) {
    TestBuddy buddy(u64{1} << 20);
    for (u64 i = 0; i < kMaxRegions; ++i) ASSERT_EQ(add(buddy, i * 2, 1), Error::none);
    EXPECT_EQ(add(buddy, kMaxRegions * 2, 1), Error::too_many);
    EXPECT_EQ(buddy.region_count(), kMaxRegions);
    {
        ReadGuard<P> reader;
        for (u64 p = 0; p < kMaxRegions * 2; ++p)
            ASSERT_EQ(buddy.find(page(p)) != nullptr, p % 2 == 0);
    }
    EXPECT_EQ(buddy.alloc_exact(2).error(), Error::pool_full);
    // One goes, its number is free again.
    ASSERT_EQ(buddy.remove_region(page(500)), Error::none);
    ASSERT_EQ(add(buddy, 501, 1), Error::none);
    expect_clean(buddy);
}

TEST(Region, ALookupBelowTheOnlyRegionReadsNothingThatAnAddWrites) {
    // ThreadSanitizer saw the look-up read the entry behind the table's count.
    TestBuddy buddy(4096);
    ASSERT_EQ(add(buddy, 2000, 10), Error::none);
    std::atomic<bool> looked{false}, stop{false};
    std::thread reader([&] {
        P::Thread scope;
        do {
            ReadGuard<P> guard;
            EXPECT_EQ(buddy.region_of(page(5)), nullptr);
            looked.store(true, std::memory_order_relaxed);
        } while (!stop.load(std::memory_order_relaxed));
    });
    while (!looked.load(std::memory_order_relaxed)) std::this_thread::yield();
    EXPECT_EQ(add(buddy, 3000, 10), Error::none);
    stop.store(true, std::memory_order_relaxed);
    reader.join();
    EXPECT_EQ(buddy.region_count(), 2u);
}

TEST(Region, LookupsBesideAddingAndRemovingSeeARegionWholeOrNotAtAll) {
    TestBuddy buddy(4096);
    int cookie = 0;
    ASSERT_EQ(add(buddy, 2000, 10, &cookie), Error::none);
    std::atomic<bool> stop{false};
    std::atomic<u64> found{0}, steps{0};
    std::thread reader([&] {
        P::Thread scope;
        std::mt19937_64 random(1);
        for (; !stop.load(); ++steps) {
            ReadGuard<P> guard;
            const u64 p = random() % 4096;
            if (const Region* region = buddy.region_of(page(p))) {
                EXPECT_EQ(region->cookie, &cookie);
                EXPECT_TRUE(region->holds(p));
                const PageDesc* desc = buddy.find(page(p));
                if (desc && desc->state() == PageState::body) ++found;
                (void)buddy.run_pages(page(p)).error();
            }
            const PageDesc* always = buddy.find(page(2005));
            EXPECT_NE(always, nullptr);
        }
    });
    std::mt19937_64 random(2);
    for (int i = 0; i < 3000 || steps.load() < kSteps; ++i) {
        const u64 first = random() % 40 * 100;
        if (first == 2000) continue;
        if (add(buddy, first, 1 + random() % 100, &cookie) == Error::none) continue;
        EXPECT_EQ(buddy.remove_region(page(first)), Error::none);
    }
    stop = true;
    reader.join();
    expect_clean(buddy);
}

TEST(Region, TheAuditBesideRunningCallsReportsNothing) {
    TestBuddy buddy(4096);
    ASSERT_EQ(add(buddy, 3, 500), Error::none);
    std::atomic<bool> stop{false};
    std::atomic<u64> steps{0};
    alignas(64) static char slab[64];
    auto work = [&](u64 seed) {
        P::Thread scope;
        std::mt19937_64 random(seed);
        std::vector<PageNumber> runs;
        for (; !stop.load(); ++steps) {
            const u64 n = 1 + random() % 40;
            if (random() % 3 == 0) {
                const auto block = buddy.alloc(order(random() % 5));
                if (!block) continue;
                u64 pages;
                {
                    ReadGuard<P> reader;
                    pages = *buddy.run_pages(*block);
                }
                const Order o = order(highest_bit(pages));
                buddy.mark_slab(*block, o, slab, 1);
                buddy.unmark_slab(*block, o);
                EXPECT_EQ(buddy.free(*block, o), Error::none);
            } else if (const auto run = buddy.alloc_exact(n)) {
                runs.push_back(*run);
            }
            if (runs.size() > 8 || random() % 2) {
                if (runs.empty()) continue;
                EXPECT_TRUE(buddy.free_run(runs.back()));
                runs.pop_back();
            }
            const u64 first = 1000 + seed * 500;
            if (random() % 16 == 0 && add(buddy, first, 1 + random() % 300) != Error::none)
                (void)buddy.remove_region(page(first));
        }
        for (const auto r : runs) EXPECT_TRUE(buddy.free_run(r));
    };
    std::thread a(work, 1), b(work, 2);
    for (int i = 0; i < 300 || steps.load() < kSteps; ++i) expect_clean(buddy);
    stop = true;
    a.join();
    b.join();
    expect_clean(buddy);
    EXPECT_EQ(buddy.free_pages(), buddy.total_pages());
}

TEST(Region, TheAuditBesideAMakerOfSlabsReportsNothing) {
    TestBuddy buddy(4096);
    ASSERT_EQ(add(buddy, 0, 2048), Error::none);
    std::atomic<bool> stop{false};
    std::atomic<u64> steps{0};
    alignas(64) static char slab[64];
    std::thread maker([&] {
        P::Thread scope;
        const auto block = buddy.alloc(order(10));
        for (; !stop.load(); ++steps) {
            buddy.mark_slab(*block, order(10), slab, 1);
            buddy.unmark_slab(*block, order(10));
        }
        EXPECT_EQ(buddy.free(*block, order(10)), Error::none);
    });
    for (int i = 0; i < 200 || steps.load() < kSteps / 100; ++i) expect_clean(buddy);
    stop = true;
    maker.join();
    expect_clean(buddy);
}

// ---- the map ----

// A region as the map sees it: its record alone.
Region record(u64 first, u64 pages) {
    Region r{};
    r.first = first;
    r.pages = pages;
    return r;
}

TEST(RegionMap, EveryPageOfAHundredScatteredRegionsIsFoundAtOnce) {
    std::vector<Region> regions;
    for (u64 i = 0; i < 100; ++i) regions.push_back(record(i * 1024 + i % 5, 128 + i % 3 * 300));
    RegionMap<P> map;
    for (u32 n = 1; n <= regions.size(); ++n)
        map.add(regions[n - 1], n, [&](auto&& fn) {
            for (u32 i = 0; i < n; ++i) fn(regions[i]);
        });
    u64 pages = 0, unknown = 0;
    for (Region& r : regions)
        for (u64 p = r.first; p < r.end(); ++p, ++pages) {
            const Region* found = map.find(p);
            EXPECT_TRUE(found == &r || found == nullptr);
            unknown += found == nullptr;
        }
    EXPECT_EQ(unknown, 0u) << "of " << pages;
    EXPECT_EQ(map.find(regions[3].end()), nullptr);
    map.remove(regions[7]);
    map.for_each_place([&](auto& place) { EXPECT_NE(place.load(), &regions[7]); });
    EXPECT_EQ(map.find(regions[7].first), nullptr);
}

TEST(RegionMap, OneThatIsRefusedMetadataKnowsNothingAndNothingIsLost) {
    int without = 0;
    for (u64 n = 1; n < 5; ++n) {
        TestBuddy buddy(1 << 20);
        ASSERT_EQ(add(buddy, 0, 512), Error::none);
        P::refuse_allocation(n);
        const bool added = ok(add(buddy, 4096, 128));
        without += added && P::refusals();
        P::refuse_allocation(0);
        expect_clean(buddy);
        EXPECT_EQ(buddy.find(page(4100)) != nullptr, added);
        EXPECT_EQ(add(buddy, 8192, 128), Error::none);
        EXPECT_NE(buddy.find(page(8200)), nullptr);
        expect_clean(buddy);
    }
    EXPECT_EQ(without, 1);
}

TEST(RegionMap, TheAuditFindsARegionThatHasGone) {
    TestBuddy buddy(1 << 20);
    ASSERT_EQ(add(buddy, 0, 512), Error::none);
    ASSERT_EQ(add(buddy, 4096, 128), Error::none);
    Region gone = record(2048, 8);
    buddy.map().add(gone, 3, [](auto&&) {});
    Audit audit;
    buddy.verify(audit);
    EXPECT_STREQ(audit.result().first, "the map names a region that has gone");
    EXPECT_EQ(audit.result().first_offset, u64{2048} << 12);
    buddy.map().remove(gone);
    expect_clean(buddy);
}

}  // namespace
}  // namespace quarry
