// SPDX-License-Identifier: MIT
//
// The heap against malloc: pairs of 64 bytes, and mixed sizes. Every object's first word is
// written. Random choices are drawn beforehand, the same for every allocator.
#include <random>

#include "heaps.hpp"

namespace {

using bench::Malloc;
using bench::measure;
using bench::Quarry;
using bench::touch;

// `batch` objects of 64 bytes, freed last first or in random order.
template <typename A>
double batches(A& a, uint32_t batch, bool random) {
    constexpr uint32_t kOrders = 32;
    std::vector<uint32_t> order(kOrders * batch);
    std::mt19937 generator(1);
    for (uint32_t o = 0; o < kOrders; ++o) {
        for (uint32_t i = 0; i < batch; ++i) order[o * batch + i] = batch - 1 - i;
        if (random)
            std::shuffle(&order[o * batch], &order[o * batch] + batch, generator);
    }
    std::vector<void*> live(batch);
    uint32_t o = 0;
    return measure(batch, [&] {
        for (auto& p : live) touch(p = a.alloc(64));
        const uint32_t* at = &order[o++ % kOrders * batch];
        for (uint32_t i = 0; i < batch; ++i) a.free(live[at[i]]);
    });
}

template <typename A>
double hot(A& a) {
    return measure(1, [&] {
        void* p = a.alloc(64);
        touch(p);
        a.free(p);
    });
}

// `count` live, 8..2048 bytes log-uniform, a random one replaced.
template <typename A>
double mixed(A& a, uint32_t count) {
    struct Step {
        uint32_t victim;
        uint32_t size;
    };
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> exponent(3, 11);
    std::vector<Step> steps(1 << 16);
    for (Step& s : steps) {
        s.victim = generator() % count;
        s.size = static_cast<uint32_t>(__builtin_exp2(exponent(generator)));
    }
    std::vector<void*> live(count);
    for (uint32_t i = 0; i < count; ++i) touch(live[i] = a.alloc(steps[i].size));
    const double ns = measure(steps.size(), [&] {
        for (const Step& s : steps) {
            a.free(live[s.victim]);
            touch(live[s.victim] = a.alloc(s.size));
        }
    });
    for (void* p : live) a.free(p);
    return ns;
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
template <typename A, uint32_t Live>
double mixed_live() { return on<A>([](A& a) { return mixed(a, Live); }); }

const bench::Cases heap_cases{
    {"hot-64", hot_64<Quarry>, hot_64<Malloc>},
    {"lifo-64", batch_64<Quarry, 64, false>, batch_64<Malloc, 64, false>},
    {"random-64", batch_64<Quarry, 64, true>, batch_64<Malloc, 64, true>},
    {"lifo-1024", batch_64<Quarry, 1024, false>, batch_64<Malloc, 1024, false>},
    {"random-1024", batch_64<Quarry, 1024, true>, batch_64<Malloc, 1024, true>},
    {"mixed-1k", mixed_live<Quarry, 1000>, mixed_live<Malloc, 1000>},
    {"mixed-10k", mixed_live<Quarry, 10000>, mixed_live<Malloc, 10000>},
};

}  // namespace
