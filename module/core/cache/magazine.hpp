// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Magazines: bounded arrays of free slots of one size class, two for each CPU and class,
// and the CPU's cache that holds them. (Bonwick and Adams 2001.)
//
// The loaded array serves; the spare one is full or empty. When the loaded one runs out
// or over they change places, and only when that does not help a whole array is exchanged
// with the depot. So a refill or a drain moves half of what a CPU may hold, and no entry is
// copied; a mix of alloc and free at the border moves nothing.
//
// An entry is the slot's offset and the place of its live byte, so that an allocation
// touches neither the page's descriptor nor the slab's header. Capacity falls with the
// size of the slots: a full magazine, both arrays, holds at most 32 KiB.
//
//   word      states                        written by                      order
//   busy      0: nobody is inside           the CPU's pinned callers: a     relaxed, compiler
//             1: somebody is, or this is    plain store; an interrupt that  fences
//             the closed cache              finds 1 goes elsewhere
//   top,      null: no arrays yet           who is inside                   relaxed; anyone reads
//   begin,                                                                  them as a hint
//   spare
//
// Only pinned callers on that CPU enter, so no atomic instruction is needed: a nested one
// (hard interrupt, NMI) runs to its end between any two instructions of the outer one.
// From elsewhere a cache is drained through P::on_each_cpu, which runs in its place.
#pragma once

#include "../slabs/live_bytes.hpp"

namespace quarry {

struct Entry {
    Offset offset;
    LiveByte* live;
};

// Entries of one array: half a magazine. With its header of 16 bytes an array is a block
// of 1024, 512, 256 or 128 bytes.
constexpr u32 batch_of(u32 slot_bytes) {
    return slot_bytes <= 128 ? 63 : slot_bytes <= 512 ? 31 : slot_bytes <= 1024 ? 15 : 7;
}
constexpr u32 capacity_of(u32 slot_bytes) { return 2 * batch_of(slot_bytes); }

// A block of metadata: the header is the depot's, the entries belong to a magazine.
struct Batch {
    Batch* next;
    u64 unused;

    Entry* entries() { return reinterpret_cast<Entry*>(this + 1); }
    static Batch* of(Entry* entries) { return reinterpret_cast<Batch*>(entries) - 1; }
    static u64 bytes(u32 entries) { return sizeof(Batch) + entries * sizeof(Entry); }
};
static_assert(sizeof(Batch) == 16);

// 32 bytes, so that an index is a shift.
class alignas(32) Magazine {
public:
    // The newest entry of the loaded array leaves. False: there is none.
    bool pop(Entry& entry) {
        Entry* top = top_.load(std::memory_order_relaxed);
        if (top == begin()) return false;
        entry = top[-1];
        top_.store(top - 1, std::memory_order_relaxed);
        return true;
    }
    // False: the loaded array is full, or there is none.
    bool push(Offset offset, LiveByte* live) {
        Entry* top = top_.load(std::memory_order_relaxed);
        if (top == end_) return false;
        *top = {offset, live};
        top_.store(top + 1, std::memory_order_relaxed);
        return true;
    }

    bool installed() const { return begin() != nullptr; }
    // Two empty arrays of `batch` entries.
    void install(Batch* loaded, Batch* spare, u32 batch) {
        load(loaded->entries(), 0, batch);
        set_spare(spare->entries(), false);
    }
    Entry* loaded() { return begin(); }
    u32 loaded_size() const { return static_cast<u32>(top_.load(std::memory_order_relaxed) - begin()); }
    void set_loaded_size(u32 n) { top_.store(begin() + n, std::memory_order_relaxed); }
    // The loaded array is another one from here on, with n entries.
    void load(Entry* entries, u32 n, u32 batch) {
        top_.store(entries + n, std::memory_order_relaxed);
        begin_.store(entries, std::memory_order_relaxed);
        end_ = entries + batch;
    }

    bool spare_is_full() const { return (spare_.load(std::memory_order_relaxed) & 1) != 0; }
    Entry* spare() const {
        return reinterpret_cast<Entry*>(spare_.load(std::memory_order_relaxed) & ~u64{1});
    }
    void set_spare(Entry* entries, bool full) {
        spare_.store(reinterpret_cast<u64>(entries) | (full ? 1 : 0), std::memory_order_relaxed);
    }
    // Loaded and spare change places; the loaded one is as full or empty as the spare is not.
    void swap(u32 batch) {
        Entry* was = begin();
        const bool full = spare_is_full();
        load(spare(), full ? batch : 0, batch);
        set_spare(was, !full);
    }

    // How many entries, for anyone: a hint.
    u32 count(u32 batch) const {
        const u64 begin = reinterpret_cast<u64>(begin_.load(std::memory_order_relaxed));
        const u64 top = reinterpret_cast<u64>(top_.load(std::memory_order_relaxed));
        const u64 n = (top - begin) / sizeof(Entry);
        return (spare_is_full() ? batch : 0) + static_cast<u32>(n < batch ? n : batch);
    }

private:
    Entry* begin() const { return begin_.load(std::memory_order_relaxed); }

    std::atomic<Entry*> top_{nullptr};
    std::atomic<Entry*> begin_{nullptr};
    Entry* end_ = nullptr;
    std::atomic<u64> spare_{0};  // bit 0: it is full
};
static_assert(sizeof(Magazine) == 32);

struct alignas(64) CpuCache {
    std::atomic<u32> busy;
    Magazine magazine[kClasses];
    Magazine none;  // full and empty for ever: stands for what has no magazine

    // The magazine that lies at this place (place_of).
    Magazine& at(u32 place) {
        return *reinterpret_cast<Magazine*>(reinterpret_cast<char*>(this) + place);
    }
    static constexpr u32 place_of(u32 c) { return static_cast<u32>(sizeof(Magazine)) * (c + 1); }

    constexpr explicit CpuCache(u32 closed = 0) : busy(closed) {}

    // Pinned. False: this interrupts somebody who is inside, or there is no cache.
    bool enter() {
        if (busy.load(std::memory_order_relaxed)) return false;
        busy.store(1, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return true;
    }
    void leave() {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        busy.store(0, std::memory_order_relaxed);
    }
};

// Stands for the cache of a CPU that has none yet: nobody ever gets inside.
inline constinit CpuCache closed_cache{1};

static_assert(sizeof(CpuCache) == 64 * ((sizeof(Magazine) * (kClasses + 2) + 63) / 64));
static_assert(batch_of(64) * sizeof(Entry) + sizeof(Batch) == 1024);
static_assert([] {
    for (const SizeClass& c : kSizeClasses)
        if (capacity_of(c.slot_bytes) * c.slot_bytes > 32768) return false;
    return true;
}(), "a magazine holds at most 32 KiB");

}  // namespace quarry
