/* SPDX-License-Identifier: MIT */
/* This client's magazines, for the slow paths and batches. */
#ifndef QUARRY_MAGAZINE_H
#define QUARRY_MAGAZINE_H

#include "internal.h"
#include "section.h"

/*
 * The class of an object of `bytes` (as allocated) in this pool; -1: it comes by ALLOC and goes by
 * FREE, and has no mark.
 */
static inline int quarry_route(const struct quarry_pool *pool, uint64_t bytes, uint64_t align) {
    if (!pool->fast.grains || !quarry_has_class(bytes, align))
        return -1;
    if (pool->kind == QUARRY_KIND_FIXED)
        return bytes == pool->object_size && (align < 2 || !(bytes & (align - 1))) ? 0 : -1;
    return (int)quarry_class_of(bytes, align);
}

static inline struct section_place quarry_place(struct quarry_pool *pool) {
    return (struct section_place){
        .anchor = pool,
        .table = (const uint64_t *)((const char *)pool + QUARRY_AT_ALL_BLOCKS),
        .rseq = pool->fast.rseq,
    };
}

/* Whether one of this client's magazines, of whichever CPU, holds `entry`: O(what they hold). */
bool quarry_magazines_hold(struct quarry_pool *pool, const struct client *client, uint64_t entry);
/* The class whose slab the page of `entry` is; -1: none, or nobody knows. */
int quarry_page_class(const struct quarry_pool *pool, uint64_t entry);
/* Counts what a magazine held and should not. */
void quarry_count_duplicate(struct quarry_pool *pool, uint64_t offset, uint64_t how_many);

#endif
