// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Events: what poll reports and STAT acknowledges.
 *
 * The pool counts what happened, each client remembers how much of it was seen;
 * so an event costs one addition and a wake-up, however many clients there are.
 * Deaths and corruptions are news until they are acknowledged. Low memory, or
 * enough, is a level: news until acknowledged, and again when it changes.
 */
#include <linux/fs.h>
#include <linux/poll.h>

#include "client.h"
#include "pool.h"

/**
 * quarry_pool_low() - can less than an eighth of the pool still be had?
 * @pool: the pool
 *
 * Context: any.
 * Return: true when memory is low.
 */
bool quarry_pool_low(struct quarry_pool *pool)
{
	return atomic_read(&pool->level) & 1;
}

/**
 * quarry_pool_weigh() - note that clients own more or less than before
 * @pool: the pool
 * @change: bytes
 *
 * Context: task or softirq. Sums over all CPUs only near the limit.
 */
void quarry_pool_weigh(struct quarry_pool *pool, s64 change)
{
	bool low;
	int level;

	if (!change)
		return;
	percpu_counter_add_batch(&pool->used, change, pool->used_batch);
	/*
	 * Until sum and level agree: who changes the level late looks at the sum
	 * once more, and who changed the sum after that look sees the level.
	 */
	for (;;) {
		smp_mb(); /* the sum's change, or the level's, before the look at both */
		low = __percpu_counter_compare(&pool->used, pool->low_above, pool->used_batch) > 0;
		level = atomic_read(&pool->level);
		if ((level & 1) == low)
			return;
		if (atomic_cmpxchg(&pool->level, level, level + 1) == level)
			quarry_pool_wake(pool);
	}
}

/**
 * quarry_client_look() - what is news to a client
 * @client: the client
 * @look: filled
 *
 * Context: task.
 */
void quarry_client_look(struct quarry_client *client, struct quarry_look *look)
{
	struct quarry_pool *pool = client->pool;
	/* Its own death is none of a peer; it is counted before it is complete. */
	bool dead = completion_done(&client->reaped);

	look->deaths = atomic64_read(&pool->reaps) - dead;
	look->corruptions = atomic64_read(&pool->corruptions);
	look->level = atomic_read(&pool->level);
	look->events = 0;
	if (look->deaths != READ_ONCE(client->seen_deaths))
		look->events |= QUARRY_EVENT_PEER_DIED;
	if (look->corruptions != READ_ONCE(client->seen_corruptions))
		look->events |= QUARRY_EVENT_CORRUPTION;
	if (look->level != READ_ONCE(client->seen_level))
		look->events |= look->level & 1 ? QUARRY_EVENT_LOW_MEMORY :
						  QUARRY_EVENT_MEMORY_BACK;
	if (dead)
		look->events |= QUARRY_EVENT_REAPED;
}

/**
 * quarry_client_acknowledge() - a client has seen the news
 * @client: the client
 * @look: what it has seen, and no more
 *
 * Context: task.
 */
void quarry_client_acknowledge(struct quarry_client *client, const struct quarry_look *look)
{
	WRITE_ONCE(client->seen_deaths, look->deaths);
	WRITE_ONCE(client->seen_corruptions, look->corruptions);
	WRITE_ONCE(client->seen_level, look->level);
}

/**
 * quarry_poll() - poll a client's file
 * @file: the file
 * @table: who waits
 *
 * Context: task.
 * Return: EPOLL*, as uapi/linux/quarry.h pairs them with events.
 */
__poll_t quarry_poll(struct file *file, struct poll_table_struct *table)
{
	struct quarry_client *client = file->private_data;
	struct quarry_look look;
	__poll_t mask = 0;

	poll_wait(file, &client->pool->wait, table);
	quarry_client_look(client, &look);
	if (look.events & QUARRY_EVENT_PEER_DIED)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (look.events & QUARRY_EVENT_LOW_MEMORY)
		mask |= EPOLLPRI;
	if (look.events & QUARRY_EVENT_MEMORY_BACK)
		mask |= EPOLLOUT | EPOLLWRNORM;
	if (look.events & QUARRY_EVENT_CORRUPTION)
		mask |= EPOLLERR;
	if (look.events & QUARRY_EVENT_REAPED)
		mask |= EPOLLHUP;
	return mask;
}
