// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The watch on the hooks: what the core asks of the kernel passes here first,
 * in a build with QUARRY_KUNIT=1 (the linker's --wrap; see Kbuild.include).
 *
 * It counts, checks the order of the locks on every kernel (lockdep does only
 * where it is built in), and refuses metadata when a case asks for it. The real
 * hook does the work in every other case.
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include "quarry_kunit.h"

/* ---- counts --------------------------------------------------------------- */

static struct {
	atomic64_t blocks, bytes, asked, refused, locks, breaths, zeroed, corruptions;
	atomic64_t order_faults, context_faults, longest_hold;
} counts;

/* What one task asked for; it alone reads and writes it. */
static struct {
	struct task_struct *task;
	unsigned int countdown;
	bool all_later;
	struct task_struct *stepper;
	void (*step)(void *context);
	void *context;
} orders;

static bool timing;

void quarry_watch_reset(void)
{
	memset(&orders, 0, sizeof(orders));
	WRITE_ONCE(timing, false);
	atomic64_set(&counts.blocks, 0);
	atomic64_set(&counts.bytes, 0);
	atomic64_set(&counts.asked, 0);
	atomic64_set(&counts.refused, 0);
	atomic64_set(&counts.locks, 0);
	atomic64_set(&counts.breaths, 0);
	atomic64_set(&counts.zeroed, 0);
	atomic64_set(&counts.corruptions, 0);
	atomic64_set(&counts.order_faults, 0);
	atomic64_set(&counts.context_faults, 0);
	atomic64_set(&counts.longest_hold, 0);
}
EXPORT_SYMBOL_GPL(quarry_watch_reset);

void quarry_watch_forgive(s64 context_faults)
{
	atomic64_sub(context_faults, &counts.context_faults);
}
EXPORT_SYMBOL_GPL(quarry_watch_forgive);

void quarry_watch_read(struct quarry_watch_counts *out)
{
	*out = (struct quarry_watch_counts){
		.blocks = atomic64_read(&counts.blocks),
		.bytes = atomic64_read(&counts.bytes),
		.asked = atomic64_read(&counts.asked),
		.refused = atomic64_read(&counts.refused),
		.locks = atomic64_read(&counts.locks),
		.breaths = atomic64_read(&counts.breaths),
		.zeroed = atomic64_read(&counts.zeroed),
		.corruptions = atomic64_read(&counts.corruptions),
		.order_faults = atomic64_read(&counts.order_faults),
		.context_faults = atomic64_read(&counts.context_faults),
		.longest_hold_ns = atomic64_read(&counts.longest_hold),
	};
}
EXPORT_SYMBOL_GPL(quarry_watch_read);

/* For cases that run alone. */
static struct {
	void *meta;
	size_t bytes;
} last_block;

void *quarry_watch_last_block(size_t *bytes)
{
	*bytes = last_block.bytes;
	return last_block.meta;
}
EXPORT_SYMBOL_GPL(quarry_watch_last_block);

void quarry_watch_refuse(unsigned int nth, bool all_later)
{
	orders.countdown = nth;
	orders.all_later = all_later;
	orders.task = nth ? current : NULL;
}
EXPORT_SYMBOL_GPL(quarry_watch_refuse);

void quarry_watch_time(bool on)
{
	WRITE_ONCE(timing, on);
}
EXPORT_SYMBOL_GPL(quarry_watch_time);

void quarry_watch_steps(void (*step)(void *context), void *context)
{
	orders.step = step;
	orders.context = context;
	orders.stepper = step ? current : NULL;
}
EXPORT_SYMBOL_GPL(quarry_watch_steps);

static void step(void)
{
	if (orders.stepper == current && !in_interrupt())
		orders.step(orders.context);
}

/* ---- locks ---------------------------------------------------------------- */

/* Which rank a lock was made with: open addressing, never nearly full. */
#define RANK_SLOTS 16384
#define GONE ((struct quarry_os_lock *)1)
static struct {
	struct quarry_os_lock *lock;
	enum quarry_lock_rank rank;
} ranks[RANK_SLOTS];
static DEFINE_RAW_SPINLOCK(ranks_lock);

/* Locks keep interrupts off, so what one CPU holds is a stack of its own. */
struct held {
	unsigned int depth;
	int rank[QUARRY_LOCK_RANKS + 2];
	u64 since[QUARRY_LOCK_RANKS + 2];
};

static DEFINE_PER_CPU(struct held, held_locks);

/* In an exclusive hold interrupts are off, so what is seen here is the caller's own. */
static DEFINE_PER_CPU(bool, exclusive);

static unsigned int slot_of(const struct quarry_os_lock *lock)
{
	return hash_ptr(lock, ilog2(RANK_SLOTS));
}

static int find_rank(const struct quarry_os_lock *lock)
{
	unsigned int i, at;

	for (i = 0, at = slot_of(lock); i < RANK_SLOTS; i++, at = (at + 1) % RANK_SLOTS) {
		const struct quarry_os_lock *there = READ_ONCE(ranks[at].lock);

		if (there == lock)
			return ranks[at].rank;
		if (!there)
			break;
	}
	return -1;
}

void __real_quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank);
void __wrap_quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank);
void __wrap_quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank)
{
	unsigned int i, at;
	unsigned long flags;

	raw_spin_lock_irqsave(&ranks_lock, flags);
	for (i = 0, at = slot_of(lock); i < RANK_SLOTS; i++, at = (at + 1) % RANK_SLOTS) {
		if (ranks[at].lock && ranks[at].lock != GONE && ranks[at].lock != lock)
			continue;
		ranks[at].rank = rank;
		WRITE_ONCE(ranks[at].lock, lock);
		break;
	}
	raw_spin_unlock_irqrestore(&ranks_lock, flags);
	__real_quarry_os_lock_init(lock, rank);
}

void __real_quarry_os_lock_fini(struct quarry_os_lock *lock);
void __wrap_quarry_os_lock_fini(struct quarry_os_lock *lock);
void __wrap_quarry_os_lock_fini(struct quarry_os_lock *lock)
{
	unsigned int i, at;
	unsigned long flags;

	__real_quarry_os_lock_fini(lock);
	raw_spin_lock_irqsave(&ranks_lock, flags);
	for (i = 0, at = slot_of(lock); i < RANK_SLOTS; i++, at = (at + 1) % RANK_SLOTS) {
		if (!ranks[at].lock)
			break;
		if (ranks[at].lock == lock)
			WRITE_ONCE(ranks[at].lock, GONE);
	}
	raw_spin_unlock_irqrestore(&ranks_lock, flags);
}

unsigned long __real_quarry_os_lock(struct quarry_os_lock *lock);
unsigned long __wrap_quarry_os_lock(struct quarry_os_lock *lock);
unsigned long __wrap_quarry_os_lock(struct quarry_os_lock *lock)
{
	unsigned long flags = __real_quarry_os_lock(lock);
	struct held *held = this_cpu_ptr(&held_locks);
	int rank = find_rank(lock);

	if (this_cpu_read(exclusive))
		atomic64_inc(&counts.context_faults);

	atomic64_inc(&counts.locks);
	/* Unknown, out of order, or two of one rank. */
	if (rank < 0 || (held->depth && held->rank[held->depth - 1] >= rank) ||
	    held->depth >= ARRAY_SIZE(held->rank)) {
		atomic64_inc(&counts.order_faults);
		if (held->depth >= ARRAY_SIZE(held->rank))
			return flags;
	}
	held->rank[held->depth] = rank;
	held->since[held->depth] = READ_ONCE(timing) ? ktime_get_ns() : 0;
	held->depth++;
	return flags;
}

void __real_quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags);
void __wrap_quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags);
void __wrap_quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags)
{
	struct held *held = this_cpu_ptr(&held_locks);
	u64 since = 0, ns;
	bool outermost = true;

	if (held->depth) {
		since = held->since[--held->depth];
		outermost = !held->depth;
	} else {
		atomic64_inc(&counts.order_faults);
	}
	if (since) {
		ns = ktime_get_ns() - since;
		if (ns > atomic64_read(&counts.longest_hold))
			atomic64_set(&counts.longest_hold, ns);
	}
	__real_quarry_os_unlock(lock, flags);
	if (outermost)
		step();
}

/* Under a lock interrupts are off, so a depth seen here is the caller's own. */
static void check_unlocked(void)
{
	if (raw_cpu_read(held_locks.depth) || raw_cpu_read(exclusive))
		atomic64_inc(&counts.context_faults);
}

unsigned int __real_quarry_os_exclusive_enter(unsigned long *flags);
unsigned int __wrap_quarry_os_exclusive_enter(unsigned long *flags);
unsigned int __wrap_quarry_os_exclusive_enter(unsigned long *flags)
{
	unsigned int cpu;

	check_unlocked();
	/* Magazines are a task's to write: never an interrupt's, reclaim's, or another's exit's. */
	if (in_interrupt() || irqs_disabled() || current->flags & (PF_MEMALLOC | PF_EXITING))
		atomic64_inc(&counts.context_faults);
	cpu = __real_quarry_os_exclusive_enter(flags);
	this_cpu_write(exclusive, true);
	return cpu;
}

void __real_quarry_os_exclusive_leave(unsigned long flags);
void __wrap_quarry_os_exclusive_leave(unsigned long flags);
void __wrap_quarry_os_exclusive_leave(unsigned long flags)
{
	this_cpu_write(exclusive, false);
	__real_quarry_os_exclusive_leave(flags);
}

void __real_quarry_os_breathe(void);
void __wrap_quarry_os_breathe(void);
void __wrap_quarry_os_breathe(void)
{
	check_unlocked();
	atomic64_inc(&counts.breaths);
	__real_quarry_os_breathe();
	step();
}

/* ---- metadata ------------------------------------------------------------- */

static bool refused(void)
{
	if (orders.task != current || in_interrupt())
		return false;
	if (orders.countdown > 1) {
		orders.countdown--;
		return false;
	}
	if (!orders.all_later)
		orders.task = NULL;
	atomic64_inc(&counts.refused);
	return true;
}

void *__real_quarry_os_meta_alloc(size_t bytes, enum quarry_context context);
void *__wrap_quarry_os_meta_alloc(size_t bytes, enum quarry_context context);
void *__wrap_quarry_os_meta_alloc(size_t bytes, enum quarry_context context)
{
	void *meta;

	check_unlocked();
	atomic64_inc(&counts.asked);
	if (refused())
		return NULL;
	meta = __real_quarry_os_meta_alloc(bytes, context);
	if (meta) {
		atomic64_inc(&counts.blocks);
		atomic64_add(bytes, &counts.bytes);
		WRITE_ONCE(last_block.meta, meta);
		WRITE_ONCE(last_block.bytes, bytes);
	}
	return meta;
}

static void given_back(const void *meta, size_t bytes)
{
	if (!meta)
		return;
	atomic64_dec(&counts.blocks);
	atomic64_sub(bytes, &counts.bytes);
}

void __real_quarry_os_meta_free(void *meta, size_t bytes);
void __wrap_quarry_os_meta_free(void *meta, size_t bytes);
void __wrap_quarry_os_meta_free(void *meta, size_t bytes)
{
	given_back(meta, bytes);
	__real_quarry_os_meta_free(meta, bytes);
}

void __real_quarry_os_meta_retire(void *meta, size_t bytes);
void __wrap_quarry_os_meta_retire(void *meta, size_t bytes);
void __wrap_quarry_os_meta_retire(void *meta, size_t bytes)
{
	given_back(meta, bytes);
	__real_quarry_os_meta_retire(meta, bytes);
}

/* ---- the rest ------------------------------------------------------------- */

void __real_quarry_os_zero(void *pool, uint64_t offset, uint64_t bytes);
void __wrap_quarry_os_zero(void *pool, uint64_t offset, uint64_t bytes);
void __wrap_quarry_os_zero(void *pool, uint64_t offset, uint64_t bytes)
{
	atomic64_add(bytes, &counts.zeroed);
	__real_quarry_os_zero(pool, offset, bytes);
}

void __real_quarry_os_corruption(void *pool, enum quarry_corruption what, uint64_t offset,
				 uint64_t client);
void __wrap_quarry_os_corruption(void *pool, enum quarry_corruption what, uint64_t offset,
				 uint64_t client);
void __wrap_quarry_os_corruption(void *pool, enum quarry_corruption what, uint64_t offset,
				 uint64_t client)
{
	atomic64_inc(&counts.corruptions);
	__real_quarry_os_corruption(pool, what, offset, client);
}

/* The linker renames calls, not exports: so the suites reach the hooks by this table. */
const struct quarry_watch_hooks quarry_watch_hooks = {
	.meta_alloc = quarry_os_meta_alloc,
	.meta_free = quarry_os_meta_free,
	.meta_retire = quarry_os_meta_retire,
	.after_readers = quarry_os_after_readers,
	.lock_init = quarry_os_lock_init,
	.lock_fini = quarry_os_lock_fini,
	.lock = quarry_os_lock,
	.unlock = quarry_os_unlock,
	.read_enter = quarry_os_read_enter,
	.read_leave = quarry_os_read_leave,
	.pin = quarry_os_pin,
	.unpin = quarry_os_unpin,
	.cpus = quarry_os_cpus,
	.cpu = quarry_os_cpu,
	.breathe = quarry_os_breathe,
	.ns = quarry_os_ns,
	.zero = quarry_os_zero,
	.corruption = quarry_os_corruption,
};
EXPORT_SYMBOL_GPL(quarry_watch_hooks);
