// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Mappings: the pool's memory at offset 0, a client's own area at
 * QUARRY_CLIENT_AREA_OFFSET, the class table (classes.c) at QUARRY_CLASS_TABLE_OFFSET.
 *
 * Pool memory: all of the offset space may be mapped, before there are pages;
 * a fault only finds a page, it never makes one. Pages are neither special nor
 * of a raw frame number, so they can be pinned for I/O. fork inherits the
 * mapping: contents, no right to any call.
 *
 * Client area: whoever ends it ends the client, so it cannot be split, moved or
 * inherited. Its pages behind the head are the magazines' (magazine.c).
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "client.h"
#include "compat.h"
#include "magazine.h"
#include "pool.h"

static vm_fault_t pool_fault(struct vm_fault *fault)
{
	struct quarry_client *client = fault->vma->vm_file->private_data;

	fault->page = quarry_page_find(client->pool, (u64)fault->pgoff << PAGE_SHIFT);
	return fault->page ? 0 : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct pool_vm_ops = {
	.fault = pool_fault,
};

static int map_pool(struct quarry_client *client, struct vm_area_struct *vma)
{
	u64 pages = vma_pages(vma);
	u64 space = client->pool->max_pages;

	if (client->pool->kind == QUARRY_CORE_RANGE)
		return -EOPNOTSUPP;
	if (pages > space || vma->vm_pgoff > space - pages)
		return -EINVAL;
	/* VM_DONTEXPAND: nothing beyond the offset space; and mlock has nothing to do. */
	quarry_vm_flags_mod(vma, VM_DONTDUMP | VM_DONTEXPAND,
			    vma->vm_flags & VM_WRITE ? 0 : VM_MAYWRITE);
	vma->vm_ops = &pool_vm_ops;
	return 0;
}

/* It is mapped from the start; MADV_DONTNEED may have taken it out. */
static vm_fault_t area_fault(struct vm_fault *fault)
{
	struct quarry_client *client = fault->vma->vm_file->private_data;
	unsigned long index = fault->pgoff - (QUARRY_CLIENT_AREA_OFFSET >> PAGE_SHIFT);

	if (index)
		return quarry_magazines_fault(client, fault, index - 1);
	get_page(client->area);
	fault->page = client->area;
	return 0;
}

static void area_open(struct vm_area_struct *vma)
{
	struct quarry_client *client = vma->vm_file->private_data;

	/*
	 * The copy that mremap makes before it asks area_mremap(). A child has
	 * one only if MADV_DOFORK asked for it, and it is no client by it.
	 */
	if (vma->vm_mm == client->mm)
		atomic_inc(&client->area_maps);
}

static void area_close(struct vm_area_struct *vma)
{
	struct quarry_client *client = vma->vm_file->private_data;

	if (vma->vm_mm == client->mm && atomic_dec_and_test(&client->area_maps))
		quarry_client_reap(client);
}

static int area_may_split(struct vm_area_struct *vma, unsigned long address)
{
	return -EINVAL;
}

static int area_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static const struct vm_operations_struct area_vm_ops = {
	.open = area_open,
	.close = area_close,
	.may_split = area_may_split,
	.mremap = area_mremap,
	.fault = area_fault,
	.page_mkwrite = quarry_area_mkwrite,
};

static int map_area(struct quarry_client *client, struct vm_area_struct *vma)
{
	int err;

	if (vma->vm_pgoff != QUARRY_CLIENT_AREA_OFFSET >> PAGE_SHIFT ||
	    vma->vm_end - vma->vm_start != quarry_client_area_bytes(client->pool))
		return -EINVAL;
	/* The mm's write lock, held here, leaves only one to try. */
	if (atomic_read(&client->area_maps))
		return -EBUSY;
	quarry_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, 0);
	err = vm_insert_page(vma, vma->vm_start, client->area);
	if (!err)
		err = quarry_magazines_open(client);
	if (!err)
		err = quarry_magazines_map(client, vma);
	if (err)
		return err;
	vma->vm_ops = &area_vm_ops;
	atomic_set(&client->area_maps, 1);
	WRITE_ONCE(client->connected, true);
	return 0;
}

/**
 * quarry_mmap() - map the pool's memory, the client's area or the class table
 * @file: the client's
 * @vma: the mapping
 *
 * Context: task, mmap_lock held for writing.
 * Return: 0; -EXDEV from another mm, -ESHUTDOWN after the reap, -EINVAL when
 * private, of the wrong length or beyond the pool, -EBUSY for a second area,
 * -EACCES for a class table to write to, -EOPNOTSUPP for memory and classes of a
 * range pool, whose memory is not Quarry's, -ENOMEM.
 */
int quarry_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct quarry_client *client = file->private_data;

	if (vma->vm_mm != client->mm)
		return -EXDEV;
	if (READ_ONCE(client->dead))
		return -ESHUTDOWN;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= QUARRY_CLASS_TABLE_OFFSET >> PAGE_SHIFT)
		return quarry_classes_map(client->pool, vma);
	if (vma->vm_pgoff >= QUARRY_CLIENT_AREA_OFFSET >> PAGE_SHIFT)
		return map_area(client, vma);
	return map_pool(client, vma);
}
