/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Quarry for drivers: caches of equal objects, heaps of any size, pages, ranges, reserves.
 *
 *	struct quarry_cache_config config = { .name = "my_requests", .size = 200 };
 *	struct quarry_cache *requests = quarry_cache_create(&config);
 *
 *	if (IS_ERR(requests))
 *		return PTR_ERR(requests);
 *	request = quarry_cache_alloc(requests, GFP_ATOMIC);
 *	...
 *	quarry_cache_free(requests, request);
 *	err = quarry_cache_destroy(requests);	(-EBUSY: live objects, listed in the log)
 *
 * CONTEXT. "Any" is task, softirq and hardirq, with interrupts on or off, under any raw
 * spinlock. In NMI only quarry_cache_alloc(), quarry_alloc(), quarry_cache_free() and
 * quarry_free() may be called: an allocation succeeds when this CPU's cache holds an object, a
 * free of an object of up to 2048 bytes always does. An allocation may sleep when its gfp_t
 * lets it (GFP_KERNEL), and is atomic otherwise (GFP_ATOMIC, GFP_NOWAIT). Of the gfp_t further
 * count __GFP_ZERO and __GFP_DMA32 (heaps).
 *
 * MEMORY. A sleeping caller gets whatever is free anywhere in its heap: in another CPU's cache, on
 * its way home, in empty slabs; and the heap grows, to its maximum. An atomic caller gets
 * what can be had without waiting for another CPU, and never grows the heap; a refusal makes
 * the heap grow soon after. Who must not be refused takes a reserve.
 *
 * PRESSURE. When the system is short of memory the shrinker gives back what is idle, whole regions
 * (512 KiB to 4 MiB) of which nothing is in use, on the node that is short; what lies free in
 * CPUs' caches comes home for it once a second. quarry_heap_shrink() does all of that at once.
 *
 * WRONG USE is an error, a quarry:refused event (pool: quarry_heap_id(), call, errno, offset,
 * owner 0, caller: an address of code) and a rate-limited line that names the caller; it is
 * never fatal and changes nothing. A stale free of an object that was given out again cannot
 * be told from a right one; of two frees at one instant on two CPUs both may be taken, and
 * one is reported when the object is collected.
 *
 * LOCKS. The fast path takes none. Slow ones take raw spinlocks with interrupts off, for a
 * bounded number of steps; no call takes a lock of the caller's, so any may be held.
 *
 * PORTING
 *	kmem_cache_create		quarry_cache_create; .constructor runs at every allocation,
 *					not once for each slot
 *	kmem_cache_alloc, _free, _bulk	quarry_cache_alloc, _free, _bulk; free answers an error; a
 *					partial bulk counts, nothing is undone
 *	kmem_cache_destroy		with live objects it is refused: -EBUSY
 *	SLAB_HWCACHE_ALIGN		QUARRY_CACHE_HWALIGN
 *	SLAB_TYPESAFE_BY_RCU		none: free by call_rcu()
 *	kmalloc, kfree, ksize		quarry_alloc, quarry_free(heap, p), quarry_usable_size
 *	krealloc			quarry_resize: in place, or -ENOSPC: the caller copies
 *	mempool_alloc, _free		quarry_reserve_alloc, _free: any context, never waits
 *	__get_free_pages, alloc_pages_exact  quarry_alloc_pages, quarry_alloc_pages_exact
 *	gen_pool_create, _add_virt	quarry_heap_create with .base, quarry_heap_add
 *	gen_pool_alloc, _free		quarry_alloc, quarry_free; no size is needed
 *	gen_pool_virt_to_phys		the driver's: the two differ by a constant
 *	gpu_buddy_alloc_blocks		quarry_range_alloc: one range, no list of blocks
 *	drm_mm_insert_node, _remove_node  quarry_range_alloc, _free: best fit in bounded steps; the
 *					node is Quarry's, the offset names it
 */
#ifndef _LINUX_QUARRY_DRIVER_H
#define _LINUX_QUARRY_DRIVER_H

#include <linux/bits.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/types.h>
#include <uapi/linux/quarry.h>

struct quarry_heap;
struct quarry_cache;
struct quarry_range;
struct quarry_reserve;

/* ---- caches: objects of one size --------------------------------------------- */

/* Objects begin at a cache line of their own. */
#define QUARRY_CACHE_HWALIGN	BIT(0)
/* Every object is zeroed when it is given out, as by __GFP_ZERO. */
#define QUARRY_CACHE_ZERO	BIT(1)

/**
 * struct quarry_cache_config - what a cache is to be
 * @name: for people, in reports; copied, 31 characters count; not NULL
 * @size: bytes of an object, 1 to 4 MiB
 * @align: of its address, a power of two up to 4 MiB; 0: 8
 * @flags: QUARRY_CACHE_*
 * @use_node: memory comes from @node where it has some, else from the caller's own
 * @node: a NUMA node
 * @objects: memory for so many is taken at once; 0: it comes as it is used
 * @max_bytes: most memory that the cache takes; 0: no limit
 * @constructor: called with each object that is given out, in the caller's context, after it
 *	was zeroed; or NULL
 */
struct quarry_cache_config {
	const char *name;
	size_t size;
	size_t align;
	unsigned int flags;
	bool use_node;
	int node;
	size_t objects;
	u64 max_bytes;
	void (*constructor)(void *object);
};

/**
 * quarry_cache_create() - make a cache
 * @config: what it is to be
 *
 * Context: task. Cost: 2 KiB of metadata for each possible CPU; as it is used up to 8 KiB for each
 * CPU's magazine.
 * Return: the cache; ERR_PTR(-EINVAL), ERR_PTR(-ENOMEM), ERR_PTR(-ENOSPC): @objects need more
 * than @max_bytes.
 */
struct quarry_cache *quarry_cache_create(const struct quarry_cache_config *config);

/**
 * quarry_cache_destroy() - end a cache
 * @cache: the cache, which nobody else uses any more; NULL or an ERR_PTR does nothing
 *
 * Context: task. Cost: O(cached); of a refusal O(bytes).
 * Return: 0; -EBUSY with live objects: the log lists the first of them, and the cache stays.
 */
int quarry_cache_destroy(struct quarry_cache *cache);

/**
 * quarry_cache_alloc() - an object
 * @cache: the cache
 * @gfp: may it sleep; __GFP_ZERO
 *
 * Context: any by @gfp; NMI: this CPU's cache alone. Cost: O(1), no lock, while this CPU's cache
 * holds an object.
 * Return: the object, or NULL.
 */
void *quarry_cache_alloc(struct quarry_cache *cache, gfp_t gfp);

/**
 * quarry_cache_free() - an object is no longer needed
 * @cache: the cache that it is of
 * @object: the object; NULL does nothing
 *
 * Context: any; NMI too, up to 2048 bytes. Cost: O(1), no lock, while this CPU's cache has room.
 * Return: 0; refused: -EALREADY (it is free), -ENXIO or -ERANGE (no memory of this cache),
 * -EBADSLT (inside an object), -EINVAL (misaligned); NMI above 2048 bytes: -EOPNOTSUPP.
 */
int quarry_cache_free(struct quarry_cache *cache, const void *object);

/**
 * quarry_cache_alloc_bulk() - several objects
 * @cache: the cache
 * @gfp: as for quarry_cache_alloc()
 * @count: how many
 * @objects: where they go
 *
 * Context: any by @gfp, not NMI. Cost: O(@count); preemption is off for 32 at a time.
 * Return: how many were given; they are the caller's.
 */
size_t quarry_cache_alloc_bulk(struct quarry_cache *cache, gfp_t gfp, size_t count,
			       void **objects);

/**
 * quarry_cache_free_bulk() - several objects are no longer needed
 * @cache: the cache
 * @count: how many
 * @objects: them
 *
 * What is refused is reported; the rest is freed.
 *
 * Context: any, not NMI. Cost: O(@count); preemption is off for 32 at a time.
 * Return: 0, or the error of the first that was refused, as of quarry_cache_free().
 */
int quarry_cache_free_bulk(struct quarry_cache *cache, size_t count, void **objects);

/**
 * quarry_cache_prefill() - take memory in advance
 * @cache: the cache
 * @count: so many objects can be had without growth afterwards
 *
 * Others may use them up. For a guarantee take a reserve.
 *
 * Context: task. Cost: O(@count).
 * Return: 0; -ENOMEM: they cannot be had.
 */
int quarry_cache_prefill(struct quarry_cache *cache, size_t count);

/**
 * quarry_cache_shrink() - give back what is idle
 * @cache: the cache
 *
 * Context: task. Cost: O(cached), and a visit to each CPU for each region.
 * Return: bytes given back to the system.
 */
u64 quarry_cache_shrink(struct quarry_cache *cache);

/**
 * quarry_cache_heap() - the heap behind a cache, for quarry_heap_stat(), _verify() and _id()
 * @cache: the cache
 *
 * Context: any.
 * Return: the heap, never NULL.
 */
struct quarry_heap *quarry_cache_heap(struct quarry_cache *cache);

/* ---- heaps: any size ----------------------------------------------------------- */

/* Memory that the driver brings is I/O memory: it is zeroed by memset_io(). */
#define QUARRY_HEAP_IO		BIT(0)

/**
 * struct quarry_heap_config - what a heap is to be
 * @name: for people, in reports; copied, 31 characters count; not NULL
 * @flags: QUARRY_HEAP_*, with @base alone
 * @use_node: memory comes from @node where it has some, else from the caller's own
 * @node: a NUMA node
 * @bytes: memory that is taken at once, and that memory pressure leaves; 0: it comes as it is
 *	used. Not with @base
 * @max_bytes: most memory that the heap takes, 0: no limit; with @base: how far it reaches
 * @base: address of the first byte of memory that the driver brings, at a page's start (a BAR
 *	by ioremap, reserved memory by memremap); NULL: the heap takes the system's pages. A heap
 *	with a base is empty until quarry_heap_add()
 */
struct quarry_heap_config {
	const char *name;
	unsigned int flags;
	bool use_node;
	int node;
	u64 bytes;
	u64 max_bytes;
	void *base;
};

/**
 * quarry_heap_create() - make a heap
 * @config: what it is to be
 *
 * Context: task. Cost: as of quarry_cache_create(), for each size class that is used.
 * Return: the heap; ERR_PTR(-EINVAL), ERR_PTR(-ENOMEM), ERR_PTR(-ENOSPC): @bytes are more than
 * @max_bytes.
 */
struct quarry_heap *quarry_heap_create(const struct quarry_heap_config *config);

/**
 * quarry_heap_destroy() - end a heap
 * @heap: the heap, which nobody else uses any more; NULL or an ERR_PTR does nothing
 *
 * Memory that the driver brought is the driver's again.
 *
 * Context: task. Cost: O(cached); of a refusal O(bytes).
 * Return: 0; -EBUSY with live objects: the log lists the first of them, and the heap stays.
 */
int quarry_heap_destroy(struct quarry_heap *heap);

/**
 * quarry_heap_add() - bring memory
 * @heap: a heap with a base
 * @start: its first byte, at a page's start
 * @bytes: whole pages
 *
 * Small objects come from blocks of 4 or 8 pages, aligned to their size: a piece of less than
 * 15 pages may serve none. Within a piece of memory nothing is kept by Quarry.
 *
 * Context: task. Cost: O(pages).
 * Return: 0; -EINVAL (no whole pages, or a heap without base), -ERANGE (outside what the heap
 * reaches), -EEXIST (it is there), -ENOMEM, -EUSERS (65536 pieces are there).
 */
int quarry_heap_add(struct quarry_heap *heap, void *start, u64 bytes);

/**
 * quarry_heap_remove() - take brought memory away
 * @heap: a heap with a base
 * @start: as it was brought
 *
 * Context: task. Cost: O(cached), a visit to each CPU, O(pages).
 * Return: 0; -EBUSY (something of it is in use; nothing has changed), -ENOENT (not brought so),
 * -EINVAL (a heap without base).
 */
int quarry_heap_remove(struct quarry_heap *heap, void *start);

/**
 * quarry_alloc() - memory of any size
 * @heap: the heap
 * @size: bytes, 1 to 4 MiB (brought memory: 4 GiB)
 * @gfp: may it sleep; __GFP_ZERO: all usable bytes; __GFP_DMA32: below 4 GiB
 *
 * The address is a multiple of 8; above 2048 bytes, of a page.
 *
 * Context: any by @gfp; NMI: up to 2048 bytes, this CPU's cache alone. Cost: O(1) up to a
 * page, O(orders) above.
 * Return: the memory, or NULL.
 */
void *quarry_alloc(struct quarry_heap *heap, size_t size, gfp_t gfp);

/**
 * quarry_alloc_aligned() - memory of any size at a multiple of @align
 * @heap: the heap
 * @size: as for quarry_alloc()
 * @align: a power of two up to 4 MiB
 * @gfp: as for quarry_alloc()
 *
 * Context: any by @gfp, not NMI. Cost: as of quarry_alloc().
 * Return: the memory, or NULL.
 */
void *quarry_alloc_aligned(struct quarry_heap *heap, size_t size, size_t align, gfp_t gfp);

/**
 * quarry_free() - memory is no longer needed
 * @heap: the heap that it is of
 * @memory: what any of quarry_alloc*() gave; NULL does nothing
 *
 * Context: any; NMI too, up to 2048 bytes. Cost: O(1) up to a page, O(orders) above.
 * Return: as of quarry_cache_free().
 */
int quarry_free(struct quarry_heap *heap, const void *memory);

/**
 * quarry_usable_size() - bytes that an owner may use
 * @heap: the heap
 * @memory: what was allocated
 *
 * Context: any, not NMI. Cost: O(log regions).
 * Return: bytes, or 0: it is not in use, or not of this heap.
 */
size_t quarry_usable_size(struct quarry_heap *heap, const void *memory);

/**
 * quarry_resize() - another size, where it stands
 * @heap: the heap
 * @memory: what was allocated
 * @size: bytes
 *
 * Whole pages behind a run's new end are given back.
 *
 * Context: any, not NMI. Cost: O(log regions); O(orders) when pages are given back.
 * Return: 0; -ENOSPC: it does not fit, the caller copies; -EINVAL (size 0), and what
 * quarry_free() answers.
 */
int quarry_resize(struct quarry_heap *heap, const void *memory, size_t size);

/**
 * quarry_alloc_pages() - a block of 2^order pages, aligned to its size
 * @heap: the heap
 * @order: 0 to 10
 * @gfp: as for quarry_alloc()
 *
 * Context: any by @gfp, not NMI. Cost: O(1) for order 0 to 3 from this CPU's cache, else O(orders).
 * Return: its address, or NULL. quarry_free_pages() or quarry_free() frees it.
 */
void *quarry_alloc_pages(struct quarry_heap *heap, unsigned int order, gfp_t gfp);

/**
 * quarry_free_pages() - a block is no longer needed
 * @heap: the heap
 * @memory: the block; NULL does nothing
 * @order: as it was allocated
 *
 * Context: any, not NMI. Cost: as of quarry_alloc_pages().
 * Return: as of quarry_free(); -EMSGSIZE: it has another size; -EINVAL: no such order.
 */
int quarry_free_pages(struct quarry_heap *heap, const void *memory, unsigned int order);

/**
 * quarry_alloc_pages_exact() - exactly so many contiguous pages
 * @heap: the heap
 * @pages: 1 to 1024 (brought memory: 2^20)
 * @gfp: as for quarry_alloc()
 *
 * Context: any by @gfp, not NMI. Cost: O(orders).
 * Return: the address of the first, or NULL.
 */
void *quarry_alloc_pages_exact(struct quarry_heap *heap, u64 pages, gfp_t gfp);

/**
 * quarry_free_pages_exact() - they are no longer needed
 * @heap: the heap
 * @memory: the first; NULL does nothing
 * @pages: how many; a part of a run may be freed alone
 *
 * Context: any, not NMI. Cost: O(orders).
 * Return: as of quarry_free_pages().
 */
int quarry_free_pages_exact(struct quarry_heap *heap, const void *memory, u64 pages);

/**
 * quarry_heap_shrink() - give back what is idle
 * @heap: the heap; one with a base gives nothing
 *
 * Context: task. Cost: O(cached), and a visit to each CPU for each region.
 * Return: bytes given back to the system.
 */
u64 quarry_heap_shrink(struct quarry_heap *heap);

/**
 * struct quarry_heap_stat - what a heap holds; exact when nothing else runs
 * @bytes: memory of the heap
 * @free_bytes: of it, not in use
 * @used_bytes: of it, in use, by size class or whole pages
 * @objects: objects of up to 2048 bytes in use
 * @meta_bytes: metadata
 * @regions: pieces that the memory consists of
 * @slabs: slabs
 * @refused: calls that were refused as wrong use
 */
struct quarry_heap_stat {
	u64 bytes;
	u64 free_bytes;
	u64 used_bytes;
	u64 objects;
	u64 meta_bytes;
	u32 regions;
	u32 slabs;
	u64 refused;
};

/**
 * quarry_heap_stat() - what a heap holds
 * @heap: the heap
 * @stat: where it goes
 *
 * Context: task. Cost: O(size classes x CPUs).
 */
void quarry_heap_stat(struct quarry_heap *heap, struct quarry_heap_stat *stat);

/**
 * quarry_heap_verify() - audit all structures
 * @heap: the heap
 * @quiet: nobody uses it meanwhile: sums are compared, too
 *
 * Context: task. Cost: O(pages + objects), in short steps.
 * Return: 0; -EUCLEAN: they contradict each other, or there was no memory to look; a line
 * in the log says which.
 */
int quarry_heap_verify(struct quarry_heap *heap, bool quiet);

/**
 * quarry_heap_id() - the number of a heap in tracepoints
 * @heap: the heap
 *
 * Context: any.
 * Return: a number with bit 63 set, which no process's pool has, and never used again.
 */
u64 quarry_heap_id(const struct quarry_heap *heap);

/* ---- reserves: what must not fail ------------------------------------------------ */

/* Most objects of one reserve. */
#define QUARRY_RESERVE_MAX	(1U << 20)

/**
 * quarry_reserve_create() - set objects aside
 * @cache: of which
 * @count: how many, 1 to QUARRY_RESERVE_MAX
 *
 * While fewer than @count objects that quarry_reserve_alloc() gave are out, it cannot fail.
 *
 * Context: task. Cost: O(@count).
 * Return: the reserve; ERR_PTR(-EINVAL), ERR_PTR(-ENOMEM).
 */
struct quarry_reserve *quarry_reserve_create(struct quarry_cache *cache, unsigned int count);

/**
 * quarry_reserve_destroy() - what is set aside goes back to the cache
 * @reserve: the reserve; NULL or an ERR_PTR does nothing
 *
 * What quarry_reserve_alloc() gave stays its owner's; quarry_cache_free() frees it.
 *
 * Context: task. Cost: O(count).
 */
void quarry_reserve_destroy(struct quarry_reserve *reserve);

/**
 * quarry_reserve_alloc() - an object, from the cache or else from the reserve
 * @reserve: the reserve
 * @gfp: __GFP_ZERO or 0; it never sleeps
 *
 * Context: any, not NMI. Cost: an atomic quarry_cache_alloc(), then O(1) under a raw spinlock.
 * Return: the object; NULL only when at least count objects are out.
 */
void *quarry_reserve_alloc(struct quarry_reserve *reserve, gfp_t gfp);

/**
 * quarry_reserve_free() - an object goes back: into the reserve, while that is short
 * @reserve: the reserve
 * @object: an object of its cache; NULL does nothing
 *
 * Context: any, not NMI. Cost: quarry_cache_free(), and O(1) expected under a raw spinlock.
 * Return: as of quarry_cache_free().
 */
int quarry_reserve_free(struct quarry_reserve *reserve, void *object);

/**
 * quarry_reserve_left() - objects that are set aside now
 * @reserve: the reserve
 *
 * Context: any.
 * Return: how many.
 */
unsigned int quarry_reserve_left(const struct quarry_reserve *reserve);

/* ---- ranges: offsets of memory that Quarry never touches --------------------------- */

/*
 * Called by tasks alone: its lock leaves interrupts on. A call from an interrupt is reported, and
 * refused by -EPERM.
 */
#define QUARRY_RANGE_TASK	BIT(0)

/**
 * struct quarry_range_config - what a range allocator is to be
 * @capacity: bytes, whole granules
 * @granule: a power of two; sizes are rounded up to it
 * @max_live: ranges that can be live at a time, 1 to 2^20
 * @aligns: alignments above the granule that are exact: they fail only when no free range has
 *	room; 0: none. Others are looked for among the best candidates
 * @flags: QUARRY_RANGE_*
 */
struct quarry_range_config {
	u64 capacity;
	u64 granule;
	u64 max_live;
	u64 aligns[3];
	unsigned int flags;
};

/**
 * quarry_range_create() - make a range allocator
 * @config: what it is to be
 *
 * Context: task. Cost: all metadata, about 100 bytes for each range that can be live.
 * Return: it; ERR_PTR(-EINVAL), ERR_PTR(-EFBIG), ERR_PTR(-ENOMEM).
 */
struct quarry_range *quarry_range_create(const struct quarry_range_config *config);

/**
 * quarry_range_destroy() - end it
 * @range: the allocator; NULL or an ERR_PTR does nothing
 *
 * Context: task.
 * Return: 0; -EBUSY: ranges are live; the log says how many, and it stays.
 */
int quarry_range_destroy(struct quarry_range *range);

/**
 * quarry_range_alloc() - the smallest free range that fits
 * @range: the allocator
 * @size: bytes, at least 1
 * @align: of the offset, a power of two; 0: the granule
 * @offset: where it is
 *
 * Context: any, not NMI (QUARRY_RANGE_TASK: task); takes a spinlock. Cost: O(log capacity), no
 * memory is allocated.
 * Return: 0; -ENOSPC, -ENOSR (as many are live as can be), -EINVAL, -EFBIG.
 */
int quarry_range_alloc(struct quarry_range *range, u64 size, u64 align, u64 *offset);

/**
 * quarry_range_free() - a range is no longer needed
 * @range: the allocator
 * @offset: where it is
 *
 * Context: as of quarry_range_alloc(). Cost: O(log capacity).
 * Return: 0; -EALREADY, -EBADSLT (inside a range), -EINVAL (no multiple of the granule), -ERANGE.
 */
int quarry_range_free(struct quarry_range *range, u64 offset);

/**
 * quarry_range_resize() - another size, where it stands
 * @range: the allocator
 * @offset: where it is
 * @size: bytes, at least 1
 *
 * Context: as of quarry_range_alloc(). Cost: O(log capacity).
 * Return: 0; -ENOSPC: what follows is not free; -EINVAL (size 0); what quarry_range_free() answers.
 */
int quarry_range_resize(struct quarry_range *range, u64 offset, u64 size);

/**
 * quarry_range_used() - bytes in live ranges, and how many these are
 * @range: the allocator
 * @ranges: how many; may be NULL
 *
 * Context: as of quarry_range_alloc().
 * Return: bytes, whole granules.
 */
u64 quarry_range_used(struct quarry_range *range, u64 *ranges);

/**
 * quarry_range_verify() - audit all structures
 * @range: the allocator
 *
 * Beside running calls it goes as far as the first change that it meets.
 *
 * Context: task. Cost: O(metadata).
 * Return: 0; -EUCLEAN, with a line in the log; -ENOMEM.
 */
int quarry_range_verify(struct quarry_range *range);

#endif /* _LINUX_QUARRY_DRIVER_H */
