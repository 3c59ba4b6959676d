// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Clients' magazines through the shim: what moves, what a call that would fail finds
 * in them, and who may touch them.
 */
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include "../module/ioctl.h"
#include "magazine_client.h"

static struct quarry_stat stat_of(struct quarry_pool *pool)
{
	struct quarry_stat stat = {};

	quarry_pool_stat(pool, &stat, NULL, 0);
	return stat;
}

static void half_a_magazine_moves_and_all_of_it_is_counted(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	struct quarry_core_flushed flushed = {};
	struct quarry_blame blame;
	u64 one, other, slots, slabs;
	struct quarry_stat stat;
	u32 filled, i;

	KUNIT_ASSERT_EQ(test, quarry_client_refill(client, C64, &one, &filled), 0);
	KUNIT_EXPECT_EQ(test, filled, 31U);
	KUNIT_EXPECT_EQ(test, held_in(client, C64), 31U);
	KUNIT_EXPECT_EQ(test, capacity_of(client, C64), (u32)QUARRY_MIN_MAGAZINE);
	for (i = 1; i <= 31; i++) {
		KUNIT_ASSERT_TRUE(test, pop(client, C64, &other));
		KUNIT_EXPECT_EQ(test, other, one + 64 * i);
	}
	KUNIT_EXPECT_FALSE(test, pop(client, C64, &other));
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)32);
	for (i = 1; i <= 31; i++)
		KUNIT_EXPECT_TRUE(test, push(client, C64, one + 64 * i));
	/* Not half full: only the object goes. */
	KUNIT_EXPECT_EQ(test, quarry_client_flush(client, C64, &one, &flushed, &blame), 0);
	KUNIT_EXPECT_EQ(test, flushed.drained, 0U);
	KUNIT_EXPECT_EQ(test, quarry_client_flush(client, C64, &one, &flushed, &blame), -EALREADY);
	KUNIT_EXPECT_EQ(test, blame.offset, one);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)31);

	stat = stat_of(pool);
	KUNIT_EXPECT_EQ(test, stat.allocs, (u64)32);
	KUNIT_EXPECT_EQ(test, stat.frees, (u64)1);
	KUNIT_EXPECT_EQ(test, stat.refills, (u64)1);
	KUNIT_EXPECT_EQ(test, stat.flushes, (u64)0);
	KUNIT_EXPECT_EQ(test, stat.magazine_bytes,
			(u64)num_online_cpus() * QUARRY_CORE_MAGAZINE_BASE);
	KUNIT_EXPECT_EQ(test, quarry_client_drain(client, false, &slots, &slabs), 0);
	KUNIT_EXPECT_EQ(test, slots, (u64)31);
	stat = stat_of(pool);
	KUNIT_EXPECT_EQ(test, stat.frees, (u64)32);
	KUNIT_EXPECT_EQ(test, stat.flushes, (u64)1);
	KUNIT_EXPECT_EQ(test, stat.unreachable, (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	quarry_kunit_end_client(test, client);
	KUNIT_EXPECT_EQ(test, stat_of(pool).magazine_bytes, (u64)0);
}

static void a_busy_magazine_grows_and_gives_back_under_pressure(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 1024 * PAGE_SIZE, 1024 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	u64 *held = quarry_kunit_memory(test, 65536 * sizeof(*held)), slots, slabs;
	u32 n = 0, top = 0, i;

	while (n < 65536 && top < QUARRY_MAX_MAGAZINE) {
		KUNIT_ASSERT_EQ(test, take(client, 0, &held[n]), 0);
		n++;
		top = max(top, capacity_of(client, 0));
		KUNIT_ASSERT_LE(test, held_in(client, 0), capacity_of(client, 0) / 2);
	}
	KUNIT_EXPECT_EQ(test, top, (u32)QUARRY_MAX_MAGAZINE);
	KUNIT_EXPECT_GE(test, words(client, 0)->first, QUARRY_CORE_MAGAZINE_BASE / 4);
	KUNIT_EXPECT_EQ(test, stat_of(pool).magazine_bytes,
			(u64)num_online_cpus() * QUARRY_CORE_MAGAZINE_BASE + QUARRY_CORE_MAGAZINE_PIECE);
	for (i = 0; i < n; i++)
		KUNIT_ASSERT_EQ(test, give(client, 0, held[i]), 0);
	KUNIT_EXPECT_EQ(test, (u64)held_in(client, 0), quarry_kunit_verify(test, pool));
	for (i = QUARRY_MAX_MAGAZINE / 2; i; i /= 2) {
		KUNIT_EXPECT_EQ(test, quarry_client_drain(client, true, &slots, &slabs), 0);
		KUNIT_EXPECT_EQ(test, capacity_of(client, 0), 0U);
		KUNIT_EXPECT_EQ(test, take(client, 0, &held[0]), 0);
		KUNIT_EXPECT_EQ(test, capacity_of(client, 0), max(i, 64U));
		KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, held[0]), 0);
	}
	/* A class of 2048 bytes: 256 KiB are 128 entries. A slow kernel may need a few bursts. */
	for (i = 0; i < 20 && capacity_of(client, C2048) < 128; i++) {
		for (n = 0; n < 1500; n++)
			KUNIT_ASSERT_EQ(test, take(client, C2048, &held[n]), 0);
		while (n--)
			KUNIT_ASSERT_EQ(test, give(client, C2048, held[n]), 0);
	}
	KUNIT_EXPECT_EQ(test, capacity_of(client, C2048), 128U);
	for (n = 0; n < 1500; n++)
		KUNIT_ASSERT_EQ(test, take(client, C2048, &held[n]), 0);
	KUNIT_EXPECT_EQ(test, capacity_of(client, C2048), 128U);
}

/* What lies free in magazines serves a call before it fails. */
static void no_call_fails_for_what_lies_in_magazines(struct kunit *test)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_HEAP, .node = NUMA_NO_NODE, .bytes = 64 * PAGE_SIZE,
		.max_bytes = 64 * PAGE_SIZE, .name = "",
	};
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 8 * PAGE_SIZE);
	struct quarry_client *idle = member(test, pool), *busy = member(test, pool), *bound;
	u64 *held = quarry_kunit_memory(test, 600 * sizeof(*held)), one, run;
	struct quarry_blame blame;
	u32 filled, done;

	/* Slots, for ALLOC and for REFILL. */
	KUNIT_ASSERT_EQ(test, quarry_client_refill(idle, C64, &one, &filled), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(busy, 64, 8, 600, held, &done), -ENOSPC);
	KUNIT_EXPECT_EQ(test, done, 511U);
	KUNIT_EXPECT_EQ(test, quarry_client_free(busy, held, 511, &done, &blame), 0);
	KUNIT_ASSERT_EQ(test, take(idle, C64, &run), 0);
	for (filled = 0; filled < 510; filled++)
		KUNIT_ASSERT_EQ(test, take(busy, C64, &held[filled]), 0);
	KUNIT_EXPECT_EQ(test, take(busy, C64, &run), -ENOSPC);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)512);
	KUNIT_EXPECT_EQ(test, quarry_client_free(busy, held, 510, &done, &blame), 0);
	quarry_kunit_end_client(test, idle);
	quarry_kunit_end_client(test, busy);

	/* A run, of pages that only cached slots hold. */
	idle = member(test, pool);
	busy = member(test, pool);
	KUNIT_ASSERT_EQ(test, quarry_client_refill(idle, C64, &one, &filled), 0);
	KUNIT_ASSERT_EQ(test, quarry_kunit_give(idle, one), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(busy, 8 * PAGE_SIZE, 8, 1, &run, &done), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)1);
	quarry_kunit_end_client(test, busy);

	/* A limit of its own. */
	config.client_limit = 640;
	KUNIT_ASSERT_EQ(test, quarry_pool_create(&config, &pool), 0);
	bound = member(test, pool);
	quarry_pool_put(pool);
	KUNIT_ASSERT_EQ(test, quarry_client_refill(bound, C64, &one, &filled), 0);
	KUNIT_EXPECT_EQ(test, filled, 9U);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(bound, 320, 8, 1, &run, &done), 0);
	KUNIT_EXPECT_EQ(test, held_in(bound, C64), 0U);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(bound, 320, 8, 1, &run, &done), -EDQUOT);
	/* And the receiver's, when objects are handed to it. */
	KUNIT_ASSERT_EQ(test, quarry_client_refill(bound, C64, &one, &filled), 0);
	KUNIT_EXPECT_EQ(test, filled, 3U);
	idle = member(test, pool);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(idle, 128, 8, &run), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_transfer(idle, bound->id, &run, 1, &done, &blame), 0);
	KUNIT_EXPECT_EQ(test, held_in(bound, C64), 0U);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(idle, 128, 8, &run), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_transfer(idle, bound->id, &run, 1, &done, &blame),
			-EDQUOT);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)5);
	quarry_kunit_end_client(test, idle);
	quarry_kunit_end_client(test, bound);
}

static void a_region_of_cached_objects_can_be_removed(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	u64 one, pages;
	u32 filled;

	KUNIT_ASSERT_EQ(test, quarry_client_refill(client, C64, &one, &filled), 0);
	KUNIT_EXPECT_EQ(test, quarry_region_remove(pool, 0, &pages), -EBUSY);
	KUNIT_EXPECT_EQ(test, held_in(client, C64), 0U);
	KUNIT_EXPECT_EQ(test, quarry_client_refill(client, C64, &pages, &filled), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, one), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, pages), 0);
	KUNIT_EXPECT_EQ(test, held_in(client, C64), 31U);
	KUNIT_EXPECT_EQ(test, quarry_region_remove(pool, 0, &pages), 0);
	KUNIT_EXPECT_EQ(test, pages, (u64)8);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static void a_dead_clients_magazines_hold_nothing(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_fixed(test, 64, 100);
	struct quarry_client *dead = member(test, pool), *heir = member(test, pool);
	u64 *held = quarry_kunit_memory(test, 101 * sizeof(*held)), slots, slabs, one;
	u32 done, filled;

	KUNIT_EXPECT_EQ(test, quarry_client_refill(dead, 1, &one, &filled), -EINVAL);
	KUNIT_ASSERT_EQ(test, quarry_client_refill(dead, 0, &one, &filled), 0);
	quarry_client_reap(dead);
	KUNIT_EXPECT_EQ(test, atomic64_read(&pool->reaped_objects), (s64)32);
	KUNIT_EXPECT_EQ(test, quarry_client_refill(dead, 0, &one, &filled), -ESHUTDOWN);
	KUNIT_EXPECT_EQ(test, quarry_client_alloc(heir, 64, 8, 101, held, &done), -ENOSPC);
	KUNIT_EXPECT_EQ(test, done, 100U);
	/* Its words still name what is the heir's now. */
	KUNIT_EXPECT_EQ(test, held_in(dead, 0), 31U);
	KUNIT_EXPECT_EQ(test, quarry_client_drain(heir, true, &slots, &slabs), 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&dead->refused), (s64)0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)100);
}

static void refused_metadata_costs_a_magazine_and_no_object(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	struct quarry_watch_counts counts;
	unsigned int nth;
	u32 filled;
	u64 one;
	int err;

	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	for (nth = 1;; nth++) {
		quarry_watch_refuse(nth, false);
		err = quarry_magazines_open(client);
		quarry_watch_refuse(0, false);
		quarry_watch_read(&counts);
		if (counts.refused < nth)
			break;
		/* Without the shadow of one CPU there is no block, and no error. */
		KUNIT_EXPECT_EQ(test, err, nth <= 2 ? -ENOMEM : 0);
		KUNIT_ASSERT_LT(test, nth, 10U);
	}
	KUNIT_EXPECT_EQ(test, err, 0);
	for (nth = 1; nth < 4; nth++) {
		quarry_watch_refuse(nth, true);
		err = quarry_client_refill(client, nth, &one, &filled);
		quarry_watch_refuse(0, false);
		if (!err)
			KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, one), 0);
		else
			KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		quarry_kunit_verify(test, pool);
	}
}

static struct {
	struct irq_work work;
	struct quarry_client *client;
	bool done;
} planted;

static void write_from_interrupt(struct irq_work *work)
{
	struct quarry_core_flushed flushed;
	struct quarry_core_refusal refusal;

	quarry_core_flush(planted.client->core, C64, NULL, &flushed, &refusal);
	/* What it did is seen with it. */
	smp_store_release(&planted.done, true);
}

/* The watch's own proof: whoever writes magazines from where a thread may be in the middle of one. */
static void a_magazine_written_from_interrupt_or_reclaim_is_seen(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	struct quarry_core_flushed flushed = {};
	struct quarry_watch_counts before, after;
	unsigned long until = jiffies + 5 * HZ;
	struct quarry_blame blame;
	unsigned int flags;
	u32 filled;
	u64 one;

	KUNIT_ASSERT_EQ(test, quarry_client_refill(client, C64, &one, &filled), 0);
	quarry_watch_read(&before);
	KUNIT_ASSERT_EQ(test, before.context_faults, (s64)0);
	planted.client = client;
	planted.done = false;
	init_irq_work(&planted.work, write_from_interrupt);
	irq_work_queue(&planted.work);
	/* Pairs with the store behind the flush. */
	while (!smp_load_acquire(&planted.done) && time_before(jiffies, until))
		cond_resched();
	irq_work_sync(&planted.work);
	KUNIT_EXPECT_TRUE(test, planted.done);
	quarry_watch_read(&after);
	KUNIT_EXPECT_GT(test, after.context_faults, before.context_faults);
	before = after;
	flags = memalloc_noreclaim_save();
	quarry_client_flush(client, C64, NULL, &flushed, &blame);
	memalloc_noreclaim_restore(flags);
	quarry_watch_read(&after);
	KUNIT_EXPECT_GT(test, after.context_faults, before.context_faults);
	quarry_watch_forgive(after.context_faults);
}

static void the_class_table_says_what_each_page_is(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	struct quarry_pool *fixed = quarry_kunit_fixed(test, 4096, 10);
	struct quarry_client *client = member(test, pool);
	u64 small, large, run, slots, slabs;
	u8 *table = page_address(pool->classes[0]);
	u32 filled;

	KUNIT_ASSERT_EQ(test, quarry_client_refill(client, C64, &small, &filled), 0);
	KUNIT_ASSERT_EQ(test, quarry_client_refill(client, C2048, &large, &filled), 0);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 3 * PAGE_SIZE, 8, &run), 0);
	KUNIT_EXPECT_EQ(test, table[small >> PAGE_SHIFT], (u8)(C64 + 1));
	KUNIT_EXPECT_EQ(test, table[(small >> PAGE_SHIFT) + 7], (u8)(C64 + 1));
	KUNIT_EXPECT_EQ(test, table[large >> PAGE_SHIFT], (u8)(C2048 + 1));
	KUNIT_EXPECT_EQ(test, table[run >> PAGE_SHIFT], (u8)0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, small), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_give(client, large), 0);
	KUNIT_EXPECT_EQ(test, quarry_client_drain(client, true, &slots, &slabs), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(table, 0, PAGE_SIZE));
	/* Larger objects are of no class. */
	KUNIT_EXPECT_NULL(test, memchr_inv(page_address(fixed->classes[0]), 0, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, quarry_magazine_cpus(fixed), 0U);
}

static void wrong_arguments_of_refill_and_flush_have_their_errno(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	u64 at = quarry_kunit_borrow(test);
	struct quarry_client *client = member(test, pool);
	struct quarry_refill refill = { .size = sizeof(refill), .class_index = C64 };
	struct quarry_flush flush = { .size = sizeof(flush), .class_index = C64 };
	struct file file = { .private_data = client };
	u64 slots, slabs;

#define CALL(command, argument, place) ({						\
	long result_;								\
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(place), argument,	\
					   sizeof(*(argument))), 0UL);		\
	result_ = quarry_client_ioctl(&file, command, place);			\
	KUNIT_ASSERT_EQ(test, copy_from_user(argument, u64_to_user_ptr(place),	\
					     sizeof(*(argument))), 0UL);	\
	result_;								\
})
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_REFILL, &refill, at), 0L);
	KUNIT_EXPECT_EQ(test, refill.filled, 31U);
	flush.offset = refill.offset;
	flush.flags = QUARRY_FLUSH_OBJECT;
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_FLUSH, &flush, at), 0L);
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_FLUSH, &flush, at), (long)-EALREADY);
	flush.offset = 3;
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_FLUSH, &flush, at), (long)-EINVAL);
	flush.flags = 0;
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_FLUSH, &flush, at), 0L);
	flush.class_index = 48;
	refill.class_index = 48;
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_FLUSH, &flush, at), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_REFILL, &refill, at), (long)-EINVAL);
	flush.class_index = U32_MAX;
	refill.class_index = U32_MAX;
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_FLUSH, &flush, at), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_REFILL, &refill, at), (long)-EINVAL);
	refill.class_index = C64;
	client->connected = false;
	KUNIT_EXPECT_EQ(test, CALL(QUARRY_IOC_REFILL, &refill, at), (long)-ENOTCONN);
	client->connected = true;
#undef CALL
	KUNIT_EXPECT_EQ(test, quarry_client_drain(client, false, &slots, &slabs), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	quarry_kunit_give_back(test, at);
}

/* Every CPU takes and gives from its own magazines, with interrupts off for a sequence. */
struct player {
	struct quarry_client *client;
	struct task_struct *task;
	struct completion done;
	unsigned int cpu;
	unsigned int rounds;
	u64 held[256];
	unsigned int n;
	int wrong;
};

static int play(void *data)
{
	struct player *p = data;
	struct quarry_cpu_block *block = page_address(p->client->magazines->part[p->cpu * QUARRY_PARTS]);
	struct quarry_magazine *m = &block->magazine[C64];
	struct quarry_core_flushed flushed;
	struct quarry_blame blame;
	unsigned long flags;
	unsigned int i;
	u32 filled, seed = p->cpu + 1;
	u64 object;

	for (i = 0; i < p->rounds && !p->wrong; i++) {
		bool hit = false;

		seed = seed * 1664525 + 1013904223;
		if (p->n < ARRAY_SIZE(p->held) && (seed >> 16 & 1 || !p->n)) {
			local_irq_save(flags);
			/* A larger magazine lies in a piece: that is left to the calls. */
			if (m->top > m->first && m->end - m->first == 64) {
				object = (u64)((u32 *)block)[--m->top] * 8;
				hit = true;
			}
			local_irq_restore(flags);
			if (!hit)
				p->wrong = quarry_client_refill(p->client, C64, &object, &filled);
			p->held[p->n++] = object;
		} else {
			object = p->held[--p->n];
			local_irq_save(flags);
			if (m->top < m->end && m->end - m->first == 64) {
				((u32 *)block)[m->top++] = object / 8;
				hit = true;
			}
			local_irq_restore(flags);
			if (!hit)
				p->wrong = quarry_client_flush(p->client, C64, &object, &flushed, &blame);
		}
		if (i % 64 == 0)
			cond_resched();
	}
	complete(&p->done);
	return 0;
}

static void drains_from_elsewhere_lose_nothing(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 1024 * PAGE_SIZE, 1024 * PAGE_SIZE);
	struct quarry_client *client = member(test, pool);
	struct player *p = quarry_kunit_memory(test, nr_cpu_ids * sizeof(*p));
	u64 slots, slabs, objects, bytes, held = 0, drained = 0;
	unsigned int cpu;

	for_each_online_cpu(cpu) {
		p[cpu].client = client;
		p[cpu].cpu = cpu;
		p[cpu].rounds = 100000;
		init_completion(&p[cpu].done);
		p[cpu].task = kthread_create(play, &p[cpu], "quarry-play");
		KUNIT_ASSERT_FALSE(test, IS_ERR(p[cpu].task));
		kthread_bind(p[cpu].task, cpu);
	}
	for_each_online_cpu(cpu)
		wake_up_process(p[cpu].task);
	for_each_online_cpu(cpu) {
		while (!completion_done(&p[cpu].done)) {
			KUNIT_EXPECT_EQ(test, quarry_client_drain(client, true, &slots, &slabs), 0);
			drained += slots;
			schedule_timeout_uninterruptible(1);
		}
	}
	for_each_online_cpu(cpu) {
		KUNIT_EXPECT_EQ(test, p[cpu].wrong, 0);
		held += p[cpu].n;
	}
	KUNIT_EXPECT_EQ(test, quarry_client_drain(client, true, &slots, &slabs), 0);
	quarry_core_client_usage(client->core, &objects, &bytes);
	KUNIT_EXPECT_EQ(test, objects, held);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), held);
	KUNIT_EXPECT_EQ(test, atomic64_read(&client->refused), (s64)0);
	kunit_info(test, "measured: %llu slots drained beside %u players\n", drained,
		   num_online_cpus());
}

static struct kunit_case magazines_cases[] = {
	KUNIT_CASE(half_a_magazine_moves_and_all_of_it_is_counted),
	KUNIT_CASE(a_busy_magazine_grows_and_gives_back_under_pressure),
	KUNIT_CASE(no_call_fails_for_what_lies_in_magazines),
	KUNIT_CASE(a_region_of_cached_objects_can_be_removed),
	KUNIT_CASE(a_dead_clients_magazines_hold_nothing),
	KUNIT_CASE(refused_metadata_costs_a_magazine_and_no_object),
	KUNIT_CASE(a_magazine_written_from_interrupt_or_reclaim_is_seen),
	KUNIT_CASE(the_class_table_says_what_each_page_is),
	KUNIT_CASE(wrong_arguments_of_refill_and_flush_have_their_errno),
	KUNIT_CASE(drains_from_elsewhere_lose_nothing),
	{}
};

QUARRY_KUNIT_SUITE(quarry_magazines, magazines_cases);
