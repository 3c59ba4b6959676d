// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Kernel threads against each other, on two CPUs where the kernel has them:
 * every outcome of a race must be one of those allowed, and the audit finds
 * nothing when they are done.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include "quarry_kunit.h"

#define MOST_THREADS 4
#define OBJECTS 64

struct worker {
	struct quarry_pool *pool;
	struct quarry_client *client;
	struct quarry_client *peer;
	struct task_struct *task;
	struct completion *start;
	atomic_t *arrived;
	int expected;
	struct completion over;
	unsigned int number;
	unsigned int rounds;
	unsigned long random;
	u64 offsets[OBJECTS];
	u32 live;
	/* Counted by the thread, read after it has ended. */
	unsigned long wins;
	unsigned long losses;
	int wrong;
};

static unsigned int draw(struct worker *w, unsigned int below)
{
	w->random = w->random * 6364136223846793005UL + 1442695040888963407UL;
	return (w->random >> 33) % below;
}

static void run(struct kunit *test, struct worker *workers, unsigned int n, int (*body)(void *))
{
	static struct completion start;
	static atomic_t arrived;
	unsigned int i;

	init_completion(&start);
	atomic_set(&arrived, 0);
	for (i = 0; i < n; i++) {
		workers[i].start = &start;
		workers[i].arrived = &arrived;
		workers[i].expected = n;
		init_completion(&workers[i].over);
		workers[i].number = i;
		workers[i].random = 12345 + i;
		workers[i].task = kthread_create(body, &workers[i], "quarry_kunit/%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(workers[i].task));
		kthread_bind(workers[i].task, i % num_online_cpus());
		get_task_struct(workers[i].task);
		wake_up_process(workers[i].task);
	}
	complete_all(&start);
	/* A thread that is stopped before it has begun never does. */
	for (i = 0; i < n; i++)
		wait_for_completion(&workers[i].over);
	for (i = 0; i < n; i++) {
		kthread_stop(workers[i].task);
		put_task_struct(workers[i].task);
		KUNIT_EXPECT_EQ_MSG(test, workers[i].wrong, 0, "thread %u", i);
	}
}

/* All begin at the same moment, as far as there are CPUs. */
static void begin(struct worker *w)
{
	wait_for_completion(w->start);
	atomic_inc(w->arrived);
	while (atomic_read(w->arrived) < w->expected) {
		cpu_relax();
		cond_resched();
		if (num_online_cpus() == 1)
			yield();
	}
}

/* Between two steps: on one CPU threads meet only where they give way. */
static void step(struct worker *w)
{
	cond_resched();
	if (num_online_cpus() == 1 && !draw(w, 4))
		yield();
}

/* Threads stay until they are joined, so that their results can be read. */
static int finish(struct worker *w)
{
	complete(&w->over);
	while (!kthread_should_stop()) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

static int churn(void *data)
{
	static const u64 sizes[] = { 8, 64, 64, 64, 320, 2048, PAGE_SIZE, 2 * PAGE_SIZE };
	struct worker *w = data;
	struct quarry_blame blame;
	unsigned int i, k;
	u32 done;
	int err;

	begin(w);
	for (i = 0; i < w->rounds && !w->wrong; i++) {
		if (w->live < OBJECTS && draw(w, 2)) {
			err = quarry_client_alloc(w->client, sizes[draw(w, ARRAY_SIZE(sizes))], 8, 1,
						  &w->offsets[w->live], &done);
			if (!err)
				w->live++;
			else if (err != -ENOSPC)
				w->wrong = err;
		} else if (w->live) {
			k = draw(w, w->live);
			w->wrong = quarry_client_free(w->client, &w->offsets[k], 1, &done, &blame);
			w->offsets[k] = w->offsets[--w->live];
		}
		step(w);
	}
	return finish(w);
}

static void clients_of_one_pool_do_not_disturb_each_other(struct kunit *test)
{
	struct worker *w = quarry_kunit_memory(test, MOST_THREADS * sizeof(*w));
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 256 * PAGE_SIZE);
	unsigned int i;
	u64 live = 0;

	for (i = 0; i < MOST_THREADS; i++) {
		w[i].client = quarry_kunit_client(test, pool);
		w[i].rounds = 50000;
	}
	run(test, w, MOST_THREADS, churn);
	for (i = 0; i < MOST_THREADS; i++)
		live += w[i].live;
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), live);
	kunit_info(test, "measured: %d threads on %u CPUs, 50000 steps each\n", MOST_THREADS,
		   num_online_cpus());
}

/* Both free the same objects of one client: each object has one winner. */
static int free_all(void *data)
{
	struct worker *w = data;
	struct quarry_blame blame;
	unsigned int i, at;
	u32 done;
	int err;

	begin(w);
	for (i = 0; i < OBJECTS; i++) {
		at = w->number ? OBJECTS - 1 - i : i;
		err = quarry_client_free(w->client, &w->offsets[at], 1, &done, &blame);
		if (!err)
			w->wins++;
		else if (err == -EALREADY)
			w->losses++;
		else
			w->wrong = err;
		step(w);
	}
	return finish(w);
}

static void of_two_frees_of_one_object_one_wins(struct kunit *test)
{
	static const u64 sizes[] = { 8, 64, 2048, PAGE_SIZE };
	struct worker *w = quarry_kunit_memory(test, 2 * sizeof(*w));
	struct quarry_pool *pool = quarry_kunit_heap(test, 256 * PAGE_SIZE, 256 * PAGE_SIZE);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	unsigned long races = 0;
	unsigned int round;
	u32 done;

	for (round = 0; round < 200; round++) {
		memset(w, 0, 2 * sizeof(*w));
		KUNIT_ASSERT_EQ(test, quarry_client_alloc(client, sizes[round % 4], 8, OBJECTS,
							  w[0].offsets, &done), 0);
		memcpy(w[1].offsets, w[0].offsets, sizeof(w[0].offsets));
		w[0].client = w[1].client = client;
		run(test, w, 2, free_all);
		KUNIT_ASSERT_EQ(test, w[0].wins + w[1].wins, (unsigned long)OBJECTS);
		KUNIT_ASSERT_EQ(test, w[0].losses + w[1].losses, (unsigned long)OBJECTS);
		KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
		races += min(w[0].wins, w[1].wins);
	}
	kunit_info(test, "measured: %lu of %u objects were won by the second thread\n", races,
		   200 * OBJECTS);
}

#define ENOUGH 1000
#define PATIENCE 50000000

/* Each hands objects to the other, whoever has them. */
static int hand_over(void *data)
{
	struct worker *w = data;
	struct quarry_blame blame;
	unsigned int i, k;
	u32 done;
	int err;

	begin(w);
	/* Until objects went back and forth often enough to say that both ran side by side. */
	for (i = 0; (i < w->rounds || w->wins < ENOUGH) && i < PATIENCE && !w->wrong; i++) {
		k = draw(w, OBJECTS);
		err = quarry_client_transfer(w->client, w->peer->id, &w->offsets[k], 1, &done, &blame);
		if (!err)
			w->wins++;
		else if (err == -EACCES || err == -EALREADY)
			w->losses++;
		else
			w->wrong = err;
		step(w);
	}
	return finish(w);
}

static void objects_handed_to_and_fro_have_one_owner(struct kunit *test)
{
	static const u64 sizes[] = { 64, 3 * PAGE_SIZE };
	struct worker *w = quarry_kunit_memory(test, 2 * sizeof(*w));
	struct quarry_pool *pool = quarry_kunit_heap(test, 256 * PAGE_SIZE, 256 * PAGE_SIZE);
	struct quarry_client *a = quarry_kunit_client(test, pool);
	struct quarry_client *b = quarry_kunit_client(test, pool);
	u64 objects, bytes, more, more_bytes;
	unsigned int i;
	u32 done;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(w, 0, 2 * sizeof(*w));
		KUNIT_ASSERT_EQ(test, quarry_client_alloc(a, sizes[i], 8, OBJECTS, w[0].offsets, &done),
				0);
		memcpy(w[1].offsets, w[0].offsets, sizeof(w[0].offsets));
		w[0].client = w[1].peer = a;
		w[1].client = w[0].peer = b;
		w[0].rounds = w[1].rounds = 20000;
		run(test, w, 2, hand_over);
		quarry_core_client_usage(a->core, &objects, &bytes);
		quarry_core_client_usage(b->core, &more, &more_bytes);
		KUNIT_EXPECT_GE(test, w[0].wins, (unsigned long)ENOUGH);
		KUNIT_EXPECT_GE(test, w[1].wins, (unsigned long)ENOUGH);
		KUNIT_EXPECT_EQ(test, objects + more, (u64)OBJECTS);
		KUNIT_EXPECT_EQ(test, bytes + more_bytes, OBJECTS * sizes[i]);
		KUNIT_EXPECT_EQ(test, objects, OBJECTS - w[0].wins + w[1].wins);
		KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)OBJECTS);
		kunit_info(test, "measured: %lu and %lu moves of %llu bytes went through\n",
			   w[0].wins, w[1].wins, sizes[i]);
		for (done = 0; done < OBJECTS; done++)
			if (quarry_kunit_give(a, w[0].offsets[done]))
				KUNIT_EXPECT_EQ(test, quarry_kunit_give(b, w[0].offsets[done]), 0);
	}
}

/* Clients come, take and are reaped while a neighbour works in the same slabs. */
static int come_and_go(void *data)
{
	struct worker *w = data;
	struct quarry_client *client;
	u64 offsets[OBJECTS];
	unsigned int i;
	u32 done;

	if (w->number == 0)
		return churn(data);
	begin(w);
	for (i = 0; i < w->rounds && !w->wrong; i++) {
		w->wrong = quarry_client_create(w->pool, false, &client);
		if (w->wrong)
			break;
		client->connected = true;
		if (!quarry_client_alloc(client, i % 3 ? 64 : PAGE_SIZE, 8, OBJECTS, offsets, &done))
			w->wins++;
		quarry_client_reap(client);
		quarry_client_put(client);
		cond_resched();
	}
	return finish(w);
}

static void a_reap_leaves_the_neighbours_alone(struct kunit *test)
{
	struct worker *w = quarry_kunit_memory(test, 3 * sizeof(*w));
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 512 * PAGE_SIZE);

	w[0].client = quarry_kunit_client(test, pool);
	w[0].rounds = 100000;
	w[1].pool = w[2].pool = pool;
	w[1].rounds = w[2].rounds = 2000;
	run(test, w, 3, come_and_go);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)w[0].live);
	KUNIT_EXPECT_EQ(test, atomic64_read(&pool->reaps), (s64)4000);
	kunit_info(test, "measured: 4000 clients reaped beside 100000 steps of another\n");
}

/* Two reap the same client: both return when all is back, and it came back once. */
static int reap(void *data)
{
	struct worker *w = data;
	u64 objects, bytes;

	begin(w);
	quarry_client_reap(w->client);
	quarry_core_client_usage(w->client->core, &objects, &bytes);
	if (objects || bytes)
		w->wrong = 1;
	return finish(w);
}

static void whoever_reaps_returns_when_all_is_back(struct kunit *test)
{
	struct worker *w = quarry_kunit_memory(test, 2 * sizeof(*w));
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 512 * PAGE_SIZE);
	struct quarry_client *client;
	unsigned int round;
	u64 offsets[OBJECTS];
	u32 done;

	for (round = 0; round < 200; round++) {
		memset(w, 0, 2 * sizeof(*w));
		client = quarry_kunit_client(test, pool);
		KUNIT_ASSERT_EQ(test, quarry_client_alloc(client, 512, 8, OBJECTS, offsets, &done), 0);
		w[0].client = w[1].client = client;
		run(test, w, 2, reap);
		KUNIT_ASSERT_EQ(test, atomic64_read(&pool->reaps), (s64)round + 1);
		quarry_kunit_end_client(test, client);
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

static struct kunit_case threads_cases[] = {
	KUNIT_CASE(clients_of_one_pool_do_not_disturb_each_other),
	KUNIT_CASE(of_two_frees_of_one_object_one_wins),
	KUNIT_CASE(objects_handed_to_and_fro_have_one_owner),
	KUNIT_CASE(a_reap_leaves_the_neighbours_alone),
	KUNIT_CASE(whoever_reaps_returns_when_all_is_back),
	{}
};

QUARRY_KUNIT_SUITE(quarry_threads, threads_cases);
