// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Drivers' ranges: the core's allocator under a lock. */
#include <linux/export.h>
#include <linux/preempt.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "driver.h"
#include "errors.h"
#include "trace.h"

/**
 * struct quarry_range - a driver's range allocator
 * @core: the core's
 * @task: it is called by tasks alone
 * @lock: of @core, with interrupts off; else
 * @task_lock: which leaves them on
 */
struct quarry_range {
	struct quarry_core_range *core;
	bool task;
	struct quarry_os_lock lock;
	spinlock_t task_lock;	/* of @core, for tasks */
};

static __always_inline unsigned long enter(struct quarry_range *range)
{
	if (!range->task)
		return quarry_os_lock(&range->lock);
	spin_lock(&range->task_lock);
	return 0;
}

static __always_inline void leave(struct quarry_range *range, unsigned long flags)
{
	if (range->task)
		spin_unlock(&range->task_lock);
	else
		quarry_os_unlock(&range->lock, flags);
}

static int report(int error, u64 offset, unsigned long caller)
{
	int err = quarry_errno(error);

	trace_refused(0, QUARRY_DRIVER_FREE, -err, offset, 0, caller);
	pr_err_ratelimited("quarry: range: refused: %s: offset %#llx, by %pS\n",
			   quarry_error_text(error), offset, (void *)caller);
	return err;
}

/* Tasks alone were promised: -EPERM, and nothing has happened. */
static int misplaced(u64 offset, unsigned long caller)
{
	trace_refused(0, QUARRY_DRIVER_FREE, EPERM, offset, 0, caller);
	pr_err_ratelimited("quarry: range: refused: it is for tasks alone, and this is an interrupt: by %pS\n",
			   (void *)caller);
	return -EPERM;
}

static __always_inline bool is_misplaced(const struct quarry_range *range)
{
	return range->task && unlikely(!in_task());
}

struct quarry_range *quarry_range_create(const struct quarry_range_config *config)
{
	struct quarry_core_pool_config core = {
		.kind = QUARRY_CORE_RANGE,
		.capacity = config->capacity,
		.granule = config->granule,
		.max_ranges = config->max_live,
	};
	struct quarry_range *range;
	int err;

	might_sleep();
	if (config->flags & ~QUARRY_RANGE_TASK)
		return ERR_PTR(-EINVAL);
	memcpy(core.aligns, config->aligns, sizeof(core.aligns));
	range = kzalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return ERR_PTR(-ENOMEM);
	err = quarry_errno(quarry_core_range_create(&core, &range->core));
	if (err) {
		kfree(range);
		return ERR_PTR(err);
	}
	range->task = config->flags & QUARRY_RANGE_TASK;
	quarry_os_lock_init(&range->lock, QUARRY_LOCK_PAGES);
	spin_lock_init(&range->task_lock);
	return range;
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
	quarry_core_range_destroy(range->core);
	quarry_os_lock_fini(&range->lock);
	kfree(range);
	return 0;
}
EXPORT_SYMBOL_GPL(quarry_range_destroy);

int quarry_range_alloc(struct quarry_range *range, u64 size, u64 align, u64 *offset)
{
	unsigned long flags;
	int error;

	if (is_misplaced(range))
		return misplaced(0, _RET_IP_);
	flags = enter(range);
	error = quarry_core_range_alloc(range->core, size, align ?: 1, offset);
	leave(range, flags);
	return quarry_errno(error);
}
EXPORT_SYMBOL_GPL(quarry_range_alloc);

int quarry_range_free(struct quarry_range *range, u64 offset)
{
	unsigned long flags;
	int error;

	if (is_misplaced(range))
		return misplaced(offset, _RET_IP_);
	flags = enter(range);
	error = quarry_core_range_free(range->core, offset);
	leave(range, flags);
	return likely(!error) ? 0 : report(error, offset, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_range_free);

int quarry_range_resize(struct quarry_range *range, u64 offset, u64 size)
{
	unsigned long flags;
	int error;

	if (is_misplaced(range))
		return misplaced(offset, _RET_IP_);
	flags = enter(range);
	error = quarry_core_range_resize(range->core, offset, size);
	leave(range, flags);
	if (!error || error == QUARRY_E_CANNOT_GROW)
		return quarry_errno(error);
	return report(error, offset, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quarry_range_resize);

u64 quarry_range_used(struct quarry_range *range, u64 *ranges)
{
	unsigned long flags;
	u64 bytes, live;

	flags = enter(range);
	bytes = quarry_core_range_used(range->core, &live);
	leave(range, flags);
	if (ranges)
		*ranges = live;
	return bytes;
}
EXPORT_SYMBOL_GPL(quarry_range_used);

int quarry_range_verify(struct quarry_range *range)
{
	struct quarry_core_range_audit *steps;
	struct quarry_core_audit audit = {};
	unsigned long flags;
	bool more = true;

	might_sleep();
	steps = quarry_core_range_audit_begin(range->core);
	if (!steps)
		return -ENOMEM;
	for (; more; cond_resched()) {
		flags = enter(range);
		more = quarry_core_range_audit_step(steps);
		leave(range, flags);
	}
	quarry_core_range_audit_end(steps, &audit);
	if (!audit.faults)
		return 0;
	pr_err("quarry: range: verify: %llu faults, the first at offset %#llx: %s\n", audit.faults,
	       audit.first_offset, audit.first);
	return -EUCLEAN;
}
EXPORT_SYMBOL_GPL(quarry_range_verify);
