// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Depot: one size class's shared stock of arrays (half magazines), full and empty. A CPU
// exchanges an empty one for a full one or back; what one CPU frees, another one's refill
// finds here without touching a slab. (Bonwick and Adams 2001.)
//
// Bounded: at most kDepotBytes of slots a class, four arrays at least. The arrays are
// metadata, made when first needed and never under the lock; trim gives the empty ones back.
//
// Context: any. Costs: O(1) under one hold of the lock (QUARRY_LOCK_DEPOT).
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

    u32 batch() const { return batch_; }
    u64 array_bytes() const { return Batch::bytes(batch_); }

    // Takes a full array and answers an empty one; null: it has none, the array stays the
    // caller's.
    Entry* put(Entry* full) {
        Guard guard(lock_);
        Batch* empty = pop(empty_);
        if (!empty) return nullptr;
        push(full_, Batch::of(full));
        note(entries_.load(std::memory_order_relaxed) + batch_);
        return empty->entries();
    }
    // One empty array more. False: it has as many as it may, or the platform refuses.
    bool grow() {
        {
            Guard guard(lock_);
            if (arrays_ == limit_) return false;
            ++arrays_;
        }
        void* made = P::meta_alloc(array_bytes(), Context::atomic);
        Guard guard(lock_);
        if (made)
            push(empty_, new (made) Batch);
        else
            --arrays_;
        return made != nullptr;
    }

    // Takes an empty array and answers a full one; null: there is none, the array stays
    // the caller's.
    Entry* get(Entry* empty) {
        if (!count()) return nullptr;
        Guard guard(lock_);
        Batch* full = pop(full_);
        if (!full) return nullptr;
        push(empty_, Batch::of(empty));
        note(entries_.load(std::memory_order_relaxed) - batch_);
        return full->entries();
    }

    // A full array for one who has no empty one to give: it comes back by trade_in.
    Entry* take_out() {
        Guard guard(lock_);
        Batch* full = pop(full_);
        if (!full) return nullptr;
        note(entries_.load(std::memory_order_relaxed) - batch_);
        return full->entries();
    }
    void trade_in(Entry* empty) {
        Guard guard(lock_);
        push(empty_, Batch::of(empty));
    }

    // Frees the empty arrays. The lock is released between.
    void trim() {
        for (;;) {
            Batch* batch;
            {
                Guard guard(lock_);
                batch = pop(empty_);
                if (!batch) return;
                --arrays_;
            }
            P::meta_free(batch, array_bytes());
        }
    }

    // Entries in stock; a hint for anyone.
    u64 count() const { return entries_.load(std::memory_order_relaxed); }
    u64 meta_bytes() {
        Guard guard(lock_);
        return arrays_ * array_bytes();
    }

    // fn(const Entry&) for each entry. The stock is out of reach meanwhile, without the lock:
    // for audits.
    template <typename Fn>
    void for_each(Fn&& fn) {
        Batch* stock;
        {
            Guard guard(lock_);
            stock = full_;
            full_ = nullptr;
        }
        if (!stock) return;
        Batch* last = stock;
        for (Batch* b = stock; b; b = b->next) {
            for (u32 i = 0; i < batch_; ++i) fn(b->entries()[i]);
            last = b;
        }
        Guard guard(lock_);
        last->next = full_;
        full_ = stock;
    }

private:
    static void push(Batch*& list, Batch* batch) {
        batch->next = list;
        list = batch;
    }
    static Batch* pop(Batch*& list) {
        Batch* batch = list;
        if (batch) list = batch->next;
        return batch;
    }
    void note(u64 entries) { entries_.store(entries, std::memory_order_relaxed); }
    void free_list(Batch* batch) {
        while (batch) {
            Batch* next = batch->next;
            P::meta_free(batch, array_bytes());
            batch = next;
        }
    }

    typename P::Lock lock_{QUARRY_LOCK_DEPOT};
    Batch* full_ = nullptr;
    Batch* empty_ = nullptr;
    u32 batch_ = 0;
    u32 limit_ = 0;
    u32 arrays_ = 0;
    std::atomic<u64> entries_{0};
};

}  // namespace quarry
