// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Memory of drivers' heaps: the system's pages, taken as they are needed, or what drivers bring. */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "driver.h"
#include "errors.h"
#include "trace.h"

/* Largest piece that the system gives: 4 MiB. */
#define MOST_PAGES (SZ_4M >> PAGE_SHIFT)
/* A heap grows by an eighth of what it has, but by this at least. */
#define LEAST_PAGES (SZ_512K >> PAGE_SHIFT)

static void give_pages(struct quarry_heap *heap, struct quarry_driver_region *region)
{
	if (!heap->brought)
		free_pages_exact((void *)(heap->base + (region->first << PAGE_SHIFT)),
				 region->pages << PAGE_SHIFT);
	kfree(region);
}

static int region_node(const struct quarry_heap *heap, const struct quarry_driver_region *region)
{
	return page_to_nid(virt_to_page((void *)(heap->base + (region->first << PAGE_SHIFT))));
}

/* Under heap->grow. The core has let go of it. */
static void leave(struct quarry_heap *heap, struct quarry_driver_region *region)
{
	list_del(&region->link);
	WRITE_ONCE(heap->bytes, heap->bytes - (region->pages << PAGE_SHIFT));
	trace_region_remove(heap->id, region->first << PAGE_SHIFT, region->pages << PAGE_SHIFT);
	give_pages(heap, region);
}

/* Under heap->grow. */
static int join(struct quarry_heap *heap, enum quarry_core_zone zone, u64 first, u64 pages)
{
	struct quarry_driver_region *region = kzalloc(sizeof(*region), GFP_KERNEL);
	int error;

	if (!region)
		return -ENOMEM;
	region->first = first;
	region->pages = pages;
	region->zone = zone;
	error = quarry_core_heap_add_region(heap->core, first, pages, zone);
	if (error) {
		kfree(region);
		return quarry_errno(error);
	}
	list_add_tail(&region->link, &heap->regions);
	WRITE_ONCE(heap->bytes, heap->bytes + (pages << PAGE_SHIFT));
	WRITE_ONCE(heap->growths, heap->growths + 1);
	trace_region_add(heap->id, first << PAGE_SHIFT, pages << PAGE_SHIFT, zone);
	return 0;
}

/* Under heap->grow. One region of so many pages of the system's. */
static int add_piece(struct quarry_heap *heap, enum quarry_core_zone zone, u64 pages)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	size_t bytes = pages << PAGE_SHIFT;
	unsigned int order = get_order(bytes);
	unsigned long i;
	struct page *page;
	int err;

	if (zone == QUARRY_CORE_LOWMEM)
		gfp |= __GFP_DMA32;
	page = alloc_pages_node(heap->node, gfp, order);
	if (!page)
		return -ENOMEM;
	split_page(page, order);
	for (i = pages; i < 1UL << order; i++)
		__free_page(page + i);
	err = join(heap, zone, quarry_driver_offset(heap, page_address(page)) >> PAGE_SHIFT, pages);
	if (err)
		free_pages_exact(page_address(page), bytes);
	return err;
}

/**
 * quarry_driver_grow() - add a region because an allocation needs it
 * @heap: the heap
 * @zone: where from
 * @pages: contiguous pages that would help
 * @seen: heap->growths before the attempt that failed
 *
 * Context: task, no lock held.
 * Return: 0: try again; -ENOSPC at the maximum or above what one piece can be, -ENOMEM.
 */
int quarry_driver_grow(struct quarry_heap *heap, enum quarry_core_zone zone, u64 pages, u64 seen)
{
	u64 room, step;
	int err = 0;

	if (heap->brought || pages > MOST_PAGES)
		return -ENOSPC;
	mutex_lock(&heap->grow);
	if (heap->growths != seen)
		goto unlock;
	room = (heap->max_bytes - heap->bytes) >> PAGE_SHIFT;
	err = -ENOSPC;
	if (pages > room)
		goto unlock;
	step = clamp_t(u64, heap->bytes >> (PAGE_SHIFT + 3), LEAST_PAGES, MOST_PAGES);
	step = max_t(u64, rounddown_pow_of_two(step), roundup_pow_of_two(pages));
	for (step = min(step, room); ; step = max(step / 2, pages)) {
		err = add_piece(heap, zone, step);
		if (err != -ENOMEM || step == pages)
			break;
	}
unlock:
	mutex_unlock(&heap->grow);
	return err;
}

/**
 * quarry_driver_grow_to() - have at least so much memory
 * @heap: a heap of the system's pages
 * @bytes: how much
 *
 * Context: task.
 * Return: 0, -ENOSPC, -ENOMEM.
 */
int quarry_driver_grow_to(struct quarry_heap *heap, u64 bytes)
{
	u64 pages, most = MOST_PAGES;
	int err = 0;

	if (bytes > heap->max_bytes)
		return -ENOSPC;
	mutex_lock(&heap->grow);
	while (heap->bytes < bytes) {
		pages = min(DIV_ROUND_UP(bytes - heap->bytes, PAGE_SIZE), most);
		err = add_piece(heap, QUARRY_CORE_NORMAL, pages);
		if (err == -ENOMEM && most > 1) {
			most = max_t(u64, pages / 2, 1);
			continue;
		}
		if (err)
			break;
	}
	mutex_unlock(&heap->grow);
	return err;
}

static void add_more(struct work_struct *work)
{
	struct quarry_heap *heap = container_of(work, struct quarry_heap, more);
	u64 pages = atomic64_xchg(&heap->wanted, 0);

	if (pages)
		quarry_driver_grow(heap, QUARRY_CORE_NORMAL, pages, READ_ONCE(heap->growths));
}

/**
 * quarry_driver_more() - an atomic caller went without: grow soon
 * @heap: the heap
 * @pages: contiguous pages that would have helped
 *
 * Context: any, not NMI.
 */
void quarry_driver_more(struct quarry_heap *heap, u64 pages)
{
	if (heap->brought || READ_ONCE(heap->bytes) + (pages << PAGE_SHIFT) > heap->max_bytes)
		return;
	atomic64_set(&heap->wanted, pages);
	schedule_work(&heap->more);
}

void quarry_driver_memory_init(struct quarry_heap *heap)
{
	mutex_init(&heap->grow);
	INIT_LIST_HEAD(&heap->regions);
	INIT_WORK(&heap->more, add_more);
}

/* Under heap->grow. */
static bool may_go(struct quarry_heap *heap, const struct quarry_driver_region *region, int node)
{
	return region_node(heap, region) == node &&
	       heap->bytes - (region->pages << PAGE_SHIFT) >= heap->least_bytes;
}

static bool is_free(struct quarry_heap *heap, const struct quarry_driver_region *region)
{
	return quarry_core_heap_free_in(heap->core, region->first) == region->pages;
}

static unsigned long count_idle(struct quarry_idle *idle, int node, unsigned long *candidates)
{
	struct quarry_heap *heap = container_of(idle, struct quarry_heap, idle);
	struct quarry_driver_region *region;
	unsigned long pages = 0;

	if (!mutex_trylock(&heap->grow))
		return 0;
	list_for_each_entry(region, &heap->regions, link) {
		if (!may_go(heap, region, node))
			continue;
		*candidates += region->pages;
		if (is_free(heap, region))
			pages += region->pages;
	}
	mutex_unlock(&heap->grow);
	return pages;
}

static unsigned long give_idle(struct quarry_idle *idle, int node, unsigned long pages)
{
	struct quarry_heap *heap = container_of(idle, struct quarry_heap, idle);
	struct quarry_driver_region *region, *next;
	unsigned long given = 0;

	if (!mutex_trylock(&heap->grow))
		return 0;
	list_for_each_entry_safe(region, next, &heap->regions, link) {
		if (region->pages > pages - given || !may_go(heap, region, node) ||
		    !is_free(heap, region) ||
		    quarry_core_heap_remove_idle(heap->core, region->first))
			continue;
		given += region->pages;
		leave(heap, region);
	}
	mutex_unlock(&heap->grow);
	return given;
}

static void trim(struct quarry_idle *idle)
{
	quarry_core_heap_drain(container_of(idle, struct quarry_heap, idle)->core);
}

static const struct quarry_idle_ops idle_ops = {
	.count = count_idle,
	.scan = give_idle,
	.trim = trim,
};

/**
 * quarry_driver_memory_ready() - the heap is made: what is idle may go back
 * @heap: the heap
 *
 * Context: task.
 */
void quarry_driver_memory_ready(struct quarry_heap *heap)
{
	if (!heap->brought)
		quarry_idle_add(&heap->idle, &idle_ops);
}

/* Nothing more grows, and nothing goes back. */
void quarry_driver_memory_exit(struct quarry_heap *heap)
{
	quarry_idle_remove(&heap->idle);
	cancel_work_sync(&heap->more);
}

/* The core knows no region any more. */
void quarry_driver_forget(struct quarry_heap *heap)
{
	struct quarry_driver_region *region, *next;

	list_for_each_entry_safe(region, next, &heap->regions, link)
		give_pages(heap, region);
}

/* Names the first of what is live. Context: task. */
void quarry_driver_list_live(struct quarry_heap *heap)
{
	struct quarry_driver_region *region;
	unsigned int left = 8;

	mutex_lock(&heap->grow);
	list_for_each_entry(region, &heap->regions, link)
		quarry_driver_list(heap, region->first << PAGE_SHIFT, region->pages << PAGE_SHIFT,
				   &left);
	mutex_unlock(&heap->grow);
}

u64 quarry_heap_shrink(struct quarry_heap *heap)
{
	struct quarry_driver_region *region, *next;
	u64 bytes = 0;

	might_sleep();
	if (heap->brought)
		return 0;
	mutex_lock(&heap->grow);
	list_for_each_entry_safe(region, next, &heap->regions, link) {
		if (quarry_core_heap_remove_region(heap->core, region->first))
			continue;
		bytes += region->pages << PAGE_SHIFT;
		leave(heap, region);
	}
	mutex_unlock(&heap->grow);
	return bytes;
}
EXPORT_SYMBOL_GPL(quarry_heap_shrink);

int quarry_heap_add(struct quarry_heap *heap, void *start, u64 bytes)
{
	u64 offset = quarry_driver_offset(heap, start);
	u64 gap = heap->start - heap->base;
	int err;

	might_sleep();
	if (!heap->brought || !bytes || !PAGE_ALIGNED(bytes) || !PAGE_ALIGNED(start))
		return -EINVAL;
	if ((unsigned long)start < heap->start || bytes > heap->max_bytes ||
	    offset - gap > heap->max_bytes - bytes)
		return -ERANGE;
	mutex_lock(&heap->grow);
	err = join(heap, QUARRY_CORE_NORMAL, offset >> PAGE_SHIFT, bytes >> PAGE_SHIFT);
	mutex_unlock(&heap->grow);
	return err;
}
EXPORT_SYMBOL_GPL(quarry_heap_add);

int quarry_heap_remove(struct quarry_heap *heap, void *start)
{
	u64 first = quarry_driver_offset(heap, start) >> PAGE_SHIFT;
	struct quarry_driver_region *region;
	int err = -ENOENT;

	might_sleep();
	if (!heap->brought || !PAGE_ALIGNED(start))
		return -EINVAL;
	mutex_lock(&heap->grow);
	list_for_each_entry(region, &heap->regions, link) {
		if (region->first != first)
			continue;
		err = quarry_errno(quarry_core_heap_remove_region(heap->core, first));
		if (!err)
			leave(heap, region);
		break;
	}
	mutex_unlock(&heap->grow);
	return err;
}
EXPORT_SYMBOL_GPL(quarry_heap_remove);
