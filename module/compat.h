/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Every difference between the kernels that Quarry builds for (6.1, 6.12, 7.2
 * and later), each with the subject of the upstream commit that made it. No
 * other file asks for a version.
 */
#ifndef QUARRY_COMPAT_H
#define QUARRY_COMPAT_H

#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/workqueue.h>

/* 6.3: "mm: introduce vma->vm_flags wrapper functions" */
static inline void quarry_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				       unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* 6.3: "driver core: make struct device_type.devnode() take a const *" */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define QUARRY_DEVNODE_DEVICE const struct device
#else
#define QUARRY_DEVNODE_DEVICE struct device
#endif

/* 6.17: "workqueue: Add new WQ_PERCPU flag"; before, it was the default. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define WQ_PERCPU 0
#endif

/* 6.10: "mm: track mapcount of large folios in single value"; before, not for modules. */
static inline int quarry_page_mapcount(struct page *page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
	return folio_mapcount(page_folio(page));
#else
	return page_mapcount(page);
#endif
}

/* A variable that a kernel which zeroes all of them (INIT_STACK_ALL_ZERO) leaves alone. */
#if __has_attribute(__uninitialized__)
#define QUARRY_NO_INIT __attribute__((__uninitialized__))
#else
#define QUARRY_NO_INIT
#endif

/* 6.7: "mm: shrinker: add infrastructure for dynamically allocating shrinker" */
static inline struct shrinker *quarry_shrinker_alloc(const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return shrinker_alloc(SHRINKER_NUMA_AWARE, "%s", name);
#else
	struct shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);

	if (shrinker)
		shrinker->flags = SHRINKER_NUMA_AWARE;
	return shrinker;
#endif
}

/* 0, or a negative errno; then it is freed. */
static inline int quarry_shrinker_register(struct shrinker *shrinker, const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_register(shrinker);
	return 0;
#else
	int err = register_shrinker(shrinker, "%s", name);

	if (err)
		kfree(shrinker);
	return err;
#endif
}

static inline void quarry_shrinker_free(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(shrinker);
#else
	unregister_shrinker(shrinker);
	kfree(shrinker);
#endif
}

#endif /* QUARRY_COMPAT_H */
