// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Reserves behind the shim: every short history of two clients in a pool of four objects, and
 * what each call says of an object that is set aside.
 */
#include <linux/sched.h>
#include "quarry_kunit.h"

#define OBJECTS 4
#define DEPTH 5
/* All slots of a slab: then it is known which of them are set aside. */
#define WHOLE 256

enum step { RESERVE_0, RESERVE_1, RESERVE_2, RESERVE_3, TAKE, FREE, OTHER_TAKES, OTHER_FREES, STEPS };

struct history {
	struct quarry_client *client[2];
	u64 held[2][OBJECTS];
	u32 n[2];
	u32 aside;
};

static u32 room(const struct history *h)
{
	return OBJECTS - h->n[0] - h->n[1] - h->aside;
}

static void take(struct kunit *test, struct history *h, unsigned int who)
{
	bool draws = !room(h) && who == 0 && h->aside;
	u64 offset;
	u32 done, i, k;
	int err = quarry_client_alloc(h->client[who], 64, 8, 1, &offset, &done);

	if (!room(h) && !draws) {
		KUNIT_ASSERT_EQ(test, err, -ENOSPC);
		return;
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	for (i = 0; i < 2; i++)
		for (k = 0; k < h->n[i]; k++)
			KUNIT_ASSERT_NE(test, h->held[i][k], offset);
	h->aside -= draws;
	h->held[who][h->n[who]++] = offset;
}

static void give(struct kunit *test, struct history *h, unsigned int who)
{
	struct quarry_blame blame;
	u32 done;

	if (!h->n[who])
		return;
	KUNIT_ASSERT_EQ(test, quarry_client_free(h->client[who], &h->held[who][--h->n[who]], 1, &done,
						 &blame), 0);
}

static void play(struct kunit *test, struct history *h, enum step step)
{
	u64 scratch[OBJECTS], objects, bytes;
	u32 left;
	int err;

	switch (step) {
	case TAKE:
	case OTHER_TAKES:
		take(test, h, step == OTHER_TAKES);
		break;
	case FREE:
	case OTHER_FREES:
		give(test, h, step == OTHER_FREES);
		break;
	default:
		err = quarry_client_reserve(h->client[0], 64, 8, step, scratch, &left);
		if (step > h->aside + room(h)) {
			KUNIT_ASSERT_EQ(test, err, -ENOSPC);
		} else {
			KUNIT_ASSERT_EQ(test, err, 0);
			h->aside = step;
		}
		KUNIT_ASSERT_EQ(test, left, h->aside);
	}
	quarry_core_client_usage(h->client[0]->core, &objects, &bytes);
	KUNIT_ASSERT_EQ(test, objects, (u64)h->n[0] + h->aside);
}

static void every_short_history_of_a_reserve_is_as_it_was_promised(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_fixed(test, 64, OBJECTS);
	struct history *h = quarry_kunit_memory(test, sizeof(*h));
	u32 histories = 1, i, k, code;

	for (k = 0; k < DEPTH; k++)
		histories *= STEPS;
	for (i = 0; i < histories; i++) {
		memset(h, 0, sizeof(*h));
		h->client[0] = quarry_kunit_client(test, pool);
		h->client[1] = quarry_kunit_client(test, pool);
		for (k = 0, code = i; k < DEPTH; k++, code /= STEPS)
			play(test, h, code % STEPS);
		/* Each other history ends by a free of all, the rest by two deaths. */
		if (i % 2) {
			while (h->n[0])
				give(test, h, 0);
			while (h->n[1])
				give(test, h, 1);
			play(test, h, RESERVE_0);
		}
		if (i % 64 == 0)
			KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool),
					(u64)h->n[0] + h->n[1] + h->aside);
		quarry_kunit_end_client(test, h->client[0]);
		quarry_kunit_end_client(test, h->client[1]);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	kunit_info(test, "measured: %u histories\n", histories);
}

static void a_guess_at_what_is_set_aside_is_refused_by_each_call(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_fixed(test, 64, WHOLE);
	struct quarry_client *a = quarry_kunit_client(test, pool);
	struct quarry_client *b = quarry_kunit_client(test, pool);
	u64 *offsets = quarry_kunit_memory(test, 2 * WHOLE * sizeof(*offsets));
	u64 *scratch = offsets + WHOLE, offset;
	struct quarry_core_flushed flushed = {};
	struct quarry_blame blame;
	u32 left, done, i;

	KUNIT_ASSERT_EQ(test, quarry_client_alloc(a, 64, 8, WHOLE, offsets, &done), 0);
	KUNIT_ASSERT_EQ(test, quarry_client_free(a, offsets, WHOLE, &done, &blame), 0);
	KUNIT_ASSERT_EQ(test, quarry_client_reserve(a, 64, 8, WHOLE, scratch, &left), 0);
	for (i = 0; i < WHOLE; i++) {
		KUNIT_EXPECT_EQ(test, quarry_client_free(a, &offsets[i], 1, &done, &blame), -EALREADY);
		KUNIT_EXPECT_EQ(test, blame.offset, offsets[i]);
		KUNIT_EXPECT_EQ(test, blame.owner, (u64)0);
		KUNIT_EXPECT_EQ(test, quarry_client_transfer(a, b->id, &offsets[i], 1, &done, &blame),
				-EALREADY);
		KUNIT_EXPECT_EQ(test, quarry_client_hand(a, b->id, quarry_core_share, &offsets[i], 1,
							 &done, &blame), -EALREADY);
		KUNIT_EXPECT_EQ(test, quarry_client_flush(a, 0, &offsets[i], &flushed, &blame),
				-EALREADY);
		KUNIT_EXPECT_EQ(test, quarry_client_free(b, &offsets[i], 1, &done, &blame), -EACCES);
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)WHOLE);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(b, 64, 8, 1, &offset, &done), -ENOSPC);
	for (i = 0; i < WHOLE; i++)
		KUNIT_EXPECT_EQ(test, quarry_client_refill(a, 0, &offset, &left), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_refill(a, 0, &offset, &left), -ENOSPC);
	quarry_client_reap(a);
	KUNIT_EXPECT_EQ(test, quarry_client_reserve(a, 64, 8, 1, scratch, &left), -ESHUTDOWN);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static struct kunit_case reserves_cases[] = {
	KUNIT_CASE(every_short_history_of_a_reserve_is_as_it_was_promised),
	KUNIT_CASE(a_guess_at_what_is_set_aside_is_refused_by_each_call),
	{}
};

QUARRY_KUNIT_SUITE(quarry_reserves, reserves_cases);
