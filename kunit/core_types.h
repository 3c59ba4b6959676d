/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The core's types that stand alone, for the suites: ObjectCache and SlabSet as
 * the kernel's compiler makes them, behind C calls (core_types.cpp). What they
 * ask of the platform goes through the watch (core_hooks.c).
 *
 * Errors are those of the seam, positive.
 */
#ifndef QUARRY_KUNIT_CORE_TYPES_H
#define QUARRY_KUNIT_CORE_TYPES_H

#include "../module/include/quarry_seam.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- ObjectCache<Thing, IrqSpinLock, 4096>: three things to a slab ---- */

#define QUARRY_THINGS_IN_SLAB 3

struct quarry_things {		/* a handle */
	uint64_t storage[1];
};

struct quarry_thing_box {	/* a box, or none: all zeros */
	uint64_t storage[2];
};

struct quarry_things_counts {
	uint64_t live;
	uint64_t handles;
	uint64_t slabs;
	uint64_t strays;
	uint64_t meta_bytes;
};

int quarry_things_create(struct quarry_things *things, uint64_t capacity);
void quarry_things_clone(struct quarry_things *things, const struct quarry_things *from);
void quarry_things_end(struct quarry_things *things);
int quarry_things_make(struct quarry_things *things, uint64_t name, struct quarry_thing_box *box);
/* The maker of this one fails, after it has its place. */
int quarry_things_fail(struct quarry_things *things);
int quarry_things_adopt(struct quarry_things *things, void *thing, struct quarry_thing_box *box);
uint64_t quarry_things_shrink(struct quarry_things *things);
void quarry_things_count(const struct quarry_things *things, struct quarry_things_counts *counts);
void quarry_things_verify(const struct quarry_things *things, struct quarry_core_audit *audit);

void quarry_thing_drop(struct quarry_thing_box *box);
void *quarry_thing_release(struct quarry_thing_box *box);
/* The name that it was made with, if every byte of it is as it was made; else 0. */
uint64_t quarry_thing_name(const struct quarry_thing_box *box);
/* Things destroyed since the module was loaded. */
uint64_t quarry_things_destroyed(void);

/* ---- SlabSet<KernelPlatform, 2> ---- */

struct quarry_slabset;

struct quarry_slabset_answer {
	uint64_t offset;
	uint64_t pages;		/* not 0: this many are missing, for a slab of */
	uint64_t meta_bytes;
	uint32_t size_class;
};

struct quarry_slabset_freed {
	int empty;		/* then these are the caller's again: */
	uint64_t first_page;
	uint64_t pages;
	void *meta;
	uint64_t meta_bytes;
};

#define QUARRY_SLABSET_CPUS 2

/* Of the set itself, and of its map. */
uint64_t quarry_slabset_bytes(void);
uint64_t quarry_slabset_map_bytes(uint64_t pages);
struct quarry_slabset *quarry_slabset_create(void *memory, uint64_t first_page, uint64_t pages,
					     void *map);
void quarry_slabset_end(struct quarry_slabset *set);
int quarry_slabset_alloc(struct quarry_slabset *set, uint64_t size, uint64_t align,
			 struct quarry_slabset_answer *answer);
int quarry_slabset_add(struct quarry_slabset *set, uint32_t size_class, uint64_t first_page,
		       void *meta);
int quarry_slabset_free(struct quarry_slabset *set, uint64_t offset,
			struct quarry_slabset_freed *freed);
int quarry_slabset_free_sized(struct quarry_slabset *set, uint64_t offset, uint64_t size,
			      struct quarry_slabset_freed *freed);
void quarry_slabset_take_empty(struct quarry_slabset *set, uint32_t size_class,
			       struct quarry_slabset_freed *freed);
int quarry_slabset_owner(const struct quarry_slabset *set, uint64_t offset, uint32_t *cpu);
/* Slots of a slab of this class, their size, and its pages. */
uint32_t quarry_slabset_class(uint32_t size_class, uint32_t *slot_bytes, uint64_t *pages);

#ifdef __cplusplus
}
#endif

#endif /* QUARRY_KUNIT_CORE_TYPES_H */
