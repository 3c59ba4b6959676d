/* SPDX-License-Identifier: MIT */
/*
 * The seam's hooks for "host:": one task on one CPU, as host_lock() makes it. So a pin and a reader's
 * section are nothing, a lock of the core is none, and what is retired is freed at the end of the call.
 */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../internal.h"
#include "state.h"

/* ---- memory: powers of two from chunks that stay; larger ones by mmap ------------------------------ */

#define SMALLEST_SHIFT 6
#define LARGEST_SHIFT 16
#define CHUNK (1ul << 20)

struct vacant {
    struct vacant *next;
};

static struct vacant *vacants[LARGEST_SHIFT + 1];
static unsigned char *chunk;
static size_t chunk_left;

static void *map_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static unsigned shift_of(size_t bytes) {
    unsigned shift = SMALLEST_SHIFT;

    while ((1ul << shift) < bytes)
        shift++;
    return shift;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t in_pages(size_t bytes) { return (bytes + HOST_PAGE - 1) & ~(HOST_PAGE - 1); }

void *host_take_memory(size_t bytes) {
    const unsigned shift = shift_of(bytes);
    size_t astray;
    void *memory;

    if (shift > LARGEST_SHIFT)
        return map_memory(in_pages(bytes));
    if (vacants[shift]) {
        memory = vacants[shift];
        vacants[shift] = vacants[shift]->next;
        return memset(memory, 0, 1ul << shift);
    }
    /* Whole pages lie on a page, and less on its own size; what is passed over is lost. */
    astray = -(size_t)(uintptr_t)chunk & (smaller(1ul << shift, HOST_PAGE) - 1);
    if (astray < chunk_left) {
        chunk += astray;
        chunk_left -= astray;
    } else {
        chunk_left = 0;
    }
    if (chunk_left < 1ul << shift) {
        /* What is left of the old one is lost, too. */
        memory = map_memory(CHUNK);
        if (!memory)
            return NULL;
        chunk = memory;
        chunk_left = CHUNK;
    }
    memory = chunk;
    chunk += 1ul << shift;
    chunk_left -= 1ul << shift;
    return memory;
}

void host_give_memory(void *memory, size_t bytes) {
    const unsigned shift = shift_of(bytes);
    struct vacant *vacant = memory;

    if (!memory)
        return;
    if (shift > LARGEST_SHIFT) {
        munmap(memory, in_pages(bytes));
        return;
    }
    vacant->next = vacants[shift];
    vacants[shift] = vacant;
}

/* What is retired, until the call ends; the first 16 bytes of a block are the platform's. */
struct retired {
    struct retired *next;
    size_t bytes;
};

static struct retired *retired;

/* What waits for readers, until the call ends, too. */
struct after {
    struct after *next;
    void (*fn)(struct quarry_os_after *after);
};
static_assert(sizeof(struct after) <= sizeof(struct quarry_os_after), "it stands in the seam's");

static struct after *afters;

void host_end_of_call(void) {
    while (afters) {
        struct after *after = afters;

        afters = after->next;
        after->fn((struct quarry_os_after *)after);
    }
    while (retired) {
        struct retired *block = retired;

        retired = block->next;
        host_give_memory(block, block->bytes);
    }
}

void quarry_os_after_readers(struct quarry_os_after *after, void (*fn)(struct quarry_os_after *after)) {
    struct after *waiting = (struct after *)after;

    waiting->fn = fn;
    waiting->next = afters;
    afters = waiting;
}

void *quarry_os_meta_alloc(size_t bytes, enum quarry_context context) {
    (void)context;
    return host_take_memory(bytes);
}
void quarry_os_meta_free(void *meta, size_t bytes) { host_give_memory(meta, bytes); }
void quarry_os_meta_retire(void *meta, size_t bytes) {
    struct retired *block = meta;

    block->next = retired;
    block->bytes = bytes;
    retired = block;
}

/* ---- one task on one CPU ------------------------------------------------------------------------- */

void quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank) {
    (void)lock, (void)rank;
}
void quarry_os_lock_fini(struct quarry_os_lock *lock) { (void)lock; }
unsigned long quarry_os_lock(struct quarry_os_lock *lock) {
    (void)lock;
    return 0;
}
void quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags) { (void)lock, (void)flags; }

void quarry_os_read_enter(void) {}
void quarry_os_read_leave(void) {}
unsigned int quarry_os_pin(void) { return 0; }
void quarry_os_unpin(void) {}
unsigned int quarry_os_cpus(void) { return 1; }
unsigned int quarry_os_cpu(void) { return 0; }
unsigned int quarry_os_on_each_cpu(void (*fn)(void *arg, unsigned int cpu), void *arg) {
    fn(arg, 0);
    return 0;
}
void quarry_os_breathe(void) {}

uint64_t quarry_os_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void quarry_os_zero(void *pool, uint64_t offset, uint64_t bytes) {
    memset(((struct host_pool *)pool)->base + offset, 0, bytes);
}

/* In a process no I/O outlives its owner's call that Quarry could know of. */
int quarry_os_held(void *pool, uint64_t offset, uint64_t bytes) {
    (void)pool, (void)offset, (void)bytes;
    return 0;
}

void quarry_os_corruption(void *pool, enum quarry_corruption what, uint64_t offset, uint64_t client) {
    (void)what, (void)offset, (void)client;
    ((struct host_pool *)pool)->corruptions++;
}

/* ---- what the kernel traces ------------------------------------------------------------------------ */

void quarry_os_trace_slab_create(void *pool, uint32_t slot_bytes, uint64_t offset, uint64_t bytes) {
    (void)pool, (void)slot_bytes, (void)offset, (void)bytes;
}
void quarry_os_trace_slab_destroy(void *pool, uint32_t slot_bytes, uint64_t offset, uint64_t bytes) {
    (void)pool, (void)slot_bytes, (void)offset, (void)bytes;
}
void quarry_os_trace_remote_free(void *pool, uint32_t slot_bytes, uint64_t slab_offset, uint32_t slots) {
    (void)pool, (void)slot_bytes, (void)slab_offset, (void)slots;
}
void quarry_os_trace_refill(void *pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns) {
    (void)pool, (void)slot_bytes, (void)slots, (void)ns;
}
void quarry_os_trace_drain(void *pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns) {
    (void)pool, (void)slot_bytes, (void)slots, (void)ns;
}
int quarry_os_trace_timed(void) { return 0; }

/* Drivers' calls: there are no drivers here. */
void *quarry_os_heap_take(void *heap, unsigned int flags, unsigned long caller) {
    (void)heap, (void)flags, (void)caller;
    return NULL;
}
void *quarry_os_heap_alloc(void *heap, uint64_t size, unsigned int flags, unsigned long caller) {
    (void)heap, (void)size, (void)flags, (void)caller;
    return NULL;
}
int quarry_os_heap_free(void *heap, uint64_t offset, unsigned long caller) {
    (void)heap, (void)offset, (void)caller;
    return -1;
}

/*
 * The core's own magazines are a kernel's, which fills them with interrupts off; "host:" has its own
 * (magazine.c) and gives the core no memory for any.
 */
unsigned int quarry_os_on_each_cpu_steps(int (*fn)(void *arg, unsigned int cpu), void *arg) {
    while (fn(arg, 0))
        ;
    return 0;
}
unsigned int quarry_os_exclusive_enter(unsigned long *flags) {
    *flags = 0;
    return 0;
}
void quarry_os_exclusive_leave(unsigned long flags) { (void)flags; }
void *quarry_os_magazine_memory(void *client, unsigned int cpu, unsigned int part) {
    (void)client, (void)cpu, (void)part;
    return NULL;
}
void quarry_os_magazine_refused(void *client, int error, uint64_t offset, uint64_t owner) {
    (void)client, (void)error, (void)offset, (void)owner;
}

void quarry_os_slab_class(void *os_pool, uint64_t offset, uint64_t pages, uint32_t value) {
    struct host_pool *pool = os_pool;

    if (pool->class_table && pool->classes)
        memset(pool->class_table + offset / HOST_PAGE, (int)value, pages);
}
