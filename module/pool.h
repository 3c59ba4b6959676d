/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A pool, as the shim sees it: the core's pool, the pages that were given to
 * it, its inode, its limits, its clients and its counters.
 *
 * A pool lives as long as one of its clients, and a client as long as its file;
 * a mapping holds the file. Suites without files hold references instead.
 */
#ifndef QUARRY_POOL_H
#define QUARRY_POOL_H

#include <linux/gfp.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/refcount.h>
#include <linux/seqlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <uapi/linux/quarry.h>
#include "idle.h"
#include "include/quarry_seam.h"

/*
 * What a user's call allocates: charged to its memory cgroup, and refused rather
 * than had by the OOM killer.
 */
#define QUARRY_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

struct dentry;
struct inode;
struct mm_struct;
struct page;
struct quarry_account;
struct seq_file;
struct quarry_client;

/**
 * struct quarry_counts - what clients did; a dead client's are the pool's
 * @allocs: objects granted
 * @frees: objects freed by their owners
 * @transfers: objects moved
 * @refused: objects and calls refused
 * @refills: magazines refilled
 * @flushes: magazines flushed
 */
struct quarry_counts {
	u64 allocs;
	u64 frees;
	u64 transfers;
	u64 refused;
	u64 refills;
	u64 flushes;
};

/**
 * struct quarry_pool - one pool
 * @id: never used again
 * @refs: one for each client, one for who creates it
 * @core: the core's half
 * @kind: heap, fixed or range
 * @zone: where its regions come from, but for those that its creator adds
 * @node: NUMA node to prefer, or NUMA_NO_NODE
 * @flags: QUARRY_POOL_*
 * @any_lowmem: the creator may take lowmem beyond the quota
 * @max_pages: the offset space that can be mapped; 0: a range pool
 * @max_bytes: the offset space
 * @meta_bytes: range pools: records that count as the creator's bytes
 * @object_size: fixed pools
 * @object_count: fixed pools
 * @client_limit: most bytes that one client may own, or 0
 * @name: for people; empty: the id is its name
 * @account: the creator's; pool and bytes are charged to it
 * @named: in the account's list of pools, under the lock of names
 * @inode: whose mapping all files of the pool share
 * @grow: serialises what adds and removes regions, and audits
 * @regions: struct quarry_extent, under @grow
 * @pages: in all regions; written under @grow
 * @growths: how often a region was added; written under @grow
 * @classes: the class table's pages, CHUNK by CHUNK (classes.c), or NULL
 * @classes_lock: zeroes are mapped, and pages of the table come, under it
 * @classes_zeroes: a page of zeroes was mapped at some time
 * @class_chunks: pages that the table has; written under @grow
 * @clients: by id; lookups under RCU
 * @living: clients not reaped
 * @fold: guards @past against readers while a client's counts move there
 * @past: what clients did that are gone
 * @past_entered: calls that they began, and ended; under @fold
 * @looks: STATs begun: they bring slots home
 * @looked: STATs ended
 * @epoch: counts whatever is no client's call and may change the pool
 * @used: bytes that clients own, near enough for @level
 * @used_batch: how near
 * @low_above: more bytes used than this is low memory
 * @level: counts changes between enough and low memory; odd: low
 * @reaps: clients reaped
 * @late_reaps: of those, after the parent could learn of the death
 * @reaped_objects: what they owned
 * @reaped_bytes: what they owned
 * @corruptions: reported by the core
 * @drains: magazines emptied from elsewhere
 * @drained: objects that came home so
 * @unreachable: CPUs that could not be drained in time
 * @magazine_bytes: memory of all clients' magazines
 * @wait: who polls
 * @wake: wakes @wait from where no lock of the scheduler may be taken
 * @recheck: looks again at what I/O holds (held.c)
 * @idle: heaps: gives back what they grew by and is idle
 * @dir: of debugfs
 */
struct quarry_pool {
	u64 id;
	refcount_t refs;
	struct quarry_core_pool *core;
	enum quarry_core_kind kind;
	enum quarry_core_zone zone;
	int node;
	u32 flags;
	bool any_lowmem;
	u64 max_pages;
	u64 max_bytes;
	u64 meta_bytes;
	u64 object_size;
	u64 object_count;
	u64 client_limit;
	char name[QUARRY_NAME_LEN];

	struct quarry_account *account;
	struct list_head named;
	struct inode *inode;

	/* Outermost of the shim's locks; mmap_lock ranks before it. */
	struct mutex grow;
	struct list_head regions;
	u64 pages;
	u64 growths;

	struct page **classes;
	struct mutex classes_lock;	/* chunks of the class table, and their zeroes */
	bool classes_zeroes;
	u64 class_chunks;

	struct xarray clients;
	atomic_t living;
	seqlock_t fold;
	struct quarry_counts past;
	u64 past_entered;
	atomic64_t looks;
	atomic64_t looked;
	atomic64_t epoch;

	struct percpu_counter used;
	s32 used_batch;
	u64 low_above;
	atomic_t level;

	atomic64_t reaps;
	atomic64_t late_reaps;
	atomic64_t reaped_objects;
	atomic64_t reaped_bytes;
	atomic64_t corruptions;
	atomic64_t drains;
	atomic64_t drained;
	atomic64_t unreachable;
	atomic64_t magazine_bytes;

	wait_queue_head_t wait;
	struct irq_work wake;
	struct delayed_work recheck;
	struct quarry_idle idle;
	struct dentry *dir;
};

/**
 * struct quarry_pool_config - what a pool is made from
 * @kind: heap, fixed or range
 * @zone: where its memory comes from
 * @node: NUMA node to prefer, or NUMA_NO_NODE
 * @flags: QUARRY_POOL_*
 * @any_lowmem: lowmem beyond the user's quota is allowed
 * @bytes: heap: to have from the start
 * @max_bytes: heap: the offset space, a multiple of the page size; range: the capacity
 * @object_size: fixed
 * @object_count: fixed
 * @granule: range
 * @max_ranges: range
 * @aligns: range
 * @client_limit: most bytes that one client may own, or 0
 * @name: of the user's choice, or ""
 */
struct quarry_pool_config {
	enum quarry_core_kind kind;
	enum quarry_core_zone zone;
	int node;
	u32 flags;
	bool any_lowmem;
	u64 bytes;
	u64 max_bytes;
	u64 object_size;
	u64 object_count;
	u64 granule;
	u64 max_ranges;
	u64 aligns[QUARRY_CORE_RANGE_ALIGNS];
	u64 client_limit;
	const char *name;
};

/* The ids of drivers' heaps have this bit. */
#define QUARRY_DRIVER_ID BIT_ULL(63)

static_assert(offsetof(struct quarry_pool, id) == 0);

/**
 * quarry_pool_of() - what the core hands back to the hooks
 * @os_pool: a pool, a driver's heap (both begin with their id), or NULL
 *
 * Context: any.
 * Return: the pool; NULL: it is none.
 */
static inline struct quarry_pool *quarry_pool_of(void *os_pool)
{
	return os_pool && !(*(u64 *)os_pool & QUARRY_DRIVER_ID) ? os_pool : NULL;
}

int quarry_pool_create(const struct quarry_pool_config *config, struct quarry_pool **made);
struct quarry_pool *quarry_pool_get(struct quarry_pool *pool);
void quarry_pool_put(struct quarry_pool *pool);
void quarry_pool_name(const struct quarry_pool *pool, char name[QUARRY_NAME_LEN]);

/* region.c */

/**
 * struct quarry_extent - a region's pages: the cookie that the core keeps
 * @rcu: freed after lookups
 * @link: in the pool's list
 * @first: the first of the pages, which are contiguous and each of order 0
 * @pages: how many
 * @offset: bytes from the pool's start
 * @zone: as it was asked for
 * @grown: because an allocation needed it: memory pressure may take it back
 * @leaving: being removed: no further page of it is handed out
 * @mm: whose RLIMIT_MEMLOCK counts it, grabbed; NULL: nobody's
 * @gone: given back in reclaim, and still counted by @mm
 */
struct quarry_extent {
	struct rcu_head rcu;
	struct list_head link;
	struct page *first;
	unsigned long pages;
	u64 offset;
	enum quarry_core_zone zone;
	bool grown;
	bool leaving;
	struct mm_struct *mm;
	struct llist_node gone;
};

u64 quarry_pool_growths(struct quarry_pool *pool);
int quarry_pool_grow(struct quarry_pool *pool, u64 needed, u64 seen);
int quarry_regions_add(struct quarry_pool *pool, enum quarry_core_zone zone, int node, u64 pages,
		       bool all, u64 *first, u64 *added, u32 *count);
int quarry_region_remove(struct quarry_pool *pool, u64 offset, u64 *pages);
struct page *quarry_page_find(struct quarry_pool *pool, u64 offset);
struct page *quarry_page_of(struct quarry_pool *pool, u64 offset);
void quarry_regions_exit(void);
extern const struct quarry_idle_ops quarry_regions_idle;
void quarry_held_init(struct quarry_pool *pool);
void quarry_extent_forget(void *os_pool, void *cookie);

/* poolfs.c */
struct inode *quarry_poolfs_inode(void);
void quarry_poolfs_put(struct inode *inode);
struct file *quarry_poolfs_file(struct quarry_pool *pool, const struct file_operations *fops);

/* debugfs.c */
struct dentry *quarry_debugfs_heaps(void);
void quarry_debugfs_audit(struct seq_file *seq, const struct quarry_core_audit *audit);

/* stat.c */
void quarry_pool_stat(struct quarry_pool *pool, struct quarry_stat *stat,
		      struct quarry_core_class_stat *classes, u32 room);
int quarry_pool_verify(struct quarry_pool *pool, struct quarry_core_audit *audit);

/* poll.c */
void quarry_pool_wake(struct quarry_pool *pool);
void quarry_pool_weigh(struct quarry_pool *pool, s64 change);
bool quarry_pool_low(struct quarry_pool *pool);

#endif /* QUARRY_POOL_H */
