// SPDX-License-Identifier: MIT
/*
 * Range pools: offsets of memory that is not Quarry's, with owners, limits, errors and
 * reaps like any other object. (README: "A range pool's offsets have owners and errors
 * like any object")
 */
#include "device.h"
#include "kselftest_harness.h"

enum { GRANULE = 256 };

static void range_defaults(struct quarry_pool_create *c)
{
	create_defaults(c);
	c->kind = QUARRY_KIND_RANGE;
	c->max_bytes = 64 * KIB;
	c->granule = GRANULE;
	c->max_ranges = 100;
	c->range_align[0] = PAGE;
}

static int join_ranges(struct pool *p, int fd)
{
	int err = join(p, fd, 0);

	return err ? err : map_area(p);
}

FIXTURE(ranges)
{
	struct pool pool;
};

FIXTURE_SETUP(ranges)
{
	struct quarry_pool_create c;

	range_defaults(&c);
	ASSERT_EQ(create_unmapped(&self->pool, &c), 0);
	ASSERT_EQ(self->pool.max_bytes, 64 * KIB);
}

FIXTURE_TEARDOWN(ranges)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

TEST_F(ranges, sizes_are_granules_and_the_smallest_gap_that_fits_is_taken)
{
	uint64_t out[8];
	struct quarry_stat s;

	ASSERT_EQ(alloc_n(&self->pool, 1000, 0, 8, out), 8);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(out[i], (uint64_t)i * 1024);
	s = stat_of(self->pool.fd);
	EXPECT_EQ(s.kind, QUARRY_KIND_RANGE);
	EXPECT_EQ(s.objects, 8);
	EXPECT_EQ(s.used_bytes, 8 * 1024);
	EXPECT_EQ(s.free_bytes, 56 * KIB);
	EXPECT_EQ(s.bytes, 0);
	EXPECT_GT(s.meta_bytes, 0);
	EXPECT_EQ(free_one(&self->pool, out[2]), 0);
	EXPECT_EQ(free_one(&self->pool, out[5]), 0);
	EXPECT_EQ(free_one(&self->pool, out[6]), 0);
	EXPECT_EQ(alloc_one(&self->pool, 1024), (int64_t)out[2]);
	EXPECT_EQ(alloc_one(&self->pool, 2048), (int64_t)out[5]);
}

TEST_F(ranges, each_wrong_free_has_its_errno_and_changes_nothing)
{
	int64_t range = alloc_one(&self->pool, 1024);
	int64_t next = alloc_one(&self->pool, 1024);

	ASSERT_EQ(range, 0);
	ASSERT_EQ(next, 1024);
	EXPECT_EQ(free_one(&self->pool, range + 8), -EINVAL);
	EXPECT_EQ(free_one(&self->pool, range + GRANULE), -EBADSLT);
	EXPECT_EQ(free_one(&self->pool, 63 * KIB), -EALREADY);
	EXPECT_EQ(free_one(&self->pool, 64 * KIB), -ERANGE);
	EXPECT_EQ(free_one(&self->pool, ~0ULL & ~255ULL), -ERANGE);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 2);
	EXPECT_EQ(free_one(&self->pool, range), 0);
	EXPECT_EQ(free_one(&self->pool, range), -EALREADY);
	EXPECT_EQ(free_one(&self->pool, next), 0);
	/* Also after the neighbours have become one. */
	EXPECT_EQ(free_one(&self->pool, next), -EALREADY);
}

TEST_F(ranges, each_wrong_request_has_its_errno)
{
	uint64_t out[4];

	EXPECT_EQ(alloc_n(&self->pool, 0, 0, 1, out), -EINVAL);
	EXPECT_EQ(alloc_n(&self->pool, 8, 3, 1, out), -EINVAL);
	EXPECT_EQ(alloc_n(&self->pool, 8, 0, 0, out), -EINVAL);
	EXPECT_EQ(alloc_n(&self->pool, 64 * KIB + 1, 0, 1, out), -EFBIG);
	EXPECT_EQ(alloc_n(&self->pool, 1ULL << 63, 0, 2, out), -EOVERFLOW);
	EXPECT_EQ(alloc_n(&self->pool, 40 * KIB, 0, 2, out), 1);
	EXPECT_EQ(alloc_n(&self->pool, 40 * KIB, 0, 1, out), -ENOSPC);
}

TEST_F(ranges, as_many_ranges_as_were_asked_for_and_one_more_is_ENOSR)
{
	uint64_t out[101];

	ASSERT_EQ(alloc_n(&self->pool, 1, 0, 101, out), 100);
	EXPECT_EQ(alloc_n(&self->pool, 1, 0, 1, out), -ENOSR);
	EXPECT_EQ(free_n(&self->pool, 100, out), 100);
	EXPECT_EQ(alloc_one(&self->pool, 64 * KIB), 0);
}

TEST_F(ranges, a_declared_alignment_is_exact_and_another_is_found_too)
{
	EXPECT_EQ(alloc_one(&self->pool, GRANULE), 0);
	uint64_t at = 1;

	EXPECT_EQ(alloc_n(&self->pool, 100, PAGE, 1, &at), 1);
	EXPECT_EQ(at, PAGE);
	EXPECT_EQ(alloc_n(&self->pool, 100, 16 * KIB, 1, &at), 1);
	EXPECT_EQ(at % (16 * KIB), 0);
	EXPECT_EQ(alloc_n(&self->pool, 100, 1ULL << 40, 1, &at), -ENOSPC);
}

TEST_F(ranges, a_client_without_its_area_resizes_nothing)
{
	struct pool second;

	ASSERT_EQ(join(&second, self->pool.fd, 0), 0);
	EXPECT_EQ(resize_one(&second, 0, 512), -ENOTCONN);
	ASSERT_EQ(map_area(&second), 0);
	EXPECT_EQ(resize_one(&second, 0, 512), -EALREADY);
	leave(&second);
}

TEST_F(ranges, a_resize_stays_in_its_place_or_changes_nothing)
{
	int64_t range = alloc_one(&self->pool, 1024);
	int64_t next = alloc_one(&self->pool, 1024);

	ASSERT_EQ(range, 0);
	EXPECT_EQ(resize_one(&self->pool, range, 2000), -ENOSPC);
	EXPECT_EQ(resize_one(&self->pool, range, 100), GRANULE);
	EXPECT_EQ(resize_one(&self->pool, range, 1024), 1024);
	EXPECT_EQ(free_one(&self->pool, next), 0);
	EXPECT_EQ(resize_one(&self->pool, range, 64 * KIB), (int64_t)(64 * KIB));
	EXPECT_EQ(resize_one(&self->pool, range, 64 * KIB + 1), -ENOSPC);
	EXPECT_EQ(resize_one(&self->pool, range, 0), -EINVAL);
	EXPECT_EQ(resize_one(&self->pool, range + 8, 8), -EINVAL);
	EXPECT_EQ(resize_one(&self->pool, range + 1024, 8), -EBADSLT);
	EXPECT_EQ(resize_one(&self->pool, 64 * KIB, 8), -ERANGE);
	EXPECT_EQ(stat_of(self->pool.fd).used_bytes, 64 * KIB);
	EXPECT_EQ(resize_one(&self->pool, range, 1), GRANULE);
	EXPECT_EQ(stat_of(self->pool.fd).used_bytes, GRANULE);
}

TEST_F(ranges, only_the_owner_frees_resizes_and_hands_over)
{
	struct pool other;
	uint64_t range = alloc_one(&self->pool, 1024);

	ASSERT_EQ(join_ranges(&other, self->pool.fd), 0);
	EXPECT_EQ(free_one(&other, range), -EACCES);
	EXPECT_EQ(resize_one(&other, range, 8), -EACCES);
	EXPECT_EQ(transfer_n(&other, self->pool.client, 1, &range), -EACCES);
	EXPECT_EQ(transfer_n(&self->pool, other.client, 1, &range), 1);
	EXPECT_EQ(free_one(&self->pool, range), -EACCES);
	EXPECT_EQ(free_one(&other, range), 0);
	leave(&other);
}

TEST_F(ranges, a_killed_client_gives_its_ranges_back_before_waitpid)
{
	int up[2];
	int64_t mine = alloc_one(&self->pool, 1024);
	pid_t pid;

	ASSERT_EQ(pipe(up), 0);
	pid = fork();
	if (pid == 0) {
		struct pool p;
		uint64_t out[50];

		if (join_ranges(&p, self->pool.fd) || alloc_n(&p, 700, 0, 50, out) != 50)
			_exit(1);
		tell(up[1]);
		for (;;)
			pause();
	}
	wait_for(up[0]);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 51);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	struct quarry_stat s = stat_of(self->pool.fd);

	EXPECT_EQ(s.objects, 1);
	EXPECT_EQ(s.reaped_objects, 50);
	EXPECT_EQ(s.reaped_bytes, 50 * 768);
	EXPECT_EQ(s.late_reaps, 0);
	EXPECT_EQ(free_one(&self->pool, mine), 0);
	EXPECT_EQ(alloc_one(&self->pool, 64 * KIB), 0);
	close(up[0]);
	close(up[1]);
}

TEST_F(ranges, what_is_for_memory_is_not_for_ranges)
{
	struct quarry_region r = { .size = sizeof(r), .node = -1, .bytes = PAGE };
	struct quarry_drain d = { .size = sizeof(d), .flags = QUARRY_DRAIN_POOL };

	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &r), -EOPNOTSUPP);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &r), -EOPNOTSUPP);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_DRAIN, &d), 0);
	EXPECT_EQ(map_memory(&self->pool), -EOPNOTSUPP);
	self->pool.memory = NULL;
}

TEST(other_kinds_cannot_resize)
{
	struct pool heap;
	int64_t object;

	ASSERT_EQ(create_heap(&heap, MIB, MIB), 0);
	object = alloc_one(&heap, 64);
	EXPECT_EQ(resize_one(&heap, object, 32), -EOPNOTSUPP);
	EXPECT_EQ(free_one(&heap, object), 0);
	leave(&heap);
}

TEST(each_wrong_description_has_its_errno)
{
	struct quarry_pool_create c;
	static const struct {
		size_t field;
		uint64_t value;
		int error;
	} cases[] = {
		{ offsetof(struct quarry_pool_create, max_bytes), 0, -EINVAL },
		{ offsetof(struct quarry_pool_create, max_bytes), 1000, -EINVAL },
		{ offsetof(struct quarry_pool_create, granule), 0, -EINVAL },
		{ offsetof(struct quarry_pool_create, granule), 96, -EINVAL },
		{ offsetof(struct quarry_pool_create, max_ranges), 0, -EINVAL },
		{ offsetof(struct quarry_pool_create, max_ranges), QUARRY_MAX_RANGES + 1, -EFBIG },
		{ offsetof(struct quarry_pool_create, bytes), PAGE, -EINVAL },
		{ offsetof(struct quarry_pool_create, object_size), 8, -EINVAL },
		{ offsetof(struct quarry_pool_create, object_count), 8, -EINVAL },
		{ offsetof(struct quarry_pool_create, range_align), 3, -EINVAL },
		{ offsetof(struct quarry_pool_create, range_align), GRANULE, -EINVAL },
		{ offsetof(struct quarry_pool_create, range_align) + 8, PAGE, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		range_defaults(&c);
		memcpy((char *)&c + cases[i].field, &cases[i].value, 8);
		EXPECT_EQ(create_raw(&c), cases[i].error)
			TH_LOG("case %zu", i);
	}
	range_defaults(&c);
	c.flags = QUARRY_POOL_ZERO;
	EXPECT_EQ(create_raw(&c), -EINVAL);
	range_defaults(&c);
	c.kind = QUARRY_KIND_HEAP;
	EXPECT_EQ(create_raw(&c), -EINVAL);
	range_defaults(&c);
	c.granule = 1;
	c.max_bytes = (1ULL << 62) + 1;
	c.range_align[0] = 0;
	EXPECT_EQ(create_raw(&c), -EFBIG);
}

TEST(a_range_pool_of_the_largest_capacity_works_and_its_records_are_charged)
{
	long before = parameter("max_user_bytes");
	struct quarry_pool_create c;
	struct pool p;

	range_defaults(&c);
	c.granule = 1ULL << 20;
	c.max_bytes = 1ULL << 62;
	c.range_align[0] = 1ULL << 30;
	ASSERT_EQ(create_unmapped(&p, &c), 0);
	EXPECT_EQ(alloc_one(&p, 1ULL << 61), 0);
	EXPECT_EQ(alloc_one(&p, (1ULL << 61) + 1), -ENOSPC);
	EXPECT_EQ(alloc_one(&p, 1ULL << 61), (int64_t)(1ULL << 61));
	EXPECT_EQ(verify(p.fd), 0);
	leave(&p);

	ASSERT_GT(before, 0);
	ASSERT_EQ(set_parameter("max_user_bytes", PAGE), 0);
	range_defaults(&c);
	EXPECT_EQ(create_raw(&c), -EDQUOT);
	ASSERT_EQ(set_parameter("max_user_bytes", before), 0);
}

TEST_HARNESS_MAIN
