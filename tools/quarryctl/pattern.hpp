// SPDX-License-Identifier: MIT
//
// The pattern that replaying processes write into each object and look for again: words that follow
// from (seed, object, generation) and the place, so that a word of any other object, of any process,
// is a mismatch but for one chance in 2^64. Objects of up to 4 KiB are written whole, larger ones in
// their first and last word and each 64th between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace quarryctl {

struct PatternKey {
    std::uint64_t seed;
    std::uint64_t object;
    std::uint64_t generation;
};

constexpr std::size_t pattern_whole_bytes = 4096;
constexpr std::size_t pattern_stride = 64 * sizeof(std::uint64_t);

// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
constexpr std::uint64_t scramble(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

constexpr std::uint64_t pattern_base(const PatternKey& key) {
    return scramble(scramble(scramble(key.seed + 1) + key.object) + key.generation);
}

// Calls visit(address, bytes, word) for each place of the pattern, 1 to 8 bytes each.
template <typename Visit>
void visit_pattern(void* object, std::size_t bytes, const PatternKey& key, Visit visit) {
    auto* at = static_cast<unsigned char*>(object);
    const std::uint64_t base = pattern_base(key);
    std::size_t place = 0;
    if (bytes <= pattern_whole_bytes) {
        for (; place + 8 <= bytes; place += 8) visit(at + place, 8, scramble(base + place));
        if (place < bytes) visit(at + place, bytes - place, scramble(base + place));
        return;
    }
    // No sample may overlap the last word, which need not be aligned.
    for (; place + 16 <= bytes; place += pattern_stride)
        visit(at + place, 8, scramble(base + place));
    visit(at + bytes - 8, 8, scramble(base + bytes));
}

inline void write_pattern(void* object, std::size_t bytes, const PatternKey& key) {
    visit_pattern(object, bytes, key, [](unsigned char* at, std::size_t count, std::uint64_t word) {
        std::memcpy(at, &word, count);
    });
}

// Whether the object holds its pattern.
inline bool check_pattern(void* object, std::size_t bytes, const PatternKey& key) {
    bool good = true;
    visit_pattern(object, bytes, key, [&](unsigned char* at, std::size_t count, std::uint64_t word) {
        good &= std::memcmp(at, &word, count) == 0;
    });
    return good;
}

}  // namespace quarryctl
