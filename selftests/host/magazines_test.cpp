// SPDX-License-Identifier: MIT
//
// Clients' magazines: what refill, flush and drains move, what a client's words can and
// cannot do, how magazines grow and shrink.
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "magazine_fixture.hpp"

namespace quarry {
namespace {

constexpr u32 k64 = class_of(64);
constexpr u32 k2048 = kClasses - 1;

TEST_F(MagazineTest, ARefillGivesHalfAMagazineOfThemOneToItsCaller) {
    make(64, 64);
    TestClient& c = enlist();
    EXPECT_EQ(capacity(c, k64), 0u);
    const Offset one = refill(c, k64);
    ASSERT_NE(one, kNone);
    EXPECT_EQ(filled, 31u);
    EXPECT_EQ(count(c, k64), 31u);
    EXPECT_EQ(capacity(c, k64), 64u);
    EXPECT_EQ(c.objects(), 32u);
    std::set<Offset> seen{one};
    Offset previous = one;
    for (int i = 0; i < 31; ++i) {
        const Offset o = pop(blocks(c), k64);
        EXPECT_EQ(o, previous + 64) << "ascending, as a client writes fresh memory";
        previous = o;
        EXPECT_TRUE(seen.insert(o).second);
    }
    EXPECT_EQ(pop(blocks(c), k64), kNone);
    // Half full already: another thread was here.
    (void)refill(c, k64);
    ASSERT_NE(refill(c, k64), kNone);
    EXPECT_EQ(filled, 1u);
    EXPECT_EQ(count(c, k64), 32u);
    EXPECT_EQ(c.objects(), 32u + 32 + 2);
    verify();
}

// Two CPUs of a client have no lines of its marks, nor neighbouring ones, in common (256 bytes: for 8 KiB
// of the pool, or for 2 KiB where objects are small) while there are others left. Lines that two
// CPUs write move between them all the time, and on some machines what is fetched ahead does, too: 16
// threads that shared no line were four times as slow as one.
TEST_F(MagazineTest, TwoCpusOfAClientShareNoLinesOfMarks) {
    make(64, 64);
    TestClient& c = enlist();
    const struct {
        u32 size_class;
        u64 bytes;
    } cases[] = {{k64, 2 * kPageBytes}, {1, 2048}};
    for (const auto& [k, bytes] : cases) {
        std::set<Offset> lines[2];
        const auto draw = [&, k = k, bytes = bytes](unsigned which, unsigned n) {
            for (unsigned i = 0; i < n; ++i) lines[which].insert(take(c, k) / bytes);
        };
        draw(0, 64);
        std::thread([&] {
            P::Thread cpu;
            draw(1, 128);
        }).join();
        draw(0, 64);
        EXPECT_EQ(lines[0].size(), 1u);
        for (const Offset line : lines[0]) EXPECT_EQ(lines[1].count(line), 0u) << "class " << k;
    }
    verify();
}

// However many CPUs there are: a slab has four such parts, and pages that are free serve the fifth.
TEST_F(MagazineTest, EachOfManyCpusHasItsOwnLinesOfMarks) {
    make(64, 64);
    TestClient& c = enlist();
    std::map<Offset, std::set<unsigned>> lines;
    const std::function<void(unsigned)> draw_on = [&](unsigned cpu) {
        P::Thread slot;
        for (unsigned i = 0; i < 128; ++i) lines[take(c, k64) / (2 * kPageBytes)].insert(P::cpu());
        if (cpu < 12) std::thread(draw_on, cpu + 1).join();
    };
    std::thread(draw_on, 1).join();
    for (const auto& [line, cpus] : lines) EXPECT_EQ(cpus.size(), 1u) << "line " << line;
    verify();
}

// When there are no lines apart any more, what is left is given all the same.
TEST_F(MagazineTest, AnotherCpusLinesServeWhenNoneAreLeft) {
    make(64, 64);
    TestClient& c = enlist();
    const u64 all = 64 * kPageBytes / 64;
    for (u64 i = 0; i < all / 4; ++i) ASSERT_NE(take(c, k64), kNone);
    std::thread([&] {
        P::Thread cpu;
        while (take(c, k64) != kNone) {}
    }).join();
    EXPECT_EQ(c.objects(), all);
    verify();
}

TEST_F(MagazineTest, AFlushTakesTheOldestHalfAndThenTheObject) {
    make(64, 64);
    TestClient& c = enlist();
    const auto objects = alloc(c, 64, 65);
    EXPECT_FALSE(push(blocks(c), k64, objects[0])) << "nothing is armed yet";
    EXPECT_EQ(flush(c, k64).drained, 0u);
    for (int i = 0; i < 64; ++i) ASSERT_TRUE(push(blocks(c), k64, objects[i]));
    ASSERT_FALSE(push(blocks(c), k64, objects[64]));
    const auto f = flush(c, k64, objects[64]);
    EXPECT_EQ(f.drained, 32u);
    EXPECT_EQ(f.bad, 0u);
    EXPECT_EQ(f.why, Error::none);
    EXPECT_EQ(c.objects(), 32u);
    std::set<Offset> left(objects.begin() + 32, objects.begin() + 64);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(left.erase(pop(blocks(c), k64)), 1u);
    EXPECT_EQ(flush(c, k64, objects[64]).why, Error::already_free);
    EXPECT_EQ(flush(c, kClasses).why, Error::invalid);
    EXPECT_EQ(free_all(c, {objects.begin() + 32, objects.begin() + 64}), Error::none);
    verify();
}

TEST_F(MagazineTest, AHalfFullMagazineIsFlushedOfNothing) {
    make(64, 64);
    TestClient& c = enlist();
    (void)refill(c, k64);
    EXPECT_EQ(flush(c, k64).drained, 0u);
    EXPECT_EQ(count(c, k64), 31u);
}

TEST_F(MagazineTest, EveryWordThatAClientWritesIsBoundedByTheKernelsOwn) {
    make(64, 64);
    TestClient& c = enlist();
    TestClient& other = enlist();
    const Offset others = refill(other, k64);
    const u32 first = small_array(k64) / 4;
    for (u32 top : {0u, 1u, first - 1, first, first + 1, first + 31, first + 32, first + 33,
                    first + 63, first + 64, first + 65, 32767u, 32768u, 0x7fffffffu, ~0u}) {
        const u32 n = top <= first ? 0 : std::min(top - first, 64u);
        for (u32 wild : {0u, 1u, 64u, 65u, ~0u}) {
            (void)refill(c, k64);
            const u64 before = c.objects();
            word(c, k64, kTop) = top;
            word(c, k64, kEnd) = wild;
            word(c, k64, kFirst) = wild * 4;
            const auto f = flush(c, k64);
            EXPECT_EQ(f.drained, n > 32 ? n - 32 : 0u) << top;
            EXPECT_EQ(c.objects(), before - (f.drained - f.bad));
            EXPECT_EQ(capacity(c, k64), 64u) << "mended";
            EXPECT_EQ(word(c, k64, kFirst), first);
            EXPECT_LE(count(c, k64), 32u);
            // And by a refill.
            word(c, k64, kTop) = top;
            ASSERT_NE(refill(c, k64), kNone);
            EXPECT_EQ(count(c, k64), n == 0 ? 31u : n < 32 ? 32u : n) << top;
            blocks(c).take_refused();
            verify();
            // Whatever is left there is dropped, and what the client owns stays its own.
            Calls(*pool).drain(c, false);
        }
    }
    EXPECT_EQ(free(other, others), Error::none);
}

TEST_F(MagazineTest, AnEntryThatIsNoObjectOfItsClientIsReportedByNameAndDropped) {
    make(64, 64);
    TestClient& c = enlist();
    TestClient& other = enlist();
    const Offset mine = alloc(c, 64)[0];
    const Offset twice = alloc(c, 64)[0];
    const Offset others = alloc(other, 64)[0];
    const Offset larger = alloc(c, 128)[0];
    const Offset run = alloc(c, 8192)[0];
    struct {
        Offset offset;
        Error error;
        u64 owner;
    } const wrong[] = {
        {twice, Error::already_free, 0},
        {others, Error::not_owner, other.id()},
        {larger, Error::wrong_size, 0},
        {run, Error::wrong_size, 0},
        {mine + 8, Error::not_object, 0},
        {u64{1} << 34, Error::out_of_range, 0},
        {63 * 4096, Error::already_free, 0},
        {run + 4096, Error::not_object, 0},
    };
    (void)flush(c, k64);
    // The oldest 32 go: the wrong ones among them, each once, and one right one twice.
    ASSERT_TRUE(push(blocks(c), k64, mine));
    ASSERT_TRUE(push(blocks(c), k64, twice));
    for (const auto& w : wrong) ASSERT_TRUE(push(blocks(c), k64, w.offset));
    const auto rest = alloc(c, 64, 54);
    for (Offset o : rest) ASSERT_TRUE(push(blocks(c), k64, o));
    const auto f = flush(c, k64);
    EXPECT_EQ(f.drained, 32u);
    EXPECT_EQ(f.bad, 8u);
    EXPECT_EQ(f.bad_error, Error::already_free);
    EXPECT_EQ(f.bad_offset, twice);
    const auto refused = blocks(c).take_refused();
    ASSERT_EQ(refused.size(), 8u);
    for (size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(refused[i].offset, wrong[i].offset);
        EXPECT_EQ(refused[i].error, wrong[i].error) << i;
        EXPECT_EQ(refused[i].owner, wrong[i].owner) << i;
    }
    EXPECT_EQ(c.objects(), 2u + 54 - 22);
    EXPECT_EQ(free(c, larger), Error::none) << "refused, and the client's still";
    EXPECT_EQ(free(c, run), Error::none);
    EXPECT_EQ(free(other, others), Error::none);
    verify();
}

TEST_F(MagazineTest, ABurstGrowsAMagazineUpToItsBoundAndPressureShrinksIt) {
    make(4096, 4096);
    TestClient& c = enlist();
    for (const auto& [k, most] : {std::pair{k64, 2048u}, {k2048, 128u}, {class_of(136), 1024u}}) {
        std::vector<Offset> held;
        u32 top = 0;
        for (int i = 0; i < 200; ++i) {
            for (u32 n = count(c, k) + 1; n--;) held.push_back(take(c, k));
            top = std::max(top, capacity(c, k));
            ASSERT_LE(capacity(c, k), most);
            ASSERT_LE(count(c, k), capacity(c, k) / 2);
            if (top == most) break;
        }
        EXPECT_EQ(top, most);
        EXPECT_EQ(std::set<Offset>(held.begin(), held.end()).size(), held.size());
        verify();
        for (Offset o : held) ASSERT_EQ(give(c, k, o), Error::none);
        verify();
        u32 now = most;
        for (u32 wanted = most / 2; wanted >= 64; wanted /= 2) {
            Calls(*pool).drain(c, true);
            EXPECT_EQ(capacity(c, k), 0u);
            (void)flush(c, k);
            EXPECT_EQ(now = capacity(c, k), wanted);
        }
        Calls(*pool).drain(c, true);
        (void)flush(c, k);
        EXPECT_EQ(capacity(c, k), 64u) << "never below what it began with";
    }
    EXPECT_EQ(c.objects(), 0u);
    expect_fresh(4096);
}

TEST_F(MagazineTest, UsesFarApartDoNotGrowAMagazine) {
    make(256, 256);
    TestClient& c = enlist();
    P::freeze_time(1'000'000'000);
    for (int i = 0; i < 40; ++i) {
        for (u32 n = count(c, k64) + 1; n--;) (void)take(c, k64);
        P::freeze_time(1'000'000'000 + 3'000'000ull * i);
        EXPECT_EQ(capacity(c, k64), 64u) << i;
    }
    // Four within 10 ms.
    for (int i = 0; i < 8; ++i)
        for (u32 n = count(c, k64) + 1; n--;) (void)take(c, k64);
    EXPECT_GT(capacity(c, k64), 64u);
    P::freeze_time(0);
}

TEST_F(MagazineTest, WithoutMemoryForItsBlockAClientGetsItsObjectsOneByOne) {
    make(64, 64);
    TestClient& c = enlist(0, 0);
    const Offset one = refill(c, k64);
    ASSERT_NE(one, kNone);
    EXPECT_EQ(filled, 0u);
    EXPECT_EQ(capacity(c, k64), 0u);
    EXPECT_EQ(flush(c, k64, one).why, Error::none);
    EXPECT_EQ(c.objects(), 0u);
    // And one that may have a block, but nothing to grow into.
    TestClient& d = enlist(0, 1);
    for (int i = 0; i < 400; ++i) (void)take(d, k64);
    EXPECT_EQ(capacity(d, k64), 64u);
    EXPECT_EQ(blocks(d).given[P::cpu()], 1u);
}

TEST_F(MagazineTest, ARefillTakesWhatThereIsAndFailsOnlyWithoutTheOne) {
    make(8, 8);  // one slab of 512 slots
    TestClient& c = enlist();
    auto held = alloc(c, 64, 500);
    ASSERT_EQ(held.size(), 500u);
    ASSERT_NE(refill(c, k64), kNone);
    EXPECT_EQ(filled, 11u);
    for (int i = 0; i < 11; ++i) ASSERT_NE(pop(blocks(c), k64), kNone);
    EXPECT_EQ(refill(c, k64), kNone);
    EXPECT_EQ(last.why, Error::pool_full);
    EXPECT_EQ(refill(c, k64, true), kNone);
    EXPECT_EQ(last.why, Error::needs_pages);
    EXPECT_EQ(last.pages, 8u);
    EXPECT_EQ(free(c, held[7]), Error::none);
    EXPECT_EQ(refill(c, k64), held[7]);
    EXPECT_EQ(filled, 0u);
    verify();
}

TEST_F(MagazineTest, TheLimitOfAClientCountsWhatItsMagazinesHold) {
    make(64, 64);
    TestClient& c = enlist(10 * 64);
    ASSERT_NE(refill(c, k64), kNone);
    EXPECT_EQ(filled, 9u);
    EXPECT_EQ(c.bytes(), 640u);
    EXPECT_EQ(alloc(c, 64).size(), 0u);
    EXPECT_EQ(last.why, Error::quota);
    EXPECT_EQ(Calls(*pool).drain(c, false).slots, 9u);
    EXPECT_EQ(alloc(c, 64, 9).size(), 9u);
}

TEST_F(MagazineTest, WhatLiesInAnIdleClientsMagazinesServesABusyOne) {
    make(8, 8);
    TestClient& idle = enlist();
    TestClient& busy = enlist();
    (void)refill(idle, k64);
    const auto held = alloc(busy, 64, 512);
    EXPECT_EQ(held.size(), 512u - 32);
    const auto d = Calls(*pool).drain_all(true);
    EXPECT_EQ(d.slots, 31u);
    EXPECT_EQ(d.magazines, 1u);
    EXPECT_EQ(d.unreachable, 0u);
    EXPECT_EQ(alloc(busy, 64, 33).size(), 31u);
    EXPECT_EQ(pool->census().armed.load(), 0u);
    EXPECT_EQ(count(idle, k64), 0u);
    EXPECT_EQ(capacity(idle, k64), 0u) << "a drained magazine holds nothing that is not announced";
    EXPECT_EQ(Calls(*pool).drain_all(true).slots, 0u);
    verify();
}

TEST_F(MagazineTest, ADrainFindsEveryClassOfEveryClient) {
    make(4096, 4096);
    std::vector<TestClient*> clients;
    for (int i = 0; i < 150; ++i) clients.push_back(&enlist());
    u64 cached = 0;
    for (size_t i = 0; i < clients.size(); ++i) {
        for (u32 k = 0; k < kClasses; k += 1 + i % 7) {
            if ((i + k) % 3) continue;
            ASSERT_NE(refill(*clients[i], k), kNone);
            cached += filled;
        }
    }
    EXPECT_GT(cached, 1000u);
    EXPECT_EQ(Calls(*pool).drain_all(false).slots, cached);
    EXPECT_EQ(pool->census().armed.load(), 0u);
    verify();
}

TEST_F(MagazineTest, ADeadClientsMagazinesAreNobodysBusiness) {
    make(64, 64);
    TestClient& c = enlist();
    TestClient& heir = enlist();
    (void)refill(c, k64);
    EXPECT_EQ(Reaper<P>(*pool).reap(c).objects, 32u);
    EXPECT_EQ(pool->census().armed.load(), 0u);
    // Its slots go to another; its words still name them.
    const auto objects = alloc(heir, 64, 33);
    (void)refill(heir, k64);
    EXPECT_EQ(Calls(*pool).drain_all(true).slots, 31u);
    EXPECT_EQ(Calls(*pool).drain(c, true).slots, 0u);
    EXPECT_EQ(blocks(c).take_refused().size(), 0u);
    EXPECT_EQ(count(c, k64), 31u);
    EXPECT_EQ(free_all(heir, objects), Error::none);
    verify();
}

TEST_F(MagazineTest, AFixedPoolGivesExactlyItsCountThroughMagazines) {
    make_fixed(64, 100);
    TestClient& a = enlist();
    TestClient& b = enlist();
    EXPECT_EQ(flush(a, 1).why, Error::invalid);
    std::set<Offset> all;
    for (int i = 0; i < 50; ++i) all.insert(take(a, 0));
    for (;;) {
        const Offset o = take(b, 0);
        if (o == kNone) break;
        all.insert(o);
    }
    EXPECT_EQ(last.why, Error::pool_full);
    const u64 idle = count(a, 0);
    EXPECT_EQ(all.size(), 100u - idle);
    EXPECT_EQ(Calls(*pool).drain_all(true).slots, idle);
    for (;;) {
        const Offset o = take(b, 0);
        if (o == kNone) break;
        all.insert(o);
    }
    EXPECT_EQ(all.size(), 100u);
    verify();
}

TEST_F(MagazineTest, AFixedPoolOfLargerObjectsHasNoMagazines) {
    make_fixed(2056, 4);
    TestClient& c = join();
    EXPECT_EQ(Calls(*pool).open(c, nullptr), Error::not_supported);
    Offset one;
    EXPECT_EQ(Calls(*pool).refill(c, 0, false, one, filled).why, Error::invalid);
}

TEST_F(MagazineTest, AZeroingPoolZeroesWhatComesOutOfAnothersMagazine) {
    HostBacking memory(64 * 4096);
    PoolConfig config;
    config.zero_on_regrant = true;
    config.os = &memory;
    make(64, 64, config);
    TestClient& a = enlist();
    TestClient& b = enlist();
    // All of the slab passes through a's hands and magazine, dirty.
    std::vector<Offset> held;
    for (int i = 0; i < 512; ++i) {
        held.push_back(take(a, k64));
        memset(memory.at(held.back()), 0xcc, 64);
    }
    for (Offset o : held) ASSERT_EQ(give(a, k64, o), Error::none);
    Calls(*pool).drain_all(true);
    P::reset_zeroed();
    for (int i = 0; i < 512; ++i) {
        const Offset o = take(b, k64);
        ASSERT_NE(o, kNone);
        for (int k = 0; k < 64; ++k) ASSERT_EQ(memory.at(o)[k], 0) << i;
    }
    leave(a);
    leave(b);
    drop();
}

TEST_F(MagazineTest, EachRefusedAllocationIsAnErrorAndNothingIsLost) {
    make(64, 64);
    HostBlocks memory;
    TestClient& c = join();
    for (u64 n = 1;; ++n) {
        P::refuse_allocation(n);
        const Error e = Calls(*pool).open(c, &memory);
        const bool refused = P::refusals();
        P::refuse_allocation(0);
        if (!refused) {
            EXPECT_EQ(e, Error::none);
            break;
        }
        EXPECT_EQ(e, Error::no_memory);
    }
    EXPECT_EQ(Calls(*pool).open(c, &memory), Error::initialised);
    P::refuse_allocation(1);
    c.magazines.load()->bring(P::cpu());
    EXPECT_EQ(memory.given[P::cpu()], 0u) << "nothing is mapped that has no shadow";
    P::refuse_allocation(0);
    for (u64 n = 1; n < 6; ++n) {
        P::refuse_allocation(n);
        (void)refill(c, k64);
        (void)flush(c, k64);
        Calls(*pool).drain(c, true);
        P::refuse_allocation(0);
        verify();
    }
    const u64 before = pool->meta_bytes();
    EXPECT_GT(pool->census().meta_bytes.load(), sizeof(CpuMagazines));
    EXPECT_GE(before, pool->census().meta_bytes.load());
    auto* magazines = c.magazines.load();
    Reaper<P>(*pool).reap(c);
    pool->clients().remove(c);
    ClientMagazines<P>::retire(magazines);
    P::settle();
}

TEST_F(MagazineTest, TheClassTableIsTrueForWhoeverOwnsAnObjectThere) {
    make(64, 64);
    TestClient& c = enlist();
    void* os = pool->config().os;
    const Offset a = refill(c, k64);
    const Offset b = refill(c, k2048);
    const Offset run = alloc(c, 3 * 4096)[0];
    for (u64 i = 0; i < 8; ++i) EXPECT_EQ(P::class_of_page(os, a / 32768 * 8 + i), k64 + 1);
    EXPECT_EQ(P::class_of_page(os, b / 4096), k2048 + 1);
    EXPECT_EQ(P::class_of_page(os, run / 4096), 0u);
    EXPECT_EQ(free_all(c, {a, b}), Error::none);
    Calls(*pool).drain_all(true);
    u64 slots, slabs;
    pool->drain(slots, slabs);
    EXPECT_GE(slabs, 2u);
    for (u64 page = 0; page < 64; ++page) EXPECT_EQ(P::class_of_page(os, page), 0u);
}

TEST_F(MagazineTest, TheAuditSeesAMiscountOfArmedMagazines) {
    make(64, 64);
    TestClient& c = enlist();
    (void)refill(c, k64);
    pool->census().armed.fetch_add(1);
    Audit audit;
    PoolAudit<P>(*pool, audit).run(true);
    EXPECT_FALSE(audit.clean());
    pool->census().armed.fetch_sub(1);
    verify();
}

// Several clients, all classes, every call, wrong entries: the books agree after each step.
TEST_F(MagazineTest, ALongRandomStreamAgreesWithAModelAndTheAudit) {
    make(1024, 512);
    std::mt19937_64 random(17);
    struct Half {
        TestClient* client;
        std::vector<std::pair<Offset, u32>> held;
    };
    std::vector<Half> all;
    for (int i = 0; i < 4; ++i) all.push_back({&enlist(), {}});
    std::map<Offset, u64> owner;  // what is in use, and whose
    for (int step = 0; step < 30000; ++step) {
        Half& me = all[random() % all.size()];
        const u32 k = std::array{0u, 7u, 12u, 20u, kClasses - 1}[random() % 5];
        switch (random() % 16) {
        case 0: Calls(*pool).drain(*me.client, random() % 2); break;
        case 1:
            if (random() % 8 == 0) Calls(*pool).drain_all(random() % 2);
            break;
        case 2: {  // a foreign entry
            Half& you = all[random() % all.size()];
            if (you.client == me.client || you.held.empty()) break;
            push(blocks(*me.client), k, you.held.front().first);
            Calls(*pool).drain(*me.client, false);
            EXPECT_LE(blocks(*me.client).take_refused().size(), 1u);
            break;
        }
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
            if (!me.held.empty()) {
                const size_t i = random() % me.held.size();
                const auto [o, c] = me.held[i];
                me.held[i] = me.held.back();
                me.held.pop_back();
                owner.erase(o);
                ASSERT_EQ(give(*me.client, c, o), Error::none);
            }
            break;
        default: {
            const Offset o = take(*me.client, k);
            if (o == kNone) {
                Calls(*pool).drain_all(true);
                break;
            }
            ASSERT_EQ(o % 8, 0u);
            ASSERT_TRUE(owner.emplace(o, me.client->id()).second) << "given twice: " << o;
            me.held.push_back({o, k});
        }
        }
        if (step % 64 == 0) {
            verify();
            u64 known = 0, counted = 0;
            for (Half& h : all) {
                known += h.client->objects();
                counted += h.held.size();
                for (u32 c = 0; c < kClasses; ++c) counted += count(*h.client, c);
            }
            ASSERT_EQ(known, counted);
            ASSERT_EQ(audited.objects, counted);
        }
    }
    for (Half& h : all) leave(*h.client);
    expect_fresh(512);
}

}  // namespace
}  // namespace quarry
