// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The shrinker: memory that pools and drivers' heaps took and that is idle goes back when the
 * system is short. Regions that are wholly free, on the node and within the scan that it was
 * asked for; live data never moves, and magazines are never touched from here: what lies free in
 * caches comes home by work of its own, once a second at most, for the next scan.
 *
 * Order: idle_lock is the outermost of what reclaim takes, and is only tried there; under it
 * nothing is allocated. The locks of pools and heaps are held while they grow, so they are
 * only tried, too.
 */
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/shrinker.h>

#include "compat.h"
#include "idle.h"

#define QUARRY_TRIM_EVERY HZ
/* Pages of the largest region. */
#define QUARRY_IDLE_BATCH 1024

static DEFINE_MUTEX(idle_lock);	/* the list */
static LIST_HEAD(idle_list);
static struct shrinker *quarry_shrinker;

/* Idle pages of one of them. When caches may keep more from going they come home soon. */
static unsigned long count_one(struct quarry_idle *idle, int node)
{
	unsigned long may_go = 0, pages = idle->ops->count(idle, node, &may_go);

	if (may_go > pages && time_after(jiffies, idle->trimmed + QUARRY_TRIM_EVERY)) {
		idle->trimmed = jiffies;
		queue_work(system_unbound_wq, &idle->work);
	}
	return pages;
}

/**
 * quarry_idle_count() - idle pages of all pools and heaps
 * @node: on which node
 *
 * Context: task, in reclaim too.
 * Return: pages; 0 while the list is in use.
 */
unsigned long quarry_idle_count(int node)
{
	struct quarry_idle *idle;
	unsigned long pages = 0;

	if (!mutex_trylock(&idle_lock))
		return 0;
	list_for_each_entry(idle, &idle_list, link)
		pages += count_one(idle, node);
	mutex_unlock(&idle_lock);
	return pages;
}

/**
 * quarry_idle_scan() - give idle pages back
 * @node: on which node
 * @pages: no more than so many
 * @scanned: how many were looked at
 *
 * Context: task, in reclaim too.
 * Return: how many were given back.
 */
unsigned long quarry_idle_scan(int node, unsigned long pages, unsigned long *scanned)
{
	struct quarry_idle *idle;
	unsigned long freed = 0;

	*scanned = 0;
	if (!mutex_trylock(&idle_lock))
		return 0;
	list_for_each_entry(idle, &idle_list, link) {
		unsigned long count = count_one(idle, node);

		if (count && freed < pages)
			freed += idle->ops->scan(idle, node, pages - freed);
		*scanned += count;
	}
	*scanned = clamp(*scanned, freed, pages);
	mutex_unlock(&idle_lock);
	return freed;
}

static unsigned long count_objects(struct shrinker *shrinker, struct shrink_control *control)
{
	return quarry_idle_count(control->nid) ?: SHRINK_EMPTY;
}

static unsigned long scan_objects(struct shrinker *shrinker, struct shrink_control *control)
{
	unsigned long freed;

	/* A mapping's lock is taken, and a grace period waited for: not below a file system. */
	if (!(control->gfp_mask & __GFP_FS))
		return SHRINK_STOP;
	freed = quarry_idle_scan(control->nid, control->nr_to_scan, &control->nr_scanned);
	return freed ?: SHRINK_STOP;
}

static void trim(struct work_struct *work)
{
	struct quarry_idle *idle = container_of(work, struct quarry_idle, work);

	idle->ops->trim(idle);
}

/**
 * quarry_idle_add() - something may have idle memory from now on
 * @idle: part of it
 * @ops: how it gives it back
 *
 * Context: task, no lock held.
 */
void quarry_idle_add(struct quarry_idle *idle, const struct quarry_idle_ops *ops)
{
	idle->ops = ops;
	INIT_WORK(&idle->work, trim);
	idle->trimmed = jiffies - QUARRY_TRIM_EVERY;
	mutex_lock(&idle_lock);
	list_add_tail(&idle->link, &idle_list);
	mutex_unlock(&idle_lock);
}

/**
 * quarry_idle_remove() - it has none any more
 * @idle: as it was added, or zeroes; neither scan nor trim runs when this returns
 *
 * Context: task, no lock held.
 */
void quarry_idle_remove(struct quarry_idle *idle)
{
	if (!idle->ops)
		return;
	mutex_lock(&idle_lock);
	list_del(&idle->link);
	mutex_unlock(&idle_lock);
	cancel_work_sync(&idle->work);
	idle->ops = NULL;
}

/**
 * quarry_idle_init() - register the shrinker
 *
 * Context: task.
 * Return: 0 or -ENOMEM.
 */
int quarry_idle_init(void)
{
	quarry_shrinker = quarry_shrinker_alloc("quarry");
	if (!quarry_shrinker)
		return -ENOMEM;
	quarry_shrinker->count_objects = count_objects;
	quarry_shrinker->scan_objects = scan_objects;
	quarry_shrinker->seeks = DEFAULT_SEEKS;
	quarry_shrinker->batch = QUARRY_IDLE_BATCH;
	return quarry_shrinker_register(quarry_shrinker, "quarry");
}

/**
 * quarry_idle_exit() - remove it
 *
 * Context: task; no pool or heap is left.
 */
void quarry_idle_exit(void)
{
	quarry_shrinker_free(quarry_shrinker);
}
