// SPDX-License-Identifier: MIT
//
// A host's CPUs for benchmarks: as cheap as they can be while they keep every promise of
// the seam. A "CPU" is a slot of a thread. A pin is one plain store; who has to know
// (on_each_cpu, reclaiming) pairs with it by membarrier. The pin is inline, as in a kernel,
// where it is preempt_disable; the core sees it as the hooks quarry_os_pin and _unpin.
//
//   word          written by, order                        read by
//   Slot::inside  its thread: relaxed + compiler fence,    others: acquire, after the membarrier
//                 leaving: release
//   Slot::cpu     on_each_cpu: kStopped, seq_cst, and the  its thread: acquire, after inside
//                 number again, release
#pragma once

#include <atomic>

#include "../../module/include/quarry_seam.h"

namespace bench {

// In place of a CPU's number: kept out by a drain, or without a number yet.
inline constexpr unsigned long kStopped = ~0ul;

// A thread's own; others find it by a table (host_os.cpp). One that has no number yet is
// inside and stopped, so that it takes the slow path.
struct alignas(64) Slot {
    std::atomic<unsigned> inside{1};  // the thread is pinned, or a reader
    unsigned nested = 0;              // how often again
    std::atomic<unsigned long> cpu{kStopped};
    unsigned long number = kStopped;
};
[[gnu::tls_model("local-exec")]] extern constinit thread_local Slot own;

// Nested, without a number, or kept out by a drain.
[[gnu::noinline]] unsigned enter_slow(bool pin);
[[gnu::noinline]] unsigned wait_for_drain();
[[gnu::noinline]] unsigned long pin_slow();

inline void set_inside() {
    own.inside.store(1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}
inline unsigned pin() {
    if (own.inside.load(std::memory_order_relaxed)) [[unlikely]]
        return enter_slow(true);
    set_inside();
    const unsigned long cpu = own.cpu.load(std::memory_order_acquire);
    if (cpu == kStopped) [[unlikely]]
        return wait_for_drain();
    return static_cast<unsigned>(cpu);
}
// A reader need not wait for a drain.
inline void read_enter() {
    if (own.inside.load(std::memory_order_relaxed)) [[unlikely]]
        enter_slow(false);
    else
        set_inside();
}
// Ends either.
inline void unpin() {
    if (own.nested) [[unlikely]]
        --own.nested;
    else
        own.inside.store(0, std::memory_order_release);
}

// The pin of a caller who knows that it has none yet: a kernel's is as cheap.
class Pinned {
public:
    Pinned() {
        set_inside();
        cpu_ = own.cpu.load(std::memory_order_acquire);
        if (static_cast<long>(cpu_) < 0) [[unlikely]]
            cpu_ = pin_slow();
    }
    ~Pinned() { own.inside.store(0, std::memory_order_release); }
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    unsigned long cpu() const { return cpu_; }

private:
    unsigned long cpu_;
};

// Bytes of metadata that the core has now, retired blocks left out.
uint64_t meta_bytes();

}  // namespace bench
