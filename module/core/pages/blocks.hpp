// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Blocks: ranges of 2^order pages that start at a multiple of their size. Two blocks
// are disjoint or one holds the other, so each range of pages has exactly one cover by
// the largest blocks inside it. That cover is called canonical: at most two blocks of
// each order below kMaxOrder, first ascending, then descending. Every part of a range
// has a cover that splits the blocks at the cut and keeps all others.
#pragma once

#include "../base/types.hpp"

namespace quarry {

// The order of the canonical block of [first, end) that starts at `first`. first < end.
constexpr unsigned block_order(u64 first, u64 end) {
    const unsigned fits = highest_bit(end - first);
    const unsigned aligned = first ? lowest_bit(first) : 63;
    const unsigned order = fits < aligned ? fits : aligned;
    return order < value(kMaxOrder) ? order : value(kMaxOrder);
}

// fn(first page, order) for each canonical block of [first, end), in order.
template <typename Fn>
constexpr void for_each_block(u64 first, u64 end, Fn&& fn) {
    while (first < end) {
        const unsigned order = block_order(first, end);
        fn(first, order);
        first += u64{1} << order;
    }
}

// Start of the block of this order that holds `page`.
constexpr u64 block_at(u64 page, unsigned order) { return round_down(page, u64{1} << order); }

}  // namespace quarry
