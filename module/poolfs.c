// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A file system that nobody can mount, for one inode a pool: all files of a
 * pool share its mapping, so that a region can be taken out of every address
 * space at once.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "pool.h"

#define QUARRY_FS_MAGIC 0x51554152 /* "QUAR" */

/* Mounted while there is a pool: simple_pin_fs() counts them. */
static struct vfsmount *poolfs_mount;
static int poolfs_pools;

static int poolfs_init_context(struct fs_context *context)
{
	return init_pseudo(context, QUARRY_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type poolfs_type = {
	.name = "quarry",
	/*
	 * A file lets go of its operations' module before it lets go of its mount,
	 * whose end calls kill_sb: so the mount holds the module, too.
	 */
	.owner = THIS_MODULE,
	.init_fs_context = poolfs_init_context,
	.kill_sb = kill_anon_super,
};

/**
 * quarry_poolfs_inode() - the inode of a new pool
 *
 * Context: task.
 * Return: the inode, or an error pointer.
 */
struct inode *quarry_poolfs_inode(void)
{
	struct inode *inode;
	int err = simple_pin_fs(&poolfs_type, &poolfs_mount, &poolfs_pools);

	if (err)
		return ERR_PTR(err);
	inode = alloc_anon_inode(poolfs_mount->mnt_sb);
	if (IS_ERR(inode)) {
		simple_release_fs(&poolfs_mount, &poolfs_pools);
		return inode;
	}
	/* Writing through a mapping changes no file: there are no times to keep. */
	inode->i_flags |= S_NOATIME | S_NOCMTIME;
	return inode;
}

/**
 * quarry_poolfs_put() - a pool ends, and with the last one the mount
 * @inode: the pool's; files that are being closed may still hold it
 *
 * Context: task, no lock held.
 */
void quarry_poolfs_put(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&poolfs_mount, &poolfs_pools);
}

/**
 * quarry_poolfs_file() - a file on a pool's inode
 * @pool: the pool
 * @fops: its operations; their module is held for the file
 *
 * Context: task, in a call that holds the module already.
 * Return: the file, or an error pointer.
 */
struct file *quarry_poolfs_file(struct quarry_pool *pool, const struct file_operations *fops)
{
	struct file *file;

	/* Unlike open, this way of making a file takes no reference of the module. */
	__module_get(fops->owner);
	ihold(pool->inode);
	file = alloc_file_pseudo(pool->inode, poolfs_mount, "quarry", O_RDWR, fops);
	if (IS_ERR(file)) {
		iput(pool->inode);
		module_put(fops->owner);
	}
	return file;
}
