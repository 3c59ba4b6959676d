// SPDX-License-Identifier: MIT
/*
 * How long each single call takes, from the shortest to the longest of 10^7, in a machine whose time stamp
 * counts instructions (QEMU's icount): Quarry's beside the kernel's. Of many live objects a random one is
 * replaced, again and again; each free and each allocation is timed alone, with interrupts off, so
 * that none is counted. So they are calls of atomic context; what is cached goes home and comes again
 * in between, by the slow paths.
 *
 * For each call a line in the log, and its distribution in as many lines as it takes:
 *
 *   latency: CASE CALL WHO CALLS MEDIAN P999 P99999 LONGEST
 *   latency-part: CASE CALL WHO LENGTH:CALLS ...
 *
 * So many calls took LENGTH instructions, or up to an eighth more.
 */
#include <linux/bits.h>
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/quarry.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <asm/msr.h>

static unsigned int calls = 10000000;
module_param(calls, uint, 0444);
MODULE_PARM_DESC(calls, "of each kind");

#define STEPS 8			/* of a doubling */
#define BUCKETS (32 * STEPS)
#define MOST_LIVE 100000

struct histogram {
	u64 count[BUCKETS];
	u64 longest;
};

static struct histogram *allocs, *frees;
static u64 *live;
static u32 state = 1, overhead;

static u32 draw(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static unsigned int bucket_of(u64 length)
{
	unsigned int top;

	if (length < STEPS)
		return length;
	top = ilog2(length);
	return min_t(u64, (top - 2) * STEPS + ((length >> (top - 3)) & (STEPS - 1)), BUCKETS - 1);
}

static u64 least_of(unsigned int bucket)
{
	if (bucket < STEPS)
		return bucket;
	return (u64)(STEPS + bucket % STEPS) << (bucket / STEPS - 1);
}

static void note(struct histogram *h, u64 length)
{
	length -= min_t(u64, length, overhead);
	h->count[bucket_of(length)]++;
	h->longest = max(h->longest, length);
}

/* The length that so many in a million are not above: the start of its bucket. */
static u64 quantile(const struct histogram *h, u64 per_million)
{
	u64 wanted = div_u64((u64)calls * per_million, 1000000), seen = 0;
	unsigned int i;

	for (i = 0; i < BUCKETS; i++) {
		seen += h->count[i];
		if (seen >= wanted)
			return least_of(i);
	}
	return h->longest;
}

static void tell(const char *name, const char *call, const char *who, const struct histogram *h)
{
	static char pairs[800];
	unsigned int i;
	int n = 0;

	pr_info("latency: %s %s %s %u %llu %llu %llu %llu\n", name, call, who, calls,
		quantile(h, 500000), quantile(h, 999000), quantile(h, 999990), h->longest);
	for (i = 0; i < BUCKETS; i++) {
		if (h->count[i])
			n += scnprintf(pairs + n, sizeof(pairs) - n, " %llu:%llu", least_of(i),
				       h->count[i]);
		/* The kernel cuts a line of the log after a thousand characters. */
		if (n && (n > sizeof(pairs) - 48 || i == BUCKETS - 1)) {
			pr_info("latency-part: %s %s %s%s\n", name, call, who, pairs);
			n = 0;
		}
	}
}

static __always_inline u64 stamp(void)
{
	return rdtsc_ordered();
}

/* What two stamps cost by themselves. */
static void weigh_the_clock(void)
{
	u64 least = U64_MAX, start;
	int i;

	for (i = 0; i < 1000; i++) {
		start = stamp();
		least = min(least, stamp() - start);
	}
	overhead = least;
}

/* `give(victim)` frees it, `take(victim)` answers another; 0: none, which is a failure. */
#define CASE(label, who, count, take, give)                                           \
	static int run_##label##_##who(void)                                          \
	{                                                                             \
		unsigned long flags;                                                  \
		u64 start, between, end;                                              \
		unsigned int i, k;                                                    \
										      \
		memset(allocs, 0, sizeof(*allocs));                                   \
		memset(frees, 0, sizeof(*frees));                                     \
		state = 1;                                                            \
		for (i = 0; i < (count); i++) {                                       \
			k = i;                                                        \
			draw();                                                       \
			live[k] = take;                                               \
			if (!live[k])                                                 \
				return -ENOMEM;                                       \
		}                                                                     \
		for (i = 0; i < calls; i++) {                                         \
			k = draw() % (count);                                         \
			local_irq_save(flags);                                        \
			start = stamp();                                              \
			give;                                                         \
			between = stamp();                                            \
			draw();                                                       \
			end = stamp();                                                \
			live[k] = take;                                               \
			end = stamp() - end;                                          \
			local_irq_restore(flags);                                     \
			note(frees, between - start);                                 \
			note(allocs, end);                                            \
			if (!live[k])                                                 \
				return -ENOMEM;                                       \
			if (i % 4096 == 0)                                            \
				cond_resched();                                       \
		}                                                                     \
		tell(#label, "alloc", #who, allocs);                                  \
		tell(#label, "free", #who, frees);                                    \
		for (k = 0; k < (count); k++)                                         \
			give;                                                         \
		return 0;                                                             \
	}

static struct quarry_cache *cache;
static struct kmem_cache *slab;
static struct quarry_heap *heap;
static struct quarry_range *range;

CASE(object_64, quarry, 100000, (u64)quarry_cache_alloc(cache, GFP_ATOMIC),
     quarry_cache_free(cache, (void *)live[k]))
CASE(object_64, kmem_cache, 100000, (u64)kmem_cache_alloc(slab, GFP_ATOMIC),
     kmem_cache_free(slab, (void *)live[k]))

/* 8 to 2048 bytes, by the last number drawn. */
static size_t any_size(void)
{
	return 8U << (state >> 8 & 7) | (state >> 16 & 7) << (state >> 8 & 7);
}

CASE(any_size, quarry, 20000, (u64)quarry_alloc(heap, any_size(), GFP_ATOMIC),
     quarry_free(heap, (void *)live[k]))
CASE(any_size, kmalloc, 20000, (u64)kmalloc(any_size(), GFP_ATOMIC), kfree((void *)live[k]))

/* 1 to 8 pages: the order stands in the lowest bits of the address. */
static u64 quarry_pages(void)
{
	unsigned int order = state >> 8 & 3;

	return (u64)quarry_alloc_pages(heap, order, GFP_ATOMIC) | order;
}

static u64 kernel_pages(void)
{
	unsigned int order = state >> 8 & 3;

	return __get_free_pages(GFP_ATOMIC, order) | order;
}

CASE(pages_0_3, quarry, 2000, quarry_pages(),
     quarry_free_pages(heap, (void *)(live[k] & PAGE_MASK), live[k] & 3))
CASE(pages_0_3, alloc_pages, 2000, kernel_pages(), free_pages(live[k] & PAGE_MASK, live[k] & 3))

static u64 take_range(void)
{
	u64 offset = 0;

	/* Offset 0 is one, too. */
	return quarry_range_alloc(range, 1024 + (state >> 8 & 0xffff), 0, &offset) ? 0 : offset + 1;
}

CASE(range, quarry, 10000, take_range(), quarry_range_free(range, live[k] - 1))

static int run(void)
{
	int err;

	err = run_object_64_quarry() ?: run_object_64_kmem_cache();
	err = err ?: run_any_size_quarry() ?: run_any_size_kmalloc();
	err = err ?: run_pages_0_3_quarry() ?: run_pages_0_3_alloc_pages();
	return err ?: run_range_quarry();
}

static int __init latency_init(void)
{
	struct quarry_cache_config of_64 = { .name = "latency", .size = 64, .objects = 110000 };
	struct quarry_heap_config any = { .name = "latency_any", .bytes = SZ_128M };
	struct quarry_range_config ranges = {
		.capacity = 10000ULL * 34000 * 5 / 4 / 4096 * 4096, .granule = 256, .max_live = 11000,
	};
	int err = -ENOMEM;

	live = vzalloc(MOST_LIVE * sizeof(*live));
	allocs = vzalloc(sizeof(*allocs));
	frees = vzalloc(sizeof(*frees));
	cache = quarry_cache_create(&of_64);
	heap = quarry_heap_create(&any);
	range = quarry_range_create(&ranges);
	slab = kmem_cache_create("latency", 64, 0, 0, NULL);
	if (live && allocs && frees && !IS_ERR(cache) && !IS_ERR(heap) && !IS_ERR(range) && slab) {
		weigh_the_clock();
		err = run();
	}
	pr_info("latency: end %d\n", err);
	kmem_cache_destroy(slab);
	if (!err && (quarry_range_destroy(range) || quarry_heap_destroy(heap) || quarry_cache_destroy(cache)))
		err = -EBUSY;
	vfree(live);
	vfree(allocs);
	vfree(frees);
	return err;
}
module_init(latency_init);

static void __exit latency_exit(void)
{
}
module_exit(latency_exit);

MODULE_DESCRIPTION("How long single calls take in Quarry and in the kernel");
MODULE_LICENSE("Dual MIT/GPL");
