// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Heaps of drivers: per-CPU magazines, live bytes, and frees from everywhere.
 * The core never touches what it manages, so these heaps have no memory at all.
 */
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include "quarry_kunit.h"

static struct quarry_core_heap *make_heap(struct kunit *test, u64 pages)
{
	struct quarry_core_heap *heap = NULL;

	KUNIT_ASSERT_EQ(test, quarry_core_heap_create(pages, NULL, 0, &heap), 0);
	if (quarry_core_heap_add_region(heap, 0, pages, QUARRY_CORE_NORMAL)) {
		quarry_core_heap_destroy(heap);
		KUNIT_ASSERT_TRUE_MSG(test, false, "no region");
	}
	return heap;
}

/* One object of normal memory, aligned to 8. */
static int take(struct quarry_core_heap *heap, u64 size, u64 *offset, enum quarry_context context)
{
	return quarry_core_heap_alloc(heap, size, 8, QUARRY_CORE_NORMAL, offset, context);
}

static u64 verify(struct kunit *test, struct quarry_core_heap *heap)
{
	struct quarry_core_audit audit = {};

	quarry_core_heap_verify(heap, 1, &audit);
	KUNIT_EXPECT_EQ_MSG(test, audit.faults, (u64)0, "at %#llx: %s", audit.first_offset,
			    audit.first);
	return audit.objects;
}

static void each_size_fills_a_heap_and_leaves_it_whole(struct kunit *test)
{
	u32 room = 32 * PAGE_SIZE / 8 + 1, n, i;
	unsigned long *taken = quarry_kunit_memory(test, BITS_TO_LONGS(room) * sizeof(long));
	u64 *offsets = quarry_kunit_memory(test, room * sizeof(*offsets)), size, usable, whole;
	struct quarry_core_heap *heap = make_heap(test, 32);
	int err, bad = 0;

	for (size = 8; size <= 3 * PAGE_SIZE && !bad; size += size < 256 ? 8 : 248) {
		bitmap_zero(taken, room);
		for (n = 0; !(err = take(heap, size, &offsets[n], QUARRY_MAY_SLEEP)); n++) {
			u32 first = offsets[n] / 8, words;

			usable = quarry_core_heap_usable(heap, offsets[n]);
			words = usable / 8;
			if (usable < size || find_next_bit(taken, first + words, first) < first + words) {
				KUNIT_FAIL(test, "size %llu: offset %#llx overlaps", size, offsets[n]);
				bad = 1;
				break;
			}
			bitmap_set(taken, first, words);
		}
		KUNIT_EXPECT_EQ(test, err, bad ? 0 : (int)QUARRY_E_POOL_FULL);
		KUNIT_EXPECT_GE(test, n * (size > 2048 ? PAGE_ALIGN(size) : size) * 100,
				32 * PAGE_SIZE * 70);
		for (i = 0; i < n; i++)
			bad |= quarry_core_heap_free(heap, offsets[i]);
		KUNIT_EXPECT_EQ(test, bad, 0);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, verify(test, heap), (u64)0);
	quarry_core_heap_drain(heap);
	/* Nothing is stranded: the whole heap is one run again. */
	KUNIT_EXPECT_EQ(test, take(heap, 32 * PAGE_SIZE, &whole, QUARRY_MAY_SLEEP), 0);
	KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, whole), 0);
	quarry_core_heap_destroy(heap);
}

/* A free is refused whether the object is in a magazine, on its way home, or home. */
static void a_double_free_is_seen_wherever_the_object_is(struct kunit *test)
{
	struct quarry_core_heap *heap = make_heap(test, 64);
	unsigned int n, drained;
	u64 offsets[200], size;

	for (size = 8; size <= 2 * PAGE_SIZE; size *= 2) {
		for (drained = 0; drained < 2; drained++) {
			for (n = 0; n < ARRAY_SIZE(offsets); n++)
				if (take(heap, size, &offsets[n], QUARRY_MAY_SLEEP))
					break;
			while (n--) {
				int err = quarry_core_heap_free(heap, offsets[n]);

				if (!err && drained && n % 16 == 0)
					quarry_core_heap_drain(heap);
				KUNIT_EXPECT_EQ(test, err, 0);
				KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, offsets[n]),
						(int)QUARRY_E_ALREADY_FREE);
				KUNIT_EXPECT_EQ(test, quarry_core_heap_usable(heap, offsets[n]),
						(u64)0);
			}
			KUNIT_EXPECT_EQ(test, verify(test, heap), (u64)0);
		}
	}
	quarry_core_heap_destroy(heap);
}

static void wrong_offsets_and_sizes_are_refused_by_name(struct kunit *test)
{
	struct quarry_core_heap *heap = make_heap(test, 16);
	u64 object, at, size;

	for (size = 8; size <= 2048; size += 8) {
		KUNIT_EXPECT_EQ(test, take(heap, size, &object, QUARRY_MAY_SLEEP), 0);
		for (at = 1; at < size; at++) {
			int err = quarry_core_heap_free(heap, object + at);

			if (err != (at % 8 ? QUARRY_E_MISALIGNED : QUARRY_E_NOT_OBJECT)) {
				KUNIT_FAIL(test, "size %llu, %llu in: error %d", size, at, err);
				size = 4096;
				break;
			}
		}
		if (size > 8 && size <= 2048)
			KUNIT_EXPECT_EQ(test, quarry_core_heap_free_sized(heap, object, 4096),
					(int)QUARRY_E_WRONG_SIZE);
		KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, object), 0);
	}
	KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, 16 * PAGE_SIZE), (int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, U64_MAX - 7), (int)QUARRY_E_OUT_OF_RANGE);
	KUNIT_EXPECT_EQ(test, verify(test, heap), (u64)0);
	quarry_core_heap_destroy(heap);
}

/* ---- threads and interrupts ------------------------------------------------ */

struct worker {
	struct quarry_core_heap *heap;
	struct completion *start;
	struct completion over;
	struct task_struct *task;
	/* One object a place: who takes it out by xchg frees it. */
	u64 *places;
	unsigned int number;
	unsigned int rounds;
	unsigned long random;
	unsigned long frees;
	int wrong;
};

#define PLACES 512

static unsigned int draw(struct worker *w, unsigned int below)
{
	w->random = w->random * 6364136223846793005UL + 1442695040888963407UL;
	return (w->random >> 33) % below;
}

/* Allocates, puts it where anybody may take it, frees what was there: often another CPU's. */
static void swap_one(struct worker *w, enum quarry_context context)
{
	static const u64 sizes[] = { 8, 64, 64, 256, 2048, PAGE_SIZE };
	u64 offset = 0, old;
	int err;

	err = take(w->heap, sizes[draw(w, ARRAY_SIZE(sizes))], &offset, context);
	if (err && err != QUARRY_E_POOL_FULL && err != QUARRY_E_NO_MEMORY)
		w->wrong = err;
	/* Offset 0 is an object too. */
	old = xchg(&w->places[draw(w, PLACES)], err ? 0 : offset + 1);
	if (!old)
		return;
	err = quarry_core_heap_free(w->heap, old - 1);
	if (err)
		w->wrong = -err;
	w->frees++;
}

static struct worker in_interrupt_worker;
static struct irq_work interrupt;
static unsigned int interrupts;
#define ENOUGH_INTERRUPTS 20

static int swap_many(void *data)
{
	struct worker *w = data;
	unsigned int i;

	wait_for_completion(w->start);
	for (i = 0; (i < w->rounds || READ_ONCE(interrupts) < ENOUGH_INTERRUPTS) && !w->wrong; i++) {
		/* On its own CPU, at the next tick: in the middle of whatever runs there. */
		if (!w->number && i % 64 == 0)
			irq_work_queue(&interrupt);
		swap_one(w, i % 8 ? QUARRY_MAY_SLEEP : QUARRY_ATOMIC);
		cond_resched();
	}
	complete(&w->over);
	while (!kthread_should_stop()) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

static void from_interrupt(struct irq_work *work)
{
	int i;

	interrupts++;
	for (i = 0; i < 64; i++)
		swap_one(&in_interrupt_worker, QUARRY_ATOMIC);
}

static void objects_freed_on_other_cpus_and_in_interrupts_come_home(struct kunit *test)
{
	unsigned int i, n = 2 * num_online_cpus();
	struct worker *w = quarry_kunit_memory(test, n * sizeof(*w));
	u64 *places = quarry_kunit_memory(test, PLACES * sizeof(*places));
	struct quarry_core_heap *heap = make_heap(test, 256);
	struct completion start;
	u64 live = 0;

	init_completion(&start);
	in_interrupt_worker = (struct worker){ .heap = heap, .places = places, .random = 99 };
	init_irq_work(&interrupt, from_interrupt);
	interrupts = 0;
	for (i = 0; i < n; i++) {
		w[i].heap = heap;
		w[i].places = places;
		w[i].start = &start;
		w[i].number = i;
		w[i].rounds = 100000;
		w[i].random = i;
		init_completion(&w[i].over);
		w[i].task = kthread_create(swap_many, &w[i], "quarry_heap/%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(w[i].task));
		kthread_bind(w[i].task, i % num_online_cpus());
		wake_up_process(w[i].task);
	}
	complete_all(&start);
	for (i = 0; i < n; i++) {
		while (!wait_for_completion_timeout(&w[i].over, 1))
			quarry_core_heap_drain(heap);
	}
	irq_work_sync(&interrupt);
	for (i = 0; i < n; i++) {
		kthread_stop(w[i].task);
		KUNIT_EXPECT_EQ_MSG(test, w[i].wrong, 0, "thread %u", i);
	}
	KUNIT_EXPECT_EQ(test, in_interrupt_worker.wrong, 0);
	KUNIT_EXPECT_GE(test, interrupts, (unsigned int)ENOUGH_INTERRUPTS);
	KUNIT_EXPECT_GT(test, in_interrupt_worker.frees, 100UL);
	for (i = 0; i < PLACES; i++)
		live += !!places[i];
	KUNIT_EXPECT_EQ(test, verify(test, heap), live);
	for (i = 0; i < PLACES; i++)
		if (places[i])
			KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, places[i] - 1), 0);
	KUNIT_EXPECT_EQ(test, verify(test, heap), (u64)0);
	kunit_info(test, "measured: %u threads of 100000 swaps, %u interrupts, %lu frees in them\n", n,
		   interrupts, in_interrupt_worker.frees);
	quarry_core_heap_destroy(heap);
}

/* Law 7: what every CPU's magazines hold serves a caller on any CPU before POOL_FULL. */
static int empty_here(void *data)
{
	struct worker *w = data;
	unsigned int i;

	wait_for_completion(w->start);
	for (i = 0; i < PLACES; i++)
		if (w->places[i] && quarry_core_heap_free(w->heap, w->places[i] - 1))
			w->wrong = 1;
	complete(&w->over);
	while (!kthread_should_stop()) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

static void what_other_cpus_cache_is_not_stranded(struct kunit *test)
{
	static const u64 sizes[] = { 8, 64, 512, 2048, PAGE_SIZE };
	struct worker *w = quarry_kunit_memory(test, sizeof(*w));
	u64 *places = quarry_kunit_memory(test, PLACES * sizeof(*places)), whole;
	struct quarry_core_heap *heap = make_heap(test, 16);
	struct completion start;
	unsigned int i, n, cpu;

	for (cpu = 0; cpu < num_online_cpus(); cpu++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			memset(w, 0, sizeof(*w));
			memset(places, 0, PLACES * sizeof(*places));
			for (n = 0; n < PLACES; n++) {
				if (take(heap, sizes[i], &places[n], QUARRY_MAY_SLEEP))
					break;
				places[n]++;
			}
			init_completion(&start);
			init_completion(&w->over);
			w->heap = heap;
			w->places = places;
			w->start = &start;
			if (n < PLACES)
				places[n] = 0;
			w->task = kthread_create(empty_here, w, "quarry_heap");
			KUNIT_ASSERT_FALSE(test, IS_ERR(w->task));
			kthread_bind(w->task, cpu);
			wake_up_process(w->task);
			complete_all(&start);
			wait_for_completion(&w->over);
			kthread_stop(w->task);
			KUNIT_EXPECT_EQ(test, w->wrong, 0);
			KUNIT_EXPECT_EQ_MSG(test,
					    take(heap, 16 * PAGE_SIZE, &whole, QUARRY_MAY_SLEEP), 0,
					    "size %llu is stranded on CPU %u", sizes[i], cpu);
			KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, whole), 0);
		}
	}
	KUNIT_EXPECT_EQ(test, verify(test, heap), (u64)0);
	quarry_core_heap_destroy(heap);
}

static void making_and_using_a_heap_survives_each_refusal(struct kunit *test)
{
	struct quarry_watch_counts before, after;
	struct quarry_core_heap *heap;
	unsigned int nth, failed = 0;
	u64 *offsets = quarry_kunit_memory(test, 300 * sizeof(*offsets));
	u32 n;
	int err;

	for (nth = 1; nth < 500; nth++) {
		quarry_watch_read(&before);
		quarry_watch_refuse(nth, nth % 2);
		heap = NULL;
		n = 0;
		err = quarry_core_heap_create(64, NULL, 0, &heap);
		if (!err)
			err = quarry_core_heap_add_region(heap, 0, 64, QUARRY_CORE_NORMAL);
		for (; !err && n < 300; n++) {
			err = take(heap, 64 << (n / 60), &offsets[n],
				   n % 3 ? QUARRY_MAY_SLEEP : QUARRY_ATOMIC);
			if (err)
				break;
		}
		quarry_watch_refuse(0, false);
		quarry_watch_read(&after);
		if (err) {
			KUNIT_EXPECT_EQ(test, err, (int)QUARRY_E_NO_MEMORY);
			failed++;
		}
		if (heap) {
			KUNIT_EXPECT_EQ(test, verify(test, heap), (u64)n);
			while (n--)
				KUNIT_EXPECT_EQ(test, quarry_core_heap_free(heap, offsets[n]), 0);
			quarry_core_heap_destroy(heap);
		}
		quarry_watch_read(&after);
		KUNIT_ASSERT_EQ(test, after.blocks, (s64)0);
		if (after.refused == before.refused)
			break;
	}
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_LT(test, nth, 500U);
	kunit_info(test, "measured: %u requests refused in turn, %u ended with no memory\n", nth - 1,
		   failed);
}

struct holder {
	struct quarry_core_heap *heap;
	u64 offsets[400];
	int err;
};

/* Leaves a full magazine of each of some classes to the CPU that this runs on. */
static long fill_magazines(void *data)
{
	static const u64 sizes[] = { 8, 16, 64, 256, 2048 };
	struct holder *h = data;
	unsigned int s, i, n;

	for (s = 0; s < ARRAY_SIZE(sizes) && !h->err; s++) {
		n = sizes[s] <= 64 ? ARRAY_SIZE(h->offsets) : 16;
		for (i = 0; i < n && !h->err; i++)
			h->err = take(h->heap, sizes[s], &h->offsets[i], QUARRY_MAY_SLEEP);
		while (i-- && !h->err)
			h->err = quarry_core_heap_free(h->heap, h->offsets[i]);
	}
	return 0;
}

/* CPUs are looked at side by side: each entry is counted all the same. */
static void an_audit_counts_what_every_cpu_holds(struct kunit *test)
{
	struct quarry_core_heap *heap = make_heap(test, 1024);
	struct holder *h;
	unsigned int cpu, i;

	for_each_online_cpu(cpu) {
		h = quarry_kunit_memory(test, sizeof(*h));
		h->heap = heap;
		KUNIT_ASSERT_EQ(test, work_on_cpu(cpu, fill_magazines, h), 0L);
		KUNIT_ASSERT_EQ(test, h->err, 0);
	}
	for (i = 0; i < 200; i++)
		if (verify(test, heap))
			break;
	KUNIT_EXPECT_EQ(test, i, 200u);
	quarry_core_heap_destroy(heap);
}

static struct kunit_case heap_cases[] = {
	KUNIT_CASE(each_size_fills_a_heap_and_leaves_it_whole),
	KUNIT_CASE(a_double_free_is_seen_wherever_the_object_is),
	KUNIT_CASE(wrong_offsets_and_sizes_are_refused_by_name),
	KUNIT_CASE(objects_freed_on_other_cpus_and_in_interrupts_come_home),
	KUNIT_CASE(what_other_cpus_cache_is_not_stranded),
	KUNIT_CASE(an_audit_counts_what_every_cpu_holds),
	KUNIT_CASE(making_and_using_a_heap_survives_each_refusal),
	{}
};

QUARRY_KUNIT_SUITE(quarry_heap, heap_cases);
