// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The reaper takes back everything that a dead client owns: it walks the client's
// chain, so its cost is that of the client's slabs and runs, never the pool's.
//
// It steps: at most 32 slots, without a lock (a compare-and-swap on the owner words,
// one OR into the remote bitmap), then a breath. A lock is held only to read 8 links of
// the chain, to take so many slabs off it and let go of those before (class, then client), and
// for one free of pages; never an object's work under a hold. A slab is pinned
// meanwhile, so that it cannot die.
//
// The caller guarantees that no call of this client runs or comes, neither as caller
// nor as receiver. Others go on. Context: task.
#pragma once

#include "reserves.hpp"

namespace quarry {

template <Platform P>
class Reaper {
public:
    using Taken = typename RangePool<P>::Taken;

    explicit Reaper(Pool<P>& pool) : pool_(pool) {}

    Taken reap(Client<P>& client) {
        // What is set aside is in its chains.
        if (auto* reserves = client.reserves.load(std::memory_order_acquire)) {
            Guard guard(client.lock);
            reserves->forget();
        }
        if (RangePool<P>* ranges = pool_.ranges()) return ranges->reap(client);
        // What lies in its magazines is its own like all else; only drains must be out first.
        if (auto* magazines = client.magazines.load(std::memory_order_acquire)) magazines->close();
        Taken taken;
        ChainLink links[kLinks];
        while (const u32 n = first(client, links)) {
            for (u32 i = 0; i < n;) {
                if (chain_entry(links[i]))
                    i += reap_slabs(client, links + i, n - i, taken);
                else
                    reap_run(client, links[i++], taken);
                P::breathe();
            }
        }
        let_go(client);
        reap_overflow(client, taken);
        const u64 shared = reap_shares(client, taken);
        client.count_freed(taken.objects, taken.bytes);
        pool_.objects_home(taken.objects - shared - kept_);
        return taken;
    }

private:
    // Under one hold: each is a look-up of its region.
    static constexpr u32 kLinks = 8;

    using Slabs = typename Pool<P>::Slabs;
    using SlabT = typename Pool<P>::SlabT;

    u32 first(Client<P>& client, ChainLink* links) {
        ReadGuard<P> reader;
        return pool_.owners().chain().first(client, links, kLinks);
    }

    void reap_run(Client<P>& client, ChainLink link, Taken& taken) {
        ReadGuard<P> reader;
        PageDesc* desc = pool_.buddy().find(chain_page(link));
        desc->run().owner.store(kNobody, std::memory_order_release);
        pool_.free_run(client, chain_page(link), taken.bytes);
        ++taken.objects;
    }

    // The first of these links as far as their slabs are of one class; answers how many.
    u32 reap_slabs(Client<P>& client, const ChainLink* links, u32 n, Taken& taken) {
        const u32 done = pin(client, links, n);
        for (u32 k = 0; k < pinned_count_; ++k) {
            reap_slab(*pinned_[k].slab, pinned_[k].entry, taken);
            P::breathe();
        }
        return done;
    }

    void reap_slab(SlabT& slab, u32 e, Taken& taken) {
        for (u32 w = 0; w < slab.words(); ++w) {
            if (!slab.marks().owned(w, ~u32{0})) continue;
            keep_held(slab, w, e, taken);
            const u32 bits = slab.marks().strip(w, e);
            if (!bits) continue;
            {
                ReadGuard<P> reader;
                typename Slabs::Homing homing(pool_.slabs());
                homing.add_word(slab, w, bits);
            }
            taken.objects += popcount(bits);
            taken.bytes += u64{popcount(bits)} * slab.size_class().slot_bytes;
            P::breathe();
        }
    }

    // What I/O holds goes to the pool's keeper instead.
    void keep_held(SlabT& slab, u32 w, u32 e, Taken& taken) {
        auto* held = pool_.held();
        if (!held || slab.size_class().slot_bytes <= kMaxSlot) return;
        ReadGuard<P> reader;
        const u32 kept = held->keep_slots(slab, w, e);
        kept_ += kept;
        taken.objects += kept;
        taken.bytes += u64{kept} * slab.size_class().slot_bytes;
    }

    // As a reader. Null: the slab is gone, and took the entry off the chain.
    SlabT* slab_at(ChainLink link) {
        PageDesc* desc = pool_.buddy().find(chain_page(link));
        const u64 word = desc ? desc->word() : 0;
        return desc && PageDesc::state(word) == PageState::slab ? PageDesc::slab<SlabT>(word)
                                                                : nullptr;
    }

    // Takes entries off the chain and keeps their slabs alive, as `pinned_`: the first links
    // whose slabs are of one class, under one hold; answers how many links these were. What was
    // pinned before is let go, under the same hold where its class is the same.
    u32 pin(Client<P>& client, const ChainLink* links, u32 n) {
        ReadGuard<P> reader;
        SlabT* slab = chain_entry(links[0]) ? slab_at(links[0]) : nullptr;
        if (!slab) {
            let_go(client);
            return 1;
        }
        const u32 c = slab->class_index();
        if (pinned_count_ && pinned_[0].slab->class_index() != c) let_go(client);
        Guard guard(pool_.slabs().lock_of(c));
        let_go_locked(client);
        u32 i = 0;
        do {
            const u32 e = chain_entry(links[i]);
            if (slab->state() != SlabState::dead && slab->marks().client(e) == client.index() &&
                pool_.owners().chain().unlink(client, links[i]) && pool_.slabs().pin(*slab))
                pinned_[pinned_count_++] = {slab, e};
            if (++i == n || !chain_entry(links[i])) break;
            slab = slab_at(links[i]);
        } while (slab && slab->class_index() == c);
        return i;
    }

    void let_go(Client<P>& client) {
        if (!pinned_count_) return;
        ReadGuard<P> reader;
        Guard guard(pool_.slabs().lock_of(pinned_[0].slab->class_index()));
        let_go_locked(client);
    }
    // Their entries are nobody's from here on, and they may die.
    void let_go_locked(Client<P>& client) {
        while (pinned_count_) {
            const Pinned& pinned = pinned_[--pinned_count_];
            pinned.slab->marks().set_client(pinned.entry, kNobody);
            pinned.slab->marks().outlive(client.index());
            pool_.slabs().unpin(*pinned.slab);
        }
    }

    void reap_overflow(Client<P>& client, Taken& taken) {
        u32 at = 0;
        while (reap_one_overflow(client, at, taken)) P::breathe();
    }

    // Looks at no more than 32 entries of the table. False: nothing of the client is left in it.
    bool reap_one_overflow(Client<P>& client, u32& at, Taken& taken) {
        auto& table = pool_.overflow();
        ReadGuard<P> reader;
        Offset offset = 0;
        {
            Guard guard(table.lock);
            if (client.overflow_entries == 0) return false;
            if (at >= table.capacity()) at = 0;
            if (!table.next_of(client.index(), at, offset)) return true;
        }
        // The entry is a dead client's: it stays what it is, without the lock, too.
        const u64 word = pool_.buddy().find(PageNumber{offset / kPageBytes})->word();
        SlabT& slab = *PageDesc::slab<SlabT>(word);
        const SlotIndex slot = slab.slot_at(offset);
        const u64 bytes = slab.size_class().slot_bytes;
        auto* held = bytes > kMaxSlot ? pool_.held() : nullptr;
        if (held && !held->is_held(offset, bytes)) held = nullptr;
        {
            Guard guard(table.lock);
            if (held) held->keep_overflowed(slab, slot);
            table.remove(offset);
            --client.overflow_entries;
        }
        ++taken.objects;
        taken.bytes += bytes;
        kept_ += held != nullptr;
        if (held) return true;
        typename Slabs::Homing homing(pool_.slabs());
        homing.add(slab, slot);
        return true;
    }

    // Its shares are dropped; answers of how many objects there are other holders.
    u64 reap_shares(Client<P>& client, Taken& taken) {
        u64 kept = 0;
        for (bool more = true; more; P::breathe()) {
            ReadGuard<P> reader;
            typename Slabs::Homing homing(pool_.slabs());
            Offset offset = 0;
            bool last = false;
            // The object may go with the last share: its size comes before.
            more = pool_.shares().peek(client, offset);
            if (!more) break;
            const auto place = pool_.locate(offset);
            if (place) taken.bytes += pool_.bytes_of(*place);
            ++taken.objects;
            (void)pool_.shares().drop(offset, client, last);
            if (last)
                pool_.free_shared(offset, homing);
            else
                ++kept;
        }
        return kept;
    }

    Pool<P>& pool_;
    struct Pinned {
        SlabT* slab;
        u32 entry;
    };
    Pinned pinned_[kLinks];  // all of one class
    u32 pinned_count_ = 0;
    u64 kept_ = 0;  // objects that I/O holds: the keeper's from here on
};

}  // namespace quarry
