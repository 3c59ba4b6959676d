// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// AtomicBits: which of n slots are taken, for any number of callers without a lock. One bit
// a slot and summary levels (bit_levels.hpp), in words that the caller brings. take() and
// give() are lock-free: a caller goes round again only when another one's update came
// between, so some caller has got on.
//
//     uint64_t memory[AtomicBits<>::words_for(1000)];
//     AtomicBits<> bits;
//     bits.init(memory, 1000);                      // 1000 slots, all free
//     const auto slot = bits.take();                // Result<u32>: 0..999, or pool_full
//     if (slot) (void)bits.give(*slot);             // or already_free, out_of_range
//
//   word           bits                               written by             order
//   level 0        1: taken; behind the last slot     take, give: CAS        seq_cst: acquire for a
//                  always 1                                                  taker, pairs with the
//                                                                            giver's release
//   level k+1      1: that word of level k is full;   settle: fetch_or,      seq_cst
//   ("summary")    behind the last word always 1      fetch_and
//   activity_      0..31: callers inside settle;      settle: fetch_add at   seq_cst
//                  32..63: how often one has left     its begin and end
//
//   transition of a word W whose summary bit is S    made by               who then settles W
//   not full -> full                                 CAS or fetch_or       the same
//   full -> not full, S = 1                          CAS or fetch_and      every giver that finds
//                                                                          S = 1 after its CAS
//   full -> not full, S = 0                          CAS                   who filled W will
//
// settle(W) writes what it read of W into S, reads W again, and goes round until both agree.
//   - When nobody is inside a call, S says of W what is true: the last writer of S found W in
//     agreement afterwards, and had W changed since, someone would have written S again.
//   - S = 0 above a full word costs a searcher one read more; it then settles W itself.
//   - S = 1 above a word with a free slot means that somebody is still inside settle, or that
//     no give of such a slot has returned. So when a taker reads activity_ (nobody inside), the
//     root as full, and activity_ again unchanged, there was an instant without a free slot: pool_full
//     is never an accident. While somebody inside settle is stopped, a taker tries kPatience
//     times, then looks at level 0 word by word; pool_full then says that no slot was free all
//     the time.
//
// Context: any, down to NMI. Costs: take reads one word a level (4 at 10^6 slots) and one
// CAS, without contention; give one CAS; each three updates more at a word that becomes
// full or ceases to be.
//
// (The hierarchy of bit words is that of van Emde Boas cut to the word size; its lock-free
// maintenance by "write, then look again" is a form of Dekker's handshake.)
#pragma once

#include <atomic>

#include "../base/audit.hpp"
#include "../base/result.hpp"
#include "bit_levels.hpp"

namespace quarry {

// What a Trace hears: each word read in search of a slot, and each update of a word that
// another caller's update forestalled. Nothing, by default.
struct NoTrace {
    static void read() {}
    static void raced() {}
};

template <typename Trace = NoTrace>
class AtomicBits {
public:
    static constexpr u64 kFull = ~u64{0};

    static constexpr u64 words_for(u64 slots) { return BitLevels::words_for(slots); }

    AtomicBits() = default;
    AtomicBits(const AtomicBits&) = delete;
    AtomicBits& operator=(const AtomicBits&) = delete;

    // `memory`: 8 bytes for each of words_for(slots), aligned to 8, whatever it holds; it
    // outlives this. Errors: invalid (no slots), too_large, misaligned, initialised.
    // Context: before any other call.
    Error init(void* memory, u64 slots) {
        if (words_) return Error::initialised;
        if (!memory || slots == 0) return Error::invalid;
        if (slots > BitLevels::kMostSlots) return Error::too_large;
        if (reinterpret_cast<u64>(memory) % alignof(Word)) return Error::misaligned;
        levels_ = BitLevels(slots);
        slots_ = static_cast<u32>(slots);
        words_ = static_cast<Word*>(memory);
        u64 below = slots;
        for (u32 level = 0; level < levels_.levels(); ++level) {
            for (u32 i = 0; i < levels_.words(level); ++i) new (&word(level, i)) Word(0);
            if (below % 64)
                word(level, levels_.words(level) - 1).store(kFull << below % 64, kRelaxed);
            below = levels_.words(level);
        }
        return Error::none;
    }

    u32 slots() const { return slots_; }
    const BitLevels& levels() const { return levels_; }

    // A free slot becomes the caller's: the one at `from` where that is free, else one near
    // it where the levels lead there at once. Errors: pool_full.
    Result<u32> take(u32 from = 0) {
        for (u32 tries = 0;;) {
            u32 index = 0;
            bool on_path = true;
            u32 level = levels_.top();
            for (;; --level) {
                const u64 open = ~read(level, index);
                if (!open) break;
                const u32 digit = on_path ? from >> 6 * level & 63 : 0;
                if (level == 0) {
                    u32 slot;
                    if (take_in(index, ~open, digit, slot)) return slot;
                    break;
                }
                const u32 child = first_from(open, digit);
                on_path = on_path && child == digit;
                index = index * 64 + child;
            }
            if (level != levels_.top()) {
                settle(level, index);  // it filled up behind its summary's back
                continue;
            }
            if (surely_full()) return Error::pool_full;
            if (++tries < kPatience) continue;
            u32 slot;
            return scan(slot) ? Result<u32>(slot) : Result<u32>(Error::pool_full);
        }
    }

    // Takes this slot and no other. Errors: out_of_range, busy.
    Error take_this(u32 slot) {
        if (slot >= slots_) return Error::out_of_range;
        Word& w = word(0, slot / 64);
        const u64 bit = u64{1} << slot % 64;
        u64 seen = w.load(kRelaxed);
        do {
            if (seen & bit) return Error::busy;
        } while (!change(w, seen, seen | bit));
        if ((seen | bit) == kFull) settle(0, slot / 64);
        return Error::none;
    }

    // The slot is free again; whoever takes it next sees what the giver has written.
    // Errors: out_of_range, already_free; of several givers of one slot one wins.
    Error give(u32 slot) {
        if (slot >= slots_) return Error::out_of_range;
        Word& w = word(0, slot / 64);
        const u64 bit = u64{1} << slot % 64;
        u64 seen = w.load(kRelaxed);
        do {
            if (!(seen & bit)) return Error::already_free;
        } while (!change(w, seen, seen & ~bit));
        if (said_full(slot / 64)) settle(0, slot / 64);
        return Error::none;
    }

    // Of this instant. `slot` < slots().
    bool taken(u32 slot) const {
        return word(0, slot / 64).load(std::memory_order_acquire) >> slot % 64 & 1;
    }
    // Slots taken; of this instant where nobody else is at work. O(slots / 64).
    u32 count() const {
        u32 n = 0;
        for (u32 i = 0; i < levels_.words(0); ++i) n += popcount64(word(0, i).load(kRelaxed));
        return n - tail(slots_);
    }

    // f(slot) for each slot that is taken when it is looked at. O(slots / 64 + taken).
    template <typename F>
    void for_each(F&& f) const {
        for (u32 i = 0; i < levels_.words(0); ++i) {
            u64 left = word(0, i).load(std::memory_order_acquire);
            if (i == levels_.words(0) - 1 && slots_ % 64) left &= ~(kFull << slots_ % 64);
            for (; left; left &= left - 1) f(i * 64 + lowest_bit(left));
        }
    }

    // The bits behind the last of each level are set; when nobody else is at work (`quiet`)
    // every summary bit is right and nobody is counted as settling. O(words).
    void verify(Audit& audit, bool quiet = true) const {
        u64 below = slots_;
        for (u32 level = 0; level < levels_.levels(); ++level) {
            const u32 last = levels_.words(level) - 1;
            const u64 behind = below % 64 ? kFull << below % 64 : 0;
            audit.expect((word(level, last).load(kRelaxed) & behind) == behind,
                         "a bit behind the last slot is clear", last);
            below = levels_.words(level);
            if (!quiet || level == levels_.top()) continue;
            for (u32 i = 0; i <= last; ++i) {
                const bool full = word(level, i).load(kRelaxed) == kFull;
                const bool said = word(level + 1, i / 64).load(kRelaxed) >> i % 64 & 1;
                if (full != said)
                    audit.fault(full ? "a full word is not known as full"
                                     : "a word with a free slot is known as full", i);
            }
        }
        if (quiet)
            audit.expect((activity_.load(kRelaxed) & kInside) == 0, "somebody settles in a quiet bitmap", 0);
    }

    // For tests: a word as it is, to be torn.
    std::atomic<u64>& word(u32 level, u32 index) const {
        return words_[levels_.start(level) + index];
    }

private:
    using Word = std::atomic<u64>;
    static constexpr auto kRelaxed = std::memory_order_relaxed;

    static constexpr u32 kPatience = 1000;
    static constexpr u64 kInside = 0xffffffff;

    // Inside settle: from before the first look at the word until its summary was found right.
    class Settling {
    public:
        explicit Settling(std::atomic<u64>& activity) : activity_(activity) {
            activity_.fetch_add(1, std::memory_order_seq_cst);
        }
        ~Settling() { activity_.fetch_add((u64{1} << 32) - 1, std::memory_order_seq_cst); }
        Settling(const Settling&) = delete;
        Settling& operator=(const Settling&) = delete;

    private:
        std::atomic<u64>& activity_;
    };

    static u32 popcount64(u64 x) {
        return popcount(static_cast<u32>(x)) + popcount(static_cast<u32>(x >> 32));
    }
    static constexpr u32 tail(u32 slots) { return (64 - slots % 64) % 64; }
    // The first set bit from `digit` on, cyclically. open != 0.
    static u32 first_from(u64 open, u32 digit) {
        const u64 behind = open & kFull << digit;
        return lowest_bit(behind ? behind : open);
    }

    u64 read(u32 level, u32 index) const {
        Trace::read();
        return word(level, index).load(std::memory_order_seq_cst);
    }
    // One try; false leaves in `seen` what was there instead.
    static bool change(Word& w, u64& seen, u64 to) {
        if (w.compare_exchange_strong(seen, to, std::memory_order_seq_cst, kRelaxed)) return true;
        Trace::raced();
        return false;
    }

    // A slot of word `index` of level 0, as near behind `digit` as may be.
    bool take_in(u32 index, u64 seen, u32 digit, u32& slot) {
        while (seen != kFull) {
            const u32 bit = first_from(~seen, digit);
            const u64 to = seen | u64{1} << bit;
            if (!change(word(0, index), seen, to)) continue;
            if (to == kFull) settle(0, index);
            slot = index * 64 + bit;
            return true;
        }
        return false;
    }

    // The root is full, and no summary was being written when it was read.
    bool surely_full() const {
        const u64 before = activity_.load(std::memory_order_seq_cst);
        return (before & kInside) == 0 &&
               word(levels_.top(), 0).load(std::memory_order_seq_cst) == kFull &&
               activity_.load(std::memory_order_seq_cst) == before;
    }
    // What the summary says of a word of level 0.
    bool said_full(u32 index) const {
        if (levels_.top() == 0) return false;
        return word(1, index / 64).load(std::memory_order_seq_cst) >> index % 64 & 1;
    }

    // Level 0 word by word: where the summary cannot be believed.
    bool scan(u32& slot) {
        for (u32 i = 0; i < levels_.words(0); ++i)
            if (take_in(i, read(0, i), 0, slot)) return true;
        return false;
    }

    // Makes the summary bit of this word agree with it; see the head.
    void settle(u32 level, u32 index) {
        if (level == levels_.top()) return;
        Settling inside(activity_);
        Word& w = word(level, index);
        Word& up = word(level + 1, index / 64);
        const u64 bit = u64{1} << index % 64;
        for (;;) {
            const bool full = w.load(std::memory_order_seq_cst) == kFull;
            const u64 before = full ? up.fetch_or(bit, std::memory_order_seq_cst)
                                    : up.fetch_and(~bit, std::memory_order_seq_cst);
            const u64 after = full ? before | bit : before & ~bit;
            if ((before == kFull) != (after == kFull)) settle(level + 1, index / 64);
            if ((w.load(std::memory_order_seq_cst) == kFull) == full) return;
            Trace::raced();
        }
    }

    Word* words_ = nullptr;
    BitLevels levels_;
    u32 slots_ = 0;
    std::atomic<u64> activity_{0};
};

}  // namespace quarry
