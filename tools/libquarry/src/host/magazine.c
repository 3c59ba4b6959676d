/* SPDX-License-Identifier: MIT */
/*
 * The magazines of "host:": refill, flush, drain, and how large each is; and a depot behind them,
 * which the kernel does not have: there a refill is a system call, and the core costs little beside it.
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
            magazine->last = QUARRY_CORE_APART;
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

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* ---- the depots -------------------------------------------------------------------------------------- */

/* Room for entries of a class, some of it empty; NULL: there is none. */
static struct host_depot *depot_with_room(struct host_client *client, uint32_t size_class) {
    struct host_depot *depot = &client->depots[size_class];

    if (!depot->entries) {
        depot->capacity = least(QUARRY_MAX_MAGAZINE, MOST_BYTES / slot_bytes(client, size_class));
        depot->entries = host_take_memory(depot->capacity * sizeof *depot->entries);
    }
    return depot->entries && depot->count < depot->capacity ? depot : NULL;
}

/* From the depot to this CPU's magazine, up to `most`; how many. */
static uint32_t refill_from_depot(struct host_client *client, uint32_t size_class, uint32_t most) {
    struct host_depot *depot = &client->depots[size_class];
    uint32_t moved = 0;

    while (moved < most && depot->count) {
        const uint32_t n = least(least(most - moved, depot->count), SECTION_MOST);
        const uint32_t put = section_put(&client->place, size_class, depot->entries + depot->count - n, n);

        /* The first of them went: what stays closes up. */
        memmove(depot->entries + depot->count - n, depot->entries + depot->count - n + put,
                (n - put) * sizeof *depot->entries);
        depot->count -= put;
        moved += put;
        if (put < n)
            break;
    }
    return moved;
}

/* From this CPU's magazine to the depot, up to `most`; how many. */
static uint32_t flush_to_depot(struct host_client *client, uint32_t size_class, uint32_t most) {
    uint32_t moved = 0;

    while (moved < most) {
        struct host_depot *depot = depot_with_room(client, size_class);
        struct section_buffer taken;
        uint32_t got;

        if (!depot)
            break;
        got = section_take(&client->place, size_class, &taken,
                           least(least(most - moved, depot->capacity - depot->count), SECTION_MOST));
        if (!got)
            break;
        memcpy(depot->entries + depot->count, taken.entry, got * sizeof *taken.entry);
        depot->count += got;
        moved += got;
    }
    return moved;
}

bool quarry_host_holds(struct host_client *client, uint32_t size_class, uint32_t entry) {
    const sigset_t before = host_lock();
    bool held = false;

    if (size_class < client->pool->classes) {
        const struct host_depot *depot = &client->depots[size_class];

        for (uint32_t i = 0; i < depot->count && !held; i++)
            held = depot->entries[i] == entry;
    }
    host_unlock(before);
    return held;
}

void host_depots_free(struct host_client *client) {
    for (uint32_t c = 0; c < client->pool->classes; c++)
        host_give_memory(client->depots[c].entries,
                         client->depots[c].capacity * sizeof *client->depots[c].entries);
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
    struct host_magazine *here = NULL;
    int error;

    refill->filled = 0;
    if (cpu_here(client, &cpu)) {
        struct host_depot *depot = &client->depots[size_class];

        note_miss(client, cpu, size_class);
        /* With the caller's own it is half: of slots beside each other whole lines of marks. */
        here = magazine_of(client, cpu, size_class);
        more = here->capacity / 2 - 1;
        if (depot->count) {
            refill->offset = (uint64_t)depot->entries[--depot->count] * QUARRY_GRAIN;
            refill->filled = refill_from_depot(client, size_class, more);
            client->pool->refills++;
            return 0;
        }
    }
    error = host_alloc(client, slot_bytes(client, size_class), QUARRY_GRAIN,
                       1 + (more < SECTION_MOST ? more : SECTION_MOST), 1,
                       here ? here->last : QUARRY_CORE_ANYWHERE, offsets, &done);
    if (!done)
        return error;
    if (here)
        here->last = offsets[done - 1];
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
        if (host_alloc(client, slot_bytes(client, size_class), QUARRY_GRAIN, n, 0, offsets[done - 1],
                       offsets, &n) && !n)
            break;
        here->last = offsets[n - 1];
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
    flush->drained = flush_to_depot(client, size_class, most);
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

static uint64_t drain_depots(struct host_client *client) {
    struct quarry_flush bad = {0};
    uint64_t home = 0;

    for (uint32_t c = 0; c < client->pool->classes; c++) {
        struct host_depot *depot = &client->depots[c];

        while (depot->count) {
            const uint32_t n = least(depot->count, SECTION_MOST);

            depot->count -= n;
            home += send_home(client, depot->entries + depot->count, n, &bad);
        }
    }
    return home;
}

uint64_t host_drain(struct host_client *client) {
    uint64_t home = drain_depots(client);

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
