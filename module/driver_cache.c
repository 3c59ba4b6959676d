// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Drivers' caches: objects of one size, each cache on a heap of its own. */
#include <linux/cache.h>
#include <linux/export.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "driver.h"
#include "errors.h"

/* Objects that one pinned section handles. */
#define STEP 32

/* There is more to do than to take a slot. */
static bool needs_finish(const struct quarry_cache *cache)
{
	return cache->zero || cache->constructor;
}

struct quarry_cache *quarry_cache_create(const struct quarry_cache_config *config)
{
	struct quarry_heap_config heap = {
		.name = config->name,
		.use_node = config->use_node,
		.node = config->node,
		.max_bytes = config->max_bytes,
	};
	size_t align = config->align ?: 8;
	struct quarry_cache *cache;
	int err;

	might_sleep();
	if (config->flags & QUARRY_CACHE_HWALIGN)
		align = max_t(size_t, align, cache_line_size());
	if (config->flags & ~(QUARRY_CACHE_HWALIGN | QUARRY_CACHE_ZERO) || !config->size ||
	    config->size > SZ_4M || !is_power_of_2(align) || align > SZ_4M)
		return ERR_PTR(-EINVAL);
	cache = kzalloc(sizeof(*cache), GFP_KERNEL);
	if (!cache)
		return ERR_PTR(-ENOMEM);
	cache->align = max_t(size_t, align, 8);
	cache->request = quarry_core_heap_slot_bytes(config->size, cache->align);
	/* Slots of a class are so aligned by their size. */
	if (cache->request)
		cache->align = 8;
	else
		cache->request = config->size;
	err = -ENOSPC;
	if (config->max_bytes && config->objects > div64_u64(config->max_bytes, cache->request))
		goto free;
	cache->zero = config->flags & QUARRY_CACHE_ZERO;
	cache->constructor = config->constructor;
	cache->place = quarry_core_heap_place(needs_finish(cache) ? 0 : cache->request);
	err = quarry_driver_heap_init(&cache->heap, &heap);
	if (err)
		goto free;
	if (config->objects) {
		err = quarry_cache_prefill(cache, config->objects);
		if (err) {
			quarry_driver_heap_exit(&cache->heap, _RET_IP_);
			goto free;
		}
	}
	return cache;
free:
	kfree(cache);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(quarry_cache_create);

int quarry_cache_destroy(struct quarry_cache *cache)
{
	int err;

	if (IS_ERR_OR_NULL(cache))
		return 0;
	err = quarry_driver_heap_exit(&cache->heap, _RET_IP_);
	if (!err)
		kfree(cache);
	return err;
}
EXPORT_SYMBOL_GPL(quarry_cache_destroy);

static noinline void *finish(struct quarry_cache *cache, void *object, gfp_t gfp)
{
	if (cache->zero || gfp & __GFP_ZERO)
		quarry_driver_finish(&cache->heap, quarry_driver_offset(&cache->heap, object),
				     __GFP_ZERO);
	if (cache->constructor)
		cache->constructor(object);
	return object;
}

/* What the fast half could not serve: it is not tried for objects that want to be finished. */
void *quarry_driver_cache_take(struct quarry_heap *heap, gfp_t gfp, unsigned long caller)
{
	struct quarry_cache *cache = container_of(heap, struct quarry_cache, heap);
	u64 offset = QUARRY_NO_OBJECT;
	void *object;

	if (needs_finish(cache))
		offset = quarry_driver_try_alloc(heap, cache->request);
	if (offset != QUARRY_NO_OBJECT)
		return finish(cache, (void *)(heap->base + offset), gfp);
	object = quarry_driver_alloc(heap, cache->request, cache->align,
				     gfp & ~(__GFP_ZERO | __GFP_DMA32), caller);
	return object ? finish(cache, object, gfp) : NULL;
}

static noinline void *alloc_zeroed(struct quarry_cache *cache, gfp_t gfp, unsigned long caller)
{
	u64 offset = QUARRY_NO_OBJECT;

	if (!needs_finish(cache))
		offset = quarry_driver_try_alloc(&cache->heap, cache->request);
	if (offset == QUARRY_NO_OBJECT)
		return quarry_driver_cache_take(&cache->heap, gfp, caller);
	return finish(cache, (void *)(cache->heap.base + offset), gfp);
}

void *quarry_cache_alloc(struct quarry_cache *cache, gfp_t gfp)
{
	void *object;

	if (unlikely(gfp & __GFP_ZERO))
		return alloc_zeroed(cache, gfp, _RET_IP_);
	preempt_disable();
	object = quarry_core_heap_fast_take(cache->heap.core, (__force unsigned int)gfp,
					    cache->place, smp_processor_id(), _RET_IP_);
	preempt_enable();
	return object;
}
EXPORT_SYMBOL_GPL(quarry_cache_alloc);

int quarry_cache_free(struct quarry_cache *cache, const void *object)
{
	return quarry_driver_give(&cache->heap, object, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_cache_free);

static_assert(sizeof(void *) == sizeof(uint64_t));

size_t quarry_cache_alloc_bulk(struct quarry_cache *cache, gfp_t gfp, size_t count,
			       void **objects)
{
	struct quarry_heap *heap = &cache->heap;
	size_t got = 0, i;

	while (got < count) {
		u32 done = 0;

		if (cache->request <= 2048 && cache->align == 8)
			quarry_core_heap_alloc_bulk(heap->core, cache->request, heap->base,
						    min_t(size_t, count - got, STEP),
						    (u64 *)(objects + got), &done, QUARRY_ATOMIC);
		if (!done) {
			/* One by the way that grows the heap. */
			objects[got] = quarry_driver_alloc(heap, cache->request, cache->align,
							   gfp & ~(__GFP_ZERO | __GFP_DMA32),
							   _RET_IP_);
			if (!objects[got])
				break;
			done = 1;
		}
		got += done;
	}
	if (needs_finish(cache) || gfp & __GFP_ZERO)
		for (i = 0; i < got; i++)
			finish(cache, objects[i], gfp);
	return got;
}
EXPORT_SYMBOL_GPL(quarry_cache_alloc_bulk);

int quarry_cache_free_bulk(struct quarry_cache *cache, size_t count, void **objects)
{
	struct quarry_heap *heap = &cache->heap;
	size_t at = 0;
	int first = 0;

	while (at < count) {
		u32 n = min_t(size_t, count - at, STEP), done = 0;
		int error = quarry_core_heap_free_bulk(heap->core, heap->base, n,
						       (u64 *)(objects + at), &done);

		at += done;
		if (error) {
			int err = quarry_driver_refused(heap, QUARRY_DRIVER_FREE, error,
							quarry_driver_offset(heap, objects[at]),
							_RET_IP_);

			first = first ?: err;
			at++;
		}
	}
	return first;
}
EXPORT_SYMBOL_GPL(quarry_cache_free_bulk);

int quarry_cache_prefill(struct quarry_cache *cache, size_t count)
{
	size_t got = 0;
	void **objects;

	might_sleep();
	objects = kvcalloc(count, sizeof(*objects), GFP_KERNEL);
	if (!objects)
		return -ENOMEM;
	for (; got < count; got++) {
		objects[got] = quarry_driver_alloc(&cache->heap, cache->request, cache->align,
						   GFP_KERNEL, _RET_IP_);
		if (!objects[got])
			break;
	}
	quarry_cache_free_bulk(cache, got, objects);
	kvfree(objects);
	return got == count ? 0 : -ENOMEM;
}
EXPORT_SYMBOL_GPL(quarry_cache_prefill);

u64 quarry_cache_shrink(struct quarry_cache *cache)
{
	return quarry_heap_shrink(&cache->heap);
}
EXPORT_SYMBOL_GPL(quarry_cache_shrink);

struct quarry_heap *quarry_cache_heap(struct quarry_cache *cache)
{
	return &cache->heap;
}
EXPORT_SYMBOL_GPL(quarry_cache_heap);
