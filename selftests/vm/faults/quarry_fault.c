// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A module that does wrong on demand, so that the runner of the virtual machine's tests is seen to
 * notice. As a parameter at load time: at_exit=pages or at_exit=vmalloc leaks at unload,
 * at_exit=hold keeps the module from being unloaded. Written to the parameter `now`: warn, refcount.
 */
#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/vmalloc.h>

#define LEAK_BYTES (8UL << 20)

static char *at_exit = "";
module_param(at_exit, charp, 0444);

static int fault_now(const char *what, const struct kernel_param *kp)
{
	refcount_t dead = REFCOUNT_INIT(0);

	if (sysfs_streq(what, "warn"))
		WARN(1, "planted\n");
	else if (sysfs_streq(what, "refcount"))
		refcount_inc(&dead);
	else
		return -EINVAL;
	return 0;
}

static const struct kernel_param_ops now_ops = { .set = fault_now };
module_param_cb(now, &now_ops, NULL, 0200);

static int __init fault_init(void)
{
	if (!strcmp(at_exit, "hold"))
		__module_get(THIS_MODULE);
	return 0;
}

static void __exit fault_exit(void)
{
	unsigned long bytes;

	if (!strcmp(at_exit, "vmalloc")) {
		if (!vmalloc(PAGE_SIZE))
			pr_info("nothing leaked\n");
	} else if (!strcmp(at_exit, "pages")) {
		for (bytes = 0; bytes < LEAK_BYTES; bytes += PAGE_SIZE)
			if (!__get_free_page(GFP_KERNEL))
				pr_info("nothing leaked\n");
	}
}

module_init(fault_init);
module_exit(fault_exit);
MODULE_DESCRIPTION("Faults on demand, for the self-test of the test runner");
MODULE_LICENSE("Dual MIT/GPL");
