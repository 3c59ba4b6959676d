// SPDX-License-Identifier: MIT
//
// The seam's hooks (quarry_os_*) on a host: HostPlatform under the names of the seam, so
// that module/core/core.cpp links into a program as it does into the kernel module.
#include "host_platform.hpp"

using quarry::Context;
using P = quarry::HostPlatform;

static_assert(sizeof(P::Lock) <= sizeof(struct quarry_os_lock));

static P::Lock& as_lock(struct quarry_os_lock* lock) { return *reinterpret_cast<P::Lock*>(lock); }

extern "C" {

void* quarry_os_meta_alloc(size_t bytes, enum quarry_context context) {
    return P::meta_alloc(bytes, static_cast<Context>(context));
}
void quarry_os_meta_free(void* meta, size_t bytes) { P::meta_free(meta, bytes); }
void quarry_os_meta_retire(void* meta, size_t bytes) { P::meta_retire(meta, bytes); }
void quarry_os_after_readers(struct quarry_os_after* after, void (*fn)(struct quarry_os_after*)) {
    P::after_readers(after, fn);
}

void quarry_os_lock_init(struct quarry_os_lock* lock, enum quarry_lock_rank rank) {
    new (lock) P::Lock(rank);
}
void quarry_os_lock_fini(struct quarry_os_lock* lock) { as_lock(lock).~Lock(); }
unsigned long quarry_os_lock(struct quarry_os_lock* lock) { return as_lock(lock).lock(); }
void quarry_os_unlock(struct quarry_os_lock* lock, unsigned long flags) {
    as_lock(lock).unlock(flags);
}

void quarry_os_read_enter(void) { P::read_enter(); }
void quarry_os_read_leave(void) { P::read_leave(); }
unsigned int quarry_os_pin(void) { return P::pin(); }
void quarry_os_unpin(void) { P::unpin(); }
unsigned int quarry_os_cpus(void) { return P::cpus(); }
unsigned int quarry_os_cpu(void) { return P::cpu(); }
unsigned int quarry_os_on_each_cpu(void (*fn)(void* arg, unsigned int cpu), void* arg) {
    return P::on_each_cpu(fn, arg);
}
unsigned int quarry_os_on_each_cpu_steps(int (*fn)(void* arg, unsigned int cpu), void* arg) {
    return P::on_each_cpu_steps(fn, arg);
}
unsigned int quarry_os_exclusive_enter(unsigned long*) { return P::exclusive_enter(); }
void quarry_os_exclusive_leave(unsigned long) { P::exclusive_leave(0); }
void* quarry_os_magazine_memory(void* client, unsigned int cpu, unsigned int part) {
    return P::magazine_memory(client, cpu, part);
}
void quarry_os_magazine_refused(void* client, int error, uint64_t offset, uint64_t owner) {
    P::magazine_refused(client, static_cast<quarry::Error>(error), offset, owner);
}
void quarry_os_slab_class(void* pool, uint64_t offset, uint64_t pages, uint32_t value) {
    P::slab_class(pool, offset, pages, value);
}
void quarry_os_breathe(void) { P::breathe(); }
uint64_t quarry_os_ns(void) { return P::ns(); }

void quarry_os_zero(void* pool, uint64_t offset, uint64_t bytes) { P::zero(pool, offset, bytes); }
int quarry_os_held(void* pool, uint64_t offset, uint64_t bytes) {
    return P::held(pool, offset, bytes);
}
void quarry_os_corruption(void* pool, enum quarry_corruption what, uint64_t offset,
                          uint64_t client) {
    P::corruption(pool, what, offset, client);
}

void quarry_os_trace_slab_create(void* pool, uint32_t slot_bytes, uint64_t offset,
                                 uint64_t bytes) {
    P::trace_slab_create(pool, slot_bytes, offset, bytes);
}
void quarry_os_trace_slab_destroy(void* pool, uint32_t slot_bytes, uint64_t offset,
                                  uint64_t bytes) {
    P::trace_slab_destroy(pool, slot_bytes, offset, bytes);
}
void quarry_os_trace_remote_free(void* pool, uint32_t slot_bytes, uint64_t slab_offset,
                                 uint32_t slots) {
    P::trace_remote_free(pool, slot_bytes, slab_offset, slots);
}
void quarry_os_trace_refill(void* pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns) {
    P::trace_refill(pool, slot_bytes, slots, ns);
}
void quarry_os_trace_drain(void* pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns) {
    P::trace_drain(pool, slot_bytes, slots, ns);
}
int quarry_os_trace_timed(void) { return P::trace_timed(); }

// Slow halves of drivers' calls: told what they were asked, as a number that tests look at.
void* quarry_os_heap_take(void* heap, unsigned int flags, unsigned long caller) {
    return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(heap) + flags * 1000 + caller);
}
void* quarry_os_heap_alloc(void* heap, uint64_t size, unsigned int flags, unsigned long caller) {
    return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(heap) + size * 1000000 + flags * 1000 +
                                   caller);
}
int quarry_os_heap_free(void* heap, uint64_t offset, unsigned long caller) {
    return static_cast<int>(reinterpret_cast<uintptr_t>(heap) + offset + caller);
}

}  // extern "C"
