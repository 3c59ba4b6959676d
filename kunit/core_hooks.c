// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The seam's hooks for the core's types in this module (core_types.cpp): through
 * the watch's table, and so counted and refused as those of quarry.ko are.
 */
#include "quarry_kunit.h"

#define hooks quarry_watch_hooks

void *quarry_os_meta_alloc(size_t bytes, enum quarry_context context)
{
	return hooks.meta_alloc(bytes, context);
}

void quarry_os_meta_free(void *meta, size_t bytes)
{
	hooks.meta_free(meta, bytes);
}

void quarry_os_lock_init(struct quarry_os_lock *lock, enum quarry_lock_rank rank)
{
	hooks.lock_init(lock, rank);
}

void quarry_os_lock_fini(struct quarry_os_lock *lock)
{
	hooks.lock_fini(lock);
}

unsigned long quarry_os_lock(struct quarry_os_lock *lock)
{
	return hooks.lock(lock);
}

void quarry_os_unlock(struct quarry_os_lock *lock, unsigned long flags)
{
	hooks.unlock(lock, flags);
}

void quarry_os_read_enter(void)
{
	hooks.read_enter();
}

void quarry_os_read_leave(void)
{
	hooks.read_leave();
}

unsigned int quarry_os_pin(void)
{
	return hooks.pin();
}

void quarry_os_unpin(void)
{
	hooks.unpin();
}
