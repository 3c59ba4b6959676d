// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What lies free in magazines comes home: when memory is short, and when a client asks. */
#include "client.h"
#include "pool.h"

/**
 * quarry_client_weigh() - bring the pool's sum up to what a client owns now
 * @client: the client, in a call of its own
 *
 * Two at once may leave it stale until the next: the differences always add up.
 *
 * Context: any.
 */
void quarry_client_weigh(struct quarry_client *client)
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
			quarry_client_weigh(client);
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
 * quarry_client_relieve() - have what lies free in one client's magazines come home
 * @client: the client, which is short of its limit
 *
 * Context: task, no lock held. At most 10 ms and what it moves.
 * Return: objects that came home.
 */
u64 quarry_client_relieve(struct quarry_client *client)
{
	return drain_client(client, true);
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
