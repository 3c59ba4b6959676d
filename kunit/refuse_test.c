// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Out of memory at every place: for each call of the shim, each request of the
 * core for metadata is refused in turn, once and for good. The call ends with a
 * clean errno or without need of it, the audit finds nothing, nothing is lost,
 * and the same call then succeeds.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include "../module/ioctl.h"
#include "quarry_kunit.h"

/* No call here makes so many requests: a loop that goes on forever must end. */
#define MOST_REQUESTS 2000

struct attempt {
	struct quarry_pool *pool;
	struct quarry_client *client;
	u64 offsets[512];
	u32 done;
};

/*
 * Kinds of refusal: one request of the core, that and all later ones, and, in
 * kernels with fault injection, one of anybody's: the shim's own and the kernel's.
 */
#define KINDS (IS_ENABLED(CONFIG_FAULT_INJECTION) ? 3 : 2)

static void begin_refusals(unsigned int kind, unsigned int nth)
{
	if (kind < 2)
		quarry_watch_refuse(nth, kind);
#ifdef CONFIG_FAULT_INJECTION
	else
		WRITE_ONCE(current->fail_nth, nth);
#endif
}

/* True when fault injection came to its refusal. */
static bool end_refusals(unsigned int kind)
{
	bool reached = false;

	quarry_watch_refuse(0, false);
#ifdef CONFIG_FAULT_INJECTION
	reached = kind == 2 && !READ_ONCE(current->fail_nth);
	WRITE_ONCE(current->fail_nth, 0);
#endif
	return reached;
}

/*
 * Runs @call with its first, second, ... request refused until it makes fewer.
 * @undo brings back what was before, after success and after failure alike.
 */
static void refuse_each(struct kunit *test, const char *what, int (*call)(struct kunit *, struct attempt *),
			void (*undo)(struct kunit *, struct attempt *, int err), struct attempt *attempt)
{
	struct quarry_watch_counts before, after;
	unsigned int nth, later, failed = 0, survived = 0;
	bool reached;
	int err;

	for (later = 0; later < KINDS; later++) {
		for (nth = 1;; nth++) {
			KUNIT_ASSERT_LT_MSG(test, nth, (unsigned int)MOST_REQUESTS, "%s", what);
			quarry_watch_read(&before);
			begin_refusals(later, nth);
			err = call(test, attempt);
			reached = end_refusals(later);
			quarry_watch_read(&after);
			if (err && err != -ENOMEM)
				KUNIT_FAIL(test, "%s: request %u refused: %d", what, nth, err);
			if (attempt->pool)
				quarry_kunit_verify(test, attempt->pool);
			undo(test, attempt, err);
			if (attempt->pool)
				quarry_kunit_verify(test, attempt->pool);
			if (!reached && after.refused == before.refused)
				break;
			err ? failed++ : survived++;
		}
		/* Nothing was refused: then it must have worked. */
		KUNIT_EXPECT_EQ_MSG(test, err, 0, "%s", what);
	}
	KUNIT_EXPECT_GT_MSG(test, failed + survived, 0U, "%s asked for nothing", what);
	kunit_info(test, "measured: %s: %u refusals, %u failed, %u did without\n", what,
		   failed + survived, failed, survived);
}

static const struct quarry_pool_config heap_config = {
	.kind = QUARRY_CORE_HEAP, .node = -1, .bytes = 64 << 12, .max_bytes = 1024 << 12, .name = "",
};

static const struct quarry_pool_config fixed_config = {
	.kind = QUARRY_CORE_FIXED, .node = -1, .object_size = 72, .object_count = 1000, .name = "",
};

static struct quarry_pool *created;

static int create_heap(struct kunit *test, struct attempt *attempt)
{
	created = NULL;
	return quarry_pool_create(&heap_config, &created);
}

static int create_fixed(struct kunit *test, struct attempt *attempt)
{
	created = NULL;
	return quarry_pool_create(&fixed_config, &created);
}

static void end_created(struct kunit *test, struct attempt *attempt, int err)
{
	struct quarry_watch_counts counts;

	if (!err) {
		quarry_kunit_verify(test, created);
		quarry_pool_put(created);
	}
	quarry_watch_read(&counts);
	KUNIT_ASSERT_EQ_MSG(test, counts.blocks, (s64)0, "a pool that was not made left something");
}

static void making_a_pool_survives_each_refusal(struct kunit *test)
{
	struct attempt *attempt = quarry_kunit_memory(test, sizeof(*attempt));

	refuse_each(test, "heap", create_heap, end_created, attempt);
	refuse_each(test, "fixed", create_fixed, end_created, attempt);
}

static struct quarry_client *joined;

static int join(struct kunit *test, struct attempt *attempt)
{
	return quarry_client_create(attempt->pool, false, &joined);
}

/* Of a pool that has had no client yet: each attempt asks for all that a first one takes. */
static void leave(struct kunit *test, struct attempt *attempt, int err)
{
	if (!err) {
		quarry_client_reap(joined);
		quarry_client_put(joined);
	}
	quarry_kunit_verify(test, attempt->pool);
	quarry_kunit_end_pool(test, attempt->pool);
	attempt->pool = quarry_kunit_heap(test, 64 << 12, 64 << 12);
}

static void joining_survives_each_refusal(struct kunit *test)
{
	struct attempt *attempt = quarry_kunit_memory(test, sizeof(*attempt));

	attempt->pool = quarry_kunit_heap(test, 64 << 12, 64 << 12);
	refuse_each(test, "join", join, leave, attempt);
}

static u64 grant_size;
static u32 grant_count;

static int grant(struct kunit *test, struct attempt *attempt)
{
	return quarry_client_alloc(attempt->client, grant_size, 8, grant_count, attempt->offsets,
				   &attempt->done);
}

static void give_back(struct kunit *test, struct attempt *attempt, int err)
{
	struct quarry_blame blame;
	u64 slots, slabs;
	u32 done = 0;

	if (!err)
		KUNIT_EXPECT_EQ(test, attempt->done, grant_count);
	else
		KUNIT_EXPECT_LT(test, attempt->done, grant_count);
	if (attempt->done)
		KUNIT_ASSERT_EQ(test, quarry_client_free(attempt->client, attempt->offsets,
							 attempt->done, &done, &blame), 0);
	quarry_core_pool_drain(attempt->pool->core, &slots, &slabs);
}

static void granting_survives_each_refusal(struct kunit *test)
{
	static const u64 sizes[] = { 8, 64, 200, 2048, 4096, 3 * 4096, 100000 };
	struct attempt *attempt = quarry_kunit_memory(test, sizeof(*attempt));
	char what[32];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* No memory to begin with: each attempt grows the pool as well. */
		attempt->pool = quarry_kunit_heap(test, 0, 4096 << 12);
		attempt->client = quarry_kunit_client(test, attempt->pool);
		grant_size = sizes[i];
		grant_count = 512;
		if (sizes[i] > 4096)
			grant_count = 16;
		snprintf(what, sizeof(what), "%u of %llu bytes", grant_count, sizes[i]);
		refuse_each(test, what, grant, give_back, attempt);
		quarry_kunit_end_client(test, attempt->client);
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, attempt->pool), (u64)0);
		quarry_kunit_end_pool(test, attempt->pool);
	}
}

static u32 reserved;

static int reserve(struct kunit *test, struct attempt *attempt)
{
	return quarry_client_reserve(attempt->client, grant_size, 8, grant_count, attempt->offsets,
				     &reserved);
}

/* A client of its own for each attempt: its tables are asked for, too. */
static void end_reserve(struct kunit *test, struct attempt *attempt, int err)
{
	u64 slots, slabs;

	KUNIT_EXPECT_EQ(test, reserved, err ? 0U : grant_count);
	quarry_kunit_end_client(test, attempt->client);
	quarry_core_pool_drain(attempt->pool->core, &slots, &slabs);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, attempt->pool), (u64)0);
	attempt->client = quarry_kunit_client(test, attempt->pool);
	reserved = 0;
}

static void reserving_survives_each_refusal(struct kunit *test)
{
	static const u64 sizes[] = { 64, 3 * 4096 };
	struct attempt *attempt = quarry_kunit_memory(test, sizeof(*attempt));
	char what[40];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		attempt->pool = quarry_kunit_heap(test, 0, 4096 << 12);
		attempt->client = quarry_kunit_client(test, attempt->pool);
		grant_size = sizes[i];
		grant_count = sizes[i] > 4096 ? 16 : 400;
		snprintf(what, sizeof(what), "reserve of %u of %llu bytes", grant_count, sizes[i]);
		refuse_each(test, what, reserve, end_reserve, attempt);
		quarry_kunit_end_client(test, attempt->client);
		quarry_kunit_end_pool(test, attempt->pool);
	}
}

static u64 added_at, added;

static int add(struct kunit *test, struct attempt *attempt)
{
	u32 count;

	return quarry_regions_add(attempt->pool, QUARRY_CORE_NORMAL, -1, 64, true, &added_at, &added,
				  &count);
}

static void take_away(struct kunit *test, struct attempt *attempt, int err)
{
	struct quarry_core_region region;
	u64 offset, pages;

	for (offset = 0; offset < attempt->pool->max_pages << PAGE_SHIFT;) {
		if (quarry_core_region_find(attempt->pool->core, offset, &region)) {
			offset += PAGE_SIZE;
			continue;
		}
		KUNIT_ASSERT_EQ(test, quarry_region_remove(attempt->pool, region.offset, &pages), 0);
		offset += region.pages << PAGE_SHIFT;
	}
	KUNIT_ASSERT_EQ(test, attempt->pool->pages, (u64)0);
}

static void adding_a_region_survives_each_refusal(struct kunit *test)
{
	struct attempt *attempt = quarry_kunit_memory(test, sizeof(*attempt));

	attempt->pool = quarry_kunit_heap(test, 0, 256 << 12);
	refuse_each(test, "region", add, take_away, attempt);
}

/* Free, transfer, reap, drain and the audit need no memory: they never fail for the lack of it. */
static void giving_back_needs_no_memory(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 256 << 12, 256 << 12);
	struct quarry_client *a = quarry_kunit_client(test, pool);
	struct quarry_client *b = quarry_kunit_client(test, pool);
	u64 *offsets = quarry_kunit_memory(test, 512 * sizeof(*offsets)), slots, slabs;
	struct quarry_watch_counts before, after;
	struct quarry_blame blame;
	u32 done;

	KUNIT_ASSERT_EQ(test, quarry_client_alloc(a, 64, 8, 512, offsets, &done), 0);
	quarry_watch_read(&before);
	quarry_watch_refuse(1, true);
	KUNIT_EXPECT_EQ(test, quarry_client_transfer(a, b->id, offsets, 256, &done, &blame), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_free(a, offsets + 256, 128, &done, &blame), 0);
	quarry_client_reap(b);
	quarry_core_pool_drain(pool->core, &slots, &slabs);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)128);
	quarry_client_reap(a);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	quarry_watch_refuse(0, false);
	quarry_watch_read(&after);
	KUNIT_EXPECT_EQ(test, after.refused - before.refused, (s64)0);
}

#define MANY 200

/* By ioctl from a page of the lender's: the offsets first, the structure behind them. */
static long give_many(struct kunit *test, struct quarry_client *client, u64 at, u64 to, u64 first,
		      u32 count, u32 *done)
{
	u64 offsets = at + first * sizeof(u64), structure = at + PAGE_SIZE - 128;
	struct quarry_transfer transfer = {
		.size = sizeof(transfer), .count = count, .offsets = offsets, .to_client = to,
	};
	struct quarry_free free = { .size = sizeof(free), .count = count, .offsets = offsets };
	struct file file = { .private_data = client };
	void *argument = to ? (void *)&transfer : (void *)&free;
	size_t bytes = to ? sizeof(transfer) : sizeof(free);
	long err;

	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(structure), argument, bytes), 0UL);
	quarry_watch_refuse(1, true);
	err = quarry_client_ioctl(&file, to ? QUARRY_IOC_TRANSFER : QUARRY_IOC_FREE, structure);
	quarry_watch_refuse(0, false);
	KUNIT_ASSERT_EQ(test, copy_from_user(argument, u64_to_user_ptr(structure), bytes), 0UL);
	*done = to ? transfer.done : free.done;
	return err;
}

/* The calls too, whatever the batch: its offsets have a reserve. With that out they are ENOMEM. */
static void a_batch_is_given_back_and_handed_over_without_memory(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 256 << 12, 256 << 12);
	u64 at = quarry_kunit_borrow(test), *batch[QUARRY_CORE_BATCHES];
	u64 *offsets = quarry_kunit_memory(test, 2 * MANY * sizeof(u64));
	struct quarry_client *a = quarry_kunit_client(test, pool);
	struct quarry_client *b = quarry_kunit_client(test, pool);
	struct quarry_watch_counts counts;
	unsigned int i;
	u32 done;

	KUNIT_ASSERT_EQ(test, quarry_client_alloc(a, 64, 8, 2 * MANY, offsets, &done), 0);
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(at), offsets, 2 * MANY * sizeof(u64)),
			0UL);

	for (i = 0; i < QUARRY_CORE_BATCHES; i++)
		batch[i] = quarry_core_batch_take();
	KUNIT_EXPECT_EQ(test, give_many(test, a, at, 0, 0, MANY, &done), -ENOMEM);
	KUNIT_EXPECT_EQ(test, give_many(test, a, at, b->id, MANY, MANY, &done), -ENOMEM);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)2 * MANY);
	/* What fits on the stack needs no room. */
	KUNIT_EXPECT_EQ(test, give_many(test, a, at, 0, 0, 32, &done), 0);
	KUNIT_EXPECT_EQ(test, done, 32U);
	for (i = 0; i < QUARRY_CORE_BATCHES; i++)
		KUNIT_ASSERT_EQ(test, quarry_core_batch_give(batch[i]), 0);

	/* More often than there are blocks: each comes back, after a refusal too. */
	for (i = 0; i < 2 * QUARRY_CORE_BATCHES; i++) {
		KUNIT_EXPECT_EQ(test, give_many(test, a, at, 0, 0, MANY, &done), -EALREADY);
		KUNIT_EXPECT_EQ(test, quarry_core_batches_left(), (u32)QUARRY_CORE_BATCHES);
	}
	KUNIT_EXPECT_EQ(test, give_many(test, a, at, b->id, MANY, MANY, &done), 0);
	KUNIT_EXPECT_EQ(test, done, (u32)MANY);
	KUNIT_EXPECT_EQ(test, give_many(test, a, at, 0, 32, MANY - 32, &done), 0);
	KUNIT_EXPECT_EQ(test, done, (u32)MANY - 32);
	KUNIT_EXPECT_EQ(test, give_many(test, b, at, 0, MANY, MANY, &done), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_core_batches_left(), (u32)QUARRY_CORE_BATCHES);
	quarry_watch_read(&counts);
	KUNIT_EXPECT_GT(test, counts.refused, (s64)0);
	quarry_kunit_give_back(test, at);
}

static struct kunit_case refuse_cases[] = {
	KUNIT_CASE(making_a_pool_survives_each_refusal),
	KUNIT_CASE(joining_survives_each_refusal),
	KUNIT_CASE(granting_survives_each_refusal),
	KUNIT_CASE(reserving_survives_each_refusal),
	KUNIT_CASE(adding_a_region_survives_each_refusal),
	KUNIT_CASE(giving_back_needs_no_memory),
	KUNIT_CASE(a_batch_is_given_back_and_handed_over_without_memory),
	{}
};

QUARRY_KUNIT_SUITE(quarry_refuse, refuse_cases);
