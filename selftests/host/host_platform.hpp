// SPDX-License-Identifier: MIT
//
// HostPlatform: the core's Platform (module/core/platform/platform.hpp) for a process, and
// everything that a test wants to see or to break.
//
//   CPU         a slot of a thread, 64 in all: taken at the thread's first use of the
//               platform, given back when it ends, or by the scope of a HostPlatform::Thread
//   readers     epochs. A reader stores the epoch into its slot with plain stores; the rare
//               side (reclaiming) makes them visible with membarrier(PRIVATE_EXPEDITED).
//               Under ThreadSanitizer, or where the system call is refused, with locked ones
//   on_each_cpu a thread that would pin its slot waits meanwhile (Dekker's two flags, the
//               drainer's half of the fence again membarrier)
//   exclusive   a pin in which nothing may be locked or allocated: the CPU of a thread is its
//               slot, so a magazine has its thread and, in its place, the drains
//   metadata    zeroed, 64-byte aligned (whole pages: to a page), tracked: a wrong size, a
//               second free, a block left over are found; the n-th allocation can be refused
//   locks       spin, then yield. A lock of a rank not above those held aborts with the
//               names of both; slots that the core says it has touched are counted by hold
//   rules       no sleeping call with a lock held, pinned, or as a reader: aborts
//   zeroing     in memory that a HostBacking lends to a pool; counted in any case
//
//   word           written by, order                      read by, order
//   Slot::epoch    its thread: relaxed + compiler fence   reclaimer: acquire, after the
//                  (seq_cst without membarrier)           membarrier (seq_cst without)
//                  leaving: release                       the same
//   Slot::pinned   its thread: as epoch                   on_each_cpu: acquire, after stop and
//                                                         the membarrier
//   Slot::stop     on_each_cpu: seq_cst, then release     its thread: acquire, after pinned
//   epoch_         retire: fetch_add acq_rel              reader: acquire
//
// A block retired at epoch t is freed when every slot is 0 or above t: a reader that
// entered with more than t has seen what retire's caller had unpublished before.
// (Fraser 2004; asymmetric fences as in liburcu.)
#pragma once

#include <atomic>
#include <vector>

#include "../../module/core/platform/platform.hpp"

#if defined(__SANITIZE_THREAD__)
#define QUARRY_HOST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUARRY_HOST_TSAN 1
#endif
#endif
#ifndef QUARRY_HOST_TSAN
#define QUARRY_HOST_TSAN 0
#endif

namespace quarry {

namespace host_detail {

struct ThreadState {
    int slot = -1;
    u32 readers = 0;
    u32 pins = 0;
    u32 held = 0;
    u32 slots = 0;
    bool exclusive = false;
    quarry_lock_rank ranks[QUARRY_LOCK_RANKS] = {};
    quarry_lock_rank meddle_at = QUARRY_LOCK_RANKS;
    void (*meddle)(void*) = nullptr;
    void* meddler = nullptr;
    void (*meddle_exclusive)(void*) = nullptr;
};
struct alignas(64) Slot {
    std::atomic<u64> epoch{0};
    std::atomic<bool> taken{false};
    std::atomic<bool> pinned{false};
    std::atomic<bool> stop{false};
};
struct Trace {
    std::atomic<u64> slabs_created{0};
    std::atomic<u64> slabs_destroyed{0};
    std::atomic<u64> remote_frees{0};
    std::atomic<u64> refilled{0};
    std::atomic<u64> drained{0};
    std::atomic<u64> long_while_pinned{0};
    std::atomic<bool> timed{false};
};

}  // namespace host_detail

class HostPlatform {
public:
    static constexpr unsigned kCpus = 64;

    class Lock {
    public:
        explicit Lock(quarry_lock_rank rank) : rank_(rank) {}
        ~Lock();
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;

        unsigned long lock();
        void unlock(unsigned long state);

    private:
        std::atomic<u32> held_{0};
        quarry_lock_rank rank_;
    };

    // ---- the concept ----

    static void* meta_alloc(std::size_t bytes, Context context);
    static void meta_free(void* meta, std::size_t bytes);
    static void meta_retire(void* meta, std::size_t bytes);
    // fn runs in a thread that holds no lock and is no reader: in settle() at the latest.
    static void after_readers(quarry_os_after* after, void (*fn)(quarry_os_after*));

    static unsigned pin() {
        read_enter();
        if (state_.pins++ == 0) {
            Slot& slot = slots_[state_.slot];
            announce(slot);
            while (slot.stop.load(std::memory_order_acquire)) wait_for_drain(slot);
        }
        return static_cast<unsigned>(state_.slot);
    }
    static void unpin() {
        if (state_.pins == 0) die("unpin without pin");
        if (state_.pins == 1) slots_[state_.slot].pinned.store(false, std::memory_order_release);
        --state_.pins;
        read_leave();
    }
    static void read_enter() {
        if (state_.readers++ != 0) return;
        if (state_.slot < 0) take_slot();
        auto& epoch = slots_[state_.slot].epoch;
        const u64 now = epoch_.load(std::memory_order_acquire);
        if (QUARRY_HOST_TSAN || !asymmetric_) {
            epoch.exchange(now, std::memory_order_seq_cst);
        } else {
            epoch.store(now, std::memory_order_relaxed);
            std::atomic_signal_fence(std::memory_order_seq_cst);
        }
    }
    static void read_leave() {
        if (state_.readers == 0) die("read_leave without read_enter");
        if (--state_.readers != 0) return;
        slots_[state_.slot].epoch.store(0, std::memory_order_release);
    }
    static unsigned cpus() { return kCpus; }
    static unsigned cpu() {
        if (state_.slot < 0) take_slot();
        return static_cast<unsigned>(state_.slot);
    }
    // fn(arg, cpu) for each slot that was ever taken, while its thread is kept from pinning. One caller at a time.
    static unsigned on_each_cpu(void (*fn)(void* arg, unsigned cpu), void* arg);
    // The same again and again, until fn answers 0; the thread may pin in between.
    static unsigned on_each_cpu_steps(int (*fn)(void* arg, unsigned cpu), void* arg);
    static void breathe();
    static u64 ns();

    static unsigned exclusive_enter() {
        if (auto* meddle = std::exchange(state_.meddle_exclusive, nullptr)) meddle(state_.meddler);
        const unsigned cpu = pin();
        if (state_.exclusive) die("an exclusive hold inside another");
        if (state_.held) die("an exclusive hold under a lock");
        state_.exclusive = true;
        return cpu;
    }
    static void exclusive_leave(unsigned) {
        state_.exclusive = false;
        unpin();
    }
    static unsigned exclusive_cpu(unsigned cpu) { return cpu; }
    // From the HostBlocks that the client's `os` is; counted refusals otherwise.
    static void* magazine_memory(void* os, unsigned cpu, unsigned part);
    static void magazine_refused(void* os, Error e, Offset offset, u64 owner);
    static void slab_class(void* os, Offset offset, u64 pages, u32 value);

    static void zero(void* os, Offset offset, u64 bytes);
    static bool held(void* os, Offset offset, u64 bytes);
    static void corruption(void* os, quarry_corruption what, Offset offset, u64 client);

    static void trace_slab_create(void*, u32, Offset, u64) { count(trace_.slabs_created); }
    static void trace_slab_destroy(void*, u32, Offset, u64) { count(trace_.slabs_destroyed); }
    static void trace_remote_free(void*, u32, Offset, u32 slots) {
        count(trace_.remote_frees, slots);
        if (state_.pins) count(trace_.long_while_pinned);
    }
    static void trace_refill(void*, u32, u32 slots, u64) { count(trace_.refilled, slots); }
    static void trace_drain(void*, u32, u32 slots, u64) { count(trace_.drained, slots); }
    static bool trace_timed() { return trace_.timed.load(std::memory_order_relaxed); }

    // Optional hook: the core has touched n more slots, pages or blocks under this hold.
    static void note_slots(u32 n) { state_.slots += n; }

    // ---- for tests ----

    // Holds a slot for a scope; a thread without one takes one by itself.
    class Thread {
    public:
        Thread() { (void)cpu(); }
        ~Thread() { give_slot(); }
        Thread(const Thread&) = delete;
        Thread& operator=(const Thread&) = delete;
    };

    // Refuses the n-th metadata allocation from now on, once (1: the next; 0: none).
    static void refuse_allocation(u64 n);
    // Refuses that one and every later one.
    static void refuse_allocations_from(u64 n);
    // Allocations refused since the last of these two calls.
    static u64 refusals();

    // Calls fn(arg) once, when this thread is about to take a lock of this rank: what another
    // thread might do just then.
    static void meddle_before(quarry_lock_rank rank, void (*fn)(void*), void* arg) {
        state_.meddle_at = rank;
        state_.meddle = fn;
        state_.meddler = arg;
    }

    // The same when this thread is about to enter an exclusive hold.
    static void meddle_before_exclusive(void (*fn)(void*), void* arg) {
        state_.meddle_exclusive = fn;
        state_.meddler = arg;
    }

    // Frees everything retired; waits for readers of other threads.
    static void settle();
    // Metadata out, retired blocks included until they are freed.
    static u64 meta_bytes();
    static u64 meta_blocks();
    static u64 retired_blocks();
    // Calls of after_readers that were not made yet.
    static u64 waiting_calls();
    // Metadata allocations ever made.
    static u64 allocations();

    struct Report {
        void* os;
        quarry_corruption what;
        Offset offset;
        u64 client;
    };
    // What was reported since the last call. A report that nobody takes fails its test.
    static std::vector<Report> take_corruptions();
    // The class table of the pool whose `os` this is: value of the page, 0 when never told.
    static u32 class_of_page(void* os, u64 page);

    static u64 zeroed_bytes();
    static void reset_zeroed();
    // As if I/O held the page of this offset, in whichever pool.
    static void hold(Offset offset);
    static void let_go(Offset offset);
    static u64 slabs_created() { return trace_.slabs_created.load(); }
    static u64 slabs_destroyed() { return trace_.slabs_destroyed.load(); }
    static u64 remote_frees() { return trace_.remote_frees.load(); }
    static u64 refilled() { return trace_.refilled.load(); }
    static u64 drained() { return trace_.drained.load(); }
    // Allocations, slots sent home, and holds of a buddy's lock, by a caller that was pinned:
    // none is short.
    static u64 long_while_pinned() { return trace_.long_while_pinned.load(); }
    // What ns() answers from now on; 0: the clock's own.
    static void freeze_time(u64 ns) { frozen_.store(ns); }
    static void set_timed(bool timed) { trace_.timed.store(timed); }

    // Most slots noted under one hold since the last reset.
    static u32 max_slots_per_hold();
    static void reset_max_slots();
    // Threads that hold a slot.
    static unsigned threads();
    static bool idle() { return state_.readers == 0 && state_.held == 0; }
    static bool asymmetric() { return asymmetric_ && !QUARRY_HOST_TSAN; }

private:
    using ThreadState = host_detail::ThreadState;
    using Slot = host_detail::Slot;
    using Trace = host_detail::Trace;
    struct Retired;
    struct After;

    static void count(std::atomic<u64>& counter, u64 n = 1) {
        counter.fetch_add(n, std::memory_order_relaxed);
    }
    [[noreturn]] static void die(const char* what, const char* more = "", const char* other = "");
    static void announce(Slot& slot) {
        if (QUARRY_HOST_TSAN || !asymmetric_) {
            slot.pinned.exchange(true, std::memory_order_seq_cst);
        } else {
            slot.pinned.store(true, std::memory_order_relaxed);
            std::atomic_signal_fence(std::memory_order_seq_cst);
        }
    }
    static void wait_for_drain(Slot& slot);
    static void take_slot();
    static void give_slot();
    static void must_not_sleep(const char* what);
    static bool refused();
    static void reclaim();
    static void free_retired();
    static void make_calls();
    static u64 oldest_reader();
    friend struct HostSlotKeeper;

    static inline constinit thread_local ThreadState state_{};
    static Slot slots_[kCpus];
    static std::atomic<u64> epoch_;
    static const bool asymmetric_;
    static Trace trace_;
    static inline std::atomic<u64> frozen_{0};
    static std::atomic<unsigned> ever_taken_;  // slots below it were taken at some time
};

// Memory that stands behind a pool whose `os` pointer is this object: zero() reaches it.
class HostBacking {
public:
    explicit HostBacking(u64 bytes);
    ~HostBacking();
    HostBacking(const HostBacking&) = delete;
    HostBacking& operator=(const HostBacking&) = delete;

    unsigned char* at(Offset offset) { return memory_.data() + offset; }
    u64 bytes() const { return memory_.size(); }

private:
    std::vector<unsigned char> memory_;
};

// The memory of one client's magazines, as the client sees it: a block of 128 KiB a CPU.
class HostBlocks {
public:
    static constexpr std::size_t kBlockBytes = std::size_t{1} << 17;

    HostBlocks();
    ~HostBlocks();
    HostBlocks(const HostBlocks&) = delete;
    HostBlocks& operator=(const HostBlocks&) = delete;

    unsigned char* block(unsigned cpu) { return blocks_ + cpu * kBlockBytes; }
    std::atomic<u32>& word(unsigned cpu, u32 byte) {
        return *reinterpret_cast<std::atomic<u32>*>(block(cpu) + byte);
    }
    // Parts that may still be given; the rest are refused.
    std::atomic<int> budget{1 << 20};
    std::atomic<u32> given[HostPlatform::kCpus] = {};

    struct Refused {
        Error error;
        Offset offset;
        u64 owner;
    };
    std::vector<Refused> take_refused();

private:
    friend class HostPlatform;
    void note(const Refused& refused);
    unsigned char* blocks_;
    std::vector<Refused> refused_;
};

static_assert(Platform<HostPlatform>);

}  // namespace quarry
