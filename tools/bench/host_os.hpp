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
//   Slot::stop    on_each_cpu: seq_cst, then release       its thread: acquire, after inside
#pragma once

#include <atomic>

#include "../../module/include/quarry_seam.h"

namespace bench {

struct alignas(64) Slot {
    std::atomic<unsigned> inside{0};  // the thread is pinned, or a reader
    std::atomic<unsigned> stop{0};
    unsigned nested = 0;              // how often again
    unsigned cpu = 0;
    std::atomic<bool> taken{false};
};
// What a thread has that has no slot yet: inside and stopped for ever, so that it takes the
// slow path.
extern constinit Slot no_slot;
extern constinit thread_local Slot* own;

// Nested, without a slot, or kept out by a drain.
[[gnu::noinline]] unsigned enter_slow(bool pin);
[[gnu::noinline]] unsigned wait_for_drain();
[[gnu::noinline]] Slot& pin_slow();

inline void set_inside(Slot& slot) {
    slot.inside.store(1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}
inline unsigned pin() {
    Slot& slot = *own;
    if (slot.inside.load(std::memory_order_relaxed)) [[unlikely]]
        return enter_slow(true);
    set_inside(slot);
    if (slot.stop.load(std::memory_order_acquire)) [[unlikely]]
        return wait_for_drain();
    return slot.cpu;
}
// A reader need not wait for a drain.
inline void read_enter() {
    Slot& slot = *own;
    if (slot.inside.load(std::memory_order_relaxed)) [[unlikely]]
        enter_slow(false);
    else
        set_inside(slot);
}
// Ends either.
inline void unpin() {
    Slot& slot = *own;
    if (slot.nested) [[unlikely]]
        --slot.nested;
    else
        slot.inside.store(0, std::memory_order_release);
}

// The pin of a caller who knows that it has none yet: a kernel's is as cheap.
class Pinned {
public:
    Pinned() : slot_(own) {
        set_inside(*slot_);
        if (slot_->stop.load(std::memory_order_acquire)) [[unlikely]]
            slot_ = &pin_slow();
    }
    ~Pinned() { slot_->inside.store(0, std::memory_order_release); }
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    unsigned cpu() const { return slot_->cpu; }

private:
    Slot* slot_;
};

// Bytes of metadata that the core has now, retired blocks left out.
uint64_t meta_bytes();

}  // namespace bench
