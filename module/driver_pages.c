// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Pages of drivers' heaps: by order, or exactly so many. */
#include <linux/export.h>
#include <linux/mm.h>

#include "driver.h"
#include "errors.h"

#define MOST_ORDER 10U

static void *alloc_run(struct quarry_heap *heap, u64 pages, unsigned int align, gfp_t gfp,
		       unsigned long caller)
{
	struct quarry_driver_want want = {
		.heap = heap,
		.pages = pages,
		.align = align,
		.growth = pages,
	};

	return pages ? quarry_driver_take(&want, gfp, caller) : NULL;
}

static int free_run(struct quarry_heap *heap, const void *memory, u64 pages, unsigned long caller)
{
	u64 offset = quarry_driver_offset(heap, memory);
	int error;

	if (!memory)
		return 0;
	error = pages ? quarry_core_heap_free_pages(heap->core, offset, pages) : QUARRY_E_INVALID;
	return error ? quarry_driver_refused(heap, QUARRY_DRIVER_FREE, error, offset, caller) : 0;
}

void *quarry_alloc_pages(struct quarry_heap *heap, unsigned int order, gfp_t gfp)
{
	if (order > MOST_ORDER)
		return NULL;
	return alloc_run(heap, 1ULL << order, order, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_alloc_pages);

int quarry_free_pages(struct quarry_heap *heap, const void *memory, unsigned int order)
{
	return free_run(heap, memory, order > MOST_ORDER ? 0 : 1ULL << order, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_free_pages);

void *quarry_alloc_pages_exact(struct quarry_heap *heap, u64 pages, gfp_t gfp)
{
	return alloc_run(heap, pages, 0, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_alloc_pages_exact);

int quarry_free_pages_exact(struct quarry_heap *heap, const void *memory, u64 pages)
{
	return free_run(heap, memory, pages, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_free_pages_exact);
