// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What is known of one range. Word is what counts granules: u64, or u32 where there are less
// than 2^31 of them.
//
//   RangeHome   eight ranges of one bucket of the offset space, live or free, in 16 bytes, by
//               offset. A range is two numbers there: its tag, one byte, which is where in the
//               bucket it starts, and its slot, half a byte, which says that it is free, and
//               by which number it is known as long as it starts there. How long it is, the
//               start of the next one says.
//   RangeSpare  a range that found its home full
//   FreeRange   each free range besides, densely numbered, so that the lists of sizes stay
//               in the nearest caches however many ranges are live
//     start, size   in granules
//     link          the list of its size, or the children in its bin's tree (size_index.hpp)
//     chain         the next that is free in the same home
//
// FreeRange 0 has size 0; as the number 0 it also ends lists, whose writers may write its
// links without asking.
#pragma once

#include "../base/types.hpp"

namespace quarry {

struct RangeHome {
    static constexpr u32 kRanges = 8;
    static constexpr u64 kNoTags = ~u64{0};
    static constexpr u32 kAllSlots = 0x76543210;
    static constexpr u32 kFree = 8;  // in a slot's half byte
    static constexpr u32 kCrowded = 16;
    static constexpr unsigned kFirstBits = 27;

    u64 tags;   // by rank, ascending; 0xff behind the last
    u32 slots;  // by rank; behind the last the unused slots
    u32 rest;   // how many: 4 bits; crowded: others are spare; the first free one's number

    u32 count() const { return rest & 15; }
    bool crowded() const { return rest & kCrowded; }
    // Has it a slot left, and no spares?
    bool has_room() const { return rest % 32 < kRanges; }
    u32 first() const { return rest >> (32 - kFirstBits); }
    void set_first(u32 f) { rest = (rest & 31) | f << (32 - kFirstBits); }

    u32 tag(u32 rank) const { return static_cast<u32>(tags >> (8 * rank)) & 255; }
    u32 slot(u32 rank) const { return slots >> (4 * rank) & 7; }
    bool is_free(u32 rank) const { return slots >> (4 * rank) & kFree; }

    // The highest bit of each byte of `tags` that is this tag. Only the lowest is to be relied on.
    u64 same(u32 tag) const {
        constexpr u64 kOnes = 0x0101010101010101;
        const u64 differ = tags ^ tag * kOnes;
        return (differ - kOnes) & ~differ & kOnes << 7;
    }
    // A live range with this tag at this rank, in an unused slot, which it answers.
    u32 insert(u32 rank, u32 tag) {
        const u32 n = count();
        const u64 below = (u64{1} << (8 * rank)) - 1;
        tags = (tags & below) | (tags & ~below) << 8 | u64{tag} << (8 * rank);
        const u64 s = slots;
        const u64 low = (u64{1} << (4 * rank)) - 1;
        const u64 used = (u64{1} << (4 * n)) - 1;
        const u64 unused = s >> (4 * n) & 7;
        slots = static_cast<u32>((s & low) | unused << (4 * rank) | (s & used & ~low) << 4 |
                                 (s & ~(used << 4 | 15)));
        ++rest;
        return static_cast<u32>(unused);
    }
    // The one of this rank, which is live, is there no more.
    void remove(u32 rank) {
        const u32 n = count();
        const u64 below = (u64{1} << (8 * rank)) - 1;
        tags = (tags & below) | (tags >> 8 & ~below) | u64{255} << 56;
        const u64 s = slots;
        const u64 low = (u64{1} << (4 * rank)) - 1;
        const u64 used = (u64{1} << (4 * n)) - 1;
        slots = static_cast<u32>((s & low) | ((s & used) >> 4 & ~low) |
                                 (s >> (4 * rank) & 7) << (4 * (n - 1)) | (s & ~used));
        --rest;
    }
};
static_assert(sizeof(RangeHome) == 16);

template <typename Word>
struct RangeSpare {
    static constexpr u32 kUnused = ~u32{0};

    Word start;   // unused: where it stands among the unused
    u32 number;   // of its FreeRange; 0: live; kUnused
    u32 kids[2];  // in its bucket's tree
};
static_assert(sizeof(RangeSpare<u32>) == 16 && sizeof(RangeSpare<u64>) == 24);

template <typename Word>
struct FreeRange {
    Word start;
    Word size;
    u32 link[2];
    u32 chain;
};
static_assert(sizeof(FreeRange<u32>) == 20 && sizeof(FreeRange<u64>) == 32);

}  // namespace quarry
