// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// SpinLock: freestanding, 16 bytes at most; a pair of lock and unlock without contention is
// one locked instruction, or none.
//
//   word_   0   free            unlock: store                    release, pairs with the xchg
//           1   held            lock: xchg, by who finds 0       acquire
//   Who finds 1 waits by plain loads (test and test-and-set), so that the line stays shared.
//
// That is all of it in a freestanding program, and in one that does not supply the hook
// object_fence_threads (hooks.hpp). With it the lock has a bias: a thread that took it often
// enough in a row with no other between enters by plain stores from then on, until another
// comes, pays for a fence on all threads, and takes the bias away.
//
//   owner_    0, or T | 1  no bias; T held it last      who holds word_, relaxed
//             T            T may enter by inside_       who holds word_: T alone sets it so;
//                                                       another takes it away       (B)
//   inside_   1            the owner is inside, or      the owner, relaxed          (B)
//                          about to look at owner_
//             0            it is not                    the owner, release; pairs with the
//                                                       acquire of who waits for it
//
//   (B) The owner stores inside_, then looks at owner_; who takes the bias away stores
//   owner_, puts a fence on all threads, then looks at inside_. One of the two sees the
//   other: either the owner steps back, or the other waits until it has left.
//
// Each loss of a bias doubles how many times in a row the next one takes, up to 2^20: the
// fences cost at most about what the bias has saved. (Reservation locks: Kawachiya, Koseki,
// Onodera 2002; the asymmetric fence: Dice, Huang, Yang 2001. Ski rental: Karlin et al. 1988.)
//
// Context: not one that interrupts a holder. Threads are told apart by the address of a
// thread-local; a new thread at an ended one's address is its heir.
#pragma once

#include <atomic>

#include "hooks.hpp"

namespace quarry {

namespace detail {

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

}  // namespace detail

// The plain one; `InARow` is for the other.
template <bool Hosted, u32 InARow = 64>
class BasicSpinLock {
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
        while (word_.load(std::memory_order_relaxed)) detail::pause();
    }

    std::atomic<u32> word_{0};
};

#if __STDC_HOSTED__

// Its address names the thread. Aligned, so that bit 0 is free.
alignas(8) inline constinit thread_local u64 spin_lock_self = 0;

template <u32 InARow>
class BasicSpinLock<true, InARow> {
    static_assert(InARow != 0);

public:
    struct State {
        bool biased;
    };
    State lock() {
        const u64 me = self();
        if (owner_.load(std::memory_order_relaxed) == me) {
            // An ended thread that had this address has left before.
            (void)inside_.load(std::memory_order_acquire);
            inside_.store(1, std::memory_order_relaxed);
            std::atomic_signal_fence(std::memory_order_seq_cst);
            if (owner_.load(std::memory_order_relaxed) == me) [[likely]]
                return {true};
            inside_.store(0, std::memory_order_release);
        }
        while (word_.exchange(1, std::memory_order_acquire)) [[unlikely]]
            wait();
        if (owner_.load(std::memory_order_relaxed) != (me | 1)) [[unlikely]]
            change_hands(me);
        else if (++in_a_row_ >= InARow << losses_) [[unlikely]]
            take_bias(me);
        return {false};
    }
    void unlock(State state) {
        if (state.biased)
            inside_.store(0, std::memory_order_release);
        else
            word_.store(0, std::memory_order_release);
    }

    // For tests: how often a bias was taken away (up to a bound).
    u32 losses() const { return losses_; }

private:
    static constexpr u8 kMostLosses = 14;
    static u64 self() { return reinterpret_cast<u64>(&spin_lock_self); }

    [[gnu::noinline, gnu::cold]] void wait() const {
        while (word_.load(std::memory_order_relaxed)) detail::pause();
    }
    // word_ is held. Another thread had it last, or has the bias.
    [[gnu::noinline, gnu::cold]] void change_hands(u64 me) {
        const u64 before = owner_.load(std::memory_order_relaxed);
        owner_.store(me | 1, std::memory_order_relaxed);
        in_a_row_ = 0;
        if (before == 0 || (before & 1) != 0) return;
        (void)fence();
        while (inside_.load(std::memory_order_acquire)) detail::pause();
        if (losses_ < kMostLosses) ++losses_;
    }
    // The optional hook, or null. (Where it is defined beside this, compilers know that it is
    // not null, and say so.)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Waddress"
    static bool fence() { return object_fence_threads && object_fence_threads(); }
#pragma GCC diagnostic pop
    // word_ is held. From the next time on, if the fence works.
    [[gnu::noinline, gnu::cold]] void take_bias(u64 me) {
        in_a_row_ = 0;
        if (fence()) owner_.store(me, std::memory_order_relaxed);
    }

    std::atomic<u64> owner_{0};
    u32 in_a_row_ = 0;
    std::atomic<u8> word_{0};
    std::atomic<u8> inside_{0};
    u8 losses_ = 0;
};

#endif

using SpinLock = BasicSpinLock<__STDC_HOSTED__ != 0>;

}  // namespace quarry
