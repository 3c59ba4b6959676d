// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The drivers' API (linux/quarry.h): what a driver sees, in the contexts that drivers have. */
#include <linux/completion.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/numa.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "quarry_kunit.h"
#include "../module/include/linux/quarry.h"

static struct quarry_cache *make_cache(struct kunit *test, size_t size, u64 max_bytes)
{
	struct quarry_cache_config config = {
		.name = "kunit", .size = size, .max_bytes = max_bytes,
	};
	struct quarry_cache *cache = quarry_cache_create(&config);

	KUNIT_ASSERT_FALSE(test, IS_ERR(cache));
	return cache;
}

static void end_cache(struct kunit *test, struct quarry_cache *cache)
{
	KUNIT_EXPECT_EQ(test, quarry_heap_verify(quarry_cache_heap(cache), true), 0);
	KUNIT_EXPECT_EQ(test, quarry_cache_destroy(cache), 0);
}

static void objects_of_each_size_are_apart_and_hold_what_is_written(struct kunit *test)
{
	static const size_t sizes[] = { 1, 8, 24, 64, 96, 192, 1000, 2048, 2049, 4096, 10000, 1 << 20 };
	unsigned int s, i, n, bad;
	void *objects[100];

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct quarry_cache *cache = make_cache(test, sizes[s], 0);

		n = sizes[s] > 10000 ? 4 : ARRAY_SIZE(objects);
		for (i = 0; i < n; i++) {
			objects[i] = quarry_cache_alloc(cache, GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, objects[i]);
			memset(objects[i], i, sizes[s]);
		}
		for (i = 0, bad = 0; i < n; i++) {
			bad += !!memchr_inv(objects[i], i, sizes[s]);
			bad += quarry_cache_free(cache, objects[i]) != 0;
		}
		KUNIT_EXPECT_EQ(test, bad, 0u);
		end_cache(test, cache);
	}
}

static void constructed(void *object)
{
	*(u32 *)object += 7;
}

static void alignment_zero_and_constructor_are_kept(struct kunit *test)
{
	struct quarry_cache_config config = {
		.name = "kunit", .size = 72, .flags = QUARRY_CACHE_HWALIGN | QUARRY_CACHE_ZERO,
		.constructor = constructed, .use_node = true, .node = 0, .objects = 1000,
	};
	struct quarry_cache *cache = quarry_cache_create(&config);
	unsigned int i, bad = 0;
	void *object;

	KUNIT_ASSERT_FALSE(test, IS_ERR(cache));
	for (i = 0; i < 100; i++) {
		object = quarry_cache_alloc(cache, GFP_ATOMIC);
		KUNIT_ASSERT_NOT_NULL(test, object);
		bad += (unsigned long)object % cache_line_size() || *(u32 *)object != 7;
		memset(object, 0xff, 72);
		quarry_cache_free(cache, object);
	}
	KUNIT_EXPECT_EQ(test, bad, 0u);
	end_cache(test, cache);
	config.size = 100;
	config.flags = 0;
	config.objects = 0;
	config.constructor = NULL;
	for (config.align = 8; config.align <= SZ_64K; config.align *= 2) {
		cache = quarry_cache_create(&config);
		KUNIT_ASSERT_FALSE(test, IS_ERR(cache));
		object = quarry_cache_alloc(cache, GFP_KERNEL);
		KUNIT_EXPECT_NOT_NULL(test, object);
		KUNIT_EXPECT_EQ(test, (unsigned long)object % config.align, 0ul);
		quarry_cache_free(cache, object);
		end_cache(test, cache);
	}
}

static void a_bulk_is_one_by_one(struct kunit *test)
{
	struct quarry_cache *cache = make_cache(test, 64, 0);
	void **objects = quarry_kunit_memory(test, 3000 * sizeof(void *));
	struct quarry_heap_stat stat;
	unsigned int i, bad = 0;

	KUNIT_EXPECT_EQ(test, quarry_cache_alloc_bulk(cache, GFP_KERNEL | __GFP_ZERO, 3000, objects),
			(size_t)3000);
	for (i = 0; i < 3000; i++) {
		bad += !!memchr_inv(objects[i], 0, 64);
		memset(objects[i], 1, 64);
	}
	KUNIT_EXPECT_EQ(test, bad, 0u);
	quarry_heap_stat(quarry_cache_heap(cache), &stat);
	KUNIT_EXPECT_EQ(test, stat.objects, (u64)3000);
	/* What is refused in the middle leaves the rest freed. */
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, objects[1500]), 0);
	KUNIT_EXPECT_EQ(test, quarry_cache_free_bulk(cache, 3000, objects), -EALREADY);
	quarry_heap_stat(quarry_cache_heap(cache), &stat);
	KUNIT_EXPECT_EQ(test, stat.objects, (u64)0);
	KUNIT_EXPECT_EQ(test, stat.refused, (u64)1);
	end_cache(test, cache);
}

static void wrong_frees_are_refused_and_change_nothing(struct kunit *test)
{
	struct quarry_cache *cache = make_cache(test, 64, 0), *other = make_cache(test, 64, 0);
	void *object = quarry_cache_alloc(cache, GFP_KERNEL);
	void *foreign = quarry_cache_alloc(other, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, object);
	KUNIT_ASSERT_NOT_NULL(test, foreign);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, NULL), 0);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, object + 8), -EBADSLT);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, object + 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, foreign), -ENXIO);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, (void *)8), -ERANGE);
	KUNIT_EXPECT_EQ(test, quarry_cache_destroy(cache), -EBUSY);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, object), 0);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(cache, object), -EALREADY);
	KUNIT_EXPECT_EQ(test, quarry_cache_free(other, foreign), 0);
	end_cache(test, other);
	end_cache(test, cache);
}

static void configs_that_cannot_be_are_refused(struct kunit *test)
{
	struct quarry_cache_config none = { .name = "kunit" };
	struct quarry_cache_config align = { .name = "kunit", .size = 8, .align = 24 };
	struct quarry_cache_config flags = { .name = "kunit", .size = 8, .flags = 1U << 31 };
	struct quarry_cache_config node = { .name = "kunit", .size = 8, .use_node = true, .node = 999 };
	struct quarry_cache_config name = { .size = 8 };
	struct quarry_cache_config many = { .name = "kunit", .size = 64, .objects = 65,
					    .max_bytes = PAGE_SIZE };
	struct quarry_heap_config bytes = { .name = "kunit", .bytes = SZ_1M, .max_bytes = SZ_64K };
	struct quarry_heap_config base = { .name = "kunit", .base = (void *)PAGE_SIZE + 1,
					   .max_bytes = SZ_64K };

	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_cache_create(&none)), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_cache_create(&align)), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_cache_create(&flags)), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_cache_create(&node)), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_cache_create(&name)), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_cache_create(&many)), (long)-ENOSPC);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_heap_create(&bytes)), (long)-ENOSPC);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_heap_create(&base)), (long)-EINVAL);
}

static void a_full_cache_gives_all_of_it_and_then_null(struct kunit *test)
{
	struct quarry_cache *cache = make_cache(test, 64, SZ_64K);
	void **objects = quarry_kunit_memory(test, 1100 * sizeof(void *));
	unsigned int n = 0;

	while (n < 1100 && (objects[n] = quarry_cache_alloc(cache, GFP_KERNEL)))
		n++;
	KUNIT_EXPECT_EQ(test, n, (unsigned int)(SZ_64K / 64));
	KUNIT_EXPECT_NULL(test, quarry_cache_alloc(cache, GFP_ATOMIC));
	KUNIT_EXPECT_EQ(test, quarry_cache_free_bulk(cache, n, objects), 0);
	KUNIT_EXPECT_EQ(test, quarry_cache_shrink(cache), (u64)SZ_64K);
	/* And it grows again. */
	objects[0] = quarry_cache_alloc(cache, GFP_KERNEL);
	KUNIT_EXPECT_NOT_NULL(test, objects[0]);
	quarry_cache_free(cache, objects[0]);
	end_cache(test, cache);
}

static void a_heap_has_any_size_and_resizes_in_place(struct kunit *test)
{
	struct quarry_heap_config config = { .name = "kunit" };
	struct quarry_heap *heap = quarry_heap_create(&config);
	size_t size;
	void *p;

	KUNIT_ASSERT_FALSE(test, IS_ERR(heap));
	for (size = 1; size <= SZ_4M; size = size * 3 / 2 + 1) {
		p = quarry_alloc(heap, size, GFP_KERNEL | __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, p);
		KUNIT_EXPECT_GE(test, quarry_usable_size(heap, p), size);
		KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, quarry_usable_size(heap, p)));
		memset(p, 1, quarry_usable_size(heap, p));
		KUNIT_EXPECT_EQ(test, quarry_resize(heap, p, quarry_usable_size(heap, p)), 0);
		KUNIT_EXPECT_EQ(test, quarry_resize(heap, p, quarry_usable_size(heap, p) + 1), -ENOSPC);
		KUNIT_EXPECT_EQ(test, quarry_resize(heap, p, 1), 0);
		KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
		KUNIT_EXPECT_EQ(test, quarry_usable_size(heap, p), (size_t)0);
		KUNIT_EXPECT_EQ(test, quarry_resize(heap, p, 1), -EALREADY);
	}
	KUNIT_EXPECT_NULL(test, quarry_alloc(heap, 0, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, quarry_alloc(heap, SZ_4M + 1, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, quarry_alloc_aligned(heap, 8, 24, GFP_KERNEL));
	p = quarry_alloc_aligned(heap, 100, SZ_16K, GFP_KERNEL);
	KUNIT_EXPECT_TRUE(test, p && IS_ALIGNED((unsigned long)p, SZ_16K));
	KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
	p = quarry_alloc(heap, 100, GFP_KERNEL | __GFP_DMA32);
	KUNIT_EXPECT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_verify(heap, true), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_destroy(heap), 0);
}

/* It gave back the front of the block, and the rest was no block any more. */
static void a_block_freed_by_a_smaller_order_is_refused_and_stays(struct kunit *test)
{
	struct quarry_heap_config config = { .name = "kunit", .bytes = SZ_1M };
	struct quarry_heap *heap = quarry_heap_create(&config);
	unsigned int order, other;
	void *p;

	KUNIT_ASSERT_FALSE(test, IS_ERR(heap));
	for (order = 0; order <= 6; order++) {
		p = quarry_alloc_pages(heap, order, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p);
		for (other = 0; other <= 6; other++)
			if (other != order)
				KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, p, other), -EMSGSIZE);
		KUNIT_EXPECT_EQ(test, quarry_usable_size(heap, p), PAGE_SIZE << order);
		KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, p, order), 0);
	}
	KUNIT_EXPECT_EQ(test, quarry_heap_verify(heap, true), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_destroy(heap), 0);
}

static void pages_come_by_order_and_by_count(struct kunit *test)
{
	struct quarry_heap_config config = { .name = "kunit", .bytes = SZ_1M };
	struct quarry_heap *heap = quarry_heap_create(&config);
	unsigned int order;
	void *p;

	KUNIT_ASSERT_FALSE(test, IS_ERR(heap));
	for (order = 0; order <= 10; order++) {
		p = quarry_alloc_pages(heap, order, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p);
		KUNIT_EXPECT_EQ(test, __pa(p) % (PAGE_SIZE << order), 0ul);
		memset(p, 1, PAGE_SIZE << order);
		KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, p, 11), -EINVAL);
		KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, p + 8, order), -EINVAL);
		KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, p, order), 0);
		KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, p, order), -EALREADY);
		p = quarry_alloc_pages(heap, order, GFP_KERNEL | __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, p);
		KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, PAGE_SIZE << order));
		KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
	}
	KUNIT_EXPECT_EQ(test, quarry_free_pages(heap, NULL, 0), 0);
	KUNIT_EXPECT_NULL(test, quarry_alloc_pages(heap, 11, GFP_KERNEL));
	p = quarry_alloc_pages_exact(heap, 5, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, 5 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, quarry_free_pages_exact(heap, p + 3 * PAGE_SIZE, 2), 0);
	KUNIT_EXPECT_EQ(test, quarry_free_pages_exact(heap, p, 5), -EMSGSIZE);
	KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_verify(heap, true), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_destroy(heap), 0);
}

/* Large enough for slabs of any class, wherever it begins. */
#define HALF (32 * PAGE_SIZE)

static void brought_memory_comes_and_goes(struct kunit *test)
{
	void *memory = alloc_pages_exact(2 * HALF, GFP_KERNEL), *p;
	struct quarry_heap_config config = {
		.name = "kunit", .base = memory, .max_bytes = 2 * HALF, .flags = QUARRY_HEAP_IO,
	};
	struct quarry_heap *heap;

	KUNIT_ASSERT_NOT_NULL(test, memory);
	heap = quarry_heap_create(&config);
	KUNIT_ASSERT_FALSE(test, IS_ERR(heap));
	KUNIT_EXPECT_NULL(test, quarry_alloc(heap, 8, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, quarry_heap_add(heap, memory + 1, PAGE_SIZE), -EINVAL);
	KUNIT_EXPECT_EQ(test, quarry_heap_add(heap, memory + HALF, HALF + PAGE_SIZE), -ERANGE);
	KUNIT_EXPECT_EQ(test, quarry_heap_add(heap, memory, HALF), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_add(heap, memory, HALF), -EEXIST);
	KUNIT_EXPECT_NULL(test, quarry_alloc(heap, HALF + PAGE_SIZE, GFP_KERNEL));
	p = quarry_alloc(heap, HALF, GFP_ATOMIC | __GFP_ZERO);
	KUNIT_EXPECT_PTR_EQ(test, p, memory);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, HALF));
	KUNIT_EXPECT_EQ(test, quarry_heap_remove(heap, memory), -EBUSY);
	KUNIT_EXPECT_EQ(test, quarry_heap_add(heap, memory + HALF, HALF), 0);
	KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
	p = quarry_alloc(heap, 64, GFP_KERNEL);
	KUNIT_EXPECT_TRUE(test, p >= memory && p < memory + 2 * HALF);
	KUNIT_EXPECT_EQ(test, quarry_free(heap, p), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_remove(heap, memory), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_remove(heap, memory), -ENOENT);
	KUNIT_EXPECT_EQ(test, quarry_heap_shrink(heap), (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_heap_destroy(heap), 0);
	free_pages_exact(memory, 2 * HALF);
}

static void a_reserve_cannot_fail(struct kunit *test)
{
	struct quarry_cache *cache = make_cache(test, 256, SZ_64K);
	void **objects = quarry_kunit_memory(test, 300 * sizeof(void *)), *held[20];
	struct quarry_reserve *reserve = quarry_reserve_create(cache, 20);
	unsigned int n = 0, i;

	KUNIT_ASSERT_FALSE(test, IS_ERR(reserve));
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_reserve_create(cache, 0)), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_reserve_create(cache, QUARRY_RESERVE_MAX + 1)),
			(long)-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_reserve_create(cache, 257)), (long)-ENOMEM);
	while (n < 300 && (objects[n] = quarry_cache_alloc(cache, GFP_KERNEL)))
		n++;
	KUNIT_EXPECT_EQ(test, n, 256u - 20);
	for (i = 0; i < 20; i++) {
		held[i] = quarry_reserve_alloc(reserve, __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, held[i]);
	}
	KUNIT_EXPECT_NULL(test, quarry_reserve_alloc(reserve, 0));
	KUNIT_EXPECT_EQ(test, quarry_reserve_free(reserve, held[0]), 0);
	KUNIT_EXPECT_EQ(test, quarry_reserve_free(reserve, held[0]), -EALREADY);
	KUNIT_EXPECT_EQ(test, quarry_reserve_free(reserve, held[1] + 8), -EBADSLT);
	for (i = 1; i < 20; i++)
		KUNIT_EXPECT_EQ(test, quarry_reserve_free(reserve, held[i]), 0);
	KUNIT_EXPECT_EQ(test, quarry_reserve_free(reserve, held[5]), -EALREADY);
	KUNIT_EXPECT_EQ(test, quarry_reserve_left(reserve), 20u);
	/* It is full: the next goes to the cache. */
	KUNIT_EXPECT_EQ(test, quarry_reserve_free(reserve, objects[--n]), 0);
	quarry_reserve_destroy(reserve);
	KUNIT_EXPECT_EQ(test, quarry_cache_free_bulk(cache, n, objects), 0);
	end_cache(test, cache);
}

static void ranges_fit_resize_and_refuse(struct kunit *test)
{
	struct quarry_range_config config = {
		.capacity = SZ_64M, .granule = 4096, .max_live = 100, .aligns = { SZ_2M },
	};
	struct quarry_range *range = quarry_range_create(&config);
	u64 a, b, live;

	KUNIT_ASSERT_FALSE(test, IS_ERR(range));
	KUNIT_EXPECT_EQ(test, quarry_range_alloc(range, 10000, 0, &a), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_alloc(range, SZ_1M, SZ_2M, &b), 0);
	KUNIT_EXPECT_EQ(test, b % SZ_2M, (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_range_used(range, &live), (u64)SZ_1M + 3 * 4096);
	KUNIT_EXPECT_EQ(test, live, (u64)2);
	KUNIT_EXPECT_EQ(test, quarry_range_resize(range, a, 4096), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_resize(range, a, SZ_64M), -ENOSPC);
	KUNIT_EXPECT_EQ(test, quarry_range_resize(range, a, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, quarry_range_alloc(range, SZ_64M, 0, &live), -ENOSPC);
	KUNIT_EXPECT_EQ(test, quarry_range_free(range, b + 4096), -EBADSLT);
	KUNIT_EXPECT_EQ(test, quarry_range_free(range, b + 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, quarry_range_free(range, SZ_64M), -ERANGE);
	KUNIT_EXPECT_EQ(test, quarry_range_destroy(range), -EBUSY);
	KUNIT_EXPECT_EQ(test, quarry_range_verify(range), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_free(range, a), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_free(range, a), -EALREADY);
	KUNIT_EXPECT_EQ(test, quarry_range_free(range, b), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_destroy(range), 0);
	config.flags = ~(unsigned int)QUARRY_RANGE_TASK;
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_range_create(&config)), (long)-EINVAL);
	config.flags = 0;
	config.granule = 3;
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_range_create(&config)), (long)-EINVAL);
	config.granule = 4096;
	config.max_live = (1 << 20) + 1;
	KUNIT_EXPECT_EQ(test, PTR_ERR(quarry_range_create(&config)), (long)-EFBIG);
}

/* ---- contexts ------------------------------------------------------------------ */

struct visitor {
	struct irq_work work;
	struct rcu_head rcu;
	struct completion over;
	struct quarry_cache *cache;
	struct quarry_range *range;
	void *bring;		/* freed there */
	void *take;		/* allocated there */
	unsigned int wrong;
	unsigned int hard;
	unsigned int soft;
};

static void visit(struct visitor *visitor)
{
	void *objects[70];
	unsigned int i;
	u64 offset;
	size_t n;

	visitor->hard += !!in_hardirq();
	visitor->soft += !!in_serving_softirq();
	visitor->wrong += quarry_cache_free(visitor->cache, visitor->bring) != 0;
	n = quarry_cache_alloc_bulk(visitor->cache, GFP_ATOMIC, ARRAY_SIZE(objects), objects);
	visitor->wrong += n != ARRAY_SIZE(objects);
	for (i = 0; i < n; i++)
		visitor->wrong += quarry_cache_free(visitor->cache, objects[i]) != 0;
	visitor->take = quarry_cache_alloc(visitor->cache, GFP_ATOMIC);
	visitor->wrong += !visitor->take;
	visitor->wrong += quarry_range_alloc(visitor->range, 4096, 0, &offset) ||
			  quarry_range_free(visitor->range, offset);
	complete(&visitor->over);
}

static void visit_hard(struct irq_work *work)
{
	visit(container_of(work, struct visitor, work));
}

static void visit_soft(struct rcu_head *rcu)
{
	visit(container_of(rcu, struct visitor, rcu));
}

static void interrupts_allocate_and_free(struct kunit *test)
{
	struct quarry_cache_config config = { .name = "kunit", .size = 64, .objects = 2000 };
	struct quarry_range_config ranges = { .capacity = SZ_1M, .granule = 4096, .max_live = 10 };
	struct visitor visitor = {};
	unsigned int i;

	visitor.cache = quarry_cache_create(&config);
	visitor.range = quarry_range_create(&ranges);
	KUNIT_ASSERT_FALSE(test, IS_ERR(visitor.cache) || IS_ERR(visitor.range));
	init_irq_work(&visitor.work, visit_hard);
	init_rcu_head_on_stack(&visitor.rcu);
	for (i = 0; i < 20; i++) {
		init_completion(&visitor.over);
		visitor.bring = quarry_cache_alloc(visitor.cache, GFP_KERNEL);
		if (i % 2)
			call_rcu(&visitor.rcu, visit_soft);
		else
			irq_work_queue(&visitor.work);
		KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&visitor.over, 10 * HZ));
		KUNIT_EXPECT_EQ(test, quarry_cache_free(visitor.cache, visitor.take), 0);
	}
	irq_work_sync(&visitor.work);
	rcu_barrier();
	destroy_rcu_head_on_stack(&visitor.rcu);
	KUNIT_EXPECT_EQ(test, visitor.wrong, 0u);
	KUNIT_EXPECT_EQ(test, visitor.hard, 10u);
	KUNIT_EXPECT_EQ(test, visitor.soft, 10u);
	KUNIT_EXPECT_EQ(test, quarry_range_destroy(visitor.range), 0);
	end_cache(test, visitor.cache);
}

struct intruder {
	struct irq_work work;
	struct quarry_range *range;
	u64 offset;
	int alloc;
	int free;
	int resize;
};

static void intrude(struct irq_work *work)
{
	struct intruder *intruder = container_of(work, struct intruder, work);
	u64 offset;

	intruder->alloc = quarry_range_alloc(intruder->range, 4096, 0, &offset);
	intruder->resize = quarry_range_resize(intruder->range, intruder->offset, 8192);
	intruder->free = quarry_range_free(intruder->range, intruder->offset);
}

static void a_range_for_tasks_serves_tasks_and_refuses_interrupts(struct kunit *test)
{
	struct quarry_range_config config = {
		.capacity = SZ_1M, .granule = 4096, .max_live = 10, .flags = QUARRY_RANGE_TASK,
	};
	struct intruder intruder = { .range = quarry_range_create(&config) };
	u64 live;

	KUNIT_ASSERT_FALSE(test, IS_ERR(intruder.range));
	KUNIT_EXPECT_EQ(test, quarry_range_alloc(intruder.range, 4096, 0, &intruder.offset), 0);
	init_irq_work(&intruder.work, intrude);
	irq_work_queue(&intruder.work);
	irq_work_sync(&intruder.work);
	KUNIT_EXPECT_EQ(test, intruder.alloc, -EPERM);
	KUNIT_EXPECT_EQ(test, intruder.resize, -EPERM);
	KUNIT_EXPECT_EQ(test, intruder.free, -EPERM);
	KUNIT_EXPECT_EQ(test, quarry_range_used(intruder.range, &live), (u64)4096);
	KUNIT_EXPECT_EQ(test, quarry_range_resize(intruder.range, intruder.offset, 8192), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_free(intruder.range, intruder.offset), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_verify(intruder.range), 0);
	KUNIT_EXPECT_EQ(test, quarry_range_destroy(intruder.range), 0);
}

static void who_may_not_sleep_but_says_so_is_reported_and_served(struct kunit *test)
{
	struct quarry_cache_config config = { .name = "kunit", .size = 64, .objects = 2000 };
	struct quarry_cache *cache = quarry_cache_create(&config);
	struct quarry_heap_stat stat;
	void **objects = quarry_kunit_memory(test, 600 * sizeof(void *));
	unsigned int i, got = 0;
	unsigned long flags;

	KUNIT_ASSERT_FALSE(test, IS_ERR(cache));
	local_irq_save(flags);
	for (i = 0; i < 600; i++)
		got += (objects[i] = quarry_cache_alloc(cache, GFP_KERNEL)) != NULL;
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, got, 600u);
	quarry_heap_stat(quarry_cache_heap(cache), &stat);
	KUNIT_EXPECT_GT(test, stat.refused, (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_cache_free_bulk(cache, got, objects), 0);
	end_cache(test, cache);
}

static void run_on(struct kunit *test, unsigned int cpu, int (*fn)(void *), void *data,
		   struct completion *over)
{
	struct task_struct *task = kthread_create(fn, data, "quarry/%u", cpu);

	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	kthread_bind(task, cpu);
	get_task_struct(task);
	wake_up_process(task);
	/* Once it has run it ends by itself: its exit is what is waited for. */
	wait_for_completion(over);
	kthread_stop(task);
	put_task_struct(task);
}

struct other {
	struct quarry_cache *cache;
	void **objects;
	unsigned int count;
	struct completion over;
	int err;
};

static int free_there(void *data)
{
	struct other *other = data;

	other->err = quarry_cache_free_bulk(other->cache, other->count, other->objects);
	complete(&other->over);
	return 0;
}

/* Allocated here, freed on the other CPU; what lies there serves a sleeper here. */
static void what_another_cpu_frees_comes_back(struct kunit *test)
{
	struct quarry_cache *cache = make_cache(test, 64, SZ_256K);
	unsigned int most = SZ_256K / 64, rounds = 20, cpu, here;
	void **objects = quarry_kunit_memory(test, most * sizeof(void *));
	struct other other = { .cache = cache, .objects = objects };

	while (rounds--) {
		other.count = quarry_cache_alloc_bulk(cache, GFP_KERNEL, most, objects);
		KUNIT_ASSERT_EQ(test, other.count, most);
		init_completion(&other.over);
		other.err = 1;
		here = raw_smp_processor_id();
		cpu = cpumask_any_but(cpu_online_mask, here);
		if (cpu >= nr_cpu_ids)
			free_there(&other);
		else
			run_on(test, cpu, free_there, &other, &other.over);
		KUNIT_ASSERT_EQ(test, other.err, 0);
	}
	end_cache(test, cache);
}

static struct kunit_case driver_cases[] = {
	KUNIT_CASE(objects_of_each_size_are_apart_and_hold_what_is_written),
	KUNIT_CASE(alignment_zero_and_constructor_are_kept),
	KUNIT_CASE(a_bulk_is_one_by_one),
	KUNIT_CASE(wrong_frees_are_refused_and_change_nothing),
	KUNIT_CASE(configs_that_cannot_be_are_refused),
	KUNIT_CASE(a_full_cache_gives_all_of_it_and_then_null),
	KUNIT_CASE(a_heap_has_any_size_and_resizes_in_place),
	KUNIT_CASE(a_block_freed_by_a_smaller_order_is_refused_and_stays),
	KUNIT_CASE(pages_come_by_order_and_by_count),
	KUNIT_CASE(brought_memory_comes_and_goes),
	KUNIT_CASE(a_reserve_cannot_fail),
	KUNIT_CASE(ranges_fit_resize_and_refuse),
	KUNIT_CASE(interrupts_allocate_and_free),
	KUNIT_CASE(a_range_for_tasks_serves_tasks_and_refuses_interrupts),
	KUNIT_CASE(what_another_cpu_frees_comes_back),
	KUNIT_CASE(who_may_not_sleep_but_says_so_is_reported_and_served),
	{}
};

QUARRY_KUNIT_SUITE(quarry_driver, driver_cases);
