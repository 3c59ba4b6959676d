/* SPDX-License-Identifier: MIT */
/*
 * Objects: alloc, free, transfer, resize, and offsets to addresses.
 *
 * Batches go through this CPU's magazine, SECTION_MOST objects in one sequence; what it does not
 * have, or has no room for, is cut into pieces that the kernel takes, one system call each. The
 * single calls' fast path is <quarry/fast.h>, their slow path slow.c.
 */
#include <errno.h>

#include "magazine.h"
#include "marks.h"

/* One ALLOC, FREE or TRANSFER of up to QUARRY_MAX_BATCH objects. */
struct piece {
    uint32_t done;
    int error; /* 0, or why no more */
};

/* So few objects that a magazine is refilled or flushed for them, rather than passed by. */
#define FEW 4

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

/* `request`: TRANSFER or SHARE. */
static struct piece hand_piece(struct quarry_pool *pool, unsigned long request, uint64_t to,
                               const uint64_t *offsets, size_t count) {
    struct quarry_transfer moved = {
        .size = sizeof moved,
        .to_client = to,
        .count = (uint32_t)count,
        .offsets = (uintptr_t)offsets,
    };

    if (quarry_call_kernel(pool, request, &moved) < 0)
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

/* Marks what a magazine gave; an object that is marked, and so in use, is dropped. How many are left. */
static size_t mark_taken(struct quarry_pool *pool, int size_class, uint64_t *offsets, size_t count) {
    const uint16_t mark = (uint16_t)((unsigned)(size_class + 1) << 8);
    size_t kept = 0;

    if (!has_large_marks(pool, size_class)) {
        for (size_t i = 0; i < count; i++) {
            offsets[kept] = offsets[i];
            QUARRY_TAKEN(pool, offsets[i] / QUARRY_GRAIN);
            if (set_mark(pool, offsets[i] / QUARRY_GRAIN, size_class))
                kept++;
            else
                quarry_count_duplicate(pool, offsets[kept], 1);
        }
        return kept;
    }
    for (size_t i = 0; i < count; i++) {
        const uint64_t offset = offsets[i];
        uint16_t *at = large_mark(pool, offset / QUARRY_GRAIN);

        QUARRY_TAKEN(pool, offset / QUARRY_GRAIN);
        offsets[kept] = offset;
        if (__builtin_expect(__atomic_load_n(at, __ATOMIC_RELAXED) > 0xff, 0)) {
            quarry_count_duplicate(pool, offset, 1);
            continue;
        }
        __atomic_store_n(at, (uint16_t)(mark | (offset / QUARRY_GRAIN & 7)), __ATOMIC_RELAXED);
        kept++;
    }
    return kept;
}

static size_t take_from_magazine(struct quarry_pool *pool, int size_class, bool checked,
                                 uint64_t *offsets, size_t count) {
    const struct section_place place = quarry_place(pool);
    size_t done = 0;

    while (done < count) {
        uint32_t got = section_take_offsets(&place, (unsigned)size_class, offsets + done,
                                            (uint32_t)smaller(count - done, SECTION_MOST));

        if (!got)
            break;
        done += checked ? mark_taken(pool, size_class, offsets + done, got) : got;
    }
    return done;
}

static size_t alloc_many(struct quarry_pool *pool, uint64_t bytes, uint64_t align, bool checked,
                         uint64_t *offsets, size_t count) {
    const int size_class = quarry_route(pool, bytes, align);
    const struct client *client = count ? quarry_client(pool) : NULL;
    const bool in_magazines = client && client->cpus && size_class >= 0;
    size_t done = 0;

    if (in_magazines)
        done = take_from_magazine(pool, size_class, checked, offsets, count);
    while (client && done < count) {
        const size_t wanted = smaller(count - done, QUARRY_MAX_BATCH);
        struct piece piece;

        if (in_magazines && wanted <= FEW) {
            /* So few that the magazine is filled, for those that come after, too. */
            const uint64_t offset =
                quarry_slow_alloc(pool, bytes, align, checked ? 0 : QUARRY_UNCHECKED);

            if (offset == QUARRY_NO_OFFSET)
                break;
            offsets[done++] = offset;
            continue;
        }
        piece = alloc_piece(pool, bytes, align, offsets + done, wanted);

        for (size_t i = done; checked && size_class >= 0 && i < done + piece.done; i++) {
            QUARRY_TAKEN(pool, offsets[i] / QUARRY_GRAIN);
            set_mark_anew(pool, offsets[i] / QUARRY_GRAIN, size_class);
        }
        done += piece.done;
        if (!goes_on(piece, wanted))
            break;
    }
    return done;
}

size_t quarry_alloc_batch(struct quarry_pool *pool, size_t bytes, size_t align, uint64_t *offsets,
                          size_t count) {
    return alloc_many(pool, bytes, align, true, offsets, count);
}

size_t quarry_alloc_batch_unchecked(struct quarry_pool *pool, size_t bytes, uint64_t *offsets,
                                    size_t count) {
    return alloc_many(pool, bytes, 0, false, offsets, count);
}

/*
 * Clears the marks of what is to leave by a call, so that the kernel alone judges; stops at an object
 * that a magazine holds, which is free. `classes` keeps class + 1 of each, 0: it was not marked.
 */
static size_t unmark(struct quarry_pool *pool, const struct client *client, const uint64_t *offsets,
                     size_t count, unsigned char *classes) {
    size_t i = 0;

    for (; i < count; i++) {
        const uint64_t entry = quarry_entry(offsets[i]);
        const bool has_marks = entry < pool->fast.grains;
        const int marked = has_marks ? marked_class(pool, entry) : NO_CLASS;

        classes[i] = (unsigned char)(marked + 1);
        if (marked != NO_CLASS)
            clear_mark(pool, entry, marked);
        else if (has_marks && quarry_magazines_hold(pool, client, entry))
            break;
        if (has_marks)
            QUARRY_GIVEN(pool, entry);
    }
    return i;
}

static void mark_again(struct quarry_pool *pool, const uint64_t *offsets, size_t count,
                       const unsigned char *classes) {
    for (size_t i = 0; i < count; i++)
        if (classes[i])
            (void)set_mark(pool, quarry_entry(offsets[i]), classes[i] - 1);
}

/* FREE of up to QUARRY_MAX_BATCH objects, marked or not. */
static struct piece free_by_call(struct quarry_pool *pool, const struct client *client,
                                 const uint64_t *offsets, size_t count) {
    unsigned char classes[QUARRY_MAX_BATCH];
    const size_t mine = unmark(pool, client, offsets, count, classes);
    struct piece piece = {0, EALREADY};

    if (mine)
        piece = free_piece(pool, offsets, mine);
    mark_again(pool, offsets + piece.done, mine - piece.done, classes + piece.done);
    if (piece.done == mine && mine < count)
        piece.error = EALREADY;
    return piece;
}

/* Clears the marks of a run of objects of one class, at most SECTION_MOST; how many. */
static size_t marked_run(struct quarry_pool *pool, const uint64_t *offsets, size_t count,
                         int *size_class) {
    const uint64_t first = quarry_entry(offsets[0]);
    uint16_t mark;
    size_t run = 0;

    count = smaller(count, SECTION_MOST);
    *size_class = first < pool->fast.grains ? marked_class(pool, first) : NO_CLASS;
    if (*size_class == NO_CLASS)
        return 0;
    mark = (uint16_t)((unsigned)(*size_class + 1) << 8);
    if (!has_large_marks(pool, *size_class)) {
        for (; run < count; run++) {
            const uint64_t entry = quarry_entry(offsets[run]);

            if (entry >= pool->fast.grains || marked_class(pool, entry) != *size_class)
                break;
            clear_mark(pool, entry, *size_class);
            QUARRY_GIVEN(pool, entry);
        }
        return run;
    }
    for (; run < count; run++) {
        const uint64_t entry = quarry_entry(offsets[run]);
        uint16_t *at = large_mark(pool, entry);

        if (entry >= pool->fast.grains ||
            __atomic_load_n(at, __ATOMIC_RELAXED) != (uint16_t)(mark | (entry & 7)))
            break;
        __atomic_store_n(at, 0, __ATOMIC_RELAXED);
        QUARRY_GIVEN(pool, entry);
    }
    return run;
}

static size_t unmarked_run(struct quarry_pool *pool, const uint64_t *offsets, size_t count) {
    size_t run = 0;

    while (run < count) {
        const uint64_t entry = quarry_entry(offsets[run]);

        if (entry < pool->fast.grains && marked_class(pool, entry) != NO_CLASS)
            break;
        run++;
    }
    return run;
}

size_t quarry_free_batch(struct quarry_pool *pool, const uint64_t *offsets, size_t count) {
    const struct section_place place = quarry_place(pool);
    const struct client *client = count ? quarry_client(pool) : NULL;
    bool has_room = client && client->cpus;
    int size_class = NO_CLASS;
    size_t done = 0;

    while (client && done < count) {
        size_t run = has_room ? marked_run(pool, offsets + done, count - done, &size_class) : 0;
        struct piece piece;

        if (run) {
            const size_t put = section_put_offsets(&place, (unsigned)size_class, offsets + done,
                                                   (uint32_t)run);

            for (size_t i = put; i < run; i++)
                (void)set_mark(pool, quarry_entry(offsets[done + i]), size_class);
            done += put;
            has_room = put == run;
            continue;
        }
        run = smaller(count - done, QUARRY_MAX_BATCH);
        if (has_room)
            run = unmarked_run(pool, offsets + done, run);
        if (!has_room && client->cpus && run <= FEW) {
            /* So few that room is made, for those that come after, too. */
            if (quarry_slow_free(pool, offsets[done], 0, 0, 0) < 0)
                break;
            done++;
            continue;
        }
        piece = free_by_call(pool, client, offsets + done, run);
        done += piece.done;
        if (!goes_on(piece, run))
            break;
    }
    return done;
}

size_t quarry_free_batch_unchecked(struct quarry_pool *pool, size_t bytes, const uint64_t *offsets,
                                   size_t count) {
    const struct section_place place = quarry_place(pool);
    const int size_class = quarry_route(pool, bytes, 0);
    const struct client *client = count ? quarry_client(pool) : NULL;
    size_t done = 0;

    while (client && client->cpus && size_class >= 0 && done < count) {
        const size_t run = smaller(count - done, SECTION_MOST);
        const size_t put = section_put_offsets(&place, (unsigned)size_class, offsets + done, (uint32_t)run);

        done += put;
        if (put < run)
            break;
    }
    while (client && done < count) {
        const size_t run = smaller(count - done, QUARRY_MAX_BATCH);
        const struct piece piece = free_piece(pool, offsets + done, run);

        done += piece.done;
        if (!goes_on(piece, run))
            break;
    }
    return done;
}

static size_t hand(struct quarry_pool *pool, unsigned long request, uint64_t to,
                   const uint64_t *offsets, size_t count) {
    const struct client *client = count ? quarry_client(pool) : NULL;
    unsigned char classes[QUARRY_MAX_BATCH];
    size_t done = 0;

    while (client && done < count) {
        const size_t wanted = smaller(count - done, QUARRY_MAX_BATCH);
        const size_t mine = unmark(pool, client, offsets + done, wanted, classes);
        struct piece piece = {0, EALREADY};

        if (mine)
            piece = hand_piece(pool, request, to, offsets + done, mine);
        mark_again(pool, offsets + done + piece.done, mine - piece.done, classes + piece.done);
        done += piece.done;
        if (piece.done == mine && mine < wanted)
            piece.error = EALREADY;
        if (!goes_on(piece, wanted))
            break;
    }
    return done;
}

size_t quarry_transfer(struct quarry_pool *pool, uint64_t to, const uint64_t *offsets,
                       size_t count) {
    return hand(pool, QUARRY_IOC_TRANSFER, to, offsets, count);
}

/* What is shared has no mark: so its holders' frees ask the kernel, and it enters no magazine. */
size_t quarry_share_objects(struct quarry_pool *pool, uint64_t to, const uint64_t *offsets,
                            size_t count) {
    return hand(pool, QUARRY_IOC_SHARE, to, offsets, count);
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

int quarry_reserve(struct quarry_pool *pool, size_t bytes, size_t align, size_t count, size_t *left) {
    struct quarry_reservation reserve = {
        .size = sizeof reserve,
        .object_size = bytes,
        .align = align,
        .count = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX,
    };

    if (quarry_call_kernel(pool, QUARRY_IOC_RESERVE, &reserve) < 0)
        return -1;
    if (left)
        *left = reserve.left;
    return 0;
}

/* A range pool's offsets are of memory that is not mapped here. */
static bool has_addresses(const struct quarry_pool *pool) {
    if (pool->fast.base)
        return true;
    errno = EOPNOTSUPP;
    return false;
}

/* ---- the calls that programs have inlined, for whoever takes their address ----------------------- */

static void *address_of(const struct quarry_pool *pool, uint64_t offset) {
    return offset == QUARRY_NO_OFFSET ? NULL : pool->fast.base + offset;
}

static uint64_t distance_of(const struct quarry_pool *pool, const void *address) {
    return (uintptr_t)address - (uintptr_t)pool->fast.base;
}

uint64_t quarry_alloc_offset(struct quarry_pool *pool, size_t bytes, size_t align) {
    return quarry_slow_alloc(pool, bytes, align, 0);
}

void *quarry_alloc_aligned(struct quarry_pool *pool, size_t bytes, size_t align) {
    return address_of(pool, quarry_slow_alloc(pool, bytes, align, QUARRY_BY_ADDRESS));
}

void *quarry_alloc(struct quarry_pool *pool, size_t bytes) {
    return quarry_alloc_aligned(pool, bytes, 0);
}

void *quarry_alloc_unchecked(struct quarry_pool *pool, size_t bytes) {
    return address_of(pool, quarry_slow_alloc(pool, bytes, 0, QUARRY_BY_ADDRESS | QUARRY_UNCHECKED));
}

int quarry_free_offset(struct quarry_pool *pool, uint64_t offset) {
    return quarry_slow_free(pool, offset, 0, 0, 0);
}

int quarry_free(struct quarry_pool *pool, void *object) {
    return quarry_slow_free(pool, distance_of(pool, object), 0, 0, QUARRY_BY_ADDRESS);
}

int quarry_free_offset_sized(struct quarry_pool *pool, uint64_t offset, size_t bytes, size_t align) {
    return quarry_slow_free(pool, offset, bytes, align, 0);
}

int quarry_free_sized_aligned(struct quarry_pool *pool, void *object, size_t bytes, size_t align) {
    return quarry_slow_free(pool, distance_of(pool, object), bytes, align, QUARRY_BY_ADDRESS);
}

int quarry_free_sized(struct quarry_pool *pool, void *object, size_t bytes) {
    return quarry_free_sized_aligned(pool, object, bytes, 0);
}

int quarry_free_unchecked(struct quarry_pool *pool, void *object, size_t bytes) {
    return quarry_slow_free(pool, distance_of(pool, object), bytes, 0,
                            QUARRY_BY_ADDRESS | QUARRY_UNCHECKED);
}

uint64_t quarry_offset(const struct quarry_pool *pool, const void *address) {
    uintptr_t distance = (uintptr_t)address - (uintptr_t)pool->fast.base;

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
        return pool->fast.base + offset;
    errno = ERANGE;
    return NULL;
}

void *quarry_address(const struct quarry_pool *pool, uint64_t offset) {
    return quarry_span(pool, offset, 0);
}
