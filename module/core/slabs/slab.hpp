// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A slab: one buddy block cut into equal slots, and one block of metadata that lies
// elsewhere: this header (64 bytes), the owner policy's marks, two bitmaps.
//
//   word            states                     who writes                  order, pairs with
//   taken[w]        1: the slot is out          class lock                  -
//   remote[w]       1: the slot is on its way   anyone: or                  seq_cst, (A)
//                   home                        collector: xchg to 0        seq_cst, (A)
//   pending         0: not queued               collector, before it looks  seq_cst, (A)
//                   1: queued, being queued,    whoever finds 0 queues      seq_cst, (A)
//                   or dead                     the slab, nobody else may
//
//   (A) A home-comer sets its bits, then looks at pending; the collector clears
//   pending, then looks at the bits. One of the two sees the other, so no bit is
//   forgotten. A slab dies only by the one who turned pending from 0 to 1 with every
//   slot at home: a home-comer that is late then finds 1 and does not queue a dead slab.
//   It may touch the words themselves because it is a reader (platform.hpp).
//
// A slab is partial, full, idle (every slot at home) or quarantined (corruption was
// found in it: nothing is taken from it again). All but the last can change with
// each step; each state has its list in the slab's bin.
#pragma once

#include <atomic>

#include "../base/list.hpp"
#include "../base/wait_free_queue.hpp"
#include "owner_policy.hpp"

namespace quarry {

enum class SlabState : u8 { partial, full, idle, quarantined, dead };

template <typename Policy>
class alignas(64) Slab {
public:
    using Marks = typename Policy::Marks;

    // Bytes of one metadata block.
    static constexpr u64 meta_bytes(const SizeClass& c) {
        return sizeof(Slab) + Marks::bytes(c) + u64{words_of(c)} * 8;
    }
    static constexpr u32 words_of(const SizeClass& c) { return (c.slots + 31) / 32; }

    // In zeroed memory of `block_bytes`: meta_bytes, or more when it comes from a reserve.
    Slab(Offset base, u8 index, const SizeClass& c, u64 block_bytes)
        : base_(base),
          class_(&c),
          class_index_(index),
          free_(c.slots),
          block_bytes_(static_cast<u32>(block_bytes)) {}

    Offset base() const { return base_; }
    const SizeClass& size_class() const { return *class_; }
    u8 class_index() const { return class_index_; }
    u64 block_bytes() const { return block_bytes_; }
    u32 words() const { return words_of(*class_); }
    u32 slots() const { return class_->slots; }

    Offset offset_of(SlotIndex slot) const { return base_ + u64{slot} * class_->slot_bytes; }
    bool holds(Offset offset) const { return offset - base_ < class_->slab_bytes(); }
    // The slot that starts at `offset`; slots() when none does.
    SlotIndex slot_at(Offset offset) const {
        const u32 distance = static_cast<u32>(offset - base_);
        const u32 slot = class_->divider.divide(distance);
        return slot < slots() && slot * class_->slot_bytes == distance ? slot : slots();
    }
    // The bits of word w that stand for slots.
    u32 valid(u32 w) const {
        const u32 left = slots() - w * 32;
        return left >= 32 ? ~u32{0} : (u32{1} << left) - 1;
    }

    Marks& marks() { return *reinterpret_cast<Marks*>(this + 1); }
    u32* taken() { return reinterpret_cast<u32*>(reinterpret_cast<char*>(this + 1) + Marks::bytes(*class_)); }
    std::atomic<u32>* remote() { return reinterpret_cast<std::atomic<u32>*>(taken() + words()); }

    // ---- the way home: any context, as a reader ----

    // Slots of word w come home. Answers those that were on their way already.
    u32 come_home(u32 w, u32 bits) {
        return remote()[w].fetch_or(bits, std::memory_order_seq_cst) & bits;
    }
    // True: the caller now queues the slab.
    bool claim_pending() { return pending_.exchange(1, std::memory_order_seq_cst) == 0; }
    void clear_pending() { pending_.exchange(0, std::memory_order_seq_cst); }
    bool pending() const { return pending_.load(std::memory_order_relaxed) != 0; }

    // ---- under the class lock ----

    // Up to n free slots of one word, from the hint on. 0: none (then free() is 0).
    u32 find_free(u32 n, u32& word) {
        for (; hint_ < words(); ++hint_)
            if (const u32 open = open_in(hint_)) {
                word = hint_;
                return lowest(open, n);
            }
        return 0;
    }
    // The same for one who took from word `near` last, words() if from another slab: out of the
    // group of words there, else out of a group of which nobody has anything; 0: there is none
    // such. So whoever keep to this share no lines of what is kept by the slot, nor neighbouring
    // ones, which a CPU fetches ahead: of 2 bytes for 64, a group has four lines.
    u32 find_apart(u32 n, u32& word, u32 near) {
        const u32 group = near & ~(kGroup - 1);
        for (u32 i = 0; near < words() && i < kGroup; ++i) {
            const u32 w = group + (near + i) % kGroup;
            if (w >= words() || !open_in(w)) continue;
            word = w;
            return lowest(open_in(w), n);
        }
        for (u32 w = (hint_ + kGroup - 1) & ~(kGroup - 1); w < words(); w += kGroup) {
            u32 out = 0;
            for (u32 i = w; i < w + kGroup && i < words(); ++i) out |= taken()[i];
            if (out) continue;
            word = w;
            return lowest(valid(w), n);
        }
        return 0;
    }
    void take(u32 w, u32 bits) {
        taken()[w] |= bits;
        free_ -= popcount(bits);
        ++changes_;
    }
    void put_back(u32 w, u32 bits) {
        taken()[w] &= ~bits;
        free_ += popcount(bits);
        if (w < hint_) hint_ = w;
        ++changes_;
    }

    u32 free() const { return free_; }
    // Written under the class lock; anyone may ask, as a hint.
    SlabState state() const { return state_.load(std::memory_order_relaxed); }
    void set_state(SlabState s) { state_.store(s, std::memory_order_relaxed); }
    u32 changes() const { return changes_; }

    // A pinned slab does not die: its pinner steps through it with the lock released between.
    void pin() { ++pins_; }
    void unpin() { --pins_; }
    bool pinned() const { return pins_ != 0; }

    // First, because from retirement on these 16 bytes are the platform's.
    ListNode list;
    QueueNode queue;

    static Slab* from_queue(QueueNode* node) {
        return reinterpret_cast<Slab*>(reinterpret_cast<char*>(node) - sizeof(ListNode));
    }

private:
    static constexpr u32 kGroup = 4;

    u32 open_in(u32 w) { return ~taken()[w] & valid(w); }
    static u32 lowest(u32 bits, u32 n) {
        if (popcount(bits) <= n) return bits;
        u32 chosen = 0;
        for (; n; --n) {
            const u32 bit = bits & -bits;
            chosen |= bit;
            bits ^= bit;
        }
        return chosen;
    }

    Offset base_;
    const SizeClass* class_;
    u8 class_index_;
    std::atomic<SlabState> state_{SlabState::idle};
    u16 pins_ = 0;
    std::atomic<u32> pending_{0};
    u32 free_;
    u32 block_bytes_;
    u16 hint_ = 0;
    u16 changes_ = 0;
};

}  // namespace quarry
