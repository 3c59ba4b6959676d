// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Reserves: objects that a client has set aside, so that its next allocations cannot fail.
//
// What is set aside is the client's like all else that it was granted: it counts against its
// limit, and its death takes it back by the same chains. Here stands only which objects these
// are, in stacks by their size and in a hash table by their offset:
//
//   prepare  room for more of one size; sizes that nothing is left of make place
//   put      objects that were granted just now and that nobody has been told of
//   draw     when nothing else can be had. What a client has freed by guess, or by what it wrote
//            into a magazine, is not its own any more: dropped
//   clear    so that such a guess is refused where it comes by a call
//
// Calls of prepare, put and lower for one client are serialised by the caller; draw and clear
// come beside them. The client's lock is held for at most 32 objects.
//
// Cost: O(objects moved), clear O(1) an object; nothing for a client that has set none aside.
// Metadata: 7 KiB for a client that reserves, and 4 KiB for each 169 objects, until its end.
// Context: task.
#pragma once

#include "pool.hpp"

namespace quarry {

template <Platform P>
class Reserves {
public:
    static constexpr u32 kSizes = 64;    // of one client, at a time
    static constexpr u32 kMost = 16384;  // objects of one client, over all sizes

    // What serves a request: requests of one route share what is set aside.
    struct Key {
        u64 unit;
        u64 align;
        bool operator==(const Key&) const = default;
    };

    explicit Reserves(MagazineCensus& census) : census_(census) {}
    Reserves(const Reserves&) = delete;
    Reserves& operator=(const Reserves&) = delete;

    // When no lookup finds its client any more. Context: task.
    static void retire(Reserves* r) {
        u64 gone = sizeof(*r);
        while (Chunk* chunk = r->chunks_) {
            r->chunks_ = chunk->next;
            gone += sizeof(*chunk);
            P::meta_retire(chunk, sizeof(*chunk));
        }
        r->census_.meta_bytes.fetch_sub(gone, std::memory_order_relaxed);
        P::meta_retire(r, sizeof(*r));
    }

    // A hint for anyone.
    u32 total() const { return total_.load(std::memory_order_relaxed); }

    // ---- under the client's lock: at most 32 nodes each ----

    // Of a dead client, whose chains hold the objects. A prepare may still run beside it; nothing
    // is put, drawn or looked up any more, so the nodes stay where they are.
    void forget() {
        for (Stack& s : stacks_) s.left = 0;
        total_.store(0, std::memory_order_relaxed);
    }

    u32 left(Key key) {
        const Stack* s = stack_of(key);
        return s ? s->left : 0;
    }
    // False: as many sizes are in use as can be.
    bool open(Key key) {
        if (stack_of(key)) return true;
        for (Stack& s : stacks_) {
            if (s.left) continue;
            s = {key, 0, nullptr};
            return true;
        }
        return false;
    }
    u32 spare() const { return spare_; }

    void push(Key key, Offset offset) {
        Stack& s = *stack_of(key);
        Node* node = free_;
        free_ = node->below;
        --spare_;
        Node*& bucket = bucket_of(offset);
        *node = {offset, s.top, bucket};
        s.top = bucket = node;
        ++s.left;
        total_.store(total() + 1, std::memory_order_relaxed);
    }
    bool pop(Key key, Offset& offset) {
        Stack* s = stack_of(key);
        if (!s || !s->left) return false;
        Node* node = s->top;
        s->top = node->below;
        --s->left;
        Node** link = &bucket_of(node->offset);
        while (*link != node) link = &(*link)->next;
        *link = node->next;
        offset = node->offset;
        node->below = free_;
        free_ = node;
        ++spare_;
        total_.store(total() - 1, std::memory_order_relaxed);
        return true;
    }
    bool holds(Offset offset) {
        Node* node = bucket_of(offset);
        while (node && node->offset != offset) node = node->next;
        return node;
    }

    // ---- memory for nodes: 169 at a time ----

    struct Node {
        Offset offset;
        Node* below;  // of the same size, or free
        Node* next;   // of the same bucket
    };
    static constexpr u32 kChunkNodes = 169;
    struct Chunk {
        Chunk* next;  // the platform's after retirement, with the next word
        u64 unused;
        Node node[kChunkNodes];
    };
    static_assert(sizeof(Chunk) <= kPageBytes);

    static Chunk* make_chunk() {
        void* memory = P::meta_alloc(sizeof(Chunk), Context::may_sleep);
        if (!memory) return nullptr;
        auto* chunk = new (memory) Chunk;
        for (u32 i = 0; i + 1 < kChunkNodes; ++i) chunk->node[i].below = &chunk->node[i + 1];
        chunk->node[kChunkNodes - 1].below = nullptr;
        return chunk;
    }
    void add(Chunk* chunk) {
        chunk->next = chunks_;
        chunks_ = chunk;
        chunk->node[kChunkNodes - 1].below = free_;
        free_ = &chunk->node[0];
        spare_ += kChunkNodes;
        census_.meta_bytes.fetch_add(sizeof(*chunk), std::memory_order_relaxed);
    }

    // Quiescent. What is wrong, or null.
    const char* fault() const {
        u32 seen = 0;
        for (const Stack& s : stacks_) seen += s.left;
        return seen == total() ? nullptr : "what is set aside does not add up";
    }

private:
    struct Stack {
        Key key{};
        u32 left = 0;
        Node* top = nullptr;
    };
    static constexpr u32 kBuckets = 512;

    Stack* stack_of(Key key) {
        for (Stack& s : stacks_)
            if (s.key == key) return &s;
        return nullptr;
    }
    Node*& bucket_of(Offset offset) {
        return buckets_[(offset / kGrain * 0x9e3779b97f4a7c15u) >> 55];
    }

    [[maybe_unused]] u64 retired_[2] = {};  // the platform's after retirement
    MagazineCensus& census_;
    std::atomic<u32> total_{0};
    u32 spare_ = 0;
    Node* free_ = nullptr;
    Chunk* chunks_ = nullptr;
    Stack stacks_[kSizes];
    Node* buckets_[kBuckets] = {};
};

template <Platform P>
class ReserveCalls {
public:
    using Key = typename Reserves<P>::Key;

    ReserveCalls(Pool<P>& pool, Client<P>& client) : pool_(pool), client_(client) {}

    // What requests of this size and alignment have in common. Errors: as of Pool::route; of
    // RangePool::alloc.
    Result<Key> key_of(u64 size, u64 align) const {
        if (auto* ranges = pool_.ranges()) {
            if (size == 0 || !is_power_of_two(align)) return Error::invalid;
            const u64 unit = ranges->unit(size);
            if (unit == 0) return Error::too_large;
            return Key{unit, align};
        }
        const auto route = pool_.route(size, align);
        if (!route) return route.error();
        return Key{route->unit, u64{1} << value(route->align)};
    }

    // Room for `more` objects. Errors: no_memory, reserves_full.
    Error prepare(Key key, u32 more) {
        Reserves<P>* r = client_.reserves.load(std::memory_order_acquire);
        if (!r) {
            r = make_meta<Reserves<P>, P>(Context::may_sleep, pool_.census());
            if (!r) return Error::no_memory;
            pool_.census().meta_bytes.fetch_add(sizeof(*r), std::memory_order_relaxed);
            client_.reserves.store(r, std::memory_order_release);
        }
        if (r->total() + more > Reserves<P>::kMost) return Error::reserves_full;
        for (;;) {
            {
                Guard guard(client_.lock);
                if (!r->open(key)) return Error::reserves_full;
                if (r->spare() >= more) return Error::none;
            }
            auto* chunk = Reserves<P>::make_chunk();
            if (!chunk) return Error::no_memory;
            Guard guard(client_.lock);
            r->add(chunk);
        }
    }

    u32 left(Key key) {
        Reserves<P>* r = client_.reserves.load(std::memory_order_acquire);
        if (!r) return 0;
        Guard guard(client_.lock);
        return r->left(key);
    }

    // After prepare, for as many.
    void put(Key key, const Offset* objects, u32 n) {
        Reserves<P>& r = *client_.reserves.load(std::memory_order_acquire);
        for (u32 at = 0; at < n;) {
            Guard guard(client_.lock);
            for (u32 i = 0; i < kStepSlots && at < n; ++i, ++at) r.push(key, objects[at]);
        }
    }

    // Up to n objects that are the client's and that nobody else of it has been told of.
    u32 draw(Key key, Offset* out, u32 n) {
        Reserves<P>* r = client_.reserves.load(std::memory_order_acquire);
        if (!r || !r->total()) return 0;
        u32 drawn = 0;
        for (;;) {
            Offset some[kStepSlots];
            u32 got = 0;
            {
                Guard guard(client_.lock);
                while (got < kStepSlots && drawn + got < n && r->pop(key, some[got])) ++got;
            }
            if (got == 0) return drawn;
            for (u32 i = 0; i < got; ++i)
                if (owns(some[i], key.unit)) out[drawn++] = some[i];
        }
    }

    // How many of these, from the first on, are not set aside.
    u32 clear(const Offset* offsets, u32 n) {
        Reserves<P>* r = client_.reserves.load(std::memory_order_acquire);
        if (!r || !r->total()) return n;
        for (u32 at = 0; at < n;) {
            Guard guard(client_.lock);
            for (u32 i = 0; i < kStepSlots && at < n; ++i, ++at)
                if (r->holds(offsets[at])) return at;
        }
        return n;
    }

    // Is it set aside? A call on it is refused: to who asks it is free.
    bool holds(Offset offset) { return clear(&offset, 1) == 0; }

    // Frees up to 128 of those beyond `keep`; answers how many are left.
    u32 lower(Key key, u32 keep) {
        Offset some[kStepSlots];
        for (u32 step = 0; step < 4; ++step) {
            const u32 now = left(key);
            if (now <= keep) return now;
            const u32 n = draw(key, some, now - keep < kStepSlots ? now - keep : kStepSlots);
            PoolRefusal refusal;
            (void)pool_.free(client_, some, n, refusal);
            P::breathe();
        }
        return left(key);
    }

    // A call on offsets, kept from those that are set aside: to who asks they are free.
    template <typename Call>
    PoolGranted guarded(const Offset* offsets, u32 count, PoolRefusal& refusal, Call&& call) {
        const u32 n = clear(offsets, count);
        if (n == count) return call(n);
        PoolGranted g = n ? call(n) : PoolGranted{};
        if (!ok(g.why)) return g;
        g.why = Error::already_free;
        refusal = {offsets[n], 0};
        return g;
    }

private:
    bool owns(Offset offset, u64 unit) {
        if (auto* ranges = pool_.ranges()) return ranges->owns(client_, offset, unit);
        ReadGuard<P> reader;
        const auto place = pool_.locate(offset);
        return place && pool_.owner_at(*place) == client_.index() && pool_.bytes_of(*place) == unit;
    }

    Pool<P>& pool_;
    Client<P>& client_;
};

}  // namespace quarry
