/* SPDX-License-Identifier: MIT */
/*
 * libquarry: pools of /dev/quarry for programs in C.
 *
 * A pool is bounded, pinned memory that several processes share and the kernel owns. A process
 * that uses a pool is a client of it (struct quarry_pool). The kernel knows which client owns each
 * object; when a client's process dies, at any instruction, its objects are back in the pool.
 * <linux/quarry.h> is the kernel's interface and the manual of these rules.
 *
 *     struct quarry_pool *pool = quarry_create(NULL, &(struct quarry_options){ .bytes = 1 << 20 });
 *     char *text = pool ? quarry_alloc(pool, 64) : NULL;
 *     if (!text)
 *         ... quarry_strerror(errno, pool ? QUARRY_CALL_ALLOC : QUARRY_CALL_CREATE) ...
 *     quarry_free(pool, text);
 *     quarry_leave(pool);
 *
 * CONVENTIONS, the same for every function
 *   Results    A pointer is NULL, and an int is -1, when the call failed; errno then says why.
 *              A function on n objects returns how many were done; fewer than n: errno says why
 *              the next one was not.
 *   Errors     errno values are those of <linux/quarry.h>, and mean the same; each function lists
 *              the ones it adds. quarry_strerror() has a sentence for each with what to do next.
 *   Units      Sizes and offsets are bytes. An object's name in every process is its offset from
 *              the start of the pool; its address differs from process to process.
 *   Threads    Every function may be called from any thread at any time, on one pool too. Only
 *              quarry_leave() and quarry_close() must be the last call on what they end.
 *   Signals    quarry_alloc*, quarry_free*, quarry_transfer, quarry_share_objects, quarry_offset,
 *              quarry_address, quarry_span and quarry_strerror are async-signal-safe (save errno around them),
 *              except in a forked child before its first call. No other function is.
 *   Cost       Objects of up to 2048 bytes come from and go to magazines of this client, one for
 *              each CPU and size class: no system call, see <quarry/fast.h>. The kernel refills and
 *              flushes half a magazine in one call. What lies in them is this client's: STAT
 *              counts it as its objects, and quarry_drain() sends it home. Without rseq (musl,
 *              valgrind, GLIBC_TUNABLES=glibc.pthread.rseq=0), on a kernel without magazines, and
 *              for larger objects and ranges, each call is a system call, each batch one.
 *   Threads without rseq   A child of vfork(2) or of a clone(2) with CLONE_VM that is not a pthread
 *              shares its parent's thread pointer and must not allocate or free.
 *   fork       A child (of fork or of a clone without CLONE_VM) is a client of its own: its first
 *              call on an inherited pool joins, and fails as quarry_join() does when it cannot.
 *              The pool's memory stays mapped at the same address. The parent's objects remain the
 *              parent's: the child reads and writes them, but may not free them (EACCES).
 *              A pool of "host:" ends with the process that made it: a child's calls are EXDEV.
 *   exec       ends the client. Descriptors are close-on-exec; see quarry_share().
 *
 * In C++ these functions hide the structures of the same name in <linux/quarry.h>: write
 * `struct quarry_stat`. <quarry/quarry.hpp> has owners and handles.
 */
#ifndef QUARRY_QUARRY_H
#define QUARRY_QUARRY_H

#include <linux/quarry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An open device: makes pools. */
struct quarry_device;
/* This process as a client of one pool. */
struct quarry_pool;

/* No offset: what quarry_offset() returns for an address outside the pool. */
#define QUARRY_NO_OFFSET UINT64_MAX
/* The environment variable through which `quarryctl create -- COMMAND` hands COMMAND a pool. */
#define QUARRY_POOL_FD_ENV "QUARRY_POOL_FD"

/* Which call an error came from: the second argument of quarry_strerror(). */
enum quarry_call {
    QUARRY_CALL_OPEN,
    QUARRY_CALL_INFO,
    QUARRY_CALL_CREATE,
    QUARRY_CALL_JOIN,
    QUARRY_CALL_ENV,
    QUARRY_CALL_SEND,
    QUARRY_CALL_RECEIVE,
    QUARRY_CALL_SHARE,
    QUARRY_CALL_ALLOC,
    QUARRY_CALL_FREE,
    QUARRY_CALL_TRANSFER,
    QUARRY_CALL_ADDRESS,
    QUARRY_CALL_REGION_ADD,
    QUARRY_CALL_REGION_REMOVE,
    QUARRY_CALL_DRAIN,
    QUARRY_CALL_STAT,
    QUARRY_CALL_VERIFY,
    QUARRY_CALL_RESIZE,
    QUARRY_CALL_SHARE_OBJECTS,
    QUARRY_CALL_RESERVE,
    QUARRY_CALL_COUNT
};

/*
 * What went wrong and what to do next, one English sentence or two without a full stop at the end,
 * for any errno value and call (an unknown one gets a general text). Never NULL; a constant string,
 * not to be freed.
 */
const char *quarry_strerror(int error, enum quarry_call call);
/* The call's name as a word ("alloc"); "call" for an unknown one. */
const char *quarry_call_name(enum quarry_call call);

/* ---- the device ------------------------------------------------------------------------------ */

/*
 * Opens `device`, NULL for QUARRY_DEVICE ("/dev/quarry"). Adds the errors of open(2): ENOENT and
 * ENODEV (the module is not loaded), EACCES (the device is root:quarry 0660). ENOTTY: the file is
 * no Quarry device. EPROTO: the kernel speaks another version of the interface.
 * "host:" is a device in this process, over the same allocator: no module, no root, and the same
 * calls, errors and fast path, for developing, for tests and for measuring. What it cannot do: its
 * pools end with the process, other processes cannot join them (EXDEV in a forked child, ENOTTY
 * elsewhere), quarry_fd() cannot be polled, limits by user and memory cgroups do not apply, and a
 * crash leaves nothing behind because nothing outlives it.
 */
struct quarry_device *quarry_open(const char *device);
/* Ends `device` (NULL: nothing). Its pools live on. Keeps errno. */
void quarry_close(struct quarry_device *device);
/* Limits and features of the kernel side. `info_bytes` is sizeof *info; see quarry_info(). */
int quarry_info_sized(struct quarry_device *device, struct quarry_info *info, size_t info_bytes);

/* ---- pools ----------------------------------------------------------------------------------- */

/* What a new pool is to be. All zero but `bytes` is a good heap pool. */
struct quarry_options {
    uint32_t kind;         /* QUARRY_KIND_HEAP (0), QUARRY_KIND_FIXED or QUARRY_KIND_RANGE */
    uint32_t flags;        /* QUARRY_POOL_ZERO, QUARRY_POOL_HOLD_PINNED ("host:" holds nothing) */
    uint32_t zone;         /* QUARRY_ZONE_NORMAL (0) or QUARRY_ZONE_LOWMEM */
    bool on_node;          /* true: prefer NUMA node `node` */
    int32_t node;
    uint64_t bytes;        /* heap: bytes from the start */
    uint64_t max_bytes;    /* heap: bytes that it may grow to; 0: `bytes`. range: the capacity */
    uint64_t object_size;  /* fixed: bytes of an object, a multiple of 8 */
    uint64_t object_count; /* fixed: how many */
    uint64_t client_limit; /* most bytes that one client may own; 0: no limit */
    const char *name;      /* for people, at most 31 characters; NULL: the pool's id */
    uint64_t granule;      /* range: bytes, a power of two; sizes are rounded up to it */
    uint64_t max_ranges;   /* range: most that are live at a time */
    uint64_t aligns[3];    /* range: alignments to be found without waste; 0: none */
};

/*
 * Makes a pool on `device` (NULL: opens QUARRY_DEVICE for this call), and makes this process its
 * creator and first client. Maps the pool's whole offset space; memory is taken from the system
 * when the pool's bytes are, not by the mapping. A range pool has no memory and is not mapped: its
 * objects are offsets alone, and what wants or gives an address fails with EOPNOTSUPP. `options_bytes` is sizeof *options; see
 * quarry_create(). Adds ENAMETOOLONG (name), and the errors of quarry_open() and mmap(2).
 */
struct quarry_pool *quarry_create_sized(struct quarry_device *device,
                                        const struct quarry_options *options,
                                        size_t options_bytes);
/*
 * Makes this process a client of the pool of descriptor `fd`, which stays the caller's and may be
 * closed afterwards. Each call makes another client. EBADF, ENOTTY, EBADFD: no pool descriptor.
 */
struct quarry_pool *quarry_join(int fd);
/* As quarry_join(); closes `fd` when it succeeds. */
struct quarry_pool *quarry_adopt(int fd);
/*
 * Joins the pool whose descriptor number stands in $QUARRY_POOL_FD, and leaves that descriptor
 * open for programs started from here. ENOENT: no such variable; EINVAL: no number in it.
 */
struct quarry_pool *quarry_open_env(void);
/*
 * Ends this client (NULL: nothing): all that it owns goes back to the pool, and the pool goes when
 * its last client does. No pointer into the pool is valid afterwards. Keeps errno.
 */
void quarry_leave(struct quarry_pool *pool);

/*
 * Hands the right to join over a Unix socket (SCM_RIGHTS; any type of socket), to one
 * quarry_receive_pool() at its other end. Adds the errors of sendmsg(2), never SIGPIPE.
 */
int quarry_send_pool(struct quarry_pool *pool, int socket);
/*
 * Receives what quarry_send_pool() sent, and joins. `*sender` (unless NULL) becomes the client id
 * of the sender, for quarry_transfer(). Adds the errors of recvmsg(2); ECONNRESET: the other end
 * has closed; EPROTO: something else was sent. Keeps no descriptor of what it refuses.
 */
struct quarry_pool *quarry_receive_pool(int socket, uint64_t *sender);
/*
 * A new descriptor of the pool that stays open across exec, for quarry_join() or $QUARRY_POOL_FD
 * in the program started. The caller closes it. Adds the errors of fcntl(2) F_DUPFD.
 */
int quarry_share(struct quarry_pool *pool);

/*
 * This client's descriptor, for poll(2) and epoll(7); -1 as when quarry_join() fails. It belongs
 * to the pool: do not close it. POLLIN: a client died. POLLPRI: little memory is left. POLLOUT:
 * not so. POLLERR: corruption was found. POLLHUP: this client was reaped. It stays ready until
 * quarry_events() acknowledges.
 */
int quarry_fd(struct quarry_pool *pool);
/* QUARRY_EVENT_* of this client, or -1. `acknowledge`: poll sleeps until the next. */
int quarry_events(struct quarry_pool *pool, bool acknowledge);

/* Facts that never change while the pool lives; quarry_client_id() is 0 when a child cannot join. */
uint64_t quarry_pool_id(const struct quarry_pool *pool);
uint64_t quarry_client_id(struct quarry_pool *pool);
uint32_t quarry_kind(const struct quarry_pool *pool);
uint64_t quarry_max_bytes(const struct quarry_pool *pool);
uint64_t quarry_object_size(const struct quarry_pool *pool);  /* fixed pools, else 0 */
uint64_t quarry_object_count(const struct quarry_pool *pool); /* fixed pools, else 0 */

/* ---- objects --------------------------------------------------------------------------------- */

/*
 * An object of at least `bytes`, aligned to 8, its contents undefined unless the pool was made with
 * QUARRY_POOL_ZERO. Fixed pools: `bytes` is their object size (else EMSGSIZE).
 */
void *quarry_alloc(struct quarry_pool *pool, size_t bytes);
/* The same, aligned to `align` bytes in the pool's offsets and in memory up to a page. */
void *quarry_alloc_aligned(struct quarry_pool *pool, size_t bytes, size_t align);
/* The same by offset: QUARRY_NO_OFFSET when it failed. `align` 0: 8. */
uint64_t quarry_alloc_offset(struct quarry_pool *pool, size_t bytes, size_t align);
/*
 * Gives an object of this client back. NULL is no object and no error, as for free(3). A wrong
 * pointer changes nothing: ERANGE (not in the pool), EBADSLT (no object's start), EALREADY (free
 * already), EACCES (another client's), EINVAL (not aligned to 8), ENXIO (memory that the pool has
 * not got).
 */
int quarry_free(struct quarry_pool *pool, void *object);
int quarry_free_offset(struct quarry_pool *pool, uint64_t offset);
/*
 * The same with the size (and alignment) that it was allocated with: a little faster. EMSGSIZE: no
 * object of that size's class starts there, and nothing has changed.
 */
int quarry_free_sized(struct quarry_pool *pool, void *object, size_t bytes);
int quarry_free_sized_aligned(struct quarry_pool *pool, void *object, size_t bytes, size_t align);
int quarry_free_offset_sized(struct quarry_pool *pool, uint64_t offset, size_t bytes, size_t align);

/*
 * Without the checks of this process: for objects of up to 2048 bytes of a heap pool that are only
 * ever allocated and freed by these two (and their batches). A wrong free is found when its magazine
 * is flushed, and counted by quarry_duplicates(), or it is not found at all; what another client
 * owns is safe from it, what this one owns is not.
 */
void *quarry_alloc_unchecked(struct quarry_pool *pool, size_t bytes);
int quarry_free_unchecked(struct quarry_pool *pool, void *object, size_t bytes);
size_t quarry_alloc_batch_unchecked(struct quarry_pool *pool, size_t bytes, uint64_t *offsets,
                                    size_t count);
size_t quarry_free_batch_unchecked(struct quarry_pool *pool, size_t bytes,
                                   const uint64_t *offsets, size_t count);

/*
 * How many times a magazine of this process held what was in use, or what was not this client's:
 * each was found, dropped, and is the work of two frees of one object at one instant, or of writes
 * where nobody should write. `*offset` (unless NULL) becomes the last one's.
 */
uint64_t quarry_duplicates(struct quarry_pool *pool, uint64_t *offset);

/*
 * How many system calls this process's client has made to allocate, free, hand over or resize objects,
 * refused ones too: what its magazines did not do. (In "host:", calls of the pool that were no
 * system calls.) Any thread, at any time; it counts from the join on.
 */
uint64_t quarry_object_calls(struct quarry_pool *pool);

/*
 * `count` objects of one size, their offsets to offsets[]: from this CPU's magazine, and the rest in
 * one system call for each QUARRY_MAX_BATCH of them, or for the last few by filling that magazine.
 * Returns how many were granted; fewer than `count`: see errno.
 */
size_t quarry_alloc_batch(struct quarry_pool *pool, size_t bytes, size_t align, uint64_t *offsets,
                          size_t count);
/*
 * The same, all of them or none: 0, or -1 after everything granted was given back. (What cannot be
 * given back, because the client was reaped meanwhile, is back already.)
 */
int quarry_alloc_all(struct quarry_pool *pool, size_t bytes, size_t align, uint64_t *offsets,
                     size_t count);
/* Frees offsets[0], [1], ...; returns how many. Stops at the first that is refused. */
size_t quarry_free_batch(struct quarry_pool *pool, const uint64_t *offsets, size_t count);
/*
 * Makes the first of `count` objects that are this client's the property of client `to` of the same
 * pool; returns how many. ESRCH: no such living client; EUNATCH: it has not mapped its area yet;
 * EDQUOT: its limit. The receiver frees them; tell it the offsets.
 */
size_t quarry_transfer(struct quarry_pool *pool, uint64_t to, const uint64_t *offsets,
                       size_t count);
/*
 * Makes client `to` a holder of the first of `count` objects beside this one; returns of how many.
 * Each holder frees it once, or dies, and the last one's free is the object's end; until then no one
 * else gets it. A holder may share it on, or hand its share on by quarry_transfer(). From the first
 * share on, a free of it is a system call, and quarry_free_unchecked() must not be used on it.
 * EEXIST: `to` holds it already; ETOOMANYREFS: the pool has no room for more shares; ESRCH, EUNATCH
 * and EDQUOT as for quarry_transfer(); EOPNOTSUPP: a range pool. Async-signal-safe.
 */
size_t quarry_share_objects(struct quarry_pool *pool, uint64_t to, const uint64_t *offsets,
                            size_t count);

/*
 * Gives a range of this client another size where it is; returns its bytes in whole granules, or 0
 * and errno: ENOSPC (what follows it is not free, or too small: allocate, move, free), EDQUOT, the
 * errors of quarry_free_offset(), EOPNOTSUPP (no range pool). Then nothing has changed.
 */
uint64_t quarry_resize(struct quarry_pool *pool, uint64_t offset, uint64_t bytes);

/*
 * Has `count` objects (0..QUARRY_MAX_BATCH) of `bytes` and `align`, as for quarry_alloc_batch(), set
 * aside for this client, no more and no fewer; returns 0, or -1 and errno, and then nothing has
 * changed. So many allocations of that size cannot fail from then on: when nothing else can be had
 * they draw on it, and what they draw is gone from it. Without an error *left, where left is not
 * NULL, says how many are set aside. Counts as this client's, against its limit; not inherited by
 * fork. ENOSPC, ENOMEM, EDQUOT: not so many can be had; EXFULL: 64 sizes, or 16384 objects; the
 * others of quarry_alloc_batch().
 */
int quarry_reserve(struct quarry_pool *pool, size_t bytes, size_t align, size_t count, size_t *left);

/* The offset of an address in the pool's mapping; QUARRY_NO_OFFSET and ERANGE outside it. */
uint64_t quarry_offset(const struct quarry_pool *pool, const void *address);
/*
 * The address of an offset; NULL and ERANGE at or above max_bytes. An offset inside the pool that
 * no region holds has an address too; touching it is SIGBUS.
 */
void *quarry_address(const struct quarry_pool *pool, uint64_t offset);
/* The address of [offset, offset + bytes); NULL and ERANGE unless all of it is in the pool. */
void *quarry_span(const struct quarry_pool *pool, uint64_t offset, size_t bytes);

/* ---- looking after a pool -------------------------------------------------------------------- */

/* Counters; `stat_bytes` is sizeof *stat, see quarry_stat(). Costs O(size classes). */
int quarry_stat_sized(struct quarry_pool *pool, struct quarry_stat *stat, size_t stat_bytes);
/* The same by any descriptor of the pool, without joining: looking makes no client. */
int quarry_stat_fd_sized(int fd, struct quarry_stat *stat, size_t stat_bytes);
/* Counters of up to `room` size classes; returns how many the pool has, or -1. */
int quarry_classes(struct quarry_pool *pool, struct quarry_class_stat *classes, size_t room);
/* A full audit. 0 when it ran: look at `faults`. EPERM: the creator's alone. */
int quarry_verify_sized(struct quarry_pool *pool, struct quarry_verify *verify,
                        size_t verify_bytes);
/* Caches go home and empty slabs to pages. `flags`: QUARRY_DRAIN_POOL (creator), or 0: own. */
int quarry_drain(struct quarry_pool *pool, uint32_t flags, struct quarry_drain *drained);
/*
 * Adds memory, rounded up to pages; `added` (may be NULL) says what and where. `node` -1: any.
 * EPERM: the creator's alone. EFBIG: beyond max_bytes.
 */
int quarry_region_add(struct quarry_pool *pool, uint64_t bytes, uint32_t zone, int node,
                      struct quarry_region *added);
/* Takes the region that starts at `offset` out. EBUSY: in use. `removed` may be NULL. */
int quarry_region_remove(struct quarry_pool *pool, uint64_t offset,
                         struct quarry_region *removed);

/* ---- the calls above whose structures may grow: the caller's size goes along ------------------ */

static inline int quarry_info(struct quarry_device *device, struct quarry_info *info) {
    return quarry_info_sized(device, info, sizeof *info);
}

static inline struct quarry_pool *quarry_create(struct quarry_device *device,
                                                const struct quarry_options *options) {
    return quarry_create_sized(device, options, sizeof *options);
}

static inline int quarry_stat(struct quarry_pool *pool, struct quarry_stat *stat) {
    return quarry_stat_sized(pool, stat, sizeof *stat);
}

static inline int quarry_stat_fd(int fd, struct quarry_stat *stat) {
    return quarry_stat_fd_sized(fd, stat, sizeof *stat);
}

static inline int quarry_verify(struct quarry_pool *pool, struct quarry_verify *verify) {
    return quarry_verify_sized(pool, verify, sizeof *verify);
}

#ifdef __cplusplus
}
#endif

#include <quarry/fast.h>
#endif
