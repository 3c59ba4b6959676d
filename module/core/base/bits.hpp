// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Integer arithmetic that compiles to straight code under kernel flags: no call
// into the compiler's runtime (a generic popcount is one), no 64-bit division.
#pragma once

#include <bit>
#include <cstdint>

namespace quarry {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;

constexpr bool is_power_of_two(u64 x) { return x != 0 && (x & (x - 1)) == 0; }

// Rounding to a power of two. round_up: 0 when the sum does not fit.
constexpr u64 round_down(u64 x, u64 power) { return x & ~(power - 1); }
constexpr u64 round_up(u64 x, u64 power) { return (x + power - 1) & ~(power - 1); }

// Index of the lowest / highest set bit. x != 0.
constexpr unsigned lowest_bit(u64 x) { return static_cast<unsigned>(__builtin_ctzll(x)); }
constexpr unsigned highest_bit(u64 x) { return 63 - static_cast<unsigned>(__builtin_clzll(x)); }

// Smallest k with 2^k >= x. x != 0.
constexpr unsigned ceil_log2(u64 x) { return x == 1 ? 0 : highest_bit(x - 1) + 1; }

// Bits set in a word (Warren, Hacker's Delight, 5-1).
constexpr unsigned popcount(u32 x) {
    x -= (x >> 1) & 0x55555555u;
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0fu;
    return (x * 0x01010101u) >> 24;
}

// Division of an offset inside a slab (below 2^23) by its slot size, as one
// multiplication: exact for n < 2^23 and 8 <= d <= 2^22, since with
// m = floor(2^46 / d) + 1 the error n * (m * d - 2^46) / (d * 2^46) stays below
// n / 2^46 < 1 / d. The product stays below 2^23 * 2^43 + 2^23, inside 64 bits.
// Granlund and Montgomery 1994.
class Divider {
public:
    constexpr Divider() = default;
    constexpr explicit Divider(u32 divisor) : multiplier_((u64{1} << 46) / divisor + 1) {}
    constexpr u32 divide(u32 n) const { return static_cast<u32>((n * multiplier_) >> 46); }

private:
    u64 multiplier_ = 0;
};

// Where each instruction counts. The compiler is to have this address in a register now, not
// to compute it again later.
template <typename T>
[[gnu::always_inline]] inline T& settled(T& t) {
    T* at = &t;
    __asm__("" : "+r"(at));
    return *at;
}
// The same number, of which the compiler does not know that: an address with it is computed
// by the instruction that uses it, not ahead.
[[gnu::always_inline]] inline u64 again(u64 x) {
    __asm__("" : "+r"(x));
    return x;
}

}  // namespace quarry
