// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Pages of drivers' heaps: by order, or exactly so many. */
#include <linux/export.h>
#include <linux/mm.h>

#include "driver.h"
#include "errors.h"

#define MOST_ORDER 10U

/* As quarry_driver_alloc(). */
static void *alloc_run(struct quarry_heap *heap, u64 pages, unsigned int align, gfp_t gfp,
		       unsigned long caller)
{
	enum quarry_core_zone zone = gfp & __GFP_DMA32 ? QUARRY_CORE_LOWMEM : QUARRY_CORE_NORMAL;
	enum quarry_context context = quarry_driver_context(heap, gfp, caller);
	u64 seen, offset;
	int error;

	do {
		seen = READ_ONCE(heap->growths);
		error = quarry_core_heap_alloc_pages(heap->core, pages, align, zone, &offset,
						     QUARRY_ATOMIC);
	} while (quarry_driver_full(error) && context == QUARRY_MAY_SLEEP &&
		 !quarry_driver_grow(heap, zone, pages, seen));
	if (quarry_driver_full(error) && context == QUARRY_ATOMIC)
		quarry_driver_more(heap, pages);
	if ((quarry_driver_full(error) || error == QUARRY_E_NO_MEMORY) &&
	    context == QUARRY_MAY_SLEEP)
		error = quarry_core_heap_alloc_pages(heap->core, pages, align, zone, &offset,
						     context);
	return error ? NULL : quarry_driver_finish(heap, offset, gfp);
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
