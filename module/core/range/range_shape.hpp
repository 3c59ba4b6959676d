// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What a RangeAllocator is made for, what it answers, and where its metadata lies: plain
// values, and the arithmetic that turns a shape into bytes beforehand, exactly.
#pragma once

#include "../base/result.hpp"
#include "node_table.hpp"
#include "size_index.hpp"

namespace quarry {

// Alignments above the granule that one allocator can have an index for.
inline constexpr unsigned kRangeAligns = 3;

struct RangeShape {
    u64 capacity;          // bytes, a multiple of the granule, not 0
    u64 granule = 1;       // bytes, a power of two: what sizes are rounded up to
    u64 max_live;          // ranges at a time, 1..2^26
    u64 max_capacity = 0;  // grow_capacity reaches it without metadata; 0: capacity
    u64 aligns[kRangeAligns] = {};  // bytes, powers of two above the granule, different; 0: none
};

// A live range: its name, and where its record stands. Valid until it is freed.
struct RangeHandle {
    Offset offset;
    u32 node;  // below nodes(): for a caller's own table of further facts, stable while it lives
};

// One range, as iteration and look-ups show it.
struct RangeView {
    Offset offset;
    u64 size;  // bytes
    bool live;
};

struct RangeReport {
    u64 capacity;    // bytes
    u64 free_bytes;
    u64 largest;     // bytes of the largest free range
    u64 free_ranges;
    u64 live;
    u64 max_live;
};

// What an index by size knows of a free range: its size ...
template <typename Word>
struct FreeSizes {
    FreeRange<Word>* frees;

    u64 size_of(u32 f) const { return frees[f].size; }
    u32* link(u32 f) const { return frees[f].link; }
};
// ... or what is left of it behind its first granule at an alignment.
template <typename Word>
struct AlignedSizes {
    const FreeRange<Word>* frees;
    u32 (*links)[2];
    u64 align;  // granules

    u64 first_of(u32 f) const { return round_up(frees[f].start, align); }
    u64 size_of(u32 f) const {
        const u64 first = first_of(f);
        const u64 end = u64{frees[f].start} + frees[f].size;
        return end > first ? end - first : 0;
    }
    u32* link(u32 f) const { return links[f]; }
};

// A checked shape, in granules, and as a plan of two blocks: the records, which stay, and the
// indices by size, which grow_capacity may replace.
template <typename Word, typename Sizes, typename Steps>
struct RangePlan {
    static constexpr u64 kMostLive = u64{1} << 26;
    static constexpr u64 kMostGranules = sizeof(Word) == 8 ? u64{1} << 62 : (u64{1} << 31) - 1;

    unsigned shift = 0;    // log2 of the granule
    u64 capacity = 0;      // granules
    u64 max_capacity = 0;  // granules
    u32 max_live = 0;
    unsigned aligns = 0;
    u64 align[kRangeAligns] = {};  // granules
    typename NodeTable<Word, Steps>::Layout nodes{};

    // Errors: invalid (a zero, no power of two, capacity no multiple of the granule, an
    // alignment twice or not above the granule), too_large (too many granules, or live).
    static Result<RangePlan> of(const RangeShape& s) {
        if (!is_power_of_two(s.granule) || s.capacity == 0 || s.max_live == 0) return Error::invalid;
        RangePlan p;
        const u64 most = s.max_capacity ? s.max_capacity : s.capacity;
        if (((s.capacity | most) & (s.granule - 1)) || most < s.capacity) return Error::invalid;
        p.shift = lowest_bit(s.granule);
        p.capacity = s.capacity >> p.shift;
        p.max_capacity = most >> p.shift;
        if (p.max_capacity > kMostGranules) return Error::too_large;
        for (unsigned i = 0; i < kRangeAligns; ++i) {
            const u64 align = s.aligns[i];
            if (align == 0) continue;
            if (!is_power_of_two(align) || align <= s.granule) return Error::invalid;
            for (unsigned k = 0; k < p.aligns; ++k)
                if (p.align[k] == align >> p.shift) return Error::invalid;
            p.align[p.aligns++] = align >> p.shift;
        }
        if (s.max_live > kMostLive) return Error::too_large;
        p.max_live = static_cast<u32>(s.max_live);
        p.nodes = NodeTable<Word, Steps>::layout(p.max_capacity, p.max_live);
        return p;
    }

    // Number 0 and one for each free range that there can be.
    static_assert(kMostLive + 2 <= u64{1} << RangeHome::kFirstBits);
    u64 frees() const { return u64{max_live} + 2; }
    unsigned number_bits() const { return highest_bit(frees()) + 1; }
    unsigned granule_bits() const { return highest_bit(max_capacity) + 1; }

    u64 frees_at() const { return round_up(nodes.bytes(), 8); }
    u64 stack_at() const { return frees_at() + round_up(frees() * sizeof(FreeRange<Word>), 8); }
    u64 links_at(unsigned k) const {
        return stack_at() + round_up(frees(), 2) * sizeof(u32) + k * frees() * 2 * sizeof(u32);
    }
    u64 record_bytes() const { return links_at(aligns); }

    u64 sizes_at(unsigned k) const { return k * Sizes::bytes_for(max_capacity); }
    u64 table_bytes() const { return sizes_at(1 + aligns); }
};

}  // namespace quarry
