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
    u32 count;  // of offsets that name them
    u32 word;
    u32 slots;
};

// The first of these offsets as far as they lie in one owner word of the slab, each once. They mostly
// follow each other, up or down: no division for those.
template <typename SlabT>
[[gnu::noinline]] SlotGroup gather(const SlabT& slab, const Offset* offsets, u32 n) {
    const SlotIndex first = slab.holds(offsets[0]) ? slab.slot_at(offsets[0]) : slab.slots();
    if (first == slab.slots()) return {0, 0, 0};
    const u64 step = slab.size_class().slot_bytes;
    u32 at = first % 16;
    u32 slots = u32{1} << at;
    u32 i = 1;
    while (i < n) {
        const u64 distance = offsets[i] - offsets[i - 1];
        const bool up = distance == step;
        u32 bits;
        u32 end = i;
        if (up || distance == u64{0} - step) {
            const u32 room = up ? 15 - at : at;
            const u32 last = n - i < room ? n : i + room;
            while (end < last && offsets[end] - offsets[end - 1] == distance) ++end;
            const u32 run = end - i;
            at = up ? at + run : at - run;
            bits = ((u32{1} << run) - 1) << (up ? at - run + 1 : at);
        } else {
            const SlotIndex slot = slab.holds(offsets[i]) ? slab.slot_at(offsets[i]) : slab.slots();
            if (slot == slab.slots() || slot / 16 != first / 16) break;
            at = slot % 16;
            bits = u32{1} << at;
            ++end;
        }
        // At the word's end, or here already. What lies behind the slab's last slot has no owner.
        if (end == i || slots & bits) break;
        slots |= bits;
        i = end;
    }
    return {i, first / 16, slots};
}

// The slab that the last slot was of, and its clients' entries there; 0: not known.
template <typename SlabT>
struct NearSlab {
    SlabT* slab = nullptr;
    u32 from = 0;
    u32 to = 0;

    // Neighbours at the front of these; none: the first has to be looked at alone.
    SlotGroup find(const Offset* offsets, u32 n) const {
        if (!from || slab->state() == SlabState::quarantined) return {0, 0, 0};
        return gather(*slab, offsets, n);
    }
    // So many of them were the giver's, and are on their way home.
    template <typename Homing>
    u32 release(const Offset* offsets, u32 n, Homing& homing) {
        const SlotGroup group = find(offsets, n);
        if (!group.count || !slab->marks().change_all(group.word, group.slots, from, 0)) return 0;
        homing.add_word(*slab, group.word / 2, group.slots << (group.word & 1) * 16);
        return group.count;
    }
    // So many of them were the giver's, and are the taker's; counted for both.
    template <typename C>
    u32 move(C& giver, C& taker, const Offset* offsets, u32 n) {
        const SlotGroup group = to ? find(offsets, n) : SlotGroup{};
        const u32 found = group.count;
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
