// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What a pool with owners is to be, whether it can be, and how its slabs are cut.
#pragma once

#include "../pages/page_desc.hpp"
#include "../slabs/size_class.hpp"
#include "range_pool.hpp"

namespace quarry {

struct PoolConfig {
    bool fixed = false;
    u32 max_clients = 0;   // 1..65532
    u64 max_pages = 0;     // 1..2^23
    u64 object_size = 0;   // fixed: multiple of 8, up to 4 MiB
    u64 object_count = 0;  // fixed
    RangeShape range{};    // range: max_live is not 0
    bool zero_on_regrant = false;
    bool hold_pinned = false;  // whole pages that I/O holds go to nobody else
    void* os = nullptr;
};

// What a client pool's slabs cost, page descriptors included, as a share of the memory:
// at most 3.2 % from 64 bytes a slot up, 12.5 % from 16, 17 % at 8.
template <typename SlabT>
constexpr bool metadata_is_within_bounds() {
    for (const SizeClass& c : kSizeClasses) {
        const u64 meta = SlabT::meta_bytes(c) + pages_of(c.order) * sizeof(PageDesc);
        const u64 permille = c.slot_bytes >= 64 ? 32 : c.slot_bytes >= 16 ? 125 : 170;
        if (meta * 1000 > c.slab_bytes() * permille) return false;
    }
    return true;
}

inline constexpr u64 kMaxPoolPages = u64{1} << 23;
inline constexpr u64 kMaxObject = u64{4} << 20;
inline constexpr ClientIndex kMaxClients = kKeeper - 1;

// How slabs of a fixed pool are cut: the smallest order that wastes at most 1/16
// of the slab, or, for lack of one, the best up to 4 MiB.
constexpr SizeClass cut_of_fixed(u64 object_size) {
    const u32 bytes = static_cast<u32>(object_size);
    unsigned least = bytes <= kMaxSlot ? 2 : 0;
    while ((kPageBytes << least) < bytes) ++least;
    unsigned best = least;
    for (unsigned o = least; o <= 10; ++o) {
        const SizeClass c(bytes, Order{static_cast<u8>(o)});
        if (c.slots > 4096) break;  // bitmaps stay short
        if (c.tail() * 16 <= c.slab_bytes()) return c;
        const SizeClass b(bytes, Order{static_cast<u8>(best)});
        if (c.tail() << best < b.tail() << o) best = o;
    }
    return SizeClass(bytes, Order{static_cast<u8>(best)});
}

// Is this a pool that can be? Errors: invalid, too_large, overflow, not_supported.
template <Platform P>
Error check_pool(const PoolConfig& c) {
    if (c.max_pages == 0 || c.max_clients == 0 || c.max_clients > kMaxClients)
        return Error::invalid;
    if (c.max_pages > kMaxPoolPages) return Error::too_large;
    if (c.hold_pinned && (c.range.max_live || (c.fixed && c.object_size % kPageBytes)))
        return Error::not_supported;
    if (c.range.max_live) {
        if (c.fixed || c.object_size || c.object_count || c.zero_on_regrant)
            return Error::invalid;
        return RangePool<P>::required_meta_bytes(c.range).error();
    }
    if (!c.fixed) return c.object_size || c.object_count ? Error::invalid : Error::none;
    if (c.object_size == 0 || c.object_size % kGrain || c.object_count == 0)
        return Error::invalid;
    if (c.object_size > kMaxObject) return Error::too_large;
    if (c.object_count > kMaxPoolPages * kPageBytes / kGrain) return Error::too_large;
    return Error::none;
}

}  // namespace quarry
