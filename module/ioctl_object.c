// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * ALLOC, RESERVE, FREE, TRANSFER and SHARE: n objects a call; RESIZE: one range.
 *
 * The whole array of offsets is read before the first object is touched, and
 * written after the last is granted: so a bad address refuses the call as a
 * whole. An answer that cannot be written is tried beforehand; what ALLOC
 * granted is also taken back when it fails after all.
 */
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/uaccess.h>

#include "batch.h"
#include "client.h"
#include "compat.h"
#include "ioctl.h"
#include "pool.h"
#include "trace.h"

static int check_count(u32 count)
{
	if (!count)
		return -EINVAL;
	return count > QUARRY_MAX_BATCH ? -EMSGSIZE : 0;
}

/* What a call that took objects returns: a part is no failure, and says so. */
static int outcome(struct quarry_call *call, int err, u32 done)
{
	call->stopped = err;
	return done ? 0 : err;
}

/* Of an object that is asked for; @align becomes what 0 stands for. */
static int check_object(const struct quarry_pool *pool, u64 size, u64 *align, u32 count)
{
	bool range = pool->kind == QUARRY_CORE_RANGE;
	u64 product;

	if (!size || !is_power_of_2(*align ?: QUARRY_GRAIN))
		return -EINVAL;
	if (count > QUARRY_MAX_BATCH)
		return -EMSGSIZE;
	if (check_mul_overflow(size, (u64)count, &product))
		return -EOVERFLOW;
	if (range ? size > pool->max_bytes : size > QUARRY_MAX_OBJECT || *align > QUARRY_MAX_OBJECT)
		return -EFBIG;
	if (pool->kind == QUARRY_CORE_FIXED && size != pool->object_size)
		return -EMSGSIZE;
	*align = max_t(u64, *align, range ? 1 : QUARRY_GRAIN);
	return 0;
}

/**
 * quarry_ioctl_alloc() - QUARRY_IOC_ALLOC
 * @call: the call
 * @user: struct quarry_alloc of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_alloc(struct quarry_call *call, void __user *user)
{
	QUARRY_NO_INIT struct quarry_batch batch;
	struct quarry_alloc alloc;
	u64 start, align, *offsets;
	int err, fault;

	err = QUARRY_FETCH(&alloc, user);
	if (err)
		return err;
	if (alloc.flags || alloc.reserved || !alloc.count)
		return -EINVAL;
	align = alloc.align;
	err = check_object(call->client->pool, alloc.object_size, &align, alloc.count);
	if (err)
		return err;
	err = quarry_batch_get(&batch, alloc.count, QUARRY_BATCH_TAKES);
	if (err)
		return err;
	offsets = batch.offsets;
	start = trace_alloc_enabled() ? ktime_get_ns() : 0;
	err = quarry_client_alloc(call->client, alloc.object_size, align, alloc.count, offsets,
				  &alloc.done);
	if (alloc.done) {
		alloc.error = -err;
		fault = copy_to_user(u64_to_user_ptr(alloc.offsets), offsets,
				     alloc.done * sizeof(*offsets)) ? -EFAULT : 0;
		if (!fault)
			fault = QUARRY_ANSWER(user, &alloc);
		if (fault) {
			quarry_client_undo(call->client, offsets, alloc.done);
			alloc.done = 0;
			err = fault;
		}
	}
	/* Last, so that a grant that was undone is none to whoever counts here. */
	if (trace_alloc_enabled())
		trace_alloc(call->client->pool->id, call->client->id, alloc.object_size, align,
			    alloc.count, alloc.done, alloc.done ? offsets[0] : 0,
			    start ? ktime_get_ns() - start : 0);
	quarry_batch_put(&batch);
	return outcome(call, err, alloc.done);
}

/**
 * quarry_ioctl_reserve() - QUARRY_IOC_RESERVE
 * @call: the call
 * @user: struct quarry_reservation of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_reserve(struct quarry_call *call, void __user *user)
{
	struct quarry_reservation reserve;
	QUARRY_NO_INIT struct quarry_batch batch;
	u64 align;
	int err;

	err = QUARRY_FETCH(&reserve, user);
	if (err)
		return err;
	if (reserve.flags)
		return -EINVAL;
	align = reserve.align;
	err = check_object(call->client->pool, reserve.object_size, &align, reserve.count);
	/* As for FREE: what cannot be answered is not done. */
	if (!err)
		err = QUARRY_ANSWER(user, &reserve);
	if (err)
		return err;
	err = quarry_batch_get(&batch, max(reserve.count, 1U), QUARRY_BATCH_TAKES);
	if (err)
		return err;
	err = quarry_client_reserve(call->client, reserve.object_size, align, reserve.count,
				    batch.offsets, &reserve.left);
	quarry_batch_put(&batch);
	return err ?: QUARRY_ANSWER(user, &reserve);
}

/**
 * quarry_ioctl_free() - QUARRY_IOC_FREE
 * @call: the call
 * @user: struct quarry_free of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_free(struct quarry_call *call, void __user *user)
{
	QUARRY_NO_INIT struct quarry_batch batch;
	struct quarry_free free;
	u64 *offsets;
	int err;

	err = QUARRY_FETCH(&free, user);
	if (err)
		return err;
	if (free.flags || free.reserved)
		return -EINVAL;
	err = check_count(free.count);
	if (err)
		return err;
	err = quarry_batch_get(&batch, free.count, QUARRY_BATCH_GIVES);
	if (err)
		return err;
	offsets = batch.offsets;
	free.done = 0;
	free.error = 0;
	if (copy_from_user(offsets, u64_to_user_ptr(free.offsets), free.count * sizeof(*offsets)) ||
	    QUARRY_ANSWER(user, &free)) {
		err = -EFAULT;
	} else {
		err = quarry_client_free(call->client, offsets, free.count, &free.done,
					 &call->blame);
		free.error = -err;
		if (free.done && QUARRY_ANSWER(user, &free)) {
			/* It could be written just now: the caller took it away. */
			err = -EFAULT;
			free.done = 0;
		}
	}
	quarry_batch_put(&batch);
	return outcome(call, err, free.done);
}

static int hand(struct quarry_call *call, void __user *user, quarry_hand_fn *how)
{
	struct quarry_transfer transfer;
	QUARRY_NO_INIT struct quarry_batch batch;
	u64 *offsets;
	int err;

	err = QUARRY_FETCH(&transfer, user);
	if (err)
		return err;
	if (transfer.flags || transfer.reserved)
		return -EINVAL;
	err = check_count(transfer.count);
	if (err)
		return err;
	err = quarry_batch_get(&batch, transfer.count, QUARRY_BATCH_GIVES);
	if (err)
		return err;
	offsets = batch.offsets;
	transfer.done = 0;
	transfer.error = 0;
	if (copy_from_user(offsets, u64_to_user_ptr(transfer.offsets),
			   transfer.count * sizeof(*offsets)) ||
	    QUARRY_ANSWER(user, &transfer)) {
		err = -EFAULT;
	} else {
		err = quarry_client_hand(call->client, transfer.to_client, how, offsets,
					 transfer.count, &transfer.done, &call->blame);
		transfer.error = -err;
		if (transfer.done && QUARRY_ANSWER(user, &transfer)) {
			/* As for FREE. */
			err = -EFAULT;
			transfer.done = 0;
		}
	}
	quarry_batch_put(&batch);
	return outcome(call, err, transfer.done);
}

/**
 * quarry_ioctl_transfer() - QUARRY_IOC_TRANSFER
 * @call: the call
 * @user: struct quarry_transfer of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_transfer(struct quarry_call *call, void __user *user)
{
	return hand(call, user, quarry_core_transfer);
}

/**
 * quarry_ioctl_share() - QUARRY_IOC_SHARE
 * @call: the call
 * @user: struct quarry_transfer of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_share(struct quarry_call *call, void __user *user)
{
	return hand(call, user, quarry_core_share);
}

/**
 * quarry_ioctl_resize() - QUARRY_IOC_RESIZE
 * @call: the call
 * @user: struct quarry_resize of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_resize(struct quarry_call *call, void __user *user)
{
	struct quarry_resize resize;
	int err;

	err = QUARRY_FETCH(&resize, user);
	if (err)
		return err;
	if (resize.flags || !resize.object_size)
		return -EINVAL;
	if (call->client->pool->kind != QUARRY_CORE_RANGE)
		return -EOPNOTSUPP;
	/* As for FREE: what cannot be answered is not done. */
	err = QUARRY_ANSWER(user, &resize);
	if (!err)
		err = quarry_client_resize(call->client, resize.offset, resize.object_size,
					   &resize.bytes, &call->blame);
	return err ?: QUARRY_ANSWER(user, &resize);
}
