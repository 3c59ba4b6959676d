// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Room for the offsets of one call: on the stack for small batches, from the
 * system for others.
 *
 * A process gives objects back when memory is short, and must not be told then
 * that there is none to do it with. So a call that gives has a reserve behind
 * it, which is part of the module: a block of it is out only while such a call
 * runs without memory. (A caller who keeps his page faults waiting keeps a block
 * as long; with all of them out the call is -ENOMEM, and nothing has changed.)
 */
#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/spinlock.h>

#include <uapi/linux/quarry.h>
#include "batch.h"
#include "include/quarry_seam.h"

static DEFINE_SPINLOCK(batches_lock);

/**
 * quarry_batch_get() - find room
 * @batch: filled
 * @count: of how many offsets, 1..QUARRY_MAX_BATCH
 * @what: whether the reserve is for this call
 *
 * Context: task, no lock held. The memory is charged to the calling task.
 * Return: 0 or -ENOMEM.
 */
int quarry_batch_get(struct quarry_batch *batch, u32 count, enum quarry_batch_for what)
{
	BUILD_BUG_ON(QUARRY_CORE_BATCH_LEN < QUARRY_MAX_BATCH);
	batch->bytes = 0;
	batch->offsets = batch->small;
	if (count <= QUARRY_SMALL_BATCH)
		return 0;
	/* As the core's metadata: charged, and refused rather than had by the OOM killer. */
	batch->offsets = quarry_os_meta_alloc(count * sizeof(u64), QUARRY_MAY_SLEEP);
	if (batch->offsets) {
		batch->bytes = count * sizeof(u64);
		return 0;
	}
	if (what == QUARRY_BATCH_GIVES) {
		spin_lock(&batches_lock);
		batch->offsets = quarry_core_batch_take();
		spin_unlock(&batches_lock);
	}
	return batch->offsets ? 0 : -ENOMEM;
}

/**
 * quarry_batch_put() - give the room back
 * @batch: as quarry_batch_get() filled it
 *
 * Context: task, no lock held.
 */
void quarry_batch_put(struct quarry_batch *batch)
{
	int err;

	if (batch->offsets == batch->small)
		return;
	if (batch->bytes) {
		quarry_os_meta_free(batch->offsets, batch->bytes);
		return;
	}
	spin_lock(&batches_lock);
	err = quarry_core_batch_give(batch->offsets);
	spin_unlock(&batches_lock);
	WARN_ON_ONCE(err);
}
