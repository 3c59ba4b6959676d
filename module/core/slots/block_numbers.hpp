// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// BlockNumbers: which of n equal blocks are in use, by number; what SlotPool and FixedPool
// have in common. One caller at a time. O(1) whatever is live: the words of FreeBits that
// the pool keeps, and three numbers here.
//
//   fresh_       blocks from here on were never in use
//   FreeBits     of those before it, the ones that are free, but for
//   spare_       the number (plus 1) of the block freed last, if it is free: spare_free_
//
// So a block is live when it lies before fresh_, is not in FreeBits, and is not a free spare.
// A pair of take and give touches no bitmap. All zeros is the state of a pool never used.
#pragma once

#include "../base/audit.hpp"
#include "../base/result.hpp"
#include "free_bits.hpp"

namespace quarry {

class BlockNumbers {
public:
    static constexpr u32 kNone = ~u32{0};

    // A free block becomes live; kNone when all are.
    constexpr u32 take(u64* words, const BitLevels& levels, u32 count) {
        if (spare_free_) [[likely]] {
            spare_free_ = false;
            return spare_ - 1;
        }
        return take_other(words, levels, count);
    }

    // Errors: already_free. `number` < count.
    constexpr Error give(u64* words, const BitLevels& levels, u32 number) {
        if (number + 1 == spare_) [[likely]] {
            if (spare_free_) return Error::already_free;
            spare_free_ = true;
            return Error::none;
        }
        return give_other(words, levels, number);
    }

    constexpr bool live(const u64* words, u32 number) const {
        return number < fresh_ && !FreeBits::has(words, number) &&
               !(spare_free_ && number + 1 == spare_);
    }
    constexpr u32 allocated() const { return fresh_ - in_bits_ - spare_free_; }

    // f(number) for each live block, ascending; f may give that block back. O(count).
    template <typename F>
    constexpr void for_each(const u64* words, F&& f) const {
        for (u32 i = 0; i < fresh_; ++i) {
            if (i % 64 == 0 && words[i / 64] == ~u64{0}) {
                i += 63;
                continue;
            }
            if (live(words, i)) f(i);
        }
    }

    // O(count / 64).
    constexpr void reset(u64* words, const BitLevels& levels) {
        FreeBits::clear(words, levels);
        *this = BlockNumbers{};
    }

    void verify(const u64* words, const BitLevels& levels, u32 count, Audit& audit) const {
        audit.expect(fresh_ <= count, "more blocks were in use than there are", fresh_);
        audit.expect(FreeBits::verify(words, levels, fresh_, audit) == in_bits_,
                     "the count of free blocks is wrong", in_bits_);
        audit.expect(spare_ <= fresh_, "the spare was never in use", spare_);
        audit.expect(!spare_free_ || spare_, "there is no spare to be free", 0);
        if (spare_free_ && spare_ && spare_ <= fresh_)
            audit.expect(!FreeBits::has(words, spare_ - 1), "the spare is free twice", spare_ - 1);
        audit.saw_objects(allocated());
    }

private:
    [[gnu::noinline]] constexpr u32 take_other(u64* words, const BitLevels& levels, u32 count) {
        u32 number;
        if (in_bits_) {
            number = FreeBits::first(words, levels);
            FreeBits::remove(words, levels, number);
            --in_bits_;
        } else if (fresh_ < count) {
            number = fresh_++;
        } else {
            return kNone;
        }
        return number;
    }
    [[gnu::noinline]] constexpr Error give_other(u64* words, const BitLevels& levels, u32 number) {
        if (number >= fresh_ || FreeBits::has(words, number)) return Error::already_free;
        if (!spare_free_) {  // the block freed last is the one that is still in the cache
            spare_ = number + 1;
            spare_free_ = true;
            return Error::none;
        }
        FreeBits::add(words, levels, number);
        ++in_bits_;
        return Error::none;
    }

    u32 spare_ = 0;
    bool spare_free_ = false;
    u32 fresh_ = 0;
    u32 in_bits_ = 0;
};

}  // namespace quarry
