// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The free blocks of a buddy: a doubly linked list for each zone and order, newest
// first, linked through the descriptors of the blocks' first pages, and a mask of the
// lists that are not empty. Every operation is O(1).
//
// Everything is under the buddy's lock. Masks, counts and sums may be read by anyone as
// a hint (relaxed); `changes` grows with each change, so that an audit that works in
// steps knows whether it has seen one state.
#pragma once

#include "region.hpp"

namespace quarry {

template <Platform P>
class FreeLists {
public:
    explicit FreeLists(const RegionTable<P>& regions) : regions_(regions) {}

    // The block at `desc` of `region` becomes free.
    void push(Region& region, PageDesc& desc, unsigned order) {
        List& list = list_of(region.zone, order);
        const PageDesc::Link here{region.index(desc), region.id};
        desc.set_next(list.head ? list.head_link : kEnd);
        desc.set_prev(kEnd);
        if (list.head) list.head->set_prev(here);
        desc.set(PageState::free, Order{static_cast<u8>(order)}, region.id);
        list.head = &desc;
        list.head_link = here;
        count(region, list, order, u64{1});
        add(mask_[static_cast<u8>(region.zone)], 0, u32{1} << order);
    }

    // The free block at `desc` leaves its list. Its word is the caller's to set.
    void remove(Region& region, PageDesc& desc, unsigned order) {
        List& list = list_of(region.zone, order);
        const PageDesc::Link next = desc.next();
        const PageDesc::Link prev = desc.prev();
        if (next.index != PageDesc::kNoPage) at(next).set_prev(prev);
        if (prev.index != PageDesc::kNoPage) {
            at(prev).set_next(next);
        } else if (next.index != PageDesc::kNoPage) {
            list.head = &at(next);
            list.head_link = next;
        } else {
            list.head = nullptr;
            add(mask_[static_cast<u8>(region.zone)], u32{1} << order, 0);
        }
        count(region, list, order, ~u64{0});
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
        PageDesc::Link head_link{};
        std::atomic<u64> count{0};
    };
    static constexpr PageDesc::Link kEnd{PageDesc::kNoPage, 0};

    List& list_of(Zone zone, unsigned order) { return lists_[static_cast<u8>(zone)][order]; }
    const List& list_of(Zone zone, unsigned order) const {
        return lists_[static_cast<u8>(zone)][order];
    }
    PageDesc& at(PageDesc::Link link) const {
        return regions_.by_id(link.region).descs()[link.index];
    }

    // Written under the lock only: a load and a store, no locked instruction.
    static void add(std::atomic<u32>& mask, u32 clear, u32 set) {
        mask.store((mask.load(std::memory_order_relaxed) & ~clear) | set,
                   std::memory_order_relaxed);
    }
    void count(Region& region, List& list, unsigned order, u64 blocks) {
        const u64 pages = blocks << order;
        list.count.store(list.count.load(std::memory_order_relaxed) + blocks,
                         std::memory_order_relaxed);
        pages_.store(pages_.load(std::memory_order_relaxed) + pages, std::memory_order_relaxed);
        region.free += pages;
        ++changes_;
    }

    const RegionTable<P>& regions_;
    List lists_[kZones][kOrders];
    std::atomic<u32> mask_[kZones] = {};
    std::atomic<u64> pages_{0};
    u64 changes_ = 0;
};

}  // namespace quarry
