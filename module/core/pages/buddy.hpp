// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Buddy: pages by order or by exact count, from several regions and two zones.
// (Knowlton 1965; Knuth, The Art of Computer Programming, volume 1, 2.5.)
//
// What is allocated is a run: n contiguous pages, described by its canonical blocks
// (blocks.hpp, page_desc.hpp). A block of an order is the run of one block. What is free
// is described by the largest blocks that fit: two free buddies inside one region are
// merged at once, and no block crosses a region's border, wherever that lies. Regions
// begin and end at any page; blocks are aligned by the absolute page number.
//
//   Buddy<P> buddy(max_pages);
//   if (!buddy.add_region(PageNumber{16}, 1000, Zone::normal, nullptr)) return;
//   if (const auto block = buddy.alloc(Order{3})) (void)buddy.free(*block, Order{3});
//   if (const auto run = buddy.alloc_exact(5)) {
//       (void)buddy.free(*run + 3, 2);  // any part of it
//       (void)buddy.free_run(*run);     // the rest
//   }
//
// Guarantees
//   - the managed memory is never touched; all that is known stands in descriptors
//   - each wrong free is its own error, at the call, and changes nothing
//   - one lock (QUARRY_LOCK_PAGES), held for O(orders); no metadata is allocated or freed
//     under it; what is longer goes in steps of 32
//   - a failed call changes nothing
//
// Costs: alloc, free O(orders); an exact run, or the free of any part of one, O(orders)
// (its cover has at most two blocks of an order). find O(log regions), without a lock.
// Metadata: 24 bytes a page (32 with words) and 64 a region, the tables of regions.
//
// Context: any, unless a function says otherwise. Functions marked (reader) want a
// ReadGuard or a pinned caller around them and around the use of what they return.
// Functions marked (change) are task context; they wait for each other, breathing.
#pragma once

#include "../base/audit.hpp"
#include "page_runs.hpp"

namespace quarry {

struct BuddyCensus;
template <Platform P, unsigned PageShift>
class BuddyAudit;

template <Platform P, unsigned PageShift = 12>
class Buddy {
public:
    static constexpr u64 kPageSize = u64{1} << PageShift;
    // Blocks under one hold of the lock, each of which may merge up to the highest order.
    static constexpr u32 kStepBlocks = 4;

    // `max_pages`: the offset space, 0..2^52. Page numbers are below it. `with_words`: each
    // page has one more word, for those who make slabs (mark_slab).
    explicit Buddy(u64 max_pages, bool with_words = false)
        : max_pages_(max_pages), with_words_(with_words), runs_(regions_) {}
    // Quiescent. All metadata is freed, whatever is still allocated.
    ~Buddy() = default;
    Buddy(const Buddy&) = delete;
    Buddy& operator=(const Buddy&) = delete;

    // Metadata of a region of so many pages, tables included.
    static u64 required_meta_bytes(u64 pages, bool with_words = false) {
        return Region::meta_bytes(pages, with_words) + RegionTable<P>::first_bytes();
    }

    // ---- regions (change) ----

    // Gives [first, first + pages) to the buddy. Answers how many pages it has become
    // richer by: all, since the metadata lies elsewhere. `cookie` is the caller's.
    // Errors: invalid (no page, or 2^32 and more), out_of_range, overlap, too_many, no_memory.
    Result<u64> add_region(PageNumber first, u64 pages, Zone zone, void* cookie) {
        if (pages == 0 || pages > kMaxRegionPages) return Error::invalid;
        if (value(zone) >= kZones) return Error::invalid;
        if (pages > max_pages_ || value(first) > max_pages_ - pages) return Error::out_of_range;
        Change change(*this);
        if (regions_.overlaps(value(first), pages)) return Error::overlap;
        if (regions_.count() == kMaxRegions) return Error::too_many;
        const u64 bytes = Region::meta_bytes(pages, with_words_);
        void* memory = P::meta_alloc(bytes, Context::may_sleep);
        if (!memory) return Error::no_memory;
        auto* region = new (memory) Region{{}, value(first), pages, cookie, 0, 0, zone,
                                           RegionState::joining, nullptr};
        if (with_words_)
            region->words = PageWords::make(region->descs() + pages, {value(first), pages});
        if (Error e = regions_.add(*region); !ok(e)) {
            P::meta_free(memory, bytes);
            return e;
        }
        add_total(pages);
        release_all(*region, RegionState::joining);
        return pages;
    }

    // The first page of the first gap that takes so many pages, aligned to their number
    // rounded up to a power of two, 2^10 at most. Errors: invalid, pool_full.
    Result<PageNumber> find_gap(u64 pages) {
        if (pages == 0 || pages > kMaxRegionPages) return Error::invalid;
        const unsigned order = ceil_log2(pages);
        const u64 align = u64{1} << (order < 10 ? order : 10);
        Change change(*this);
        u64 at = 0;
        bool found = false;
        regions_.for_each([&](const Region& r) {
            if (found) return;
            if (at + pages <= r.first)
                found = true;
            else
                at = round_up(r.end(), align);
        });
        if (pages > max_pages_ || at > max_pages_ - pages) return Error::pool_full;
        return PageNumber{at};
    }

    // Takes all pages of a region out of the free lists, so that nothing is allocated
    // from it. When any page is in use: busy, and nothing has changed. Errors: not_found
    // (no region begins here), busy.
    Error isolate_region(PageNumber first) {
        Change change(*this);
        Region* region = region_at(first);
        if (!region) return Error::not_found;
        return isolate(*region);
    }

    // Undoes isolate_region.
    void restore_region(PageNumber first) {
        Change change(*this);
        Region* region = region_at(first);
        if (!region || !is_isolated(*region)) return;
        add_total(region->pages);
        release_all(*region, RegionState::leaving);
    }

    // Removes a region, isolated or wholly free; readers may still use what they found
    // in it. Needs no memory. Errors: not_found, busy.
    Error remove_region(PageNumber first) {
        Change change(*this);
        Region* region = region_at(first);
        if (!region) return Error::not_found;
        if (!is_isolated(*region))
            if (Error e = isolate(*region); !ok(e)) return e;
        regions_.remove(*region);
        Guard guard(lock_);
        runs_.lists.note_change();
        return Error::none;
    }

    // Pages of a region that are in the free lists; a hint. Context: any.
    u64 free_in(PageNumber first) {
        ReadGuard<P> reader;
        const Region* region = regions_.find(value(first));
        if (!region || region->first != value(first)) return 0;
        Guard guard(lock_);
        return region->free;
    }

    // ---- lookups ----

    // (reader) The region that holds this page, or null.
    const Region* region_of(PageNumber page) const { return regions_.find(value(page)); }
    // (reader) The same in O(1), or null: it is the largest region, or must be searched for.
    const Region* region_elsewhere(PageNumber page) const {
        return regions_.map().find(value(page));
    }
    // (reader) The descriptor of this page, or null in a hole.
    PageDesc* find(PageNumber page) const {
        Region* region = regions_.find(value(page));
        return region ? &region->desc(value(page)) : nullptr;
    }
    // (reader) Both at once; null in a hole.
    struct Found {
        const Region* region;
        PageDesc* desc;
    };
    Found find_with_region(PageNumber page) const {
        Region* region = regions_.find(value(page));
        return {region, region ? &region->desc(value(page)) : nullptr};
    }
    // The page of a descriptor, which the caller keeps from going (it holds the page).
    PageNumber number_of(const PageDesc& desc) const {
        const u64 word = desc.word();
        const u32 id = PageDesc::state(word) == PageState::slab ? desc.slab_region()
                                                                : PageDesc::region(word);
        return PageNumber{regions_.by_id(id).number(desc)};
    }
    u64 region_count() const { return regions_.count(); }

    struct RegionInfo {
        u64 first;
        u64 pages;
        void* cookie;
        Zone zone;
    };
    // The i-th region, ascending; its pages are all that it manages, since metadata lies
    // elsewhere. O(regions). Errors: not_found. Context: task.
    Result<RegionInfo> managed_section(u64 i) const {
        RegionInfo info{};
        u64 at = 0;
        do {
            if (!next_region(at, info)) return Error::not_found;
            at = info.first + info.pages;
        } while (i-- > 0);
        return info;
    }
    u64 managed_section_count() const { return region_count(); }
    // fn(const RegionInfo&) for each region, ascending; fn may sleep. A region that comes
    // or goes meanwhile may be missed, or be gone when fn sees it. Context: task.
    template <typename Fn>
    void for_each_region(Fn&& fn) const {
        RegionInfo info{};
        for (u64 at = 0; next_region(at, info); at = info.first + info.pages) {
            const RegionInfo& view = info;
            fn(view);
        }
    }

    // ---- pages ----

    // A block of 2^order pages. Zone normal prefers normal memory and falls back to lowmem.
    // O(orders). Errors: too_large (above kMaxOrder), uninitialised (no region), pool_full.
    Result<PageNumber> alloc(Order order, Zone zone = Zone::normal) {
        const unsigned wanted = value(order);
        if (wanted > value(kMaxOrder)) return Error::too_large;
        if (value(zone) >= kZones) return Error::invalid;
        Guard guard(lock_);
        u32 fitting = runs_.lists.orders(zone) >> wanted;
        if (!fitting && zone == Zone::normal) {
            zone = Zone::lowmem;
            fitting = runs_.lists.orders(zone) >> wanted;
        }
        if (!fitting) return why_empty();
        note_slots(1);
        return runs_.take(order, zone, wanted + lowest_bit(fitting));
    }

    // Up to n blocks of this zone alone, kStepBlocks under one hold. Answers how many.
    u32 alloc_blocks(Order order, u32 n, Zone zone, PageNumber* out) {
        u32 got = 0;
        while (got < n) {
            const u32 stop = n - got < kStepBlocks ? n : got + kStepBlocks;
            Guard guard(lock_);
            for (; got < stop; ++got) {
                const u32 fitting = runs_.lists.orders(zone) >> value(order);
                if (!fitting) return got;
                out[got] = runs_.take(order, zone, value(order) + lowest_bit(fitting));
                note_slots(1);
            }
        }
        return got;
    }

    // Exactly `pages` contiguous pages, the first at a multiple of 2^align. Taken from a
    // block that is large enough, whose tail is given back, or else from a free block and
    // those that follow it, of the newest eight of each order in question. O(orders).
    // Errors: invalid (no page), too_large, uninitialised, pool_full.
    Result<PageNumber> alloc_exact(u64 pages, Zone zone = Zone::normal, Order align = Order{0}) {
        if (pages == 0 || value(zone) >= kZones) return Error::invalid;
        if (pages > pages_of(kMaxOrder) || value(align) > value(kMaxOrder))
            return Error::too_large;
        Guard guard(lock_);
        auto fit = runs_.find_fit(pages, value(align), zone);
        if (!fit.desc && zone == Zone::normal)
            fit = runs_.find_fit(pages, value(align), Zone::lowmem);
        if (!fit.desc) return why_empty();
        Region& region = *fit.region;
        const u64 first = region.number(*fit.desc);
        u64 end = first;
        while (end < first + pages) {
            PageDesc& block = region.desc(end);
            const unsigned order = value(PageDesc::order(block.word()));
            runs_.lists.remove(region, block, order);
            end += u64{1} << order;
        }
        runs_.write_run(region, first, pages, true);
        for_each_block(first + pages, end, [&](u64 page, unsigned order) {
            runs_.lists.push(region, region.desc(page), order);
        });
        note_slots(1);
        return PageNumber{first};
    }

    // Frees a block that alloc(order), or alloc_exact with 2^order pages, has given.
    // Errors: out_of_range, no_region (foreign), already_free, not_object (no start of a run,
    // or a slab's page), wrong_size.
    Error free(PageNumber first, Order order) {
        if (value(order) > value(kMaxOrder)) return Error::wrong_size;
        const auto freed = free_start(first, pages_of(order));
        return freed.error();
    }

    // Frees a whole run by its start; answers its length. Errors: as free, without wrong_size.
    Result<u64> free_run(PageNumber first) { return free_start(first, 0); }

    // Frees [first, first + pages), any part of one run; what is left of it before and
    // behind stays allocated, as a run each. The part before keeps the run's owner words.
    // O(orders). Errors: invalid (no page), out_of_range, no_region, already_free, not_object
    // (a slab's or cache's page), wrong_size (it ends behind the run).
    Error free(PageNumber first, u64 pages) {
        if (pages == 0) return Error::invalid;
        ReadGuard<P> reader;
        Guard guard(lock_);
        Region* region = regions_.find(value(first));
        if (!region) return missing(first);
        const u64 at = value(first);
        const u64 head = runs_.head_of(*region, at);
        u64 word = region->desc(head).word();
        if (PageDesc::state(word) != PageState::run && PageDesc::state(word) != PageState::run_part)
            return runs_.why_not_run(*region, at);
        u64 start = head;
        if (PageDesc::state(word) == PageState::run_part) {
            start = region->first + region->desc(head).run_start();
            word = region->desc(start).word();
        }
        const u64 end = start + PageDesc::pages(word);
        if (pages > end - at) return Error::wrong_size;
        if (!runs_.claim(region->desc(start), word)) return Error::already_free;
        if (start < at) runs_.write_run(*region, start, at - start, false);
        if (at + pages < end) runs_.write_run(*region, at + pages, end - at - pages, true);
        runs_.release(*region, at, at + pages);
        note_slots(1);
        return Error::none;
    }

    // Frees n blocks that the caller holds, kStepBlocks under one hold.
    void free_blocks(Order order, const PageNumber* blocks, u32 n) {
        for (u32 i = 0; i < n;) {
            const u32 stop = n - i < kStepBlocks ? n : i + kStepBlocks;
            ReadGuard<P> reader;
            Guard guard(lock_);
            for (; i < stop; ++i) {
                if (Region* region = regions_.find(value(blocks[i])))
                    runs_.release_block(*region, value(blocks[i]), value(order));
                note_slots(1);
            }
        }
    }

    // Why no run starts at this page, decided under the lock, so that a merge that is
    // under way does not blur the answer: already_free, not_object, no_region; none when
    // one starts here after all. O(orders). (reader)
    Error why_no_run(PageNumber page) {
        Region* region = regions_.find(value(page));
        if (!region) return Error::no_region;
        Guard guard(lock_);
        if (region->desc(value(page)).state() == PageState::run) return Error::none;
        return runs_.why_not_run(*region, value(page));
    }

    // (reader) Length of the run that starts here. Errors: as free_run. Lock-free for a run.
    Result<u64> run_pages(PageNumber first) const {
        Region* region = regions_.find(value(first));
        if (!region) return missing(first);
        const u64 word = region->desc(value(first)).word();
        if (PageDesc::state(word) == PageState::run) return u64{PageDesc::pages(word)};
        return runs_.why_not_run(*region, value(first));
    }

    // ---- pages of slabs: by the owner of a block that alloc(order) gave ----
    //
    // Every page of the block names the slab, the first page last; unmark before free, the
    // first page first. So while the first page names the slab, all do. `marks_` counts the
    // calls in flight and begun, for the audit alone. In a buddy with words each of the pages
    // holds `word` from the end of mark to the begin of unmark, and 0 otherwise: release, for
    // readers who load it with acquire and then look into the slab.

    // `slab` is aligned to 64 bytes. No lock.
    void mark_slab(PageNumber first, Order order, const void* slab, u8 size_class, u64 word = 0) {
        ReadGuard<P> reader;
        Region* home = regions_.find(value(first));
        if (!home) return;
        PageDesc* desc = &home->desc(value(first));
        marks_.fetch_add(kMarkBegun + 1, std::memory_order_acq_rel);
        const u32 region = PageDesc::region(desc->word());
        for (u64 i = pages_of(order); i-- > 0;) desc[i].set_slab(slab, size_class, order, region);
        set_words(*home, first, order, word);
        marks_.fetch_sub(1, std::memory_order_release);
    }
    // The block is what alloc(order) gave again. No lock.
    void unmark_slab(PageNumber first, Order order) {
        ReadGuard<P> reader;
        Region* home = regions_.find(value(first));
        if (!home) return;
        PageDesc* desc = &home->desc(value(first));
        marks_.fetch_add(kMarkBegun + 1, std::memory_order_acq_rel);
        set_words(*home, first, order, 0);
        const u32 region = desc->slab_region();
        desc->begin_run(PageDesc::make(PageState::run, order, region, pages_of(order)));
        for (u64 i = 1; i < pages_of(order); ++i) desc[i].set(PageState::body, Order{0}, region);
        marks_.fetch_sub(1, std::memory_order_release);
    }

    // ---- counts; without the lock, so hints beside running calls ----

    // True when a block of this order is free, in this zone or where it falls back to.
    bool can_alloc(Order order, Zone zone = Zone::normal) const {
        u32 orders = runs_.lists.orders(zone);
        if (zone == Zone::normal) orders |= runs_.lists.orders(Zone::lowmem);
        return value(order) <= value(kMaxOrder) && orders >> value(order) != 0;
    }
    // The largest order of which a block is free. Errors: pool_full (none).
    Result<Order> largest_free() const {
        const u32 orders = runs_.lists.orders(Zone::normal) | runs_.lists.orders(Zone::lowmem);
        if (!orders) return Error::pool_full;
        return Order{static_cast<u8>(highest_bit(orders))};
    }
    u64 max_pages() const { return max_pages_; }
    // Pages of all regions that are not isolated.
    u64 total_pages() const { return total_.load(std::memory_order_relaxed); }
    u64 free_pages() const { return runs_.lists.pages(); }
    u64 managed_bytes() const { return total_pages() << PageShift; }
    u64 allocated_bytes() const { return (total_pages() - free_pages()) << PageShift; }
    u64 meta_bytes() const { return regions_.meta_bytes(); }
    // For tests of the audit.
    RegionMap<P>& map() { return regions_.map(); }
    u64 free_blocks(Order order, Zone zone) const {
        return value(order) <= value(kMaxOrder) ? runs_.lists.blocks(zone, value(order)) : 0;
    }

    // Full audit, in steps (buddy_audit.hpp). Context: task.
    BuddyCensus verify(Audit& audit);

private:
    friend class BuddyAudit<P, PageShift>;

    static constexpr unsigned kStep = kStepSlots;  // pages under one hold
    static constexpr u64 kMarkBegun = u64{1} << 32;
    static constexpr unsigned value(Zone zone) { return static_cast<unsigned>(zone); }
    static constexpr u64 value(PageNumber page) { return static_cast<u64>(page); }
    static constexpr unsigned value(Order order) { return static_cast<unsigned>(order); }

    // One changer of the regions at a time. Held over metadata allocation, so no lock.
    class Change {
    public:
        explicit Change(Buddy& buddy) : buddy_(buddy) {
            while (buddy_.changing_.exchange(true, std::memory_order_acquire)) P::breathe();
        }
        ~Change() { buddy_.changing_.store(false, std::memory_order_release); }
        Change(const Change&) = delete;
        Change& operator=(const Change&) = delete;

    private:
        Buddy& buddy_;
    };

    static void set_words(Region& region, PageNumber first, Order order, u64 word) {
        if (!region.words) return;
        for (u64 i = 0; i < pages_of(order); ++i)
            region.words->at(value(first) - region.first + i)
                .store(word, std::memory_order_release);
    }
    static void note_slots(u32 n) {
        if constexpr (requires { P::note_slots(n); }) P::note_slots(n);
    }
    void add_total(u64 pages) {
        Guard guard(lock_);
        total_.store(total_pages() + pages, std::memory_order_relaxed);
        runs_.lists.note_change();
    }
    Error missing(PageNumber page) const {
        return value(page) < max_pages_ ? Error::no_region : Error::out_of_range;
    }
    Error why_empty() const {
        return regions_.count() == 0 ? Error::uninitialised : Error::pool_full;
    }
    Region* region_at(PageNumber first) {
        ReadGuard<P> reader;
        Region* region = regions_.find(value(first));
        return region && region->first == value(first) ? region : nullptr;
    }
    bool is_isolated(Region& region) {
        Guard guard(lock_);
        return region.state == RegionState::isolated;
    }
    bool next_region(u64 at, RegionInfo& info) const {
        ReadGuard<P> reader;
        const Region* region = regions_.at_or_after(at);
        if (!region) return false;
        info = {region->first, region->pages, region->cookie, region->zone};
        return true;
    }

    // Frees the run that starts at `first`; `pages` is its length, or 0 for any.
    Result<u64> free_start(PageNumber first, u64 pages) {
        ReadGuard<P> reader;
        Guard guard(lock_);
        Region* region = regions_.find(value(first));
        if (!region) return missing(first);
        PageDesc& desc = region->desc(value(first));
        const u64 word = desc.word();
        if (PageDesc::state(word) != PageState::run) return runs_.why_not_run(*region, value(first));
        const u64 length = PageDesc::pages(word);
        if (pages && pages != length) return Error::wrong_size;
        if (!runs_.claim(desc, word)) return Error::already_free;
        // A run of one block, as most are, needs no cover.
        if (const Order order = PageDesc::order(word); length == pages_of(order)) [[likely]]
            runs_.release_block(*region, value(first), value(order));
        else
            runs_.release(*region, value(first), value(first) + length);
        note_slots(1);
        return length;
    }

    // All blocks of a region enter the free lists, 32 under a hold.
    void release_all(Region& region, RegionState from) {
        const u64 end = region.end();
        for (u64 page = region.first; page < end;) {
            Guard guard(lock_);
            region.state = from;
            for (unsigned n = 0; n < kStep && page < end; ++n) {
                const unsigned order = block_order(page, end);
                runs_.release_block(region, page, order);
                page += u64{1} << order;
                note_slots(1);
            }
            if (page == end) region.state = RegionState::live;
        }
    }

    // Takes all blocks of a region out of the lists, 32 under a hold; all or none.
    Error isolate(Region& region) {
        const u64 end = region.end();
        u64 page = region.first;
        bool busy = false;
        while (page < end && !busy) {
            Guard guard(lock_);
            if (region.state == RegionState::isolated) return Error::none;
            if (page == region.first && region.free != region.pages) return Error::busy;
            region.state = RegionState::leaving;
            for (unsigned n = 0; n < kStep && page < end && !busy; ++n) {
                const unsigned order = block_order(page, end);
                PageDesc& desc = region.desc(page);
                const Order o{static_cast<u8>(order)};
                busy = desc.word() != PageDesc::make(PageState::free, o, region.id);
                if (busy) break;
                runs_.lists.remove(region, desc, order);
                desc.set(PageState::isolated, o, region.id);
                page += u64{1} << order;
                note_slots(1);
            }
            if (page == end) {
                region.state = RegionState::isolated;
                total_.store(total_pages() - region.pages, std::memory_order_relaxed);
            }
        }
        if (!busy) return Error::none;
        // Something was allocated between two steps: what was isolated is released.
        for (u64 back = region.first; back < page;) {
            Guard guard(lock_);
            for (unsigned n = 0; n < kStep && back < page; ++n) {
                const unsigned order = block_order(back, end);
                runs_.release_block(region, back, order);
                back += u64{1} << order;
            }
            if (back == page) region.state = RegionState::live;
        }
        if (page == region.first) {
            Guard guard(lock_);
            region.state = RegionState::live;
        }
        return Error::busy;
    }

    mutable typename P::Lock lock_{QUARRY_LOCK_PAGES};
    u64 max_pages_;
    bool with_words_;
    RegionTable<P> regions_;
    PageRuns<P> runs_;
    std::atomic<u64> total_{0};
    std::atomic<u64> marks_{0};
    std::atomic<bool> changing_{false};
};

}  // namespace quarry

#include "buddy_audit.hpp"
