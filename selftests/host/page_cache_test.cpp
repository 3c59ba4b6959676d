// SPDX-License-Identifier: MIT
//
// PageCache: magazines of pages and small blocks, errors at the call, draining from anywhere,
// and threads that free, drain and race.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>
#include <vector>

#include "../../module/core/pages/page_cache.hpp"
#include "handshake.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using Cache = PageCache<P>;

constexpr int kRounds = by_variant(400000, 100000, 5000);
constexpr int kRaces = by_variant(20000, 2000, 2000);

constexpr u32 kOrdersCached = Cache::kOrdersCached;
constexpr Order order_of(u32 o) { return Order{static_cast<u8>(o)}; }
constexpr PageNumber page(u64 n) { return PageNumber{n}; }

class PageCacheTest : public ::testing::Test {
protected:
    PageCacheTest() {
        EXPECT_TRUE(buddy.add_region(page(0), 512, Zone::normal, nullptr));
        EXPECT_TRUE(buddy.add_region(page(1024), 64, Zone::lowmem, nullptr));
        EXPECT_EQ(cache.init(), Error::none);
    }
    ~PageCacheTest() override {
        expect_clean();
        cache.drain();
        EXPECT_EQ(cache.count(), 0u);
        expect_clean();
    }
    BuddyCensus expect_clean() {
        Audit audit;
        const BuddyCensus seen = cache.verify(audit);
        EXPECT_TRUE(audit.clean()) << audit.result().first;
        return seen;
    }
    PageState state_of(PageNumber p) {
        ReadGuard<P> reader;
        return buddy.find(p)->state();
    }

    Buddy<P> buddy{4096};
    Cache cache{buddy};
};

TEST_F(PageCacheTest, AnAllocationAfterAFreeReturnsThatPageWithoutTheBuddy) {
    const auto first = cache.alloc();
    ASSERT_TRUE(first);
    const u64 left = buddy.free_pages();
    EXPECT_EQ(cache.free(*first), Error::none);
    EXPECT_EQ(state_of(*first), PageState::cached);
    EXPECT_EQ(*cache.alloc(), *first);
    EXPECT_EQ(state_of(*first), PageState::run);
    EXPECT_EQ(buddy.free_pages(), left);
    EXPECT_EQ(cache.free(*first), Error::none);
}

TEST_F(PageCacheTest, ASecondFreeOfACachedPageIsRefusedAtTheCall) {
    const auto p = cache.alloc();
    EXPECT_EQ(cache.free(*p), Error::none);
    EXPECT_EQ(cache.free(*p), Error::already_free);
    EXPECT_EQ(buddy.free(*p, Order{0}), Error::already_free);
    EXPECT_EQ(buddy.free(*p, u64{1}), Error::already_free);
    EXPECT_EQ(buddy.free_run(*p).error(), Error::already_free);
}

TEST_F(PageCacheTest, ABlockOfEachCachedOrderComesBackWithoutTheBuddy) {
    for (u32 o = 0; o < kOrdersCached; ++o) {
        const auto first = cache.alloc(order_of(o));
        ASSERT_TRUE(first);
        EXPECT_EQ(value(*first) % pages_of(order_of(o)), 0u);
        const u64 left = buddy.free_pages();
        EXPECT_EQ(cache.free(*first, order_of(o)), Error::none);
        EXPECT_EQ(state_of(*first), PageState::cached);
        expect_clean();
        EXPECT_EQ(*cache.alloc(order_of(o)), *first);
        EXPECT_EQ(state_of(*first), PageState::run);
        EXPECT_EQ(buddy.free_pages(), left) << o;
        EXPECT_EQ(cache.free(*first, order_of(o)), Error::none);
    }
}

TEST_F(PageCacheTest, LargerOrdersAreTheBuddys) {
    const auto block = cache.alloc(order_of(kOrdersCached));
    ASSERT_TRUE(block);
    EXPECT_EQ(cache.free(*block, order_of(kOrdersCached)), Error::none);
    EXPECT_EQ(state_of(*block), PageState::free);
    EXPECT_EQ(cache.count(), 0u);
    EXPECT_EQ(cache.alloc(Order{21}).error(), Error::too_large);
    EXPECT_EQ(cache.alloc(Order{9}).error(), Error::none);
    EXPECT_EQ(cache.free(page(0), Order{21}), Error::wrong_size);
    EXPECT_EQ(cache.free(page(0), Order{9}), Error::none);
}

TEST_F(PageCacheTest, ASecondFreeOfACachedBlockOrOfAnyPageOfItIsRefused) {
    for (u32 o = 0; o < kOrdersCached; ++o) {
        const auto block = cache.alloc(order_of(o));
        EXPECT_EQ(cache.free(*block, order_of(o)), Error::none);
        for (u64 i = 0; i < pages_of(order_of(o)); ++i) {
            for (u32 other = 0; other < kOrdersCached; ++other) {
                EXPECT_EQ(cache.free(*block + i, order_of(other)), Error::already_free);
                EXPECT_EQ(cache.free(*block + i, pages_of(order_of(other))), Error::already_free);
            }
            EXPECT_EQ(cache.free_run(*block + i), Error::already_free);
            EXPECT_EQ(buddy.free(*block + i, u64{1}), Error::already_free);
            EXPECT_EQ(buddy.free_run(*block + i).error(), Error::already_free);
        }
    }
}

TEST_F(PageCacheTest, ABlockOfAnotherOrderIsAnErrorAndStaysAllocated) {
    for (u32 o = 0; o < kOrdersCached; ++o) {
        const auto block = cache.alloc(order_of(o));
        for (u32 other = 0; other <= kOrdersCached; ++other) {
            if (other == o) continue;
            EXPECT_EQ(cache.free(*block, order_of(other)), Error::wrong_size);
        }
        EXPECT_EQ(*buddy.run_pages(*block), pages_of(order_of(o)));
        EXPECT_EQ(cache.free(*block, order_of(o)), Error::none);
    }
}

TEST_F(PageCacheTest, ExactRunsOfABlocksSizeAreCachedAndAnyPartOfThemCanBeFreed) {
    for (const u64 pages : {1, 2, 4, 8}) {
        const auto run = cache.alloc_exact(pages);
        ASSERT_TRUE(run);
        EXPECT_EQ(cache.free(*run, pages), Error::none);
        EXPECT_EQ(state_of(*run), PageState::cached);
        EXPECT_EQ(*cache.alloc_exact(pages), *run);
        EXPECT_EQ(cache.free_run(*run), Error::none);
        EXPECT_EQ(state_of(*run), PageState::cached);
    }
    // Five pages are no block; of a block a part goes to the buddy, and the rest may be cached.
    const auto five = cache.alloc_exact(5);
    EXPECT_EQ(cache.free(*five + 2, u64{1}), Error::none);
    EXPECT_EQ(state_of(*five + 2), PageState::free);
    EXPECT_EQ(cache.free(*five, u64{2}), Error::none);
    EXPECT_EQ(cache.free(*five + 3, u64{3}), Error::wrong_size);
    EXPECT_EQ(cache.free_run(*five + 3), Error::none);
    EXPECT_EQ(cache.free_run(*five + 3), Error::already_free);
    const auto eight = cache.alloc_exact(8);
    EXPECT_EQ(cache.free(*eight + 4, u64{4}), Error::none);
    EXPECT_EQ(cache.free(*eight, u64{8}), Error::wrong_size);
    EXPECT_EQ(cache.free(*eight, u64{4}), Error::none);
    EXPECT_EQ(state_of(*eight), PageState::cached);
    // Aligned further than its size: not from the magazine, which holds such as are not.
    const auto aligned = cache.alloc_exact(2, Zone::normal, Order{4});
    EXPECT_EQ(value(*aligned) % 16, 0u);
    EXPECT_EQ(cache.free_run(*aligned), Error::none);
}

TEST_F(PageCacheTest, TwoNeighboursThatAreNoBlockServeAnExactRunBeforeThePoolIsFull) {
    std::vector<PageNumber> all;
    while (const auto p = cache.alloc()) all.push_back(*p);
    ASSERT_EQ(all.size(), 512u + 64u);
    EXPECT_EQ(cache.free(page(101)), Error::none);
    EXPECT_EQ(cache.free(page(102)), Error::none);
    EXPECT_EQ(cache.alloc(Order{1}).error(), Error::pool_full);
    const auto run = cache.alloc_exact(2);
    ASSERT_TRUE(run);
    EXPECT_EQ(*run, page(101));
    EXPECT_EQ(cache.free_run(*run), Error::none);
    for (const auto p : all) {
        if (p == page(101) || p == page(102)) continue;
        EXPECT_EQ(cache.free(p), Error::none);
    }
}

TEST_F(PageCacheTest, BlocksInAnotherCpusMagazineServeAnyOrder) {
    std::thread other([&] {
        P::Thread scope;
        std::vector<PageNumber> mine;
        while (const auto p = cache.alloc(Order{3})) mine.push_back(*p);
        EXPECT_EQ(mine.size(), 64u + 8u);
        for (const auto p : mine) EXPECT_EQ(cache.free(p, Order{3}), Error::none);
    });
    other.join();
    P::Thread scope;
    EXPECT_GE(cache.count(), 32u);
    const auto most = cache.alloc(Order{9});
    EXPECT_TRUE(most);
    EXPECT_EQ(cache.free(*most, Order{9}), Error::none);
}

TEST_F(PageCacheTest, ADoubledFreeOfAPageBesideAFlushIsAlreadyFree) {
    std::vector<PageNumber> held;
    for (u32 i = 0; i < Cache::kCapacity + 20; ++i) held.push_back(*cache.alloc());
    // The cache holds some that it took too many; fill it to the brim with ours.
    while (cache.count() < Cache::kCapacity) {
        EXPECT_EQ(cache.free(held.back()), Error::none);
        held.pop_back();
    }
    struct Meddler {
        Cache* cache;
        std::vector<PageNumber> cached;
        int freed = 0, tried = 0;
    } meddler{&cache, {}};
    for (u64 p = 0; p < 512; ++p)
        if (state_of(page(p)) == PageState::cached) meddler.cached.push_back(page(p));
    ASSERT_EQ(meddler.cached.size(), u64{Cache::kCapacity});
    // The flush is about to hand half of them to the buddy.
    P::meddle_before(
        QUARRY_LOCK_PAGES,
        [](void* arg) {
            auto& m = *static_cast<Meddler*>(arg);
            for (const auto p : m.cached) {
                ++m.tried;
                m.freed += ok(m.cache->free(p));
            }
        },
        &meddler);
    EXPECT_EQ(cache.free(held.back()), Error::none);
    held.pop_back();
    EXPECT_EQ(meddler.tried, static_cast<int>(Cache::kCapacity));
    EXPECT_EQ(meddler.freed, 0);
    for (const auto p : held) EXPECT_EQ(cache.free(p), Error::none);
}

TEST_F(PageCacheTest, AFullOrEmptyMagazineMovesAFewBlocksAndItsCpuIsNotPinnedMeanwhile) {
    const u64 before = P::long_while_pinned();
    for (u8 o = 0; o < 4; ++o) {
        std::vector<PageNumber> held;
        const u64 most = u64{Buddy<P>::kStepBlocks} << o;
        for (u32 i = 0; i < 40; ++i) {
            const u64 free = buddy.free_pages();
            held.push_back(*cache.alloc(Order{o}));
            EXPECT_LE(free - buddy.free_pages(), most);
        }
        for (const auto p : held) {
            const u64 free = buddy.free_pages();
            EXPECT_EQ(cache.free(p, Order{o}), Error::none);
            EXPECT_LE(buddy.free_pages() - free, most);
        }
        cache.drain();
    }
    EXPECT_EQ(P::long_while_pinned(), before);
}

TEST_F(PageCacheTest, EveryWrongFreeHasTheBuddysError) {
    EXPECT_EQ(cache.free(page(600)), Error::no_region);
    EXPECT_EQ(cache.free(page(4096)), Error::out_of_range);
    EXPECT_EQ(cache.free(page(511)), Error::already_free);
    const auto block = buddy.alloc(Order{3});
    EXPECT_EQ(cache.free(*block), Error::wrong_size);
    EXPECT_EQ(cache.free(*block + 1), Error::not_object);
    alignas(64) char slab[64];
    buddy.mark_slab(*block, Order{3}, slab, 0);
    EXPECT_EQ(cache.free(*block), Error::not_object);
    buddy.unmark_slab(*block, Order{3});
    EXPECT_EQ(buddy.free(*block, Order{3}), Error::none);
}

TEST_F(PageCacheTest, ALoopAtTheBorderOfAMagazineMovesNoBatchEachRound) {
    std::vector<PageNumber> held;
    for (u32 i = 0; i < 3 * Cache::kCapacity; ++i) held.push_back(*cache.alloc());
    for (u32 i = 0; i < 2 * Cache::kCapacity; ++i) {
        EXPECT_EQ(cache.free(held.back()), Error::none);
        held.pop_back();
    }
    const u64 before = buddy.free_pages();
    u64 moves = 0, last = before;
    for (int i = 0; i < 1000; ++i) {
        const auto a = cache.alloc(), b = cache.alloc();
        EXPECT_EQ(cache.free(*a), Error::none);
        EXPECT_EQ(cache.free(*b), Error::none);
        moves += buddy.free_pages() != last;
        last = buddy.free_pages();
    }
    EXPECT_LE(moves, 1u);
    for (const auto p : held) EXPECT_EQ(cache.free(p), Error::none);
}

TEST_F(PageCacheTest, EveryPageIsHadBeforeThePoolIsFullWhateverMagazineHoldsIt) {
    // Another thread, so another CPU, leaves pages in its magazine.
    std::thread other([&] {
        P::Thread scope;
        std::vector<PageNumber> mine;
        for (int i = 0; i < 50; ++i) mine.push_back(*cache.alloc());
        for (const auto p : mine) EXPECT_EQ(cache.free(p), Error::none);
    });
    other.join();
    P::Thread scope;
    std::set<u64> seen;
    while (const auto p = cache.alloc()) seen.insert(value(*p));
    EXPECT_EQ(seen.size(), 512u + 64u);
    EXPECT_EQ(cache.alloc().error(), Error::pool_full);
    for (const u64 p : seen) EXPECT_EQ(cache.free(page(p)), Error::none);
}

TEST_F(PageCacheTest, LowmemIsNeverCachedForNormalRequests) {
    const auto low = cache.alloc(Zone::lowmem);
    EXPECT_GE(value(*low), 1024u);
    EXPECT_EQ(cache.free(*low), Error::none);
    EXPECT_EQ(state_of(*low), PageState::free);
    EXPECT_EQ(cache.count(), 0u);
}

TEST_F(PageCacheTest, ADrainGivesEveryPageBackAndTheBuddyMerges) {
    std::vector<PageNumber> held;
    for (int i = 0; i < 100; ++i) held.push_back(*cache.alloc());
    for (const auto p : held) EXPECT_EQ(cache.free(p), Error::none);
    const u64 cached = cache.count();
    EXPECT_GT(cached, 0u);
    EXPECT_EQ(expect_clean().cached_pages, cached);
    EXPECT_EQ(cache.drain(), cached);
    EXPECT_EQ(buddy.free_blocks(Order{9}, Zone::normal), 1u);
    EXPECT_EQ(cache.drain(), 0u);
}

TEST_F(PageCacheTest, ARegionWithACachedPageIsBusyUntilTheDrain) {
    EXPECT_EQ(cache.free(*cache.alloc()), Error::none);
    EXPECT_EQ(buddy.isolate_region(page(0)), Error::busy);
    cache.drain();
    EXPECT_EQ(buddy.remove_region(page(0)), Error::none);
    EXPECT_TRUE(buddy.add_region(page(0), 512, Zone::normal, nullptr));
}

TEST_F(PageCacheTest, AMagazineThatLosesAPageIsSeenByTheAudit) {
    EXPECT_EQ(cache.free(*cache.alloc()), Error::none);
    // A page becomes cached that no magazine names.
    const auto lost = buddy.alloc(Order{0});
    PageDesc* desc;
    {
        ReadGuard<P> reader;
        desc = buddy.find(*lost);
    }
    const u64 run = desc->word();
    desc->set(PageState::cached, Order{0}, PageDesc::region(run));
    Audit audit;
    cache.verify(audit);
    EXPECT_FALSE(audit.clean());
    EXPECT_STREQ(audit.result().first, "a cached page is in no magazine");
    desc->set(run);
    EXPECT_EQ(buddy.free(*lost, Order{0}), Error::none);
}

TEST(PageCache, RefusedMetadataIsAnErrorAndNothingIsLost) {
    Buddy<P> buddy(64);
    P::refuse_allocation(1);
    Cache cache(buddy);
    EXPECT_EQ(cache.init(), Error::no_memory);
}

TEST_F(PageCacheTest, OfTwoRacingFreesOfOnePageExactlyOneWins) {
    // One by the cache, one by the buddy or the cache, as close together as two CPUs can.
    std::atomic<u64> current{0};
    std::atomic<int> round{0}, answer{-1};
    std::thread other([&] {
        P::Thread scope;
        for (int r = 1; r <= kRaces; ++r) {
            await(round, [r](int now) { return now >= r; });
            const PageNumber p{current.load()};
            tell(answer, static_cast<int>(r % 2 ? cache.free(p) : buddy.free(p, Order{0})));
        }
    });
    for (int r = 1; r <= kRaces; ++r) {
        const PageNumber p = *buddy.alloc(Order{0});
        current = value(p);
        answer = -1;
        tell(round, r);
        for (volatile int delay = r * 7 % 1009; delay > 0;) delay = delay - 1;
        const Error mine = cache.free(p);
        const auto his = static_cast<Error>(await(answer, [](int a) { return a >= 0; }));
        ASSERT_NE(mine, his) << r;
        ASSERT_TRUE(mine == Error::none || his == Error::none) << r;
        ASSERT_TRUE(mine == Error::already_free || his == Error::already_free) << r;
    }
    other.join();
}

TEST_F(PageCacheTest, OfAFreeAndAFreeOfAPartOfOneBlockExactlyOneWins) {
    std::atomic<u64> current{0};
    std::atomic<int> round{0}, answer{-1};
    std::thread other([&] {
        P::Thread scope;
        for (int r = 1; r <= kRaces; ++r) {
            await(round, [r](int now) { return now >= r; });
            const PageNumber p{current.load()};
            tell(answer, static_cast<int>(buddy.free(p + 2, u64{1})));
        }
    });
    for (int r = 1; r <= kRaces; ++r) {
        const PageNumber p = *buddy.alloc(Order{2});
        current = value(p);
        answer = -1;
        tell(round, r);
        for (volatile int delay = r * 7 % 1009; delay > 0;) delay = delay - 1;
        u64 seen;
        {
            ReadGuard<P> reader;
            const auto pages = buddy.run_pages(p);
            seen = pages ? *pages : 0;
        }
        ASSERT_TRUE(seen == 4 || seen == 2) << seen;  // never torn
        const Error mine = cache.free(p, Order{2});
        const auto his = static_cast<Error>(await(answer, [](int a) { return a >= 0; }));
        if (his == Error::none) {
            ASSERT_TRUE(mine == Error::wrong_size || mine == Error::already_free) << r;
            ASSERT_EQ(buddy.free(p, u64{2}), Error::none);
            ASSERT_EQ(buddy.free(p + 3, u64{1}), Error::none);
        } else {
            ASSERT_EQ(mine, Error::none) << r;
            ASSERT_EQ(his, Error::already_free) << r;
        }
    }
    other.join();
}

TEST_F(PageCacheTest, ThreadsThatAllocateFreeAndDrainNeverShareAPage) {
    std::vector<std::atomic<int>> holder(512);
    std::atomic<bool> stop{false};
    struct Block {
        PageNumber first;
        Order order;
    };
    auto take_all = [&](const Block& b, int from, int to) {
        for (u64 i = 0; i < pages_of(b.order); ++i)
            EXPECT_EQ(holder[value(b.first) + i].exchange(to), from);
    };
    auto worker = [&](int me) {
        P::Thread scope;
        std::mt19937_64 random(me);
        std::vector<Block> mine;
        for (int i = 0; i < kRounds; ++i) {
            if (random() % 2 || mine.empty()) {
                const Order order = order_of(random() % 8 < 4 ? 0 : random() % kOrdersCached);
                const auto p = cache.alloc(order);
                if (p && value(*p) < 512) {
                    mine.push_back({*p, order});
                    take_all(mine.back(), 0, me);
                } else if (p) {
                    EXPECT_EQ(cache.free(*p, order), Error::none);
                }
            } else {
                const size_t n = random() % mine.size();
                const Block b = mine[n];
                mine[n] = mine.back();
                mine.pop_back();
                take_all(b, me, 0);
                EXPECT_EQ(cache.free(b.first, b.order), Error::none);
            }
        }
        for (const auto& b : mine) {
            take_all(b, me, 0);
            EXPECT_EQ(cache.free(b.first, b.order), Error::none);
        }
    };
    std::thread drainer([&] {
        P::Thread scope;
        // What it drains it takes itself, so that a page handed out twice meets itself.
        for (int i = 1; !stop.load(); ++i) {
            cache.drain();
            PageNumber pages[8];
            const u32 n = buddy.alloc_blocks(Order{0}, 8, Zone::normal, pages);
            for (u32 k = 0; k < n; ++k) EXPECT_EQ(holder[value(pages[k])].exchange(3), 0);
            for (u32 k = 0; k < n; ++k) EXPECT_EQ(holder[value(pages[k])].exchange(0), 3);
            buddy.free_blocks(Order{0}, pages, n);
            if (i % 64) continue;
            Audit audit;
            cache.verify(audit);
            EXPECT_TRUE(audit.clean()) << audit.result().first;
        }
    });
    std::thread a(worker, 1), b(worker, 2);
    a.join();
    b.join();
    stop = true;
    drainer.join();
    cache.drain();
    EXPECT_EQ(buddy.free_pages(), buddy.total_pages());
}

TEST_F(PageCacheTest, TheAuditBesideAMagazineInUseReportsNothing) {
    std::atomic<bool> stop{false};
    std::atomic<int> rounds{0};
    std::thread user([&] {
        P::Thread scope;
        while (!stop.load()) {
            PageNumber held[20];
            for (auto& p : held) p = *cache.alloc();
            for (const auto p : held) EXPECT_EQ(cache.free(p), Error::none);
            ++rounds;
        }
    });
    for (int i = 0; i < 500 || rounds.load() < kRounds / 100; ++i) expect_clean();
    stop = true;
    user.join();
}

}  // namespace
}  // namespace quarry
