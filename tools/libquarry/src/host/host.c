/* SPDX-License-Identifier: MIT */
/*
 * "host:" from outside: descriptors, pools and clients made and ended, mappings. A descriptor is a
 * memfd of no bytes, known by its inode, so that it can be duplicated and closed like any.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../internal.h"
#include "state.h"

struct host_state *host_state;

sigset_t host_lock(void) {
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&host_state->lock);
    return before;
}

void host_unlock(sigset_t before) {
    host_end_of_call();
    pthread_mutex_unlock(&host_state->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The page that a forked child finds empty. Two threads may come first at once. */
static bool be_ready(void) {
    struct host_state *expected = NULL;
    void *page;

    if (__atomic_load_n(&host_state, __ATOMIC_ACQUIRE))
        return true;
    page = mmap(NULL, HOST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    if (madvise(page, HOST_PAGE, MADV_WIPEONFORK) < 0 ||
        !__atomic_compare_exchange_n(&host_state, &expected, page, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        munmap(page, HOST_PAGE);
    return __atomic_load_n(&host_state, __ATOMIC_ACQUIRE) != NULL;
}

static int new_descriptor(ino_t *inode, unsigned flags) {
    struct stat seen;
    int fd = memfd_create("quarry-host", flags & QUARRY_FD_CLOEXEC ? MFD_CLOEXEC : 0);

    if (fd >= 0 && fstat(fd, &seen) < 0) {
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        *inode = seen.st_ino;
    return fd;
}

/* Under the lock. */
static struct host_client *find_client(ino_t inode) {
    struct host_client *client = host_state->clients;

    while (client && client->inode != inode)
        client = client->next;
    return client;
}

static struct host_device *find_device(ino_t inode) {
    struct host_device *device = host_state->devices;

    while (device && device->inode != inode)
        device = device->next;
    return device;
}

/* What `fd` is here: a client, or a device, or neither. */
static bool look(int fd, struct host_client **client) {
    struct stat seen;
    sigset_t before;
    bool is_device;

    *client = NULL;
    if (!__atomic_load_n(&host_state, __ATOMIC_ACQUIRE) || fstat(fd, &seen) < 0)
        return false;
    before = host_lock();
    *client = find_client(seen.st_ino);
    is_device = !*client && find_device(seen.st_ino);
    host_unlock(before);
    return *client || is_device;
}

int quarry_host_open(void) {
    struct host_device *device = NULL;
    sigset_t before;
    ino_t inode;
    int fd;

    if (!be_ready()) {
        errno = ENOMEM;
        return -1;
    }
    fd = new_descriptor(&inode, QUARRY_FD_CLOEXEC);
    if (fd < 0)
        return -1;
    before = host_lock();
    device = host_take_memory(sizeof *device);
    if (device) {
        device->inode = inode;
        device->next = host_state->devices;
        host_state->devices = device;
    }
    host_unlock(before);
    if (device)
        return fd;
    close(fd);
    errno = ENOMEM;
    return -1;
}

void quarry_host_closed(int fd) {
    struct host_device **at, *device = NULL;
    struct stat seen;
    sigset_t before;

    if (!__atomic_load_n(&host_state, __ATOMIC_ACQUIRE) || fstat(fd, &seen) < 0)
        return;
    before = host_lock();
    for (at = &host_state->devices; *at && (*at)->inode != seen.st_ino; at = &(*at)->next)
        ;
    device = *at;
    if (device) {
        *at = device->next;
        host_give_memory(device, sizeof *device);
    }
    host_unlock(before);
}

bool quarry_host_has(int fd) {
    struct host_client *client;

    return look(fd, &client);
}

struct host_client *quarry_host_client(int fd) {
    struct host_client *client;

    return look(fd, &client) ? client : NULL;
}

/* ---- clients ------------------------------------------------------------------------------------------ */

static void free_client(struct host_client *client) {
    host_depots_free(client);
    if (client->area)
        munmap(client->area, client->area_bytes);
    host_give_memory(client->table, client->private_bytes);
    host_give_memory(client, sizeof *client);
}

static bool make_area(struct host_client *client) {
    const struct host_pool *pool = client->pool;
    const long cpus = sysconf(_SC_NPROCESSORS_CONF);
    struct quarry_client_area *area;
    const uint32_t *sizes;
    ptrdiff_t place;

    if (pool->classes && cpus > 0 && cpus <= QUARRY_MOST_CPUS && quarry_rseq_place(&place) &&
        section_interrupt(0)) {
        client->cpus = (uint32_t)cpus;
        client->place.rseq = place;
    }
    client->area_bytes = HOST_PAGE + (size_t)client->cpus * HOST_BLOCK;
    area = mmap(NULL, client->area_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    if (area == MAP_FAILED)
        return false;
    client->area = area;
    (void)madvise(area, client->area_bytes, MADV_DONTFORK);
    (void)madvise(area, client->area_bytes, MADV_DONTDUMP);
    *area = (struct quarry_client_area){
        .abi_version = QUARRY_ABI_VERSION,
        .bytes = (uint32_t)client->area_bytes,
        .pool_id = pool->id,
        .client_id = client->id,
        .max_bytes = pool->max_bytes,
        .kind = pool->kind,
        .class_count = pool->classes,
        .cpus = client->cpus,
        .blocks_offset = HOST_PAGE,
        .block_bytes = HOST_BLOCK,
    };
    if (pool->kind == QUARRY_KIND_HEAP) {
        const uint32_t count = quarry_core_size_classes(&sizes);

        memcpy(area->class_size, sizes, count * sizeof *sizes);
    }
    if (pool->kind == QUARRY_KIND_FIXED && pool->classes)
        area->class_size[0] = (uint32_t)pool->object_size;
    return !client->cpus || host_magazines_make(client);
}

/* Another client of a pool; its descriptor, or -1 and errno. */
static int add_client(struct host_pool *pool, bool creator, unsigned fd_flags, struct host_client **made) {
    struct host_client *client = host_take_memory(sizeof *client);
    int error, fd = -1;

    if (!client) {
        errno = ENOMEM;
        return -1;
    }
    client->pool = pool;
    client->creator = creator;
    client->id = ++host_state->next_id;
    client->seen_deaths = pool->reaps;
    client->seen_corruptions = pool->corruptions;
    client->seen_low = pool->low;
    error = host_errno(quarry_core_client_create(pool->core, client->id, pool->client_limit, &client->core));
    if (error) {
        free_client(client);
        errno = error;
        return -1;
    }
    if (!make_area(client)) {
        error = ENOMEM;
    } else {
        fd = new_descriptor(&client->inode, fd_flags);
        error = errno;
    }
    if (fd < 0) {
        quarry_core_client_destroy(client->core);
        free_client(client);
        errno = error;
        return -1;
    }
    client->next = host_state->clients;
    host_state->clients = client;
    pool->clients++;
    *made = client;
    return fd;
}

static void end_pool(struct host_pool *pool) {
    if (pool->core)
        quarry_core_pool_destroy(pool->core, NULL);
    if (pool->base)
        munmap(pool->base, pool->max_bytes);
    if (pool->class_table)
        munmap(pool->class_table, pool->max_bytes / HOST_PAGE);
    host_give_memory(pool, sizeof *pool);
}

void quarry_host_end(struct host_client *client) {
    const sigset_t before = host_lock();
    struct host_pool *pool = client->pool;
    struct host_client **at = &host_state->clients;
    uint64_t objects, bytes;

    client->dead = true;
    quarry_core_client_reap(client->core, &objects, &bytes);
    quarry_core_client_destroy(client->core);
    pool->reaps++;
    pool->reaped_objects += objects;
    pool->reaped_bytes += bytes;
    pool->clients--;
    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    free_client(client);
    if (!pool->clients)
        end_pool(pool);
    host_unlock(before);
}

/* ---- pools -------------------------------------------------------------------------------------------- */

static bool name_is_valid(const char *name) {
    const size_t length = strnlen(name, QUARRY_NAME_LEN);

    for (size_t i = 0; i < length; i++)
        if (name[i] < ' ' || name[i] > '~' || name[i] == '/')
            return false;
    return length < QUARRY_NAME_LEN;
}

static bool any(const void *memory, size_t bytes) {
    const unsigned char *byte = memory;

    for (size_t i = 0; i < bytes; i++)
        if (byte[i])
            return true;
    return false;
}

static int check_heap(const struct quarry_pool_create *in, struct quarry_core_pool_config *config) {
    const uint64_t bytes = (in->bytes + HOST_PAGE - 1) / HOST_PAGE;
    uint64_t max = (in->max_bytes + HOST_PAGE - 1) / HOST_PAGE;

    if (in->bytes > HOST_MAX_POOL || in->max_bytes > HOST_MAX_POOL)
        return EFBIG;
    if (!max)
        max = bytes;
    if (!max || bytes > max || in->object_size || in->object_count)
        return EINVAL;
    config->kind = QUARRY_CORE_HEAP;
    config->max_pages = max;
    return 0;
}

static int check_fixed(const struct quarry_pool_create *in, struct quarry_core_pool_config *config) {
    uint64_t product;

    if (in->bytes || in->max_bytes || !in->object_size || in->object_size % QUARRY_GRAIN ||
        !in->object_count)
        return EINVAL;
    if (__builtin_mul_overflow(in->object_size, in->object_count, &product))
        return EOVERFLOW;
    if (in->object_size > QUARRY_MAX_OBJECT || product > HOST_MAX_POOL)
        return EFBIG;
    config->kind = QUARRY_CORE_FIXED;
    config->object_size = in->object_size;
    config->object_count = in->object_count;
    return 0;
}

static int check_range(const struct quarry_pool_create *in, struct quarry_core_pool_config *config) {
    const uint64_t granule = in->granule;

    if (in->bytes || in->object_size || in->object_count || in->flags || in->zone || !granule ||
        (granule & (granule - 1)) || !in->max_bytes || !in->max_ranges)
        return EINVAL;
    if (in->max_ranges > QUARRY_MAX_RANGES || in->max_bytes / granule > 1ull << 62 ||
        in->max_bytes > INT64_MAX)
        return EFBIG;
    config->kind = QUARRY_CORE_RANGE;
    config->capacity = in->max_bytes;
    config->granule = granule;
    config->max_ranges = in->max_ranges;
    memcpy(config->aligns, in->range_align, sizeof config->aligns);
    return quarry_core_range_meta_bytes(config) ? 0 : EINVAL;
}

static int check_create(const struct quarry_pool_create *in, struct quarry_core_pool_config *config) {
    if (in->size < sizeof *in)
        return EINVAL;
    if (in->size > sizeof *in && any(in + 1, in->size - sizeof *in))
        return E2BIG;
    if ((in->flags & ~(QUARRY_POOL_ZERO | QUARRY_POOL_HOLD_PINNED)) || (in->fd_flags & ~QUARRY_FD_CLOEXEC) ||
        any(in->reserved, sizeof in->reserved) || in->kind > QUARRY_KIND_RANGE ||
        in->zone > QUARRY_ZONE_LOWMEM || in->node < -1 || in->node > 0 || !name_is_valid(in->name))
        return EINVAL;
    config->max_clients = HOST_MAX_CLIENTS;
    config->zero_on_regrant = in->flags & QUARRY_POOL_ZERO;
    config->hold_pinned = in->flags & QUARRY_POOL_HOLD_PINNED;
    if (in->zone == QUARRY_ZONE_LOWMEM)
        return EPERM;
    if (in->kind == QUARRY_KIND_RANGE)
        return check_range(in, config);
    if (in->granule || in->max_ranges || any(in->range_align, sizeof in->range_align))
        return EINVAL;
    return in->kind == QUARRY_KIND_HEAP ? check_heap(in, config) : check_fixed(in, config);
}

static bool name_is_taken(const char *name) {
    for (struct host_client *client = host_state->clients; *name && client; client = client->next)
        if (!strcmp(client->pool->name, name))
            return true;
    return false;
}

/* The memory that the pool may come to have, and its first regions. */
static int give_memory(struct host_pool *pool, uint64_t pages) {
    uint64_t offset;
    int error = 0;

    pool->max_bytes = pool->kind == QUARRY_KIND_FIXED ? pages * HOST_PAGE : pool->max_bytes;
    pool->base = mmap(NULL, pool->max_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool->base == MAP_FAILED) {
        pool->base = NULL;
        return ENOMEM;
    }
    pool->class_table = mmap(NULL, pool->max_bytes / HOST_PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool->class_table == MAP_FAILED) {
        pool->class_table = NULL;
        return ENOMEM;
    }
    if (pages)
        error = host_errno(quarry_core_region_add(pool->core, pages, QUARRY_CORE_NORMAL, pool, &offset));
    if (!error)
        pool->pages = pages;
    if (!error && pool->kind == QUARRY_KIND_FIXED)
        error = host_errno(quarry_core_pool_populate(pool->core));
    return error;
}

int host_create(struct quarry_pool_create *create) {
    struct quarry_core_pool_config config = {0};
    struct host_client *client = NULL;
    struct host_pool *pool;
    int fd, error = check_create(create, &config);

    if (!error && name_is_taken(create->name))
        error = EEXIST;
    if (error)
        return error;
    pool = host_take_memory(sizeof *pool);
    if (!pool)
        return ENOMEM;
    config.os_pool = pool;
    pool->kind = create->kind;
    pool->id = ++host_state->next_id;
    pool->object_size = create->object_size;
    pool->object_count = create->object_count;
    pool->client_limit = create->client_limit;
    pool->max_bytes = create->kind == QUARRY_KIND_HEAP ? config.max_pages * HOST_PAGE : create->max_bytes;
    memcpy(pool->name, create->name, sizeof pool->name);
    if (create->kind == QUARRY_KIND_HEAP)
        pool->classes = quarry_class_of(QUARRY_MOST_CLASS_BYTES, 0) + 1;
    else
        pool->classes = create->kind == QUARRY_KIND_FIXED && create->object_size <= QUARRY_MOST_CLASS_BYTES;
    error = host_errno(quarry_core_pool_create(&config, &pool->core));
    if (!error && create->kind != QUARRY_KIND_RANGE)
        error = give_memory(pool, create->kind == QUARRY_KIND_FIXED ? quarry_core_pool_wanted_pages(pool->core)
                                                                    : (create->bytes + HOST_PAGE - 1) / HOST_PAGE);
    if (error) {
        end_pool(pool);
        return error;
    }
    fd = add_client(pool, true, create->fd_flags, &client);
    if (fd < 0) {
        error = errno;
        end_pool(pool);
        return error;
    }
    create->fd = fd;
    create->max_bytes = pool->max_bytes;
    create->client_area_bytes = (uint32_t)client->area_bytes;
    create->pool_id = pool->id;
    create->client_id = client->id;
    return 0;
}

static int call_join(struct host_pool *pool, struct quarry_join *join) {
    struct host_client *client = NULL;
    int fd;

    if (join->size < sizeof *join || join->flags || (join->fd_flags & ~QUARRY_FD_CLOEXEC) ||
        any(join->reserved, sizeof join->reserved))
        return EINVAL;
    fd = add_client(pool, false, join->fd_flags, &client);
    if (fd < 0)
        return errno;
    join->kind = pool->kind;
    join->fd = fd;
    join->client_area_bytes = (uint32_t)client->area_bytes;
    join->max_bytes = pool->max_bytes;
    join->pool_id = pool->id;
    join->client_id = client->id;
    join->object_size = pool->object_size;
    join->object_count = pool->object_count;
    return 0;
}

/* ---- requests ------------------------------------------------------------------------------------------ */

static int finish(sigset_t before, int error) {
    host_unlock(before);
    if (!error)
        return 0;
    errno = error;
    return -1;
}

int quarry_host_call(struct host_client *client, unsigned long request, void *argument) {
    const sigset_t before = host_lock();

    return finish(before, host_serve(client, request, argument));
}

int quarry_host_request(int fd, unsigned long request, void *argument) {
    struct host_client *client;
    sigset_t before;

    if (!look(fd, &client)) {
        errno = EBADF;
        return -1;
    }
    before = host_lock();
    if (request == QUARRY_IOC_INFO)
        return finish(before, host_info(argument));
    if (client && request == QUARRY_IOC_JOIN)
        return finish(before, call_join(client->pool, argument));
    if (client)
        return finish(before, host_serve(client, request, argument));
    return finish(before, request == QUARRY_IOC_POOL_CREATE ? host_create(argument) : EBADFD);
}

void *quarry_host_map(int fd, uint64_t offset, size_t bytes) {
    struct host_client *client = quarry_host_client(fd);

    (void)bytes;
    if (!client) {
        errno = EXDEV;
        return MAP_FAILED;
    }
    if (offset == QUARRY_CLIENT_AREA_OFFSET)
        return client->area;
    return offset == QUARRY_CLASS_TABLE_OFFSET ? client->pool->class_table : client->pool->base;
}
