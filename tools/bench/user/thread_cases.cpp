// SPDX-License-Identifier: MIT
//
// Two threads, each on a CPU of its own, in one client.
//
//   user-threads   each for itself: batches of 64 objects of 64 bytes, freed in random order
//   user-handoff   one allocates and writes, the other writes and frees, through a ring that
//                  holds 1024; ns of both together for one object, without their waiting
#include <memory>

#include "../ring.hpp"
#include "../together.hpp"
#include "patterns.hpp"
#include "pool.hpp"

namespace {

using bench::Checked;
using bench::Malloc;
using bench::now;
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
        return [c = a.calls(), order, live = std::vector<void*>(kBatch), o = uint32_t{0}]() mutable {
            for (auto& object : live) touch(object = c.alloc(64));
            const uint32_t* at = &order[o++ % kOrders * kBatch];
            for (uint32_t i = 0; i < kBatch; ++i) c.free(live[at[i]], 64);
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
    auto ring = std::make_unique<bench::Ring>(kWarm + kTimed);
    double spent[2];
    bench::together(2, [&](unsigned thread) {
        const auto busy = [&] {
            return now() - (thread ? ring->consumer_waited() : ring->producer_waited());
        };
        const auto c = a.calls();
        double start = 0;
        for (uint64_t i = 0; i < kWarm + kTimed; ++i) {
            if (i == kWarm) start = busy();
            if (thread == 0) {
                void* object = c.alloc(64);
                touch(object);
                ring->push(object);
            } else {
                void* object = ring->pop();
                touch(object);
                c.free(object, 64);
            }
        }
        spent[thread] = busy() - start;
    });
    a.finish();
    return (spent[0] + spent[1]) / kTimed;
}

const bench::Cases thread_cases{
    {"user-threads", own<Checked>, own<Malloc>, 2},
    {"user-handoff", handoff<Checked>, handoff<Malloc>, 2},
};

}  // namespace
