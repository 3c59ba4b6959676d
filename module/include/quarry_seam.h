/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The seam between the C shim and the C++ core: two lists.
 *
 * Up:   quarry_core_*  the core's entries, called by the shim
 * Down: quarry_os_*    the platform's hooks, called by the core
 *
 * Plain C types only; direct calls, no tables of pointers. A check compares
 * both lists with the symbols of the core object.
 *
 * CONTEXTS named below
 *   task    may sleep
 *   any     task, softirq, hardirq; does not sleep
 *   pinned  the caller stays on one CPU (preemption off)
 *
 * LOCK ORDER (outermost first; `enum quarry_lock_rank`). mmap_lock ranks
 * before all of them: no user memory is touched under any of these. Two locks
 * of one rank are never held together. Memory is never allocated under one.
 *   shim:  client->reserving > pool->grow (mutexes) > client->calls (rwsem, two in order of id)
 *   core:  REGIONS > DEPOT > SHARES > CLASS > CLIENT > OVERFLOW > PAGES > OBJECTS
 */
#ifndef QUARRY_SEAM_H
#define QUARRY_SEAM_H

#include "quarry_errors.h"
#include "quarry_seam_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- down: the hooks ------------------------------------------------------ */

/*
 * Metadata, zeroed, aligned to 64 bytes; a block of whole pages to a page. Charged to
 * the caller. NULL when refused.
 */
void *quarry_os_meta_alloc(size_t bytes, enum quarry_context context);
/* Context: any. `bytes` as it was asked for. */
void quarry_os_meta_free(void *meta, size_t bytes);
/*
 * Frees `meta` when every reader (read_enter/leave, or pinned) that may have
 * seen it has left. Context: any. Never fails and never waits: the first 16
 * bytes of the block are the platform's from here on, while readers may still
 * read all the rest.
 */
void quarry_os_meta_retire(void *meta, size_t bytes);

/* A call that waits for readers: the platform's from after_readers on until it is made. */
struct quarry_os_after {
	uint64_t storage[3];
};

/*
 * Calls fn(after) once, when every reader (read_enter/leave, or pinned) that is there now
 * has left. Context: any. Never fails and never waits. `after` stands in what is to go, so
 * nothing is allocated. fn runs in any context but NMI (a softirq in the kernel): under no
 * lock, it does not sleep. The module's end waits for it.
 */
void quarry_os_after_readers(struct quarry_os_after *after,
			     void (*fn)(struct quarry_os_after *after));

/* Context: any. The lock keeps interrupts off; `lock` returns what unlock needs. */
void quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank);
void quarry_os_lock_fini(struct quarry_os_lock *lock);
unsigned long quarry_os_lock(struct quarry_os_lock *lock);
void quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags);

/* A reader keeps what it found by a lock-free lookup from being freed. Any; nests. */
void quarry_os_read_enter(void);
void quarry_os_read_leave(void);
/* Pinned: stay on this CPU; returns its number. A pinned caller is also a reader. */
unsigned int quarry_os_pin(void);
void quarry_os_unpin(void);
/*
 * The slow halves of drivers' calls, at the end of the fast ones (quarry_core_heap_fast_*): called
 * pinned, they unpin for as long as they last. `heap` is the shim's. Context: the call's, NMI too.
 */
void *quarry_os_heap_take(void *heap, unsigned int flags, unsigned long caller);
void *quarry_os_heap_alloc(void *heap, uint64_t size, unsigned int flags, unsigned long caller);
int quarry_os_heap_free(void *heap, uint64_t offset, unsigned long caller);
/* CPUs that may ever be online, and the number of the current one (a hint unless pinned). */
unsigned int quarry_os_cpus(void);
unsigned int quarry_os_cpu(void);
/*
 * Calls fn(arg, cpu) for every CPU that was ever pinned, so that no pinned section of
 * that CPU runs meanwhile but fn's own: by work on that CPU, which pins itself, or at
 * once for a CPU that is offline and is held so. Waits at most 10 ms in all; answers how
 * many CPUs were out of reach, for which fn does not run later either. Several may run
 * at a time. Context: task, no lock, not pinned, no reader.
 */
unsigned int quarry_os_on_each_cpu(void (*fn)(void *arg, unsigned int cpu), void *arg);
/*
 * The same, with fn called again and again on each CPU until it answers 0; in between, the
 * CPU is let go. A CPU whose fn has not answered 0 in time counts as out of reach, too.
 */
unsigned int quarry_os_on_each_cpu_steps(int (*fn)(void *arg, unsigned int cpu), void *arg);
/* A long loop's breath: may sleep. Context: task, no lock, not pinned, no reader. */
void quarry_os_breathe(void);
/* Nanoseconds of a monotonic clock. */
uint64_t quarry_os_ns(void);

/*
 * Nothing else runs on this CPU until leave, nor on its clients' magazines; answers the CPU's
 * number. Nothing is locked, allocated or waited for in between. Context: task, or fn of
 * on_each_cpu_steps; never an interrupt, never reclaim.
 */
unsigned int quarry_os_exclusive_enter(unsigned long *flags);
void quarry_os_exclusive_leave(unsigned long flags);
/*
 * Memory of a client's magazines on one CPU, zeroed, which the client has mapped from then on:
 * part 0, QUARRY_CORE_MAGAZINE_BASE bytes; then parts 1..QUARRY_CORE_MAGAZINE_PIECES of
 * QUARRY_CORE_MAGAZINE_PIECE bytes. Each is given once, and stays until the client has been
 * reaped. NULL: it was given, or is beyond the client's budget, or the system has none.
 * `client` is the shim's. Context: task, no lock.
 */
void *quarry_os_magazine_memory(void *client, unsigned int cpu, unsigned int part);
/* An entry of a magazine was no object of its client's; `error` as of quarry_core_free,
 * or WRONG_SIZE: of another class. Context: any.
 */
void quarry_os_magazine_refused(void *client, int error, uint64_t offset, uint64_t owner);
/*
 * These pages are a slab of a size class from now on: `value` its index + 1; or, 0, are not
 * any more. No object of them is anybody's at that moment. Context: any, no lock.
 */
void quarry_os_slab_class(void *pool, uint64_t offset, uint64_t pages, uint32_t value);

/* Zeroes managed memory, which the core itself never touches. `pool` is the shim's. */
void quarry_os_zero(void *pool, uint64_t offset, uint64_t bytes);

/* Does I/O hold a page of this run? Asked where HOLD_PINNED is set. Context: any, no lock. */
int quarry_os_held(void *pool, uint64_t offset, uint64_t bytes);

/* Reports, never stops. `client` is an id, or 0. Context: any. */
void quarry_os_corruption(void *pool, enum quarry_corruption what, uint64_t offset,
			  uint64_t client);

/* Tracepoints of slow paths inside the core. Context: any, locks may be held. */
void quarry_os_trace_slab_create(void *pool, uint32_t slot_bytes, uint64_t offset, uint64_t bytes);
void quarry_os_trace_slab_destroy(void *pool, uint32_t slot_bytes, uint64_t offset, uint64_t bytes);
void quarry_os_trace_remote_free(void *pool, uint32_t slot_bytes, uint64_t slab_offset,
				 uint32_t slots);
void quarry_os_trace_refill(void *pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns);
void quarry_os_trace_drain(void *pool, uint32_t slot_bytes, uint32_t slots, uint64_t ns);
/* True while somebody listens to refill or drain: only then is the clock read. */
int quarry_os_trace_timed(void);

/* ---- up: the entries ------------------------------------------------------ */

struct quarry_core_pool;
struct quarry_core_client;

/*
 * Makes a pool without memory; the shim then adds regions. Context: task.
 * Errors: INVALID, NO_MEMORY, TOO_LARGE, OVERFLOW.
 */
int quarry_core_pool_create(const struct quarry_core_pool_config *config,
			    struct quarry_core_pool **pool);
/*
 * Ends a pool: every client must have been destroyed. Frees all metadata, after
 * calling `forget(os_pool, cookie)` for each region. Context: task.
 */
void quarry_core_pool_destroy(struct quarry_core_pool *pool,
			      void (*forget)(void *os_pool, void *cookie));
/* Pages that a fixed pool needs so that all of its objects exist (0 for heaps). */
uint64_t quarry_core_pool_wanted_pages(const struct quarry_core_pool *pool);
/*
 * Fixed pools: makes all slabs from the regions added so far. Errors: NO_MEMORY,
 * POOL_FULL, UNINITIALISED (no region).
 */
int quarry_core_pool_populate(struct quarry_core_pool *pool);

/*
 * Adds `pages` contiguous pages at the first gap of the offset space that is
 * aligned to their size rounded up to a power of two (at most 2^10 pages).
 * Context: task. Calls for one pool are serialised by the caller.
 * Errors: NO_MEMORY, POOL_FULL (no gap), INVALID, TOO_MANY.
 */
int quarry_core_region_add(struct quarry_core_pool *pool, uint64_t pages,
			   enum quarry_core_zone zone, void *cookie, uint64_t *offset);
/*
 * Where region_add would put it: what has to be ready before its first slab is.
 * Errors: as there.
 */
int quarry_core_region_place(struct quarry_core_pool *pool, uint64_t pages, uint64_t *offset);
/*
 * Takes a region's pages out of the pool, so that nothing is allocated from it
 * (BUSY when anything is, after empty slabs were given back; then nothing has
 * changed). isolate, then either restore or remove. Context: task, serialised.
 * Errors: NOT_FOUND, BUSY.
 */
int quarry_core_region_isolate(struct quarry_core_pool *pool, uint64_t offset,
			       struct quarry_core_region *region);
/* Pages of the region at `offset` that are free; a hint. Context: any. */
uint64_t quarry_core_region_free(struct quarry_core_pool *pool, uint64_t offset);
void quarry_core_region_restore(struct quarry_core_pool *pool, uint64_t offset);
void quarry_core_region_remove(struct quarry_core_pool *pool, uint64_t offset);
/*
 * The region that holds `offset`: O(log regions). Context: any; a reader must
 * enclose the use of `cookie`. Errors: OUT_OF_RANGE, NO_REGION.
 */
int quarry_core_region_find(const struct quarry_core_pool *pool, uint64_t offset,
			    struct quarry_core_region *region);

/*
 * A client of a pool. `id` is the caller's, unique for ever. `limit`: most bytes
 * owned, 0 for none. Context: task. Errors: NO_MEMORY, TOO_MANY.
 */
int quarry_core_client_create(struct quarry_core_pool *pool, uint64_t id, uint64_t limit,
			      struct quarry_core_client **client);
/*
 * Takes back everything that the client owns, in steps of at most 32 slots with
 * no lock held between, at most one lock inside. The caller guarantees that no other
 * call runs for this client (as caller or as receiver), or comes later. Context: task.
 */
void quarry_core_client_reap(struct quarry_core_client *client, uint64_t *objects, uint64_t *bytes);
/* After the reap. Context: task. */
void quarry_core_client_destroy(struct quarry_core_client *client);
void quarry_core_client_usage(const struct quarry_core_client *client, uint64_t *objects,
			      uint64_t *bytes);

/*
 * Grants up to `count` objects; *done says how many, `offsets` holds them. The
 * return value says why no more. `align` a power of two, 8 at least. `near`: what this CPU
 * got last, or APART from what others have, so that CPUs share no lines of what the client
 * keeps for its objects; or ANYWHERE. Context:
 * task or any by `context`. NEEDS_PAGES: add at least *pages contiguous pages
 * and call again for the rest; what is free anywhere in the pool was tried first.
 * `can_grow` 0: no region can be added (the pool is at its maximum, or the system has
 * no memory): owner records of the last resort are used too, and the end is POOL_FULL.
 * Errors: INVALID, TOO_LARGE, WRONG_SIZE, QUOTA, NEEDS_PAGES, NO_MEMORY, POOL_FULL;
 * ranges: OUT_OF_NODES.
 */
#define QUARRY_CORE_ANYWHERE (~(uint64_t)0)
#define QUARRY_CORE_APART (QUARRY_CORE_ANYWHERE - 1)
int quarry_core_alloc(struct quarry_core_client *client, uint64_t size, uint64_t align,
		      uint32_t count, uint64_t near, uint64_t *offsets, uint32_t *done,
		      uint64_t *pages, enum quarry_context context, int can_grow);
/* Bytes that the pool sets aside for an object of this size; 0 when none can be had. */
uint64_t quarry_core_usable_size(const struct quarry_core_pool *pool, uint64_t size,
				 uint64_t align);

/*
 * Frees objects in order; stops at the first that is refused. Context: task.
 * Errors: MISALIGNED (ranges: no multiple of the granule), OUT_OF_RANGE, NO_REGION,
 * NOT_OBJECT, ALREADY_FREE, NOT_OWNER, CORRUPT.
 */
int quarry_core_free(struct quarry_core_client *client, const uint64_t *offsets,
		     uint32_t count, uint32_t *done, struct quarry_core_refusal *refusal);
/*
 * Moves objects of `from` to `to`, in order; stops at the first that is refused.
 * Context: task. Errors: those of free; QUOTA (the receiver's), OWNERS_FULL.
 */
int quarry_core_transfer(struct quarry_core_client *from, struct quarry_core_client *to,
			 const uint64_t *offsets, uint32_t count, uint32_t *done,
			 struct quarry_core_refusal *refusal);
/*
 * Makes `to` a holder of them beside `from`, in order: pool/share_calls.hpp. Context: task. Errors:
 * those of transfer; HELD (it is one already), NO_MEMORY, NOT_SUPPORTED (ranges).
 */
int quarry_core_share(struct quarry_core_client *from, struct quarry_core_client *to,
		      const uint64_t *offsets, uint32_t count, uint32_t *done,
		      struct quarry_core_refusal *refusal);

/*
 * Ranges only: another size for one where it stands; *bytes is what it has then.
 * Context: any. Errors: NOT_SUPPORTED (another kind), those of free; INVALID
 * (size 0), QUOTA, CANNOT_GROW; then nothing has changed.
 */
int quarry_core_resize(struct quarry_core_client *client, uint64_t offset, uint64_t size,
		       uint64_t *bytes, struct quarry_core_refusal *refusal);
/* Metadata that a range pool of this shape takes when it is made; 0: there is none such. */
uint64_t quarry_core_range_meta_bytes(const struct quarry_core_pool_config *config);

/*
 * A client's magazines: pool/magazine_calls.hpp. Context of all: task, no lock.
 *
 * open: once, before the others, which do nothing for a client without. `os_client` is handed
 * back to the hooks. Errors: NOT_SUPPORTED (ranges; objects above 2048 bytes), NO_MEMORY,
 * INITIALISED.
 */
int quarry_core_magazines_open(struct quarry_core_client *client, void *os_client);
/* Memory for one CPU's block, where it has none and can have it. */
void quarry_core_magazines_bring(struct quarry_core_client *client, unsigned int cpu);
/* What the next refill or flush on this CPU wants: its block, or more room. Beside a reap, too. */
void quarry_core_magazines_prepare(struct quarry_core_client *client);
/*
 * One object of a class for the caller, and up to half a magazine of this CPU. It succeeds
 * when it has the one. Errors: INVALID (no such class), those of quarry_core_alloc with
 * `pages` and `can_grow` as there.
 */
int quarry_core_refill(struct quarry_core_client *client, uint32_t class_index, uint64_t *object,
		       uint32_t *filled, uint64_t *pages, int can_grow);
/*
 * Half of this CPU's magazine goes home, and `object`, which may be NULL, after it. Errors:
 * INVALID (no such class), those of quarry_core_free, for the object: flushed it has.
 */
int quarry_core_flush(struct quarry_core_client *client, uint32_t class_index,
		      const uint64_t *object, struct quarry_core_flushed *flushed,
		      struct quarry_core_refusal *refusal);
/*
 * Empties one client's magazines on all CPUs, or all clients'. `pressure`: because memory is
 * wanted, so they shrink. The client may be reaped meanwhile, but not destroyed.
 */
void quarry_core_magazines_drain(struct quarry_core_client *client, int pressure,
				 struct quarry_core_drained *drained);
void quarry_core_magazines_drain_all(struct quarry_core_pool *pool, int pressure,
				     struct quarry_core_drained *drained);

/*
 * What a client has set aside, so that its next allocations cannot fail: pool/reserves.hpp.
 * Requests that the pool serves alike share it. It counts as the client's; its reap takes it
 * back. Calls of prepare, put and lower for one client are serialised by the caller, and put
 * is for as many as prepare was. Context of all: task, no lock; prepare and lower may sleep.
 *
 * left: how many are set aside. Errors: INVALID, TOO_LARGE, WRONG_SIZE.
 * prepare: room for `more`. Errors: those; NO_MEMORY; RESERVES_FULL (64 sizes, 16384 objects).
 * put: objects that alloc has just granted. draw: up to `count` of them; answers how many.
 * lower: frees up to 128 of those beyond `keep`; answers how many are left.
 */
int quarry_core_aside_left(struct quarry_core_client *client, uint64_t size, uint64_t align,
			   uint32_t *left);
int quarry_core_aside_prepare(struct quarry_core_client *client, uint64_t size, uint64_t align,
			      uint32_t more);
void quarry_core_aside_put(struct quarry_core_client *client, uint64_t size, uint64_t align,
			   const uint64_t *offsets, uint32_t count);
uint32_t quarry_core_aside_draw(struct quarry_core_client *client, uint64_t size, uint64_t align,
				uint32_t count, uint64_t *offsets);
uint32_t quarry_core_aside_lower(struct quarry_core_client *client, uint64_t size,
				 uint64_t align, uint32_t keep);

/* Context: task. `classes` has room for `count` (of `stat->classes`). */
void quarry_core_pool_stat(struct quarry_core_pool *pool, struct quarry_core_stat *stat,
			   struct quarry_core_class_stat *classes, uint32_t count);
/* Brings pending slots home and gives empty slabs back. Context: task. */
void quarry_core_pool_drain(struct quarry_core_pool *pool, uint64_t *slots, uint64_t *slabs);

/* Gives back what I/O has let go; answers the bytes that are held still. Context: task. */
uint64_t quarry_core_pool_recheck(struct quarry_core_pool *pool);

/*
 * Full structural audit, in steps of at most 32 slots. Beside running calls it reports
 * only what can never be; `quiet` says that none runs: then sums are compared too.
 * Context: task. Regions are neither added nor removed meanwhile.
 */
void quarry_core_pool_verify(struct quarry_core_pool *pool, int quiet,
			     struct quarry_core_audit *audit);

/* The size classes of heap pools, ascending; returns how many there are. */
uint32_t quarry_core_size_classes(const uint32_t **sizes);

/* ---- up: heaps of drivers: per-CPU magazines, live bytes -------------------- */

struct quarry_core_heap;

/*
 * Over the caller's regions; hooks get `os_pool`. `base`: the address of offset 0, for the fast
 * calls. Context: task. Errors: NO_MEMORY, INVALID.
 */
int quarry_core_heap_create(uint64_t max_pages, void *os_pool, uint64_t base,
			    struct quarry_core_heap **heap);
void quarry_core_heap_destroy(struct quarry_core_heap *heap);
/* As quarry_core_region_add, at `first_page` of the caller's choice. */
int quarry_core_heap_add_region(struct quarry_core_heap *heap, uint64_t first_page,
				uint64_t pages, enum quarry_core_zone zone);
/* Errors: NOT_FOUND, BUSY. */
int quarry_core_heap_remove_region(struct quarry_core_heap *heap, uint64_t first_page);
/* The same, without a drain: needs no memory and waits for no CPU. Errors: as there. */
int quarry_core_heap_remove_idle(struct quarry_core_heap *heap, uint64_t first_page);
/* Pages of the region at `first_page` that are free; a hint. Context: any. */
uint64_t quarry_core_heap_free_in(struct quarry_core_heap *heap, uint64_t first_page);
/* Up to 2^20 pages. Errors: INVALID, TOO_LARGE, NO_MEMORY, POOL_FULL, UNINITIALISED (no region). */
int quarry_core_heap_alloc(struct quarry_core_heap *heap, uint64_t size, uint64_t align,
			   enum quarry_core_zone zone, uint64_t *offset,
			   enum quarry_context context);
/* Without a size. Context: any. Errors as quarry_core_free, without NOT_OWNER. */
int quarry_core_heap_free(struct quarry_core_heap *heap, uint64_t offset);
/* Errors: WRONG_SIZE and those of free. */
int quarry_core_heap_free_sized(struct quarry_core_heap *heap, uint64_t offset, uint64_t size);
#define QUARRY_NO_OBJECT (~(uint64_t)0)
/*
 * The fast halves of alloc (at alignment 8) and free, for a caller that is pinned on
 * `cpu`: from and to this CPU's magazine, without a lock. NO_OBJECT, 0: nothing has
 * happened, the whole call is needed, unpinned if it may sleep. Context: pinned, NMI too.
 */
uint64_t quarry_core_heap_try_alloc(struct quarry_core_heap *heap, unsigned long cpu,
				    uint64_t size);
int quarry_core_heap_try_free(struct quarry_core_heap *heap, unsigned long cpu, uint64_t offset);
/*
 * The same for objects that are addresses, by a caller that has no more to do: what a fast half
 * cannot do, quarry_os_heap_* does, and its answer is the call's. `flags` and `caller` are handed
 * on to it. take: by what `place` has answered for a size. Context: as try_alloc.
 */
uint64_t quarry_core_heap_place(uint64_t size);
void *quarry_core_heap_fast_take(struct quarry_core_heap *heap, unsigned int flags, uint64_t place,
				 unsigned int cpu, unsigned long caller);
void *quarry_core_heap_fast_alloc(struct quarry_core_heap *heap, uint64_t size, unsigned int flags,
				  unsigned int cpu, unsigned long caller);
int quarry_core_heap_fast_free(struct quarry_core_heap *heap, const void *object, unsigned int cpu,
			       unsigned long caller);
/* The bytes of the slots that serve such a request; 0 when pages do, or nothing can. */
uint64_t quarry_core_heap_slot_bytes(uint64_t size, uint64_t align);
/*
 * Objects of one size, up to 2048 bytes, at alignment 8. An object is its offset + `base`; pins
 * for all of them. Answers why no more; *done says how many. Context: by `context`.
 */
int quarry_core_heap_alloc_bulk(struct quarry_core_heap *heap, uint64_t size, uint64_t base,
				uint32_t count, uint64_t *objects, uint32_t *done,
				enum quarry_context context);
/* In order, up to the first that is refused; pins for all of them. Context: any. */
int quarry_core_heap_free_bulk(struct quarry_core_heap *heap, uint64_t base, uint32_t count,
			       const uint64_t *objects, uint32_t *done);
/* A slot goes straight home. Context: NMI too. Errors: those of free; NOT_SUPPORTED: pages. */
int quarry_core_heap_free_remote(struct quarry_core_heap *heap, uint64_t offset);
/* Context: any. Errors: CANNOT_GROW, INVALID (size 0), those of free. */
int quarry_core_heap_resize(struct quarry_core_heap *heap, uint64_t offset, uint64_t size);
/* So many pages, the first at a multiple of 2^align. Context, errors: as of ..._alloc. */
int quarry_core_heap_alloc_pages(struct quarry_core_heap *heap, uint64_t pages,
				 unsigned int align, enum quarry_core_zone zone,
				 uint64_t *offset, enum quarry_context context);
/* Of one run, which may be more. Context: any. Errors: those of free; WRONG_SIZE: it is less. */
int quarry_core_heap_free_pages(struct quarry_core_heap *heap, uint64_t offset, uint64_t pages);
/* A run of 2^order pages. WRONG_SIZE: it is of another count. */
int quarry_core_heap_free_block(struct quarry_core_heap *heap, uint64_t offset, unsigned int order);
/* The fast halves for blocks, as try_alloc and try_free. */
uint64_t quarry_core_heap_try_pages(struct quarry_core_heap *heap, unsigned long cpu,
				    unsigned int order);
int quarry_core_heap_try_free_pages(struct quarry_core_heap *heap, unsigned long cpu,
				    uint64_t offset, unsigned int order);
/* Usable bytes of a live object, 0 when it is none. Context: any. */
uint64_t quarry_core_heap_usable(const struct quarry_core_heap *heap, uint64_t offset);
/* Empties all magazines, brings pending slots home, gives empty slabs back. Context: task. */
void quarry_core_heap_drain(struct quarry_core_heap *heap);
void quarry_core_heap_stat(struct quarry_core_heap *heap, struct quarry_core_stat *stat);
/* As quarry_core_pool_verify. */
void quarry_core_heap_verify(struct quarry_core_heap *heap, int quiet,
			     struct quarry_core_audit *audit);

/* ---- up: ranges of drivers -------------------------------------------------- */

/*
 * Offsets of memory that nobody touches (range/range_allocator.hpp), without clients. Calls for
 * one range are serialised by the caller. Context: any; create, destroy, audit_begin, audit_end
 * task.
 */
struct quarry_core_range;
/* By the config's part for ranges. Errors: INVALID, TOO_LARGE, NO_MEMORY. */
int quarry_core_range_create(const struct quarry_core_pool_config *config,
			     struct quarry_core_range **range);
/* Whatever is live. */
void quarry_core_range_destroy(struct quarry_core_range *range);
/* Best fit. Errors: INVALID (size 0, align no power of two), TOO_LARGE, POOL_FULL, OUT_OF_NODES. */
int quarry_core_range_alloc(struct quarry_core_range *range, uint64_t size, uint64_t align,
			    uint64_t *offset);
/* Errors: MISALIGNED, OUT_OF_RANGE, NOT_OBJECT, ALREADY_FREE. */
int quarry_core_range_free(struct quarry_core_range *range, uint64_t offset);
/* Where it stands. Errors: those of free; INVALID (size 0), CANNOT_GROW. */
int quarry_core_range_resize(struct quarry_core_range *range, uint64_t offset, uint64_t size);
/* Bytes in live ranges, and how many these are. */
uint64_t quarry_core_range_used(const struct quarry_core_range *range, uint64_t *live);
/*
 * A full audit: begin (NULL: no memory), steps of 32 ranges until one answers 0, end. It goes as
 * far as the first step before which a range was changed; alone it is exact.
 */
struct quarry_core_range_audit;
struct quarry_core_range_audit *quarry_core_range_audit_begin(struct quarry_core_range *range);
int quarry_core_range_audit_step(struct quarry_core_range_audit *audit);
void quarry_core_range_audit_end(struct quarry_core_range_audit *audit,
				 struct quarry_core_audit *result);

/* ---- up: reserves, for what must not fail ------------------------------------ */

/*
 * Equal blocks of memory that the caller has set aside, for work that has to be done
 * when no memory can be had. The core never touches the blocks. All in the caller's
 * storage: nothing is allocated. Calls for one reserve are serialised by the caller;
 * their context is any.
 */
#define QUARRY_RESERVE_BLOCKS 64
struct quarry_core_reserve {
	uint64_t storage[16];
};

/* 1..64 blocks of 1 B..4 MiB from `base` on, all free. Errors: INVALID, TOO_LARGE. */
int quarry_core_reserve_init(struct quarry_core_reserve *reserve, void *base,
			     uint64_t block_bytes, uint64_t count);
/* A block that is the caller's from here on, with whatever it held; NULL: all are out. */
void *quarry_core_reserve_take(struct quarry_core_reserve *reserve);
/* Errors: INVALID (NULL), OUT_OF_RANGE (no block of it), MISALIGNED, ALREADY_FREE. */
int quarry_core_reserve_give(struct quarry_core_reserve *reserve, void *block);
/* Blocks that are free. */
uint64_t quarry_core_reserve_left(const struct quarry_core_reserve *reserve);
void quarry_core_reserve_verify(const struct quarry_core_reserve *reserve,
				struct quarry_core_audit *audit);

/*
 * Room for the offsets of whole batches, part of the module's image: for calls that give
 * objects back, which shall not fail when no memory can be had. What a block held is still
 * in it. Calls are serialised by the caller; their context is any.
 */
#define QUARRY_CORE_BATCHES	4
#define QUARRY_CORE_BATCH_LEN	4096
/* NULL: all are out. */
uint64_t *quarry_core_batch_take(void);
/* Errors: as quarry_core_reserve_give. */
int quarry_core_batch_give(uint64_t *batch);
uint32_t quarry_core_batches_left(void);
void quarry_core_batches_verify(struct quarry_core_audit *audit);

#ifdef __cplusplus
}
#endif

#endif /* QUARRY_SEAM_H */
