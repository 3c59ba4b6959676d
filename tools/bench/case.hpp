// SPDX-License-Identifier: MIT
//
// Cases of the host benchmarks. A file *_cases.cpp registers its cases by name; host_bench
// launches one of them in a process of its own and prints one number: nanoseconds of thread
// CPU time for one operation (most often: one pair of allocation and free), or, for cases
// whose unit is `ratio`, a fraction. Bars and peers of each case stand in report.py.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <vector>

namespace bench {

[[noreturn]] inline void die(const char* what) {
    std::fprintf(stderr, "host_bench: %s\n", what);
    std::exit(1);
}

// `quarry` runs on Quarry; `malloc`, if there is one, is the same work by malloc, which is
// glibc's or a preloaded one. A case of several threads says so: run.sh then lets the process
// have as many CPUs, and together.hpp gives each thread one. `others` names peers that are
// programs of their own, HOST_BENCH_NAME, with a case of this name.
struct Case {
    const char* name;
    double (*quarry)();
    double (*malloc)() = nullptr;
    unsigned threads = 1;
    const char* others = "";
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}
// A file's cases, as a namespace-scope object in it.
struct Cases {
    Cases(std::initializer_list<Case> some) { cases().insert(cases().end(), some); }
};

// A curve: the same figure with 10, 100, .. live objects, launched for each number alone.
struct Curve {
    const char* name;
    double (*quarry)(uint64_t live);
    double (*malloc)(uint64_t live) = nullptr;
    uint64_t last = 1'000'000;
};

inline std::vector<Curve>& curves() {
    static std::vector<Curve> all;
    return all;
}
struct Curves {
    Curves(std::initializer_list<Curve> some) { curves().insert(curves().end(), some); }
};

inline double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

inline void touch(void* p) { *static_cast<volatile uint64_t*>(p) = 1; }

// Where the timed part begins and ends, for a profiler (count.sh): functions of their own. With
// QUARRY_BENCH_PAIRS in the environment the pairs between them go to stderr.
[[gnu::noinline]] inline void timed_begin() { __asm__ volatile(""); }
[[gnu::noinline]] inline void timed_end(uint64_t pairs) {
    __asm__ volatile("" : : "r"(pairs));
    if (std::getenv("QUARRY_BENCH_PAIRS"))
        std::fprintf(stderr, "pairs %lu\n", static_cast<unsigned long>(pairs));
}

// Calls round(), which does `pairs` pairs, until the clock says enough; ns per pair.
template <typename Round>
double measure(uint64_t pairs, Round&& round) {
    constexpr double kWarm = 60e6;
    constexpr double kTimed = 200e6;
    const uint64_t rounds = std::max<uint64_t>(1, 200'000 / pairs);
    for (const double start = now(); now() - start < kWarm;)
        for (uint64_t i = 0; i < rounds; ++i) round();
    uint64_t done = 0;
    timed_begin();
    const double start = now();
    double end = start;
    while ((end = now()) - start < kTimed) {
        for (uint64_t i = 0; i < rounds; ++i) round();
        done += rounds * pairs;
    }
    timed_end(done);
    return (end - start) / static_cast<double>(done);
}

}  // namespace bench
