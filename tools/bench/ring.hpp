// SPDX-License-Identifier: MIT
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <atomic>

#include "case.hpp"

namespace bench {

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

}  // namespace bench
