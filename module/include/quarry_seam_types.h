/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What passes the seam (quarry_seam.h, which includes this): plain C types. */
#ifndef QUARRY_SEAM_TYPES_H
#define QUARRY_SEAM_TYPES_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* Ranks of the core's locks, outermost first. lockdep gets a class for each. */
enum quarry_lock_rank {
	QUARRY_LOCK_REGIONS,	/* one pool's table of regions */
	QUARRY_LOCK_DEPOT,	/* one size class's stock of magazines */
	QUARRY_LOCK_SHARES,	/* one pool's objects that become shared */
	QUARRY_LOCK_CLASS,	/* one size class's slabs */
	QUARRY_LOCK_CLIENT,	/* one client's chain of what it owns */
	QUARRY_LOCK_OVERFLOW,	/* one pool's table of further owners */
	QUARRY_LOCK_PAGES,	/* one pool's buddy, or its ranges */
	QUARRY_LOCK_OBJECTS,	/* one cache of the core's own objects */
	QUARRY_LOCK_RANKS
};

/*
 * Storage of one lock. A kernel with lock debugging needs more room: Kbuild
 * then says how much, for both languages alike.
 */
#ifndef QUARRY_OS_LOCK_BYTES
#define QUARRY_OS_LOCK_BYTES 16
#endif
struct quarry_os_lock {
	uint64_t storage[QUARRY_OS_LOCK_BYTES / 8];
};

/* What a caller's context allows. */
enum quarry_context {
	QUARRY_MAY_SLEEP,
	QUARRY_ATOMIC,
};

/* What happened to the allocator's own records. */
enum quarry_corruption {
	QUARRY_CORRUPT_DUPLICATE,	/* a slot was given out twice */
	QUARRY_CORRUPT_DOUBLE_HOME,	/* a slot came home twice */
	QUARRY_CORRUPT_STRAY_HOME,	/* a slot came home that was never out */
	QUARRY_CORRUPT_MAGAZINE,	/* a magazine held what is no slot */
	QUARRY_CORRUPT_STRUCTURE,	/* the audit found a contradiction */
};

enum quarry_core_kind {
	QUARRY_CORE_HEAP,
	QUARRY_CORE_FIXED,
	QUARRY_CORE_RANGE,
};

/* Declared alignments of a range pool, and most ranges that one may have live. */
#define QUARRY_CORE_RANGE_ALIGNS	3
#define QUARRY_CORE_MAX_RANGES		(1U << 20)

/* Memory of a client's magazines on one CPU, in bytes (quarry_os_magazine_memory). */
#define QUARRY_CORE_MAGAZINE_BASE	(16U << 10)
#define QUARRY_CORE_MAGAZINE_PIECE	(8U << 10)
#define QUARRY_CORE_MAGAZINE_PIECES	14U

enum quarry_core_zone {
	QUARRY_CORE_NORMAL,
	QUARRY_CORE_LOWMEM,
};

struct quarry_core_pool_config {
	enum quarry_core_kind kind;
	uint32_t max_clients;		/* 1..65532 */
	uint64_t max_pages;		/* the offset space, 1..2^23; fixed: 0 for what it needs */
	uint64_t object_size;		/* fixed: a multiple of 8 */
	uint64_t object_count;		/* fixed */
	uint64_t capacity;		/* range: bytes, whole granules; no region is added */
	uint64_t granule;		/* range: a power of two; sizes are rounded up to it */
	uint64_t max_ranges;		/* range: 1..QUARRY_CORE_MAX_RANGES live at a time */
	uint64_t aligns[QUARRY_CORE_RANGE_ALIGNS]; /* range: above the granule, or 0 */
	int zero_on_regrant;		/* POOL_ZERO; not for ranges */
	int hold_pinned;		/* HOLD_PINNED; NOT_SUPPORTED: no whole pages */
	void *os_pool;			/* handed back to the hooks */
};

struct quarry_core_region {
	uint64_t offset;	/* bytes from the pool's start */
	uint64_t pages;
	enum quarry_core_zone zone;
	void *cookie;		/* the shim's: its pages */
};

/* Who was in the way of a refused free or transfer. */
struct quarry_core_refusal {
	uint64_t offset;
	uint64_t owner;		/* id of the client that owns it, or 0 */
};

struct quarry_core_flushed {
	uint32_t drained;	/* entries taken from the magazine */
	uint32_t bad;		/* of those, no objects of this client and class */
	int bad_error;		/* of the first of them */
	uint64_t bad_offset;
};

struct quarry_core_drained {
	uint64_t slots;		/* that came home */
	uint64_t magazines;	/* that held something */
	uint32_t unreachable;	/* CPUs, as of on_each_cpu_steps */
};

struct quarry_core_class_stat {
	uint32_t size;
	uint32_t slabs;
	uint64_t live;
	uint64_t free;
};

struct quarry_core_stat {
	uint64_t max_bytes;
	uint64_t bytes;
	uint64_t free_bytes;
	uint64_t used_bytes;
	uint64_t objects;
	uint64_t meta_bytes;
	uint32_t regions;
	uint32_t slabs;
	uint32_t clients;
	uint32_t classes;
	uint32_t shares;	/* records of holders of shared objects */
	uint32_t aside;		/* objects that clients have set aside */
	uint64_t held_bytes;	/* that nobody owns and I/O holds */
};

struct quarry_core_audit {
	uint64_t faults;
	uint64_t first_offset;
	uint64_t pages;
	uint64_t slabs;
	uint64_t objects;
	char first[64];
};

#endif /* QUARRY_SEAM_TYPES_H */
