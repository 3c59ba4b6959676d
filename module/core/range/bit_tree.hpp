// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A set of numbers below a fixed count, as a bitmap and summaries of it: a bit of level k + 1
// says that a word of level k is not zero. Six levels reach beyond 2^32.
//
// Costs: every call reads at most two words a level, log64(count) levels.
// One caller at a time. The words are the caller's, zeroed.
#pragma once

#include "../base/types.hpp"

namespace quarry {

template <typename Steps>
class BitTree {
public:
    static constexpr u64 kNone = ~u64{0};

    // Words that a set of so many numbers takes. count != 0.
    static u64 words_for(u64 count) {
        u64 all = 0;
        do {
            count = (count + 63) / 64;
            all += count;
        } while (count > 1);
        return all;
    }

    void attach(u64* words, u64 count) {
        levels_ = 0;
        count_ = count;
        do {
            count = (count + 63) / 64;
            level_[levels_++] = words;
            words += count;
        } while (count > 1);
    }

    bool has(u64 n) const { return level_[0][n / 64] >> (n % 64) & 1; }
    // The members from n / 64 * 64 on, 64 at most.
    u64 word_of(u64 n) const { return level_[0][n / 64]; }

    void set(u64 n) {
        for (unsigned k = 0; k < levels_; ++k) {
            Steps::step();
            u64& word = level_[k][n / 64];
            const u64 old = word;
            word = old | u64{1} << (n % 64);
            if (old != 0) return;
            n /= 64;
        }
    }

    void clear(u64 n) {
        for (unsigned k = 0; k < levels_; ++k) {
            Steps::step();
            u64& word = level_[k][n / 64];
            word &= ~(u64{1} << (n % 64));
            if (word != 0) return;
            n /= 64;
        }
    }

    // The greatest member that is `n` at most, or kNone.
    u64 at_most(u64 n) const {
        unsigned k = 0;
        for (;; ++k) {
            Steps::step();
            const u64 below = level_[k][n / 64] & (~u64{0} >> (63 - n % 64));
            if (below != 0) {
                n = n / 64 * 64 + highest_bit(below);
                break;
            }
            if (n / 64 == 0 || k + 1 == levels_) return kNone;
            n = n / 64 - 1;
        }
        while (k-- > 0) {
            Steps::step();
            n = n * 64 + highest_bit(level_[k][n]);
        }
        return n;
    }

    // The least member that is `n` at least, or kNone. n <= count.
    u64 at_least(u64 n) const {
        u64 count = count_;
        unsigned k = 0;
        for (;; ++k) {
            if (n >= count) return kNone;
            Steps::step();
            const u64 above = level_[k][n / 64] & (~u64{0} << (n % 64));
            if (above != 0) {
                n = n / 64 * 64 + lowest_bit(above);
                break;
            }
            if (k + 1 == levels_) return kNone;
            n = n / 64 + 1;
            count = (count + 63) / 64;
        }
        while (k-- > 0) {
            Steps::step();
            n = n * 64 + lowest_bit(level_[k][n]);
        }
        return n;
    }

    // Does each summary say what is below it, on the way from `n` up? For the audit.
    bool consistent(u64 n) const {
        for (unsigned k = 0; k + 1 < levels_; ++k) {
            n /= 64;
            if ((level_[k + 1][n / 64] >> (n % 64) & 1) != (level_[k][n] != 0)) return false;
        }
        return true;
    }

private:
    u64* level_[6] = {};
    u64 count_ = 0;
    unsigned levels_ = 0;
};

}  // namespace quarry
