// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The audit of a buddy: every page is covered by exactly one block inside its region;
// free blocks are merged, listed and counted; runs are canonical and whole; slabs name
// one slab on every page; the sums are right.
//
// It goes in steps of at most 32 pages under one hold of the buddy's lock, and carries
// from one step to the next nothing but a page number: each step finds the block that
// covers its first page anew, and checks that all it sees under this hold fits together.
// So every finding of a step holds beside running calls, too. What needs one state of
// the whole (sums, lists from end to end) is compared only if the lists' change count says
// that nothing has changed since the first step; with nobody else running that is so,
// and the audit is exact.
//
// Slab makers and page caches write words without the lock. Cached and allocated blocks
// look alike here. Of a block that is being marked or unmarked its first page says
// `run`, others may name the slab: that is a fault unless a marking is in flight, or began
// while we looked (marks_). A block whose first page names a slab is all slab (buddy.hpp).
//
// Cost: O(pages + regions + free blocks). Context: task.
#pragma once

#include "buddy.hpp"

namespace quarry {

// What an audit of a buddy has seen. Exact when nobody else was running.
struct BuddyCensus {
    u64 free_pages = 0;
    u64 run_pages = 0;  // allocated, but for slabs and cached pages
    u64 slab_pages = 0;
    u64 cached_pages = 0;
    u64 isolated_pages = 0;
    u64 runs = 0;
    u32 regions = 0;
    bool quiet = false;  // nothing has changed from the first step to the last
};

template <Platform P, unsigned PageShift>
class BuddyAudit {
public:
    BuddyAudit(Buddy<P, PageShift>& buddy, Audit& audit) : buddy_(buddy), audit_(audit) {}

    BuddyCensus run() {
        {
            Guard guard(buddy_.lock_);
            changes_ = buddy_.runs_.lists.changes();
        }
        for (u64 page = 0; walk(page);) P::breathe();
        map();
        for (unsigned z = 0; z < kZones; ++z)
            for (unsigned o = 0; o < kOrders; ++o) list(static_cast<Zone>(z), o);
        sums();
        return census_;
    }

private:
    Offset offset(u64 page) const { return page << PageShift; }
    void expect(bool good, const char* what, u64 page) { audit_.expect(good, what, offset(page)); }

    // Each place of the map names a region that is there.
    void map() {
        ReadGuard<P> reader;
        buddy_.regions_.map().for_each_place([&](const auto& place) {
            const Region* region = place.load(std::memory_order_acquire);
            if (!region) return;
            expect(buddy_.regions_.search(region->first) == region ||
                       place.load(std::memory_order_acquire) != region,
                   "the map names a region that has gone", region->first);
        });
    }

    // ---- pages ----

    // One step from `page` on, which advances. False: no region is left.
    bool walk(u64& page) {
        ReadGuard<P> reader;
        Guard guard(buddy_.lock_);
        Region* region = buddy_.regions_.at_or_after(page);
        if (Region* here = buddy_.regions_.find(page)) region = here;
        if (!region) return false;
        if (page <= region->first) enter(*region, page);
        if (region->state == RegionState::joining) {
            page = region->end();
            return true;
        }
        u32 budget = 2 * kAuditStep;
        while (budget && page < region->end()) page += block(*region, page, budget);
        buddy_.note_slots(2 * kAuditStep - budget);
        return true;
    }

    void enter(Region& region, u64& page) {
        page = region.first;
        ++census_.regions;
        expect(region.end() <= buddy_.max_pages_, "a region ends behind the space", page);
        expect(region.state != RegionState::isolated || region.free == 0,
               "an isolated region has free pages", page);
        // A live region leaves only under the lock, so neither it nor its neighbour's place
        // can go while we look.
        if (region.state != RegionState::live) return;
        const Region* next = buddy_.regions_.at_or_after(page + 1);
        expect(!next || next->first >= region.end(), "two regions overlap", page);
        expect(&buddy_.regions_.by_id(region.id) == &region, "a region's number names another",
               page);
    }

    // What covers `page`, from there up to the end of the block or of the budget.
    // Answers how many pages were dealt with, 1 at least.
    u64 block(Region& region, u64 page, u32& budget) {
        const u64 head = buddy_.runs_.head_of(region, page);
        PageDesc& desc = region.desc(head);
        const u64 word = desc.word();
        const PageState state = PageDesc::state(word);
        if (state == PageState::body) return uncovered(page, budget);
        const bool slab = state == PageState::slab;
        const unsigned order = value(slab ? desc.slab_order() : PageDesc::order(word));
        const u64 size = order < kOrders ? u64{1} << order : 0;
        if (!size || block_at(head, order) != head || !region.holds(head, size) ||
            page >= head + size || (!slab && PageDesc::region(word) != region.id)) {
            audit_.fault("a block does not fit where it lies", offset(head));
            return uncovered(page, budget, false);
        }
        u64 end = head + size;
        if (end - page > budget) end = page + budget;
        budget -= static_cast<u32>(end - page);
        audit_.saw_pages(end - page);
        if (page == head) at_head(region, desc, word, head, order);
        count(state, end - page);
        for (u64 at = page == head ? page + 1 : page; at < end; ++at)
            inner(region, desc, word, at);
        return end - page;
    }

    u64 uncovered(u64 page, u32& budget, bool report = true) {
        if (report) audit_.fault("a page is covered by no block", offset(page));
        --budget;
        audit_.saw_pages(1);
        return 1;
    }

    void count(PageState state, u64 pages) {
        switch (state) {
        case PageState::free: census_.free_pages += pages; break;
        case PageState::isolated: census_.isolated_pages += pages; break;
        case PageState::slab: census_.slab_pages += pages; break;
        case PageState::cached: census_.cached_pages += pages; break;
        default: census_.run_pages += pages; break;
        }
    }

    // A page inside a block, not its first.
    void inner(Region& region, PageDesc& head, u64 word, u64 page) {
        const u64 here = region.desc(page).word();
        if (PageDesc::state(word) == PageState::slab) {
            // Unmarking may have begun: then the first page says so by now.
            if (here != word && head.word() == word)
                audit_.fault("a page of a slab does not name it", offset(page));
        } else if (PageDesc::state(here) == PageState::slab &&
                   PageDesc::state(word) == PageState::run) {
            if (!marking(head, word, region.desc(page)))
                audit_.fault("a page inside a run names a slab", offset(page));
        } else {
            expect(here == PageDesc::make(PageState::body, Order{0}, region.id),
                   "a page inside a block is no body", page);
        }
    }

    // The block of `head` may be on its way into or out of a slab.
    bool marking(PageDesc& head, u64 word, PageDesc& inside) {
        const u64 marks = buddy_.marks_.load(std::memory_order_acquire);
        if (static_cast<u32>(marks) != 0) return true;
        const bool still = head.word() == word && PageDesc::state(inside.word()) == PageState::slab;
        return !still || buddy_.marks_.load(std::memory_order_acquire) != marks;
    }

    void at_head(Region& region, PageDesc& desc, u64 word, u64 page, unsigned order) {
        switch (PageDesc::state(word)) {
        case PageState::free: return free_block(region, desc, page, order);
        case PageState::run: return run_block(region, page, page, word, order);
        case PageState::run_part: {
            const u64 start = region.first + desc.run_start();
            const u64 run = region.holds(start) ? region.desc(start).word() : 0;
            if (PageDesc::state(run) != PageState::run || start >= page)
                return audit_.fault("a part of a run names no run", offset(page));
            return run_block(region, page, start, run, order);
        }
        case PageState::cached:
            return expect(order <= kMostClaimed, "a cached block is too large for a magazine", page);
        case PageState::isolated:
            return expect(region.state != RegionState::live,
                          "a block is isolated, its region is not", page);
        default: return;
        }
    }

    void free_block(Region& region, PageDesc& desc, u64 page, unsigned order) {
        expect(region.state != RegionState::isolated, "a block of an isolated region is free",
               page);
        const u64 buddy = page ^ (u64{1} << order);
        if (order < value(kMaxOrder) && region.holds(buddy, u64{1} << order))
            expect(region.desc(buddy).word() != desc.word(), "two free buddies are not merged",
                   page);
        FreeLists<P>& lists = buddy_.runs_.lists;
        PageDesc* next = lists.next(desc);
        PageDesc* prev = lists.prev(desc);
        expect(!next || (lists.prev(*next) == &desc && same_list(*next, order, region.zone)),
               "a free list is torn behind a block", page);
        expect(prev ? lists.next(*prev) == &desc : lists.head(region.zone, order) == &desc,
               "a free list is torn before a block", page);
        expect(desc.run().owner.load(std::memory_order_relaxed) == kNobody,
               "a free block has an owner", page);
        ++blocks_[static_cast<u8>(region.zone)][order];
    }
    bool same_list(PageDesc& desc, unsigned order, Zone zone) {
        const u64 word = desc.word();
        return PageDesc::state(word) == PageState::free && value(PageDesc::order(word)) == order &&
               buddy_.regions_.by_id(PageDesc::region(word)).zone == zone;
    }

    // The block at `page` belongs to the run at `start`, whose word is `run`: it is the
    // canonical one there, and the next is there, too.
    void run_block(Region& region, u64 page, u64 start, u64 run, unsigned order) {
        const u64 pages = PageDesc::pages(run);
        if (page == start) ++census_.runs;
        if (pages == 0 || !region.holds(start, pages) || page >= start + pages)
            return audit_.fault("a run ends before its block, or outside", offset(start));
        expect(order == block_order(page, start + pages), "a run is not canonical", page);
        const u64 next = page + (u64{1} << order);
        if (next >= start + pages) return;
        const PageDesc& part = region.desc(next);
        expect(part.state() == PageState::run_part && region.first + part.run_start() == start,
               "a run lacks a part", page);
    }

    // ---- lists and sums ----

    // The list from end to end, unless something changes meanwhile.
    void list(Zone zone, unsigned order) {
        FreeLists<P>& lists = buddy_.runs_.lists;
        u64 seen = 0;
        PageDesc* at = nullptr;
        for (bool first = true;; first = false) {
            Guard guard(buddy_.lock_);
            if (lists.changes() != changes_) return;
            const bool marked = lists.orders(zone) >> order & 1;
            if (first) {
                at = lists.head(zone, order);
                audit_.expect(marked == (at != nullptr), "the mask of the free lists is wrong", 0);
            }
            for (u32 n = 0; n < kAuditStep && at; ++n, at = lists.next(*at)) {
                buddy_.note_slots(1);
                if (!same_list(*at, order, zone) || ++seen > lists.blocks(zone, order))
                    return audit_.fault("a free list holds what it should not", 0);
            }
            if (at) continue;
            audit_.expect(seen == lists.blocks(zone, order), "a free list lacks a block", 0);
            audit_.expect(seen == blocks_[static_cast<u8>(zone)][order],
                          "a free block is in no list", 0);
            return;
        }
    }

    void sums() {
        Guard guard(buddy_.lock_);
        // A region that is on its way in or out has its pages in the total, or not, before
        // its blocks are in the lists, or out of them: its change shows only at the end.
        census_.quiet = buddy_.runs_.lists.changes() == changes_ &&
                        !buddy_.changing_.load(std::memory_order_acquire);
        if (!census_.quiet) return;
        const u64 used = census_.run_pages + census_.slab_pages + census_.cached_pages;
        audit_.expect(census_.free_pages == buddy_.free_pages(), "the free pages are miscounted",
                      0);
        audit_.expect(used + census_.free_pages == buddy_.total_pages(),
                      "the pages are miscounted", 0);
        audit_.expect(census_.regions == buddy_.region_count(), "the regions are miscounted", 0);
    }

    Buddy<P, PageShift>& buddy_;
    Audit& audit_;
    BuddyCensus census_;
    u64 changes_ = 0;
    u64 blocks_[kZones][kOrders] = {};
};

template <Platform P, unsigned PageShift>
BuddyCensus Buddy<P, PageShift>::verify(Audit& audit) {
    return BuddyAudit<P, PageShift>(*this, audit).run();
}

}  // namespace quarry
