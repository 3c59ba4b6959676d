// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A pool's class table: one byte a page says which size class a slab of it is of.
 * The core writes it (quarry_os_slab_class), clients map it to read.
 *
 * Its pages are chunks of 4096 bytes, 16 MiB of the pool each; one is made before the
 * first region that reaches into it, and stays. Where there is none, a mapping shows
 * zeroes, under classes_lock as in magazine.c.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/math.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "compat.h"
#include "client.h"
#include "magazine.h"
#include "pool.h"

#define CHUNK_PAGES PAGE_SIZE	/* of the pool, for one page of the table */

static u64 chunks_of(const struct quarry_pool *pool)
{
	return DIV_ROUND_UP_ULL(pool->max_pages, CHUNK_PAGES);
}

/**
 * quarry_classes_init() - a pool's table, empty
 * @pool: its offset space is known
 *
 * Context: task.
 * Return: 0 or -ENOMEM.
 */
int quarry_classes_init(struct quarry_pool *pool)
{
	mutex_init(&pool->classes_lock);
	if (!pool->max_pages)
		return 0;
	pool->classes = kvcalloc(chunks_of(pool), sizeof(*pool->classes), QUARRY_GFP);
	return pool->classes ? 0 : -ENOMEM;
}

/**
 * quarry_classes_free() - a pool ends
 * @pool: its core is gone
 *
 * Context: task.
 */
void quarry_classes_free(struct quarry_pool *pool)
{
	u64 i;

	if (!pool->classes)
		return;
	for (i = 0; i < chunks_of(pool); i++)
		if (pool->classes[i])
			__free_page(pool->classes[i]);
	kvfree(pool->classes);
}

/**
 * quarry_classes_cover() - have the table reach over pages that are about to be added
 * @pool: the pool; its @grow is held
 * @offset: bytes from its start
 * @pages: how many
 *
 * Context: task.
 * Return: 0 or -ENOMEM.
 */
int quarry_classes_cover(struct quarry_pool *pool, u64 offset, u64 pages)
{
	u64 first = (offset >> PAGE_SHIFT) / CHUNK_PAGES;
	u64 last = ((offset >> PAGE_SHIFT) + pages - 1) / CHUNK_PAGES;
	struct page *chunk;
	u64 i;

	lockdep_assert_held(&pool->grow);
	for (i = first; i <= last; i++) {
		if (pool->classes[i])
			continue;
		chunk = alloc_page(QUARRY_GFP | __GFP_ZERO);
		if (!chunk)
			return -ENOMEM;
		mutex_lock(&pool->classes_lock);
		/* Pairs with whoever looks for it. */
		smp_store_release(&pool->classes[i], chunk);
		if (pool->classes_zeroes)
			unmap_mapping_range(pool->inode->i_mapping,
					    QUARRY_CLASS_TABLE_OFFSET + (i << PAGE_SHIFT),
					    PAGE_SIZE, 1);
		mutex_unlock(&pool->classes_lock);
		WRITE_ONCE(pool->class_chunks, pool->class_chunks + 1);
	}
	return 0;
}

void quarry_os_slab_class(void *os_pool, uint64_t offset, uint64_t pages, uint32_t value)
{
	struct quarry_pool *pool = quarry_pool_of(os_pool);
	u64 page = offset >> PAGE_SHIFT;
	struct page *chunk;

	if (!pool)
		return;
	for (; pages; pages--, page++) {
		/* Pairs with the release of who made it: a slab lies in a region. */
		chunk = smp_load_acquire(&pool->classes[page / CHUNK_PAGES]);
		if (WARN_ON_ONCE(!chunk))
			return;
		WRITE_ONCE(((u8 *)page_address(chunk))[page % CHUNK_PAGES], value);
	}
}

static vm_fault_t classes_fault(struct vm_fault *fault)
{
	struct quarry_client *client = fault->vma->vm_file->private_data;
	u64 index = fault->pgoff - (QUARRY_CLASS_TABLE_OFFSET >> PAGE_SHIFT);
	struct quarry_pool *pool = client->pool;
	vm_fault_t result = 0;
	struct page *chunk;

	if (index >= chunks_of(pool))
		return VM_FAULT_SIGBUS;
	/* Pairs with the release of who made it. */
	chunk = smp_load_acquire(&pool->classes[index]);
	if (!chunk) {
		mutex_lock(&pool->classes_lock);
		chunk = pool->classes[index];
		if (!chunk) {
			pool->classes_zeroes = true;
			result = quarry_zeroes_insert(fault);
		}
		mutex_unlock(&pool->classes_lock);
	}
	if (chunk) {
		get_page(chunk);
		fault->page = chunk;
	}
	return result;
}

static const struct vm_operations_struct classes_vm_ops = {
	.fault = classes_fault,
};

/**
 * quarry_classes_map() - map a pool's class table, or a part of it
 * @pool: the pool
 * @vma: the mapping
 *
 * Context: task, mmap_lock held for writing.
 * Return: 0; -EINVAL beyond the table, -EACCES to write, -EOPNOTSUPP for ranges.
 */
int quarry_classes_map(struct quarry_pool *pool, struct vm_area_struct *vma)
{
	u64 first = vma->vm_pgoff - (QUARRY_CLASS_TABLE_OFFSET >> PAGE_SHIFT);
	u64 chunks = chunks_of(pool);

	if (pool->kind == QUARRY_CORE_RANGE)
		return -EOPNOTSUPP;
	if (vma_pages(vma) > chunks || first > chunks - vma_pages(vma))
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	quarry_vm_flags_mod(vma, VM_DONTDUMP | VM_DONTEXPAND | VM_MIXEDMAP, VM_MAYWRITE);
	vma->vm_ops = &classes_vm_ops;
	return 0;
}
