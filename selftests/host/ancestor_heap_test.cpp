// SPDX-License-Identifier: MIT
//
// What buddy-slab-allocator offers, capability by capability, in Quarry's form: its global
// allocator is Heap, its page allocator Buddy, its slab allocator with per-CPU sets SlabSet.
// Then what it leaves open: memory that another CPU holds, and long random streams.
#include <gtest/gtest.h>

#include <map>
#include <memory_resource>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../module/core/slabs/standalone.hpp"
#include "heap_fixture.hpp"
#include "heap_resource.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using Set = SlabSet<P, 4>;

PageNumber page(u64 n) { return PageNumber{n}; }

// ---- GlobalAllocator ----

class GlobalAllocator : public HeapFixture<P> {};

TEST_F(GlobalAllocator, InitAddRegionAllocAndDealloc) {
    Heap<P> h(4096, nullptr);
    ASSERT_EQ(h.init(), Error::none);
    ASSERT_TRUE(h.add_region(page(0), 100, Zone::normal));
    ASSERT_TRUE(h.add_region(page(200), 100, Zone::normal));
    for (u64 size : {1, 8, 100, 2048, 2049, 4096, 100'000}) {
        const auto object = h.alloc(size, 16);
        ASSERT_TRUE(object) << size;
        EXPECT_EQ(*object % 16, 0u);
        EXPECT_EQ(h.free_sized(*object, size), Error::none) << size;
    }
}

TEST_F(GlobalAllocator, ErrorsOfInitAreAlreadyInitialisedAndNotInitialised) {
    Heap<P> h(64, nullptr);
    EXPECT_EQ(h.alloc(8).error(), Error::uninitialised);
    EXPECT_EQ(h.alloc(8, 64).error(), Error::uninitialised);
    EXPECT_EQ(h.alloc_bulk(8, 8, 1, nullptr).why, Error::uninitialised);
    EXPECT_EQ(h.free(0), Error::uninitialised);
    EXPECT_EQ(h.free_sized(0, 8), Error::uninitialised);
    EXPECT_EQ(h.add_region(page(0), 8, Zone::normal).error(), Error::uninitialised);
    EXPECT_EQ(h.remove_region(page(0)), Error::uninitialised);
    h.drain();
    EXPECT_EQ(h.stat().bytes, 0u);
    EXPECT_EQ(h.init(), Error::none);
    EXPECT_EQ(h.init(), Error::initialised);
    EXPECT_EQ(h.alloc(8).error(), Error::uninitialised) << "there is no region yet";
    EXPECT_TRUE(h.add_region(page(0), 8, Zone::normal));
    EXPECT_EQ(h.add_region(page(7), 8, Zone::normal).error(), Error::overlap);
    EXPECT_EQ(h.add_region(page(8), 0, Zone::normal).error(), Error::invalid);
    EXPECT_TRUE(h.alloc(8));
}

TEST_F(GlobalAllocator, AnInitThatWasRefusedMetadataCanBeTriedAgain) {
    for (u64 n = 1;; ++n) {
        Heap<P> h(64, nullptr);
        P::refuse_allocation(n);
        const Error first = h.init();
        P::refuse_allocation(0);
        if (ok(first)) break;
        EXPECT_EQ(first, Error::no_memory);
        EXPECT_EQ(h.init(), Error::none);
        ASSERT_TRUE(h.add_region(page(0), 8, Zone::normal));
        EXPECT_TRUE(h.alloc(8));
    }
}

TEST_F(GlobalAllocator, AllocPagesByCountAndAlignmentAndDeallocPages) {
    make(256);
    const auto run = heap->alloc_pages_exact(5, Zone::normal, Context::may_sleep, Order{4});
    ASSERT_TRUE(run);
    EXPECT_EQ(*run % (16 * kPageBytes), 0u);
    EXPECT_EQ(heap->free_pages_exact(*run, 6), Error::wrong_size);
    EXPECT_EQ(heap->free_pages_exact(*run, 5), Error::none);
    EXPECT_EQ(heap->free_pages_exact(*run, 5), Error::already_free);
    expect_fresh();
}

TEST_F(GlobalAllocator, AllocPagesLowmem) {
    make(64, 64);
    const auto low = heap->alloc_pages_exact(3, Zone::lowmem);
    ASSERT_TRUE(low);
    EXPECT_GE(*low, (u64{1} << 16) * kPageBytes);
    EXPECT_EQ(heap->free_pages_exact(*low, 3), Error::none);
    expect_fresh();
}

TEST_F(GlobalAllocator, ManagedSectionsManagedBytesAndAllocatedBytes) {
    make(100, 50);
    Buddy<P>& pages = heap->buddy();
    EXPECT_EQ(pages.managed_section_count(), 2u);
    const auto first = pages.managed_section(0);
    const auto second = pages.managed_section(1);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->first, 0u);
    EXPECT_EQ(first->pages, 100u);
    EXPECT_EQ(second->first, u64{1} << 16);
    EXPECT_EQ(second->zone, Zone::lowmem);
    EXPECT_EQ(pages.managed_section(2).error(), Error::not_found);
    EXPECT_EQ(pages.managed_bytes(), 150 * kPageBytes) << "metadata lies elsewhere";
    EXPECT_EQ(pages.allocated_bytes(), 0u);
    const auto run = heap->alloc_pages_exact(7);
    EXPECT_EQ(pages.allocated_bytes(), 7 * kPageBytes);
    EXPECT_EQ(heap->free_pages_exact(*run, 7), Error::none);
}

TEST_F(GlobalAllocator, MayServeAsTheAllocatorOfAProgramsContainers) {
    make(2048);
    HostBacking memory(2048 * kPageBytes);
    HeapResource<P> resource(*heap, memory.at(0));
    {
        std::mt19937_64 random(1);
        std::pmr::map<u64, std::pmr::string> map(&resource);
        std::map<u64, std::string> model;
        for (int i = 0; i < 20'000; ++i) {
            const u64 key = random() % 500;
            if (random() % 3 == 0) {
                map.erase(key);
                model.erase(key);
            } else {
                const std::string value(random() % 3000, static_cast<char>('a' + key % 26));
                map[key] = value;
                model[key] = value;
            }
        }
        ASSERT_EQ(map.size(), model.size());
        for (const auto& [key, value] : model) ASSERT_EQ(std::string_view(map[key]), value);
        EXPECT_GT(heap->stat().objects, map.size());
        verify();
    }
    expect_fresh();
}

TEST_F(GlobalAllocator, ReallocateStaysInPlaceWhileItFitsAndElseCopies) {
    make(256);
    HostBacking memory(256 * kPageBytes);
    HeapResource<P> resource(*heap, memory.at(0));
    auto* p = static_cast<unsigned char*>(resource.allocate(100));
    for (unsigned i = 0; i < 100; ++i) p[i] = static_cast<unsigned char>(i);
    auto* same = resource.reallocate(p, 104);
    EXPECT_EQ(same, p);
    auto* larger = static_cast<unsigned char*>(resource.reallocate(p, 5000));
    ASSERT_NE(larger, nullptr);
    EXPECT_NE(larger, p);
    for (unsigned i = 0; i < 100; ++i) ASSERT_EQ(larger[i], i);
    EXPECT_EQ(resource.reallocate(larger, u64{1} << 30), nullptr);
    EXPECT_EQ(larger[99], 99) << "a refusal leaves the object";
    resource.deallocate(larger, 5000);
    expect_fresh();
}

// A platform with the optional log.
struct LogPlatform : HostPlatform {
    static inline std::vector<std::string> lines;
    static void log(void*, const char* what, u64 value) {
        lines.push_back(std::string(what) + " " + std::to_string(value));
    }
};
TEST(GlobalAllocatorLog, RareEventsAreToldToAPlatformThatListens) {
    LogPlatform::lines.clear();
    {
        Heap<LogPlatform> h(64, nullptr);
        ASSERT_EQ(h.init(), Error::none);
        ASSERT_TRUE(h.add_region(page(8), 8, Zone::normal));
        EXPECT_FALSE(h.add_region(page(8), 8, Zone::normal));
        std::vector<Offset> all;
        while (const auto o = h.alloc(2048)) all.push_back(*o);
        for (Offset o : all) EXPECT_EQ(h.free(o), Error::none);
        EXPECT_EQ(h.remove_region(page(8)), Error::none);
    }
    P::settle();
    ASSERT_GE(LogPlatform::lines.size(), 4u);
    EXPECT_EQ(LogPlatform::lines[0], "region added: page 8");
    EXPECT_EQ(LogPlatform::lines[1], "region refused: page 8");
    EXPECT_EQ(LogPlatform::lines[2], "memory is short, reclaiming: slots of bytes 2048");
    EXPECT_EQ(LogPlatform::lines.back(), "region to be removed: page 8");
}

// ---- BuddyAllocator ----

TEST(BuddyAllocator, RequiredMetadataTotalAndFreePagesAndPageStates) {
    const u64 asked = Buddy<P>::required_meta_bytes(1000);
    const u64 before = P::meta_bytes();
    Buddy<P> buddy(4096);
    EXPECT_EQ(buddy.alloc(Order{0}).error(), Error::uninitialised);
    ASSERT_EQ(*buddy.add_region(page(24), 1000, Zone::normal, nullptr), 1000u);
    EXPECT_EQ(P::meta_bytes() - before, asked);
    EXPECT_EQ(buddy.total_pages(), 1000u);
    const auto run = buddy.alloc(Order{3});
    ASSERT_TRUE(run);
    EXPECT_EQ(buddy.free_pages(), 992u);
    ReadGuard<P> reader;
    EXPECT_EQ(buddy.find(*run)->state(), PageState::run);
    EXPECT_EQ(buddy.free(*run, Order{3}), Error::none);
}

TEST(BuddyAllocator, SeveralSectionsSplitAndMergeAlone) {
    Buddy<P> buddy(1 << 20);
    for (u64 i = 0; i < 50; ++i)
        ASSERT_TRUE(buddy.add_region(page(i * 100 + 3), 64 + i % 7, Zone::normal, nullptr));
    EXPECT_EQ(buddy.managed_section_count(), 50u);
    for (u64 i = 0; i < 50; ++i) {
        const auto section = buddy.managed_section(i);
        ASSERT_TRUE(section);
        EXPECT_EQ(section->first, i * 100 + 3);
        EXPECT_EQ(section->pages, 64 + i % 7);
    }
    std::vector<u64> fresh;
    for (u8 o = 0; o <= 20; ++o) fresh.push_back(buddy.free_blocks(Order{o}, Zone::normal));
    std::vector<PageNumber> all;
    while (const auto one = buddy.alloc(Order{0})) all.push_back(*one);
    EXPECT_EQ(all.size(), buddy.total_pages());
    for (PageNumber one : all) ASSERT_EQ(buddy.free(one, Order{0}), Error::none);
    for (u8 o = 0; o <= 20; ++o) EXPECT_EQ(buddy.free_blocks(Order{o}, Zone::normal), fresh[o]);
    Audit audit;
    buddy.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first;
}

TEST(BuddyAllocator, ThePageSizeIsAParameter) {
    Buddy<P, 14> buddy(256);
    PageCache<P, 14> cache(buddy);
    ASSERT_EQ(cache.init(), Error::none);
    EXPECT_EQ(cache.init(), Error::initialised);
    ASSERT_TRUE(buddy.add_region(page(0), 256, Zone::normal, nullptr));
    EXPECT_EQ(buddy.managed_bytes(), 256u << 14);
    const auto one = cache.alloc();
    ASSERT_TRUE(one);
    EXPECT_EQ(cache.free(*one), Error::none);
    EXPECT_EQ(cache.free(*one), Error::already_free);
}

TEST(BuddyAllocator, APageCacheBeforeItsInitIsTheBuddy) {
    Buddy<P> buddy(16);
    PageCache<P> cache(buddy);
    ASSERT_TRUE(buddy.add_region(page(0), 16, Zone::normal, nullptr));
    const auto one = cache.alloc();
    ASSERT_TRUE(one);
    EXPECT_EQ(cache.free(*one), Error::none);
    EXPECT_EQ(cache.free(*one), Error::already_free);
    EXPECT_EQ(buddy.free_pages(), 16u);
}

// ---- SlabAllocator ----

class SlabAllocatorAlone : public ::testing::Test {
protected:
    static constexpr u64 kPages = 64;
    void TearDown() override {
        for (void* block : blocks) P::meta_free(block, sizes[block]);
        P::settle();
    }
    // Pages one after the other, and their metadata.
    Error give(const Set::Allocation& need) {
        void* meta = P::meta_alloc(need.meta_bytes, Context::may_sleep);
        const u64 first = round_up(next, need.pages);
        const Error e = set.add_slab(need.size_class, page(first), meta);
        if (!ok(e)) {
            P::meta_free(meta, need.meta_bytes);
            return e;
        }
        next = first + need.pages;
        blocks.push_back(meta);
        sizes[meta] = need.meta_bytes;
        return e;
    }
    Offset alloc(u64 size) {
        auto got = set.alloc(size);
        if (got.needs_slab()) {
            EXPECT_EQ(give(got), Error::none);
            got = set.alloc(size);
        }
        EXPECT_FALSE(got.needs_slab());
        return got.offset;
    }
    void take_back(const Set::Freed& freed) {
        ASSERT_TRUE(freed.slab_is_empty);
        std::erase(blocks, freed.meta);
        ASSERT_EQ(freed.meta_bytes, sizes[freed.meta]);
        P::meta_retire(freed.meta, freed.meta_bytes);
    }

    std::vector<std::atomic<u64>> map = std::vector<std::atomic<u64>>(kPages);
    Set set{page(0), kPages, map.data()};
    u64 next = 0;
    std::vector<void*> blocks;
    std::map<void*, u64> sizes;
};

TEST_F(SlabAllocatorAlone, AllocAnswersAnObjectOrNeedsASlabOfSoManyPagesInAClass) {
    for (u64 size : {8, 16, 32, 64, 128, 256, 512, 1024, 2048}) {
        const auto need = set.alloc(size);
        ASSERT_TRUE(need.needs_slab());
        EXPECT_EQ(kSizeClasses[need.size_class].slot_bytes, size);
        EXPECT_EQ(need.pages, pages_of(kSizeClasses[need.size_class].order));
        ASSERT_EQ(give(need), Error::none);
        const auto got = set.alloc(size);
        ASSERT_FALSE(got.needs_slab());
        EXPECT_EQ(got.offset % size, 0u);
        EXPECT_FALSE(set.free(got.offset)->slab_is_empty) << "the last one of its class stays";
    }
    EXPECT_EQ(set.alloc(0).why, Error::invalid);
    EXPECT_EQ(set.alloc(8, 3).why, Error::invalid);
    EXPECT_EQ(set.alloc(2049).why, Error::too_large);
}

TEST_F(SlabAllocatorAlone, DeallocAnswersDoneOrFreeSlabWithBaseAndPages) {
    const u32 slots = kSizeClasses[class_of(1024)].slots;
    std::vector<Offset> all;
    for (u32 i = 0; i < 2 * slots; ++i) all.push_back(alloc(1024));
    u32 handed = 0;
    for (Offset o : all) {
        const auto freed = set.free(o);
        ASSERT_TRUE(freed);
        if (!freed->slab_is_empty) continue;
        ++handed;
        EXPECT_EQ(freed->pages, pages_of(kSizeClasses[class_of(1024)].order));
        EXPECT_EQ(value(freed->first) * kPageBytes, o - o % (freed->pages * kPageBytes));
        take_back(*freed);
        EXPECT_EQ(set.free(o).error(), Error::no_region);
    }
    EXPECT_EQ(handed, 1u);
    const auto last = set.take_empty(class_of(1024));
    take_back(last);
    EXPECT_FALSE(set.take_empty(class_of(1024)).slab_is_empty);
    EXPECT_TRUE(set.alloc(1024).needs_slab());
}

TEST_F(SlabAllocatorAlone, EveryWrongFreeAndEveryWrongSlabIsItsOwnError) {
    const Offset o = alloc(200);
    EXPECT_EQ(set.free(o + 4).error(), Error::misaligned);
    EXPECT_EQ(set.free(o + 8).error(), Error::not_object);
    EXPECT_EQ(set.free(kPages * kPageBytes).error(), Error::out_of_range);
    EXPECT_EQ(set.free((kPages - 1) * kPageBytes).error(), Error::no_region);
    EXPECT_EQ(set.free_sized(o, 100).error(), Error::wrong_size);
    EXPECT_EQ(set.free_sized(o, 0).error(), Error::wrong_size);
    EXPECT_EQ(set.free_sized(o, 4096).error(), Error::wrong_size);
    EXPECT_TRUE(set.free_sized(o, 200));
    EXPECT_EQ(set.free_sized(o, 200).error(), Error::already_free);
    alignas(64) static unsigned char meta[8192];
    EXPECT_EQ(set.add_slab(7, page(0), meta), Error::overlap);
    EXPECT_EQ(set.add_slab(7, page(kPages), meta), Error::out_of_range);
    EXPECT_EQ(set.add_slab(7, page(9), meta), Error::misaligned);
    EXPECT_EQ(set.add_slab(7, page(8), meta + 8), Error::misaligned);
    EXPECT_EQ(set.add_slab(kClasses, page(8), meta), Error::invalid);
    EXPECT_EQ(set.free((kPages - 1) * kPageBytes).error(), Error::no_region);
}

TEST_F(SlabAllocatorAlone, ALiveSlabIsNeverHandedBackHoweverOftenOneObjectIsFreed) {
    const u32 slots = kSizeClasses[class_of(2048)].slots;
    std::vector<Offset> all;
    for (u32 i = 0; i < 2 * slots; ++i) all.push_back(alloc(2048));
    Cpu other;
    for (u32 i = 0; i < 3 * slots; ++i) {
        const auto freed = set.free(all[0]);
        EXPECT_EQ(ok(freed.error()), i == 0);
        EXPECT_FALSE(freed->slab_is_empty);
        other.run([&] {
            EXPECT_EQ(set.free(all[0]).error(), Error::already_free);
            EXPECT_EQ(ok(set.free(all[1]).error()), i == 0);
        });
        EXPECT_FALSE(set.take_empty(class_of(2048)).slab_is_empty);
    }
    std::set<Offset> again{alloc(2048), alloc(2048)};
    EXPECT_EQ(again, (std::set<Offset>{all[0], all[1]}));
}

TEST_F(SlabAllocatorAlone, PerCpuSlabsRouteByCurrentAndOwningCpu) {
    const Offset mine = alloc(64);
    const u32 here = P::cpu() % 4;
    EXPECT_EQ(*set.owner(mine), here);
    Cpu other;
    Offset theirs = 0;
    other.run([&] {
        EXPECT_TRUE(set.alloc(64).needs_slab()) << "another CPU's slabs do not serve this one";
        theirs = alloc(64);
        EXPECT_EQ(*set.owner(theirs), P::cpu() % 4);
        EXPECT_NE(*set.owner(theirs), here);
        EXPECT_TRUE(set.free(mine)) << "goes to its owner";
    });
    EXPECT_TRUE(set.free(theirs));
    const u32 slots = kSizeClasses[class_of(64)].slots;
    std::set<Offset> all;
    for (u32 i = 0; i < slots; ++i) all.insert(set.alloc(64).offset);
    EXPECT_EQ(all.count(mine), 1u);
    EXPECT_EQ(all.count(theirs), 0u);
}

TEST_F(SlabAllocatorAlone, AStaticSetForSeveralCpusNeverAllocates) {
    static std::atomic<u64> pages_of_set[8];
    static Set fixed(page(0), 8, pages_of_set);
    alignas(64) static unsigned char meta[4096];
    const u64 allocations = P::allocations();
    const auto need = fixed.alloc(64);
    ASSERT_TRUE(need.needs_slab());
    ASSERT_LE(need.meta_bytes, sizeof(meta));
    ASSERT_EQ(fixed.add_slab(need.size_class, page(0), meta), Error::none);
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(fixed.free(fixed.alloc(64).offset));
    EXPECT_EQ(P::allocations(), allocations);
    EXPECT_TRUE(fixed.take_empty(need.size_class).slab_is_empty);
}

TEST_F(SlabAllocatorAlone, RemoteFreesAreDrainedByTheOwnerAndLoseNothing) {
    Cpu other;
    std::mt19937 random(1);
    std::set<Offset> live;
    for (int i = 0; i < 5'000; ++i) {
        if (live.size() < 100 && random() % 2) {
            EXPECT_TRUE(live.insert(alloc(256)).second);
        } else if (!live.empty()) {
            auto it = live.begin();
            std::advance(it, random() % live.size());
            const Offset o = *it;
            live.erase(it);
            if (random() % 4) {
                const auto freed = set.free(o);
                ASSERT_TRUE(freed);
                if (freed->slab_is_empty) take_back(*freed);
            } else {
                other.run([&] { ASSERT_TRUE(set.free(o)); });
            }
            if (next > kPages - 8) next = 0;
            while (next < kPages && map[next].load()) ++next;
        }
    }
    for (Offset o : live) {
        const auto freed = set.free(o);
        ASSERT_TRUE(freed);
        if (freed->slab_is_empty) take_back(*freed);
    }
    for (auto empty = set.take_empty(class_of(256)); empty.slab_is_empty;
         empty = set.take_empty(class_of(256)))
        take_back(empty);
    for (const auto& word : map) EXPECT_EQ(word.load(), 0u);
}

// ---- what it fails at ----

class HardCases : public HeapFixture<P> {};

TEST_F(HardCases, CpuZeroFillsAndSleepsInACallCpuOneFreesAllAndEverySizeCanBeHad) {
    make(256);
    std::vector<Offset> all;
    std::atomic<bool> full{false};
    std::atomic<bool> over{false};
    std::thread zero([&] {
        P::Thread slot;
        while (const auto o = heap->alloc(64)) all.push_back(*o);
        full = true;
        while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    std::thread one([&] {
        P::Thread slot;
        while (!full) std::this_thread::yield();
        EXPECT_EQ(all.size(), 256u * 64);
        for (Offset o : all) ASSERT_EQ(heap->free(o), Error::none);
        expect_every_size(256);
        over = true;
    });
    one.join();
    over = true;
    zero.join();
    expect_fresh();
}

TEST_F(HardCases, TenMillionRandomStepsOverAllSizesEndWithTheFreeListsOfAFreshPool) {
    constexpr u64 kSteps = QUARRY_HOST_TSAN ? 200'000 : 10'000'000;
    make(4096);
    std::mt19937_64 random(1);
    struct Object {
        Offset offset;
        u64 size;
    };
    std::vector<Object> live;
    u64 refused = 0;
    for (u64 i = 0; i < kSteps; ++i) {
        const bool filling = i / 5000 % 2 == 0;
        if (live.empty() || random() % 100 < (filling ? 60u : 40u)) {
            const u64 base = u64{8} << random() % 12;
            const u64 size = base + random() % base;
            const auto o = heap->alloc(size);
            if (o)
                live.push_back({*o, size});
            else
                ++refused;
        } else {
            std::swap(live[random() % live.size()], live.back());
            const Object last = live.back();
            live.pop_back();
            ASSERT_EQ(i % 2 ? heap->free(last.offset) : heap->free_sized(last.offset, last.size),
                      Error::none);
        }
    }
    EXPECT_EQ(verify().objects, live.size());
    for (const Object& last : live) ASSERT_EQ(heap->free(last.offset), Error::none);
    EXPECT_GT(kSteps, refused);
    expect_fresh();
}

}  // namespace
}  // namespace quarry
