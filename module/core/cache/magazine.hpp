// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Magazines: bounded arrays of free slots of one size class, one for each CPU and class,
// and the CPU's cache that holds them. (Bonwick and Adams 2001; refilled and drained to
// half, so that a mix of alloc and free at the border moves no batch each time.)
//
// An entry is the slot's offset and the place of its live byte, so that an allocation
// touches neither the page's descriptor nor the slab's header. Capacity falls with the
// size of the slots: a full magazine holds at most 32 KiB.
//
//   word      states                        written by                      order
//   busy      0: nobody is inside           the CPU's pinned callers: a     relaxed, compiler
//             1: somebody is, or this is    plain store; an interrupt that  fences
//             the closed cache              finds 1 goes elsewhere
//   top       one behind the last entry     who is inside                   relaxed; anyone reads
//   begin     null: no array yet            who is inside, once, after top  release; anyone reads,
//                                                                           acquire
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

// Entries of half a magazine: what a refill or a drain moves. With a header of 16 bytes
// a batch of them is 1024, 512, 256 or 128 bytes.
constexpr u32 batch_of(u32 slot_bytes) {
    return slot_bytes <= 128 ? 63 : slot_bytes <= 512 ? 31 : slot_bytes <= 1024 ? 15 : 7;
}
constexpr u32 capacity_of(u32 slot_bytes) { return 2 * batch_of(slot_bytes); }
inline constexpr u32 kMaxBatch = 63;

// 32 bytes, so that an index is a shift.
class alignas(32) Magazine {
public:
    // The newest entry leaves. False: there is none.
    bool pop(Entry& entry) {
        Entry* top = top_.load(std::memory_order_relaxed);
        if (top == begin()) return false;
        entry = top[-1];
        top_.store(top - 1, std::memory_order_relaxed);
        return true;
    }
    // False: full, or without an array.
    bool push(Offset offset, LiveByte* live) {
        Entry* top = top_.load(std::memory_order_relaxed);
        if (top == end_) return false;
        *top = {offset, live};
        top_.store(top + 1, std::memory_order_relaxed);
        return true;
    }

    bool installed() const { return begin_.load(std::memory_order_relaxed) != nullptr; }
    void install(Entry* entries, u32 capacity) {
        top_.store(entries, std::memory_order_relaxed);
        end_ = entries + capacity;
        begin_.store(entries, std::memory_order_release);
    }
    Entry* entries() { return begin_.load(std::memory_order_relaxed); }
    u32 size() const { return static_cast<u32>(top_.load(std::memory_order_relaxed) - begin()); }
    void set_size(u32 n) { top_.store(begin() + n, std::memory_order_relaxed); }

    // How many entries, for anyone: a hint.
    u32 count() const {
        const Entry* begin = begin_.load(std::memory_order_acquire);
        return begin ? static_cast<u32>(top_.load(std::memory_order_relaxed) - begin) : 0;
    }

private:
    Entry* begin() const { return begin_.load(std::memory_order_relaxed); }

    std::atomic<Entry*> top_{nullptr};
    std::atomic<Entry*> begin_{nullptr};
    Entry* end_ = nullptr;
};
static_assert(sizeof(Magazine) == 32);

struct alignas(64) CpuCache {
    std::atomic<u32> busy;
    Magazine magazine[kClasses];

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

static_assert(sizeof(CpuCache) == 64 * ((sizeof(Magazine) * (kClasses + 1) + 63) / 64));
static_assert(batch_of(64) * sizeof(Entry) + 16 == 1024);
static_assert([] {
    for (const SizeClass& c : kSizeClasses)
        if (capacity_of(c.slot_bytes) * c.slot_bytes > 32768) return false;
    return true;
}(), "a magazine holds at most 32 KiB");

}  // namespace quarry
