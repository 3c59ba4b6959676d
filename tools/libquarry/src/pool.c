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

#include "internal.h"

static_assert(sizeof(struct client) <= 4096, "the client's page must hold it");

#define CLIENT_PAGE_BYTES 4096

static void close_keeping_errno(int fd) {
    int error = errno;

    quarry_sys->close(fd);
    errno = error;
}

static int ask_to_join(int fd, struct admission *admission) {
    struct quarry_join join = {.size = sizeof join, .fd_flags = QUARRY_FD_CLOEXEC};

    if (quarry_sys->ioctl(fd, QUARRY_IOC_JOIN, &join) < 0)
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

/* A handle with its client page, of no pool yet. */
static struct quarry_pool *new_handle(void) {
    struct quarry_pool *pool = quarry_sys->allocate(sizeof *pool);
    void *page;

    if (!pool)
        return NULL;
    pool->join_fd = -1;
    page = quarry_sys->mmap(NULL, CLIENT_PAGE_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED)
        pool->client = page;
    if (page == MAP_FAILED || quarry_sys->madvise(page, CLIENT_PAGE_BYTES, MADV_WIPEONFORK) < 0) {
        quarry_leave(pool);
        return NULL;
    }
    return pool;
}

/*
 * Makes this process the client that `admission` speaks of, and takes its descriptor, also when it
 * fails. The client's lock is held, or nobody else knows the pool.
 */
static int become_client(struct quarry_pool *pool, const struct admission *admission) {
    struct client *client = pool->client;
    void *area = quarry_sys->mmap(NULL, admission->area_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                                  admission->fd, (off_t)QUARRY_CLIENT_AREA_OFFSET);

    if (area == MAP_FAILED) {
        close_keeping_errno(admission->fd);
        return -1;
    }
    client->fd = admission->fd;
    client->client_id = admission->client_id;
    client->area = area;
    client->area_bytes = admission->area_bytes;
    /* A grandchild forked between the two stores keeps one inherited descriptor open, no more. */
    atomic_store(&pool->join_client, admission->client_id);
    atomic_store(&pool->join_fd, admission->fd);
    atomic_store_explicit(&client->ready, 1, memory_order_release);
    return 0;
}

/* The first client of a new handle. Takes the descriptor; `pool` is gone when it fails. */
static struct quarry_pool *enter(struct quarry_pool *pool, const struct admission *admission) {
    void *base;

    pool->max_bytes = admission->max_bytes;
    pool->pool_id = admission->pool_id;
    pool->kind = admission->kind;
    pool->object_size = admission->object_size;
    pool->object_count = admission->object_count;
    if (become_client(pool, admission) < 0) {
        quarry_leave(pool);
        return NULL;
    }
    if (admission->kind == QUARRY_KIND_RANGE)
        return pool;
    if (admission->max_bytes > SIZE_MAX) {
        errno = EFBIG;
        quarry_leave(pool);
        return NULL;
    }
    base = quarry_sys->mmap(NULL, (size_t)admission->max_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                            admission->fd, 0);
    if (base == MAP_FAILED) {
        quarry_leave(pool);
        return NULL;
    }
    pool->base = base;
    return pool;
}

/* Whether `fd` is still this pool's descriptor of that client, and not one that took its number. */
static bool is_descriptor_of(int fd, uint64_t pool_id, uint64_t client_id) {
    struct quarry_stat stat = {.size = sizeof stat};

    return quarry_sys->ioctl(fd, QUARRY_IOC_STAT, &stat) == 0 && stat.pool_id == pool_id &&
           stat.client_id == client_id;
}

/* In a child: becomes a client through the descriptor that it inherited, which it then closes. */
static int join_again(struct quarry_pool *pool) {
    int inherited = atomic_load(&pool->join_fd);
    uint64_t inherited_client = atomic_load(&pool->join_client);
    struct admission admission;

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
    struct client *client = pool->client;
    int result = 0;

    if (atomic_load_explicit(&client->ready, memory_order_acquire))
        return client;
    pthread_mutex_lock(&client->lock);
    if (!atomic_load_explicit(&client->ready, memory_order_relaxed))
        result = join_again(pool);
    pthread_mutex_unlock(&client->lock);
    return result < 0 ? NULL : client;
}

struct quarry_pool *quarry_join(int fd) {
    struct admission admission;
    struct quarry_pool *pool = new_handle();

    if (!pool)
        return NULL;
    if (ask_to_join(fd, &admission) < 0) {
        quarry_leave(pool);
        return NULL;
    }
    return enter(pool, &admission);
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
    struct quarry_pool *pool = NULL;
    struct quarry_pool_create create;

    if (read_options(options, options_bytes, &create) < 0)
        return NULL;
    if (!device)
        device = mine = quarry_open(NULL);
    if (device)
        pool = new_handle();
    if (pool && quarry_sys->ioctl(device->fd, QUARRY_IOC_POOL_CREATE, &create) < 0) {
        quarry_leave(pool);
        pool = NULL;
    }
    quarry_close(mine);
    if (!pool)
        return NULL;
    return enter(pool, &(struct admission){
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
    client = pool->client;
    fd = atomic_load(&pool->join_fd);
    if (client && atomic_load(&client->ready)) {
        /* The end of the area is what ends the client: first, so that all is back when we return. */
        quarry_sys->munmap(client->area, client->area_bytes);
        quarry_sys->close(fd);
    } else if (fd >= 0 && is_descriptor_of(fd, pool->pool_id, atomic_load(&pool->join_client))) {
        quarry_sys->close(fd);
    }
    if (pool->base)
        quarry_sys->munmap(pool->base, (size_t)pool->max_bytes);
    if (client)
        quarry_sys->munmap(client, CLIENT_PAGE_BYTES);
    quarry_sys->release(pool);
    errno = error;
}
