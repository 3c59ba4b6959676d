// SPDX-License-Identifier: MIT
//
// The heap: every request and its errors, every free and its errors, regions, magazines and
// depots, and that the audit finds what is planted. What happens at the limits is in
// cache_limits_test.cpp, random streams and threads in cache_model_test.cpp.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "heap_fixture.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using TestHeap = Heap<P>;

using HeapTest = HeapFixture<P>;

// ---- requests and errors ----

TEST_F(HeapTest, EverySizeAndAlignmentIsServedAlignedAndApart) {
    make(4096);
    std::map<Offset, u64> live;
    for (u64 align = 1; align <= 64 * 1024; align *= 2)
        for (u64 size : {1, 7, 8, 9, 63, 64, 65, 100, 1000, 2047, 2048, 2049, 4096, 5000, 70000}) {
            const Offset o = alloc(size, align);
            EXPECT_EQ(o % align, 0u) << size << " at " << align;
            EXPECT_EQ(o % 8, 0u);
            EXPECT_GE(heap->usable_size(o), size);
            auto next = live.lower_bound(o);
            if (next != live.end()) {
                EXPECT_LE(o + size, next->first);
            }
            if (next != live.begin()) {
                EXPECT_LE(std::prev(next)->first + std::prev(next)->second, o);
            }
            live[o] = size;
        }
    EXPECT_EQ(verify().objects, live.size());
    for (auto [o, size] : live) EXPECT_EQ(heap->free(o), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, EveryWrongRequestHasItsOwnErrorAndChangesNothing) {
    make(64);
    EXPECT_EQ(heap->alloc(0).error(), Error::invalid);
    EXPECT_EQ(heap->alloc(8, 0).error(), Error::invalid);
    EXPECT_EQ(heap->alloc(8, 24).error(), Error::invalid);
    EXPECT_EQ(heap->alloc(~u64{0}).error(), Error::too_large);
    EXPECT_EQ(heap->alloc((u64{1} << 32) + 1).error(), Error::too_large);
    EXPECT_EQ(heap->alloc(8, u64{1} << 33).error(), Error::too_large);
    EXPECT_EQ(heap->alloc(65 * kPageBytes).error(), Error::pool_full);
    EXPECT_EQ(heap->alloc(8, 8, Context::may_sleep, Zone::lowmem).error(), Error::pool_full);
    EXPECT_EQ(heap->alloc_bulk(0, 8, 1, nullptr).why, Error::invalid);
    EXPECT_EQ(heap->alloc_pages(Order{21}).error(), Error::too_large);
    EXPECT_EQ(heap->alloc_pages_exact(0).error(), Error::invalid);
    expect_fresh();
    TestHeap none(0, nullptr);
    EXPECT_EQ(none.init(), Error::invalid);
}

TEST_F(HeapTest, AHeapWithoutARegionHasNothing) {
    make(0);
    EXPECT_EQ(heap->alloc(8).error(), Error::uninitialised);
    EXPECT_EQ(heap->alloc(8192).error(), Error::uninitialised);
    EXPECT_EQ(heap->free(0), Error::no_region);
    EXPECT_EQ(heap->usable_size(0), 0u);
}

TEST_F(HeapTest, EveryWrongFreeHasItsOwnErrorAndFreesNothing) {
    make(256);
    const Offset small = alloc(24);
    const Offset object = alloc(200);
    const Offset page = alloc(4096);
    const Offset run = alloc(5 * 4096);
    for (const bool sized : {false, true}) {
        auto free = [&](Offset o, u64 size) {
            return sized ? heap->free_sized(o, size) : heap->free(o);
        };
        EXPECT_EQ(free(object + 1, 200), Error::misaligned);
        EXPECT_EQ(free(small + 4, 24), Error::misaligned);
        EXPECT_EQ(free(~u64{0}, 8), Error::misaligned);
        EXPECT_EQ(free(object + 8, 200), Error::not_object);
        EXPECT_EQ(free(object + 64, 200), Error::not_object);
        EXPECT_EQ(free(small + 8, 24), Error::not_object);
        EXPECT_EQ(free(run + 4096, 4096), Error::not_object);
        EXPECT_EQ(free(run + 8, 4096), Error::not_object);
        EXPECT_EQ(free(page + 64, 4096), Error::not_object);
        EXPECT_EQ(free((u64{1} << 20) * kPageBytes, 8), Error::out_of_range);
        EXPECT_EQ(free(~u64{7}, 8), Error::out_of_range);
        EXPECT_EQ(free(256 * kPageBytes, 8), Error::no_region);
    }
    verify();
    EXPECT_EQ(heap->free(small), Error::none);
    EXPECT_EQ(heap->free(object), Error::none);
    EXPECT_EQ(heap->free(page), Error::none);
    EXPECT_EQ(heap->free(run), Error::none);
    // In a magazine, in the page cache, in the buddy.
    for (const Offset o : {small, object, page, run, run + 4096}) {
        EXPECT_EQ(heap->free(o), Error::already_free);
        EXPECT_EQ(heap->free_sized(o, 24), Error::already_free);
        EXPECT_EQ(heap->usable_size(o), 0u);
        EXPECT_EQ(heap->resize_in_place(o, 8), Error::already_free);
    }
    EXPECT_EQ(heap->free_remote(object), Error::already_free);
    expect_fresh();
    for (const Offset o : {small, object, page, run})
        EXPECT_EQ(heap->free(o), Error::already_free);
    verify();
}

TEST_F(HeapTest, NoByteOfASlabButTheStartOfALiveSlotCanBeFreed) {
    make(256);
    for (const u64 size : {8, 24, 40, 64, 72, 88, 200, 576}) {
        std::vector<Offset> all(64);
        ASSERT_EQ(heap->alloc_bulk(size, 8, 64, all.data()).done, 64u);
        for (u32 i = 0; i < 64; i += 2) ASSERT_EQ(heap->free(all[i]), Error::none);
        for (u32 i = 1; i < 64; i += 2)
            for (u64 at = 1; at < 2 * size; ++at)
                for (const Offset o : {all[i] + at, all[i] - at})
                    if (o != all[(i + 1) % 64] && (o - all[i]) % size) {
                        ASSERT_NE(heap->free(o), Error::none) << size << " at " << o - all[i];
                    }
        for (u32 i = 1; i < 64; i += 2) ASSERT_EQ(heap->free(all[i]), Error::none);
        expect_fresh();
    }
}

TEST_F(HeapTest, ASlabsLastBytesThatNoSlotCoversAreNoObject) {
    make(64);
    const u32 c = class_of(1792);
    const Offset o = alloc(1792);
    const Offset base = o - o % kSizeClasses[c].slab_bytes();
    const Offset tail = base + u64{kSizeClasses[c].slots} * 1792;
    ASSERT_LT(tail, base + kSizeClasses[c].slab_bytes());
    EXPECT_EQ(heap->free(tail), Error::not_object);
    EXPECT_EQ(heap->free(o), Error::none);
}

TEST_F(HeapTest, ASizedFreeTakesEverySizeThatAnAllocationCanHaveHadAndNoOther) {
    make(1024);
    for (u64 align = 8; align <= kMaxSlot; align *= 2)
        for (u64 size = 1; size <= kMaxSlot; size += size < 70 ? 1 : 37) {
            const Offset o = alloc(size, align);
            const u64 slot = heap->usable_size(o);
            EXPECT_EQ(heap->free_sized(o, slot + 1), Error::wrong_size);
            EXPECT_EQ(heap->free_sized(o, 0), Error::wrong_size);
            EXPECT_EQ(heap->free_sized(o, 4096), Error::wrong_size);
            EXPECT_EQ(heap->usable_size(o), slot) << "nothing was freed";
            ASSERT_EQ(heap->free_sized(o, size), Error::none) << size << " at " << align;
        }
    const Offset o = alloc(200);
    EXPECT_EQ(heap->free_sized(o, 100), Error::wrong_size);
    EXPECT_EQ(heap->free_sized(o, 200), Error::none);
    const Offset run = alloc(3 * 4096);
    EXPECT_EQ(heap->free_sized(run, 4096), Error::wrong_size);
    EXPECT_EQ(heap->free_sized(run, 4 * 4096), Error::wrong_size);
    EXPECT_EQ(heap->free_sized(run, 2 * 4096 + 1), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, AnObjectIsResizedInPlaceOrTheCallerCopies) {
    make(64);
    const Offset o = alloc(100);
    EXPECT_EQ(heap->resize_in_place(o, 104), Error::none);
    EXPECT_EQ(heap->resize_in_place(o, 1), Error::none);
    EXPECT_EQ(heap->resize_in_place(o, 105), Error::cannot_grow);
    EXPECT_EQ(heap->resize_in_place(o, 0), Error::invalid);
    EXPECT_EQ(heap->resize_in_place(o + 8, 1), Error::not_object);
    const Offset run = alloc(8 * 4096);
    EXPECT_EQ(heap->resize_in_place(run, 8 * 4096 + 1), Error::cannot_grow);
    EXPECT_EQ(heap->resize_in_place(run, 7 * 4096 + 1), Error::none);
    EXPECT_EQ(heap->usable_size(run), 8u * 4096);
    EXPECT_EQ(heap->resize_in_place(run, 3 * 4096), Error::none);
    EXPECT_EQ(heap->usable_size(run), 3u * 4096);
    EXPECT_EQ(heap->free(run + 3 * 4096), Error::already_free);
    verify();
    EXPECT_EQ(heap->free(run), Error::none);
    EXPECT_EQ(heap->free(o), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, ZeroedObjectsAreZeroedByThePlatformAlone) {
    HostBacking backing(64 * kPageBytes);
    heap = std::make_unique<TestHeap>(64, &backing);
    ASSERT_EQ(heap->init(), Error::none);
    ASSERT_TRUE(heap->add_region(PageNumber{0}, 64, Zone::normal));
    const Offset o = alloc(100);
    std::fill_n(backing.at(o), 104, 0xaa);
    EXPECT_EQ(heap->free(o), Error::none);
    EXPECT_EQ(alloc(100), o);
    EXPECT_EQ(backing.at(o)[0], 0xaa);
    EXPECT_EQ(heap->free(o), Error::none);
    P::reset_zeroed();
    const auto zeroed = heap->alloc_zeroed(100);
    ASSERT_TRUE(zeroed);
    EXPECT_EQ(*zeroed, o);
    EXPECT_EQ(P::zeroed_bytes(), 104u);
    EXPECT_EQ(std::count(backing.at(o), backing.at(o) + 104, 0), 104);
    EXPECT_EQ(heap->free(o), Error::none);
}

TEST_F(HeapTest, BulksAreWholeOrSayWhyNot) {
    make(64);
    std::vector<Offset> out(5000);
    auto g = heap->alloc_bulk(64, 8, 1000, out.data());
    EXPECT_EQ(g.done, 1000u);
    EXPECT_EQ(g.why, Error::none);
    EXPECT_EQ(std::set<Offset>(out.begin(), out.begin() + 1000).size(), 1000u);
    verify();
    std::swap(out[500], out[999]);
    out[998] = out[0];
    const auto f = heap->free_bulk(out.data(), 1000);
    EXPECT_EQ(f.done, 998u);
    EXPECT_EQ(f.why, Error::already_free);
    EXPECT_EQ(heap->free(out[999]), Error::none);
    verify();
    g = heap->alloc_bulk(64, 8, 5000, out.data());
    EXPECT_EQ(g.done, 64u * 64 - 1) << "but for the one whose offset was overwritten";
    EXPECT_EQ(g.why, Error::pool_full);
    EXPECT_EQ(heap->free_bulk(out.data(), g.done).done, g.done);
    g = heap->alloc_bulk(8192, 8, 20, out.data());
    EXPECT_GE(g.done, 20u);
    EXPECT_EQ(heap->free_bulk(out.data(), g.done).done, g.done);
}

TEST_F(HeapTest, ABulkFreeOfMixedSizesStopsAtTheFirstWrongOne) {
    make(256);
    constexpr u64 kBase = u64{1} << 50;
    const u64 sizes[] = {64, 8, 2048, 64, 64, 4096, 24, 100, 8192};
    std::vector<u64> all;
    for (int round = 0; round < 60; ++round) {
        for (const u64 size : sizes) {
            u64 one = 0;
            const auto g = heap->alloc_bulk(size, 8, 1, &one, Context::may_sleep, Zone::normal, kBase);
            ASSERT_EQ(g.done, 1u);
            ASSERT_GE(one, kBase);
            all.push_back(one);
        }
    }
    verify();
    for (const u64 wrong : {all[0] + 8, all[2] + 1, all[0] - 8 * kPageBytes * 1000, all[7] + 4096}) {
        const std::vector<u64> some = {all[40], wrong, all[41]};
        EXPECT_EQ(heap->free_bulk(some.data(), 3, kBase).done, 1u);
        u64 again = 0;
        EXPECT_EQ(heap->alloc_bulk(sizes[40 % 9], 8, 1, &again, Context::may_sleep, Zone::normal, kBase).done,
                  1u);
        all[40] = again;
    }
    const u32 n = static_cast<u32>(all.size());
    const auto f = heap->free_bulk(all.data(), n, kBase);
    EXPECT_EQ(f.done, n);
    EXPECT_EQ(f.why, Error::none);
    EXPECT_EQ(heap->free_bulk(all.data(), n, kBase).why, Error::already_free);
    expect_fresh();
}

TEST_F(HeapTest, ADuplicateInTheMagazineEndsABulkOfTheFastHalf) {
    make(64);
    std::vector<Offset> out(8);
    ASSERT_EQ(heap->alloc_bulk(64, 8, 8, out.data()).done, 8u);
    ASSERT_EQ(heap->free_bulk(out.data(), 8).done, 8u);
    // Somebody's race: the third that comes is live already.
    const auto byte = [&](Offset o) -> LiveByte& {
        ReadGuard<P> reader;
        const PageDesc* desc = heap->buddy().find(PageNumber{o / kPageBytes});
        return LiveBytes::byte_of(*PageDesc::slab<Slab<LiveBytes>>(desc->word()), o);
    };
    LiveBytes::set(byte(out[5]), out[5]);
    std::vector<Offset> in(8);
    {
        PinGuard<P> pin;
        ASSERT_EQ(heap->front().try_alloc_some(pin.cpu(), 64, 0, 8, in.data()), 2u);
    }
    EXPECT_EQ(in[0], out[7]);
    EXPECT_EQ(in[1], out[6]);
    ASSERT_EQ(heap->alloc_bulk(64, 8, 6, in.data() + 2).done, 6u);
    EXPECT_EQ(std::count(in.begin(), in.end(), out[5]), 0);
    EXPECT_EQ(P::take_corruptions().size(), 1u);
    EXPECT_EQ(heap->free_bulk(in.data(), 8).done, 8u);
    EXPECT_EQ(heap->free(out[5]), Error::none);
}

TEST_F(HeapTest, PagesComeByOrderAndByExactCount) {
    make(256);
    const auto block = heap->alloc_pages(Order{3});
    ASSERT_TRUE(block);
    EXPECT_EQ(*block % (8 * kPageBytes), 0u);
    const auto exact = heap->alloc_pages_exact(5);
    ASSERT_TRUE(exact);
    EXPECT_EQ(heap->usable_size(*exact), 5 * kPageBytes);
    const auto one = heap->alloc_pages(Order{0});
    ASSERT_TRUE(one);
    EXPECT_EQ(heap->free_pages(*block, Order{2}), Error::wrong_size);
    EXPECT_EQ(heap->free_pages(*block + 8, Order{3}), Error::misaligned);
    EXPECT_EQ(heap->free_pages(*block, Order{3}), Error::none);
    EXPECT_EQ(heap->free_pages(*block, Order{3}), Error::already_free);
    EXPECT_EQ(heap->free_pages_exact(*exact + 3 * kPageBytes, 2), Error::none);
    EXPECT_EQ(heap->free_pages_exact(*exact, 3), Error::none);
    EXPECT_EQ(heap->free_pages(*one, Order{0}), Error::none);
    EXPECT_EQ(heap->free_pages(*one, Order{0}), Error::already_free);
    expect_fresh();
}

TEST_F(HeapTest, LowMemoryIsServedFromItsZoneAndNormalRequestsFallBackToIt) {
    make(8, 64);
    const auto low = heap->alloc(64, 8, Context::may_sleep, Zone::lowmem);
    ASSERT_TRUE(low);
    EXPECT_GE(*low, (u64{1} << 16) * kPageBytes);
    const auto low_run = heap->alloc(3 * 4096, 8, Context::may_sleep, Zone::lowmem);
    ASSERT_TRUE(low_run);
    EXPECT_GE(*low_run, (u64{1} << 16) * kPageBytes);
    // All of it can be had, the free slots beside the low object too.
    std::vector<Offset> all;
    while (const auto o = heap->alloc(64)) all.push_back(*o);
    EXPECT_EQ(all.size(), 64u * (8 + 64 - 3) - 1 - 64 * ((8 + 64 - 3) % 8));
    verify();
    for (Offset o : all) EXPECT_EQ(heap->free(o), Error::none);
    EXPECT_EQ(heap->free(*low), Error::none);
    EXPECT_EQ(heap->free(*low), Error::already_free);
    EXPECT_EQ(heap->free(*low_run), Error::none);
    expect_fresh();
}

TEST_F(HeapTest, RegionsComeAndGoAndABusyOneStays) {
    make(64);
    const Offset o = alloc(64);
    EXPECT_EQ(heap->remove_region(PageNumber{0}), Error::busy);
    EXPECT_EQ(heap->remove_region(PageNumber{5}), Error::not_found);
    ASSERT_TRUE(heap->add_region(PageNumber{1000}, 512, Zone::normal));
    EXPECT_EQ(heap->add_region(PageNumber{1200}, 8, Zone::normal).error(), Error::overlap);
    EXPECT_EQ(heap->free(o), Error::none) << "in the smaller region";
    EXPECT_EQ(heap->remove_region(PageNumber{0}), Error::none);
    EXPECT_EQ(heap->free(o), Error::no_region);
    const Offset in_second = alloc(64);
    EXPECT_GE(in_second, 1000 * kPageBytes);
    EXPECT_EQ(heap->free(in_second), Error::none);
    EXPECT_EQ(heap->remove_region(PageNumber{1000}), Error::none);
    EXPECT_EQ(heap->free(in_second), Error::no_region);
    EXPECT_EQ(heap->alloc(64).error(), Error::uninitialised);
    verify();
}

TEST_F(HeapTest, StatCountsObjectsBytesAndMetadata) {
    make(256);
    EXPECT_EQ(heap->stat().used_bytes, 0u);
    std::vector<Offset> all;
    u64 bytes = 0;
    for (u64 size : {8, 64, 100, 2048, 4096, 12288}) {
        all.push_back(alloc(size));
        bytes += heap->usable_size(all.back());
    }
    auto s = heap->stat();
    EXPECT_EQ(s.used_bytes, bytes);
    EXPECT_EQ(s.bytes, 256 * kPageBytes);
    EXPECT_EQ(s.free_bytes, s.bytes - bytes);
    EXPECT_EQ(s.objects, 4u) << "slots; runs are pages";
    EXPECT_EQ(s.meta_bytes + 0, P::meta_bytes() + sizeof(TestHeap));
    EXPECT_EQ(verify().objects, all.size());
    for (Offset o : all) EXPECT_EQ(heap->free(o), Error::none);
    EXPECT_EQ(heap->stat().used_bytes, 0u);
    expect_fresh();
}

// ---- magazines and depots ----

TEST_F(HeapTest, TheObjectFreedLastIsAllocatedFirst) {
    make(64);
    const Offset a = alloc(64);
    const Offset b = alloc(64);
    EXPECT_EQ(heap->free(a), Error::none);
    EXPECT_EQ(heap->free(b), Error::none);
    EXPECT_EQ(alloc(64), b);
    EXPECT_EQ(alloc(64), a);
}

TEST_F(HeapTest, AHotPairTouchesNoLockSlabOrMetadata) {
    make(64);
    EXPECT_EQ(heap->free(alloc(64)), Error::none);
    const u64 blocks = P::allocations();
    const u64 refilled = P::refilled();
    for (int i = 0; i < 10000; ++i) ASSERT_EQ(heap->free(alloc(64)), Error::none);
    EXPECT_EQ(P::allocations(), blocks);
    EXPECT_EQ(P::refilled(), refilled);
}

TEST_F(HeapTest, AMixAtTheBorderOfAMagazineMovesNoBatchEachTime) {
    make(256);
    std::vector<Offset> held;
    const u32 batch = batch_of(64);
    for (u32 i = 0; i < batch; ++i) held.push_back(alloc(64));  // the magazine is empty
    for (int round = 0; round < 1000; ++round) {
        const u64 moved = P::refilled() + P::drained();
        for (int i = 0; i < 4; ++i) held.push_back(alloc(64));
        for (int i = 0; i < 4; ++i) {
            ASSERT_EQ(heap->free(held.back()), Error::none);
            held.pop_back();
        }
        if (round) {
            EXPECT_EQ(P::refilled() + P::drained(), moved);
        }
    }
}

TEST_F(HeapTest, ACpusStockIsBoundedHoweverMuchItFrees) {
    make(8192);
    for (const u64 size : {8, 64, 128, 256, 512, 1024, 2048}) {
        std::vector<Offset> all(4096);
        ASSERT_EQ(heap->alloc_bulk(size, 8, 4096, all.data()).done, 4096u);
        ASSERT_EQ(heap->free_bulk(all.data(), 4096).done, 4096u);
        const u64 slot = kSizeClasses[class_of(size)].slot_bytes;
        EXPECT_LE(heap->caches().cached(class_of(size)) * slot, kDepotBytes + 32768) << size;
    }
    expect_fresh();
}

TEST_F(HeapTest, WhatOneCpuFreesAnotherOnesRefillFindsInTheDepot) {
    make(1024);
    std::vector<Offset> all(1024);
    ASSERT_EQ(heap->alloc_bulk(64, 8, 1024, all.data()).done, 1024u);
    Cpu other;
    other.run([&] { ASSERT_EQ(heap->free_bulk(all.data(), 1024).done, 1024u); });
    const u64 home = P::remote_frees();
    const std::set<Offset> freed(all.begin(), all.end());
    for (u32 i = 0; i < 512; ++i) EXPECT_EQ(freed.count(alloc(64)), 1u);
    EXPECT_EQ(P::remote_frees(), home) << "no slot went over its slab";
    verify();
}

TEST_F(HeapTest, ABatchOfOneSlabInALoopDoesNotRebuildItEachRound) {
    make(256);
    for (const u64 size : {64, 512, 2048}) {
        const u32 slots = kSizeClasses[class_of(size)].slots;
        std::vector<Offset> batch(slots);
        ASSERT_EQ(heap->alloc_bulk(size, 8, slots, batch.data()).done, slots);
        ASSERT_EQ(heap->free_bulk(batch.data(), slots).done, slots);
        const u64 made = P::slabs_created();
        for (int round = 0; round < 200; ++round) {
            ASSERT_EQ(heap->alloc_bulk(size, 8, slots, batch.data()).done, slots);
            ASSERT_EQ(heap->free_bulk(batch.data(), slots).done, slots);
        }
        EXPECT_LE(P::slabs_created() - made, 2u);
    }
    expect_fresh();
}

TEST_F(HeapTest, ADuplicateInAMagazineIsReportedDroppedAndTheNextIsTaken) {
    make(64);
    (void)alloc(64);
    const Offset a = alloc(64);
    const Offset b = alloc(64);
    EXPECT_EQ(heap->free(a), Error::none);
    EXPECT_EQ(heap->free(b), Error::none);
    {  // two frees that raced
        PinGuard<P> pin;
        Magazine magazine(heap->caches().of(pin.cpu()), 7);
        Entry twice;
        ASSERT_TRUE(magazine.pop(twice));
        magazine.push(twice.offset, twice.live);
        magazine.push(twice.offset, twice.live);
    }
    Audit audit;
    HeapAudit<P>(*heap, audit).run(true);
    EXPECT_STREQ(audit.result().first, "a slot stands in two magazines");
    EXPECT_EQ(alloc(64), b);
    EXPECT_EQ(alloc(64), a) << "not b again";
    const auto reports = P::take_corruptions();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].what, QUARRY_CORRUPT_DUPLICATE);
    EXPECT_EQ(reports[0].offset, b);
    verify();
}

// ---- the audit finds what is planted ----

TEST_F(HeapTest, TheAuditFindsALiveByteThatNobodySet) {
    make(64);
    const Offset o = alloc(64);
    EXPECT_EQ(heap->free(o), Error::none);
    LiveByte* live;
    {
        PinGuard<P> pin;
        Entry e;
        ASSERT_TRUE(Magazine(heap->caches().of(pin.cpu()), 7).pop(e));
        live = e.live;
        Magazine(heap->caches().of(pin.cpu()), 7).push(o, live);
    }
    auto first = [&] {
        Audit audit;
        HeapAudit<P>(*heap, audit).run(true);
        return std::string(audit.result().first);
    };
    live->store(live_mark(o));
    EXPECT_EQ(first(), "a magazine holds a live slot");
    live->store(live_mark(o) ^ 0x38);
    EXPECT_EQ(first(), "a live byte names no slot");
    live->store(free_mark(o) ^ 8);
    EXPECT_EQ(first(), "a cached slot's live byte names no slot");
    live->store(free_mark(o));
    {
        PinGuard<P> pin;
        Entry e;
        Magazine(heap->caches().of(pin.cpu()), 7).pop(e);
    }
    EXPECT_EQ(first(), "slots are out that are nowhere");
    {
        PinGuard<P> pin;
        Magazine(heap->caches().of(pin.cpu()), 7).push(o + 8, live);
    }
    EXPECT_EQ(first(), "a magazine holds what is no slot");
    {
        PinGuard<P> pin;
        Entry e;
        Magazine(heap->caches().of(pin.cpu()), 7).pop(e);
        Magazine(heap->caches().of(pin.cpu()), 7).push(o, live + 1);
    }
    EXPECT_EQ(first(), "a magazine's entry names another's live byte");
    {
        PinGuard<P> pin;
        Entry e;
        Magazine(heap->caches().of(pin.cpu()), 7).pop(e);
        Magazine(heap->caches().of(pin.cpu()), 7).push(o, live);
    }
    EXPECT_EQ(first(), "");
}

TEST_F(HeapTest, TheAuditFindsAPageWordThatIsNotItsSlabs) {
    make(64);
    const Offset o = alloc(64);
    auto first = [&] {
        Audit audit;
        HeapAudit<P>(*heap, audit).run(true);
        return std::string(audit.result().first);
    };
    const Region* region = heap->buddy().region_of(PageNumber{0});
    auto& mine = region->words->at(o / kPageBytes);
    auto& free = region->words->at(63);
    const u64 word = mine.load();
    EXPECT_EQ(PageWord::place(word), place_of(7));
    for (const u64 planted : {u64{0}, word + 1, word + 128}) {
        mine.store(planted);
        EXPECT_EQ(first(), "a page of a slab has another's word");
    }
    mine.store(word);
    ASSERT_EQ(free.load(), 0u);
    free.store(word);
    EXPECT_EQ(first(), "a page has a word that is no slab's");
    free.store(0);
    EXPECT_EQ(first(), "");
    EXPECT_EQ(heap->free(o), Error::none);
    expect_fresh();
}

// ---- regions beside the largest ----

TEST_F(HeapTest, AFreeIsFastInEveryRegionOfAGrownHeap) {
    make(256);
    for (u64 i = 1; i < 20; ++i) {
        ASSERT_TRUE(heap->add_region(PageNumber{i * 1024 + i % 3}, 128, Zone::normal));
    }
    std::vector<Offset> all;
    std::set<u64> regions;
    for (auto o = heap->alloc(2048); o; o = heap->alloc(2048)) {
        all.push_back(*o);
        regions.insert(*o / kPageBytes / 1024);
    }
    EXPECT_EQ(regions.size(), 20u);
    verify();
    u64 full = 0;
    for (const Offset o : all) {
        bool done;
        {
            PinGuard<P> pin;
            done = heap->try_free(pin.cpu(), o);
            EXPECT_FALSE(done && heap->try_free(pin.cpu(), o)) << "freed twice";
        }
        if (done) continue;
        ++full;
        EXPECT_EQ(heap->free(o), Error::none) << o / kPageBytes;
    }
    EXPECT_LE(full, all.size() / batch_of(2048) + 1) << "one in an array";
    heap->drain();
    EXPECT_EQ(heap->stat().objects, 0u);
    EXPECT_EQ(heap->stat().slabs, 0u);
    ASSERT_EQ(heap->remove_region(PageNumber{7 * 1024 + 1}), Error::none);
    verify();
    PinGuard<P> pin;
    EXPECT_FALSE(heap->try_free(pin.cpu(), Offset{7 * 1024 + 2} * kPageBytes));
}

}  // namespace
}  // namespace quarry
