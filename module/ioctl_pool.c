// SPDX-License-Identifier: GPL-2.0 OR MIT
/* REGION_ADD, REGION_REMOVE, DRAIN, STAT and VERIFY: looking after a pool. */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "client.h"
#include "ioctl.h"
#include "limits.h"
#include "pool.h"

/* Who may look after the pool, and whether this kind can be looked after so. */
static int check_keeper(const struct quarry_client *client)
{
	if (!client->creator)
		return -EPERM;
	return client->pool->kind == QUARRY_CORE_HEAP ? 0 : -EOPNOTSUPP;
}

static int check_region_add(const struct quarry_client *client, const struct quarry_region *region,
			    u64 *pages)
{
	struct quarry_limits limits;

	if (region->flags || region->reserved)
		return -EINVAL;
	if (region->zone != QUARRY_ZONE_NORMAL && region->zone != QUARRY_ZONE_LOWMEM)
		return -EINVAL;
	if (!quarry_node_valid(region->node) || !region->bytes)
		return -EINVAL;
	quarry_limits_get(&limits);
	if (region->bytes > limits.max_pool_bytes)
		return -EFBIG;
	*pages = PAGE_ALIGN(region->bytes) >> PAGE_SHIFT;
	if (region->zone == QUARRY_ZONE_LOWMEM && client->creator && !client->pool->any_lowmem &&
	    !limits.max_user_lowmem_bytes)
		return -EPERM;
	return check_keeper(client);
}

/**
 * quarry_ioctl_region_add() - QUARRY_IOC_REGION_ADD
 * @call: the call
 * @user: struct quarry_region of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_region_add(struct quarry_call *call, void __user *user)
{
	struct quarry_pool *pool = call->client->pool;
	struct quarry_region region;
	u64 pages, added;
	int err;

	err = QUARRY_FETCH(&region, user);
	if (!err)
		err = check_region_add(call->client, &region, &pages);
	/* Regions cannot be taken back for sure: try first whether the answer can be written. */
	if (!err)
		err = QUARRY_ANSWER(user, &region);
	if (err)
		return err;
	err = quarry_regions_add(pool, region.zone == QUARRY_ZONE_LOWMEM ? QUARRY_CORE_LOWMEM :
				 QUARRY_CORE_NORMAL, region.node, pages, false, &region.offset,
				 &added, &region.regions);
	if (err)
		return err;
	region.bytes = added << PAGE_SHIFT;
	return QUARRY_ANSWER(user, &region);
}

/**
 * quarry_ioctl_region_remove() - QUARRY_IOC_REGION_REMOVE
 * @call: the call
 * @user: struct quarry_region of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_region_remove(struct quarry_call *call, void __user *user)
{
	struct quarry_region region;
	u64 pages;
	int err;

	err = QUARRY_FETCH(&region, user);
	if (err)
		return err;
	if (region.flags || region.reserved)
		return -EINVAL;
	err = check_keeper(call->client);
	if (!err)
		err = QUARRY_ANSWER(user, &region);
	if (err)
		return err;
	call->blame.offset = region.offset;
	err = quarry_region_remove(call->client->pool, region.offset, &pages);
	if (err)
		return err;
	region.bytes = pages << PAGE_SHIFT;
	region.regions = 1;
	return QUARRY_ANSWER(user, &region);
}

/**
 * quarry_ioctl_drain() - QUARRY_IOC_DRAIN
 * @call: the call
 * @user: struct quarry_drain of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_drain(struct quarry_call *call, void __user *user)
{
	struct quarry_drain drain;
	int err;

	err = QUARRY_FETCH(&drain, user);
	if (err)
		return err;
	if (drain.flags & ~QUARRY_DRAIN_POOL)
		return -EINVAL;
	if (drain.flags & QUARRY_DRAIN_POOL && !call->client->creator)
		return -EPERM;
	err = quarry_client_drain(call->client, drain.flags & QUARRY_DRAIN_POOL, &drain.slots,
				  &drain.slabs);
	return err ?: QUARRY_ANSWER(user, &drain);
}

static int answer_classes(const struct quarry_stat *stat, u32 room,
			  const struct quarry_core_class_stat *classes)
{
	struct quarry_class_stat __user *user = u64_to_user_ptr(stat->classes);
	u32 i;

	for (i = 0; i < min(room, stat->class_count); i++) {
		struct quarry_class_stat class = {
			.size = classes[i].size,
			.slabs = classes[i].slabs,
			.live = classes[i].live,
			.free = classes[i].free,
		};

		if (copy_to_user(user + i, &class, sizeof(class)))
			return -EFAULT;
	}
	return 0;
}

/**
 * quarry_ioctl_stat() - QUARRY_IOC_STAT
 * @call: the call
 * @user: struct quarry_stat of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_stat(struct quarry_call *call, void __user *user)
{
	struct quarry_core_class_stat *classes = NULL;
	struct quarry_client *client = call->client;
	struct quarry_look look;
	struct quarry_stat stat;
	u32 room;
	int err;

	err = QUARRY_FETCH(&stat, user);
	if (err)
		return err;
	if (stat.flags & ~QUARRY_STAT_ACK || stat.reserved)
		return -EINVAL;
	/* Seeing is for all, acknowledging for the client alone. */
	if (stat.flags & QUARRY_STAT_ACK && current->mm != client->mm)
		return -EXDEV;
	room = stat.classes ? min_t(u32, stat.class_count, QUARRY_MAX_CLASSES) : 0;
	if (room) {
		classes = kcalloc(room, sizeof(*classes), QUARRY_GFP);
		if (!classes)
			return -ENOMEM;
	}
	quarry_pool_stat(client->pool, &stat, classes, room);
	err = answer_classes(&stat, room, classes);
	kfree(classes);
	if (err)
		return err;
	stat.client_id = client->id;
	quarry_core_client_usage(client->core, &stat.client_objects, &stat.client_bytes);
	quarry_client_look(client, &look);
	stat.events = look.events;
	err = QUARRY_ANSWER(user, &stat);
	/* Acknowledged is what the caller was told, and not what came after it. */
	if (!err && stat.flags & QUARRY_STAT_ACK)
		quarry_client_acknowledge(client, &look);
	return err;
}

/**
 * quarry_ioctl_verify() - QUARRY_IOC_VERIFY
 * @call: the call
 * @user: struct quarry_verify of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_verify(struct quarry_call *call, void __user *user)
{
	struct quarry_core_audit audit;
	struct quarry_verify verify;
	int err;

	err = QUARRY_FETCH(&verify, user);
	if (err)
		return err;
	if (verify.flags)
		return -EINVAL;
	if (!call->client->creator)
		return -EPERM;
	err = quarry_pool_verify(call->client->pool, &audit);
	if (err)
		return err;
	verify.faults = audit.faults;
	verify.first_offset = audit.first_offset;
	verify.pages = audit.pages;
	verify.slabs = audit.slabs;
	verify.objects = audit.objects;
	memcpy(verify.first, audit.first, sizeof(verify.first));
	return QUARRY_ANSWER(user, &verify);
}
