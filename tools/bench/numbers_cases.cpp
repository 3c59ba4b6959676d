// SPDX-License-Identifier: MIT
//
// What the core's records and its size classes cost in memory, as fractions. Everything is
// counted on real pools that are filled to the last object: the metadata by the hook that
// hands it out, over the bytes of the region.
//
//   metadata-client-SIZE  a client pool of that class alone, 15 owners in turn
//   metadata-cache-SIZE   a driver's heap of that class alone; magazines and depots, which
//                         grow with the CPUs and not with the memory, are left out
//   metadata-pages        a buddy and its region
//   waste                 of 65..2048 bytes at alignment 8: the worst slot's part that its
//                         owner did not ask for
//   tail                  the worst class's part of a region that no slot covers
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "../../module/core/cache/heap.hpp"
#include "case.hpp"
#include "host_inline.hpp"

namespace {

using bench::die;
using bench::meta_bytes;
using P = bench::InlinePlatform;
using quarry::kClasses;
using quarry::kSizeClasses;
using quarry::PageNumber;
using quarry::Zone;
using Heap = quarry::Heap<P>;

constexpr uint64_t kBytes = uint64_t{64} << 20;
constexpr uint64_t kPages = kBytes / 4096;

double per_byte(uint64_t bytes) { return static_cast<double>(bytes) / kBytes; }

double of_clients(uint32_t size) {
    constexpr uint32_t kOwners = 15;
    const uint64_t before = meta_bytes();
    quarry_core_pool_config config{};
    config.kind = QUARRY_CORE_HEAP;
    config.max_clients = kOwners;
    config.max_pages = kPages;
    quarry_core_pool* pool;
    uint64_t offset, pages, objects, bytes;
    if (quarry_core_pool_create(&config, &pool)) die("no pool");
    if (quarry_core_region_add(pool, kPages, QUARRY_CORE_NORMAL, nullptr, &offset))
        die("no region");
    std::array<quarry_core_client*, kOwners> clients;
    for (uint32_t i = 0; i < kOwners; ++i)
        if (quarry_core_client_create(pool, i + 1, 0, &clients[i])) die("no client");
    uint32_t done = 1;
    int why = 0;
    for (uint32_t turn = 0; done; turn = (turn + 1) % kOwners)
        why = quarry_core_alloc(clients[turn], size, 8, 1, QUARRY_CORE_ANYWHERE, &offset, &done,
                                &pages, QUARRY_MAY_SLEEP, 0);
    if (why != QUARRY_E_POOL_FULL) die("the pool was not filled");
    const double share = per_byte(meta_bytes() - before);
    for (auto* client : clients) {
        quarry_core_client_reap(client, &objects, &bytes);
        quarry_core_client_destroy(client);
    }
    quarry_core_pool_destroy(pool, [](void*, void*) {});
    return share;
}

// A heap of `pages`, filled with objects of one size; answers how many it took.
uint64_t filled(Heap& heap, uint64_t pages, uint32_t size) {
    if (!quarry::ok(heap.init())) die("no heap");
    if (!heap.add_region(PageNumber{0}, pages, Zone::normal)) die("no region");
    uint64_t objects = 0;
    for (;;) {
        const auto object = heap.alloc(size);
        if (object) ++objects;
        else if (object.error() == quarry::Error::pool_full) return objects;
        else die("the heap was not filled");
    }
}

double of_cache(uint32_t size) {
    const uint64_t before = meta_bytes();
    auto heap = std::make_unique<Heap>(kPages, nullptr);
    filled(*heap, kPages, size);
    const uint64_t magazines = heap->caches().meta_bytes() + heap->pages().meta_bytes();
    return per_byte(meta_bytes() - before - magazines + sizeof(Heap));
}

double of_pages() {
    const uint64_t before = meta_bytes();
    auto buddy = std::make_unique<quarry::Buddy<P>>(kPages);
    if (!buddy->add_region(PageNumber{0}, kPages, Zone::normal, nullptr)) die("no region");
    return per_byte(meta_bytes() - before + sizeof(*buddy));
}

double waste() {
    auto heap = std::make_unique<Heap>(1024, nullptr);
    if (!quarry::ok(heap->init())) die("no heap");
    if (!heap->add_region(PageNumber{0}, 1024, Zone::normal)) die("no region");
    double worst = 0;
    for (uint64_t size = 65; size <= quarry::kMaxSlot; ++size) {
        const auto object = heap->alloc(size, 8);
        if (!object) die("an allocation failed");
        const auto usable = static_cast<double>(heap->usable_size(*object));
        worst = std::max(worst, (usable - static_cast<double>(size)) / usable);
        if (!quarry::ok(heap->free(*object))) die("a free failed");
    }
    return worst;
}

double tail() {
    constexpr uint64_t kSome = 256;  // a multiple of every slab
    double worst = 0;
    for (const auto& size_class : kSizeClasses) {
        auto heap = std::make_unique<Heap>(kSome, nullptr);
        const uint64_t covered = filled(*heap, kSome, size_class.slot_bytes) * size_class.slot_bytes;
        worst = std::max(worst, 1 - static_cast<double>(covered) / (kSome * 4096));
    }
    return worst;
}

template <uint32_t C>
double client_class() { return of_clients(kSizeClasses[C].slot_bytes); }
template <uint32_t C>
double cache_class() { return of_cache(kSizeClasses[C].slot_bytes); }

const char* name_of(const char* stem, uint32_t c) {
    static std::array<std::string, 2 * kClasses> names;
    static uint32_t used = 0;
    std::string& name = names[used++];
    name = stem + std::to_string(kSizeClasses[c].slot_bytes);
    return name.c_str();
}
template <uint32_t... C>
void add_classes(std::integer_sequence<uint32_t, C...>) {
    (bench::cases().push_back({name_of("metadata-client-", C), client_class<C>}), ...);
    (bench::cases().push_back({name_of("metadata-cache-", C), cache_class<C>}), ...);
}

const bench::Cases numbers_cases = [] {
    add_classes(std::make_integer_sequence<uint32_t, kClasses>{});
    return bench::Cases{
        {"metadata-pages", of_pages},
        {"waste", waste},
        {"tail", tail},
    };
}();

}  // namespace
