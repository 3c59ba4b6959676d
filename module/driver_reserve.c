// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Reserves: objects of a cache set aside. What is set aside is live for the cache, so nobody gets
 * it; so a free looks for the object among them first, lest a second free of one object take
 * it from the reserve.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "driver.h"
#include "errors.h"

struct quarry_reserve {
	struct quarry_cache *cache;
	unsigned int count;
	raw_spinlock_t lock;
	unsigned int left;	/* under the lock; read as a hint */
	void *objects[];
};

struct quarry_reserve *quarry_reserve_create(struct quarry_cache *cache, unsigned int count)
{
	struct quarry_reserve *reserve;

	might_sleep();
	if (!count || count > QUARRY_RESERVE_MAX)
		return ERR_PTR(-EINVAL);
	reserve = kzalloc(struct_size(reserve, objects, count), GFP_KERNEL);
	if (!reserve)
		return ERR_PTR(-ENOMEM);
	reserve->cache = cache;
	reserve->count = count;
	raw_spin_lock_init(&reserve->lock);
	for (; reserve->left < count; reserve->left++) {
		void *object = quarry_driver_alloc(&cache->heap, cache->request, cache->align,
						   GFP_KERNEL, _RET_IP_);

		if (!object) {
			quarry_reserve_destroy(reserve);
			return ERR_PTR(-ENOMEM);
		}
		reserve->objects[reserve->left] = object;
	}
	return reserve;
}
EXPORT_SYMBOL_GPL(quarry_reserve_create);

void quarry_reserve_destroy(struct quarry_reserve *reserve)
{
	if (IS_ERR_OR_NULL(reserve))
		return;
	might_sleep();
	quarry_cache_free_bulk(reserve->cache, reserve->left, reserve->objects);
	kfree(reserve);
}
EXPORT_SYMBOL_GPL(quarry_reserve_destroy);

void *quarry_reserve_alloc(struct quarry_reserve *reserve, gfp_t gfp)
{
	struct quarry_cache *cache = reserve->cache;
	void *object = quarry_cache_alloc(cache, GFP_NOWAIT | (gfp & __GFP_ZERO));
	unsigned long flags;

	if (likely(object))
		return object;
	raw_spin_lock_irqsave(&reserve->lock, flags);
	if (reserve->left)
		object = reserve->objects[--reserve->left];
	raw_spin_unlock_irqrestore(&reserve->lock, flags);
	if (!object)
		return NULL;
	if (cache->zero || gfp & __GFP_ZERO)
		quarry_driver_finish(&cache->heap, quarry_driver_offset(&cache->heap, object),
				     __GFP_ZERO);
	if (cache->constructor)
		cache->constructor(object);
	return object;
}
EXPORT_SYMBOL_GPL(quarry_reserve_alloc);

/* An enum quarry_error; OK: the reserve has the object, or is full. */
static int put_aside(struct quarry_reserve *reserve, void *object, bool *taken)
{
	struct quarry_heap *heap = &reserve->cache->heap;
	u64 offset = quarry_driver_offset(heap, object);
	int error = QUARRY_OK;
	unsigned long flags;
	unsigned int i;

	raw_spin_lock_irqsave(&reserve->lock, flags);
	for (i = 0; i < reserve->left && !error; i++)
		if (reserve->objects[i] == object)
			error = QUARRY_E_ALREADY_FREE;
	/* To its own size: asks only whether it is a live object's start. */
	if (!error && reserve->left < reserve->count) {
		error = quarry_core_heap_resize(heap->core, offset, reserve->cache->request);
		if (!error) {
			reserve->objects[reserve->left] = object;
			WRITE_ONCE(reserve->left, reserve->left + 1);
			*taken = true;
		}
	}
	raw_spin_unlock_irqrestore(&reserve->lock, flags);
	return error;
}

int quarry_reserve_free(struct quarry_reserve *reserve, void *object)
{
	struct quarry_heap *heap = &reserve->cache->heap;
	bool taken = false;
	int error;

	if (!object)
		return 0;
	error = put_aside(reserve, object, &taken);
	if (error)
		return quarry_driver_refused(heap, QUARRY_DRIVER_FREE, error,
					     quarry_driver_offset(heap, object), _RET_IP_);
	if (taken)
		return 0;
	if (likely(quarry_driver_try_free(heap, object)))
		return 0;
	return quarry_driver_free(heap, object, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_reserve_free);

unsigned int quarry_reserve_left(const struct quarry_reserve *reserve)
{
	return READ_ONCE(reserve->left);
}
EXPORT_SYMBOL_GPL(quarry_reserve_left);
