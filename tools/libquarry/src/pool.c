/* SPDX-License-Identifier: MIT */
/*
 * A pool's beginning and end in one process: create, join, join again after a fork, leave.
 *
 * Every way in ends in enter(), which has the descriptor and makes the mappings; every failure ends
 * in quarry_leave(), which undoes whatever is there. So no path leaks, and none is special.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "host.h"
#include "internal.h"

static_assert(sizeof(struct quarry_pool) <= QUARRY_AT_CLIENT, "the handle's page must hold it");
/* The tables' entries -2 and -1 lie before them, and are 0. */
static_assert(sizeof(struct client) <= QUARRY_AT_BLOCKS - QUARRY_AT_CLIENT - 16, "and the client's");
static_assert(QUARRY_AT_BLOCKS + 8 * (QUARRY_MOST_CPUS + 2) <= QUARRY_AT_ALL_BLOCKS &&
                  QUARRY_AT_ALL_BLOCKS + 8 * (QUARRY_MOST_CPUS + 2) <= QUARRY_AT_MARKS,
              "nor may the tables overlap");

#define PAGE 4096ul
/* Large marks from so many bytes on (of a pool of 256 MiB) may lie in huge pages. */
#define HUGE_MARKS (8ul << 20)

static void close_keeping_errno(int fd) {
    int error = errno;

    quarry_sys->close(fd);
    errno = error;
}

static int ask_to_join(int fd, struct admission *admission) {
    struct quarry_join join = {.size = sizeof join, .fd_flags = QUARRY_FD_CLOEXEC};

    if (quarry_request(fd, QUARRY_IOC_JOIN, &join) < 0)
        return -1;
    *admission = (struct admission){
        .fd = join.fd,
        .area_bytes = join.client_area_bytes,
        .max_bytes = join.max_bytes,
        .pool_id = join.pool_id,
        .client_id = join.client_id,
        .kind = join.kind,
        .object_size = join.object_size,
        .object_count = join.object_count,
    };
    return 0;
}

/* Marks of a pool of so many bytes: the large ones, and behind them the small ones. */
static uint64_t large_mark_bytes(uint64_t bytes) {
    return (bytes / 64 * sizeof(uint16_t) + PAGE - 1) & ~(PAGE - 1);
}

/* A handle of the pool that `admission` speaks of, with room for its marks, of no client yet. */
static struct quarry_pool *new_handle(const struct admission *admission) {
    const uint64_t marked = admission->kind == QUARRY_KIND_RANGE ? 0 : admission->max_bytes;
    const uint64_t bytes = QUARRY_AT_MARKS + large_mark_bytes(marked) + marked / QUARRY_GRAIN;
    struct quarry_pool *pool;

    if (marked > SIZE_MAX / 2) {
        errno = EFBIG;
        return NULL;
    }
    pool = quarry_sys->mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED)
        return NULL;
    pool->handle_bytes = bytes;
    pool->join_fd = -1;
    pool->max_bytes = admission->max_bytes;
    pool->pool_id = admission->pool_id;
    pool->kind = admission->kind;
    pool->object_size = admission->object_size;
    pool->object_count = admission->object_count;
    for (unsigned i = 0; i < sizeof pool->fast.class_of; i++)
        pool->fast.class_of[i] = (uint8_t)quarry_class_of(8 * (i + 1), 0);
    pool->fast.small_marks = (unsigned char *)pool + QUARRY_AT_MARKS + large_mark_bytes(marked);
    if (quarry_sys->madvise((char *)pool + QUARRY_AT_CLIENT, bytes - QUARRY_AT_CLIENT,
                            MADV_WIPEONFORK) < 0) {
        quarry_leave(pool);
        return NULL;
    }
    /* Of no use in a core dump, and no reason to fail. */
    if (marked)
        (void)madvise((char *)pool + QUARRY_AT_MARKS, bytes - QUARRY_AT_MARKS, MADV_DONTDUMP);
    /* One huge page of large marks is for 64 MiB of pool; of the small ones it would be for 16. */
    if (large_mark_bytes(marked) >= HUGE_MARKS)
        (void)madvise((char *)pool + QUARRY_AT_MARKS, large_mark_bytes(marked), MADV_HUGEPAGE);
    return pool;
}

/* mmap by the pool's descriptor, or of what "host:" has in this process. */
static void *map(struct quarry_pool *pool, int fd, uint64_t offset, size_t bytes, int protection) {
    if (pool->in_process)
        return quarry_host_map(fd, offset, bytes);
    return quarry_sys->mmap(NULL, bytes, protection, MAP_SHARED, fd, (off_t)offset);
}

static void unmap(struct quarry_pool *pool, void *address, size_t bytes) {
    if (!pool->in_process)
        quarry_sys->munmap(address, bytes);
}

/* Whether the class that a program has inlined for each size is this pool's. */
static bool has_these_classes(const struct quarry_client_area *area) {
    if (area->kind != QUARRY_KIND_HEAP || area->class_count > QUARRY_MAX_CLASSES)
        return false;
    for (uint32_t i = 0; i < area->class_count; i++) {
        const uint32_t bytes = area->class_size[i];

        if (!quarry_has_class(bytes, 0) || quarry_class_of(bytes, 0) != i)
            return false;
    }
    return area->class_count == quarry_class_of(QUARRY_MOST_CLASS_BYTES, 0) + 1;
}

/* Lets the fast path see the magazines of the client's area, if there are any for this process. */
static void show_magazines(struct quarry_pool *pool, struct client *client) {
    const struct quarry_client_area *area = client->area;
    const uint64_t distance = (uintptr_t)area - (uintptr_t)pool;
    const bool inlined = has_these_classes(area);
    ptrdiff_t place;

    if (!quarry_rseq_place(&place) || !area->cpus || area->cpus > QUARRY_MOST_CPUS ||
        !(inlined || area->kind == QUARRY_KIND_FIXED) ||
        area->blocks_offset + (uint64_t)area->cpus * area->block_bytes > client->area_bytes)
        return;
    client->cpus = area->cpus;
    for (uint32_t cpu = 0; cpu < area->cpus; cpu++) {
        const uint64_t at = distance + area->blocks_offset + (uint64_t)cpu * area->block_bytes;

        if (inlined)
            __atomic_store_n((uint64_t *)((char *)pool + QUARRY_AT_BLOCKS) + cpu, at, __ATOMIC_RELEASE);
        __atomic_store_n((uint64_t *)((char *)pool + QUARRY_AT_ALL_BLOCKS) + cpu, at, __ATOMIC_RELEASE);
    }
}

/*
 * Makes this process the client that `admission` speaks of, and takes its descriptor, also when it
 * fails. The client's lock is held, or nobody else knows the pool.
 */
static int become_client(struct quarry_pool *pool, const struct admission *admission) {
    struct client *client = quarry_client_of(pool);
    void *area = map(pool, admission->fd, QUARRY_CLIENT_AREA_OFFSET, admission->area_bytes,
                     PROT_READ | PROT_WRITE);

    if (area == MAP_FAILED) {
        close_keeping_errno(admission->fd);
        return -1;
    }
    client->fd = admission->fd;
    client->client_id = admission->client_id;
    client->area = area;
    client->area_bytes = admission->area_bytes;
    client->host = pool->in_process ? quarry_host_client(admission->fd) : NULL;
    /* A grandchild forked between the two stores keeps one inherited descriptor open, no more. */
    atomic_store(&pool->join_client, admission->client_id);
    atomic_store(&pool->join_fd, admission->fd);
    show_magazines(pool, client);
    atomic_store_explicit(&client->ready, 1, memory_order_release);
    return 0;
}

/* The first client of a new handle. Takes the descriptor, also when it fails. */
static struct quarry_pool *enter(const struct admission *admission) {
    struct quarry_pool *pool = new_handle(admission);
    const uint64_t max = admission->max_bytes;
    void *base;

    if (!pool) {
        close_keeping_errno(admission->fd);
        return NULL;
    }
    pool->in_process = quarry_host_client(admission->fd) != NULL;
    (void)quarry_rseq_place(&pool->fast.rseq);
    if (become_client(pool, admission) < 0) {
        quarry_leave(pool);
        return NULL;
    }
    if (admission->kind == QUARRY_KIND_RANGE)
        return pool;
    base = map(pool, admission->fd, 0, (size_t)max, PROT_READ | PROT_WRITE);
    if (base == MAP_FAILED) {
        quarry_leave(pool);
        return NULL;
    }
    pool->fast.base = base;
    if (quarry_client_of(pool)->cpus) {
        void *table = map(pool, admission->fd, QUARRY_CLASS_TABLE_OFFSET, (size_t)(max / PAGE), PROT_READ);

        if (table == MAP_FAILED) {
            quarry_leave(pool);
            return NULL;
        }
        pool->class_table = table;
    }
    pool->class_count = quarry_client_of(pool)->area->class_count;
    pool->fast.grains = max / QUARRY_GRAIN;
    pool->fast.lines = max / 64;
    return pool;
}

/* Whether `fd` is still this pool's descriptor of that client, and not one that took its number. */
static bool is_descriptor_of(int fd, uint64_t pool_id, uint64_t client_id) {
    struct quarry_stat stat = {.size = sizeof stat};

    return quarry_request(fd, QUARRY_IOC_STAT, &stat) == 0 && stat.pool_id == pool_id &&
           stat.client_id == client_id;
}

/* In a child: becomes a client through the descriptor that it inherited, which it then closes. */
static int join_again(struct quarry_pool *pool) {
    int inherited = atomic_load(&pool->join_fd);
    uint64_t inherited_client = atomic_load(&pool->join_client);
    struct admission admission;

    if (pool->in_process) {
        errno = EXDEV;
        return -1;
    }
    if (ask_to_join(inherited, &admission) < 0)
        return -1;
    if (admission.pool_id != pool->pool_id) {
        quarry_sys->close(admission.fd);
        errno = EBADF;
        return -1;
    }
    if (become_client(pool, &admission) < 0)
        return -1;
    if (is_descriptor_of(inherited, pool->pool_id, inherited_client))
        quarry_sys->close(inherited);
    return 0;
}

struct client *quarry_client(struct quarry_pool *pool) {
    struct client *client = quarry_client_of(pool);
    int result = 0;

    if (atomic_load_explicit(&client->ready, memory_order_acquire))
        return client;
    pthread_mutex_lock(&client->lock);
    if (!atomic_load_explicit(&client->ready, memory_order_relaxed))
        result = join_again(pool);
    pthread_mutex_unlock(&client->lock);
    return result < 0 ? NULL : client;
}

int quarry_request(int fd, unsigned long request, void *argument) {
    return quarry_host_has(fd) ? quarry_host_request(fd, request, argument)
                               : quarry_sys->ioctl(fd, request, argument);
}

static bool moves_objects(unsigned long request) {
    return request == QUARRY_IOC_ALLOC || request == QUARRY_IOC_FREE || request == QUARRY_IOC_REFILL ||
           request == QUARRY_IOC_FLUSH || request == QUARRY_IOC_TRANSFER || request == QUARRY_IOC_SHARE ||
           request == QUARRY_IOC_RESIZE;
}

int quarry_call_kernel(struct quarry_pool *pool, unsigned long request, void *argument) {
    struct client *client = quarry_client(pool);

    if (!client)
        return -1;
    if (moves_objects(request))
        atomic_fetch_add_explicit(&client->object_calls, 1, memory_order_relaxed);
    return client->host ? quarry_host_call(client->host, request, argument)
                        : quarry_sys->ioctl(client->fd, request, argument);
}

struct quarry_pool *quarry_join(int fd) {
    struct admission admission;

    return ask_to_join(fd, &admission) < 0 ? NULL : enter(&admission);
}

struct quarry_pool *quarry_adopt(int fd) {
    struct quarry_pool *pool = quarry_join(fd);

    if (pool)
        quarry_sys->close(fd);
    return pool;
}

struct quarry_pool *quarry_open_env(void) {
    const char *text = getenv(QUARRY_POOL_FD_ENV);
    int fd = 0;

    if (!text) {
        errno = ENOENT;
        return NULL;
    }
    if (!*text || strlen(text) > 7 || strspn(text, "0123456789") != strlen(text)) {
        errno = EINVAL;
        return NULL;
    }
    for (; *text; text++)
        fd = fd * 10 + (*text - '0');
    return quarry_join(fd);
}

static bool all_zero(const unsigned char *bytes, size_t count) {
    while (count && !bytes[count - 1])
        count--;
    return count == 0;
}

/* What the first version of struct quarry_options ends with is its name. */
#define FIRST_OPTIONS offsetof(struct quarry_options, granule)

/* The options as this library knows them, from a caller built with another version of the header. */
static int read_options(const struct quarry_options *from, size_t bytes,
                        struct quarry_pool_create *create) {
    struct quarry_options options = {0};

    if (bytes < FIRST_OPTIONS) {
        errno = EINVAL;
        return -1;
    }
    if (bytes > sizeof options &&
        !all_zero((const unsigned char *)from + sizeof options, bytes - sizeof options)) {
        errno = E2BIG;
        return -1;
    }
    memcpy(&options, from, bytes < sizeof options ? bytes : sizeof options);
    *create = (struct quarry_pool_create){
        .size = sizeof *create,
        .flags = options.flags,
        .kind = options.kind,
        .zone = options.zone,
        .node = options.on_node ? options.node : -1,
        .fd_flags = QUARRY_FD_CLOEXEC,
        .bytes = options.bytes,
        .max_bytes = options.max_bytes,
        .object_size = options.object_size,
        .object_count = options.object_count,
        .client_limit = options.client_limit,
        .granule = options.granule,
        .max_ranges = options.max_ranges,
    };
    memcpy(create->range_align, options.aligns, sizeof create->range_align);
    if (!options.name)
        return 0;
    if (strlen(options.name) >= sizeof create->name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(create->name, options.name);
    return 0;
}

struct quarry_pool *quarry_create_sized(struct quarry_device *device,
                                        const struct quarry_options *options,
                                        size_t options_bytes) {
    struct quarry_device *mine = NULL;
    struct quarry_pool_create create;
    int result = -1;

    if (read_options(options, options_bytes, &create) < 0)
        return NULL;
    if (!device)
        device = mine = quarry_open(NULL);
    if (device)
        result = quarry_request(device->fd, QUARRY_IOC_POOL_CREATE, &create);
    quarry_close(mine);
    if (result < 0)
        return NULL;
    return enter(&(struct admission){
        .fd = create.fd,
        .area_bytes = create.client_area_bytes,
        .max_bytes = create.max_bytes,
        .pool_id = create.pool_id,
        .client_id = create.client_id,
        .kind = create.kind,
        .object_size = create.object_size,
        .object_count = create.object_count,
    });
}

void quarry_leave(struct quarry_pool *pool) {
    struct client *client;
    int error = errno;
    int fd;

    if (!pool)
        return;
    client = quarry_client_of(pool);
    fd = atomic_load(&pool->join_fd);
    if (atomic_load(&client->ready)) {
        /* The end of the area is what ends the client: first, so that all is back when we return. */
        if (client->host)
            quarry_host_end(client->host);
        unmap(pool, client->area, client->area_bytes);
        quarry_sys->close(fd);
    } else if (fd >= 0 && is_descriptor_of(fd, pool->pool_id, atomic_load(&pool->join_client))) {
        quarry_sys->close(fd);
    }
    if (pool->class_table)
        unmap(pool, (void *)(uintptr_t)pool->class_table, (size_t)(pool->max_bytes / PAGE));
    if (pool->fast.base)
        unmap(pool, pool->fast.base, (size_t)pool->max_bytes);
    quarry_sys->munmap(pool, pool->handle_bytes);
    errno = error;
}
