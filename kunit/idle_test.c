// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Memory pressure: what pools and drivers' heaps grew by goes back when it is idle, within what
 * was asked for, and nothing that is live moves.
 */
#include <linux/delay.h>
#include <linux/mutex.h>
#include <linux/numa.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>
#include "../module/idle.h"
#include "../module/include/linux/quarry.h"
#include "quarry_kunit.h"

#define NODE 0
#define MANY 2048
#define SMALL (1UL << 20 >> PAGE_SHIFT)

/* Scans until nothing more comes; answers pages. */
static unsigned long scan_all(struct kunit *test, unsigned long most)
{
	unsigned long all = 0, got, scanned;
	unsigned int tries = 0;

	do {
		got = quarry_idle_scan(NODE, most, &scanned);
		KUNIT_EXPECT_LE(test, got, most);
		KUNIT_EXPECT_LE(test, got, scanned);
		KUNIT_EXPECT_LE(test, scanned, most);
		all += got;
	} while (got && ++tries < 1000);
	return all;
}

/* Pages of 8 KiB objects: so many that the pool grows by far more than it began with. */
static void fill(struct kunit *test, struct quarry_client *client, u64 *offsets, u32 n)
{
	u32 done;

	KUNIT_ASSERT_EQ(test, quarry_client_alloc(client, 2 * PAGE_SIZE, 8, n, offsets, &done), 0);
	KUNIT_ASSERT_EQ(test, done, n);
}

static void a_pool_gives_back_what_it_grew_by(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, SZ_1M, SZ_64M);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 *offsets = quarry_kunit_memory(test, MANY * sizeof(*offsets));
	unsigned long idle = quarry_idle_count(NODE), pages;
	struct quarry_blame blame;
	u32 done;

	fill(test, client, offsets, MANY);
	pages = pool->pages;
	KUNIT_EXPECT_GE(test, pages, 2UL * MANY);
	KUNIT_EXPECT_EQ(test, scan_all(test, 1 << 20), idle);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)pages);

	/* One stays: its region does, too. */
	KUNIT_ASSERT_EQ(test, quarry_client_free(client, offsets, MANY - 1, &done, &blame), 0);
	KUNIT_EXPECT_GT(test, quarry_idle_count(NODE), 2UL * MANY - 3 * 1024);
	KUNIT_EXPECT_EQ(test, scan_all(test, 8), 0UL);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)pages);
	KUNIT_EXPECT_GT(test, scan_all(test, 1024), 2UL * MANY - 3 * 1024);
	KUNIT_EXPECT_GT(test, pool->pages, (u64)SMALL);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)1);
	KUNIT_ASSERT_EQ(test, quarry_client_free(client, offsets + MANY - 1, 1, &done, &blame), 0);
	scan_all(test, 1024);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)SMALL);
	KUNIT_EXPECT_EQ(test, quarry_idle_count(NODE), 0UL);

	/* And it grows again. */
	fill(test, client, offsets, MANY);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)MANY);
}

static void what_the_creator_added_stays(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, SZ_1M, SZ_64M);
	struct quarry_pool *fixed = quarry_kunit_fixed(test, 64, 100000);
	u64 first, added, before = fixed->pages;
	u32 count;

	KUNIT_ASSERT_EQ(test, quarry_regions_add(pool, QUARRY_CORE_NORMAL, NUMA_NO_NODE, 4096, true,
						 &first, &added, &count), 0);
	scan_all(test, 1 << 20);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)SMALL + 4096);
	KUNIT_EXPECT_EQ(test, fixed->pages, before);
}

static void reclaim_waits_for_no_lock_and_no_cache(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, SZ_1M, SZ_64M);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 *offsets = quarry_kunit_memory(test, MANY * sizeof(*offsets));
	struct quarry_blame blame;
	unsigned int tries;
	u32 done;

	fill(test, client, offsets, MANY);
	KUNIT_ASSERT_EQ(test, quarry_client_free(client, offsets, MANY, &done, &blame), 0);
	mutex_lock(&pool->grow);
	KUNIT_EXPECT_EQ(test, quarry_idle_count(NODE), 0UL);
	KUNIT_EXPECT_EQ(test, scan_all(test, 1024), 0UL);
	mutex_unlock(&pool->grow);
	KUNIT_EXPECT_GT(test, scan_all(test, 1024), 0UL);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)SMALL);

	/* Slabs that are empty and kept: a scan lets them be trimmed, and the next gives them back. */
	for (tries = 0; tries < 40; tries++) {
		KUNIT_ASSERT_EQ(test, quarry_client_alloc(client, 8 << tries % 8, 8, 512, offsets, &done),
				0);
		KUNIT_ASSERT_EQ(test, quarry_client_free(client, offsets, 512, &done, &blame), 0);
	}
	for (tries = 0; tries < 30 && pool->pages > SMALL; tries++) {
		scan_all(test, 1024);
		msleep(100);
	}
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)SMALL);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static void a_drivers_heap_gives_back_all_but_what_it_is_to_keep(struct kunit *test)
{
	struct quarry_heap_config config = { .name = "idle", .bytes = SZ_1M, .max_bytes = SZ_64M };
	struct quarry_heap *heap = quarry_heap_create(&config);
	void **objects = quarry_kunit_memory(test, MANY * sizeof(*objects));
	struct quarry_heap_stat stat;
	unsigned int i, tries;

	KUNIT_ASSERT_FALSE(test, IS_ERR(heap));
	for (i = 0; i < MANY; i++) {
		objects[i] = quarry_alloc(heap, i % 2 ? 2 * PAGE_SIZE : 2048, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, objects[i]);
	}
	quarry_heap_stat(heap, &stat);
	KUNIT_EXPECT_GT(test, stat.bytes, (u64)8 * SZ_1M);
	scan_all(test, 1024);
	for (i = 1; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, quarry_free(heap, objects[i]), 0);
	memset(objects[0], 0x5a, 2048);
	for (tries = 0; tries < 30 && stat.bytes > 6 * SZ_1M; tries++) {
		scan_all(test, 1024);
		quarry_heap_stat(heap, &stat);
		msleep(100);
	}
	KUNIT_EXPECT_LE(test, stat.bytes, (u64)6 * SZ_1M);
	KUNIT_EXPECT_GE(test, stat.bytes, (u64)SZ_1M);
	for (i = 0; i < 2048; i++)
		KUNIT_ASSERT_EQ(test, ((u8 *)objects[0])[i], (u8)0x5a);
	KUNIT_EXPECT_EQ(test, quarry_free(heap, objects[0]), 0);
	for (tries = 0; tries < 30 && stat.bytes > 2 * SZ_1M; tries++) {
		scan_all(test, 1024);
		quarry_heap_stat(heap, &stat);
		msleep(100);
	}
	KUNIT_EXPECT_GE(test, stat.bytes, (u64)SZ_1M);
	KUNIT_EXPECT_LE(test, stat.bytes, (u64)2 * SZ_1M);
	KUNIT_EXPECT_EQ(test, quarry_heap_verify(heap, true), 0);
	KUNIT_EXPECT_EQ(test, quarry_heap_destroy(heap), 0);
}

static struct kunit_case idle_cases[] = {
	KUNIT_CASE(a_pool_gives_back_what_it_grew_by),
	KUNIT_CASE(what_the_creator_added_stays),
	KUNIT_CASE(reclaim_waits_for_no_lock_and_no_cache),
	KUNIT_CASE(a_drivers_heap_gives_back_all_but_what_it_is_to_keep),
	{}
};

QUARRY_KUNIT_SUITE(quarry_idle, idle_cases);
