// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Clients and their end.
 *
 * Three triggers reap a client, the first that comes:
 *   (a) its client area is unmapped: munmap, exec, exit (mmap.c)
 *   (b) its file is flushed while the whole thread group that made it exits
 *   (c) its file is released
 * do_exit() drops the mm before the files, and both before the parent learns of
 * the death. So (a) is early when nobody else holds the mm, and (b) when the
 * descriptor is still open; otherwise the reap may be late, and says so.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "client.h"
#include "errors.h"
#include "limits.h"
#include "magazine.h"
#include "pool.h"
#include "trace.h"

static atomic64_t last_client_id = ATOMIC64_INIT(0);

/**
 * quarry_client_area_bytes() - length of a client area
 * @pool: whose clients'
 *
 * Return: bytes, whole pages: the head, and a block for each CPU.
 */
u32 quarry_client_area_bytes(const struct quarry_pool *pool)
{
	return PAGE_SIZE + (quarry_magazine_cpus(pool) << QUARRY_CPU_BLOCK_SHIFT);
}

static int make_area(struct quarry_client *client)
{
	struct quarry_client_area *area;
	const u32 *sizes;
	u32 i;

	BUILD_BUG_ON(sizeof(*area) > PAGE_SIZE);
	client->area = alloc_page(QUARRY_GFP | __GFP_ZERO);
	if (!client->area)
		return -ENOMEM;
	area = page_address(client->area);
	area->abi_version = QUARRY_ABI_VERSION;
	area->bytes = quarry_client_area_bytes(client->pool);
	area->pool_id = client->pool->id;
	area->client_id = client->id;
	area->max_bytes = client->pool->max_bytes;
	area->kind = client->pool->kind;
	area->cpus = quarry_magazine_cpus(client->pool);
	area->blocks_offset = PAGE_SIZE;
	area->block_bytes = 1U << QUARRY_CPU_BLOCK_SHIFT;
	if (client->pool->kind == QUARRY_CORE_FIXED) {
		/* One class, of the objects' own size. */
		area->class_count = 1;
		area->class_size[0] = client->pool->object_size;
		return 0;
	}
	if (client->pool->kind == QUARRY_CORE_RANGE)
		return 0;
	area->class_count = min_t(u32, quarry_core_size_classes(&sizes), QUARRY_MAX_CLASSES);
	for (i = 0; i < area->class_count; i++)
		area->class_size[i] = sizes[i];
	return 0;
}

/* Keeps sums exact for readers: a client's counts are in one place or the other. */
static void fold_counts(struct quarry_client *client)
{
	struct quarry_pool *pool = client->pool;

	write_seqlock(&pool->fold);
	pool->past.allocs += atomic64_read(&client->allocs);
	pool->past.frees += atomic64_read(&client->frees);
	pool->past.transfers += atomic64_read(&client->transfers);
	pool->past.refused += atomic64_read(&client->refused);
	pool->past.refills += atomic64_read(&client->refills);
	pool->past.flushes += atomic64_read(&client->flushes);
	pool->past_entered += atomic64_read(&client->entered);
	xa_erase(&pool->clients, client->id);
	write_sequnlock(&pool->fold);
}

/* Undoes whatever of a client there is. */
static void free_client(struct quarry_client *client)
{
	struct quarry_pool *pool = client->pool;

	if (client->core)
		quarry_core_client_destroy(client->core);
	quarry_magazines_free(client);
	if (client->account) {
		quarry_uncharge(client->account, QUARRY_CHARGE_CLIENTS, 1);
		quarry_account_put(client->account);
	}
	if (client->area)
		__free_page(client->area);
	if (client->mm)
		mmdrop(client->mm);
	put_pid(client->owner);
	atomic64_inc(&pool->epoch);
	kfree_rcu(client, rcu);
	quarry_pool_put(pool);
}

static int charge_client(struct quarry_client *client)
{
	struct quarry_account *account = quarry_account_get();
	int err;

	if (!account)
		return -ENOMEM;
	err = quarry_charge(account, QUARRY_CHARGE_CLIENTS, 1);
	if (err)
		quarry_account_put(account);
	else
		client->account = account;
	return err;
}

/**
 * quarry_client_create() - make a client of the calling task's mm
 * @pool: the pool; the client takes a reference
 * @creator: may do what is reserved to the pool's creator
 * @made: the client, with one reference
 *
 * Context: task, no lock held.
 * Return: 0; -EDQUOT (the user's clients), -EUSERS (the pool's), -ENOMEM.
 */
int quarry_client_create(struct quarry_pool *pool, bool creator, struct quarry_client **made)
{
	struct quarry_client *client;
	int err;

	client = kzalloc(sizeof(*client), QUARRY_GFP);
	if (!client)
		return -ENOMEM;
	client->pool = quarry_pool_get(pool);
	client->id = atomic64_inc_return(&last_client_id);
	client->creator = creator;
	client->owner = get_pid(task_tgid(current));
	client->exec_id = READ_ONCE(current->self_exec_id);
	client->mm = current->mm;
	if (client->mm)
		mmgrab(client->mm);
	refcount_set(&client->refs, 1);
	mutex_init(&client->reserving);
	init_rwsem(&client->calls);
	init_completion(&client->reaped);
	/* What happened before it came is not news to it; whether memory is low is. */
	client->seen_deaths = atomic64_read(&pool->reaps);
	client->seen_corruptions = atomic64_read(&pool->corruptions);
	client->seen_level = -1;

	err = charge_client(client);
	if (err)
		goto fail;
	err = make_area(client);
	if (err)
		goto fail;
	err = quarry_errno(quarry_core_client_create(pool->core, client->id, pool->client_limit,
						     &client->core));
	if (err)
		goto fail;
	err = xa_insert(&pool->clients, client->id, client,
			GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (err)
		goto fail;
	atomic_inc(&pool->living);
	atomic64_inc(&pool->epoch);
	trace_join(pool->id, client->id, pid_nr(client->owner));
	*made = client;
	return 0;
fail:
	free_client(client);
	return err;
}

/**
 * quarry_client_find() - a client by its id
 * @pool: the pool
 * @id: any number
 *
 * Context: any but hardirq.
 * Return: a reference, or NULL. It may be dead already.
 */
struct quarry_client *quarry_client_find(struct quarry_pool *pool, u64 id)
{
	struct quarry_client *client;

	BUILD_BUG_ON(sizeof(unsigned long) < sizeof(id));
	rcu_read_lock();
	client = xa_load(&pool->clients, id);
	if (client && !refcount_inc_not_zero(&client->refs))
		client = NULL;
	rcu_read_unlock();
	return client;
}

/**
 * quarry_client_put() - give a reference back; a client's last comes after its reap
 * @client: the client
 *
 * Context: task, no lock held.
 */
void quarry_client_put(struct quarry_client *client)
{
	if (!refcount_dec_and_test(&client->refs))
		return;
	fold_counts(client);
	free_client(client);
}

/**
 * quarry_client_exits() - is the calling task's thread group, which made this
 * client, exiting as a whole?
 * @client: the client
 *
 * The mm is gone already when files are closed, so the group is known by its
 * pid, and its program by the count of its execs. A thread that unshared its
 * descriptors ends without its group.
 *
 * Context: any.
 * Return: true when trigger (b) holds.
 */
bool quarry_client_exits(const struct quarry_client *client)
{
	const struct signal_struct *signal = current->signal;

	if (task_tgid(current) != client->owner || current->self_exec_id != client->exec_id)
		return false;
	return signal->flags & SIGNAL_GROUP_EXIT || !atomic_read(&signal->live);
}

/*
 * Could the parent know of the death already? Not while a task of the group
 * itself runs this, since each does before it leaves the group. Asked when the
 * reap is over.
 */
static bool reap_is_late(const struct quarry_client *client)
{
	struct task_struct *leader;
	bool late;

	if (task_tgid(current) == client->owner)
		return false;
	rcu_read_lock();
	leader = pid_task(client->owner, PIDTYPE_TGID);
	late = !leader || (READ_ONCE(leader->exit_state) && thread_group_empty(leader));
	rcu_read_unlock();
	return late;
}

/**
 * quarry_client_reap() - take back all that a client owns
 * @client: the client
 *
 * After it, all of it is back, whoever did the work.
 *
 * Context: task; mmap_lock may be held, but none of Quarry's locks.
 */
void quarry_client_reap(struct quarry_client *client)
{
	struct quarry_pool *pool = client->pool;
	u64 objects = 0, bytes = 0, start;
	bool first, late;

	/* Once this is held for writing the old calls are over and none begins. */
	down_write(&client->calls);
	first = !client->dead;
	WRITE_ONCE(client->dead, true);
	up_write(&client->calls);
	if (!first) {
		wait_for_completion(&client->reaped);
		return;
	}
	start = ktime_get_ns();
	/* To an audit it is a call of this client's. */
	atomic64_inc(&client->entered);
	trace_reap_begin(pool->id, client->id);
	quarry_core_client_reap(client->core, &objects, &bytes);
	late = reap_is_late(client);
	quarry_pool_weigh(pool, -atomic64_xchg(&client->weighed, 0));
	atomic64_add(objects, &pool->reaped_objects);
	atomic64_add(bytes, &pool->reaped_bytes);
	if (late)
		atomic64_inc(&pool->late_reaps);
	atomic64_inc(&pool->reaps);
	atomic64_inc(&client->left);
	atomic_dec(&pool->living);
	trace_reap(pool->id, client->id, objects, bytes, ktime_get_ns() - start, late);
	complete_all(&client->reaped);
	quarry_pool_wake(pool);
}
