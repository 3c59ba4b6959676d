// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Reserves: objects of a cache set aside. What is set aside is live for the cache, so nobody gets
 * it; so a free looks for the object among them first, by its address's hash, lest a second free
 * of one object take it from the reserve.
 */
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "driver.h"
#include "errors.h"

struct quarry_aside {
	struct hlist_node link;
	void *object;
};

/**
 * struct quarry_reserve - objects set aside
 * @cache: of which
 * @count: how many, at most
 * @lock: of what follows
 * @left: how many there are, the first of @objects; read as a hint
 * @buckets: those by hash
 * @bits: of a hash
 * @objects: a stack
 */
struct quarry_reserve {
	struct quarry_cache *cache;
	unsigned int count;
	raw_spinlock_t lock;	/* of what is set aside */
	unsigned int left;
	struct hlist_head *buckets;
	unsigned int bits;
	struct quarry_aside objects[];
};

static struct hlist_head *bucket_of(const struct quarry_reserve *reserve, const void *object)
{
	return &reserve->buckets[hash_ptr(object, reserve->bits)];
}

/* Under the lock, but when it is made and ended. */
static void push(struct quarry_reserve *reserve, void *object)
{
	struct quarry_aside *aside = &reserve->objects[reserve->left];

	aside->object = object;
	hlist_add_head(&aside->link, bucket_of(reserve, object));
	WRITE_ONCE(reserve->left, reserve->left + 1);
}

static void *pop(struct quarry_reserve *reserve)
{
	struct quarry_aside *aside;

	if (!reserve->left)
		return NULL;
	WRITE_ONCE(reserve->left, reserve->left - 1);
	aside = &reserve->objects[reserve->left];
	hlist_del(&aside->link);
	return aside->object;
}

static bool is_aside(const struct quarry_reserve *reserve, const void *object)
{
	struct quarry_aside *aside;

	hlist_for_each_entry(aside, bucket_of(reserve, object), link)
		if (aside->object == object)
			return true;
	return false;
}

struct quarry_reserve *quarry_reserve_create(struct quarry_cache *cache, unsigned int count)
{
	struct quarry_reserve *reserve;
	void *object;

	might_sleep();
	if (!count || count > QUARRY_RESERVE_MAX)
		return ERR_PTR(-EINVAL);
	reserve = kvzalloc(struct_size(reserve, objects, count), GFP_KERNEL);
	if (!reserve)
		return ERR_PTR(-ENOMEM);
	reserve->cache = cache;
	reserve->count = count;
	raw_spin_lock_init(&reserve->lock);
	/* A hash of no bits is none. */
	reserve->bits = max(order_base_2(count), 1);
	reserve->buckets = kvcalloc(BIT(reserve->bits), sizeof(*reserve->buckets), GFP_KERNEL);
	if (!reserve->buckets)
		goto no_memory;
	while (reserve->left < count) {
		object = quarry_driver_alloc(&cache->heap, cache->request, cache->align,
					     GFP_KERNEL, _RET_IP_);
		if (!object)
			goto no_memory;
		push(reserve, object);
	}
	return reserve;
no_memory:
	quarry_reserve_destroy(reserve);
	return ERR_PTR(-ENOMEM);
}
EXPORT_SYMBOL_GPL(quarry_reserve_create);

void quarry_reserve_destroy(struct quarry_reserve *reserve)
{
	if (IS_ERR_OR_NULL(reserve))
		return;
	might_sleep();
	while (reserve->left)
		quarry_cache_free(reserve->cache, pop(reserve));
	kvfree(reserve->buckets);
	kvfree(reserve);
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
	object = pop(reserve);
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

	raw_spin_lock_irqsave(&reserve->lock, flags);
	if (is_aside(reserve, object))
		error = QUARRY_E_ALREADY_FREE;
	/* To its own size: asks only whether it is a live object's start. */
	if (!error && reserve->left < reserve->count) {
		error = quarry_core_heap_resize(heap->core, offset, reserve->cache->request);
		if (!error) {
			push(reserve, object);
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
	return quarry_driver_give(heap, object, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_reserve_free);

unsigned int quarry_reserve_left(const struct quarry_reserve *reserve)
{
	return READ_ONCE(reserve->left);
}
EXPORT_SYMBOL_GPL(quarry_reserve_left);
