// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Drivers' wrong use: reported with the caller, never fatal. */
#include <linux/errno.h>
#include <linux/printk.h>

#include "driver.h"
#include "errors.h"
#include "trace.h"

static const char *call_name(enum quarry_driver_call call)
{
	static const char *const names[] = {
		[QUARRY_DRIVER_ALLOC] = "alloc",
		[QUARRY_DRIVER_FREE] = "free",
		[QUARRY_DRIVER_RESIZE] = "resize",
		[QUARRY_DRIVER_DESTROY] = "destroy",
	};

	return names[call];
}

/**
 * quarry_driver_refused() - report a call that is wrong use
 * @heap: whose
 * @call: which
 * @error: an enum quarry_error
 * @offset: of what
 * @caller: an address of the caller's code
 *
 * Context: any, NMI too.
 * Return: the errno, negative.
 */
int quarry_driver_refused(struct quarry_heap *heap, enum quarry_driver_call call, int error,
			  u64 offset, unsigned long caller)
{
	int err = quarry_errno(error);

	atomic64_inc(&heap->refused);
	trace_refused(heap->id, call, -err, offset, 0, caller);
	pr_err_ratelimited("quarry: %s: %s refused: %s: offset %#llx, by %pS\n", heap->name,
			   call_name(call), quarry_error_text(error), offset, (void *)caller);
	return err;
}

/**
 * quarry_driver_list() - name what is live
 * @heap: whose
 * @first: offset to begin at
 * @bytes: how far
 * @left: how many may still be named; counted down
 *
 * Context: task. Cost: O(bytes).
 */
void quarry_driver_list(struct quarry_heap *heap, u64 first, u64 bytes, unsigned int *left)
{
	u64 at = first, usable;

	while (at < first + bytes && *left) {
		usable = quarry_core_heap_usable(heap->core, at);
		if (usable) {
			pr_err("quarry: %s: live: offset %#llx, %llu bytes\n", heap->name,
			       at, usable);
			--*left;
		}
		at += usable ?: 8;
		if (at % PAGE_SIZE == 0)
			cond_resched();
	}
}
