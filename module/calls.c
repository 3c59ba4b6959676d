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
#include "magazine.h"
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
		home = quarry_client_relieve(attempt->client);
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

/* Grants up to @count; @aside: and sets them aside. Answers 0, or why no more. */
static int grant(struct attempt *attempt, u64 size, u64 align, u32 count, u64 *offsets, u32 *done,
		 bool aside)
{
	struct quarry_client *client = attempt->client;
	int err = 0, result;
	u64 pages;
	u32 got;

	while (*done < count && !err) {
		got = 0;
		pages = 0;
		err = begin(attempt);
		if (err)
			break;
		result = quarry_core_alloc(client->core, size, align,
					   min(count - *done, QUARRY_STEP), QUARRY_CORE_ANYWHERE,
					   offsets + *done, &got, &pages, QUARRY_MAY_SLEEP,
					   !attempt->stuck);
		/* Under the same call: what dies between the two is in no stack, and reaped. */
		if (aside && got)
			quarry_core_aside_put(client->core, size, align, offsets + *done, got);
		quarry_client_weigh(client);
		leave(client);
		*done += got;
		err = settle(attempt, result, pages);
		cond_resched();
	}
	return err;
}

/* When nothing else can be had: what the client has set aside. Answers how many. */
static u32 draw(struct quarry_client *client, int why, u64 size, u64 align, u32 count,
		u64 *offsets)
{
	u32 drawn;

	if (why == -EINTR || why == -ENOTCONN || enter(client))
		return 0;
	drawn = quarry_core_aside_draw(client->core, size, align, count, offsets);
	leave(client);
	return drawn;
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
 * Context: task, no lock held. May grow the pool; draws on the client's reserve last.
 * Return: 0 when all were; else why no more. After -ESHUTDOWN @done is 0: what
 * was granted is the reaper's.
 */
int quarry_client_alloc(struct quarry_client *client, u64 size, u64 align, u32 count,
			u64 *offsets, u32 *done)
{
	struct attempt attempt = { .client = client };
	u32 n = 0;
	int err;

	err = grant(&attempt, size, align, count, offsets, &n, false);
	if (err)
		n += draw(client, err, size, align, count - n, offsets + n);
	if (n == count)
		err = 0;
	if (err == -ESHUTDOWN)
		n = 0;
	*done = n;
	if (n)
		atomic64_add(n, &client->allocs);
	return err;
}

/**
 * quarry_client_reserve() - have so many objects set aside, no more and no fewer
 * @client: the client
 * @size: bytes of each
 * @align: a power of two, 8 at least
 * @count: how many
 * @scratch: room for @count
 * @left: how many are set aside then
 *
 * Context: task, no lock held. May grow the pool.
 * Return: 0; else as many are set aside as before, or fewer that were drawn meanwhile.
 */
int quarry_client_reserve(struct quarry_client *client, u64 size, u64 align, u32 count,
			  u64 *scratch, u32 *left)
{
	struct attempt attempt = { .client = client };
	u32 before, n = 0;
	int err;

	/* One at a time, so that each knows what it adds. */
	if (mutex_lock_killable(&client->reserving))
		return -EINTR;
	err = begin(&attempt);
	if (err)
		goto out;
	err = quarry_errno(quarry_core_aside_left(client->core, size, align, &before));
	leave(client);
	if (err)
		goto out;
	if (before < count) {
		/* Outside of the call: memory may take its time. */
		err = quarry_errno(quarry_core_aside_prepare(client->core, size, align,
							     count - before));
		if (!err)
			err = grant(&attempt, size, align, count - before, scratch, &n, true);
	}
	*left = before + n;
	count = err ? before : count;
	while (*left > count) {
		int dead = enter(client);

		if (dead) {
			err = err ?: dead;
			break;
		}
		*left = quarry_core_aside_lower(client->core, size, align, count);
		quarry_client_weigh(client);
		leave(client);
		cond_resched();
	}
out:
	mutex_unlock(&client->reserving);
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
		quarry_client_weigh(client);
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
		quarry_client_weigh(client);
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
 * Context: task, no lock held. May grow the pool; draws on the client's reserve last.
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
		quarry_client_weigh(client);
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
	*filled = 0;
	if (!draw(client, err, quarry_class_bytes(client->pool, class_index), QUARRY_GRAIN, 1,
		  offset))
		return err;
	atomic64_inc(&client->allocs);
	return 0;
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
	quarry_client_weigh(client);
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
			quarry_client_weigh(from);
			quarry_client_weigh(to);
		}
		leave_both(from, to);
		n += got;
		/* The receiver's limit is kept from it by its own magazines alone. */
		if (err == -EDQUOT && drains++ < QUARRY_MOST_DRAINS && quarry_client_relieve(to))
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
	quarry_client_weigh(client);
	leave(client);
	blame->offset = refusal.offset;
	blame->owner = refusal.owner;
	return err;
}
