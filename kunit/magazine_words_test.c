// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What a client writes into its magazines: every wrong word and entry costs the client
 * itself an error, and nobody else anything.
 */
#include "magazine_client.h"

static void every_wrong_word_is_bounded_by_the_kernels_own(struct kunit *test)
{
	static const u32 wild[] = { 4095, 4096, 32768, 0x7fffffff, 0x80000000, 0xffffffff };
	const u32 bottom = (1024 + C64 * 256) / 4;
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	u64 one, objects, bytes, left, slots, slabs;
	struct quarry_core_flushed flushed;
	struct quarry_blame blame;
	u32 top, k, filled, seen;
	int err;

	/* From 66 below the first entry to 66 above, and far away. */
	for (k = 0; k < 133 + ARRAY_SIZE(wild); k++) {
		top = k < 133 ? bottom + k - 66 : wild[k - 133];
		seen = top <= bottom ? 0 : min(top - bottom, 64U);
		flushed = (struct quarry_core_flushed) {};
		KUNIT_ASSERT_EQ(test, quarry_client_refill(client, C64, &one, &filled), 0);
		quarry_core_client_usage(client->core, &objects, &bytes);
		*words(client, C64) = (struct quarry_magazine){
			.top = top, .end = top * 3, .first = top * 4096,
		};
		err = quarry_client_flush(client, C64, NULL, &flushed, &blame);
		KUNIT_EXPECT_EQ(test, err, 0);
		KUNIT_EXPECT_EQ(test, flushed.drained, seen > 32 ? seen - 32 : 0);
		KUNIT_EXPECT_LE(test, flushed.bad, flushed.drained);
		quarry_core_client_usage(client->core, &left, &bytes);
		KUNIT_EXPECT_EQ(test, left, objects - (flushed.drained - flushed.bad));
		/* The kernel's words are right again. */
		KUNIT_EXPECT_EQ(test, held_in(client, C64), min(seen, 32U));
		KUNIT_EXPECT_EQ(test, capacity_of(client, C64), 64U);
		KUNIT_EXPECT_EQ(test, words(client, C64)->first, bottom);
		words(client, C64)->top = top;
		KUNIT_EXPECT_EQ(test, quarry_client_refill(client, C64, &one, &filled), 0);
		KUNIT_EXPECT_EQ(test, filled, seen < 32 ? min(32 - seen, 31U) : 0);
		KUNIT_EXPECT_EQ(test, held_in(client, C64), seen ? max(seen, 32U) : 31U);
		KUNIT_EXPECT_EQ(test, quarry_client_drain(client, false, &slots, &slabs), 0);
		KUNIT_EXPECT_LE(test, slots, (u64)64);
		quarry_kunit_verify(test, pool);
	}
	quarry_kunit_end_client(test, client);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

/* Each kind of wrong entry at each place of a full magazine, among right ones. */
static void every_wrong_entry_is_refused_by_name_and_harms_nobody(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	struct quarry_client *other = member(test, pool);
	struct quarry_core_flushed flushed;
	u64 foreign, larger, run, offsets[64], objects, bytes, before;
	struct quarry_blame blame;
	unsigned int place, kind, i;
	s64 refused;
	u32 done;
	int err;
	struct {
		u64 offset;
		int error;
	} wrong[8];

	KUNIT_ASSERT_EQ(test, quarry_kunit_take(other, 64, 8, &foreign), 0);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 72, 8, &larger), 0);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 8192, 8, &run), 0);
	for (place = 0; place < 32; place += 5) {
		for (kind = 0; kind < ARRAY_SIZE(wrong); kind++) {
			err = quarry_client_alloc(client, 64, 8, 64, offsets, &done);
			KUNIT_ASSERT_EQ(test, err, 0);
			wrong[0].offset = foreign;
			wrong[0].error = -EACCES;
			wrong[1].offset = larger;
			wrong[1].error = -EMSGSIZE;
			wrong[2].offset = run;
			wrong[2].error = -EMSGSIZE;
			wrong[3].offset = run + PAGE_SIZE;
			wrong[3].error = -EBADSLT;
			wrong[4].offset = offsets[place] + 8;
			wrong[4].error = -EBADSLT;
			wrong[5].offset = 64 * PAGE_SIZE;
			wrong[5].error = -ERANGE;
			wrong[6].offset = 0xffffffffULL * 8;
			wrong[6].error = -ERANGE;
			/* Twice in one magazine: the second is refused. */
			wrong[7].offset = offsets[place ? 0 : 1];
			wrong[7].error = -EALREADY;
			/* Small again, whatever it has grown to, and armed. */
			quarry_client_drain(client, true, &objects, &bytes);
			err = quarry_client_flush(client, C64, NULL, &flushed, &blame);
			KUNIT_ASSERT_EQ(test, err, 0);
			for (i = 0; i < 64; i++)
				KUNIT_ASSERT_TRUE(test, push(client, C64, offsets[i]));
			*entry(client, C64, place) = wrong[kind].offset / 8;
			refused = atomic64_read(&client->refused);
			quarry_core_client_usage(client->core, &before, &bytes);
			flushed = (struct quarry_core_flushed) {};
			err = quarry_client_flush(client, C64, NULL, &flushed, &blame);
			KUNIT_EXPECT_EQ(test, err, 0);
			KUNIT_EXPECT_EQ(test, flushed.drained, 32U);
			KUNIT_EXPECT_EQ(test, flushed.bad, 1U);
			KUNIT_EXPECT_EQ_MSG(test, flushed.bad_error, wrong[kind].error, "kind %u", kind);
			KUNIT_EXPECT_EQ(test, flushed.bad_offset, wrong[kind].offset);
			KUNIT_EXPECT_EQ(test, atomic64_read(&client->refused), refused + 1);
			quarry_core_client_usage(client->core, &objects, &bytes);
			KUNIT_EXPECT_EQ(test, objects, before - 31);
			/* What was overwritten is the client's still, and can be freed. */
			KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, offsets[place]), 0);
			while (pop(client, C64, &bytes))
				KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, bytes), 0);
			KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)3);
		}
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_give(other, foreign), 0);
}

static struct kunit_case words_cases[] = {
	KUNIT_CASE(every_wrong_word_is_bounded_by_the_kernels_own),
	KUNIT_CASE(every_wrong_entry_is_refused_by_name_and_harms_nobody),
	{}
};

QUARRY_KUNIT_SUITE(quarry_magazine_words, words_cases);
