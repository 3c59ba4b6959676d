/* SPDX-License-Identifier: MIT */
/*
 * The magazines of "host:": refill, flush, drain, and how large each is.
 *
 * A magazine begins with QUARRY_MIN_MAGAZINE entries; when it is refilled or flushed FAST times within
 * WINDOW_NS its capacity doubles, up to QUARRY_MAX_MAGAZINE entries and MOST_BYTES of objects. The
 * small arrays lie one behind the other after the head of the block; a larger one takes a piece of
 * the rest of the block for good, and grows in it. There are a dozen pieces a block: the classes
 * that are first in need have them.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "../internal.h"
#include "state.h"

#define FAST 4
#define WINDOW_NS 10000000ull
#define MOST_BYTES (256u << 10)
#define HEAD (sizeof(struct quarry_cpu_block) / sizeof(uint32_t))
#define PIECES_AT (16384u / sizeof(uint32_t))
#define PIECES ((HOST_BLOCK / sizeof(uint32_t) - PIECES_AT) / QUARRY_MAX_MAGAZINE)

static uint32_t slot_bytes(const struct host_client *client, uint32_t size_class) {
    return client->area->class_size[size_class];
}

static struct quarry_cpu_block *block_of(const struct host_client *client, uint32_t cpu) {
    return (struct quarry_cpu_block *)((char *)client->area + client->area->blocks_offset +
                                       (size_t)cpu * HOST_BLOCK);
}

static struct host_magazine *magazine_of(const struct host_client *client, uint32_t cpu,
                                         uint32_t size_class) {
    return &client->magazines[(size_t)cpu * client->pool->classes + size_class];
}

static uint32_t first_capacity(uint32_t bytes) {
    const uint32_t most = MOST_BYTES / bytes;

    return most < QUARRY_MIN_MAGAZINE ? most : QUARRY_MIN_MAGAZINE;
}

/* Opens a magazine whose top is set. */
static void open_magazine(struct quarry_magazine *shown, struct host_magazine *magazine) {
    magazine->is_shut = false;
    __atomic_store_n(&shown->first, magazine->first, __ATOMIC_RELEASE);
    __atomic_store_n(&shown->end, magazine->first + magazine->capacity, __ATOMIC_RELEASE);
}

static void shut_magazine(struct quarry_magazine *shown, struct host_magazine *magazine) {
    magazine->is_shut = true;
    __atomic_store_n(&shown->first, UINT32_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(&shown->end, 0, __ATOMIC_RELEASE);
}

/* What a thread without rseq finds. */
static const struct quarry_cpu_block no_block;

bool host_magazines_make(struct host_client *client) {
    const uint32_t classes = client->pool->classes;
    const uint32_t cpus = client->cpus;
    static const size_t before = 2; /* entries -2 and -1 of the table */
    const size_t table_bytes = (before + cpus) * sizeof(uint64_t);
    const size_t piece_bytes = cpus * sizeof(uint32_t);
    unsigned char *memory;

    client->private_bytes = table_bytes + (size_t)cpus * classes * sizeof(struct host_magazine) + piece_bytes;
    memory = host_take_memory(client->private_bytes);
    if (!memory)
        return false;
    client->table = (uint64_t *)memory;
    client->magazines = (struct host_magazine *)(memory + table_bytes);
    client->pieces = (uint32_t *)(client->magazines + (size_t)cpus * classes);
    client->place.table = client->table + before;
    client->place.anchor = &no_block;
    for (uint32_t cpu = 0; cpu < cpus; cpu++) {
        struct quarry_cpu_block *block = block_of(client, cpu);

        client->table[before + cpu] = (uintptr_t)block - (uintptr_t)&no_block;
        for (uint32_t c = 0; c < classes; c++) {
            struct host_magazine *magazine = magazine_of(client, cpu, c);

            magazine->first = (uint32_t)HEAD + c * QUARRY_MIN_MAGAZINE;
            magazine->capacity = first_capacity(slot_bytes(client, c));
            block->magazine[c].top = magazine->first;
            open_magazine(&block->magazine[c], magazine);
        }
    }
    return true;
}

/* Gives a magazine more room: in its piece of the block, or by moving it to one. */
static void enlarge(struct host_client *client, uint32_t cpu, uint32_t size_class) {
    struct host_magazine *magazine = magazine_of(client, cpu, size_class);
    struct quarry_magazine *shown = &block_of(client, cpu)->magazine[size_class];
    uint32_t *entries = (uint32_t *)block_of(client, cpu);
    uint32_t wanted = magazine->capacity * 2;
    uint32_t held, to;

    if (wanted > QUARRY_MAX_MAGAZINE)
        wanted = QUARRY_MAX_MAGAZINE;
    if (wanted > MOST_BYTES / slot_bytes(client, size_class))
        wanted = MOST_BYTES / slot_bytes(client, size_class);
    if (wanted <= magazine->capacity)
        return;
    if (magazine->first >= PIECES_AT) {
        magazine->capacity = wanted;
        __atomic_store_n(&shown->end, magazine->first + wanted, __ATOMIC_RELEASE);
        return;
    }
    if (client->pieces[cpu] >= PIECES)
        return;
    shut_magazine(shown, magazine);
    if (!section_interrupt(cpu)) {
        open_magazine(shown, magazine);
        return;
    }
    held = __atomic_load_n(&shown->top, __ATOMIC_ACQUIRE) - magazine->first;
    to = (uint32_t)(PIECES_AT + client->pieces[cpu]++ * QUARRY_MAX_MAGAZINE);
    memcpy(entries + to, entries + magazine->first, held * sizeof *entries);
    magazine->first = to;
    magazine->capacity = wanted;
    __atomic_store_n(&shown->top, to + held, __ATOMIC_RELEASE);
    open_magazine(shown, magazine);
}

static void note_miss(struct host_client *client, uint32_t cpu, uint32_t size_class) {
    struct host_magazine *magazine = magazine_of(client, cpu, size_class);
    const uint64_t now = quarry_os_ns();

    if (now - magazine->since > WINDOW_NS) {
        magazine->since = now;
        magazine->misses = 0;
    }
    if (++magazine->misses < FAST)
        return;
    magazine->misses = 0;
    enlarge(client, cpu, size_class);
}

/* The CPU that the thread is on; false: it has none with magazines. */
static bool cpu_here(const struct host_client *client, uint32_t *cpu) {
    const int here = section_cpu(&client->place);

    *cpu = (uint32_t)here;
    return here >= 0 && (uint32_t)here < client->cpus;
}

int host_refill(struct host_client *client, struct quarry_refill *refill) {
    const uint32_t size_class = refill->class_index;
    uint64_t offsets[1 + SECTION_MOST];
    uint32_t entries[SECTION_MOST];
    uint32_t cpu = 0, more = 0, done = 0;
    int error;

    refill->filled = 0;
    if (cpu_here(client, &cpu)) {
        note_miss(client, cpu, size_class);
        more = magazine_of(client, cpu, size_class)->capacity / 2;
    }
    error = host_alloc(client, slot_bytes(client, size_class), QUARRY_GRAIN,
                       1 + (more < SECTION_MOST ? more : SECTION_MOST), 1, offsets, &done);
    if (!done)
        return error;
    client->pool->refills++;
    refill->offset = offsets[0];
    for (uint32_t n = done - 1; n;) {
        uint32_t put;

        for (uint32_t i = 0; i < n; i++)
            entries[i] = (uint32_t)(offsets[done - n + i] / QUARRY_GRAIN);
        put = section_put(&client->place, size_class, entries, n);
        refill->filled += put;
        if (put < n) { /* it was moved to a CPU whose magazine is full */
            struct quarry_core_refusal refusal;
            uint32_t freed;

            (void)quarry_core_free(client->core, offsets + done - n + put, n - put, &freed, &refusal);
            break;
        }
        if (refill->filled >= more)
            break;
        n = more - refill->filled < SECTION_MOST ? more - refill->filled : SECTION_MOST;
        if (host_alloc(client, slot_bytes(client, size_class), QUARRY_GRAIN, n, 0, offsets, &n) && !n)
            break;
        done = n;
    }
    return 0;
}

/* Sends entries of this client's home; what is none is counted in `flush`. */
static uint64_t send_home(struct host_client *client, const uint32_t *entries, uint32_t count,
                          struct quarry_flush *flush) {
    uint64_t offsets[SECTION_MOST];
    uint32_t at = 0;
    uint64_t home = 0;

    for (uint32_t i = 0; i < count; i++)
        offsets[i] = (uint64_t)entries[i] * QUARRY_GRAIN;
    while (at < count) {
        struct quarry_core_refusal refusal = {0};
        uint32_t freed = 0;
        const int error = quarry_core_free(client->core, offsets + at, count - at, &freed, &refusal);

        at += freed;
        home += freed;
        if (!error)
            continue;
        client->pool->refused++;
        if (!flush->bad++) {
            flush->bad_error = host_errno(error);
            flush->bad_offset = offsets[at];
        }
        at++;
    }
    return home;
}

int host_flush(struct host_client *client, struct quarry_flush *flush) {
    const uint32_t size_class = flush->class_index;
    uint32_t cpu = 0, most = 0;

    flush->bad = 0;
    flush->bad_error = 0;
    flush->bad_offset = 0;
    flush->drained = 0;
    if (cpu_here(client, &cpu)) {
        const uint32_t capacity = magazine_of(client, cpu, size_class)->capacity;

        note_miss(client, cpu, size_class);
        /* There may be more room now, and nothing to flush. */
        most = magazine_of(client, cpu, size_class)->capacity > capacity ? 0 : capacity / 2;
    }
    while (flush->drained < most) {
        struct section_buffer taken;
        const uint32_t left = most - flush->drained;
        const uint32_t got = section_take(&client->place, size_class, &taken,
                                          left < SECTION_MOST ? left : SECTION_MOST);

        if (!got)
            break;
        (void)send_home(client, taken.entry, got, flush);
        flush->drained += got;
    }
    client->pool->flushes++;
    return 0;
}

static uint64_t drain_cpu(struct host_client *client, uint32_t cpu) {
    struct quarry_cpu_block *block = block_of(client, cpu);
    const uint32_t *entries = (const uint32_t *)block;
    const uint32_t classes = client->pool->classes;
    struct quarry_flush bad = {0};
    uint64_t home = 0;
    bool any = false;

    for (uint32_t c = 0; c < classes; c++) {
        struct host_magazine *magazine = magazine_of(client, cpu, c);

        if (__atomic_load_n(&block->magazine[c].top, __ATOMIC_ACQUIRE) == magazine->first)
            continue;
        shut_magazine(&block->magazine[c], magazine);
        any = true;
    }
    if (!any)
        return 0;
    if (!section_interrupt(cpu)) {
        client->pool->unreachable++;
        entries = NULL;
    }
    for (uint32_t c = 0; c < classes; c++) {
        struct host_magazine *magazine = magazine_of(client, cpu, c);
        struct quarry_magazine *shown = &block->magazine[c];
        uint32_t at = magazine->first;

        if (!magazine->is_shut)
            continue;
        while (entries && at < shown->top) {
            const uint32_t n = shown->top - at < SECTION_MOST ? shown->top - at : SECTION_MOST;

            home += send_home(client, entries + at, n, &bad);
            at += n;
        }
        if (entries)
            __atomic_store_n(&shown->top, magazine->first, __ATOMIC_RELEASE);
        open_magazine(shown, magazine);
    }
    client->pool->flushes++;
    return home;
}

uint64_t host_drain(struct host_client *client) {
    uint64_t home = 0;

    for (uint32_t cpu = 0; cpu < client->cpus; cpu++)
        home += drain_cpu(client, cpu);
    return home;
}

uint64_t host_drain_all(struct host_pool *pool) {
    uint64_t home = 0;

    for (struct host_client *client = host_state->clients; client; client = client->next)
        if (client->pool == pool && !client->dead)
            home += host_drain(client);
    return home;
}
