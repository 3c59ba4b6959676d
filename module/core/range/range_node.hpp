// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What is known of one range, live or free: 32 bytes, two to a cache line.
//
//   start  its first granule
//   word   its size in granules, shifted left by one; bit 0: it is live. 0: the node is unused
//   prev, next   the neighbours by offset: no gap is between them
//   link   live: the children in its bucket's tree (offset_index.hpp)
//          free: the list of its size, or the children in its bin's tree (size_index.hpp)
//
// Node 0 stands before the first and behind the last range: live, of size 0, so that nothing
// merges with it. As the number 0 it also ends lists, whose writers may write its links
// without asking. The last node of all is a dump of the same kind.
#pragma once

#include "../base/types.hpp"

namespace quarry {

struct alignas(32) RangeNode {
    u64 start;
    u64 word;
    u32 prev;
    u32 next;
    u32 link[2];

    u64 size() const { return word >> 1; }
    bool live() const { return word & 1; }
    bool unused() const { return word == 0; }
    u64 end() const { return start + size(); }
    void set(u64 size, bool live) { word = size << 1 | (live ? 1 : 0); }
};
static_assert(sizeof(RangeNode) == 32);

}  // namespace quarry
