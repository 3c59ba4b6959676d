/* SPDX-License-Identifier: MIT */
/*
 * "host:" inside: pools and clients of this process over the core (module/core).
 *
 * One lock for all of it, with every signal blocked while it is held, so that the slow paths are
 * async-signal-safe here, too, and to the core there is one CPU and one task. The lock and the list
 * of descriptors lie in a page with MADV_WIPEONFORK: a forked child has none of it.
 *
 * Magazines. The kernel fills the one of the CPU that it runs on with interrupts off; a process cannot.
 * So entries go in and out by sequences (section.h); whoever must write a magazine from elsewhere (a
 * drain, a move to a larger array) shuts it: first UINT32_MAX, end 0, then one membarrier for that
 * CPU, after which no sequence that saw it open is under way. Own copies of first and capacity are in
 * struct host_magazine.
 */
#ifndef QUARRY_HOST_STATE_H
#define QUARRY_HOST_STATE_H

#include <linux/quarry.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../../../../module/include/quarry_seam.h"
#include "../host.h"
#include "../section.h"

#define HOST_PAGE 4096ul
#define HOST_BLOCK (1u << QUARRY_CPU_BLOCK_SHIFT)
#define HOST_MAX_POOL QUARRY_MAX_POOL
#define HOST_MAX_CLIENTS 4096u

struct host_pool {
    struct quarry_core_pool *core;
    unsigned char *base;        /* NULL: ranges */
    unsigned char *class_table; /* a byte a page */
    uint64_t max_bytes;
    uint64_t pages; /* in regions */
    uint64_t id;
    uint64_t object_size;
    uint64_t object_count;
    uint64_t client_limit;
    uint32_t kind;
    uint32_t clients;
    uint32_t classes; /* that have magazines */
    uint64_t reaps, reaped_objects, reaped_bytes, corruptions;
    uint64_t allocs, frees, refused, transfers, refills, flushes, unreachable;
    uint32_t low; /* changes of the level; odd: little memory is left */
    char name[QUARRY_NAME_LEN];
};

struct host_magazine {
    uint32_t first;
    uint32_t capacity;
    uint32_t misses; /* refills and flushes since `since` */
    bool is_shut;
    uint64_t since;
    uint64_t last; /* what it was refilled with last; QUARRY_CORE_APART: nothing yet */
};

/*
 * Free objects of one client and class between its CPUs: what one CPU flushes another one refills from,
 * and the core is not asked. Allocated when it is first needed; drained with the magazines.
 */
struct host_depot {
    uint32_t count;
    uint32_t capacity;
    uint32_t *entries;
};

struct host_client {
    struct host_client *next;
    struct host_pool *pool;
    struct quarry_core_client *core;
    ino_t inode; /* of its descriptor */
    uint64_t id;
    bool creator;
    bool dead;
    uint64_t seen_deaths, seen_corruptions;
    uint32_t seen_low;
    struct quarry_client_area *area;
    size_t area_bytes;
    uint32_t cpus;
    uint32_t *pieces;                 /* large arrays given out, of each CPU's block */
    struct host_magazine *magazines;  /* [cpu * classes + class] */
    struct host_depot depots[QUARRY_MAX_CLASSES];
    struct section_place place;
    uint64_t *table; /* place.table, with its two entries before */
    size_t private_bytes;
};

/* A control descriptor that is open. */
struct host_device {
    struct host_device *next;
    ino_t inode;
};

struct host_state {
    pthread_mutex_t lock;
    struct host_client *clients;
    struct host_device *devices;
    uint64_t next_id;
};

/* NULL: this process has never opened "host:"; all zero in a forked child. */
extern struct host_state *host_state;

sigset_t host_lock(void);
void host_unlock(sigset_t before);

/* Zeroed memory without malloc, which a signal handler must not call; and back. */
void *host_take_memory(size_t bytes);
void host_give_memory(void *memory, size_t bytes);
/* Frees what the core has retired: at the end of a call. */
void host_end_of_call(void);

/* host_magazine.c; all under the lock. */
bool host_magazines_make(struct host_client *client);
/* The two calls: a positive errno, or 0. */
int host_refill(struct host_client *client, struct quarry_refill *refill);
int host_flush(struct host_client *client, struct quarry_flush *flush);
/* Gives the depots' own memory back. */
void host_depots_free(struct host_client *client);
/* Empties all magazines and depots of a client; how many objects came home. */
uint64_t host_drain(struct host_client *client);
/* Those of all clients of a pool. */
uint64_t host_drain_all(struct host_pool *pool);

/* host_call.c */
int host_errno(int error);
/*
 * Up to `count` objects: grows the pool for them, and empties magazines while there are less than
 * `needed` of them. `near` as for quarry_core_alloc.
 */
int host_alloc(struct host_client *client, uint64_t bytes, uint64_t align, uint32_t count,
               uint32_t needed, uint64_t near, uint64_t *offsets, uint32_t *done);
int host_serve(struct host_client *client, unsigned long request, void *argument);
int host_create(struct quarry_pool_create *create);
int host_info(void *argument);
void host_reap(struct host_client *client);

#endif
