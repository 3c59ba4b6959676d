// SPDX-License-Identifier: MIT
//
// Regressions of pools: calls beside each other, and what a client's end leaves behind.
#include <thread>

#include "pool_fixture.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

constexpr int kRounds = by_variant(1500, 300, 300);

using PoolRace = PoolTest;

TEST_F(PoolRace, TwoTransfersOfOneObjectToASixteenthClientHaveOneWinnerAndItsReapEnds) {
    make(64, 64);
    // Fifteen owners of the one slab: its dictionary is full.
    std::vector<TestClient*> owners;
    for (int i = 0; i < 15; ++i) {
        owners.push_back(&join());
        ASSERT_EQ(alloc(*owners.back(), 512).size(), 1u);
    }
    TestClient& from = *owners[0];
    for (int round = 0; round < kRounds; ++round) {
        TestClient& sixteenth = join();
        const auto object = alloc(from, 512);
        ASSERT_EQ(object.size(), 1u);
        std::atomic<int> ready{0}, won{0};
        const auto hand_over = [&] {
            HostPlatform::Thread scope;
            TestPool::Refusal why;
            ++ready;
            while (ready.load() < 2) {
            }
            if (ok(TransferCalls<P>(*pool).transfer(from, sixteenth, object.data(), 1, why).why)) ++won;
        };
        std::thread a(hand_over), b(hand_over);
        a.join();
        b.join();
        ASSERT_EQ(won.load(), 1) << round;
        ASSERT_EQ(sixteenth.objects(), 1u);
        ASSERT_EQ(reap(sixteenth).objects, 1u) << round;
    }
    verify();
}

TEST_F(PoolRace, ATransferToASixteenthClientThatAnotherOvertakesIsRefusedAndTheReapEnds) {
    make(64, 64);
    std::vector<TestClient*> owners;
    for (int i = 0; i < 15; ++i) {
        owners.push_back(&join());
        ASSERT_EQ(alloc(*owners.back(), 512).size(), 1u);
    }
    TestClient& sixteenth = join();
    const auto object = alloc(*owners[0], 512);
    struct Meddler {
        TestPool* pool;
        TestClient *from, *to;
        Offset offset;
    } meddler{pool.get(), owners[0], &sixteenth, object[0]};
    P::meddle_before(
        QUARRY_LOCK_OVERFLOW,
        [](void* arg) {
            auto& m = *static_cast<Meddler*>(arg);
            TestPool::Refusal why;
            EXPECT_TRUE(ok(TransferCalls<P>(*m.pool).transfer(*m.from, *m.to, &m.offset, 1, why).why));
        },
        &meddler);
    EXPECT_EQ(move(*owners[0], sixteenth, object), Error::not_owner);
    EXPECT_EQ(sixteenth.objects(), 1u);
    EXPECT_EQ(reap(sixteenth).objects, 1u);
    verify();
}

TEST_F(PoolRace, TheAuditBesideFreesAndTransfersOfPagesFindsNothing) {
    make(64, 64);
    TestClient& one = join();
    TestClient& two = join();
    std::atomic<bool> stop{false};
    std::atomic<int> rounds{0};
    const auto work = [&](TestClient& me, TestClient& other, u64 seed) {
        HostPlatform::Thread scope;
        std::mt19937_64 random(seed);
        TestPool::Refusal why;
        for (; !stop.load(); ++rounds) {
            Offset out[4];
            const auto got = pool->alloc(me, (1 + random() % 4) * 4096, 8, 4, out,
                                         Context::may_sleep, false);
            for (u32 i = 0; i < got.done; ++i) {
                if (random() % 2 && ok(TransferCalls<P>(*pool).transfer(me, other, &out[i], 1, why).why))
                    (void)pool->free(other, &out[i], 1, why);
                else
                    (void)pool->free(me, &out[i], 1, why);
            }
        }
    };
    std::thread a([&] { work(one, two, 1); }), b([&] { work(two, one, 2); });
    for (int i = 0; i < kRounds / 10 || rounds.load() < kRounds; ++i) {
        Audit audit;
        PoolAudit<P>(*pool, audit).run(false);
        ASSERT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
    }
    stop = true;
    a.join();
    b.join();
    verify();
    EXPECT_EQ(audited.objects, 0u);
}

TEST_F(PoolRace, ADeadClientsBytesAreZeroedForTheNextOneOfItsNumber) {
    PoolConfig config;
    config.zero_on_regrant = true;
    make(64, 64, config);
    TestClient& first = join();
    const ClientIndex number = first.index();
    const auto objects = alloc(first, 64, 10);
    ASSERT_EQ(objects.size(), 10u);
    reap(first);
    TestClient& next = join();
    ASSERT_EQ(next.index(), number);
    P::reset_zeroed();
    ASSERT_EQ(alloc(next, 64, 10).size(), 10u);
    EXPECT_EQ(P::zeroed_bytes(), 10u * 64);
}

TEST_F(PoolRace, ATransferOfARunThatIsFreedAndGrantedAgainInAnotherSizeCountsTheNewSize) {
    make(64, 16);
    TestClient& from = join();
    TestClient& to = join();
    std::atomic<bool> stop{false};
    std::thread other([&] {
        HostPlatform::Thread scope;
        TestPool::Refusal why;
        for (u64 pages = 1; !stop.load(); pages = pages % 8 + 1) {
            Offset out = 0;
            if (!pool->alloc(from, pages * 4096, 8, 1, &out, Context::may_sleep, false).done)
                continue;
            (void)pool->free(from, &out, 1, why);
        }
    });
    int moved = 0;
    for (int i = 0; i < kRounds * 20 && moved < kRounds; ++i) {
        const Offset offset = i % 16 * 4096;
        TestPool::Refusal why;
        if (!ok(TransferCalls<P>(*pool).transfer(from, to, &offset, 1, why).why)) continue;
        ++moved;
        ASSERT_TRUE(ok(pool->free(to, &offset, 1, why).why));
        ASSERT_EQ(to.bytes(), 0u) << moved;
    }
    stop = true;
    other.join();
    verify();
    EXPECT_EQ(from.bytes(), 0u);
}

TEST_F(PoolRace, AFullPoolWithoutRegionsIsFullAndNotUnmade) {
    make(64, 0);
    TestClient& client = join();
    EXPECT_EQ(alloc(client, 64).size(), 0u);
    EXPECT_EQ(last.why, Error::pool_full);
    EXPECT_EQ(alloc(client, 8192).size(), 0u);
    EXPECT_EQ(last.why, Error::pool_full);
    EXPECT_EQ(alloc(client, 64, 1, 8, true).size(), 0u);
    EXPECT_EQ(last.why, Error::needs_pages);
}

}  // namespace
}  // namespace quarry
