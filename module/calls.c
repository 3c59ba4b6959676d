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
	struct quarry_pool *pool = client->pool;
	int err = 0, stuck = 0, result;
	u64 pages, seen;
	u32 n = 0, got;

	while (n < count && !err) {
		/* A killed task takes no more memory: its reap shall not wait for it. */
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		/* Read before the attempt: a region that comes after it is worth another. */
		seen = quarry_pool_growths(pool);
		got = 0;
		pages = 0;
		err = enter(client);
		if (err)
			break;
		if (!READ_ONCE(client->connected)) {
			leave(client);
			err = -ENOTCONN;
			break;
		}
		result = quarry_core_alloc(client->core, size, align, min(count - n, QUARRY_STEP),
					   offsets + n, &got, &pages, QUARRY_MAY_SLEEP, !stuck);
		weigh(client);
		leave(client);
		n += got;
		if (result == QUARRY_E_NEEDS_PAGES) {
			stuck = quarry_pool_grow(pool, pages, seen);
			if (stuck == -EINTR)
				err = stuck;
		} else {
			err = quarry_errno(result);
			/* The pool is full because it could not grow: say why not. */
			if (err == -ENOSPC && stuck)
				err = stuck;
		}
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
 * quarry_client_transfer() - move a client's objects to another, in order
 * @from: the client
 * @to_id: the receiver
 * @offsets: the objects
 * @count: how many
 * @done: how many were moved; the next was refused
 * @blame: which was refused, and whose it is
 *
 * Context: task, no lock held.
 * Return: 0 when all were; else why no more.
 */
int quarry_client_transfer(struct quarry_client *from, u64 to_id, const u64 *offsets, u32 count,
			   u32 *done, struct quarry_blame *blame)
{
	struct quarry_client *to = quarry_client_find(from->pool, to_id);
	struct quarry_core_refusal refusal = {};
	u32 n = 0, got;
	int err = 0;

	*done = 0;
	if (!to)
		return READ_ONCE(from->connected) ? -ESRCH : -ENOTCONN;
	while (n < count && !err) {
		got = 0;
		err = enter_both(from, to);
		if (!err) {
			err = quarry_errno(quarry_core_transfer(from->core, to->core, offsets + n,
								min(count - n, QUARRY_STEP), &got,
								&refusal));
			if (err) {
				blame->offset = refusal.offset;
				blame->owner = refusal.owner;
			}
			weigh(from);
			weigh(to);
		}
		leave_both(from, to);
		n += got;
		cond_resched();
	}
	*done = n;
	if (n)
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
 * A client of this version has no cache of its own: then nothing is to do.
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
	if (!pool)
		return 0;
	/* A call to an audit, but none that a reaper need wait for. */
	atomic64_inc(&client->entered);
	quarry_core_pool_drain(client->pool->core, slots, slabs);
	atomic64_inc(&client->left);
	return 0;
}
