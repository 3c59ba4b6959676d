// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * debugfs of drivers' heaps and caches: a folder each, by the number behind the mark in its id, for
 * root. Lines are "key: value", as those of pools.
 *
 *   quarry/heaps/N/stat    counters
 *   quarry/heaps/N/verify  an audit beside running calls, made when it is read
 *   quarry/heaps/N/map     a line a region
 *
 * A reader holds its file, and the heap waits for it before it ends.
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/seq_file.h>

#include "driver.h"
#include "pool.h"

static int heap_stat_show(struct seq_file *seq, void *unused)
{
	struct quarry_heap *heap = seq->private;
	struct quarry_heap_stat stat;

	quarry_heap_stat(heap, &stat);
	seq_printf(seq, "id: %llu\nname: %s\nmax_bytes: %llu\nbytes: %llu\nfree_bytes: %llu\n",
		   heap->id, heap->name, heap->max_bytes, stat.bytes, stat.free_bytes);
	seq_printf(seq, "used_bytes: %llu\nobjects: %llu\nmeta_bytes: %llu\n", stat.used_bytes,
		   stat.objects, stat.meta_bytes);
	seq_printf(seq, "regions: %u\nslabs: %u\nrefused: %llu\n", stat.regions, stat.slabs,
		   stat.refused);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heap_stat);

static int heap_verify_show(struct seq_file *seq, void *unused)
{
	struct quarry_heap *heap = seq->private;
	struct quarry_core_audit audit = {};

	if (mutex_lock_killable(&heap->grow))
		return -EINTR;
	quarry_core_heap_verify(heap->core, 0, &audit);
	mutex_unlock(&heap->grow);
	quarry_debugfs_audit(seq, &audit);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heap_verify);

static int heap_map_show(struct seq_file *seq, void *unused)
{
	struct quarry_heap *heap = seq->private;
	struct quarry_driver_region *region;

	if (mutex_lock_killable(&heap->grow))
		return -EINTR;
	list_for_each_entry(region, &heap->regions, link)
		seq_printf(seq, "region_%#llx: bytes=%llu zone=%s free=%llu\n",
			   region->first << PAGE_SHIFT, region->pages << PAGE_SHIFT,
			   region->zone == QUARRY_CORE_LOWMEM ? "lowmem" : "normal",
			   quarry_core_heap_free_in(heap->core, region->first) << PAGE_SHIFT);
	mutex_unlock(&heap->grow);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heap_map);

/**
 * quarry_driver_debugfs_add() - show a heap
 * @heap: the heap
 *
 * Without debugfs, or memory, there is no folder, and nothing else is missing.
 *
 * Context: task.
 */
void quarry_driver_debugfs_add(struct quarry_heap *heap)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu", heap->id & ~QUARRY_DRIVER_ID);
	heap->dir = debugfs_create_dir(number, quarry_debugfs_heaps());
	debugfs_create_file("stat", 0400, heap->dir, heap, &heap_stat_fops);
	debugfs_create_file("verify", 0400, heap->dir, heap, &heap_verify_fops);
	debugfs_create_file("map", 0400, heap->dir, heap, &heap_map_fops);
}

/**
 * quarry_driver_debugfs_remove() - show a heap no more
 * @heap: the heap; its readers are done when this returns
 *
 * Context: task, no lock held.
 */
void quarry_driver_debugfs_remove(struct quarry_heap *heap)
{
	debugfs_remove_recursive(heap->dir);
}
