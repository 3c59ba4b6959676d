/* SPDX-License-Identifier: MIT */
/* Looking after a pool: its facts, counters, audit, regions, events. One system call each. */
#include <string.h>

#include "internal.h"

int quarry_fd(struct quarry_pool *pool) {
    struct client *client = quarry_client(pool);

    return client ? client->fd : -1;
}

uint64_t quarry_client_id(struct quarry_pool *pool) {
    struct client *client = quarry_client(pool);

    return client ? client->client_id : 0;
}

uint64_t quarry_pool_id(const struct quarry_pool *pool) { return pool->pool_id; }
uint32_t quarry_kind(const struct quarry_pool *pool) { return pool->kind; }
uint64_t quarry_max_bytes(const struct quarry_pool *pool) { return pool->max_bytes; }
uint64_t quarry_object_size(const struct quarry_pool *pool) { return pool->object_size; }
uint64_t quarry_object_count(const struct quarry_pool *pool) { return pool->object_count; }

int quarry_events(struct quarry_pool *pool, bool acknowledge) {
    struct quarry_stat stat = {
        .size = sizeof stat,
        .flags = acknowledge ? QUARRY_STAT_ACK : 0,
    };

    return quarry_call_kernel(pool, QUARRY_IOC_STAT, &stat) < 0 ? -1 : (int)stat.events;
}

int quarry_stat_fd_sized(int fd, struct quarry_stat *stat, size_t stat_bytes) {
    memset(stat, 0, stat_bytes);
    stat->size = (uint32_t)stat_bytes;
    return quarry_request(fd, QUARRY_IOC_STAT, stat);
}

int quarry_stat_sized(struct quarry_pool *pool, struct quarry_stat *stat, size_t stat_bytes) {
    struct client *client = quarry_client(pool);

    return client ? quarry_stat_fd_sized(client->fd, stat, stat_bytes) : -1;
}

uint64_t quarry_object_calls(struct quarry_pool *pool) {
    return atomic_load_explicit(&quarry_client_of(pool)->object_calls, memory_order_relaxed);
}

uint64_t quarry_duplicates(struct quarry_pool *pool, uint64_t *offset) {
    struct client *client = quarry_client_of(pool);

    if (offset)
        *offset = atomic_load_explicit(&client->last_duplicate, memory_order_relaxed);
    return atomic_load_explicit(&client->duplicates, memory_order_relaxed);
}

int quarry_classes(struct quarry_pool *pool, struct quarry_class_stat *classes, size_t room) {
    struct quarry_stat stat = {
        .size = sizeof stat,
        .classes = room ? (uintptr_t)classes : 0,
        .class_count = room < QUARRY_MAX_CLASSES ? (uint32_t)room : QUARRY_MAX_CLASSES,
    };

    if (quarry_call_kernel(pool, QUARRY_IOC_STAT, &stat) < 0)
        return -1;
    return (int)stat.class_count;
}

int quarry_verify_sized(struct quarry_pool *pool, struct quarry_verify *verify,
                        size_t verify_bytes) {
    memset(verify, 0, verify_bytes);
    verify->size = (uint32_t)verify_bytes;
    return quarry_call_kernel(pool, QUARRY_IOC_VERIFY, verify);
}

int quarry_drain(struct quarry_pool *pool, uint32_t flags, struct quarry_drain *drained) {
    struct quarry_drain drain = {.size = sizeof drain, .flags = flags};
    int result = quarry_call_kernel(pool, QUARRY_IOC_DRAIN, &drain);

    if (drained)
        *drained = drain;
    return result;
}

int quarry_region_add(struct quarry_pool *pool, uint64_t bytes, uint32_t zone, int node,
                      struct quarry_region *added) {
    struct quarry_region region = {
        .size = sizeof region,
        .zone = zone,
        .node = node,
        .bytes = bytes,
    };
    int result = quarry_call_kernel(pool, QUARRY_IOC_REGION_ADD, &region);

    if (added)
        *added = region;
    return result;
}

int quarry_region_remove(struct quarry_pool *pool, uint64_t offset,
                         struct quarry_region *removed) {
    struct quarry_region region = {.size = sizeof region, .offset = offset};
    int result = quarry_call_kernel(pool, QUARRY_IOC_REGION_REMOVE, &region);

    if (removed)
        *removed = region;
    return result;
}
