// SPDX-License-Identifier: MIT
//
// What a client sets aside: its next allocations cannot fail, nobody else gets it, a guess at it
// is refused, and its death brings it back.
#include "pool_fixture.hpp"

#include <thread>

#include "variant.hpp"

namespace quarry {
namespace {

class ReservesTest : public PoolTest {
protected:
    using Aside = ReserveCalls<P>;
    using Key = Aside::Key;

    void heap(u64 pages = 64, u64 limit = 0) {
        make(pages, pages);
        a = &join(limit);
        b = &join();
    }
    Key key(TestClient& c, u64 size, u64 align = 8) { return *Aside(*pool, c).key_of(size, align); }
    u32 left(TestClient& c, u64 size, u64 align = 8) {
        return Aside(*pool, c).left(key(c, size, align));
    }
    // As the shim does it; answers how many are set aside.
    u32 set_aside(TestClient& c, u64 size, u32 n, u64 align = 8) {
        Aside aside(*pool, c);
        prepared = aside.prepare(key(c, size, align), n);
        if (!ok(prepared)) return 0;
        const auto got = alloc(c, size, n, align);
        aside.put(key(c, size, align), got.data(), static_cast<u32>(got.size()));
        return static_cast<u32>(got.size());
    }
    std::vector<Offset> draw(TestClient& c, u64 size, u32 n, u64 align = 8) {
        std::vector<Offset> out(n);
        out.resize(Aside(*pool, c).draw(key(c, size, align), out.data(), n));
        return out;
    }
    Error guarded_free(TestClient& c, const std::vector<Offset>& offsets) {
        const u32 n = static_cast<u32>(offsets.size());
        last = Aside(*pool, c).guarded(offsets.data(), n, refusal, [&](u32 most) {
            return pool->free(c, offsets.data(), most, refusal);
        });
        return last.why;
    }
    // Until the pool says no.
    std::vector<Offset> take_all(TestClient& c, u64 size, u64 align = 8) {
        std::vector<Offset> got;
        for (;;) {
            const auto one = alloc(c, size, 1, align);
            if (one.empty()) return got;
            got.push_back(one[0]);
        }
    }
    // What `size` objects can be had of a full pool: so many as are set aside, each once.
    void expect_draws(u64 size, u32 n, u64 align = 8) {
        std::set<Offset> seen;
        const u64 objects = a->objects();
        for (const Offset offset : draw(*a, size, n, align)) EXPECT_TRUE(seen.insert(offset).second);
        EXPECT_EQ(seen.size(), n);
        EXPECT_TRUE(draw(*a, size, 1, align).empty());
        EXPECT_EQ(a->objects(), objects) << "they were its own already";
        for (const Offset offset : seen) EXPECT_EQ(offset % align, 0u);
        EXPECT_EQ(guarded_free(*a, {seen.begin(), seen.end()}), Error::none);
    }

    TestClient* a = nullptr;
    TestClient* b = nullptr;
    Error prepared = Error::none;
};

TEST_F(ReservesTest, TheNextAllocationsOfAFullPoolCannotFail) {
    heap();
    const struct {
        u64 size;
        u32 n;
        u64 align;
    } requests[] = {{8, 100, 8},      {64, 300, 8},     {24, 10, 16},         {2048, 5, 8},
                    {kPageBytes, 3, 8}, {20000, 1, 8}, {kPageBytes, 2, 2 * kPageBytes}};
    for (const auto& r : requests) EXPECT_EQ(set_aside(*a, r.size, r.n, r.align), r.n);
    verify();
    take_all(*b, kPageBytes);
    take_all(*b, 8);
    take_all(*b, 64);
    EXPECT_TRUE(alloc(*a, kPageBytes).empty());
    for (const auto& r : requests) EXPECT_EQ(left(*a, r.size, r.align), r.n);
    for (const auto& r : requests) expect_draws(r.size, r.n, r.align);
    EXPECT_EQ(a->reserves.load()->total(), 0u);
    verify();
}

TEST_F(ReservesTest, WithinALimitTheyWereCountedBefore) {
    heap(64, 64 * 200);
    EXPECT_EQ(set_aside(*a, 64, 50), 50u);
    EXPECT_EQ(a->bytes(), 64u * 50);
    EXPECT_EQ(take_all(*a, 64).size(), 150u);
    EXPECT_EQ(last.why, Error::quota);
    expect_draws(64, 50);
}

TEST_F(ReservesTest, RequestsThatAreServedAlikeShareIt) {
    heap();
    EXPECT_EQ(set_aside(*a, 60, 4), 4u);
    EXPECT_EQ(left(*a, 57), 4u);
    EXPECT_EQ(left(*a, 64, 64), 4u);
    EXPECT_EQ(left(*a, 65), 0u);
    EXPECT_EQ(draw(*a, 64, 1).size(), 1u);
    EXPECT_EQ(left(*a, 60), 3u);
    EXPECT_EQ(set_aside(*a, kPageBytes, 1), 1u);
    EXPECT_EQ(left(*a, kPageBytes, 2 * kPageBytes), 0u) << "of another alignment";
    EXPECT_EQ(left(*a, 2 * kPageBytes), 0u);
}

TEST_F(ReservesTest, DeathBringsItBack) {
    heap();
    EXPECT_EQ(set_aside(*a, 64, 300), 300u);
    EXPECT_EQ(set_aside(*a, 3 * kPageBytes, 2), 2u);
    const auto taken = reap(*a);
    EXPECT_EQ(taken.objects, 302u);
    EXPECT_EQ(taken.bytes, 64u * 300 + 6 * kPageBytes);
    expect_fresh(64);
    EXPECT_EQ(audited.objects, 0u);
}

TEST_F(ReservesTest, AReapedClientHasNothingSetAside) {
    heap();
    set_aside(*a, 64, 30);
    Reaper<P>(*pool).reap(*a);
    EXPECT_EQ(a->reserves.load()->total(), 0u);
    EXPECT_TRUE(draw(*a, 64, 1).empty());
    EXPECT_EQ(left(*a, 64), 0u);
    verify();
}

TEST_F(ReservesTest, AGuessAtItIsRefusedAndWhatCameBeforeIsDone) {
    heap();
    const auto mine = alloc(*a, 64, 40);
    EXPECT_EQ(set_aside(*a, 64, 200), 200u);
    const auto drawn = draw(*a, 64, 1);  // known, and put back
    Aside(*pool, *a).put(key(*a, 64), drawn.data(), 1);
    std::vector<Offset> list(mine.begin(), mine.end() - 1);
    list.push_back(drawn[0]);
    list.push_back(mine.back());
    EXPECT_EQ(guarded_free(*a, list), Error::already_free);
    EXPECT_EQ(last.done, 39u);
    EXPECT_EQ(refusal.offset, drawn[0]);
    EXPECT_EQ(refusal.owner, 0u);
    EXPECT_EQ(guarded_free(*a, {drawn[0]}), Error::already_free);
    EXPECT_EQ(last.done, 0u);
    EXPECT_EQ(guarded_free(*a, {drawn[0] + 1}), Error::misaligned);
    EXPECT_EQ(guarded_free(*b, {drawn[0]}), Error::not_owner);
    EXPECT_EQ(move(*b, *a, {drawn[0]}), Error::not_owner);
    EXPECT_EQ(guarded_free(*a, {mine.back()}), Error::none);
    EXPECT_EQ(left(*a, 64), 200u);
    expect_draws(64, 200);
}

TEST_F(ReservesTest, WhatWasFreedPastTheGuardIsNotDrawn) {
    heap();
    EXPECT_EQ(set_aside(*a, 64, 64), 64u);
    const auto known = draw(*a, 64, 64);
    Aside(*pool, *a).put(key(*a, 64), known.data(), 64);
    // As by entries that a client wrote into its magazine; some are another's then, some of
    // another size, some its own again.
    EXPECT_EQ(free_all(*a, {known.begin(), known.begin() + 32}), Error::none);
    const auto theirs = alloc(*b, 64, 16);
    const auto rest = draw(*a, 64, 64);
    EXPECT_EQ(rest, (std::vector<Offset>(known.rbegin(), known.rbegin() + 32)));
    EXPECT_EQ(guarded_free(*a, rest), Error::none);
    EXPECT_EQ(free_all(*b, theirs), Error::none);
    verify();
}

TEST_F(ReservesTest, ItIsLoweredInSteps) {
    heap();
    EXPECT_EQ(set_aside(*a, 64, 500), 500u);
    Aside aside(*pool, *a);
    EXPECT_EQ(aside.lower(key(*a, 64), 499), 499u);
    EXPECT_EQ(aside.lower(key(*a, 64), 0), 371u) << "128 a call";
    EXPECT_EQ(a->objects(), 371u);
    while (aside.lower(key(*a, 64), 10) > 10) {}
    EXPECT_EQ(a->objects(), 10u);
    EXPECT_EQ(aside.lower(key(*a, 64), 11), 10u);
    EXPECT_EQ(aside.lower(key(*a, 72), 0), 0u);
    verify();
}

TEST_F(ReservesTest, AFixedPoolHasThemToo) {
    make_fixed(24, 100);
    a = &join();
    b = &join();
    EXPECT_EQ(Aside(*pool, *a).key_of(32, 8).error(), Error::wrong_size);
    EXPECT_EQ(set_aside(*a, 24, 60), 60u);
    EXPECT_EQ(take_all(*b, 24).size(), 40u);
    expect_draws(24, 60);
}

TEST_F(ReservesTest, ARangePoolHasThemToo) {
    PoolConfig config;
    config.range = {.capacity = 64 << 10, .granule = 64, .max_live = 300, .aligns = {1024}};
    make(1, 0, config);
    a = &join();
    b = &join();
    EXPECT_EQ(Aside(*pool, *a).key_of(0, 1).error(), Error::invalid);
    EXPECT_EQ(Aside(*pool, *a).key_of(64, 3).error(), Error::invalid);
    EXPECT_EQ(Aside(*pool, *a).key_of((64 << 10) + 1, 1).error(), Error::too_large);
    EXPECT_EQ(set_aside(*a, 1000, 5, 1024), 5u);
    EXPECT_EQ(set_aside(*a, 100, 20, 1), 20u);
    take_all(*b, 64, 1);
    EXPECT_TRUE(alloc(*a, 100, 1, 1).empty());
    expect_draws(1000, 5, 1024);
    const auto known = draw(*a, 100, 20, 1);
    ASSERT_EQ(known.size(), 20u);
    Aside(*pool, *a).put(key(*a, 100, 1), known.data(), 20);
    EXPECT_TRUE(Aside(*pool, *a).holds(known[3]));
    EXPECT_EQ(guarded_free(*a, {known[3]}), Error::already_free);
    EXPECT_EQ(free(*a, known[3]), Error::none);
    EXPECT_EQ(free(*a, known[4]), Error::none);
    EXPECT_EQ(alloc(*a, 64, 1, 1).size(), 1u) << "one of them, of another size";
    EXPECT_EQ(draw(*a, 100, 20, 1).size(), 18u);
    reap(*a);
    reap(*b);
    EXPECT_EQ(pool->ranges()->free_bytes(), pool->max_bytes());
}

TEST_F(ReservesTest, SizesAndObjectsAreBounded) {
    heap(512);
    u32 sizes = 0;
    for (u64 size = 8; size <= 2048; size += 8) {
        if (left(*a, size)) continue;
        if (set_aside(*a, size, 1) == 0) break;
        ++sizes;
    }
    EXPECT_EQ(sizes, 48u) << "the classes";
    for (u64 pages = 1; pages <= 16; ++pages) EXPECT_EQ(set_aside(*a, pages * kPageBytes, 1), 1u);
    EXPECT_EQ(set_aside(*a, 17 * kPageBytes, 1), 0u);
    EXPECT_EQ(prepared, Error::reserves_full);
    EXPECT_EQ(draw(*a, 3 * kPageBytes, 1).size(), 1u);
    EXPECT_EQ(set_aside(*a, 17 * kPageBytes, 1), 1u) << "nothing is left of another";
    EXPECT_EQ(set_aside(*a, 3 * kPageBytes, 1), 0u);
    while (Aside(*pool, *a).left(key(*a, 8)) < 4096u * 4 - 64 && set_aside(*a, 8, 512) == 512) {}
    EXPECT_EQ(prepared, Error::reserves_full);
    EXPECT_LE(a->reserves.load()->total(), Reserves<P>::kMost);
    EXPECT_GT(a->reserves.load()->total(), Reserves<P>::kMost - 512);
    verify();
}

TEST_F(ReservesTest, WithoutMemoryNothingChanges) {
    heap();
    ASSERT_EQ(alloc(*a, 64, 1).size(), 1u);  // its slab is there
    for (u64 n = 1;; ++n) {
        P::refuse_allocation(n);
        const bool full = set_aside(*a, 64, 180) == 180;
        const bool refused = prepared == Error::no_memory;
        P::refuse_allocation(0);
        verify();
        if (full) {
            EXPECT_GT(n, 2u) << "the table and two chunks";
            break;
        }
        ASSERT_TRUE(refused || left(*a, 64)) << n;
    }
    const u64 meta = pool->meta_bytes();
    EXPECT_GE(meta, sizeof(Reserves<P>) + sizeof(Reserves<P>::Chunk));
}

// RESERVE takes its memory outside of the client's call: a reap may come meanwhile.
TEST_F(ReservesTest, MemoryForMoreIsTakenBesideAReap) {
    heap(128);
    for (u32 i = 0; i < 50; ++i) {
        TestClient& c = join();
        EXPECT_EQ(set_aside(c, 64, 50), 50u);
        std::thread other([&] { (void)Aside(*pool, c).prepare(key(c, 128), 400); });
        const auto taken = Reaper<P>(*pool).reap(c);
        other.join();
        EXPECT_EQ(taken.objects, 50u);
        EXPECT_EQ(c.reserves.load()->total(), 0u);
        reap(c);
    }
    expect_fresh(128);
}

TEST_F(ReservesTest, DrawsAndGuessesBesideEachOtherGiveEachOnce) {
    heap(128);
    constexpr u32 kRounds = by_variant(3000, 300, 300);
    std::atomic<bool> over{false};
    std::thread guesser([&] {
        std::vector<Offset> all(4096);
        for (u32 i = 0; i < all.size(); ++i) all[i] = i * u64{64};
        while (!over.load(std::memory_order_relaxed))
            for (u32 i = 0; i < all.size(); ++i) (void)Aside(*pool, *a).holds(all[i]);
    });
    std::atomic<u64> drawn{0};
    std::thread drawer([&] {
        while (!over.load(std::memory_order_relaxed)) {
            Offset out[40];
            const u32 n = Aside(*pool, *a).draw(key(*a, 64), out, 40);
            PoolRefusal why;
            EXPECT_EQ(pool->free(*a, out, n, why).done, n) << "one was not its own";
            drawn.fetch_add(n, std::memory_order_relaxed);
        }
    });
    u64 put = 0;
    for (u32 i = 0; i < kRounds; ++i) {
        put += set_aside(*a, 64, 50);
        const auto out = draw(*a, 64, 20);
        PoolRefusal why;
        EXPECT_EQ(pool->free(*a, out.data(), static_cast<u32>(out.size()), why).done, out.size());
        put -= out.size();
    }
    while (left(*a, 64)) std::this_thread::yield();
    over = true;
    guesser.join();
    drawer.join();
    EXPECT_EQ(drawn.load(), put);
    EXPECT_EQ(a->objects(), 0u);
    expect_fresh(128);
}

}  // namespace
}  // namespace quarry
