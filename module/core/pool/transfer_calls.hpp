// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Hands objects on: from one client of a pool to another, without a moment in which they are free.
// A slot changes its owner by one compare-and-swap, neighbours of one owner word together; a run
// is nobody's for a moment, so that one call alone may touch its links. Of a shared object the
// share is handed on (share_calls.hpp).
//
// Context: task. Cost: O(1) for each object; O(holders) for a shared one.
#pragma once

#include "pool.hpp"

namespace quarry {

template <Platform P>
class TransferCalls {
public:
    using Place = typename Pool<P>::Place;

    explicit TransferCalls(Pool<P>& pool) : pool_(pool) {}

    // Moves in order; stops at the first that is refused. Context: task. Errors: those of
    // Pool::free; quota (the taker's), owners_full.
    PoolGranted transfer(Client<P>& from, Client<P>& to, const Offset* offsets, u32 count,
                         PoolRefusal& refusal) {
        if (auto* ranges = pool_.ranges())
            return ranges->transfer(from, to, offsets, count, refusal);
        PoolGranted g;
        while (g.done < count && ok(g.why)) {
            ReadGuard<P> reader;
            NearSlab<SlabT> near;
            const u32 stop = count - g.done < kStepSlots ? count : g.done + kStepSlots;
            while (g.done < stop && ok(g.why)) {
                const u32 together = near.move(from, to, offsets + g.done, stop - g.done);
                if (!together) g.why = move_one(from, to, offsets[g.done], refusal, near);
                g.done += together ? together : ok(g.why);
            }
        }
        return g;
    }

    // One that is `from`'s alone. As a reader.
    Error move(Client<P>& from, Client<P>& to, const Place& place, PoolRefusal& refusal) {
        return place.slab ? move_slot(from, to, place, refusal) : move_run(from, to, place, refusal);
    }

private:
    using SlabT = typename Pool<P>::SlabT;

    Error move_one(Client<P>& from, Client<P>& to, Offset offset, PoolRefusal& refusal,
                   NearSlab<SlabT>& near) {
        refusal = {offset, 0};
        const auto place = pool_.locate(offset);
        if (!place) return place.error();
        if (pool_.owner_at(*place) == kCommons) {
            const u64 bytes = pool_.bytes_of(*place);
            if (!to.reserve(1, bytes)) return Error::quota;
            if (const Error e = pool_.shares_.move(offset, from, to); !ok(e)) {
                to.unreserve(bytes);
                return e;
            }
            to.count_granted(1);
            from.count_freed(1, bytes);
            return Error::none;
        }
        return place->slab ? move_slot(from, to, *place, refusal, &near)
                           : move_run(from, to, *place, refusal);
    }

    Error move_slot(Client<P>& from, Client<P>& to, const Place& place, PoolRefusal& refusal,
                    NearSlab<SlabT>* near = nullptr) {
        SlabT& slab = *place.slab;
        const u64 unit = slab.size_class().slot_bytes;
        // Refusals by owner come before those by limit.
        const ClientIndex now = pool_.owners_.owner_of(slab, place.slot);
        if (pool_.is_free(now)) return Error::already_free;
        if (now != from.index()) return pool_.blame(refusal, now, Error::not_owner);
        if (!to.reserve(1, unit)) return Error::quota;
        u32 entry;
        {
            Guard guard(pool_.slabs_.lock_of(slab.class_index()));
            entry = pool_.owners_.enter(slab, to);
            slab.marks().note_client(to.index());
        }
        ClientIndex owner = kNobody;
        const Error e = pool_.owners_.move(slab, place.slot, from, to, entry, owner);
        if (!ok(e)) {
            to.unreserve(unit);
            return owner == kKeeper ? Error::already_free : pool_.blame(refusal, owner, e);
        }
        to.count_granted(1);
        from.count_freed(1, unit);
        if (near) near->note(slab, from.index(), entry);
        return Error::none;
    }

    Error move_run(Client<P>& from, Client<P>& to, const Place& place, PoolRefusal& refusal) {
        decltype(auto) run = place.desc->run();
        ClientIndex owner = run.owner.load(std::memory_order_acquire);
        if (pool_.is_free(owner)) return Error::already_free;
        if (owner != from.index()) return pool_.blame(refusal, owner, Error::not_owner);
        auto pages = pool_.buddy_.run_pages(place.page);
        if (!pages) return pages.error();
        u64 unit = *pages * kPageBytes;
        if (!to.reserve(1, unit)) return Error::quota;
        // Nobody's for a moment: then only this call may touch its links.
        if (!run.owner.compare_exchange_strong(owner, kNobody, std::memory_order_acq_rel,
                                               std::memory_order_acquire)) {
            to.unreserve(unit);
            return pool_.is_free(owner) ? Error::already_free
                                        : pool_.blame(refusal, owner, Error::not_owner);
        }
        // Freed and granted again to the same client meanwhile, it may be of another size,
        // which only now cannot change any more.
        pages = pool_.buddy_.run_pages(place.page);
        if (!pages || *pages * kPageBytes != unit) {
            to.unreserve(unit);
            unit = pages ? *pages * kPageBytes : 0;
            if (!pages || !to.reserve(1, unit)) {
                run.owner.store(from.index(), std::memory_order_release);
                return pages ? Error::quota : pages.error();
            }
        }
        const ChainLink link = chain_link(place.page, 0);
        pool_.owners_.chain().unlink(from, link);
        pool_.owners_.chain().push(to, link);
        run.owner.store(to.index(), std::memory_order_release);
        to.count_granted(1);
        from.count_freed(1, unit);
        return Error::none;
    }

    Pool<P>& pool_;
};

}  // namespace quarry
