// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The seam's hooks: what the core asks of the kernel (quarry_seam.h documents
 * each one's context). The only file that the core calls.
 */
#include <linux/cpumask.h>
#include <linux/highmem.h>
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "driver.h"
#include "include/quarry_seam.h"
#include "pool.h"
#include "trace.h"

#define QUARRY_META_ALIGN 64UL

/* Of a pool, or of a driver's heap: the first member of both. */
static u64 pool_id(const void *pool)
{
	return pool ? *(const u64 *)pool : 0;
}

/* ---- memory --------------------------------------------------------------- */

void *quarry_os_meta_alloc(size_t bytes, enum quarry_context context)
{
	size_t align = bytes % PAGE_SIZE ? QUARRY_META_ALIGN : PAGE_SIZE;
	void *meta;

	/*
	 * Caches of a power of two are aligned to their size; the two that are
	 * not, 96 and 192, are passed over.
	 */
	if (bytes <= 192)
		bytes = max(roundup_pow_of_two(bytes), QUARRY_META_ALIGN);
	if (context == QUARRY_ATOMIC)
		meta = kzalloc(bytes, GFP_ATOMIC | __GFP_NOWARN);
	else
		meta = kvzalloc(bytes, QUARRY_GFP);
	if (IS_ALIGNED((unsigned long)meta, align))
		return meta;
	/* No kernel does this; should one, it is a refusal and not a crash. */
	kvfree(meta);
	return NULL;
}

void quarry_os_meta_free(void *meta, size_t bytes)
{
	kvfree(meta);
}

/* What a retired block begins with. */
struct quarry_retired {
	struct rcu_head rcu;
};

static_assert(sizeof(struct quarry_retired) <= 16);

void quarry_os_meta_retire(void *meta, size_t bytes)
{
	struct quarry_retired *retired = meta;

	kvfree_rcu(retired, rcu);
}

/* What a struct quarry_os_after is here. */
struct quarry_after {
	struct rcu_head rcu;
	void (*fn)(struct quarry_os_after *after);
};

static_assert(sizeof(struct quarry_after) <= sizeof(struct quarry_os_after));

static void call_after(struct rcu_head *rcu)
{
	struct quarry_after *waiting = container_of(rcu, struct quarry_after, rcu);

	waiting->fn((struct quarry_os_after *)waiting);
}

void quarry_os_after_readers(struct quarry_os_after *after,
			     void (*fn)(struct quarry_os_after *after))
{
	struct quarry_after *waiting = (struct quarry_after *)after;

	waiting->fn = fn;
	call_rcu(&waiting->rcu, call_after);
}

void quarry_os_zero(void *pool, uint64_t offset, uint64_t bytes)
{
	while (bytes) {
		size_t at = offset_in_page(offset);
		size_t part = min_t(u64, bytes, PAGE_SIZE - at);
		struct page *page = quarry_page_find(pool, offset);

		/* An object's page is there: its region cannot leave before it. */
		if (page) {
			memzero_page(page, at, part);
			put_page(page);
		}
		offset += part;
		bytes -= part;
	}
}

/* ---- locks ---------------------------------------------------------------- */

static_assert(sizeof(raw_spinlock_t) <= QUARRY_OS_LOCK_BYTES);

#ifdef CONFIG_LOCKDEP
static struct lock_class_key lock_keys[QUARRY_LOCK_RANKS];
static const char *const lock_names[QUARRY_LOCK_RANKS] = {
	[QUARRY_LOCK_REGIONS] = "quarry_regions",
	[QUARRY_LOCK_DEPOT] = "quarry_depot",
	[QUARRY_LOCK_SHARES] = "quarry_shares",
	[QUARRY_LOCK_CLASS] = "quarry_class",
	[QUARRY_LOCK_CLIENT] = "quarry_client",
	[QUARRY_LOCK_OVERFLOW] = "quarry_overflow",
	[QUARRY_LOCK_PAGES] = "quarry_pages",
	[QUARRY_LOCK_OBJECTS] = "quarry_objects",
};
#endif

static raw_spinlock_t *raw(struct quarry_os_lock *lock)
{
	return (raw_spinlock_t *)lock->storage;
}

void quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank)
{
	raw_spin_lock_init(raw(lock));
#ifdef CONFIG_LOCKDEP
	lockdep_set_class_and_name(raw(lock), &lock_keys[rank], lock_names[rank]);
#endif
}

void quarry_os_lock_fini(struct quarry_os_lock *lock)
{
}

unsigned long quarry_os_lock(struct quarry_os_lock *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(raw(lock), flags);
	return flags;
}

void quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags)
{
	raw_spin_unlock_irqrestore(raw(lock), flags);
}

/* ---- readers, CPUs, time -------------------------------------------------- */

void quarry_os_read_enter(void)
{
	rcu_read_lock();
}

void quarry_os_read_leave(void)
{
	rcu_read_unlock();
}

/* Preemption off is a reader's section too: RCU waits for both kinds. */
unsigned int quarry_os_pin(void)
{
	preempt_disable();
	return smp_processor_id();
}

void quarry_os_unpin(void)
{
	preempt_enable();
}

/* The fast half has turned preemption off, and turns it on when this returns. */
void *quarry_os_heap_take(void *heap, unsigned int flags, unsigned long caller)
{
	void *object;

	preempt_enable();
	object = quarry_driver_cache_take(heap, (__force gfp_t)flags, caller);
	preempt_disable();
	return object;
}

void *quarry_os_heap_alloc(void *heap, uint64_t size, unsigned int flags, unsigned long caller)
{
	void *object;

	preempt_enable();
	object = quarry_driver_alloc(heap, size, 8, (__force gfp_t)flags, caller);
	preempt_disable();
	return object;
}

int quarry_os_heap_free(void *heap, uint64_t offset, unsigned long caller)
{
	int err;

	preempt_enable();
	err = quarry_driver_free(heap, offset, caller);
	preempt_disable();
	return err;
}

unsigned int quarry_os_cpus(void)
{
	return nr_cpu_ids;
}

unsigned int quarry_os_cpu(void)
{
	return raw_smp_processor_id();
}

/*
 * Interrupts off: what else could run here is an NMI. Threads that were in a restartable
 * sequence on this CPU have been switched out, so theirs starts again.
 */
unsigned int quarry_os_exclusive_enter(unsigned long *flags)
{
	local_irq_save(*flags);
	return smp_processor_id();
}

void quarry_os_exclusive_leave(unsigned long flags)
{
	local_irq_restore(flags);
}

void quarry_os_breathe(void)
{
	cond_resched();
}

uint64_t quarry_os_ns(void)
{
	return ktime_get_ns();
}

/* ---- reports -------------------------------------------------------------- */

void quarry_os_corruption(void *pool, enum quarry_corruption what, uint64_t offset,
			  uint64_t client)
{
	struct quarry_pool *whole = quarry_pool_of(pool);

	trace_corruption(pool_id(pool), what, offset, client);
	pr_err_ratelimited("quarry: pool %llu: corruption %d at offset %#llx, client %llu\n",
			   pool_id(pool), what, offset, client);
	if (!whole)
		return;
	atomic64_inc(&whole->corruptions);
	quarry_pool_wake(whole);
}

void quarry_os_trace_slab_create(void *pool, uint32_t slot_bytes, uint64_t offset, uint64_t bytes)
{
	trace_slab_create(pool_id(pool), slot_bytes, offset, bytes);
}

void quarry_os_trace_slab_destroy(void *pool, uint32_t slot_bytes, uint64_t offset, uint64_t bytes)
{
	trace_slab_destroy(pool_id(pool), slot_bytes, offset, bytes);
}

void quarry_os_trace_remote_free(void *pool, uint32_t slot_bytes, uint64_t slab_offset,
				 uint32_t slots)
{
	trace_remote_free(pool_id(pool), slot_bytes, slab_offset, slots);
}

void quarry_os_trace_refill(void *pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns)
{
	trace_refill(pool_id(pool), slot_bytes, slots, ns);
}

void quarry_os_trace_drain(void *pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns)
{
	trace_drain(pool_id(pool), slot_bytes, slots, ns);
}

int quarry_os_trace_timed(void)
{
	return trace_refill_enabled() || trace_drain_enabled();
}
