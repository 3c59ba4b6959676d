// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Neighbours in a batch: what follows in the slab and owner word of the one before changes its
// owner by one change of that word, without a look-up for each.
//
// Context: any, as a reader. Cost: O(slots of the group).
#pragma once

#include "ownership.hpp"

namespace quarry {

// Slots of one owner word, 16 of them.
struct SlotGroup {
    u32 word = 0;
    u32 slots = 0;
};

// Those from i on that lie in one owner word of the slab, each once; answers behind which.
template <typename SlabT>
u32 gather(const SlabT& slab, const Offset* offsets, u32 i, u32 n, SlotGroup& group) {
    if (offsets[i] - slab.base() >= slab.size_class().slab_bytes()) return i;
    const SlotIndex first = slab.slot_at(offsets[i]);
    if (first == slab.slots()) return i;
    const u64 step = slab.size_class().slot_bytes;
    Offset at = offsets[i];
    u32 bit = u32{1} << first % 16;
    group = {first / 16, bit};
    for (++i; i < n; ++i) {
        // Mostly the next one, up or down.
        const u64 distance = offsets[i] - at;
        if (distance == step) {
            bit <<= 1;
        } else if (distance == u64{0} - step) {
            bit >>= 1;
        } else {
            if (offsets[i] - slab.base() >= slab.size_class().slab_bytes()) break;
            const SlotIndex slot = slab.slot_at(offsets[i]);
            if (slot == slab.slots() || slot / 16 != group.word) break;
            bit = u32{1} << slot % 16;
        }
        // Behind the word, or here already. What lies behind the slab's last slot has no owner.
        if (!(bit & 0xffff & ~group.slots)) break;
        group.slots |= bit;
        at = offsets[i];
    }
    return i;
}

// The slab that the last slot was of, and its clients' entries there; 0: not known.
template <typename SlabT>
struct NearSlab {
    SlabT* slab = nullptr;
    u32 from = 0;
    u32 to = 0;

    // Neighbours at the front of these; 0: the first has to be looked at alone.
    u32 find(const Offset* offsets, u32 n, SlotGroup& group) const {
        if (!from || slab->state() == SlabState::quarantined) return 0;
        return gather(*slab, offsets, 0, n, group);
    }
    // So many of them were the giver's, and are on their way home.
    template <typename Homing>
    u32 release(const Offset* offsets, u32 n, Homing& homing) {
        SlotGroup group;
        const u32 found = find(offsets, n, group);
        if (!found || !slab->marks().change_all(group.word, group.slots, from, 0)) return 0;
        homing.add_word(*slab, group.word / 2, group.slots << (group.word & 1) * 16);
        return found;
    }
    // So many of them were the giver's, and are the taker's; counted for both.
    template <typename C>
    u32 move(C& giver, C& taker, const Offset* offsets, u32 n) {
        SlotGroup group;
        const u32 found = to ? find(offsets, n, group) : 0;
        if (!found) return 0;
        const u64 unit = slab->size_class().slot_bytes;
        const u32 room = taker.reserve(found, unit);
        if (room < found || !slab->marks().change_all(group.word, group.slots, from, to)) {
            taker.unreserve(u64{room} * unit);
            return 0;
        }
        taker.count_granted(found);
        giver.count_freed(found, u64{found} * unit);
        return found;
    }
    void note(SlabT& of, ClientIndex giver, u32 taker_entry = 0) {
        if (slab != &of) from = of.marks().entry_of(giver);
        slab = &of;
        to = taker_entry;
    }
};

}  // namespace quarry
