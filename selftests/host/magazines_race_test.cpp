// SPDX-License-Identifier: MIT
//
// Clients' magazines with everything beside everything: threads that take and give, drains
// from elsewhere, clients that die meanwhile.
#include <thread>

#include "magazine_fixture.hpp"

namespace quarry {
namespace {

constexpr u32 k64 = class_of(64);

#if QUARRY_HOST_TSAN
constexpr int kRounds = 2000;
constexpr int kDeaths = 150;
#else
constexpr int kRounds = 20000;
constexpr int kDeaths = 500;
#endif

using MagazineRace = MagazineTest;

TEST_F(MagazineRace, NothingIsLostOrGivenTwiceBesideDrainsFromElsewhere) {
    make(512, 512);
    TestClient* clients[] = {&enlist(), &enlist()};
    std::atomic<bool> stop{false};
    std::atomic<u64> drained{0}, held{0};
    // Who has which slot: given twice, a mark would be taken twice.
    std::vector<std::atomic<u8>> mark(512 * 4096 / 8);
    const auto work = [&](TestClient& c, u64 seed) {
        HostPlatform::Thread scope;
        std::mt19937_64 random(seed);
        HostBlocks& b = *members.at(c.id()).blocks;
        Calls calls(*pool);
        std::vector<std::pair<Offset, u32>> mine;
        // On a busy machine the drainer may come late.
        for (int i = 0; i < kRounds || (!drained.load() && i < 1000 * kRounds); ++i) {
            const u32 k = random() % 2 ? k64 : class_of(200);
            if (mine.size() < 200 && random() % 2) {
                Offset o = pop(b, k);
                u32 put = 0;
                if (o == kNone) {
                    bring(c);
                    if (!calls.refill(c, k, false, o, put).done) continue;
                }
                EXPECT_EQ(mark[o / 8].exchange(1), 0) << o;
                mine.push_back({o, k});
            } else if (!mine.empty()) {
                const auto [o, c2] = mine.back();
                mine.pop_back();
                EXPECT_EQ(mark[o / 8].exchange(0), 1) << o;
                if (push(b, c2, o)) continue;
                TestPool::Refusal why;
                bring(c);
                EXPECT_EQ(calls.flush(c, c2, &o, why).why, Error::none);
            }
        }
        held += mine.size();
    };
    std::thread drainer([&] {
        HostPlatform::Thread scope;
        Calls calls(*pool);
        while (!stop.load()) drained += calls.drain_all(true).slots;
    });
    std::vector<std::thread> threads;
    for (u64 i = 0; i < 4; ++i) threads.emplace_back(work, std::ref(*clients[i % 2]), i + 1);
    for (auto& t : threads) t.join();
    stop = true;
    drainer.join();
    EXPECT_GT(drained.load(), 0u);
    Calls(*pool).drain_all(false);
    EXPECT_EQ(clients[0]->objects() + clients[1]->objects(), held.load());
    for (TestClient* c : clients) EXPECT_EQ(blocks(*c).take_refused().size(), 0u);
    verify();
    EXPECT_EQ(audited.objects, held.load());
}

TEST_F(MagazineRace, AClientIsReapedBesideDrainsAndItsHeirLosesNothing) {
    make(64, 64);
    TestClient& heir = enlist();
    std::atomic<bool> stop{false};
    std::thread drainer([&] {
        HostPlatform::Thread scope;
        Calls calls(*pool);
        while (!stop.load()) calls.drain_all(false);
    });
    std::vector<std::unique_ptr<HostBlocks>> dead;
    for (int i = 0; i < kDeaths; ++i) {
        TestClient& c = enlist();
        for (int k = 0; k < 3; ++k) ASSERT_NE(refill(c, k64), kNone);
        auto* magazines = c.magazines.load();
        const u64 had = c.objects();
        const u64 got = Reaper<P>(*pool).reap(c).objects;
        EXPECT_LE(got, 99u);
        EXPECT_GE(got, 3u);
        EXPECT_LE(got, had);
        EXPECT_EQ(c.objects(), 0u) << i;
        // What it had goes to the heir at once: a drain that is late would free that.
        const auto objects = alloc(heir, 64, 99);
        EXPECT_EQ(objects.size(), 99u);
        EXPECT_EQ(free_all(heir, objects), Error::none) << i;
        EXPECT_EQ(blocks(c).take_refused().size(), 0u);
        dead.push_back(std::move(members.at(c.id()).blocks));
        members.erase(c.id());
        pool->clients().remove(c);
        ClientMagazines<P>::retire(magazines);
        if (dead.size() == 64) {
            P::settle();
            dead.clear();
        }
    }
    stop = true;
    drainer.join();
    P::settle();
    verify();
    EXPECT_EQ(audited.objects, 0u);
}

// The entry of a dictionary that names a client may name another one after the first one's
// reap: a drain that has read it must be out before that.
TEST_F(MagazineRace, AReapWaitsForTheDrainThatIsInsideTheClientsMagazines) {
    make(64, 64);
    TestClient& c = enlist();
    (void)refill(c, k64);
    struct Meddler {
        TestPool* pool;
        TestClient* client;
        std::thread reaper;
        std::atomic<u64> reaped{0};
        std::atomic<bool> done{false};
    } meddler{pool.get(), &c, {}, {}, {}};
    P::meddle_before_exclusive(
        [](void* arg) {
            auto& m = *static_cast<Meddler*>(arg);
            m.reaper = std::thread([&m] {
                HostPlatform::Thread scope;
                m.reaped = Reaper<P>(*m.pool).reap(*m.client).objects;
                m.done = true;
            });
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            EXPECT_FALSE(m.done.load()) << "reaped while a drain was inside";
        },
        &meddler);
    EXPECT_EQ(Calls(*pool).drain_all(true).slots, 31u);
    meddler.reaper.join();
    EXPECT_EQ(meddler.reaped.load(), 1u);
    EXPECT_EQ(blocks(c).take_refused().size(), 0u);
    verify();
}

TEST_F(MagazineRace, TwoDrainsAtOnceFindEachEntryOnce) {
    make(256, 256);
    TestClient& c = enlist();
    for (int round = 0; round < kDeaths; ++round) {
        u64 cached = 0;
        for (u32 k = 0; k < 20; ++k) {
            const Offset one = refill(c, k);
            ASSERT_NE(one, kNone);
            cached += filled;
            ASSERT_EQ(free(c, one), Error::none);
        }
        std::atomic<u64> found{0};
        const auto drain = [&] {
            HostPlatform::Thread scope;
            found += Calls(*pool).drain_all(false).slots;
        };
        std::thread a(drain), b(drain);
        a.join();
        b.join();
        ASSERT_EQ(found.load(), cached) << round;
        ASSERT_EQ(c.objects(), 0u);
    }
    verify();
}

}  // namespace
}  // namespace quarry
