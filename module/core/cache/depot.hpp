// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Depot: one size class's shared stock of batches (half magazines), full and empty. What
// one CPU frees, another one's refill finds here without touching a slab. (Bonwick and
// Adams 2001.)
//
// Bounded: at most kDepotBytes of slots a class, four batches at least. The blocks that hold the
// batches are metadata, made when first needed and never under the lock; trim gives the
// empty ones back.
//
// Context: any. Costs: O(batch); the lock (QUARRY_LOCK_DEPOT) is held for O(1) twice. A batch
// that is being copied is in neither list for that moment.
#pragma once

#include "../platform/platform.hpp"
#include "magazine.hpp"

namespace quarry {

inline constexpr u64 kDepotBytes = u64{256} << 10;

template <Platform P>
class Depot {
public:
    Depot() = default;
    ~Depot() { free_list(full_), free_list(empty_); }
    Depot(const Depot&) = delete;
    Depot& operator=(const Depot&) = delete;

    void set_class(u32 slot_bytes) {
        batch_ = batch_of(slot_bytes);
        const u64 fits = kDepotBytes / (u64{batch_} * slot_bytes);
        limit_ = static_cast<u32>(fits < 4 ? 4 : fits);
    }

    // Stores a batch of entries (batch_of many, or fewer). False: no room.
    bool put(const Entry* entries, u32 n) {
        Batch* batch = blank();
        if (!batch) return false;
        copy(batch->entries(), entries, n);
        batch->count = n;
        Guard guard(lock_);
        push(full_, batch);
        note(entries_.load(std::memory_order_relaxed) + n);
        return true;
    }

    // Takes a batch; `out` has room for one. Answers how many entries.
    u32 get(Entry* out) {
        if (!count()) return 0;
        Batch* batch;
        {
            Guard guard(lock_);
            batch = pop(full_);
            if (!batch) return 0;
            note(entries_.load(std::memory_order_relaxed) - batch->count);
        }
        const u32 n = static_cast<u32>(batch->count);
        copy(out, batch->entries(), n);
        Guard guard(lock_);
        push(empty_, batch);
        return n;
    }

    // Frees the blocks that hold nothing. The lock is released between.
    void trim() {
        for (;;) {
            Batch* batch;
            {
                Guard guard(lock_);
                batch = pop(empty_);
                if (!batch) return;
                --batches_;
            }
            P::meta_free(batch, bytes());
        }
    }

    // Entries in stock; a hint for anyone.
    u64 count() const { return entries_.load(std::memory_order_relaxed); }
    u64 meta_bytes() {
        Guard guard(lock_);
        return batches_ * bytes();
    }

    // fn(const Entry&) for each entry, under the lock. For audits.
    template <typename Fn>
    void for_each(Fn&& fn) {
        Guard guard(lock_);
        for (Batch* b = full_; b; b = b->next)
            for (u32 i = 0; i < b->count; ++i) fn(b->entries()[i]);
    }

private:
    struct Batch {
        Batch* next;
        u64 count;
        Entry* entries() { return reinterpret_cast<Entry*>(this + 1); }
    };
    static_assert(sizeof(Batch) == 16);

    // An empty batch, or a new one while there may be more; null when neither can be had.
    Batch* blank() {
        {
            Guard guard(lock_);
            if (Batch* batch = pop(empty_)) return batch;
            if (batches_ == limit_) return nullptr;
            ++batches_;
        }
        if (void* made = P::meta_alloc(bytes(), Context::atomic)) return static_cast<Batch*>(made);
        Guard guard(lock_);
        --batches_;
        return nullptr;
    }

    static void push(Batch*& list, Batch* batch) {
        batch->next = list;
        list = batch;
    }
    static Batch* pop(Batch*& list) {
        Batch* batch = list;
        if (batch) list = batch->next;
        return batch;
    }
    u64 bytes() const { return sizeof(Batch) + batch_ * sizeof(Entry); }
    static void copy(Entry* to, const Entry* from, u32 n) {
        for (u32 i = 0; i < n; ++i) to[i] = from[i];
    }
    void note(u64 entries) { entries_.store(entries, std::memory_order_relaxed); }
    void free_list(Batch* batch) {
        while (batch) {
            Batch* next = batch->next;
            P::meta_free(batch, bytes());
            batch = next;
        }
    }

    typename P::Lock lock_{QUARRY_LOCK_DEPOT};
    Batch* full_ = nullptr;
    Batch* empty_ = nullptr;
    u32 batch_ = 0;
    u32 limit_ = 0;
    u32 batches_ = 0;
    std::atomic<u64> entries_{0};
};

}  // namespace quarry
