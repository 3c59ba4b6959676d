// SPDX-License-Identifier: MIT
//
// What the fuzzers of the core share: the input's bytes are a model's choices, and any
// difference between model and allocator, any fault of the audit and any metadata left over
// ends the program.
//
// With QUARRY_FUZZ_PLANT in the environment a model that got far enough counts as a
// difference: so a run shows that faults of deep states are found, and reported.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "host_platform.hpp"

namespace quarry::fuzz {

// Numbers below n, from as many bytes as n needs; 0 when the input is at its end.
class Choices {
public:
    Choices(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

    bool over() const { return at_ == end_; }
    u64 operator()(u64 n) {
        u64 value = 0;
        for (u64 most = n - 1; at_ != end_; most >>= 8) {
            value = value << 8 | *at_++;
            if (most < 256) break;
        }
        return value % n;
    }

private:
    const uint8_t* at_;
    const uint8_t* end_;
};

[[noreturn]] inline void die(const char* who, const char* what) {
    std::fprintf(stderr, "%s: %s\n", who, what);
    std::abort();
}

template <typename Model, typename... Args>
void run(const char* who, const uint8_t* data, size_t size, const Args&... args) {
    static const bool planted = std::getenv("QUARRY_FUZZ_PLANT") != nullptr;
    {
        Model model(args...);
        Choices choices(data, size);
        while (!choices.over()) {
            if (!model.step(choices) || !model.verify()) die(who, model.error().c_str());
            if (planted && model.successes() == 20) die(who, "a planted fault");
        }
    }
    HostPlatform::settle();
    if (HostPlatform::meta_bytes() != 0) die(who, "metadata was left");
}

}  // namespace quarry::fuzz
