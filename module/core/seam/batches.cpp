// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for the reserve of batches: quarry_core_batch_*, a FixedPool that
// needs nobody to make it. Nothing is decided here.
#include "../slots/fixed_pool.hpp"

using namespace quarry;

namespace {

using Batches = FixedPool<u64{QUARRY_CORE_BATCH_LEN} * sizeof(u64), QUARRY_CORE_BATCHES>;

// Zeros: no byte of the module's file.
constinit Batches batches;

}  // namespace

extern "C" {

uint64_t* quarry_core_batch_take(void) {
    const auto block = batches.alloc_untyped();
    return block ? static_cast<uint64_t*>(*block) : nullptr;
}

int quarry_core_batch_give(uint64_t* batch) { return to_seam(batches.free_untyped(batch)); }

uint32_t quarry_core_batches_left(void) { return batches.free_blocks(); }

void quarry_core_batches_verify(quarry_core_audit* audit) {
    Audit seen;
    batches.verify(seen);
    *audit = seen.result();
}

}  // extern "C"
