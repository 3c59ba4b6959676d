// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// ClientOwners: the owner policy of a client pool's slabs (slabs/owner_policy.hpp), and
// what ownership allows beyond it: to release a slot, to move it to another client, to
// strip a dead client of what it had.
//
// The owner's record is the authority: a free takes effect by the change of the owner
// from "me" to "nobody"; the way home comes after. A slot whose nibble is 0 may have
// its owner in the overflow table; changes between the two are made with the overflow
// lock held, so that whoever finds nibble 0 and then takes that lock sees the truth.
//
// Context: any, as a reader. Costs: O(1); entry look-ups walk 15 words.
#pragma once

#include "../slabs/slab_allocator.hpp"
#include "chain.hpp"
#include "client_table.hpp"
#include "overflow.hpp"
#include "owner_marks.hpp"

namespace quarry {

template <Platform P>
class ClientOwners {
public:
    using Marks = OwnerMarks;
    using Grantee = Client<P>;
    using SlabT = Slab<ClientOwners>;
    static constexpr bool kStrayIsCorruption = true;

    // `tell_foreign`: somebody wants to know whose the slots were before.
    ClientOwners(Buddy<P>& buddy, ClientTable<P>& clients, Overflow<P>& overflow,
                 bool tell_foreign)
        : buddy_(buddy),
          clients_(clients),
          overflow_(overflow),
          chain_(buddy),
          tell_foreign_(tell_foreign) {}

    Chain<P, ClientOwners>& chain() { return chain_; }
    // Has an entry in each slab of objects of whole pages, from its making on. Null: nobody.
    void set_keeper(Client<P>* keeper) { keeper_ = keeper; }

    // ---- the policy, under the class lock ----

    // What the CPU had last, if that has something left; else the client.
    SlabT* preferred(Client<P>& client, u32 c, Offset near) {
        if (near < kApart)
            if (SlabT* slab = slab_at(static_cast<u32>(near / kPageBytes), c))
                if (slab->state() == SlabState::partial) return slab;
        const u32 hint = client.slab_hint[c < kClasses ? c : 0];
        return hint == kNoLink ? nullptr : slab_at(hint, c);
    }

    SlabT* slab_at(u32 page, u32 c) {
        PageDesc* desc = buddy_.find(PageNumber{page});
        if (!desc) return nullptr;
        const u64 word = desc->word();
        if (PageDesc::state(word) != PageState::slab || desc->size_class() != c) return nullptr;
        // The page may have become another class's slab between the two.
        auto* slab = PageDesc::slab<SlabT>(word);
        return slab->class_index() == c ? slab : nullptr;
    }

    bool is_spread(const Client<P>& client, u32 c) {
        return client.slab_hint[c < kClasses ? c : 0] != kNoLink;
    }

    bool admit(SlabT& slab, Client<P>& client, bool last_resort) {
        return enter(slab, client) != 0 || last_resort;
    }

    SlabGrant grant(SlabT& slab, u32 w, u32 bits, Client<P>& client) {
        OwnerMarks& marks = slab.marks();
        client.slab_hint[slab.class_index()] = static_cast<u32>(slab.base() / kPageBytes);
        SlabGrant result{};
        result.duplicates = marks.owned(w, bits);
        bits &= ~result.duplicates;
        result.foreign = marks.note_client(client.index()) && tell_foreign_;
        if (const u32 e = marks.entry_of(client.index())) {
            marks.grant(w, bits, e);
            result.granted = bits;
            return result;
        }
        Guard guard(overflow_.lock);
        for (u32 left = bits; left; left &= left - 1) {
            if (!overflow_.insert(slab.offset_of(w * 32 + lowest_bit(left)), client.index())) break;
            ++client.overflow_entries;
            result.granted |= left & -left;
        }
        return result;
    }

    u32 free_of_marks(SlabT& slab, u32 w, u32 bits) {
        return bits & ~slab.marks().owned(w, bits);
    }

    // Clients read the class of a page in a table of the platform's: true from before the
    // first grant until after the last slot came home. What is no size class is not told.
    void made(SlabT& slab, void* os) {
        if (keeper_ && slab.size_class().slot_bytes > kMaxSlot) (void)enter(slab, *keeper_);
        tell_class(slab, os, slab.class_index() + 1);
    }
    void gone(const SlabT& slab, void* os) const { tell_class(slab, os, 0); }

    // The empty slab goes: its entries leave their clients' chains.
    void forget(SlabT& slab) {
        OwnerMarks& marks = slab.marks();
        for (u32 e = 1; e <= kOwnerEntries; ++e) {
            const ClientIndex index = marks.client(e);
            if (index == kNobody) continue;
            if (Client<P>* client = clients_.find(index)) chain_.unlink(*client, link_of(slab, e));
            marks.set_client(e, kNobody);
        }
    }

    // ---- slots of living clients ----

    // The slot is nobody's from here on: send it home. On not_owner, `owner` says whose it is.
    Error release(SlabT& slab, SlotIndex slot, Client<P>& me, ClientIndex& owner) {
        OwnerMarks& marks = slab.marks();
        for (;;) {
            const u32 e = marks.owner(slot);
            if (!e) break;
            owner = marks.client(e);
            if (owner != me.index()) return Error::not_owner;
            if (marks.change(slot, e, 0)) return Error::none;
        }
        Guard guard(overflow_.lock);
        const Offset offset = slab.offset_of(slot);
        owner = overflow_.find(offset);
        if (owner == kNobody) return marks.owner(slot) ? Error::not_owner : Error::already_free;
        if (owner != me.index()) return Error::not_owner;
        overflow_.remove(offset);
        --me.overflow_entries;
        return Error::none;
    }

    // The slot is to's from here on. `entry` is to's entry in this slab, or 0: then the
    // overflow table. Errors: as release; owners_full.
    Error move(SlabT& slab, SlotIndex slot, Client<P>& from, Client<P>& to, u32 entry,
               ClientIndex& owner) {
        OwnerMarks& marks = slab.marks();
        const Offset offset = slab.offset_of(slot);
        for (;;) {
            const u32 e = marks.owner(slot);
            if (!e) break;
            owner = marks.client(e);
            if (owner != from.index()) return Error::not_owner;
            if (entry) {
                if (marks.change(slot, e, entry)) return Error::none;
                continue;
            }
            Guard guard(overflow_.lock);
            // A slot with an owner here has no entry there, and only this lock makes one.
            if (marks.owner(slot) != e) continue;
            if (!overflow_.insert(offset, to.index())) return Error::owners_full;
            if (marks.change(slot, e, 0)) {
                ++to.overflow_entries;
                return Error::none;
            }
            overflow_.remove(offset);
        }
        Guard guard(overflow_.lock);
        owner = overflow_.find(offset);
        if (owner == kNobody) return marks.owner(slot) ? Error::not_owner : Error::already_free;
        if (owner != from.index()) return Error::not_owner;
        --from.overflow_entries;
        if (entry) {
            (void)marks.change(slot, 0, entry);
            overflow_.remove(offset);
        } else {
            overflow_.set(offset, to.index());
            ++to.overflow_entries;
        }
        return Error::none;
    }

    // Under the class lock: the client's entry in this slab, made when there is room; or 0.
    u32 enter(SlabT& slab, Client<P>& client) {
        OwnerMarks& marks = slab.marks();
        if (const u32 e = marks.entry_of(client.index())) return e;
        const u32 e = marks.entry_of(kNobody);
        if (!e || slab.state() == SlabState::dead) return 0;
        marks.set_client(e, client.index());
        chain_.push(client, link_of(slab, e));
        return e;
    }

    static ChainLink link_of(const SlabT& slab, u32 entry) {
        return chain_link(PageNumber{slab.base() / kPageBytes}, entry);
    }

    // Whose slot it is, for refusals and audits; nobody when it is free.
    ClientIndex owner_of(SlabT& slab, SlotIndex slot) {
        if (const u32 e = slab.marks().owner(slot)) return slab.marks().client(e);
        Guard guard(overflow_.lock);
        return overflow_.find(slab.offset_of(slot));
    }

private:
    static void tell_class(const SlabT& slab, void* os, u32 value) {
        if constexpr (requires { P::slab_class(os, Offset{}, u64{}, u32{}); }) {
            const SizeClass& c = slab.size_class();
            if (c.slot_bytes <= kMaxSlot) P::slab_class(os, slab.base(), pages_of(c.order), value);
        }
    }

    Buddy<P>& buddy_;
    ClientTable<P>& clients_;
    Overflow<P>& overflow_;
    Chain<P, ClientOwners> chain_;
    const bool tell_foreign_;
    Client<P>* keeper_ = nullptr;
};

}  // namespace quarry
