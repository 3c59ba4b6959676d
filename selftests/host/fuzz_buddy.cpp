// SPDX-License-Identifier: MIT
//
// libFuzzer over the buddy and its naive model: each byte of the input is one choice of
// BuddyModel::step. Every answer is compared, and the audit runs after each step.
//
//   make fuzz-buddy [FUZZ_SECONDS=60]
#include <cstdio>
#include <cstdlib>

#include "buddy_model.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace quarry;
    {
        BuddyModel model;
        size_t at = 0;
        auto pick = [&](u64 n) -> u64 { return at < size ? data[at++] % n : 0; };
        while (at < size) {
            if (model.step(pick) && model.verify()) continue;
            std::fprintf(stderr, "fuzz_buddy: %s\n", model.error().c_str());
            std::abort();
        }
    }
    HostPlatform::settle();
    if (HostPlatform::meta_bytes() != 0) {
        std::fprintf(stderr, "fuzz_buddy: metadata was left\n");
        std::abort();
    }
    return 0;
}
