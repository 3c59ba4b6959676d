// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// FreeBits: a set of slot numbers as one bit a slot with summary levels (bit_levels.hpp),
// for one caller at a time. 1 says that the slot is in the set; a bit of a further level,
// that the word below is not 0. Memory that is all zeros is the empty set, so that a static
// pool costs no byte in an image.
//
// Every operation takes one word a level at most. Where `levels` is a constant of the
// compiler's, the loops unroll.
#pragma once

#include "../base/audit.hpp"
#include "bit_levels.hpp"

namespace quarry {

struct FreeBits {
    static constexpr bool has(const u64* words, u32 slot) {
        return words[slot / 64] >> slot % 64 & 1;
    }

    static constexpr void add(u64* words, const BitLevels& levels, u32 slot) {
        u32 index = slot;
        for (u32 level = 0; level < levels.levels(); ++level, index /= 64) {
            u64& w = words[levels.start(level) + index / 64];
            const u64 before = w;
            w = before | u64{1} << index % 64;
            if (before) return;  // known above
        }
    }

    static constexpr void remove(u64* words, const BitLevels& levels, u32 slot) {
        u32 index = slot;
        for (u32 level = 0; level < levels.levels(); ++level, index /= 64) {
            u64& w = words[levels.start(level) + index / 64];
            w &= ~(u64{1} << index % 64);
            if (w) return;
        }
    }

    static constexpr bool empty(const u64* words, const BitLevels& levels) {
        return words[levels.start(levels.top())] == 0;
    }

    // The lowest slot of the set. Not for an empty set.
    static constexpr u32 first(const u64* words, const BitLevels& levels) {
        u32 index = 0;
        for (u32 level = levels.levels(); level-- > 0;)
            index = index * 64 + lowest_bit(words[levels.start(level) + index]);
        return index;
    }

    static constexpr void clear(u64* words, const BitLevels& levels) {
        for (u32 i = 0; i < levels.words(); ++i) words[i] = 0;
    }

    // Every summary bit says what is below it; no bit from `end` on. Answers how many are in.
    static u32 verify(const u64* words, const BitLevels& levels, u32 end, Audit& audit) {
        u32 count = 0;
        for (u32 i = 0; i < levels.words(0); ++i) {
            u64 w = words[i];
            count += popcount(static_cast<u32>(w)) + popcount(static_cast<u32>(w >> 32));
            const u64 first = u64{i} * 64;
            const u64 inside = end <= first ? 0 : end - first >= 64 ? ~u64{0} : ~(~u64{0} << (end - first));
            audit.expect((w & ~inside) == 0, "a block is free that was never in use", first);
        }
        for (u32 level = 0; level < levels.top(); ++level) {
            const u32 n = levels.words(level);
            for (u32 i = 0; i < n; ++i) {
                const u64 up = words[levels.start(level + 1) + i / 64];
                if ((words[levels.start(level) + i] != 0) != (up >> i % 64 & 1))
                    audit.fault("a summary bit lies about its word", i);
            }
            const u64 last = words[levels.start(level + 1) + (n - 1) / 64];
            audit.expect(n % 64 == 0 || last >> n % 64 == 0, "a summary bit has no word", n);
        }
        return count;
    }
};

}  // namespace quarry
