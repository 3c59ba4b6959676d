// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Drivers' heaps: made, ended, looked at; memory of any size. */
#include <linux/export.h>
#include <linux/io.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "driver.h"
#include "errors.h"
#include "pool.h"
#include "trace.h"

static atomic64_t last_id;

int quarry_driver_heap_init(struct quarry_heap *heap, const struct quarry_heap_config *config)
{
	u64 pages;
	int err;

	if (!config->name || config->flags & ~QUARRY_HEAP_IO)
		return -EINVAL;
	if (config->use_node && config->node != NUMA_NO_NODE &&
	    (config->node < 0 || config->node >= MAX_NUMNODES || !node_online(config->node)))
		return -EINVAL;
	heap->brought = config->base;
	if (heap->brought && (!PAGE_ALIGNED(config->base) || config->bytes || !config->max_bytes ||
			      !PAGE_ALIGNED(config->max_bytes)))
		return -EINVAL;
	if (!heap->brought && config->flags)
		return -EINVAL;
	heap->node = config->use_node ? config->node : NUMA_NO_NODE;
	heap->flags = config->flags;
	heap->max_bytes = config->max_bytes ?: BIT_ULL(51);
	heap->least_bytes = config->bytes;
	heap->start = (unsigned long)config->base;
	if (heap->brought) {
		heap->base = round_down(heap->start, SZ_4M);
		if (heap->max_bytes > BIT_ULL(51))
			return -EINVAL;
		pages = (heap->start - heap->base + heap->max_bytes) >> PAGE_SHIFT;
	} else {
		heap->base = (unsigned long)__va(0);
		pages = BIT_ULL(51 - PAGE_SHIFT);
	}
	heap->id = QUARRY_DRIVER_ID | atomic64_inc_return(&last_id);
	snprintf(heap->name, sizeof(heap->name), "%s", config->name);
	quarry_driver_memory_init(heap);
	err = quarry_errno(quarry_core_heap_create(pages, heap, heap->base, &heap->core));
	if (err)
		return err;
	err = quarry_driver_grow_to(heap, config->bytes);
	if (!err) {
		quarry_driver_memory_ready(heap);
		quarry_driver_debugfs_add(heap);
		trace_pool_create(heap->id, QUARRY_CORE_HEAP, heap->bytes, heap->max_bytes,
				  heap->name);
		return 0;
	}
	quarry_core_heap_destroy(heap->core);
	quarry_driver_forget(heap);
	return err;
}

struct quarry_heap *quarry_heap_create(const struct quarry_heap_config *config)
{
	struct quarry_heap *heap;
	int err;

	might_sleep();
	heap = kzalloc(sizeof(*heap), GFP_KERNEL);
	if (!heap)
		return ERR_PTR(-ENOMEM);
	err = quarry_driver_heap_init(heap, config);
	if (!err)
		return heap;
	kfree(heap);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(quarry_heap_create);

/* -EBUSY: something is live; then nothing has changed. */
int quarry_driver_heap_exit(struct quarry_heap *heap, unsigned long caller)
{
	struct quarry_core_stat stat;

	might_sleep();
	quarry_driver_memory_exit(heap);
	quarry_core_heap_drain(heap->core);
	quarry_core_heap_stat(heap->core, &stat);
	if (stat.used_bytes) {
		quarry_driver_memory_ready(heap);
		quarry_driver_list_live(heap);
		pr_err("quarry: %s: not ended: %llu bytes are live\n", heap->name, stat.used_bytes);
		return quarry_driver_refused(heap, QUARRY_DRIVER_DESTROY, QUARRY_E_BUSY, 0, caller);
	}
	/* Readers of its files are done when this returns. */
	quarry_driver_debugfs_remove(heap);
	trace_pool_destroy(heap->id);
	quarry_core_heap_destroy(heap->core);
	/* Readers that still look at its records end first. */
	synchronize_rcu();
	quarry_driver_forget(heap);
	return 0;
}

int quarry_heap_destroy(struct quarry_heap *heap)
{
	int err;

	if (IS_ERR_OR_NULL(heap))
		return 0;
	err = quarry_driver_heap_exit(heap, _RET_IP_);
	if (!err)
		kfree(heap);
	return err;
}
EXPORT_SYMBOL_GPL(quarry_heap_destroy);

/* May this caller sleep? One that says so where it must not is reported, and does not. */
enum quarry_context quarry_driver_context(struct quarry_heap *heap, gfp_t gfp,
					  unsigned long caller)
{
	if (!gfpflags_allow_blocking(gfp))
		return QUARRY_ATOMIC;
	if (likely(!in_interrupt() && !irqs_disabled()))
		return QUARRY_MAY_SLEEP;
	quarry_driver_refused(heap, QUARRY_DRIVER_ALLOC, QUARRY_E_INVALID, 0, caller);
	return QUARRY_ATOMIC;
}

/* What is to be done with memory before its owner has it. */
void *quarry_driver_finish(struct quarry_heap *heap, u64 offset, gfp_t gfp)
{
	void *memory = (void *)(heap->base + offset);

	if (gfp & __GFP_ZERO) {
		u64 bytes = quarry_core_heap_usable(heap->core, offset);

		if (heap->flags & QUARRY_HEAP_IO)
			memset_io((void __iomem __force *)memory, 0, bytes);
		else
			memset(memory, 0, bytes);
	}
	return memory;
}

static int take(const struct quarry_driver_want *want, u64 *offset, enum quarry_context context)
{
	if (want->pages)
		return quarry_core_heap_alloc_pages(want->heap->core, want->pages, want->align,
						    want->zone, offset, context);
	return quarry_core_heap_alloc(want->heap->core, want->size, want->align, want->zone, offset,
				      context);
}

/*
 * What the fast half could not serve. A sleeping caller first takes what is at hand, then lets the
 * heap grow, and only at its end has all CPUs give back what they keep.
 */
void *quarry_driver_take(struct quarry_driver_want *want, gfp_t gfp, unsigned long caller)
{
	enum quarry_context context = quarry_driver_context(want->heap, gfp, caller);
	u64 seen, offset;
	int error;

	want->zone = gfp & __GFP_DMA32 ? QUARRY_CORE_LOWMEM : QUARRY_CORE_NORMAL;
	do {
		seen = READ_ONCE(want->heap->growths);
		error = take(want, &offset, QUARRY_ATOMIC);
	} while (quarry_driver_full(error) && context == QUARRY_MAY_SLEEP &&
		 !quarry_driver_grow(want->heap, want->zone, want->growth, seen));
	if (quarry_driver_full(error) && context == QUARRY_ATOMIC)
		quarry_driver_more(want->heap, want->growth);
	if ((quarry_driver_full(error) || error == QUARRY_E_NO_MEMORY) &&
	    context == QUARRY_MAY_SLEEP)
		error = take(want, &offset, context);
	return error ? NULL : quarry_driver_finish(want->heap, offset, gfp);
}

void *quarry_driver_alloc(struct quarry_heap *heap, u64 size, u64 align, gfp_t gfp,
			  unsigned long caller)
{
	struct quarry_driver_want want = {
		.heap = heap,
		.size = size,
		.align = align,
		.growth = DIV_ROUND_UP(max(size, align), PAGE_SIZE),
	};

	if (in_nmi())
		return NULL;
	/* A slab is at most so large. */
	if (size <= 2048)
		want.growth = max_t(u64, want.growth, 8);
	return quarry_driver_take(&want, gfp, caller);
}

/* Memory that more is asked of than to be there. */
static noinline void *alloc_special(struct quarry_heap *heap, size_t size, gfp_t gfp,
				    unsigned long caller)
{
	u64 offset = QUARRY_NO_OBJECT;

	if (!(gfp & __GFP_DMA32))
		offset = quarry_driver_try_alloc(heap, size);
	if (offset == QUARRY_NO_OBJECT)
		return quarry_driver_alloc(heap, size, 8, gfp, caller);
	return quarry_driver_finish(heap, offset, gfp);
}

void *quarry_alloc(struct quarry_heap *heap, size_t size, gfp_t gfp)
{
	void *object;

	if (unlikely(gfp & (__GFP_ZERO | __GFP_DMA32)))
		return alloc_special(heap, size, gfp, _RET_IP_);
	preempt_disable();
	object = quarry_core_heap_fast_alloc(heap->core, size, (__force unsigned int)gfp,
					     smp_processor_id(), _RET_IP_);
	preempt_enable();
	return object;
}
EXPORT_SYMBOL_GPL(quarry_alloc);

void *quarry_alloc_aligned(struct quarry_heap *heap, size_t size, size_t align, gfp_t gfp)
{
	if (!is_power_of_2(align) || align > SZ_4M)
		return NULL;
	return quarry_driver_alloc(heap, size, max_t(size_t, align, 8), gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_alloc_aligned);

/* What the fast half of a free could not do, or would not. */
int quarry_driver_free(struct quarry_heap *heap, u64 offset, unsigned long caller)
{
	int error;

	/* NULL. */
	if (offset + heap->base == 0)
		return 0;
	error = in_nmi() ? quarry_core_heap_free_remote(heap->core, offset) :
			   quarry_core_heap_free(heap->core, offset);
	return error ? quarry_driver_refused(heap, QUARRY_DRIVER_FREE, error, offset, caller) : 0;
}

int quarry_free(struct quarry_heap *heap, const void *memory)
{
	return quarry_driver_give(heap, memory, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_free);

size_t quarry_usable_size(struct quarry_heap *heap, const void *memory)
{
	return quarry_core_heap_usable(heap->core, quarry_driver_offset(heap, memory));
}
EXPORT_SYMBOL_GPL(quarry_usable_size);

int quarry_resize(struct quarry_heap *heap, const void *memory, size_t size)
{
	u64 offset = quarry_driver_offset(heap, memory);
	int error = quarry_core_heap_resize(heap->core, offset, size);

	/* No wrong use. */
	if (!error || error == QUARRY_E_CANNOT_GROW)
		return quarry_errno(error);
	return quarry_driver_refused(heap, QUARRY_DRIVER_RESIZE, error, offset, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_resize);

void quarry_heap_stat(struct quarry_heap *heap, struct quarry_heap_stat *stat)
{
	struct quarry_core_stat core;

	quarry_core_heap_stat(heap->core, &core);
	*stat = (struct quarry_heap_stat){
		.bytes = core.bytes,
		.free_bytes = core.free_bytes,
		.used_bytes = core.used_bytes,
		.objects = core.objects,
		.meta_bytes = core.meta_bytes,
		.regions = core.regions,
		.slabs = core.slabs,
		.refused = atomic64_read(&heap->refused),
	};
}
EXPORT_SYMBOL_GPL(quarry_heap_stat);

int quarry_heap_verify(struct quarry_heap *heap, bool quiet)
{
	struct quarry_core_audit audit = {};

	might_sleep();
	mutex_lock(&heap->grow);
	quarry_core_heap_verify(heap->core, quiet, &audit);
	mutex_unlock(&heap->grow);
	if (!audit.faults)
		return 0;
	pr_err("quarry: %s: verify: %llu faults, the first at offset %#llx: %s\n", heap->name,
	       audit.faults, audit.first_offset, audit.first);
	return -EUCLEAN;
}
EXPORT_SYMBOL_GPL(quarry_heap_verify);

u64 quarry_heap_id(const struct quarry_heap *heap)
{
	return heap->id;
}
EXPORT_SYMBOL_GPL(quarry_heap_id);
