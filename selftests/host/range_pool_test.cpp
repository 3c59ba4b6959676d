// SPDX-License-Identifier: MIT
//
// RangePool: ranges with owners, as a pool of kind range has them.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "../../module/core/pool/pool_audit.hpp"
#include "../../module/core/pool/reaper.hpp"
#include "../../module/core/pool/transfer_calls.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

class RangePoolTest : public ::testing::Test {
protected:
    static PoolConfig config() {
        PoolConfig c;
        c.max_pages = 1;
        c.max_clients = 8;
        c.range = {.capacity = 64 << 10, .granule = 64, .max_live = 300, .aligns = {1024}};
        return c;
    }
    RangePoolTest() : pool(config()) {
        EXPECT_EQ(pool.init(), Error::none);
        for (u64 i = 0; i < 3; ++i) client[i] = *pool.clients().add(&pool, 100 + i, 0);
    }
    ~RangePoolTest() override {
        for (auto* c : client) {
            if (!c) continue;
            Reaper<P>(pool).reap(*c);
            pool.clients().remove(*c);
        }
        EXPECT_EQ(pool.ranges()->free_bytes(), pool.max_bytes());
    }
    void expect_clean() {
        Audit audit;
        PoolAudit<P>(pool, audit).run(true);
        EXPECT_TRUE(audit.clean()) << audit.result().first << " at "
                                   << audit.result().first_offset;
    }
    Error alloc(unsigned who, u64 size, Offset& out, u64 align = 1) {
        return pool.alloc(*client[who], size, align, 1, &out, Context::may_sleep, false).why;
    }
    Error free(unsigned who, Offset offset) { return pool.free(*client[who], &offset, 1, why).why; }
    Error move(unsigned from, unsigned to, Offset offset) {
        return TransferCalls<P>(pool).transfer(*client[from], *client[to], &offset, 1, why).why;
    }

    Pool<P> pool;
    Client<P>* client[3] = {};
    PoolRefusal why;
};

TEST_F(RangePoolTest, ARangeBelongsToWhoTookIt) {
    Offset a = 0;
    ASSERT_EQ(alloc(0, 100, a), Error::none);
    EXPECT_EQ(client[0]->bytes(), 128u);
    EXPECT_EQ(client[0]->objects(), 1u);
    EXPECT_EQ(free(1, a), Error::not_owner);
    EXPECT_EQ(why.owner, 100u);
    EXPECT_EQ(why.offset, a);
    EXPECT_EQ(free(0, a + 64), Error::not_object);
    EXPECT_EQ(free(0, a + 8), Error::misaligned);
    EXPECT_EQ(free(0, 64 << 10), Error::out_of_range);
    EXPECT_EQ(free(0, a), Error::none);
    EXPECT_EQ(free(0, a), Error::already_free);
    EXPECT_EQ(client[0]->bytes(), 0u);
    expect_clean();
}

TEST_F(RangePoolTest, TheAuditCountsEachRangeOnce) {
    Offset a = 0, b = 0;
    ASSERT_EQ(alloc(0, 100, a), Error::none);
    ASSERT_EQ(alloc(1, 100, b), Error::none);
    for (const bool quiet : {false, true}) {
        Audit audit;
        PoolAudit<P>(pool, audit).run(quiet);
        EXPECT_EQ(audit.result().objects, 2u);
    }
}

TEST_F(RangePoolTest, ABatchThatDoesNotFitIsGrantedAsFarAsItDoes) {
    std::vector<Offset> out(300);
    auto granted = pool.alloc(*client[0], 1024, 1, 70, out.data(), Context::may_sleep, false);
    EXPECT_EQ(granted.done, 64u);
    EXPECT_EQ(granted.why, Error::pool_full);
    EXPECT_EQ(client[0]->bytes(), u64{64} << 10);
    EXPECT_EQ(pool.free(*client[0], out.data(), 64, why).done, 64u);
    granted = pool.alloc(*client[0], 1, 1, 301, out.data(), Context::may_sleep, false);
    EXPECT_EQ(granted.done, 300u);
    EXPECT_EQ(granted.why, Error::out_of_nodes);
    EXPECT_EQ(client[0]->bytes(), u64{300} * 64);
    expect_clean();
}

TEST_F(RangePoolTest, TheLimitOfAClientHoldsForAllocTransferAndResize) {
    Client<P>* small = *pool.clients().add(&pool, 200, 256);
    Offset out[4];
    auto granted = pool.alloc(*small, 64, 1, 5, out, Context::may_sleep, false);
    EXPECT_EQ(granted.done, 4u);
    EXPECT_EQ(granted.why, Error::quota);
    Offset other = 0;
    ASSERT_EQ(alloc(0, 64, other), Error::none);
    EXPECT_EQ(TransferCalls<P>(pool).transfer(*client[0], *small, &other, 1, why).why, Error::quota);
    EXPECT_EQ(free(0, other), Error::none);
    EXPECT_EQ(pool.resize(*small, out[3], 128, why).error(), Error::quota);
    EXPECT_EQ(pool.free(*small, out, 1, why).done, 1u);
    EXPECT_EQ(*pool.resize(*small, out[3], 128, why), 128u);
    EXPECT_EQ(small->bytes(), 256u);
    expect_clean();
    Reaper<P>(pool).reap(*small);
    pool.clients().remove(*small);
}

TEST_F(RangePoolTest, AReapTakesTheClientsOwnRangesAndNoOthers) {
    Offset mine[40], theirs = 0;
    for (auto& offset : mine) ASSERT_EQ(alloc(1, 200, offset), Error::none);
    ASSERT_EQ(alloc(0, 64, theirs), Error::none);
    ASSERT_EQ(move(1, 0, mine[7]), Error::none);
    const auto taken = Reaper<P>(pool).reap(*client[1]);
    EXPECT_EQ(taken.objects, 39u);
    EXPECT_EQ(taken.bytes, 39u * 256);
    EXPECT_EQ(client[1]->objects(), 0u);
    EXPECT_EQ(free(0, mine[7]), Error::none);
    EXPECT_EQ(free(0, theirs), Error::none);
    expect_clean();
}

TEST_F(RangePoolTest, OtherKindsCannotResizeAndARangePoolHasNoRegions) {
    PoolConfig heap;
    heap.max_pages = 16;
    heap.max_clients = 1;
    Pool<P> other(heap);
    ASSERT_EQ(other.init(), Error::none);
    Client<P>* c = *other.clients().add(&other, 1, 0);
    EXPECT_EQ(other.resize(*c, 0, 8, why).error(), Error::not_supported);
    other.clients().remove(*c);
    EXPECT_EQ(pool.buddy().region_count(), 0u);
}

TEST_F(RangePoolTest, RandomStepsAgreeWithAModelAndTheAuditAfterEach) {
    struct Held {
        unsigned owner;
        u64 bytes;
    };
    std::map<Offset, Held> model;
    std::mt19937_64 random(1);
    for (int step = 0; step < 20000; ++step) {
        const unsigned who = random() % 3;
        auto it = model.begin();
        if (!model.empty()) std::advance(it, random() % model.size());
        switch (random() % 5) {
        case 0:
        case 1: {
            Offset out = 0;
            const u64 size = 1 + random() % 2000, align = u64{1} << random() % 12;
            const Error e = alloc(who, size, out, align);
            ASSERT_TRUE(ok(e) || e == Error::pool_full || e == Error::out_of_nodes);
            if (!ok(e)) break;
            ASSERT_EQ(out % align, 0u);
            const u64 bytes = round_up(size, 64);
            const auto next = model.lower_bound(out);
            ASSERT_TRUE(next == model.end() || out + bytes <= next->first);
            if (next != model.begin()) {
                const auto before = std::prev(next);
                ASSERT_LE(before->first + before->second.bytes, out);
            }
            model[out] = {who, bytes};
            break;
        }
        case 2:
            if (model.empty()) break;
            ASSERT_EQ(free(who, it->first),
                      who == it->second.owner ? Error::none : Error::not_owner);
            if (who == it->second.owner) model.erase(it);
            break;
        case 3: {
            if (model.empty()) break;
            const unsigned to = random() % 3;
            ASSERT_EQ(move(who, to, it->first),
                      who == it->second.owner ? Error::none : Error::not_owner);
            if (who == it->second.owner) it->second.owner = to;
            break;
        }
        default: {
            if (model.empty()) break;
            const u64 size = 1 + random() % 3000;
            const auto now = pool.resize(*client[it->second.owner], it->first, size, why);
            const auto next = std::next(it);
            const u64 room = (next == model.end() ? pool.max_bytes() : next->first) - it->first;
            ASSERT_EQ(static_cast<bool>(now), round_up(size, 64) <= room);
            if (now) it->second.bytes = *now;
        }
        }
        if (step % 16) continue;
        expect_clean();
        u64 bytes = 0;
        for (const auto& [offset, held] : model) bytes += held.bytes;
        ASSERT_EQ(client[0]->bytes() + client[1]->bytes() + client[2]->bytes(), bytes);
        ASSERT_EQ(pool.ranges()->free_bytes(), pool.max_bytes() - bytes);
    }
}

// HostPlatform that shows its blocks, and does something wherever an audit breathes.
struct Open : HostPlatform {
    static inline std::vector<std::pair<char*, std::size_t>> blocks;
    static inline u64 breaths = 0;
    static inline std::function<void()> meanwhile;
    static void* meta_alloc(std::size_t bytes, Context context) {
        void* p = HostPlatform::meta_alloc(bytes, context);
        blocks.emplace_back(static_cast<char*>(p), bytes);
        return p;
    }
    static void breathe() {
        ++breaths;
        if (meanwhile) meanwhile();
        HostPlatform::breathe();
    }
};

// A pool of 3000 ranges, 2000 of them live, every second one of 2 granules.
class RangePoolAuditTest : public ::testing::Test {
protected:
    static constexpr RangeShape kShape{.capacity = 64 * 10000, .granule = 64, .max_live = 3000};
    static constexpr u64 kLive = 2000;

    static PoolConfig config() {
        PoolConfig c;
        c.max_pages = 1;
        c.max_clients = 2;
        c.range = kShape;
        return c;
    }
    RangePoolAuditTest() : pool(config()) {
        Open::meanwhile = nullptr;
        Open::blocks.clear();
        EXPECT_EQ(pool.init(), Error::none);
        client = *pool.clients().add(&pool, 100, 0);
        for (u64 i = 0; i < kLive; ++i) live.push_back(take(i % 2 ? 128 : 64));
        for (u64 i = 0; i < kLive; i += 10) {
            give(live[i]);
            live[i] = take(64);
        }
    }
    ~RangePoolAuditTest() override {
        Open::meanwhile = nullptr;
        EXPECT_EQ(audit(), "");
        Reaper<Open>(pool).reap(*client);
        pool.clients().remove(*client);
    }
    Offset take(u64 size) {
        Offset out = 0;
        EXPECT_EQ(pool.alloc(*client, size, 1, 1, &out, Context::may_sleep, false).done, 1u);
        return out;
    }
    void give(Offset at) {
        PoolRefusal why;
        EXPECT_EQ(pool.free(*client, &at, 1, why).done, 1u);
    }
    std::string audit(bool quiet = true) {
        Audit audit;
        Open::breaths = 0;
        PoolAudit<Open>(pool, audit).run(quiet);
        EXPECT_EQ(audit.result().objects, kLive);
        return audit.result().first;
    }
    // The block of the ranges' records.
    char* records() {
        const u64 bytes = *RangeAllocator<Open>::required_meta_bytes(kShape) -
                          SizeIndex<FreeSizes<u64>, NoSteps>::bytes_for(kShape.capacity / 64);
        for (const auto& [at, size] : Open::blocks)
            if (size == bytes) return at;
        return nullptr;
    }

    Pool<Open> pool;
    Client<Open>* client = nullptr;
    std::vector<Offset> live;
};

TEST_F(RangePoolAuditTest, APoolOfManyRangesHasItsIndicesComparedToo) {
    ASSERT_NE(records(), nullptr);
    auto& home = *reinterpret_cast<RangeHome*>(records());
    home.rest ^= RangeHome::kCrowded;  // which no walk by offset and no chain of a client sees
    EXPECT_EQ(audit(), "the table of ranges is torn");
    EXPECT_EQ(audit(false), "the table of ranges is torn");
    home.rest ^= RangeHome::kCrowded;
}

TEST_F(RangePoolAuditTest, NoHoldLooksAtMoreThan32) {
    P::reset_max_slots();
    EXPECT_EQ(audit(), "");
    EXPECT_GT(P::max_slots_per_hold(), 0u);
    EXPECT_LE(P::max_slots_per_hold(), kStepSlots);
    // By offset, then homes, spares, ranges and numbers.
    const u64 homes = NodeTable<u64, NoSteps>::layout(kShape.capacity / 64, kShape.max_live).buckets;
    EXPECT_GE(Open::breaths, (kLive + 8 * homes + 2 * 3000 + kLive + 1000) / kStepSlots);
}

TEST_F(RangePoolAuditTest, WhatChangesMeanwhileIsNoFault) {
    std::mt19937_64 random(1);
    u64 changed = 0;
    // Ranges are split and merged; the others keep their places. One breath in `rare`.
    for (const u64 rare : {1, 7, 100, 300}) {
        Open::meanwhile = [&] {
            if (random() % rare) return;
            Offset& at = live[random() % kLive];
            give(at);
            at = take(64 + random() % 128);
            ++changed;
        };
        for (int i = 0; i < 10; ++i) {
            Audit audit;
            PoolAudit<Open>(pool, audit).run(false);
            ASSERT_TRUE(audit.clean()) << audit.result().first << ", one in " << rare;
        }
    }
    EXPECT_GT(changed, 500u);
}

TEST(RangePool, EachRefusedMetadataAllocationIsAnErrorAndLeavesNothing) {
    PoolConfig c;
    c.max_pages = 1;
    c.max_clients = 2;
    c.range = {.capacity = 4096, .granule = 64, .max_live = 10};
    for (u64 n = 1;; ++n) {
        ASSERT_LT(n, 50u);
        P::refuse_allocation(n);
        {
            Pool<P> pool(c);
            const Error e = pool.init();
            EXPECT_EQ(e, P::refusals() ? Error::no_memory : Error::none);
        }
        if (!P::refusals()) break;
    }
}

TEST(RangePool, WhatItsRecordsTakeIsSaidBeforehand) {
    const RangeShape shape{.capacity = 1 << 20, .granule = 16, .max_live = 1000, .aligns = {256}};
    PoolConfig c;
    c.max_pages = 1;
    c.max_clients = 1;
    c.range = shape;
    Pool<P> pool(c);
    const u64 before = P::meta_bytes();
    ASSERT_EQ(pool.init(), Error::none);
    EXPECT_EQ(pool.ranges()->meta_bytes(), *RangePool<P>::required_meta_bytes(shape));
    EXPECT_GE(P::meta_bytes() - before, pool.ranges()->meta_bytes());
    EXPECT_EQ(RangePool<P>::required_meta_bytes({.capacity = 1, .max_live = kMaxRanges + 1}).error(),
              Error::too_large);
}

}  // namespace
}  // namespace quarry
