// SPDX-License-Identifier: MIT
/*
 * Ranges of memory that has no struct page, beside drm_mm's best fit under the lock of its users, who are
 * tasks: the lock of either leaves interrupts on.
 */
#include <drm/drm_mm.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>

#include "bench.h"

#define PAIRS 20000
#define GRANULE 256
#define MOST 100000

static struct quarry_range *range;
static struct drm_mm mm;
static struct drm_mm_node *nodes;
static u64 *offsets;
static u32 state, live;

/* 1 to 64 KiB, log-uniform. */
static u64 random_size(void)
{
	u32 top = bench_random(&state) % 6;

	return (1024ULL << top) + bench_random(&state) % (1024U << top);
}

/* Expected live bytes, over 0.80. */
static u64 space(void)
{
	return round_up((u64)live * 19000 * 5 / 4, SZ_1M);
}

static int quarry_begin(void)
{
	struct quarry_range_config config = {
		.granule = GRANULE,
		.max_live = MOST + 1,
		.flags = QUARRY_RANGE_TASK,
	};
	u32 i;

	config.capacity = space();
	range = quarry_range_create(&config);
	offsets = vmalloc(array_size(live, sizeof(*offsets)));
	if (IS_ERR(range) || !offsets)
		return -ENOMEM;
	state = 1;
	for (i = 0; i < live; i++)
		if (quarry_range_alloc(range, random_size(), GRANULE, &offsets[i]))
			return -ENOSPC;
	return 0;
}

static void quarry_run(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		u32 k = bench_random(&state) % live;

		quarry_range_free(range, offsets[k]);
		while (quarry_range_alloc(range, random_size(), GRANULE, &offsets[k]))
			;
	}
}

static void quarry_end(void)
{
	u32 i;

	for (i = 0; i < live; i++)
		quarry_range_free(range, offsets[i]);
	quarry_range_destroy(range);
	vfree(offsets);
}

static DEFINE_SPINLOCK(mm_lock);

static int take(struct drm_mm_node *node)
{
	u64 size = round_up(random_size(), GRANULE);
	int err;

	spin_lock(&mm_lock);
	err = drm_mm_insert_node_in_range(&mm, node, size, GRANULE, 0, 0, U64_MAX, DRM_MM_INSERT_BEST);
	spin_unlock(&mm_lock);
	return err;
}

static void give(struct drm_mm_node *node)
{
	spin_lock(&mm_lock);
	drm_mm_remove_node(node);
	spin_unlock(&mm_lock);
}

static int mm_begin(void)
{
	u32 i;

	nodes = vzalloc(array_size(live, sizeof(*nodes)));
	if (!nodes)
		return -ENOMEM;
	drm_mm_init(&mm, 0, space());
	state = 1;
	for (i = 0; i < live; i++)
		if (take(&nodes[i]))
			return -ENOSPC;
	return 0;
}

static void mm_run(void)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		struct drm_mm_node *node = &nodes[bench_random(&state) % live];

		give(node);
		while (take(node))
			;
	}
}

static void mm_end(void)
{
	u32 i;

	for (i = 0; i < live; i++)
		give(&nodes[i]);
	drm_mm_takedown(&mm);
	vfree(nodes);
}

#define OF(name, count)                       \
	static int quarry_begin_##name(void)  \
	{                                     \
		live = count;                 \
		return quarry_begin();        \
	}                                     \
	static int mm_begin_##name(void)      \
	{                                     \
		live = count;                 \
		return mm_begin();            \
	}

OF(1k, 1000)
OF(100k, MOST)

const struct bench_case bench_ranges[] = {
	{ "k-range-1k", "quarry", PAIRS, quarry_begin_1k, quarry_run, quarry_end },
	{ "k-range-1k", "drm_mm", PAIRS, mm_begin_1k, mm_run, mm_end },
	{ "k-range-100k", "quarry", PAIRS, quarry_begin_100k, quarry_run, quarry_end },
	{ "k-range-100k", "drm_mm", PAIRS, mm_begin_100k, mm_run, mm_end },
	{}
};
