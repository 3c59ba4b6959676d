// SPDX-License-Identifier: MIT
//
// Objects that several clients hold: each holder's free drops its share, the last one's frees
// the object, a dead holder's share goes with it.
#include <map>
#include <random>
#include <set>
#include <thread>

#include "../../module/core/pool/share_calls.hpp"
#include "pool_fixture.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

class SharesTest : public PoolTest {
protected:
    Error share(TestClient& from, TestClient& to, const std::vector<Offset>& offsets) {
        last = ShareCalls<P>(*pool).share(from, to, offsets.data(), static_cast<u32>(offsets.size()),
                                          refusal);
        return last.why;
    }
    u64 shared() const {
        const auto* commons = pool->shares().commons();
        return commons ? commons->objects() : 0;
    }
};

TEST_F(SharesTest, TheLastHoldersFreeFreesTheObject) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    TestClient& c = join();
    for (const u64 size : {8u, 64u, 2048u, 4096u, 20480u}) {
        const auto object = alloc(a, size);
        const u64 bytes = a.bytes();
        ASSERT_EQ(share(a, b, object), Error::none) << size;
        ASSERT_EQ(share(b, c, object), Error::none) << "any holder makes another one";
        for (TestClient* holder : {&a, &b, &c}) {
            EXPECT_EQ(holder->objects(), 1u);
            EXPECT_EQ(holder->bytes(), bytes) << "each as if it were its alone";
        }
        EXPECT_EQ(shared(), 1u);
        EXPECT_EQ(pool->shares().count(), 3u);
        verify();
        EXPECT_EQ(audited.objects, 1u);
        EXPECT_EQ(free(b, object[0]), Error::none);
        EXPECT_EQ(free(b, object[0]), Error::not_owner) << "it has no share any more";
        EXPECT_EQ(free(a, object[0]), Error::none);
        EXPECT_EQ(free(a, object[0]), Error::not_owner);
        verify();
        EXPECT_EQ(audited.objects, 1u) << "one still holds it";
        EXPECT_EQ(free(c, object[0]), Error::none);
        EXPECT_EQ(free(c, object[0]), Error::already_free);
        EXPECT_EQ(a.bytes() + b.bytes() + c.bytes(), 0u);
        EXPECT_EQ(shared() + pool->shares().count(), 0u);
        expect_fresh(64);
    }
}

TEST_F(SharesTest, ADeadHoldersShareIsDroppedAndTheLastDeathFreesTheObject) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    auto objects = alloc(a, 64, 100);
    const auto runs = alloc(a, 3 * kPageBytes, 4);
    objects.insert(objects.end(), runs.begin(), runs.end());
    ASSERT_EQ(share(a, b, objects), Error::none);
    const auto own = alloc(a, 64, 10);
    auto taken = reap(a);
    EXPECT_EQ(taken.objects, 114u);
    EXPECT_EQ(taken.bytes, 110u * 64 + 4 * 3 * kPageBytes);
    verify();
    EXPECT_EQ(audited.objects, 104u) << "b holds them";
    for (const Offset o : own) EXPECT_EQ(free(b, o), Error::already_free);
    taken = reap(b);
    EXPECT_EQ(taken.objects, 104u);
    expect_fresh(64);
}

TEST_F(SharesTest, ASharedObjectIsNeverGivenToAnyoneElse) {
    make(8, 8);
    TestClient& a = join();
    TestClient& b = join();
    const auto object = alloc(a, 64);
    ASSERT_EQ(share(a, b, object), Error::none);
    ASSERT_EQ(free(a, object[0]), Error::none);
    for (const Offset o : alloc(a, 64, 8 * kPageBytes / 64)) EXPECT_NE(o, object[0]);
    ASSERT_EQ(free(b, object[0]), Error::none);
    EXPECT_EQ(alloc(a, 64), object);
}

TEST_F(SharesTest, EachWrongShareHasItsErrorAndChangesNothing) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    TestClient& poor = join(100);
    TestClient& stranger = join();
    const auto object = alloc(a, 64);
    const auto run = alloc(a, 2 * kPageBytes);
    for (const bool is_shared : {false, true}) {
        if (is_shared) {
            ASSERT_EQ(share(a, b, {object[0], run[0]}), Error::none);
            EXPECT_EQ(share(a, b, object), Error::held);
            EXPECT_EQ(share(b, a, run), Error::held);
            EXPECT_EQ(move(a, b, object), Error::held);
        }
        EXPECT_EQ(share(a, a, object), Error::held);
        EXPECT_EQ(share(stranger, b, object), Error::not_owner);
        EXPECT_EQ(refusal.owner, is_shared ? 0u : a.id());
        EXPECT_EQ(share(stranger, b, run), Error::not_owner);
        EXPECT_EQ(free(stranger, object[0]), Error::not_owner);
        EXPECT_EQ(free(stranger, run[0]), Error::not_owner);
        EXPECT_EQ(move(stranger, b, object), Error::not_owner);
        EXPECT_EQ(share(a, poor, run), Error::quota);
        EXPECT_EQ(move(a, poor, run), Error::quota);
        EXPECT_EQ(share(a, b, {object[0] + 8}), Error::not_object);
        EXPECT_EQ(share(a, b, {object[0] + 1}), Error::misaligned);
        EXPECT_EQ(share(a, b, {run[0] + kPageBytes}), Error::not_object);
        EXPECT_EQ(share(a, b, {u64{64} << 12}), Error::out_of_range);
        EXPECT_EQ(share(a, b, {object[0] + 64}), Error::already_free);
        EXPECT_EQ(refusal.offset, object[0] + 64);
        EXPECT_EQ(a.objects(), 2u);
        EXPECT_EQ(poor.bytes() + stranger.bytes(), 0u);
        EXPECT_EQ(b.objects(), is_shared ? 2u : 0u);
        EXPECT_EQ(pool->shares().count(), is_shared ? 4u : 0u);
        verify();
    }
    // A batch stops at the first that is refused, and says how many went through.
    const auto more = alloc(a, 64, 3);
    EXPECT_EQ(share(a, b, {more[0], more[1], object[0], more[2]}), Error::held);
    EXPECT_EQ(last.done, 2u);
    EXPECT_EQ(refusal.offset, object[0]);
    verify();
}

TEST_F(SharesTest, ATransferHandsOnTheCallersShare) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    TestClient& c = join();
    const auto object = alloc(a, 512);
    ASSERT_EQ(share(a, b, object), Error::none);
    ASSERT_EQ(move(a, c, object), Error::none);
    EXPECT_EQ(a.objects() + a.bytes(), 0u);
    EXPECT_EQ(free(a, object[0]), Error::not_owner);
    EXPECT_EQ(free(b, object[0]), Error::none);
    verify();
    EXPECT_EQ(audited.objects, 1u);
    EXPECT_EQ(free(c, object[0]), Error::none);
    expect_fresh(64);
}

TEST_F(SharesTest, ASlabOfSixteenOwnersSharesToo) {
    make(64, 64);
    std::vector<TestClient*> owners;
    for (int i = 0; i < 15; ++i) {
        owners.push_back(&join());
        ASSERT_EQ(alloc(*owners.back(), 512).size(), 1u);
    }
    const auto object = alloc(*owners[0], 512);
    ASSERT_EQ(share(*owners[0], *owners[1], object), Error::none);
    EXPECT_EQ(pool->overflow().used(), 1u) << "the commons are a sixteenth";
    verify();
    ASSERT_EQ(free(*owners[0], object[0]), Error::none);
    ASSERT_EQ(reap(*owners[1]).objects, 2u);
    EXPECT_EQ(pool->overflow().used(), 0u);
    verify();
}

TEST_F(SharesTest, AFullTableRefusesAndALaterShareFits) {
    make(16, 16);
    TestClient& a = join();
    TestClient& b = join();
    const auto objects = alloc(a, 8, 200);
    EXPECT_EQ(share(a, b, objects), Error::owners_full);
    EXPECT_EQ(last.done, 128u) << "256 records";
    EXPECT_EQ(pool->shares().count(), 256u);
    verify();
    ASSERT_EQ(free(b, objects[5]), Error::none);
    EXPECT_EQ(share(a, b, {objects[5]}), Error::none) << "one record was free";
    EXPECT_EQ(share(a, b, {objects[130]}), Error::owners_full);
    EXPECT_EQ(free(a, objects[130]), Error::none) << "and nothing is left half shared";
    verify();
}

TEST_F(SharesTest, AFixedPoolHasItsObjectBackWithTheLastShare) {
    make_fixed(64, 10);
    TestClient& a = join();
    TestClient& b = join();
    const auto objects = alloc(a, 64, 10);
    ASSERT_EQ(objects.size(), 10u);
    ASSERT_EQ(share(a, b, objects), Error::none);
    ASSERT_EQ(free_all(a, objects), Error::none);
    EXPECT_EQ(alloc(a, 64).size(), 0u) << "b has all ten";
    ASSERT_EQ(free(b, objects[3]), Error::none);
    EXPECT_EQ(alloc(a, 64).size(), 1u);
    reap(b);
    EXPECT_EQ(alloc(a, 64, 9).size(), 9u);
    verify();
}

TEST_F(SharesTest, ARefusedTableIsNoMemoryAndNothingIsShared) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    const auto object = alloc(a, 64);
    P::refuse_allocation(1);
    EXPECT_EQ(share(a, b, object), Error::no_memory);
    P::refuse_allocation(0);
    EXPECT_EQ(b.objects(), 0u);
    EXPECT_EQ(free(b, object[0]), Error::not_owner);
    EXPECT_EQ(share(a, b, object), Error::none);
    verify();
}

TEST_F(SharesTest, TheAuditSeesAShareOfNothing) {
    make(64, 64);
    TestClient& a = join();
    TestClient& b = join();
    const auto objects = alloc(a, 64, 2);
    ASSERT_EQ(share(a, b, {objects[0]}), Error::none);
    ASSERT_EQ(pool->shares().begin(objects[1], a, b), Error::none);
    Audit audit;
    PoolAudit<P>(*pool, audit).run(false);
    EXPECT_STREQ(audit.result().first, "a share is of what is not shared");
    bool gone = false;
    EXPECT_TRUE(pool->shares().drop(objects[1], a, gone));
    EXPECT_TRUE(pool->shares().drop(objects[1], b, gone));
    EXPECT_TRUE(gone);
    verify();
}

TEST_F(SharesTest, ALongRandomStreamAgreesWithAModel) {
    make(256, 256);
    std::mt19937 random(7);
    std::vector<TestClient*> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(&join());
    std::map<Offset, std::set<TestClient*>> model;
    const u64 sizes[] = {8, 64, 200, 512, 2048, 4096, 12288};
    const int steps = by_variant(60'000, 12'000, 12'000);
    for (int step = 0; step < steps; ++step) {
        TestClient& a = *clients[random() % clients.size()];
        TestClient& b = *clients[random() % clients.size()];
        const unsigned what = random() % 16;
        if (what < 4 || model.empty()) {
            for (const Offset o : alloc(a, sizes[random() % std::size(sizes)])) {
                ASSERT_TRUE(model.emplace(o, std::set{&a}).second) << "given twice";
            }
            continue;
        }
        auto at = model.lower_bound(random() % (256 * kPageBytes));
        if (at == model.end()) at = model.begin();
        auto& [offset, holders] = *at;
        const bool holds = holders.count(&a) != 0;
        const Error not_held = Error::not_owner;
        if (what < 9) {
            const Error e = free(a, offset);
            ASSERT_EQ(e, holds ? Error::none : not_held);
            if (holds && holders.size() == 1)
                model.erase(at);
            else
                holders.erase(&a);
        } else if (what < 13) {
            const Error e = share(a, b, {offset});
            ASSERT_EQ(e, !holds ? not_held : holders.count(&b) ? Error::held : Error::none);
            if (ok(e)) holders.insert(&b);
        } else if (what < 15) {
            if (&a == &b) continue;
            const Error e = move(a, b, {offset});
            ASSERT_EQ(e, !holds ? not_held : holders.count(&b) ? Error::held : Error::none);
            if (ok(e)) {
                holders.erase(&a);
                holders.insert(&b);
            }
        } else if (step % 8 == 0) {
            u64 held = 0;
            for (auto it = model.begin(); it != model.end();) {
                held += it->second.erase(&a);
                it = it->second.empty() ? model.erase(it) : std::next(it);
            }
            ASSERT_EQ(reap(a).objects, held);
            *std::find(clients.begin(), clients.end(), &a) = &join();
        }
        if (step % 64 == 0) {
            verify();
            ASSERT_EQ(audited.objects, model.size());
        }
    }
}

// Two threads of one client make the same object known to others, and a third gives back what the
// others hold, as soon as it can.
TEST_F(SharesTest, ThreadsThatShareOneObjectAtOnceMakeEachReceiverAHolder) {
    make(64, 64);
    TestClient& a = join();
    TestClient* to[] = {&join(), &join()};
    const int rounds = by_variant(3000, 500, 300);
    for (int round = 0; round < rounds; ++round) {
        const auto object = alloc(a, round % 2 ? 64 : 2 * kPageBytes);
        ASSERT_EQ(object.size(), 1u);
        std::atomic<int> ready{0};
        std::thread threads[2];
        for (int t = 0; t < 2; ++t)
            threads[t] = std::thread([&, t] {
                P::Thread scope;
                TestPool::Refusal why;
                ++ready;
                while (ready.load() < 2) {
                }
                EXPECT_EQ(ShareCalls<P>(*pool).share(a, *to[t], object.data(), 1, why).why, Error::none);
                EXPECT_EQ(pool->free(*to[t], object.data(), 1, why).why, Error::none);
            });
        for (auto& thread : threads) thread.join();
        ASSERT_EQ(free(a, object[0]), Error::none) << round;
        ASSERT_EQ(free(a, object[0]), Error::already_free);
    }
    expect_fresh(64);
}

}  // namespace
}  // namespace quarry
