/* SPDX-License-Identifier: MIT */
/*
 * Allocation traces: the file format, and the API that reads it. For C and C++.
 *
 * A trace is what one process asked of malloc and its relatives, from its start (or its fork) to its
 * exit, exec or death. It holds sizes, alignments, lifetimes, threads and times; no contents.
 *
 * THE FILE, in the byte order of the machine that wrote it:
 *
 *     quarry_trace_header                  256 bytes
 *     { quarry_trace_block, payload }*     events of ONE thread each, at most 64 KiB
 *     quarry_trace_end                     40 bytes; the last thing in a whole file
 *
 * A file that stops before its end record is truncated: the process was killed, or still runs. Each
 * block carries a CRC, so what stands before the tear is known to be good. All CRCs are CRC-32 as in
 * zlib (polynomial 0xedb88320).
 *
 * ORDER. Each event took a number from one counter of the process: an allocation after the allocator
 * had answered, a free before the allocator was asked; a reallocation is two events, one of each
 * kind. So an address is always freed before it is handed out again, and no free precedes its
 * allocation, whichever threads do them. Blocks of one thread stand in the file in the order of
 * these numbers; between threads there is no order in the file: the reader merges.
 *
 * AN EVENT in a payload, after the event before it in the same block (before the first: number
 * first_event - 1, time first_ns, key 0):
 *
 *     byte     op (enum quarry_trace_op), plus 8 when the number's step follows (it is 1 otherwise);
 *              the upper four bits are 0
 *     varint   step of the number, at least 1             only with the 8
 *     varint   nanoseconds since the event before
 *     varint   zigzag of (key - key before); the key is the address, rotated right by 4 bits
 *     varint   size in bytes                              not for FREE and REALLOC_BEGIN
 *     byte     log2 of the alignment asked for, 0..63     only for ALIGNED
 *
 * A varint is seven bits a byte, low bits first, 0x80 on all but the last; at most 10 bytes. The key
 * of a REALLOC_END is 0 when the call returned NULL: with size 0 the object is freed, otherwise the
 * call failed and the object stays. An allocation that failed is no event.
 */
#ifndef QUARRY_RECORD_TRACE_H
#define QUARRY_RECORD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUARRY_TRACE_MAGIC "\x89QTRACE\n" /* 8 bytes, without the terminating 0 */
#define QUARRY_TRACE_BYTE_ORDER 0x01020304u
#define QUARRY_TRACE_VERSION 1
#define QUARRY_TRACE_BLOCK_MARK 0x4b4c4251u /* "QBLK" in little endian */
#define QUARRY_TRACE_END_MARK 0x444e4551u   /* "QEND" in little endian */
#define QUARRY_TRACE_MAX_PAYLOAD (64u * 1024)
#define QUARRY_TRACE_MAX_EVENT 42 /* bytes: 1 + 10 + 10 + 10 + 10 + 1 */

/* header.flags: made by `quarry-trace merge`; keys are object numbers, not addresses. */
#define QUARRY_TRACE_MERGED 1u

struct quarry_trace_header {
    uint8_t magic[8];
    uint32_t byte_order;
    uint16_t version;
    uint16_t header_bytes;  /* of this struct */
    uint32_t pid;           /* 0 in a merged trace */
    uint32_t parent_pid;
    uint64_t realtime_ns;   /* CLOCK_REALTIME and CLOCK_MONOTONIC at time 0 of the trace */
    uint64_t monotonic_ns;
    uint32_t flags;
    uint32_t reserved;      /* 0 */
    char program[64];       /* name of the executable; NUL-terminated */
    char command[140];      /* its command line, cut off; NUL-terminated */
    uint32_t crc;           /* of all bytes before */
};

struct quarry_trace_block {
    uint32_t mark;
    uint32_t payload_bytes; /* 1..QUARRY_TRACE_MAX_PAYLOAD */
    uint32_t events;        /* at least 1 */
    uint32_t thread;        /* 0, 1, ...: by each thread's first event */
    uint64_t first_event;   /* number of the first event */
    uint64_t first_ns;      /* its time, from time 0 of the trace */
    uint32_t reserved;      /* 0 */
    uint32_t crc;           /* of the 36 bytes before, then of the payload */
};

struct quarry_trace_end {
    uint32_t mark;
    uint32_t reason;        /* enum quarry_trace_reason */
    uint64_t events;        /* in all blocks */
    uint64_t dropped;       /* calls that could not be recorded */
    uint64_t numbered;      /* event numbers given out: more than `events`, if a thread was stopped
                               between taking a number and writing its event */
    uint32_t threads;
    uint32_t crc;           /* of the 36 bytes before */
};

enum quarry_trace_op {
    QUARRY_TRACE_OP_MALLOC = 1,
    QUARRY_TRACE_OP_CALLOC,
    QUARRY_TRACE_OP_ALIGNED,
    QUARRY_TRACE_OP_REALLOC_BEGIN,
    QUARRY_TRACE_OP_REALLOC_END,
    QUARRY_TRACE_OP_FREE,
};

enum quarry_trace_reason {
    QUARRY_TRACE_EXITED = 1, /* exit or _exit */
    QUARRY_TRACE_EXECED,     /* became another program */
    QUARRY_TRACE_ABORTED,    /* abort() */
    QUARRY_TRACE_FULL,       /* the file reached its limit; the process went on unrecorded */
    QUARRY_TRACE_WRITTEN,    /* by a tool: a merged trace */
};

/* What the reader's calls return. */
enum quarry_trace_status {
    QUARRY_TRACE_OK = 0,
    QUARRY_TRACE_DONE,             /* no more events; the trace is whole */
    QUARRY_TRACE_TRUNCATED,        /* the end is missing; all before the tear is readable */
    QUARRY_TRACE_NOT_A_TRACE,      /* it begins otherwise */
    QUARRY_TRACE_WRONG_BYTE_ORDER, /* written on a machine of the other byte order */
    QUARRY_TRACE_WRONG_VERSION,    /* another version of this format */
    QUARRY_TRACE_CORRUPT,          /* a trace, but damaged: a CRC, a mark or an event is wrong */
    QUARRY_TRACE_IO,               /* the file cannot be read; errno says why */
    QUARRY_TRACE_NO_MEMORY,
};

/* What the program did. A realloc of NULL is a malloc; a realloc of memory that was allocated before
 * the recording began is an ALLOC; a realloc to 0 bytes that freed is a FREE. */
enum quarry_trace_kind {
    QUARRY_TRACE_ALLOC = 1, /* malloc */
    QUARRY_TRACE_ZEROED,    /* calloc */
    QUARRY_TRACE_ALIGNED,   /* aligned_alloc, memalign, posix_memalign, valloc, pvalloc */
    QUARRY_TRACE_RESIZED,   /* realloc, reallocarray: the object lives on, at another size */
    QUARRY_TRACE_FREE,
};

struct quarry_trace_event {
    uint32_t kind;        /* enum quarry_trace_kind */
    uint32_t thread;      /* 0..threads-1: who did it, by each one's first event */
    uint64_t object;      /* 0, 1, 2, ...: in order of allocation, never used again */
    uint64_t number;      /* of the event; never falls */
    uint64_t ns;          /* since the start of the trace; never falls */
    uint64_t size;        /* bytes asked for (of a FREE: of the object) */
    uint64_t old_size;    /* of a RESIZED; else 0 */
    uint64_t align;       /* asked for in bytes, a power of two; 0: none was */
    uint64_t born_ns;     /* of a FREE or RESIZED: when the object was allocated */
    uint32_t born_thread; /* likewise: by whom */
    uint32_t implied;     /* 1: a FREE that was not seen, but its address was handed out again */
};

struct quarry_trace_info {
    struct quarry_trace_header header;
    uint32_t threads;
    uint32_t reason;       /* enum quarry_trace_reason; 0 when truncated */
    uint32_t truncated;    /* 1: the end is missing */
    uint64_t blocks;
    uint64_t records;      /* events in the file, REALLOC_BEGIN and REALLOC_END apart */
    uint64_t lost;         /* numbers without an event: torn off, or a thread stopped half way */
    uint64_t dropped;      /* calls that the recorder could not record; 0 when truncated */
    uint64_t bytes;        /* of the file, up to the tear */
    /* Counted by quarry_trace_next(), whole once it has returned DONE or TRUNCATED: */
    uint64_t objects;
    uint64_t unknown_frees;   /* of memory allocated before the recording began; not reported */
    uint64_t implied_frees;   /* see quarry_trace_event.implied */
    uint64_t failed_reallocs; /* not reported: the object stays as it is */
};

struct quarry_trace; /* an open trace; one thread at a time may use it */

/*
 * Opens the trace in the file `path`, or in `bytes` bytes at `data` (which must outlive it). The
 * whole file is checked: cost proportional to its size. OK: `*trace` is open. TRUNCATED: it is open
 * too and ends at the tear. Anything else: `*trace` is NULL.
 */
enum quarry_trace_status quarry_trace_open(const char *path, struct quarry_trace **trace);
enum quarry_trace_status quarry_trace_open_memory(const void *data, size_t bytes,
                                                  struct quarry_trace **trace);
void quarry_trace_close(struct quarry_trace *trace); /* NULL: nothing */

/*
 * The next event in the order in which they happened: OK. DONE or TRUNCATED: there is none, and
 * whether there should be. CORRUPT: events contradict each other. NO_MEMORY. After any of these
 * it keeps its answer. O(log threads); memory grows with the objects alive.
 */
enum quarry_trace_status quarry_trace_next(struct quarry_trace *trace,
                                           struct quarry_trace_event *event);
void quarry_trace_rewind(struct quarry_trace *trace); /* back to the first event */

const struct quarry_trace_info *quarry_trace_get_info(const struct quarry_trace *trace);

/* Sentences and words for messages; never NULL. */
const char *quarry_trace_explain(enum quarry_trace_status status);
const char *quarry_trace_reason_name(uint32_t reason); /* "exit", "exec", ... */
const char *quarry_trace_kind_name(uint32_t kind);     /* "alloc", "zeroed", ... */

#ifdef __cplusplus
}

static_assert(sizeof(quarry_trace_header) == 256 && sizeof(quarry_trace_block) == 40 &&
              sizeof(quarry_trace_end) == 40);
#endif

#endif /* QUARRY_RECORD_TRACE_H */
