/* SPDX-License-Identifier: MIT */
/*
 * The calls of "host:", by the rules of <linux/quarry.h>: checks first, then the core. All under the
 * lock; each returns 0 or a positive errno.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../internal.h"
#include "state.h"

#define OBJECTS_A_STEP 128u
/* A pool grows by an eighth of what it has, between these. Pages. */
#define LEAST_STEP 128u
#define MOST_STEP 4096u

int host_errno(int error) {
    switch (error) {
    case QUARRY_OK:
        return 0;
#define ENTRY(name, errno_name, text) \
    case QUARRY_E_##name:             \
        return errno_name;
        QUARRY_ERRORS(ENTRY)
#undef ENTRY
    default:
        return EUCLEAN;
    }
}

/* A structure of the caller's: a newer one's tail must be zero. */
static int fetch(void *to, size_t known, const void *from) {
    const unsigned char *bytes = from;
    uint32_t size;

    if ((uintptr_t)from < HOST_PAGE)
        return EFAULT;
    memcpy(&size, from, sizeof size);
    if (size < known)
        return EINVAL;
    if (size > HOST_PAGE)
        return E2BIG;
    for (size_t i = known; i < size; i++)
        if (bytes[i])
            return E2BIG;
    memcpy(to, from, known);
    return 0;
}
#define FETCH(in, from) fetch(&(in), sizeof(in), from)
#define ANSWER(to, in) memcpy(to, &(in), sizeof(in))

static bool any_set(const uint64_t *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (words[i])
            return true;
    return false;
}

static bool is_power_of_two(uint64_t n) { return n && !(n & (n - 1)); }
static uint64_t in_pages(uint64_t bytes) { return (bytes + HOST_PAGE - 1) / HOST_PAGE; }

/* ---- memory ---------------------------------------------------------------------------------------- */

static int add_region(struct host_pool *pool, uint64_t pages, uint64_t *offset) {
    const int error = quarry_core_region_add(pool->core, pages, QUARRY_CORE_NORMAL, pool, offset);

    if (!error)
        pool->pages += pages;
    return error == QUARRY_E_TOO_MANY ? ENOSPC : host_errno(error);
}

/* Brings `needed` contiguous pages, and more when it can; false: the pool is at its end. */
static bool grow(struct host_pool *pool, uint64_t needed) {
    const uint64_t room = pool->max_bytes / HOST_PAGE - pool->pages;
    uint64_t pages = LEAST_STEP, offset;

    /* Powers of two: the core aligns regions to their size, and so none leaves a gap for good. */
    while (pages < needed || (pages < pool->pages / 8 && pages < MOST_STEP))
        pages *= 2;
    for (; pages > needed; pages /= 2)
        if (pages <= room && !add_region(pool, pages, &offset))
            return true;
    return needed <= room && !add_region(pool, needed, &offset);
}

static void note_level(struct host_pool *pool) {
    struct quarry_core_stat stat;
    bool low;

    quarry_core_pool_stat(pool->core, &stat, NULL, 0);
    low = stat.max_bytes - stat.used_bytes < stat.max_bytes / 8;
    if (low != (pool->low & 1))
        pool->low++;
}

/* What of `needed` cannot be had without: magazines are drained for it. An error of the core's. */
static int grant(struct host_client *client, uint64_t bytes, uint64_t align, uint32_t count,
                 uint32_t needed, uint64_t near, uint64_t *offsets, uint32_t *done) {
    struct host_pool *pool = client->pool;
    bool can_grow = true, drained = false;
    int error = 0;

    *done = 0;
    while (*done < count) {
        const uint32_t left = count - *done;
        uint64_t pages = 0;
        uint32_t got = 0;

        error = quarry_core_alloc(client->core, bytes, align, left < OBJECTS_A_STEP ? left : OBJECTS_A_STEP,
                                  near, offsets + *done, &got, &pages, QUARRY_MAY_SLEEP, can_grow);
        *done += got;
        if (got && near != QUARRY_CORE_ANYWHERE)
            near = offsets[*done - 1];
        if (!error)
            continue;
        if (error == QUARRY_E_NEEDS_PAGES) {
            can_grow = grow(pool, pages);
        } else if ((error == QUARRY_E_POOL_FULL || error == QUARRY_E_QUOTA) && !drained &&
                   *done < needed) {
            drained = true;
            if (!(error == QUARRY_E_QUOTA ? host_drain(client) : host_drain_all(pool)))
                break;
        } else {
            break;
        }
    }
    return *done == count ? 0 : error;
}

int host_alloc(struct host_client *client, uint64_t bytes, uint64_t align, uint32_t count,
               uint32_t needed, uint64_t near, uint64_t *offsets, uint32_t *done) {
    const int error = grant(client, bytes, align, count, needed, near, offsets, done);

    if (error && *done < needed)
        *done += quarry_core_aside_draw(client->core, bytes, align, needed - *done, offsets + *done);
    client->pool->allocs += *done;
    return *done == count ? 0 : host_errno(error);
}

/* ---- objects --------------------------------------------------------------------------------------- */

static int check_count(uint32_t count) {
    if (!count)
        return EINVAL;
    return count > QUARRY_MAX_BATCH ? EMSGSIZE : 0;
}

/* Of an object that is asked for; *align becomes what 0 stands for. */
static int check_object(const struct host_pool *pool, uint64_t bytes, uint64_t *align, uint32_t count) {
    const bool range = pool->kind == QUARRY_KIND_RANGE;
    const uint64_t least = range ? 1 : QUARRY_GRAIN;
    uint64_t product;

    if (!bytes || (*align && !is_power_of_two(*align)))
        return EINVAL;
    if (count > QUARRY_MAX_BATCH)
        return EMSGSIZE;
    if (__builtin_mul_overflow(bytes, (uint64_t)count, &product))
        return EOVERFLOW;
    if (range ? bytes > pool->max_bytes : bytes > QUARRY_MAX_OBJECT || *align > QUARRY_MAX_OBJECT)
        return EFBIG;
    if (pool->kind == QUARRY_KIND_FIXED && bytes != pool->object_size)
        return EMSGSIZE;
    if (*align < least)
        *align = least;
    return 0;
}

static int call_alloc(struct host_client *client, void *argument) {
    struct quarry_alloc in;
    uint64_t align;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags || in.reserved || !in.count)
        return EINVAL;
    align = in.align;
    error = check_object(client->pool, in.object_size, &align, in.count);
    if (error)
        return error;
    error = host_alloc(client, in.object_size, align, in.count, in.count, QUARRY_CORE_ANYWHERE,
                       (uint64_t *)(uintptr_t)in.offsets, &in.done);
    if (error)
        client->pool->refused++;
    note_level(client->pool);
    if (!in.done)
        return error;
    in.error = error;
    ANSWER(argument, in);
    return 0;
}

/* Has `count` objects set aside; else as many as before. */
static int set_aside(struct host_client *client, uint64_t bytes, uint64_t align, uint32_t count,
                     uint32_t *left) {
    uint64_t offsets[OBJECTS_A_STEP];
    uint32_t before, keep = count;
    int error = quarry_core_aside_left(client->core, bytes, align, &before);

    *left = before;
    if (!error && before < count)
        error = quarry_core_aside_prepare(client->core, bytes, align, count - before);
    while (!error && *left < count) {
        const uint32_t more = count - *left < OBJECTS_A_STEP ? count - *left : OBJECTS_A_STEP;
        uint32_t got = 0;

        error = grant(client, bytes, align, more, more, QUARRY_CORE_ANYWHERE, offsets, &got);
        quarry_core_aside_put(client->core, bytes, align, offsets, got);
        *left += got;
    }
    if (error)
        keep = before;
    while (*left > keep)
        *left = quarry_core_aside_lower(client->core, bytes, align, keep);
    return host_errno(error);
}

static int call_reserve(struct host_client *client, void *argument) {
    struct quarry_reservation in;
    uint64_t align;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags)
        return EINVAL;
    align = in.align;
    error = check_object(client->pool, in.object_size, &align, in.count);
    if (error)
        return error;
    error = set_aside(client, in.object_size, align, in.count, &in.left);
    client->pool->refused += error != 0;
    note_level(client->pool);
    if (!error)
        ANSWER(argument, in);
    return error;
}

static int call_free(struct host_client *client, void *argument) {
    struct quarry_core_refusal refusal = {0};
    struct quarry_free in;
    int error = FETCH(in, argument);

    if (!error && (in.flags || in.reserved))
        error = EINVAL;
    if (!error)
        error = check_count(in.count);
    if (error)
        return error;
    in.done = 0;
    in.error = host_errno(quarry_core_free(client->core, (const uint64_t *)(uintptr_t)in.offsets,
                                           in.count, &in.done, &refusal));
    client->pool->frees += in.done;
    client->pool->refused += in.error != 0;
    note_level(client->pool);
    if (!in.done)
        return in.error;
    ANSWER(argument, in);
    return 0;
}

static struct host_client *receiver(const struct host_pool *pool, uint64_t id) {
    for (struct host_client *client = host_state->clients; client; client = client->next)
        if (client->pool == pool && client->id == id && !client->dead)
            return client;
    return NULL;
}

static int call_hand(struct host_client *client, void *argument, bool is_share) {
    struct quarry_core_refusal refusal = {0};
    struct host_client *to;
    struct quarry_transfer in;
    int error = FETCH(in, argument);

    if (!error && (in.flags || in.reserved))
        error = EINVAL;
    if (!error)
        error = check_count(in.count);
    if (error)
        return error;
    to = receiver(client->pool, in.to_client);
    in.done = 0;
    if (to)
        in.error = host_errno((is_share ? quarry_core_share : quarry_core_transfer)(
            client->core, to->core, (const uint64_t *)(uintptr_t)in.offsets, in.count, &in.done, &refusal));
    else
        in.error = ESRCH;
    client->pool->transfers += is_share ? 0 : in.done;
    client->pool->refused += in.error != 0;
    if (!in.done)
        return in.error;
    ANSWER(argument, in);
    return 0;
}

static int call_resize(struct host_client *client, void *argument) {
    struct quarry_core_refusal refusal = {0};
    struct quarry_resize in;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags || !in.object_size)
        return EINVAL;
    if (client->pool->kind != QUARRY_KIND_RANGE)
        return EOPNOTSUPP;
    error = host_errno(quarry_core_resize(client->core, in.offset, in.object_size, (uint64_t *)&in.bytes, &refusal));
    if (!error)
        ANSWER(argument, in);
    return error;
}

static int call_refill(struct host_client *client, void *argument) {
    struct quarry_refill in;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags || !client->cpus || in.class_index >= client->pool->classes)
        return EINVAL;
    error = host_refill(client, &in);
    if (error) {
        client->pool->refused++;
        return error;
    }
    ANSWER(argument, in);
    return 0;
}

static int call_flush(struct host_client *client, void *argument) {
    struct quarry_core_refusal refusal = {0};
    struct quarry_flush in;
    uint32_t done = 0;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if ((in.flags & ~QUARRY_FLUSH_OBJECT) || !client->cpus || in.class_index >= client->pool->classes)
        return EINVAL;
    error = host_flush(client, &in);
    if (!error && (in.flags & QUARRY_FLUSH_OBJECT)) {
        error = host_errno(quarry_core_free(client->core, (const uint64_t *)&in.offset, 1, &done, &refusal));
        client->pool->frees += done;
        client->pool->refused += error != 0;
    }
    ANSWER(argument, in);
    return error;
}

/* ---- the pool ---------------------------------------------------------------------------------------- */

static int check_keeper(const struct host_client *client) {
    if (!client->creator)
        return EPERM;
    return client->pool->kind == QUARRY_KIND_HEAP ? 0 : EOPNOTSUPP;
}

static int call_region_add(struct host_client *client, void *argument) {
    struct quarry_region in;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags || in.reserved || in.zone > QUARRY_ZONE_LOWMEM || in.node < -1 || in.node > 0 || !in.bytes)
        return EINVAL;
    if (in.bytes > HOST_MAX_POOL)
        return EFBIG;
    if (in.zone == QUARRY_ZONE_LOWMEM)
        return EPERM;
    error = check_keeper(client);
    if (!error)
        error = add_region(client->pool, in_pages(in.bytes), (uint64_t *)&in.offset);
    if (error)
        return error;
    in.bytes = in_pages(in.bytes) * HOST_PAGE;
    in.regions = 1;
    ANSWER(argument, in);
    return 0;
}

static int call_region_remove(struct host_client *client, void *argument) {
    struct host_pool *pool = client->pool;
    struct quarry_core_region region;
    struct quarry_region in;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags || in.reserved)
        return EINVAL;
    error = check_keeper(client);
    if (!error && in.offset % QUARRY_GRAIN)
        error = EINVAL;
    if (!error)
        error = host_errno(quarry_core_region_find(pool->core, in.offset, &region));
    if (!error && region.offset != in.offset)
        error = EBADSLT;
    if (error)
        return error;
    (void)host_drain_all(pool);
    error = host_errno(quarry_core_region_isolate(pool->core, in.offset, &region));
    if (error)
        return error;
    quarry_core_region_remove(pool->core, in.offset);
    pool->pages -= region.pages;
    /* Its memory goes back to the system; what touches it sees zeroes, where the kernel's is SIGBUS. */
    (void)madvise(pool->base + in.offset, region.pages * HOST_PAGE, MADV_DONTNEED);
    in.bytes = region.pages * HOST_PAGE;
    in.regions = 1;
    ANSWER(argument, in);
    return 0;
}

static int call_drain(struct host_client *client, void *argument) {
    struct quarry_drain in;
    uint64_t slots = 0, slabs = 0;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags & ~QUARRY_DRAIN_POOL)
        return EINVAL;
    if ((in.flags & QUARRY_DRAIN_POOL) && !client->creator)
        return EPERM;
    in.slots = in.flags & QUARRY_DRAIN_POOL ? host_drain_all(client->pool) : host_drain(client);
    in.slabs = 0;
    if ((in.flags & QUARRY_DRAIN_POOL) && client->pool->kind != QUARRY_KIND_RANGE) {
        quarry_core_pool_drain(client->pool->core, &slots, &slabs);
        in.slots += slots;
        in.slabs = slabs;
    }
    ANSWER(argument, in);
    return 0;
}

static uint32_t events_of(const struct host_client *client) {
    const struct host_pool *pool = client->pool;
    uint32_t events = 0;

    if (pool->reaps - client->dead != client->seen_deaths)
        events |= QUARRY_EVENT_PEER_DIED;
    if (pool->corruptions != client->seen_corruptions)
        events |= QUARRY_EVENT_CORRUPTION;
    if (pool->low != client->seen_low)
        events |= pool->low & 1 ? QUARRY_EVENT_LOW_MEMORY : QUARRY_EVENT_MEMORY_BACK;
    if (client->dead)
        events |= QUARRY_EVENT_REAPED;
    return events;
}

static int call_stat(struct host_client *client, void *argument) {
    struct host_pool *pool = client->pool;
    struct quarry_core_class_stat classes[QUARRY_MAX_CLASSES];
    struct quarry_core_stat core;
    struct quarry_stat in;
    uint32_t room;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if ((in.flags & ~QUARRY_STAT_ACK) || in.reserved)
        return EINVAL;
    room = !in.classes ? 0 : in.class_count < QUARRY_MAX_CLASSES ? in.class_count : QUARRY_MAX_CLASSES;
    quarry_core_pool_stat(pool->core, &core, classes, room);
    for (uint32_t i = 0; i < room && i < core.classes; i++)
        ((struct quarry_class_stat *)(uintptr_t)in.classes)[i] = (struct quarry_class_stat){
            .size = classes[i].size,
            .slabs = classes[i].slabs,
            .live = classes[i].live,
            .free = classes[i].free,
        };
    note_level(pool);
    in = (struct quarry_stat){
        .size = in.size, .flags = in.flags, .classes = in.classes, .class_count = core.classes,
        .events = events_of(client), .pool_id = pool->id, .kind = pool->kind, .clients = pool->clients,
        .max_bytes = core.max_bytes, .bytes = core.bytes, .free_bytes = core.free_bytes,
        .used_bytes = core.used_bytes, .objects = core.objects, .meta_bytes = core.meta_bytes,
        .regions = core.regions, .slabs = core.slabs, .allocs = pool->allocs, .frees = pool->frees,
        .refused = pool->refused, .reaps = pool->reaps, .reaped_objects = pool->reaped_objects,
        .reaped_bytes = pool->reaped_bytes, .transfers = pool->transfers,
        .corruptions = pool->corruptions, .client_id = client->id, .client_limit = pool->client_limit,
        .refills = pool->refills, .flushes = pool->flushes, .unreachable = pool->unreachable,
        .shares = core.shares,
        .held_bytes = core.held_bytes, .reserve_objects = core.aside,
    };
    memcpy(in.name, pool->name, sizeof in.name);
    for (struct host_client *c = host_state->clients; c; c = c->next)
        if (c->pool == pool && !c->dead)
            in.magazine_bytes += (uint64_t)c->cpus * HOST_BLOCK;
    if (!client->dead)
        quarry_core_client_usage(client->core, (uint64_t *)&in.client_objects, (uint64_t *)&in.client_bytes);
    if (in.flags & QUARRY_STAT_ACK) {
        client->seen_deaths = pool->reaps - client->dead;
        client->seen_corruptions = pool->corruptions;
        client->seen_low = pool->low;
    }
    ANSWER(argument, in);
    return 0;
}

static int call_verify(struct host_client *client, void *argument) {
    struct quarry_core_audit audit = {0};
    struct quarry_verify in;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags)
        return EINVAL;
    if (!client->creator)
        return EPERM;
    quarry_core_pool_verify(client->pool->core, 1, &audit);
    in.faults = audit.faults;
    in.first_offset = audit.first_offset;
    in.pages = audit.pages;
    in.slabs = audit.slabs;
    in.objects = audit.objects;
    memcpy(in.first, audit.first, sizeof in.first);
    ANSWER(argument, in);
    return 0;
}

int host_info(void *argument) {
    const uint32_t *sizes;
    struct quarry_info in;
    int error = FETCH(in, argument);

    if (error)
        return error;
    if (in.flags || any_set((const uint64_t *)in.reserved, sizeof in.reserved / 8))
        return EINVAL;
    in = (struct quarry_info){
        .size = in.size,
        .abi_version = QUARRY_ABI_VERSION,
        .cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF),
        .features = QUARRY_FEATURE_HEAP | QUARRY_FEATURE_FIXED | QUARRY_FEATURE_REGION_REMOVE |
                    QUARRY_FEATURE_RANGE | QUARRY_FEATURE_MAGAZINES | QUARRY_FEATURE_RESERVE,
        .page_size = HOST_PAGE,
        .class_count = quarry_core_size_classes(&sizes),
        .max_object = QUARRY_MAX_OBJECT,
        .max_pool = HOST_MAX_POOL,
        .max_batch = QUARRY_MAX_BATCH,
        .max_clients = HOST_MAX_CLIENTS,
        .max_user_bytes = UINT64_MAX,
        .max_user_pools = UINT32_MAX,
        .max_user_clients = UINT32_MAX,
    };
    memcpy(in.class_size, sizes, in.class_count * sizeof *sizes);
    ANSWER(argument, in);
    return 0;
}

int host_serve(struct host_client *client, unsigned long request, void *argument) {
    if (request == QUARRY_IOC_INFO)
        return host_info(argument);
    if (request == QUARRY_IOC_STAT)
        return call_stat(client, argument);
    if (request == QUARRY_IOC_POOL_CREATE)
        return EBADFD;
    if (client->dead)
        return ESHUTDOWN;
    switch (request) {
    case QUARRY_IOC_REFILL:
        return call_refill(client, argument);
    case QUARRY_IOC_FLUSH:
        return call_flush(client, argument);
    case QUARRY_IOC_ALLOC:
        return call_alloc(client, argument);
    case QUARRY_IOC_RESERVE:
        return call_reserve(client, argument);
    case QUARRY_IOC_FREE:
        return call_free(client, argument);
    case QUARRY_IOC_TRANSFER:
        return call_hand(client, argument, false);
    case QUARRY_IOC_SHARE:
        return call_hand(client, argument, true);
    case QUARRY_IOC_RESIZE:
        return call_resize(client, argument);
    case QUARRY_IOC_REGION_ADD:
        return call_region_add(client, argument);
    case QUARRY_IOC_REGION_REMOVE:
        return call_region_remove(client, argument);
    case QUARRY_IOC_DRAIN:
        return call_drain(client, argument);
    case QUARRY_IOC_VERIFY:
        return call_verify(client, argument);
    default:
        return ENOTTY;
    }
}
