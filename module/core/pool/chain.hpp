// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The chain of what a client owns: its entries in slab dictionaries and its runs of
// pages, doubly linked by 32-bit names (page, entry) that lie in the slabs' marks and
// the runs' page descriptors. So a reap visits its client's slabs and runs and no
// others. Every operation is O(log regions) for the look-up of a neighbour.
//
// Under the client's lock. A slab's entry is linked and unlinked with the class lock
// held as well; a run's by whoever won its owner word.
#pragma once

#include "../pages/buddy.hpp"
#include "../slabs/slab.hpp"
#include "client.hpp"
#include "owner_marks.hpp"

namespace quarry {

template <Platform P, typename Policy>
class Chain {
public:
    explicit Chain(Buddy<P>& buddy) : buddy_(buddy) {}

    void push(Client<P>& client, ChainLink link) {
        Guard guard(client.lock);
        const Ends ends = ends_of(link);
        *ends.next = client.head;
        *ends.prev = kNoLink;
        if (client.head != kNoLink) *ends_of(client.head).prev = link;
        client.head = link;
    }

    // False when it was not linked.
    bool unlink(Client<P>& client, ChainLink link) {
        Guard guard(client.lock);
        const Ends ends = ends_of(link);
        if (*ends.prev == kUnlinked) return false;
        if (*ends.prev == kNoLink)
            client.head = *ends.next;
        else
            *ends_of(*ends.prev).next = *ends.next;
        if (*ends.next != kNoLink) *ends_of(*ends.next).prev = *ends.prev;
        *ends.prev = kUnlinked;
        return true;
    }

    // The first links of the chain, up to n of them, which stay in it; answers how many.
    u32 first(Client<P>& client, ChainLink* out, u32 n) {
        Guard guard(client.lock);
        u32 got = 0;
        for (ChainLink at = client.head; got < n && at != kNoLink; at = *ends_of(at).next)
            out[got++] = at;
        return got;
    }

    // The same from behind `from` on, which stays in the chain meanwhile; kNoLink: from the first on.
    u32 after(Client<P>& client, ChainLink from, ChainLink* out, u32 n) {
        Guard guard(client.lock);
        u32 got = 0;
        ChainLink at = from == kNoLink ? client.head : *ends_of(from).next;
        for (; got < n && at != kNoLink; at = *ends_of(at).next) out[got++] = at;
        return got;
    }

    // The link is where its neighbours say. `still()` is asked under the client's lock, before
    // anything is read: false when what is linked may have gone since it was found.
    template <typename Still>
    bool sound(Client<P>& client, ChainLink link, Still&& still) {
        Guard guard(client.lock);
        if (!still()) return true;
        const Ends ends = ends_of(link);
        if (*ends.prev == kUnlinked) return true;
        if (*ends.prev == kNoLink ? client.head != link : *ends_of(*ends.prev).next != link)
            return false;
        return *ends.next == kNoLink || *ends_of(*ends.next).prev == link;
    }

private:
    struct Ends {
        u32* next;
        u32* prev;
    };

    // What is linked exists: its slab or run cannot go without being unlinked first.
    Ends ends_of(ChainLink link) {
        PageDesc* desc = buddy_.find(chain_page(link));
        const u32 entry = chain_entry(link);
        if (!entry) {
            decltype(auto) run = desc->run();
            return {&run.next, &run.prev};
        }
        OwnerMarks& marks = PageDesc::slab<Slab<Policy>>(desc->word())->marks();
        return {&marks.next(entry), &marks.prev(entry)};
    }

    Buddy<P>& buddy_;
};

}  // namespace quarry
