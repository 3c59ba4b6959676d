/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Limits: the module's parameters, what each user holds, and RLIMIT_MEMLOCK.
 *
 * A user is a kuid of the initial user namespace: whoever made the outermost
 * user namespace that the caller lives in answers for all that is done inside.
 * So a new namespace, or a uid of a subordinate range, buys no second quota.
 * Pools and their bytes count against the pool's creator, clients against who
 * joined. There is no exception for root: the parameters can be raised.
 */
#ifndef QUARRY_LIMITS_H
#define QUARRY_LIMITS_H

#include <linux/list.h>
#include <linux/types.h>
#include <linux/uidgid.h>

struct mm_struct;

/* The module's parameters as they are now. */
struct quarry_limits {
	u64 max_pool_bytes;
	u64 max_user_bytes;
	u64 max_user_lowmem_bytes;
	u32 max_user_pools;
	u32 max_user_clients;
	u32 max_clients;
};

/* What is counted for a user. */
enum quarry_charge {
	QUARRY_CHARGE_POOLS,
	QUARRY_CHARGE_CLIENTS,
	QUARRY_CHARGE_BYTES,
	QUARRY_CHARGE_LOWMEM,
	QUARRY_CHARGES
};

/**
 * struct quarry_account - what one user holds
 * @node: in the table of users
 * @kuid: the user
 * @refs: holders; under the table's lock
 * @used: what is charged; under the table's lock
 * @pools: this user's living pools; under the lock of pool names
 */
struct quarry_account {
	struct hlist_node node;
	kuid_t kuid;
	unsigned int refs;
	u64 used[QUARRY_CHARGES];
	struct list_head pools;
};

void quarry_limits_init(void);
void quarry_limits_get(struct quarry_limits *limits);

struct quarry_account *quarry_account_get(void);
void quarry_account_put(struct quarry_account *account);
int quarry_charge(struct quarry_account *account, enum quarry_charge what, u64 amount);
void quarry_uncharge(struct quarry_account *account, enum quarry_charge what, u64 amount);
u64 quarry_charged(struct quarry_account *account, enum quarry_charge what);

int quarry_memlock_charge(struct mm_struct *mm, unsigned long pages);
void quarry_memlock_uncharge(struct mm_struct *mm, unsigned long pages);

#endif /* QUARRY_LIMITS_H */
