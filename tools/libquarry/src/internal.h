/* SPDX-License-Identifier: MIT */
/*
 * What a pool handle is inside the library.
 *
 * Two parts. struct quarry_pool is ordinary memory: a forked child has a copy of it, still true
 * (the pool, its mapping). struct client is what belongs to this process alone, and lies in a page
 * with MADV_WIPEONFORK: the kernel zeroes it in a child, whichever way the child was made, so the
 * child sees `ready` 0 and joins. The lock lies there too: a lock held at the fork by another
 * thread of the parent is free in the child.
 *
 * State of client.ready, the one word read without the lock:
 *   0 -> 1   under `lock`, store-release, when every other member is final; read by an acquire
 *            load in quarry_client(). Never back to 0 but by the fork.
 */
#ifndef QUARRY_INTERNAL_H
#define QUARRY_INTERNAL_H

#include <pthread.h>
#include <quarry/quarry.h>
#include <stdatomic.h>

#include "sys.h"

struct client {
    atomic_int ready;
    pthread_mutex_t lock; /* all zero is its initial state, here as in glibc and musl */
    int fd;
    uint64_t client_id;
    void *area;
    size_t area_bytes;
};

struct quarry_pool {
    struct client *client;
    unsigned char *base; /* the pool's offset 0; NULL: a range pool */
    uint64_t max_bytes;
    uint64_t pool_id;
    uint64_t object_size;
    uint64_t object_count;
    uint32_t kind;
    /* The descriptor that a child joins through, and the client that it belongs to. */
    atomic_int join_fd;
    _Atomic uint64_t join_client;
};

struct quarry_device {
    int fd;
};

/* What JOIN and POOL_CREATE answer, as far as both do. */
struct admission {
    int fd;
    uint32_t area_bytes;
    uint64_t max_bytes;
    uint64_t pool_id;
    uint64_t client_id;
    uint32_t kind;
    uint64_t object_size;
    uint64_t object_count;
};

/* This process's client, joined first in a child; NULL and errno when that fails. */
struct client *quarry_client(struct quarry_pool *pool);

/* ioctl on this process's client: 0, or -1 and errno. */
static inline int quarry_call_kernel(struct quarry_pool *pool, unsigned long request,
                                     void *argument) {
    struct client *client = quarry_client(pool);

    return client ? quarry_sys->ioctl(client->fd, request, argument) : -1;
}

#endif
