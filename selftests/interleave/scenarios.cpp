// SPDX-License-Identifier: MIT
#include "scenarios.hpp"

#include "../../module/core/cache/heap_audit.hpp"
#include "../../module/core/pool/magazine_calls.hpp"
#include "../../module/core/pool/pool_audit.hpp"
#include "../../module/core/pool/reaper.hpp"
#include "../../module/core/pool/transfer_calls.hpp"
#include "platform.hpp"

// The memory of ObjectCache.
namespace quarry {
void* object_slab_alloc(std::size_t bytes, std::size_t align, Context) {
    return model::memory(bytes, align);
}
void object_slab_free(void*, std::size_t, std::size_t) {}
void* object_meta_alloc(std::size_t bytes, Context) { return model::memory(bytes); }
void object_meta_free(void*, std::size_t) {}
}  // namespace quarry

namespace scenarios {

using namespace quarry;
using P = ModelPlatform;
using model::expect;

namespace {

constexpr u64 kPages = 64;
constexpr u32 kBytes = 2048;  // a slab has few of them
const u32 kClass = class_of(kBytes);

template <typename S>
model::Scenario* make_at(void* at) {
    static_assert(sizeof(S) <= model::kScenarioBytes);
    return new (at) S;
}

// ---- the queue -------------------------------------------------------------------

struct Queue final : model::Scenario {
    WaitFreeQueue* queue;
    QueueNode* node[4];
    u32 popped = 0;
    int last[2] = {-1, -1};  // of each producer

    void before() override {
        P::begin();
        queue = new (model::memory(sizeof(WaitFreeQueue))) WaitFreeQueue;
        for (auto& n : node) n = new (model::memory(sizeof(QueueNode))) QueueNode;
    }
    void pop_one() {
        QueueNode* got = queue->pop();
        if (!got) return;
        for (int i = 0; i < 4; ++i) {
            if (node[i] != got) continue;
            expect(last[i / 2] < i % 2, "a producer's nodes came out of order, or twice");
            last[i / 2] = i % 2;
        }
        ++popped;
    }
    void run(unsigned thread) override {
        if (thread == 2) {
            for (int i = 0; i < 3; ++i) pop_one();
            return;
        }
        queue->push(*node[2 * thread]);
        queue->push(*node[2 * thread + 1]);
    }
    void after() override {
        for (int i = 0; i < 4; ++i) pop_one();
        expect(popped == 4, "a node was lost");
        expect(queue->pop() == nullptr, "there is one too many");
        P::end();
    }
};

// ---- pools -----------------------------------------------------------------------

// A pool, two clients with magazines, and in the end the wish that everything is home.
struct PoolScenario : model::Scenario {
    Pool<P>* pool;
    Client<P>* client[2];
    P::Blocks* blocks[2];
    u8 holder[kPages * kPageBytes / kBytes] = {};  // whose object is in hand: i + 1

    void before() override {
        P::begin();
        PoolConfig config{};
        config.max_pages = kPages;
        config.max_clients = 2;
        pool = new (model::memory(sizeof(Pool<P>))) Pool<P>(config);
        expect(ok(pool->init()), "init");
        expect(ok(pool->buddy().add_region(PageNumber{0}, kPages, Zone::normal, nullptr).error()), "a region");
        for (u64 i = 0; i < 2; ++i) {
            client[i] = *pool->clients().add(pool, 101 + i, 0);
            blocks[i] = static_cast<P::Blocks*>(model::memory(sizeof(P::Blocks)));
            expect(ok(MagazineCalls<P>(*pool).open(*client[i], blocks[i])), "open");
            for (unsigned cpu = 0; cpu < P::kCpus; ++cpu)
                client[i]->magazines.load()->prepare(cpu);
        }
    }
    void reap(u32 i) {
        auto* magazines = client[i]->magazines.load();
        (void)Reaper<P>(*pool).reap(*client[i]);
        pool->clients().remove(*client[i]);
        ClientMagazines<P>::retire(magazines);
        client[i] = nullptr;
    }
    void after() override {
        for (u32 i = 0; i < 2; ++i) {
            if (!client[i]) continue;
            for (u64 k = 0; k < kPages * kPageBytes / kBytes; ++k)
                expect(holder[k] != i + 1 || owner(k * kBytes) == client[i]->index(),
                       "an object in hand has another owner");
            (void)MagazineCalls<P>(*pool).drain(*client[i], true);
            reap(i);
        }
        u64 slots, slabs;
        pool->drain(slots, slabs);
        Audit audit;
        PoolAudit<P>(*pool, audit).run(true);
        expect(audit.clean(), "verify");
        expect(audit.result().objects == 0, "an object is left");
        expect(pool->buddy().free_pages() == kPages, "a page is left");
        expect(P::corruptions == 0, "corruption was reported");
        expect(P::refused == 0, "an entry was refused");
        pool->~Pool();
        P::end();
    }

    Offset alloc(u32 i) {
        Offset offset = 0;
        const auto got = pool->alloc(*client[i], kBytes, 8, 1, &offset, Context::may_sleep, false);
        expect(got.done == 1, "an allocation");
        return offset;
    }
    Error free(u32 i, Offset offset) {
        PoolRefusal refusal;
        return pool->free(*client[i], &offset, 1, refusal).why;
    }
    ClientIndex owner(Offset offset) {
        const auto place = pool->locate(offset);
        return place ? pool->owner_at(*place) : kNobody;
    }

    // ---- the client's side, as libquarry's ----

    enum { kTop = 0, kEnd = 4, kFirst = 8 };
    std::atomic<u32>& header(u32 i, unsigned cpu, u32 which) {
        return blocks[i]->word(cpu, kClass * 16 + which);
    }
    Offset take(u32 i) {
        u32 entry = 0;
        P::sequence([&](unsigned cpu, auto commit) {
            entry = 0;
            auto& top = header(i, cpu, kTop);
            const u32 at = top.load(std::memory_order_relaxed);
            if (at <= header(i, cpu, kFirst).load(std::memory_order_relaxed)) return true;
            entry = blocks[i]->word(cpu, 4 * (at - 1)).load(std::memory_order_relaxed) + 1;
            return commit(top, at - 1);
        });
        Offset offset = u64{entry - 1} * 8;
        u32 filled = 0;
        if (!entry) {
            const auto got = MagazineCalls<P>(*pool).refill(*client[i], kClass, false, offset, filled);
            expect(got.done == 1, "a refill");
        }
        expect(!holder[offset / kBytes], "an object was given twice");
        holder[offset / kBytes] = static_cast<u8>(i + 1);
        return offset;
    }
    void give(u32 i, Offset offset) {
        holder[offset / kBytes] = 0;
        bool full = false;
        P::sequence([&](unsigned cpu, auto commit) {
            auto& top = header(i, cpu, kTop);
            const u32 at = top.load(std::memory_order_relaxed);
            full = at >= header(i, cpu, kEnd).load(std::memory_order_relaxed);
            if (full) return true;
            blocks[i]->word(cpu, 4 * at).store(static_cast<u32>(offset / 8), std::memory_order_relaxed);
            return commit(top, at + 1);
        });
        PoolRefusal refusal;
        if (full) {
            const auto f = MagazineCalls<P>(*pool).flush(*client[i], kClass, &offset, refusal);
            expect(ok(f.why), "a flush");
        }
    }
};

struct Homecoming final : PoolScenario {
    Offset object[2];

    void before() override {
        PoolScenario::before();
        for (auto& o : object) o = alloc(0);
    }
    void run(unsigned thread) override {
        if (thread == 2)
            pool->slabs().collect(kClass);
        else
            expect(ok(free(0, object[thread])), "a free");
    }
};

struct GrantDrainReap : PoolScenario {
    void before() override {
        PoolScenario::before();
        for (int i = 0; i < 3; ++i) (void)alloc(1);
        give(0, take(0));
    }
    void run(unsigned thread) override {
        if (thread == 0) {
            const Offset one = take(0);
            (void)take(0);
            give(0, one);
        } else if (thread == 1) {
            drain();
        } else {
            reap(1);
        }
    }
    virtual void drain() { (void)MagazineCalls<P>(*pool).drain_all(true); }
};

// As GrantDrainReap, but the drain is a shrinker's that empties the magazine of CPU 0 by itself.
template <bool Holds>
struct ShrinkerEmpties final : GrantDrainReap {
    void drain() override {
        CpuMagazines& there = *client[0]->magazines.load(std::memory_order_acquire)->on(0);
        Offset out[kStepEntries];
        u32 left = 0;
        u32 n = 0;
        const auto empty = [&] { n = there.take(kClass, 0, kStepEntries, 0, out, left); };
        if (Holds)
            P::hold(0, empty);
        else
            empty();
        bool gone = false;
        SlotBatches<P>(*pool).give_slots(*client[0], kClass, out, n, [](Error, Offset, u64) {}, nullptr,
                                         gone);
    }
};

struct DrainBesideReap final : PoolScenario {
    void before() override {
        PoolScenario::before();
        (void)take(0);
        give(0, take(0));
        (void)take(1);
    }
    void run(unsigned thread) override {
        if (thread == 0)
            (void)MagazineCalls<P>(*pool).drain_all(true);
        else if (thread == 1)
            reap(0);
        else
            (void)alloc(1);
    }
};

struct TransferBesideFree final : PoolScenario {
    Offset object;
    int freed = 0;

    void before() override {
        PoolScenario::before();
        object = alloc(0);
    }
    void count(Error e) {
        expect(ok(e) || e == Error::not_owner || e == Error::already_free, "another error");
        freed += ok(e);
    }
    void run(unsigned thread) override {
        PoolRefusal refusal;
        if (thread == 0) {
            const auto moved =
                TransferCalls<P>(*pool).transfer(*client[0], *client[1], &object, 1, refusal);
            expect(moved.done == 1 || moved.why == Error::already_free, "a transfer");
        } else {
            count(free(thread - 1, object));
        }
    }
    void after() override {
        expect(freed <= 1, "freed twice");
        PoolScenario::after();
    }
};

// ---- pages and drivers' heaps ------------------------------------------------------

struct Pages final : model::Scenario {
    Buddy<P>* buddy;
    PageCache<P>* cache;
    PageNumber page[2];

    void before() override {
        P::begin();
        buddy = new (model::memory(sizeof(Buddy<P>))) Buddy<P>(kPages);
        cache = new (model::memory(sizeof(PageCache<P>))) PageCache<P>(*buddy);
        expect(ok(cache->init()), "init");
        expect(ok(buddy->add_region(PageNumber{0}, kPages, Zone::normal, nullptr).error()), "a region");
        for (auto& p : page) p = *cache->alloc();
        expect(ok(cache->free(page[0])), "a free");
    }
    void run(unsigned thread) override {
        if (thread == 2) {
            (void)cache->drain();
            return;
        }
        if (thread == 1) expect(ok(cache->free(page[1])), "a free");
        const auto one = cache->alloc();
        expect(one && ok(cache->free(*one)), "a page");
    }
    void after() override {
        (void)cache->drain();
        Audit audit;
        (void)cache->verify(audit);
        expect(audit.clean(), "verify");
        expect(buddy->free_pages() == kPages, "a page is left");
        cache->~PageCache();
        buddy->~Buddy();
        P::end();
    }
};

struct DriverHeap final : model::Scenario {
    Heap<P>* heap;
    Offset object[2];

    void before() override {
        P::begin();
        heap = new (model::memory(sizeof(Heap<P>))) Heap<P>(kPages, nullptr);
        expect(ok(heap->init()), "init");
        expect(ok(heap->add_region(PageNumber{0}, kPages, Zone::normal).error()), "a region");
        for (auto& o : object) o = *heap->alloc(kBytes);
    }
    void run(unsigned thread) override {
        if (thread == 0) {
            const auto one = heap->alloc(kBytes);
            expect(one && ok(heap->free(*one)), "an object");
        } else if (thread == 1) {
            expect(ok(heap->free(object[0])), "a free");
            expect(ok(heap->free_remote(object[1])), "a free");
        } else {
            heap->drain();
        }
    }
    void after() override {
        heap->drain();
        Audit audit;
        HeapAudit<P>* auditor =
            new (model::memory(sizeof(HeapAudit<P>))) HeapAudit<P>(*heap, audit);
        auditor->run(true);
        expect(audit.clean(), "verify");
        expect(heap->buddy().free_pages() == kPages, "a page is left");
        expect(P::corruptions == 0, "corruption was reported");
        heap->~Heap();
        P::end();
    }
};

}  // namespace

model::Scenario* queue(void* at) { return make_at<Queue>(at); }
model::Scenario* homecoming(void* at) { return make_at<Homecoming>(at); }
model::Scenario* grant_drain_reap(void* at) { return make_at<GrantDrainReap>(at); }
model::Scenario* drain_beside_reap(void* at) { return make_at<DrainBesideReap>(at); }
model::Scenario* transfer_beside_free(void* at) { return make_at<TransferBesideFree>(at); }
model::Scenario* page_cache(void* at) { return make_at<Pages>(at); }
model::Scenario* driver_heap(void* at) { return make_at<DriverHeap>(at); }
model::Scenario* shrinker_holds(void* at) { return make_at<ShrinkerEmpties<true>>(at); }
model::Scenario* shrinker_does_not_hold(void* at) { return make_at<ShrinkerEmpties<false>>(at); }

}  // namespace scenarios
