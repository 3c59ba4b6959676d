// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The open slots of a slab of N, as bits: a word for each 64 slots, above them a bit for
// each word that is not 0, and so on until one word is left. Taking the lowest open slot,
// opening one and asking for one are O(1): one, two or three words, by N (at most 2^18).
//
// Written under the cache's lock. The words of the lowest level are atomics, written and
// read relaxed, so that who owns a slot may ask for its bit without the lock: nobody else
// changes that bit meanwhile.
#pragma once

#include <atomic>

#include "../base/bits.hpp"

namespace quarry {

template <u32 N>
class OpenSlots {
    static_assert(N > 64 && N <= 64 * 64 * 64);
    static constexpr u32 kWords = (N + 63) / 64;

public:
    bool any() const { return summary_.any(); }
    bool test(u32 i) const { return word(i / 64) >> i % 64 & 1; }

    // Some slot is open: the lowest, which is then closed.
    u32 take() {
        const u32 w = summary_.lowest();
        const u64 bits = word(w);
        const u64 rest = bits & (bits - 1);
        set_word(w, rest);
        if (!rest) summary_.close(w);
        return w * 64 + lowest_bit(bits);
    }
    // False: it was open.
    bool open(u32 i) {
        const u32 w = i / 64;
        const u64 bits = word(w);
        const u64 bit = u64{1} << i % 64;
        if (bits & bit) return false;
        set_word(w, bits | bit);
        if (!bits) (void)summary_.open(w);
        return true;
    }
    u32 lowest() const {
        const u32 w = summary_.lowest();
        return w * 64 + lowest_bit(word(w));
    }
    void close(u32 i) {
        const u32 w = i / 64;
        const u64 rest = word(w) & ~(u64{1} << i % 64);
        set_word(w, rest);
        if (!rest) summary_.close(w);
    }
    void open_all() {
        for (u32 w = 0; w < kWords; ++w)
            set_word(w, w == N / 64 ? (u64{1} << N % 64) - 1 : ~u64{0});
        summary_.open_all();
    }

    // How many are open, counted; ~0 when the levels contradict each other. O(N / 64).
    u32 count() const {
        u32 n = 0;
        for (u32 w = 0; w < kWords; ++w) {
            const u64 bits = word(w);
            if (summary_.test(w) != (bits != 0)) return ~u32{0};
            n += popcount(static_cast<u32>(bits)) + popcount(static_cast<u32>(bits >> 32));
        }
        const u32 above = summary_.count();
        const u64 past = N % 64 ? word(kWords - 1) >> N % 64 : 0;
        return above == ~u32{0} || past ? ~u32{0} : n;
    }

private:
    u64 word(u32 w) const { return words_[w].load(std::memory_order_relaxed); }
    void set_word(u32 w, u64 bits) { words_[w].store(bits, std::memory_order_relaxed); }

    OpenSlots<kWords> summary_;
    std::atomic<u64> words_[kWords] = {};
};

// One word.
template <u32 N>
    requires(N <= 64)
class OpenSlots<N> {
    static_assert(N > 0);
    static constexpr u64 kAll = N == 64 ? ~u64{0} : (u64{1} << N % 64) - 1;

public:
    bool any() const { return word() != 0; }
    bool test(u32 i) const { return word() >> i & 1; }
    u32 take() {
        const u64 bits = word();
        set_word(bits & (bits - 1));
        return lowest_bit(bits);
    }
    bool open(u32 i) {
        const u64 bits = word();
        const u64 after = bits | u64{1} << i;
        if (bits == after) return false;
        set_word(after);
        return true;
    }
    u32 lowest() const { return lowest_bit(word()); }
    void close(u32 i) { set_word(word() & ~(u64{1} << i)); }
    void open_all() { set_word(kAll); }
    u32 count() const {
        const u64 bits = word();
        if (bits & ~kAll) return ~u32{0};
        return popcount(static_cast<u32>(bits)) + popcount(static_cast<u32>(bits >> 32));
    }

private:
    u64 word() const { return word_.load(std::memory_order_relaxed); }
    void set_word(u64 bits) { word_.store(bits, std::memory_order_relaxed); }

    std::atomic<u64> word_{0};
};

}  // namespace quarry
