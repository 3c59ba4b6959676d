// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Lock policies of object caches. A policy is a class of at most 16 bytes that is made
// free, whose lock() returns what its unlock() takes (an empty struct will do), and whose
// unlock() touches the lock no more once another may have it: the next to hold it may
// free it. An init() that can fail, answering an Error, is called if there is one.
//
//   NoLock             nothing: handles and boxes stay with one thread
//   SpinLock           freestanding; a pair is one locked instruction. Not for a context
//                      that interrupts its holder
//   PlatformLock<P, R> the platform's, with rank R: interrupts off in the kernel
//   IrqSpinLock        that of the kernel, innermost. Any context but NMI
//
// A lock of the platform may be larger than 16 bytes (a kernel with lock debugging):
// PlatformLock then holds a pointer to one that it takes from the metadata hooks.
//
// Under a cache's lock nothing is called and no other lock is taken.
#pragma once

#include <atomic>
#include <concepts>

#include "../platform/kernel.hpp"
#include "hooks.hpp"

namespace quarry {

inline constexpr std::size_t kMaxLockBytes = 16;

template <typename L>
concept LockPolicy = std::default_initializable<L> && std::destructible<L> &&
                     sizeof(L) <= kMaxLockBytes && alignof(L) <= 64 && requires(L& lock) {
                         { lock.unlock(lock.lock()) };
                     };

class NoLock {
public:
    struct State {};
    State lock() { return {}; }
    void unlock(State) {}
};

//   word_   0   free            unlock: store                    release, pairs with the xchg
//           1   held            lock: xchg, by who finds 0       acquire
//
// Who finds 1 waits by plain loads (test and test-and-set), so that the line stays shared.
// A lock with a bias to its last thread, free of locked instructions, was tried: its pair of
// stores and the looks at its owner cost more than the xchg that they spare.
class SpinLock {
public:
    struct State {};
    State lock() {
        while (word_.exchange(1, std::memory_order_acquire)) [[unlikely]]
            wait();
        return {};
    }
    void unlock(State) { word_.store(0, std::memory_order_release); }

private:
    [[gnu::noinline, gnu::cold]] void wait() const {
        while (word_.load(std::memory_order_relaxed)) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }

    std::atomic<u32> word_{0};
};

template <Platform P, quarry_lock_rank Rank>
class PlatformLock {
    static constexpr bool kInPlace = sizeof(typename P::Lock) <= kMaxLockBytes;

    struct InPlace {
        typename P::Lock lock{Rank};
        typename P::Lock& get() { return lock; }
    };
    struct Apart {
        typename P::Lock* lock = nullptr;
        ~Apart() {
            if (!lock) return;
            lock->~Lock();
            object_meta_free(lock, sizeof(*lock));
        }
        typename P::Lock& get() { return *lock; }
    };

public:
    PlatformLock() = default;
    PlatformLock(const PlatformLock&) = delete;
    PlatformLock& operator=(const PlatformLock&) = delete;

    // Before the first lock(). Errors: no_memory.
    Error init(Context context)
        requires(!kInPlace)
    {
        void* memory = object_meta_alloc(sizeof(typename P::Lock), context);
        if (!memory) return Error::no_memory;
        place_.lock = new (memory) typename P::Lock(Rank);
        return Error::none;
    }

    auto lock() { return place_.get().lock(); }
    void unlock(decltype(std::declval<typename P::Lock&>().lock()) state) {
        place_.get().unlock(state);
    }

private:
    std::conditional_t<kInPlace, InPlace, Apart> place_;
};

using IrqSpinLock = PlatformLock<KernelPlatform, QUARRY_LOCK_OBJECTS>;

static_assert(LockPolicy<NoLock> && LockPolicy<SpinLock> && LockPolicy<IrqSpinLock>);

}  // namespace quarry
