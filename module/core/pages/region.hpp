// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A region is one physically contiguous run of pages that a pool was given. Its record, the
// descriptors of all its pages and, where slabs are made of them, a word for each page are one
// block of metadata. The table that finds it is in region_table.hpp.
#pragma once

#include "../platform/platform.hpp"
#include "page_desc.hpp"

namespace quarry {

enum class RegionState : u8 {
    joining,   // its blocks are on their way into the free lists
    live,
    leaving,   // its blocks are being isolated, or restored
    isolated,  // nothing of it is in the free lists
};

// One more word for each page of a region, for whom makes slabs of them (buddy.hpp). What a
// look-up needs besides stands in front of them. Lies in the region's block: who holds it is a
// reader.
class PageWords {
public:
    struct Bounds {
        u64 first;  // the region's
        u64 pages;
    };
    const Bounds& bounds() const { return reinterpret_cast<const Bounds*>(this)[-1]; }
    // Of the region's page first + index.
    std::atomic<u64>& at(u64 index) { return reinterpret_cast<std::atomic<u64>*>(this)[index]; }
    const std::atomic<u64>& at(u64 index) const {
        return reinterpret_cast<const std::atomic<u64>*>(this)[index];
    }

    static constexpr u64 bytes(u64 pages) { return sizeof(Bounds) + pages * sizeof(u64); }
    // In `bytes(bounds.pages)` of zeroed memory.
    static PageWords* make(void* memory, Bounds bounds) {
        return reinterpret_cast<PageWords*>(new (memory) Bounds(bounds) + 1);
    }
};

struct alignas(64) Region {
    u64 platforms[2];  // from retirement on
    u64 first;         // absolute number of its first page
    u64 pages;
    void* cookie;
    u64 free;  // pages in the free lists, under the buddy's lock
    u16 id;
    Zone zone;
    RegionState state;  // under the buddy's lock
    PageWords* words;   // null: none

    PageDesc* descs() { return reinterpret_cast<PageDesc*>(this + 1); }
    const PageDesc* descs() const { return reinterpret_cast<const PageDesc*>(this + 1); }
    PageDesc& desc(u64 page) { return descs()[page - first]; }
    bool holds(u64 page) const { return page - first < pages; }
    // All of [page, page + count); count is below 2^32.
    bool holds(u64 page, u64 count) const {
        return page >= first && page - first + count <= pages;
    }
    u64 end() const { return first + pages; }
    u64 number(const PageDesc& d) const { return first + static_cast<u64>(&d - descs()); }
    u32 index(const PageDesc& d) const { return static_cast<u32>(&d - descs()); }

    static u64 meta_bytes(u64 pages, bool with_words) {
        return sizeof(Region) + pages * sizeof(PageDesc) +
               (with_words ? PageWords::bytes(pages) : 0);
    }
    u64 meta_bytes() const { return meta_bytes(pages, words != nullptr); }
};
static_assert(sizeof(Region) == 64);

// Most regions of one buddy, and most pages of one region (indices fit 32 bits).
inline constexpr u32 kMaxRegions = 65536;
inline constexpr u64 kMaxRegionPages = (u64{1} << 32) - 2;

}  // namespace quarry
