// SPDX-License-Identifier: MIT
//
// BitmapSlab between threads: nothing lost, nothing given twice, nobody refused while a slot
// is free, what one thread wrote is seen by the next. Objects are plain memory, and what the
// tests note of them is relaxed, so that ThreadSanitizer sees whether the slab itself orders.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "../../module/core/slots/bitmap_slab.hpp"
#include "handshake.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

#if QUARRY_HOST_TSAN || defined(__SANITIZE_ADDRESS__)
constexpr u64 kOps = 1'000'000, kRaces = 200, kFewer = 20;
#else
constexpr u64 kOps = 100'000'000, kRaces = 100'000, kFewer = 1;
#endif
constexpr int kThreads = 2;

struct Counter {
    static inline thread_local u64 races = 0;
    static void read() {}
    static void raced() { ++races; }
};

// Written by its maker, read by whoever frees it.
struct Token {
    u64 maker;
    u64 check;
    explicit Token(u64 m) : maker(m), check(~m) {}
};
using Slab = BitmapSlab<Token, Counter, 4>;

struct Arena {
    explicit Arena(u32 slots)
        : block(slots * sizeof(Token) / 8), bitmap(Slab::bitmap_bytes(slots) / 8), holder(slots) {
        EXPECT_EQ(slab.init_apart(block.data(), block.size() * 8, bitmap.data(), bitmap.size() * 8),
                  Error::none);
        EXPECT_EQ(slab.count(), slots);
    }
    ~Arena() {
        Audit audit;
        slab.verify(audit);
        EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
        EXPECT_EQ(slab.live(), 0u);
        for (auto& h : holder) EXPECT_EQ(h.load(), 0);
    }
    // The slot is `from`'s before and `to`'s after, or it was given twice.
    void pass(const Token* token, int from, int to) {
        u32 slot = 0;
        if (!ok(slab.slot_of(token, slot)) ||
            holder[slot].exchange(to, std::memory_order_relaxed) != from)
            ++wrong;
    }
    void got(const Token* token, int me) { pass(token, 0, me); }
    void gives(const Token* token, int me) {
        if (token->check != ~token->maker) ++wrong;
        pass(token, me, 0);
    }

    std::vector<u64> block, bitmap;
    std::vector<std::atomic<int>> holder;
    std::atomic<u64> wrong{0}, refused{0}, races{0};
    Slab slab;
};

template <typename Work>
void in_threads(Arena& arena, Work&& work) {
    std::vector<std::thread> threads;
    for (int me = 1; me <= kThreads; ++me)
        threads.emplace_back([&, me] {
            Counter::races = 0;
            work(me);
            arena.races += Counter::races;
        });
    for (auto& t : threads) t.join();
}

struct Random {
    u64 state;
    u32 operator()(u32 below) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<u32>((state >> 33) * below >> 31);
    }
};

// Each thread holds up to its share of all slots, mostly all of it: so the slab is at the
// edge of exhaustion all the time, and yet nobody may be refused.
void replace_at_the_edge(Arena& arena, int me, u64 ops) {
    const u32 share = arena.slab.count() / kThreads;
    std::vector<Token*> mine;
    Random random{static_cast<u64>(me)};
    for (u64 op = 0; op < ops; ++op) {
        if (mine.size() < share && (mine.empty() || random(8) < 5)) {
            const auto token = arena.slab.alloc(op);
            if (!token) {
                ++arena.refused;
                continue;
            }
            arena.got(*token, me);
            mine.push_back(*token);
        } else {
            const u32 n = random(static_cast<u32>(mine.size()));
            arena.gives(mine[n], me);
            if (!ok(arena.slab.free(mine[n]))) ++arena.wrong;
            mine[n] = mine.back();
            mine.pop_back();
        }
    }
    for (Token* token : mine) {
        arena.gives(token, me);
        if (!ok(arena.slab.free(token))) ++arena.wrong;
    }
}

TEST(BitmapThreads, NothingIsLostOrGivenTwiceIn100MillionOperationsOfTwoThreads) {
    u64 ops = 0, races = 0;
    // Beyond what is asked as long as races are missing: a busy machine keeps the two apart.
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    for (int round = 0; ops < kOps || races < kRaces; ++round) {
        if (ops >= kOps && std::chrono::steady_clock::now() > end) break;
        Arena arena(round % 2 ? 60 : 130);
        const u64 each = kOps / kThreads / 4;
        in_threads(arena, [&](int me) { replace_at_the_edge(arena, me, each); });
        ops += each * kThreads;
        races += arena.races;
        ASSERT_EQ(arena.wrong, 0u);
        ASSERT_EQ(arena.refused, 0u) << "refused while a slot was free";
    }
    RecordProperty("operations", std::to_string(ops));
    RecordProperty("raced_updates", std::to_string(races));
    EXPECT_GE(ops, kOps);
    EXPECT_GE(races, kRaces);
}

// Words of the second level become full and cease to be, all the time.
TEST(BitmapThreads, SummariesOfEveryLevelSurviveTheEdge) {
    Arena arena(64 * 64 + 64);
    in_threads(arena, [&](int me) { replace_at_the_edge(arena, me, kOps / 20); });
    EXPECT_EQ(arena.wrong, 0u);
    EXPECT_EQ(arena.refused, 0u);
}

// Few slots on a border of two words and three Locals' spares: a spare is never stranded.
TEST(BitmapThreads, SparesAreFoundByWhoeverNeedsThem) {
    for (const u32 slots : {4u, 66u, 128u}) {
        Arena arena(slots);
        Slab::Local idle(arena.slab);
        {
            auto handle = idle.make(1u);
            ASSERT_EQ(idle.drop(std::move(handle)), Error::none);
        }
        in_threads(arena, [&](int me) {
            Slab::Local local(arena.slab);
            std::vector<Slab::Handle> mine;
            Random random{static_cast<u64>(me)};
            for (u64 op = 0; op < kOps / 20; ++op) {
                if (mine.size() < slots / kThreads && (mine.empty() || random(8) < 5)) {
                    auto handle = local.make(op);
                    if (!handle) {
                        ++arena.refused;
                        continue;
                    }
                    arena.got(handle.get(), me);
                    mine.push_back(std::move(handle));
                } else {
                    std::swap(mine[random(static_cast<u32>(mine.size()))], mine.back());
                    arena.gives(mine.back().get(), me);
                    if (random(8) && !ok(local.drop(std::move(mine.back())))) ++arena.wrong;
                    mine.pop_back();
                }
            }
            for (auto& handle : mine) arena.gives(handle.get(), me);
        });
        EXPECT_EQ(arena.wrong, 0u);
        EXPECT_EQ(arena.refused, 0u) << "refused while a spare was free, of " << slots;
    }
}

TEST(BitmapThreads, AHandleMovesToAnotherThreadWithWhatItHolds) {
    Arena arena(64);
    std::atomic<Slab::Handle*> box{nullptr};
    const u64 rounds = 50'000 / kFewer;
    std::thread receiver([&] {
        for (u64 i = 0; i < rounds; ++i) {
            Slab::Handle* from = await(box, [](auto* it) { return it != nullptr; });
            {
                Slab::Handle mine = std::move(*from);
                tell<Slab::Handle*>(box, nullptr);
                if (mine->maker != i || mine->check != ~i) ++arena.wrong;
            }
        }
    });
    for (u64 i = 0; i < rounds; ++i) {
        Slab::Handle handle = arena.slab.make(i);
        ASSERT_TRUE(handle);
        tell(box, &handle);
        await(box, [](auto* it) { return !it; });
        ASSERT_FALSE(handle);
    }
    receiver.join();
    EXPECT_EQ(arena.wrong, 0u);
}

TEST(BitmapThreads, OfTwoRacingFreesOfOneObjectExactlyOneWins) {
    Arena arena(64);
    std::atomic<Token*> current{nullptr};
    std::atomic<u64> round{0};
    std::atomic<int> answer{-1};
    const u64 rounds = 50'000 / kFewer;
    std::thread other([&] {
        for (u64 r = 1; r <= rounds; ++r) {
            await(round, [r](u64 now) { return now >= r; });
            tell(answer, static_cast<int>(arena.slab.free(current.load())));
        }
    });
    for (u64 r = 1; r <= rounds; ++r) {
        current = *arena.slab.alloc(r);
        answer = -1;
        tell(round, r);
        const Error mine = arena.slab.free(current.load());
        const auto his = static_cast<Error>(await(answer, [](int a) { return a >= 0; }));
        ASSERT_NE(mine, his);
        ASSERT_TRUE(mine == Error::none || his == Error::none);
        ASSERT_TRUE(mine == Error::already_free || his == Error::already_free);
    }
    other.join();
}

// Beside running calls the audit reports only what can never be.
TEST(BitmapThreads, TheAuditBesideRunningCallsReportsNothing) {
    Arena arena(64 * 64 + 64);
    std::atomic<bool> stop{false};
    std::thread auditor([&] {
        while (!stop.load()) {
            Audit audit;
            arena.slab.verify(audit, false);
            if (!audit.clean()) ++arena.wrong;
        }
    });
    in_threads(arena, [&](int me) { replace_at_the_edge(arena, me, kOps / 100); });
    stop = true;
    auditor.join();
    EXPECT_EQ(arena.wrong, 0u);
}

}  // namespace
}  // namespace quarry
