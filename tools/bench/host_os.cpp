// SPDX-License-Identifier: MIT
//
// The seam's hooks (quarry_os_*) for benchmarks on a host: see host_os.hpp.
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "host_os.hpp"

namespace {

using bench::own;
using bench::set_inside;
using bench::Slot;

constexpr unsigned kCpus = 64;
Slot slots[kCpus];
Slot& no_slot = bench::no_slot;

void membarrier(int command) {
    if (syscall(SYS_membarrier, command, 0, 0) == 0) return;
    std::perror("membarrier");
    std::abort();
}

struct Keeper {
    ~Keeper() {
        if (own != &no_slot) own->taken.store(false, std::memory_order_release);
        own = &no_slot;
    }
};

[[gnu::noinline]] void take_slot() {
    static thread_local Keeper keeper;
    (void)&keeper;
    static std::once_flag once;
    std::call_once(once, [] { membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); });
    for (unsigned i = 0; i < kCpus; ++i) {
        if (slots[i].taken.exchange(true, std::memory_order_acq_rel)) continue;
        slots[i].cpu = i;
        own = &slots[i];
        return;
    }
    std::fputs("more threads than slots\n", stderr);
    std::abort();
}
Slot& here() {
    if (own == &no_slot) take_slot();
    return *own;
}

// Retired blocks; the first word links them.
struct Limbo {
    std::mutex mutex;
    void* first = nullptr;
} limbo;

// Frees what was retired, when every other slot has been seen outside.
void reclaim() {
    if (!limbo.first || here().inside.load(std::memory_order_relaxed)) return;
    std::lock_guard guard(limbo.mutex);
    void* block = limbo.first;
    limbo.first = nullptr;
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    for (Slot& slot : slots)
        while (&slot != own && slot.inside.load(std::memory_order_acquire)) sched_yield();
    while (block) {
        void* next = *static_cast<void**>(block);
        std::free(block);
        block = next;
    }
}

std::atomic<unsigned>& word(struct quarry_os_lock* lock) {
    return *reinterpret_cast<std::atomic<unsigned>*>(lock);
}

// Bytes of metadata by the sizes that the core has asked for.
std::atomic<uint64_t> meta{0};

}  // namespace

namespace bench {

uint64_t meta_bytes() { return meta.load(std::memory_order_relaxed); }

constinit Slot no_slot{1, 1};
constinit thread_local Slot* own = &no_slot;

unsigned enter_slow(bool pin) {
    Slot& slot = here();
    if (slot.inside.load(std::memory_order_relaxed)) {
        ++slot.nested;
        return slot.cpu;
    }
    if (pin) return pin_slow().cpu;
    set_inside(slot);
    return slot.cpu;
}
Slot& pin_slow() {
    Slot& slot = here();
    set_inside(slot);
    while (slot.stop.load(std::memory_order_acquire)) {
        slot.inside.store(0, std::memory_order_release);
        while (slot.stop.load(std::memory_order_acquire)) sched_yield();
        set_inside(slot);
    }
    return slot;
}
unsigned wait_for_drain() {
    own->inside.store(0, std::memory_order_release);
    return enter_slow(true);
}

}  // namespace bench

extern "C" {

void* quarry_os_meta_alloc(size_t bytes, quarry_context context) {
    if (context == QUARRY_MAY_SLEEP) reclaim();
    const size_t padded = (bytes + 63) / 64 * 64;
    void* block = std::aligned_alloc(64, padded);
    if (!block) return nullptr;
    meta.fetch_add(bytes, std::memory_order_relaxed);
    return std::memset(block, 0, padded);
}
void quarry_os_meta_free(void* block, size_t bytes) {
    if (!block) return;
    meta.fetch_sub(bytes, std::memory_order_relaxed);
    std::free(block);
}
void quarry_os_meta_retire(void* block, size_t bytes) {
    meta.fetch_sub(bytes, std::memory_order_relaxed);
    std::lock_guard guard(limbo.mutex);
    *static_cast<void**>(block) = limbo.first;
    limbo.first = block;
}

void quarry_os_lock_init(struct quarry_os_lock* lock, quarry_lock_rank) {
    new (lock) std::atomic<unsigned>(0);
}
void quarry_os_lock_fini(struct quarry_os_lock*) {}
unsigned long quarry_os_lock(struct quarry_os_lock* lock) {
    for (unsigned spins = 0; word(lock).exchange(1, std::memory_order_acquire);)
        while (word(lock).load(std::memory_order_relaxed))
            if (++spins % 64 == 0) sched_yield();
    return 0;
}
void quarry_os_unlock(struct quarry_os_lock* lock, unsigned long) {
    word(lock).store(0, std::memory_order_release);
}

void quarry_os_read_enter(void) { bench::enter_slow(false); }
void quarry_os_read_leave(void) { bench::unpin(); }
unsigned quarry_os_pin(void) { return bench::pin(); }
void quarry_os_unpin(void) { bench::unpin(); }
unsigned quarry_os_cpus(void) { return kCpus; }
unsigned quarry_os_cpu(void) { return here().cpu; }
unsigned quarry_os_on_each_cpu(void (*fn)(void*, unsigned), void* arg) {
    static std::mutex one_at_a_time;
    std::lock_guard guard(one_at_a_time);
    Slot& mine = here();
    for (Slot& slot : slots) {
        if (&slot != &mine) {
            slot.stop.store(1, std::memory_order_seq_cst);
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
            while (slot.inside.load(std::memory_order_acquire)) sched_yield();
        }
        fn(arg, static_cast<unsigned>(&slot - slots));
        slot.stop.store(0, std::memory_order_release);
    }
    return 0;
}
// No case here has magazines of clients.
unsigned quarry_os_on_each_cpu_steps(int (*)(void*, unsigned), void*) { return 0; }
unsigned quarry_os_exclusive_enter(unsigned long*) { return bench::pin(); }
void quarry_os_exclusive_leave(unsigned long) { bench::unpin(); }
void* quarry_os_magazine_memory(void*, unsigned, unsigned) { return nullptr; }
void quarry_os_magazine_refused(void*, int, uint64_t, uint64_t) {}
void quarry_os_slab_class(void*, uint64_t, uint64_t, uint32_t) {}
void quarry_os_breathe(void) { reclaim(); }
uint64_t quarry_os_ns(void) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

// `pool` is where the managed memory lies.
void quarry_os_zero(void* pool, uint64_t offset, uint64_t bytes) {
    std::memset(static_cast<char*>(pool) + offset, 0, bytes);
}
void quarry_os_corruption(void*, quarry_corruption what, uint64_t offset, uint64_t) {
    std::fprintf(stderr, "corruption %d at %llu\n", static_cast<int>(what),
                 static_cast<unsigned long long>(offset));
    std::abort();
}
void quarry_os_trace_slab_create(void*, uint32_t, uint64_t, uint64_t) {}
void quarry_os_trace_slab_destroy(void*, uint32_t, uint64_t, uint64_t) {}
void quarry_os_trace_remote_free(void*, uint32_t, uint64_t, uint32_t) {}
void quarry_os_trace_refill(void*, uint32_t, uint32_t, uint64_t) {}
void quarry_os_trace_drain(void*, uint32_t, uint32_t, uint64_t) {}
int quarry_os_trace_timed(void) { return 0; }

}  // extern "C"
