// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Magazines: bounded arrays of free slots of one size class, two for each CPU and class,
// and the CPU's cache that holds them. (Bonwick and Adams 2001.)
//
// The loaded array serves; the spare one is full or empty. When the loaded one runs out
// or over they change places, and only when that does not help a whole array is exchanged
// with the depot, so that no entry is copied. To and from slabs a few go at a time (cache.hpp).
// A mix of alloc and free at the border moves nothing.
//
// An entry is the slot's offset and the place of its live byte, so that an allocation
// touches neither the page's descriptor nor the slab's header. Capacity falls with the
// size of the slots: a full magazine, both arrays, holds at most 32 KiB.
//
// What the fast path reads of all magazines of a CPU, the tops and the ends, lies close
// together, eight classes to a cache line. In front of the first entry of each array stands
// one whose byte is always live, never_free: what refuses a duplicate tells also that the array
// is empty.
//
//   word      states                        written by                      order
//   busy      0: nobody is inside           the CPU's pinned callers alone; plain, between
//             1: somebody is                an interrupt that finds 1       compiler fences
//                                           goes elsewhere
//   top,      closed_entries: no arrays     who is inside                   relaxed; anyone reads
//   begin,    yet                                                           them as a hint
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
// of 4096 bytes down to 128.
constexpr u32 batch_of(u32 slot_bytes) {
    if (slot_bytes <= 64) return 255;
    return (256u >> (ceil_log2(slot_bytes) - 6)) - 1;
}
constexpr u32 capacity_of(u32 slot_bytes) { return 2 * batch_of(slot_bytes); }

// The live byte of what is no entry. Nobody writes what is live already.
inline constinit LiveByte never_free{kLive};

// A block of metadata: the header is the depot's, the entries belong to a magazine.
struct Batch {
    Batch* next = nullptr;
    union {
        LiveByte* none = &never_free;  // stands where the live byte of an entry -1 would
        struct {
            u32 c;
            u32 n;
        } left;  // of an array that has left its magazine: so many slots of class c
    };

    Entry* entries() { return reinterpret_cast<Entry*>(this + 1); }
    static Batch* of(Entry* entries) { return reinterpret_cast<Batch*>(entries) - 1; }
    static constexpr u64 bytes(u32 entries) { return sizeof(Batch) + entries * sizeof(Entry); }
};
static_assert(sizeof(Batch) == sizeof(Entry) && offsetof(Batch, none) == offsetof(Entry, live));

// Stands before and behind the array of a magazine that has none.
inline constinit Entry closed_entries[2] = {{0, &never_free}, {0, &never_free}};

// Where in an array: relaxed, for whoever is inside; a hint for all others.
class Cursor {
public:
    Entry* get() const { return at_.load(std::memory_order_relaxed); }
    void set(Entry* at) { at_.store(at, std::memory_order_relaxed); }

private:
    std::atomic<Entry*> at_{&closed_entries[1]};
};

struct alignas(64) CpuCache {
    u64 busy = 0;
    // By class. The one behind the last is full and empty for ever: it stands for what has no
    // magazine.
    Cursor tops[kClasses + 1];
    Entry* ends[kClasses + 1];
    Cursor begin[kClasses + 1];
    std::atomic<u64> spare[kClasses + 1] = {};  // an array; bit 0: it is full
    struct {
        u32 c;
        u32 at;
    } audit = {};         // how far an audit's visit has come
    // What slabs gave this CPU last, by class: the next come from beside it. Hints.
    std::atomic<Offset> last[kClasses];
    u64 unused[58 - kClasses] = {};  // 2 KiB in all, so that an index is a shift

    CpuCache() {
        for (Entry*& e : ends) e = &closed_entries[1];
        for (auto& l : last) l.store(kApart, std::memory_order_relaxed);
    }

    // By place, which is the class + 1, so that the compiler has nothing to add.
    Cursor& top(u64 place) { return reinterpret_cast<Cursor*>(&busy)[place]; }
    Entry* end(u64 place) { return reinterpret_cast<Entry**>(tops + kClasses)[place]; }

    // Pinned. False: this interrupts somebody who is inside.
    bool enter() {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (busy) [[unlikely]]
            return false;
        busy = 1;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return true;
    }
    void leave() {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        busy = 0;
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
};

// One class's magazine in a CPU's cache; by value. Inside, but for the hints.
class Magazine {
public:
    Magazine(CpuCache& cache, u32 c) : cache_(cache), class_(c) {}

    // The newest entry of the loaded array leaves. False: there is none.
    bool pop(Entry& entry) {
        Entry* top = this->top().get();
        if (top[-1].live == &never_free) return false;
        entry = top[-1];
        this->top().set(top - 1);
        return true;
    }
    // False: the loaded array is full, or there is none.
    bool push(Offset offset, LiveByte* live) {
        Entry* top = this->top().get();
        if (top == cache_.ends[class_]) return false;
        *top = {offset, live};
        this->top().set(top + 1);
        return true;
    }

    bool installed() const { return loaded() != &closed_entries[1]; }
    // Two empty arrays of `batch` entries, in fresh metadata.
    void install(void* loaded, void* spare, u32 batch) {
        load((new (loaded) Batch)->entries(), 0, batch);
        set_spare((new (spare) Batch)->entries(), false);
    }
    Entry* loaded() const { return cache_.begin[class_].get(); }
    u32 loaded_size() const { return static_cast<u32>(top().get() - loaded()); }
    void set_loaded_size(u32 n) { top().set(loaded() + n); }
    // The loaded array is another one from here on, with n entries.
    void load(Entry* entries, u32 n, u32 batch) {
        top().set(entries + n);
        cache_.begin[class_].set(entries);
        cache_.ends[class_] = entries + batch;
    }

    bool spare_is_full() const { return (spare_word() & 1) != 0; }
    Entry* spare() const { return reinterpret_cast<Entry*>(spare_word() & ~u64{1}); }
    void set_spare(Entry* entries, bool full) {
        cache_.spare[class_].store(reinterpret_cast<u64>(entries) | (full ? 1 : 0),
                                   std::memory_order_relaxed);
    }
    // Loaded and spare change places; the loaded one is as full or empty as the spare is not.
    void swap(u32 batch) {
        Entry* was = loaded();
        const bool full = spare_is_full();
        load(spare(), full ? batch : 0, batch);
        set_spare(was, !full);
    }

    // Both arrays leave, loaded before spare: there is no magazine from here on.
    Batch* uninstall(u32 batch) {
        Batch* const first = Batch::of(loaded());
        Batch* const second = Batch::of(spare());
        first->left = {class_, loaded_size()};
        second->left = {class_, spare_is_full() ? batch : 0};
        first->next = second;
        second->next = nullptr;
        top().set(&closed_entries[1]);
        cache_.begin[class_].set(&closed_entries[1]);
        cache_.ends[class_] = &closed_entries[1];
        cache_.spare[class_].store(0, std::memory_order_relaxed);
        return first;
    }

    // How many entries, for anyone: a hint.
    u32 count(u32 batch) const {
        const u64 n = (reinterpret_cast<u64>(top().get()) - reinterpret_cast<u64>(loaded())) /
                      sizeof(Entry);
        return (spare_is_full() ? batch : 0) + static_cast<u32>(n < batch ? n : batch);
    }

private:
    Cursor& top() const { return cache_.tops[class_]; }
    u64 spare_word() const { return cache_.spare[class_].load(std::memory_order_relaxed); }

    CpuCache& cache_;
    u32 class_;
};

static_assert(sizeof(CpuCache) == 2048);
static_assert(Batch::bytes(batch_of(64)) == 4096 && Batch::bytes(batch_of(kMaxSlot)) == 128);
static_assert([] {
    for (const SizeClass& c : kSizeClasses)
        if (capacity_of(c.slot_bytes) * c.slot_bytes > 32768) return false;
    return true;
}(), "a magazine holds at most 32 KiB");

}  // namespace quarry
