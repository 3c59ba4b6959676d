// SPDX-License-Identifier: MIT
//
// libFuzzer over the range allocator and its naive model: the first byte chooses the shape,
// each further one or few are one choice of RangeModel::step. Every answer and every error is
// compared, and the audit runs after each step.
//
//   make fuzz-range [FUZZ_SECONDS=60]
#include "fuzz_model.hpp"
#include "range_model.hpp"

namespace {

using namespace quarry;

// Small enough to be full now and then, and with every kind of index.
constexpr RangeShape kShapes[] = {
    {.capacity = 24, .max_live = 24},
    {.capacity = 64, .max_live = 6, .max_capacity = 96, .aligns = {4, 16}},
    {.capacity = 40 * 8, .granule = 8, .max_live = 12, .max_capacity = 44 * 8, .aligns = {16}},
    {.capacity = 200 * 16, .granule = 16, .max_live = 40, .aligns = {32, 64, 256}},
    {.capacity = 20000, .max_live = 64, .max_capacity = 40000, .aligns = {64, 4096}},
    {.capacity = u64{60000} << 8, .granule = 256, .max_live = 60, .aligns = {4096, 65536}},
    {.capacity = u64{1} << 62, .granule = 4, .max_live = 50, .aligns = {8, 16, u64{1} << 40}},
};
constexpr u64 kShapeCount = sizeof(kShapes) / sizeof(kShapes[0]);
// Those that narrow words hold come once more with them.
constexpr u64 kNarrow = 6;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const u64 shape = data[0] % (kShapeCount + kNarrow);
    if (shape < kShapeCount)
        fuzz::run<RangeModel<u64>>("fuzz_range", data + 1, size - 1, kShapes[shape]);
    else
        fuzz::run<RangeModel<u32>>("fuzz_range", data + 1, size - 1, kShapes[shape - kShapeCount]);
    return 0;
}
