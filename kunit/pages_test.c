// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The buddy of a pool behind its real shim: every short history of a small
 * pool against a model that is a bitmap, every size at every alignment, every
 * wrong offset.
 */
#include <linux/bitops.h>
#include <linux/log2.h>
#include <linux/sched.h>
#include "quarry_kunit.h"

#define PAGES 8
#define DEPTH 6

/* The model: which pages are taken, and by which object. */
struct model {
	struct quarry_client *client;
	unsigned long taken;
	unsigned int live;
	u64 offset[DEPTH];
	unsigned int pages[DEPTH];
};

/* A run of n pages is cut from a free block of the next power of two, naturally aligned. */
static bool model_has_room(unsigned long taken, unsigned int n)
{
	unsigned int block = roundup_pow_of_two(n), at;

	for (at = 0; at + block <= PAGES; at += block)
		if (!(taken & (GENMASK(block - 1, 0) << at)))
			return true;
	return false;
}

/* One step; false when it says nothing new (then the history is not gone on with). */
static bool play(struct kunit *test, struct model *m, unsigned int step)
{
	unsigned int page, n, i;
	unsigned long mask;
	u64 offset;
	int err;

	if (step < 4) {
		n = step + 1;
		err = quarry_kunit_take(m->client, n * PAGE_SIZE, 8, &offset);
		if (!model_has_room(m->taken, n)) {
			/* A run may be cut from less than a whole block: either is right, if it fits. */
			if (err)
				return false;
		}
		KUNIT_ASSERT_EQ(test, err, 0);
		KUNIT_ASSERT_EQ(test, offset % PAGE_SIZE, (u64)0);
		page = offset / PAGE_SIZE;
		KUNIT_ASSERT_LE(test, page + n, (unsigned int)PAGES);
		mask = GENMASK(n - 1, 0) << page;
		KUNIT_ASSERT_EQ_MSG(test, m->taken & mask, 0UL, "pages were given out twice");
		m->taken |= mask;
		m->offset[m->live] = offset;
		m->pages[m->live++] = n;
		return true;
	}
	i = step - 4;
	if (i >= m->live)
		return false;
	KUNIT_ASSERT_EQ(test, quarry_kunit_give(m->client, m->offset[i]), 0);
	m->taken &= ~(GENMASK(m->pages[i] - 1, 0) << (m->offset[i] / PAGE_SIZE));
	m->live--;
	m->offset[i] = m->offset[m->live];
	m->pages[i] = m->pages[m->live];
	return true;
}

static void clear(struct kunit *test, struct model *m)
{
	while (m->live)
		play(test, m, 4);
	KUNIT_ASSERT_EQ(test, m->taken, 0UL);
}

static void every_short_history_of_a_small_pool_fits_the_model(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGES * PAGE_SIZE, PAGES * PAGE_SIZE);
	struct model m = { .client = quarry_kunit_client(test, pool) };
	unsigned int steps = 4 + DEPTH - 1, history[DEPTH], depth, i, audits = 0;
	unsigned long played = 0;
	bool more;

	memset(history, 0, sizeof(history));
	do {
		for (depth = 0; depth < DEPTH; depth++)
			if (!play(test, &m, history[depth]))
				break;
		/* A step that cannot be cuts off all that begin like this. */
		if (depth < DEPTH)
			for (i = depth + 1; i < DEPTH; i++)
				history[i] = steps - 1;
		KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool), (u64)m.live);
		audits++;
		clear(test, &m);
		played++;
		/* All free again: the whole pool is one run. */
		KUNIT_ASSERT_EQ(test, quarry_kunit_take(m.client, PAGES * PAGE_SIZE, 8, &m.offset[0]), 0);
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(m.client, m.offset[0]), 0);
		for (i = DEPTH; i-- > 0;) {
			if (++history[i] < steps)
				break;
			history[i] = 0;
		}
		more = i < DEPTH;
		if (played % 1024 == 0)
			cond_resched();
	} while (more);
	kunit_info(test, "measured: %lu histories of up to %d steps, %u audits\n", played, DEPTH, audits);
	KUNIT_EXPECT_GT(test, played, 1000UL);
}

static void every_size_at_every_alignment_is_placed_right(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 256 * PAGE_SIZE, 256 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 size, align, offset, usable;
	unsigned long pairs = 0;

	for (size = 1; size <= 3 * PAGE_SIZE + 1; size++) {
		for (align = 8; align <= 16 * PAGE_SIZE; align <<= 1, pairs++) {
			usable = quarry_core_usable_size(pool->core, size, align);
			if (usable < size || quarry_kunit_take(client, size, align, &offset) ||
			    offset & (align - 1) || offset + usable > 256 * PAGE_SIZE ||
			    quarry_kunit_give(client, offset)) {
				KUNIT_FAIL(test, "size %llu, alignment %llu: usable %llu, offset %#llx",
					   size, align, usable, offset);
				return;
			}
		}
		cond_resched();
	}
	kunit_info(test, "measured: %lu pairs of size and alignment\n", pairs);
	quarry_kunit_verify(test, pool);
}

static void alignments_and_sizes_that_cannot_be_are_refused(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 16 * PAGE_SIZE, 16 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 align, offset;
	int bit;

	for (align = 0; align < 1024; align++)
		if (!is_power_of_2(align))
			KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, 8, align, &offset),
					(int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, 0, 8, &offset), (int)QUARRY_E_INVALID);
	for (bit = 0; bit < 64; bit++) {
		u64 size = QUARRY_MAX_OBJECT + (1ULL << bit);

		if (size < QUARRY_MAX_OBJECT)
			continue;
		KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, size, 8, &offset),
				(int)QUARRY_E_TOO_LARGE);
		if (1ULL << bit > QUARRY_MAX_OBJECT)
			KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, 8, 1ULL << bit, &offset),
					(int)QUARRY_E_TOO_LARGE);
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_take(client, U64_MAX, 8, &offset),
			(int)QUARRY_E_TOO_LARGE);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

/* Every run of up to 16 pages, and each offset in it that is not its start. */
static void no_part_of_an_exact_run_can_be_freed(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	u64 pages, offset, wrong;

	for (pages = 1; pages <= 16; pages++) {
		KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, pages * PAGE_SIZE, 8, &offset), 0);
		for (wrong = offset + 8; wrong < offset + pages * PAGE_SIZE; wrong += 8) {
			int err = quarry_kunit_give(client, wrong);

			if (err != QUARRY_E_NOT_OBJECT) {
				KUNIT_FAIL(test, "run of %llu pages, %llu bytes in: error %d", pages,
					   wrong - offset, err);
				return;
			}
		}
		for (wrong = offset + 1; wrong < offset + 64; wrong += wrong % 8 == 7 ? 2 : 1)
			KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, wrong),
					(int)QUARRY_E_MISALIGNED);
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)1);
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offset), 0);
		KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, offset), (int)QUARRY_E_ALREADY_FREE);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static void every_offset_of_an_empty_pool_is_refused_by_name(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 4 * PAGE_SIZE, 8 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	int expected, err, bit;
	u64 offset;

	for (offset = 0; offset < 9 * PAGE_SIZE; offset++) {
		expected = offset % 8 ? QUARRY_E_MISALIGNED :
			   offset >= 8 * PAGE_SIZE ? QUARRY_E_OUT_OF_RANGE :
			   offset >= 4 * PAGE_SIZE ? QUARRY_E_NO_REGION : QUARRY_E_ALREADY_FREE;
		err = quarry_kunit_give(client, offset);
		if (err != expected) {
			KUNIT_FAIL(test, "offset %#llx: error %d, expected %d", offset, err, expected);
			return;
		}
	}
	for (bit = 16; bit < 64; bit++)
		KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, 1ULL << bit),
				(int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, U64_MAX - 7), (int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static struct kunit_case pages_cases[] = {
	KUNIT_CASE(every_short_history_of_a_small_pool_fits_the_model),
	KUNIT_CASE(every_size_at_every_alignment_is_placed_right),
	KUNIT_CASE(alignments_and_sizes_that_cannot_be_are_refused),
	KUNIT_CASE(no_part_of_an_exact_run_can_be_freed),
	KUNIT_CASE(every_offset_of_an_empty_pool_is_refused_by_name),
	{}
};

QUARRY_KUNIT_SUITE(quarry_pages, pages_cases);
