/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What all suites share: the switches of the runner, and the watch on the hooks.
 *
 * In a build with QUARRY_KUNIT=1 the linker puts quarry_watch_* (watch.c, part
 * of quarry.ko) before the shim's hooks. The core and the shim are the ones
 * that ship, byte for byte; the watch counts what passes and, when a case asks
 * for it, refuses.
 */
#ifndef QUARRY_KUNIT_H
#define QUARRY_KUNIT_H

#include <kunit/test.h>
#include "../module/client.h"
#include "../module/pool.h"

/* The runner's switches (switches.c): parameters of quarry.ko, which is loaded by then. */
bool quarry_watch_planted(const char *kind);
bool quarry_watch_filtered(const char *suite, const char *test);

/**
 * struct quarry_watch_counts - what passed the hooks since the case began
 * @blocks: metadata blocks taken and not given back
 * @bytes: their bytes, as they were asked for
 * @asked: calls of meta_alloc by the watched task
 * @refused: of those, refused by the watch
 * @locks: locks taken
 * @breaths: calls of breathe
 * @zeroed: bytes that the core had zeroed
 * @corruptions: reports
 * @order_faults: locks taken against the ranks, or two of one rank
 * @context_faults: metadata taken or a breath drawn under a lock; magazines of clients
 *	touched from an interrupt, from reclaim or under a lock; a lock, memory or a breath
 *	while they are
 * @longest_hold_ns: longest time that one lock was held, while timing is on
 */
struct quarry_watch_counts {
	s64 blocks;
	s64 bytes;
	s64 asked;
	s64 refused;
	s64 locks;
	s64 breaths;
	s64 zeroed;
	s64 corruptions;
	s64 order_faults;
	s64 context_faults;
	u64 longest_hold_ns;
};

void quarry_watch_reset(void);
/* What was brought about by intent: as if these context faults had not been. */
void quarry_watch_forgive(s64 context_faults);
void quarry_watch_read(struct quarry_watch_counts *counts);
/* The block of metadata that was taken last, and its bytes as they were asked for. */
void *quarry_watch_last_block(size_t *bytes);
/* Refuse the calling task's @nth request for metadata from now on (1: the next); 0: none. */
void quarry_watch_refuse(unsigned int nth, bool all_later);
/* Time every hold of a lock of the core. */
void quarry_watch_time(bool on);
/* Call @step after each unlock and at each breath of the calling task; NULL: no more. */
void quarry_watch_steps(void (*step)(void *context), void *context);

/* The hooks, as the core reaches them: through the watch. */
struct quarry_watch_hooks {
	typeof(quarry_os_meta_alloc) *meta_alloc;
	typeof(quarry_os_meta_free) *meta_free;
	typeof(quarry_os_meta_retire) *meta_retire;
	typeof(quarry_os_after_readers) *after_readers;
	typeof(quarry_os_lock_init) *lock_init;
	typeof(quarry_os_lock_fini) *lock_fini;
	typeof(quarry_os_lock) *lock;
	typeof(quarry_os_unlock) *unlock;
	typeof(quarry_os_read_enter) *read_enter;
	typeof(quarry_os_read_leave) *read_leave;
	typeof(quarry_os_pin) *pin;
	typeof(quarry_os_unpin) *unpin;
	typeof(quarry_os_cpus) *cpus;
	typeof(quarry_os_cpu) *cpu;
	typeof(quarry_os_breathe) *breathe;
	typeof(quarry_os_ns) *ns;
	typeof(quarry_os_zero) *zero;
	typeof(quarry_os_corruption) *corruption;
};

extern const struct quarry_watch_hooks quarry_watch_hooks;

/* Before and after each case: the filter; watch off; nothing left, nothing against the rules. */
int quarry_kunit_init(struct kunit *test, const char *suite);
void quarry_kunit_exit(struct kunit *test);
/* The case that runs brings about @reports of corruption by intent. */
void quarry_kunit_expect_corruptions(unsigned int reports);

/*
 * Pools and clients of a case; quarry_kunit_exit() ends what is left of them.
 * Clients are the kernel's own (no mm), and connected without a mapping.
 */
struct quarry_pool *quarry_kunit_heap(struct kunit *test, u64 bytes, u64 max_bytes);
struct quarry_pool *quarry_kunit_fixed(struct kunit *test, u64 size, u64 count);
struct quarry_pool *quarry_kunit_ranges(struct kunit *test, u64 capacity, u64 granule,
					u64 max_ranges);
struct quarry_client *quarry_kunit_client(struct kunit *test, struct quarry_pool *pool);
void quarry_kunit_end_client(struct kunit *test, struct quarry_client *client);
void quarry_kunit_end_pool(struct kunit *test, struct quarry_pool *pool);
/* Memory for a case, freed after it. */
void *quarry_kunit_memory(struct kunit *test, size_t bytes);

/* The audit of a pool that nothing else uses finds no fault; returns the objects it counted. */
u64 quarry_kunit_verify(struct kunit *test, struct quarry_pool *pool);
/* Core calls for one object, without growth. */
int quarry_kunit_take(struct quarry_client *client, u64 size, u64 align, u64 *offset);
int quarry_kunit_give(struct quarry_client *client, u64 offset);

/*
 * The mm of the task that loads the suites, and that waits for them: a case calls
 * from it as a program does. Answers the address of a page of its own to call from;
 * the page behind it is not there.
 */
u64 quarry_kunit_borrow(struct kunit *test);
void quarry_kunit_give_back(struct kunit *test, u64 at);
int quarry_kunit_suite_init(struct kunit_suite *suite);

/* Declares and registers the one suite of a file, of the cases in `case_array`. */
#define QUARRY_KUNIT_SUITE(suite_name, case_array)				\
	static int suite_name##_case_init(struct kunit *test)			\
	{									\
		return quarry_kunit_init(test, #suite_name);			\
	}									\
	static struct kunit_suite suite_name = {				\
		.name = #suite_name,						\
		.suite_init = quarry_kunit_suite_init,				\
		.init = suite_name##_case_init,					\
		.exit = quarry_kunit_exit,					\
		.test_cases = case_array,					\
	};									\
	kunit_test_suite(suite_name)

static inline int quarry_client_transfer(struct quarry_client *from, u64 to_id, const u64 *offsets,
					 u32 count, u32 *done, struct quarry_blame *blame)
{
	return quarry_client_hand(from, to_id, quarry_core_transfer, offsets, count, done, blame);
}

#endif /* QUARRY_KUNIT_H */
