// SPDX-License-Identifier: MIT
//
// The heap at its limits: what is free anywhere serves any request (law 7), metadata that is
// refused, interrupts and signals inside a cache.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include "heap_fixture.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using TestHeap = Heap<P>;
using HeapTest = HeapFixture<P>;

// ---- what is free anywhere serves any request ----

TEST_F(HeapTest, OneCpuFillsAndSleepsAnotherFreesAllThenEverySizeCanBeHad) {
    make(512);
    Cpu zero;
    Cpu one;
    std::vector<Offset> all;
    zero.run([&] {
        while (const auto o = heap->alloc(64)) all.push_back(*o);
    });
    EXPECT_EQ(all.size(), 512u * 64);
    one.run([&] {
        for (Offset o : all) ASSERT_EQ(heap->free(o), Error::none);
        expect_every_size(512);
    });
    expect_fresh();
}

TEST_F(HeapTest, TheCpuChangesBetweenEveryStepOfGrowAndRetry) {
    make(128);
    Cpu cpus[3];
    std::vector<Offset> all;
    for (int round = 0; round < 3; ++round) {
        for (u32 i = 0;; ++i) {
            bool full = false;
            cpus[i % 3].run([&] {
                const auto o = heap->alloc(512);
                full = !o;
                if (o) all.push_back(*o);
            });
            if (full) break;
        }
        EXPECT_EQ(all.size(), 128u * 8);
        for (u32 i = 0; i < all.size(); ++i)
            cpus[(i / 2) % 3].run([&] { ASSERT_EQ(heap->free(all[i]), Error::none); });
        all.clear();
        cpus[round].run([&] {
            const auto o = heap->alloc(128 * kPageBytes);
            ASSERT_TRUE(o);
            EXPECT_EQ(heap->free(*o), Error::none);
        });
    }
    expect_fresh();
}

TEST_F(HeapTest, ASleepingCallerGetsWhatAnotherCpusMagazineHolds) {
    make(8);
    Cpu other;
    other.run([&] { EXPECT_EQ(heap->free(alloc(64)), Error::none); });
    EXPECT_EQ(heap->alloc(2048, 8, Context::atomic).error(), Error::pool_full)
        << "an atomic caller does not reach it";
    const auto o = heap->alloc(8 * kPageBytes);
    ASSERT_TRUE(o);
    EXPECT_EQ(heap->free(*o), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, AnAtomicCallerGetsItsOwnCacheTheDepotAndPendingFrees) {
    make(16);
    std::vector<Offset> all;
    while (const auto o = heap->alloc(64, 8, Context::atomic)) all.push_back(*o);
    EXPECT_EQ(all.size(), 16u * 64);
    // Some go home by the remote way, the rest to magazine and depot; nobody collects.
    for (u32 i = 0; i < all.size(); ++i)
        ASSERT_EQ(i % 3 ? heap->free(all[i]) : heap->free_remote(all[i]), Error::none);
    const auto o = heap->alloc(16 * kPageBytes, 8, Context::atomic);
    ASSERT_TRUE(o);
    EXPECT_EQ(heap->free(*o), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, CachedPagesServeSlabsAndSlabsServePages) {
    make(16);
    std::vector<Offset> pages;
    while (const auto o = heap->alloc(4096)) pages.push_back(*o);
    EXPECT_EQ(pages.size(), 16u);
    for (Offset o : pages) EXPECT_EQ(heap->free(o), Error::none);
    std::vector<Offset> objects;
    while (const auto o = heap->alloc(2048)) objects.push_back(*o);
    EXPECT_EQ(objects.size(), 32u);
    for (Offset o : objects) EXPECT_EQ(heap->free(o), Error::none);
    pages.clear();
    while (const auto o = heap->alloc(4096)) pages.push_back(*o);
    EXPECT_EQ(pages.size(), 16u);
    for (Offset o : pages) EXPECT_EQ(heap->free(o), Error::none);
    expect_fresh();
}

// ---- metadata ----

TEST_F(HeapTest, AtomicCallersLiveOnTheReserveWhenThePlatformRefuses) {
    make(256);
    P::refuse_allocations_from(1);
    const auto a = heap->alloc(64, 8, Context::atomic);
    const auto b = heap->alloc(1000, 8, Context::atomic);
    P::refuse_allocation(0);
    ASSERT_TRUE(a);
    ASSERT_TRUE(b);
    EXPECT_EQ(heap->free(*a), Error::none);
    EXPECT_EQ(heap->free(*b), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, EveryRefusedMetadataAllocationIsAnErrorAndNothingIsLost) {
    u64 refused = 0;
    for (u64 n = 1;; ++n) {
        P::refuse_allocation(n);
        TestHeap h(4096, nullptr);
        u64 errors = 0;
        bool ready = ok(h.init());
        errors += !ready;
        if (ready && !h.add_region(PageNumber{0}, 1024, Zone::normal)) {
            ++errors;
            ready = false;
        }
        if (ready && !h.add_region(PageNumber{2048}, 128, Zone::lowmem)) ++errors;
        if (ready) {
            std::vector<Offset> all;
            for (u64 i = 0; i < 300; ++i) {
                const auto o = h.alloc(8 + i * 13 % 3000, 8,
                                       i % 3 ? Context::may_sleep : Context::atomic);
                if (o) {
                    all.push_back(*o);
                } else {
                    ++errors;
                    EXPECT_EQ(o.error(), Error::no_memory);
                }
            }
            std::vector<Offset> bulk(500);
            const auto g = h.alloc_bulk(64, 8, 500, bulk.data());
            errors += g.done < 500;
            EXPECT_EQ(h.free_bulk(bulk.data(), g.done).done, g.done);
            for (Offset o : all) EXPECT_EQ(h.free(o), Error::none);
            h.drain();
            Audit audit;
            HeapAudit<P>(h, audit).run(true);
            EXPECT_TRUE(audit.clean()) << audit.result().first;
            EXPECT_EQ(h.buddy().free_pages(), h.buddy().total_pages());
            EXPECT_EQ(h.stat().objects, 0u);
        }
        if (P::refusals() == 0) {
            EXPECT_EQ(errors, 0u);
            break;
        }
        ++refused;
        EXPECT_LE(errors, 1u) << "one refusal, one error at most";
    }
    EXPECT_GT(refused, 60u);
}

// ---- interrupts ----

// Calls back into the heap from inside a refill or a drain: as an interrupt there would.
struct NestPlatform : HostPlatform {
    static inline void (*nested)() = nullptr;
    static void call() {
        if (auto fn = std::exchange(nested, nullptr)) {
            fn();
            nested = fn;
        }
    }
    static void trace_refill(void* os, u32 bytes, u32 slots, u64 ns) {
        HostPlatform::trace_refill(os, bytes, slots, ns);
        call();
    }
    static void trace_drain(void* os, u32 bytes, u32 slots, u64 ns) {
        HostPlatform::trace_drain(os, bytes, slots, ns);
        call();
    }
};

class NestedTest : public HeapFixture<NestPlatform> {
protected:
    static inline Heap<NestPlatform>* target = nullptr;
    static inline u64 served = 0;
    static inline u64 uncached = 0;
};

TEST_F(NestedTest, AnInterruptInsideACacheGoesToTheSlabsAndComesHomeByTheRemoteWay) {
    make(256);
    target = heap.get();
    served = uncached = 0;
    NestPlatform::nested = [] {
        const auto o = target->alloc(64, 8, Context::atomic);
        ASSERT_TRUE(o);
        EXPECT_EQ(target->free(*o), Error::none);
        EXPECT_EQ(target->free(*o), Error::already_free);
        PinGuard<NestPlatform> pin;
        const Offset fast = target->try_alloc(pin.cpu(), 64);
        uncached += fast == kNoObject;
        if (fast != kNoObject) {  // what comes from slabs comes while nobody is inside
            EXPECT_EQ(target->free_remote(fast), Error::none);
        }
        ++served;
    };
    std::vector<Offset> all;
    for (int i = 0; i < 10'000; ++i) all.push_back(alloc(64));
    for (Offset o : all) EXPECT_EQ(heap->free(o), Error::none);
    NestPlatform::nested = nullptr;
    EXPECT_GT(served, 50u);
    EXPECT_GT(uncached, 10u);
    EXPECT_LT(uncached, served);
    expect_fresh();
}

// A signal is what an NMI is: it may come between any two instructions.
struct SignalState {
    TestHeap* heap;
    volatile u64 got = 0;
    volatile u64 none = 0;
    volatile u64 wrong = 0;
};
SignalState* signalled;

void on_signal(int) {
    SignalState& s = *signalled;
    PinGuard<P> pin;
    const Offset o = s.heap->try_alloc(pin.cpu(), 64);
    if (o == kNoObject) {
        s.none = s.none + 1;
        return;
    }
    s.got = s.got + 1;
    if (s.heap->free_remote(o) != Error::none) s.wrong = s.wrong + 1;
    if (s.heap->free_remote(o) != Error::already_free) s.wrong = s.wrong + 1;
}

TEST_F(HeapTest, ASignalBetweenAnyTwoInstructionsOfThePairMayAllocateAndFree) {
    make(256);
    SignalState state{heap.get()};
    signalled = &state;
    struct sigaction action {};
    action.sa_handler = on_signal;
    struct sigaction old {};
    ASSERT_EQ(sigaction(SIGUSR1, &action, &old), 0);
    std::atomic<bool> stop{false};
    const pthread_t target = pthread_self();
    std::thread sender([&] {
        while (!stop) {
            pthread_kill(target, SIGUSR1);
            std::this_thread::yield();
        }
    });
    // Only the pair itself, which takes no lock (the magazine is never full here): refills
    // go with the signal held off.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    u64 pairs = 0;
    while (state.got < by_variant(2000u, 2000u, 300u) || state.none < 1) {
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        std::vector<Offset> few(100);
        ASSERT_EQ(heap->alloc_bulk(64, 8, 100, few.data()).done, 100u);
        ASSERT_EQ(heap->free_bulk(few.data(), 100).done, 100u);
        pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
        for (int i = 0; i < 20000; ++i) {
            PinGuard<P> pin;
            const Offset o = heap->try_alloc(pin.cpu(), 64);
            if (o == kNoObject) continue;
            ASSERT_TRUE(heap->try_free(pin.cpu(), o));
            ++pairs;
        }
        if (pairs > 20'000'000) break;
    }
    stop = true;
    sender.join();
    sigaction(SIGUSR1, &old, nullptr);
    EXPECT_GT(state.got, 0u);
    EXPECT_EQ(state.wrong, 0u);
    expect_fresh();
}

}  // namespace
}  // namespace quarry
