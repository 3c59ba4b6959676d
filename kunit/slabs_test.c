// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Slabs as the kernel compiles them: each size class filled to the last slot,
 * each wrong offset of a slab, each order of freeing a small slab, and pages
 * that come back from one class to serve another.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include "quarry_kunit.h"

#define POOL_PAGES 32

static const u32 *sizes;

/* Fills a pool with one size; returns how many fitted. */
static u32 fill(struct kunit *test, struct quarry_client *client, u32 size, u64 *offsets, u32 room)
{
	u32 n = 0;

	while (n < room && !quarry_kunit_take(client, size, 8, &offsets[n]))
		n++;
	KUNIT_ASSERT_LT(test, n, room);
	return n;
}

static void each_class_fills_a_pool_with_slots_that_do_not_overlap(struct kunit *test)
{
	u32 room = POOL_PAGES * PAGE_SIZE / 8 + 1, classes, c, n, i;
	unsigned long *taken = quarry_kunit_memory(test, BITS_TO_LONGS(room) * sizeof(long));
	u64 *offsets = quarry_kunit_memory(test, room * sizeof(*offsets));
	struct quarry_pool *pool;
	struct quarry_client *client;

	classes = quarry_core_size_classes(&sizes);
	KUNIT_ASSERT_EQ(test, classes, 48U);
	pool = quarry_kunit_heap(test, POOL_PAGES * PAGE_SIZE, POOL_PAGES * PAGE_SIZE);
	client = quarry_kunit_client(test, pool);
	for (c = 0; c < classes; c++) {
		bitmap_zero(taken, room);
		n = fill(test, client, sizes[c], offsets, room);
		/* At most 4 % of a slab is tail. */
		KUNIT_EXPECT_GE(test, (u64)n * sizes[c] * 100, (u64)POOL_PAGES * PAGE_SIZE * 96);
		for (i = 0; i < n; i++) {
			u32 first = offsets[i] / 8, words = sizes[c] / 8;

			if (offsets[i] % 8 ||
			    find_next_bit(taken, first + words, first) < first + words) {
				KUNIT_FAIL(test, "size %u: offset %#llx overlaps", sizes[c], offsets[i]);
				return;
			}
			bitmap_set(taken, first, words);
		}
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)n);
		/* Odd ones first, then even ones backwards. */
		for (i = 1; i < n; i += 2)
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[i]), 0);
		quarry_kunit_verify(test, pool);
		for (i = (n - 1) & ~1U;; i -= 2) {
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[i]), 0);
			if (!i)
				break;
		}
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
		cond_resched();
	}
}

/* Of one slab with every other slot live: each 8-byte offset gets its own answer. */
static void each_offset_of_a_slab_has_one_right_answer(struct kunit *test)
{
	u64 *offsets = quarry_kunit_memory(test, 8192 * sizeof(*offsets));
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 8 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	struct quarry_client *other = quarry_kunit_client(test, pool);
	u32 classes = quarry_core_size_classes(&sizes), c, n, i;
	u64 offset, end;

	for (c = 0; c < classes; c++) {
		n = fill(test, client, sizes[c], offsets, 8192);
		for (i = 0; i < n; i += 2)
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[i]), 0);
		/* Slots are handed out in no promised order: look each up. */
		for (offset = 0, end = 8 * PAGE_SIZE; offset < end; offset += 8) {
			int expected = QUARRY_E_NOT_OBJECT, err;

			for (i = 0; i < n; i++)
				if (offsets[i] == offset)
					expected = i % 2 ? QUARRY_E_NOT_OWNER :
							   QUARRY_E_ALREADY_FREE;
			err = quarry_kunit_give(other, offset);
			/* A page beyond the slabs is free, not part of an object. */
			if (err != expected &&
			    !(expected == QUARRY_E_NOT_OBJECT && err == QUARRY_E_ALREADY_FREE)) {
				KUNIT_FAIL(test, "size %u, offset %#llx: error %d, expected %d",
					   sizes[c], offset, err, expected);
				return;
			}
		}
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)(n / 2));
		for (i = 1; i < n; i += 2)
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[i]), 0);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

#define FEW 6

/* Frees six slots in each of the 720 orders; after each the slab is whole again. */
static void slots_come_home_in_every_order(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 4 * PAGE_SIZE, 4 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u32 order, i, j, k, rest, left[FEW];
	u64 offsets[FEW];

	for (order = 0; order < 720; order++) {
		for (i = 0; i < FEW; i++)
			KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 2048, 8, &offsets[i]), 0);
		for (i = 0; i < FEW; i++)
			left[i] = i;
		for (i = 0, rest = order; i < FEW; i++) {
			j = rest % (FEW - i);
			rest /= FEW - i;
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[left[j]]), 0);
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[left[j]]),
					(int)QUARRY_E_ALREADY_FREE);
			for (k = j; k + 1 < FEW - i; k++)
				left[k] = left[k + 1];
			KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool), (u64)(FEW - 1 - i));
		}
	}
}

/* Law 7: what one class no longer needs serves any other, and pages. */
static void empty_slabs_serve_every_other_class(struct kunit *test)
{
	u64 *offsets = quarry_kunit_memory(test, 8192 * sizeof(*offsets));
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 8 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u32 classes = quarry_core_size_classes(&sizes), from, to, n, i;
	u64 offset;

	for (from = 0; from < classes; from++) {
		for (to = 0; to <= classes; to++) {
			n = fill(test, client, sizes[from], offsets, 8192);
			for (i = 0; i < n; i++)
				KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[i]), 0);
			if (quarry_kunit_take(client, to < classes ? sizes[to] : 8 * PAGE_SIZE, 8,
					      &offset)) {
				KUNIT_FAIL(test, "size %u is stranded for %u", sizes[from],
					   to < classes ? sizes[to] : 0);
				return;
			}
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offset), 0);
		}
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static void a_fixed_pool_has_exactly_its_objects(struct kunit *test)
{
	static const u64 object[] = { 8, 24, 64, 72, 504, 2048, 2056, 4096, 4104, 12288, 65536, 100000 };
	u64 *offsets = quarry_kunit_memory(test, 512 * sizeof(*offsets));
	struct quarry_client *client;
	struct quarry_pool *pool;
	unsigned int i, n, k;
	u64 size, more;

	for (i = 0; i < ARRAY_SIZE(object); i++) {
		size = object[i];
		pool = quarry_kunit_fixed(test, size, 100);
		client = quarry_kunit_client(test, pool);
		for (n = 0; n < 100; n++)
			KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, size, 8, &offsets[n]), 0);
		KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, size, 8, &more),
				(int)QUARRY_E_POOL_FULL);
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)100);
		KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, size + 8, 8, &more),
				(int)QUARRY_E_WRONG_SIZE);
		KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, size - 1, 8, &more),
				(int)QUARRY_E_WRONG_SIZE);
		for (k = 0; k < 100; k++)
			KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[k]), 0);
		/* All of them again: a fixed pool never gives its slabs away. */
		for (n = 0; n < 100; n++)
			KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, size, 8, &offsets[n]), 0);
		KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, size, 8, &more),
				(int)QUARRY_E_POOL_FULL);
		quarry_kunit_end_client(test, client);
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
		quarry_kunit_end_pool(test, pool);
	}
}

static struct kunit_case slabs_cases[] = {
	KUNIT_CASE(each_class_fills_a_pool_with_slots_that_do_not_overlap),
	KUNIT_CASE(each_offset_of_a_slab_has_one_right_answer),
	KUNIT_CASE(slots_come_home_in_every_order),
	KUNIT_CASE(empty_slabs_serve_every_other_class),
	KUNIT_CASE(a_fixed_pool_has_exactly_its_objects),
	{}
};

QUARRY_KUNIT_SUITE(quarry_slabs, slabs_cases);
