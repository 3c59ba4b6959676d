// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for reserves: quarry_core_reserve_*, a SlotPool of at most 64 blocks in
// storage of the shim's. Nothing is decided here.
#include "../slots/slot_pool.hpp"

using namespace quarry;

namespace {

struct Reserve {
    SlotPool pool;
    u64 words[1];
};
static_assert(SlotPool::meta_bytes(QUARRY_RESERVE_BLOCKS) == sizeof(Reserve::words));
static_assert(sizeof(Reserve) <= sizeof(quarry_core_reserve));
static_assert(alignof(Reserve) <= alignof(quarry_core_reserve));

Reserve& of(quarry_core_reserve* reserve) { return *reinterpret_cast<Reserve*>(reserve); }

}  // namespace

extern "C" {

int quarry_core_reserve_init(quarry_core_reserve* reserve, void* base, uint64_t block_bytes,
                             uint64_t count) {
    if (count > QUARRY_RESERVE_BLOCKS) return to_seam(Error::too_large);
    auto* made = new (reserve) Reserve;
    return to_seam(made->pool.init(base, block_bytes * count, block_bytes, count, made->words));
}

void* quarry_core_reserve_take(quarry_core_reserve* reserve) {
    const auto block = of(reserve).pool.alloc();
    return block ? *block : nullptr;
}

int quarry_core_reserve_give(quarry_core_reserve* reserve, void* block) {
    return to_seam(of(reserve).pool.free(block));
}

uint64_t quarry_core_reserve_left(const quarry_core_reserve* reserve) {
    return reinterpret_cast<const Reserve*>(reserve)->pool.free_blocks();
}

void quarry_core_reserve_verify(const quarry_core_reserve* reserve, quarry_core_audit* audit) {
    Audit seen;
    reinterpret_cast<const Reserve*>(reserve)->pool.verify(seen);
    *audit = seen.result();
}

}  // extern "C"
