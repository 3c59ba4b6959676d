// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * debugfs: a folder a pool, by its id, for root. Lines are "key: value"; keys
 * are stable, and those of struct quarry_stat and struct quarry_verify where
 * these have them.
 *
 *   quarry/ID/stat     counters, and a line a size class
 *   quarry/ID/verify   a full audit, made when it is read
 *   quarry/ID/clients  a line a client
 *   quarry/ID/map      a line a region
 *   quarry/heaps       drivers' heaps: driver_debugfs.c
 *
 * A reader holds its file, and the pool waits for it before it ends.
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "client.h"
#include "pool.h"

static struct dentry *debugfs_root, *debugfs_heaps;

static const char *kind_name(u32 kind)
{
	static const char *const names[] = { "heap", "fixed", "range" };

	return kind < ARRAY_SIZE(names) ? names[kind] : "?";
}

static int stat_show(struct seq_file *seq, void *unused)
{
	struct quarry_pool *pool = seq->private;
	struct quarry_core_class_stat *classes;
	struct quarry_stat stat = {};
	u32 i;

	classes = kcalloc(QUARRY_MAX_CLASSES, sizeof(*classes), GFP_KERNEL);
	if (!classes)
		return -ENOMEM;
	quarry_pool_stat(pool, &stat, classes, QUARRY_MAX_CLASSES);
	seq_printf(seq, "pool_id: %llu\nname: %s\nkind: %s\n", stat.pool_id, stat.name,
		   kind_name(stat.kind));
	seq_printf(seq, "clients: %u\nmax_bytes: %llu\nbytes: %llu\nfree_bytes: %llu\n",
		   stat.clients, stat.max_bytes, stat.bytes, stat.free_bytes);
	seq_printf(seq, "used_bytes: %llu\nobjects: %llu\nmeta_bytes: %llu\n", stat.used_bytes,
		   stat.objects, stat.meta_bytes);
	seq_printf(seq, "regions: %u\nslabs: %u\nallocs: %llu\nfrees: %llu\n", stat.regions,
		   stat.slabs, stat.allocs, stat.frees);
	seq_printf(seq, "refused: %llu\ntransfers: %llu\nshares: %llu\nheld_bytes: %llu\nreserve_objects: %llu\n",
		   stat.refused, stat.transfers, stat.shares, stat.held_bytes,
		   stat.reserve_objects);
	seq_printf(seq, "reaps: %llu\nlate_reaps: %llu\nreaped_objects: %llu\nreaped_bytes: %llu\n",
		   stat.reaps, stat.late_reaps, stat.reaped_objects, stat.reaped_bytes);
	seq_printf(seq, "refills: %llu\nflushes: %llu\nmagazine_bytes: %llu\nunreachable: %llu\n",
		   stat.refills, stat.flushes, stat.magazine_bytes, stat.unreachable);
	seq_printf(seq, "corruptions: %llu\nclient_limit: %llu\nlow: %d\n", stat.corruptions,
		   stat.client_limit, quarry_pool_low(pool));
	for (i = 0; i < min_t(u32, stat.class_count, QUARRY_MAX_CLASSES); i++)
		if (classes[i].slabs)
			seq_printf(seq, "class_%u: slabs=%u live=%llu free=%llu\n",
				   classes[i].size, classes[i].slabs, classes[i].live,
				   classes[i].free);
	kfree(classes);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stat);

/**
 * quarry_debugfs_audit() - what an audit has found
 * @seq: where it is shown
 * @audit: the audit
 *
 * Context: task.
 */
void quarry_debugfs_audit(struct seq_file *seq, const struct quarry_core_audit *audit)
{
	seq_printf(seq, "verify: %s\nfaults: %llu\n", audit->faults ? "faults" : "ok",
		   audit->faults);
	if (audit->faults)
		seq_printf(seq, "first_offset: %llu\nfirst: %s\n", audit->first_offset,
			   audit->first);
	seq_printf(seq, "pages: %llu\nslabs: %llu\nobjects: %llu\n", audit->pages, audit->slabs,
		   audit->objects);
}

static int verify_show(struct seq_file *seq, void *unused)
{
	struct quarry_core_audit audit;
	int err = quarry_pool_verify(seq->private, &audit);

	if (!err)
		quarry_debugfs_audit(seq, &audit);
	return err;
}
DEFINE_SHOW_ATTRIBUTE(verify);

static const char *state_name(struct quarry_client *client)
{
	if (completion_done(&client->reaped))
		return "reaped";
	if (READ_ONCE(client->dead))
		return "dead";
	return READ_ONCE(client->connected) ? "connected" : "fresh";
}

static void show_client(struct seq_file *seq, struct quarry_client *client)
{
	u64 objects, bytes;

	quarry_core_client_usage(client->core, &objects, &bytes);
	seq_printf(seq, "client_%llu: pid=%d state=%s creator=%d objects=%llu bytes=%llu",
		   client->id, pid_nr(client->owner), state_name(client), client->creator, objects,
		   bytes);
	seq_printf(seq, " allocs=%llu frees=%llu refused=%llu\n",
		   (u64)atomic64_read(&client->allocs), (u64)atomic64_read(&client->frees),
		   (u64)atomic64_read(&client->refused));
}

static int clients_show(struct seq_file *seq, void *unused)
{
	struct quarry_pool *pool = seq->private;
	struct quarry_client *client;
	unsigned long id = 0;

	/*
	 * One at a time, each under the lock under which it would leave the
	 * table. No reference: the last one ends the pool, which waits for us.
	 */
	do {
		read_seqlock_excl(&pool->fold);
		client = xa_find(&pool->clients, &id, ULONG_MAX, XA_PRESENT);
		if (client)
			show_client(seq, client);
		read_sequnlock_excl(&pool->fold);
		id++;
	} while (client);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(clients);

static int map_show(struct seq_file *seq, void *unused)
{
	struct quarry_pool *pool = seq->private;
	struct quarry_extent *extent;

	if (mutex_lock_killable(&pool->grow))
		return -EINTR;
	list_for_each_entry(extent, &pool->regions, link)
		seq_printf(seq, "region_%#llx: bytes=%llu zone=%s node=%d\n", extent->offset,
			   (u64)extent->pages << PAGE_SHIFT,
			   extent->zone == QUARRY_CORE_LOWMEM ? "lowmem" : "normal",
			   page_to_nid(extent->first));
	mutex_unlock(&pool->grow);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(map);

/**
 * quarry_debugfs_add() - show a pool
 * @pool: the pool
 *
 * Without debugfs, or memory, there is no folder, and nothing else is missing.
 *
 * Context: task.
 */
void quarry_debugfs_add(struct quarry_pool *pool)
{
	char id[24];

	snprintf(id, sizeof(id), "%llu", pool->id);
	pool->dir = debugfs_create_dir(id, debugfs_root);
	debugfs_create_file("stat", 0400, pool->dir, pool, &stat_fops);
	debugfs_create_file("verify", 0400, pool->dir, pool, &verify_fops);
	debugfs_create_file("clients", 0400, pool->dir, pool, &clients_fops);
	debugfs_create_file("map", 0400, pool->dir, pool, &map_fops);
}

/**
 * quarry_debugfs_remove() - show a pool no more
 * @pool: the pool; its readers are done when this returns
 *
 * Context: task, no lock held.
 */
void quarry_debugfs_remove(struct quarry_pool *pool)
{
	debugfs_remove_recursive(pool->dir);
}

/**
 * quarry_debugfs_init() - make the folder of all pools
 *
 * Context: task.
 */
void quarry_debugfs_init(void)
{
	debugfs_root = debugfs_create_dir("quarry", NULL);
	debugfs_heaps = debugfs_create_dir("heaps", debugfs_root);
}

/**
 * quarry_debugfs_heaps() - the folder of drivers' heaps (driver_debugfs.c)
 *
 * Context: any.
 * Return: the folder, or an error that debugfs takes for one.
 */
struct dentry *quarry_debugfs_heaps(void)
{
	return debugfs_heaps;
}

/**
 * quarry_debugfs_exit() - remove it
 *
 * Context: task; no pool is left.
 */
void quarry_debugfs_exit(void)
{
	debugfs_remove_recursive(debugfs_root);
}
