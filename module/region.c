// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Regions: pages into a pool and out of it.
 *
 * A region's pages are contiguous, zeroed, split to order 0 and held by one
 * reference each, so that a page's count alone says who else uses it. All are
 * charged: to the memory cgroup of the caller, to its RLIMIT_MEMLOCK, to the
 * quota of the pool's creator.
 *
 * Order: mmap_lock (memlock) is taken before pool->grow, never under it; so
 * memlock is charged in advance, and what was not needed is given back.
 */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "client.h"
#include "errors.h"
#include "limits.h"
#include "magazine.h"
#include "pool.h"
#include "trace.h"

/* Largest region that the kernel gives in one piece, and largest object: 4 MiB. */
#define QUARRY_REGION_PAGES ((u64)QUARRY_MAX_OBJECT >> PAGE_SHIFT)
/* A pool grows by an eighth of what it has, between these. */
#define QUARRY_LEAST_STEP ((512ULL << 10) >> PAGE_SHIFT)

#define QUARRY_GFP_PAGES (QUARRY_GFP | __GFP_ZERO)

/* What one call may spend, and what it has spent. */
struct budget {
	struct mm_struct *mm;
	unsigned long charged;	/* pages that memlock counts already */
	unsigned long spent;
};

static struct page *take_pages(enum quarry_core_zone zone, int node, unsigned long pages)
{
	unsigned int order = get_order(pages << PAGE_SHIFT);
	gfp_t gfp = QUARRY_GFP_PAGES;
	struct page *first;
	unsigned long i;

	if (zone == QUARRY_CORE_LOWMEM)
		gfp |= __GFP_DMA32;
	first = alloc_pages_node(node, gfp, order);
	if (!first)
		return NULL;
	split_page(first, order);
	for (i = pages; i < 1UL << order; i++)
		__free_page(first + i);
	return first;
}

static void free_pages_of(struct page *first, unsigned long pages)
{
	unsigned long i;

	for (i = 0; i < pages; i++) {
		/* One that is pinned for I/O goes when the pin does. */
		__free_page(first + i);
		if (i % 256 == 255)
			cond_resched();
	}
}

static int charge_bytes(struct quarry_pool *pool, enum quarry_core_zone zone, unsigned long pages)
{
	u64 bytes = (u64)pages << PAGE_SHIFT;
	int err = quarry_charge(pool->account, QUARRY_CHARGE_BYTES, bytes);

	if (err || zone != QUARRY_CORE_LOWMEM || pool->any_lowmem)
		return err;
	err = quarry_charge(pool->account, QUARRY_CHARGE_LOWMEM, bytes);
	if (err)
		quarry_uncharge(pool->account, QUARRY_CHARGE_BYTES, bytes);
	return err;
}

static void uncharge_bytes(struct quarry_pool *pool, enum quarry_core_zone zone,
			   unsigned long pages)
{
	u64 bytes = (u64)pages << PAGE_SHIFT;

	quarry_uncharge(pool->account, QUARRY_CHARGE_BYTES, bytes);
	if (zone == QUARRY_CORE_LOWMEM && !pool->any_lowmem)
		quarry_uncharge(pool->account, QUARRY_CHARGE_LOWMEM, bytes);
}

/* One region of exactly @pages pages. Under pool->grow. */
static int add_region(struct quarry_pool *pool, enum quarry_core_zone zone, int node,
		      unsigned long pages, bool grown, struct budget *budget, u64 *offset)
{
	struct quarry_extent *extent;
	int err;

	lockdep_assert_held(&pool->grow);
	err = charge_bytes(pool, zone, pages);
	if (err)
		return err;
	err = -ENOMEM;
	extent = kzalloc(sizeof(*extent), QUARRY_GFP);
	if (!extent)
		goto uncharge;
	extent->first = take_pages(zone, node, pages);
	if (!extent->first)
		goto free;
	extent->pages = pages;
	extent->zone = zone;
	extent->grown = grown;
	extent->mm = budget->mm;
	/* Its first slab may be made at once: the class table must reach so far. */
	err = quarry_errno(quarry_core_region_place(pool->core, pages, offset));
	if (!err)
		err = quarry_classes_cover(pool, *offset, pages);
	if (!err)
		err = quarry_errno(quarry_core_region_add(pool->core, pages, zone, extent, offset));
	if (err) {
		/* The core's table of regions ends before the offset space does. */
		if (err == -EUSERS)
			err = -ENOSPC;
		goto give;
	}
	if (extent->mm)
		mmgrab(extent->mm);
	extent->offset = *offset;
	budget->spent += pages;
	list_add_tail(&extent->link, &pool->regions);
	WRITE_ONCE(pool->pages, pool->pages + pages);
	/* Pairs with quarry_pool_growths(). */
	smp_store_release(&pool->growths, pool->growths + 1);
	atomic64_inc(&pool->epoch);
	trace_region_add(pool->id, *offset, (u64)pages << PAGE_SHIFT, zone);
	return 0;
give:
	free_pages_of(extent->first, pages);
free:
	kfree(extent);
uncharge:
	uncharge_bytes(pool, zone, pages);
	return err;
}

/* Frees an extent that the core no longer knows. Not under pool->grow. */
static void free_extent(struct quarry_pool *pool, struct quarry_extent *extent)
{
	free_pages_of(extent->first, extent->pages);
	uncharge_bytes(pool, extent->zone, extent->pages);
	if (extent->mm) {
		quarry_memlock_uncharge(extent->mm, extent->pages);
		mmdrop(extent->mm);
	}
	kfree_rcu(extent, rcu);
}

/* The next smaller size to try: a power of two, but never below @needed; 0: none. */
static u64 smaller(u64 pages, u64 needed)
{
	if (pages <= needed)
		return 0;
	return max_t(u64, rounddown_pow_of_two(pages - 1), needed);
}

/**
 * quarry_pool_growths() - how often regions were added
 * @pool: the pool
 *
 * Read before an attempt to allocate: when it fails, and this has changed, it
 * is worth another.
 *
 * Context: any.
 * Return: a count.
 */
u64 quarry_pool_growths(struct quarry_pool *pool)
{
	/* Pairs with the release in add_region(): what was counted can be had. */
	return smp_load_acquire(&pool->growths);
}

/**
 * quarry_pool_grow() - add a region because an allocation needs it
 * @pool: a heap
 * @needed: contiguous pages that would help, 1..2^10
 * @seen: pool->growths before the attempt that failed
 *
 * Takes more than is needed while that can be had, and only what is needed
 * when not. When the pool has grown since @seen nothing is added.
 *
 * Context: task, in the growing client's mm; no lock held.
 * Return: 0: try again; -ENOSPC at the maximum, -EDQUOT, -ENOBUFS, -ENOMEM;
 * -EINTR when the caller is being killed.
 */
int quarry_pool_grow(struct quarry_pool *pool, u64 needed, u64 seen)
{
	struct budget budget = { .mm = current->mm };
	u64 pages, room, step, offset;
	int err;

	needed = max_t(u64, needed, 1);
	room = READ_ONCE(pool->pages);
	step = clamp_t(u64, room / 8, QUARRY_LEAST_STEP, QUARRY_REGION_PAGES);
	room = pool->max_pages - room;
	pages = max_t(u64, roundup_pow_of_two(needed), rounddown_pow_of_two(step));
	pages = min(pages, room);
	if (needed > room || needed > QUARRY_REGION_PAGES)
		return quarry_pool_growths(pool) != seen ? 0 : -ENOSPC;
	err = quarry_memlock_charge(budget.mm, pages);
	if (err) {
		pages = needed;
		err = quarry_memlock_charge(budget.mm, pages);
	}
	if (err)
		return quarry_pool_growths(pool) != seen ? 0 : err;
	budget.charged = pages;
	if (mutex_lock_killable(&pool->grow)) {
		err = -EINTR;
		goto out;
	}
	if (pool->growths == seen) {
		pages = min(pages, pool->max_pages - pool->pages);
		do {
			err = add_region(pool, pool->zone, pool->node, pages, true, &budget,
					 &offset);
			pages = smaller(pages, needed);
		} while (err && pages);
	}
	mutex_unlock(&pool->grow);
out:
	quarry_memlock_uncharge(budget.mm, budget.charged - budget.spent);
	return err;
}

/**
 * quarry_regions_add() - add memory on demand of the pool's creator
 * @pool: the pool
 * @zone: where from
 * @node: NUMA node to prefer, or NUMA_NO_NODE
 * @pages: how many
 * @all: do not be content with a part
 * @first: offset of the first region
 * @added: pages that were added
 * @count: regions that were added
 *
 * Regions descend in size, so that they leave no gaps in an empty pool. With
 * @all, what was added stays when the call fails: the caller ends the pool.
 *
 * Context: task, no lock held.
 * Return: 0; with none added, or less with @all: -ENOSPC, -EDQUOT, -ENOBUFS,
 * -ENOMEM; -EINTR when the caller is being killed.
 */
int quarry_regions_add(struct quarry_pool *pool, enum quarry_core_zone zone, int node, u64 pages,
		       bool all, u64 *first, u64 *added, u32 *count)
{
	struct budget budget = { .mm = current->mm };
	u64 most = QUARRY_REGION_PAGES;
	u64 offset;
	int err;

	*added = 0;
	*count = 0;
	err = quarry_memlock_charge(budget.mm, pages);
	if (err)
		return err;
	budget.charged = pages;
	if (mutex_lock_killable(&pool->grow)) {
		err = -EINTR;
		goto out;
	}
	while (*added < pages && most) {
		u64 size = min(pages - *added, most);

		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		err = add_region(pool, zone, node, size, false, &budget, &offset);
		if (err) {
			most = smaller(size, 1);
			continue;
		}
		if (!*count)
			*first = offset;
		*added += size;
		(*count)++;
		cond_resched();
	}
	mutex_unlock(&pool->grow);
out:
	quarry_memlock_uncharge(budget.mm, budget.charged - budget.spent);
	return *added == pages || (*added && !all && err != -EINTR) ? 0 : err;
}

/**
 * quarry_page_find() - the page that holds an offset, with a reference
 * @pool: the pool
 * @offset: bytes from its start
 *
 * Context: any.
 * Return: the page, or NULL: no region holds it, or the region is leaving.
 */
struct page *quarry_page_find(struct quarry_pool *pool, u64 offset)
{
	struct page *page;

	rcu_read_lock();
	page = quarry_page_of(pool, offset);
	if (page)
		get_page(page);
	rcu_read_unlock();
	return page;
}

/**
 * quarry_page_of() - the page that holds an offset, without a reference
 * @pool: the pool
 * @offset: bytes from its start
 *
 * Context: any, under rcu_read_lock(), for as long as the page is looked at.
 * Return: as quarry_page_find().
 */
struct page *quarry_page_of(struct quarry_pool *pool, u64 offset)
{
	struct quarry_core_region region;
	struct quarry_extent *extent;

	if (quarry_core_region_find(pool->core, offset, &region) != QUARRY_OK)
		return NULL;
	extent = region.cookie;
	/* Pairs with the grace period in quarry_region_remove(). */
	if (READ_ONCE(extent->leaving))
		return NULL;
	return extent->first + ((offset - region.offset) >> PAGE_SHIFT);
}

static bool extent_unused(const struct quarry_extent *extent)
{
	unsigned long i;

	for (i = 0; i < extent->pages; i++)
		if (page_count(extent->first + i) != 1)
			return false;
	return true;
}

/*
 * A grace period after @leaving was set no fault hands out a page of this extent, and what
 * faults had handed out is mapped and taken out again, or shows in the page's count.
 */
static bool withdraw_extent(struct quarry_pool *pool, struct quarry_extent *extent)
{
	unmap_mapping_range(pool->inode->i_mapping, extent->offset,
			    (loff_t)extent->pages << PAGE_SHIFT, 1);
	if (extent_unused(extent))
		return true;
	WRITE_ONCE(extent->leaving, false);
	return false;
}

/*
 * An extent that the core has isolated leaves the pool, unless somebody uses a page of it.
 * Under pool->grow, a grace period after @leaving was set.
 */
static bool take_out(struct quarry_pool *pool, struct quarry_extent *extent)
{
	lockdep_assert_held(&pool->grow);
	if (!withdraw_extent(pool, extent)) {
		quarry_core_region_restore(pool->core, extent->offset);
		return false;
	}
	quarry_core_region_remove(pool->core, extent->offset);
	list_del(&extent->link);
	WRITE_ONCE(pool->pages, pool->pages - extent->pages);
	atomic64_inc(&pool->epoch);
	trace_region_remove(pool->id, extent->offset, (u64)extent->pages << PAGE_SHIFT);
	return true;
}

static int remove_region(struct quarry_pool *pool, u64 offset, u64 *pages)
{
	struct quarry_core_region region;
	struct quarry_extent *extent;
	int err;

	if (!IS_ALIGNED(offset, QUARRY_GRAIN))
		return -EINVAL;
	if (mutex_lock_killable(&pool->grow))
		return -EINTR;
	err = quarry_errno(quarry_core_region_find(pool->core, offset, &region));
	if (!err && region.offset != offset)
		err = -EBADSLT;
	if (!err)
		err = quarry_errno(quarry_core_region_isolate(pool->core, offset, &region));
	if (err)
		goto out;
	extent = region.cookie;
	WRITE_ONCE(extent->leaving, true);
	synchronize_rcu();
	if (!take_out(pool, extent))
		err = -EBUSY;
out:
	mutex_unlock(&pool->grow);
	if (err)
		return err;
	*pages = extent->pages;
	free_extent(pool, extent);
	return 0;
}

/**
 * quarry_region_remove() - take a region out of a pool and every address space
 * @pool: the pool
 * @offset: where the region starts
 * @pages: how many pages it had
 *
 * What lies free in clients' magazines does not keep a region.
 *
 * Context: task, no lock held.
 * Return: 0; -ERANGE, -ENXIO, -EBADSLT (a region holds it, but starts
 * elsewhere); -EBUSY when an object or a reference is left: then nothing has
 * changed; -EINTR when the caller is being killed.
 */
int quarry_region_remove(struct quarry_pool *pool, u64 offset, u64 *pages)
{
	int err = remove_region(pool, offset, pages);

	if (err == -EBUSY && quarry_pool_relieve(pool))
		err = remove_region(pool, offset, pages);
	return err;
}

/* ---- memory pressure: regions that the pool grew by, and that are idle ---- */

static bool may_go(const struct quarry_extent *extent, int node)
{
	return extent->grown && page_to_nid(extent->first) == node;
}

static bool is_free(struct quarry_pool *pool, const struct quarry_extent *extent)
{
	return quarry_core_region_free(pool->core, extent->offset) == extent->pages;
}

static unsigned long count_idle(struct quarry_idle *idle, int node, unsigned long *candidates)
{
	struct quarry_pool *pool = container_of(idle, struct quarry_pool, idle);
	struct quarry_extent *extent;
	unsigned long pages = 0;

	if (!mutex_trylock(&pool->grow))
		return 0;
	list_for_each_entry(extent, &pool->regions, link) {
		if (!may_go(extent, node))
			continue;
		*candidates += extent->pages;
		if (is_free(pool, extent))
			pages += extent->pages;
	}
	mutex_unlock(&pool->grow);
	return pages;
}

static LLIST_HEAD(gone_extents);

/* What reclaim gave back: its owner's mmap_lock may have been held there. */
static void uncharge_gone(struct work_struct *work)
{
	struct quarry_extent *extent, *next;

	llist_for_each_entry_safe(extent, next, llist_del_all(&gone_extents), gone) {
		quarry_memlock_uncharge(extent->mm, extent->pages);
		mmdrop(extent->mm);
		kfree_rcu(extent, rcu);
	}
}

static DECLARE_WORK(uncharge_work, uncharge_gone);

static void free_in_reclaim(struct quarry_pool *pool, struct quarry_extent *extent)
{
	free_pages_of(extent->first, extent->pages);
	uncharge_bytes(pool, extent->zone, extent->pages);
	if (!extent->mm) {
		kfree_rcu(extent, rcu);
		return;
	}
	llist_add(&extent->gone, &gone_extents);
	queue_work(system_unbound_wq, &uncharge_work);
}

static unsigned long give_idle(struct quarry_idle *idle, int node, unsigned long pages)
{
	struct quarry_pool *pool = container_of(idle, struct quarry_pool, idle);
	struct quarry_core_region region;
	struct quarry_extent *extent, *next;
	unsigned long leaving = 0, given = 0;
	LIST_HEAD(out);

	if (!mutex_trylock(&pool->grow))
		return 0;
	list_for_each_entry(extent, &pool->regions, link) {
		if (extent->pages > pages - leaving || !may_go(extent, node) ||
		    !is_free(pool, extent) ||
		    quarry_core_region_isolate(pool->core, extent->offset, &region))
			continue;
		WRITE_ONCE(extent->leaving, true);
		leaving += extent->pages;
	}
	/* One grace period for all of them. */
	if (leaving)
		synchronize_rcu();
	list_for_each_entry_safe(extent, next, &pool->regions, link)
		if (extent->leaving && take_out(pool, extent))
			list_add(&extent->link, &out);
	mutex_unlock(&pool->grow);
	list_for_each_entry_safe(extent, next, &out, link) {
		given += extent->pages;
		free_in_reclaim(pool, extent);
	}
	return given;
}

static void trim(struct quarry_idle *idle)
{
	struct quarry_pool *pool = container_of(idle, struct quarry_pool, idle);
	u64 slots, slabs;

	quarry_pool_relieve(pool);
	/* To an audit it is a call. */
	atomic64_inc(&pool->looks);
	quarry_core_pool_drain(pool->core, &slots, &slabs);
	atomic64_inc(&pool->looked);
}

/* How a heap gives back what it grew by. */
const struct quarry_idle_ops quarry_regions_idle = {
	.count = count_idle,
	.scan = give_idle,
	.trim = trim,
};

/**
 * quarry_regions_exit() - what was given back in reclaim is settled when this returns
 *
 * Context: task; no pool is left.
 */
void quarry_regions_exit(void)
{
	flush_work(&uncharge_work);
}

/**
 * quarry_extent_forget() - give a region's pages back when its pool ends
 * @os_pool: the pool
 * @cookie: the extent
 *
 * Context: task, no lock held; nobody else knows the pool.
 */
void quarry_extent_forget(void *os_pool, void *cookie)
{
	struct quarry_extent *extent = cookie;

	list_del(&extent->link);
	free_extent(os_pool, extent);
}
