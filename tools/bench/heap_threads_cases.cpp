// SPDX-License-Identifier: MIT
//
// The heap against malloc with two threads, each on a CPU of its own.
//
//   threads-own      each for itself: batches of 64 objects of 64 bytes, freed in random order
//   threads-handoff  one allocates and writes, the other writes and frees, through a ring that
//                    holds 1024; ns of both together for one object, without their waiting
#include <immintrin.h>

#include <memory>
#include <random>

#include "heaps.hpp"
#include "together.hpp"

namespace {

using bench::Malloc;
using bench::now;
using bench::Quarry;
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

// A bounded ring with one producer and one consumer (Lamport 1977); each keeps a copy of the
// other's index and looks again only when that does not serve. Who must wait, waits for a
// quarter of the ring, and the time it takes is counted apart.
//
//   word    written by, order           read by
//   filled  the producer, release       the consumer, acquire
//   emptied the consumer, release       the producer, acquire
class Ring {
public:
    static constexpr uint64_t kSlots = 1024;

    explicit Ring(uint64_t objects) : objects_(objects) {}

    void push(void* p) {
        End& me = producer_;
        if (me.mine - me.seen == kSlots)
            wait(me, consumer_, std::min(me.mine + kStep, objects_) - kSlots);
        slots_[me.mine++ % kSlots] = p;
        me.index.store(me.mine, std::memory_order_release);
    }
    void* pop() {
        End& me = consumer_;
        if (me.mine == me.seen) wait(me, producer_, std::min(me.mine + kStep, objects_));
        void* p = slots_[me.mine++ % kSlots];
        me.index.store(me.mine, std::memory_order_release);
        return p;
    }
    // Thread CPU time that the caller's side has waited so far.
    double producer_waited() const { return producer_.waited; }
    double consumer_waited() const { return consumer_.waited; }

private:
    static constexpr uint64_t kStep = kSlots / 4;
    struct alignas(64) End {
        std::atomic<uint64_t> index{0};
        alignas(64) uint64_t mine = 0;
        uint64_t seen = 0;
        double waited = 0;
    };
    [[gnu::noinline]] static void wait(End& me, const End& other, uint64_t target) {
        const double start = now();
        for (unsigned spins = 0;
             (me.seen = other.index.load(std::memory_order_acquire)) < target;) {
            if (++spins % 1024 == 0)
                sched_yield();
            else
                _mm_pause();
        }
        me.waited += now() - start;
    }

    const uint64_t objects_;
    End producer_;
    End consumer_;
    alignas(64) void* slots_[kSlots];
};

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
