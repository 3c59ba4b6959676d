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

static int freed(struct quarry_heap *heap, const void *memory, int error, unsigned long caller)
{
	if (likely(!error))
		return 0;
	return quarry_driver_refused(heap, QUARRY_DRIVER_FREE, error,
				     quarry_driver_offset(heap, memory), caller);
}

/* The fast halves. */
static __always_inline u64 try_alloc(struct quarry_heap *heap, unsigned int order)
{
	u64 offset;

	preempt_disable();
	offset = quarry_core_heap_try_pages(heap->core, (unsigned int)smp_processor_id(), order);
	preempt_enable();
	return offset;
}

static __always_inline bool try_free(struct quarry_heap *heap, u64 offset, unsigned int order)
{
	bool done;

	preempt_disable();
	done = quarry_core_heap_try_free_pages(heap->core, (unsigned int)smp_processor_id(), offset,
					       order);
	preempt_enable();
	return done;
}

void *quarry_alloc_pages(struct quarry_heap *heap, unsigned int order, gfp_t gfp)
{
	u64 offset = QUARRY_NO_OBJECT;

	if (unlikely(order > MOST_ORDER))
		return NULL;
	if (likely(!(gfp & __GFP_DMA32)))
		offset = try_alloc(heap, order);
	if (unlikely(offset == QUARRY_NO_OBJECT))
		return alloc_run(heap, 1ULL << order, order, gfp, _RET_IP_);
	if (unlikely(gfp & __GFP_ZERO))
		return quarry_driver_finish(heap, offset, gfp);
	return (void *)(heap->base + offset);
}
EXPORT_SYMBOL_GPL(quarry_alloc_pages);

int quarry_free_pages(struct quarry_heap *heap, const void *memory, unsigned int order)
{
	u64 offset = quarry_driver_offset(heap, memory);
	int error = QUARRY_E_INVALID;

	if (likely(try_free(heap, offset, order)) || !memory)
		return 0;
	if (order <= MOST_ORDER)
		error = quarry_core_heap_free_block(heap->core, offset, order);
	return freed(heap, memory, error, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_free_pages);

void *quarry_alloc_pages_exact(struct quarry_heap *heap, u64 pages, gfp_t gfp)
{
	return alloc_run(heap, pages, 0, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_alloc_pages_exact);

int quarry_free_pages_exact(struct quarry_heap *heap, const void *memory, u64 pages)
{
	int error = QUARRY_E_INVALID;

	if (!memory)
		return 0;
	if (pages)
		error = quarry_core_heap_free_pages(heap->core, quarry_driver_offset(heap, memory),
						    pages);
	return freed(heap, memory, error, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_free_pages_exact);
