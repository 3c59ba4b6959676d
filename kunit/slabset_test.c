// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * SlabSet, the slabs of whoever brings his own pages, as the kernel compiles it:
 * every class, every offset of a slab, every order of freeing, every short
 * history, and frees from another CPU.
 */
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/workqueue.h>
#include "core_types.h"
#include "quarry_kunit.h"

#define hooks quarry_watch_hooks

/* Nobody maps these: the core reads no byte of them. */
#define FIRST 64
#define PAGES 64

struct set {
	struct quarry_slabset *set;
	u64 next;
};

static void begin(struct kunit *test, struct set *set)
{
	void *map = quarry_kunit_memory(test, quarry_slabset_map_bytes(PAGES));
	void *memory = quarry_kunit_memory(test, quarry_slabset_bytes());

	/* Slabs are a CPU's own. */
	migrate_disable();
	set->set = quarry_slabset_create(memory, FIRST, PAGES, map);
	set->next = FIRST;
}

static void end(struct set *set)
{
	quarry_slabset_end(set->set);
	migrate_enable();
}

/* A slab of this class at the next place, from the hook for metadata. */
static void add(struct kunit *test, struct set *set, u32 c, u64 pages, u64 meta_bytes)
{
	void *meta = hooks.meta_alloc(meta_bytes, QUARRY_MAY_SLEEP);

	KUNIT_ASSERT_NOT_NULL(test, meta);
	if (set->next + pages > FIRST + PAGES)
		set->next = FIRST;
	set->next = ALIGN(set->next, pages);
	KUNIT_ASSERT_EQ(test, quarry_slabset_add(set->set, c, set->next, meta), 0);
	set->next += pages;
}

/* An object, with the slab that it may take. */
static u64 take(struct kunit *test, struct set *set, u64 size)
{
	struct quarry_slabset_answer answer;

	KUNIT_ASSERT_EQ(test, quarry_slabset_alloc(set->set, size, 8, &answer), 0);
	if (answer.pages) {
		add(test, set, answer.size_class, answer.pages, answer.meta_bytes);
		KUNIT_ASSERT_EQ(test, quarry_slabset_alloc(set->set, size, 8, &answer), 0);
	}
	KUNIT_ASSERT_EQ(test, answer.pages, (u64)0);
	return answer.offset;
}

static void drop(const struct quarry_slabset_freed *freed)
{
	hooks.meta_free(freed->meta, freed->meta_bytes);
}

/* Frees; true when its slab was handed back. */
static bool give(struct kunit *test, struct set *set, u64 offset)
{
	struct quarry_slabset_freed freed;

	KUNIT_ASSERT_EQ_MSG(test, quarry_slabset_free(set->set, offset, &freed), 0, "%#llx",
			    offset);
	if (freed.empty)
		drop(&freed);
	return freed.empty;
}

/* Takes the empty slabs of a class; answers how many there were. */
static unsigned int sweep(struct set *set, u32 c)
{
	struct quarry_slabset_freed freed;
	unsigned int n = 0;

	for (;; n++) {
		quarry_slabset_take_empty(set->set, c, &freed);
		if (!freed.empty)
			return n;
		drop(&freed);
	}
}

/* Of a slab with every other slot live, for each class: each byte gets its own answer. */
static void each_offset_of_a_slab_of_each_class_has_one_right_answer(struct kunit *test)
{
	unsigned long *live = quarry_kunit_memory(test, BITS_TO_LONGS(32768) * sizeof(long));
	u64 *offsets = quarry_kunit_memory(test, 4096 * sizeof(*offsets));
	struct quarry_slabset_freed freed;
	u32 c, size, slots, i, owner;
	u64 pages, at, base, bytes;
	struct set set;
	int err;

	begin(test, &set);
	for (c = 0; (slots = quarry_slabset_class(c, &size, &pages)); c++) {
		KUNIT_ASSERT_LE(test, slots, 4096U);
		bitmap_zero(live, 32768);
		for (i = 0; i < slots; i++) {
			offsets[i] = take(test, &set, size);
			at = offsets[i] % (pages << 12);
			KUNIT_ASSERT_EQ(test, at % 8, (u64)0);
			KUNIT_ASSERT_FALSE(test, test_and_set_bit(at, live));
			/* They do not overlap, and are all of one slab. */
			KUNIT_ASSERT_EQ(test, offsets[i] / (pages << 12),
					offsets[0] / (pages << 12));
			KUNIT_ASSERT_EQ(test, at % size, (u64)0);
		}
		for (i = 0; i < slots; i += 2) {
			KUNIT_ASSERT_FALSE(test, give(test, &set, offsets[i]));
			clear_bit(offsets[i] % (pages << 12), live);
		}
		base = offsets[0] - offsets[0] % (pages << 12);
		for (at = 0, bytes = pages << 12; at < bytes; at++) {
			int expected = QUARRY_E_NOT_OBJECT;

			if (at % 8)
				expected = QUARRY_E_MISALIGNED;
			else if (at % size == 0 && at / size < slots)
				expected = test_bit(at, live) ? QUARRY_E_WRONG_SIZE :
								QUARRY_E_ALREADY_FREE;
			/* A size that no object here has: what is live stays. */
			err = quarry_slabset_free_sized(set.set, base + at, 2 * size + 8, &freed);
			if (expected == QUARRY_E_ALREADY_FREE) {
				/* The size is looked at first. */
				KUNIT_ASSERT_EQ(test, err, (int)QUARRY_E_WRONG_SIZE);
				err = quarry_slabset_free(set.set, base + at, &freed);
			}
			KUNIT_ASSERT_EQ_MSG(test, err, expected, "%u at %llu", size, at);
			if (!test_bit(at, live)) {
				err = quarry_slabset_owner(set.set, base + at, &owner);
				KUNIT_ASSERT_EQ(test, err, at % 8 ? (int)QUARRY_E_MISALIGNED : 0);
			}
		}
		for (i = 1; i < slots; i += 2) {
			KUNIT_ASSERT_EQ(test, quarry_slabset_free_sized(set.set, offsets[i], size,
									&freed), 0);
			KUNIT_ASSERT_EQ(test, freed.empty, 0);
		}
		/* The only one of its class is kept until it is asked for. */
		KUNIT_ASSERT_EQ(test, sweep(&set, c), 1U);
		KUNIT_ASSERT_EQ(test, quarry_slabset_free(set.set, base, &freed),
				(int)QUARRY_E_NO_REGION);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, c, 48U);
	end(&set);
}

#define FEW 3			/* live in each of two slabs */

/*
 * Two slabs with three live objects each, freed in each of the 720 orders: the one
 * that empties first is handed back then, and only then; the other one stays.
 */
static void slabs_empty_in_every_order_and_one_is_handed_back(struct kunit *test)
{
	u32 c = 47, size, slots = quarry_slabset_class(47, &size, &(u64){0});
	u64 *offsets = quarry_kunit_memory(test, 2 * slots * sizeof(*offsets));
	u32 order, i, j, k, rest, left[2 * FEW], gone[2], n;
	struct quarry_slabset_freed freed;
	u64 kept[2 * FEW];
	bool handed;
	struct set set;

	begin(test, &set);
	for (order = 0; order < 720; order++) {
		for (i = 0; i < 2 * slots; i++)
			offsets[i] = take(test, &set, size);
		for (i = 0; i < 2 * slots; i++) {
			/* The last three of each slab stay. */
			if (i % slots < slots - FEW)
				KUNIT_ASSERT_FALSE(test, give(test, &set, offsets[i]));
			else
				kept[i / slots * FEW + i % slots - (slots - FEW)] = offsets[i];
		}
		for (i = 0; i < 2 * FEW; i++)
			left[i] = i;
		handed = false;
		gone[0] = 0;
		gone[1] = 0;
		for (i = 0, rest = order, n = 2 * FEW; i < 2 * FEW; i++, n--) {
			j = rest % n;
			rest /= n;
			k = left[j];
			gone[k / FEW]++;
			KUNIT_ASSERT_EQ(test, give(test, &set, kept[k]),
					!handed && gone[k / FEW] == FEW);
			if (gone[k / FEW] == FEW && !handed) {
				handed = true;
				KUNIT_ASSERT_EQ(test, quarry_slabset_free(set.set, kept[k], &freed),
						(int)QUARRY_E_NO_REGION);
			} else {
				KUNIT_ASSERT_EQ(test, quarry_slabset_free(set.set, kept[k], &freed),
						(int)QUARRY_E_ALREADY_FREE);
			}
			for (k = j; k + 1 < n; k++)
				left[k] = left[k + 1];
		}
		KUNIT_ASSERT_EQ(test, sweep(&set, c), 1U);
		if (order % 64 == 0)
			cond_resched();
	}
	end(&set);
}

#define TRACKED 4
#define DEPTH 7

/*
 * Every history of seven steps that begins with a slab two slots short of full:
 * allocate, free one of four (or find that it is free), sweep. Room, slabs and
 * answers are counted beside it.
 */
static void every_short_history_fits_the_model(struct kunit *test)
{
	u32 c = 47, size, slots, history[DEPTH] = {}, i, n, steps = TRACKED + 2;
	u64 pages, fill[64], tracked[TRACKED];
	struct quarry_slabset_answer answer;
	struct quarry_slabset_freed freed;
	unsigned long played = 0;
	int err, expected;
	struct set set;

	slots = quarry_slabset_class(c, &size, &pages);
	KUNIT_ASSERT_LE(test, slots, 64U);
	begin(test, &set);
	for (;;) {
		/* Live in the first slab and in a second one; none: it is not there. */
		u32 live[2] = { slots - 2, 0 };
		bool there[2] = { true, false };
		u64 base;

		memset(tracked, 0, sizeof(tracked));
		for (i = 0; i < slots - 2; i++)
			fill[i] = take(test, &set, size);
		base = fill[0] / (pages << 12);
		for (n = 0; n < DEPTH; n++) {
			u32 step = history[n];

			if (step == TRACKED) {
				u32 room = (there[0] ? slots - live[0] : 0) +
					   (there[1] ? slots - live[1] : 0);

				for (i = 0; i < TRACKED && tracked[i]; i++)
					;
				if (i == TRACKED)
					continue;
				err = quarry_slabset_alloc(set.set, size, 8, &answer);
				KUNIT_ASSERT_EQ(test, err, 0);
				KUNIT_ASSERT_EQ(test, !!answer.pages, !room);
				if (answer.pages) {
					add(test, &set, c, answer.pages, answer.meta_bytes);
					there[1] = true;
					KUNIT_ASSERT_EQ(test, quarry_slabset_alloc(set.set, size, 8,
										   &answer), 0);
				}
				tracked[i] = answer.offset;
				live[tracked[i] / (pages << 12) != base]++;
			} else if (step < TRACKED) {
				u32 slab = tracked[step] / (pages << 12) != base;
				bool other = there[!slab] && live[!slab] < slots;

				if (!tracked[step])
					continue;
				err = quarry_slabset_free(set.set, tracked[step], &freed);
				KUNIT_ASSERT_EQ(test, err, 0);
				live[slab]--;
				KUNIT_ASSERT_EQ(test, freed.empty, (int)(!live[slab] && other));
				if (freed.empty) {
					drop(&freed);
					there[slab] = false;
				}
				err = quarry_slabset_free(set.set, tracked[step], &freed);
				expected = there[slab] ? QUARRY_E_ALREADY_FREE : QUARRY_E_NO_REGION;
				KUNIT_ASSERT_EQ(test, err, expected);
				tracked[step] = 0;
			} else {
				u32 empty = (there[1] && !live[1]) + (there[0] && !live[0]);

				KUNIT_ASSERT_EQ(test, sweep(&set, c), empty);
				there[1] = there[1] && live[1];
			}
		}
		for (i = 0; i < TRACKED; i++)
			if (tracked[i])
				give(test, &set, tracked[i]);
		for (i = 0; i < slots - 2; i++)
			give(test, &set, fill[i]);
		KUNIT_ASSERT_LE(test, sweep(&set, c), 1U);
		if (++played % 1024 == 0)
			cond_resched();
		for (i = DEPTH; i-- > 0;) {
			if (++history[i] < steps)
				break;
			history[i] = 0;
		}
		/* The first step is an allocation: nothing else does anything then. */
		if (i >= DEPTH)
			break;
		if (history[0] < TRACKED)
			history[0] = TRACKED;
		if (history[0] > TRACKED)
			break;
	}
	kunit_info(test, "measured: %lu histories of %d steps\n", played, DEPTH);
	end(&set);
}

struct elsewhere {
	struct quarry_slabset *set;
	u64 *offsets;
	u32 count;
	u32 size;
	u32 owner;
	int wrong;
};

/* On another CPU: its own slabs do not serve, and what it frees goes to the owner. */
static long free_elsewhere(void *argument)
{
	struct elsewhere *e = argument;
	struct quarry_slabset_answer answer;
	struct quarry_slabset_freed freed;
	u32 i, owner;

	e->wrong += quarry_slabset_alloc(e->set, e->size, 8, &answer) || !answer.pages;
	for (i = 0; i < e->count; i++) {
		e->wrong += quarry_slabset_owner(e->set, e->offsets[i], &owner) ||
			    owner != e->owner;
		e->wrong += quarry_slabset_free(e->set, e->offsets[i], &freed) || freed.empty;
		e->wrong += quarry_slabset_free(e->set, e->offsets[i], &freed) !=
			    QUARRY_E_ALREADY_FREE;
	}
	return 0;
}

/* For each class: a CPU fills a slab, another frees all of it, the owner finds it again. */
static void what_another_cpu_frees_comes_home_to_the_owner(struct kunit *test)
{
	u64 *offsets = quarry_kunit_memory(test, 4096 * sizeof(*offsets)), pages;
	unsigned int here, cpu;
	u32 c, size, slots, i;
	struct set set;
	int err;

	begin(test, &set);
	here = hooks.cpu();
	for_each_online_cpu(cpu) {
		if (cpu % QUARRY_SLABSET_CPUS == here % QUARRY_SLABSET_CPUS)
			continue;
		for (c = 0; (slots = quarry_slabset_class(c, &size, &pages)); c++) {
			struct elsewhere e = {
				.set = set.set, .offsets = offsets, .count = slots, .size = size,
				.owner = here % QUARRY_SLABSET_CPUS,
			};

			for (i = 0; i < slots; i++)
				offsets[i] = take(test, &set, size);
			work_on_cpu(cpu, free_elsewhere, &e);
			KUNIT_ASSERT_EQ_MSG(test, e.wrong, 0, "size %u", size);
			/* Not lost: all of them can be had again without another slab. */
			for (i = 0; i < slots; i++) {
				struct quarry_slabset_answer answer;

				err = quarry_slabset_alloc(set.set, size, 8, &answer);
				KUNIT_ASSERT_EQ(test, err, 0);
				KUNIT_ASSERT_EQ(test, answer.pages, (u64)0);
				offsets[i] = answer.offset;
			}
			work_on_cpu(cpu, free_elsewhere, &e);
			KUNIT_ASSERT_EQ(test, e.wrong, 0);
			KUNIT_ASSERT_EQ(test, sweep(&set, c), 1U);
		}
	}
	end(&set);
}

/* What cannot be a slab, or an allocation, is its own error and changes nothing. */
static void every_wrong_slab_and_size_is_its_own_error(struct kunit *test)
{
	u32 c, size, slots;
	struct quarry_slabset_answer answer;
	void *meta = hooks.meta_alloc(8192, QUARRY_MAY_SLEEP);
	u64 pages, at;
	struct set set;

	KUNIT_ASSERT_NOT_NULL(test, meta);
	begin(test, &set);
	for (c = 0; (slots = quarry_slabset_class(c, &size, &pages)); c++) {
		KUNIT_EXPECT_EQ(test, quarry_slabset_add(set.set, c, FIRST, NULL),
				(int)QUARRY_E_INVALID);
		for (at = FIRST - 2 * pages; at < FIRST + PAGES + 2 * pages; at++) {
			bool inside = at >= FIRST && at + pages <= FIRST + PAGES;

			if (inside && at % pages == 0)
				continue;
			KUNIT_ASSERT_EQ(test, quarry_slabset_add(set.set, c, at, meta),
					inside ? (int)QUARRY_E_MISALIGNED :
						 (int)QUARRY_E_OUT_OF_RANGE);
		}
		take(test, &set, size);
		KUNIT_EXPECT_EQ(test, quarry_slabset_add(set.set, c, set.next - pages, meta),
				(int)QUARRY_E_OVERLAP);
		/* The class's slab is the pool's only one in the next round. */
		KUNIT_ASSERT_FALSE(test, give(test, &set, (set.next - pages) << 12));
		KUNIT_ASSERT_EQ(test, sweep(&set, c), 1U);
		set.next = FIRST;
	}
	KUNIT_EXPECT_EQ(test, quarry_slabset_add(set.set, c, FIRST, meta), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_slabset_alloc(set.set, 0, 8, &answer), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_slabset_alloc(set.set, 8, 24, &answer), (int)QUARRY_E_INVALID);
	KUNIT_EXPECT_EQ(test, quarry_slabset_alloc(set.set, 2049, 8, &answer),
			(int)QUARRY_E_TOO_LARGE);
	KUNIT_EXPECT_EQ(test, quarry_slabset_alloc(set.set, 8, 4096, &answer),
			(int)QUARRY_E_TOO_LARGE);
	hooks.meta_free(meta, 8192);
	end(&set);
}

static struct kunit_case slabset_cases[] = {
	KUNIT_CASE(each_offset_of_a_slab_of_each_class_has_one_right_answer),
	KUNIT_CASE(slabs_empty_in_every_order_and_one_is_handed_back),
	KUNIT_CASE(every_short_history_fits_the_model),
	KUNIT_CASE(what_another_cpu_frees_comes_home_to_the_owner),
	KUNIT_CASE(every_wrong_slab_and_size_is_its_own_error),
	{}
};

QUARRY_KUNIT_SUITE(quarry_slabset, slabset_cases);
