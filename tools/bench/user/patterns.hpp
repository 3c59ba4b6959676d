// SPDX-License-Identifier: MIT
//
// What the cases do, the same for each allocator A: its calls() are alloc(size), free(object, size),
// and finish() ends it. Every object's first word is written. Random choices are drawn beforehand.
#pragma once

#include <random>

#include "../case.hpp"

namespace bench {

template <typename A>
double hot(A& a) {
    constexpr uint64_t kRound = 1000; // so that the loop is in the pairs and not around them
    return measure(kRound, [calls = a.calls()] {
        const auto c = calls;
        for (uint64_t i = 0; i < kRound; ++i) {
            void* object = c.alloc(64);
            touch(object);
            c.free(object, 64);
        }
    });
}

// `batch` objects of 64 bytes, freed last first or in random order.
template <typename A>
double batches(A& a, uint32_t batch, bool random) {
    constexpr uint32_t kOrders = 32;
    std::vector<uint32_t> order(kOrders * batch);
    std::mt19937 generator(1);
    for (uint32_t o = 0; o < kOrders; ++o) {
        for (uint32_t i = 0; i < batch; ++i) order[o * batch + i] = batch - 1 - i;
        if (random) std::shuffle(&order[o * batch], &order[o * batch] + batch, generator);
    }
    std::vector<void*> live(batch);
    uint32_t o = 0;
    return measure(batch, [&, calls = a.calls()] {
        const auto c = calls;
        for (auto& object : live) touch(object = c.alloc(64));
        const uint32_t* at = &order[o++ % kOrders * batch];
        for (uint32_t i = 0; i < batch; ++i) c.free(live[at[i]], 64);
    });
}

// Runs `work` on a fresh allocator.
template <typename A, typename Work>
double on(Work&& work) {
    A a;
    const double ns = work(a);
    a.finish();
    return ns;
}

template <typename A>
double hot_64() { return on<A>([](A& a) { return hot(a); }); }
template <typename A, uint32_t Batch, bool Random>
double batch_64() { return on<A>([](A& a) { return batches(a, Batch, Random); }); }

}  // namespace bench
