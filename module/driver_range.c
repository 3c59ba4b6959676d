// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Drivers' ranges: a core pool of ranges with one client, the driver. */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "driver.h"
#include "errors.h"
#include "trace.h"

struct quarry_range {
	struct quarry_core_pool *core;
	struct quarry_core_client *client;
	u64 granule;
};

static int report(int error, u64 offset, unsigned long caller)
{
	int err = quarry_errno(error);

	trace_refused(0, QUARRY_DRIVER_FREE, -err, offset, 0, caller);
	pr_err_ratelimited("quarry: range: refused: %s: offset %#llx, by %pS\n",
			   quarry_error_text(error), offset, (void *)caller);
	return err;
}

struct quarry_range *quarry_range_create(const struct quarry_range_config *config)
{
	struct quarry_core_pool_config core = {
		.kind = QUARRY_CORE_RANGE,
		.max_clients = 1,
		.capacity = config->capacity,
		.granule = config->granule,
		.max_ranges = config->max_live,
	};
	struct quarry_range *range;
	int err;

	might_sleep();
	memcpy(core.aligns, config->aligns, sizeof(core.aligns));
	range = kzalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return ERR_PTR(-ENOMEM);
	range->granule = config->granule;
	err = quarry_errno(quarry_core_pool_create(&core, &range->core));
	if (err)
		goto free;
	err = quarry_errno(quarry_core_client_create(range->core, 1, 0, &range->client));
	if (!err)
		return range;
	quarry_core_pool_destroy(range->core, NULL);
free:
	kfree(range);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(quarry_range_create);

int quarry_range_destroy(struct quarry_range *range)
{
	u64 live, bytes;

	if (IS_ERR_OR_NULL(range))
		return 0;
	might_sleep();
	bytes = quarry_range_used(range, &live);
	if (live) {
		pr_err("quarry: range: not ended: %llu ranges of %llu bytes are live\n", live,
		       bytes);
		return report(QUARRY_E_BUSY, 0, _RET_IP_);
	}
	quarry_core_client_reap(range->client, &live, &bytes);
	quarry_core_client_destroy(range->client);
	quarry_core_pool_destroy(range->core, NULL);
	kfree(range);
	return 0;
}
EXPORT_SYMBOL_GPL(quarry_range_destroy);

int quarry_range_alloc(struct quarry_range *range, u64 size, u64 align, u64 *offset)
{
	u64 pages = 0;
	u32 done = 0;

	return quarry_errno(quarry_core_alloc(range->client, size, align ?: range->granule, 1,
					      QUARRY_CORE_ANYWHERE, offset, &done, &pages,
					      QUARRY_ATOMIC, 0));
}
EXPORT_SYMBOL_GPL(quarry_range_alloc);

int quarry_range_free(struct quarry_range *range, u64 offset)
{
	struct quarry_core_refusal refusal;
	u32 done = 0;
	int error = quarry_core_free(range->client, &offset, 1, &done, &refusal);

	return error ? report(error, offset, _RET_IP_) : 0;
}
EXPORT_SYMBOL_GPL(quarry_range_free);

int quarry_range_resize(struct quarry_range *range, u64 offset, u64 size)
{
	struct quarry_core_refusal refusal;
	u64 bytes;
	int error = quarry_core_resize(range->client, offset, size, &bytes, &refusal);

	if (!error || error == QUARRY_E_CANNOT_GROW)
		return quarry_errno(error);
	return report(error, offset, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_range_resize);

u64 quarry_range_used(struct quarry_range *range, u64 *ranges)
{
	u64 objects, bytes;

	quarry_core_client_usage(range->client, &objects, &bytes);
	if (ranges)
		*ranges = objects;
	return bytes;
}
EXPORT_SYMBOL_GPL(quarry_range_used);

int quarry_range_verify(struct quarry_range *range)
{
	struct quarry_core_audit audit = {};

	might_sleep();
	quarry_core_pool_verify(range->core, 0, &audit);
	if (!audit.faults)
		return 0;
	pr_err("quarry: range: verify: %llu faults, the first at offset %#llx: %s\n", audit.faults,
	       audit.first_offset, audit.first);
	return -EUCLEAN;
}
EXPORT_SYMBOL_GPL(quarry_range_verify);
