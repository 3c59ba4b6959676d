// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The hooks themselves, as the core calls them: metadata of every size, the
 * order of the locks, readers that nest, and every error's errno.
 */
#include <linux/cpumask.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/string.h>
#include "../module/errors.h"
#include "../module/limits.h"
#include "quarry_kunit.h"

#define hooks quarry_watch_hooks

static void metadata_of_every_size_is_zeroed_and_aligned(struct kunit *test)
{
	size_t bytes;
	u8 *meta;
	int pass;

	for (bytes = 1; bytes <= 3 * PAGE_SIZE; bytes += bytes < 600 ? 1 : 61) {
		/* Twice, dirtied between: the second time the memory is used. */
		for (pass = 0; pass < 4; pass++) {
			meta = hooks.meta_alloc(bytes, pass % 2 ? QUARRY_ATOMIC : QUARRY_MAY_SLEEP);
			KUNIT_ASSERT_NOT_NULL(test, meta);
			if (!IS_ALIGNED((unsigned long)meta, bytes % PAGE_SIZE ? 64 : PAGE_SIZE) ||
			    memchr_inv(meta, 0, bytes)) {
				KUNIT_FAIL(test, "%zu bytes at %px", bytes, meta);
				return;
			}
			memset(meta, 0xa5, bytes);
			if (pass < 2)
				hooks.meta_free(meta, bytes);
			else
				hooks.meta_retire(meta, bytes);
		}
	}
	for (bytes = 1 << 14; bytes <= 16 << 20; bytes *= 4) {
		meta = hooks.meta_alloc(bytes, QUARRY_MAY_SLEEP);
		KUNIT_ASSERT_NOT_NULL(test, meta);
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)meta, PAGE_SIZE));
		KUNIT_EXPECT_NULL(test, memchr_inv(meta, 0, bytes));
		hooks.meta_free(meta, bytes);
	}
}

/* A retired block keeps its contents, but for the first 16 bytes, while readers are there. */
static void a_retired_block_outlives_its_readers(struct kunit *test)
{
	u8 *meta;
	int i, size;

	for (size = 64; size <= 8192; size *= 2) {
		meta = hooks.meta_alloc(size, QUARRY_MAY_SLEEP);
		KUNIT_ASSERT_NOT_NULL(test, meta);
		memset(meta, 0x5a, size);
		hooks.read_enter();
		hooks.meta_retire(meta, size);
		for (i = 16; i < size; i++)
			if (meta[i] != 0x5a)
				break;
		hooks.read_leave();
		KUNIT_EXPECT_EQ(test, i, size);
	}
	synchronize_rcu();
}

struct late {
	struct quarry_os_after after;
	unsigned int number, *calls;
};

static void count_late(struct quarry_os_after *after)
{
	struct late *late = container_of(after, struct late, after);

	late->calls[late->number]++;
}

/* None is made while a reader is there, each once after it, at every depth of readers. */
static void calls_that_wait_for_readers_are_made_once_after_them(struct kunit *test)
{
	unsigned int calls[4] = {}, depth, i;
	struct late *late = quarry_kunit_memory(test, 4 * sizeof(*late));

	for (depth = 1; depth <= 3; depth++) {
		for (i = 0; i < depth; i++)
			i % 2 ? (void)hooks.pin() : hooks.read_enter();
		for (i = 0; i < 4; i++) {
			late[i] = (struct late){ .number = i, .calls = calls };
			hooks.after_readers(&late[i].after, count_late);
		}
		for (i = 0; i < 4; i++)
			KUNIT_EXPECT_EQ(test, READ_ONCE(calls[i]), depth - 1);
		for (i = depth; i-- > 0;)
			i % 2 ? hooks.unpin() : hooks.read_leave();
		rcu_barrier();
		for (i = 0; i < 4; i++)
			KUNIT_EXPECT_EQ(test, READ_ONCE(calls[i]), depth);
	}
}

static void locks_may_be_taken_in_every_ascending_order(struct kunit *test)
{
	struct quarry_os_lock *lock = quarry_kunit_memory(test, QUARRY_LOCK_RANKS * sizeof(*lock));
	unsigned long flags[QUARRY_LOCK_RANKS] = {};
	unsigned int set;
	int rank;

	for (rank = 0; rank < QUARRY_LOCK_RANKS; rank++)
		hooks.lock_init(&lock[rank], rank);
	for (set = 0; set < 1U << QUARRY_LOCK_RANKS; set++) {
		for (rank = 0; rank < QUARRY_LOCK_RANKS; rank++)
			if (set & 1U << rank)
				flags[rank] = hooks.lock(&lock[rank]);
		KUNIT_EXPECT_EQ(test, (bool)irqs_disabled(), set != 0);
		for (rank = QUARRY_LOCK_RANKS; rank-- > 0;)
			if (set & 1U << rank)
				hooks.unlock(&lock[rank], flags[rank]);
		KUNIT_EXPECT_FALSE(test, irqs_disabled());
	}
	for (rank = 0; rank < QUARRY_LOCK_RANKS; rank++)
		hooks.lock_fini(&lock[rank]);
}

/* The watch's own proof: each descending pair and each pair of one rank is seen. */
static void locks_against_their_order_are_seen(struct kunit *test)
{
	struct quarry_os_lock *lock;
	struct quarry_watch_counts before, after;
	unsigned long outer, inner;
	int a, b;

	lock = quarry_kunit_memory(test, 2 * sizeof(*lock));
	for (a = 0; a < QUARRY_LOCK_RANKS; a++) {
		for (b = 0; b < QUARRY_LOCK_RANKS; b++) {
			hooks.lock_init(&lock[0], a);
			hooks.lock_init(&lock[1], b);
			quarry_watch_read(&before);
			/* lockdep would rightly complain, and complaints fail the run. */
			lockdep_off();
			outer = hooks.lock(&lock[0]);
			inner = hooks.lock(&lock[1]);
			hooks.unlock(&lock[1], inner);
			hooks.unlock(&lock[0], outer);
			lockdep_on();
			quarry_watch_read(&after);
			KUNIT_EXPECT_EQ(test, after.order_faults - before.order_faults,
					(s64)(b <= a));
			hooks.lock_fini(&lock[1]);
			hooks.lock_fini(&lock[0]);
		}
	}
	quarry_watch_reset();
}

static void readers_and_pins_nest(struct kunit *test)
{
	unsigned int depth, i, cpu;

	for (depth = 1; depth <= 8; depth++) {
		for (i = 0; i < depth; i++) {
			hooks.read_enter();
			cpu = hooks.pin();
		}
		KUNIT_EXPECT_EQ(test, cpu, hooks.cpu());
		KUNIT_EXPECT_LT(test, cpu, hooks.cpus());
		for (i = 0; i < depth; i++) {
			hooks.unpin();
			hooks.read_leave();
		}
		hooks.breathe();
	}
	KUNIT_EXPECT_GE(test, hooks.cpus(), num_possible_cpus());
}

static void the_clock_never_goes_back(struct kunit *test)
{
	u64 before = hooks.ns(), now;
	int i;

	for (i = 0; i < 10000; i++, before = now) {
		now = hooks.ns();
		KUNIT_ASSERT_GE(test, now, before);
	}
}

/* Zeroing reaches exactly the bytes it was asked for, over any page border. */
static void zeroing_hits_its_bytes_and_no_others(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 2 * PAGE_SIZE, 2 * PAGE_SIZE);
	struct page *page = quarry_page_find(pool, 0);
	unsigned int at, bytes, i;
	u8 *memory;

	KUNIT_ASSERT_NOT_NULL(test, page);
	memory = page_address(page);
	for (at = PAGE_SIZE - 96; at < PAGE_SIZE + 96; at += 8) {
		for (bytes = 0; bytes <= 256; bytes += 8) {
			memset(memory, 0xff, 2 * PAGE_SIZE);
			hooks.zero(pool, at, bytes);
			for (i = 0; i < 2 * PAGE_SIZE; i++)
				if (memory[i] != (i >= at && i < at + bytes ? 0 : 0xff))
					break;
			if (i < 2 * PAGE_SIZE) {
				KUNIT_FAIL(test, "%u bytes at %u: byte %u", bytes, at, i);
				put_page(page);
				return;
			}
		}
	}
	put_page(page);
}

static void a_report_of_corruption_is_counted_by_its_pool(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, PAGE_SIZE);
	int what;

	for (what = QUARRY_CORRUPT_DUPLICATE; what <= QUARRY_CORRUPT_STRUCTURE; what++)
		hooks.corruption(pool, what, 64 * what, 1);
	hooks.corruption(NULL, QUARRY_CORRUPT_STRUCTURE, 0, 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&pool->corruptions), (s64)5);
	quarry_kunit_expect_corruptions(6);
}

static void every_error_has_its_errno(struct kunit *test)
{
	int error, number;

	KUNIT_EXPECT_EQ(test, quarry_errno(QUARRY_OK), 0);
	for (error = 1; error < QUARRY_ERROR_COUNT; error++) {
		number = quarry_errno(error);
		KUNIT_EXPECT_LT(test, number, 0);
		KUNIT_EXPECT_GE(test, number, -133);
	}
#define CHECK(name, errno_name, words) \
	KUNIT_EXPECT_EQ(test, quarry_errno(QUARRY_E_##name), -errno_name);
	QUARRY_ERRORS(CHECK)
#undef CHECK
	KUNIT_EXPECT_EQ(test, quarry_errno(-1), -EUCLEAN);
	KUNIT_EXPECT_EQ(test, quarry_errno(QUARRY_ERROR_COUNT), -EUCLEAN);
	KUNIT_EXPECT_EQ(test, quarry_errno(INT_MAX), -EUCLEAN);
}

static struct kunit_case hooks_cases[] = {
	KUNIT_CASE(metadata_of_every_size_is_zeroed_and_aligned),
	KUNIT_CASE(a_retired_block_outlives_its_readers),
	KUNIT_CASE(calls_that_wait_for_readers_are_made_once_after_them),
	KUNIT_CASE(locks_may_be_taken_in_every_ascending_order),
	KUNIT_CASE(locks_against_their_order_are_seen),
	KUNIT_CASE(readers_and_pins_nest),
	KUNIT_CASE(the_clock_never_goes_back),
	KUNIT_CASE(zeroing_hits_its_bytes_and_no_others),
	KUNIT_CASE(a_report_of_corruption_is_counted_by_its_pool),
	KUNIT_CASE(every_error_has_its_errno),
	{}
};

QUARRY_KUNIT_SUITE(quarry_hooks, hooks_cases);
