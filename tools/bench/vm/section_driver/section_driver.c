// SPDX-License-Identifier: MIT
/*
 * A driver's calls, for sections.py: what is written to its parameter `call` is made, in the writer's
 * task. At so many live objects of 64 bytes, and as many ranges; those that are freed are random
 * ones, so that what goes home lies in as many slabs.
 *
 * First "fill", last "empty".
 */
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/quarry.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

static unsigned int live = 1000000;
module_param(live, uint, 0444);
MODULE_PARM_DESC(live, "objects, and ranges");

#define OBJECTS 8192		/* of a call: more than magazines and depot hold */
#define PAGES 512
#define RANGES 4096
#define FEW 1000		/* ranges: an audit's steps are the same, their number is not */

static struct quarry_cache *cache;
static struct quarry_heap *heap;
static struct quarry_range *range, *few;
static struct quarry_reserve *reserve;
static void **objects, **sized, **blocks;
static u64 *ranges, few_ranges[FEW];
static u32 state = 1;

static u32 draw(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

/* Random ones to the front. */
static void shuffle(u64 *of, unsigned int count, unsigned int all)
{
	unsigned int i, other;

	for (i = 0; i < count; i++) {
		other = i + draw() % (all - i);
		swap(of[i], of[other]);
	}
}

static int fill(void)
{
	struct quarry_cache_config of_64 = { .name = "sections", .size = 64, .objects = live };
	struct quarry_heap_config any = { .name = "sections_any", .bytes = SZ_64M };
	struct quarry_range_config wide = {
		.capacity = (u64)live * SZ_64K, .granule = 256, .max_live = live,
	};
	struct quarry_range_config narrow = { .capacity = SZ_64M, .granule = 256, .max_live = FEW };
	unsigned int i;

	objects = vzalloc(live * sizeof(*objects));
	ranges = vzalloc(live * sizeof(*ranges));
	sized = vzalloc(OBJECTS * sizeof(*sized));
	blocks = vzalloc(PAGES * sizeof(*blocks));
	if (!objects || !ranges || !sized || !blocks)
		return -ENOMEM;
	cache = quarry_cache_create(&of_64);
	heap = quarry_heap_create(&any);
	range = quarry_range_create(&wide);
	few = quarry_range_create(&narrow);
	if (IS_ERR(cache) || IS_ERR(heap) || IS_ERR(range) || IS_ERR(few))
		return -ENOMEM;
	for (i = 0; i < FEW; i++)
		if (quarry_range_alloc(few, 1024 + draw() % 31744, 0, few_ranges + i))
			return -ENOMEM;
	for (i = 0; i < live; i++) {
		objects[i] = quarry_cache_alloc(cache, GFP_KERNEL);
		if (!objects[i] || quarry_range_alloc(range, 1024 + draw() % 31744, 0, ranges + i))
			return -ENOMEM;
	}
	reserve = quarry_reserve_create(cache, 256);
	if (IS_ERR(reserve))
		return -ENOMEM;
	shuffle((u64 *)objects, OBJECTS, live);
	shuffle(ranges, RANGES, live);
	return 0;
}

static int empty(void)
{
	unsigned int i;

	quarry_reserve_destroy(reserve);
	for (i = 0; i < FEW; i++)
		if (quarry_range_free(few, few_ranges[i]))
			return -EIO;
	while (live--)
		if (quarry_cache_free(cache, objects[live]) || quarry_range_free(range, ranges[live]))
			return -EIO;
	live = 0;
	if (quarry_cache_destroy(cache) || quarry_heap_destroy(heap) || quarry_range_destroy(range) ||
	    quarry_range_destroy(few))
		return -EBUSY;
	vfree(objects);
	vfree(ranges);
	vfree(sized);
	vfree(blocks);
	return 0;
}

#define EACH(count, call)                                \
	do {                                             \
		unsigned int i;                          \
							 \
		for (i = 0; i < (count); i++)            \
			if (call)                        \
				return -EIO;             \
		return 0;                                \
	} while (0)

static int cache_free(void) { EACH(OBJECTS, quarry_cache_free(cache, objects[i])); }
static int cache_alloc(void) { EACH(OBJECTS, !(objects[i] = quarry_cache_alloc(cache, GFP_KERNEL))); }
static int cache_free_bulk(void) { return quarry_cache_free_bulk(cache, OBJECTS, objects); }
static int cache_alloc_bulk(void)
{
	return quarry_cache_alloc_bulk(cache, GFP_KERNEL, OBJECTS, objects) == OBJECTS ? 0 : -EIO;
}
static int cache_prefill(void) { return quarry_cache_prefill(cache, OBJECTS); }
static int cache_shrink(void)
{
	quarry_cache_shrink(cache);
	return 0;
}
static int heap_alloc(void) { EACH(OBJECTS, !(sized[i] = quarry_alloc(heap, 1 + draw() % 2048, GFP_ATOMIC))); }
static int heap_free(void)
{
	shuffle((u64 *)sized, OBJECTS, OBJECTS);
	EACH(OBJECTS, quarry_free(heap, sized[i]));
}
static int heap_verify(void) { return quarry_heap_verify(heap, true); }
static int page_alloc(void) { EACH(PAGES, !(blocks[i] = quarry_alloc_pages(heap, i % 4, GFP_KERNEL))); }
static int page_free(void) { EACH(PAGES, quarry_free_pages(heap, blocks[i], i % 4)); }
static int reserve_free(void)
{
	int err = quarry_reserve_free(reserve, objects[0]);

	objects[0] = quarry_cache_alloc(cache, GFP_KERNEL);
	return err ?: objects[0] ? 0 : -EIO;
}
static int range_free(void) { EACH(RANGES, quarry_range_free(range, ranges[i])); }
static int range_alloc(void) { EACH(RANGES, quarry_range_alloc(range, 1024 + draw() % 31744, 0, ranges + i)); }
static int range_verify(void) { return quarry_range_verify(few); }

static const struct {
	const char *name;
	int (*make)(void);
} calls[] = {
	{ "fill", fill },
	{ "cache-free", cache_free },
	{ "cache-alloc", cache_alloc },
	{ "cache-free-bulk", cache_free_bulk },
	{ "cache-alloc-bulk", cache_alloc_bulk },
	{ "cache-prefill", cache_prefill },
	{ "cache-shrink", cache_shrink },
	{ "reserve-free", reserve_free },
	{ "heap-alloc", heap_alloc },
	{ "heap-free", heap_free },
	{ "heap-verify", heap_verify },
	{ "page-alloc", page_alloc },
	{ "page-free", page_free },
	{ "range-free", range_free },
	{ "range-alloc", range_alloc },
	{ "range-verify", range_verify },
	{ "empty", empty },
};

static int set_call(const char *value, const struct kernel_param *kp)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (sysfs_streq(value, calls[i].name))
			return calls[i].make();
	return -EINVAL;
}

static const struct kernel_param_ops call_ops = { .set = set_call };
module_param_cb(call, &call_ops, NULL, 0200);
MODULE_PARM_DESC(call, "makes it");

static int __init section_driver_init(void)
{
	return 0;
}
module_init(section_driver_init);

static void __exit section_driver_exit(void)
{
}
module_exit(section_driver_exit);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("a driver's calls, one at a time");
