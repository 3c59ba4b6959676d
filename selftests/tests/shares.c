// SPDX-License-Identifier: MIT
/*
 * Objects that several clients hold: the last one's free is the object's end, and a dead holder's
 * share goes with it. (README: "A shared object lives as long as its last holder")
 */
#include "device.h"
#include <time.h>
#include "kselftest_harness.h"

static int share_n(struct pool *p, uint64_t to, uint32_t n, const uint64_t *offsets)
{
	struct quarry_transfer s = { .size = sizeof(s), .to_client = to, .count = n,
				     .offsets = (uintptr_t)offsets };
	int err = call(p->fd, QUARRY_IOC_SHARE, &s);

	return err ? err : (int)s.done;
}

FIXTURE(shares)
{
	struct pool a, b;
	int up[2];
};

FIXTURE_SETUP(shares)
{
	ASSERT_EQ(create_heap(&self->a, MIB, 8 * MIB), 0);
	ASSERT_EQ(join(&self->b, self->a.fd, 1), 0);
	ASSERT_EQ(pipe(self->up), 0);
}

FIXTURE_TEARDOWN(shares)
{
	EXPECT_EQ(verify(self->a.fd), 0);
	leave(&self->b);
	leave(&self->a);
}

TEST_F(shares, the_last_holders_free_is_the_objects_end)
{
	static const uint64_t sizes[] = { 8, 64, 1000, 2048, 5000, 100000 };

	for (int i = 0; i < 6; i++) {
		uint64_t out[4];

		ASSERT_EQ(alloc_n(&self->a, sizes[i], 0, 4, out), 4);
		strcpy((char *)self->a.memory + out[1], "shared");
		EXPECT_EQ(share_n(&self->a, self->b.client, 4, out), 4);
		EXPECT_EQ(stat_of(self->a.fd).client_objects, 4);
		EXPECT_EQ(stat_of(self->b.fd).client_objects, 4);
		EXPECT_EQ(stat_of(self->b.fd).shares, 8);
		EXPECT_EQ(free_n(&self->a, 4, out), 4);
		EXPECT_EQ(free_one(&self->a, out[0]), -EACCES);
		EXPECT_STREQ((char *)self->b.memory + out[1], "shared");
		EXPECT_EQ(free_n(&self->b, 4, out), 4);
		EXPECT_EQ(free_one(&self->b, out[0]), -EALREADY);
		EXPECT_EQ(stat_of(self->b.fd).shares, 0);
		EXPECT_EQ(stat_of(self->b.fd).objects, 0);
	}
}

TEST_F(shares, nobody_gets_what_somebody_holds)
{
	uint64_t mine[256], others[4096];
	int n;

	ASSERT_EQ(alloc_n(&self->a, 4096, 0, 256, mine), 256);
	ASSERT_EQ(share_n(&self->a, self->b.client, 256, mine), 256);
	for (int i = 0; i < 256; i++)
		memset(self->a.memory + mine[i], i, 4096);
	ASSERT_EQ(free_n(&self->a, 256, mine), 256);
	n = alloc_n(&self->a, 4096, 0, 4096, others);
	ASSERT_GT(n, 0);
	for (int i = 0; i < n; i++)
		memset(self->a.memory + others[i], 0xee, 4096);
	for (int i = 0; i < 256; i++)
		for (int k = 0; k < 4096; k += 1024)
			ASSERT_EQ(self->b.memory[mine[i] + k], (uint8_t)i);
	EXPECT_EQ(free_n(&self->b, 256, mine), 256);
	EXPECT_EQ(free_n(&self->a, n, others), n);
}

TEST_F(shares, a_killed_holders_share_is_gone_before_waitpid)
{
	uint64_t out[100], child_client = 0;
	int told[2];
	pid_t pid;

	ASSERT_EQ(pipe(told), 0);
	ASSERT_EQ(alloc_n(&self->a, 200, 0, 100, out), 100);
	pid = fork();
	if (pid == 0) {
		struct pool p;

		if (join(&p, self->a.fd, 1))
			_exit(51);
		if (write(told[1], &p.client, sizeof(p.client)) != sizeof(p.client))
			_exit(52);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(told[0], &child_client, sizeof(child_client)), (int)sizeof(child_client));
	ASSERT_EQ(share_n(&self->a, child_client, 100, out), 100);
	ASSERT_EQ(free_n(&self->a, 50, out), 50);
	EXPECT_EQ(stat_of(self->a.fd).shares, 150);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	/* The child was the last holder of 50, one of two of 50. */
	EXPECT_EQ(stat_of(self->a.fd).shares, 50);
	EXPECT_EQ(stat_of(self->a.fd).objects, 50);
	EXPECT_EQ(stat_of(self->a.fd).reaped_objects, 100);
	EXPECT_EQ(verify(self->a.fd), 0);
	EXPECT_EQ(free_one(&self->a, out[0]), -EALREADY);
	EXPECT_EQ(free_n(&self->a, 50, out + 50), 50);
}

TEST_F(shares, a_transfer_hands_on_the_share)
{
	struct pool c;
	uint64_t o;

	ASSERT_EQ(join(&c, self->a.fd, 1), 0);
	o = alloc_one(&self->a, 64);
	ASSERT_EQ(share_n(&self->a, self->b.client, 1, &o), 1);
	EXPECT_EQ(transfer_n(&self->a, self->b.client, 1, &o), -EEXIST);
	EXPECT_EQ(transfer_n(&self->a, c.client, 1, &o), 1);
	EXPECT_EQ(free_one(&self->a, o), -EACCES);
	EXPECT_EQ(free_one(&self->b, o), 0);
	EXPECT_EQ(stat_of(self->a.fd).objects, 1);
	EXPECT_EQ(free_one(&c, o), 0);
	leave(&c);
}

TEST_F(shares, each_wrong_share_has_its_errno_and_changes_nothing)
{
	struct quarry_transfer s = { .size = sizeof(s), .to_client = self->b.client, .count = 1 };
	struct pool unmapped, stranger;
	uint64_t o, wrong;

	ASSERT_EQ(join(&unmapped, self->a.fd, 0), 0);
	ASSERT_EQ(join(&stranger, self->a.fd, 1), 0);
	o = alloc_one(&self->a, 64);
	for (int is_shared = 0; is_shared < 2; is_shared++) {
		if (is_shared) {
			ASSERT_EQ(share_n(&self->a, self->b.client, 1, &o), 1);
			EXPECT_EQ(share_n(&self->a, self->b.client, 1, &o), -EEXIST);
		}
		EXPECT_EQ(share_n(&self->a, self->a.client, 1, &o), -EEXIST);
		EXPECT_EQ(share_n(&self->a, 99999999, 1, &o), -ESRCH);
		EXPECT_EQ(share_n(&self->a, unmapped.client, 1, &o), -EUNATCH);
		EXPECT_EQ(share_n(&unmapped, self->b.client, 1, &o), -ENOTCONN);
		EXPECT_EQ(share_n(&stranger, self->b.client, 1, &o), -EACCES);
		wrong = o + 8;
		EXPECT_EQ(share_n(&self->a, self->b.client, 1, &wrong), -EBADSLT);
		wrong = o + 4;
		EXPECT_EQ(share_n(&self->a, self->b.client, 1, &wrong), -EINVAL);
		wrong = 8 * MIB;
		EXPECT_EQ(share_n(&self->a, self->b.client, 1, &wrong), -ERANGE);
		wrong = o + 64;
		EXPECT_EQ(share_n(&self->a, self->b.client, 1, &wrong), -EALREADY);
		EXPECT_EQ(share_n(&self->a, self->b.client, 0, &o), -EINVAL);
		EXPECT_EQ(share_n(&self->a, self->b.client, QUARRY_MAX_BATCH + 1, &o), -EMSGSIZE);
		EXPECT_EQ(share_n(&self->a, self->b.client, 1, (uint64_t *)8), -EFAULT);
		s.offsets = (uintptr_t)&o;
		s.flags = 1;
		EXPECT_EQ(call(self->a.fd, QUARRY_IOC_SHARE, &s), -EINVAL);
		s.flags = 0;
		s.reserved = 1;
		EXPECT_EQ(call(self->a.fd, QUARRY_IOC_SHARE, &s), -EINVAL);
		s.reserved = 0;
		s.size = sizeof(s) - 8;
		EXPECT_EQ(call(self->a.fd, QUARRY_IOC_SHARE, &s), -EINVAL);
		s.size = sizeof(s);
		EXPECT_EQ(stat_of(self->a.fd).shares, is_shared ? 2 : 0);
		EXPECT_EQ(stat_of(self->a.fd).objects, 1 + is_shared);
		EXPECT_EQ(verify(self->a.fd), 0);
	}
	leave(&stranger);
	leave(&unmapped);
}

TEST_F(shares, a_receivers_limit_and_a_full_table_refuse)
{
	struct quarry_pool_create c;
	struct pool small, poor;
	uint64_t out[400];

	create_defaults(&c);
	c.bytes = c.max_bytes = 64 * PAGE;
	c.client_limit = 30000;
	ASSERT_EQ(create(&small, &c), 0);
	ASSERT_EQ(join(&poor, small.fd, 1), 0);
	ASSERT_EQ(alloc_n(&small, 64, 0, 400, out), 400);
	/* 256 records: for 128 objects, two each. */
	EXPECT_EQ(share_n(&small, poor.client, 400, out), 128);
	EXPECT_EQ(share_n(&small, poor.client, 1, out + 200), -ETOOMANYREFS);
	EXPECT_EQ(free_n(&poor, 128, out), 128);
	EXPECT_EQ(free_n(&small, 128, out), 128);
	EXPECT_EQ(stat_of(small.fd).shares, 0);
	EXPECT_EQ(alloc_n(&poor, 8192, 0, 3, out), 3);
	EXPECT_EQ(share_n(&small, poor.client, 100, out + 128), 84);
	EXPECT_EQ(share_n(&small, poor.client, 1, out + 290), -EDQUOT);
	EXPECT_EQ(verify(small.fd), 0);
	leave(&poor);
	EXPECT_EQ(stat_of(small.fd).objects, 400 - 128);
	leave(&small);
}

TEST_F(shares, ranges_are_not_shared)
{
	struct quarry_pool_create c;
	struct pool p, q;
	uint64_t o;

	create_defaults(&c);
	c.kind = QUARRY_KIND_RANGE;
	c.max_bytes = MIB;
	c.granule = 4096;
	c.max_ranges = 10;
	ASSERT_EQ(create_unmapped(&p, &c), 0);
	ASSERT_EQ(join(&q, p.fd, 0), 0);
	ASSERT_EQ(map_area(&q), 0);
	o = alloc_one(&p, 4096);
	EXPECT_EQ(share_n(&p, q.client, 1, &o), -EOPNOTSUPP);
	EXPECT_EQ(stat_of(p.fd).objects, 1);
	leave(&q);
	leave(&p);
}

/* Children share what they have with each other, free at random, and are killed. */
TEST_F(shares, a_storm_of_shares_and_kills_leaves_nothing)
{
	enum { CHILDREN = 4, ROUNDS = 12, MOST = 64 };
	struct board {
		uint64_t client[CHILDREN];
		uint64_t offered[CHILDREN][MOST];
	} *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(board, MAP_FAILED);
	for (int round = 0; round < ROUNDS; round++) {
		pid_t pid[CHILDREN];

		memset(board, 0, sizeof(*board));
		for (int me = 0; me < CHILDREN; me++) {
			pid[me] = fork();
			if (pid[me])
				continue;
			struct pool p;
			unsigned int seed = round * 10 + me;

			if (join(&p, self->a.fd, 1))
				_exit(51);
			__atomic_store_n(&board->client[me], p.client, __ATOMIC_RELEASE);
			for (;;) {
				int slot = rand_r(&seed) % MOST, to = rand_r(&seed) % CHILDREN;
				uint64_t *at = &board->offered[me][slot];
				uint64_t o = *at;
				int64_t got;

				/* What it has been given it frees; what it has it shares, or frees. */
				if (rand_r(&seed) % 4 == 0) {
					uint64_t other = board->offered[to][slot];

					if (other)
						free_one(&p, other - 1);
				} else if (!o) {
					got = alloc_one(&p, rand_r(&seed) % 3 ? 64 : 8192);
					if (got >= 0)
						*at = got + 1;
				} else if (rand_r(&seed) % 3) {
					o--;
					share_n(&p, board->client[to], 1, &o);
				} else {
					free_one(&p, o - 1);
					*at = 0;
				}
			}
		}
		for (int i = 0; i < CHILDREN; i++)
			while (!__atomic_load_n(&board->client[i], __ATOMIC_ACQUIRE))
				usleep(1000);
		usleep(20000 + round * 5000);
		for (int i = 0; i < CHILDREN; i++) {
			kill(pid[i], SIGKILL);
			if (i == 1)
				EXPECT_EQ(verify(self->a.fd), 0);
		}
		for (int i = 0; i < CHILDREN; i++)
			EXPECT_EQ(status_of(pid[i]), 128 + SIGKILL);
		ASSERT_EQ(stat_of(self->a.fd).objects, 0);
		ASSERT_EQ(stat_of(self->a.fd).shares, 0);
		ASSERT_EQ(verify(self->a.fd), 0);
	}
}

TEST_HARNESS_MAIN
