// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A client's magazines: one CpuMagazines for each CPU that has memory for them, and the gate
// through which drains come from elsewhere.
//
//   cpu_[i]    null -> there     bring: CAS, by a call of the client's       acq_rel
//              until the end                                      read: anyone, acquire
//   closed_    0 -> 1            close, before the reap          seq_cst, (A)
//   visitors_  counts drains inside                              seq_cst, (A)
//
//   (A) A drain counts itself, then looks at closed_; the reaper sets closed_, then waits for
//   the count to be 0. So no drain touches a client that is being reaped: what is in its
//   magazines has lost its owner, and the entry of the dictionary that named the owner may
//   be another client's. A visit is a step of 32 entries.
//
// Context: as each says. Metadata: 8 bytes a CPU, 1.7 KiB for each CPU that has a block.
#pragma once

#include "client.hpp"
#include "cpu_magazines.hpp"

namespace quarry {

// What the core asks of a platform that has magazines in user space.
//   exclusive_*   nothing else runs on this CPU, nor on its magazines; answers its number.
//                 Nothing is locked or allocated between the two.
//   on_each_cpu_steps   calls fn(arg, cpu) in the place of each CPU again and again, until it
//                 answers 0; as on_each_cpu else
//   magazine_memory     memory that the client maps, zeroed; null: none (any more)
//   magazine_refused    an entry was no object of the client's
template <typename P>
concept MagazinePlatform = Platform<P> && requires(void* p, int (*fn)(void*, unsigned), u64 x) {
    { P::exclusive_leave(P::exclusive_enter()) };
    { P::exclusive_cpu(P::exclusive_enter()) } -> std::same_as<unsigned>;
    { P::on_each_cpu_steps(fn, p) } -> std::same_as<unsigned>;
    { P::magazine_memory(p, unsigned{}, unsigned{}) } -> std::same_as<void*>;
    { P::magazine_refused(p, Error::none, x, x) };
};

// Sums over the magazines of a pool's clients.
struct MagazineCensus {
    struct Cursor {
        u64 drain;  // which drain it belongs to
        u32 at;     // the client that it is at
    };
    std::atomic<u64> armed{0};  // that may hold something
    std::atomic<u64> drains{0};
    std::atomic<u64> meta_bytes{0};  // and of reserves
    std::atomic<Cursor*> cursors{nullptr};  // one a CPU; made with the first magazines
};

template <Platform P>
class ClientMagazines {
public:
    // `census`: the pool's sums; `os` is handed back to the hooks.
    ClientMagazines(MagazineCensus& census, void* os, unsigned cpus)
        : census_(census), os_(os), cpus_(cpus) {}
    ClientMagazines(const ClientMagazines&) = delete;
    ClientMagazines& operator=(const ClientMagazines&) = delete;

    static std::size_t bytes(unsigned cpus) {
        return sizeof(ClientMagazines) + cpus * sizeof(std::atomic<CpuMagazines*>);
    }
    static ClientMagazines* make(MagazineCensus& census, void* os) {
        const unsigned cpus = P::cpus();
        void* memory = P::meta_alloc(bytes(cpus), Context::may_sleep);
        if (!memory) return nullptr;
        census.meta_bytes.fetch_add(bytes(cpus), std::memory_order_relaxed);
        return new (memory) ClientMagazines(census, os, cpus);
    }
    // After close(), and when no lookup finds it any more. Context: task.
    static void retire(ClientMagazines* m) {
        u64 gone = bytes(m->cpus_);
        for (unsigned cpu = 0; cpu < m->cpus_; ++cpu) {
            CpuMagazines* here = m->on(cpu);
            if (!here) continue;
            gone += sizeof(CpuMagazines);
            P::meta_retire(here, sizeof(CpuMagazines));
        }
        m->census_.meta_bytes.fetch_sub(gone, std::memory_order_relaxed);
        P::meta_retire(m, bytes(m->cpus_));
    }

    void* os() const { return os_; }
    unsigned cpus() const { return cpus_; }

    // Null: this CPU has no block.
    CpuMagazines* on(unsigned cpu) const {
        return cpu < cpus_ ? slot(cpu).load(std::memory_order_acquire) : nullptr;
    }
    // Memory for this CPU's block, where it has none. Context: task, no lock.
    void bring(unsigned cpu) {
        if (cpu >= cpus_ || on(cpu)) return;
        // The shadow first: memory that the client maps cannot be given back.
        auto* made = static_cast<CpuMagazines*>(
            P::meta_alloc(sizeof(CpuMagazines), Context::may_sleep));
        if (!made) return;
        void* base = P::magazine_memory(os_, cpu, 0);
        CpuMagazines* none = nullptr;
        if (base) new (made) CpuMagazines(base);
        if (!base || !slot(cpu).compare_exchange_strong(none, made, std::memory_order_acq_rel,
                                                        std::memory_order_relaxed))
            P::meta_free(made, sizeof(CpuMagazines));
        else
            census_.meta_bytes.fetch_add(sizeof(CpuMagazines), std::memory_order_relaxed);
    }
    // What the next call on this CPU wants. Context: task, no lock.
    void prepare(unsigned cpu) {
        CpuMagazines* here = on(cpu);
        if (!here) return bring(cpu);
        if (!here->wants_piece()) return;
        const u32 k = here->missing_piece();
        if (k == kPieces || !here->bring_piece(k, P::magazine_memory(os_, cpu, 1 + k)))
            here->give_up();
    }

    // An exclusive step may arm or disarm: keeps the pool's count.
    template <typename Step>
    auto count_armed(CpuMagazines& here, Step&& step) {
        const u64 before = here.armed();
        const auto result = step();
        const u64 after = here.armed();  // one bit more, or less
        if (after > before) census_.armed.fetch_add(1, std::memory_order_relaxed);
        if (after < before) census_.armed.fetch_sub(1, std::memory_order_relaxed);
        return result;
    }

    // ---- the gate ----

    // True: the client is not being reaped until leave(). Context: any, pinned.
    bool enter() {
        visitors_.fetch_add(1, std::memory_order_seq_cst);
        if (!closed_.load(std::memory_order_seq_cst)) return true;
        leave();
        return false;
    }
    void leave() { visitors_.fetch_sub(1, std::memory_order_seq_cst); }
    bool closed() const { return closed_.load(std::memory_order_relaxed); }

    // Nobody drains from here on. By the reaper. Context: task, no lock.
    void close() {
        if (closed_.exchange(true, std::memory_order_seq_cst)) return;
        while (visitors_.load(std::memory_order_seq_cst)) P::breathe();
        for (unsigned cpu = 0; cpu < cpus_; ++cpu)
            if (CpuMagazines* here = on(cpu))
                census_.armed.fetch_sub(here->armed_count(), std::memory_order_relaxed);
    }

    // Quiescent. What is wrong, or null; adds up what is armed.
    const char* fault(u64& armed) const {
        for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
            const CpuMagazines* here = on(cpu);
            if (!here) continue;
            if (!closed()) armed += here->armed_count();
            if (const char* what = here->fault()) return what;
        }
        return nullptr;
    }

private:
    // The array stands behind the object, in zeroed memory.
    std::atomic<CpuMagazines*>& slot(unsigned cpu) const {
        auto* first = reinterpret_cast<std::atomic<CpuMagazines*>*>(
            const_cast<ClientMagazines*>(this) + 1);
        return first[cpu];
    }

    [[maybe_unused]] u64 retired_[2] = {};  // the platform's after retirement
    MagazineCensus& census_;
    void* os_;
    unsigned cpus_;
    std::atomic<bool> closed_{false};
    std::atomic<u32> visitors_{0};
};

}  // namespace quarry
