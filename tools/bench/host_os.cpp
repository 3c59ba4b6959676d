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
#include <utility>

#include "host_os.hpp"

namespace {

using bench::kStopped;
using bench::own;
using bench::set_inside;
using bench::Slot;

constexpr unsigned kCpus = 64;

// Whose number is which. Held by who looks at another's slot, so that it does not go away, or
// takes a number, so that no drain is under way.
std::recursive_mutex table_mutex;
Slot* table[kCpus];

void membarrier(int command) {
    if (syscall(SYS_membarrier, command, 0, 0) == 0) return;
    std::perror("membarrier");
    std::abort();
}

struct Keeper {
    ~Keeper() {
        std::lock_guard guard(table_mutex);
        if (own.number != kStopped) table[own.number] = nullptr;
        own.number = kStopped;
        own.cpu.store(kStopped, std::memory_order_relaxed);
        own.inside.store(1, std::memory_order_relaxed);
    }
};

[[gnu::noinline]] void take_number() {
    static thread_local Keeper keeper;
    (void)&keeper;
    static std::once_flag once;
    std::call_once(once, [] { membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); });
    std::lock_guard guard(table_mutex);
    for (unsigned i = 0; i < kCpus; ++i) {
        if (table[i]) continue;
        table[i] = &own;
        own.number = i;
        own.inside.store(0, std::memory_order_relaxed);
        own.cpu.store(i, std::memory_order_relaxed);
        return;
    }
    std::fputs("more threads than slots\n", stderr);
    std::abort();
}
unsigned here() {
    if (own.number == kStopped) take_number();
    return static_cast<unsigned>(own.number);
}

// What a quarry_os_after is here.
struct After {
    After* next;
    void (*fn)(quarry_os_after*);
};
static_assert(sizeof(After) <= sizeof(quarry_os_after));

// Retired blocks, linked by their first word, and calls that wait for readers.
struct Limbo {
    std::mutex mutex;
    void* first = nullptr;
    After* calls = nullptr;
} limbo;

// Frees what was retired and makes the calls, when every other slot has been seen outside.
void reclaim() {
    here();
    if ((!limbo.first && !limbo.calls) || own.inside.load(std::memory_order_relaxed)) return;
    std::lock_guard table_guard(table_mutex);
    std::lock_guard guard(limbo.mutex);
    void* block = std::exchange(limbo.first, nullptr);
    After* call = std::exchange(limbo.calls, nullptr);
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    for (Slot* slot : table)
        while (slot && slot != &own && slot->inside.load(std::memory_order_acquire)) sched_yield();
    while (block) {
        void* next = *static_cast<void**>(block);
        std::free(block);
        block = next;
    }
    while (call) {
        After* next = call->next;
        call->fn(reinterpret_cast<quarry_os_after*>(call));
        call = next;
    }
}

std::atomic<unsigned>& word(struct quarry_os_lock* lock) {
    return *reinterpret_cast<std::atomic<unsigned>*>(lock);
}

[[gnu::noinline]] void wait_for(std::atomic<unsigned>& word) {
    unsigned spins = 0;
    do {
        while (word.load(std::memory_order_relaxed))
            if (++spins % 64 == 0) sched_yield();
    } while (word.exchange(1, std::memory_order_acquire));
}

// Bytes of metadata by the sizes that the core has asked for.
std::atomic<uint64_t> meta{0};

}  // namespace

namespace bench {

uint64_t meta_bytes() { return meta.load(std::memory_order_relaxed); }

constinit thread_local Slot own;

unsigned enter_slow(bool pin) {
    const unsigned cpu = here();
    if (own.inside.load(std::memory_order_relaxed)) {
        ++own.nested;
        return cpu;
    }
    if (pin) return static_cast<unsigned>(pin_slow());
    set_inside();
    return cpu;
}
unsigned long pin_slow() {
    const unsigned long cpu = here();
    set_inside();
    while (own.cpu.load(std::memory_order_acquire) == kStopped) {
        own.inside.store(0, std::memory_order_release);
        while (own.cpu.load(std::memory_order_acquire) == kStopped) sched_yield();
        set_inside();
    }
    return cpu;
}
unsigned wait_for_drain() {
    own.inside.store(0, std::memory_order_release);
    return enter_slow(true);
}

}  // namespace bench

extern "C" {

void* quarry_os_meta_alloc(size_t bytes, quarry_context context) {
    if (context == QUARRY_MAY_SLEEP) reclaim();
    const size_t padded = (bytes + 63) / 64 * 64;
    // Whole pages to a page.
    void* block = std::aligned_alloc(padded % 4096 ? 64 : 4096, padded);
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
void quarry_os_after_readers(struct quarry_os_after* after, void (*fn)(struct quarry_os_after*)) {
    std::lock_guard guard(limbo.mutex);
    limbo.calls = new (after) After{limbo.calls, fn};
}

void quarry_os_lock_init(struct quarry_os_lock* lock, quarry_lock_rank) {
    new (lock) std::atomic<unsigned>(0);
}
void quarry_os_lock_fini(struct quarry_os_lock*) {}
unsigned long quarry_os_lock(struct quarry_os_lock* lock) {
    if (word(lock).exchange(1, std::memory_order_acquire)) [[unlikely]]
        wait_for(word(lock));
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
unsigned quarry_os_cpu(void) { return here(); }
unsigned quarry_os_on_each_cpu(void (*fn)(void*, unsigned), void* arg) {
    here();
    std::lock_guard guard(table_mutex);
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
        Slot* const slot = table[cpu] == &own ? nullptr : table[cpu];
        if (slot) {
            slot->cpu.store(kStopped, std::memory_order_seq_cst);
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
            while (slot->inside.load(std::memory_order_acquire)) sched_yield();
        }
        fn(arg, cpu);
        if (slot) slot->cpu.store(cpu, std::memory_order_release);
    }
    return 0;
}
unsigned quarry_os_on_each_cpu_steps(int (*fn)(void*, unsigned), void* arg) {
    struct Steps {
        int (*fn)(void*, unsigned);
        void* arg;
    } steps{fn, arg};
    return quarry_os_on_each_cpu(
        [](void* p, unsigned cpu) {
            const auto& s = *static_cast<Steps*>(p);
            while (s.fn(s.arg, cpu)) {}
        },
        &steps);
}
// No case here has magazines of clients.
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

int quarry_os_held(void*, uint64_t, uint64_t) { return 0; }
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
// Drivers' calls, which are not measured here.
void* quarry_os_heap_take(void*, unsigned int, unsigned long) { return nullptr; }
void* quarry_os_heap_alloc(void*, uint64_t, unsigned int, unsigned long) { return nullptr; }
int quarry_os_heap_free(void*, uint64_t, unsigned long) { return -1; }

}  // extern "C"
