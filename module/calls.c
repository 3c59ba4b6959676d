// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What a client asks of its pool, on arrays of the kernel: user memory is the
 * business of ioctl.c.
 *
 * A batch goes in steps. Each step is one call of the core under the read side
 * of client->calls, so that a reaper waits for one step at most, and growth
 * happens between steps, under no lock.
 */
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/sched/signal.h>

#include "client.h"
#include "errors.h"
#include "pool.h"
#include "trace.h"

/* Most objects in one call of the core. */
#define QUARRY_STEP 128U
/* Most times that one call has magazines drained. Each brought something home. */
#define QUARRY_MOST_DRAINS 16

static int enter(struct quarry_client *client)
{
	down_read(&client->calls);
	if (client->dead) {
		up_read(&client->calls);
		return -ESHUTDOWN;
	}
	atomic64_inc(&client->entered);
	return 0;
}

static void leave(struct quarry_client *client)
{
	atomic64_inc(&client->left);
	up_read(&client->calls);
}

/*
 * Brings the pool's sum up to what this client owns now; between enter() and
 * leave(). Two at once may leave it stale until the next: the differences
 * always add up.
 */
static void weigh(struct quarry_client *client)
{
	u64 objects, bytes;

	quarry_core_client_usage(client->core, &objects, &bytes);
	quarry_pool_weigh(client->pool, bytes - atomic64_xchg(&client->weighed, bytes));
}

/* Others' objects came home, too: what they own now is weighed. */
static void weigh_all(struct quarry_pool *pool)
{
	struct quarry_client *client;
	unsigned long id;

	rcu_read_lock();
	xa_for_each(&pool->clients, id, client) {
		/* Whose calls are shut is being reaped: that weighs, too. */
		if (!down_read_trylock(&client->calls))
			continue;
		if (!client->dead)
			weigh(client);
		up_read(&client->calls);
	}
	rcu_read_unlock();
}

static u64 account_drain(struct quarry_pool *pool, const struct quarry_core_drained *drained)
{
	atomic64_add(drained->slots, &pool->drained);
	atomic64_add(drained->magazines, &pool->drains);
	atomic64_add(drained->unreachable, &pool->unreachable);
	if (drained->slots)
		weigh_all(pool);
	return drained->slots;
}

static u64 drain_pool(struct quarry_pool *pool, bool pressure)
{
	struct quarry_core_drained drained = {};

	/* Before and after: an audit that it overlaps is no quiet one. */
	atomic64_inc(&pool->looks);
	quarry_core_magazines_drain_all(pool->core, pressure, &drained);
	atomic64_inc(&pool->looked);
	return account_drain(pool, &drained);
}

static u64 drain_client(struct quarry_client *client, bool pressure)
{
	struct quarry_core_drained drained = {};

	atomic64_inc(&client->entered);
	quarry_core_magazines_drain(client->core, pressure, &drained);
	atomic64_inc(&client->left);
	return account_drain(client->pool, &drained);
}

/**
 * quarry_pool_relieve() - have what lies free in all clients' magazines come home
 * @pool: the pool, which is short of memory
 *
 * Context: task, no lock held. At most 10 ms and what it moves.
 * Return: objects that came home.
 */
u64 quarry_pool_relieve(struct quarry_pool *pool)
{
	return drain_pool(pool, true);
}

/**
 * struct attempt - what a call that wants objects has tried
 * @client: who calls
 * @seen: how often the pool had grown before the last try
 * @stuck: why it cannot grow, or 0
 * @drains: how often magazines were drained
 */
struct attempt {
	struct quarry_client *client;
	u64 seen;
	int stuck;
	unsigned int drains;
};

/* What lies in magazines serves this call before it fails. True: try again. */
static bool relieve(struct attempt *attempt, int result)
{
	u64 home;

	if (result != QUARRY_E_QUOTA && result != QUARRY_E_POOL_FULL &&
	    result != QUARRY_E_NO_MEMORY)
		return false;
	if (attempt->drains == QUARRY_MOST_DRAINS)
		return false;
	attempt->drains++;
	/* Its own limit is kept from it by its own magazines alone. */
	if (result == QUARRY_E_QUOTA)
		home = drain_client(attempt->client, true);
	else
		home = quarry_pool_relieve(attempt->client->pool);
	return home;
}

/* After a try that ended with @result: 0 when it is done, or worth another. */
static int settle(struct attempt *attempt, int result, u64 pages)
{
	int err;

	if (result == QUARRY_E_NEEDS_PAGES) {
		attempt->stuck = quarry_pool_grow(attempt->client->pool, pages, attempt->seen);
		return attempt->stuck == -EINTR ? -EINTR : 0;
	}
	if (result == QUARRY_OK || relieve(attempt, result))
		return 0;
	err = quarry_errno(result);
	/* The pool is full because it could not grow: say why not. */
	return err == -ENOSPC && attempt->stuck ? attempt->stuck : err;
}

/* Before each try. Begins a call of a client that may own. */
static int begin(struct attempt *attempt)
{
	int err;

	/* A killed task takes no more memory: its reap shall not wait for it. */
	if (fatal_signal_pending(current))
		return -EINTR;
	/* Read before the attempt: a region that comes after it is worth another. */
	attempt->seen = quarry_pool_growths(attempt->client->pool);
	err = enter(attempt->client);
	if (err)
		return err;
	if (READ_ONCE(attempt->client->connected))
		return 0;
	leave(attempt->client);
	return -ENOTCONN;
}

/**
 * quarry_client_refused() - count and trace a refusal
 * @client: who called
 * @call: the ioctl's number
 * @error: negative errno
 * @blame: which object, and whose
 *
 * Context: any.
 */
void quarry_client_refused(struct quarry_client *client, u32 call, int error,
			   const struct quarry_blame *blame)
{
	atomic64_inc(&client->refused);
	trace_refused(client->pool->id, call, -error, blame->offset, blame->owner, client->id);
}

/**
 * quarry_client_alloc() - grant objects to a client
 * @client: the client
 * @size: bytes of each
 * @align: a power of two, 8 at least
 * @count: how many
 * @offsets: room for @count
 * @done: how many were granted
 *
 * Context: task, no lock held. May grow the pool.
 * Return: 0 when all were; else why no more. After -ESHUTDOWN @done is 0: what
 * was granted is the reaper's.
 */
int quarry_client_alloc(struct quarry_client *client, u64 size, u64 align, u32 count,
			u64 *offsets, u32 *done)
{
	struct attempt attempt = { .client = client };
	int err = 0, result;
	u32 n = 0, got;
	u64 pages;

	while (n < count && !err) {
		got = 0;
		pages = 0;
		err = begin(&attempt);
		if (err)
			break;
		result = quarry_core_alloc(client->core, size, align, min(count - n, QUARRY_STEP),
					   QUARRY_CORE_ANYWHERE, offsets + n, &got, &pages,
					   QUARRY_MAY_SLEEP, !attempt.stuck);
		weigh(client);
		leave(client);
		n += got;
		err = settle(&attempt, result, pages);
		cond_resched();
	}
	if (err == -ESHUTDOWN)
		n = 0;
	*done = n;
	if (n)
		atomic64_add(n, &client->allocs);
	return err;
}

/**
 * quarry_client_undo() - take back what quarry_client_alloc() granted just now
 * @client: the client; when it has died meanwhile the reaper has them
 * @offsets: what it was granted
 * @count: how many
 *
 * Context: task, no lock held.
 */
void quarry_client_undo(struct quarry_client *client, const u64 *offsets, u32 count)
{
	struct quarry_core_refusal refusal;
	u32 n = 0, got;

	while (n < count) {
		if (enter(client))
			return;
		got = 0;
		/* What another thread freed meanwhile is passed over. */
		if (quarry_core_free(client->core, offsets + n, min(count - n, QUARRY_STEP), &got,
				     &refusal))
			got++;
		weigh(client);
		leave(client);
		n += got;
	}
	atomic64_sub(count, &client->allocs);
}

/**
 * quarry_client_free() - free a client's objects, in order
 * @client: the client
 * @offsets: the objects
 * @count: how many
 * @done: how many were freed; the next was refused
 * @blame: which was refused, and whose it is
 *
 * Context: task, no lock held.
 * Return: 0 when all were; else why no more.
 */
int quarry_client_free(struct quarry_client *client, const u64 *offsets, u32 count, u32 *done,
		       struct quarry_blame *blame)
{
	u64 start = trace_free_enabled() ? ktime_get_ns() : 0;
	struct quarry_core_refusal refusal = {};
	u32 n = 0, got;
	int err = 0;

	while (n < count && !err) {
		err = enter(client);
		if (err)
			break;
		got = 0;
		err = quarry_errno(quarry_core_free(client->core, offsets + n,
						    min(count - n, QUARRY_STEP), &got, &refusal));
		weigh(client);
		leave(client);
		n += got;
		if (err) {
			blame->offset = refusal.offset;
			blame->owner = refusal.owner;
		}
		cond_resched();
	}
	*done = n;
	if (n)
		atomic64_add(n, &client->frees);
	if (trace_free_enabled())
		trace_free(client->pool->id, client->id, count, n, n ? offsets[0] : 0,
			   start ? ktime_get_ns() - start : 0);
	return err;
}

/**
 * quarry_client_refill() - one object, and more into the magazine of this CPU
 * @client: the client
 * @class_index: which size class; the caller has checked it
 * @offset: the object
 * @filled: entries put into the magazine
 *
 * Context: task, no lock held. May grow the pool.
 * Return: 0 with the one object; else why there is none.
 */
int quarry_client_refill(struct quarry_client *client, u32 class_index, u64 *offset, u32 *filled)
{
	struct attempt attempt = { .client = client };
	int result, err;
	u64 pages;

	do {
		/* Outside of the call: memory may take its time. */
		quarry_core_magazines_prepare(client->core);
		err = begin(&attempt);
		if (err)
			return err;
		result = quarry_core_refill(client->core, class_index, offset, filled, &pages,
					    !attempt.stuck);
		weigh(client);
		if (result == QUARRY_OK) {
			/* Under the call: a reap that comes after it has counted them. */
			atomic64_add(1 + *filled, &client->allocs);
			atomic64_inc(&client->refills);
		}
		leave(client);
		if (result == QUARRY_OK)
			return 0;
		err = settle(&attempt, result, pages);
		cond_resched();
	} while (!err);
	return err;
}

/**
 * quarry_client_flush() - half a magazine of this CPU, and an object, go home
 * @client: the client
 * @class_index: which size class; the caller has checked it
 * @object: freed after it, or NULL
 * @flushed: what came of the magazine; its @bad_error is a negative errno
 * @blame: the object when it was refused, and whose it is
 *
 * Context: task, no lock held.
 * Return: 0, or why the object was refused.
 */
int quarry_client_flush(struct quarry_client *client, u32 class_index, const u64 *object,
			struct quarry_core_flushed *flushed, struct quarry_blame *blame)
{
	struct quarry_core_refusal refusal = {};
	int err;

	quarry_core_magazines_prepare(client->core);
	err = enter(client);
	if (err)
		return err;
	err = quarry_errno(quarry_core_flush(client->core, class_index, object, flushed, &refusal));
	weigh(client);
	atomic64_add(flushed->drained - flushed->bad + (object && !err), &client->frees);
	if (flushed->drained)
		atomic64_inc(&client->flushes);
	leave(client);
	flushed->bad_error = quarry_errno(flushed->bad_error);
	if (err) {
		blame->offset = refusal.offset;
		blame->owner = refusal.owner;
	}
	return err;
}

/* Both sides of a transfer, in the order of their ids. */
static int enter_both(struct quarry_client *from, struct quarry_client *to)
{
	struct quarry_client *first = from->id < to->id ? from : to;
	struct quarry_client *second = first == from ? to : from;

	down_read(&first->calls);
	if (first != second)
		down_read_nested(&second->calls, SINGLE_DEPTH_NESTING);
	atomic64_inc(&first->entered);
	if (first != second)
		atomic64_inc(&second->entered);
	if (from->dead)
		return -ESHUTDOWN;
	if (!READ_ONCE(from->connected))
		return -ENOTCONN;
	if (to->dead)
		return -ESRCH;
	return READ_ONCE(to->connected) ? 0 : -EUNATCH;
}

static void leave_both(struct quarry_client *from, struct quarry_client *to)
{
	if (to != from)
		leave(to);
	leave(from);
}

/**
 * quarry_client_hand() - move a client's objects to another, or share them with it, in order
 * @from: the client
 * @to_id: the receiver
 * @how: quarry_core_transfer or quarry_core_share
 * @offsets: the objects
 * @count: how many
 * @done: how many were moved or shared; the next was refused
 * @blame: which was refused, and whose it is
 *
 * Context: task, no lock held.
 * Return: 0 when all were; else why no more.
 */
int quarry_client_hand(struct quarry_client *from, u64 to_id, quarry_hand_fn *how,
		       const u64 *offsets, u32 count, u32 *done, struct quarry_blame *blame)
{
	struct quarry_client *to = quarry_client_find(from->pool, to_id);
	struct quarry_core_refusal refusal = {};
	unsigned int drains = 0;
	int err = 0, result;
	u32 n = 0, got;

	*done = 0;
	if (!to)
		return READ_ONCE(from->connected) ? -ESRCH : -ENOTCONN;
	while (n < count && !err) {
		got = 0;
		err = enter_both(from, to);
		if (!err) {
			result = how(from->core, to->core, offsets + n, min(count - n, QUARRY_STEP),
				     &got, &refusal);
			err = quarry_errno(result);
			if (err) {
				blame->offset = refusal.offset;
				blame->owner = refusal.owner;
			}
			weigh(from);
			weigh(to);
		}
		leave_both(from, to);
		n += got;
		/* The receiver's limit is kept from it by its own magazines alone. */
		if (err == -EDQUOT && drains++ < QUARRY_MOST_DRAINS && drain_client(to, true))
			err = 0;
		cond_resched();
	}
	*done = n;
	if (n && how == quarry_core_transfer)
		atomic64_add(n, &from->transfers);
	quarry_client_put(to);
	return err;
}

/**
 * quarry_client_resize() - give a range another size where it is
 * @client: the client of a range pool
 * @offset: its range
 * @size: bytes that it shall have
 * @bytes: bytes that it has then
 * @blame: what was refused, and whose it is
 *
 * Context: task, no lock held.
 * Return: 0, or a negative errno; then nothing has changed.
 */
int quarry_client_resize(struct quarry_client *client, u64 offset, u64 size, u64 *bytes,
			 struct quarry_blame *blame)
{
	struct quarry_core_refusal refusal = {};
	int err = enter(client);

	if (err)
		return err;
	err = -ENOTCONN;
	if (READ_ONCE(client->connected))
		err = quarry_errno(quarry_core_resize(client->core, offset, size, bytes, &refusal));
	weigh(client);
	leave(client);
	blame->offset = refusal.offset;
	blame->owner = refusal.owner;
	return err;
}

/**
 * quarry_client_drain() - bring cached slots home
 * @client: the client
 * @pool: not this client's alone: the whole pool's, and empty slabs to pages
 * @slots: slots that came home
 * @slabs: slabs that became free pages
 *
 * Also what lies free in magazines: in this client's, or in all of the pool's.
 *
 * Context: task, no lock held.
 * Return: 0 or -ESHUTDOWN.
 */
int quarry_client_drain(struct quarry_client *client, bool pool, u64 *slots, u64 *slabs)
{
	*slots = 0;
	*slabs = 0;
	if (READ_ONCE(client->dead))
		return -ESHUTDOWN;
	if (!pool) {
		*slots = drain_client(client, false);
		return 0;
	}
	drain_pool(client->pool, true);
	/* A call to an audit, but none that a reaper need wait for. */
	atomic64_inc(&client->entered);
	quarry_core_pool_drain(client->pool->core, slots, slabs);
	atomic64_inc(&client->left);
	return 0;
}
