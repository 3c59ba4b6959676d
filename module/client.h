/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A client: one file on a pool, bound to one mm, owner of what it was granted.
 *
 *   fresh      made by POOL_CREATE or JOIN
 *   connected  its client area was mapped
 *   dead       no call may begin; what it owns is on its way back
 *   reaped     all of it is back
 *
 * fresh -> connected is made by mmap; -> dead by the first of the three triggers
 * in client.c, whoever runs it, and dead -> reaped by the same; a later trigger
 * waits for reaped.
 */
#ifndef QUARRY_CLIENT_H
#define QUARRY_CLIENT_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/types.h>

#include <uapi/linux/quarry.h>
#include "include/quarry_seam.h"

struct file;
struct mm_struct;
struct page;
struct pid;
struct poll_table_struct;
struct quarry_account;
struct quarry_magazines;
struct quarry_pool;
struct vm_area_struct;

/**
 * struct quarry_client - one client
 * @id: never used again
 * @pool: a reference
 * @core: the core's half; goes with the last reference
 * @mm: grabbed, so that no other mm is ever mistaken for it; NULL: the kernel's own
 * @owner: the thread group that made it
 * @exec_id: which of that group's programs made it
 * @creator: made by POOL_CREATE
 * @refs: the file's, and those of calls that name this client
 * @rcu: freed after lookups
 * @account: of the user who joined
 * @reserving: held by RESERVE; outside @calls, inside nothing
 * @calls: held for reading around each call of the core for this client; for
 *	writing to set @dead. No user memory is touched and no region is added under it
 * @dead: no call may begin; under @calls
 * @connected: the area was mapped
 * @reaped: all is back
 * @area: the first page of the client area
 * @magazines: the memory behind the rest of it (magazine.c); NULL: none
 * @area_maps: mappings of it: one, or for a moment two while mremap fails
 * @entered: calls begun, the reap included
 * @left: calls ended
 * @allocs: objects granted
 * @frees: objects freed
 * @transfers: objects moved
 * @refused: objects and calls refused
 * @refills: magazines refilled
 * @flushes: magazines flushed
 * @weighed: bytes of this client in the pool's @used
 * @seen_deaths: reaps of the pool that are acknowledged
 * @seen_corruptions: corruptions that are acknowledged
 * @seen_level: the memory level that is acknowledged, or -1
 */
struct quarry_client {
	u64 id;
	struct quarry_pool *pool;
	struct quarry_core_client *core;
	struct mm_struct *mm;
	struct pid *owner;
	u64 exec_id;
	bool creator;
	refcount_t refs;
	struct rcu_head rcu;
	struct quarry_account *account;

	struct mutex reserving;	/* RESERVE calls, one after the other */
	/* Inside pool->grow; two only in the order of their ids. */
	struct rw_semaphore calls;
	bool dead;
	bool connected;
	struct completion reaped;
	struct page *area;
	struct quarry_magazines *magazines;
	atomic_t area_maps;

	atomic64_t entered;
	atomic64_t left;
	atomic64_t allocs;
	atomic64_t frees;
	atomic64_t transfers;
	atomic64_t refused;
	atomic64_t refills;
	atomic64_t flushes;
	atomic64_t weighed;

	u64 seen_deaths;
	u64 seen_corruptions;
	int seen_level;
};

/* Who was in the way of a refused call. */
struct quarry_blame {
	u64 offset;
	u64 owner;
};

/* client.c */
int quarry_client_create(struct quarry_pool *pool, bool creator, struct quarry_client **made);
struct quarry_client *quarry_client_find(struct quarry_pool *pool, u64 id);
void quarry_client_put(struct quarry_client *client);
void quarry_client_reap(struct quarry_client *client);
bool quarry_client_exits(const struct quarry_client *client);
u32 quarry_client_area_bytes(const struct quarry_pool *pool);

/* calls.c: what a client asks of its pool, on the kernel's own arrays. */
int quarry_client_alloc(struct quarry_client *client, u64 size, u64 align, u32 count,
			u64 *offsets, u32 *done);
void quarry_client_undo(struct quarry_client *client, const u64 *offsets, u32 count);
int quarry_client_free(struct quarry_client *client, const u64 *offsets, u32 count, u32 *done,
		       struct quarry_blame *blame);
typedef int quarry_hand_fn(struct quarry_core_client *from, struct quarry_core_client *to,
			   const u64 *offsets, u32 count, u32 *done,
			   struct quarry_core_refusal *refusal);
int quarry_client_hand(struct quarry_client *from, u64 to_id, quarry_hand_fn *how,
		       const u64 *offsets, u32 count, u32 *done, struct quarry_blame *blame);
int quarry_client_resize(struct quarry_client *client, u64 offset, u64 size, u64 *bytes,
			 struct quarry_blame *blame);
int quarry_client_refill(struct quarry_client *client, u32 class_index, u64 *offset, u32 *filled);
int quarry_client_flush(struct quarry_client *client, u32 class_index, const u64 *object,
			struct quarry_core_flushed *flushed, struct quarry_blame *blame);
int quarry_client_reserve(struct quarry_client *client, u64 size, u64 align, u32 count,
			  u64 *scratch, u32 *left);
void quarry_client_refused(struct quarry_client *client, u32 call, int error,
			   const struct quarry_blame *blame);

/* drain.c */
void quarry_client_weigh(struct quarry_client *client);
u64 quarry_client_relieve(struct quarry_client *client);
u64 quarry_pool_relieve(struct quarry_pool *pool);
int quarry_client_drain(struct quarry_client *client, bool pool, u64 *slots, u64 *slabs);

/* poll.c */

/**
 * struct quarry_look - one look at the news
 * @events: QUARRY_EVENT_*
 * @deaths: of peers, so far
 * @corruptions: so far
 * @level: the memory level
 */
struct quarry_look {
	u32 events;
	u64 deaths;
	u64 corruptions;
	int level;
};

void quarry_client_look(struct quarry_client *client, struct quarry_look *look);
void quarry_client_acknowledge(struct quarry_client *client, const struct quarry_look *look);
__poll_t quarry_poll(struct file *file, struct poll_table_struct *table);

/* mmap.c */
int quarry_mmap(struct file *file, struct vm_area_struct *vma);

/* chrdev.c, ioctl.c */
int quarry_chrdev_init(void);
void quarry_chrdev_exit(void);
extern const struct file_operations quarry_client_fops;

/* debugfs.c */
void quarry_debugfs_init(void);
void quarry_debugfs_exit(void);
void quarry_debugfs_add(struct quarry_pool *pool);
void quarry_debugfs_remove(struct quarry_pool *pool);

#endif /* QUARRY_CLIENT_H */
