// SPDX-License-Identifier: MIT
//
// How much a test does in each variant. One thread alone has no races, so the race detector
// gets little of it; the sanitizers of memory and of behaviour cost 3 to 6 times the time.
#pragma once

#include "host_platform.hpp"

namespace quarry {

template <typename T>
constexpr T by_variant([[maybe_unused]] T plain, [[maybe_unused]] T asan, [[maybe_unused]] T tsan) {
#if QUARRY_HOST_TSAN
    return tsan;
#elif defined(__SANITIZE_ADDRESS__)
    return asan;
#else
    return plain;
#endif
}

}  // namespace quarry
