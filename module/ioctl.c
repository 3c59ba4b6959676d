// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Calls: the descriptors, the table of calls, and the first checks. See ioctl.h. */
#include <linux/bits.h>
#include <linux/fs.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "client.h"
#include "include/quarry_abi_layout.h"
#include "ioctl.h"
#include "pool.h"
#include "trace.h"

#define ON_CONTROL	BIT(0)	/* answers on the control descriptor */
#define ON_CLIENT	BIT(1)	/* answers on a pool descriptor */
#define FROM_ANY	BIT(2)	/* from any mm, and after the reap */

static const struct {
	int (*handle)(struct quarry_call *call, void __user *user);
	unsigned int where;
} quarry_calls[] = {
	[_IOC_NR(QUARRY_IOC_INFO)] = { quarry_ioctl_info, ON_CONTROL | ON_CLIENT | FROM_ANY },
	[_IOC_NR(QUARRY_IOC_POOL_CREATE)] = { quarry_ioctl_create, ON_CONTROL },
	[_IOC_NR(QUARRY_IOC_JOIN)] = { quarry_ioctl_join, ON_CLIENT | FROM_ANY },
	[_IOC_NR(QUARRY_IOC_ALLOC)] = { quarry_ioctl_alloc, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_FREE)] = { quarry_ioctl_free, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_TRANSFER)] = { quarry_ioctl_transfer, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_REGION_ADD)] = { quarry_ioctl_region_add, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_REGION_REMOVE)] = { quarry_ioctl_region_remove, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_DRAIN)] = { quarry_ioctl_drain, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_STAT)] = { quarry_ioctl_stat, ON_CLIENT | FROM_ANY },
	[_IOC_NR(QUARRY_IOC_VERIFY)] = { quarry_ioctl_verify, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_RESIZE)] = { quarry_ioctl_resize, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_REFILL)] = { quarry_ioctl_refill, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_FLUSH)] = { quarry_ioctl_flush, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_SHARE)] = { quarry_ioctl_share, ON_CLIENT },
	[_IOC_NR(QUARRY_IOC_RESERVE)] = { quarry_ioctl_reserve, ON_CLIENT },
};

/* Whole words, of which all structures consist: they are few, and this is no call more. */
static int fetch_words(u64 *to, const u64 __user *from, size_t bytes)
{
	size_t i;

	if (!user_read_access_begin(from, bytes))
		return -EFAULT;
	for (i = 0; i < bytes / sizeof(*to); i++)
		unsafe_get_user(to[i], &from[i], fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

static int answer_words(u64 __user *to, const u64 *from, size_t bytes)
{
	size_t i;

	if (!user_write_access_begin(to, bytes))
		return -EFAULT;
	for (i = 0; i < bytes / sizeof(*from); i++)
		unsafe_put_user(from[i], &to[i], fault);
	user_write_access_end();
	return 0;
fault:
	user_write_access_end();
	return -EFAULT;
}

/**
 * quarry_fetch() - read a call's structure, once
 * @to: where to
 * @known: its size as the kernel knows it, and the least that is accepted
 * @from: the caller's
 *
 * Context: task, no lock held.
 * Return: 0, -EFAULT, -EINVAL (too small), -E2BIG (a tail that is not zero).
 */
int quarry_fetch(void *to, size_t known, void __user *from)
{
	u32 size;
	int err;

	if (get_user(size, (u32 __user *)from))
		return -EFAULT;
	if (size < known)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (likely(size == known))
		err = fetch_words(to, from, known);
	else
		err = copy_struct_from_user(to, known, from, size);
	/* The caller may have changed it since. */
	*(u32 *)to = size;
	return err;
}

/**
 * quarry_answer() - write a call's structure back
 * @to: the caller's
 * @from: the answer
 * @known: its size as the kernel knows it
 *
 * Context: task, no lock held.
 * Return: 0 or -EFAULT.
 */
int quarry_answer(void __user *to, const void *from, size_t known)
{
	return answer_words(to, from, known);
}

/**
 * quarry_node_valid() - may memory be asked of this NUMA node?
 * @node: of the caller's choice
 *
 * Return: true for -1, and for nodes that are online.
 */
bool quarry_node_valid(s32 node)
{
	return node == -1 || (node >= 0 && node < MAX_NUMNODES && node_online(node));
}

static int check_caller(const struct quarry_client *client, unsigned int where)
{
	if (!client || where & FROM_ANY)
		return 0;
	if (current->mm != client->mm)
		return -EXDEV;
	return READ_ONCE(client->dead) ? -ESHUTDOWN : 0;
}

static int dispatch(struct quarry_call *call, unsigned int command, void __user *user)
{
	unsigned int number = _IOC_NR(command);
	unsigned int here = call->client ? ON_CLIENT : ON_CONTROL;
	int err;

	if (command != _IO(QUARRY_IOC_TYPE, number) || number >= ARRAY_SIZE(quarry_calls))
		return -ENOTTY;
	number = array_index_nospec(number, ARRAY_SIZE(quarry_calls));
	if (!(quarry_calls[number].where & here))
		return -EBADFD;
	err = check_caller(call->client, quarry_calls[number].where);
	return err ?: quarry_calls[number].handle(call, user);
}

static long answer(struct file *file, struct quarry_client *client, unsigned int command,
		   unsigned long address)
{
	struct quarry_call call = {
		.file = file,
		.client = client,
		.number = _IOC_NR(command),
	};
	int err = dispatch(&call, command, (void __user *)address);

	if (!call.stopped)
		call.stopped = err;
	if (!call.stopped)
		return 0;
	if (client)
		quarry_client_refused(client, call.number, call.stopped, &call.blame);
	else
		trace_refused(0, call.number, -call.stopped, 0, 0, 0);
	return err;
}

/**
 * quarry_control_ioctl() - a call on the control descriptor
 * @file: of /dev/quarry
 * @command: the call
 * @address: of its structure
 *
 * Context: task.
 * Return: 0 or a negative errno.
 */
long quarry_control_ioctl(struct file *file, unsigned int command, unsigned long address)
{
	return answer(file, NULL, command, address);
}

/**
 * quarry_client_ioctl() - a call on a pool descriptor
 * @file: a client's
 * @command: the call
 * @address: of its structure
 *
 * Context: task.
 * Return: 0 or a negative errno.
 */
long quarry_client_ioctl(struct file *file, unsigned int command, unsigned long address)
{
	return answer(file, file->private_data, command, address);
}

static int client_flush(struct file *file, fl_owner_t id)
{
	struct quarry_client *client = file->private_data;

	if (quarry_client_exits(client))
		quarry_client_reap(client);
	return 0;
}

static int client_release(struct inode *inode, struct file *file)
{
	struct quarry_client *client = file->private_data;

	/* None: it could not be made, and the file was never anybody's. */
	if (client) {
		quarry_client_reap(client);
		quarry_client_put(client);
	}
	return 0;
}

static void client_fdinfo(struct seq_file *seq, struct file *file)
{
	struct quarry_client *client = file->private_data;

	seq_printf(seq, "quarry-pool:\t%llu\nquarry-client:\t%llu\nquarry-dead:\t%d\n",
		   client->pool->id, client->id, READ_ONCE(client->dead));
}

const struct file_operations quarry_client_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = quarry_client_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = quarry_mmap,
	.poll = quarry_poll,
	.flush = client_flush,
	.release = client_release,
	.show_fdinfo = client_fdinfo,
};
