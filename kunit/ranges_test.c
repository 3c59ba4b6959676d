// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Range pools behind the shim: every short history in a small space, the reap
 * of very many, sizes near 2^62, and memory refused while one is made.
 */
#include <linux/sched.h>
#include "quarry_kunit.h"

#define GRANULE 64
#define SPACE 4			/* granules */
#define MOST 3			/* ranges */
#define DEPTH 5

/* What a history knows: where a range begins, and how long it is, in granules. */
struct space {
	u32 length[SPACE];
	u32 live;
};

/* Steps: alloc(n), n = 1..SPACE; free(at); resize(at, n). */
#define STEPS (SPACE + SPACE + SPACE * SPACE)

static bool is_free(const struct space *space, u32 at)
{
	u32 i;

	for (i = 0; i <= at; i++)
		if (space->length[i] && i + space->length[i] > at)
			return false;
	return true;
}

/* The longest run of free granules from @at on. */
static u32 room_at(const struct space *space, u32 at)
{
	u32 n = 0;

	while (at + n < SPACE && is_free(space, at + n))
		n++;
	return n;
}

static bool inside(const struct space *space, u32 at)
{
	return !space->length[at] && !is_free(space, at);
}

static void play_alloc(struct kunit *test, struct quarry_client *client, struct space *space, u32 n)
{
	u32 at, done, best = 0;
	u64 offset;
	int err = quarry_client_alloc(client, (u64)n * GRANULE - 1, 1, 1, &offset, &done);

	for (at = 0; at < SPACE; at++)
		best = max(best, room_at(space, at));
	if (space->live == MOST) {
		KUNIT_ASSERT_EQ(test, err, -ENOSR);
	} else if (best < n) {
		KUNIT_ASSERT_EQ(test, err, -ENOSPC);
	} else {
		KUNIT_ASSERT_EQ(test, err, 0);
		at = offset / GRANULE;
		KUNIT_ASSERT_TRUE(test, offset % GRANULE == 0 && at < SPACE);
		KUNIT_ASSERT_GE(test, room_at(space, at), n);
		space->length[at] = n;
		space->live++;
	}
}

static int wanted_for(const struct space *space, u32 at)
{
	if (space->length[at])
		return 0;
	return inside(space, at) ? -EBADSLT : -EALREADY;
}

static void play(struct kunit *test, struct quarry_client *client, struct space *space, u32 step)
{
	struct quarry_blame blame;
	u32 at, n, room, done;
	u64 offset, bytes = 0;
	int err, wanted;

	if (step < SPACE) {
		play_alloc(test, client, space, step + 1);
		return;
	}
	step -= SPACE;
	at = step % SPACE;
	offset = (u64)at * GRANULE;
	wanted = wanted_for(space, at);
	if (step < SPACE) {
		err = quarry_client_free(client, &offset, 1, &done, &blame);
		KUNIT_ASSERT_EQ(test, err, wanted);
		if (!err) {
			space->length[at] = 0;
			space->live--;
		}
		return;
	}
	n = step / SPACE;
	room = wanted ? 0 : space->length[at] + room_at(space, at + space->length[at]);
	if (!wanted && n > room)
		wanted = -ENOSPC;
	err = quarry_client_resize(client, offset, (u64)n * GRANULE, &bytes, &blame);
	KUNIT_ASSERT_EQ(test, err, wanted);
	if (!err) {
		KUNIT_ASSERT_EQ(test, bytes, (u64)n * GRANULE);
		space->length[at] = n;
	}
}

static void every_short_history_agrees_with_a_drawing(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_ranges(test, SPACE * GRANULE, GRANULE, MOST);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	unsigned int history[DEPTH] = {}, i, at;
	struct quarry_blame blame;
	unsigned long played = 0;
	u64 offset;
	u32 done;

	for (;;) {
		struct space space = {};

		for (i = 0; i < DEPTH; i++)
			play(test, client, &space, history[i]);
		if (played % 4096 == 0)
			KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool), (u64)space.live);
		for (at = 0; at < SPACE; at++) {
			offset = (u64)at * GRANULE;
			if (space.length[at])
				KUNIT_ASSERT_EQ(test, quarry_client_free(client, &offset, 1, &done,
									 &blame), 0);
		}
		if (++played % 1024 == 0)
			cond_resched();
		for (i = DEPTH; i-- > 0;) {
			if (++history[i] < STEPS)
				break;
			history[i] = 0;
		}
		/* The first step is an allocation, or nothing happens. */
		if (i >= DEPTH || history[0] >= SPACE)
			break;
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	kunit_info(test, "measured: %lu histories of %d steps\n", played, DEPTH);
}

#define HUNDRED_THOUSAND 100000

static void hundred_thousand_ranges_are_reaped_and_the_space_is_whole(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_ranges(test, 1ULL << 40, 4096, 2 * HUNDRED_THOUSAND);
	struct quarry_client *dead = quarry_kunit_client(test, pool);
	struct quarry_client *other = quarry_kunit_client(test, pool);
	u64 *offsets = quarry_kunit_memory(test, 100 * sizeof(u64)), start, offset;
	u32 i, done;

	for (i = 0; i < HUNDRED_THOUSAND / 100; i++) {
		KUNIT_ASSERT_EQ(test, quarry_client_alloc(dead, 4096 + i % 7 * 4096, 1, 100, offsets,
							  &done), 0);
		KUNIT_ASSERT_EQ(test, quarry_client_alloc(other, 4096, 1, 1, &offset, &done), 0);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)(HUNDRED_THOUSAND + i));
	start = ktime_get_ns();
	quarry_kunit_end_client(test, dead);
	kunit_info(test, "measured: %d ranges reaped in %llu us\n", HUNDRED_THOUSAND,
		   (ktime_get_ns() - start) / 1000);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)i);
	quarry_kunit_end_client(test, other);
	other = quarry_kunit_client(test, pool);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(other, 1ULL << 40, 1, 1, &offset, &done), 0);
}

static void two_to_the_62_bytes_are_shared_out_and_come_back(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_ranges(test, 1ULL << 62, 1, 8);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	struct quarry_blame blame;
	u64 offset[3], bytes;
	u32 done;

	KUNIT_EXPECT_EQ(test, quarry_client_alloc(client, 1ULL << 61, 1, 3, offset, &done), -ENOSPC);
	KUNIT_EXPECT_EQ(test, done, 2U);
	KUNIT_EXPECT_EQ(test, offset[0] + offset[1], 1ULL << 61);
	KUNIT_EXPECT_EQ(test, quarry_client_free(client, &offset[1], 1, &done, &blame), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_resize(client, offset[0], (1ULL << 62) - 1, &bytes,
						   &blame), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(client, 1, 1, 2, offset, &done), -ENOSPC);
	KUNIT_EXPECT_EQ(test, done, 1U);
	KUNIT_EXPECT_EQ(test, offset[0], (1ULL << 62) - 1);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)2);
}

static void refused_memory_makes_no_pool_and_loses_nothing(struct kunit *test)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_RANGE,
		.node = NUMA_NO_NODE,
		.max_bytes = 1 << 20,
		.granule = 64,
		.max_ranges = 100,
		.name = "",
	};
	struct quarry_watch_counts counts;
	struct quarry_pool *pool;
	unsigned int nth;
	int err;

	for (nth = 1; nth < 100; nth++) {
		quarry_watch_refuse(nth, false);
		err = quarry_pool_create(&config, &pool);
		quarry_watch_refuse(0, false);
		if (!err)
			break;
		KUNIT_ASSERT_EQ(test, err, -ENOMEM);
		quarry_watch_read(&counts);
		KUNIT_ASSERT_EQ(test, counts.blocks, (s64)0);
	}
	KUNIT_EXPECT_GT(test, nth, 3U);
	KUNIT_EXPECT_LT(test, nth, 100U);
	quarry_pool_put(pool);
}

static struct kunit_case ranges_cases[] = {
	KUNIT_CASE(every_short_history_agrees_with_a_drawing),
	KUNIT_CASE(hundred_thousand_ranges_are_reaped_and_the_space_is_whole),
	KUNIT_CASE(two_to_the_62_bytes_are_shared_out_and_come_back),
	KUNIT_CASE(refused_memory_makes_no_pool_and_loses_nothing),
	{}
};

QUARRY_KUNIT_SUITE(quarry_ranges, ranges_cases);
