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
    // Neighbours go together (slot_groups.hpp). A slab that died meanwhile has no owners.
    // `also`: an object that its caller frees, which may be null; when it is a neighbour of the
    // last one it goes with them, and `gone` says so.
    template <typename Refused>
    u32 give_slots(Client<P>& client, u32 c, const Offset* offsets, u32 n, Refused&& refused,
                   const Offset* also, bool& gone) {
        typename Slabs::Homing homing(pool_.slabs());
        NearSlab<SlabT> near;
        u32 home = 0;
        for (u32 i = 0; i < n;) {
            const SlotGroup group = near.find(offsets + i, n - i);
            const u32 found = group.count;
            if (!found) {
                home += give_slot(client, c, offsets[i++], homing, refused, near);
                continue;
            }
            SlabT& slab = *near.slab;
            const u32 mine = slab.marks().strip_some(group.word, group.slots, near.from);
            if (mine) homing.add_word(slab, group.word / 2, mine << (group.word & 1) * 16);
            home += popcount(mine);
            if (mine == group.slots) {
                i += found;
                continue;
            }
            for (const u32 end = i + found; i < end; ++i) {
                // Who was not the client's is looked at alone.
                if (!(mine >> slab.slot_at(offsets[i]) % 16 & 1))
                    home += give_slot(client, c, offsets[i], homing, refused, near);
            }
        }
        const u32 with = also && near.release(also, 1, homing) ? 1 : 0;
        gone = with != 0;
        client.count_freed(home + with, u64{home + with} * pool_.slabs().size_class(c).slot_bytes);
        pool_.objects_home(home + with);
        return home;
    }
    template <typename Refused>
    u32 give_slots(Client<P>& client, u32 c, const Offset* offsets, u32 n, Refused&& refused) {
        bool gone;
        return give_slots(client, c, offsets, n, refused, nullptr, gone);
    }

private:
    // 1 when it went home; then `near` is its slab.
    template <typename Refused>
    u32 give_slot(Client<P>& client, u32 c, Offset offset, typename Slabs::Homing& homing,
                  Refused&& refused, NearSlab<SlabT>& near) {
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
        near.note(*place->slab, client.index());
        return 1;
    }

    Pool<P>& pool_;
};

}  // namespace quarry
