// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A pool's clients by index, 1..max (at most 65535): chunks of 64 pointers, made when
// first needed and kept. An index is given again only after its client was destroyed,
// so after its reap.
//
//   slot     0 or the client   set, cleared: table lock, release;  read: anyone, acquire
//   chunk    0 or 64 slots     set once: table lock, release;      read: anyone, acquire
//
// A reader that holds a client's name from an owner record may use the pointer while it
// stays a reader. find: O(1); add: O(clients / 64).
#pragma once

#include <atomic>

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
        P::meta_free(chunks_, chunk_count() * sizeof(chunks_[0]));
    }
    ClientTable(const ClientTable&) = delete;
    ClientTable& operator=(const ClientTable&) = delete;

    Error init() {
        chunks_ = static_cast<std::atomic<Chunk*>*>(
            P::meta_alloc(chunk_count() * sizeof(chunks_[0]), Context::may_sleep));
        return chunks_ ? Error::none : Error::no_memory;
    }

    // Makes a client. Context: task. Errors: no_memory, too_many.
    Result<Client<P>*> add(void* pool, u64 id, u64 limit) {
        Chunk* spare = nullptr;
        for (;;) {
            u32 index = 0;
            bool lacks_chunk = false;
            {
                Guard guard(lock_);
                index = unused();
                if (!index) break;
                auto& chunk = chunks_[index / 64];
                if (!chunk.load(std::memory_order_relaxed)) {
                    if (spare) {
                        chunk.store(spare, std::memory_order_release);
                        spare = nullptr;
                        ++chunks_made_;
                    } else {
                        lacks_chunk = true;
                    }
                }
                if (!lacks_chunk)  // taken for us from here on
                    chunk.load(std::memory_order_relaxed)->taken |= u64{1} << index % 64;
            }
            if (lacks_chunk) {
                spare = make_meta<Chunk, P>(Context::may_sleep);
                if (!spare) return Error::no_memory;
                continue;
            }
            if (spare) free_meta<P>(spare);
            auto* client = make_meta<Client<P>, P>(Context::may_sleep, pool,
                                                   static_cast<ClientIndex>(index), id, limit);
            Guard guard(lock_);
            Chunk& chunk = *chunks_[index / 64].load(std::memory_order_relaxed);
            if (!client) {
                chunk.taken &= ~(u64{1} << index % 64);
                return Error::no_memory;
            }
            chunk.slot[index % 64].store(client, std::memory_order_release);
            ++count_;
            return client;
        }
        if (spare) free_meta<P>(spare);
        return Error::too_many;
    }

    // After its reap: nothing names it any more. Context: task.
    void remove(Client<P>& client) {
        const u32 index = client.index();
        {
            Guard guard(lock_);
            Chunk& chunk = *chunks_[index / 64].load(std::memory_order_relaxed);
            chunk.slot[index % 64].store(nullptr, std::memory_order_release);
            chunk.taken &= ~(u64{1} << index % 64);
            --count_;
        }
        P::meta_retire(&client, sizeof(client));
    }

    // The client of an owner record, or null. Context: any, as a reader.
    Client<P>* find(ClientIndex index) const {
        if (index == kNobody || index > max_) return nullptr;
        const Chunk* chunk = chunks_[index / 64].load(std::memory_order_acquire);
        return chunk ? chunk->slot[index % 64].load(std::memory_order_acquire) : nullptr;
    }

    u32 count() {
        Guard guard(lock_);
        return count_;
    }
    u32 max() const { return max_; }
    u64 meta_bytes() {
        Guard guard(lock_);
        return chunk_count() * sizeof(chunks_[0]) + chunks_made_ * sizeof(Chunk) +
               u64{count_} * sizeof(Client<P>);
    }

private:
    struct Chunk {
        std::atomic<Client<P>*> slot[64];
        u64 taken;
    };

    u32 chunk_count() const { return max_ / 64 + 1; }

    // Under the lock: an index that nobody has, or 0.
    u32 unused() const {
        for (u32 k = 0; k < chunk_count(); ++k) {
            const Chunk* chunk = chunks_[k].load(std::memory_order_relaxed);
            u64 open = chunk ? ~chunk->taken : ~u64{0};
            if (k == 0) open &= ~u64{1};  // index 0 is nobody
            if (!open) continue;
            const u32 index = k * 64 + lowest_bit(open);
            return index <= max_ ? index : 0;
        }
        return 0;
    }

    typename P::Lock lock_{QUARRY_LOCK_REGIONS};
    std::atomic<Chunk*>* chunks_ = nullptr;
    u32 max_;
    u32 count_ = 0;
    u32 chunks_made_ = 0;
};

}  // namespace quarry
