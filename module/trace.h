/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The tracepoints quarry:*. Names and fields are stable: tools and scripts rely
 * on them. Pools and clients are named by their ids, objects by their offsets.
 * `ns` is how long it took; the clock is read only while the event is on.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM quarry

#if !defined(QUARRY_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define QUARRY_TRACE_H

#include <linux/tracepoint.h>
#include <uapi/linux/quarry.h>

/* Objects granted by one call; @offset is the first of @done. */
TRACE_EVENT(alloc,
	    TP_PROTO(u64 pool, u64 client, u64 size, u64 align, u32 count, u32 done, u64 offset,
		     u64 ns),
	    TP_ARGS(pool, client, size, align, count, done, offset, ns),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, client)
		    __field(u64, size)
		    __field(u64, align)
		    __field(u32, count)
		    __field(u32, done)
		    __field(u64, offset)
		    __field(u64, ns)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->client = client;
		    __entry->size = size;
		    __entry->align = align;
		    __entry->count = count;
		    __entry->done = done;
		    __entry->offset = offset;
		    __entry->ns = ns;
	    ),
	    TP_printk("pool=%llu client=%llu size=%llu align=%llu count=%u done=%u offset=%#llx ns=%llu",
		      __entry->pool, __entry->client, __entry->size, __entry->align,
		      __entry->count, __entry->done, __entry->offset, __entry->ns)
);

/* Objects freed by one call; @offset is the first of @done. */
TRACE_EVENT(free,
	    TP_PROTO(u64 pool, u64 client, u32 count, u32 done, u64 offset, u64 ns),
	    TP_ARGS(pool, client, count, done, offset, ns),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, client)
		    __field(u32, count)
		    __field(u32, done)
		    __field(u64, offset)
		    __field(u64, ns)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->client = client;
		    __entry->count = count;
		    __entry->done = done;
		    __entry->offset = offset;
		    __entry->ns = ns;
	    ),
	    TP_printk("pool=%llu client=%llu count=%u done=%u offset=%#llx ns=%llu",
		      __entry->pool, __entry->client, __entry->count, __entry->done,
		      __entry->offset, __entry->ns)
);

/*
 * A call, or the rest of one, was refused. @call is the number of the ioctl,
 * @errno positive, @offset the object in question, @owner the client that owns
 * it or 0, @caller the client that called or 0.
 */
TRACE_EVENT(refused,
	    TP_PROTO(u64 pool, u32 call, int errno, u64 offset, u64 owner, u64 caller),
	    TP_ARGS(pool, call, errno, offset, owner, caller),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u32, call)
		    __field(int, errno)
		    __field(u64, offset)
		    __field(u64, owner)
		    __field(u64, caller)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->call = call;
		    __entry->errno = errno;
		    __entry->offset = offset;
		    __entry->owner = owner;
		    __entry->caller = caller;
	    ),
	    TP_printk("pool=%llu call=%u errno=%d offset=%#llx owner=%llu caller=%llu",
		      __entry->pool, __entry->call, __entry->errno, __entry->offset,
		      __entry->owner, __entry->caller)
);

DECLARE_EVENT_CLASS(quarry_batch,
		    TP_PROTO(u64 pool, u32 slot_bytes, u32 slots, u64 ns),
		    TP_ARGS(pool, slot_bytes, slots, ns),
		    TP_STRUCT__entry(
			    __field(u64, pool)
			    __field(u32, slot_bytes)
			    __field(u32, slots)
			    __field(u64, ns)
		    ),
		    TP_fast_assign(
			    __entry->pool = pool;
			    __entry->slot_bytes = slot_bytes;
			    __entry->slots = slots;
			    __entry->ns = ns;
		    ),
		    TP_printk("pool=%llu slot_bytes=%u slots=%u ns=%llu",
			      __entry->pool, __entry->slot_bytes, __entry->slots, __entry->ns)
);

/* Slots went from slabs into a magazine, or to a client. */
DEFINE_EVENT(quarry_batch, refill,
	     TP_PROTO(u64 pool, u32 slot_bytes, u32 slots, u64 ns),
	     TP_ARGS(pool, slot_bytes, slots, ns));

/* Slots went from a magazine home to their slabs. */
DEFINE_EVENT(quarry_batch, drain,
	     TP_PROTO(u64 pool, u32 slot_bytes, u32 slots, u64 ns),
	     TP_ARGS(pool, slot_bytes, slots, ns));

/* Slots of one slab were marked as on their way home. */
TRACE_EVENT(remote_free,
	    TP_PROTO(u64 pool, u32 slot_bytes, u64 slab, u32 slots),
	    TP_ARGS(pool, slot_bytes, slab, slots),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u32, slot_bytes)
		    __field(u64, slab)
		    __field(u32, slots)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->slot_bytes = slot_bytes;
		    __entry->slab = slab;
		    __entry->slots = slots;
	    ),
	    TP_printk("pool=%llu slot_bytes=%u slab=%#llx slots=%u",
		      __entry->pool, __entry->slot_bytes, __entry->slab, __entry->slots)
);

DECLARE_EVENT_CLASS(quarry_slab,
		    TP_PROTO(u64 pool, u32 slot_bytes, u64 offset, u64 bytes),
		    TP_ARGS(pool, slot_bytes, offset, bytes),
		    TP_STRUCT__entry(
			    __field(u64, pool)
			    __field(u32, slot_bytes)
			    __field(u64, offset)
			    __field(u64, bytes)
		    ),
		    TP_fast_assign(
			    __entry->pool = pool;
			    __entry->slot_bytes = slot_bytes;
			    __entry->offset = offset;
			    __entry->bytes = bytes;
		    ),
		    TP_printk("pool=%llu slot_bytes=%u offset=%#llx bytes=%llu",
			      __entry->pool, __entry->slot_bytes, __entry->offset, __entry->bytes)
);

DEFINE_EVENT(quarry_slab, slab_create,
	     TP_PROTO(u64 pool, u32 slot_bytes, u64 offset, u64 bytes),
	     TP_ARGS(pool, slot_bytes, offset, bytes));

DEFINE_EVENT(quarry_slab, slab_destroy,
	     TP_PROTO(u64 pool, u32 slot_bytes, u64 offset, u64 bytes),
	     TP_ARGS(pool, slot_bytes, offset, bytes));

/* @zone as in QUARRY_ZONE_*. */
TRACE_EVENT(region_add,
	    TP_PROTO(u64 pool, u64 offset, u64 bytes, u32 zone),
	    TP_ARGS(pool, offset, bytes, zone),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, offset)
		    __field(u64, bytes)
		    __field(u32, zone)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->offset = offset;
		    __entry->bytes = bytes;
		    __entry->zone = zone;
	    ),
	    TP_printk("pool=%llu offset=%#llx bytes=%llu zone=%u",
		      __entry->pool, __entry->offset, __entry->bytes, __entry->zone)
);

TRACE_EVENT(region_remove,
	    TP_PROTO(u64 pool, u64 offset, u64 bytes),
	    TP_ARGS(pool, offset, bytes),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, offset)
		    __field(u64, bytes)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->offset = offset;
		    __entry->bytes = bytes;
	    ),
	    TP_printk("pool=%llu offset=%#llx bytes=%llu",
		      __entry->pool, __entry->offset, __entry->bytes)
);

/* @kind as in QUARRY_KIND_*. */
TRACE_EVENT(pool_create,
	    TP_PROTO(u64 pool, u32 kind, u64 bytes, u64 max_bytes, const char *name),
	    TP_ARGS(pool, kind, bytes, max_bytes, name),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u32, kind)
		    __field(u64, bytes)
		    __field(u64, max_bytes)
		    __array(char, name, QUARRY_NAME_LEN)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->kind = kind;
		    __entry->bytes = bytes;
		    __entry->max_bytes = max_bytes;
		    strscpy(__entry->name, name, QUARRY_NAME_LEN);
	    ),
	    TP_printk("pool=%llu kind=%u bytes=%llu max_bytes=%llu name=%s",
		      __entry->pool, __entry->kind, __entry->bytes, __entry->max_bytes,
		      __entry->name)
);

TRACE_EVENT(pool_destroy,
	    TP_PROTO(u64 pool),
	    TP_ARGS(pool),
	    TP_STRUCT__entry(
		    __field(u64, pool)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
	    ),
	    TP_printk("pool=%llu", __entry->pool)
);

/* A client came to be; @pid is its thread group in the initial namespace. */
TRACE_EVENT(join,
	    TP_PROTO(u64 pool, u64 client, int pid),
	    TP_ARGS(pool, client, pid),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, client)
		    __field(int, pid)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->client = client;
		    __entry->pid = pid;
	    ),
	    TP_printk("pool=%llu client=%llu pid=%d",
		      __entry->pool, __entry->client, __entry->pid)
);

/* The reaper begins with a client: what it owned comes back from now on. */
TRACE_EVENT(reap_begin,
	    TP_PROTO(u64 pool, u64 client),
	    TP_ARGS(pool, client),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, client)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->client = client;
	    ),
	    TP_printk("pool=%llu client=%llu", __entry->pool, __entry->client)
);

/* All of it is back. @late: not before the parent could learn of the death. */
TRACE_EVENT(reap,
	    TP_PROTO(u64 pool, u64 client, u64 objects, u64 bytes, u64 ns, bool late),
	    TP_ARGS(pool, client, objects, bytes, ns, late),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u64, client)
		    __field(u64, objects)
		    __field(u64, bytes)
		    __field(u64, ns)
		    __field(bool, late)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->client = client;
		    __entry->objects = objects;
		    __entry->bytes = bytes;
		    __entry->ns = ns;
		    __entry->late = late;
	    ),
	    TP_printk("pool=%llu client=%llu objects=%llu bytes=%llu ns=%llu late=%d",
		      __entry->pool, __entry->client, __entry->objects, __entry->bytes,
		      __entry->ns, __entry->late)
);

/* @what as in enum quarry_corruption, @client an id or 0. */
TRACE_EVENT(corruption,
	    TP_PROTO(u64 pool, u32 what, u64 offset, u64 client),
	    TP_ARGS(pool, what, offset, client),
	    TP_STRUCT__entry(
		    __field(u64, pool)
		    __field(u32, what)
		    __field(u64, offset)
		    __field(u64, client)
	    ),
	    TP_fast_assign(
		    __entry->pool = pool;
		    __entry->what = what;
		    __entry->offset = offset;
		    __entry->client = client;
	    ),
	    TP_printk("pool=%llu what=%u offset=%#llx client=%llu",
		      __entry->pool, __entry->what, __entry->offset, __entry->client)
);

#endif /* QUARRY_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
