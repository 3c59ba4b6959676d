/* SPDX-License-Identifier: MIT */
/*
 * What a pool handle is inside the library.
 *
 * One mapping in two parts. The first page, struct quarry_pool, is inherited by a forked child, still
 * true there (the pool, its mapping). What lies behind is this process's alone, with
 * MADV_WIPEONFORK: the kernel zeroes it in a child, whichever way the child was made. struct client
 * comes first: the child sees `ready` 0 and joins; the lock lies there too, so a lock held at the
 * fork by another thread of the parent is free in the child. Then the tables of blocks, by which
 * the fast path finds the magazines: zero, so a child takes the slow path, which joins. Then the
 * marks. <quarry/fast.h> says where each lies.
 *
 * State of client.ready, the one word read without the lock:
 *   0 -> 1   under `lock`, store-release, when every other member is final; read by an acquire
 *            load in quarry_client(). Never back to 0 but by the fork.
 * Words of the tables of blocks: 0 -> distance under `lock`, store-release, when the area is mapped;
 * read by sequences.
 */
#ifndef QUARRY_INTERNAL_H
#define QUARRY_INTERNAL_H

/* The library itself is what those calls are when they are not inlined. */
#define QUARRY_NO_INLINE

#include <pthread.h>
#include <quarry/quarry.h>
#include <stdatomic.h>

#include "sys.h"

struct host_client;

struct client {
    atomic_int ready;
    pthread_mutex_t lock; /* all zero is its initial state, here as in glibc and musl */
    int fd;
    uint32_t cpus; /* blocks of magazines; 0: none, or no rseq */
    uint64_t client_id;
    struct quarry_client_area *area;
    size_t area_bytes;
    struct host_client *host; /* in a pool of "host:" */
    _Atomic uint64_t duplicates;
    _Atomic uint64_t last_duplicate;
    _Atomic uint64_t object_calls; /* system calls that moved objects */
};

struct quarry_pool {
    struct quarry_fast fast; /* first: what programs have inlined */
    uint64_t max_bytes;
    uint64_t pool_id;
    uint64_t object_size;
    uint64_t object_count;
    uint32_t kind;
    uint32_t class_count;
    size_t handle_bytes;
    const unsigned char *class_table; /* a byte a page; NULL: the kernel has none */
    bool in_process;                  /* of "host:" */
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

static inline struct client *quarry_client_of(struct quarry_pool *pool) {
    return (struct client *)((char *)pool + QUARRY_AT_CLIENT);
}

/* This process's client, joined first in a child; NULL and errno when that fails. */
struct client *quarry_client(struct quarry_pool *pool);

/* Any request by a descriptor: the kernel's, or one of "host:". */
int quarry_request(int fd, unsigned long request, void *argument);
/* A request on this process's client: 0, or -1 and errno. */
int quarry_call_kernel(struct quarry_pool *pool, unsigned long request, void *argument);

/* The distance of the thread's struct rseq from its thread pointer; false: a stand-in's, no rseq. */
bool quarry_rseq_place(ptrdiff_t *place);

#endif
