// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The free blocks of a buddy: a doubly linked list for each zone and order, newest
// first, linked through the descriptors of the blocks' first pages, and a mask of the
// lists that are not empty. Every operation is O(1).
//
// The list knows its newest block's region and index, so that a block is taken without a
// look-up and without a division. Everything is under the buddy's lock. Masks, counts and sums may be read by anyone as
// a hint (relaxed); `changes` grows with each change, so that an audit that works in
// steps knows whether it has seen one state.
#pragma once

#include "region_table.hpp"

namespace quarry {

template <Platform P>
class FreeLists {
public:
    explicit FreeLists(const RegionTable<P>& regions) : regions_(regions) {}

    // The block at `desc` of `region` becomes free.
    void push(Region& region, PageDesc& desc, unsigned order) {
        link(region, desc, order);
        note_pages(region, u64{1} << order);
    }
    // The free block at `desc` leaves its list. Its word is the caller's to set.
    void remove(Region& region, PageDesc& desc, unsigned order) {
        unlink(region, desc, order);
        note_pages(region, ~u64{0} << order);
    }

    // The same without the sums of pages, for who splits or merges: note_pages() follows,
    // once, with what has come or gone (modulo 2^64) in all.
    [[gnu::always_inline]] void link(Region& region, PageDesc& desc, unsigned order) {
        link(region, region.index(desc), order);
    }
    [[gnu::always_inline]] void link(Region& region, u32 index, unsigned order) {
        List& list = list_of(region.zone, order);
        PageDesc& desc = region.descs()[index];
        const PageDesc::Link here{index, region.id};
        PageDesc* const first = list.head;
        if (first)
            first->set_prev(here);
        else
            add(mask_[static_cast<u8>(region.zone)], 0, u32{1} << order);
        desc.begin_free(list.head_link, PageDesc::make(PageState::free,
                                                       Order{static_cast<u8>(order)}, region.id));
        list.head = &desc;
        list.head_link = here;
        list.head_region = &region;
        count(list, u64{1});
    }
    // The newest block of a list that is not empty leaves it.
    struct Popped {
        Region& region;
        PageDesc& desc;
        u32 index;
    };
    [[gnu::always_inline]] Popped pop(Zone zone, unsigned order) {
        List& list = list_of(zone, order);
        const Popped popped{*list.head_region, *list.head, list.head_link.index};
        const PageDesc::Link next = popped.desc.next();
        if (next.index != PageDesc::kNoPage)
            begin_list(list, popped.region, next).set_prev(PageDesc::kEnd);
        else
            end_list(list, zone, order);
        count(list, ~u64{0});
        return popped;
    }
    [[gnu::always_inline]] void unlink(Region& region, PageDesc& desc, unsigned order) {
        List& list = list_of(region.zone, order);
        const PageDesc::Link next = desc.next();
        const PageDesc::Link prev = desc.prev();
        if (prev.index != PageDesc::kNoPage) {
            at(region, prev).set_next(next);
            if (next.index != PageDesc::kNoPage) at(region, next).set_prev(prev);
        } else if (next.index != PageDesc::kNoPage) {
            begin_list(list, region, next).set_prev(prev);
        } else {
            end_list(list, region.zone, order);
        }
        count(list, ~u64{0});
    }
    void note_pages(Region& region, u64 pages) {
        pages_.store(pages_.load(std::memory_order_relaxed) + pages, std::memory_order_relaxed);
        region.free += pages;
        ++changes_;
    }

    PageDesc* head(Zone zone, unsigned order) const { return list_of(zone, order).head; }
    PageDesc* next(const PageDesc& desc) const {
        const PageDesc::Link link = desc.next();
        return link.index == PageDesc::kNoPage ? nullptr : &at(link);
    }
    PageDesc* prev(const PageDesc& desc) const {
        const PageDesc::Link link = desc.prev();
        return link.index == PageDesc::kNoPage ? nullptr : &at(link);
    }

    // One bit for each order of which a block is free. Anyone, as a hint.
    u32 orders(Zone zone) const {
        return mask_[static_cast<u8>(zone)].load(std::memory_order_relaxed);
    }
    u64 blocks(Zone zone, unsigned order) const {
        return list_of(zone, order).count.load(std::memory_order_relaxed);
    }
    u64 pages() const { return pages_.load(std::memory_order_relaxed); }
    // Under the lock.
    u64 changes() const { return changes_; }
    void note_change() { ++changes_; }

private:
    struct List {
        PageDesc* head = nullptr;
        PageDesc::Link head_link = PageDesc::kEnd;  // names head
        Region* head_region = nullptr;
        std::atomic<u64> count{0};
    };
    static_assert(sizeof(List) == 32);

    List& list_of(Zone zone, unsigned order) {
        return settled(lists_[order][static_cast<u8>(zone)]);
    }
    const List& list_of(Zone zone, unsigned order) const {
        return lists_[order][static_cast<u8>(zone)];
    }
    PageDesc& at(PageDesc::Link link) const {
        return regions_.by_id(link.region).descs()[link.index];
    }
    // A link of a block of `region`: most blocks' neighbours are in the same one.
    Region& region_of(Region& region, PageDesc::Link link) const {
        return link.region == region.id ? region : regions_.by_id(link.region);
    }
    PageDesc& at(Region& region, PageDesc::Link link) const {
        return region_of(region, link).descs()[link.index];
    }
    PageDesc& begin_list(List& list, Region& region, PageDesc::Link first) {
        Region& home = region_of(region, first);
        list.head = &home.descs()[first.index];
        list.head_link = first;
        list.head_region = &home;
        return *list.head;
    }
    void end_list(List& list, Zone zone, unsigned order) {
        list.head = nullptr;
        list.head_link = PageDesc::kEnd;
        add(mask_[static_cast<u8>(zone)], u32{1} << order, 0);
    }

    // Written under the lock only: a load and a store, no locked instruction.
    static void add(std::atomic<u32>& mask, u32 clear, u32 set) {
        mask.store((mask.load(std::memory_order_relaxed) & ~clear) | set,
                   std::memory_order_relaxed);
    }
    static void count(List& list, u64 blocks) {
        list.count.store(list.count.load(std::memory_order_relaxed) + blocks,
                         std::memory_order_relaxed);
    }

    const RegionTable<P>& regions_;
    List lists_[kOrders][kZones];
    std::atomic<u32> mask_[kZones] = {};
    std::atomic<u64> pages_{0};
    u64 changes_ = 0;
};

}  // namespace quarry
