// SPDX-License-Identifier: GPL-2.0 OR MIT
/* REFILL and FLUSH: half a magazine a call, and one object straight to or from its caller. */
#include "client.h"
#include "ioctl.h"
#include "magazine.h"
#include "pool.h"

/**
 * quarry_ioctl_refill() - QUARRY_IOC_REFILL
 * @call: the call
 * @user: struct quarry_refill of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_refill(struct quarry_call *call, void __user *user)
{
	struct quarry_refill refill;
	int err;

	err = QUARRY_FETCH(&refill, user);
	if (err)
		return err;
	if (refill.flags)
		return -EINVAL;
	if (!quarry_class_bytes(call->client->pool, refill.class_index))
		return -EINVAL;
	err = quarry_client_refill(call->client, refill.class_index, &refill.offset,
				   &refill.filled);
	if (err)
		return err;
	err = QUARRY_ANSWER(user, &refill);
	/* What is in the magazine can be had from there. */
	if (err)
		quarry_client_undo(call->client, &refill.offset, 1);
	return err;
}

/**
 * quarry_ioctl_flush() - QUARRY_IOC_FLUSH
 * @call: the call
 * @user: struct quarry_flush of the caller
 *
 * Return: 0 or a negative errno.
 */
int quarry_ioctl_flush(struct quarry_call *call, void __user *user)
{
	struct quarry_core_flushed flushed = {};
	const u64 *object = NULL;
	struct quarry_flush flush;
	int err;

	err = QUARRY_FETCH(&flush, user);
	if (err)
		return err;
	if (flush.flags & ~QUARRY_FLUSH_OBJECT)
		return -EINVAL;
	if (!quarry_class_bytes(call->client->pool, flush.class_index))
		return -EINVAL;
	/* As for FREE: what cannot be answered is not done. */
	err = QUARRY_ANSWER(user, &flush);
	if (err)
		return err;
	if (flush.flags & QUARRY_FLUSH_OBJECT)
		object = &flush.offset;
	err = quarry_client_flush(call->client, flush.class_index, object, &flushed, &call->blame);
	flush.drained = flushed.drained;
	flush.bad = flushed.bad;
	flush.bad_error = -flushed.bad_error;
	flush.bad_offset = flushed.bad_offset;
	/* The object's refusal leaves the magazine flushed, and says so. */
	return QUARRY_ANSWER(user, &flush) ?: err;
}
