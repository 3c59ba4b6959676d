// SPDX-License-Identifier: MIT
//
// What the tests of clients' magazines share: a pool whose clients have blocks, and the
// client's side of the protocol (take and put, in place of a restartable sequence: pinned).
#pragma once

#include "../../module/core/pool/magazine_calls.hpp"
#include "pool_fixture.hpp"

namespace quarry {

class MagazineTest : public PoolTest {
protected:
    using Calls = MagazineCalls<P>;

    struct Member {
        TestClient* client;
        std::unique_ptr<HostBlocks> blocks;
    };

    void TearDown() override {
        while (!members.empty()) leave(*members.begin()->second.client);
        PoolTest::TearDown();
    }

    TestClient& enlist(u64 limit = 0, int budget = 1 << 20) {
        TestClient& c = join(limit);
        auto blocks = std::make_unique<HostBlocks>();
        blocks->budget = budget;
        EXPECT_EQ(Calls(*pool).open(c, blocks.get()), Error::none);
        members[c.id()] = {&c, std::move(blocks)};
        bring(c);
        return c;
    }
    HostBlocks& blocks(TestClient& c) { return *members.at(c.id()).blocks; }
    static void bring(TestClient& c) { c.magazines.load()->prepare(P::cpu()); }

    u64 leave(TestClient& c) {
        auto member = std::move(members.at(c.id()));
        members.erase(c.id());
        auto* magazines = c.magazines.load();
        const u64 objects = Reaper<P>(*pool).reap(c).objects;
        pool->clients().remove(c);
        ClientMagazines<P>::retire(magazines);
        P::settle();  // before its memory goes
        return objects;
    }

    // ---- the client's side ----

    static std::atomic<u32>& word(HostBlocks& b, unsigned cpu, u32 c, u32 which) {
        return b.word(cpu, c * 16 + which * 4);
    }
    enum { kTop, kEnd, kFirst };
    // The offset, or kNone: the slow path.
    static constexpr Offset kNone = ~Offset{0};
    static Offset pop(HostBlocks& b, u32 c) {
        PinGuard<P> pin;
        auto& top = word(b, pin.cpu(), c, kTop);
        const u32 at = top.load(std::memory_order_relaxed);
        if (at <= word(b, pin.cpu(), c, kFirst).load(std::memory_order_relaxed)) return kNone;
        const u32 entry = b.word(pin.cpu(), 4 * (at - 1)).load(std::memory_order_relaxed);
        top.store(at - 1, std::memory_order_release);
        return Offset{entry} * 8;
    }
    static bool push(HostBlocks& b, u32 c, Offset offset) {
        PinGuard<P> pin;
        auto& top = word(b, pin.cpu(), c, kTop);
        const u32 at = top.load(std::memory_order_relaxed);
        if (at >= word(b, pin.cpu(), c, kEnd).load(std::memory_order_relaxed)) return false;
        b.word(pin.cpu(), 4 * at).store(static_cast<u32>(offset / 8), std::memory_order_relaxed);
        top.store(at + 1, std::memory_order_release);
        return true;
    }
    std::atomic<u32>& word(TestClient& c, u32 k, u32 which) {
        return word(blocks(c), P::cpu(), k, which);
    }
    u32 count(TestClient& c, u32 k) { return word(c, k, kTop) - word(c, k, kFirst); }
    u32 capacity(TestClient& c, u32 k) { return word(c, k, kEnd) - word(c, k, kFirst); }

    // ---- the calls ----

    Offset refill(TestClient& c, u32 k, bool can_grow = false) {
        bring(c);
        Offset one = kNone;
        filled = 0;
        last = Calls(*pool).refill(c, k, can_grow, one, filled);
        return last.done ? one : kNone;
    }
    Calls::Flushed flush(TestClient& c, u32 k, Offset object = kNone) {
        bring(c);
        return Calls(*pool).flush(c, k, object == kNone ? nullptr : &object, refusal);
    }
    // As a client does that checks nothing.
    Offset take(TestClient& c, u32 k) {
        const Offset o = pop(blocks(c), k);
        return o == kNone ? refill(c, k) : o;
    }
    Error give(TestClient& c, u32 k, Offset offset) {
        return push(blocks(c), k, offset) ? Error::none : flush(c, k, offset).why;
    }

    std::map<u64, Member> members;
    u32 filled = 0;
};

}  // namespace quarry
