// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What I/O holds of a pool with QUARRY_POOL_HOLD_PINNED: pages that somebody refers to
 * beside the pool itself and the address spaces that map them. There is no call-back when
 * such a reference ends, so what the core keeps is looked at again by delayed work.
 */
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "pool.h"

#define QUARRY_RECHECK_MS 50

/*
 * A mapping that comes takes its reference before it is counted as one, and one that goes
 * gives it back after: so a count of mappings that is the same before and after the look at
 * the references explains them, and any other doubt is a hold, until the next look. What is
 * left: one mapping that ends and another that begins in that moment can hide a hold.
 */
static bool page_is_held(struct page *page)
{
	int mapped = quarry_page_mapcount(page);
	int refs;

	smp_rmb(); /* mappings, references, mappings: in this order */
	refs = page_count(page);
	smp_rmb(); /* as above */
	return refs != 1 + mapped || quarry_page_mapcount(page) != mapped;
}

int quarry_os_held(void *os_pool, u64 offset, u64 bytes)
{
	struct quarry_pool *pool = os_pool;
	u64 end = offset + bytes;
	bool held = false;
	struct page *page;

	for (; offset < end && !held; offset += PAGE_SIZE) {
		/* An object's page is there: its region cannot leave before it. */
		rcu_read_lock();
		page = quarry_page_of(pool, offset);
		held = page && page_is_held(page);
		rcu_read_unlock();
	}
	if (held)
		schedule_delayed_work(&pool->recheck, msecs_to_jiffies(QUARRY_RECHECK_MS));
	return held;
}

static void recheck(struct work_struct *work)
{
	struct quarry_pool *pool = container_of(to_delayed_work(work), struct quarry_pool, recheck);
	u64 held;

	/* To an audit it is a call. */
	atomic64_inc(&pool->looks);
	held = quarry_core_pool_recheck(pool->core);
	atomic64_inc(&pool->looked);
	if (held)
		schedule_delayed_work(&pool->recheck, msecs_to_jiffies(QUARRY_RECHECK_MS));
}

/**
 * quarry_held_init() - prepare a new pool for what I/O may hold of it
 * @pool: the pool
 *
 * The work is pending only while something is held; who ends the pool cancels it.
 *
 * Context: any.
 */
void quarry_held_init(struct quarry_pool *pool)
{
	INIT_DELAYED_WORK(&pool->recheck, recheck);
}
