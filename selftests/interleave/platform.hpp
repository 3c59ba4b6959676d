// SPDX-License-Identifier: MIT
//
// The core's Platform in the model. A thread is a CPU; a CPU is a lock of the model: held by
// whoever is pinned there, by an exclusive hold, or in its place by on_each_cpu. Readers need
// nothing, since nothing that was freed is used again before the schedule ends.
//
// A restartable sequence of a client (Sequence) holds nothing: it reads what it reads beside all
// others, and commits only if no exclusive hold of its CPU came in between.
#pragma once

#include "../../module/core/platform/platform.hpp"
#include "model.hpp"

namespace quarry {

class ModelPlatform {
public:
    static constexpr unsigned kCpus = 3;

    class Lock {
    public:
        explicit Lock(quarry_lock_rank) : mutex_(model::make_mutex()) {}
        ~Lock() { model::end_mutex(mutex_); }
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
        unsigned long lock() {
            model::lock(mutex_);
            return 0;
        }
        void unlock(unsigned long) { model::unlock(mutex_); }

    private:
        model::Mutex* mutex_;
    };

    // ---- before and after each schedule ----

    static void begin();
    static void end();

    // ---- the concept ----

    static void* meta_alloc(std::size_t bytes, Context) { return model::memory(bytes); }
    static void meta_free(void*, std::size_t) {}
    static void meta_retire(void*, std::size_t) {}
    static void after_readers(quarry_os_after* after, void (*fn)(quarry_os_after*)) { fn(after); }

    static unsigned pin() {
        Thread& t = here();
        if (t.pins++ == 0) model::lock(cpu_[t.cpu].mutex);
        return t.cpu;
    }
    static void unpin() {
        Thread& t = here();
        if (--t.pins == 0) model::unlock(cpu_[t.cpu].mutex);
    }
    static void read_enter() {}
    static void read_leave() {}
    static unsigned cpus() { return kCpus; }
    static unsigned cpu() { return here().cpu; }
    static unsigned on_each_cpu(void (*fn)(void* arg, unsigned cpu), void* arg) {
        for (unsigned cpu = 0; cpu < kCpus; ++cpu) in_place_of(cpu, [&] { fn(arg, cpu); });
        return 0;
    }
    static unsigned on_each_cpu_steps(int (*fn)(void* arg, unsigned cpu), void* arg) {
        for (unsigned cpu = 0; cpu < kCpus; ++cpu)
            for (int more = 1; more;) in_place_of(cpu, [&] { more = fn(arg, cpu); });
        return 0;
    }
    static void breathe() { model::yield(); }
    static u64 ns() { return 0; }

    static unsigned exclusive_enter() {
        const unsigned cpu = pin();
        ++cpu_[cpu].holds;
        return cpu;
    }
    static void exclusive_leave(unsigned) { unpin(); }
    static unsigned exclusive_cpu(unsigned cpu) { return cpu; }

    static void* magazine_memory(void*, unsigned cpu, unsigned part);
    static void magazine_refused(void*, Error, Offset, u64) { ++refused; }
    static void slab_class(void*, Offset, u64, u32) {}

    static void zero(void*, Offset, u64) {}
    static bool held(void*, Offset, u64) { return false; }
    static void corruption(void*, quarry_corruption, Offset, u64) { ++corruptions; }

    static void trace_slab_create(void*, u32, Offset, u64) {}
    static void trace_slab_destroy(void*, u32, Offset, u64) {}
    static void trace_remote_free(void*, u32, Offset, u32) {}
    static void trace_refill(void*, u32, u32, u64) {}
    static void trace_drain(void*, u32, u32, u64) {}
    static bool trace_timed() { return false; }

    // ---- for scenarios ----

    static inline unsigned refused, corruptions;

    // A client's magazines: its `os`.
    struct Blocks {
        char* base[kCpus];

        std::atomic<u32>& word(unsigned cpu, u32 bytes) {
            return *reinterpret_cast<std::atomic<u32>*>(base[cpu] + bytes);
        }
    };

    // body(cpu, commit): commit(word, value) stores and answers true, or answers false when the CPU was
    // held meanwhile; then the body runs again.
    template <typename Body>
    static void sequence(Body&& body) {
        Cpu& cpu = cpu_[here().cpu];
        for (bool done = false; !done;) {
            const u64 begun = cpu.holds;
            done = body(here().cpu, [&](std::atomic<u32>& at, u32 value) {
                model::lock(cpu.mutex);
                const bool whole = cpu.holds == begun;
                if (whole) at.store(value, std::memory_order_relaxed);
                model::unlock(cpu.mutex);
                return whole;
            });
        }
    }

    // fn in the place of a CPU, which is held.
    template <typename Fn>
    static void hold(unsigned cpu, Fn&& fn) {
        in_place_of(cpu, [&] {
            exclusive_leave(exclusive_enter());
            fn();
        });
    }

private:
    struct Thread {
        unsigned cpu;
        unsigned pins;
    };
    struct Cpu {
        model::Mutex* mutex;
        u64 holds;
    };

    static Thread& here() { return thread_[model::thread()]; }

    template <typename Fn>
    static void in_place_of(unsigned cpu, Fn&& fn) {
        Thread& t = here();
        const unsigned own = t.cpu;
        t.cpu = cpu;
        (void)pin();
        fn();
        unpin();
        t.cpu = own;
    }

    static inline Thread thread_[kCpus];
    static inline Cpu cpu_[kCpus];
};

inline void ModelPlatform::begin() {
    for (unsigned i = 0; i < kCpus; ++i) {
        thread_[i] = {i, 0};
        cpu_[i] = {model::make_mutex(), 0};
    }
    refused = corruptions = 0;
}
inline void ModelPlatform::end() {
    for (Cpu& cpu : cpu_) model::end_mutex(cpu.mutex);
}
inline void* ModelPlatform::magazine_memory(void* os, unsigned cpu, unsigned part) {
    if (part) return nullptr;
    return static_cast<Blocks*>(os)->base[cpu] = static_cast<char*>(model::memory(16384));
}

}  // namespace quarry
