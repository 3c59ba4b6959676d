// SPDX-License-Identifier: MIT
//
// The core through its seam alone: the object that the kernel links, its C entries above and
// HostPlatform's hooks below. What the entries decide by themselves, and each of their errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "../../module/include/quarry_seam.h"
#include "host_platform.hpp"

namespace {

using P = quarry::HostPlatform;

quarry_core_pool_config heap_config() {
    quarry_core_pool_config config{};
    config.kind = QUARRY_CORE_HEAP;
    config.max_clients = 4;
    config.max_pages = 1024;
    return config;
}

class Seam : public ::testing::Test {
protected:
    void make(const quarry_core_pool_config& config, uint64_t pages) {
        ASSERT_EQ(quarry_core_pool_create(&config, &pool), QUARRY_OK);
        ASSERT_EQ(quarry_core_region_add(pool, pages, QUARRY_CORE_NORMAL, &cookie, &region),
                  QUARRY_OK);
        ASSERT_EQ(quarry_core_client_create(pool, 7, 0, &client), QUARRY_OK);
    }
    ~Seam() override {
        if (!pool) return;
        quarry_core_audit audit{};
        quarry_core_pool_verify(pool, 1, &audit);
        EXPECT_EQ(audit.faults, 0u) << audit.first;
        if (client) reap(client);
        quarry_core_pool_destroy(pool, nullptr);
    }
    static uint64_t reap(quarry_core_client* c) {
        uint64_t objects = 0, bytes = 0;
        quarry_core_client_reap(c, &objects, &bytes);
        quarry_core_client_destroy(c);
        return objects;
    }
    int alloc(uint64_t size, uint32_t count, uint64_t* out, uint32_t* done) {
        uint64_t pages = 0;
        return quarry_core_alloc(client, size, 8, count, QUARRY_CORE_ANYWHERE, out, done, &pages,
                                 QUARRY_MAY_SLEEP, 0);
    }
    int free_one(quarry_core_client* c, uint64_t offset, quarry_core_refusal* why = nullptr) {
        quarry_core_refusal refusal{};
        uint32_t done = 0;
        const int e = quarry_core_free(c, &offset, 1, &done, &refusal);
        EXPECT_EQ(done, e == QUARRY_OK ? 1u : 0u);
        if (why) *why = refusal;
        return e;
    }
    quarry_core_stat stat() {
        quarry_core_stat s{};
        quarry_core_pool_stat(pool, &s, nullptr, 0);
        return s;
    }

    quarry_core_pool* pool = nullptr;
    quarry_core_client* client = nullptr;
    uint64_t region = 0;
    int cookie = 0;
};

TEST_F(Seam, AnObjectIsGrantedCountedFreedAndReaped) {
    make(heap_config(), 64);
    uint64_t out[40];
    uint32_t done = 0;
    ASSERT_EQ(alloc(64, 40, out, &done), QUARRY_OK);
    EXPECT_EQ(done, 40u);
    EXPECT_EQ(std::set<uint64_t>(out, out + 40).size(), 40u);
    EXPECT_EQ(stat().objects, 40u);
    EXPECT_EQ(stat().used_bytes, 40u * 64);
    uint64_t objects = 0, bytes = 0;
    quarry_core_client_usage(client, &objects, &bytes);
    EXPECT_EQ(objects, 40u);
    EXPECT_EQ(bytes, 40u * 64);
    EXPECT_EQ(free_one(client, out[3]), QUARRY_OK);
    EXPECT_EQ(reap(client), 39u);
    client = nullptr;
    EXPECT_EQ(stat().objects, 0u);
    EXPECT_EQ(stat().clients, 0u);
}

TEST_F(Seam, EachWrongFreeHasItsNumberAndNamesTheOwner) {
    make(heap_config(), 64);
    quarry_core_client* other = nullptr;
    ASSERT_EQ(quarry_core_client_create(pool, 9, 0, &other), QUARRY_OK);
    uint64_t object = 0;
    uint32_t done = 0;
    ASSERT_EQ(alloc(100, 1, &object, &done), QUARRY_OK);
    EXPECT_EQ(free_one(client, object + 1), QUARRY_E_MISALIGNED);
    EXPECT_EQ(free_one(client, object + 8), QUARRY_E_NOT_OBJECT);
    EXPECT_EQ(free_one(client, uint64_t{1024} * 4096), QUARRY_E_OUT_OF_RANGE);
    EXPECT_EQ(free_one(client, uint64_t{1000} * 4096), QUARRY_E_NO_REGION);
    EXPECT_EQ(free_one(client, region + 63 * 4096), QUARRY_E_ALREADY_FREE);
    quarry_core_refusal why{};
    EXPECT_EQ(free_one(other, object, &why), QUARRY_E_NOT_OWNER);
    EXPECT_EQ(why.owner, 7u);
    EXPECT_EQ(why.offset, object);
    EXPECT_EQ(free_one(client, object), QUARRY_OK);
    EXPECT_EQ(free_one(client, object), QUARRY_E_ALREADY_FREE);
    EXPECT_EQ(reap(other), 0u);
}

TEST_F(Seam, ATransferMovesOwnershipWithinTheReceiversLimit) {
    make(heap_config(), 64);
    quarry_core_client* other = nullptr;
    ASSERT_EQ(quarry_core_client_create(pool, 9, 128, &other), QUARRY_OK);
    uint64_t out[3];
    uint32_t done = 0;
    ASSERT_EQ(alloc(64, 3, out, &done), QUARRY_OK);
    quarry_core_refusal why{};
    EXPECT_EQ(quarry_core_transfer(client, other, out, 3, &done, &why), QUARRY_E_QUOTA);
    EXPECT_EQ(done, 2u);
    EXPECT_EQ(free_one(client, out[0]), QUARRY_E_NOT_OWNER);
    EXPECT_EQ(free_one(other, out[0]), QUARRY_OK);
    EXPECT_EQ(reap(other), 1u);
    EXPECT_EQ(free_one(client, out[2]), QUARRY_OK);
}

TEST_F(Seam, AWrongDescriptionOfAPoolMakesNone) {
    const auto error_of = [](auto change) {
        quarry_core_pool_config config = heap_config();
        change(config);
        quarry_core_pool* made = nullptr;
        const int e = quarry_core_pool_create(&config, &made);
        EXPECT_EQ(made, nullptr);
        EXPECT_EQ(P::meta_blocks(), 0u);
        return e;
    };
    EXPECT_EQ(error_of([](auto& c) { c.max_pages = 0; }), QUARRY_E_INVALID);
    EXPECT_EQ(error_of([](auto& c) { c.max_clients = 0; }), QUARRY_E_INVALID);
    EXPECT_EQ(error_of([](auto& c) { c.max_clients = 65536; }), QUARRY_E_INVALID);
    EXPECT_NE(error_of([](auto& c) { c.max_pages = uint64_t{1} << 40; }), QUARRY_OK);
}

TEST_F(Seam, AFixedPoolWantsItsPagesAndHasExactlyItsCount) {
    quarry_core_pool_config config{};
    config.kind = QUARRY_CORE_FIXED;
    config.max_clients = 2;
    config.object_size = 48;
    config.object_count = 1000;
    ASSERT_EQ(quarry_core_pool_create(&config, &pool), QUARRY_OK);
    const uint64_t pages = quarry_core_pool_wanted_pages(pool);
    EXPECT_GE(pages * 4096, 48u * 1000);
    EXPECT_EQ(quarry_core_pool_populate(pool), QUARRY_E_UNINITIALISED);
    ASSERT_EQ(quarry_core_region_add(pool, pages, QUARRY_CORE_NORMAL, nullptr, &region), QUARRY_OK);
    ASSERT_EQ(quarry_core_pool_populate(pool), QUARRY_OK);
    ASSERT_EQ(quarry_core_client_create(pool, 1, 0, &client), QUARRY_OK);
    std::vector<uint64_t> out(1001);
    uint32_t done = 0;
    EXPECT_EQ(alloc(48, 1001, out.data(), &done), QUARRY_E_POOL_FULL);
    EXPECT_EQ(done, 1000u);
    EXPECT_EQ(quarry_core_usable_size(pool, 48, 8), 48u);
    EXPECT_EQ(quarry_core_usable_size(pool, 49, 8), 0u);
}

TEST_F(Seam, ARegionIsFoundIsolatedRestoredAndRemoved) {
    make(heap_config(), 64);
    quarry_core_region found{};
    ASSERT_EQ(quarry_core_region_find(pool, region + 5 * 4096 + 17, &found), QUARRY_OK);
    EXPECT_EQ(found.offset, region);
    EXPECT_EQ(found.pages, 64u);
    EXPECT_EQ(found.cookie, &cookie);
    EXPECT_EQ(quarry_core_region_find(pool, region + 64 * 4096, &found), QUARRY_E_NO_REGION);
    EXPECT_EQ(quarry_core_region_find(pool, uint64_t{1024} * 4096, &found), QUARRY_E_OUT_OF_RANGE);

    uint64_t object = 0;
    uint32_t done = 0;
    ASSERT_EQ(alloc(64, 1, &object, &done), QUARRY_OK);
    EXPECT_EQ(quarry_core_region_isolate(pool, region, &found), QUARRY_E_BUSY);
    EXPECT_EQ(quarry_core_region_isolate(pool, region + 4096, &found), QUARRY_E_NOT_FOUND);
    ASSERT_EQ(free_one(client, object), QUARRY_OK);
    ASSERT_EQ(quarry_core_region_isolate(pool, region, &found), QUARRY_OK);
    EXPECT_EQ(alloc(64, 1, &object, &done), QUARRY_E_POOL_FULL);
    quarry_core_region_restore(pool, region);
    EXPECT_EQ(alloc(64, 1, &object, &done), QUARRY_OK);
    ASSERT_EQ(free_one(client, object), QUARRY_OK);
    ASSERT_EQ(quarry_core_region_isolate(pool, region, &found), QUARRY_OK);
    quarry_core_region_remove(pool, region);
    EXPECT_EQ(stat().regions, 0u);
    EXPECT_EQ(stat().bytes, 0u);
}

TEST_F(Seam, ARangePoolGrantsResizesAndFreesOffsetsOfNoMemory) {
    quarry_core_pool_config config{};
    config.kind = QUARRY_CORE_RANGE;
    config.max_clients = 2;
    config.capacity = 1 << 20;
    config.granule = 256;
    config.max_ranges = 10;
    config.aligns[0] = 4096;
    EXPECT_GT(quarry_core_range_meta_bytes(&config), 0u);
    ASSERT_EQ(quarry_core_pool_create(&config, &pool), QUARRY_OK);
    ASSERT_EQ(quarry_core_client_create(pool, 7, 0, &client), QUARRY_OK);
    EXPECT_EQ(quarry_core_usable_size(pool, 100, 8), 256u);
    uint64_t out[11], bytes = 0;
    uint32_t done = 0;
    EXPECT_EQ(alloc(1000, 11, out, &done), QUARRY_E_OUT_OF_NODES);
    EXPECT_EQ(done, 10u);
    EXPECT_EQ(stat().objects, 10u);
    EXPECT_EQ(stat().max_bytes, 1u << 20);
    EXPECT_EQ(stat().free_bytes, (1u << 20) - 10 * 1024);
    quarry_core_refusal why{};
    EXPECT_EQ(quarry_core_resize(client, out[0], 2000, &bytes, &why), QUARRY_E_CANNOT_GROW);
    EXPECT_EQ(quarry_core_resize(client, out[9], 2000, &bytes, &why), QUARRY_OK);
    EXPECT_EQ(bytes, 2048u);
    EXPECT_EQ(free_one(client, out[0] + 256), QUARRY_E_NOT_OBJECT);
    EXPECT_EQ(free_one(client, out[0]), QUARRY_OK);
    config.max_ranges = 0;
    quarry_core_pool* none = nullptr;
    EXPECT_EQ(quarry_core_pool_create(&config, &none), QUARRY_E_INVALID);
    config.max_ranges = QUARRY_CORE_MAX_RANGES + 1;
    EXPECT_EQ(quarry_core_range_meta_bytes(&config), 0u);
    EXPECT_EQ(quarry_core_pool_create(&config, &none), QUARRY_E_TOO_LARGE);
}

TEST_F(Seam, TheEndOfAPoolForgetsEachRegionOnce) {
    const quarry_core_pool_config config = [] {
        quarry_core_pool_config c = heap_config();
        static std::vector<void*> forgotten;
        forgotten.clear();
        c.os_pool = &forgotten;
        return c;
    }();
    make(config, 8);
    int second = 0;
    uint64_t at = 0;
    ASSERT_EQ(quarry_core_region_add(pool, 8, QUARRY_CORE_LOWMEM, &second, &at), QUARRY_OK);
    reap(client);
    client = nullptr;
    quarry_core_pool_destroy(pool, [](void* os, void* gone) {
        static_cast<std::vector<void*>*>(os)->push_back(gone);
    });
    pool = nullptr;
    const auto& forgotten = *static_cast<std::vector<void*>*>(config.os_pool);
    EXPECT_EQ(forgotten, (std::vector<void*>{&cookie, &second}));
}

TEST_F(Seam, RefusedMetadataAtAnyEntryIsNoMemoryAndLeavesNothing) {
    // Each metadata allocation of the whole life is refused in turn, once.
    const quarry_core_pool_config config = heap_config();
    bool whole = false;
    for (uint64_t n = 1; !whole; ++n) {
        ASSERT_LT(n, 100u);
        quarry_core_pool* p = nullptr;
        quarry_core_client* c = nullptr;
        uint64_t at = 0, object = 0, pages = 0;
        uint32_t done = 0;
        P::refuse_allocation(n);
        int e = quarry_core_pool_create(&config, &p);
        if (e == QUARRY_OK) e = quarry_core_region_add(p, 64, QUARRY_CORE_NORMAL, nullptr, &at);
        if (e == QUARRY_OK) e = quarry_core_client_create(p, 1, 0, &c);
        if (e == QUARRY_OK)
            e = quarry_core_alloc(c, 64, 8, 1, QUARRY_CORE_ANYWHERE, &object, &done, &pages,
                                  QUARRY_MAY_SLEEP, 0);
        whole = P::refusals() == 0;
        EXPECT_EQ(e, whole ? QUARRY_OK : QUARRY_E_NO_MEMORY) << n;
        P::refuse_allocation(0);
        if (c) {
            EXPECT_EQ(reap(c), whole ? 1u : 0u);
        }
        if (p) quarry_core_pool_destroy(p, nullptr);
        P::settle();
        EXPECT_EQ(P::meta_blocks(), 0u) << n;
    }
}

TEST_F(Seam, MagazinesAreOpenedOnceFilledFlushedAndDrained) {
    make(heap_config(), 64);
    quarry::HostBlocks blocks;
    quarry_core_drained drained{};
    quarry_core_flushed flushed{};
    quarry_core_refusal why{};
    uint64_t object = 0, pages = 0;
    uint32_t filled = 9;
    // Without magazines the calls serve the one object.
    quarry_core_magazines_prepare(client);
    quarry_core_magazines_bring(client, 0);
    EXPECT_EQ(quarry_core_refill(client, 7, &object, &filled, &pages, 0), QUARRY_OK);
    EXPECT_EQ(filled, 0u);
    EXPECT_EQ(quarry_core_flush(client, 7, &object, &flushed, &why), QUARRY_OK);
    EXPECT_EQ(quarry_core_flush(client, 7, &object, &flushed, &why), QUARRY_E_ALREADY_FREE);
    EXPECT_EQ(why.offset, object);
    quarry_core_magazines_drain(client, 1, &drained);
    EXPECT_EQ(drained.slots, 0u);

    EXPECT_EQ(quarry_core_magazines_open(client, &blocks), QUARRY_OK);
    EXPECT_EQ(quarry_core_magazines_open(client, &blocks), QUARRY_E_INITIALISED);
    quarry_core_magazines_bring(client, P::kCpus);
    quarry_core_magazines_bring(client, P::cpu());
    EXPECT_EQ(blocks.given[P::cpu()], 1u);
    EXPECT_EQ(quarry_core_refill(client, 48, &object, &filled, &pages, 0), QUARRY_E_INVALID);
    EXPECT_EQ(quarry_core_flush(client, 48, nullptr, &flushed, &why), QUARRY_E_INVALID);
    EXPECT_EQ(quarry_core_refill(client, 7, &object, &filled, &pages, 0), QUARRY_OK);
    EXPECT_EQ(filled, 31u);
    EXPECT_EQ(stat().objects, 32u);
    auto& top = blocks.word(P::cpu(), 7 * 16);
    const uint32_t first = top - 31;
    top = first + 63;
    EXPECT_EQ(quarry_core_flush(client, 7, nullptr, &flushed, &why), QUARRY_OK);
    EXPECT_EQ(flushed.drained, 31u);
    EXPECT_EQ(flushed.bad, 0u);
    EXPECT_EQ(quarry_core_flush(client, 7, &object, &flushed, &why), QUARRY_OK);
    EXPECT_EQ(stat().objects, 0u);
    top = first + 33;  // one that was freed
    EXPECT_EQ(quarry_core_flush(client, 7, nullptr, &flushed, &why), QUARRY_OK);
    EXPECT_EQ(flushed.drained, 1u);
    EXPECT_EQ(flushed.bad, 1u);
    EXPECT_EQ(flushed.bad_error, QUARRY_E_ALREADY_FREE);
    EXPECT_EQ(blocks.take_refused().size(), 1u);
    top = first;
    EXPECT_EQ(quarry_core_refill(client, 7, &object, &filled, &pages, 0), QUARRY_OK);
    quarry_core_magazines_drain_all(pool, 1, &drained);
    EXPECT_EQ(drained.slots, 31u);
    EXPECT_EQ(drained.magazines, 1u);
    EXPECT_EQ(drained.unreachable, 0u);
    EXPECT_EQ(reap(client), 1u);
    client = nullptr;
    P::settle();
}

TEST_F(Seam, ARegionIsPlacedWhereItIsAddedThen) {
    make(heap_config(), 64);
    for (uint64_t pages : {1, 5, 64, 256}) {
        uint64_t place = ~uint64_t{0}, added = 0;
        ASSERT_EQ(quarry_core_region_place(pool, pages, &place), QUARRY_OK);
        ASSERT_EQ(quarry_core_region_add(pool, pages, QUARRY_CORE_NORMAL, &cookie, &added),
                  QUARRY_OK);
        EXPECT_EQ(place, added);
    }
    uint64_t place = 0;
    EXPECT_EQ(quarry_core_region_place(pool, 1024, &place), QUARRY_E_POOL_FULL);
}

TEST(SeamHeap, TheFastHalvesServeFromThisCpusMagazineAndRefuseWhatNeedsTheWholeCall) {
    quarry_core_heap* heap = nullptr;
    ASSERT_EQ(quarry_core_heap_create(256, nullptr, 0, &heap), QUARRY_OK);
    uint64_t offset = 0;
    EXPECT_EQ(quarry_core_heap_alloc(heap, 64, 8, QUARRY_CORE_NORMAL, &offset, QUARRY_MAY_SLEEP),
              QUARRY_E_UNINITIALISED);
    ASSERT_EQ(quarry_core_heap_add_region(heap, 0, 256, QUARRY_CORE_NORMAL), QUARRY_OK);
    {
        const unsigned cpu = quarry_os_pin();
        EXPECT_EQ(quarry_core_heap_try_alloc(heap, cpu, 64), QUARRY_NO_OBJECT);
        quarry_os_unpin();
    }
    ASSERT_EQ(quarry_core_heap_alloc(heap, 64, 8, QUARRY_CORE_NORMAL, &offset, QUARRY_MAY_SLEEP),
              QUARRY_OK);
    EXPECT_EQ(quarry_core_heap_usable(heap, offset), 64u);
    const unsigned cpu = quarry_os_pin();
    EXPECT_TRUE(quarry_core_heap_try_free(heap, cpu, offset));
    EXPECT_FALSE(quarry_core_heap_try_free(heap, cpu, offset));
    const uint64_t again = quarry_core_heap_try_alloc(heap, cpu, 64);
    quarry_os_unpin();
    EXPECT_EQ(again, offset);
    EXPECT_EQ(quarry_core_heap_free_sized(heap, offset, 600), QUARRY_E_WRONG_SIZE);
    EXPECT_EQ(quarry_core_heap_free(heap, offset + 8), QUARRY_E_NOT_OBJECT);
    EXPECT_EQ(quarry_core_heap_free(heap, offset), QUARRY_OK);
    EXPECT_EQ(quarry_core_heap_free(heap, offset), QUARRY_E_ALREADY_FREE);
    EXPECT_EQ(quarry_core_heap_usable(heap, offset), 0u);
    quarry_core_heap_drain(heap);
    quarry_core_stat stat{};
    quarry_core_heap_stat(heap, &stat);
    EXPECT_EQ(stat.objects, 0u);
    EXPECT_EQ(stat.free_bytes, 256u * 4096);
    quarry_core_audit audit{};
    quarry_core_heap_verify(heap, 1, &audit);
    EXPECT_EQ(audit.faults, 0u) << audit.first;
    EXPECT_EQ(quarry_core_heap_remove_region(heap, 1), QUARRY_E_NOT_FOUND);
    EXPECT_EQ(quarry_core_heap_remove_region(heap, 0), QUARRY_OK);
    quarry_core_heap_destroy(heap);
}

TEST(SeamHeap, TheFastCallsGiveAddressesAndHandOnWhatTheyCannotDo) {
    constexpr uint64_t kBase = 0x10000000;
    alignas(8) static char os[8];
    const auto number = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
    quarry_core_heap* heap = nullptr;
    ASSERT_EQ(quarry_core_heap_create(256, os, kBase, &heap), QUARRY_OK);
    ASSERT_EQ(quarry_core_heap_add_region(heap, 0, 128, QUARRY_CORE_NORMAL), QUARRY_OK);
    ASSERT_EQ(quarry_core_heap_add_region(heap, 200, 20, QUARRY_CORE_NORMAL), QUARRY_OK);
    const uint64_t place = quarry_core_heap_place(64);
    const unsigned cpu = quarry_os_pin();
    // Nothing is cached: the hook's answer is the call's, with what it was given.
    EXPECT_EQ(number(quarry_core_heap_fast_take(heap, 7, place, cpu, 3)), number(os) + 7003);
    EXPECT_EQ(number(quarry_core_heap_fast_alloc(heap, 64, 7, cpu, 3)), number(os) + 64007003);
    EXPECT_EQ(number(quarry_core_heap_fast_alloc(heap, 5000, 7, cpu, 3)), number(os) + 5000007003);
    quarry_os_unpin();
    // More than an array holds, so that both arrays serve; and in the second region, too.
    std::vector<uint64_t> all(6000);
    uint32_t done = 0;
    (void)quarry_core_heap_alloc_bulk(heap, 64, 0, 6000, all.data(), &done, QUARRY_MAY_SLEEP);
    ASSERT_EQ(done, 6000u);
    (void)quarry_os_pin();
    std::set<const void*> given;
    const auto free_number = [&](uint64_t offset) {
        return static_cast<int>(number(os) + offset + 3);
    };
    uint32_t freed = 0;
    for (; freed < 6000; ++freed) {
        const void* object = reinterpret_cast<void*>(kBase + all[freed]);
        const int answer = quarry_core_heap_fast_free(heap, object, cpu, 3);
        if (answer) {  // both arrays are full
            EXPECT_EQ(answer, free_number(all[freed]));
            break;
        }
        EXPECT_EQ(quarry_core_heap_fast_free(heap, object, cpu, 3), free_number(all[freed]));
        given.insert(object);
    }
    EXPECT_GT(freed, 255u);
    const uint64_t far = *std::max_element(all.begin(), all.end());
    EXPECT_GE(far, 200u * 4096);
    EXPECT_EQ(quarry_core_heap_fast_free(heap, reinterpret_cast<void*>(kBase + far + 8), cpu, 3),
              free_number(far + 8));
    EXPECT_EQ(quarry_core_heap_fast_free(heap, nullptr, cpu, 3), free_number(0 - kBase));
    for (uint32_t i = 0; i < freed; ++i)
        EXPECT_EQ(given.erase(i % 2 ? quarry_core_heap_fast_take(heap, 7, place, cpu, 3)
                                    : quarry_core_heap_fast_alloc(heap, 57, 7, cpu, 3)),
                  1u);
    // The loaded array is empty; a free in the other region finds room in it.
    EXPECT_EQ(quarry_core_heap_fast_free(heap, reinterpret_cast<void*>(kBase + far), cpu, 3), 0);
    EXPECT_EQ(number(quarry_core_heap_fast_take(heap, 7, place, cpu, 3)), kBase + far);
    quarry_os_unpin();
    for (const uint64_t offset : all) EXPECT_EQ(quarry_core_heap_free(heap, offset), QUARRY_OK);
    quarry_core_heap_drain(heap);
    quarry_core_heap_destroy(heap);
}

TEST(SeamHeap, BlocksComeAndGoByTheFastHalvesAndEveryWrongFreeIsTheWholeCalls) {
    quarry_core_heap* heap = nullptr;
    ASSERT_EQ(quarry_core_heap_create(256, nullptr, 0, &heap), QUARRY_OK);
    ASSERT_EQ(quarry_core_heap_add_region(heap, 0, 256, QUARRY_CORE_NORMAL), QUARRY_OK);
    for (unsigned order = 0; order <= 5; ++order) {
        const bool cached = order <= 3;
        uint64_t block = 0;
        ASSERT_EQ(quarry_core_heap_alloc_pages(heap, 1u << order, order, QUARRY_CORE_NORMAL, &block,
                                               QUARRY_MAY_SLEEP),
                  QUARRY_OK);
        const unsigned cpu = quarry_os_pin();
        EXPECT_FALSE(quarry_core_heap_try_free_pages(heap, cpu, block + 8, order));
        EXPECT_FALSE(quarry_core_heap_try_free_pages(heap, cpu, block, order + 1));
        EXPECT_FALSE(quarry_core_heap_try_free_pages(heap, cpu, block, 256));
        EXPECT_EQ(quarry_core_heap_try_free_pages(heap, cpu, block, order), cached);
        EXPECT_FALSE(quarry_core_heap_try_free_pages(heap, cpu, block, order));
        const uint64_t again = quarry_core_heap_try_pages(heap, cpu, order);
        EXPECT_EQ(again, cached ? block : QUARRY_NO_OBJECT);
        EXPECT_EQ(quarry_core_heap_try_pages(heap, cpu, 256), QUARRY_NO_OBJECT);
        quarry_os_unpin();
        EXPECT_EQ(quarry_core_heap_free_block(heap, block + 8, order), QUARRY_E_MISALIGNED);
        EXPECT_EQ(quarry_core_heap_free_block(heap, block, order + 1), QUARRY_E_WRONG_SIZE);
        EXPECT_EQ(quarry_core_heap_free_block(heap, block, 256), QUARRY_E_WRONG_SIZE);
        const unsigned smaller = order ? order - 1 : 7;
        EXPECT_EQ(quarry_core_heap_free_block(heap, block, smaller), QUARRY_E_WRONG_SIZE);
        EXPECT_EQ(quarry_core_heap_free_block(heap, block, order), QUARRY_OK);
        EXPECT_EQ(quarry_core_heap_free_block(heap, block, order), QUARRY_E_ALREADY_FREE);
    }
    quarry_core_audit audit{};
    quarry_core_heap_verify(heap, 1, &audit);
    EXPECT_EQ(audit.faults, 0u) << audit.first;
    EXPECT_EQ(quarry_core_heap_remove_region(heap, 0), QUARRY_OK);
    quarry_core_heap_destroy(heap);
}

TEST(SeamRange, RangesFitAreRefusedByTheirErrorsAndAuditedInSteps) {
    quarry_core_pool_config config{};
    config.kind = QUARRY_CORE_RANGE;
    config.capacity = 1 << 20;
    config.granule = 256;
    config.max_ranges = 1000;
    config.aligns[0] = 4096;
    quarry_core_range* range = nullptr;
    config.max_ranges = QUARRY_CORE_MAX_RANGES + 1;
    EXPECT_EQ(quarry_core_range_create(&config, &range), QUARRY_E_TOO_LARGE);
    config.max_ranges = 0;
    EXPECT_EQ(quarry_core_range_create(&config, &range), QUARRY_E_INVALID);
    config.max_ranges = 1000;
    ASSERT_EQ(quarry_core_range_create(&config, &range), QUARRY_OK);
    uint64_t offsets[1000], live = 0;
    for (unsigned i = 0; i < 1000; ++i)
        ASSERT_EQ(quarry_core_range_alloc(range, 1 + i, 1, &offsets[i]), QUARRY_OK);
    uint64_t more = 0;
    EXPECT_EQ(quarry_core_range_alloc(range, 1, 1, &more), QUARRY_E_OUT_OF_NODES);
    EXPECT_EQ(quarry_core_range_free(range, offsets[999]), QUARRY_OK);
    EXPECT_EQ(quarry_core_range_free(range, offsets[999]), QUARRY_E_ALREADY_FREE);
    EXPECT_EQ(quarry_core_range_free(range, offsets[998] + 256), QUARRY_E_NOT_OBJECT);
    EXPECT_EQ(quarry_core_range_free(range, 1), QUARRY_E_MISALIGNED);
    EXPECT_EQ(quarry_core_range_free(range, 1 << 20), QUARRY_E_OUT_OF_RANGE);
    EXPECT_EQ(quarry_core_range_alloc(range, 0, 1, &more), QUARRY_E_INVALID);
    EXPECT_EQ(quarry_core_range_alloc(range, 8, 3, &more), QUARRY_E_INVALID);
    EXPECT_EQ(quarry_core_range_alloc(range, (1 << 20) + 1, 1, &more), QUARRY_E_TOO_LARGE);
    EXPECT_EQ(quarry_core_range_alloc(range, 1 << 20, 1, &more), QUARRY_E_POOL_FULL);
    ASSERT_EQ(quarry_core_range_alloc(range, 5000, 4096, &offsets[999]), QUARRY_OK);
    EXPECT_EQ(offsets[999] % 4096, 0u);
    EXPECT_EQ(quarry_core_range_resize(range, offsets[999], 0), QUARRY_E_INVALID);
    EXPECT_EQ(quarry_core_range_resize(range, offsets[999], 1 << 20), QUARRY_E_CANNOT_GROW);
    EXPECT_EQ(quarry_core_range_resize(range, offsets[999], 100), QUARRY_OK);
    EXPECT_GT(quarry_core_range_used(range, &live), 1000u * 256);
    EXPECT_EQ(live, 1000u);
    // Alone the audit goes to its end; a change between two steps ends it.
    const auto audit = [&](bool change) {
        auto* steps = quarry_core_range_audit_begin(range);
        unsigned n = 0;
        while (quarry_core_range_audit_step(steps)) {
            if (++n == 3 && change) {
                EXPECT_EQ(quarry_core_range_free(range, offsets[7]), QUARRY_OK);
                EXPECT_EQ(quarry_core_range_alloc(range, 8, 1, &offsets[7]), QUARRY_OK);
            }
        }
        quarry_core_audit result{};
        quarry_core_range_audit_end(steps, &result);
        EXPECT_EQ(result.faults, 0u) << result.first;
        return n;
    };
    EXPECT_GT(audit(false), 30u);
    EXPECT_EQ(audit(true), 3u);
    for (const uint64_t offset : offsets)
        EXPECT_EQ(quarry_core_range_free(range, offset), QUARRY_OK);
    EXPECT_EQ(quarry_core_range_used(range, &live), 0u);
    EXPECT_EQ(live, 0u);
    quarry_core_range_destroy(range);
}

TEST(SeamClasses, TheListOfSizesAscendsFrom8To2048) {
    const uint32_t* sizes = nullptr;
    const uint32_t count = quarry_core_size_classes(&sizes);
    ASSERT_EQ(count, 48u);
    EXPECT_EQ(sizes[0], 8u);
    EXPECT_EQ(sizes[count - 1], 2048u);
    for (uint32_t i = 1; i < count; ++i) EXPECT_LT(sizes[i - 1], sizes[i]);
}

// What FREE and TRANSFER fall back on: part of the image, so it is there without an init.
TEST(SeamBatches, AllAreHadFromTheStartOnceAndEveryWrongGiveIsAnError) {
    const auto verify = [](uint64_t live) {
        quarry_core_audit audit{};
        quarry_core_batches_verify(&audit);
        EXPECT_EQ(audit.faults, 0u) << audit.first;
        EXPECT_EQ(audit.objects, live);
        EXPECT_EQ(quarry_core_batches_left(), QUARRY_CORE_BATCHES - live);
    };
    verify(0);
    std::vector<uint64_t*> batches;
    while (uint64_t* batch = quarry_core_batch_take()) {
        for (unsigned i = 0; i < QUARRY_CORE_BATCH_LEN; ++i) batch[i] = batches.size();
        batches.push_back(batch);
    }
    ASSERT_EQ(batches.size(), unsigned{QUARRY_CORE_BATCHES});
    verify(QUARRY_CORE_BATCHES);
    for (std::size_t n = 0; n < batches.size(); ++n) {
        for (unsigned i = 0; i < QUARRY_CORE_BATCH_LEN; ++i) ASSERT_EQ(batches[n][i], n);
        EXPECT_EQ(quarry_core_batch_give(batches[n] + 1), QUARRY_E_MISALIGNED);
    }
    uint64_t elsewhere = 0;
    EXPECT_EQ(quarry_core_batch_give(nullptr), QUARRY_E_INVALID);
    EXPECT_EQ(quarry_core_batch_give(&elsewhere), QUARRY_E_OUT_OF_RANGE);
    verify(QUARRY_CORE_BATCHES);
    for (uint64_t* batch : batches) {
        EXPECT_EQ(quarry_core_batch_give(batch), QUARRY_OK);
        EXPECT_EQ(quarry_core_batch_give(batch), QUARRY_E_ALREADY_FREE);
    }
    verify(0);
}

}  // namespace
