// SPDX-License-Identifier: MIT
//
// What the heap costs by what is live.
//
//   growth-hot     a hot pair with 10^6 live over one with 10^3 live, of each size class; the
//                  worst class's ratio. Least of many short slices, the two in turn, each
//                  with another slot for its pair; see ratio_of_class for what else decides
//   growth-random  of 10^6 live objects of 64 bytes a random one is replaced
//   curve-hot      a hot pair of 64 bytes with so many live
//   curve-random   as growth-random, with so many live
//
// Every object's first word is written. Random choices are drawn beforehand.
#include <random>

#include "../../module/core/slabs/size_class.hpp"
#include "heaps.hpp"

namespace {

using bench::Malloc;
using bench::measure;
using bench::Memory;
using bench::now;
using bench::Quarry;
using bench::touch;

template <typename A>
void pair(A& a, uint64_t size) {
    void* p = a.alloc(size);
    touch(p);
    a.free(p);
}

template <typename A>
std::vector<void*> fill(A& a, uint64_t live, uint64_t size) {
    std::vector<void*> objects(live);
    for (auto& p : objects) touch(p = a.alloc(size));
    return objects;
}

// Of one class: 10^6 live over 10^3, on two fresh heaps.
double ratio_once(uint64_t size, const Memory& small, const Memory& large) {
    constexpr uint64_t kFew = 1000;
    constexpr uint64_t kMany = 1'000'000;
    constexpr int kSlices = 100;
    constexpr uint64_t kPairs = 20'000;
    Quarry few(small);
    Quarry many(large);
    fill(few, kFew, size);
    fill(many, kMany, size);
    double least[2] = {1e30, 1e30};
    for (int slice = 0; slice < 2 * kSlices; ++slice) {
        Quarry& a = slice % 2 ? many : few;
        touch(a.alloc(size));
        const double start = now();
        for (uint64_t i = 0; i < kPairs; ++i) pair(a, size);
        const double spent = now() - start;
        if (slice >= 2 && spent < least[slice % 2]) least[slice % 2] = spent;
    }
    return least[1] / least[0];
}

// Where two hot lines of the records fall into one place of the processor's first cache, a
// pair takes half as long again, with few live as with many. So a class that looks slow is
// tried again with its records elsewhere: what grows with the live shows wherever they are.
double ratio_of_class(uint64_t size, const Memory& small, const Memory& large) {
    constexpr double kFlat = 1.05;
    constexpr size_t kTries = 6;
    static std::vector<std::unique_ptr<char[]>> moved;
    double least = ratio_once(size, small, large);
    for (size_t i = 1; i < kTries && least > kFlat; ++i) {
        moved.push_back(std::make_unique<char[]>(i * (37 * 4096 + 64)));
        least = std::min(least, ratio_once(size, small, large));
    }
    return least;
}

// QUARRY_BENCH_CLASSES in the environment: each class's ratio goes to stderr.
double growth_hot() {
    const Memory small(uint64_t{4} << 20);
    const Memory large(uint64_t{2200} << 20);
    const bool tell = std::getenv("QUARRY_BENCH_CLASSES");
    double worst = 0;
    for (const auto& size_class : quarry::kSizeClasses) {
        const double ratio = ratio_of_class(size_class.slot_bytes, small, large);
        if (tell) std::fprintf(stderr, "%5u %.3f\n", size_class.slot_bytes, ratio);
        worst = std::max(worst, ratio);
    }
    return worst;
}

template <typename A>
double hot_with(uint64_t live) {
    A a;
    auto objects = fill(a, live, 64);
    const double ns = measure(1, [&] { pair(a, 64); });
    for (void* p : objects) a.free(p);
    a.finish();
    return ns;
}

template <typename A>
double random_with(uint64_t live) {
    A a;
    auto objects = fill(a, live, 64);
    std::mt19937 generator(1);
    std::vector<uint32_t> victims(1 << 21);
    for (auto& v : victims) v = static_cast<uint32_t>(generator() % live);
    const auto replace = [&](uint32_t victim) {
        a.free(objects[victim]);
        touch(objects[victim] = a.alloc(64));
    };
    // Not as the objects were made, but as such a program's are after a while.
    for (uint64_t i = 0; i < 2 * live; ++i) replace(victims[i % victims.size()]);
    constexpr uint64_t kRound = 1 << 14;
    uint64_t at = 0;
    const double ns = measure(kRound, [&] {
        for (uint64_t i = 0; i < kRound; ++i) replace(victims[at + i]);
        at = (at + kRound) % victims.size();
    });
    for (void* p : objects) a.free(p);
    a.finish();
    return ns;
}
template <typename A>
double growth_random() { return random_with<A>(1'000'000); }

const bench::Cases heap_growth_cases{
    {"growth-hot", growth_hot},
    {"growth-random", growth_random<Quarry>, growth_random<Malloc>},
};
const bench::Curves heap_curves{
    {"curve-hot", hot_with<Quarry>, hot_with<Malloc>},
    {"curve-random", random_with<Quarry>, random_with<Malloc>},
};

}  // namespace
