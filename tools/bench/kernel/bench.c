// SPDX-License-Identifier: MIT
/*
 * What a driver's allocations cost beside the kernel's own, on the machine that it is loaded on: User
 * Mode Linux, which runs the kernel's code at the host's speed. Each case is run by Quarry and by its peers in turn,
 * ROUNDS times; when it is loaded, a line each goes to the kernel log:
 *
 *   kernel-bench: CASE WHO PICOSECONDS    an operation, the median of the rounds
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "bench.h"

#define ROUNDS 15
#define PAIRS 20000
#define BATCH 64
#define LIVE 1000
#define MANY 1000000

/* Caches of their own for cases that leave their objects where others would not have them. */
enum { HOT, GROWTH, CROSS, OWN, CACHES };
static struct quarry_cache *caches[CACHES];
static struct kmem_cache *slabs[CACHES];
static struct quarry_heap *heap;
static void *batch[BATCH];

static int open_objects(void)
{
	static const char *const names[] = { "bench_hot", "bench_growth", "bench_cross", "bench_own" };
	struct quarry_heap_config any = { .name = "bench_heap", .bytes = 16 << 20 };
	int i;

	for (i = 0; i < CACHES; i++) {
		struct quarry_cache_config of_64 = { .name = names[i], .size = 64, .objects = 8192 };

		caches[i] = quarry_cache_create(&of_64);
		slabs[i] = kmem_cache_create(names[i], 64, 0, SLAB_NO_MERGE, NULL);
		if (IS_ERR(caches[i]) || !slabs[i])
			return -ENOMEM;
	}
	heap = quarry_heap_create(&any);
	return PTR_ERR_OR_ZERO(heap);
}

static void close_objects(void)
{
	int i;

	for (i = 0; i < CACHES; i++) {
		quarry_cache_destroy(caches[i]);
		kmem_cache_destroy(slabs[i]);
	}
	quarry_heap_destroy(heap);
}

/* The first word is written, as whoever takes an object does. */
static __always_inline void *touch(void *object)
{
	*(volatile unsigned long *)object = 1;
	return object;
}

#define PAIRS_OF(name, alloc, free)               \
	static void name(void)                    \
	{                                         \
		int i;                            \
						  \
		for (i = 0; i < PAIRS; i++)       \
			free(touch(alloc));       \
	}
#define IN_BATCHES(name, alloc, free)                         \
	static void name(void)                                \
	{                                                     \
		int i, k;                                     \
							      \
		for (i = 0; i < PAIRS / BATCH; i++) {         \
			for (k = 0; k < BATCH; k++)           \
				batch[k] = touch(alloc);      \
			for (k = 0; k < BATCH; k++)           \
				free(batch[k]);               \
		}                                             \
	}
/* What takes and gives in one cache, by its place. */
#define QUARRY_TAKE(which) quarry_cache_alloc(caches[which], GFP_KERNEL)
#define SLAB_TAKE(which) kmem_cache_alloc(slabs[which], GFP_KERNEL)
#define QUARRY_HOT(object) quarry_cache_free(caches[HOT], object)
#define SLAB_HOT(object) kmem_cache_free(slabs[HOT], object)
#define QUARRY_GROWTH(object) quarry_cache_free(caches[GROWTH], object)
#define SLAB_GROWTH(object) kmem_cache_free(slabs[GROWTH], object)
#define QUARRY_CROSS(object) quarry_cache_free(caches[CROSS], object)
#define SLAB_CROSS(object) kmem_cache_free(slabs[CROSS], object)
#define QUARRY_OWN(object) quarry_cache_free(caches[OWN], object)
#define SLAB_OWN(object) kmem_cache_free(slabs[OWN], object)

PAIRS_OF(quarry_hot, QUARRY_TAKE(HOT), QUARRY_HOT)
PAIRS_OF(slab_hot, SLAB_TAKE(HOT), SLAB_HOT)
IN_BATCHES(quarry_batch, QUARRY_TAKE(HOT), QUARRY_HOT)
IN_BATCHES(slab_batch, SLAB_TAKE(HOT), SLAB_HOT)

static void quarry_bulk(void)
{
	int i, k;

	for (i = 0; i < PAIRS / BATCH; i++) {
		size_t n = quarry_cache_alloc_bulk(caches[HOT], GFP_KERNEL, BATCH, batch);

		for (k = 0; k < n; k++)
			touch(batch[k]);
		quarry_cache_free_bulk(caches[HOT], n, batch);
	}
}

static void slab_bulk(void)
{
	int i, k;

	for (i = 0; i < PAIRS / BATCH; i++) {
		kmem_cache_alloc_bulk(slabs[HOT], GFP_KERNEL, BATCH, batch);
		for (k = 0; k < BATCH; k++)
			touch(batch[k]);
		kmem_cache_free_bulk(slabs[HOT], BATCH, batch);
	}
}

/* ---- a random one of many is replaced ---- */

static void **live;
static u32 live_count, random_state;

static u32 random_size(void)
{
	u32 top = 4 + bench_random(&random_state) % 8;

	return (1U << (top - 1)) + bench_random(&random_state) % (1U << (top - 1));
}

#define REPLACE(name, count, alloc, free)                                     \
	static void name(void)                                                \
	{                                                                     \
		int i;                                                        \
									      \
		for (i = 0; i < PAIRS; i++) {                                 \
			void **at = &live[bench_random(&random_state) % (count)]; \
									      \
			free(*at);                                            \
			*at = touch(alloc);                                   \
		}                                                             \
	}                                                                     \
	static void name##_end(void)                                          \
	{                                                                     \
		u32 i;                                                        \
									      \
		for (i = 0; i < (count); i++)                                 \
			free(live[i]);                                        \
		vfree(live);                                                  \
	}                                                                     \
	static int name##_begin(void)                                         \
	{                                                                     \
		live_count = (count);                                         \
		random_state = 1;                                             \
		live = vmalloc(array_size(live_count, sizeof(*live)));        \
		if (!live)                                                    \
			return -ENOMEM;                                       \
		for (live_count = 0; live_count < (count); live_count++)      \
			live[live_count] = touch(alloc);                      \
		return 0;                                                     \
	}
#define HEAP_GIVE(object) quarry_free(heap, object)

REPLACE(quarry_mixed, LIVE, quarry_alloc(heap, random_size(), GFP_KERNEL), HEAP_GIVE)
REPLACE(kmalloc_mixed, LIVE, kmalloc(random_size(), GFP_KERNEL), kfree)
REPLACE(quarry_few, LIVE, QUARRY_TAKE(GROWTH), QUARRY_GROWTH)
REPLACE(quarry_many, MANY, QUARRY_TAKE(GROWTH), QUARRY_GROWTH)
REPLACE(slab_few, LIVE, SLAB_TAKE(GROWTH), SLAB_GROWTH)
REPLACE(slab_many, MANY, SLAB_TAKE(GROWTH), SLAB_GROWTH)

/* The pair beside that many that live. */
PAIRS_OF(quarry_beside, QUARRY_TAKE(GROWTH), QUARRY_GROWTH)
PAIRS_OF(slab_beside, SLAB_TAKE(GROWTH), SLAB_GROWTH)

/* ---- two CPUs ---- */

static void *crossing[4096];
static unsigned int crossing_put, crossing_got;
static struct completion second_done;
static void (*second_work)(void);

static int second_cpu(void *unused)
{
	second_work();
	complete(&second_done);
	return 0;
}

/* Runs @first here, on CPU 0, and @second on CPU 1; both have ended when it returns. */
static void on_both(void (*first)(void), void (*second)(void))
{
	struct task_struct *task;

	init_completion(&second_done);
	second_work = second;
	task = kthread_create(second_cpu, NULL, "bench");
	if (IS_ERR(task))
		return;
	kthread_bind(task, 1);
	wake_up_process(task);
	first();
	wait_for_completion(&second_done);
}

#define CROSSING(name, alloc, free)                                                         \
	static void name##_put(void)                                                        \
	{                                                                                   \
		unsigned int i;                                                             \
											    \
		for (i = 0; i < PAIRS; i++) {                                               \
			while (i - smp_load_acquire(&crossing_got) >= ARRAY_SIZE(crossing)) \
				cpu_relax();                                                \
			crossing[i % ARRAY_SIZE(crossing)] = touch(alloc);                  \
			smp_store_release(&crossing_put, i + 1);                            \
		}                                                                           \
	}                                                                                   \
	static void name##_get(void)                                                        \
	{                                                                                   \
		unsigned int i;                                                             \
											    \
		for (i = 0; i < PAIRS; i++) {                                               \
			while (smp_load_acquire(&crossing_put) == i)                        \
				cpu_relax();                                                \
			free(crossing[i % ARRAY_SIZE(crossing)]);                           \
			smp_store_release(&crossing_got, i + 1);                            \
		}                                                                           \
	}                                                                                   \
	static void name(void)                                                              \
	{                                                                                   \
		crossing_put = 0;                                                           \
		crossing_got = 0;                                                           \
		on_both(name##_put, name##_get);                                            \
	}

CROSSING(quarry_cross, QUARRY_TAKE(CROSS), QUARRY_CROSS)
CROSSING(slab_cross, SLAB_TAKE(CROSS), SLAB_CROSS)

PAIRS_OF(quarry_own, QUARRY_TAKE(OWN), QUARRY_OWN)
PAIRS_OF(slab_own, SLAB_TAKE(OWN), SLAB_OWN)

static void quarry_ten(void)
{
	int i;

	for (i = 0; i < 10; i++)
		quarry_own();
}

static void slab_ten(void)
{
	int i;

	for (i = 0; i < 10; i++)
		slab_own();
}

static void quarry_two(void)
{
	on_both(quarry_ten, quarry_ten);
}

static void slab_two(void)
{
	on_both(slab_ten, slab_ten);
}

const struct bench_case bench_objects[] = {
	{ "k-hot-64", "quarry", PAIRS, NULL, quarry_hot, NULL },
	{ "k-hot-64", "kmem_cache", PAIRS, NULL, slab_hot, NULL },
	{ "k-batch-64", "quarry", PAIRS, NULL, quarry_batch, NULL },
	{ "k-batch-64", "kmem_cache", PAIRS, NULL, slab_batch, NULL },
	{ "k-bulk-64", "quarry", PAIRS, NULL, quarry_bulk, NULL },
	{ "k-bulk-64", "kmem_cache", PAIRS, NULL, slab_bulk, NULL },
	{ "k-mixed", "quarry", PAIRS, quarry_mixed_begin, quarry_mixed, quarry_mixed_end },
	{ "k-mixed", "kmalloc", PAIRS, kmalloc_mixed_begin, kmalloc_mixed, kmalloc_mixed_end },
	{ "k-growth-1k", "quarry", PAIRS, quarry_few_begin, quarry_beside, quarry_few_end },
	{ "k-growth-1k", "kmem_cache", PAIRS, slab_few_begin, slab_beside, slab_few_end },
	{ "k-growth-1m", "quarry", PAIRS, quarry_many_begin, quarry_beside, quarry_many_end },
	{ "k-growth-1m", "kmem_cache", PAIRS, slab_many_begin, slab_beside, slab_many_end },
	{ "k-random-1k", "quarry", PAIRS, quarry_few_begin, quarry_few, quarry_few_end },
	{ "k-random-1k", "kmem_cache", PAIRS, slab_few_begin, slab_few, slab_few_end },
	{ "k-random-1m", "quarry", PAIRS, quarry_many_begin, quarry_many, quarry_many_end },
	{ "k-random-1m", "kmem_cache", PAIRS, slab_many_begin, slab_many, slab_many_end },
	{ "k-cross", "quarry", PAIRS, NULL, quarry_cross, NULL },
	{ "k-cross", "kmem_cache", PAIRS, NULL, slab_cross, NULL },
	{ "k-one", "quarry", 10 * PAIRS, NULL, quarry_ten, NULL },
	{ "k-one", "kmem_cache", 10 * PAIRS, NULL, slab_ten, NULL },
	{ "k-two", "quarry", 10 * PAIRS, NULL, quarry_two, NULL },
	{ "k-two", "kmem_cache", 10 * PAIRS, NULL, slab_two, NULL },
	{}
};

/* ---- the rounds ---- */

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* All allocators at one case, round by round; answers behind the last of them. */
static const struct bench_case *run_case(const struct bench_case *first)
{
	static u64 spent[8][ROUNDS];
	const struct bench_case *c = first, *end = first;
	int round;

	while (end->name && !strcmp(end->name, first->name))
		end++;
	/* With something to prepare each has its own turn: it holds what others may not. */
	for (c = first; c < end; c++) {
		if (!first->prepare)
			break;
		if (c->prepare()) {
			pr_err("kernel-bench: %s %s: no memory\n", c->name, c->who);
			return end;
		}
		for (round = -2; round < ROUNDS; round++) {
			u64 start = ktime_get_ns();

			c->run();
			if (round >= 0)
				spent[c - first][round] = ktime_get_ns() - start;
		}
		c->finish();
	}
	for (round = -2; round < ROUNDS && !first->prepare; round++) {
		for (c = first; c < end; c++) {
			u64 start = ktime_get_ns();

			c->run();
			if (round >= 0)
				spent[c - first][round] = ktime_get_ns() - start;
			cond_resched();
		}
	}
	for (c = first; c < end; c++) {
		sort(spent[c - first], ROUNDS, sizeof(u64), compare, NULL);
		pr_info("kernel-bench: %s %s %llu\n", c->name, c->who,
			spent[c - first][ROUNDS / 2] * 1000 / c->operations);
	}
	return end;
}

static void run_all(const struct bench_case *cases)
{
	while (cases->name)
		cases = run_case(cases);
}

int peer_buddy_init(void);
void peer_buddy_exit(void);

static int __init kernel_bench_init(void)
{
	int err = open_objects();

	if (err)
		return err;
	err = peer_buddy_init();
	if (err)
		return err;
	set_cpus_allowed_ptr(current, cpumask_of(0));
	run_all(bench_objects);
	run_all(bench_pages);
	run_all(bench_ranges);
	peer_buddy_exit();
	close_objects();
	pr_info("kernel-bench: done\n");
	return 0;
}
module_init(kernel_bench_init);

static void __exit kernel_bench_exit(void)
{
}
module_exit(kernel_bench_exit);

MODULE_DESCRIPTION("Drivers' allocations in Quarry and in the kernel");
MODULE_LICENSE("Dual MIT/GPL");
