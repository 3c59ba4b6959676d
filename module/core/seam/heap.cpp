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
HeapFront<KernelPlatform>& front(quarry_core_heap* heap) {
    return *reinterpret_cast<HeapFront<KernelPlatform>*>(heap);
}
KHeap& of(quarry_core_heap* heap) { return *static_cast<KHeap*>(front(heap).owner()); }

}  // namespace

extern "C" {

int quarry_core_heap_create(uint64_t max_pages, void* os_pool, quarry_core_heap** heap) {
    auto* made = make_meta<KHeap, KernelPlatform>(Context::may_sleep, max_pages, os_pool);
    if (!made) return to_seam(Error::no_memory);
    if (const Error e = made->init(); !ok(e)) {
        free_meta<KernelPlatform>(made);
        return to_seam(e);
    }
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

int quarry_core_heap_alloc(quarry_core_heap* heap, uint64_t size, uint64_t align,
                           uint64_t* offset, quarry_context context) {
    const auto object = of(heap).alloc(size, align, static_cast<Context>(context));
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

uint64_t quarry_core_heap_try_alloc(quarry_core_heap* heap, unsigned long cpu, uint64_t size) {
    return front(heap).try_alloc(cpu, size);
}

int quarry_core_heap_try_free(quarry_core_heap* heap, unsigned long cpu, uint64_t offset) {
    return static_cast<int>(front(heap).try_free(cpu, offset, front(heap).home()));
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
