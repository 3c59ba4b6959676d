// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Reserves, as the kernel compiles them: a SlotPool in storage of the caller's,
 * over blocks that it never touches; and the module's own FixedPool of batches.
 */
#include <linux/bitmap.h>
#include <linux/sched.h>
#include <linux/string.h>
#include "quarry_kunit.h"

/* Nobody maps this. */
#define BASE ((char *)0x1000)

static u64 verify(struct kunit *test, const struct quarry_core_reserve *reserve)
{
	struct quarry_core_audit audit = {};

	quarry_core_reserve_verify(reserve, &audit);
	KUNIT_EXPECT_EQ_MSG(test, audit.faults, (u64)0, "at %#llx: %s", audit.first_offset,
			    audit.first);
	return audit.objects;
}

static void every_size_and_count_gives_each_block_once(struct kunit *test)
{
	static const u64 sizes[] = { 1, 3, 8, 24, 64, 100, 4096, 4 << 20 };
	struct quarry_core_reserve reserve;
	DECLARE_BITMAP(seen, QUARRY_RESERVE_BLOCKS);
	unsigned int i;
	u64 count, n;
	char *block;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (count = 1; count <= QUARRY_RESERVE_BLOCKS; count++) {
			bitmap_zero(seen, QUARRY_RESERVE_BLOCKS);
			KUNIT_ASSERT_EQ(test, quarry_core_reserve_init(&reserve, BASE, sizes[i], count), 0);
			for (n = 0; (block = quarry_core_reserve_take(&reserve)); n++) {
				u64 number = (block - BASE) / sizes[i];

				KUNIT_ASSERT_LT(test, number, count);
				KUNIT_ASSERT_PTR_EQ(test, block, BASE + number * sizes[i]);
				KUNIT_ASSERT_FALSE(test, test_and_set_bit(number, seen));
			}
			KUNIT_EXPECT_EQ(test, n, count);
			KUNIT_EXPECT_EQ(test, quarry_core_reserve_left(&reserve), (u64)0);
			KUNIT_EXPECT_EQ(test, verify(test, &reserve), count);
		}
		cond_resched();
	}
}

static void every_wrong_give_is_its_own_error_and_changes_nothing(struct kunit *test)
{
	struct quarry_core_reserve reserve;
	char *block, *last;
	u64 inside;

	KUNIT_ASSERT_EQ(test, quarry_core_reserve_init(&reserve, BASE, 24, 5), 0);
	block = quarry_core_reserve_take(&reserve);
	last = quarry_core_reserve_take(&reserve);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, NULL), (int)QUARRY_E_INVALID);
	for (inside = 1; inside < 24; inside++)
		KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, block + inside),
				(int)QUARRY_E_MISALIGNED);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, BASE + 5 * 24),
			(int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, BASE - 24),
			(int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, BASE + 4 * 24),
			(int)QUARRY_E_ALREADY_FREE);
	KUNIT_EXPECT_EQ(test, verify(test, &reserve), (u64)2);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, block), 0);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, last), 0);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, block), (int)QUARRY_E_ALREADY_FREE);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_give(&reserve, last), (int)QUARRY_E_ALREADY_FREE);
	KUNIT_EXPECT_EQ(test, verify(test, &reserve), (u64)0);
}

/* Each history of eight calls on three blocks: take, or give one of them. */
static void every_short_history_fits_the_model(struct kunit *test)
{
	struct quarry_core_reserve reserve;
	unsigned int history, step, code, call;
	unsigned long live;
	char *block;
	int err;

	for (history = 0; history < 1 << 16; history++) {
		live = 0;
		KUNIT_ASSERT_EQ(test, quarry_core_reserve_init(&reserve, BASE, 16, 3), 0);
		for (step = 0, code = history; step < 8; step++, code >>= 2) {
			call = code & 3;
			if (call == 3) {
				block = quarry_core_reserve_take(&reserve);
				KUNIT_ASSERT_EQ(test, !block, live == 7);
				if (block)
					KUNIT_ASSERT_FALSE(test, __test_and_set_bit((block - BASE) / 16,
										    &live));
				continue;
			}
			err = quarry_core_reserve_give(&reserve, BASE + call * 16);
			KUNIT_ASSERT_EQ(test, err, __test_and_clear_bit(call, &live) ?
					0 : (int)QUARRY_E_ALREADY_FREE);
		}
		KUNIT_ASSERT_EQ(test, verify(test, &reserve), (u64)hweight_long(live));
		if (history % 256 == 0)
			cond_resched();
	}
}

static void what_cannot_be_a_reserve_is_refused(struct kunit *test)
{
	struct quarry_core_reserve reserve;

	KUNIT_EXPECT_EQ(test, quarry_core_reserve_init(&reserve, NULL, 8, 1), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_init(&reserve, BASE, 0, 1), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_init(&reserve, BASE, 8, 0), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_init(&reserve, BASE, 8, 65),
			(int)QUARRY_E_TOO_LARGE);
	KUNIT_EXPECT_EQ(test, quarry_core_reserve_init(&reserve, BASE, (4 << 20) + 1, 1),
			(int)QUARRY_E_TOO_LARGE);
}

static void verify_batches(struct kunit *test, u32 live)
{
	struct quarry_core_audit audit = {};

	quarry_core_batches_verify(&audit);
	KUNIT_EXPECT_EQ_MSG(test, audit.faults, (u64)0, "%s", audit.first);
	KUNIT_EXPECT_EQ(test, audit.objects, (u64)live);
	KUNIT_EXPECT_EQ(test, quarry_core_batches_left(), QUARRY_CORE_BATCHES - live);
}

/* Every offset in and around a block: its start is one, whatever else is an error. */
static void the_batches_in_the_image_are_whole_and_every_wrong_give_is_an_error(struct kunit *test)
{
	const u64 bytes = QUARRY_CORE_BATCH_LEN * sizeof(u64);
	u64 *batch[QUARRY_CORE_BATCHES], at;
	char *first, *inside;
	unsigned int i;

	verify_batches(test, 0);
	for (i = 0; i < QUARRY_CORE_BATCHES; i++) {
		batch[i] = quarry_core_batch_take();
		KUNIT_ASSERT_NOT_NULL(test, batch[i]);
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)batch[i], 64));
		memset(batch[i], i + 1, bytes);
	}
	KUNIT_EXPECT_NULL(test, quarry_core_batch_take());
	verify_batches(test, QUARRY_CORE_BATCHES);
	first = (char *)batch[0];
	for (i = 0; i < QUARRY_CORE_BATCHES; i++) {
		KUNIT_EXPECT_NULL(test, memchr_inv(batch[i], i + 1, bytes));
		first = min(first, (char *)batch[i]);
	}
	for (at = 0; at < QUARRY_CORE_BATCHES * bytes; at += 8) {
		if (at % bytes == 0)
			continue;
		inside = first + at;
		KUNIT_ASSERT_EQ(test, quarry_core_batch_give((u64 *)inside),
				(int)QUARRY_E_MISALIGNED);
	}
	KUNIT_EXPECT_EQ(test, quarry_core_batch_give(NULL), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_core_batch_give((u64 *)(first - bytes)),
			(int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, quarry_core_batch_give((u64 *)(first + at)),
			(int)QUARRY_E_OUT_OF_RANGE);
	verify_batches(test, QUARRY_CORE_BATCHES);
	for (i = 0; i < QUARRY_CORE_BATCHES; i++) {
		KUNIT_EXPECT_EQ(test, quarry_core_batch_give(batch[i]), 0);
		KUNIT_EXPECT_EQ(test, quarry_core_batch_give(batch[i]), (int)QUARRY_E_ALREADY_FREE);
	}
	verify_batches(test, 0);
}

static struct kunit_case slots_cases[] = {
	KUNIT_CASE(every_size_and_count_gives_each_block_once),
	KUNIT_CASE(every_wrong_give_is_its_own_error_and_changes_nothing),
	KUNIT_CASE(every_short_history_fits_the_model),
	KUNIT_CASE(what_cannot_be_a_reserve_is_refused),
	KUNIT_CASE(the_batches_in_the_image_are_whole_and_every_wrong_give_is_an_error),
	{}
};

QUARRY_KUNIT_SUITE(quarry_slots, slots_cases);
