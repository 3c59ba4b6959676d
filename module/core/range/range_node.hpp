// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What is known of one range. Word is what counts granules: u64, or u32 where there are less
// than 2^31 of them, which halves the memory that a call touches.
//
//   RangeNode   each range, live or free; 16 bytes (32 with u64), found by its start
//     start  its first granule; ~0: the node is unused
//     word   live: its size in granules, shifted left by one, and 1
//            free: the number of its FreeRange, shifted left by one; 0: the node is unused
//     prev, next   the neighbours by offset: no gap is between them
//   FreeRange   each free range besides, densely numbered, so that the lists of sizes stay
//               in the nearest caches however many ranges are live
//     size   in granules
//     node   its node
//     link   the list of its size, or the children in its bin's tree (size_index.hpp)
//
// Node 0 stands before the first and behind the last range: live, of size 0, so that nothing
// merges with it. Node 1 is the dump: it takes what is written for a range that is not there.
// FreeRange 0 has size 0; as the number 0 it also ends lists, whose writers may write its
// links without asking.
#pragma once

#include "../base/types.hpp"

namespace quarry {

template <typename Word>
struct alignas(sizeof(Word) * 4) RangeNode {
    static constexpr Word kNowhere = static_cast<Word>(~u64{0});

    Word start;
    Word word;
    u32 prev;
    u32 next;

    bool live() const { return word & 1; }
    bool unused() const { return word == 0; }
    u64 live_size() const { return word >> 1; }
    u32 free_range() const { return static_cast<u32>(word >> 1); }
    void set_live(u64 size) { word = static_cast<Word>(size << 1 | 1); }
    void set_free(u32 free_range) { word = static_cast<Word>(u64{free_range} << 1); }
};
static_assert(sizeof(RangeNode<u32>) == 16 && sizeof(RangeNode<u64>) == 32);

template <typename Word>
struct FreeRange {
    Word size;
    u32 node;
    u32 link[2];
};
static_assert(sizeof(FreeRange<u32>) == 16 && sizeof(FreeRange<u64>) == 24);

}  // namespace quarry
