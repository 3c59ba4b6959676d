// SPDX-License-Identifier: MIT
//
// Object caches with live threads: boxes dropped elsewhere, last holders at the same time,
// and the lock alone. ThreadSanitizer looks on.
#include "object_hooks.hpp"

#include <barrier>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace quarry {
namespace {

constexpr u32 kScale = QUARRY_HOST_TSAN ? 10 : 1;

using ObjectThreadsTest = ObjectTest;
using HostLock = PlatformLock<HostPlatform, QUARRY_LOCK_PAGES>;

struct Thing {
    explicit Thing(u64 value) : value(value), twice(2 * value) {}
    ~Thing() {
        if (twice != 2 * value) ObjectHooks::die("an object is torn");
        value = twice = ~u64{0} / 3;
    }
    u64 value;
    u64 twice;
    u64 rest[6] = {};
};

template <typename Work>
void with_threads(u32 n, Work work) {
    std::vector<std::thread> threads;
    for (u32 t = 0; t < n; ++t) threads.emplace_back([t, &work] { work(t); });
    for (auto& thread : threads) thread.join();
}

TEST_F(ObjectThreadsTest, ABoxMovesToAnotherThreadAndIsDroppedThere) {
    auto cache = std::optional(create<ObjectCache<Thing, SpinLock>>());
    Box<Thing> box = *cache->make(1u);
    std::thread([box = std::move(box)]() mutable {
        EXPECT_EQ(box->value, 1u);
        box.reset();
    }).join();
    EXPECT_EQ(cache->live(), 0u);

    Box<Thing> last = *cache->make(2u);
    cache.reset();
    std::thread([last = std::move(last)]() mutable { EXPECT_EQ(last->value, 2u); }).join();
    EXPECT_TRUE(hooks.nothing_is_out());
}

// Each thread makes, swaps with a common shelf, and drops what another has made.
template <typename Lock>
void handoff(u32 rounds, u32 threads) {
    using Cache = ObjectCache<Thing, Lock>;
    auto cache = std::optional(*Cache::create());
    {
        constexpr u32 kShelf = 200;
        std::vector<typename Cache::Box> shelf(kShelf);
        std::vector<std::mutex> locks(kShelf);
        with_threads(threads, [&](u32 t) {
            Cache mine = *cache;
            std::mt19937 random(t);
            for (u32 i = 0; i < rounds; ++i) {
                auto made = mine.make(i);
                ASSERT_TRUE(made);
                typename Cache::Box box = *std::move(made);
                const u32 place = random() % kShelf;
                {
                    std::lock_guard guard(locks[place]);
                    std::swap(box, shelf[place]);
                }
                if (i % 64 == 0) {
                    Cache copy = mine;
                    Audit audit;
                    copy.verify(audit);
                    ASSERT_TRUE(audit.clean()) << audit.result().first;
                }
                if (i % 97 == 0 && box) {
                    Thing* raw = box.release();
                    auto again = mine.adopt(raw);
                    ASSERT_TRUE(again);
                }
            }
        });
        Audit audit;
        cache->verify(audit);
        EXPECT_TRUE(audit.clean()) << audit.result().first;
        EXPECT_EQ(cache->handles(), 1u);
        EXPECT_EQ(cache->strays(), 0u);
        EXPECT_LE(cache->live(), kShelf);
        cache.reset();
        EXPECT_FALSE(ObjectHooks::get().nothing_is_out());
    }
    EXPECT_TRUE(ObjectHooks::get().nothing_is_out());
}

TEST_F(ObjectThreadsTest, TwoThreadsDropWhatTheOtherMade) {
    handoff<SpinLock>(200'000 / kScale, 2);
    handoff<HostLock>(50'000 / kScale, 2);
}
TEST_F(ObjectThreadsTest, ThreeThreadsOnTwoProcessorsDropWhatTheOthersMade) {
    handoff<SpinLock>(50'000 / kScale, 3);
}

// The last two boxes, or the last box and the last handle, go at the same time: one of the
// two frees all, and only one.
template <typename Lock>
void last_ones(u32 rounds) {
    using Cache = ObjectCache<Thing, Lock>;
    std::optional<Cache> handle;
    typename Cache::Box boxes[2];
    std::barrier meet(2);
    with_threads(2, [&](u32 t) {
        for (u32 i = 0; i < rounds; ++i) {
            if (t == 0) {
                handle = *Cache::create();
                boxes[0] = *handle->make(i);
                if (i % 2) {
                    boxes[1] = *handle->make(i);
                    handle.reset();
                }
            }
            meet.arrive_and_wait();
            if (t == 0)
                boxes[0].reset();
            else if (i % 2)
                boxes[1].reset();
            else
                handle.reset();
            meet.arrive_and_wait();
            if (t == 0) {
                ASSERT_TRUE(ObjectHooks::get().nothing_is_out());
            }
        }
    });
}

TEST_F(ObjectThreadsTest, OfTwoLastHoldersAtTheSameTimeOneFreesAll) {
    last_ones<SpinLock>(5'000 / kScale);
    last_ones<HostLock>(5'000 / kScale);
}

// Several threads find no slab at the same time: what one made too many goes back.
TEST_F(ObjectThreadsTest, ThreadsThatGrowAtTheSameTimeKeepTheCapacityAndNoSlabTooMany) {
    struct Large {
        char bytes[4096];
    };
    using Cache = ObjectCache<Large, SpinLock, 4096>;
    constexpr u32 kCapacity = 16;
    const Cache cache = create<Cache>(kCapacity);
    std::atomic<u64> refused{0};
    with_threads(3, [&](u32 t) {
        Cache mine = cache;
        std::mt19937 random(t);
        std::vector<Cache::Box> boxes;
        for (u32 i = 0; i < 30'000 / kScale; ++i) {
            // One more than there can be, so that a thread that is alone is refused, too.
            if (random() % 3 && boxes.size() <= kCapacity) {
                auto made = mine.make();
                if (made)
                    boxes.push_back(*std::move(made));
                else
                    ASSERT_EQ(made.error(), Error::pool_full);
                refused += !made;
            } else if (!boxes.empty()) {
                boxes.pop_back();
            }
            ASSERT_LE(mine.live(), kCapacity);
        }
    });
    EXPECT_GT(refused, 0u);
    verify(cache);
    EXPECT_LE(cache.slabs(), 1u);
}

TEST_F(ObjectThreadsTest, TheLockExcludes) {
    SpinLock lock;
    u64 count = 0;
    constexpr u32 kRounds = 100'000 / kScale;
    with_threads(3, [&](u32) {
        for (u32 i = 0; i < kRounds; ++i) {
            Guard guard(lock);
            ++count;
        }
    });
    EXPECT_EQ(count, 3 * u64{kRounds});
}

}  // namespace
}  // namespace quarry
