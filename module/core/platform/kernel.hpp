// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// KernelPlatform: the Platform that forwards to the hooks of the seam. It is also
// what a host build uses that supplies quarry_os_* itself.
#pragma once

#include "platform.hpp"

namespace quarry {

struct KernelPlatform {
    class Lock {
    public:
        explicit Lock(quarry_lock_rank rank) { quarry_os_lock_init(&lock_, rank); }
        ~Lock() { quarry_os_lock_fini(&lock_); }
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;

        unsigned long lock() { return quarry_os_lock(&lock_); }
        void unlock(unsigned long flags) { quarry_os_unlock(&lock_, flags); }

    private:
        struct quarry_os_lock lock_;
    };

    static void* meta_alloc(std::size_t bytes, Context context) {
        return quarry_os_meta_alloc(bytes, static_cast<quarry_context>(context));
    }
    static void meta_free(void* meta, std::size_t bytes) { quarry_os_meta_free(meta, bytes); }
    static void meta_retire(void* meta, std::size_t bytes) { quarry_os_meta_retire(meta, bytes); }
    static void after_readers(quarry_os_after* after, void (*fn)(quarry_os_after*)) {
        quarry_os_after_readers(after, fn);
    }

    static unsigned pin() { return quarry_os_pin(); }
    static void unpin() { quarry_os_unpin(); }
    static void read_enter() { quarry_os_read_enter(); }
    static void read_leave() { quarry_os_read_leave(); }
    static unsigned cpus() { return quarry_os_cpus(); }
    static unsigned cpu() { return quarry_os_cpu(); }
    static unsigned on_each_cpu(void (*fn)(void* arg, unsigned cpu), void* arg) {
        return quarry_os_on_each_cpu(fn, arg);
    }
    static unsigned on_each_cpu_steps(int (*fn)(void* arg, unsigned cpu), void* arg) {
        return quarry_os_on_each_cpu_steps(fn, arg);
    }
    struct Exclusive {
        unsigned long flags;
        unsigned cpu;
    };
    static Exclusive exclusive_enter() {
        Exclusive state;
        state.cpu = quarry_os_exclusive_enter(&state.flags);
        return state;
    }
    static void exclusive_leave(const Exclusive& state) { quarry_os_exclusive_leave(state.flags); }
    static unsigned exclusive_cpu(const Exclusive& state) { return state.cpu; }
    static void* magazine_memory(void* os, unsigned cpu, unsigned part) {
        return quarry_os_magazine_memory(os, cpu, part);
    }
    static void magazine_refused(void* os, Error e, Offset offset, u64 owner) {
        quarry_os_magazine_refused(os, to_seam(e), offset, owner);
    }
    static void slab_class(void* os, Offset offset, u64 pages, u32 value) {
        quarry_os_slab_class(os, offset, pages, value);
    }
    static void breathe() { quarry_os_breathe(); }
    static u64 ns() { return quarry_os_ns(); }

    static void zero(void* os, Offset offset, u64 bytes) { quarry_os_zero(os, offset, bytes); }
    static bool held(void* os, Offset offset, u64 bytes) {
        return quarry_os_held(os, offset, bytes) != 0;
    }
    static void corruption(void* os, quarry_corruption what, Offset offset, u64 client) {
        quarry_os_corruption(os, what, offset, client);
    }

    static void trace_slab_create(void* os, u32 slot_bytes, Offset offset, u64 bytes) {
        quarry_os_trace_slab_create(os, slot_bytes, offset, bytes);
    }
    static void trace_slab_destroy(void* os, u32 slot_bytes, Offset offset, u64 bytes) {
        quarry_os_trace_slab_destroy(os, slot_bytes, offset, bytes);
    }
    static void trace_remote_free(void* os, u32 slot_bytes, Offset slab, u32 slots) {
        quarry_os_trace_remote_free(os, slot_bytes, slab, slots);
    }
    static void trace_refill(void* os, u32 slot_bytes, u32 slots, u64 ns) {
        quarry_os_trace_refill(os, slot_bytes, slots, ns);
    }
    static void trace_drain(void* os, u32 slot_bytes, u32 slots, u64 ns) {
        quarry_os_trace_drain(os, slot_bytes, slots, ns);
    }
    static bool trace_timed() { return quarry_os_trace_timed() != 0; }
};

static_assert(Platform<KernelPlatform>);

}  // namespace quarry
