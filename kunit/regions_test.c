// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Regions through the shim: real pages in and out, what keeps one in, what
 * counts them, and where the core puts them.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include "../module/limits.h"
#include "quarry_kunit.h"

static int add(struct quarry_pool *pool, u64 pages, u64 *offset)
{
	u64 added;
	u32 count;

	return quarry_regions_add(pool, QUARRY_CORE_NORMAL, -1, pages, true, offset, &added, &count);
}

#define ROOM 32
#define DEPTH 4

/*
 * All short histories of additions (1, 2, 3, 4, 8 pages) and removals over 32
 * pages of offsets: regions never overlap, lie aligned, and the room is used.
 */
static void every_short_history_of_regions_keeps_them_apart(struct kunit *test)
{
	static const u64 size[] = { 1, 2, 3, 4, 8 };
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, ROOM * PAGE_SIZE);
	unsigned int history[DEPTH] = {}, steps = ARRAY_SIZE(size) + 2, i, live, played = 0;
	u64 offset[DEPTH], pages[DEPTH], taken, removed, mask;

	for (;;) {
		taken = 0;
		live = 0;
		for (i = 0; i < DEPTH; i++) {
			unsigned int step = history[i];

			if (step < ARRAY_SIZE(size)) {
				pages[live] = size[step];
				KUNIT_ASSERT_EQ(test, add(pool, pages[live], &offset[live]), 0);
				KUNIT_ASSERT_EQ(test, offset[live] %
						(roundup_pow_of_two(pages[live]) * PAGE_SIZE), (u64)0);
				mask = GENMASK_ULL(pages[live] - 1, 0) << (offset[live] / PAGE_SIZE);
				KUNIT_ASSERT_EQ(test, taken & mask, (u64)0);
				taken |= mask;
				live++;
			} else if (step - ARRAY_SIZE(size) < live) {
				unsigned int gone = step - ARRAY_SIZE(size);

				KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, offset[gone], &removed),
						0);
				KUNIT_ASSERT_EQ(test, removed, pages[gone]);
				taken &= ~(GENMASK_ULL(removed - 1, 0) << (offset[gone] / PAGE_SIZE));
				live--;
				offset[gone] = offset[live];
				pages[gone] = pages[live];
			}
		}
		KUNIT_ASSERT_EQ(test, pool->pages, (u64)hweight64(taken));
		if (played % 16 == 0)
			quarry_kunit_verify(test, pool);
		while (live--)
			KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, offset[live], &removed), 0);
		played++;
		for (i = DEPTH; i-- > 0;) {
			if (++history[i] < steps)
				break;
			history[i] = 0;
		}
		if (i >= DEPTH)
			break;
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)0);
	kunit_info(test, "measured: %u histories of %d steps\n", played, DEPTH);
}

static void a_region_with_an_object_anywhere_stays(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 64 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	static const u64 sizes[] = { 8, 2048, PAGE_SIZE, 2 * PAGE_SIZE };
	u64 first, second, pages, objects[32];
	unsigned int i, n, keep;
	int err;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (keep = 0; keep < 8; keep++) {
			KUNIT_ASSERT_EQ(test, add(pool, 16, &first), 0);
			KUNIT_ASSERT_EQ(test, add(pool, 16, &second), 0);
			for (n = 0; n < 8; n++)
				KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, sizes[i], 8,
									&objects[n]), 0);
			for (n = 0; n < 8; n++)
				if (n != keep)
					KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, objects[n]), 0);
			/* One of the two holds the object, the other is empty. */
			err = quarry_region_remove(pool, first, &pages);
			if (objects[keep] >= first && objects[keep] < first + 16 * PAGE_SIZE) {
				KUNIT_ASSERT_EQ(test, err, -EBUSY);
				KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, second, &pages), 0);
			} else {
				KUNIT_ASSERT_EQ(test, err, 0);
				KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, second, &pages), -EBUSY);
			}
			KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool), (u64)1);
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, objects[keep]), 0);
			if (err)
				KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, first, &pages), 0);
			else
				KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, second, &pages), 0);
		}
	}
}

/* A reference to any single page, as a pin for I/O takes it, keeps its region whole. */
static void a_page_in_use_keeps_its_region(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 16 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 offset, pages, object;
	struct page *page;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, add(pool, 8, &offset), 0);
	for (i = 0; i < 8; i++) {
		page = quarry_page_find(pool, offset + i * PAGE_SIZE + 123);
		KUNIT_ASSERT_NOT_NULL(test, page);
		KUNIT_EXPECT_EQ(test, page_count(page), 2);
		KUNIT_EXPECT_EQ(test, quarry_region_remove(pool, offset, &pages), -EBUSY);
		/* Nothing has changed: the page is found, the memory can be had. */
		KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, 8 * PAGE_SIZE, 8, &object), 0);
		KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, object), 0);
		put_page(page);
		KUNIT_EXPECT_EQ(test, page_count(page), 1);
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_region_remove(pool, offset, &pages), 0);
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_NULL(test, quarry_page_find(pool, i * PAGE_SIZE));
}

static void wrong_offsets_of_regions_are_refused_by_name(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 16 * PAGE_SIZE);
	u64 offset, first, pages;
	int expected;

	KUNIT_ASSERT_EQ(test, add(pool, 8, &first), 0);
	for (offset = 0; offset < 17 * PAGE_SIZE; offset += 4) {
		if (offset == first)
			continue;
		expected = offset % 8 ? -EINVAL : offset >= 16 * PAGE_SIZE ? -ERANGE :
			   offset - first < 8 * PAGE_SIZE ? -EBADSLT : -ENXIO;
		if (quarry_region_remove(pool, offset, &pages) != expected) {
			KUNIT_FAIL(test, "offset %#llx", offset);
			return;
		}
	}
	KUNIT_EXPECT_EQ(test, pool->pages, 8ULL);
}

/* What a user holds goes up and down with regions, and ends where it began. */
static void bytes_are_charged_to_the_user_and_come_back(struct kunit *test)
{
	struct quarry_account *account = quarry_account_get();
	u64 bytes = quarry_charged(account, QUARRY_CHARGE_BYTES);
	u64 pools = quarry_charged(account, QUARRY_CHARGE_POOLS);
	u64 clients = quarry_charged(account, QUARRY_CHARGE_CLIENTS);
	struct quarry_pool *pool = quarry_kunit_heap(test, 5 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 offset, pages;
	u32 done;

	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_BYTES), bytes + 5 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_POOLS), pools + 1);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_CLIENTS), clients + 1);
	KUNIT_ASSERT_EQ(test, add(pool, 16, &offset), 0);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_BYTES), bytes + 21 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, quarry_region_remove(pool, offset, &pages), 0);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_BYTES), bytes + 5 * PAGE_SIZE);
	/* Growth on demand is charged alike. */
	KUNIT_ASSERT_EQ(test, quarry_client_alloc(client, 20 * PAGE_SIZE, 8, 1, &offset, &done), 0);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_BYTES),
			bytes + (pool->pages << PAGE_SHIFT));
	quarry_kunit_end_client(test, client);
	quarry_kunit_end_pool(test, pool);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_BYTES), bytes);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_POOLS), pools);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_CLIENTS), clients);
	quarry_account_put(account);
}

/* A pool grows to its maximum and not beyond, whatever the size of what makes it grow. */
static void a_pool_grows_to_its_maximum_exactly(struct kunit *test)
{
	static const u64 sizes[] = { 64, 2048, PAGE_SIZE, 7 * PAGE_SIZE, 64 * PAGE_SIZE };
	struct quarry_client *client;
	struct quarry_pool *pool;
	unsigned int i;
	u64 offset, n;
	u32 done;
	int err;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		pool = quarry_kunit_heap(test, 0, 448 * PAGE_SIZE);
		client = quarry_kunit_client(test, pool);
		for (n = 0; !(err = quarry_client_alloc(client, sizes[i], 8, 1, &offset, &done)); n++)
			if (n % 1024 == 0)
				cond_resched();
		KUNIT_EXPECT_EQ(test, err, -ENOSPC);
		KUNIT_EXPECT_LE(test, pool->pages, 448ULL);
		KUNIT_EXPECT_GE_MSG(test, n * sizes[i] * 100, 448 * PAGE_SIZE * 85, "size %llu: %llu objects",
				    sizes[i], n);
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), n);
		quarry_kunit_end_client(test, client);
		quarry_kunit_end_pool(test, pool);
	}
}

static struct kunit_case regions_cases[] = {
	KUNIT_CASE(every_short_history_of_regions_keeps_them_apart),
	KUNIT_CASE(a_region_with_an_object_anywhere_stays),
	KUNIT_CASE(a_page_in_use_keeps_its_region),
	KUNIT_CASE(wrong_offsets_of_regions_are_refused_by_name),
	KUNIT_CASE(bytes_are_charged_to_the_user_and_come_back),
	KUNIT_CASE(a_pool_grows_to_its_maximum_exactly),
	{}
};

QUARRY_KUNIT_SUITE(quarry_regions, regions_cases);
