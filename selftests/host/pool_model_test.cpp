// SPDX-License-Identifier: MIT
//
// Pools against a naive model: long random streams of every call, right and wrong, with
// the full audit after each step.
#include "pool_fixture.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

// The naive model: who owns what.
class PoolModel : public PoolTest {
protected:
    struct Object {
        u32 owner;
        u64 unit;
    };
    std::map<Offset, Object> live;
    std::vector<TestClient*> members;

    void run(u64 steps, u64 pages, u64 seed, u32 verify_every) {
        make(2 * pages, pages);
        std::mt19937_64 random(seed);
        auto pick = [&](u64 n) { return random() % n; };
        for (int i = 0; i < 20; ++i) members.push_back(&join(i % 5 == 0 ? 20000 : 0));
        u64 refusals = 0, grants = 0, reaps = 0;
        for (u64 step = 0; step < steps; ++step) {
            const u32 who = static_cast<u32>(pick(members.size()));
            TestClient& me = *members[who];
            switch (pick(12)) {
            case 0: case 1: case 2: case 3: {
                const u64 size = u64{1} << pick(pick(4) ? 11 : 15);
                const u64 bytes = size + pick(size);
                const u64 align = u64{8} << pick(pick(8) ? 2 : 10);
                const u32 n = 1 + static_cast<u32>(pick(bytes > 512 ? 4 : 40));
                const u64 unit = pool->route(bytes, align) ? pool->route(bytes, align)->unit : 0;
                const u64 before = me.bytes();
                for (Offset o : alloc(me, bytes, n, align)) {
                    ASSERT_EQ(o % align, 0u);
                    const auto next = live.lower_bound(o);
                    ASSERT_TRUE(next == live.end() || o + unit <= next->first);
                    ASSERT_TRUE(next == live.begin() ||
                                std::prev(next)->first + std::prev(next)->second.unit <= o);
                    live[o] = {who, unit};
                    ++grants;
                }
                ASSERT_EQ(me.bytes(), before + last.done * unit);
                break;
            }
            case 4: case 5: case 6: case 7: case 8: {
                std::vector<Offset> mine;
                auto at = live.lower_bound(pick(2 * pages * 4096));
                for (u64 k = pick(50); k && at != live.end(); --k, ++at)
                    if (at->second.owner == who || !pick(30)) mine.push_back(at->first);
                if (mine.empty()) break;
                u32 good = 0;
                while (good < mine.size() && live[mine[good]].owner == who) ++good;
                const Error e = free_all(me, mine);
                ASSERT_EQ(last.done, good);
                ASSERT_EQ(e, good == mine.size() ? Error::none : Error::not_owner);
                if (good < mine.size()) {
                    ASSERT_EQ(refusal.owner, members[live[mine[good]].owner]->id());
                    ++refusals;
                }
                for (u32 i = 0; i < good; ++i) live.erase(mine[i]);
                if (good) {
                    ASSERT_EQ(free(me, mine[0]), Error::already_free);
                }
                break;
            }
            case 9: {
                const u32 to = static_cast<u32>(pick(members.size()));
                const auto at = live.lower_bound(pick(2 * pages * 4096));
                if (at == live.end() || to == who) break;
                const Error e = move(me, *members[to], {at->first});
                if (at->second.owner != who) {
                    ASSERT_EQ(e, Error::not_owner);
                } else if (e == Error::none) {
                    at->second.owner = to;
                } else {
                    ASSERT_TRUE(e == Error::quota || e == Error::owners_full);
                }
                break;
            }
            case 10: {
                if (pick(20)) {  // a wild offset
                    const Offset wild = pick(3 * pages * 4096);
                    const auto at = live.find(wild);
                    const Error e = free(me, wild);
                    ASSERT_EQ(e == Error::none, at != live.end() && at->second.owner == who) << wild;
                    if (e == Error::none) live.erase(at);
                    break;
                }
                u64 owned = 0;
                for (auto at = live.begin(); at != live.end();) {
                    if (at->second.owner == who) {
                        ++owned;
                        at = live.erase(at);
                    } else {
                        ++at;
                    }
                }
                ASSERT_EQ(reap(me).objects, owned);
                members[who] = &join(who % 5 == 0 ? 20000 : 0);
                ++reaps;
                break;
            }
            case 11: {
                u64 slots, slabs;
                if (!pick(10)) pool->drain(slots, slabs);
                break;
            }
            }
            if (step % verify_every == 0) {
                verify();
                if (HasFatalFailure()) FAIL() << "step " << step;
                ASSERT_EQ(audited.objects, live.size());
            }
        }
        EXPECT_GT(grants, steps / 4);
        EXPECT_GT(refusals, steps / 500);
        EXPECT_GT(reaps, steps / 1000);
        for (TestClient* c : members) reap(*c);
        expect_fresh(pages);
    }
};

// A million steps under the sanitizers of memory and of behaviour.
TEST_F(PoolModel, ALongRandomStreamAgreesWithTheModelAndVerifiesAfterEachStep) {
    run(by_variant(300000, 1000000, 10000), 20, 1, 1);
}
TEST_F(PoolModel, RandomStepsInALargerPool) { run(by_variant(100000, 100000, 10000), 300, 2, 50); }

}  // namespace
}  // namespace quarry
