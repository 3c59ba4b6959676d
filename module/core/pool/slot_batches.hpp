// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Slots of one class to and from a client, many at a time and without a promise: what
// refills and drains of magazines move (magazine_calls.hpp).
//
//   take_some   as many as lie ready, up to n
//   give_slots  each that is a slot of this class and client; the others are named
//
// An owner changes as in Pool::free, so both may run beside every call. O(n).
#pragma once

#include "pool.hpp"

namespace quarry {

template <Platform P>
class SlotBatches {
public:
    using Slabs = typename Pool<P>::Slabs;
    using SlabT = typename Pool<P>::SlabT;

    explicit SlotBatches(Pool<P>& pool) : pool_(pool) {}

    // Up to n slots of class c as they come: nothing is reclaimed for them, no owner record
    // of the last resort is used. `near`: what this CPU got last (SlabAllocator::take). Answers
    // how many. Context: task.
    u32 take_some(Client<P>& client, u32 c, u32 n, Offset* out, Offset near) {
        const u64 unit = pool_.slabs().size_class(c).slot_bytes;
        const u32 allowed = client.reserve(n, unit);
        const u32 wanted = pool_.reserve_objects(allowed);
        u32 got = 0;
        while (got < wanted) {
            {
                ReadGuard<P> reader;
                got += pool_.slabs().take(c, wanted - got, client, out + got, false, near);
            }
            if (got == wanted) break;
            if (!pool_.config().fixed &&
                ok(pool_.slabs().add_slab(c, Zone::normal, Context::may_sleep,
                                          pool_.config().zero_on_regrant)))
                continue;
            if (near != kApart) break;
            near = kAnywhere;
        }
        pool_.finish_grants(out, got, unit);
        if (got < allowed) client.unreserve((allowed - got) * unit);
        if (got < wanted) pool_.objects_home(wanted - got);
        client.count_granted(got);
        return got;
    }

    // Sends slots of class c home, whatever their order; refused(e, offset, owner) is called
    // for each that is no slot of this class and client, in their order. Answers how many.
    // Context: any, as a reader.
    //
    // Neighbours go together: what follows in the slab and owner word of the one before is
    // released by one change of that word. A slab that died meanwhile has no owners.
    template <typename Refused>
    u32 give_slots(Client<P>& client, u32 c, const Offset* offsets, u32 n, Refused&& refused) {
        typename Slabs::Homing homing(pool_.slabs());
        SlabT* slab = nullptr;  // of the last one that went home
        u32 entry = 0;          // the client's in it
        u32 home = 0;
        for (u32 i = 0; i < n;) {
            SlotGroup group;
            u32 end = i;
            if (entry && slab->state() != SlabState::quarantined)
                end = gather(*slab, offsets, i, n, group);
            if (end == i) {
                home += give_slot(client, c, offsets[i++], homing, refused, slab, entry);
                continue;
            }
            SlabT& near = *slab;
            const u32 mine = near.marks().strip_some(group.word, group.slots, entry);
            if (mine) homing.add_word(near, group.word / 2, mine << (group.word & 1) * 16);
            home += popcount(mine);
            for (; i < end; ++i) {
                if (mine == group.slots) continue;
                // Who was not the client's is looked at alone.
                if (!(mine >> near.slot_at(offsets[i]) % 16 & 1))
                    home += give_slot(client, c, offsets[i], homing, refused, slab, entry);
            }
        }
        client.count_freed(home, u64{home} * pool_.slabs().size_class(c).slot_bytes);
        pool_.objects_home(home);
        return home;
    }

private:
    // Slots of one owner word, 16 of them.
    struct SlotGroup {
        u32 word = 0;
        u32 slots = 0;
    };
    // Those from i on that lie in one owner word of the slab, each once; answers behind which.
    u32 gather(const SlabT& slab, const Offset* offsets, u32 i, u32 n, SlotGroup& group) const {
        const u64 bytes = slab.size_class().slab_bytes();
        const u32 slots = slab.slots();
        const Offset base = slab.base();
        for (; i < n; ++i) {
            if (offsets[i] - base >= bytes) break;
            const SlotIndex slot = slab.slot_at(offsets[i]);
            if (slot == slots) break;
            const u32 bit = u32{1} << slot % 16;
            if (!group.slots) group.word = slot / 16;
            if (group.word != slot / 16 || group.slots & bit) break;
            group.slots |= bit;
        }
        return i;
    }
    // 1 when it went home; then `slab` is its slab, and `entry` the client's there, or 0.
    template <typename Refused>
    u32 give_slot(Client<P>& client, u32 c, Offset offset, typename Slabs::Homing& homing,
                  Refused&& refused, SlabT*& slab, u32& entry) {
        const auto place = pool_.locate(offset);
        ClientIndex owner = kNobody;
        Error e = place.error();
        if (ok(e) && (!place->slab || place->slab->class_index() != c)) e = Error::wrong_size;
        if (ok(e)) e = pool_.owners().release(*place->slab, place->slot, client, owner);
        if (!ok(e)) {
            const Client<P>* holder = pool_.clients().find(owner);
            refused(e, offset, holder ? holder->id() : 0);
            return 0;
        }
        homing.add(*place->slab, place->slot);
        if (slab != place->slab) {
            slab = place->slab;
            entry = slab->marks().entry_of(client.index());
        }
        return 1;
    }

    Pool<P>& pool_;
};

}  // namespace quarry
