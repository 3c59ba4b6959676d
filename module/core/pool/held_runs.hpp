// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// HeldRuns: runs of pages that nobody owns any more and the platform still holds, because I/O into
// them is in flight. They belong to a client of the pool's own, the keeper, by the same records as
// any other's runs, so that nobody is given one before it is let go. A run comes here when its
// owner frees it or dies; nothing tells when a hold ends, so recheck() looks at each again: when
// pages are wanted, and from time to time.
//
//   bound    a living client's free is refused (busy) when more than a quarter of the pool would
//            be held; what a dead one leaves is kept in any case
//   busy_    false -> true    who looks: exchange, acquire     nobody else unlinks from the
//            true -> false    and is done: store, release      keeper's chain meanwhile
//
// Context: keep: any, as a reader; recheck: task, not a reader. Cost of recheck: O(pages held).
#pragma once

#include "ownership.hpp"

namespace quarry {

template <Platform P>
class HeldRuns {
public:
    HeldRuns(void* pool, void* os, u64 max_pages, Buddy<P>& buddy, ClientOwners<P>& owners)
        : os_(os),
          most_(max_pages < 4 ? 1 : max_pages / 4),
          buddy_(buddy),
          owners_(owners),
          keeper_(pool, kKeeper, 0, 0) {}

    Client<P>& keeper() { return keeper_; }
    const Client<P>& keeper() const { return keeper_; }
    u64 bytes() const { return keeper_.bytes(); }

    // Does somebody beside its mappings hold a page of it? As a reader.
    bool is_held(PageNumber page, u64 pages) const {
        return P::held(os_, value(page) * kPageBytes, pages * kPageBytes);
    }
    bool has_room(u64 pages) const { return bytes() / kPageBytes + pages <= most_; }

    // A run whose owner word was just cleared, and that is on no chain.
    void keep(PageNumber page, u64 pages) {
        keeper_.reserve_beyond(1, pages * kPageBytes);
        keeper_.count_granted(1);
        // The owner first: once it is on the chain, a recheck beside this may free it.
        buddy_.find(page)->run().owner.store(kKeeper, std::memory_order_release);
        owners_.chain().push(keeper_, chain_link(page, 0));
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
                if (const u64 pages = let_go(links[i]))
                    given += pages;
                else
                    last_held = links[i];
            }
        }
        busy_.store(false, std::memory_order_release);
        return given;
    }

private:
    static constexpr u32 kTries = 1000;

    // Its pages; 0 when it is held still.
    u64 let_go(ChainLink link) {
        const PageNumber page = chain_page(link);
        const auto pages = buddy_.run_pages(page);
        if (!pages || is_held(page, *pages)) return 0;
        buddy_.find(page)->run().owner.store(kNobody, std::memory_order_release);
        owners_.chain().unlink(keeper_, link);
        (void)buddy_.free_run(page);
        keeper_.count_freed(1, *pages * kPageBytes);
        return *pages;
    }

    void* const os_;
    const u64 most_;
    Buddy<P>& buddy_;
    ClientOwners<P>& owners_;
    std::atomic<bool> busy_{false};
    Client<P> keeper_;
};

}  // namespace quarry
