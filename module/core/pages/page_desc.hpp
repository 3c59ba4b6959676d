// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What the core knows of one page: 24 bytes out of line, 0.6 % of a 4 KiB page.
//
// The word is read without a lock by whoever looks an offset up; it is written
// under the buddy's lock, or by the one who owns the block (slab maker, page cache).
//
//   state      word holds             written by, order          read by
//   body       region                 buddy, lock                anyone, acquire
//   free       region, order          buddy, lock                buddy, lock
//   run        region, order          buddy, lock                anyone, acquire
//   run_part   region, order          buddy, lock                buddy, lock
//   cached     region                 page cache, release        anyone, acquire
//   slab       Slab*                  slab maker, release        anyone, acquire: sees the
//                                                                whole slab header
//   isolated   region, order          buddy, lock                buddy, lock
//
// A head is the first page of a block; all other pages of a block are `body`, but
// for a slab, whose every page names it, so that a lookup is one load.
//
// The other 16 bytes belong to the state: links in a free list; a run's length and
// owner; a slab page's size class.
#pragma once

#include <atomic>

#include "../base/types.hpp"

namespace quarry {

enum class PageState : u8 { body, free, run, run_part, cached, slab, isolated };

class PageDesc {
public:
    static constexpr u64 kStateMask = 7;

    // ---- the word ----
    u64 word() const { return word_.load(std::memory_order_acquire); }
    static PageState state(u64 word) { return static_cast<PageState>(word & kStateMask); }
    static Order order(u64 word) { return Order{static_cast<u8>(word >> 8 & 0xff)}; }
    static u32 region(u64 word) { return static_cast<u32>(word >> 16); }
    template <typename Slab>
    static Slab* slab(u64 word) {
        return reinterpret_cast<Slab*>(word & ~u64{63});
    }

    PageState state() const { return state(word()); }

    void set(PageState state, Order order, u32 region) {
        word_.store(static_cast<u64>(state) | u64{value(order)} << 8 | u64{region} << 16,
                    std::memory_order_release);
    }
    // `slab` is aligned to 64 bytes. The size class goes first: who sees the slab sees it.
    void set_slab(const void* slab, u8 size_class, u32 region) {
        slab_.size_class = size_class;
        slab_.region = region;
        word_.store(reinterpret_cast<u64>(slab) | static_cast<u64>(PageState::slab),
                    std::memory_order_release);
    }
    // The claim of a cached or owned page by one of several racing frees.
    bool change(u64& expected, u64 desired) {
        return word_.compare_exchange_strong(expected, desired, std::memory_order_acq_rel,
                                             std::memory_order_acquire);
    }

    // ---- free: the links of the free list ----
    struct Links {
        PageDesc* next;
        PageDesc* prev;
    };
    Links& links() { return links_; }

    // ---- run: at its first page ----
    struct Run {
        u32 next;   // the owner's chain, under the owner's lock
        u32 prev;
        u32 pages;  // length, under the buddy's lock; constant while owned
        std::atomic<ClientIndex> owner;
        u16 unused;
    };
    Run& run() { return run_; }
    const Run& run() const { return run_; }

    // ---- run_part: where its run starts ----
    u64& run_start() { return run_start_; }

    // ---- slab: beside the pointer ----
    u8 size_class() const { return slab_.size_class; }
    u32 slab_region() const { return slab_.region; }

private:
    struct SlabPage {
        u32 region;
        u8 size_class;
    };

    std::atomic<u64> word_{0};
    union {
        Links links_{};
        Run run_;
        u64 run_start_;
        SlabPage slab_;
    };
};

static_assert(sizeof(PageDesc) == 24);

}  // namespace quarry
