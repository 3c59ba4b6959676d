// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Object caches, as the kernel compiles them: every short history against a
 * model, every address, every refusal, every order of the ends; and the clients
 * of a pool, which live in one.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/string.h>
#include "core_types.h"
#include "quarry_kunit.h"

#define hooks quarry_watch_hooks

static u64 blocks_out(void)
{
	struct quarry_watch_counts counts;

	quarry_watch_read(&counts);
	return counts.blocks;
}

static void verify(struct kunit *test, const struct quarry_things *things, u64 live)
{
	struct quarry_core_audit audit = {};

	quarry_things_verify(things, &audit);
	KUNIT_EXPECT_EQ_MSG(test, audit.faults, (u64)0, "at %#llx: %s", audit.first_offset,
			    audit.first);
	KUNIT_EXPECT_EQ(test, audit.objects, live);
}

static unsigned long slab_of(const struct quarry_thing_box *box)
{
	return box->storage[0] >> 12;
}

#define BOXES 4			/* one more than a slab holds */
#define DEPTH (IS_ENABLED(CONFIG_KASAN) ? 4 : 6)	/* 117,649 histories; some 10 ms each with KASAN */

/* Make or drop each box; release or adopt the first; clone or end a handle; shrink. */
#define STEPS (BOXES + 3)

struct world {
	struct quarry_things things, clone;
	struct quarry_thing_box box[BOXES];
	void *raw;
	bool cloned;
	u64 made, base;
};

/* Live things, and the slabs that hold them. */
static u64 count_live(const struct world *world, u64 *slabs)
{
	unsigned long seen[BOXES + 1];
	u64 live = 0, i, k, n = 0;

	for (i = 0; i <= BOXES; i++) {
		unsigned long slab = i < BOXES ? slab_of(&world->box[i]) :
						 (unsigned long)world->raw >> 12;

		if (!slab)
			continue;
		live++;
		for (k = 0; k < n && seen[k] != slab; k++)
			;
		if (k == n)
			seen[n++] = slab;
	}
	*slabs = n;
	return live;
}

static void play(struct kunit *test, struct world *world, unsigned int step)
{
	struct quarry_things_counts counts;
	struct quarry_thing_box *box;
	u64 live, slabs;

	if (step < BOXES) {
		box = &world->box[step];
		if (box->storage[0]) {
			KUNIT_ASSERT_EQ(test, quarry_thing_name(box), (u64)step + 1);
			quarry_thing_drop(box);
			KUNIT_ASSERT_EQ(test, box->storage[0], (u64)0);
		} else {
			KUNIT_ASSERT_EQ(test, quarry_things_make(&world->things, step + 1, box), 0);
			world->made++;
		}
	} else if (step == BOXES) {
		box = &world->box[0];
		if (world->raw && !box->storage[0]) {
			KUNIT_ASSERT_EQ(test, quarry_things_adopt(&world->things, world->raw, box),
					0);
			world->raw = NULL;
		} else if (box->storage[0] && !world->raw) {
			world->raw = quarry_thing_release(box);
		}
	} else if (step == BOXES + 1) {
		if (world->cloned)
			quarry_things_end(&world->clone);
		else
			quarry_things_clone(&world->clone, &world->things);
		world->cloned = !world->cloned;
	}
	live = count_live(world, &slabs);
	if (step == BOXES + 2) {
		quarry_things_shrink(&world->things);
		quarry_things_count(&world->things, &counts);
		KUNIT_ASSERT_EQ(test, counts.slabs, slabs);
	}
	quarry_things_count(&world->things, &counts);
	KUNIT_ASSERT_EQ(test, counts.live, live);
	KUNIT_ASSERT_EQ(test, counts.handles, 1 + (u64)world->cloned);
	KUNIT_ASSERT_EQ(test, counts.strays, (u64)0);
	/* What is empty has gone back, but for one. */
	KUNIT_ASSERT_GE(test, counts.slabs, slabs);
	KUNIT_ASSERT_LE(test, counts.slabs, slabs + 1);
	KUNIT_ASSERT_EQ(test, blocks_out(), world->base + 2 * counts.slabs);
}

/* Handles before boxes or after them: the last of all gives everything back. */
static void end_world(struct kunit *test, struct world *world, bool handles_first)
{
	unsigned int i;

	if (world->raw) {
		struct quarry_thing_box box = {};

		KUNIT_ASSERT_EQ(test, quarry_things_adopt(&world->things, world->raw, &box), 0);
		quarry_thing_drop(&box);
	}
	for (i = 0; i < 2; i++) {
		unsigned int k;

		if (handles_first == !i) {
			quarry_things_end(&world->things);
			if (world->cloned)
				quarry_things_end(&world->clone);
			continue;
		}
		for (k = 0; k < BOXES; k++)
			quarry_thing_drop(&world->box[k]);
	}
}

static void every_short_history_fits_the_model(struct kunit *test)
{
	struct world *world = quarry_kunit_memory(test, sizeof(*world));
	unsigned int history[DEPTH] = {}, i;
	u64 before = blocks_out(), destroyed, live, slabs;
	unsigned long played = 0;

	for (;;) {
		memset(world, 0, sizeof(*world));
		destroyed = quarry_things_destroyed();
		KUNIT_ASSERT_EQ(test, quarry_things_create(&world->things, 0), 0);
		world->base = blocks_out();
		for (i = 0; i < DEPTH; i++)
			play(test, world, history[i]);
		live = count_live(world, &slabs);
		verify(test, &world->things, live);
		end_world(test, world, played % 2);
		KUNIT_ASSERT_EQ(test, blocks_out(), before);
		KUNIT_ASSERT_EQ(test, quarry_things_destroyed() - destroyed, world->made);
		if (++played % 256 == 0)
			cond_resched();
		for (i = DEPTH; i-- > 0;) {
			if (++history[i] < STEPS)
				break;
			history[i] = 0;
		}
		if (i >= DEPTH)
			break;
	}
	kunit_info(test, "measured: %lu histories of %d steps\n", played, DEPTH);
}

/* Each byte of a slab that holds a raw thing, one in a box, and a free place. */
static void each_address_of_a_slab_has_one_right_answer(struct kunit *test)
{
	struct quarry_thing_box box[QUARRY_THINGS_IN_SLAB] = {}, got = {};
	struct quarry_things things;
	char *raw, *address;
	u64 slab, stride;
	unsigned int i;
	int err;

	KUNIT_ASSERT_EQ(test, quarry_things_create(&things, 0), 0);
	for (i = 0; i < QUARRY_THINGS_IN_SLAB; i++)
		KUNIT_ASSERT_EQ(test, quarry_things_make(&things, i + 1, &box[i]), 0);
	stride = box[1].storage[0] - box[0].storage[0];
	slab = box[0].storage[0];
	raw = quarry_thing_release(&box[0]);
	quarry_thing_drop(&box[2]);
	for (address = (char *)slab - 64; address < (char *)slab + 4096 + 64; address++) {
		int expected = QUARRY_E_NOT_OBJECT;

		if (address == raw)
			expected = 0;
		else if (address == raw + stride)
			expected = QUARRY_E_NOT_OWNER;
		else if (address == raw + 2 * stride)
			expected = QUARRY_E_ALREADY_FREE;
		err = quarry_things_adopt(&things, address, &got);
		KUNIT_ASSERT_EQ_MSG(test, err, expected, "at %td", address - (char *)slab);
		if (!err)
			KUNIT_ASSERT_PTR_EQ(test, quarry_thing_release(&got), (void *)raw);
	}
	KUNIT_EXPECT_EQ(test, quarry_things_adopt(&things, NULL, &got), (int)QUARRY_E_NOT_OBJECT);
	verify(test, &things, 2);
	KUNIT_ASSERT_EQ(test, quarry_things_adopt(&things, raw, &got), 0);
	KUNIT_EXPECT_EQ(test, quarry_thing_name(&got), (u64)1);
	quarry_thing_drop(&got);
	quarry_thing_drop(&box[1]);
	quarry_things_end(&things);
}

/* A box that was copied: each further drop of each place is counted and changes nothing. */
static void a_second_drop_is_counted_and_changes_nothing(struct kunit *test)
{
	struct quarry_thing_box box[QUARRY_THINGS_IN_SLAB + 1] = {}, copy;
	struct quarry_things_counts counts;
	struct quarry_things things;
	u64 destroyed, strays = 0;
	unsigned int i, times;

	KUNIT_ASSERT_EQ(test, quarry_things_create(&things, 0), 0);
	for (i = 0; i < ARRAY_SIZE(box); i++)
		KUNIT_ASSERT_EQ(test, quarry_things_make(&things, i + 1, &box[i]), 0);
	for (i = 0; i < QUARRY_THINGS_IN_SLAB; i++) {
		struct quarry_thing_box again = box[i];

		quarry_thing_drop(&box[i]);
		destroyed = quarry_things_destroyed();
		for (times = 0; times < 3; times++) {
			copy = again;
			quarry_thing_drop(&copy);
			quarry_things_count(&things, &counts);
			KUNIT_EXPECT_EQ(test, counts.strays, ++strays);
			KUNIT_EXPECT_EQ(test, counts.live, (u64)(ARRAY_SIZE(box) - 1 - i));
			verify(test, &things, counts.live);
		}
		KUNIT_EXPECT_EQ(test, quarry_things_destroyed(), destroyed);
	}
	KUNIT_EXPECT_EQ(test, quarry_thing_name(&box[QUARRY_THINGS_IN_SLAB]),
			(u64)QUARRY_THINGS_IN_SLAB + 1);
	quarry_thing_drop(&box[QUARRY_THINGS_IN_SLAB]);
	quarry_things_end(&things);
}

static void each_refusal_is_no_memory_and_leaves_nothing(struct kunit *test)
{
	struct quarry_watch_counts before, after;
	struct quarry_thing_box box;
	struct quarry_things things;
	unsigned int nth, refusals = 0;
	u64 out = blocks_out();
	int err;

	for (nth = 1;; nth++) {
		memset(&box, 0, sizeof(box));
		quarry_watch_read(&before);
		quarry_watch_refuse(nth, false);
		err = quarry_things_create(&things, 0);
		if (!err) {
			err = quarry_things_make(&things, 1, &box);
			verify(test, &things, !err);
			if (!err)
				quarry_thing_drop(&box);
			quarry_things_end(&things);
		}
		quarry_watch_refuse(0, false);
		quarry_watch_read(&after);
		KUNIT_EXPECT_EQ(test, blocks_out(), out);
		if (after.refused == before.refused)
			break;
		refusals++;
		KUNIT_EXPECT_EQ(test, err, (int)QUARRY_E_NO_MEMORY);
	}
	KUNIT_EXPECT_EQ(test, err, 0);
	/* The control block (and, with lock debugging, its lock), a slab, a descriptor. */
	KUNIT_EXPECT_GE(test, refusals, 3U);
	KUNIT_EXPECT_LE(test, refusals, 4U);
}

static void a_capacity_and_a_maker_that_fails_leave_nothing(struct kunit *test)
{
	struct quarry_thing_box box[7] = {}, more = {};
	struct quarry_things_counts counts;
	struct quarry_things things;
	u64 capacity, n;

	for (capacity = 1; capacity <= ARRAY_SIZE(box); capacity++) {
		KUNIT_ASSERT_EQ(test, quarry_things_create(&things, capacity), 0);
		for (n = 0; n < capacity; n++) {
			KUNIT_EXPECT_EQ(test, quarry_things_fail(&things), (int)QUARRY_E_BUSY);
			KUNIT_ASSERT_EQ(test, quarry_things_make(&things, n + 1, &box[n]), 0);
		}
		KUNIT_EXPECT_EQ(test, quarry_things_make(&things, 9, &more),
				(int)QUARRY_E_POOL_FULL);
		KUNIT_EXPECT_EQ(test, quarry_things_fail(&things), (int)QUARRY_E_POOL_FULL);
		quarry_things_count(&things, &counts);
		KUNIT_EXPECT_EQ(test, counts.live, capacity);
		KUNIT_EXPECT_EQ(test, counts.slabs,
				DIV_ROUND_UP_ULL(capacity, QUARRY_THINGS_IN_SLAB));
		verify(test, &things, capacity);
		for (n = 0; n < capacity; n++)
			quarry_thing_drop(&box[n]);
		quarry_things_end(&things);
	}
}

#define ROUNDS 20000

struct crowd {
	struct quarry_things things;
	struct task_struct *task;
	struct completion over;
	u64 name, wrong, full;
};

/* Makes and drops up to four; the cache has room for six. */
static int crowd_thread(void *argument)
{
	struct crowd *me = argument;
	struct quarry_thing_box box[4] = {};
	u64 random = me->name, i, k;
	int err;

	for (i = 0; i < ROUNDS; i++) {
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		k = random >> 62;
		if (box[k].storage[0]) {
			me->wrong += quarry_thing_name(&box[k]) != me->name;
			quarry_thing_drop(&box[k]);
		} else {
			err = quarry_things_make(&me->things, me->name, &box[k]);
			me->full += err == QUARRY_E_POOL_FULL;
			me->wrong += err && err != QUARRY_E_POOL_FULL;
		}
		if (i % 64 == 0)
			cond_resched();
	}
	for (k = 0; k < ARRAY_SIZE(box); k++)
		quarry_thing_drop(&box[k]);
	quarry_things_end(&me->things);
	complete(&me->over);
	/* Its end is waited for: the module may go then. */
	while (!kthread_should_stop())
		schedule_timeout_uninterruptible(1);
	return 0;
}

static void two_threads_share_a_cache_and_the_last_one_frees_it(struct kunit *test)
{
	struct crowd *crowd = quarry_kunit_memory(test, 2 * sizeof(*crowd));
	u64 before = blocks_out(), destroyed = quarry_things_destroyed();
	unsigned int i;

	KUNIT_ASSERT_EQ(test, quarry_things_create(&crowd[0].things, 6), 0);
	quarry_things_clone(&crowd[1].things, &crowd[0].things);
	for (i = 0; i < 2; i++) {
		init_completion(&crowd[i].over);
		crowd[i].name = i + 1;
		crowd[i].task = kthread_create(crowd_thread, &crowd[i], "quarry_things/%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(crowd[i].task));
		kthread_bind(crowd[i].task, i % num_online_cpus());
		wake_up_process(crowd[i].task);
	}
	for (i = 0; i < 2; i++) {
		wait_for_completion(&crowd[i].over);
		kthread_stop(crowd[i].task);
	}
	KUNIT_EXPECT_EQ(test, crowd[0].wrong + crowd[1].wrong, (u64)0);
	KUNIT_EXPECT_GT(test, quarry_things_destroyed(), destroyed + ROUNDS / 4);
	/* No handle is left here: all of it went with the last. */
	KUNIT_EXPECT_EQ(test, blocks_out(), before);
}

#define JOINERS 40

/* The clients of a pool are in its cache: by the page, and home again after their readers. */
static void a_pools_clients_go_home_when_their_readers_have_left(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, PAGE_SIZE);
	struct quarry_core_client *client[JOINERS];
	struct quarry_watch_counts empty, full, now;
	struct quarry_core_stat stat;
	unsigned int i, a_page;
	u64 meta;

	quarry_watch_read(&empty);
	quarry_core_pool_stat(pool->core, &stat, NULL, 0);
	meta = stat.meta_bytes;
	for (i = 0; i < JOINERS; i++)
		KUNIT_ASSERT_EQ(test, quarry_core_client_create(pool->core, i + 1, 0, &client[i]),
				0);
	quarry_watch_read(&full);
	/* A chunk of the table, and 12 clients to a page with its descriptor; 8 where locks are debugged. */
	a_page = IS_ENABLED(CONFIG_DEBUG_LOCK_ALLOC) ? 8 : 12;
	KUNIT_EXPECT_EQ(test, full.blocks - empty.blocks,
			(s64)(1 + 2 * DIV_ROUND_UP(JOINERS, a_page)));
	quarry_core_pool_stat(pool->core, &stat, NULL, 0);
	KUNIT_EXPECT_EQ(test, stat.meta_bytes - meta, (u64)(full.bytes - empty.bytes));
	quarry_kunit_verify(test, pool);

	hooks.read_enter();
	for (i = 0; i < JOINERS; i++)
		quarry_core_client_destroy(client[i]);
	quarry_watch_read(&now);
	KUNIT_EXPECT_EQ(test, now.blocks, full.blocks);
	hooks.read_leave();
	quarry_core_pool_stat(pool->core, &stat, NULL, 0);
	KUNIT_EXPECT_EQ(test, stat.clients, 0U);
	rcu_barrier();
	/* All pages but one have gone back. */
	quarry_watch_read(&now);
	KUNIT_EXPECT_EQ(test, now.blocks - empty.blocks, (s64)(1 + 2));
	quarry_kunit_verify(test, pool);
	quarry_core_pool_stat(pool->core, &stat, NULL, 0);
	KUNIT_EXPECT_EQ(test, stat.clients, 0U);
}

/* The pool ends before its client's readers have left: the last client ends the cache. */
static void a_pool_ends_before_its_clients_memory(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, PAGE_SIZE);
	struct quarry_core_pool_config config = {
		.kind = QUARRY_CORE_HEAP, .max_clients = 4, .max_pages = 1, .os_pool = pool,
	};
	u64 before = blocks_out(), left;
	struct quarry_core_client *client;
	struct quarry_core_pool *core;

	KUNIT_ASSERT_EQ(test, quarry_core_pool_create(&config, &core), 0);
	KUNIT_ASSERT_EQ(test, quarry_core_client_create(core, 1, 0, &client), 0);
	hooks.read_enter();
	quarry_core_client_destroy(client);
	quarry_core_pool_destroy(core, NULL);
	left = blocks_out() - before;
	hooks.read_leave();
	/* The control block (and its lock), the page, its descriptor. */
	KUNIT_EXPECT_GE(test, left, (u64)3);
	KUNIT_EXPECT_LE(test, left, (u64)4);
	rcu_barrier();
	KUNIT_EXPECT_EQ(test, blocks_out(), before);
}

static struct kunit_case objects_cases[] = {
	KUNIT_CASE(every_short_history_fits_the_model),
	KUNIT_CASE(each_address_of_a_slab_has_one_right_answer),
	KUNIT_CASE(a_second_drop_is_counted_and_changes_nothing),
	KUNIT_CASE(each_refusal_is_no_memory_and_leaves_nothing),
	KUNIT_CASE(a_capacity_and_a_maker_that_fails_leave_nothing),
	KUNIT_CASE(two_threads_share_a_cache_and_the_last_one_frees_it),
	KUNIT_CASE(a_pools_clients_go_home_when_their_readers_have_left),
	KUNIT_CASE(a_pool_ends_before_its_clients_memory),
	{}
};

QUARRY_KUNIT_SUITE(quarry_objects, objects_cases);
