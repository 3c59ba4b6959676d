// SPDX-License-Identifier: GPL-2.0 OR MIT
/* INFO, POOL_CREATE and JOIN: what there is, a pool, another client. */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/string.h>
#include <linux/user_namespace.h>

#include "client.h"
#include "ioctl.h"
#include "limits.h"
#include "pool.h"

/**
 * quarry_ioctl_info() - QUARRY_IOC_INFO
 * @call: the call
 * @user: struct quarry_info of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_info(struct quarry_call *call, void __user *user)
{
	struct quarry_limits limits;
	struct quarry_info info;
	const u32 *sizes;
	u32 size, i;
	int err;

	err = QUARRY_FETCH(&info, user);
	if (err)
		return err;
	if (info.flags || memchr_inv(info.reserved, 0, sizeof(info.reserved)))
		return -EINVAL;
	size = info.size;
	memset(&info, 0, sizeof(info));
	quarry_limits_get(&limits);
	info.size = size;
	info.abi_version = QUARRY_ABI_VERSION;
	info.cpus = nr_cpu_ids;
	info.features = QUARRY_FEATURE_HEAP | QUARRY_FEATURE_FIXED | QUARRY_FEATURE_REGION_REMOVE |
			QUARRY_FEATURE_LOWMEM | QUARRY_FEATURE_RANGE | QUARRY_FEATURE_MAGAZINES |
			QUARRY_FEATURE_RESERVE;
	info.page_size = PAGE_SIZE;
	info.class_count = min_t(u32, quarry_core_size_classes(&sizes), QUARRY_MAX_CLASSES);
	for (i = 0; i < info.class_count; i++)
		info.class_size[i] = sizes[i];
	info.max_object = QUARRY_MAX_OBJECT;
	info.max_pool = limits.max_pool_bytes;
	info.max_batch = QUARRY_MAX_BATCH;
	info.max_clients = limits.max_clients;
	info.max_user_bytes = limits.max_user_bytes;
	info.max_user_pools = limits.max_user_pools;
	info.max_user_clients = limits.max_user_clients;
	return QUARRY_ANSWER(user, &info);
}

static bool name_valid(const char *name)
{
	size_t length = strnlen(name, QUARRY_NAME_LEN);
	size_t i;

	for (i = 0; i < length; i++)
		if (!isascii(name[i]) || !isprint(name[i]) || name[i] == '/')
			return false;
	return length < QUARRY_NAME_LEN;
}

static int check_heap(const struct quarry_pool_create *create, u64 most,
		      struct quarry_pool_config *config)
{
	u64 bytes, max_bytes;

	/* No more than memory: so rounding up cannot overflow. */
	if (create->bytes > most || create->max_bytes > most)
		return -EFBIG;
	bytes = PAGE_ALIGN(create->bytes);
	max_bytes = PAGE_ALIGN(create->max_bytes) ?: bytes;
	if (!max_bytes || bytes > max_bytes || create->object_size || create->object_count)
		return -EINVAL;
	config->bytes = bytes;
	config->max_bytes = max_bytes;
	return 0;
}

static int check_fixed(const struct quarry_pool_create *create, u64 most,
		       struct quarry_pool_config *config)
{
	u64 product;

	if (create->bytes || create->max_bytes)
		return -EINVAL;
	if (!create->object_size || create->object_size % QUARRY_GRAIN || !create->object_count)
		return -EINVAL;
	if (check_mul_overflow(create->object_size, create->object_count, &product))
		return -EOVERFLOW;
	if (create->object_size > QUARRY_MAX_OBJECT || product > most)
		return -EFBIG;
	config->object_size = create->object_size;
	config->object_count = create->object_count;
	return 0;
}

static int check_range(const struct quarry_pool_create *create, struct quarry_pool_config *config)
{
	struct quarry_core_pool_config shape = {
		.kind = QUARRY_CORE_RANGE,
		.capacity = create->max_bytes,
		.granule = create->granule,
		.max_ranges = create->max_ranges,
	};

	/* No memory, so nothing to zero, and no zone. */
	if (create->bytes || create->object_size || create->object_count || create->flags ||
	    create->zone != QUARRY_ZONE_NORMAL)
		return -EINVAL;
	if (!is_power_of_2(create->granule) || !create->max_bytes || !create->max_ranges)
		return -EINVAL;
	if (create->max_ranges > QUARRY_MAX_RANGES ||
	    create->max_bytes >> ilog2(create->granule) > 1ULL << 62 ||
	    create->max_bytes > S64_MAX)
		return -EFBIG;
	memcpy(shape.aligns, create->range_align, sizeof(shape.aligns));
	if (!quarry_core_range_meta_bytes(&shape))
		return -EINVAL;
	config->max_bytes = create->max_bytes;
	config->granule = create->granule;
	config->max_ranges = create->max_ranges;
	memcpy(config->aligns, create->range_align, sizeof(config->aligns));
	return 0;
}

static bool has_range_fields(const struct quarry_pool_create *create)
{
	return create->granule || create->max_ranges ||
	       memchr_inv(create->range_align, 0, sizeof(create->range_align));
}

static int check_create(const struct quarry_pool_create *create, struct quarry_pool_config *config)
{
	struct quarry_limits limits;
	int err;

	BUILD_BUG_ON((int)QUARRY_CORE_HEAP != QUARRY_KIND_HEAP ||
		     (int)QUARRY_CORE_FIXED != QUARRY_KIND_FIXED ||
		     (int)QUARRY_CORE_RANGE != QUARRY_KIND_RANGE ||
		     QUARRY_CORE_MAX_RANGES != QUARRY_MAX_RANGES);
	if (create->flags & ~(QUARRY_POOL_ZERO | QUARRY_POOL_HOLD_PINNED) ||
	    create->fd_flags & ~QUARRY_FD_CLOEXEC ||
	    memchr_inv(create->reserved, 0, sizeof(create->reserved)))
		return -EINVAL;
	if (create->kind > QUARRY_KIND_RANGE)
		return -EINVAL;
	if (create->zone != QUARRY_ZONE_NORMAL && create->zone != QUARRY_ZONE_LOWMEM)
		return -EINVAL;
	if (!quarry_node_valid(create->node) || !name_valid(create->name))
		return -EINVAL;
	/* Smaller objects share their pages. */
	if (create->flags & QUARRY_POOL_HOLD_PINNED &&
	    (create->kind == QUARRY_KIND_RANGE ||
	     (create->kind == QUARRY_KIND_FIXED && !PAGE_ALIGNED(create->object_size))))
		return -EOPNOTSUPP;
	quarry_limits_get(&limits);
	if (create->kind == QUARRY_KIND_RANGE)
		err = check_range(create, config);
	else if (has_range_fields(create))
		err = -EINVAL;
	else if (create->kind == QUARRY_KIND_HEAP)
		err = check_heap(create, limits.max_pool_bytes, config);
	else
		err = check_fixed(create, limits.max_pool_bytes, config);
	if (err)
		return err;
	/* The numbers are the same. */
	config->kind = (enum quarry_core_kind)create->kind;
	config->zone = create->zone == QUARRY_ZONE_LOWMEM ? QUARRY_CORE_LOWMEM : QUARRY_CORE_NORMAL;
	config->node = create->node;
	config->flags = create->flags;
	config->client_limit = create->client_limit;
	config->name = create->name;
	/* Where nothing is asked for yet, a no is nothing to log. */
	config->any_lowmem = config->zone == QUARRY_CORE_LOWMEM ?
				     capable(CAP_SYS_RAWIO) :
				     ns_capable_noaudit(&init_user_ns, CAP_SYS_RAWIO);
	if (config->zone == QUARRY_CORE_LOWMEM && !config->any_lowmem &&
	    !limits.max_user_lowmem_bytes)
		return -EPERM;
	return 0;
}

/*
 * A client and its file, which owns it. The client comes last: one that was never
 * there is nobody's death.
 */
static struct file *client_file(struct quarry_pool *pool, bool creator,
				struct quarry_client **client)
{
	struct file *file = quarry_poolfs_file(pool, &quarry_client_fops);
	int err;

	if (IS_ERR(file))
		return file;
	err = quarry_client_create(pool, creator, client);
	if (err) {
		fput(file);
		return ERR_PTR(err);
	}
	file->private_data = *client;
	return file;
}

static int reserve_fd(u32 fd_flags)
{
	return get_unused_fd_flags(fd_flags & QUARRY_FD_CLOEXEC ? O_CLOEXEC : 0);
}

/* The answer first, then the descriptor: nobody can close it before. */
static int hand_over(int fd, struct file *file, int err)
{
	if (err) {
		put_unused_fd(fd);
		fput(file);
		return err;
	}
	fd_install(fd, file);
	return 0;
}

/**
 * quarry_ioctl_create() - QUARRY_IOC_POOL_CREATE
 * @call: the call
 * @user: struct quarry_pool_create of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_create(struct quarry_call *call, void __user *user)
{
	struct quarry_pool_config config = {};
	struct quarry_pool_create create;
	struct quarry_client *client;
	struct quarry_pool *pool;
	struct file *file;
	int err, fd;

	err = QUARRY_FETCH(&create, user);
	if (!err)
		err = check_create(&create, &config);
	/* Try first whether the answer can be written: then nothing has to be undone. */
	if (!err)
		err = QUARRY_ANSWER(user, &create);
	if (err)
		return err;
	fd = reserve_fd(create.fd_flags);
	if (fd < 0)
		return fd;
	err = quarry_pool_create(&config, &pool);
	if (!err) {
		file = client_file(pool, true, &client);
		quarry_pool_put(pool);
		err = PTR_ERR_OR_ZERO(file);
	}
	if (err) {
		put_unused_fd(fd);
		return err;
	}
	create.fd = fd;
	create.max_bytes = pool->max_bytes;
	create.client_area_bytes = quarry_client_area_bytes(pool);
	create.pool_id = pool->id;
	create.client_id = client->id;
	return hand_over(fd, file, QUARRY_ANSWER(user, &create));
}

/**
 * quarry_ioctl_join() - QUARRY_IOC_JOIN
 * @call: the call
 * @user: struct quarry_join of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_join(struct quarry_call *call, void __user *user)
{
	struct quarry_pool *pool = call->client->pool;
	struct quarry_client *client;
	struct quarry_join join;
	struct file *file;
	int err, fd;

	err = QUARRY_FETCH(&join, user);
	if (err)
		return err;
	if (join.flags || join.fd_flags & ~QUARRY_FD_CLOEXEC ||
	    memchr_inv(join.reserved, 0, sizeof(join.reserved)))
		return -EINVAL;
	/* As above: no client that comes and goes unseen. */
	err = QUARRY_ANSWER(user, &join);
	if (err)
		return err;
	fd = reserve_fd(join.fd_flags);
	if (fd < 0)
		return fd;
	file = client_file(pool, false, &client);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	join.kind = pool->kind;
	join.fd = fd;
	join.client_area_bytes = quarry_client_area_bytes(pool);
	join.max_bytes = pool->max_bytes;
	join.pool_id = pool->id;
	join.client_id = client->id;
	join.object_size = pool->object_size;
	join.object_count = pool->object_count;
	return hand_over(fd, file, QUARRY_ANSWER(user, &join));
}
