// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A pool's clients by index, 1..max (at most 65535): chunks of 64 pointers, made when
// first needed and kept. An index is given again only after its client was removed,
// so after its reap. No lock: indices are slots of AtomicBits, the lowest free one first.
// The clients themselves are objects of a cache of the pool's own (object_cache.hpp).
//
//   chunk    null -> 64 slots     who needs it first: CAS, a loser    acq_rel
//                                 frees its own                       read: anyone, acquire
//   slot     null -> the client   add, which has the index: store     release
//            the client -> null   remove, before the index is free    release
//                                                                     read: anyone, acquire
//
// A reader that holds a client's name from an owner record may use the pointer while it
// stays a reader: a client that was removed goes home to its slab when the last one has
// left, be it after the table, for a box needs no handle of the cache.
//
// Everything is O(1). Metadata: 8 bytes for 64 indices, and a bit for each, from the start,
// and the cache's control block; 512 bytes more for 64 clients, and a page for each 12. Such
// a page is charged as a pool's growth is: to the client whose join made it. All but one
// empty page go back at once, that one with the pool.
//
// (A pool itself is no object of such a cache: it takes most of a page, which is charged to
// its creator and shall go with it, and a cache would keep one for the next creator.)
#pragma once

#include <atomic>

#include "../object/object_cache.hpp"
#include "../slots/atomic_bits.hpp"
#include "client.hpp"

namespace quarry {

template <Platform P>
class ClientTable {
public:
    explicit ClientTable(u32 max) : max_(max) {}
    ~ClientTable() {
        if (!chunks_) return;
        for (u32 k = 0; k < chunk_count(); ++k)
            if (Chunk* chunk = chunks_[k].load(std::memory_order_relaxed)) free_meta<P>(chunk);
        P::meta_free(chunks_, table_bytes());
    }
    ClientTable(const ClientTable&) = delete;
    ClientTable& operator=(const ClientTable&) = delete;

    // Context: task, before anything else. Errors: no_memory.
    Error init() {
        void* memory = P::meta_alloc(table_bytes(), Context::may_sleep);
        if (!memory) return Error::no_memory;
        chunks_ = static_cast<std::atomic<Chunk*>*>(memory);
        if (const Error e = indices_.init(chunks_ + chunk_count(), u64{max_} + 1); !ok(e)) return e;
        auto cache = Cache::create();
        if (!cache) return cache.error();
        cache_ = *std::move(cache);
        return indices_.take_this(kNobody);
    }

    // Makes a client. Context: task. Errors: no_memory, too_many.
    Result<Client<P>*> add(void* pool, u64 id, u64 limit) {
        const auto index = indices_.take();
        if (!index) return Error::too_many;
        Chunk* chunk = chunk_of(*index);
        auto made = chunk ? cache_.make(pool, static_cast<ClientIndex>(*index), id, limit)
                          : Made<Home>(Error::no_memory);
        if (!made) {
            (void)indices_.give(*index);
            return made.error();
        }
        Home home = *std::move(made);
        Client<P>* client = home.get();
        client->keep(std::move(home));
        chunk->slot[*index % 64].store(client, std::memory_order_release);
        return client;
    }

    // After its reap: nothing names it any more. Context: task.
    void remove(Client<P>& client) {
        const u32 index = client.index();
        Chunk& chunk = *chunks_[index / 64].load(std::memory_order_acquire);
        chunk.slot[index % 64].store(nullptr, std::memory_order_release);
        client.leave();
        (void)indices_.give(index);
    }

    // The client of an owner record, or null. Context: any, as a reader.
    Client<P>* find(ClientIndex index) const {
        if (index == kNobody || index > max_)
            return index == kCommons  ? commons_.load(std::memory_order_acquire)
                   : index == kKeeper ? keeper_
                                      : nullptr;
        const Chunk* chunk = chunks_[index / 64].load(std::memory_order_acquire);
        return chunk ? chunk->slot[index % 64].load(std::memory_order_acquire) : nullptr;
    }

    // The owner of what is shared, which is in no count.
    void set_commons(Client<P>* commons) { commons_.store(commons, std::memory_order_release); }

    // The owner of what I/O holds, in no count either. Before anything else.
    void set_keeper(Client<P>* keeper) { keeper_ = keeper; }

    // Clients there are, and those just being made.
    u32 count() const { return indices_.count() - 1; }
    u32 max() const { return max_; }
    u64 meta_bytes() const {
        return table_bytes() + chunks_made_.load(std::memory_order_relaxed) * sizeof(Chunk) +
               cache_.meta_bytes() + cache_.slab_bytes();
    }
    // Clients that are there, and those that wait for readers.
    u64 objects() const { return cache_.live(); }
    // The cache's part is one hold of its lock: O(clients).
    void verify(Audit& audit, bool quiet) const {
        indices_.verify(audit, quiet);
        // Its slabs and objects are not the pool's.
        Audit cache;
        cache_.verify(cache);
        if (!cache.clean()) audit.fault(cache.result().first, cache.result().first_offset);
        if (quiet) audit.expect(cache_.live() >= count(), "a client is no object", count());
    }

private:
    using Home = typename Client<P>::Home;
    using Cache = ObjectCache<Client<P>, typename Client<P>::CacheLock, Client<P>::kSlabBytes>;

    struct Chunk {
        std::atomic<Client<P>*> slot[64];
    };

    u32 chunk_count() const { return max_ / 64 + 1; }
    u64 table_bytes() const {
        return chunk_count() * sizeof(chunks_[0]) +
               AtomicBits<>::words_for(u64{max_} + 1) * sizeof(u64);
    }

    // The chunk of an index, made if it is not there; null when that is refused.
    Chunk* chunk_of(u32 index) {
        auto& place = chunks_[index / 64];
        Chunk* there = place.load(std::memory_order_acquire);
        if (there) return there;
        auto* made = make_meta<Chunk, P>(Context::may_sleep);
        if (!made) return nullptr;
        if (!place.compare_exchange_strong(there, made, std::memory_order_acq_rel,
                                           std::memory_order_acquire)) {
            free_meta<P>(made);
            return there;
        }
        chunks_made_.fetch_add(1, std::memory_order_relaxed);
        return made;
    }

    std::atomic<Chunk*>* chunks_ = nullptr;
    u32 max_;
    std::atomic<u32> chunks_made_{0};
    AtomicBits<> indices_;
    std::atomic<Client<P>*> commons_{nullptr};
    Client<P>* keeper_ = nullptr;
    Cache cache_;
};

}  // namespace quarry
