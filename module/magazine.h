/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The memory of clients' magazines and of class tables, as mappings show it. */
#ifndef QUARRY_MAGAZINE_H
#define QUARRY_MAGAZINE_H

#include <linux/atomic.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include "include/quarry_seam.h"

struct quarry_client;
struct quarry_pool;
struct vm_area_struct;
struct vm_fault;

/* Larger objects are no size class's. Bytes. */
#define QUARRY_MAX_SLOT 2048

/* Parts of the memory of one block. */
#define QUARRY_PARTS (1 + QUARRY_CORE_MAGAZINE_PIECES)

/**
 * struct quarry_magazines - the memory of one client's magazines
 * @lock: zeroes are mapped, and parts come, under it
 * @zeroes: a page of zeroes was mapped at some time
 * @bytes: of all parts
 * @part: [cpu * QUARRY_PARTS + k]: the first page of a part, or NULL
 */
struct quarry_magazines {
	struct mutex lock;	/* the parts */
	bool zeroes;
	atomic_long_t bytes;
	struct page *part[];
};

/* magazine.c */
int quarry_magazines_init(void);
void quarry_magazines_exit(void);
u32 quarry_magazine_cpus(const struct quarry_pool *pool);
u32 quarry_class_bytes(const struct quarry_pool *pool, u32 class_index);
int quarry_magazines_open(struct quarry_client *client);
void quarry_magazines_free(struct quarry_client *client);
int quarry_magazines_map(struct quarry_client *client, struct vm_area_struct *vma);
vm_fault_t quarry_magazines_fault(struct quarry_client *client, struct vm_fault *fault,
				  unsigned long index);
vm_fault_t quarry_area_mkwrite(struct vm_fault *fault);
vm_fault_t quarry_zeroes_insert(struct vm_fault *fault);

/* classes.c */
int quarry_classes_init(struct quarry_pool *pool);
void quarry_classes_free(struct quarry_pool *pool);
int quarry_classes_cover(struct quarry_pool *pool, u64 offset, u64 pages);
int quarry_classes_map(struct quarry_pool *pool, struct vm_area_struct *vma);

#endif /* QUARRY_MAGAZINE_H */
