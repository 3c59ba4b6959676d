/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Idle memory, which goes back to the system when that is short: see idle.c. */
#ifndef QUARRY_IDLE_H
#define QUARRY_IDLE_H

#include <linux/list.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct quarry_idle;

/**
 * struct quarry_idle_ops - what has memory to give back
 * @count: idle pages on a node, and of how many regions' pages that may go; waits for no lock
 * @scan: gives back regions that are wholly idle, on this node, of no more than so many pages
 *	in all; answers how many. It runs in reclaim: it waits for no lock that is held while memory
 *	is allocated, and for no CPU
 * @trim: has what lies free in caches come home, so that the next scan finds more. Context: task
 */
struct quarry_idle_ops {
	unsigned long (*count)(struct quarry_idle *idle, int node, unsigned long *may_go);
	unsigned long (*scan)(struct quarry_idle *idle, int node, unsigned long pages);
	void (*trim)(struct quarry_idle *idle);
};

/**
 * struct quarry_idle - part of a pool or heap that can give memory back
 * @ops: how
 * @link: in the list of all
 * @work: a trim
 * @trimmed: jiffies of the last one
 */
struct quarry_idle {
	const struct quarry_idle_ops *ops;
	struct list_head link;
	struct work_struct work;
	unsigned long trimmed;
};

int quarry_idle_init(void);
void quarry_idle_exit(void);
void quarry_idle_add(struct quarry_idle *idle, const struct quarry_idle_ops *ops);
void quarry_idle_remove(struct quarry_idle *idle);
unsigned long quarry_idle_count(int node);
unsigned long quarry_idle_scan(int node, unsigned long pages, unsigned long *scanned);

#endif /* QUARRY_IDLE_H */
