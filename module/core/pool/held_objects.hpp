// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// HeldObjects: objects of whole pages that nobody owns any more and the platform still holds,
// because I/O into them is in flight. They belong to a client of the pool's own, the keeper, by the
// same records as any other's, so that nobody is given one before it is let go: runs of a heap, slots
// of a fixed pool, in each of whose slabs the keeper has an entry. An object comes here when its
// owner frees it or dies; nothing tells when a hold ends, so recheck() looks at each again: when
// objects are wanted, and from time to time.
//
//   bound    a living client's free is refused (busy) when more than a quarter of the pool would
//            be held; what a dead one leaves is kept in any case
//   busy_    false -> true    who looks: exchange, acquire     nobody else unlinks from the
//            true -> false    and is done: store, release      keeper's chain meanwhile
//
// Context: keep: any, as a reader; recheck: task, not a reader. Cost of recheck: O(pages held),
// in a fixed pool O(slabs) besides.
#pragma once

#include "ownership.hpp"

namespace quarry {

template <Platform P>
class HeldObjects {
public:
    using Slabs = SlabAllocator<P, ClientOwners<P>>;
    using SlabT = typename Slabs::SlabT;

    // `fixed_live`: what a fixed pool counts of its objects that are out.
    HeldObjects(void* pool, void* os, u64 max_pages, Buddy<P>& buddy, ClientOwners<P>& owners,
                Slabs& slabs, std::atomic<u64>& fixed_live)
        : os_(os),
          most_(max_pages < 4 ? kPageBytes : max_pages / 4 * kPageBytes),
          buddy_(buddy),
          owners_(owners),
          slabs_(slabs),
          fixed_live_(fixed_live),
          keeper_(pool, kKeeper, 0, 0) {
        owners_.set_keeper(&keeper_);
    }
    ~HeldObjects() { owners_.set_keeper(nullptr); }
    HeldObjects(const HeldObjects&) = delete;
    HeldObjects& operator=(const HeldObjects&) = delete;

    Client<P>& keeper() { return keeper_; }
    const Client<P>& keeper() const { return keeper_; }
    u64 bytes() const { return keeper_.bytes(); }

    // Does somebody beside its mappings hold a page of it? As a reader.
    bool is_held(Offset offset, u64 bytes) const { return P::held(os_, offset, bytes); }
    // May a living client let go of it? As a reader.
    bool may_leave(Offset offset, u64 bytes) const {
        return this->bytes() + bytes <= most_ || !is_held(offset, bytes);
    }

    // A run whose owner word was just cleared, and that is on no chain.
    void keep(PageNumber page, u64 pages) {
        count_in(pages * kPageBytes);
        // The owner first: once it is on the chain, a recheck beside this may free it.
        buddy_.find(page)->run().owner.store(kKeeper, std::memory_order_release);
        owners_.chain().push(keeper_, chain_link(page, 0));
    }

    // The slot is the keeper's from here on. Errors: as ClientOwners::release.
    Error keep_slot(SlabT& slab, SlotIndex slot, Client<P>& from, ClientIndex& owner) {
        const u64 bytes = slab.size_class().slot_bytes;
        count_in(bytes);
        const Error e = owners_.move(slab, slot, from, keeper_, entry(slab), owner);
        if (!ok(e)) keeper_.count_freed(1, bytes);
        return e;
    }
    // Those of a dead client's slots of bitmap word w that are held; answers how many. `e` is its
    // entry there.
    u32 keep_slots(SlabT& slab, u32 w, u32 e) {
        const u64 bytes = slab.size_class().slot_bytes;
        u32 kept = 0;
        for (u32 left = slab.marks().owned(w, ~u32{0}); left; left &= left - 1) {
            const SlotIndex slot = w * 32 + lowest_bit(left);
            if (slab.marks().owner(slot) != e || !is_held(slab.offset_of(slot), bytes)) continue;
            count_in(bytes);
            (void)slab.marks().change(slot, e, entry(slab));
            ++kept;
        }
        return kept;
    }
    // The same of a slot that is in no dictionary; under the overflow lock, before it leaves that
    // table.
    void keep_overflowed(SlabT& slab, SlotIndex slot) {
        count_in(slab.size_class().slot_bytes);
        (void)slab.marks().change(slot, 0, entry(slab));
    }

    // Gives back what was let go; answers how many pages. 0, too, when another is at it for long.
    u64 recheck() {
        if (!bytes()) return 0;
        for (u32 tries = 0; busy_.exchange(true, std::memory_order_acquire); ++tries) {
            if (tries == kTries) return 0;
            P::breathe();
        }
        u64 given = 0;
        ChainLink links[kStepSlots];
        ChainLink last_held = kNoLink;
        for (u32 n = kStepSlots; n == kStepSlots; P::breathe()) {
            {
                ReadGuard<P> reader;
                n = owners_.chain().after(keeper_, last_held, links, kStepSlots);
            }
            for (u32 i = 0; i < n; ++i) {
                ReadGuard<P> reader;
                const bool slab = chain_entry(links[i]) != 0;
                const u64 pages = slab ? let_go_slots(links[i]) : let_go(links[i]);
                given += pages;
                // A slab's entry stays, whatever went.
                if (slab || !pages) last_held = links[i];
            }
        }
        busy_.store(false, std::memory_order_release);
        return given;
    }

private:
    static constexpr u32 kTries = 1000;

    static u32 entry(SlabT& slab) { return slab.marks().entry_of(kKeeper); }
    void count_in(u64 bytes) {
        keeper_.reserve_beyond(1, bytes);
        keeper_.count_granted(1);
    }

    // Its pages; 0 when it is held still.
    u64 let_go(ChainLink link) {
        const PageNumber page = chain_page(link);
        const auto pages = buddy_.run_pages(page);
        if (!pages || is_held(value(page) * kPageBytes, *pages * kPageBytes)) return 0;
        buddy_.find(page)->run().owner.store(kNobody, std::memory_order_release);
        owners_.chain().unlink(keeper_, link);
        (void)buddy_.free_run(page);
        keeper_.count_freed(1, *pages * kPageBytes);
        return *pages;
    }

    // Pages of the slab's slots that are held no more.
    u64 let_go_slots(ChainLink link) {
        SlabT* slab = owners_.slab_at(static_cast<u32>(value(chain_page(link))), 0);
        if (!slab) return 0;
        const u64 bytes = slab->size_class().slot_bytes;
        const u32 e = chain_entry(link);
        typename Slabs::Homing homing(slabs_);
        u64 slots = 0;
        for (u32 w = 0; w < slab->words(); ++w) {
            for (u32 left = slab->marks().owned(w, ~u32{0}); left; left &= left - 1) {
                const SlotIndex slot = w * 32 + lowest_bit(left);
                if (slab->marks().owner(slot) != e || is_held(slab->offset_of(slot), bytes))
                    continue;
                (void)slab->marks().change(slot, e, 0);
                homing.add(*slab, slot);
                ++slots;
            }
        }
        if (!slots) return 0;
        keeper_.count_freed(slots, slots * bytes);
        fixed_live_.fetch_sub(slots, std::memory_order_release);
        return slots * bytes / kPageBytes;
    }

    void* const os_;
    const u64 most_;  // bytes
    Buddy<P>& buddy_;
    ClientOwners<P>& owners_;
    Slabs& slabs_;
    std::atomic<u64>& fixed_live_;
    std::atomic<bool> busy_{false};
    Client<P> keeper_;
};

}  // namespace quarry
