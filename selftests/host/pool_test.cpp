// SPDX-License-Identifier: MIT
//
// Pools with owners: every error at the call that did it, ownership, transfer, the
// reaper, limits, the last resort, races.
#include <algorithm>
#include <thread>

#include "handshake.hpp"
#include "pool_fixture.hpp"

namespace quarry {
namespace {

TEST_F(PoolTest, AnObjectIsGrantedOnceAndFreedOnce) {
    make(64, 64);
    TestClient& a = join();
    const auto got = alloc(a, 100, 300);
    ASSERT_EQ(got.size(), 300u);
    EXPECT_EQ(std::set<Offset>(got.begin(), got.end()).size(), 300u);
    for (Offset o : got) EXPECT_EQ(o % 8, 0u);
    EXPECT_EQ(a.objects(), 300u);
    EXPECT_EQ(a.bytes(), 300u * 104);
    verify();
    EXPECT_EQ(audited.objects, 300u);
    EXPECT_EQ(free_all(a, got), Error::none);
    EXPECT_EQ(a.objects(), 0u);
    EXPECT_EQ(a.bytes(), 0u);
    expect_fresh(64);
}

TEST_F(PoolTest, EveryWrongOffsetHasItsOwnError) {
    make(64, 16);
    TestClient& a = join();
    TestClient& b = join();
    const Offset small = alloc(a, 100)[0];
    const Offset large = alloc(a, 3 * 4096)[0];
    const u64 objects = a.objects();
    EXPECT_EQ(free(a, small + 4), Error::misaligned);
    EXPECT_EQ(free(a, 64 * 4096), Error::out_of_range);
    EXPECT_EQ(free(a, ~u64{7}), Error::out_of_range);
    EXPECT_EQ(free(a, 20 * 4096), Error::no_region);
    EXPECT_EQ(free(a, small + 8), Error::not_object);
    EXPECT_EQ(free(a, large + 8), Error::not_object);
    EXPECT_EQ(free(a, large + 4096), Error::not_object);
    EXPECT_EQ(free(a, large + 2 * 4096), Error::not_object);
    EXPECT_EQ(free(b, small), Error::not_owner);
    EXPECT_EQ(refusal.owner, a.id());
    EXPECT_EQ(free(b, large), Error::not_owner);
    EXPECT_EQ(refusal.owner, a.id());
    EXPECT_EQ(free(a, small + 104), Error::already_free);  // never given out
    EXPECT_EQ(a.objects(), objects);
    verify();
    EXPECT_EQ(free(a, small), Error::none);
    EXPECT_EQ(free(a, small), Error::already_free);
    EXPECT_EQ(free(a, large), Error::none);
    EXPECT_EQ(free(a, large), Error::already_free);
    EXPECT_EQ(free(a, large + 4096), Error::already_free);
    u64 slots, slabs;
    pool->drain(slots, slabs);
    EXPECT_EQ(free(a, small), Error::already_free);  // its slab has become pages again
    expect_fresh(16);
}

TEST_F(PoolTest, EveryWrongRequestHasItsOwnError) {
    make(4096, 16);
    TestClient& a = join();
    EXPECT_EQ((alloc(a, 0), last.why), Error::invalid);
    EXPECT_EQ((alloc(a, 8, 1, 24), last.why), Error::invalid);
    EXPECT_EQ((alloc(a, 8, 1, 0), last.why), Error::invalid);
    EXPECT_EQ((alloc(a, kMaxObject + 1), last.why), Error::too_large);
    EXPECT_EQ((alloc(a, ~u64{0}), last.why), Error::too_large);
    EXPECT_EQ((alloc(a, 8, 1, u64{1} << 40), last.why), Error::too_large);
    EXPECT_EQ((alloc(a, 8, 0), last.why), Error::invalid);
    EXPECT_EQ((alloc(a, 17 * 4096, 1, 8, true), last.why), Error::needs_pages);
    EXPECT_EQ(last.pages, 17u);
    EXPECT_EQ((alloc(a, 17 * 4096), last.why), Error::pool_full);
    EXPECT_EQ(a.bytes(), 0u);
    expect_fresh(16);
}

TEST_F(PoolTest, EverySizeAndAlignmentIsServedAlignedAndApart) {
    make(512, 512);
    TestClient& a = join();
    for (u64 align = 8; align <= 64 * 1024; align *= 2) {
        std::map<Offset, u64> live;
        for (u64 size : {1, 7, 8, 9, 63, 64, 65, 100, 128, 129, 500, 1024, 2047, 2048, 2049, 4096,
                         4097, 12288, 20000}) {
            const auto got = alloc(a, size, 1, align);
            ASSERT_EQ(got.size(), 1u) << size << " " << align;
            ASSERT_EQ(got[0] % align, 0u);
            const auto after = live.lower_bound(got[0]);
            if (after != live.end()) {
                ASSERT_LE(got[0] + size, after->first);
            }
            if (after != live.begin()) {
                const auto before = std::prev(after);
                ASSERT_LE(before->first + before->second, got[0]);
            }
            live[got[0]] = size;
        }
        verify();
        for (const auto& [offset, size] : live) ASSERT_EQ(free(a, offset), Error::none);
    }
    expect_fresh(512);
}

TEST_F(PoolTest, AFreeStopsAtTheFirstRefusalAndSaysWhere) {
    make(64, 64);
    TestClient& a = join();
    auto got = alloc(a, 64, 10);
    got[6] = got[2];
    EXPECT_EQ(free_all(a, got), Error::already_free);
    EXPECT_EQ(last.done, 6u);
    EXPECT_EQ(refusal.offset, got[2]);
    EXPECT_EQ(a.objects(), 4u);
    verify();
    reap(a);
    expect_fresh(64);
}

TEST_F(PoolTest, AReapTakesBackWhatItsClientOwnsAndNothingElse) {
    make(256, 256);
    TestClient& a = join();
    TestClient& b = join();
    std::vector<Offset> kept;
    u64 objects = 0, bytes = 0;
    for (u64 size : {8, 24, 64, 100, 1000, 2048, 5000, 30000}) {
        for (int i = 0; i < 5; ++i) {
            objects += alloc(a, size, 7).size();
            const auto mine = alloc(b, size, 3);
            kept.insert(kept.end(), mine.begin(), mine.end());
        }
        bytes = a.bytes();
    }
    verify();
    EXPECT_EQ(a.objects(), objects);
    const auto taken = reap(a);
    EXPECT_EQ(taken.objects, objects);
    EXPECT_EQ(taken.bytes, bytes);
    verify();
    EXPECT_EQ(audited.objects, kept.size());
    EXPECT_EQ(free_all(b, kept), Error::none);
    reap(b);
    expect_fresh(256);
}

TEST_F(PoolTest, AMovedObjectIsTheReceiversOnly) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    for (u64 size : {16, 64, 2000, 5000}) {
        const auto got = alloc(a, size, 4);
        EXPECT_EQ(move(a, b, got), Error::none);
        EXPECT_EQ(a.objects(), 0u);
        EXPECT_EQ(b.objects(), 4u);
        EXPECT_EQ(free(a, got[0]), Error::not_owner);
        EXPECT_EQ(refusal.owner, b.id());
        EXPECT_EQ(move(a, b, got), Error::not_owner);
        verify();
        EXPECT_EQ(free_all(b, got), Error::none);
        EXPECT_EQ(move(b, a, got), Error::already_free);
    }
    expect_fresh(64);
}

TEST_F(PoolTest, ATransferCountsAgainstTheReceiversLimit) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join(3 * 64);
    const auto got = alloc(a, 64, 4);
    EXPECT_EQ(move(a, b, got), Error::quota);
    EXPECT_EQ(last.done, 3u);
    EXPECT_EQ(a.objects(), 1u);
    EXPECT_EQ((alloc(b, 8), last.why), Error::quota);
    const auto page = alloc(a, 4096, 1);
    EXPECT_EQ(move(a, b, page), Error::quota);
    verify();
    reap(a);
    reap(b);
    expect_fresh(64);
}

TEST_F(PoolTest, ALimitIsNeverPassedAndPartialResultsSayQuota) {
    make(64, 64);
    TestClient& a = join(1000);
    const auto got = alloc(a, 96, 20);
    EXPECT_EQ(got.size(), 10u);
    EXPECT_EQ(last.why, Error::quota);
    EXPECT_EQ(a.bytes(), 960u);
    EXPECT_EQ(free_all(a, got), Error::none);
    EXPECT_EQ(alloc(a, 96, 10).size(), 10u);
    reap(a);
    expect_fresh(64);
}

// 40 clients hold one object each in the same slab: the dictionary has 15 entries.
TEST_F(PoolTest, ASixteenthOwnerOfASlabGoesToTheOverflowTable) {
    make(16, 8);  // one slab of the class, and no room for a second
    TestClient& a = join();
    const auto got = alloc(a, 64, 40);
    ASSERT_EQ(got.size(), 40u);
    std::vector<TestClient*> others;
    for (Offset o : got) {
        others.push_back(&join());
        ASSERT_EQ(move(a, *others.back(), {o}), Error::none);
    }
    verify();
    EXPECT_GT(pool->overflow().used(), 20u);
    for (u32 i = 0; i < 40; ++i) {
        EXPECT_EQ(free(a, got[i]), Error::not_owner);
        EXPECT_EQ(refusal.owner, others[i]->id());
        EXPECT_EQ(free(*others[(i + 1) % 40], got[i]), Error::not_owner);
    }
    // Moves between dictionary and overflow, both ways.
    ASSERT_EQ(move(*others[39], *others[0], {got[39]}), Error::none);
    ASSERT_EQ(move(*others[0], *others[38], {got[0]}), Error::none);
    verify();
    EXPECT_EQ(free(*others[0], got[39]), Error::none);
    EXPECT_EQ(free(*others[38], got[0]), Error::none);
    EXPECT_EQ(free(*others[1], got[1]), Error::none);
    EXPECT_EQ(free(*others[37], got[37]), Error::none);
    EXPECT_EQ(free(*others[37], got[37]), Error::already_free);
    verify();
    u64 objects = 0;
    for (TestClient* c : others) objects += reap(*c).objects;
    EXPECT_EQ(objects, 36u);
    EXPECT_EQ(pool->overflow().used(), 0u);
    expect_fresh(8);
}

// Law 7: what is free in a slab that 15 others share still serves a sixteenth before
// the pool says that it is full.
TEST_F(PoolTest, ACrowdedSlabServesTheLastResort) {
    make(16, 8);
    std::vector<TestClient*> others;
    for (int i = 0; i < 15; ++i) {
        others.push_back(&join());
        ASSERT_EQ(alloc(*others.back(), 64, 1).size(), 1u);
    }
    TestClient& late = join();
    EXPECT_EQ(alloc(late, 64, 1, 8, true).size(), 0u);  // the pool could grow instead
    EXPECT_EQ(last.why, Error::needs_pages);
    const auto got = alloc(late, 64, 5);
    ASSERT_EQ(got.size(), 5u);
    verify();
    EXPECT_EQ(free_all(late, got), Error::none);
    for (TestClient* c : others) reap(*c);
    reap(late);
    expect_fresh(8);
}

TEST_F(PoolTest, WhatIsFreeInOneClassServesEveryOther) {
    make(64, 64);
    TestClient& a = join();
    for (u64 size : {8, 64, 72, 500, 2048, 4096, 64 * 4096}) {
        std::vector<Offset> all;
        for (;;) {
            const auto got = alloc(a, size, 64);
            all.insert(all.end(), got.begin(), got.end());
            if (last.why == Error::pool_full) break;
            ASSERT_EQ(last.why, Error::none);
        }
        ASSERT_GE(all.size() * size, 56u * 4096 * 24 / 25);
        ASSERT_EQ(free_all(a, all), Error::none);
    }
    reap(a);
    expect_fresh(64);
}

TEST_F(PoolTest, ABatchOfOneSlabInALoopDoesNotRebuildItEachRound) {
    make(64, 64);
    TestClient& a = join();
    const u32 slots = kSizeClasses[class_of(64)].slots;
    auto got = alloc(a, 64, slots);
    ASSERT_EQ(free_all(a, got), Error::none);
    const u64 made = P::slabs_created();
    for (int round = 0; round < 100; ++round) {
        got = alloc(a, 64, slots);
        ASSERT_EQ(got.size(), slots);
        ASSERT_EQ(free_all(a, got), Error::none);
    }
    EXPECT_LE(P::slabs_created() - made, 2u);
    reap(a);
    expect_fresh(64);
}

TEST_F(PoolTest, AFixedPoolHasExactlyItsCountFromTheStart) {
    for (const auto& [size, count] : std::vector<std::pair<u64, u64>>{
             {8, 1000}, {24, 77}, {64, 4096}, {2048, 9}, {3000, 50}, {4096, 20}, {70000, 5}, {kMaxObject, 2}}) {
        make_fixed(size, count);
        TestClient& a = join();
        const auto got = alloc(a, size, static_cast<u32>(count));
        ASSERT_EQ(got.size(), count) << size;
        verify();
        EXPECT_EQ((alloc(a, size), last.why), Error::pool_full) << size;
        EXPECT_EQ((alloc(a, size + 8), last.why),
                  size == kMaxObject ? Error::too_large : Error::wrong_size);
        EXPECT_EQ((alloc(a, size - 1), last.why), Error::wrong_size);
        EXPECT_EQ(free_all(a, got), Error::none);
        EXPECT_EQ(alloc(a, size, static_cast<u32>(count)).size(), count);
        EXPECT_EQ(reap(a).objects, count);
        expect_fresh(0);
        drop();
    }
}

TEST_F(PoolTest, ZeroingIsForAnotherOwnersSlotOnly) {
    PoolConfig config;
    config.zero_on_regrant = true;
    make(64, 64, config);
    TestClient& a = join();
    TestClient& b = join();
    P::reset_zeroed();
    auto got = alloc(a, 64, 4);
    EXPECT_EQ(P::zeroed_bytes(), 8u * 4096);  // a new slab, whole
    ASSERT_EQ(free_all(a, got), Error::none);
    got = alloc(a, 64, 4);
    EXPECT_EQ(P::zeroed_bytes(), 8u * 4096);  // its own again
    ASSERT_EQ(free_all(a, got), Error::none);
    got = alloc(b, 64, 4);
    EXPECT_EQ(P::zeroed_bytes(), 8u * 4096 + 4 * 64);
    // A moved object was another's for a while.
    ASSERT_EQ(move(b, a, got), Error::none);
    ASSERT_EQ(free_all(a, got), Error::none);
    got = alloc(b, 64, 1);
    EXPECT_EQ(P::zeroed_bytes(), 8u * 4096 + 5 * 64);
    reap(a);
    reap(b);
}

TEST_F(PoolTest, ClientsAreReusedOnlyAfterTheirReapAndTooManyIsAnError) {
    PoolConfig config;
    config.max_clients = 5;
    make(64, 16, config);
    std::vector<TestClient*> all;
    for (int i = 0; i < 5; ++i) all.push_back(&join());
    EXPECT_EQ(pool->clients().add(pool.get(), 999, 0).error(), Error::too_many);
    const ClientIndex gone = all[2]->index();
    reap(*all[2]);
    EXPECT_EQ(join().index(), gone);
}

TEST_F(PoolTest, EveryRefusedMetadataAllocationIsAnErrorAndNothingIsLost) {
    for (u64 nth = 1; nth < 40; ++nth) {
        P::refuse_allocation(nth);
        PoolConfig config;
        config.max_pages = 64;
        config.max_clients = 100;
        {
            TestPool p(config);
            bool refused = false;
            if (p.init() == Error::none) {
                const auto client = p.clients().add(&p, 1, 0);
                if (client) {
                    if (p.buddy().add_region(PageNumber{0}, 64, Zone::normal, nullptr)) {
                        Offset out[40];
                        for (u64 size : {8, 100, 600, 2048, 9000}) {
                            const auto g = p.alloc(**client, size, 8, 40, out, Context::may_sleep, false);
                            if (g.done < 40) {
                                EXPECT_TRUE(g.why == Error::no_memory || g.why == Error::pool_full);
                                refused = true;
                            }
                        }
                        Audit audit;
                        PoolAudit<P>(p, audit).run(true);
                        EXPECT_TRUE(audit.clean()) << audit.result().first;
                    } else {
                        refused = true;
                    }
                    Reaper<P>(p).reap(**client);
                    p.clients().remove(**client);
                } else {
                    EXPECT_EQ(client.error(), Error::no_memory);
                    refused = true;
                }
            } else {
                refused = true;
            }
            (void)refused;
        }
        P::refuse_allocation(0);
        P::settle();
        EXPECT_EQ(P::meta_bytes(), 0u) << "refusal " << nth;
    }
}

// Threads of several clients, frees of each other's objects, transfers, and a reaper.
TEST_F(PoolTest, ThreadsAllocateTransferAndDieTogether) {
    make(2048, 1024);
    constexpr int kThreads = 4;
    std::atomic<TestClient*> members[kThreads];
    for (auto& m : members) m = &join();
    std::vector<std::thread> threads;
    std::atomic<u64> granted{0}, freed{0};
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            P::Thread scope;
            std::mt19937_64 random(t);
            TestClient& me = *members[t].load();
            std::vector<Offset> mine;
            for (int i = 0; i < 4000; ++i) {
                const u64 size = u64{8} << random() % 9;
                Offset out[33];
                const auto g = pool->alloc(me, size, 8, 1 + random() % 33, out, Context::may_sleep, false);
                granted += g.done;
                mine.insert(mine.end(), out, out + g.done);
                TestPool::Refusal refusal;
                const Offset wild = random() % (1024 * 4096) & ~u64{7};
                const bool own = std::find(mine.begin(), mine.end(), wild) != mine.end();
                if (!own) {
                    const auto r = pool->free(me, &wild, 1, refusal);
                    EXPECT_NE(r.why, Error::none);
                }
                while (mine.size() > 200) {
                    const u32 n = 1 + random() % 40;
                    const auto r = pool->free(me, mine.data() + mine.size() - n, n, refusal);
                    EXPECT_EQ(r.done, n);
                    freed += n;
                    mine.resize(mine.size() - n);
                }
            }
        });
    }
    for (auto& t : threads) t.join();
    verify();
    EXPECT_EQ(audited.objects, granted - freed);
    for (auto& m : members) reap(*m.load());
    expect_fresh(1024);
}

// One object, two clients that both free it and hand it over at the same time: exactly
// one of all these calls wins, each round.
TEST_F(PoolTest, RacingFreesAndTransfersOfOneObjectHaveOneWinner) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    for (int round = 0; round < 3000; ++round) {
        const Offset o = alloc(a, round % 2 ? 64 : 4096)[0];
        Error first = Error::none, second = Error::none;
        std::thread other([&] {
            P::Thread scope;
            TestPool::Refusal refusal;
            second = TransferCalls<P>(*pool).transfer(a, b, &o, 1, refusal).why;
        });
        TestPool::Refusal refusal;
        first = pool->free(a, &o, 1, refusal).why;
        other.join();
        ASSERT_NE(ok(first), ok(second)) << round;
        if (ok(second)) {
            ASSERT_EQ(free(b, o), Error::none);
        }
    }
    reap(a);
    reap(b);
    expect_fresh(64);
}

// The loser of two racing frees of a page looked at a block in the middle of its merge,
// and answered not_object.
TEST_F(PoolTest, TheLoserOfTwoRacingFreesOfAPageSaysAlreadyFree) {
    make(64, 64);
    TestClient& a = join();
    std::atomic<int> round{0}, ready{0};
    std::atomic<Offset> target{0};
    std::atomic<Error> second{Error::none};
    constexpr int kRounds = 4000;
    std::thread other([&] {
        P::Thread scope;
        for (int r = 1; r <= kRounds; ++r) {
            await(round, [r](int now) { return now == r; });
            const Offset o = target.load();
            TestPool::Refusal mine;
            second.store(pool->free(a, &o, 1, mine).why);
            tell(ready, r);
        }
    });
    for (int r = 1; r <= kRounds; ++r) {
        const Offset o = alloc(a, 4096)[0];
        target.store(o);
        tell(round, r);
        const Error first = free(a, o);
        await(ready, [r](int now) { return now == r; });
        const Error loser = ok(first) ? second.load() : first;
        EXPECT_NE(ok(first), ok(second.load())) << r;
        EXPECT_EQ(loser, Error::already_free) << r;
    }
    other.join();
    expect_fresh(64);
}

}  // namespace
}  // namespace quarry
