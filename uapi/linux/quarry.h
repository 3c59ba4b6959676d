/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Quarry: bounded, pinned memory shared by processes and owned by the kernel.
 *
 * THE PROTOCOL, FROM A USER'S SIDE
 *
 * 1. Pools and clients
 *    open("/dev/quarry") gives a control descriptor. POOL_CREATE on it makes a
 *    pool and returns a pool descriptor, which is also the pool's first client.
 *    JOIN on any pool descriptor makes another client of the same pool. A
 *    client is one open pool file bound to one address space (mm): the one that
 *    called POOL_CREATE or JOIN. From any other address space (a forked child,
 *    a receiver of SCM_RIGHTS) only INFO, JOIN and STAT answer; every other
 *    call is EXDEV. So passing a descriptor passes the right to join, and
 *    nothing else. Client ids are 64 bits wide and never used again.
 *
 * 2. The client area
 *    Every client maps its client area (mmap at QUARRY_CLIENT_AREA_OFFSET,
 *    exactly client_area_bytes long, MAP_SHARED) before its first ALLOC,
 *    TRANSFER, SHARE, RESIZE, RESERVE or receipt of objects; until then those calls
 *    are ENOTCONN. The area is struct quarry_client_area. It cannot be split, moved or resized,
 *    is not inherited by fork and not written to core dumps. The kernel never
 *    believes what it reads there.
 *
 * 3. Objects
 *    An object is named by its offset: bytes from the start of the pool. No
 *    pointer crosses this interface. mmap of the pool descriptor at offset 0
 *    (MAP_SHARED, up to max_bytes) shows the pool's memory; an offset that no
 *    region holds is SIGBUS, a live object's never is. The kernel records the
 *    owner of every object: the client that it was granted to. Only the owner
 *    frees or transfers it.
 *    In a pool of kind RANGE an object is a range of offsets and nothing else:
 *    of memory that the module neither has nor maps (a device's, a file's).
 *    Owners, limits, errors and death are the same; RESIZE is for these alone.
 *
 * 4. Death
 *    A client is reaped, and everything that it owns is back in the pool, at
 *    the first of (a) the end of its client area mapping: munmap, exec or exit;
 *    (b) the exit of its whole thread group, when the last thread's descriptor
 *    table is closed; (c) the end of its file: no descriptor is left, and no
 *    mapping. Every later call on
 *    that descriptor is ESHUTDOWN (INFO, JOIN and STAT still answer). The
 *    objects are back before waitpid(2) returns, unless the dead process had
 *    closed the descriptor and somebody else held its address space (a
 *    process_vm_readv or a read of /proc/PID/maps under way, a process that
 *    shares it): then when they let go, and STAT counts the reap as late.
 *
 * 5. Trust
 *    All clients of a pool map all of its memory: they trust each other with
 *    contents, never with ownership. Fresh memory is zeroed. With
 *    QUARRY_POOL_ZERO a slot is zeroed again when it goes to a client other
 *    than its last owner.
 *    I/O that is in flight when its owner frees an object or dies, an O_DIRECT
 *    read or a buffer registered with io_uring, goes on into the object's
 *    memory. With QUARRY_POOL_HOLD_PINNED an object of whole pages (of more than
 *    2048 bytes in a heap; in a fixed pool all or none) is then given to nobody
 *    before the last of its pages is let go; STAT counts it as @held_bytes. Nothing tells when
 *    that is: the pool looks some 20 times a second, and before ENOSPC. Smaller
 *    objects share their pages: do no such I/O into them. A free that would let
 *    more than a quarter of the pool's maximum be held is EBUSY, and the object
 *    stays its owner's; what a dead client leaves is held in any case. TRANSFER
 *    and SHARE ask nobody: they are their owner's word.
 *
 *    What a heap grew by because an allocation needed it goes back to the system
 *    when that is short of memory, a whole region at a time of which nothing is
 *    in use; @bytes of POOL_CREATE and what REGION_ADD brought stays. The pool grows
 *    again as it needs. Who must not fail then has set aside what it needs (8).
 *
 * 6. Magazines
 *    Behind the head of a client's area lies a block for every CPU that may ever
 *    be (struct quarry_cpu_block, `cpus` of them, `block_bytes` apart, from
 *    `blocks_offset` on), and in it a magazine for every size class: an array of
 *    free objects that this client owns already, named by offset / 8. Taking one
 *    from it or putting one back needs no call: it is a restartable sequence
 *    (rseq(2)) on the magazine of the CPU that it runs on, which ends in one
 *    store to `top`. REFILL and FLUSH move the rest, half a magazine in one
 *    call. To the kernel an object in a magazine and an object in use are the
 *    same: granted to this client, and back when it dies.
 *
 *      word        written by the client          written by the kernel
 *      top         in a sequence: its last store  REFILL, FLUSH, on the CPU that
 *                                                 they run on; a drain, by work on
 *                                                 that CPU (or for a CPU offline)
 *      entries     in a sequence: the one at top, REFILL, before it raises top
 *                  before top is raised
 *      first, end  never, but for a pool in       REFILL and FLUSH, likewise; it
 *                  process ("host:"), which has   tunes them, and believes only
 *                  no kernel to run on a CPU: it  its own copy
 *                  shuts a magazine by first
 *                  0xffffffff and end 0
 *
 *    All three count in __u32 from the start of the block. A sequence (a) is entered
 *    with its struct rseq_cs stored, (b) reads cpu_id, never mm_cid, and takes the slow
 *    path when it is not below `cpus`, (c) reads top, (d) takes the slow path unless top
 *    is above first (to take) or below end (to put), so that either bound also shuts
 *    the magazine, (e) reads the entry below top or writes the one at top, and (f)
 *    stores the new top. It touches nothing but struct rseq, the block, its own
 *    registers and stack, and its process's private word that says where the block is.
 *    The kernel aborts it when its thread is switched out, migrated
 *    or signalled: it starts again and nothing has happened. An interrupt, a
 *    fault or an IPI does not abort it; so the kernel never writes a magazine
 *    from one, nor from a shrinker or another client's exit.
 *    Two threads, or two processes that share the area, exclude each other by
 *    this: cpu_id is the machine's, and any switch aborts. A thread without
 *    rseq registration of its own (musl's, a raw clone's that shares its parent's
 *    thread pointer) must not enter a sequence: ALLOC and FREE do the same.
 *
 *    A block that has no memory (a CPU that was not online, or beyond the
 *    client's budget of bytes) reads as zeroes, so that every sequence takes the
 *    slow path; the first REFILL or FLUSH on that CPU brings it, within the budget.
 *    A write there is SIGBUS. A magazine that a drain has emptied is all zero, too,
 *    until the next REFILL or FLUSH on its CPU.
 *
 *    What a client writes there by mistake or malice costs itself an error, and
 *    no one else anything: the kernel reads each word once, bounds it by its own
 *    copy of the capacity, and sends an entry home by the same check of its owner
 *    as FREE; what is not this client's, or of another class (EMSGSIZE), is counted,
 *    traced as refused, dropped.
 *
 *    What sits free in magazines serves others before a call that may sleep
 *    fails: the kernel drains them, by work on each CPU, 10 ms at most. A CPU
 *    that a spinning real-time thread keeps is unreachable then: counted, and
 *    ENOMEM (ENOSPC, EDQUOT) is allowed.
 *
 *    The class of a slot: a table of one byte a page, the same for all clients,
 *    mapped read-only at QUARRY_CLASS_TABLE_OFFSET: 0 for a page that is no
 *    slab's, else the class's index + 1. It is true for as long as the caller
 *    owns an object on that page.
 *
 * 7. Shared objects
 *    SHARE makes another client a holder of an object beside the caller, who is or becomes
 *    one itself; any holder may share it on. FREE by a holder drops its share, and the last
 *    one's frees the object; death drops what it held. Each holder counts the object, and
 *    its bytes against its limit, as if it were its alone. TRANSFER hands on the caller's
 *    share. A holder is recorded once. A shared object never enters a magazine: its
 *    holders free it by a call, and what a client puts there all the same is refused when
 *    it is flushed or drained. Not for ranges.
 *
 * 8. Reserves
 *    RESERVE sets objects of one size aside for its caller, so that its next allocations of
 *    that size cannot fail, by ALLOC or REFILL: when nothing else can be had, for want of
 *    memory, of room or within a limit, they draw on it. Requests that the pool serves by
 *    objects of the same bytes and alignment share it. What is set aside is granted: it counts
 *    as the caller's, against its limit, and is back when it dies. Nobody is told which
 *    objects these are: to a FREE, TRANSFER, SHARE or RESIZE that names one it is free
 *    (EALREADY), and no drain takes it for another client. What a client gets hold of all the
 *    same, by writing it into its own magazine, it loses from its reserve.
 *
 * CALLS
 *    Each call takes a structure whose first member is its size in bytes, so
 *    that either side may be the newer one: a size below the first version is
 *    EINVAL; bytes beyond what the kernel knows must be zero, else E2BIG.
 *    Unknown flags and non-zero reserved fields are EINVAL. A refused call
 *    changes nothing. ALLOC, FREE, TRANSFER and SHARE take n objects; they stop at the
 *    first that fails. When at least one was done the call returns 0 and
 *    `done` and `error` say how many and why no more (error 0: all). When none
 *    was done the call fails with that error. A fault while the answer is
 *    written (EFAULT) gives what was granted back.
 *
 * ERRORS, the same for each call
 *    EFAULT      an address that cannot be read or written
 *    EINVAL      structure too small; unknown flag; reserved field set; count 0;
 *                size 0; alignment no power of two, or none that every object of
 *                a fixed pool has; unknown kind, zone, node; an offset that is no
 *                multiple of 8 (of the granule, in a range pool)
 *    E2BIG       structure larger than the kernel's, with a non-zero tail; or
 *                larger than 4096 bytes
 *    EMSGSIZE    count above QUARRY_MAX_BATCH; object size other than the one of
 *                a fixed pool
 *    EOVERFLOW   sizes whose sum or product overflows 64 bits
 *    EFBIG       larger than any object, pool or region can be, or than memory
 *    ENOTTY      no such call
 *    EBADFD      a call for a pool descriptor on the control descriptor, or
 *                POOL_CREATE on a pool descriptor
 *    EXDEV       a call from an address space that is not the client's (STAT
 *                answers there, but does not acknowledge)
 *    EINTR       the caller is being killed
 *    ENOTCONN    the client area is not mapped yet
 *    ESHUTDOWN   the client has been reaped
 *    EPERM       reserved to the pool's creator, or a capability is missing
 *    EDQUOT      a limit of the user or of the receiving client
 *    ENOBUFS     RLIMIT_MEMLOCK of the caller would be exceeded
 *    EUSERS      JOIN: the pool has as many clients as it can have (max_clients
 *                of INFO when it was made; a reaped one counts until its
 *                descriptor is closed)
 *    EMFILE      POOL_CREATE, JOIN: no descriptor is left (ENFILE: no file)
 *    ENOMEM      the kernel has no memory (or the memory cgroup's limit is met)
 *    ENOSPC      the pool is full and may not grow; RESIZE: not in its place
 *    ENOSR       as many ranges are live as the pool can have
 *    EXFULL      RESERVE: the client has objects of 64 sizes set aside, or 16384 of them
 *    ERANGE      an offset at or above max_bytes
 *    ENXIO       an offset that no region holds
 *    EBADSLT     an offset inside the pool that is no object's start
 *    EALREADY    the object is free already (or was never allocated)
 *    EACCES      the object is another client's
 *    EUCLEAN     the slab of this object is quarantined after corruption
 *    ESRCH       TRANSFER, SHARE: no such living client in this pool
 *    EUNATCH     TRANSFER, SHARE: the receiver has not mapped its client area
 *    ETOOMANYREFS  TRANSFER: the owner records of that slab are used up; SHARE:
 *                those, or the pool's records of shares
 *    EBUSY       a region with objects or mapped pages in use; a free of what I/O
 *                holds, where it holds too much of the pool already
 *    EEXIST      a pool of this user already has this name; SHARE, TRANSFER: the
 *                receiver holds the shared object already
 *    EOPNOTSUPP  not for this kind of pool: RESIZE is for ranges alone; regions
 *                and mmap of the memory are not for ranges
 */
#ifndef _UAPI_LINUX_QUARRY_H
#define _UAPI_LINUX_QUARRY_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define QUARRY_ABI_VERSION		1
#define QUARRY_DEVICE			"/dev/quarry"

/* Offsets are multiples of this; objects are at least so large. Bytes. */
#define QUARRY_GRAIN			8
/* Most objects in one ALLOC, FREE, TRANSFER or SHARE. */
#define QUARRY_MAX_BATCH		4096
/* Most bytes of one object. */
#define QUARRY_MAX_OBJECT		(4ULL << 20)
/* Most bytes of one pool. */
#define QUARRY_MAX_POOL			(32ULL << 30)
/* Most ranges that are live at a time in one range pool. */
#define QUARRY_MAX_RANGES		(1U << 20)
/* Size classes of heap pools. */
#define QUARRY_MAX_CLASSES		64
#define QUARRY_NAME_LEN			32
/* mmap offset of a client's own area. */
#define QUARRY_CLIENT_AREA_OFFSET	(1ULL << 40)
/* mmap offset of the pool's class table, read-only: max_bytes / page_size bytes. */
#define QUARRY_CLASS_TABLE_OFFSET	(1ULL << 41)
/* Distance of two CPUs' blocks in a client area, as a power of two. */
#define QUARRY_CPU_BLOCK_SHIFT		17
/* Most entries of one magazine; what it begins with. */
#define QUARRY_MAX_MAGAZINE		2048
#define QUARRY_MIN_MAGAZINE		64

#define QUARRY_IOC_TYPE			0xE9
#define QUARRY_IOC_INFO			_IO(QUARRY_IOC_TYPE, 0x00)
#define QUARRY_IOC_POOL_CREATE		_IO(QUARRY_IOC_TYPE, 0x01)
#define QUARRY_IOC_JOIN			_IO(QUARRY_IOC_TYPE, 0x02)
#define QUARRY_IOC_ALLOC		_IO(QUARRY_IOC_TYPE, 0x03)
#define QUARRY_IOC_FREE			_IO(QUARRY_IOC_TYPE, 0x04)
#define QUARRY_IOC_TRANSFER		_IO(QUARRY_IOC_TYPE, 0x05)
#define QUARRY_IOC_REGION_ADD		_IO(QUARRY_IOC_TYPE, 0x06)
#define QUARRY_IOC_REGION_REMOVE	_IO(QUARRY_IOC_TYPE, 0x07)
#define QUARRY_IOC_DRAIN		_IO(QUARRY_IOC_TYPE, 0x08)
#define QUARRY_IOC_STAT			_IO(QUARRY_IOC_TYPE, 0x09)
#define QUARRY_IOC_VERIFY		_IO(QUARRY_IOC_TYPE, 0x0a)
#define QUARRY_IOC_RESIZE		_IO(QUARRY_IOC_TYPE, 0x0b)
#define QUARRY_IOC_REFILL		_IO(QUARRY_IOC_TYPE, 0x0c)
#define QUARRY_IOC_FLUSH		_IO(QUARRY_IOC_TYPE, 0x0d)
#define QUARRY_IOC_SHARE		_IO(QUARRY_IOC_TYPE, 0x0e)
#define QUARRY_IOC_RESERVE		_IO(QUARRY_IOC_TYPE, 0x0f)

/* INFO: `features`. */
#define QUARRY_FEATURE_HEAP		(1ULL << 0)
#define QUARRY_FEATURE_FIXED		(1ULL << 1)
#define QUARRY_FEATURE_REGION_REMOVE	(1ULL << 2)
#define QUARRY_FEATURE_LOWMEM		(1ULL << 3)
#define QUARRY_FEATURE_RANGE		(1ULL << 4)
#define QUARRY_FEATURE_MAGAZINES	(1ULL << 5)
#define QUARRY_FEATURE_RESERVE		(1ULL << 6)

/**
 * struct quarry_info - QUARRY_IOC_INFO, on either kind of descriptor
 * @size: in: sizeof(struct quarry_info)
 * @flags: in: 0
 * @abi_version: QUARRY_ABI_VERSION of the kernel side
 * @cpus: CPUs that may ever be online
 * @features: QUARRY_FEATURE_*
 * @page_size: bytes
 * @class_count: size classes of a heap pool
 * @class_size: bytes of each, ascending; larger objects are pages
 * @max_object: most bytes of one object
 * @max_pool: most bytes of one pool under the module's limits
 * @max_batch: most objects in one call
 * @max_clients: most clients of one pool
 * @max_user_bytes: most pool bytes of one user
 * @max_user_pools: most pools of one user
 * @max_user_clients: most clients of one user, over all pools
 * @reserved: 0
 */
struct quarry_info {
	__u32 size;
	__u32 flags;
	__u32 abi_version;
	__u32 cpus;
	__u64 features;
	__u32 page_size;
	__u32 class_count;
	__u32 class_size[QUARRY_MAX_CLASSES];
	__u64 max_object;
	__u64 max_pool;
	__u32 max_batch;
	__u32 max_clients;
	__u64 max_user_bytes;
	__u32 max_user_pools;
	__u32 max_user_clients;
	__u64 reserved[4];
};

/* Kinds of pool. */
#define QUARRY_KIND_HEAP		0	/* objects of any size up to max_object */
#define QUARRY_KIND_FIXED		1	/* one object size, a fixed count */
#define QUARRY_KIND_RANGE		2	/* offsets of memory that is not Quarry's */

/* Zones. */
#define QUARRY_ZONE_NORMAL		0
#define QUARRY_ZONE_LOWMEM		1	/* physical address below 4 GiB */

/* POOL_CREATE: `flags`. */
#define QUARRY_POOL_ZERO		(1U << 0) /* zero a slot that changes its owner */
#define QUARRY_POOL_HOLD_PINNED		(1U << 1) /* a page in I/O goes to nobody else */

/* POOL_CREATE and JOIN: `fd_flags`. */
#define QUARRY_FD_CLOEXEC		(1U << 0)

/**
 * struct quarry_pool_create - QUARRY_IOC_POOL_CREATE, on the control descriptor
 * @size: in: sizeof(struct quarry_pool_create)
 * @flags: in: QUARRY_POOL_*
 * @kind: in: QUARRY_KIND_*
 * @zone: in: QUARRY_ZONE_*; LOWMEM needs CAP_SYS_RAWIO or the module's quota
 * @node: in: NUMA node to prefer, or -1
 * @fd_flags: in: QUARRY_FD_*
 * @bytes: in: heap: bytes to have from the start, rounded up to pages; fixed: 0
 * @max_bytes: in: heap: bytes that the pool may grow to (0: @bytes); range: the
 *	capacity, a multiple of @granule, up to 2^62 granules and below 2^63;
 *	out: the offset space, what a full mmap takes
 * @object_size: in: fixed: bytes of an object, a multiple of 8 up to max_object
 * @object_count: in: fixed: how many; all of them are there from the start
 * @client_limit: in: most bytes that one client may own, 0: no limit of its own
 * @granule: in: range: bytes, a power of two; sizes are rounded up to it
 * @max_ranges: in: range: most ranges live at a time, 1..QUARRY_MAX_RANGES; their
 *	records are taken at once and count as the user's pool bytes
 * @range_align: in: range: up to 3 alignments that are found without waste in
 *	logarithmic time: powers of two above @granule, each once; 0: none.
 *	Any other alignment can be asked for, too
 * @name: in: for people, NUL-terminated, printable, no '/'; empty: the pool's id
 * @fd: out: the pool descriptor, also the first client
 * @client_area_bytes: out: length of the client area mapping
 * @pool_id: out: never used again
 * @client_id: out: never used again
 * @reserved: in: 0
 */
struct quarry_pool_create {
	__u32 size;
	__u32 flags;
	__u32 kind;
	__u32 zone;
	__s32 node;
	__u32 fd_flags;
	__u64 bytes;
	__u64 max_bytes;
	__u64 object_size;
	__u64 object_count;
	__u64 client_limit;
	char name[QUARRY_NAME_LEN];
	__s32 fd;
	__u32 client_area_bytes;
	__u64 pool_id;
	__u64 client_id;
	__u64 granule;
	__u64 max_ranges;
	__u64 range_align[3];
	__u64 reserved[3];
};

/**
 * struct quarry_join - QUARRY_IOC_JOIN, on a pool descriptor, from any mm
 * @size: in: sizeof(struct quarry_join)
 * @flags: in: 0
 * @fd_flags: in: QUARRY_FD_*
 * @kind: out: the pool's kind
 * @fd: out: a new descriptor: another client of this pool, bound to the caller
 * @client_area_bytes: out: length of the client area mapping
 * @max_bytes: out: the offset space
 * @pool_id: out
 * @client_id: out
 * @object_size: out: fixed pools: bytes of an object
 * @object_count: out: fixed pools: how many
 * @reserved: in: 0
 */
struct quarry_join {
	__u32 size;
	__u32 flags;
	__u32 fd_flags;
	__u32 kind;
	__s32 fd;
	__u32 client_area_bytes;
	__u64 max_bytes;
	__u64 pool_id;
	__u64 client_id;
	__u64 object_size;
	__u64 object_count;
	__u64 reserved[4];
};

/**
 * struct quarry_alloc - QUARRY_IOC_ALLOC
 * @size: in: sizeof(struct quarry_alloc)
 * @flags: in: 0
 * @object_size: in: bytes of each object
 * @align: in: power of two up to max_object; 0: 8. In a fixed pool: at most a
 *	page, and the object size a multiple of it. Of a range: any power of two;
 *	0: the granule
 * @count: in: 1..QUARRY_MAX_BATCH
 * @done: out: how many were granted
 * @error: out: 0, or the positive errno that stopped the call after @done
 * @reserved: in: 0
 * @offsets: in: address of __u64[count]; out there: the first @done offsets
 */
struct quarry_alloc {
	__u32 size;
	__u32 flags;
	__u64 object_size;
	__u64 align;
	__u32 count;
	__u32 done;
	__s32 error;
	__u32 reserved;
	__u64 offsets;
};

/**
 * struct quarry_reservation - QUARRY_IOC_RESERVE: so many objects are set aside (head of this
 *	file, 8), no more and no fewer
 * @size: in: sizeof(struct quarry_reservation)
 * @flags: in: 0
 * @object_size: in: as of ALLOC
 * @align: in: as of ALLOC
 * @count: in: 0..QUARRY_MAX_BATCH: what was set aside beyond it is freed, what is missing
 *	granted. It is not kept up: what is drawn is gone from it
 * @left: out: how many are set aside
 *
 * Errors: those of ALLOC, but for its count of 0; EXFULL. Then as many are set aside as before.
 */
struct quarry_reservation {
	__u32 size;
	__u32 flags;
	__u64 object_size;
	__u64 align;
	__u32 count;
	__u32 left;
};

/**
 * struct quarry_free - QUARRY_IOC_FREE
 * @size: in: sizeof(struct quarry_free)
 * @flags: in: 0
 * @count: in: 1..QUARRY_MAX_BATCH
 * @done: out: how many were freed; offsets[done] is the one refused
 * @error: out: 0, or the positive errno of the refusal
 * @reserved: in: 0
 * @offsets: in: address of __u64[count]
 */
struct quarry_free {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 done;
	__s32 error;
	__u32 reserved;
	__u64 offsets;
};

/**
 * struct quarry_transfer - QUARRY_IOC_TRANSFER: objects change their owner;
 *	QUARRY_IOC_SHARE: they have one more (head of this file, 7)
 * @size: in: sizeof(struct quarry_transfer)
 * @flags: in: 0
 * @to_client: in: the receiver's client id; it must live in this pool
 * @count: in: 1..QUARRY_MAX_BATCH
 * @done: out: how many were moved, or shared
 * @error: out: 0, or the positive errno of the refusal
 * @reserved: in: 0
 * @offsets: in: address of __u64[count]
 */
struct quarry_transfer {
	__u32 size;
	__u32 flags;
	__u64 to_client;
	__u32 count;
	__u32 done;
	__s32 error;
	__u32 reserved;
	__u64 offsets;
};

/**
 * struct quarry_refill - QUARRY_IOC_REFILL: an object, and more into the magazine
 * @size: in: sizeof(struct quarry_refill)
 * @flags: in: 0
 * @class_index: in: index of the size class, as in struct quarry_client_area
 * @filled: out: entries put into this CPU's magazine: to half its capacity, and with
 *	the one object half its capacity at most
 * @offset: out: one object for the caller, so that no migration starves it
 *
 * Errors: those of ALLOC; EINVAL (no such class). It succeeds when it has the one
 * object, whatever it could put into the magazine.
 */
struct quarry_refill {
	__u32 size;
	__u32 flags;
	__u32 class_index;
	__u32 filled;
	__u64 offset;
};

/* FLUSH: `flags`. */
#define QUARRY_FLUSH_OBJECT		(1U << 0) /* @offset is freed, too */

/**
 * struct quarry_flush - QUARRY_IOC_FLUSH: a magazine goes home but for half
 * @size: in: sizeof(struct quarry_flush)
 * @flags: in: QUARRY_FLUSH_*
 * @class_index: in: index of the size class
 * @drained: out: entries taken from this CPU's magazine, the oldest; half its capacity
 *	stays, and at most that much goes
 * @offset: in: the object that its caller is freeing
 * @bad: out: entries among these that were no object of this client's
 * @bad_error: out: positive errno of the first of them, as FREE would say
 * @bad_offset: out: the first of them
 *
 * Errors: EINVAL (no such class); those of FREE, for @offset: the magazine has been
 * flushed all the same.
 */
struct quarry_flush {
	__u32 size;
	__u32 flags;
	__u32 class_index;
	__u32 drained;
	__u64 offset;
	__u32 bad;
	__s32 bad_error;
	__u64 bad_offset;
};

/**
 * struct quarry_resize - QUARRY_IOC_RESIZE: a range gets another size in its place
 * @size: in: sizeof(struct quarry_resize)
 * @flags: in: 0
 * @offset: in: the range
 * @object_size: in: bytes that it shall have
 * @bytes: out: bytes that it has, in whole granules
 */
struct quarry_resize {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 object_size;
	__u64 bytes;
};

/**
 * struct quarry_region - QUARRY_IOC_REGION_ADD and _REMOVE, the creator's
 * @size: in: sizeof(struct quarry_region)
 * @flags: in: 0
 * @zone: in: ADD: QUARRY_ZONE_*
 * @node: in: ADD: NUMA node to prefer, or -1
 * @bytes: in: ADD: how many to add, rounded up to pages; out: how many were
 *	added or removed. A region is contiguous: what the kernel cannot give in
 *	one piece becomes several regions
 * @offset: out: ADD: start of the first; in: REMOVE: start of one region
 * @regions: out: how many regions were added or removed
 * @reserved: in: 0
 */
struct quarry_region {
	__u32 size;
	__u32 flags;
	__u32 zone;
	__s32 node;
	__u64 bytes;
	__u64 offset;
	__u32 regions;
	__u32 reserved;
};

/* DRAIN: `flags`. */
#define QUARRY_DRAIN_POOL		(1U << 0) /* the whole pool; the creator's */

/**
 * struct quarry_drain - QUARRY_IOC_DRAIN: caches go home, empty slabs to pages
 * @size: in: sizeof(struct quarry_drain)
 * @flags: in: QUARRY_DRAIN_*
 * @slots: out: slots that came home
 * @slabs: out: slabs given back to the page allocator
 */
struct quarry_drain {
	__u32 size;
	__u32 flags;
	__u64 slots;
	__u64 slabs;
};

/* STAT: `flags`. */
#define QUARRY_STAT_ACK			(1U << 0) /* events are seen: poll sleeps again */

/* STAT: `events`, what poll(2) reports. */
#define QUARRY_EVENT_PEER_DIED		(1U << 0) /* EPOLLIN: a client was reaped */
#define QUARRY_EVENT_LOW_MEMORY		(1U << 1) /* EPOLLPRI: below 1/8 of max_bytes left */
#define QUARRY_EVENT_MEMORY_BACK	(1U << 2) /* EPOLLOUT: not low */
#define QUARRY_EVENT_CORRUPTION		(1U << 3) /* EPOLLERR */
#define QUARRY_EVENT_REAPED		(1U << 4) /* EPOLLHUP: this client */

/**
 * struct quarry_class_stat - one size class of a pool
 * @size: bytes of a slot
 * @slabs: slabs held
 * @live: slots that are granted to a client (or in a cache)
 * @free: free slots in those slabs, pending remote frees included
 */
struct quarry_class_stat {
	__u32 size;
	__u32 slabs;
	__u64 live;
	__u64 free;
};

/**
 * struct quarry_stat - QUARRY_IOC_STAT, on a pool descriptor, from any mm
 * @size: in: sizeof(struct quarry_stat)
 * @flags: in: QUARRY_STAT_*
 * @classes: in: address of struct quarry_class_stat[@class_count], or 0
 * @class_count: in: room there; out: classes of the pool
 * @events: out: QUARRY_EVENT_* of this client
 * @pool_id: out
 * @kind: out
 * @clients: out: living clients
 * @max_bytes: out: the offset space
 * @bytes: out: bytes in regions
 * @free_bytes: out: bytes in free pages
 * @used_bytes: out: bytes owned by clients: slots and pages
 * @objects: out: objects owned by clients, a shared one by each that holds it
 * @meta_bytes: out: bytes of allocator metadata
 * @regions: out
 * @slabs: out
 * @allocs: out: objects granted since the pool was made
 * @frees: out: objects freed by their clients
 * @refused: out: objects and calls refused
 * @reaps: out: clients reaped
 * @late_reaps: out: of those, not before waitpid
 * @reaped_objects: out
 * @reaped_bytes: out
 * @transfers: out: objects moved
 * @corruptions: out
 * @client_id: out: this client's id
 * @client_objects: out: objects that it owns
 * @client_bytes: out: bytes that it owns
 * @client_limit: out: most bytes that it may own, 0: no limit
 * @name: out
 * @refills: out: magazines refilled
 * @flushes: out: magazines flushed or drained
 * @magazine_bytes: out: memory of all clients' magazines
 * @unreachable: out: times that a CPU could not be drained in time
 * @shares: out: of shared objects, one for each that holds it
 * @held_bytes: out: that nobody owns, and I/O into them holds (QUARRY_POOL_HOLD_PINNED);
 *    neither in @free_bytes nor in @used_bytes
 * @reserve_objects: out: of @objects, what clients have set aside (RESERVE)
 * @reserved: 0
 */
struct quarry_stat {
	__u32 size;
	__u32 flags;
	__u64 classes;
	__u32 class_count;
	__u32 events;
	__u64 pool_id;
	__u32 kind;
	__u32 clients;
	__u64 max_bytes;
	__u64 bytes;
	__u64 free_bytes;
	__u64 used_bytes;
	__u64 objects;
	__u64 meta_bytes;
	__u32 regions;
	__u32 slabs;
	__u64 allocs;
	__u64 frees;
	__u64 refused;
	__u64 reaps;
	__u64 late_reaps;
	__u64 reaped_objects;
	__u64 reaped_bytes;
	__u64 transfers;
	__u64 corruptions;
	__u64 client_id;
	__u64 client_objects;
	__u64 client_bytes;
	__u64 client_limit;
	char name[QUARRY_NAME_LEN];
	__u64 refills;
	__u64 flushes;
	__u64 magazine_bytes;
	__u64 unreachable;
	__u64 shares;
	__u64 held_bytes;
	__u64 reserve_objects;
	__u64 reserved;
};

/**
 * struct quarry_verify - QUARRY_IOC_VERIFY: a full structural audit, the creator's
 * @size: in: sizeof(struct quarry_verify)
 * @flags: in: 0
 * @faults: out: contradictions found; 0 is the only good answer
 * @first_offset: out: where the first was found
 * @pages: out: pages visited
 * @slabs: out: slabs visited
 * @objects: out: objects owned by clients, counted one by one
 * @first: out: what the first was, in words
 */
struct quarry_verify {
	__u32 size;
	__u32 flags;
	__u64 faults;
	__u64 first_offset;
	__u64 pages;
	__u64 slabs;
	__u64 objects;
	char first[64];
};

/**
 * struct quarry_client_area - the head of a client's own mapping
 * @abi_version: QUARRY_ABI_VERSION
 * @bytes: length of the area
 * @pool_id: the pool
 * @client_id: the client
 * @max_bytes: the pool's offset space
 * @kind: the pool's kind
 * @class_count: entries of @class_size
 * @class_size: bytes of each size class, ascending
 * @cpus: blocks that follow, one a CPU; 0: no magazines (range pools, and objects
 *	above 2048 bytes)
 * @blocks_offset: bytes from the area's start to the first block
 * @block_bytes: bytes from one block to the next, 1 << QUARRY_CPU_BLOCK_SHIFT
 * @reserved: 0
 *
 * Written by the kernel before it is mapped, never read by it.
 */
struct quarry_client_area {
	__u32 abi_version;
	__u32 bytes;
	__u64 pool_id;
	__u64 client_id;
	__u64 max_bytes;
	__u32 kind;
	__u32 class_count;
	__u32 class_size[QUARRY_MAX_CLASSES];
	__u32 cpus;
	__u32 blocks_offset;
	__u32 block_bytes;
	__u32 reserved;
};

/**
 * struct quarry_magazine - free objects of one client, CPU and size class
 * @top: behind the last entry: it holds top - first
 * @end: behind the last entry that it may hold
 * @first: its first entry
 * @reserved: 0
 *
 * Indices of __u32 in the block; an entry is an object's offset / 8. All zero (a block
 * without memory): empty and full.
 */
struct quarry_magazine {
	__u32 top;
	__u32 end;
	__u32 first;
	__u32 reserved;
};

/**
 * struct quarry_cpu_block - the magazines of one client and CPU
 * @magazine: one for each size class; their entries follow in the block
 */
struct quarry_cpu_block {
	struct quarry_magazine magazine[QUARRY_MAX_CLASSES];
};

#endif /* _UAPI_LINUX_QUARRY_H */
