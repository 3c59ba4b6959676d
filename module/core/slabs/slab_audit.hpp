// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The audit of slabs, whatever their policy: walks the pages of every region, steps
// through each slab 32 slots at a time with the class lock released between, and
// hands each word to the policy's auditor. Sound beside running calls (it reports only
// what can never be); exact counts when a slab did not change meanwhile.
//
// Context: task. O(pages + slots / 32).
#pragma once

#include "../base/audit.hpp"
#include "slab_allocator.hpp"

namespace quarry {

template <Platform P, typename Policy>
class SlabAudit {
public:
    using Slabs = SlabAllocator<P, Policy>;
    using SlabT = Slab<Policy>;

    SlabAudit(Buddy<P>& buddy, Slabs& slabs, Audit& audit)
        : buddy_(buddy), slabs_(slabs), audit_(audit) {}

    // word(slab, w, taken, remote): under the class lock, for each bitmap word;
    // begin(slab): before the first. Answers the number of slabs of each class in
    // `seen`, which has room for slabs.classes().
    template <typename Begin, typename Word>
    void run(u32* seen, Begin&& begin, Word&& word) {
        buddy_.for_each_region([&](const auto& region) {
            for (u64 i = 0; i < region.pages;) {
                i += page(PageNumber{region.first + i}, seen, begin, word);
                P::breathe();
            }
        });
    }

private:
    // Audits the slab that begins at this page; answers how many pages to go on.
    template <typename Begin, typename Word>
    u64 page(PageNumber number, u32* seen, Begin& begin, Word& word) {
        SlabT* slab = nullptr;
        {
            ReadGuard<P> reader;
            PageDesc* desc = buddy_.find(number);
            if (!desc) return 1;
            const u64 w = desc->word();
            if (PageDesc::state(w) != PageState::slab) return 1;
            slab = PageDesc::slab<SlabT>(w);
            const u32 c = slab->class_index();
            if (c >= slabs_.classes()) {
                audit_.fault("a slab's class does not exist", offset(number));
                return 1;
            }
            Guard guard(slabs_.lock_of(c));
            // It dies, or its maker has not listed it yet: both are busy, not wrong. A dead
            // slab's list is the platform's already.
            if (slab->state() == SlabState::dead || !SlabList::linked(*slab))
                return pages_of(slab->size_class().order);
            if (slab->base() != offset(number)) {
                // Made since its first page was passed; else its first page does not name it.
                const PageDesc* head = buddy_.find(PageNumber{slab->base() / kPageBytes});
                audit_.expect(offset(number) - slab->base() < slab->size_class().slab_bytes() &&
                                  head && head->word() == w,
                              "a page names a slab that lies elsewhere", offset(number));
                return 1;
            }
            if (!slabs_.pin(*slab)) return pages_of(slab->size_class().order);
            expect(*slab, slab->list.next->prev == &slab->list && slab->list.prev->next == &slab->list,
                   "a slab's list is torn");
            begin(*slab);
            ++seen[c];
        }
        audit_.saw_slab();
        step_through(*slab, word);
        const u64 pages = pages_of(slab->size_class().order);
        {
            ReadGuard<P> reader;
            for (u64 i = 1; i < pages; ++i) {
                PageDesc* desc = buddy_.find(number + i);
                expect(*slab, desc && PageDesc::state(desc->word()) == PageState::slab &&
                                  PageDesc::slab<SlabT>(desc->word()) == slab,
                       "a page of a slab does not name it");
            }
            Guard guard(slabs_.lock_of(slab->class_index()));
            slabs_.unpin(*slab);
        }
        return pages;
    }

    template <typename Word>
    void step_through(SlabT& slab, Word& word) {
        u32 free = 0;
        u32 changes = 0;
        bool quiet = true;
        for (u32 w = 0; w < slab.words(); ++w) {
            {
                ReadGuard<P> reader;
                Guard guard(slabs_.lock_of(slab.class_index()));
                if (w == 0) changes = slab.changes();
                quiet = quiet && slab.changes() == changes;
                const u32 taken = slab.taken()[w];
                const u32 remote = slab.remote()[w].load(std::memory_order_seq_cst);
                expect(slab, (taken & ~slab.valid(w)) == 0, "a bit beyond the last slot is set");
                expect(slab, (remote & ~taken) == 0, "a slot comes home that is not out");
                free += popcount(~taken & slab.valid(w));
                word(slab, w, taken, remote);
                if (w + 1 == slab.words() && quiet) {
                    expect(slab, free == slab.free(), "a slab's count of free slots is wrong");
                    const SlabState s = slab.state();
                    expect(slab, s != SlabState::full || free == 0, "a full slab has free slots");
                    expect(slab, s != SlabState::idle || free == slab.slots(),
                           "an idle slab has slots out");
                    expect(slab, s != SlabState::partial || free != 0,
                           "a partial slab has no free slot");
                }
            }
            P::breathe();
        }
    }

    void expect(SlabT& slab, bool good, const char* what) { audit_.expect(good, what, slab.base()); }
    static Offset offset(PageNumber n) { return value(n) * kPageBytes; }

    using SlabList = List<SlabT, &SlabT::list>;

    Buddy<P>& buddy_;
    Slabs& slabs_;
    Audit& audit_;
};

}  // namespace quarry
