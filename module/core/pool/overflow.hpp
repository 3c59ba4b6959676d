// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Owners that found no room in their slab's dictionary: a bounded table, offset to
// client, for objects handed to a sixteenth client and for grants of the last resort.
// Open addressing with linear probing and no tombstones (Knuth, 6.4, algorithm R);
// at most three quarters full. All under the overflow lock, which the caller takes
// with `Guard guard(table.lock)`; O(1) expected.
#pragma once

#include "client.hpp"

namespace quarry {

template <Platform P>
class Overflow {
public:
    // Room for a pool of so many pages: one owner for four pages, 64..4096.
    static u32 capacity_for(u64 pages) {
        u64 wanted = 64;
        while (wanted < 4096 && wanted * 4 < pages) wanted *= 2;
        return static_cast<u32>(wanted);
    }

    Overflow() = default;
    ~Overflow() {
        if (entries_) P::meta_free(entries_, meta_bytes());
    }
    Overflow(const Overflow&) = delete;
    Overflow& operator=(const Overflow&) = delete;

    // Context: task. Errors: no_memory.
    Error init(u32 capacity) {
        capacity_ = capacity;
        entries_ = static_cast<Entry*>(P::meta_alloc(meta_bytes(), Context::may_sleep));
        return entries_ ? Error::none : Error::no_memory;
    }
    u64 meta_bytes() const { return u64{capacity_} * sizeof(Entry); }
    u32 capacity() const { return capacity_; }
    u32 used() const { return used_; }

    typename P::Lock lock{QUARRY_LOCK_OVERFLOW};

    // The owner of the object at `offset`, or nobody.
    ClientIndex find(Offset offset) const {
        const u32 at = slot_of(offset);
        return entries_[at].owner;
    }

    // False when the table is full. The offset has no entry yet.
    bool insert(Offset offset, ClientIndex owner) {
        if (u64{used_ + 1} * 4 > u64{capacity_} * 3) return false;
        entries_[slot_of(offset)] = {key_of(offset), owner};
        ++used_;
        ++changes_;
        return true;
    }

    // The offset has an entry.
    void set(Offset offset, ClientIndex owner) { entries_[slot_of(offset)].owner = owner; }

    // The offset has an entry. Those behind it close the gap.
    void remove(Offset offset) {
        u32 gap = slot_of(offset);
        for (u32 at = next(gap); entries_[at].owner; at = next(at)) {
            const u32 home = hash(entries_[at].key);
            // Moves when its home is not in (gap, at], cyclically.
            if (((at - home) & (capacity_ - 1)) >= ((at - gap) & (capacity_ - 1))) {
                entries_[gap] = entries_[at];
                gap = at;
            }
        }
        entries_[gap] = {};
        --used_;
        ++changes_;
    }

    // The first object of `owner` in the table from `at` on, looking at no more than 32
    // entries; advances `at`. Removal may move entries across `at`: begin again until a
    // whole round finds none.
    bool next_of(ClientIndex owner, u32& at, Offset& offset) const {
        for (u32 steps = 0; steps < kStepSlots && at < capacity_; ++steps, ++at) {
            if (entries_[at].owner != owner) continue;
            offset = u64{entries_[at].key} * kGrain;
            return true;
        }
        return false;
    }

    // f(offset, owner) for entry `at`, when it is one.
    template <typename F>
    void visit(u32 at, F&& f) const {
        if (entries_[at].owner) f(u64{entries_[at].key} * kGrain, entries_[at].owner);
    }
    // Entry `at` is empty, or found from its home.
    bool sound(u32 at) const {
        return !entries_[at].owner || slot_of(u64{entries_[at].key} * kGrain) == at;
    }
    // Grows with each insertion and removal.
    u64 changes() const { return changes_; }

private:
    // Offsets of pools with owners stay below 2^35: the key is the offset in grains.
    struct Entry {
        u32 key;
        ClientIndex owner;
    };

    static u32 key_of(Offset offset) { return static_cast<u32>(offset / kGrain); }
    u32 hash(u32 key) const { return (key * 2654435769u >> 12) & (capacity_ - 1); }
    u32 next(u32 at) const { return (at + 1) & (capacity_ - 1); }
    // Where the offset's entry is, or the empty place where it would go.
    u32 slot_of(Offset offset) const {
        const u32 key = key_of(offset);
        u32 at = hash(key);
        while (entries_[at].owner && entries_[at].key != key) at = next(at);
        return at;
    }

    Entry* entries_ = nullptr;
    u32 capacity_ = 0;
    u32 used_ = 0;
    u64 changes_ = 0;
};

}  // namespace quarry
