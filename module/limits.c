// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Limits: module parameters, accounts by user, RLIMIT_MEMLOCK. See limits.h. */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/user_namespace.h>

#include <uapi/linux/quarry.h>
#include "limits.h"
#include "pool.h"

static unsigned long long max_pool_bytes;
module_param(max_pool_bytes, ullong, 0644);
MODULE_PARM_DESC(max_pool_bytes, "most bytes of one pool (0: half of memory, at most 32 GiB)");

static unsigned long long max_user_bytes;
module_param(max_user_bytes, ullong, 0644);
MODULE_PARM_DESC(max_user_bytes, "most pool bytes of one user (0: half of memory)");

static unsigned long long max_user_lowmem_bytes;
module_param(max_user_lowmem_bytes, ullong, 0644);
MODULE_PARM_DESC(max_user_lowmem_bytes,
		 "most lowmem bytes of one user without CAP_SYS_RAWIO (0: none)");

static unsigned int max_user_pools = 64;
module_param(max_user_pools, uint, 0644);
MODULE_PARM_DESC(max_user_pools, "most pools of one user");

static unsigned int max_user_clients = 4096;
module_param(max_user_clients, uint, 0644);
MODULE_PARM_DESC(max_user_clients, "most clients of one user, over all pools");

static unsigned int max_clients = 1024;
module_param(max_clients, uint, 0644);
MODULE_PARM_DESC(max_clients, "most clients of one pool, 1..65532");

/* The core numbers the clients of a pool with 16 bits; 0 and the last three are taken. */
#define QUARRY_MOST_CLIENTS 65532U

/* Leaf lock of the table of users: nothing is taken or allocated under it. */
static DEFINE_SPINLOCK(accounts_lock);
static DEFINE_HASHTABLE(accounts, 6);

/**
 * quarry_limits_init() - show the defaults that depend on memory as parameters
 *
 * Context: task.
 */
void quarry_limits_init(void)
{
	struct quarry_limits limits;

	quarry_limits_get(&limits);
	max_pool_bytes = limits.max_pool_bytes;
	max_user_bytes = limits.max_user_bytes;
}

/**
 * quarry_limits_get() - the module's parameters as they are now
 * @limits: filled, with the defaults that depend on memory worked out
 *
 * Context: any.
 */
void quarry_limits_get(struct quarry_limits *limits)
{
	u64 memory = (u64)totalram_pages() << PAGE_SHIFT;
	u64 pool = READ_ONCE(max_pool_bytes);
	u64 user = READ_ONCE(max_user_bytes);

	limits->max_pool_bytes = min3(pool ?: memory / 2, memory, (u64)QUARRY_MAX_POOL);
	limits->max_user_bytes = user ?: memory / 2;
	limits->max_user_lowmem_bytes = READ_ONCE(max_user_lowmem_bytes);
	limits->max_user_pools = READ_ONCE(max_user_pools);
	limits->max_user_clients = READ_ONCE(max_user_clients);
	limits->max_clients = clamp(READ_ONCE(max_clients), 1U, QUARRY_MOST_CLIENTS);
}

/* Who answers for the caller: see limits.h. */
static kuid_t responsible_user(void)
{
	struct user_namespace *ns = current_user_ns();
	kuid_t kuid = current_uid();

	while (ns->parent) {
		kuid = ns->owner;
		ns = ns->parent;
	}
	return kuid;
}

static struct quarry_account *find_account(kuid_t kuid)
{
	struct quarry_account *account;

	hash_for_each_possible(accounts, account, node, __kuid_val(kuid))
		if (uid_eq(account->kuid, kuid))
			return account;
	return NULL;
}

/**
 * quarry_account_get() - the account of the user who answers for the caller
 *
 * Context: task.
 * Return: a reference, or NULL without memory.
 */
struct quarry_account *quarry_account_get(void)
{
	kuid_t kuid = responsible_user();
	struct quarry_account *account, *fresh;

	fresh = kzalloc(sizeof(*fresh), QUARRY_GFP);
	if (!fresh)
		return NULL;
	fresh->kuid = kuid;
	INIT_LIST_HEAD(&fresh->pools);
	spin_lock(&accounts_lock);
	account = find_account(kuid);
	if (!account) {
		account = fresh;
		fresh = NULL;
		hash_add(accounts, &account->node, __kuid_val(kuid));
	}
	account->refs++;
	spin_unlock(&accounts_lock);
	kfree(fresh);
	return account;
}

/**
 * quarry_account_put() - give a reference of an account back
 * @account: from quarry_account_get(); with nothing charged once nobody holds it
 *
 * Context: any but hardirq.
 */
void quarry_account_put(struct quarry_account *account)
{
	spin_lock(&accounts_lock);
	if (--account->refs)
		account = NULL;
	else
		hash_del(&account->node);
	spin_unlock(&accounts_lock);
	kfree(account);
}

static u64 limit_of(enum quarry_charge what)
{
	struct quarry_limits limits;

	quarry_limits_get(&limits);
	switch (what) {
	case QUARRY_CHARGE_POOLS:
		return limits.max_user_pools;
	case QUARRY_CHARGE_CLIENTS:
		return limits.max_user_clients;
	case QUARRY_CHARGE_BYTES:
		return limits.max_user_bytes;
	default:
		return limits.max_user_lowmem_bytes;
	}
}

/**
 * quarry_charge() - count something against a user's limit
 * @account: the user's
 * @what: which limit
 * @amount: how many, or how many bytes
 *
 * Context: any but hardirq.
 * Return: 0, or -EDQUOT: then nothing was counted.
 */
int quarry_charge(struct quarry_account *account, enum quarry_charge what, u64 amount)
{
	u64 limit = limit_of(what);
	int err = -EDQUOT;

	spin_lock(&accounts_lock);
	if (amount <= limit && account->used[what] <= limit - amount) {
		account->used[what] += amount;
		err = 0;
	}
	spin_unlock(&accounts_lock);
	return err;
}

/**
 * quarry_uncharge() - take back what quarry_charge() counted
 * @account: the user's
 * @what: which limit
 * @amount: as it was charged
 *
 * Context: any but hardirq.
 */
void quarry_uncharge(struct quarry_account *account, enum quarry_charge what, u64 amount)
{
	spin_lock(&accounts_lock);
	account->used[what] -= amount;
	spin_unlock(&accounts_lock);
}

/**
 * quarry_charged() - what is counted for a user now
 * @account: the user's
 * @what: which limit
 *
 * Context: any but hardirq.
 * Return: the amount.
 */
u64 quarry_charged(struct quarry_account *account, enum quarry_charge what)
{
	u64 used;

	spin_lock(&accounts_lock);
	used = account->used[what];
	spin_unlock(&accounts_lock);
	return used;
}

/**
 * quarry_memlock_charge() - count pinned pages against RLIMIT_MEMLOCK
 * @mm: who makes the pool grow: the caller's own, or NULL for the kernel itself
 * @pages: how many
 *
 * CAP_IPC_LOCK lifts the limit, as everywhere.
 *
 * Context: task; takes @mm's mmap_lock, so none of Quarry's locks may be held.
 * Return: 0 or -ENOBUFS.
 */
int quarry_memlock_charge(struct mm_struct *mm, unsigned long pages)
{
	if (!mm || !pages)
		return 0;
	return account_locked_vm(mm, pages, true) ? -ENOBUFS : 0;
}

/**
 * quarry_memlock_uncharge() - take back what quarry_memlock_charge() counted
 * @mm: as it was charged; it may be dead, but must be grabbed
 * @pages: how many
 *
 * Context: task; takes @mm's mmap_lock.
 */
void quarry_memlock_uncharge(struct mm_struct *mm, unsigned long pages)
{
	if (mm && pages)
		account_locked_vm(mm, pages, false);
}
