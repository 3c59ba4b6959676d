/* SPDX-License-Identifier: MIT */
/*
 * Marks where the class is not known when compiling; <quarry/fast.h> says what they are. O(1), no
 * locked instruction: two threads that free one object at one instant both find its mark.
 */
#ifndef QUARRY_MARKS_H
#define QUARRY_MARKS_H

#include "internal.h"

#define NO_CLASS (-1)

/* Objects of a class have large marks; the one class of a fixed pool has any size. */
static inline bool has_large_marks(const struct quarry_pool *pool, int size_class) {
    return pool->kind == QUARRY_KIND_FIXED ? pool->object_size >= 64
                                           : size_class >= QUARRY_LARGE_CLASS;
}

static inline uint16_t *large_mark(struct quarry_pool *pool, uint64_t entry) {
    return (uint16_t *)((char *)pool + QUARRY_AT_MARKS) + entry / 8;
}

static inline uint8_t *small_mark(struct quarry_pool *pool, uint64_t entry) {
    return pool->fast.small_marks + entry;
}

/* The class that the mark at `entry` says; NO_CLASS: nothing marked starts there. */
static inline int marked_class(struct quarry_pool *pool, uint64_t entry) {
    const uint16_t large = __atomic_load_n(large_mark(pool, entry), __ATOMIC_RELAXED);

    if (large > 0xff && (uint8_t)large == (entry & 7))
        return (large >> 8) - 1;
    return (int)__atomic_load_n(small_mark(pool, entry), __ATOMIC_RELAXED) - 1;
}

/* Marks an object; false: something is marked in its place already, and still is. */
static inline bool set_mark(struct quarry_pool *pool, uint64_t entry, int size_class) {
    if (has_large_marks(pool, size_class)) {
        uint16_t *mark = large_mark(pool, entry);

        if (__atomic_load_n(mark, __ATOMIC_RELAXED) > 0xff)
            return false;
        __atomic_store_n(mark, (uint16_t)((entry & 7) | (unsigned)(size_class + 1) << 8),
                         __ATOMIC_RELAXED);
    } else {
        uint8_t *mark = small_mark(pool, entry);

        if (__atomic_load_n(mark, __ATOMIC_RELAXED))
            return false;
        __atomic_store_n(mark, (uint8_t)(size_class + 1), __ATOMIC_RELAXED);
    }
    return true;
}

static inline void clear_mark(struct quarry_pool *pool, uint64_t entry, int size_class) {
    if (has_large_marks(pool, size_class))
        __atomic_store_n(large_mark(pool, entry), 0, __ATOMIC_RELAXED);
    else
        __atomic_store_n(small_mark(pool, entry), 0, __ATOMIC_RELAXED);
}

/* What the kernel has just granted is this client's, whatever was marked there before. */
static inline void set_mark_anew(struct quarry_pool *pool, uint64_t entry, int size_class) {
    clear_mark(pool, entry, size_class);
    (void)set_mark(pool, entry, size_class);
}

#endif
