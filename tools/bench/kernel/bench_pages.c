// SPDX-License-Identifier: MIT
/* Pages beside alloc_pages and gpu_buddy, and blocks of memory that a driver brings beside gen_pool. */
#include <linux/gfp.h>
#include <linux/gpu_buddy.h>
#include <linux/genalloc.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "bench.h"

#define PAIRS 20000
#define LIVE 1000
#define BLOCK 256
#define POOL SZ_64M

static struct quarry_heap *heap;
static u32 state;

static int open_pages(void)
{
	struct quarry_heap_config config = { .name = "bench_pages", .bytes = SZ_64M };

	heap = quarry_heap_create(&config);
	state = 1;
	return PTR_ERR_OR_ZERO(heap);
}

static int open_none(void)
{
	state = 1;
	return 0;
}

static void close_none(void)
{
}

static void close_pages(void)
{
	quarry_heap_destroy(heap);
}

static void quarry_page(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		quarry_free_pages(heap, quarry_alloc_pages(heap, 0, GFP_KERNEL), 0);
}

static void kernel_page(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		free_page(__get_free_page(GFP_KERNEL));
}

/* ---- orders 0 to 3, a random one of many replaced ---- */

static struct {
	void *at;
	u32 order;
	struct list_head blocks;
} live[LIVE];

static u32 random_order(void)
{
	return __ffs(bench_random(&state) % 8 | 8);
}

static int quarry_mixed_begin(void)
{
	int i, err = open_pages();

	for (i = 0; i < LIVE && !err; i++) {
		live[i].order = random_order();
		live[i].at = quarry_alloc_pages(heap, live[i].order, GFP_KERNEL);
	}
	return err;
}

static void quarry_mixed(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		u32 k = bench_random(&state) % LIVE;

		quarry_free_pages(heap, live[k].at, live[k].order);
		live[k].order = random_order();
		live[k].at = quarry_alloc_pages(heap, live[k].order, GFP_KERNEL);
	}
}

static void quarry_mixed_end(void)
{
	int i;

	for (i = 0; i < LIVE; i++)
		quarry_free_pages(heap, live[i].at, live[i].order);
	close_pages();
}

static int kernel_mixed_begin(void)
{
	int i;

	state = 1;
	for (i = 0; i < LIVE; i++) {
		live[i].order = random_order();
		live[i].at = (void *)__get_free_pages(GFP_KERNEL, live[i].order);
	}
	return 0;
}

static void kernel_mixed(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		u32 k = bench_random(&state) % LIVE;

		free_pages((unsigned long)live[k].at, live[k].order);
		live[k].order = random_order();
		live[k].at = (void *)__get_free_pages(GFP_KERNEL, live[k].order);
	}
}

static void kernel_mixed_end(void)
{
	int i;

	for (i = 0; i < LIVE; i++)
		free_pages((unsigned long)live[i].at, live[i].order);
}

/*
 * ---- gpu_buddy: the same orders, of a space that nobody touches, under the lock of its users (Quarry
 * has its own, and may be called from interrupts) ----
 */

static struct gpu_buddy buddy;
static DEFINE_SPINLOCK(buddy_lock);

static int buddy_take(u32 k)
{
	u64 size = (u64)PAGE_SIZE << live[k].order;
	unsigned long flags;
	int err;

	INIT_LIST_HEAD(&live[k].blocks);
	spin_lock_irqsave(&buddy_lock, flags);
	err = gpu_buddy_alloc_blocks(&buddy, 0, POOL, size, PAGE_SIZE, &live[k].blocks, 0);
	spin_unlock_irqrestore(&buddy_lock, flags);
	return err;
}

static void buddy_give(u32 k)
{
	unsigned long flags;

	spin_lock_irqsave(&buddy_lock, flags);
	gpu_buddy_free_list(&buddy, &live[k].blocks, 0);
	spin_unlock_irqrestore(&buddy_lock, flags);
}

static int buddy_begin(void)
{
	int i, err = gpu_buddy_init(&buddy, POOL, PAGE_SIZE);

	state = 1;
	for (i = 0; i < LIVE && !err; i++) {
		live[i].order = random_order();
		err = buddy_take(i);
	}
	return err;
}

static void buddy_run(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		u32 k = bench_random(&state) % LIVE;

		buddy_give(k);
		live[k].order = random_order();
		if (buddy_take(k))
			pr_err_once("kernel-bench: gpu_buddy is full\n");
	}
}

static void buddy_end(void)
{
	int i;

	for (i = 0; i < LIVE; i++)
		buddy_give(i);
	gpu_buddy_fini(&buddy);
}

/* ---- blocks of 256 bytes of memory that the driver brings ---- */

static void *brought;
static struct gen_pool *gen;
static void *held[LIVE];

static int fixed_begin(void)
{
	struct quarry_heap_config config = { .name = "bench_fixed" };
	int i, err;

	brought = (void *)__get_free_pages(GFP_KERNEL, 10);
	if (!brought)
		return -ENOMEM;
	config.base = brought;
	config.max_bytes = SZ_4M;
	heap = quarry_heap_create(&config);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	err = quarry_heap_add(heap, brought, SZ_4M);
	state = 1;
	for (i = 0; i < LIVE && !err; i++)
		held[i] = quarry_alloc(heap, BLOCK, GFP_KERNEL);
	return err;
}

static void fixed_run(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		u32 k = bench_random(&state) % LIVE;

		quarry_free(heap, held[k]);
		held[k] = quarry_alloc(heap, BLOCK, GFP_KERNEL);
	}
}

static void fixed_end(void)
{
	int i;

	for (i = 0; i < LIVE; i++)
		quarry_free(heap, held[i]);
	quarry_heap_destroy(heap);
	free_pages((unsigned long)brought, 10);
}

static int gen_begin(void)
{
	int i;

	brought = (void *)__get_free_pages(GFP_KERNEL, 10);
	gen = gen_pool_create(ilog2(BLOCK), -1);
	if (!brought || !gen || gen_pool_add(gen, (unsigned long)brought, SZ_4M, -1))
		return -ENOMEM;
	state = 1;
	for (i = 0; i < LIVE; i++)
		held[i] = (void *)gen_pool_alloc(gen, BLOCK);
	return 0;
}

static void gen_run(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		u32 k = bench_random(&state) % LIVE;

		gen_pool_free(gen, (unsigned long)held[k], BLOCK);
		held[k] = (void *)gen_pool_alloc(gen, BLOCK);
	}
}

static void gen_end(void)
{
	int i;

	for (i = 0; i < LIVE; i++)
		gen_pool_free(gen, (unsigned long)held[i], BLOCK);
	gen_pool_destroy(gen);
	free_pages((unsigned long)brought, 10);
}

const struct bench_case bench_pages[] = {
	{ "k-page-0", "quarry", PAIRS, open_pages, quarry_page, close_pages },
	{ "k-page-0", "alloc_pages", PAIRS, open_none, kernel_page, close_none },
	{ "k-page-mixed", "quarry", PAIRS, quarry_mixed_begin, quarry_mixed, quarry_mixed_end },
	{ "k-page-mixed", "alloc_pages", PAIRS, kernel_mixed_begin, kernel_mixed, kernel_mixed_end },
	{ "k-buddy", "quarry", PAIRS, quarry_mixed_begin, quarry_mixed, quarry_mixed_end },
	{ "k-buddy", "gpu_buddy", PAIRS, buddy_begin, buddy_run, buddy_end },
	{ "k-fixed", "quarry", PAIRS, fixed_begin, fixed_run, fixed_end },
	{ "k-fixed", "gen_pool", PAIRS, gen_begin, gen_run, gen_end },
	{}
};
