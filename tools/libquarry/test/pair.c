/* SPDX-License-Identifier: MIT */
/* The fast path as programs have it, for sequences.py to look at; it runs in no test. */
#include <quarry/quarry.h>

void *alloc64(struct quarry_pool *pool);
int free64(struct quarry_pool *pool, void *object);
void *alloc64_unchecked(struct quarry_pool *pool);
int free64_unchecked(struct quarry_pool *pool, void *object);
void *alloc_any(struct quarry_pool *pool, size_t bytes);
int free_any(struct quarry_pool *pool, void *object);

void *alloc64(struct quarry_pool *pool) { return quarry_alloc(pool, 64); }
int free64(struct quarry_pool *pool, void *object) { return quarry_free_sized(pool, object, 64); }
void *alloc64_unchecked(struct quarry_pool *pool) { return quarry_alloc_unchecked(pool, 64); }
int free64_unchecked(struct quarry_pool *pool, void *object) { return quarry_free_unchecked(pool, object, 64); }
void *alloc_any(struct quarry_pool *pool, size_t bytes) { return quarry_alloc(pool, bytes); }
int free_any(struct quarry_pool *pool, void *object) { return quarry_free(pool, object); }

int main(void) {
    struct quarry_pool *pool = quarry_create(NULL, &(struct quarry_options){.bytes = 1 << 20});

    return !pool || free64(pool, alloc64(pool)) || free64_unchecked(pool, alloc64_unchecked(pool)) ||
           free_any(pool, alloc_any(pool, 100));
}
