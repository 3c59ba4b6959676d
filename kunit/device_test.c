// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Calls from a real mm: a case borrows the mm of the task that loads the
 * suites, maps memory in it, and calls as a program does. Each wrong argument
 * has its errno, what was refused changed nothing, and each limit is met exactly.
 *
 * A case that fails an assertion while it has the mm ends its thread with it:
 * that drops a user of the mm, so a user is taken for each loan.
 */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include "../module/errors.h"
#include "../module/ioctl.h"
#include "../module/limits.h"
#include "quarry_kunit.h"

static struct mm_struct *lender;

/* Memory of the program: a page to call from, and behind it one that is not there. */
static u64 borrow(struct kunit *test)
{
	unsigned long at;

	KUNIT_ASSERT_NOT_NULL(test, lender);
	KUNIT_ASSERT_TRUE(test, mmget_not_zero(lender));
	kthread_use_mm(lender);
	at = vm_mmap(NULL, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(at));
	KUNIT_ASSERT_EQ(test, vm_munmap(at + PAGE_SIZE, PAGE_SIZE), 0);
	return at;
}

static void give_back(struct kunit *test, u64 at)
{
	KUNIT_EXPECT_EQ(test, vm_munmap(at, PAGE_SIZE), 0);
	kthread_unuse_mm(lender);
	mmput(lender);
}

static void poke(struct kunit *test, u64 at, const void *from, size_t bytes)
{
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(at), from, bytes), 0UL);
}

static void peek(struct kunit *test, void *to, u64 at, size_t bytes)
{
	KUNIT_ASSERT_EQ(test, copy_from_user(to, u64_to_user_ptr(at), bytes), 0UL);
}

/* On the control descriptor for NULL, else on this client's. */
static long call_at(struct quarry_client *client, unsigned int command, u64 at)
{
	struct file file = { .private_data = client };

	return client ? quarry_client_ioctl(&file, command, at) : quarry_control_ioctl(&file, command, at);
}

/* As a program does: the structure in its own memory, there and back. */
static long call_with(struct kunit *test, struct quarry_client *client, unsigned int command, u64 at,
		      void *argument, size_t bytes)
{
	long err;

	poke(test, at, argument, bytes);
	err = call_at(client, command, at);
	peek(test, argument, at, bytes);
	return err;
}

#define CALL(client, command, argument) \
	call_with(test, client, QUARRY_IOC_##command, at, argument, sizeof(*(argument)))

static const struct {
	unsigned int command;
	size_t bytes;
	bool control;
	bool client;
} calls[] = {
	{ QUARRY_IOC_INFO, sizeof(struct quarry_info), true, true },
	{ QUARRY_IOC_POOL_CREATE, sizeof(struct quarry_pool_create), true, false },
	{ QUARRY_IOC_JOIN, sizeof(struct quarry_join), false, true },
	{ QUARRY_IOC_ALLOC, sizeof(struct quarry_alloc), false, true },
	{ QUARRY_IOC_FREE, sizeof(struct quarry_free), false, true },
	{ QUARRY_IOC_TRANSFER, sizeof(struct quarry_transfer), false, true },
	{ QUARRY_IOC_REGION_ADD, sizeof(struct quarry_region), false, true },
	{ QUARRY_IOC_REGION_REMOVE, sizeof(struct quarry_region), false, true },
	{ QUARRY_IOC_DRAIN, sizeof(struct quarry_drain), false, true },
	{ QUARRY_IOC_STAT, sizeof(struct quarry_stat), false, true },
	{ QUARRY_IOC_VERIFY, sizeof(struct quarry_verify), false, true },
};

static void every_number_answers_on_its_descriptor_alone(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	u64 at = borrow(test);
	struct quarry_client *client = quarry_kunit_client(test, pool);
	unsigned int number, i;

	for (number = 0; number < 256; number++) {
		for (i = 0; i < ARRAY_SIZE(calls); i++)
			if (calls[i].command == _IO(QUARRY_IOC_TYPE, number))
				break;
		KUNIT_EXPECT_EQ_MSG(test, call_at(NULL, _IO(QUARRY_IOC_TYPE, number), 0),
				    i == ARRAY_SIZE(calls) ? -ENOTTY :
				    calls[i].control ? -EFAULT : -EBADFD, "%u", number);
		KUNIT_EXPECT_EQ_MSG(test, call_at(client, _IO(QUARRY_IOC_TYPE, number), 0),
				    i == ARRAY_SIZE(calls) ? -ENOTTY :
				    calls[i].client ? -EFAULT : -EBADFD, "%u", number);
		KUNIT_EXPECT_EQ(test, call_at(client, _IO(QUARRY_IOC_TYPE + 1, number), at), -ENOTTY);
		KUNIT_EXPECT_EQ(test, call_at(client, _IOR(QUARRY_IOC_TYPE, number, int), at), -ENOTTY);
	}
	KUNIT_EXPECT_EQ(test, atomic64_read(&client->refused), (s64)4 * 256 - 256);
	give_back(test, at);
}

static void every_structure_is_measured_and_its_flags_are_known(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	u64 at = borrow(test);
	struct quarry_client *client = quarry_kunit_client(test, pool), *on;
	u8 *page = quarry_kunit_memory(test, PAGE_SIZE);
	u32 *size = (u32 *)page, bit;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		on = calls[i].client ? client : NULL;
		memset(page, 0, PAGE_SIZE);
		for (*size = 0; *size < calls[i].bytes; ++*size) {
			poke(test, at, page, PAGE_SIZE);
			KUNIT_EXPECT_EQ(test, call_at(on, calls[i].command, at), -EINVAL);
		}
		*size = PAGE_SIZE + 1;
		poke(test, at, page, PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, call_at(on, calls[i].command, at), -E2BIG);
		*size = calls[i].bytes + 8;
		page[calls[i].bytes + 7] = 1;
		poke(test, at, page, PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, call_at(on, calls[i].command, at), -E2BIG);
		page[calls[i].bytes + 7] = 0;
		*size = calls[i].bytes;
		/* The last byte of it lies where nothing is mapped. */
		KUNIT_EXPECT_EQ(test, copy_to_user(u64_to_user_ptr(at + PAGE_SIZE - 8), page, 8), 0UL);
		KUNIT_EXPECT_EQ(test, call_at(on, calls[i].command, at + PAGE_SIZE - 8), -EFAULT);
		/* No call knows a flag above the first. */
		for (bit = 1; bit < 32; bit++) {
			size[1] = 1U << bit;
			poke(test, at, page, PAGE_SIZE);
			KUNIT_EXPECT_EQ_MSG(test, call_at(on, calls[i].command, at), -EINVAL,
					    "%#x, flag %u", calls[i].command, bit);
		}
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	give_back(test, at);
}

static void wrong_arguments_of_pool_create_have_their_errno(struct kunit *test)
{
	struct quarry_account *account = quarry_account_get();
	struct quarry_limits limits;
	struct quarry_pool_create good = {
		.size = sizeof(good), .node = -1, .bytes = PAGE_SIZE, .max_bytes = PAGE_SIZE,
	}, create;
	u64 at = borrow(test);

	KUNIT_ASSERT_NOT_NULL(test, account);
	quarry_limits_get(&limits);
#define WRONG(number, ...) do {							\
	create = good;								\
	__VA_ARGS__;								\
	KUNIT_EXPECT_EQ_MSG(test, CALL(NULL, POOL_CREATE, &create), -(number), #__VA_ARGS__); \
} while (0)
	WRONG(EINVAL, create.kind = 2);
	WRONG(EINVAL, create.zone = 2);
	WRONG(EINVAL, create.node = -2);
	WRONG(EINVAL, create.node = S32_MAX);
	WRONG(EINVAL, create.fd_flags = 2);
	WRONG(EINVAL, create.reserved[7] = 1);
	WRONG(EINVAL, memset(create.name, 'x', sizeof(create.name)));
	WRONG(EINVAL, strscpy(create.name, "a/b", sizeof(create.name)));
	WRONG(EINVAL, strscpy(create.name, "a\n", sizeof(create.name)));
	WRONG(EINVAL, create.bytes = create.max_bytes = 0);
	WRONG(EINVAL, create.bytes = 2 * PAGE_SIZE);
	WRONG(EINVAL, create.object_size = 8);
	WRONG(EINVAL, create.object_count = 1);
	WRONG(EFBIG, create.max_bytes = limits.max_pool_bytes + 1);
	WRONG(EFBIG, create.bytes = create.max_bytes = U64_MAX);
	good = (struct quarry_pool_create) {
		.size = sizeof(good), .node = -1, .kind = QUARRY_KIND_FIXED,
		.object_size = 64, .object_count = 10,
	};
	WRONG(EINVAL, create.bytes = 1);
	WRONG(EINVAL, create.max_bytes = PAGE_SIZE);
	WRONG(EINVAL, create.object_size = 0);
	WRONG(EINVAL, create.object_size = 65);
	WRONG(EINVAL, create.object_count = 0);
	WRONG(EOVERFLOW, create.object_count = U64_MAX);
	WRONG(EFBIG, create.object_size = QUARRY_MAX_OBJECT + 8);
	WRONG(EFBIG, create.object_count = limits.max_pool_bytes / 64 + 1);
#undef WRONG
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_POOLS), (u64)0);
	quarry_account_put(account);
	give_back(test, at);
}

static void wrong_arguments_of_alloc_have_their_errno(struct kunit *test)
{
	struct quarry_pool *heap = quarry_kunit_heap(test, 16 * PAGE_SIZE, 16 * PAGE_SIZE);
	struct quarry_pool *fixed = quarry_kunit_fixed(test, 64, 4);
	u64 at = borrow(test), room = at + 2048;
	struct quarry_client *client = quarry_kunit_client(test, heap);
	struct quarry_client *other = quarry_kunit_client(test, fixed);
	struct quarry_alloc good = {
		.size = sizeof(good), .object_size = 64, .count = 1, .offsets = room,
	}, alloc;

#define WRONG(on, number, ...) do {						\
	alloc = good;								\
	__VA_ARGS__;								\
	KUNIT_EXPECT_EQ_MSG(test, CALL(on, ALLOC, &alloc), -(number), #__VA_ARGS__); \
} while (0)
	WRONG(client, EINVAL, alloc.reserved = 1);
	WRONG(client, EINVAL, alloc.flags = 1);
	WRONG(client, EINVAL, alloc.object_size = 0);
	WRONG(client, EINVAL, alloc.align = 24);
	WRONG(client, EINVAL, alloc.count = 0);
	WRONG(client, EMSGSIZE, alloc.count = QUARRY_MAX_BATCH + 1);
	WRONG(client, EOVERFLOW, alloc.object_size = U64_MAX / 2; alloc.count = 3);
	WRONG(client, EFBIG, alloc.object_size = QUARRY_MAX_OBJECT + 1);
	WRONG(client, EFBIG, alloc.align = 2 * QUARRY_MAX_OBJECT);
	WRONG(client, ENOSPC, alloc.object_size = 17 * PAGE_SIZE);
	WRONG(other, EMSGSIZE, alloc.object_size = 72);
	/* The grant is undone where its offsets cannot be written. */
	WRONG(client, EFAULT, alloc.offsets = at + PAGE_SIZE);
	WRONG(client, EFAULT, alloc.offsets = at + PAGE_SIZE - 8; alloc.count = 2);
	WRONG(client, EFAULT, alloc.offsets = 0; alloc.count = 40);
	client->connected = false;
	WRONG(client, ENOTCONN, (void)0);
#undef WRONG
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, heap), (u64)0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, fixed), (u64)0);
	give_back(test, at);
}

static void a_batch_goes_out_and_home_and_a_part_says_why(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_fixed(test, 64, 40);
	u64 at = borrow(test), room = at + 2048, offsets[48], k;
	struct quarry_client *client = quarry_kunit_client(test, pool);
	struct quarry_client *peer = quarry_kunit_client(test, pool);
	struct quarry_alloc alloc = {
		.size = sizeof(alloc), .object_size = 64, .count = 48, .offsets = room,
	};
	struct quarry_free free = { .size = sizeof(free), .count = 40, .offsets = room };
	struct quarry_transfer move = {
		.size = sizeof(move), .to_client = peer->id, .count = 1, .offsets = room,
	};

	KUNIT_EXPECT_EQ(test, CALL(client, ALLOC, &alloc), 0L);
	KUNIT_EXPECT_EQ(test, alloc.done, 40U);
	KUNIT_EXPECT_EQ(test, (int)alloc.error, ENOSPC);
	peek(test, offsets, room, 40 * sizeof(*offsets));
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)40);

	KUNIT_EXPECT_EQ(test, CALL(client, TRANSFER, &move), 0L);
	KUNIT_EXPECT_EQ(test, move.done, 1U);
	KUNIT_EXPECT_EQ(test, CALL(client, TRANSFER, &move), (long)-EACCES);
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-EACCES);
	KUNIT_EXPECT_EQ(test, CALL(peer, FREE, &free), 0L);
	KUNIT_EXPECT_EQ(test, free.done, 1U);
	KUNIT_EXPECT_EQ(test, (int)free.error, EACCES);
	KUNIT_EXPECT_EQ(test, CALL(peer, FREE, &free), (long)-EALREADY);

	free.offsets = room + 8;
	free.count = 0;
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-EINVAL);
	free.count = QUARRY_MAX_BATCH + 1;
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-EMSGSIZE);
	/* One offset of the array cannot be read: none is freed. */
	free.count = 1 + (PAGE_SIZE - 2048 - 8) / 8;
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-EFAULT);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)39);
	free.count = 39;
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), 0L);
	KUNIT_EXPECT_EQ(test, free.done, 39U);
	KUNIT_EXPECT_EQ(test, (int)free.error, 0);

	free.count = 1;
	k = offsets[0] + 1;
	poke(test, room + 8, &k, sizeof(k));
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-EINVAL);
	k = U64_MAX - 7;
	poke(test, room + 8, &k, sizeof(k));
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-ERANGE);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	give_back(test, at);
}

static void another_mm_and_a_dead_client_get_info_and_stat_alone(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	/* Made by a thread without mm. */
	struct quarry_client *foreign = quarry_kunit_client(test, pool);
	u64 at = borrow(test);
	struct quarry_client *own = quarry_kunit_client(test, pool), *on[] = { foreign, own };
	struct quarry_info info = { .size = sizeof(info) };
	struct quarry_stat stat = { .size = sizeof(stat) };
	unsigned int i, k;

	quarry_client_reap(own);
	for (k = 0; k < 2; k++) {
		for (i = 0; i < ARRAY_SIZE(calls); i++) {
			long wanted = k ? -ESHUTDOWN : -EXDEV;

			if (!calls[i].client || calls[i].command == QUARRY_IOC_JOIN ||
			    calls[i].command == QUARRY_IOC_INFO || calls[i].command == QUARRY_IOC_STAT)
				continue;
			KUNIT_EXPECT_EQ_MSG(test, call_at(on[k], calls[i].command, at), wanted, "%u", i);
		}
		KUNIT_EXPECT_EQ(test, CALL(on[k], INFO, &info), 0L);
		KUNIT_EXPECT_EQ(test, info.abi_version, (u32)QUARRY_ABI_VERSION);
		memset(&info, 0, sizeof(info));
		info.size = sizeof(info);
		KUNIT_EXPECT_EQ(test, CALL(on[k], STAT, &stat), 0L);
		KUNIT_EXPECT_EQ(test, stat.client_id, on[k]->id);
		KUNIT_EXPECT_EQ(test, stat.clients, 1U);
		memset(&stat, 0, sizeof(stat));
		stat.size = sizeof(stat);
	}
	give_back(test, at);
}

static void the_creator_alone_looks_after_a_pool(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, 8 * PAGE_SIZE);
	struct quarry_pool *fixed = quarry_kunit_fixed(test, 64, 4);
	u64 at = borrow(test);
	struct quarry_client *creator = quarry_kunit_client(test, pool);
	struct quarry_client *guest = quarry_kunit_client(test, pool);
	struct quarry_client *keeper = quarry_kunit_client(test, fixed);
	struct quarry_region good = { .size = sizeof(good), .node = -1, .bytes = PAGE_SIZE + 1 }, region;
	struct quarry_drain drain = { .size = sizeof(drain), .flags = QUARRY_DRAIN_POOL };
	struct quarry_verify verify = { .size = sizeof(verify) };

	guest->creator = false;
	region = good;
	KUNIT_EXPECT_EQ(test, CALL(guest, REGION_ADD, &region), (long)-EPERM);
	KUNIT_EXPECT_EQ(test, CALL(guest, REGION_REMOVE, &region), (long)-EPERM);
	KUNIT_EXPECT_EQ(test, CALL(guest, DRAIN, &drain), (long)-EPERM);
	KUNIT_EXPECT_EQ(test, CALL(guest, VERIFY, &verify), (long)-EPERM);
	KUNIT_EXPECT_EQ(test, CALL(keeper, REGION_ADD, &region), (long)-EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, CALL(keeper, REGION_REMOVE, &region), (long)-EOPNOTSUPP);
	region.bytes = 0;
	KUNIT_EXPECT_EQ(test, CALL(creator, REGION_ADD, &region), (long)-EINVAL);
	region.bytes = U64_MAX;
	KUNIT_EXPECT_EQ(test, CALL(creator, REGION_ADD, &region), (long)-EFBIG);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)1);

	region = good;
	KUNIT_EXPECT_EQ(test, CALL(creator, REGION_ADD, &region), 0L);
	KUNIT_EXPECT_EQ(test, region.bytes, (u64)2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)3);
	KUNIT_EXPECT_EQ(test, CALL(creator, DRAIN, &drain), 0L);
	KUNIT_EXPECT_EQ(test, CALL(creator, VERIFY, &verify), 0L);
	KUNIT_EXPECT_EQ(test, verify.faults, (u64)0);
	region.flags = 0;
	KUNIT_EXPECT_EQ(test, CALL(creator, REGION_REMOVE, &region), 0L);
	KUNIT_EXPECT_EQ(test, CALL(creator, REGION_REMOVE, &region), (long)-ENXIO);
	give_back(test, at);
}

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
	u64 at = borrow(test), offset, added, removed, pages;
	unsigned long locked = lender->locked_vm;
	const struct cred *before;
	struct cred *mine;
	u32 count;

	before = become(test, 4711, &mine);
	limit->rlim_cur = limit->rlim_max = (locked + 8) * PAGE_SIZE;
	for (pages = 1; pages <= 16; pages++) {
		int err = quarry_regions_add(pool, QUARRY_CORE_NORMAL, -1, pages, true, &offset, &added,
					     &count);

		KUNIT_EXPECT_EQ_MSG(test, err, pages <= 8 ? 0 : -ENOBUFS, "%llu pages", pages);
		KUNIT_EXPECT_EQ(test, lender->locked_vm, locked + (err ? 0 : pages));
		while (!err && pool->pages) {
			struct quarry_extent *first = list_first_entry(&pool->regions,
								       struct quarry_extent, link);

			err = quarry_region_remove(pool, first->offset, &removed);
		}
		KUNIT_EXPECT_EQ(test, lender->locked_vm, locked);
	}
	*limit = was;
	be_again(before, mine);
	give_back(test, at);
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

static struct kunit_case device_cases[] = {
	KUNIT_CASE(every_number_answers_on_its_descriptor_alone),
	KUNIT_CASE(every_structure_is_measured_and_its_flags_are_known),
	KUNIT_CASE(wrong_arguments_of_pool_create_have_their_errno),
	KUNIT_CASE(wrong_arguments_of_alloc_have_their_errno),
	KUNIT_CASE(a_batch_goes_out_and_home_and_a_part_says_why),
	KUNIT_CASE(another_mm_and_a_dead_client_get_info_and_stat_alone),
	KUNIT_CASE(the_creator_alone_looks_after_a_pool),
	KUNIT_CASE(pinned_pages_count_against_memlock_exactly),
	KUNIT_CASE(each_users_pools_clients_and_bytes_are_limited),
	KUNIT_CASE(a_name_is_one_users_and_free_again_with_its_pool),
	KUNIT_CASE(slots_are_zeroed_when_they_change_their_owner),
	KUNIT_CASE(every_error_has_its_words),
	{}
};

/* Runs in the task that loads the suites, and that waits for them. */
static int remember_lender(struct kunit_suite *suite)
{
	lender = current->mm;
	return 0;
}

static int device_case_init(struct kunit *test)
{
	return quarry_kunit_init(test, "quarry_device");
}

static struct kunit_suite quarry_device = {
	.name = "quarry_device",
	.suite_init = remember_lender,
	.init = device_case_init,
	.exit = quarry_kunit_exit,
	.test_cases = device_cases,
};
kunit_test_suite(quarry_device);
