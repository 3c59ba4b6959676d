/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Calls: from a number and an address to a structure in kernel memory, checked.
 *
 * The order of checks is the same for each call:
 *   1. ENOTTY, EBADFD     the number, and the kind of descriptor
 *   2. EXDEV              the caller's mm        (not INFO, JOIN, STAT)
 *   3. ESHUTDOWN          the client has ended   (not INFO, JOIN, STAT)
 *   4. the arguments      EFAULT, EINVAL (size), E2BIG; then flags and reserved
 *                         fields; then the rest, in the order of the structure
 *   5. EPERM              the creator's alone, or a capability
 *   6. EOPNOTSUPP         not for this kind of pool
 *   7. ENOTCONN, and what the pool itself says
 * User memory is touched under no lock, and read once.
 */
#ifndef QUARRY_IOCTL_H
#define QUARRY_IOCTL_H

#include <linux/build_bug.h>
#include <linux/types.h>

#include "client.h"

struct file;

/**
 * struct quarry_call - one call
 * @file: on which descriptor
 * @client: of a pool descriptor; NULL on the control descriptor
 * @number: the ioctl's
 * @stopped: negative errno that stopped a call which is otherwise answered
 * @blame: which object was refused, and whose it is
 */
struct quarry_call {
	struct file *file;
	struct quarry_client *client;
	u32 number;
	int stopped;
	struct quarry_blame blame;
};

/* ioctl.c */
long quarry_control_ioctl(struct file *file, unsigned int command, unsigned long address);
long quarry_client_ioctl(struct file *file, unsigned int command, unsigned long address);
int quarry_fetch(void *to, size_t known, void __user *from);
int quarry_answer(void __user *to, const void *from, size_t known);

#define QUARRY_WHOLE_WORDS(structure) \
	(sizeof(structure) + BUILD_BUG_ON_ZERO(sizeof(structure) % sizeof(u64)))
#define QUARRY_FETCH(to, from) quarry_fetch(to, QUARRY_WHOLE_WORDS(*(to)), from)
#define QUARRY_ANSWER(to, from) quarry_answer(to, from, QUARRY_WHOLE_WORDS(*(from)))

/* ioctl_create.c */
int quarry_ioctl_info(struct quarry_call *call, void __user *user);
int quarry_ioctl_create(struct quarry_call *call, void __user *user);
int quarry_ioctl_join(struct quarry_call *call, void __user *user);

/* ioctl_magazine.c */
int quarry_ioctl_refill(struct quarry_call *call, void __user *user);
int quarry_ioctl_flush(struct quarry_call *call, void __user *user);

/* ioctl_object.c */
int quarry_ioctl_alloc(struct quarry_call *call, void __user *user);
int quarry_ioctl_free(struct quarry_call *call, void __user *user);
int quarry_ioctl_transfer(struct quarry_call *call, void __user *user);
int quarry_ioctl_reserve(struct quarry_call *call, void __user *user);
int quarry_ioctl_share(struct quarry_call *call, void __user *user);
int quarry_ioctl_resize(struct quarry_call *call, void __user *user);

/* ioctl_pool.c */
int quarry_ioctl_region_add(struct quarry_call *call, void __user *user);
int quarry_ioctl_region_remove(struct quarry_call *call, void __user *user);
int quarry_ioctl_drain(struct quarry_call *call, void __user *user);
int quarry_ioctl_stat(struct quarry_call *call, void __user *user);
int quarry_ioctl_verify(struct quarry_call *call, void __user *user);

/* The node that a caller may prefer: -1, or one that is online. */
bool quarry_node_valid(s32 node);

#endif /* QUARRY_IOCTL_H */
