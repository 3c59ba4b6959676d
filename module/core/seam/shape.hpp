// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A range allocator's shape, as the seam's configuration gives it.
#pragma once

#include "../range/range_shape.hpp"

namespace quarry {

inline RangeShape shape_of(const quarry_core_pool_config& config) {
    RangeShape shape{};
    shape.capacity = config.capacity;
    shape.granule = config.granule;
    shape.max_live = config.max_ranges;
    for (unsigned i = 0; i < kRangeAligns; ++i) shape.aligns[i] = config.aligns[i];
    return shape;
}
static_assert(kRangeAligns == QUARRY_CORE_RANGE_ALIGNS);

}  // namespace quarry
