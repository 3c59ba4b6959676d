// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The memory of clients' magazines, and how a client's area maps it.
 *
 * A block for every CPU that may ever be, 128 KiB apart; behind it pages in parts:
 * the base of 16 KiB first, then pieces of 8 KiB, as the core asks for them
 * (quarry_os_magazine_memory). Parts come while the client lives, within its budget,
 * and stay until it ends. Where there is none, the area shows a page of zeroes that
 * nobody can write to: so count and capacity are 0 and every fast path is left. A
 * write there is SIGBUS.
 *
 * Zeroes are mapped, and parts take their place, under magazines->lock: so no fault
 * brings zeroes back behind a part's coming. mmap_lock ranks before it; the lock of
 * the inode's mappings, and those of page tables, after it.
 */
#include <linux/build_bug.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/topology.h>

#include "client.h"
#include "errors.h"
#include "magazine.h"
#include "pool.h"

#define BLOCK_PAGES ((1UL << QUARRY_CPU_BLOCK_SHIFT) >> PAGE_SHIFT)
#define BASE_PAGES (QUARRY_CORE_MAGAZINE_BASE >> PAGE_SHIFT)
#define PIECE_PAGES (QUARRY_CORE_MAGAZINE_PIECE >> PAGE_SHIFT)

static unsigned long client_magazine_bytes = 1UL << 20;
module_param(client_magazine_bytes, ulong, 0644);
MODULE_PARM_DESC(client_magazine_bytes, "most memory for the magazines of one client (0: none)");

/* Mapped read-only wherever there is no memory. */
static struct page *zeroes;

/**
 * quarry_magazines_init() - before the first client
 *
 * Context: task.
 * Return: 0 or -ENOMEM.
 */
int quarry_magazines_init(void)
{
	BUILD_BUG_ON(BASE_PAGES + QUARRY_CORE_MAGAZINE_PIECES * PIECE_PAGES != BLOCK_PAGES);
	BUILD_BUG_ON(QUARRY_MAX_MAGAZINE * sizeof(u32) != QUARRY_CORE_MAGAZINE_PIECE);
	BUILD_BUG_ON(sizeof(struct quarry_cpu_block) + 48 * QUARRY_MIN_MAGAZINE * sizeof(u32) >
		     QUARRY_CORE_MAGAZINE_BASE);
	BUILD_BUG_ON(sizeof(struct quarry_magazine) != 16);
	zeroes = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return zeroes ? 0 : -ENOMEM;
}

/**
 * quarry_magazines_exit() - after the last client
 *
 * Context: task.
 */
void quarry_magazines_exit(void)
{
	__free_page(zeroes);
}

/**
 * quarry_zeroes_insert() - map the page of zeroes, which nobody can write to
 * @fault: where; its mapping has VM_MIXEDMAP, and page_mkwrite or no VM_MAYWRITE
 *
 * Context: in a fault.
 * Return: the fault's outcome.
 */
vm_fault_t quarry_zeroes_insert(struct vm_fault *fault)
{
	int err = vm_insert_page(fault->vma, fault->address & PAGE_MASK, zeroes);

	/* Another thread's fault was first. */
	if (!err || err == -EBUSY)
		return VM_FAULT_NOPAGE;
	return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
}

/**
 * quarry_magazine_cpus() - blocks in the areas of a pool's clients
 * @pool: the pool
 *
 * Context: any.
 * Return: how many; 0: no magazines.
 */
u32 quarry_magazine_cpus(const struct quarry_pool *pool)
{
	if (pool->kind == QUARRY_CORE_HEAP)
		return nr_cpu_ids;
	return pool->kind == QUARRY_CORE_FIXED && pool->object_size <= QUARRY_MAX_SLOT ?
		nr_cpu_ids : 0;
}

/**
 * quarry_class_bytes() - what the objects of a size class take
 * @pool: the pool
 * @class_index: any number
 *
 * Context: any.
 * Return: bytes; 0: no class of this pool's that has magazines.
 */
u32 quarry_class_bytes(const struct quarry_pool *pool, u32 class_index)
{
	const u32 *sizes;

	if (pool->kind == QUARRY_CORE_HEAP)
		return class_index < quarry_core_size_classes(&sizes) ? sizes[class_index] : 0;
	return class_index == 0 && quarry_magazine_cpus(pool) ? pool->object_size : 0;
}

static unsigned int pages_of(unsigned int part)
{
	return part ? PIECE_PAGES : BASE_PAGES;
}

/* The page behind this one of the area's blocks, or NULL. */
static struct page *block_page(const struct quarry_magazines *magazines, unsigned long index)
{
	unsigned long within = index % BLOCK_PAGES, at = within;
	unsigned int part = 0;
	struct page *first;

	if (within >= BASE_PAGES) {
		part = 1 + (within - BASE_PAGES) / PIECE_PAGES;
		at = (within - BASE_PAGES) % PIECE_PAGES;
	}
	/* Pairs with the release of who brought it. */
	first = smp_load_acquire(&magazines->part[index / BLOCK_PAGES * QUARRY_PARTS + part]);
	return first ? first + at : NULL;
}

static bool spend(struct quarry_client *client, long bytes)
{
	long budget = min_t(unsigned long, READ_ONCE(client_magazine_bytes), LONG_MAX);

	if (atomic_long_add_return(bytes, &client->magazines->bytes) <= budget) {
		atomic64_add(bytes, &client->pool->magazine_bytes);
		return true;
	}
	atomic_long_sub(bytes, &client->magazines->bytes);
	return false;
}

static void unspend(struct quarry_client *client, long bytes)
{
	atomic_long_sub(bytes, &client->magazines->bytes);
	atomic64_sub(bytes, &client->pool->magazine_bytes);
}

static void free_part(struct page *first, unsigned int part)
{
	unsigned int i;

	for (i = 0; i < pages_of(part); i++)
		__free_page(first + i);
}

/* True: the part is this one from now on, and no mapping shows zeroes for it. */
static bool publish(struct quarry_client *client, unsigned int cpu, unsigned int part,
		    struct page *first)
{
	struct quarry_magazines *magazines = client->magazines;
	struct page **place = &magazines->part[cpu * QUARRY_PARTS + part];
	unsigned long page = cpu * BLOCK_PAGES;
	bool mine;

	if (part)
		page += BASE_PAGES + (part - 1) * PIECE_PAGES;
	mutex_lock(&magazines->lock);
	mine = !*place;
	if (mine) {
		/* Pairs with block_page(). */
		smp_store_release(place, first);
		/* All clients' areas lie at one offset: theirs fault again, no more. */
		if (magazines->zeroes)
			unmap_mapping_range(client->pool->inode->i_mapping,
					    QUARRY_CLIENT_AREA_OFFSET + PAGE_SIZE +
						    ((loff_t)page << PAGE_SHIFT),
					    (loff_t)pages_of(part) << PAGE_SHIFT, 1);
	}
	mutex_unlock(&magazines->lock);
	return mine;
}

void *quarry_os_magazine_memory(void *os_client, unsigned int cpu, unsigned int part)
{
	struct quarry_client *client = os_client;
	unsigned int order = get_order(pages_of(part) << PAGE_SHIFT);
	long bytes = pages_of(part) << PAGE_SHIFT;
	struct page *first;

	if (READ_ONCE(client->magazines->part[cpu * QUARRY_PARTS + part]) || !spend(client, bytes))
		return NULL;
	first = alloc_pages_node(cpu_to_node(cpu), QUARRY_GFP | __GFP_ZERO, order);
	if (first) {
		split_page(first, order);
		if (publish(client, cpu, part, first))
			return page_address(first);
		free_part(first, part);
	}
	unspend(client, bytes);
	return NULL;
}

void quarry_os_magazine_refused(void *os_client, int error, uint64_t offset, uint64_t owner)
{
	struct quarry_blame blame = { .offset = offset, .owner = owner };

	quarry_client_refused(os_client, _IOC_NR(QUARRY_IOC_FLUSH), quarry_errno(error), &blame);
}

/**
 * quarry_magazines_open() - give a client magazines, with memory on the CPUs that are online
 * @client: of a pool that has them; not by two at once
 *
 * How much of the memory can be had is no error.
 *
 * Context: task; mmap_lock may be held, but none of Quarry's.
 * Return: 0 or -ENOMEM.
 */
int quarry_magazines_open(struct quarry_client *client)
{
	struct quarry_magazines *magazines = client->magazines;
	unsigned int cpu;
	int err;

	if (!quarry_magazine_cpus(client->pool))
		return 0;
	if (!magazines) {
		magazines = kvzalloc(struct_size(magazines, part, QUARRY_PARTS * nr_cpu_ids),
				     QUARRY_GFP);
		if (!magazines)
			return -ENOMEM;
		mutex_init(&magazines->lock);
		client->magazines = magazines;
	}
	err = quarry_core_magazines_open(client->core, client);
	if (err && err != QUARRY_E_INITIALISED)
		return quarry_errno(err);
	for_each_online_cpu(cpu)
		quarry_core_magazines_bring(client->core, cpu);
	return 0;
}

/**
 * quarry_magazines_free() - a client ends
 * @client: it was reaped, and the core's half of it is gone
 *
 * Pages that are still mapped go with their mapping.
 *
 * Context: task.
 */
void quarry_magazines_free(struct quarry_client *client)
{
	struct quarry_magazines *magazines = client->magazines;
	unsigned int i;

	if (!magazines)
		return;
	for (i = 0; i < QUARRY_PARTS * nr_cpu_ids; i++)
		if (magazines->part[i])
			free_part(magazines->part[i], i % QUARRY_PARTS);
	atomic64_sub(atomic_long_read(&magazines->bytes), &client->pool->magazine_bytes);
	kvfree(magazines);
}

/**
 * quarry_magazines_map() - map what there is of a client's blocks
 * @client: the client
 * @vma: its area, which is just being mapped; its head is
 *
 * Context: task, mmap_lock held for writing.
 * Return: 0 or a negative errno.
 */
int quarry_magazines_map(struct quarry_client *client, struct vm_area_struct *vma)
{
	unsigned long pages = vma_pages(vma) - 1, i;
	int err = 0;

	for (i = 0; i < pages && !err; i++) {
		struct page *page = block_page(client->magazines, i);

		if (page)
			err = vm_insert_page(vma, vma->vm_start + ((1 + i) << PAGE_SHIFT), page);
	}
	return err;
}

/**
 * quarry_magazines_fault() - a page of a client's blocks
 * @client: the client
 * @fault: the fault
 * @index: which page, from the first block on
 *
 * Context: in a fault.
 * Return: the fault's outcome.
 */
vm_fault_t quarry_magazines_fault(struct quarry_client *client, struct vm_fault *fault,
				  unsigned long index)
{
	struct quarry_magazines *magazines = client->magazines;
	vm_fault_t result = 0;
	struct page *page;

	page = block_page(magazines, index);
	if (!page) {
		if (fault->flags & FAULT_FLAG_WRITE)
			return VM_FAULT_SIGBUS;
		mutex_lock(&magazines->lock);
		page = block_page(magazines, index);
		if (!page) {
			magazines->zeroes = true;
			result = quarry_zeroes_insert(fault);
		}
		mutex_unlock(&magazines->lock);
	}
	if (page) {
		get_page(page);
		fault->page = page;
	}
	return result;
}

/**
 * quarry_area_mkwrite() - a page of a client's area is about to be written to
 * @fault: the fault
 *
 * Context: in a fault.
 * Return: VM_FAULT_LOCKED; VM_FAULT_SIGBUS where there is no memory.
 */
vm_fault_t quarry_area_mkwrite(struct vm_fault *fault)
{
	struct quarry_client *client = fault->vma->vm_file->private_data;
	unsigned long index = fault->pgoff - (QUARRY_CLIENT_AREA_OFFSET >> PAGE_SHIFT);

	/* Its memory came a moment ago: the next fault finds it. */
	if (fault->page == zeroes)
		return index && block_page(client->magazines, index - 1) ? VM_FAULT_NOPAGE :
									    VM_FAULT_SIGBUS;
	/* No file's page, so its mapping tells nobody that it is still there. */
	lock_page(fault->page);
	return VM_FAULT_LOCKED;
}
