// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// MetaReserve: blocks of metadata for callers that may not sleep (law 1). Each CPU has
// kBlocks of them, each large enough for any slab of a table of size classes; they were
// charged when a caller that may sleep put them there, and such callers refill it.
//
//   block[i]   null    nothing there
//              block   a spare one
//   block -> null   whoever takes it: xchg                    acquire
//   null -> block   whoever refills: CAS; a loser frees its   release, pairs with the xchg
//                   own block again
//
// A taker looks at its own CPU's first, then at the others': nothing is stranded.
//
// Context: take any; refill task. Costs: take O(1), O(CPUs) when its own are used up.
#pragma once

#include <atomic>

#include "../platform/platform.hpp"

namespace quarry {

template <Platform P>
class MetaReserve {
public:
    static constexpr u32 kBlocks = 2;

    explicit MetaReserve(u64 block_bytes) : block_bytes_(block_bytes) {}
    ~MetaReserve() {
        if (!cpus_) return;
        for (u32 i = 0; i < count_ * kBlocks; ++i)
            if (void* block = at(i).load(std::memory_order_relaxed))
                P::meta_free(block, block_bytes_);
        P::meta_free(cpus_, count_ * sizeof(Cpu));
    }
    MetaReserve(const MetaReserve&) = delete;
    MetaReserve& operator=(const MetaReserve&) = delete;

    // What a full reserve takes.
    static u64 required_meta_bytes(u64 block_bytes) {
        return P::cpus() * (sizeof(Cpu) + kBlocks * block_bytes);
    }

    // Context: task. Errors: no_memory, initialised.
    Error init() {
        if (cpus_) return Error::initialised;
        const u32 count = P::cpus();
        void* memory = P::meta_alloc(count * sizeof(Cpu), Context::may_sleep);
        if (!memory) return Error::no_memory;
        cpus_ = static_cast<Cpu*>(memory);
        for (u32 i = 0; i < count; ++i) new (&cpus_[i]) Cpu;
        count_ = count;
        return Error::none;
    }

    u64 block_bytes() const { return block_bytes_; }
    u64 meta_bytes() const {
        return count_ * sizeof(Cpu) + held_.load(std::memory_order_relaxed) * block_bytes_;
    }

    // A zeroed block of block_bytes(), or null. The caller owns it.
    void* take() {
        const u32 from = P::cpu() * kBlocks;
        for (u32 i = 0; i < count_ * kBlocks; ++i) {
            u32 slot = from + i;
            if (slot >= count_ * kBlocks) slot -= count_ * kBlocks;
            if (!at(slot).load(std::memory_order_relaxed)) continue;
            if (void* block = at(slot).exchange(nullptr, std::memory_order_acquire)) {
                held_.fetch_sub(1, std::memory_order_relaxed);
                return block;
            }
        }
        return nullptr;
    }

    // Fills this CPU's share; what is refused stays empty.
    void refill() {
        const u32 from = P::cpu() * kBlocks;
        for (u32 i = from; i < from + kBlocks; ++i) {
            if (at(i).load(std::memory_order_relaxed)) continue;
            void* block = P::meta_alloc(block_bytes_, Context::may_sleep);
            if (!block) return;
            held_.fetch_add(1, std::memory_order_relaxed);
            void* nothing = nullptr;
            if (at(i).compare_exchange_strong(nothing, block, std::memory_order_release,
                                              std::memory_order_relaxed))
                continue;
            held_.fetch_sub(1, std::memory_order_relaxed);
            P::meta_free(block, block_bytes_);
        }
    }

private:
    struct alignas(64) Cpu {
        std::atomic<void*> block[kBlocks] = {};
    };
    std::atomic<void*>& at(u32 slot) { return cpus_[slot / kBlocks].block[slot % kBlocks]; }

    u64 block_bytes_;
    Cpu* cpus_ = nullptr;
    u32 count_ = 0;
    std::atomic<u64> held_{0};
};

}  // namespace quarry
