// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What the core asks of the system below it, as a concept: every type of the core
// is a template over it. The kernel's is KernelPlatform (kernel.hpp), which forwards
// to quarry_os_*; hosts and tests bring their own.
//
//   Lock        made with a rank; lock() returns a state that unlock() takes.
//               Held for a bounded time; may be taken in any context.
//   pin/unpin   the caller stays on one CPU. A pinned caller is also a reader.
//               On a host a "CPU" is a slot of a thread.
//   read_*      between enter and leave nothing that was found by a lock-free
//               lookup is freed (RCU in the kernel, epochs on a host).
//   meta_*      metadata: zeroed, aligned to 64 bytes, freed with the size it was
//               asked for; retire frees after all present readers.
//   after_readers
//               calls a function when all present readers have left: for what has more to
//               end than its memory. Nothing is allocated.
//   on_each_cpu optional: runs a function in place of each CPU, with no pinned section of
//               that CPU beside it (cache/cache.hpp says what it is for)
//   log         optional: log(os, what, value), a rare event in words and one number. `what`
//               is a literal. Context: task, no lock.
//   breathe     a long loop lets others run: never pinned, no lock, no reader.
//
// `os` is an opaque pointer that the creator of a pool gave: the platform's own.
#pragma once

#include <concepts>
#include <cstddef>
#include <new>
#include <utility>

#include "../base/result.hpp"
#include "../base/types.hpp"

namespace quarry {

template <typename P>
concept Platform = requires(void* p, std::size_t n, Context c, typename P::Lock& lock, u64 x) {
    requires std::constructible_from<typename P::Lock, quarry_lock_rank>;
    { lock.unlock(lock.lock()) };
    { P::meta_alloc(n, c) } -> std::same_as<void*>;
    { P::meta_free(p, n) };
    { P::meta_retire(p, n) };
    { P::after_readers(static_cast<quarry_os_after*>(p), [](quarry_os_after*) {}) };
    { P::pin() } -> std::same_as<unsigned>;
    { P::unpin() };
    { P::read_enter() };
    { P::read_leave() };
    { P::cpus() } -> std::same_as<unsigned>;
    { P::cpu() } -> std::same_as<unsigned>;
    { P::breathe() };
    { P::ns() } -> std::same_as<u64>;
    { P::zero(p, x, x) };
    { P::corruption(p, QUARRY_CORRUPT_DUPLICATE, x, x) };
    { P::trace_slab_create(p, u32{}, x, x) };
    { P::trace_slab_destroy(p, u32{}, x, x) };
    { P::trace_remote_free(p, u32{}, x, u32{}) };
    { P::trace_refill(p, u32{}, u32{}, x) };
    { P::trace_drain(p, u32{}, u32{}, x) };
    { P::trace_timed() } -> std::same_as<bool>;
};

// The optional log; nothing where the platform has none.
template <Platform P>
void log(void* os, const char* what, u64 value) {
    if constexpr (requires { P::log(os, what, value); }) P::log(os, what, value);
}

// Holds a lock for a scope; release() ends it early, acquire() begins it again.
template <typename Lock>
class [[nodiscard]] Guard {
public:
    explicit Guard(Lock& lock) : lock_(lock), state_(lock.lock()) {}
    ~Guard() {
        if (held_) lock_.unlock(state_);
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    void release() {
        lock_.unlock(state_);
        held_ = false;
    }
    void acquire() {
        state_ = lock_.lock();
        held_ = true;
    }
    // Lets waiting CPUs and interrupts in between two steps.
    void cycle() {
        release();
        acquire();
    }

private:
    Lock& lock_;
    decltype(std::declval<Lock&>().lock()) state_;
    bool held_ = true;
};

template <Platform P>
class [[nodiscard]] ReadGuard {
public:
    ReadGuard() { P::read_enter(); }
    ~ReadGuard() { P::read_leave(); }
    ReadGuard(const ReadGuard&) = delete;
    ReadGuard& operator=(const ReadGuard&) = delete;
};

template <Platform P>
class [[nodiscard]] PinGuard {
public:
    PinGuard() : cpu_(P::pin()) {}
    ~PinGuard() { P::unpin(); }
    PinGuard(const PinGuard&) = delete;
    PinGuard& operator=(const PinGuard&) = delete;
    unsigned cpu() const { return cpu_; }

private:
    unsigned cpu_;
};

// Metadata as objects: null when the platform refuses.
template <typename T, Platform P, typename... Args>
T* make_meta(Context context, Args&&... args) {
    static_assert(alignof(T) <= 64);
    void* memory = P::meta_alloc(sizeof(T), context);
    return memory ? new (memory) T(std::forward<Args>(args)...) : nullptr;
}

template <Platform P, typename T>
void free_meta(T* t) {
    if (!t) return;
    t->~T();
    P::meta_free(t, sizeof(T));
}

}  // namespace quarry
