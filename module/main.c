// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The module: what is set up in which order, and taken down in the reverse. */
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "client.h"
#include "each_cpu.h"
#include "idle.h"
#include "limits.h"
#include "magazine.h"
#include "pool.h"

static int __init quarry_init(void)
{
	int err;

	quarry_limits_init();
	err = quarry_each_cpu_init();
	if (err)
		return err;
	err = quarry_magazines_init();
	if (err)
		goto each_cpu;
	err = quarry_idle_init();
	if (err)
		goto magazines;
	quarry_debugfs_init();
	err = quarry_chrdev_init();
	if (!err)
		return 0;
	quarry_debugfs_exit();
	quarry_idle_exit();
magazines:
	quarry_magazines_exit();
each_cpu:
	quarry_each_cpu_exit();
	return err;
}

static void __exit quarry_exit(void)
{
	quarry_chrdev_exit();
	quarry_debugfs_exit();
	quarry_idle_exit();
	quarry_regions_exit();
	quarry_magazines_exit();
	quarry_each_cpu_exit();
	/* What was retired goes by RCU, and clients by calls of this module's. */
	rcu_barrier();
}

module_init(quarry_init);
module_exit(quarry_exit);

MODULE_DESCRIPTION("Bounded, pinned memory for processes and drivers");
MODULE_LICENSE("Dual MIT/GPL");
