// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// PageRuns: how a buddy takes free blocks, makes runs of them, and gives them back with
// merging. Everything but the two explanations (head_of, why_not_run) is under the buddy's
// lock, and O(orders).
//
// Between two calls, in each region: every page is covered by exactly one block; a free
// block's buddy is not free, or of another order, or reaches over the region's border.
#pragma once

#include "blocks.hpp"
#include "free_lists.hpp"

namespace quarry {

template <Platform P>
class PageRuns {
public:
    // Free blocks of each order that are looked at for an unusual fit.
    static constexpr unsigned kProbes = 8;

    explicit PageRuns(const RegionTable<P>& table) : regions(table), lists(table) {}

    // The start of the block that covers `page`; `page` itself when none does (a torn
    // structure, or a region on its way in). O(orders).
    u64 head_of(const Region& region, u64 page) const {
        for (unsigned o = 0; o <= value(kMaxOrder); ++o) {
            const u64 head = block_at(page, o);
            if (head < region.first) break;
            const PageDesc& desc = region.descs()[head - region.first];
            const u64 word = desc.word();
            const PageState state = PageDesc::state(word);
            if (state == PageState::body) continue;
            if (state == PageState::slab) return slab_head(region, desc, page);
            return value(PageDesc::order(word)) >= o ? head : page;
        }
        return page;
    }

    // Why no run starts at `page`. O(orders).
    Error why_not_run(const Region& region, u64 page) const {
        const PageDesc& head = region.descs()[head_of(region, page) - region.first];
        switch (head.state()) {
        case PageState::free:
        case PageState::isolated:
        case PageState::cached: return Error::already_free;
        default: return Error::not_object;
        }
    }

    // A page cache may claim a run of so few pages at this moment: one of us wins. Readers see
    // the run until it is rewritten.
    static bool claim(PageDesc& desc, u64 word) {
        return PageDesc::pages(word) > pages_of(Order{kMostClaimed}) ||
               desc.change(word, word | PageDesc::kClaimed);
    }

    // The newest free block of order `found` becomes a run of one block.
    PageNumber take(Order order, Zone zone, unsigned found) {
        const auto [region, desc, index] = lists.pop(zone, found);
        if (found != value(order)) [[unlikely]]
            split(region, index, value(order), found);
        lists.note_pages(region, ~u64{0} << value(order));
        desc.begin_run(PageDesc::make(PageState::run, order, region.id, pages_of(order)));
        return PageNumber{region.first + index};
    }

    // [first, end) becomes free; it was no part of a free block.
    void release(Region& region, u64 first, u64 end) {
        for_each_block(first, end,
                       [&](u64 page, unsigned order) { release_block(region, page, order); });
    }

    // The block becomes free and merges with its buddies. O(orders); of a run's blocks
    // together too, since each merge takes one block away.
    void release_block(Region& region, u64 page, unsigned order) {
        lists.note_pages(region, u64{1} << order);
        if (order < value(kMaxOrder) && buddy_is_free(region, page, order)) [[unlikely]]
            merge(region, page, order);
        else
            lists.link(region, static_cast<u32>(page - region.first), order);
    }

    // [first, first + pages) becomes one run. Its first page comes last: who sees the run
    // sees all of it. `fresh`: the owner words begin at 0.
    void write_run(Region& region, u64 first, u64 pages, bool fresh) {
        const u64 end = first + pages;
        const unsigned head_order = block_order(first, end);
        for_each_block(first + (u64{1} << head_order), end, [&](u64 page, unsigned order) {
            PageDesc& desc = region.desc(page);
            desc.set_run_start(static_cast<u32>(first - region.first));
            desc.set(PageState::run_part, Order{static_cast<u8>(order)}, region.id);
        });
        const u64 word = PageDesc::make(PageState::run, Order{static_cast<u8>(head_order)},
                                        region.id, pages);
        PageDesc& desc = region.desc(first);
        if (fresh)
            desc.begin_run(word);
        else
            desc.set(word);
        lists.note_change();
    }

    struct Fit {
        Region* region = nullptr;
        PageDesc* desc = nullptr;
    };

    // Where `pages` free pages begin at a multiple of 2^align, in this zone.
    Fit find_fit(u64 pages, unsigned align, Zone zone) {
        const unsigned needed = ceil_log2(pages);
        const unsigned safe = needed > align ? needed : align;
        if (const u32 fitting = lists.orders(zone) >> safe) {
            PageDesc* desc = lists.head(zone, safe + lowest_bit(fitting));
            return {&regions.by_id(PageDesc::region(desc->word())), desc};
        }
        // Large enough, aligned by luck: orders below `safe` exist here only if align > needed.
        // Or half large enough, and what follows is free as well.
        const unsigned low = needed ? needed - 1 : 0;
        for (unsigned order = safe; order-- > low;) {
            unsigned probes = kProbes;
            for (PageDesc* d = lists.head(zone, order); d && probes; d = lists.next(*d), --probes) {
                Region& region = regions.by_id(PageDesc::region(d->word()));
                const u64 first = region.number(*d);
                if (first != block_at(first, align)) continue;
                if (order >= needed || free_from(region, first, pages)) return {&region, d};
            }
        }
        return {};
    }

    const RegionTable<P>& regions;
    FreeLists<P> lists;

private:
    // Apart, so that a block that has only to be taken or given needs no room for it.
    [[gnu::noinline]] void split(Region& region, u32 index, unsigned order, unsigned found) {
        while (found-- > order) lists.link(region, index + (u32{1} << found), found);
    }
    [[gnu::noinline]] void merge(Region& region, u64 page, unsigned order) {
        do {
            const u64 buddy = page ^ (u64{1} << order);
            lists.unlink(region, region.desc(buddy), order);
            region.desc(buddy > page ? buddy : page).set(PageState::body, Order{0}, region.id);
            if (buddy < page) page = buddy;
        } while (++order < value(kMaxOrder) && buddy_is_free(region, page, order));
        lists.link(region, static_cast<u32>(page - region.first), order);
    }
    // A free block of this order that begins there also ends inside the region.
    static bool buddy_is_free(Region& region, u64 page, unsigned order) {
        const u64 buddy = page ^ (u64{1} << order);
        const Order o{static_cast<u8>(order)};
        return region.holds(buddy) &&
               region.desc(buddy).word() == PageDesc::make(PageState::free, o, region.id);
    }

    static u64 slab_head(const Region& region, const PageDesc& desc, u64 page) {
        const unsigned order = value(desc.slab_order());
        const u64 head = order <= value(kMaxOrder) ? block_at(page, order) : page;
        return head >= region.first ? head : page;
    }

    // [first, first + pages) is free; first is the start of a free block. Free blocks
    // that follow each other up to a cut become smaller, so O(orders).
    bool free_from(const Region& region, u64 first, u64 pages) const {
        if (!region.holds(first, pages)) return false;
        for (u64 at = first; at < first + pages;) {
            const u64 word = region.descs()[at - region.first].word();
            if (PageDesc::state(word) != PageState::free) return false;
            at += pages_of(PageDesc::order(word));
        }
        return true;
    }

};

}  // namespace quarry
