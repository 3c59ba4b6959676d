// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for ranges of drivers: quarry_core_range_*. Nothing is decided here:
// C types to the core's and back.
#include "../platform/kernel.hpp"
#include "../range/range_audit.hpp"
#include "shape.hpp"

using namespace quarry;

struct quarry_core_range {
    RangeAllocator<KernelPlatform> ranges;
    u64 changes = 0;
};

struct quarry_core_range_audit {
    explicit quarry_core_range_audit(const quarry_core_range& of)
        : range(of), changes(of.changes), steps(of.ranges, audit) {}

    const quarry_core_range& range;
    u64 changes;
    Audit audit;
    RangeAudit<KernelPlatform, u64, NoSteps> steps;
};

extern "C" {

int quarry_core_range_create(const quarry_core_pool_config* config, quarry_core_range** range) {
    if (config->max_ranges > QUARRY_CORE_MAX_RANGES) return to_seam(Error::too_large);
    auto* made = make_meta<quarry_core_range, KernelPlatform>(Context::may_sleep);
    if (!made) return to_seam(Error::no_memory);
    if (const Error e = made->ranges.init(shape_of(*config)); !ok(e)) {
        free_meta<KernelPlatform>(made);
        return to_seam(e);
    }
    *range = made;
    return QUARRY_OK;
}

void quarry_core_range_destroy(quarry_core_range* range) { free_meta<KernelPlatform>(range); }

int quarry_core_range_alloc(quarry_core_range* range, uint64_t size, uint64_t align,
                            uint64_t* offset) {
    ++range->changes;
    const auto made = range->ranges.allocate(size, align);
    if (!made) return to_seam(made.error());
    *offset = made->offset;
    return QUARRY_OK;
}

int quarry_core_range_free(quarry_core_range* range, uint64_t offset) {
    ++range->changes;
    return to_seam(range->ranges.free(offset).error());
}

int quarry_core_range_resize(quarry_core_range* range, uint64_t offset, uint64_t size) {
    ++range->changes;
    return to_seam(range->ranges.try_reallocate(offset, size).error());
}

uint64_t quarry_core_range_used(const quarry_core_range* range, uint64_t* live) {
    *live = range->ranges.live();
    return range->ranges.capacity() - range->ranges.total_available();
}

quarry_core_range_audit* quarry_core_range_audit_begin(quarry_core_range* range) {
    return make_meta<quarry_core_range_audit, KernelPlatform>(Context::may_sleep, *range);
}

int quarry_core_range_audit_step(quarry_core_range_audit* audit) {
    return audit->changes == audit->range.changes && audit->steps.step(kAuditStep);
}

void quarry_core_range_audit_end(quarry_core_range_audit* audit, quarry_core_audit* result) {
    *result = audit->audit.result();
    free_meta<KernelPlatform>(audit);
}

}  // extern "C"
