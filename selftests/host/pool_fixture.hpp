// SPDX-License-Identifier: MIT
//
// What the tests of pools share: a pool on the host platform, its calls in a line each,
// and the wish that nothing is left at the end.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "../../module/core/pool/pool_audit.hpp"
#include "../../module/core/pool/reaper.hpp"
#include "../../module/core/pool/transfer_calls.hpp"
#include "host_platform.hpp"

namespace quarry {

class PoolTest : public ::testing::Test {
protected:
    using P = HostPlatform;
    using TestPool = Pool<P>;
    using TestClient = Client<P>;

    // Whatever a test leaves is reaped, and nothing of the pool stays.
    void TearDown() override {
        drop();
        P::settle();
        EXPECT_EQ(P::meta_bytes(), 0u);
    }
    void drop() {
        if (!pool) return;
        for (u32 i = 1; i <= pool->clients().max(); ++i)
            if (TestClient* c = pool->clients().find(static_cast<ClientIndex>(i))) reap(*c);
        verify();
        EXPECT_EQ(audited.objects, 0u);
        pool.reset();
    }

    void make(u64 max_pages, u64 pages, PoolConfig config = {}) {
        config.max_pages = max_pages;
        if (!config.max_clients) config.max_clients = 300;
        ASSERT_EQ(check_pool<P>(config), Error::none);
        pool = std::make_unique<TestPool>(config);
        ASSERT_EQ(pool->init(), Error::none);
        if (pages) grow(pages);
    }
    void make_fixed(u64 size, u64 count) {
        PoolConfig config;
        config.fixed = true;
        config.object_size = size;
        config.object_count = count;
        make(4096, 0, config);
        grow(pool->wanted_pages());
        ASSERT_EQ(pool->populate(), Error::none);
    }
    void grow(u64 pages) {
        const auto gap = pool->buddy().find_gap(pages);
        ASSERT_TRUE(gap);
        ASSERT_TRUE(pool->buddy().add_region(*gap, pages, Zone::normal, nullptr));
    }
    TestClient& join(u64 limit = 0) {
        const auto made = pool->clients().add(pool.get(), ++last_id, limit);
        EXPECT_TRUE(made);
        return **made;
    }
    std::vector<Offset> alloc(TestClient& c, u64 size, u32 n = 1, u64 align = 8,
                              bool can_grow = false) {
        std::vector<Offset> out(n);
        last = pool->alloc(c, size, align, n, out.data(), Context::may_sleep, can_grow);
        out.resize(last.done);
        return out;
    }
    Error free(TestClient& c, Offset offset) { return free_all(c, {offset}); }
    Error free_all(TestClient& c, const std::vector<Offset>& offsets) {
        last = pool->free(c, offsets.data(), static_cast<u32>(offsets.size()), refusal);
        return last.why;
    }
    Error move(TestClient& a, TestClient& b, const std::vector<Offset>& offsets) {
        last = TransferCalls<P>(*pool).transfer(a, b, offsets.data(), static_cast<u32>(offsets.size()), refusal);
        return last.why;
    }
    Reaper<P>::Taken reap(TestClient& c) {
        const auto taken = Reaper<P>(*pool).reap(c);
        auto* reserves = c.reserves.load();
        pool->clients().remove(c);
        if (reserves) Reserves<P>::retire(reserves);
        return taken;
    }
    void verify() {
        Audit audit;
        PoolAudit<P>(*pool, audit).run(true);
        ASSERT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
        audited = audit.result();
    }
    // Everything is home, and as it was at first.
    void expect_fresh(u64 pages) {
        u64 slots, slabs;
        pool->drain(slots, slabs);
        verify();
        EXPECT_EQ(audited.objects, 0u);
        if (!pool->config().fixed) {
            EXPECT_EQ(pool->buddy().free_pages(), pages);
        }
    }

    std::unique_ptr<TestPool> pool;
    TestPool::Granted last;
    TestPool::Refusal refusal;
    quarry_core_audit audited{};
    u64 last_id = 100;
};

}  // namespace quarry
