/* SPDX-License-Identifier: MIT */
/*
 * Objects: alloc, free, transfer, resize, and offsets to addresses.
 *
 * All of it works on offsets in batches; the single calls are batches of one. A call of any count
 * is cut into pieces that the kernel takes. Costs one system call a piece.
 */
#include <errno.h>

#include "internal.h"

/* One ALLOC, FREE or TRANSFER of up to QUARRY_MAX_BATCH objects. */
struct piece {
    uint32_t done;
    int error; /* 0, or why no more */
};

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static struct piece alloc_piece(struct quarry_pool *pool, size_t bytes, size_t align,
                                uint64_t *offsets, size_t count) {
    struct quarry_alloc alloc = {
        .size = sizeof alloc,
        .object_size = bytes,
        .align = align,
        .count = (uint32_t)count,
        .offsets = (uintptr_t)offsets,
    };

    if (quarry_call_kernel(pool, QUARRY_IOC_ALLOC, &alloc) < 0)
        return (struct piece){0, errno};
    return (struct piece){alloc.done, alloc.error};
}

static struct piece free_piece(struct quarry_pool *pool, const uint64_t *offsets, size_t count) {
    struct quarry_free gone = {
        .size = sizeof gone,
        .count = (uint32_t)count,
        .offsets = (uintptr_t)offsets,
    };

    if (quarry_call_kernel(pool, QUARRY_IOC_FREE, &gone) < 0)
        return (struct piece){0, errno};
    return (struct piece){gone.done, gone.error};
}

static struct piece transfer_piece(struct quarry_pool *pool, uint64_t to, const uint64_t *offsets,
                                   size_t count) {
    struct quarry_transfer moved = {
        .size = sizeof moved,
        .to_client = to,
        .count = (uint32_t)count,
        .offsets = (uintptr_t)offsets,
    };

    if (quarry_call_kernel(pool, QUARRY_IOC_TRANSFER, &moved) < 0)
        return (struct piece){0, errno};
    return (struct piece){moved.done, moved.error};
}

/*
 * Whether to go on after `piece`, of which `wanted` were asked; else errno is set. A signal that came
 * while the pool grew is no reason to stop.
 */
static bool goes_on(struct piece piece, size_t wanted) {
    if (piece.done == wanted || piece.error == EINTR)
        return true;
    errno = piece.error;
    return false;
}

size_t quarry_alloc_batch(struct quarry_pool *pool, size_t bytes, size_t align, uint64_t *offsets,
                          size_t count) {
    size_t done = 0;

    while (done < count) {
        size_t wanted = smaller(count - done, QUARRY_MAX_BATCH);
        struct piece piece = alloc_piece(pool, bytes, align, offsets + done, wanted);

        done += piece.done;
        if (!goes_on(piece, wanted))
            break;
    }
    return done;
}

size_t quarry_free_batch(struct quarry_pool *pool, const uint64_t *offsets, size_t count) {
    size_t done = 0;

    while (done < count) {
        size_t wanted = smaller(count - done, QUARRY_MAX_BATCH);
        struct piece piece = free_piece(pool, offsets + done, wanted);

        done += piece.done;
        if (!goes_on(piece, wanted))
            break;
    }
    return done;
}

size_t quarry_transfer(struct quarry_pool *pool, uint64_t to, const uint64_t *offsets,
                       size_t count) {
    size_t done = 0;

    while (done < count) {
        size_t wanted = smaller(count - done, QUARRY_MAX_BATCH);
        struct piece piece = transfer_piece(pool, to, offsets + done, wanted);

        done += piece.done;
        if (!goes_on(piece, wanted))
            break;
    }
    return done;
}

int quarry_alloc_all(struct quarry_pool *pool, size_t bytes, size_t align, uint64_t *offsets,
                     size_t count) {
    size_t done = quarry_alloc_batch(pool, bytes, align, offsets, count);
    int error = errno;

    if (done == count)
        return 0;
    quarry_free_batch(pool, offsets, done);
    errno = error;
    return -1;
}

uint64_t quarry_resize(struct quarry_pool *pool, uint64_t offset, uint64_t bytes) {
    struct quarry_resize resize = {
        .size = sizeof resize,
        .offset = offset,
        .object_size = bytes,
    };

    return quarry_call_kernel(pool, QUARRY_IOC_RESIZE, &resize) < 0 ? 0 : resize.bytes;
}

/* A range pool's offsets are of memory that is not mapped here. */
static bool has_addresses(const struct quarry_pool *pool) {
    if (pool->base)
        return true;
    errno = EOPNOTSUPP;
    return false;
}

uint64_t quarry_alloc_offset(struct quarry_pool *pool, size_t bytes, size_t align) {
    uint64_t offset;

    return quarry_alloc_batch(pool, bytes, align, &offset, 1) ? offset : QUARRY_NO_OFFSET;
}

void *quarry_alloc_aligned(struct quarry_pool *pool, size_t bytes, size_t align) {
    uint64_t offset = has_addresses(pool) ? quarry_alloc_offset(pool, bytes, align) : QUARRY_NO_OFFSET;

    return offset == QUARRY_NO_OFFSET ? NULL : pool->base + offset;
}

void *quarry_alloc(struct quarry_pool *pool, size_t bytes) {
    return quarry_alloc_aligned(pool, bytes, 0);
}

int quarry_free_offset(struct quarry_pool *pool, uint64_t offset) {
    return quarry_free_batch(pool, &offset, 1) ? 0 : -1;
}

int quarry_free(struct quarry_pool *pool, void *object) {
    uint64_t offset;

    if (!object)
        return 0;
    offset = quarry_offset(pool, object);
    return offset == QUARRY_NO_OFFSET ? -1 : quarry_free_offset(pool, offset);
}

uint64_t quarry_offset(const struct quarry_pool *pool, const void *address) {
    uintptr_t distance = (uintptr_t)address - (uintptr_t)pool->base;

    if (!has_addresses(pool))
        return QUARRY_NO_OFFSET;
    if (distance < pool->max_bytes) /* an address below the base wraps around */
        return distance;
    errno = ERANGE;
    return QUARRY_NO_OFFSET;
}

void *quarry_span(const struct quarry_pool *pool, uint64_t offset, size_t bytes) {
    if (!has_addresses(pool))
        return NULL;
    if (offset < pool->max_bytes && bytes <= pool->max_bytes - offset)
        return pool->base + offset;
    errno = ERANGE;
    return NULL;
}

void *quarry_address(const struct quarry_pool *pool, uint64_t offset) {
    return quarry_span(pool, offset, 0);
}
