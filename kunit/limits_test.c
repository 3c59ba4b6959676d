// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What the shim keeps for each user and pool: memlock, pools, clients, bytes
 * and names, each limit met exactly; POOL_ZERO; and the words of each error.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include "../module/errors.h"
#include "../module/limits.h"
#include "quarry_kunit.h"

/* The calling thread as this user, without capabilities. */
static const struct cred *become(struct kunit *test, uid_t uid, struct cred **mine)
{
	*mine = prepare_creds();
	KUNIT_ASSERT_NOT_NULL(test, *mine);
	(*mine)->uid = (*mine)->euid = KUIDT_INIT(uid);
	cap_clear((*mine)->cap_effective);
	return override_creds(*mine);
}

static void be_again(const struct cred *before, struct cred *mine)
{
	revert_creds(before);
	put_cred(mine);
}

static void pinned_pages_count_against_memlock_exactly(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 0, 64 * PAGE_SIZE);
	struct rlimit *limit = &current->signal->rlim[RLIMIT_MEMLOCK], was = *limit;
	u64 at = quarry_kunit_borrow(test), offset, added, removed, pages;
	unsigned long locked = current->mm->locked_vm;
	const struct cred *before;
	struct cred *mine;
	u32 count;

	before = become(test, 4711, &mine);
	limit->rlim_cur = limit->rlim_max = (locked + 8) * PAGE_SIZE;
	for (pages = 1; pages <= 16; pages++) {
		int err = quarry_regions_add(pool, QUARRY_CORE_NORMAL, -1, pages, true, &offset, &added,
					     &count);

		KUNIT_EXPECT_EQ_MSG(test, err, pages <= 8 ? 0 : -ENOBUFS, "%llu pages", pages);
		KUNIT_EXPECT_EQ(test, current->mm->locked_vm, locked + (err ? 0 : pages));
		while (!err && pool->pages) {
			struct quarry_extent *first = list_first_entry(&pool->regions,
								       struct quarry_extent, link);

			err = quarry_region_remove(pool, first->offset, &removed);
		}
		KUNIT_EXPECT_EQ(test, current->mm->locked_vm, locked);
	}
	*limit = was;
	be_again(before, mine);
	quarry_kunit_give_back(test, at);
}

static void each_users_pools_clients_and_bytes_are_limited(struct kunit *test)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_HEAP, .node = -1, .bytes = 4 * PAGE_SIZE, .max_bytes = 8 * PAGE_SIZE,
		.name = "",
	};
	struct quarry_pool *pool = NULL, *mine_too = NULL;
	struct quarry_client *client = NULL;
	struct quarry_account *account;
	struct quarry_limits limits;
	const struct cred *before;
	struct cred *mine;
	u64 filled[QUARRY_CHARGES], limit[QUARRY_CHARGES], room[] = { 1, 1, 4 * PAGE_SIZE };
	int what;

	quarry_limits_get(&limits);
	limit[QUARRY_CHARGE_POOLS] = limits.max_user_pools;
	limit[QUARRY_CHARGE_CLIENTS] = limits.max_user_clients;
	limit[QUARRY_CHARGE_BYTES] = limits.max_user_bytes;
	before = become(test, 4712, &mine);
	account = quarry_account_get();
	for (what = QUARRY_CHARGE_POOLS; what <= QUARRY_CHARGE_BYTES; what++) {
		/* One less than is needed, and then just enough. */
		filled[what] = limit[what] - room[what] + 1;
		KUNIT_EXPECT_EQ(test, quarry_charged(account, what), (u64)0);
		KUNIT_EXPECT_EQ(test, quarry_charge(account, what, filled[what]), 0);
		KUNIT_EXPECT_EQ(test, quarry_charge(account, what, room[what]), -EDQUOT);
		if (what != QUARRY_CHARGE_CLIENTS) {
			KUNIT_EXPECT_EQ(test, quarry_pool_create(&config, &pool), -EDQUOT);
			quarry_uncharge(account, what, 1);
			KUNIT_EXPECT_EQ(test, quarry_pool_create(&config, &pool), 0);
			quarry_uncharge(account, what, filled[what] - 1);
		} else {
			KUNIT_EXPECT_EQ(test, quarry_pool_create(&config, &pool), 0);
			KUNIT_EXPECT_EQ(test, quarry_client_create(pool, false, &client), -EDQUOT);
			quarry_uncharge(account, what, 1);
			KUNIT_EXPECT_EQ(test, quarry_client_create(pool, false, &client), 0);
			quarry_client_reap(client);
			quarry_client_put(client);
			quarry_uncharge(account, what, filled[what] - 1);
		}
		/* Another user's is another account. */
		be_again(before, mine);
		KUNIT_EXPECT_EQ(test, quarry_pool_create(&config, &mine_too), 0);
		quarry_pool_put(mine_too);
		before = become(test, 4712, &mine);
		quarry_pool_put(pool);
		KUNIT_EXPECT_EQ(test, quarry_charged(account, what), (u64)0);
	}
	quarry_account_put(account);
	be_again(before, mine);
}

static void a_name_is_one_users_and_free_again_with_its_pool(struct kunit *test)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_HEAP, .node = -1, .max_bytes = PAGE_SIZE, .name = "taken",
	};
	struct quarry_pool *first = NULL, *second = NULL;
	char name[QUARRY_NAME_LEN], number[QUARRY_NAME_LEN];
	const struct cred *before;
	struct cred *mine;

	KUNIT_ASSERT_EQ(test, quarry_pool_create(&config, &first), 0);
	quarry_pool_name(first, name);
	KUNIT_EXPECT_STREQ(test, name, "taken");
	KUNIT_EXPECT_EQ(test, quarry_pool_create(&config, &second), -EEXIST);
	before = become(test, 4713, &mine);
	KUNIT_EXPECT_EQ(test, quarry_pool_create(&config, &second), 0);
	be_again(before, mine);
	quarry_pool_put(second);
	quarry_pool_put(first);
	KUNIT_ASSERT_EQ(test, quarry_pool_create(&config, &first), 0);
	quarry_pool_put(first);
	config.name = "";
	KUNIT_ASSERT_EQ(test, quarry_pool_create(&config, &first), 0);
	quarry_pool_name(first, name);
	snprintf(number, sizeof(number), "%llu", first->id);
	KUNIT_EXPECT_STREQ(test, name, number);
	quarry_pool_put(first);
}

#define SLOTS 256

/* All slots of the pool for one client; with each is done, and then it goes home. */
static void use_all(struct kunit *test, struct quarry_pool *pool, struct quarry_client *client,
		    u8 found, u8 left)
{
	u64 *offset = quarry_kunit_memory(test, SLOTS * sizeof(*offset));
	struct page *page;
	unsigned int i;
	u8 *slot;

	for (i = 0; i < SLOTS; i++) {
		KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 64, 8, &offset[i]), 0);
		page = quarry_page_find(pool, offset[i]);
		KUNIT_ASSERT_NOT_NULL(test, page);
		slot = (u8 *)page_address(page) + offset[i] % PAGE_SIZE;
		KUNIT_EXPECT_NULL(test, memchr_inv(slot, found, 64));
		memset(slot, left, 64);
		put_page(page);
	}
	for (i = 0; i < SLOTS; i++)
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offset[i]), 0);
}

/* POOL_ZERO: zeroed for another owner, not for the last one; without the flag for nobody. */
static void slots_are_zeroed_when_they_change_their_owner(struct kunit *test)
{
	struct quarry_pool_config config = {
		.kind = QUARRY_CORE_FIXED, .node = -1, .object_size = 64, .object_count = SLOTS,
		.name = "",
	};
	struct quarry_client *one, *two;
	struct quarry_pool *pool;
	unsigned int zero;

	for (zero = 0; zero < 2; zero++) {
		config.flags = zero ? QUARRY_POOL_ZERO : 0;
		KUNIT_ASSERT_EQ(test, quarry_pool_create(&config, &pool), 0);
		one = quarry_kunit_client(test, pool);
		two = quarry_kunit_client(test, pool);
		quarry_pool_put(pool);
		use_all(test, pool, one, 0, 0xa5);
		use_all(test, pool, one, 0xa5, 0x5a);
		use_all(test, pool, two, zero ? 0 : 0x5a, 0xc3);
		use_all(test, pool, one, zero ? 0 : 0xc3, 0xff);
	}
}

static void every_error_has_its_words(struct kunit *test)
{
#define CHECK(name, errno_name, words) \
	KUNIT_EXPECT_STREQ(test, quarry_error_text(QUARRY_E_##name), words);
	QUARRY_ERRORS(CHECK)
#undef CHECK
	KUNIT_EXPECT_STREQ(test, quarry_error_text(QUARRY_OK), "done");
	KUNIT_EXPECT_STREQ(test, quarry_error_text(-1), "no error of the core");
	KUNIT_EXPECT_STREQ(test, quarry_error_text(QUARRY_ERROR_COUNT), "no error of the core");
}

static struct kunit_case limits_cases[] = {
	KUNIT_CASE(pinned_pages_count_against_memlock_exactly),
	KUNIT_CASE(each_users_pools_clients_and_bytes_are_limited),
	KUNIT_CASE(a_name_is_one_users_and_free_again_with_its_pool),
	KUNIT_CASE(slots_are_zeroed_when_they_change_their_owner),
	KUNIT_CASE(every_error_has_its_words),
	{}
};

QUARRY_KUNIT_SUITE(quarry_limits, limits_cases);
