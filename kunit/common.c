// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Before and after each case of each suite: see quarry_kunit.h. */
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include "quarry_kunit.h"

#define MOST 2048

static unsigned int expected_corruptions;

/* Cases run one after the other, so one table of what they made will do. */
static struct {
	struct quarry_pool *pool[MOST];
	struct quarry_client *client[MOST];
	void *memory[64];
} made;

void quarry_kunit_expect_corruptions(unsigned int reports)
{
	expected_corruptions = reports;
}

int quarry_kunit_init(struct kunit *test, const char *suite)
{
	expected_corruptions = 0;
	quarry_watch_reset();
	if (quarry_watch_filtered(suite, test->name))
		kunit_skip(test, "filtered");
	return 0;
}

static void put_in(struct kunit *test, void **table, size_t room, void *thing)
{
	size_t i;

	for (i = 0; i < room; i++) {
		if (!table[i]) {
			table[i] = thing;
			return;
		}
	}
	KUNIT_FAIL(test, "a case makes too many things");
}

static void take_out(struct kunit *test, void **table, size_t room, void *thing)
{
	size_t i;

	for (i = 0; i < room; i++) {
		if (table[i] == thing) {
			table[i] = NULL;
			return;
		}
	}
	KUNIT_FAIL(test, "a case ends what it has not made");
}

static struct quarry_pool *make_pool(struct kunit *test, const struct quarry_pool_config *config)
{
	struct quarry_pool *pool = NULL;

	KUNIT_ASSERT_EQ(test, quarry_pool_create(config, &pool), 0);
	put_in(test, (void **)made.pool, MOST, pool);
	return pool;
}

struct quarry_pool *quarry_kunit_heap(struct kunit *test, u64 bytes, u64 max_bytes)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_HEAP,
		.node = NUMA_NO_NODE,
		.bytes = bytes,
		.max_bytes = max_bytes,
		.name = "",
	};

	return make_pool(test, &config);
}

struct quarry_pool *quarry_kunit_ranges(struct kunit *test, u64 capacity, u64 granule,
					u64 max_ranges)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_RANGE,
		.node = NUMA_NO_NODE,
		.max_bytes = capacity,
		.granule = granule,
		.max_ranges = max_ranges,
		.name = "",
	};

	return make_pool(test, &config);
}

struct quarry_pool *quarry_kunit_fixed(struct kunit *test, u64 size, u64 count)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_FIXED,
		.node = NUMA_NO_NODE,
		/* As POOL_CREATE has it: no heap's bound, the core works its own out. */
		.max_bytes = 0,
		.object_size = size,
		.object_count = count,
		.name = "",
	};

	return make_pool(test, &config);
}

struct quarry_client *quarry_kunit_client(struct kunit *test, struct quarry_pool *pool)
{
	struct quarry_client *client = NULL;

	KUNIT_ASSERT_EQ(test, quarry_client_create(pool, true, &client), 0);
	client->connected = true;
	put_in(test, (void **)made.client, MOST, client);
	return client;
}

void quarry_kunit_end_client(struct kunit *test, struct quarry_client *client)
{
	take_out(test, (void **)made.client, MOST, client);
	quarry_client_reap(client);
	quarry_client_put(client);
}

void quarry_kunit_end_pool(struct kunit *test, struct quarry_pool *pool)
{
	take_out(test, (void **)made.pool, MOST, pool);
	quarry_pool_put(pool);
}

void *quarry_kunit_memory(struct kunit *test, size_t bytes)
{
	void *memory = kvzalloc(bytes, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	put_in(test, made.memory, ARRAY_SIZE(made.memory), memory);
	return memory;
}

static void end_all(struct kunit *test)
{
	size_t i;

	for (i = 0; i < MOST; i++)
		if (made.client[i])
			quarry_kunit_end_client(test, made.client[i]);
	for (i = 0; i < MOST; i++)
		if (made.pool[i])
			quarry_kunit_end_pool(test, made.pool[i]);
	for (i = 0; i < ARRAY_SIZE(made.memory); i++) {
		kvfree(made.memory[i]);
		made.memory[i] = NULL;
	}
}

u64 quarry_kunit_verify(struct kunit *test, struct quarry_pool *pool)
{
	struct quarry_core_audit audit = {};

	quarry_core_pool_verify(pool->core, 1, &audit);
	KUNIT_EXPECT_EQ_MSG(test, audit.faults, (u64)0, "at %#llx: %s", audit.first_offset,
			    audit.first);
	return audit.objects;
}

int quarry_kunit_take(struct quarry_client *client, u64 size, u64 align, u64 *offset)
{
	u32 done = 0;
	u64 pages = 0;
	int err;

	err = quarry_core_alloc(client->core, size, align, 1, QUARRY_CORE_ANYWHERE, offset, &done,
				&pages, QUARRY_MAY_SLEEP, 0);
	return err ?: done == 1 ? 0 : -1;
}

int quarry_kunit_give(struct quarry_client *client, u64 offset)
{
	struct quarry_core_refusal refusal = {};
	u32 done = 0;
	int err;

	err = quarry_core_free(client->core, &offset, 1, &done, &refusal);
	return err ?: done == 1 ? 0 : -1;
}

static struct mm_struct *lender;

int quarry_kunit_suite_init(struct kunit_suite *suite)
{
	lender = current->mm;
	return 0;
}

/*
 * A case that fails an assertion while it has the mm ends its thread with it:
 * that drops a user of the mm, so a user is taken for each loan.
 */
u64 quarry_kunit_borrow(struct kunit *test)
{
	unsigned long at;

	KUNIT_ASSERT_NOT_NULL(test, lender);
	KUNIT_ASSERT_TRUE(test, mmget_not_zero(lender));
	kthread_use_mm(lender);
	at = vm_mmap(NULL, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(at));
	KUNIT_ASSERT_EQ(test, vm_munmap(at + PAGE_SIZE, PAGE_SIZE), 0);
	return at;
}

void quarry_kunit_give_back(struct kunit *test, u64 at)
{
	KUNIT_EXPECT_EQ(test, vm_munmap(at, PAGE_SIZE), 0);
	kthread_unuse_mm(lender);
	mmput(lender);
}

void quarry_kunit_exit(struct kunit *test)
{
	struct quarry_watch_counts counts;

	quarry_watch_refuse(0, false);
	quarry_watch_steps(NULL, NULL);
	end_all(test);
	/* The last clients go home by RCU. */
	rcu_barrier();
	quarry_watch_read(&counts);
	KUNIT_EXPECT_EQ_MSG(test, counts.blocks, (s64)0, "metadata blocks are left");
	KUNIT_EXPECT_EQ_MSG(test, counts.bytes, (s64)0, "bytes of metadata are left");
	KUNIT_EXPECT_EQ_MSG(test, counts.order_faults, (s64)0, "locks against their order");
	KUNIT_EXPECT_EQ_MSG(test, counts.context_faults, (s64)0, "sleeping calls under a lock");
	KUNIT_EXPECT_EQ_MSG(test, counts.corruptions, (s64)expected_corruptions,
			    "reports of corruption");
}

MODULE_DESCRIPTION("KUnit suites of Quarry");
MODULE_LICENSE("Dual MIT/GPL");
