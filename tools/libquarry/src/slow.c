/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of one object: what the inlined sequence could not do. Each costs at most one
 * REFILL, FLUSH, ALLOC or FREE. No lock but that of a forked child's first call, no memory of their
 * own: async-signal-safe.
 */
#include <errno.h>

#include "host.h"
#include "magazine.h"
#include "marks.h"

void quarry_count_duplicate(struct quarry_pool *pool, uint64_t offset, uint64_t how_many) {
    struct client *client = quarry_client_of(pool);

    atomic_store_explicit(&client->last_duplicate, offset, memory_order_relaxed);
    atomic_fetch_add_explicit(&client->duplicates, how_many, memory_order_relaxed);
}

void quarry_slow_duplicate(struct quarry_pool *pool, uint64_t offset) {
    quarry_count_duplicate(pool, offset, 1);
}

int quarry_page_class(const struct quarry_pool *pool, uint64_t entry) {
    if (!pool->class_table)
        return -1;
    return (int)__atomic_load_n(&pool->class_table[entry * QUARRY_GRAIN / 4096], __ATOMIC_RELAXED) - 1;
}

static bool magazine_holds(const struct quarry_cpu_block *block, uint32_t block_bytes, int size_class,
                           uint32_t entry) {
    const struct quarry_magazine *magazine = &block->magazine[size_class];
    const uint32_t *entries = (const uint32_t *)block;
    const uint32_t first = __atomic_load_n(&magazine->first, __ATOMIC_RELAXED);
    uint32_t top = __atomic_load_n(&magazine->top, __ATOMIC_ACQUIRE);

    if (top > block_bytes / sizeof *entries)
        top = block_bytes / sizeof *entries;
    for (uint32_t i = first; i < top; i++)
        if (__atomic_load_n(&entries[i], __ATOMIC_RELAXED) == entry)
            return true;
    return false;
}

bool quarry_magazines_hold(struct quarry_pool *pool, const struct client *client, uint64_t entry) {
    const int page_class = quarry_page_class(pool, entry);
    const struct quarry_client_area *area = client->area;

    if (page_class < 0 || page_class >= QUARRY_MAX_CLASSES)
        return false; /* what lies in a magazine lies in a slab */
    for (uint32_t cpu = 0; cpu < client->cpus; cpu++) {
        const char *block = (const char *)area + area->blocks_offset + (uint64_t)cpu * area->block_bytes;

        if (magazine_holds((const struct quarry_cpu_block *)block, area->block_bytes, page_class,
                           (uint32_t)entry))
            return true;
    }
    return client->host && quarry_host_holds(client->host, (uint32_t)page_class, (uint32_t)entry);
}

static uint64_t alloc_by_call(struct quarry_pool *pool, uint64_t bytes, uint64_t align) {
    uint64_t offset;
    struct quarry_alloc alloc = {
        .size = sizeof alloc,
        .object_size = bytes,
        .align = align,
        .count = 1,
        .offsets = (uintptr_t)&offset,
    };

    return quarry_call_kernel(pool, QUARRY_IOC_ALLOC, &alloc) < 0 ? QUARRY_NO_OFFSET : offset;
}

static int free_by_call(struct quarry_pool *pool, uint64_t offset) {
    struct quarry_free gone = {.size = sizeof gone, .count = 1, .offsets = (uintptr_t)&offset};

    return quarry_call_kernel(pool, QUARRY_IOC_FREE, &gone);
}

/* From the magazine after all (the client has joined meanwhile), or by a refill. */
static uint64_t alloc_of_class(struct quarry_pool *pool, int size_class, bool checked) {
    const struct section_place place = quarry_place(pool);
    struct quarry_refill refill = {.size = sizeof refill, .class_index = (uint32_t)size_class};
    struct section_buffer taken;

    while (section_take(&place, (unsigned)size_class, &taken, 1)) {
        const uint64_t offset = (uint64_t)taken.entry[0] * QUARRY_GRAIN;

        QUARRY_TAKEN(pool, taken.entry[0]);
        if (!checked || set_mark(pool, taken.entry[0], size_class))
            return offset;
        quarry_count_duplicate(pool, offset, 1);
    }
    if (quarry_call_kernel(pool, QUARRY_IOC_REFILL, &refill) < 0)
        return QUARRY_NO_OFFSET;
    QUARRY_TAKEN(pool, refill.offset / QUARRY_GRAIN);
    if (checked)
        set_mark_anew(pool, refill.offset / QUARRY_GRAIN, size_class);
    return refill.offset;
}

uint64_t quarry_slow_alloc(struct quarry_pool *pool, uint64_t bytes, uint64_t align, unsigned how) {
    const bool checked = !(how & QUARRY_UNCHECKED);
    const int size_class = quarry_route(pool, bytes, align);
    const struct client *client;
    uint64_t offset;

    if ((how & QUARRY_BY_ADDRESS) && !pool->fast.base) {
        errno = EOPNOTSUPP;
        return QUARRY_NO_OFFSET;
    }
    client = quarry_client(pool);
    if (!client)
        return QUARRY_NO_OFFSET;
    if (client->cpus && size_class >= 0)
        return alloc_of_class(pool, size_class, checked);
    offset = alloc_by_call(pool, bytes, align);
    if (offset != QUARRY_NO_OFFSET && size_class >= 0) {
        QUARRY_TAKEN(pool, offset / QUARRY_GRAIN);
        if (checked)
            set_mark_anew(pool, offset / QUARRY_GRAIN, size_class);
    }
    return offset;
}

/* Errors by which the kernel says that the object is not this client's to free: it has no mark then. */
static bool is_about_the_object(int error) {
    return error == EALREADY || error == EACCES || error == EBADSLT || error == ENXIO ||
           error == EUCLEAN;
}

int quarry_slow_put(struct quarry_pool *pool, uint64_t offset, unsigned size_class, unsigned how) {
    const struct client *client = quarry_client(pool);
    const struct section_place place = quarry_place(pool);
    const uint32_t entry = (uint32_t)(offset / QUARRY_GRAIN);
    int result = -1;

    if (pool->kind == QUARRY_KIND_FIXED)
        size_class = 0; /* programs count classes as heaps do */
    if (client && client->cpus) {
        struct quarry_flush flush = {
            .size = sizeof flush,
            .flags = QUARRY_FLUSH_OBJECT,
            .class_index = size_class,
            .offset = offset,
        };

        if (section_put(&place, size_class, &entry, 1))
            return 0;
        result = quarry_call_kernel(pool, QUARRY_IOC_FLUSH, &flush);
        if (flush.bad)
            quarry_count_duplicate(pool, flush.bad_offset, flush.bad);
    } else if (client) {
        result = free_by_call(pool, offset);
    }
    if (result < 0 && !(how & QUARRY_UNCHECKED) && !is_about_the_object(errno))
        (void)set_mark(pool, entry, (int)size_class);
    return result;
}

static int refuse(int error) {
    errno = error;
    return -1;
}

/*
 * No mark says what the caller says. Marked as something else; in a magazine, so freed; or the kernel
 * knows: it is another's, no object, or one that this client was handed by another.
 */
static int free_unmarked(struct quarry_pool *pool, uint64_t offset, uint64_t bytes, uint64_t align) {
    const struct client *client = quarry_client(pool);
    const uint64_t entry = quarry_entry(offset);
    const int wanted = quarry_route(pool, bytes, align);

    if (!client)
        return -1;
    if (bytes && pool->kind == QUARRY_KIND_FIXED && bytes != pool->object_size)
        return refuse(EMSGSIZE);
    if (entry < pool->fast.grains) {
        const int marked = marked_class(pool, entry);

        if (marked != NO_CLASS) {
            if (bytes && marked != wanted)
                return refuse(EMSGSIZE);
            clear_mark(pool, entry, marked);
            QUARRY_GIVEN(pool, entry);
            return quarry_slow_put(pool, offset, (unsigned)marked, 0);
        }
        if (quarry_magazines_hold(pool, client, entry))
            return refuse(EALREADY);
        if (bytes && pool->class_table && quarry_page_class(pool, entry) != wanted)
            return refuse(EMSGSIZE);
        QUARRY_GIVEN(pool, entry);
    }
    return free_by_call(pool, offset);
}

int quarry_slow_free(struct quarry_pool *pool, uint64_t offset, uint64_t bytes, uint64_t align,
                     unsigned how) {
    if (how & QUARRY_BY_ADDRESS) {
        if (offset == 0 - (uint64_t)(uintptr_t)pool->fast.base)
            return 0; /* of NULL */
        if (!pool->fast.base)
            return refuse(EOPNOTSUPP);
        if (offset >= pool->max_bytes) /* an address below the base wraps around */
            return refuse(ERANGE);
    }
    if (how & QUARRY_UNCHECKED) {
        const int size_class = quarry_route(pool, bytes, align);

        return size_class < 0 ? free_by_call(pool, offset)
                              : quarry_slow_put(pool, offset, (unsigned)size_class, how);
    }
    return free_unmarked(pool, offset, bytes, align);
}
