// SPDX-License-Identifier: MIT
//
// The heap against malloc with two threads, each on a CPU of its own.
//
//   threads-own      each for itself: batches of 64 objects of 64 bytes, freed in random order
//   threads-handoff  one allocates and writes, the other writes and frees, through a ring that
//                    holds 1024; ns of both together for one object, without their waiting
#include <memory>
#include <random>

#include "heaps.hpp"
#include "ring.hpp"
#include "together.hpp"

namespace {

using bench::Malloc;
using bench::now;
using bench::Quarry;
using bench::Ring;
using bench::touch;

template <typename A>
double own() {
    static constexpr uint32_t kBatch = 64;
    static constexpr uint32_t kOrders = 32;
    A a;
    const double ns = bench::measure_both(kBatch, [&](unsigned thread) {
        std::vector<uint32_t> order(kOrders * kBatch);
        std::mt19937 generator(thread + 1);
        for (uint32_t o = 0; o < kOrders; ++o) {
            for (uint32_t i = 0; i < kBatch; ++i) order[o * kBatch + i] = i;
            std::shuffle(&order[o * kBatch], &order[o * kBatch] + kBatch, generator);
        }
        return [&a, order, live = std::vector<void*>(kBatch), o = uint32_t{0}]() mutable {
            for (auto& p : live) touch(p = a.alloc(64));
            const uint32_t* at = &order[o++ % kOrders * kBatch];
            for (uint32_t i = 0; i < kBatch; ++i) a.free(live[at[i]]);
        };
    });
    a.finish();
    return ns;
}

template <typename A>
double handoff() {
    constexpr uint64_t kWarm = 300'000;
    constexpr uint64_t kTimed = 2'000'000;
    A a;
    auto ring = std::make_unique<Ring>(kWarm + kTimed);
    double spent[2];
    bench::together(2, [&](unsigned thread) {
        const auto busy = [&] {
            return now() - (thread ? ring->consumer_waited() : ring->producer_waited());
        };
        double start = 0;
        for (uint64_t i = 0; i < kWarm + kTimed; ++i) {
            if (i == kWarm) start = busy();
            if (thread == 0) {
                void* p = a.alloc(64);
                touch(p);
                ring->push(p);
            } else {
                void* p = ring->pop();
                touch(p);
                a.free(p);
            }
        }
        spent[thread] = busy() - start;
    });
    a.finish();
    return (spent[0] + spent[1]) / kTimed;
}

const bench::Cases heap_threads_cases{
    {"threads-own", own<Quarry>, own<Malloc>, 2},
    {"threads-handoff", handoff<Quarry>, handoff<Malloc>, 2},
};

}  // namespace
