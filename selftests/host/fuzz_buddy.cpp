// SPDX-License-Identifier: MIT
//
// libFuzzer over the buddy and its naive model: each byte or few of the input are one choice
// of BuddyModel::step. Every answer is compared, and the audit runs after each step.
//
//   make fuzz-buddy [FUZZ_SECONDS=60]
#include "buddy_model.hpp"
#include "fuzz_model.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    quarry::fuzz::run<quarry::BuddyModel>("fuzz_buddy", data, size);
    return 0;
}
