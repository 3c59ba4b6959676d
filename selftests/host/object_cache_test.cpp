// SPDX-License-Identifier: MIT
//
// ObjectCache and Box: what each call promises, and everything that its ancestor offers, by
// name. What it is made of (locks, types, what must not build) is in object_policy_test.cpp,
// random streams in object_model_test.cpp, threads in object_threads_test.cpp.
#include "object_hooks.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <vector>

namespace quarry {
namespace {

// Neither default-constructible nor copyable nor movable; counts who lives; its destructor
// runs without the cache's lock.
struct Thing {
    explicit Thing(u64 value) : value(value) { ++alive; }
    ~Thing() {
        EXPECT_TRUE(HostPlatform::idle()) << "destroyed with a lock held";
        --alive;
    }
    Thing(const Thing&) = delete;
    Thing& operator=(const Thing&) = delete;

    u64 value;
    u64 rest[7] = {};
    static inline std::atomic<int> alive{0};
};
static_assert(sizeof(Thing) == 64);

using HostLock = PlatformLock<HostPlatform, QUARRY_LOCK_PAGES>;
using Things = ObjectCache<Thing, HostLock>;
using Boxes = std::vector<Things::Box>;
constexpr u32 kSlots = Things::kSlots;
static_assert(kSlots == 64);

class ObjectCacheTest : public ObjectTest {
protected:
    void TearDown() override {
        EXPECT_EQ(Thing::alive, 0);
        ObjectTest::TearDown();
    }
    static Things::Box make(Things& cache, u64 value = 0) {
        auto made = cache.make(value);
        EXPECT_TRUE(made);
        return *std::move(made);
    }
    static Boxes make_many(Things& cache, u64 n) {
        Boxes boxes;
        for (u64 i = 0; i < n; ++i) boxes.push_back(make(cache, i));
        return boxes;
    }
};

// ---- what the ancestor offers ----

TEST_F(ObjectCacheTest, ANewCacheHasNoSlabAndOneHandle) {
    const Things cache = create<Things>();
    EXPECT_EQ(cache.handles(), 1u);
    EXPECT_EQ(cache.live(), 0u);
    EXPECT_EQ(cache.slabs(), 0u);
    EXPECT_EQ(cache.capacity(), kUnbounded);
    EXPECT_EQ(hooks.slab_count(), 0u);
    EXPECT_EQ(hooks.meta_count(), 1u);
    verify(cache);
}

TEST_F(ObjectCacheTest, AllocPutsAValueIntoABoxThatDestroysIt) {
    Things cache = create<Things>();
    {
        const Things::Box box = make(cache, 42);
        ASSERT_TRUE(box);
        EXPECT_EQ(box->value, 42u);
        EXPECT_EQ((*box).value, 42u);
        EXPECT_EQ(box.get(), &*box);
        EXPECT_EQ(cache.live(), 1u);
        EXPECT_EQ(Thing::alive, 1);
    }
    EXPECT_EQ(cache.live(), 0u);
    EXPECT_EQ(Thing::alive, 0);
    verify(cache);
}

TEST_F(ObjectCacheTest, ACloneIsAHandleOfTheSameCacheAndIsCounted) {
    Things cache = create<Things>();
    {
        Things clone = cache;
        EXPECT_EQ(cache.handles(), 2u);
        const Things::Box box = make(clone, 1);
        EXPECT_EQ(cache.live(), 1u);
        Things moved = std::move(clone);
        EXPECT_FALSE(clone);
        EXPECT_EQ(cache.handles(), 2u);
        clone = moved;
        EXPECT_EQ(cache.handles(), 3u);
        const Things& same = clone;
        clone = same;
        EXPECT_EQ(cache.handles(), 3u);
        verify(clone);
    }
    EXPECT_EQ(cache.handles(), 1u);
    EXPECT_EQ(hooks.meta_count(), 2u);  // the control block, the kept slab's descriptor
}

TEST_F(ObjectCacheTest, HandlesAndBoxesAreDroppedInAnyOrder) {
    std::array<int, 5> order{0, 1, 2, 3, 4};
    do {
        std::optional<Things> handles[2];
        handles[0] = create<Things>();
        handles[1] = *handles[0];
        std::optional<Things::Box> boxes[3];
        for (auto& box : boxes) box = make(*handles[0]);
        for (const int i : order) {
            EXPECT_FALSE(hooks.nothing_is_out());
            if (i < 2)
                handles[i].reset();
            else
                boxes[i - 2].reset();
            for (auto& handle : handles)
                if (handle) verify(*handle);
        }
        ASSERT_TRUE(hooks.nothing_is_out());
    } while (std::next_permutation(order.begin(), order.end()));
}

struct Counted {
    struct State {};
    Counted() { ++made; }
    State lock() {
        EXPECT_EQ(held++, 0);
        return {};
    }
    void unlock(State) { --held; }
    static inline int made = 0;
    static inline int held = 0;
};

TEST_F(ObjectCacheTest, OneLockServesAllSlabs) {
    Counted::made = 0;
    auto cache = *ObjectCache<Thing, Counted>::create();
    std::vector<ObjectCache<Thing, Counted>::Box> boxes;
    for (u32 i = 0; i < 5 * kSlots; ++i) boxes.push_back(*cache.make(i));
    EXPECT_EQ(cache.slabs(), 5u);
    EXPECT_EQ(Counted::made, 1);
}

TEST_F(ObjectCacheTest, SlabsAreAttachedWhenMemoryRunsOut) {
    Things cache = create<Things>();
    Boxes boxes;
    for (u32 i = 0; i < 4 * kSlots; ++i) {
        boxes.push_back(make(cache, i));
        EXPECT_EQ(cache.slabs(), i / kSlots + 1);
        EXPECT_EQ(hooks.slab_count(), cache.slabs());
    }
    verify(cache);
    std::set<Thing*> places;
    for (u32 i = 0; i < boxes.size(); ++i) {
        EXPECT_EQ(boxes[i]->value, i);
        EXPECT_TRUE(places.insert(boxes[i].get()).second);
    }
}

TEST_F(ObjectCacheTest, EmptySlabsGoBackAndOneIsKept) {
    Things cache = create<Things>();
    Boxes boxes = make_many(cache, 4 * kSlots);
    while (!boxes.empty()) {
        boxes.pop_back();
        ASSERT_LE(hooks.slab_count(), boxes.size() / kSlots + 2);
        verify(cache);
    }
    EXPECT_EQ(cache.slabs(), 1u);
    EXPECT_EQ(cache.shrink(), 1u);
    EXPECT_EQ(cache.shrink(), 0u);
    EXPECT_EQ(cache.slabs(), 0u);
    EXPECT_EQ(hooks.meta_count(), 1u);
    verify(cache);
    const Things::Box again = make(cache);
    EXPECT_EQ(cache.slabs(), 1u);
}

TEST_F(ObjectCacheTest, AtTheEdgeOfASlabNoSlabIsMadeOrGivenBack) {
    Things cache = create<Things>();
    Boxes boxes = make_many(cache, kSlots);
    const Things::Box one_more = make(cache);
    const u64 made = hooks.slabs_made;
    for (u32 i = 0; i < 1000; ++i) {
        boxes.pop_back();
        boxes.push_back(make(cache));
    }
    boxes.clear();
    for (u32 i = 0; i < 1000; ++i) {
        boxes = make_many(cache, kSlots);
        boxes.clear();
    }
    EXPECT_EQ(hooks.slabs_made, made);
}

TEST_F(ObjectCacheTest, TheHooksAreAskedForWhatTheCacheSays) {
    Things cache = create<Things>();
    Boxes boxes = make_many(cache, 3 * kSlots);
    u64 slab_bytes = 0;
    u64 meta_bytes = 0;
    for (const auto& [slab, block] : hooks.slabs) {
        EXPECT_EQ(block.bytes, 4096u);
        EXPECT_EQ(block.align, 4096u);
        slab_bytes += block.bytes;
    }
    for (const auto& [meta, block] : hooks.metas) meta_bytes += block.bytes;
    EXPECT_EQ(cache.slab_bytes(), slab_bytes);
    EXPECT_EQ(cache.meta_bytes(), meta_bytes);
}

TEST_F(ObjectCacheTest, ABoxIsIndependentOfTheCacheAndOutlivesIt) {
    std::optional<Things> cache = create<Things>();
    Things::Box first = make(*cache, 1);
    Things::Box second = make(*cache, 2);
    cache.reset();
    EXPECT_EQ(first->value, 1u);
    first.reset();
    EXPECT_FALSE(hooks.nothing_is_out());
    EXPECT_EQ(second->value, 2u);
    second.reset();
    EXPECT_TRUE(hooks.nothing_is_out());
}

TEST_F(ObjectCacheTest, OutOfMemoryIsAnErrorWhicheverHookRefuses) {
    hooks.refuse_meta = 1;
    EXPECT_EQ(Things::create().error(), Error::no_memory);
    Things cache = create<Things>();
    for (u32 round = 0; round < 3; ++round) {
        const u64 metas = hooks.meta_count();
        hooks.refuse_slab = 1;
        EXPECT_EQ(cache.make(1).error(), Error::no_memory);
        hooks.refuse_meta = 1;
        EXPECT_EQ(cache.make(1).error(), Error::no_memory);
        EXPECT_EQ(hooks.slab_count(), round);
        EXPECT_EQ(hooks.meta_count(), metas);
        EXPECT_EQ(cache.live(), round * kSlots);
        verify(cache);
        Boxes boxes = make_many(cache, kSlots);
        for (auto& box : boxes) (void)box.release();
    }
    std::vector<Thing*> raws;
    for (auto& [slab, block] : hooks.slabs)
        for (u32 i = 0; i < kSlots; ++i) raws.push_back(static_cast<Thing*>(slab) + i);
    for (Thing* raw : raws) EXPECT_TRUE(cache.adopt(raw));
}

TEST_F(ObjectCacheTest, AnInvalidPointerIsAnErrorAndChangesNothing) {
    Things cache = create<Things>();
    Things other = create<Things>();
    EXPECT_EQ(cache.adopt(nullptr).error(), Error::invalid_pointer);
    Things::Box box = make(cache);
    Things::Box foreign = make(other);
    Thing* raw = foreign.release();
    EXPECT_EQ(cache.adopt(raw).error(), Error::invalid_pointer);
    const auto shifted = [](Thing* t, long bytes) {
        return reinterpret_cast<Thing*>(reinterpret_cast<char*>(t) + bytes);
    };
    EXPECT_EQ(cache.adopt(shifted(box.get(), 8)).error(), Error::invalid_pointer);
    EXPECT_EQ(cache.adopt(shifted(box.get(), 1)).error(), Error::invalid_pointer);
    EXPECT_EQ(cache.adopt(shifted(box.get(), 4096)).error(), Error::invalid_pointer);
    EXPECT_EQ(cache.adopt(shifted(box.get(), -4096)).error(), Error::invalid_pointer);
    EXPECT_EQ(cache.adopt(shifted(box.get(), 64)).error(), Error::already_free);
    EXPECT_EQ(cache.adopt(box.get()).error(), Error::not_owner);
    EXPECT_EQ(cache.live(), 1u);
    EXPECT_EQ(Thing::alive, 2);
    verify(cache);
    EXPECT_TRUE(other.adopt(raw));
}

// ---- what the ancestor documents as critical ----

TEST_F(ObjectCacheTest, AWritePastAnObjectReachesNothingOfTheCache) {
    struct Plain {
        u64 words[9];
    };
    using Plains = ObjectCache<Plain, HostLock>;
    Plains cache = create<Plains>();
    std::vector<Plains::Box> boxes;
    for (u32 i = 0; i < 3 * Plains::kSlots; ++i) boxes.push_back(*cache.make());
    for (u32 i = 0; i < boxes.size(); i += 2) boxes[i].reset();
    // Everything that a slab has, its free slots and its tail as well.
    for (auto& [slab, block] : hooks.slabs) std::memset(slab, 0xff, block.bytes);
    verify(cache);
    for (u32 i = 0; i < boxes.size(); i += 2) boxes[i] = *cache.make();
    std::set<Plain*> places;
    for (auto& box : boxes) EXPECT_TRUE(places.insert(box.get()).second);
    verify(cache);
    boxes.clear();
    verify(cache);
    EXPECT_EQ(cache.strays(), 0u);
}

TEST_F(ObjectCacheTest, ADoubleFreeIsCountedAndCorruptsNothing) {
    Things cache = create<Things>();
    Boxes boxes = make_many(cache, kSlots + 3);
    const auto copy_of = [](const Things::Box& box) {
        alignas(Things::Box) std::array<char, sizeof(Things::Box)> bytes;
        std::memcpy(bytes.data(), &box, sizeof(box));
        return bytes;
    };
    for (const u32 victim : {5u, 60u, 65u}) {
        auto copy = copy_of(boxes[victim]);
        boxes[victim].reset();
        const int alive = Thing::alive;
        reinterpret_cast<Things::Box*>(&copy)->reset();
        EXPECT_EQ(Thing::alive, alive) << "destroyed twice";
        verify(cache);
    }
    EXPECT_EQ(cache.strays(), 3u);
    EXPECT_EQ(cache.live(), kSlots);
    // A copy of a box that gave its object up.
    using Plains = ObjectCache<u64, HostLock>;
    Plains plains = create<Plains>();
    auto plain = *plains.make(1u);
    alignas(Plains::Box) std::array<char, sizeof(Plains::Box)> bytes;
    std::memcpy(bytes.data(), &plain, sizeof(plain));
    u64* raw = plain.release();
    reinterpret_cast<Plains::Box*>(&bytes)->reset();
    EXPECT_EQ(plains.strays(), 1u);
    verify(plains);
    EXPECT_EQ(plains.adopt(raw)->get(), raw);
    // Each free slot is given once.
    std::set<Thing*> places;
    Boxes more = make_many(cache, 3);
    for (auto& box : more) EXPECT_TRUE(places.insert(box.get()).second);
    for (auto& box : boxes)
        if (box) {
            EXPECT_TRUE(places.insert(box.get()).second);
        }
    verify(cache);
}

// ---- what is Quarry's own ----

TEST_F(ObjectCacheTest, ABoxIsTwoWordsAndAHandleIsOne) {
    EXPECT_EQ(sizeof(Things::Box), 2 * sizeof(void*));
    EXPECT_EQ(sizeof(Things), sizeof(void*));
}

TEST_F(ObjectCacheTest, ABoxMovesAndOneMovedFromIsEmpty) {
    Things cache = create<Things>();
    Things::Box a = make(cache, 1);
    Thing* object = a.get();
    Things::Box b = std::move(a);
    EXPECT_FALSE(a);  // NOLINT: what is left of it
    EXPECT_EQ(b.get(), object);
    Things::Box c = make(cache, 2);
    c = std::move(b);
    EXPECT_EQ(c.get(), object);
    EXPECT_EQ(cache.live(), 1u);
    Things::Box& same = c;
    c = std::move(same);
    a.reset();
    EXPECT_EQ(a.release(), nullptr);
    verify(cache);
}

TEST_F(ObjectCacheTest, WhatIsReleasedLivesOnAndHoldsTheCacheUntilItIsAdopted) {
    Things cache = create<Things>();
    Thing* raw = make(cache, 9).release();
    EXPECT_EQ(cache.live(), 1u);
    EXPECT_EQ(raw->value, 9u);
    verify(cache);
    {
        auto box = cache.adopt(raw);
        ASSERT_TRUE(box);
        EXPECT_EQ((*box)->value, 9u);
        EXPECT_EQ(cache.adopt(raw).error(), Error::not_owner);
    }
    EXPECT_EQ(cache.adopt(raw).error(), Error::already_free);
    EXPECT_EQ(cache.live(), 0u);
}

TEST_F(ObjectCacheTest, AdoptFindsItsSlabAmongMany) {
    Things cache = create<Things>();
    std::vector<Thing*> raws;
    for (u32 i = 0; i < 50 * kSlots; ++i) raws.push_back(make(cache, i).release());
    verify(cache);
    for (u32 i = 0; i < raws.size(); ++i) {
        const u32 other = (i * 1237 + 11) % raws.size();
        auto box = cache.adopt(raws[other]);
        ASSERT_TRUE(box);
        ASSERT_EQ((*box)->value, other);
        const u64 slabs = cache.slabs();
        (*box).reset();
        if (i % 64 == 0 || cache.slabs() != slabs) verify(cache);
    }
    EXPECT_EQ(cache.live(), 0u);
}

TEST_F(ObjectCacheTest, ACapacityBoundsTheObjectsAndAsksForNoSlabBeyond) {
    Things cache = create<Things>(kSlots + 2);
    EXPECT_EQ(cache.capacity(), kSlots + 2);
    Boxes boxes = make_many(cache, kSlots + 2);
    EXPECT_EQ(cache.make(0).error(), Error::pool_full);
    boxes.pop_back();
    boxes.push_back(make(cache));
    EXPECT_EQ(cache.make(0).error(), Error::pool_full);
    EXPECT_EQ(cache.slabs(), 2u);
    verify(cache);

    const u64 made = hooks.slabs_made;
    Things whole = create<Things>(kSlots);
    Boxes all = make_many(whole, kSlots);
    EXPECT_EQ(whole.make(0).error(), Error::pool_full);
    EXPECT_EQ(hooks.slabs_made, made + 1);
    Things none = create<Things>(0);
    EXPECT_EQ(none.make(0).error(), Error::pool_full);
    EXPECT_EQ(hooks.slabs_made, made + 1);
}

TEST_F(ObjectCacheTest, AFactoryThatFailsLeavesNothingBehind) {
    Things cache = create<Things>();
    const auto fails = [](void*) { return Error::quota; };
    EXPECT_EQ(cache.make_with(fails).error(), Error::quota);
    EXPECT_EQ(cache.live(), 0u);
    EXPECT_LE(cache.slabs(), 1u);
    verify(cache);
    Boxes boxes = make_many(cache, kSlots);
    EXPECT_EQ(cache.make_with(fails).error(), Error::quota);
    EXPECT_EQ(cache.live(), kSlots);
    verify(cache);
    const auto makes = [](void* place) {
        EXPECT_TRUE(HostPlatform::idle());
        new (place) Thing(77);
        return Error::none;
    };
    auto box = cache.make_with(makes);
    ASSERT_TRUE(box);
    EXPECT_EQ((*box)->value, 77u);
    verify(cache);
}

TEST_F(ObjectCacheTest, TheCallersContextReachesTheHooks) {
    Things cache = *Things::create(kUnbounded, Context::atomic);
    EXPECT_EQ(hooks.last_context, Context::atomic);
    const auto a = cache.make(1);
    EXPECT_EQ(hooks.last_context, Context::may_sleep);
    Boxes boxes = make_many(cache, kSlots - 1);
    const auto b = cache.make_in(Context::atomic, 1);
    EXPECT_EQ(hooks.last_context, Context::atomic);
}

// ~T may use the cache that it lives in: a list that drops itself, and the last handle inside.
TEST_F(ObjectCacheTest, AnObjectMayHoldBoxesAndHandlesOfItsOwnCache) {
    struct Node;
    using Nodes = ObjectCache<Node, HostLock, 4096>;
    struct Node {
        alignas(64) Box<Node, HostLock, 4096> next;
        std::optional<ObjectCache<Node, HostLock, 4096>>* handle = nullptr;
        ~Node() {
            if (handle) handle->reset();
        }
    };
    std::optional<Nodes> cache = create<Nodes>();
    Nodes::Box head;
    for (u32 i = 0; i < 1000; ++i) {
        auto node = cache->make();
        ASSERT_TRUE(node);
        (*node)->next = std::move(head);
        head = *std::move(node);
    }
    head->handle = &cache;
    head.reset();
    EXPECT_TRUE(hooks.nothing_is_out());
}

}  // namespace
}  // namespace quarry
