// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What the core knows of one page: 24 bytes out of line, 0.6 % of a 4 KiB page.
//
// The word is read without a lock by whoever looks an offset up; it is written
// under the buddy's lock, or by the one who owns the block (slab maker, page cache).
//
//   state      word holds             written by, order          read by
//   body       region                 buddy, lock, release       anyone, acquire
//   free       region, order          buddy, lock, release       anyone, acquire
//   run        region, order, pages   buddy, lock, release       anyone, acquire
//   run_part   region, order          buddy, lock, release       anyone, acquire
//   cached     region, order          page cache, CAS            anyone, acquire
//   slab       Slab*                  slab maker, release        anyone, acquire: sees the
//                                                                whole slab header
//   isolated   region, order          buddy, lock, release       anyone, acquire
//
//   transition                     made by, how
//   free -> run, run_part, body    alloc, under the buddy's lock
//   run -> free, body              free, under the buddy's lock. Where the run has no more than
//                                  2^kMostClaimed pages a page cache may claim it at the same
//                                  time: so it is claimed first, by CAS
//   run <-> run_part, body         free of a part of a run, under the buddy's lock
//   run -> cached                  free of one block to a page cache: CAS, one of several wins
//   cached -> run                  the page cache that holds the block, pinned
//   cached, 0 -> cached, 1 page    a page cache that gives it back: nobody may claim it any more
//   run, body <-> slab             the owner of the block: mark, unmark (buddy.hpp)
//   free <-> isolated              isolate, restore, under the buddy's lock
//
// A run is an allocation: `pages` contiguous pages, made of the largest aligned blocks
// that fit ("canonical"). The first page of the first block is `run`, that of every
// further block `run_part`; all other pages of a block are `body`, but for a slab,
// whose every page names it, so that a lookup is one load.
//
// The other 16 bytes: no field of one state lies where another state's lock-free
// reader looks. `owner` is the pool's alone and 0 whenever the page starts no owned run,
// so a late free can compare and swap it at any time and only miss.
#pragma once

#include <atomic>

#include "../base/types.hpp"

namespace quarry {

// The largest order of blocks that page caches hold.
inline constexpr unsigned kMostClaimed = 3;

enum class PageState : u8 { body, free, run, run_part, cached, slab, isolated };

class PageDesc {
public:
    static constexpr u64 kStateMask = 7;
    static constexpr u64 kClaimed = 8;  // a run that is being freed

    // ---- the word: state 0..2, claimed 3, order 8..15, region 16..31, pages 32..63 ----
    u64 word() const { return word_.load(std::memory_order_acquire); }
    static PageState state(u64 word) { return static_cast<PageState>(word & kStateMask); }
    static Order order(u64 word) { return Order{static_cast<u8>(word >> 8)}; }
    static u32 region(u64 word) { return static_cast<u16>(word >> 16); }
    static u32 pages(u64 word) { return static_cast<u32>(word >> 32); }
    template <typename Slab>
    static Slab* slab(u64 word) {
        return reinterpret_cast<Slab*>(word & ~u64{63});
    }
    static constexpr u64 make(PageState state, Order order, u32 region, u64 pages = 0) {
        return static_cast<u64>(state) | u64{value(order)} << 8 | u64{region} << 16 | pages << 32;
    }

    PageState state() const { return state(word()); }

    void set(u64 word) { word_.store(word, std::memory_order_release); }
    void set(PageState state, Order order, u32 region) { set(make(state, order, region)); }

    // `slab` is aligned to 64 bytes. What stands beside it goes first: who sees the
    // slab sees it.
    void set_slab(const void* slab, u8 size_class, Order block, u32 region) {
        rest_.size_class.store(size_class, std::memory_order_relaxed);
        rest_.slab_order.store(static_cast<u8>(value(block)), std::memory_order_relaxed);
        rest_.next_region.store(static_cast<u16>(region), std::memory_order_relaxed);
        set(reinterpret_cast<u64>(slab) | static_cast<u64>(PageState::slab));
    }
    // The claim of a page by one of several racing frees.
    bool change(u64& expected, u64 desired) {
        return word_.compare_exchange_strong(expected, desired, std::memory_order_acq_rel,
                                             std::memory_order_acquire);
    }

    // ---- free: the neighbours in the free list, under the buddy's lock ----
    struct Link {
        u32 index;  // of the page in its region; kNoPage: the list ends
        u16 region;
    };
    static constexpr u32 kNoPage = ~u32{0};
    static constexpr Link kEnd{kNoPage, 0};
    // A free block is first in its list.
    void begin_free(Link next, u64 word) {
        set_next(next);
        set_prev(kEnd);
        set(word);
    }
    Link next() const { return {rest_.next, region_of(rest_.next_region)}; }
    Link prev() const { return {rest_.prev, region_of(rest_.prev_region)}; }
    void set_next(Link link) {
        rest_.next = link.index;
        rest_.next_region.store(link.region, std::memory_order_relaxed);
    }
    void set_prev(Link link) {
        rest_.prev = link.index;
        rest_.prev_region.store(link.region, std::memory_order_relaxed);
    }

    // ---- run: at its first page; next, prev and owner are 0 when it is allocated ----
    struct Run {
        u32 next = 0;  // the owner's chain, under the owner's lock
        u32 prev = 0;
        std::atomic<u16> next_region{0};
        std::atomic<u16> prev_region{0};
        std::atomic<ClientIndex> owner{kNobody};
        std::atomic<u8> size_class{0};
        std::atomic<u8> slab_order{0};
    };
    Run& run() { return rest_; }
    // A fresh run: nobody's, in no chain. `word` names it.
    void begin_run(u64 word) {
        rest_.next = rest_.prev = 0;
        set(word);
    }
    const Run& run() const { return rest_; }

    // ---- run_part: where its run starts, in pages from the region's first ----
    u32 run_start() const { return rest_.next; }
    void set_run_start(u32 index) { rest_.next = index; }

    // ---- slab: beside the pointer, at each of its pages ----
    u8 size_class() const { return rest_.size_class.load(std::memory_order_relaxed); }
    Order slab_order() const { return Order{rest_.slab_order.load(std::memory_order_relaxed)}; }
    u32 slab_region() const { return region_of(rest_.next_region); }

private:
    static u16 region_of(const std::atomic<u16>& id) { return id.load(std::memory_order_relaxed); }

    std::atomic<u64> word_{0};
    Run rest_;
};

static_assert(sizeof(PageDesc) == 24);

}  // namespace quarry
