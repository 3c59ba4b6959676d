// SPDX-License-Identifier: MIT
/*
 * What a client sets aside: its next allocations cannot fail, nobody else gets it, and its death
 * brings it back. (README: "What is set aside can be had, whatever else is full")
 */
#include "device.h"
#include "kselftest_harness.h"

FIXTURE(reserves)
{
	struct pool a, b;
};

FIXTURE_SETUP(reserves)
{
	ASSERT_EQ(create_heap(&self->a, 4 * MIB, 4 * MIB), 0);
	ASSERT_EQ(join(&self->b, self->a.fd, 1), 0);
}

FIXTURE_TEARDOWN(reserves)
{
	EXPECT_EQ(verify(self->a.fd), 0);
	leave(&self->b);
	leave(&self->a);
}

/* Takes objects of one size until the pool says no. */
static int take_all(struct pool *p, uint64_t size, uint64_t align)
{
	static uint64_t out[QUARRY_MAX_BATCH];
	int n, all = 0;

	while ((n = alloc_n(p, size, align, QUARRY_MAX_BATCH, out)) > 0)
		all += n;
	return n == -ENOSPC ? all : n;
}

static const struct {
	uint64_t size;
	uint64_t align;
	uint32_t n;
} kRequests[] = {
	{ 8, 0, 1000 }, { 64, 0, 300 }, { 24, 16, 10 }, { 2048, 0, 5 }, { 5000, 0, 3 },
	{ 100000, 0, 2 }, { 4096, 65536, 2 },
};
#define REQUESTS (int)(sizeof(kRequests) / sizeof(kRequests[0]))

TEST_F(reserves, the_next_allocations_of_a_full_pool_cannot_fail)
{
	static uint64_t out[2000];
	uint64_t all = 0;

	for (int i = 0; i < REQUESTS; i++) {
		EXPECT_EQ(reserve_n(&self->a, kRequests[i].size, kRequests[i].align, kRequests[i].n),
			  (int)kRequests[i].n);
		all += kRequests[i].n;
	}
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, all);
	EXPECT_EQ(stat_of(self->a.fd).client_objects, all);
	EXPECT_GT(take_all(&self->b, 4096, 0), 100);
	/* What is free in slabs of these sizes. */
	for (int i = 0; i < REQUESTS; i++)
		EXPECT_GE(take_all(&self->b, kRequests[i].size, kRequests[i].align), 0);
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, all);
	for (int i = 0; i < REQUESTS; i++) {
		int n = kRequests[i].n, k;

		/* What is free in its own slabs comes first. */
		for (k = 0; k < 2000; k++)
			if (alloc_n(&self->a, kRequests[i].size, kRequests[i].align, 1, &out[k]) != 1)
				break;
		EXPECT_GE(k, n);
		EXPECT_LT(k, 2000);
		for (int j = 0; j < k; j++) {
			EXPECT_EQ(out[j] % (kRequests[i].align ?: 8), 0);
			memset(self->a.memory + out[j], i, kRequests[i].size);
		}
		EXPECT_EQ(reserve_n(&self->a, kRequests[i].size, kRequests[i].align, 0), 0);
		EXPECT_EQ(free_n(&self->a, k, out), k);
	}
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, 0);
	EXPECT_EQ(stat_of(self->a.fd).client_objects, 0);
}

TEST_F(reserves, a_batch_takes_what_there_is_and_says_why_no_more)
{
	struct quarry_alloc a = { .size = sizeof(a), .object_size = 4096, .count = 20 };
	uint64_t out[20];

	ASSERT_EQ(reserve_n(&self->a, 4096, 0, 12), 12);
	ASSERT_GT(take_all(&self->b, 4096, 0), 0);
	a.offsets = (uintptr_t)out;
	EXPECT_EQ(call(self->a.fd, QUARRY_IOC_ALLOC, &a), 0);
	EXPECT_EQ(a.done, 12);
	EXPECT_EQ(a.error, ENOSPC);
	EXPECT_EQ(free_n(&self->a, 12, out), 12);
}

TEST_F(reserves, within_a_limit_it_is_counted_once)
{
	struct quarry_pool_create c;
	struct pool p;
	uint64_t out[100];

	create_defaults(&c);
	c.bytes = MIB;
	c.client_limit = 64 * 100;
	ASSERT_EQ(create_raw(&c), 0);
	memset(&p, 0, sizeof(p));
	ASSERT_EQ(join(&p, c.fd, 1), 0);
	EXPECT_EQ(reserve_n(&p, 64, 0, 101), -EDQUOT);
	EXPECT_EQ(stat_of(p.fd).client_objects, 0);
	EXPECT_EQ(reserve_n(&p, 64, 0, 30), 30);
	EXPECT_EQ(alloc_n(&p, 64, 0, 100, out), 100);
	EXPECT_EQ(alloc_n(&p, 64, 0, 1, out), -EDQUOT);
	EXPECT_EQ(stat_of(p.fd).client_bytes, 6400);
	EXPECT_EQ(stat_of(p.fd).reserve_objects, 0);
	leave(&p);
	close(c.fd);
}

TEST_F(reserves, a_refill_draws_on_it_too)
{
	struct quarry_refill r = { .size = sizeof(r), .class_index = 7 };

	ASSERT_EQ(reserve_n(&self->a, 64, 0, 2), 2);
	ASSERT_GT(take_all(&self->b, 4096, 0), 0);
	ASSERT_GT(take_all(&self->b, 64, 0), 0);
	/* The slab of the two has more. */
	while (stat_of(self->a.fd).reserve_objects == 2)
		ASSERT_EQ(call(self->a.fd, QUARRY_IOC_REFILL, &r), 0);
	EXPECT_EQ(r.filled, 0);
	EXPECT_EQ(call(self->a.fd, QUARRY_IOC_REFILL, &r), 0);
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, 0);
	EXPECT_EQ(call(self->a.fd, QUARRY_IOC_REFILL, &r), -ENOSPC);
}

TEST_F(reserves, no_drain_takes_it_for_another_client)
{
	struct quarry_drain d = { .size = sizeof(d), .flags = QUARRY_DRAIN_POOL };

	ASSERT_EQ(reserve_n(&self->b, 4096, 0, 100), 100);
	EXPECT_EQ(call(self->a.fd, QUARRY_IOC_DRAIN, &d), 0);
	EXPECT_EQ(take_all(&self->a, 4096, 0), 1024 - 100);
	EXPECT_EQ(stat_of(self->b.fd).client_objects, 100);
	EXPECT_EQ(stat_of(self->b.fd).reserve_objects, 100);
}

TEST_F(reserves, it_is_raised_and_lowered)
{
	EXPECT_EQ(reserve_n(&self->a, 64, 0, 0), 0);
	EXPECT_EQ(reserve_n(&self->a, 64, 0, QUARRY_MAX_BATCH), QUARRY_MAX_BATCH);
	EXPECT_EQ(reserve_n(&self->a, 60, 8, 1000), 1000);
	EXPECT_EQ(stat_of(self->a.fd).client_objects, 1000);
	EXPECT_EQ(reserve_n(&self->a, 64, 0, 1001), 1001);
	/* Not so many can be had: as many as before. */
	EXPECT_EQ(reserve_n(&self->a, 4096, 0, 10), 10);
	EXPECT_EQ(reserve_n(&self->a, 4096, 0, 1100), -ENOSPC);
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, 1011);
	EXPECT_EQ(reserve_n(&self->a, 4096, 0, 0), 0);
	EXPECT_EQ(reserve_n(&self->a, 64, 0, 0), 0);
	EXPECT_EQ(stat_of(self->a.fd).client_objects, 0);
	EXPECT_EQ(stat_of(self->a.fd).frees, 0);
	EXPECT_EQ(stat_of(self->a.fd).allocs, 0);
}

TEST_F(reserves, a_killed_clients_reserve_is_back_before_waitpid)
{
	int told[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		struct pool p;

		if (join(&p, self->a.fd, 1) || reserve_n(&p, 64, 0, 3000) != 3000 ||
		    reserve_n(&p, 20000, 0, 20) != 20)
			_exit(51);
		if (write(told[1], "", 1) != 1)
			_exit(52);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(told[0], &byte, 1), 1);
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, 3020);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, 0);
	EXPECT_EQ(stat_of(self->a.fd).objects, 0);
	EXPECT_EQ(stat_of(self->a.fd).reaped_objects, 3020);
	EXPECT_EQ(reserve_n(&self->a, 4096, 0, 1000), 1000);
}

TEST_F(reserves, a_guess_at_it_is_ealready_by_each_call)
{
	struct quarry_transfer s = { .size = sizeof(s), .to_client = self->b.client, .count = 1 };
	uint64_t all[64];

	/* Of what was freed just now these are the next. */
	ASSERT_EQ(alloc_n(&self->a, 4096, 0, 64, all), 64);
	ASSERT_EQ(free_n(&self->a, 64, all), 64);
	ASSERT_EQ(reserve_n(&self->a, 4096, 0, 1024), 1024);
	for (int i = 0; i < 64; i++) {
		EXPECT_EQ(free_one(&self->a, all[i]), -EALREADY);
		EXPECT_EQ(transfer_n(&self->a, self->b.client, 1, &all[i]), -EALREADY);
		s.offsets = (uintptr_t)&all[i];
		EXPECT_EQ(call(self->a.fd, QUARRY_IOC_SHARE, &s), -EALREADY);
		EXPECT_EQ(free_one(&self->b, all[i]), -EACCES);
	}
	EXPECT_EQ(stat_of(self->a.fd).reserve_objects, 1024);
}

TEST_F(reserves, wrong_calls_have_their_own_errors)
{
	struct pool unmapped;
	pid_t pid;

	EXPECT_EQ(reserve_n(&self->a, 0, 0, 1), -EINVAL);
	EXPECT_EQ(reserve_n(&self->a, 64, 24, 1), -EINVAL);
	EXPECT_EQ(reserve_n(&self->a, 64, 0, QUARRY_MAX_BATCH + 1), -EMSGSIZE);
	EXPECT_EQ(reserve_n(&self->a, QUARRY_MAX_OBJECT + 1, 0, 1), -EFBIG);
	EXPECT_EQ(reserve_n(&self->a, 64, 1ULL << 40, 1), -EFBIG);
	EXPECT_EQ(reserve_n(&self->a, ~0ULL, 0, 2), -EOVERFLOW);
	EXPECT_EQ(reserve_n(&self->a, 4 * MIB, 0, 2), -ENOSPC);
	ASSERT_EQ(join(&unmapped, self->a.fd, 0), 0);
	EXPECT_EQ(reserve_n(&unmapped, 64, 0, 1), -ENOTCONN);
	leave(&unmapped);
	pid = fork();
	if (pid == 0)
		_exit(reserve_n(&self->a, 64, 0, 1) == -EXDEV ? 0 : 1);
	EXPECT_EQ(status_of(pid), 0);
	munmap(self->b.area, self->b.area_bytes);
	self->b.area = NULL;
	EXPECT_EQ(reserve_n(&self->b, 64, 0, 1), -ESHUTDOWN);
	EXPECT_EQ(stat_of(self->a.fd).objects, 0);
}

TEST_F(reserves, more_than_a_client_can_set_aside_is_exfull)
{
	struct pool large;

	leave(&self->b);
	leave(&self->a);
	ASSERT_EQ(create_heap(&self->a, 16 * MIB, 16 * MIB), 0);
	ASSERT_EQ(join(&self->b, self->a.fd, 1), 0);
	for (int pages = 1; pages <= 40; pages++)
		ASSERT_EQ(reserve_n(&self->a, pages * 4096, 0, 1), 1);
	for (int size = 8, left = 24; left; size += 8) {
		uint64_t before = stat_of(self->a.fd).reserve_objects;

		ASSERT_EQ(reserve_n(&self->a, size, 0, 1), 1);
		left -= stat_of(self->a.fd).reserve_objects != before;
	}
	EXPECT_EQ(reserve_n(&self->a, 41 * 4096, 0, 1), -EXFULL);
	EXPECT_EQ(reserve_n(&self->a, 3 * 4096, 0, 0), 0);
	EXPECT_EQ(reserve_n(&self->a, 41 * 4096, 0, 1), 1);
	ASSERT_EQ(create_heap(&large, 8 * MIB, 8 * MIB), 0);
	for (int i = 1; i <= 4; i++)
		EXPECT_EQ(reserve_n(&large, i * 8, 0, 4096), 4096);
	EXPECT_EQ(reserve_n(&large, 40, 0, 1), -EXFULL);
	EXPECT_EQ(reserve_n(&large, 8, 0, 4095), 4095);
	EXPECT_EQ(reserve_n(&large, 40, 0, 1), 1);
	leave(&large);
}

TEST_F(reserves, fixed_pools_and_ranges_have_them_too)
{
	struct quarry_pool_create c;
	struct pool p;
	uint64_t out[100];
	int control_fd = control();

	create_defaults(&c);
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 72;
	c.object_count = 100;
	ASSERT_EQ(create_raw(&c), 0);
	ASSERT_EQ(join(&p, c.fd, 1), 0);
	EXPECT_EQ(reserve_n(&p, 64, 0, 1), -EMSGSIZE);
	EXPECT_EQ(reserve_n(&p, 72, 0, 101), -ENOSPC);
	EXPECT_EQ(reserve_n(&p, 72, 0, 100), 100);
	EXPECT_EQ(alloc_n(&p, 72, 0, 100, out), 100);
	EXPECT_EQ(alloc_n(&p, 72, 0, 1, out), -ENOSPC);
	leave(&p);
	close(c.fd);

	create_defaults(&c);
	c.kind = QUARRY_KIND_RANGE;
	c.max_bytes = MIB;
	c.granule = 256;
	c.max_ranges = 50;
	ASSERT_EQ(create_raw(&c), 0);
	memset(&p, 0, sizeof(p));
	ASSERT_EQ(join(&p, c.fd, 0), 0);
	ASSERT_EQ(map_area(&p), 0);
	EXPECT_EQ(reserve_n(&p, 2 * MIB, 0, 1), -EFBIG);
	EXPECT_EQ(reserve_n(&p, 1000, 4096, 51), -ENOSR);
	EXPECT_EQ(reserve_n(&p, 1000, 4096, 50), 50);
	EXPECT_EQ(alloc_n(&p, 256, 0, 1, out), -ENOSR);
	EXPECT_EQ(alloc_n(&p, 1000, 4096, 50, out), 50);
	for (int i = 0; i < 50; i++)
		EXPECT_EQ(out[i] % 4096, 0);
	EXPECT_EQ(reserve_n(&p, 256, 0, 1), -ENOSR);
	EXPECT_EQ(free_n(&p, 50, out), 50);
	EXPECT_EQ(reserve_n(&p, 256, 0, 1), 1);
	EXPECT_EQ(resize_one(&p, 0, 512), -EALREADY);
	leave(&p);
	close(c.fd);
	close(control_fd);
}

TEST_HARNESS_MAIN
