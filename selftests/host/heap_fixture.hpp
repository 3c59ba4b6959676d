// SPDX-License-Identifier: MIT
//
// What the tests of the heap share: a heap with its audit, and CPUs (threads) on which a
// test runs one piece after the other.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../../module/core/cache/heap_audit.hpp"
#include "host_platform.hpp"

namespace quarry {

// Runs work one piece after the other on a thread, which is a CPU, of its own.
class Cpu {
public:
    Cpu() : thread_([this] { loop(); }) {}
    ~Cpu() {
        run([this] { done_ = true; });
        thread_.join();
    }
    template <typename Fn>
    void run(Fn&& fn) {
        std::unique_lock lock(mutex_);
        work_ = fn;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !work_; });
    }

private:
    void loop() {
        HostPlatform::Thread slot;
        std::unique_lock lock(mutex_);
        while (!done_) {
            changed_.wait(lock, [this] { return static_cast<bool>(work_); });
            work_();
            work_ = nullptr;
            changed_.notify_all();
        }
    }
    std::mutex mutex_;
    std::condition_variable changed_;
    std::function<void()> work_;
    bool done_ = false;
    std::thread thread_;
};

template <typename Platform>
class HeapFixture : public ::testing::Test {
protected:
    void make(u64 pages, u64 lowmem = 0) {
        heap = std::make_unique<Heap<Platform>>(u64{1} << 20, nullptr);
        ASSERT_EQ(heap->init(), Error::none);
        if (pages) {
            ASSERT_TRUE(heap->add_region(PageNumber{0}, pages, Zone::normal));
        }
        if (lowmem) {
            ASSERT_TRUE(heap->add_region(PageNumber{1 << 16}, lowmem, Zone::lowmem));
        }
        fresh = free_lists();
    }
    void TearDown() override {
        heap.reset();
        HostPlatform::settle();
    }
    quarry_core_audit verify(bool quiet = true) {
        Audit audit;
        HeapAudit<Platform>(*heap, audit).run(quiet);
        EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
        return audit.result();
    }
    Offset alloc(u64 size, u64 align = 8) {
        const auto o = heap->alloc(size, align);
        EXPECT_TRUE(o) << size << ": error " << static_cast<int>(o.error());
        return o ? *o : 0;
    }
    std::vector<u64> free_lists() {
        std::vector<u64> counts;
        for (unsigned z = 0; z < kZones; ++z)
            for (unsigned o = 0; o < kOrders; ++o)
                counts.push_back(heap->buddy().free_blocks(Order{static_cast<u8>(o)},
                                                           static_cast<Zone>(z)));
        return counts;
    }
    void expect_fresh() {
        heap->drain();
        EXPECT_EQ(free_lists(), fresh);
        const auto s = heap->stat();
        EXPECT_EQ(s.objects, 0u);
        EXPECT_EQ(s.used_bytes, 0u);
        EXPECT_EQ(s.slabs, 0u);
        verify();
    }
    // Every block size from one page to the largest can be had, one after the other.
    void expect_every_size(u64 pages) {
        for (u64 size = 8; size <= pages * kPageBytes; size *= 2) {
            const auto o = heap->alloc(size);
            ASSERT_TRUE(o) << size;
            EXPECT_EQ(heap->free(*o), Error::none);
        }
    }

    std::unique_ptr<Heap<Platform>> heap;
    std::vector<u64> fresh;
};
}  // namespace quarry
