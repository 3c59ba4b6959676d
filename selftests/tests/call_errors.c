// SPDX-License-Identifier: MIT
/*
 * Every wrong argument of every call has its own errno, and a refused call changes
 * nothing. (README: "Every wrong call is an error at the call")
 */
#include "device.h"
#include "kselftest_harness.h"

FIXTURE(calls)
{
	struct pool pool;
	int control;
	uint64_t kept;		/* one live object */
	struct quarry_stat before;
};

FIXTURE_SETUP(calls)
{
	self->control = control();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(create_heap(&self->pool, MIB, 4 * MIB), 0);
	self->kept = alloc_one(&self->pool, 64);
	self->before = stat_of(self->pool.fd);
}

/* Whatever the test did was refused: the pool is as it was. */
FIXTURE_TEARDOWN(calls)
{
	struct quarry_stat after = stat_of(self->pool.fd);

	EXPECT_EQ(after.objects, self->before.objects);
	EXPECT_EQ(after.used_bytes, self->before.used_bytes);
	EXPECT_EQ(after.bytes, self->before.bytes);
	EXPECT_EQ(after.clients, self->before.clients);
	EXPECT_EQ(verify(self->pool.fd), 0);
	EXPECT_EQ(free_one(&self->pool, self->kept), 0);
	leave(&self->pool);
	close(self->control);
}

static const struct {
	unsigned long request;
	uint32_t size;
	int on_control;		/* may be called there */
	int reserved;		/* offset of a reserved field, or 0 */
} kCalls[] = {
	{ QUARRY_IOC_INFO, sizeof(struct quarry_info), 1, offsetof(struct quarry_info, reserved) },
	{ QUARRY_IOC_POOL_CREATE, sizeof(struct quarry_pool_create), 1,
	  offsetof(struct quarry_pool_create, reserved) },
	{ QUARRY_IOC_JOIN, sizeof(struct quarry_join), 0, offsetof(struct quarry_join, reserved) },
	{ QUARRY_IOC_ALLOC, sizeof(struct quarry_alloc), 0, offsetof(struct quarry_alloc, reserved) },
	{ QUARRY_IOC_FREE, sizeof(struct quarry_free), 0, offsetof(struct quarry_free, reserved) },
	{ QUARRY_IOC_TRANSFER, sizeof(struct quarry_transfer), 0,
	  offsetof(struct quarry_transfer, reserved) },
	{ QUARRY_IOC_REGION_ADD, sizeof(struct quarry_region), 0,
	  offsetof(struct quarry_region, reserved) },
	{ QUARRY_IOC_REGION_REMOVE, sizeof(struct quarry_region), 0,
	  offsetof(struct quarry_region, reserved) },
	{ QUARRY_IOC_DRAIN, sizeof(struct quarry_drain), 0, 0 },
	{ QUARRY_IOC_STAT, sizeof(struct quarry_stat), 0, offsetof(struct quarry_stat, reserved) },
	{ QUARRY_IOC_VERIFY, sizeof(struct quarry_verify), 0, 0 },
	{ QUARRY_IOC_RESIZE, sizeof(struct quarry_resize), 0, 0 },
	{ QUARRY_IOC_SHARE, sizeof(struct quarry_transfer), 0,
	  offsetof(struct quarry_transfer, reserved) },
	{ QUARRY_IOC_RESERVE, sizeof(struct quarry_reservation), 0, 0 },
};
#define CALLS (sizeof(kCalls) / sizeof(kCalls[0]))

/* The descriptor on which call i is at home. */
static int home_of(struct __test_metadata *_metadata, int control_fd, int pool_fd, size_t i)
{
	(void)_metadata;
	return kCalls[i].request == QUARRY_IOC_POOL_CREATE ? control_fd : pool_fd;
}

TEST_F(calls, a_null_structure_is_efault)
{
	for (size_t i = 0; i < CALLS; i++) {
		EXPECT_EQ(call(home_of(_metadata, self->control, self->pool.fd, i), kCalls[i].request,
			       NULL), -EFAULT) {
			TH_LOG("call %zu", i);
		}
	}
}

TEST_F(calls, a_structure_too_small_is_einval)
{
	for (size_t i = 0; i < CALLS; i++) {
		uint32_t buffer[256] = { kCalls[i].size - 4 };

		EXPECT_EQ(call(home_of(_metadata, self->control, self->pool.fd, i), kCalls[i].request,
			       buffer), -EINVAL) {
			TH_LOG("call %zu", i);
		}
		buffer[0] = 0;
		EXPECT_EQ(call(home_of(_metadata, self->control, self->pool.fd, i), kCalls[i].request,
			       buffer), -EINVAL);
	}
}

TEST_F(calls, a_larger_structure_with_a_nonzero_tail_is_e2big)
{
	for (size_t i = 0; i < CALLS; i++) {
		uint8_t buffer[1024] = { 0 };

		*(uint32_t *)buffer = kCalls[i].size + 8;
		buffer[kCalls[i].size + 3] = 1;
		EXPECT_EQ(call(home_of(_metadata, self->control, self->pool.fd, i), kCalls[i].request,
			       buffer), -E2BIG) {
			TH_LOG("call %zu", i);
		}
	}
}

TEST_F(calls, a_larger_structure_with_a_zero_tail_is_served)
{
	uint8_t buffer[1024] = { 0 };
	struct quarry_stat *stat = (struct quarry_stat *)buffer;

	stat->size = sizeof(*stat) + 64;
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_STAT, buffer), 0);
	EXPECT_EQ(stat->objects, 1);
}

TEST_F(calls, a_structure_beyond_a_page_is_e2big)
{
	for (size_t i = 0; i < CALLS; i++) {
		uint32_t *buffer = calloc(1, 2 * PAGE);

		buffer[0] = PAGE + 8;
		EXPECT_EQ(call(home_of(_metadata, self->control, self->pool.fd, i), kCalls[i].request,
			       buffer), -E2BIG);
		free(buffer);
	}
}

/* A pool of its own for one call that would succeed, and that call's structure. */
struct trial {
	struct pool pool, peer;
	int control;
	uint64_t object;
	uint64_t room;
	uint64_t region;
	union {
		uint32_t words[256];
		struct quarry_pool_create create;
		struct quarry_alloc alloc;
		struct quarry_free free;
		struct quarry_transfer transfer;
		struct quarry_region region;
		struct quarry_resize resize;
		struct quarry_reservation reserve;
	} s;
};

static int begin_trial(struct trial *t, size_t i)
{
	struct quarry_region added = { .size = sizeof(added), .node = -1, .bytes = PAGE };
	int err = create_heap(&t->pool, MIB, 4 * MIB);

	if (!err)
		err = call(t->pool.fd, QUARRY_IOC_REGION_ADD, &added);
	if (err)
		return err;
	t->control = control();
	t->object = alloc_one(&t->pool, 64);
	t->region = added.offset;
	memset(&t->s, 0, sizeof(t->s));
	t->s.words[0] = kCalls[i].size;
	switch (kCalls[i].request) {
	case QUARRY_IOC_POOL_CREATE:
		create_defaults(&t->s.create);
		t->s.create.bytes = MIB;
		break;
	case QUARRY_IOC_ALLOC:
		t->s.alloc.object_size = 64;
		t->s.alloc.count = 1;
		t->s.alloc.offsets = (uintptr_t)&t->room;
		break;
	case QUARRY_IOC_FREE:
		t->s.free.count = 1;
		t->s.free.offsets = (uintptr_t)&t->object;
		break;
	case QUARRY_IOC_TRANSFER:
		t->s.transfer.to_client = t->pool.client;
		t->s.transfer.count = 1;
		t->s.transfer.offsets = (uintptr_t)&t->object;
		break;
	case QUARRY_IOC_REGION_ADD:
		t->s.region.node = -1;
		t->s.region.bytes = PAGE;
		break;
	case QUARRY_IOC_REGION_REMOVE:
		t->s.region.offset = t->region;
		break;
	case QUARRY_IOC_RESIZE:
		t->s.resize.object_size = 64;
		t->s.resize.offset = t->object;
		break;
	case QUARRY_IOC_SHARE:
		err = join(&t->peer, t->pool.fd, 1);
		t->s.transfer.to_client = t->peer.client;
		t->s.transfer.count = 1;
		t->s.transfer.offsets = (uintptr_t)&t->object;
		break;
	case QUARRY_IOC_RESERVE:
		t->s.reserve.object_size = 64;
		t->s.reserve.count = 3;
		break;
	}
	return err;
}

static int try_call(struct trial *t, size_t i, void *structure)
{
	int fd = kCalls[i].request == QUARRY_IOC_POOL_CREATE ? t->control : t->pool.fd;

	return call(fd, kCalls[i].request, structure);
}

/* What the call says to the structure as it was made. */
static int good_answer(size_t i)
{
	return kCalls[i].request == QUARRY_IOC_RESIZE ? -EOPNOTSUPP : 0;
}

static void end_trial(struct trial *t, size_t i)
{
	if (kCalls[i].request == QUARRY_IOC_POOL_CREATE)
		close(t->s.create.fd);
	if (kCalls[i].request == QUARRY_IOC_JOIN)
		close(((struct quarry_join *)&t->s)->fd);
	if (kCalls[i].request == QUARRY_IOC_SHARE)
		leave(&t->peer);
	leave(&t->pool);
	close(t->control);
}

TEST_F(calls, unknown_flags_are_einval)
{
	struct trial t;

	for (size_t i = 0; i < CALLS; i++) {
		/* Known are two of a pool's, and one at most of another call's. */
		int known = kCalls[i].request == QUARRY_IOC_POOL_CREATE ? 2 : 1;

		ASSERT_EQ(begin_trial(&t, i), 0);
		for (int bit = known; bit < 32; bit++) {
			t.s.words[1] = 1u << bit;
			EXPECT_EQ(try_call(&t, i, &t.s), -EINVAL) {
				TH_LOG("call %zu, flag %d", i, bit);
			}
		}
		t.s.words[1] = 0;
		EXPECT_EQ(try_call(&t, i, &t.s), good_answer(i)) {
			TH_LOG("call %zu", i);
		}
		end_trial(&t, i);
	}
}

TEST_F(calls, reserved_fields_that_are_set_are_einval)
{
	struct trial t;

	for (size_t i = 0; i < CALLS; i++) {
		if (!kCalls[i].reserved)
			continue;
		ASSERT_EQ(begin_trial(&t, i), 0);
		((uint8_t *)&t.s)[kCalls[i].reserved] = 1;
		EXPECT_EQ(try_call(&t, i, &t.s), -EINVAL) {
			TH_LOG("call %zu", i);
		}
		((uint8_t *)&t.s)[kCalls[i].reserved] = 0;
		EXPECT_EQ(try_call(&t, i, &t.s), good_answer(i)) {
			TH_LOG("call %zu", i);
		}
		end_trial(&t, i);
	}
}

TEST_F(calls, an_answer_that_cannot_be_written_is_efault_and_nothing_has_changed)
{
	struct quarry_stat before, after;
	struct trial t;

	for (size_t i = 0; i < CALLS; i++) {
		void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(page, MAP_FAILED);
		ASSERT_EQ(begin_trial(&t, i), 0);
		memcpy(page, &t.s, sizeof(t.s));
		ASSERT_EQ(mprotect(page, PAGE, PROT_READ), 0);
		before = stat_of(t.pool.fd);
		EXPECT_EQ(try_call(&t, i, page), good_answer(i) ?: -EFAULT) {
			TH_LOG("call %zu", i);
		}
		after = stat_of(t.pool.fd);
		EXPECT_EQ(after.objects, before.objects);
		EXPECT_EQ(after.clients, before.clients);
		EXPECT_EQ(after.regions, before.regions);
		EXPECT_EQ(after.transfers, before.transfers);
		EXPECT_EQ(after.frees, before.frees);
		EXPECT_EQ(after.allocs, before.allocs);
		EXPECT_EQ(try_call(&t, i, &t.s), good_answer(i));
		end_trial(&t, i);
		munmap(page, PAGE);
	}
}

TEST_F(calls, an_unknown_call_is_enotty)
{
	EXPECT_EQ(call(self->pool.fd, _IO(QUARRY_IOC_TYPE, 0x7f), NULL), -ENOTTY);
	EXPECT_EQ(call(self->control, _IO(QUARRY_IOC_TYPE, 0x7f), NULL), -ENOTTY);
	EXPECT_EQ(call(self->pool.fd, _IO('x', 3), NULL), -ENOTTY);
}

TEST_F(calls, a_pool_call_on_the_control_descriptor_is_ebadfd)
{
	for (size_t i = 0; i < CALLS; i++) {
		uint32_t buffer[256] = { kCalls[i].size };

		if (!kCalls[i].on_control) {
			EXPECT_EQ(call(self->control, kCalls[i].request, buffer), -EBADFD) {
				TH_LOG("call %zu", i);
			}
		}
	}
}

TEST_F(calls, a_pool_on_a_pool_descriptor_is_ebadfd)
{
	struct quarry_pool_create c;

	create_defaults(&c);
	c.bytes = MIB;
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_POOL_CREATE, &c), -EBADFD);
}

static int create_with(void (*change)(struct quarry_pool_create *))
{
	struct quarry_pool_create c;
	int err;

	create_defaults(&c);
	c.bytes = MIB;
	change(&c);
	err = create_raw(&c);
	if (!err)
		close(c.fd);
	return err;
}

#define REFUSED_POOL(name, wanted, ...)                                        \
	static void change_##name(struct quarry_pool_create *c) { __VA_ARGS__; } \
	TEST_F(calls, name) { EXPECT_EQ(create_with(change_##name), wanted); }

REFUSED_POOL(a_pool_of_no_bytes_is_einval, -EINVAL, c->bytes = 0)
REFUSED_POOL(a_pool_of_an_unknown_kind_is_einval, -EINVAL, c->kind = 77)
REFUSED_POOL(a_pool_in_an_unknown_zone_is_einval, -EINVAL, c->zone = 2)
REFUSED_POOL(a_pool_on_an_unknown_node_is_einval, -EINVAL, c->node = 4000)
REFUSED_POOL(a_pool_on_a_negative_node_is_einval, -EINVAL, c->node = -2)
REFUSED_POOL(unknown_descriptor_flags_are_einval, -EINVAL, c->fd_flags = 2)
REFUSED_POOL(a_pool_with_more_bytes_than_its_maximum_is_einval, -EINVAL, c->max_bytes = MIB / 2)
REFUSED_POOL(a_pool_larger_than_any_can_be_is_efbig, -EFBIG, c->bytes = QUARRY_MAX_POOL + PAGE)
REFUSED_POOL(a_pool_larger_than_memory_is_efbig, -EFBIG, c->bytes = QUARRY_MAX_POOL)
REFUSED_POOL(a_pool_whose_maximum_is_larger_than_any_is_efbig, -EFBIG, c->max_bytes = 1ULL << 60)
REFUSED_POOL(a_maximum_that_cannot_be_rounded_is_efbig, -EFBIG, c->max_bytes = ~0ULL)
REFUSED_POOL(a_name_without_an_end_is_einval, -EINVAL, memset(c->name, 'a', sizeof(c->name)))
REFUSED_POOL(a_name_with_a_slash_is_einval, -EINVAL, strcpy(c->name, "a/b"))
REFUSED_POOL(a_name_that_cannot_be_printed_is_einval, -EINVAL, strcpy(c->name, "a\nb"))
REFUSED_POOL(a_heap_with_an_object_size_is_einval, -EINVAL, c->object_size = 64)
REFUSED_POOL(a_fixed_pool_without_a_size_is_einval, -EINVAL, c->bytes = 0; c->kind = QUARRY_KIND_FIXED;
	     c->object_count = 4)
REFUSED_POOL(a_fixed_pool_without_a_count_is_einval, -EINVAL, c->bytes = 0; c->kind = QUARRY_KIND_FIXED;
	     c->object_size = 64)
REFUSED_POOL(a_fixed_pool_of_an_odd_size_is_einval, -EINVAL, c->bytes = 0; c->kind = QUARRY_KIND_FIXED;
	     c->object_size = 12; c->object_count = 4)
REFUSED_POOL(a_fixed_pool_with_bytes_is_einval, -EINVAL, c->kind = QUARRY_KIND_FIXED;
	     c->object_size = 64; c->object_count = 4)
REFUSED_POOL(a_fixed_pool_of_objects_too_large_is_efbig, -EFBIG, c->bytes = 0; c->kind = QUARRY_KIND_FIXED;
	     c->object_size = QUARRY_MAX_OBJECT + 8; c->object_count = 4)
REFUSED_POOL(a_fixed_pool_whose_product_overflows_is_eoverflow, -EOVERFLOW, c->bytes = 0;
	     c->kind = QUARRY_KIND_FIXED; c->object_size = 4096; c->object_count = ~0ULL / 1024)

TEST_F(calls, a_name_that_is_taken_is_eexist)
{
	struct quarry_pool_create c;
	int fd;

	create_defaults(&c);
	c.bytes = MIB;
	strcpy(c.name, "taken-name");
	ASSERT_EQ(create_raw(&c), 0);
	fd = c.fd;
	create_defaults(&c);
	c.bytes = MIB;
	strcpy(c.name, "taken-name");
	EXPECT_EQ(create_raw(&c), -EEXIST);
	close(fd);
	EXPECT_EQ(create_raw(&c), 0);
	close(c.fd);
}

TEST_F(calls, wrong_requests_for_objects_have_their_own_errors)
{
	uint64_t out[4];

	EXPECT_EQ(alloc_n(&self->pool, 0, 0, 1, out), -EINVAL);
	EXPECT_EQ(alloc_n(&self->pool, 64, 24, 1, out), -EINVAL);
	EXPECT_EQ(alloc_n(&self->pool, 64, 0, 0, out), -EINVAL);
	EXPECT_EQ(alloc_n(&self->pool, 64, 0, QUARRY_MAX_BATCH + 1, out), -EMSGSIZE);
	EXPECT_EQ(alloc_n(&self->pool, QUARRY_MAX_OBJECT + 1, 0, 1, out), -EFBIG);
	EXPECT_EQ(alloc_n(&self->pool, ~0ULL, 0, 1, out), -EFBIG);
	EXPECT_EQ(alloc_n(&self->pool, 64, 1ULL << 40, 1, out), -EFBIG);
	EXPECT_EQ(alloc_n(&self->pool, 64, 0, 1, NULL), -EFAULT);
	EXPECT_EQ(free_n(&self->pool, 0, out), -EINVAL);
	EXPECT_EQ(free_n(&self->pool, QUARRY_MAX_BATCH + 1, out), -EMSGSIZE);
	EXPECT_EQ(free_n(&self->pool, 1, NULL), -EFAULT);
	EXPECT_EQ(transfer_n(&self->pool, self->pool.client, 0, out), -EINVAL);
	EXPECT_EQ(transfer_n(&self->pool, self->pool.client, QUARRY_MAX_BATCH + 1, out), -EMSGSIZE);
	EXPECT_EQ(transfer_n(&self->pool, 1ULL << 60, 1, &self->kept), -ESRCH);
}

TEST_F(calls, wrong_offsets_have_their_own_errors)
{
	struct pool peer;
	uint64_t large;

	ASSERT_EQ(join(&peer, self->pool.fd, 1), 0);
	large = alloc_one(&peer, 3 * PAGE);
	ASSERT_EQ(large % PAGE, 0);
	EXPECT_EQ(free_one(&self->pool, self->kept + 4), -EINVAL);
	EXPECT_EQ(free_one(&self->pool, self->pool.max_bytes), -ERANGE);
	EXPECT_EQ(free_one(&self->pool, ~7ULL), -ERANGE);
	EXPECT_EQ(free_one(&self->pool, self->pool.max_bytes - PAGE), -ENXIO);
	EXPECT_EQ(free_one(&self->pool, self->kept + 8), -EBADSLT);
	EXPECT_EQ(free_one(&peer, large + PAGE), -EBADSLT);
	EXPECT_EQ(free_one(&peer, large + 8), -EBADSLT);
	EXPECT_EQ(free_one(&self->pool, self->kept + 64), -EALREADY);
	EXPECT_EQ(free_one(&peer, self->kept), -EACCES);
	EXPECT_EQ(free_one(&self->pool, large), -EACCES);
	EXPECT_EQ(transfer_n(&peer, self->pool.client, 1, &self->kept), -EACCES);
	EXPECT_EQ(free_one(&peer, large), 0);
	EXPECT_EQ(free_one(&peer, large), -EALREADY);
	leave(&peer);
}

TEST_F(calls, what_is_the_creators_is_eperm_for_others)
{
	struct pool peer;
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = PAGE };
	struct quarry_drain drain = { .size = sizeof(drain), .flags = QUARRY_DRAIN_POOL };

	ASSERT_EQ(join(&peer, self->pool.fd, 1), 0);
	EXPECT_EQ(call(peer.fd, QUARRY_IOC_REGION_ADD, &region), -EPERM);
	EXPECT_EQ(call(peer.fd, QUARRY_IOC_REGION_REMOVE, &region), -EPERM);
	EXPECT_EQ(call(peer.fd, QUARRY_IOC_DRAIN, &drain), -EPERM);
	EXPECT_EQ(verify(peer.fd), -EPERM);
	leave(&peer);
}

TEST_F(calls, a_receiver_over_its_limit_is_edquot)
{
	struct quarry_pool_create c;
	struct pool limited, peer;
	uint64_t out[5];

	create_defaults(&c);
	c.bytes = MIB;
	c.client_limit = 4 * 64;
	ASSERT_EQ(create(&limited, &c), 0);
	ASSERT_EQ(join(&peer, limited.fd, 1), 0);
	EXPECT_EQ(alloc_n(&limited, 64, 0, 5, out), 4);
	EXPECT_EQ(alloc_n(&limited, 64, 0, 1, out + 4), -EDQUOT);
	EXPECT_EQ(alloc_n(&peer, 64, 0, 1, out + 4), 1);
	EXPECT_EQ(transfer_n(&limited, peer.client, 4, out), 3);
	EXPECT_EQ(transfer_n(&limited, peer.client, 1, out + 3), -EDQUOT);
	EXPECT_EQ(verify(limited.fd), 0);
	leave(&peer);
	leave(&limited);
}

TEST_F(calls, a_fault_while_the_answer_is_written_gives_the_grant_back)
{
	/* The array can be read, not written; the structure neither, after the call began. */
	uint64_t *locked = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(locked, MAP_FAILED);
	for (int i = 0; i < 50; i++) {
		EXPECT_EQ(alloc_n(&self->pool, 64, 0, 100, locked), -EFAULT);
	}
	/* An array whose second page is missing. */
	uint8_t *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);

	ASSERT_EQ(munmap(pages + PAGE, PAGE), 0);
	EXPECT_EQ(alloc_n(&self->pool, 64, 0, 600, (uint64_t *)(pages + PAGE - 64)), -EFAULT);
	/* The structure itself is read-only: the offsets arrive, the count cannot. */
	struct quarry_alloc *a = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t out[8];

	*a = (struct quarry_alloc){ .size = sizeof(*a), .object_size = 64, .count = 8,
				    .offsets = (uintptr_t)out };
	ASSERT_EQ(mprotect(a, PAGE, PROT_READ), 0);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_ALLOC, a), -EFAULT);
}

TEST_F(calls, a_batch_stops_at_the_first_refusal_and_says_how_many)
{
	uint64_t out[10];
	struct quarry_free f = { .size = sizeof(f), .count = 10, .offsets = (uintptr_t)out };

	ASSERT_EQ(alloc_n(&self->pool, 128, 0, 10, out), 10);
	uint64_t sixth = out[6];

	out[6] = out[1];
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_FREE, &f), 0);
	EXPECT_EQ(f.done, 6);
	EXPECT_EQ(f.error, EALREADY);
	out[6] = sixth;
	EXPECT_EQ(free_n(&self->pool, 4, out + 6), 4);
}

TEST_F(calls, wrong_offsets_of_transfer_have_their_errno_and_move_nothing)
{
	uint64_t to = self->pool.client;
	uint64_t offset = self->kept + 4;

	EXPECT_EQ(transfer_n(&self->pool, to, 1, &offset), -EINVAL);
	offset = self->kept + 8;
	EXPECT_EQ(transfer_n(&self->pool, to, 1, &offset), -EBADSLT);
	offset = self->pool.max_bytes;
	EXPECT_EQ(transfer_n(&self->pool, to, 1, &offset), -ERANGE);
	offset = self->pool.max_bytes - PAGE;
	EXPECT_EQ(transfer_n(&self->pool, to, 1, &offset), -ENXIO);
	EXPECT_EQ(transfer_n(&self->pool, to, 1, NULL), -EFAULT);
	offset = self->kept;
	EXPECT_EQ(transfer_n(&self->pool, 1ULL << 40, 1, &offset), -ESRCH);
	EXPECT_EQ(stat_of(self->pool.fd).transfers, self->before.transfers);
}

TEST_F(calls, a_stranger_looks_but_does_not_acknowledge)
{
	int pids_fd = self->pool.fd;
	pid_t pid = fork();

	if (pid == 0) {
		struct quarry_stat s = { .size = sizeof(s) };

		if (call(pids_fd, QUARRY_IOC_STAT, &s))
			_exit(1);
		s.size = sizeof(s);
		s.flags = QUARRY_STAT_ACK;
		_exit(call(pids_fd, QUARRY_IOC_STAT, &s) == -EXDEV ? 0 : 2);
	}
	EXPECT_EQ(status_of(pid), 0);
}

TEST_HARNESS_MAIN
