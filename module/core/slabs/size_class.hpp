// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Size classes: 8..64 in steps of 8, then eight to each doubling up to 2048, so that
// above 64 bytes at most one ninth of a slot is slack. 48 in all. A slab is a block
// of order 2 or 3, the smaller one whose tail is at most 4 % and whose metadata,
// spread over few pages, still is within the bar.
//
// Everything here is a constant or O(1); the proofs stand at the end.
#pragma once

#include <array>

#include "../base/types.hpp"

namespace quarry {

inline constexpr u64 kPageBytes = 4096;
inline constexpr u32 kMaxSlot = 2048;
inline constexpr u32 kClasses = 48;

// A size of slot and how slabs of it are cut. Also made at run time, for fixed pools.
struct SizeClass {
    u32 slot_bytes = 0;
    u32 slots = 0;  // in one slab
    Order order{0};
    Divider divider;

    constexpr SizeClass() = default;
    constexpr SizeClass(u32 bytes, Order slab_order, u64 page_bytes = kPageBytes)
        : slot_bytes(bytes),
          slots(static_cast<u32>((page_bytes << value(slab_order)) / bytes)),
          order(slab_order),
          divider(bytes) {}

    constexpr u64 slab_bytes(u64 page_bytes = kPageBytes) const {
        return page_bytes << value(order);
    }
    // What no slot covers.
    constexpr u64 tail(u64 page_bytes = kPageBytes) const {
        return slab_bytes(page_bytes) - u64{slots} * slot_bytes;
    }
};

namespace size_class_detail {

constexpr u32 bytes_of(u32 index) {
    if (index < 8) return 8 * (index + 1);
    const u32 octave = (index - 8) / 8;  // 64 << octave is its lower end, excluded
    return (64u << octave) + ((index - 8) % 8 + 1) * (8u << octave);
}

// Small slots want slabs of 8 pages: the owners' dictionary is one a slab.
constexpr Order order_of(u32 bytes) {
    const SizeClass four(bytes, Order{2});
    return bytes > 64 && four.tail() * 25 <= four.slab_bytes() ? Order{2} : Order{3};
}

constexpr std::array<SizeClass, kClasses> make_table() {
    std::array<SizeClass, kClasses> table;
    for (u32 i = 0; i < kClasses; ++i) table[i] = SizeClass(bytes_of(i), order_of(bytes_of(i)));
    return table;
}

}  // namespace size_class_detail

inline constexpr std::array<SizeClass, kClasses> kSizeClasses = size_class_detail::make_table();

// The class of a size from 1 to 2048 at alignment 8.
constexpr u32 class_of(u64 bytes) {
    if (bytes <= 64) return static_cast<u32>((bytes + 7) / 8 - 1);
    const unsigned top = highest_bit(bytes - 1);  // 6..10
    return 8 * (top - 6) + static_cast<u32>((bytes - 1) >> (top - 3));
}

// The smallest class that holds `bytes` and is a multiple of `align` (a power of
// two up to 2048). Slabs start at page boundaries, so every slot is so aligned.
constexpr u32 class_of(u64 bytes, u64 align) {
    u32 index = class_of(bytes < align ? align : bytes);
    if (align <= kGrain) return index;
    while ((kSizeClasses[index].slot_bytes & (align - 1)) != 0) ++index;
    return index;
}

// ---- the proofs ----
namespace size_class_detail {

constexpr bool classes_are_tight() {
    for (u64 bytes = 1; bytes <= kMaxSlot; ++bytes) {
        const u32 index = class_of(bytes);
        if (index >= kClasses || kSizeClasses[index].slot_bytes < bytes) return false;
        if (index > 0 && kSizeClasses[index - 1].slot_bytes >= bytes) return false;
        const u64 slack = kSizeClasses[index].slot_bytes - bytes;
        if (bytes > 64 && slack * 8 > kSizeClasses[index].slot_bytes) return false;
    }
    return true;
}

constexpr bool tails_are_short() {
    for (const SizeClass& c : kSizeClasses)
        if (c.tail() * 25 > c.slab_bytes()) return false;
    return true;
}

constexpr bool divisions_are_exact() {
    for (const SizeClass& c : kSizeClasses)
        for (u64 n = 0; n < c.slab_bytes(); n += 8)
            if (c.divider.divide(static_cast<u32>(n)) != n / c.slot_bytes) return false;
    return true;
}

}  // namespace size_class_detail

static_assert(size_class_detail::classes_are_tight(), "at most 12.5 % slack from 65 to 2048 bytes");
static_assert(size_class_detail::tails_are_short(), "at most 4 % of a slab is tail");
static_assert(kSizeClasses[0].slot_bytes == 8 && kSizeClasses[7].slot_bytes == 64);
static_assert(kSizeClasses[kClasses - 1].slot_bytes == kMaxSlot);
static_assert(class_of(48, 64) == 7 && class_of(65, 64) == class_of(128));

}  // namespace quarry
