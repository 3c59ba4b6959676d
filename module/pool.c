// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Pools: made, named, counted against their creator, and ended by their last client. */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/numa.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "client.h"
#include "errors.h"
#include "limits.h"
#include "magazine.h"
#include "pool.h"
#include "trace.h"

static atomic64_t last_pool_id = ATOMIC64_INIT(0);

/* Guards each account's list of pools. */
static DEFINE_MUTEX(names_lock);

static void wake_pollers(struct irq_work *work)
{
	wake_up_interruptible_all(&container_of(work, struct quarry_pool, wake)->wait);
}

/**
 * quarry_pool_wake() - have everybody who polls look again
 * @pool: the pool
 *
 * Context: any, with any lock held.
 */
void quarry_pool_wake(struct quarry_pool *pool)
{
	irq_work_queue(&pool->wake);
}

/* Names are one user's: another user's pool may have the same. */
static int take_name(struct quarry_pool *pool, const char *name)
{
	struct quarry_pool *other;
	int err = 0;

	mutex_lock(&names_lock);
	list_for_each_entry(other, &pool->account->pools, named)
		if (*name && !strcmp(other->name, name))
			err = -EEXIST;
	if (!err) {
		strscpy(pool->name, name, sizeof(pool->name));
		list_add_tail(&pool->named, &pool->account->pools);
	}
	mutex_unlock(&names_lock);
	return err;
}

static void give_name(struct quarry_pool *pool)
{
	mutex_lock(&names_lock);
	list_del(&pool->named);
	mutex_unlock(&names_lock);
}

/**
 * quarry_pool_name() - what a pool is called
 * @pool: the pool
 * @name: filled, and zeroed behind: its name, or its id when it has none
 *
 * Context: any.
 */
void quarry_pool_name(const struct quarry_pool *pool, char name[QUARRY_NAME_LEN])
{
	memset(name, 0, QUARRY_NAME_LEN);
	if (pool->name[0])
		strscpy(name, pool->name, QUARRY_NAME_LEN);
	else
		snprintf(name, QUARRY_NAME_LEN, "%llu", pool->id);
}

/* Undoes whatever of a pool there is; the parts are made in the reverse order. */
static void free_pool(struct quarry_pool *pool)
{
	quarry_idle_remove(&pool->idle);
	cancel_delayed_work_sync(&pool->recheck);
	if (pool->core)
		quarry_core_pool_destroy(pool->core, quarry_extent_forget);
	quarry_classes_free(pool);
	irq_work_sync(&pool->wake);
	xa_destroy(&pool->clients);
	if (pool->inode)
		quarry_poolfs_put(pool->inode);
	percpu_counter_destroy(&pool->used);
	if (pool->account) {
		quarry_uncharge(pool->account, QUARRY_CHARGE_BYTES, pool->meta_bytes);
		give_name(pool);
		quarry_uncharge(pool->account, QUARRY_CHARGE_POOLS, 1);
		quarry_account_put(pool->account);
	}
	kfree(pool);
}

/* Charges a new pool to its creator and gives it its name: both or neither. */
static int charge_pool(struct quarry_pool *pool, const char *name)
{
	struct quarry_account *account = quarry_account_get();
	int err;

	if (!account)
		return -ENOMEM;
	err = quarry_charge(account, QUARRY_CHARGE_POOLS, 1);
	if (err)
		goto put;
	pool->account = account;
	err = take_name(pool, name);
	if (!err)
		return 0;
	pool->account = NULL;
	quarry_uncharge(account, QUARRY_CHARGE_POOLS, 1);
put:
	quarry_account_put(account);
	return err;
}

/* A range pool has no memory of its own: its records are what it costs. */
static int charge_records(struct quarry_pool *pool, const struct quarry_core_pool_config *core)
{
	u64 bytes = quarry_core_range_meta_bytes(core);
	int err = quarry_charge(pool->account, QUARRY_CHARGE_BYTES, bytes);

	if (!err)
		pool->meta_bytes = bytes;
	return err;
}

static int make_core(struct quarry_pool *pool, const struct quarry_pool_config *config)
{
	struct quarry_core_pool_config core = {
		.kind = config->kind,
		.object_size = config->object_size,
		.object_count = config->object_count,
		.zero_on_regrant = config->flags & QUARRY_POOL_ZERO,
		.hold_pinned = config->flags & QUARRY_POOL_HOLD_PINNED,
		.os_pool = pool,
	};
	struct quarry_core_stat stat;
	struct quarry_limits limits;
	u64 most;
	int err;

	quarry_limits_get(&limits);
	core.max_clients = limits.max_clients;
	if (config->kind == QUARRY_CORE_RANGE) {
		core.capacity = config->max_bytes;
		core.granule = config->granule;
		core.max_ranges = config->max_ranges;
		memcpy(core.aligns, config->aligns, sizeof(core.aligns));
		err = charge_records(pool, &core);
		if (err)
			return err;
	} else {
		/* A fixed pool's is what its objects need; the core knows. */
		core.max_pages = config->max_bytes >> PAGE_SHIFT;
	}
	err = quarry_errno(quarry_core_pool_create(&core, &pool->core));
	if (err)
		return err;
	quarry_core_pool_stat(pool->core, &stat, NULL, 0);
	pool->max_bytes = stat.max_bytes;
	if (config->kind != QUARRY_CORE_RANGE)
		pool->max_pages = stat.max_bytes >> PAGE_SHIFT;
	most = config->kind == QUARRY_CORE_FIXED ? config->object_size * config->object_count :
						   stat.max_bytes;
	pool->low_above = most - most / 8;
	pool->used_batch = clamp_t(u64, most / 128 / nr_cpu_ids, 1, S32_MAX);
	return 0;
}

static int fill_pool(struct quarry_pool *pool, u64 bytes)
{
	bool fixed = pool->kind == QUARRY_CORE_FIXED;
	u64 pages = fixed ? quarry_core_pool_wanted_pages(pool->core) :
			    DIV_ROUND_UP_ULL(bytes, PAGE_SIZE);
	u64 first, added;
	u32 count;
	int err;

	if (pages) {
		err = quarry_regions_add(pool, pool->zone, pool->node, pages, true, &first, &added,
					 &count);
		if (err)
			return err;
	}
	if (!fixed)
		return 0;
	err = quarry_core_pool_populate(pool->core);
	/* Pages in pieces too small for its slabs: the system had no better ones. */
	return err == QUARRY_E_POOL_FULL ? -ENOMEM : quarry_errno(err);
}

/**
 * quarry_pool_create() - make a pool, with the memory that it is to start with
 * @config: what it is made from; the caller has checked it
 * @made: the pool, with one reference
 *
 * Context: task, no lock held. Memory is charged to the calling task.
 * Return: 0; -EDQUOT, -ENOBUFS, -ENOMEM, -EEXIST, -EFBIG, -EINVAL.
 */
int quarry_pool_create(const struct quarry_pool_config *config, struct quarry_pool **made)
{
	struct quarry_pool *pool = kzalloc(sizeof(*pool), QUARRY_GFP);
	int err;

	if (!pool)
		return -ENOMEM;
	pool->id = atomic64_inc_return(&last_pool_id);
	refcount_set(&pool->refs, 1);
	pool->kind = config->kind;
	pool->zone = config->zone;
	pool->node = config->node;
	pool->flags = config->flags;
	pool->any_lowmem = config->any_lowmem;
	pool->object_size = config->object_size;
	pool->object_count = config->object_count;
	pool->client_limit = config->client_limit;
	INIT_LIST_HEAD(&pool->regions);
	mutex_init(&pool->grow);
	xa_init_flags(&pool->clients, XA_FLAGS_ACCOUNT);
	seqlock_init(&pool->fold);
	init_waitqueue_head(&pool->wait);
	init_irq_work(&pool->wake, wake_pollers);
	quarry_held_init(pool);

	err = percpu_counter_init(&pool->used, 0, QUARRY_GFP);
	if (err) {
		kfree(pool);
		return err;
	}
	err = charge_pool(pool, config->name);
	if (err)
		goto fail;
	pool->inode = quarry_poolfs_inode();
	if (IS_ERR(pool->inode)) {
		err = PTR_ERR(pool->inode);
		pool->inode = NULL;
		goto fail;
	}
	err = make_core(pool, config);
	if (err)
		goto fail;
	err = quarry_classes_init(pool);
	if (err)
		goto fail;
	err = fill_pool(pool, config->bytes);
	if (err)
		goto fail;
	if (pool->kind == QUARRY_CORE_HEAP)
		quarry_idle_add(&pool->idle, &quarry_regions_idle);
	quarry_debugfs_add(pool);
	trace_pool_create(pool->id, pool->kind, pool->pages << PAGE_SHIFT, pool->max_bytes,
			  pool->name);
	*made = pool;
	return 0;
fail:
	free_pool(pool);
	return err;
}

/**
 * quarry_pool_get() - take another reference
 * @pool: a pool that the caller holds already
 *
 * Context: any.
 * Return: @pool.
 */
struct quarry_pool *quarry_pool_get(struct quarry_pool *pool)
{
	refcount_inc(&pool->refs);
	return pool;
}

/**
 * quarry_pool_put() - give a reference back; the last one ends the pool
 * @pool: the pool, or NULL
 *
 * Context: task, no lock held.
 */
void quarry_pool_put(struct quarry_pool *pool)
{
	if (!pool || !refcount_dec_and_test(&pool->refs))
		return;
	/* Readers of its files are done when this returns. */
	quarry_debugfs_remove(pool);
	trace_pool_destroy(pool->id);
	free_pool(pool);
}
