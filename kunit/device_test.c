// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Calls from a real mm: a case borrows that of the task that loads the suites,
 * and calls from it as a program does. Each wrong argument has its errno, and
 * what was refused changed nothing.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include "../module/ioctl.h"
#include "../module/limits.h"
#include "quarry_kunit.h"

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

	if (!client)
		return quarry_control_ioctl(&file, command, at);
	return quarry_client_ioctl(&file, command, at);
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
	{ QUARRY_IOC_RESIZE, sizeof(struct quarry_resize), false, true },
};

static void every_number_answers_on_its_descriptor_alone(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	u64 at = quarry_kunit_borrow(test);
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
	quarry_kunit_give_back(test, at);
}

static void every_structure_is_measured_and_its_flags_are_known(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	u64 at = quarry_kunit_borrow(test);
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
	quarry_kunit_give_back(test, at);
}

static void wrong_arguments_of_pool_create_have_their_errno(struct kunit *test)
{
	struct quarry_account *account = quarry_account_get();
	struct quarry_limits limits;
	struct quarry_pool_create good = {
		.size = sizeof(good), .node = -1, .bytes = PAGE_SIZE, .max_bytes = PAGE_SIZE,
	}, create;
	u64 at = quarry_kunit_borrow(test);

	KUNIT_ASSERT_NOT_NULL(test, account);
	quarry_limits_get(&limits);
#define WRONG(number, ...) do {							\
	create = good;								\
	__VA_ARGS__;								\
	KUNIT_EXPECT_EQ_MSG(test, CALL(NULL, POOL_CREATE, &create), -(number), #__VA_ARGS__); \
} while (0)
	WRONG(EINVAL, create.kind = 3);
	WRONG(EINVAL, create.zone = 2);
	WRONG(EINVAL, create.node = -2);
	WRONG(EINVAL, create.node = S32_MAX);
	WRONG(EINVAL, create.fd_flags = 2);
	WRONG(EINVAL, create.reserved[2] = 1);
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
	quarry_kunit_give_back(test, at);
}

static void wrong_arguments_of_alloc_have_their_errno(struct kunit *test)
{
	struct quarry_pool *heap = quarry_kunit_heap(test, 16 * PAGE_SIZE, 16 * PAGE_SIZE);
	struct quarry_pool *fixed = quarry_kunit_fixed(test, 64, 4);
	u64 at = quarry_kunit_borrow(test), room = at + 2048;
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
	quarry_kunit_give_back(test, at);
}

static void a_batch_goes_out_and_home_and_a_part_says_why(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_fixed(test, 64, 40);
	u64 at = quarry_kunit_borrow(test), room = at + 2048, offsets[48], k;
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
	quarry_kunit_give_back(test, at);
}

static void another_mm_and_a_dead_client_get_info_and_stat_alone(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	/* Made by a thread without mm. */
	struct quarry_client *foreign = quarry_kunit_client(test, pool);
	u64 at = quarry_kunit_borrow(test);
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
	quarry_kunit_give_back(test, at);
}

static void the_creator_alone_looks_after_a_pool(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, 8 * PAGE_SIZE);
	struct quarry_pool *fixed = quarry_kunit_fixed(test, 64, 4);
	u64 at = quarry_kunit_borrow(test);
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
	quarry_kunit_give_back(test, at);
}

static struct kunit_case device_cases[] = {
	KUNIT_CASE(every_number_answers_on_its_descriptor_alone),
	KUNIT_CASE(every_structure_is_measured_and_its_flags_are_known),
	KUNIT_CASE(wrong_arguments_of_pool_create_have_their_errno),
	KUNIT_CASE(wrong_arguments_of_alloc_have_their_errno),
	KUNIT_CASE(a_batch_goes_out_and_home_and_a_part_says_why),
	KUNIT_CASE(another_mm_and_a_dead_client_get_info_and_stat_alone),
	KUNIT_CASE(the_creator_alone_looks_after_a_pool),
	{}
};

QUARRY_KUNIT_SUITE(quarry_device, device_cases);
