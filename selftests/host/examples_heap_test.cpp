// SPDX-License-Identifier: MIT
//
// The examples in the head comments of Buddy, PageCache, SlabSet and Heap, as a newcomer would
// copy them: they compile, and they do what they say.
#include <gtest/gtest.h>

#include "../../module/core/cache/heap.hpp"
#include "../../module/core/slabs/standalone.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

TEST(HeapExamples, Buddy) {
    const u64 max_pages = 4096;
    Buddy<P> buddy(max_pages);
    if (!buddy.add_region(PageNumber{16}, 1000, Zone::normal, nullptr)) return;
    if (const auto block = buddy.alloc(Order{3})) (void)buddy.free(*block, Order{3});
    if (const auto run = buddy.alloc_exact(5)) {
        (void)buddy.free(*run + 3, 2);  // any part of it
        (void)buddy.free_run(*run);     // the rest
    }
    EXPECT_EQ(buddy.free_pages(), 1000u);
}

TEST(HeapExamples, PageCache) {
    const u64 max_pages = 4096;
    const u64 pages = 1000;
    Buddy<P> buddy(max_pages);
    PageCache<P> cache(buddy);
    if (ok(cache.init()) && buddy.add_region(PageNumber{0}, pages, Zone::normal, nullptr))
        if (const auto page = cache.alloc()) (void)cache.free(*page);
    EXPECT_EQ(buddy.free_pages() + cache.count(), 1000u);
}

TEST(HeapExamples, SlabSet) {
    const u64 pages = 64;
    alignas(8) static unsigned char map[SlabSet<P, 4>::map_bytes(pages)];
    alignas(64) static unsigned char my_meta[4096];
    const PageNumber my_pages{8};
    static SlabSet<P, 4> set(PageNumber{0}, pages, map);
    auto got = set.alloc(100);
    if (got.needs_slab())
        if (ok(set.add_slab(got.size_class, my_pages, my_meta))) got = set.alloc(100);
    EXPECT_FALSE(got.needs_slab());
    if (const auto freed = set.free(got.offset); freed && freed->slab_is_empty)
        FAIL() << "the last slab of a class stays";
    EXPECT_TRUE(set.take_empty(got.size_class = class_of(100)).slab_is_empty);
}

TEST(HeapExamples, Heap) {
    const u64 max_pages = 4096;
    const u64 pages = 1000;
    void* os = nullptr;
    Heap<P> heap(max_pages, os);
    if (!ok(heap.init()) || !heap.add_region(PageNumber{0}, pages, Zone::normal)) return;
    if (const auto object = heap.alloc(100)) (void)heap.free(*object);
    bool copies = false;
    if (const auto zeroed = heap.alloc_zeroed(1000, 64)) {
        if (heap.resize_in_place(*zeroed, 5000) == Error::cannot_grow) {
            copies = true;  // the caller copies
        }
        (void)heap.free_sized(*zeroed, 1000);
    }
    EXPECT_TRUE(copies);
    EXPECT_EQ(heap.stat().objects, 0u);
}

}  // namespace
}  // namespace quarry
