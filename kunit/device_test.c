// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Calls from a real mm: a case borrows that of the task that loads the suites,
 * and calls from it as a program does. Each wrong argument has its errno, and
 * what was refused changed nothing.
 */
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>
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
	{ QUARRY_IOC_REFILL, sizeof(struct quarry_refill), false, true },
	{ QUARRY_IOC_FLUSH, sizeof(struct quarry_flush), false, true },
	{ QUARRY_IOC_SHARE, sizeof(struct quarry_transfer), false, true },
	{ QUARRY_IOC_RESERVE, sizeof(struct quarry_reservation), false, true },
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

#define FEW 3

/*
 * A slot that was never out comes home: of its slab nothing is granted again, and no
 * object of it changes hands, while all else in the pool goes on. The stray bit is
 * planted in the slab's own block, whose end is the bitmap of those on their way home.
 */
static void objects_of_a_quarantined_slab_are_euclean_by_each_call(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 64 * PAGE_SIZE, 64 * PAGE_SIZE);
	u64 at = quarry_kunit_borrow(test), room = at + 2048, offsets[FEW], bytes, again, other;
	struct quarry_client *client = quarry_kunit_client(test, pool);
	struct quarry_client *peer = quarry_kunit_client(test, pool);
	struct quarry_alloc alloc = {
		.size = sizeof(alloc), .object_size = 64, .count = FEW, .offsets = room,
	};
	struct quarry_free free = { .size = sizeof(free), .count = 1, .offsets = room };
	struct quarry_transfer move = {
		.size = sizeof(move), .to_client = peer->id, .count = 1, .offsets = room,
	};
	struct quarry_stat stat = { .size = sizeof(stat) };
	struct quarry_verify verify = { .size = sizeof(verify) };
	struct quarry_class_stat class;
	u32 slots, *remote;
	size_t meta;
	void *block;

	quarry_kunit_expect_corruptions(1);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 2048, 8, &other), 0);
	KUNIT_ASSERT_EQ(test, CALL(client, ALLOC, &alloc), 0L);
	KUNIT_ASSERT_EQ(test, alloc.done, (u32)FEW);
	block = quarry_watch_last_block(&meta);
	peek(test, offsets, room, sizeof(offsets));
	stat.classes = at + 1024;
	stat.class_count = QUARRY_MAX_CLASSES;
	KUNIT_ASSERT_EQ(test, CALL(client, STAT, &stat), 0L);
	do {
		peek(test, &class, stat.classes, sizeof(class));
		stat.classes += sizeof(class);
	} while (class.size != 64);
	KUNIT_ASSERT_EQ(test, class.slabs, 1U);
	KUNIT_ASSERT_EQ(test, class.live, (u64)FEW);
	slots = class.live + class.free;
	bytes = slots * 64ULL;
	remote = (u32 *)((u8 *)block + meta) - DIV_ROUND_UP(slots, 32);
	KUNIT_ASSERT_EQ(test, remote[(slots - 1) / 32], 0U);
	KUNIT_EXPECT_EQ(test, stat.events & QUARRY_EVENT_CORRUPTION, 0U);

	remote[(slots - 1) / 32] = 1U << (slots - 1) % 32;
	poke(test, room, &offsets[2], sizeof(u64));
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), 0L);
	memset(&stat, 0, sizeof(stat));
	stat.size = sizeof(stat);
	stat.flags = QUARRY_STAT_ACK;
	KUNIT_ASSERT_EQ(test, CALL(client, STAT, &stat), 0L);
	KUNIT_EXPECT_EQ(test, stat.corruptions, (u64)1);
	KUNIT_EXPECT_EQ(test, stat.events & QUARRY_EVENT_CORRUPTION, (u32)QUARRY_EVENT_CORRUPTION);
	KUNIT_EXPECT_EQ(test, stat.objects, (u64)FEW);

	poke(test, room, &offsets[0], sizeof(u64));
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), (long)-EUCLEAN);
	KUNIT_EXPECT_EQ(test, CALL(client, TRANSFER, &move), (long)-EUCLEAN);
	KUNIT_EXPECT_EQ(test, CALL(peer, FREE, &free), (long)-EUCLEAN);
	/* A batch stops there, and says so. */
	poke(test, room, &other, sizeof(u64));
	poke(test, room + 8, &offsets[1], sizeof(u64));
	free.count = 2;
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), 0L);
	KUNIT_EXPECT_EQ(test, free.done, 1U);
	KUNIT_EXPECT_EQ(test, (int)free.error, EUCLEAN);
	/* The pool serves on, from elsewhere. */
	alloc.count = 1;
	KUNIT_EXPECT_EQ(test, CALL(client, ALLOC, &alloc), 0L);
	peek(test, &again, room, sizeof(again));
	KUNIT_EXPECT_TRUE(test, again < round_down(offsets[0], bytes) ||
			  again >= round_down(offsets[0], bytes) + bytes);
	free.count = 1;
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), 0L);
	KUNIT_EXPECT_EQ(test, CALL(client, VERIFY, &verify), 0L);
	/* Its client's death takes even these back from it. */
	memset(&stat, 0, sizeof(stat));
	stat.size = sizeof(stat);
	KUNIT_EXPECT_EQ(test, CALL(peer, STAT, &stat), 0L);
	KUNIT_EXPECT_EQ(test, stat.objects, (u64)FEW - 1);
	quarry_client_reap(client);
	memset(&stat, 0, sizeof(stat));
	stat.size = sizeof(stat);
	KUNIT_EXPECT_EQ(test, CALL(peer, STAT, &stat), 0L);
	KUNIT_EXPECT_EQ(test, stat.objects, (u64)0);
	KUNIT_EXPECT_EQ(test, stat.reaped_objects, (u64)FEW - 1);
	quarry_kunit_give_back(test, at);
}

struct keeper {
	struct quarry_pool *pool;
	struct completion kept, release, done;
};

static int keep_growth(void *arg)
{
	struct keeper *keeper = arg;

	mutex_lock(&keeper->pool->grow);
	complete(&keeper->kept);
	wait_for_completion(&keeper->release);
	mutex_unlock(&keeper->pool->grow);
	complete(&keeper->done);
	return 0;
}

/* What takes memory, or would wait for who does, ends with the caller; what gives back works on. */
static void a_killed_caller_gets_eintr_and_takes_nothing(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 64 * PAGE_SIZE);
	u64 at = quarry_kunit_borrow(test), room = at + 2048, offset;
	struct quarry_client *client = quarry_kunit_client(test, pool);
	struct quarry_pool_create create = {
		.size = sizeof(create), .node = -1, .bytes = PAGE_SIZE, .max_bytes = PAGE_SIZE,
	};
	struct quarry_alloc alloc = {
		.size = sizeof(alloc), .object_size = 64, .count = 40, .offsets = room,
	};
	struct quarry_free free = { .size = sizeof(free), .count = 1, .offsets = room };
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = PAGE_SIZE };
	struct quarry_verify verify = { .size = sizeof(verify) };
	struct keeper keeper = { .pool = pool };
	struct quarry_account *account = quarry_account_get();
	u64 pools = quarry_charged(account, QUARRY_CHARGE_POOLS);

	init_completion(&keeper.kept);
	init_completion(&keeper.release);
	init_completion(&keeper.done);
	KUNIT_ASSERT_EQ(test, quarry_kunit_take(client, 64, 8, &offset), 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(keep_growth, &keeper, "quarry-keeper")));
	wait_for_completion(&keeper.kept);

	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	KUNIT_EXPECT_TRUE(test, fatal_signal_pending(current));
	KUNIT_EXPECT_EQ(test, CALL(client, ALLOC, &alloc), (long)-EINTR);
	KUNIT_EXPECT_EQ(test, CALL(client, REGION_ADD, &region), (long)-EINTR);
	KUNIT_EXPECT_EQ(test, CALL(client, REGION_REMOVE, &region), (long)-EINTR);
	KUNIT_EXPECT_EQ(test, CALL(client, VERIFY, &verify), (long)-EINTR);
	KUNIT_EXPECT_EQ(test, CALL(NULL, POOL_CREATE, &create), (long)-EINTR);
	poke(test, room, &offset, sizeof(offset));
	KUNIT_EXPECT_EQ(test, CALL(client, FREE, &free), 0L);
	flush_signals(current);
	disallow_signal(SIGKILL);

	complete(&keeper.release);
	wait_for_completion(&keeper.done);
	KUNIT_EXPECT_EQ(test, pool->pages, (u64)8);
	KUNIT_EXPECT_EQ(test, quarry_charged(account, QUARRY_CHARGE_POOLS), pools);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	quarry_account_put(account);
	quarry_kunit_give_back(test, at);
}

/*
 * What the mapping answers before a split, on a file of the device's own.
 */
static void the_area_refuses_to_be_split(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, PAGE_SIZE, PAGE_SIZE);
	u64 at = quarry_kunit_borrow(test);
	struct quarry_client *client;
	struct vm_area_struct *vma;
	unsigned long area, memory;
	struct file *file;

	file = quarry_poolfs_file(pool, &quarry_client_fops);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_EQ(test, quarry_client_create(pool, true, &client), 0);
	file->private_data = client;
	area = vm_mmap(file, 0, quarry_client_area_bytes(pool), PROT_READ, MAP_SHARED,
		       QUARRY_CLIENT_AREA_OFFSET);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(area));
	memory = vm_mmap(file, 0, PAGE_SIZE, PROT_READ, MAP_SHARED, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(memory));
	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, area);
	KUNIT_EXPECT_EQ(test, vma->vm_start, area);
	KUNIT_EXPECT_EQ(test, vma->vm_end - vma->vm_start,
			(unsigned long)quarry_client_area_bytes(pool));
	KUNIT_EXPECT_EQ(test, vma->vm_flags & (VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP),
			(unsigned long)(VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP));
	if (vma->vm_ops->may_split)
		KUNIT_EXPECT_EQ(test, vma->vm_ops->may_split(vma, area + PAGE_SIZE), -EINVAL);
	else
		KUNIT_FAIL(test, "nothing is asked before a split");
	/* The pool's memory may be cut anywhere. */
	vma = find_vma(current->mm, memory);
	KUNIT_EXPECT_NULL(test, vma->vm_ops->may_split);
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, atomic_read(&client->area_maps), 1);
	KUNIT_EXPECT_EQ(test, vm_munmap(memory, PAGE_SIZE), 0);
	KUNIT_EXPECT_FALSE(test, client->dead);
	KUNIT_EXPECT_EQ(test, vm_munmap(area, quarry_client_area_bytes(pool)), 0);
	KUNIT_EXPECT_TRUE(test, client->dead);
	fput(file);
	flush_delayed_fput();
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
	KUNIT_CASE(objects_of_a_quarantined_slab_are_euclean_by_each_call),
	KUNIT_CASE(a_killed_caller_gets_eintr_and_takes_nothing),
	KUNIT_CASE(the_area_refuses_to_be_split),
	{}
};

QUARRY_KUNIT_SUITE(quarry_device, device_cases);
