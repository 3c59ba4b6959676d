/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Drivers' heaps, as the shim sees them (linux/quarry.h is the drivers' view).
 *
 * An address is its offset + base. Where the heap takes the system's pages, base is the address
 * of physical address 0: so offsets are physical, and alignments, too. Where the driver
 * brings memory, base is the driver's, rounded down to 4 MiB.
 */
#ifndef QUARRY_DRIVER_H
#define QUARRY_DRIVER_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "idle.h"
#include "include/linux/quarry.h"
#include "include/quarry_seam.h"

#define QUARRY_DRIVER_NAME_LEN 32

/**
 * struct quarry_heap - a driver's heap
 * @id: of tracepoints and debugfs; the first member, as a pool's
 * @core: the core's half
 * @base: address of offset 0
 * @brought: memory is the driver's
 * @flags: QUARRY_HEAP_*
 * @node: where memory comes from, or NUMA_NO_NODE
 * @max_bytes: most memory
 * @least_bytes: what pressure leaves of it
 * @start: brought memory: the first address
 * @grow: serialises what adds and removes regions, and audits
 * @regions: struct quarry_driver_region, under @grow
 * @bytes: in all regions; written under @grow
 * @growths: regions added; written under @grow
 * @wanted: pages that an atomic caller went without
 * @more: adds them
 * @idle: gives back what is idle; not for brought memory
 * @refused: calls refused as wrong use
 * @dir: of debugfs
 * @name: for people
 */
struct quarry_heap {
	u64 id;
	struct quarry_core_heap *core;
	unsigned long base;
	bool brought;
	unsigned int flags;
	int node;
	u64 max_bytes;
	u64 least_bytes;
	unsigned long start;

	struct mutex grow;	/* what adds and removes regions, and audits */
	struct list_head regions;
	u64 bytes;
	u64 growths;
	atomic64_t wanted;
	struct work_struct more;
	struct quarry_idle idle;
	atomic64_t refused;
	struct dentry *dir;
	char name[QUARRY_DRIVER_NAME_LEN];
};

static_assert(offsetof(struct quarry_heap, id) == 0);

/**
 * struct quarry_driver_region - one piece of a heap's memory
 * @link: in the heap's list
 * @first: page of the offset space
 * @pages: how many
 * @zone: as it was asked for
 */
struct quarry_driver_region {
	struct list_head link;
	u64 first;
	u64 pages;
	enum quarry_core_zone zone;
};

/* A cache is a heap of its own that all of one size is taken from. */
struct quarry_cache {
	struct quarry_heap heap;
	u64 request;		/* what is asked of the core: of a class its slots' bytes */
	u64 place;		/* of its magazines; that of none if there is more to do */
	u64 align;		/* above that of the class; else 8 */
	bool zero;
	void (*constructor)(void *object);
};

/* Who calls: the caller of a refused event. */
enum quarry_driver_call {
	QUARRY_DRIVER_ALLOC = 1,
	QUARRY_DRIVER_FREE,
	QUARRY_DRIVER_RESIZE,
	QUARRY_DRIVER_DESTROY,
};

/**
 * struct quarry_driver_want - what an allocation asks of the core
 * @heap: of which heap
 * @size: bytes; with @pages 0
 * @pages: or so many pages
 * @align: of @size: a power of two, in bytes; of @pages: as a power of two, in pages
 * @growth: contiguous pages that would help
 * @zone: where from; set by quarry_driver_take()
 */
struct quarry_driver_want {
	struct quarry_heap *heap;
	u64 size;
	u64 pages;
	u64 align;
	u64 growth;
	enum quarry_core_zone zone;
};

/* driver_heap.c */
int quarry_driver_heap_init(struct quarry_heap *heap, const struct quarry_heap_config *config);
int quarry_driver_heap_exit(struct quarry_heap *heap, unsigned long caller);
void *quarry_driver_finish(struct quarry_heap *heap, u64 offset, gfp_t gfp);
enum quarry_context quarry_driver_context(struct quarry_heap *heap, gfp_t gfp,
					  unsigned long caller);
void *quarry_driver_alloc(struct quarry_heap *heap, u64 size, u64 align, gfp_t gfp,
			  unsigned long caller);
void *quarry_driver_take(struct quarry_driver_want *want, gfp_t gfp, unsigned long caller);
int quarry_driver_free(struct quarry_heap *heap, u64 offset, unsigned long caller);

/* driver_cache.c */
void *quarry_driver_cache_take(struct quarry_heap *heap, gfp_t gfp, unsigned long caller);

/* driver_memory.c */
int quarry_driver_grow(struct quarry_heap *heap, enum quarry_core_zone zone, u64 pages, u64 seen);
int quarry_driver_grow_to(struct quarry_heap *heap, u64 bytes);
void quarry_driver_more(struct quarry_heap *heap, u64 pages);
void quarry_driver_memory_init(struct quarry_heap *heap);
void quarry_driver_memory_ready(struct quarry_heap *heap);
void quarry_driver_memory_exit(struct quarry_heap *heap);
void quarry_driver_forget(struct quarry_heap *heap);
void quarry_driver_list_live(struct quarry_heap *heap);

/* driver_debugfs.c */
void quarry_driver_debugfs_add(struct quarry_heap *heap);
void quarry_driver_debugfs_remove(struct quarry_heap *heap);

/* driver_report.c */
int quarry_driver_refused(struct quarry_heap *heap, enum quarry_driver_call call, int error,
			  u64 offset, unsigned long caller);
void quarry_driver_list(struct quarry_heap *heap, u64 first, u64 bytes, unsigned int *left);

static inline u64 quarry_driver_offset(const struct quarry_heap *heap, const void *memory)
{
	return (unsigned long)memory - heap->base;
}

/* More memory would help; UNINITIALISED: the heap has none yet. */
static inline bool quarry_driver_full(int error)
{
	return error == QUARRY_E_POOL_FULL || error == QUARRY_E_UNINITIALISED;
}

/* A free: 0, or what is wrong with it. */
static __always_inline int quarry_driver_give(struct quarry_heap *heap, const void *memory,
					      unsigned long caller)
{
	int err;

	preempt_disable();
	err = quarry_core_heap_fast_free(heap->core, memory, smp_processor_id(), caller);
	preempt_enable();
	return err;
}

/* The fast half of an allocation. */
static __always_inline u64 quarry_driver_try_alloc(struct quarry_heap *heap, u64 size)
{
	u64 offset;

	preempt_disable();
	offset = quarry_core_heap_try_alloc(heap->core, (unsigned int)smp_processor_id(), size);
	preempt_enable();
	return offset;
}

#endif /* QUARRY_DRIVER_H */
