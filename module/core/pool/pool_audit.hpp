// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The full structural audit of a pool: its buddy, every slab, every owner record, every
// chain, the overflow table, and the sums. The same for tests, debugfs, fuzzers, tools.
//
// In steps of at most 32 slots, locks and CPU released between. Beside running calls it
// reports only what can never be; when nothing else runs (`quiet`: the caller knows) it
// also compares what it counted with what was accounted.
// Context: task. O(pages + slots + owned objects).
#pragma once

#include "../slabs/slab_audit.hpp"
#include "reserves.hpp"

namespace quarry {

template <Platform P>
class PoolAudit {
public:
    PoolAudit(Pool<P>& pool, Audit& audit) : pool_(pool), audit_(audit) {}

    void run(bool quiet) {
        if (RangePool<P>* ranges = pool_.ranges()) return ranges->verify(audit_);
        pool_.buddy().verify(audit_);
        pool_.clients().verify(audit_, quiet);
        u32 seen[kClasses] = {};
        SlabAudit<P, Policy> slabs(pool_.buddy(), pool_.slabs(), audit_);
        slabs.run(
            seen, [&](SlabT& slab) { dictionary(slab); },
            [&](SlabT& slab, u32 w, u32 taken, u32 remote) { word(slab, w, taken, remote); });
        overflow();
        runs();
        shares();
        audit_.saw_objects(objects_);
        if (quiet) sums(seen);
    }

private:
    using Policy = typename Pool<P>::Policy;
    using SlabT = typename Pool<P>::SlabT;

    // Each entry names a living client once, and is a sound link of its chain.
    void dictionary(SlabT& slab) {
        for (u32 e = 1; e <= kOwnerEntries; ++e) {
            const ClientIndex index = slab.marks().client(e);
            if (index == kNobody) continue;
            if (slab.marks().entry_of(index) != e)
                audit_.fault("a client has two entries in one slab", slab.base());
            Client<P>* client = pool_.clients().find(index);
            if (!client)
                audit_.fault("a slab names a client that does not exist", slab.base());
            else if (!pool_.owners().chain().sound(*client, Policy::link_of(slab, e),
                                                     [] { return true; }))
                audit_.fault("a client's chain is torn", slab.base());
        }
    }

    // A slot with an owner is out, and not on its way home; its owner exists.
    void word(SlabT& slab, u32 w, u32 taken, u32 remote) {
        OwnerMarks& marks = slab.marks();
        const u32 owned = marks.owned(w, ~u32{0});
        if (owned & ~taken) audit_.fault("a free slot has an owner", slab.base());
        if (owned & remote) audit_.fault("a slot comes home with an owner", slab.base());
        for (u32 left = owned; left; left &= left - 1) {
            const u32 e = marks.owner(w * 32 + lowest_bit(left));
            if (!e) continue;  // freed since
            if (marks.client(e) == kNobody)
                audit_.fault("a slot's owner is an unused entry", slab.base());
            else if (marks.client(e) == kKeeper)
                kept_bytes_ += slab.size_class().slot_bytes;
            else
                count(slab.size_class().slot_bytes);
        }
        unowned_ += popcount(taken & ~remote & ~owned);
    }

    // 32 entries under one hold.
    void overflow() {
        auto& table = pool_.overflow();
        u64 before = 0;
        u32 seen = 0;
        bool still = true;
        for (u32 at = 0; at < table.capacity();) {
            {
                ReadGuard<P> reader;
                Guard guard(table.lock);
                if (at == 0) before = table.changes();
                still = still && table.changes() == before;
                for (u32 i = 0; i < kStepSlots && at < table.capacity(); ++i, ++at) {
                    audit_.expect(table.sound(at), "the overflow table is torn", at);
                    table.visit(at, [&](Offset offset, ClientIndex owner) {
                        ++seen;
                        overflow_entry(offset, owner);
                    });
                }
                if (at == table.capacity() && still)
                    audit_.expect(seen == table.used(), "the overflow table is miscounted", seen);
            }
            P::breathe();
        }
    }
    // A slot of its own that no dictionary entry owns, and a client that lives.
    void overflow_entry(Offset offset, ClientIndex owner) {
        const auto place = pool_.locate(offset);
        if (!place || !place->slab) {
            audit_.fault("an overflow owner names no slot", offset);
        } else if (place->slab->marks().owner(place->slot)) {
            audit_.fault("a slot has two owners", offset);
        } else if (!pool_.clients().find(owner)) {
            audit_.fault("an overflow owner does not exist", offset);
        } else {
            count(place->slab->size_class().slot_bytes);
            ++overflowed_;
        }
    }

    // Each holder lives, and what it holds is the commons'.
    void shares() {
        auto& table = pool_.shares();
        for (u32 at = 1; at <= table.capacity(); ++at) {
            {
                ReadGuard<P> reader;
                // None is just becoming shared; one that is freed has lost its record first.
                Guard making(table.making);
                if (const auto s = table.at(at); s.holder != kNobody)
                    share(s.offset, s.holder, s.first, [&] { return table.at(at) == s; });
            }
            if (at % kStepSlots == 0) P::breathe();
        }
    }
    template <typename Still>
    void share(Offset offset, ClientIndex holder, bool first, Still&& still) {
        const auto place = pool_.locate(offset);
        const u64 bytes = place ? pool_.bytes_of(*place) : 0;
        ++records_;
        held_bytes_ += bytes;
        shared_ += first;
        shared_bytes_ += first ? bytes : 0;
        if (!place || pool_.owner_at(*place) != kCommons)
            audit_.expect(!still(), "a share is of what is not shared", offset);
        if (!pool_.clients().find(holder))
            audit_.expect(!still(), "a share's holder does not exist", offset);
    }

    void runs() {
        pool_.buddy().for_each_region([&](const auto& region) {
            for (u64 i = 0; i < region.pages; ++i) {
                const PageNumber number{region.first + i};
                {
                    ReadGuard<P> reader;
                    run(number);
                }
                if (i % kStepSlots == 0) P::breathe();
            }
        });
    }

    void run(PageNumber number) {
        PageDesc* desc = pool_.buddy().find(number);
        if (!desc || PageDesc::state(desc->word()) != PageState::run) return;
        const ClientIndex owner = desc->run().owner.load(std::memory_order_acquire);
        if (owner == kNobody) return;  // between two owners, or between buddy and owner
        const Offset offset = value(number) * kPageBytes;
        // Who frees or hands on a run clears its owner first, and then wants the client's lock.
        const auto still = [&] {
            return PageDesc::state(desc->word()) == PageState::run &&
                   desc->run().owner.load(std::memory_order_acquire) == owner;
        };
        Client<P>* client = pool_.clients().find(owner);
        if (!client)
            audit_.fault("a run's owner does not exist", offset);
        else if (!pool_.owners().chain().sound(*client, chain_link(number, 0), still))
            audit_.fault("a client's chain is torn", offset);
        else if (const auto pages = pool_.buddy().run_pages(number); pages && owner == kKeeper)
            kept_bytes_ += *pages * kPageBytes;
        else if (pages)
            count(*pages * kPageBytes);
    }

    void sums(const u32* seen) {
        u64 objects = 0;
        u64 bytes = 0;
        u64 armed = 0;
        {
            ReadGuard<P> reader;
            for (u32 i = 1; i <= pool_.clients().max(); ++i) {
                if (const Client<P>* client = pool_.clients().find(static_cast<ClientIndex>(i))) {
                    objects += client->objects();
                    bytes += client->bytes();
                    const auto* magazines = client->magazines.load(std::memory_order_acquire);
                    if (const char* what = magazines ? magazines->fault(armed) : nullptr)
                        audit_.fault(what, client->id());
                    const auto* aside = client->reserves.load(std::memory_order_acquire);
                    if (const char* what = aside ? aside->fault() : nullptr)
                        audit_.fault(what, client->id());
                }
            }
        }
        audit_.expect(armed == pool_.census().armed.load(std::memory_order_relaxed),
                      "the armed magazines are miscounted", armed);
        if (const auto* held = pool_.held())
            audit_.expect(held->bytes() == kept_bytes_, "what I/O holds is miscounted", kept_bytes_);
        // Each holder counts what it holds; the commons have each object once.
        if (const Client<P>* commons = pool_.shares().commons()) {
            audit_.expect(commons->objects() == shared_, "an object is shared and nobody holds it",
                          commons->objects());
            audit_.expect(records_ == pool_.shares().count(), "the shares are miscounted", records_);
        }
        audit_.expect(objects + shared_ == objects_ + records_,
                      "the clients' counts of objects are wrong", objects);
        audit_.expect(bytes + shared_bytes_ == bytes_ + held_bytes_,
                      "the clients' counts of bytes are wrong", bytes);
        audit_.expect(unowned_ == overflowed_, "a slot is out and nobody's", unowned_);
        for (u32 c = 0; c < pool_.slabs().classes(); ++c) {
            ReadGuard<P> reader;
            audit_.expect(pool_.slabs().slab_count(c) == seen[c], "a class's slabs are miscounted",
                          c);
        }
    }

    void count(u64 bytes) {
        ++objects_;
        bytes_ += bytes;
    }

    Pool<P>& pool_;
    Audit& audit_;
    u64 objects_ = 0;
    u64 bytes_ = 0;
    u64 unowned_ = 0;
    u64 overflowed_ = 0;
    u64 kept_bytes_ = 0;
    u64 records_ = 0;  // shares, and the objects that are shared
    u64 held_bytes_ = 0;
    u64 shared_ = 0;
    u64 shared_bytes_ = 0;
};

}  // namespace quarry
