// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What a RangeAllocator is made for, what it answers, and where its metadata lies: plain
// values, and the arithmetic that turns a shape into bytes beforehand, exactly.
#pragma once

#include "../base/result.hpp"
#include "offset_index.hpp"
#include "size_index.hpp"

namespace quarry {

// Alignments above the granule that one allocator can have an index for.
inline constexpr unsigned kRangeAligns = 3;

struct RangeShape {
    u64 capacity;          // bytes, a multiple of the granule, not 0
    u64 granule = 1;       // bytes, a power of two: what sizes are rounded up to
    u64 max_live;          // ranges at a time, 1..2^31 - 2
    u64 max_capacity = 0;  // grow_capacity reaches it without metadata; 0: capacity
    u64 aligns[kRangeAligns] = {};  // bytes, powers of two above the granule, different; 0: none
};

// A live range: its name, and where its record stands. Valid until it is freed.
struct RangeHandle {
    Offset offset;
    u32 node;  // 1..nodes(): for a caller's own table of further facts, stable while it lives
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

// A checked shape, in granules and as a plan of two blocks: the nodes, which stay, and the
// tables, which grow_capacity may replace.
template <typename Ranges, typename AlignedRanges, typename Steps>
struct RangePlan {
    static constexpr u64 kMostLive = (u64{1} << 31) - 2;
    static constexpr u64 kMostGranules = u64{1} << 62;

    unsigned shift = 0;     // log2 of the granule
    u64 capacity = 0;       // granules
    u64 max_capacity = 0;   // granules
    u32 max_live = 0;
    u32 nodes = 0;          // 2 x max_live + 1
    unsigned aligns = 0;
    u64 align[kRangeAligns] = {};  // granules
    typename OffsetIndex<Steps>::Layout buckets{};

    // Errors: invalid (a zero, no power of two, capacity no multiple of the granule, an
    // alignment twice or not above the granule), too_large (2^62 granules, 2^31 - 2 live).
    static Result<RangePlan> of(const RangeShape& s) {
        if (!is_power_of_two(s.granule) || s.capacity == 0 || s.max_live == 0) return Error::invalid;
        RangePlan p;
        const u64 most = s.max_capacity ? s.max_capacity : s.capacity;
        if (((s.capacity | most) & (s.granule - 1)) || most < s.capacity) return Error::invalid;
        p.shift = lowest_bit(s.granule);
        p.capacity = s.capacity >> p.shift;
        if (most >> p.shift > kMostGranules) return Error::too_large;
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
        p.nodes = 2 * p.max_live + 1;
        p.cover(most >> p.shift);
        return p;
    }
    // Tables for so many granules.
    void cover(u64 granules) {
        max_capacity = granules;
        buckets = OffsetIndex<Steps>::layout(granules, max_live);
    }

    // Node 0 and the dump stand beside those that ranges have.
    u64 all_nodes() const { return u64{nodes} + 2; }
    unsigned number_bits() const { return highest_bit(all_nodes()) + 1; }

    u64 stack_at() const { return all_nodes() * sizeof(RangeNode); }
    u64 links_at() const { return stack_at() + round_up(u64{nodes} + 1, 2) * sizeof(u32); }
    u64 links_bytes() const { return all_nodes() * 2 * sizeof(u32); }
    u64 nodes_bytes() const { return links_at() + aligns * links_bytes(); }

    u64 sizes_at() const { return OffsetIndex<Steps>::bytes_for(buckets); }
    u64 sizes_bytes() const { return SizeIndex<Ranges, Steps>::bytes_for(max_capacity); }
    u64 aligned_at(unsigned i) const { return sizes_at() + sizes_bytes() * (1 + i); }
    u64 tables_bytes() const { return aligned_at(aligns); }
};

}  // namespace quarry
