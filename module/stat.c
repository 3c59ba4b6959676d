// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Counters and audits of a pool, for the ABI and for debugfs alike. */
#include <linux/string.h>

#include "client.h"
#include "pool.h"

/* Living clients' counts and the past's: each client's in exactly one of the two. */
static void sum_counts(struct quarry_pool *pool, struct quarry_counts *sum)
{
	struct quarry_client *client;
	unsigned long id;
	unsigned int seq;

	do {
		seq = read_seqbegin(&pool->fold);
		*sum = pool->past;
		rcu_read_lock();
		xa_for_each(&pool->clients, id, client) {
			sum->allocs += atomic64_read(&client->allocs);
			sum->frees += atomic64_read(&client->frees);
			sum->transfers += atomic64_read(&client->transfers);
			sum->refused += atomic64_read(&client->refused);
			sum->refills += atomic64_read(&client->refills);
			sum->flushes += atomic64_read(&client->flushes);
		}
		rcu_read_unlock();
	} while (read_seqretry(&pool->fold, seq));
}

/**
 * quarry_pool_stat() - a pool's counters
 * @pool: the pool
 * @stat: filled, but for what is a client's
 * @classes: room for size classes, or NULL
 * @room: how many
 *
 * Context: task, no lock held.
 */
void quarry_pool_stat(struct quarry_pool *pool, struct quarry_stat *stat,
		      struct quarry_core_class_stat *classes, u32 room)
{
	struct quarry_core_stat core = {};
	struct quarry_counts counts;

	atomic64_inc(&pool->looks);
	quarry_core_pool_stat(pool->core, &core, classes, room);
	atomic64_inc(&pool->looked);
	sum_counts(pool, &counts);
	stat->class_count = core.classes;
	stat->pool_id = pool->id;
	stat->kind = pool->kind;
	stat->clients = atomic_read(&pool->living);
	stat->max_bytes = core.max_bytes;
	stat->bytes = core.bytes;
	stat->free_bytes = core.free_bytes;
	stat->used_bytes = core.used_bytes;
	stat->objects = core.objects;
	stat->meta_bytes = core.meta_bytes + (READ_ONCE(pool->class_chunks) << PAGE_SHIFT);
	stat->regions = core.regions;
	stat->slabs = core.slabs;
	stat->allocs = counts.allocs;
	stat->frees = counts.frees + atomic64_read(&pool->drained);
	stat->refused = counts.refused;
	stat->transfers = counts.transfers;
	stat->reaps = atomic64_read(&pool->reaps);
	stat->late_reaps = atomic64_read(&pool->late_reaps);
	stat->reaped_objects = atomic64_read(&pool->reaped_objects);
	stat->reaped_bytes = atomic64_read(&pool->reaped_bytes);
	stat->shares = core.shares;
	stat->held_bytes = core.held_bytes;
	stat->reserve_objects = core.aside;
	stat->corruptions = atomic64_read(&pool->corruptions);
	stat->client_limit = pool->client_limit;
	stat->refills = counts.refills;
	stat->flushes = counts.flushes + atomic64_read(&pool->drains);
	stat->magazine_bytes = atomic64_read(&pool->magazine_bytes);
	stat->unreachable = atomic64_read(&pool->unreachable);
	quarry_pool_name(pool, stat->name);
}

/* Calls begun and ended so far, and changes that are no client's call. */
static bool pool_idle(struct quarry_pool *pool, u64 *mark)
{
	struct quarry_client *client;
	unsigned long id;
	unsigned int seq;
	u64 entered, left;

	do {
		seq = read_seqbegin(&pool->fold);
		entered = pool->past_entered;
		left = entered;
		rcu_read_lock();
		xa_for_each(&pool->clients, id, client) {
			left += atomic64_read(&client->left);
			/* A call that ends between the two is seen to have begun. */
			smp_rmb();
			entered += atomic64_read(&client->entered);
		}
		rcu_read_unlock();
	} while (read_seqretry(&pool->fold, seq));
	left += atomic64_read(&pool->looked);
	smp_rmb(); /* as above */
	entered += atomic64_read(&pool->looks);
	*mark = entered + atomic64_read(&pool->epoch);
	return entered == left;
}

/**
 * quarry_pool_verify() - audit a pool
 * @pool: the pool
 * @audit: what was found
 *
 * Nobody is stopped meanwhile. When it turns out that nothing happened the
 * audit is exact, sums included; else another is made that reports only what
 * can never be.
 *
 * Context: task, no lock held.
 * Return: 0, or -EINTR when the caller is being killed.
 */
int quarry_pool_verify(struct quarry_pool *pool, struct quarry_core_audit *audit)
{
	u64 before, after;
	bool quiet;

	/* Keeps regions where they are. */
	if (mutex_lock_killable(&pool->grow))
		return -EINTR;
	quiet = pool_idle(pool, &before);
	smp_mb(); /* the audit comes after the look at the marks, and before the next */
	if (quiet) {
		memset(audit, 0, sizeof(*audit));
		quarry_core_pool_verify(pool->core, 1, audit);
		smp_mb(); /* as above */
		quiet = pool_idle(pool, &after) && before == after;
	}
	if (!quiet) {
		memset(audit, 0, sizeof(*audit));
		quarry_core_pool_verify(pool->core, 0, audit);
	}
	mutex_unlock(&pool->grow);
	return 0;
}
