// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * /dev/quarry: the control device, root's and one group's, mode 0660.
 *
 * A character device of its own: a misc device's node cannot be given a group,
 * a device type's can, on devtmpfs and through udev alike.
 */
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "client.h"
#include "compat.h"
#include "ioctl.h"

static unsigned int gid;
module_param(gid, uint, 0444);
MODULE_PARM_DESC(gid, "group that /dev/quarry belongs to (0: root's)");

static char *node_of(QUARRY_DEVNODE_DEVICE *device, umode_t *mode, kuid_t *uid, kgid_t *group)
{
	kgid_t wanted = make_kgid(&init_user_ns, gid);

	if (mode)
		*mode = 0660;
	if (group && gid_valid(wanted))
		*group = wanted;
	return NULL;
}

static const struct device_type control_type = {
	.name = "quarry",
	.devnode = node_of,
};

static struct class control_class = {
	.name = "quarry",
};

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = quarry_control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct cdev control_cdev;
static struct device *control_device;
static dev_t control_number;

static void free_device(struct device *device)
{
	kfree(device);
}

static int add_device(void)
{
	int err;

	control_device = kzalloc(sizeof(*control_device), GFP_KERNEL);
	if (!control_device)
		return -ENOMEM;
	device_initialize(control_device);
	control_device->class = &control_class;
	control_device->type = &control_type;
	control_device->devt = control_number;
	control_device->release = free_device;
	err = dev_set_name(control_device, "quarry");
	if (!err) {
		cdev_init(&control_cdev, &control_fops);
		control_cdev.owner = THIS_MODULE;
		err = cdev_device_add(&control_cdev, control_device);
	}
	if (err)
		put_device(control_device);
	return err;
}

/**
 * quarry_chrdev_init() - make /dev/quarry
 *
 * Context: task. Last of all: from here on there may be callers.
 * Return: 0 or a negative errno.
 */
int quarry_chrdev_init(void)
{
	int err = alloc_chrdev_region(&control_number, 0, 1, "quarry");

	if (err)
		return err;
	err = class_register(&control_class);
	if (err)
		goto unregister;
	err = add_device();
	if (!err)
		return 0;
	class_unregister(&control_class);
unregister:
	unregister_chrdev_region(control_number, 1);
	return err;
}

/**
 * quarry_chrdev_exit() - remove it
 *
 * Context: task; no file is open.
 */
void quarry_chrdev_exit(void)
{
	cdev_device_del(&control_cdev, control_device);
	put_device(control_device);
	class_unregister(&control_class);
	unregister_chrdev_region(control_number, 1);
}
