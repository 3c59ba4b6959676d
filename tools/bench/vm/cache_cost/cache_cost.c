// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What a driver's allocation costs beside the kernel's own, in a virtual machine whose clock
 * counts instructions. It measures when it is loaded; the results are its parameters. Hot: one
 * object taken and given back, over and over; batch: 64 taken, then given back; bulk: the same by one call.
 */
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/quarry.h>

#define ROUNDS 101
#define PAIRS 64

/* In hundredths of an instruction. */
#define FIGURE(name) static unsigned long name; module_param(name, ulong, 0444)
FIGURE(quarry_hot);
FIGURE(quarry_batch);
FIGURE(quarry_bulk);
FIGURE(quarry_page);
FIGURE(kernel_hot);
FIGURE(kernel_batch);
FIGURE(kernel_bulk);
FIGURE(kernel_page);

static struct quarry_cache *ours;
static struct quarry_heap *heap;
static struct kmem_cache *theirs;
static void *objects[PAIRS];

static void ours_hot(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		quarry_cache_free(ours, quarry_cache_alloc(ours, GFP_KERNEL));
}

static void theirs_hot(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		kmem_cache_free(theirs, kmem_cache_alloc(theirs, GFP_KERNEL));
}

static void ours_batch(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		objects[i] = quarry_cache_alloc(ours, GFP_KERNEL);
	for (i = 0; i < PAIRS; i++)
		quarry_cache_free(ours, objects[i]);
}

static void theirs_batch(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		objects[i] = kmem_cache_alloc(theirs, GFP_KERNEL);
	for (i = 0; i < PAIRS; i++)
		kmem_cache_free(theirs, objects[i]);
}

static void ours_bulk(void)
{
	size_t n = quarry_cache_alloc_bulk(ours, GFP_KERNEL, PAIRS, objects);

	quarry_cache_free_bulk(ours, n, objects);
}

static void theirs_bulk(void)
{
	if (kmem_cache_alloc_bulk(theirs, GFP_KERNEL, PAIRS, objects))
		kmem_cache_free_bulk(theirs, PAIRS, objects);
}

static void ours_page(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		quarry_free_pages(heap, quarry_alloc_pages(heap, 0, GFP_KERNEL), 0);
}

static void theirs_page(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		free_page(__get_free_page(GFP_KERNEL));
}

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* The median of a pair, the clock's own cost taken off. */
static unsigned long measure(void (*work)(void))
{
	static u64 spent[ROUNDS], clock[ROUNDS];
	int i;

	for (i = -3; i < ROUNDS; i++) {
		u64 start = ktime_get_ns(), between = ktime_get_ns();

		work();
		if (i < 0)
			continue;
		spent[i] = ktime_get_ns() - between;
		clock[i] = between - start;
	}
	sort(spent, ROUNDS, sizeof(*spent), compare, NULL);
	sort(clock, ROUNDS, sizeof(*clock), compare, NULL);
	return (spent[ROUNDS / 2] - clock[ROUNDS / 2]) * 100 / PAIRS;
}

static int __init cache_cost_init(void)
{
	struct quarry_cache_config cache = { .name = "cost", .size = 64, .objects = 4096 };
	struct quarry_heap_config pages = { .name = "cost_pages", .bytes = SZ_1M };
	int err = -ENOMEM;

	ours = quarry_cache_create(&cache);
	if (IS_ERR(ours))
		return PTR_ERR(ours);
	heap = quarry_heap_create(&pages);
	if (IS_ERR(heap)) {
		err = PTR_ERR(heap);
		goto no_heap;
	}
	theirs = kmem_cache_create("quarry_cost", 64, 0, 0, NULL);
	if (!theirs)
		goto no_peer;
	quarry_hot = measure(ours_hot);
	kernel_hot = measure(theirs_hot);
	quarry_batch = measure(ours_batch);
	kernel_batch = measure(theirs_batch);
	quarry_bulk = measure(ours_bulk);
	kernel_bulk = measure(theirs_bulk);
	quarry_page = measure(ours_page);
	kernel_page = measure(theirs_page);
	kmem_cache_destroy(theirs);
	err = 0;
no_peer:
	quarry_heap_destroy(heap);
no_heap:
	quarry_cache_destroy(ours);
	return err;
}
module_init(cache_cost_init);

static void __exit cache_cost_exit(void)
{
}
module_exit(cache_cost_exit);

MODULE_DESCRIPTION("What a driver's allocation costs in Quarry and in the kernel");
MODULE_LICENSE("Dual MIT/GPL");
