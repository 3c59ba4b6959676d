// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for heaps of drivers: quarry_core_heap_*. Nothing is decided here:
// C types to the core's and back.
#include "../cache/heap_audit.hpp"
#include "../platform/kernel.hpp"

using namespace quarry;

namespace {

using KHeap = Heap<KernelPlatform>;

// The handle is the front's address: the fast halves begin there.
using Front = HeapFront<KernelPlatform>;
Front& front(quarry_core_heap* heap) { return *reinterpret_cast<Front*>(heap); }
using KPages = PageCache<KernelPlatform>;

// One too large stays so.
Order order_of(unsigned order) { return Order{static_cast<u8>(order < kOrders ? order : kOrders)}; }
KHeap& of(quarry_core_heap* heap) { return *static_cast<KHeap*>(front(heap).owner()); }

// ---- the tails of the fast calls: arguments stand where those have them ----

[[gnu::noinline]] void* take_spare(Front& f, unsigned flags, u64 place, CpuCache& cache,
                                   unsigned long caller) {
    const Offset offset = f.pop_spare(cache, place);
    if (offset != kNoObject) return f.address(offset);
    return quarry_os_heap_take(f.os(), flags, caller);
}
[[gnu::noinline]] void* alloc_spare(Front& f, u64 size, unsigned flags, CpuCache& cache,
                                    unsigned long caller) {
    const Offset offset = f.pop_spare(cache, Front::place_for(size));
    if (offset != kNoObject) return f.address(offset);
    return quarry_os_heap_alloc(f.os(), size, flags, caller);
}
[[gnu::noinline]] int free_spare(Front& f, Offset offset, CpuCache& cache, LiveByte& live,
                                 u64 place, unsigned long caller) {
    if (f.push_spare(cache, offset, live, place)) return 0;
    return quarry_os_heap_free(f.os(), offset, caller);
}
[[gnu::always_inline]] inline int free_in(Front& f, Offset offset, CpuCache& cache, u64 index,
                                          const PageWords& words, unsigned long caller) {
    return f.give<false>(
        cache, index, offset, words, 0, [](u32) { return 0; },
        [&](LiveByte& live, u64 place) {
            return free_spare(f, offset, cache, live, place, caller);
        },
        [&] { return quarry_os_heap_free(f.os(), offset, caller); });
}
[[gnu::noinline]] int free_elsewhere(Front& f, Offset offset, CpuCache& cache,
                                     unsigned long caller) {
    const u64 page = offset / kPageBytes;
    const Region* region = f.region_elsewhere(PageNumber{page});
    if (!region) return quarry_os_heap_free(f.os(), offset, caller);
    return free_in(f, offset, cache, page - region->first, *region->words, caller);
}

}  // namespace

// Not to be traced, which would cost each of them an instruction.
#define QUARRY_FAST [[gnu::no_instrument_function]]

extern "C" {

int quarry_core_heap_create(uint64_t max_pages, void* os_pool, uint64_t base,
                            quarry_core_heap** heap) {
    auto* made = make_meta<KHeap, KernelPlatform>(Context::may_sleep, max_pages, os_pool);
    if (!made) return to_seam(Error::no_memory);
    if (const Error e = made->init(); !ok(e)) {
        free_meta<KernelPlatform>(made);
        return to_seam(e);
    }
    made->front().set_addresses(base, os_pool);
    *heap = reinterpret_cast<quarry_core_heap*>(&made->front());
    return QUARRY_OK;
}

void quarry_core_heap_destroy(quarry_core_heap* heap) { free_meta<KernelPlatform>(&of(heap)); }

int quarry_core_heap_add_region(quarry_core_heap* heap, uint64_t first_page, uint64_t pages,
                                quarry_core_zone zone) {
    return to_seam(
        of(heap).add_region(PageNumber{first_page}, pages, static_cast<Zone>(zone)).error());
}

int quarry_core_heap_remove_region(quarry_core_heap* heap, uint64_t first_page) {
    return to_seam(of(heap).remove_region(PageNumber{first_page}));
}

int quarry_core_heap_remove_idle(quarry_core_heap* heap, uint64_t first_page) {
    return to_seam(of(heap).remove_idle_region(PageNumber{first_page}));
}

uint64_t quarry_core_heap_free_in(quarry_core_heap* heap, uint64_t first_page) {
    return of(heap).buddy().free_in(PageNumber{first_page});
}

int quarry_core_heap_alloc(quarry_core_heap* heap, uint64_t size, uint64_t align,
                           quarry_core_zone zone, uint64_t* offset, quarry_context context) {
    const auto object =
        of(heap).alloc(size, align, static_cast<Context>(context), static_cast<Zone>(zone));
    if (!object) return to_seam(object.error());
    *offset = *object;
    return QUARRY_OK;
}

int quarry_core_heap_free(quarry_core_heap* heap, uint64_t offset) {
    return to_seam(of(heap).free(offset));
}

int quarry_core_heap_free_sized(quarry_core_heap* heap, uint64_t offset, uint64_t size) {
    return to_seam(of(heap).free_sized(offset, size));
}

QUARRY_FAST uint64_t quarry_core_heap_try_alloc(quarry_core_heap* heap, unsigned long cpu, uint64_t size) {
    return front(heap).try_alloc(cpu, size);
}

uint64_t quarry_core_heap_place(uint64_t size) { return Front::place_for(size); }

QUARRY_FAST void* quarry_core_heap_fast_take(quarry_core_heap* heap, unsigned flags, uint64_t place,
                                             unsigned cpu, unsigned long caller) {
    Front& f = front(heap);
    return f.take(
        cpu, place, [&](Offset offset) { return f.address(offset); },
        [&](CpuCache& cache) { return take_spare(f, flags, place, cache, caller); },
        [&] { return quarry_os_heap_take(f.os(), flags, caller); });
}

QUARRY_FAST void* quarry_core_heap_fast_alloc(quarry_core_heap* heap, uint64_t size, unsigned flags,
                                              unsigned cpu, unsigned long caller) {
    Front& f = front(heap);
    if (size > kMaxSlot) [[unlikely]]
        return quarry_os_heap_alloc(f.os(), size, flags, caller);
    return f.take(
        cpu, Front::place_for(size), [&](Offset offset) { return f.address(offset); },
        [&](CpuCache& cache) { return alloc_spare(f, size, flags, cache, caller); },
        [&] { return quarry_os_heap_alloc(f.os(), size, flags, caller); });
}

QUARRY_FAST int quarry_core_heap_fast_free(quarry_core_heap* heap, const void* object, unsigned cpu,
                                           unsigned long caller) {
    Front& f = front(heap);
    const Offset offset = f.offset_of(object);
    CpuCache& cache = settled(f.cache(cpu));
    const PageWords& words = f.home();
    const u64 index = offset / kPageBytes - words.bounds().first;
    if (index >= words.bounds().pages) [[unlikely]]
        return free_elsewhere(f, offset, cache, caller);
    return free_in(f, offset, cache, index, words, caller);
}

QUARRY_FAST int quarry_core_heap_try_free(quarry_core_heap* heap, unsigned long cpu, uint64_t offset) {
    return static_cast<int>(front(heap).try_free(cpu, offset, front(heap).home()));
}

uint64_t quarry_core_heap_slot_bytes(uint64_t size, uint64_t align) {
    if (size == 0 || !is_power_of_two(align) || size > kMaxSlot || align > kMaxSlot) return 0;
    return kSizeClasses[class_of(size, align)].slot_bytes;
}

int quarry_core_heap_alloc_bulk(quarry_core_heap* heap, uint64_t size, uint64_t base,
                                uint32_t count, uint64_t* objects, uint32_t* done,
                                quarry_context context) {
    const auto granted = of(heap).alloc_bulk(size, kGrain, count, objects,
                                             static_cast<Context>(context), Zone::normal, base);
    *done = granted.done;
    return to_seam(granted.why);
}

int quarry_core_heap_free_bulk(quarry_core_heap* heap, uint64_t base, uint32_t count,
                               const uint64_t* objects, uint32_t* done) {
    const auto freed = of(heap).free_bulk(objects, count, base);
    *done = freed.done;
    return to_seam(freed.why);
}

int quarry_core_heap_free_remote(quarry_core_heap* heap, uint64_t offset) {
    return to_seam(of(heap).free_remote(offset));
}

int quarry_core_heap_resize(quarry_core_heap* heap, uint64_t offset, uint64_t size) {
    return to_seam(of(heap).resize_in_place(offset, size));
}

int quarry_core_heap_alloc_pages(quarry_core_heap* heap, uint64_t pages, unsigned align,
                                 quarry_core_zone zone, uint64_t* offset,
                                 quarry_context context) {
    if (pages == 0 || align > value(kMaxOrder)) return QUARRY_E_INVALID;
    const auto run = of(heap).alloc_pages_exact(pages, static_cast<Zone>(zone),
                                                static_cast<Context>(context),
                                                Order{static_cast<u8>(align)});
    if (!run) return to_seam(run.error());
    *offset = *run;
    return QUARRY_OK;
}

int quarry_core_heap_free_pages(quarry_core_heap* heap, uint64_t offset, uint64_t pages) {
    return to_seam(of(heap).free_pages_exact(offset, pages));
}

int quarry_core_heap_free_block(quarry_core_heap* heap, uint64_t offset, unsigned order) {
    return to_seam(of(heap).free_pages(offset, order_of(order)));
}

QUARRY_FAST uint64_t quarry_core_heap_try_pages(quarry_core_heap* heap, unsigned long cpu, unsigned order) {
    const PageNumber page = of(heap).pages().try_alloc(cpu, order_of(order));
    return page == KPages::kNoPage ? QUARRY_NO_OBJECT : value(page) * kPageBytes;
}

QUARRY_FAST int quarry_core_heap_try_free_pages(quarry_core_heap* heap, unsigned long cpu, uint64_t offset,
                                    unsigned order) {
    return offset % kPageBytes == 0 &&
           of(heap).pages().try_free(cpu, PageNumber{offset / kPageBytes}, order_of(order));
}

uint64_t quarry_core_heap_usable(const quarry_core_heap* heap, uint64_t offset) {
    return of(const_cast<quarry_core_heap*>(heap)).usable_size(offset);
}

void quarry_core_heap_drain(quarry_core_heap* heap) { of(heap).drain(); }

void quarry_core_heap_stat(quarry_core_heap* heap, quarry_core_stat* stat) {
    KHeap& h = of(heap);
    const auto s = h.stat();
    *stat = {};
    stat->max_bytes = h.buddy().max_pages() * kPageBytes;
    stat->bytes = s.bytes;
    stat->free_bytes = s.free_bytes;
    stat->used_bytes = s.used_bytes;
    stat->objects = s.objects;
    stat->meta_bytes = s.meta_bytes;
    stat->regions = static_cast<uint32_t>(s.regions);
    stat->slabs = static_cast<uint32_t>(s.slabs);
    stat->classes = kClasses;
}

void quarry_core_heap_verify(quarry_core_heap* heap, int quiet, quarry_core_audit* out) {
    Audit audit;
    // Too large for a kernel's stack.
    using Auditor = HeapAudit<KernelPlatform>;
    if (auto* auditor = make_meta<Auditor, KernelPlatform>(Context::may_sleep, of(heap), audit)) {
        auditor->run(quiet != 0);
        free_meta<KernelPlatform>(auditor);
    } else {
        audit.fault("no memory for the audit", 0);
    }
    *out = audit.result();
}

}  // extern "C"
