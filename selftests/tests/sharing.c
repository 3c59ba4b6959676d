// SPDX-License-Identifier: MIT
/*
 * Objects that change hands, batches, fixed pools, events. (README: "Only the owner
 * frees or transfers", "The kernel tells who died")
 */
#include "device.h"
#include <pthread.h>
#include <time.h>
#include "kselftest_harness.h"

FIXTURE(sharing)
{
	struct pool a, b;
};

FIXTURE_SETUP(sharing)
{
	ASSERT_EQ(create_heap(&self->a, MIB, 8 * MIB), 0);
	ASSERT_EQ(join(&self->b, self->a.fd, 1), 0);
}

FIXTURE_TEARDOWN(sharing)
{
	EXPECT_EQ(verify(self->a.fd), 0);
	leave(&self->b);
	leave(&self->a);
}

TEST_F(sharing, a_moved_object_belongs_to_its_receiver_alone)
{
	static const uint64_t sizes[] = { 8, 64, 1000, 2048, 5000, 100000 };

	for (int i = 0; i < 6; i++) {
		uint64_t out[8];

		ASSERT_EQ(alloc_n(&self->a, sizes[i], 0, 8, out), 8);
		strcpy((char *)self->a.memory + out[3], "handed");
		EXPECT_EQ(transfer_n(&self->a, self->b.client, 8, out), 8);
		EXPECT_STREQ((char *)self->b.memory + out[3], "handed");
		EXPECT_EQ(free_one(&self->a, out[0]), -EACCES);
		EXPECT_EQ(transfer_n(&self->a, self->b.client, 1, out), -EACCES);
		EXPECT_EQ(stat_of(self->a.fd).client_objects, 0);
		EXPECT_EQ(stat_of(self->b.fd).client_objects, 8);
		EXPECT_EQ(free_n(&self->b, 8, out), 8);
		EXPECT_EQ(transfer_n(&self->b, self->a.client, 1, out), -EALREADY);
	}
	EXPECT_EQ(stat_of(self->a.fd).transfers, 48);
}

TEST_F(sharing, an_object_moved_to_itself_stays)
{
	int64_t o = alloc_one(&self->a, 64);
	uint64_t offset = o;

	EXPECT_EQ(transfer_n(&self->a, self->a.client, 1, &offset), 1);
	EXPECT_EQ(stat_of(self->a.fd).client_objects, 1);
	EXPECT_EQ(free_one(&self->a, o), 0);
}

TEST_F(sharing, twenty_clients_can_own_objects_of_one_slab)
{
	enum { CLIENTS = 40 };
	struct pool peers[CLIENTS];
	uint64_t out[CLIENTS];

	ASSERT_EQ(alloc_n(&self->a, 64, 0, CLIENTS, out), CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		ASSERT_EQ(join(&peers[i], self->a.fd, 1), 0);
		ASSERT_EQ(transfer_n(&self->a, peers[i].client, 1, &out[i]), 1);
	}
	EXPECT_EQ(verify(self->a.fd), 0);
	for (int i = 0; i < CLIENTS; i++) {
		EXPECT_EQ(free_one(&self->a, out[i]), -EACCES);
		EXPECT_EQ(free_one(&peers[(i + 1) % CLIENTS], out[i]), -EACCES);
	}
	for (int i = 0; i < CLIENTS / 2; i++) {
		EXPECT_EQ(free_one(&peers[i], out[i]), 0);
	}
	for (int i = 0; i < CLIENTS; i++)
		leave(&peers[i]);
	EXPECT_EQ(stat_of(self->a.fd).objects, 0);
}

TEST_F(sharing, when_the_owner_records_of_a_slab_are_used_up_transfer_is_etoomanyrefs)
{
	enum { CLIENTS = 80 };
	static struct pool peers[CLIENTS];
	uint64_t out[CLIENTS];
	struct pool small;
	int moved = 0, last = 0;

	/* The smallest table of owners beyond a slab's fifteen: 48. */
	ASSERT_EQ(create_heap(&small, 64 * KIB, 64 * KIB), 0);
	ASSERT_EQ(alloc_n(&small, 64, 0, CLIENTS, out), CLIENTS);
	for (; moved < CLIENTS; moved++) {
		ASSERT_EQ(join(&peers[moved], small.fd, 1), 0);
		last = transfer_n(&small, peers[moved].client, 1, &out[moved]);
		if (last != 1)
			break;
	}
	EXPECT_EQ(last, -ETOOMANYREFS);
	EXPECT_EQ(moved, 14 + 48);
	/* It is still the giver's, and a client that has a record takes it. */
	EXPECT_EQ(stat_of(peers[moved].fd).client_objects, 0);
	EXPECT_EQ(stat_of(small.fd).transfers, (uint64_t)moved);
	EXPECT_EQ(transfer_n(&small, peers[0].client, 1, &out[moved]), 1);
	EXPECT_EQ(free_one(&peers[0], out[moved]), 0);
	EXPECT_EQ(verify(small.fd), 0);
	/* A death makes room for another owner. */
	leave(&peers[20]);
	EXPECT_EQ(transfer_n(&small, peers[moved].client, 1, &out[moved + 1]), 1);
	EXPECT_EQ(verify(small.fd), 0);
	for (int i = 0; i <= moved; i++)
		leave(&peers[i]);
	leave(&small);
}

TEST_F(sharing, a_receiver_that_dies_gives_back_what_it_received)
{
	int up[2], down[2];
	uint64_t client, out[100];
	pid_t pid;

	ASSERT_EQ(pipe(up), 0);
	ASSERT_EQ(pipe(down), 0);
	pid = fork();
	if (pid == 0) {
		struct pool p;

		if (join(&p, self->a.fd, 1))
			_exit(1);
		if (write(up[1], &p.client, sizeof(p.client)) != sizeof(p.client))
			_exit(2);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(up[0], &client, sizeof(client)), (ssize_t)sizeof(client));
	ASSERT_EQ(alloc_n(&self->a, 200, 0, 100, out), 100);
	ASSERT_EQ(transfer_n(&self->a, client, 100, out), 100);
	EXPECT_EQ(stat_of(self->a.fd).objects, 100);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_EQ(stat_of(self->a.fd).objects, 0);
	EXPECT_EQ(transfer_n(&self->a, client, 1, out), -ESRCH);
}

TEST_F(sharing, batches_up_to_the_limit_are_served_in_one_call)
{
	static uint64_t out[QUARRY_MAX_BATCH];

	EXPECT_EQ(alloc_n(&self->a, 64, 0, QUARRY_MAX_BATCH, out), QUARRY_MAX_BATCH);
	EXPECT_EQ(transfer_n(&self->a, self->b.client, QUARRY_MAX_BATCH, out), QUARRY_MAX_BATCH);
	EXPECT_EQ(free_n(&self->b, QUARRY_MAX_BATCH, out), QUARRY_MAX_BATCH);
}

TEST_F(sharing, a_full_pool_gives_a_partial_result_and_says_enospc)
{
	static uint64_t out[QUARRY_MAX_BATCH];
	struct quarry_alloc a = { .size = sizeof(a), .object_size = 16 * KIB,
				  .count = QUARRY_MAX_BATCH, .offsets = (uintptr_t)out };

	ASSERT_EQ(call(self->a.fd, QUARRY_IOC_ALLOC, &a), 0);
	EXPECT_EQ(a.error, ENOSPC);
	EXPECT_GT(a.done, 480);
	EXPECT_EQ(alloc_one(&self->a, 16 * KIB), -ENOSPC);
	/* What one size leaves serves every other. */
	EXPECT_EQ(free_n(&self->a, a.done, out), (int)a.done);
	EXPECT_GT(alloc_n(&self->a, 2048, 0, 4000, out), 3800);
}

TEST_F(sharing, a_fixed_pool_has_exactly_its_count)
{
	static const struct {
		uint64_t size, count;
	} kinds[] = { { 8, 1000 }, { 56, 700 }, { 2048, 33 }, { 3000, 21 }, { 4096, 64 }, { 70000, 9 } };

	for (int i = 0; i < 6; i++) {
		static uint64_t out[QUARRY_MAX_BATCH];
		struct quarry_pool_create c;
		struct pool p;

		create_defaults(&c);
		c.kind = QUARRY_KIND_FIXED;
		c.object_size = kinds[i].size;
		c.object_count = kinds[i].count;
		ASSERT_EQ(create(&p, &c), 0);
		int got = alloc_n(&p, kinds[i].size, 0, kinds[i].count, out);

		EXPECT_EQ(got, (int)kinds[i].count);
		EXPECT_EQ(alloc_one(&p, kinds[i].size), -ENOSPC);
		EXPECT_EQ(alloc_one(&p, kinds[i].size + 8), -EMSGSIZE);
		EXPECT_EQ(free_n(&p, got, out), got);
		EXPECT_EQ(alloc_n(&p, kinds[i].size, 0, kinds[i].count, out), got);
		EXPECT_EQ(verify(p.fd), 0);
		leave(&p);
	}
}

static short events_of(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLPRI | POLLOUT };

	poll(&p, 1, 0);
	return p.revents;
}

/*
 * A thread that sleeps in poll until one of these events comes. Who is not woken finds the
 * event all the same when its time is over: so what counts is when it came back.
 */
enum { SLEEP_MS = 30000, WOKEN_MS = 25000 };

struct sleeper {
	pthread_t thread;
	struct pollfd p;
	int answer;
	long ms;
};

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}

static void *sleep_in_poll(void *arg)
{
	struct sleeper *s = arg;
	long start = now_ms();

	s->answer = poll(&s->p, 1, SLEEP_MS);
	s->ms = now_ms() - start;
	return NULL;
}

static int fall_asleep(struct sleeper *s, int fd, short events)
{
	s->p = (struct pollfd){ .fd = fd, .events = events };
	if (pthread_create(&s->thread, NULL, sleep_in_poll, s))
		return -1;
	usleep(100000);
	return 0;
}

/* What woke it; 0: it slept on. */
static short wake_up(struct sleeper *s)
{
	pthread_join(s->thread, NULL);
	return s->answer == 1 && s->ms < WOKEN_MS ? s->p.revents : 0;
}

TEST_F(sharing, poll_tells_of_a_dead_peer_until_it_is_acknowledged)
{
	struct quarry_stat ack = { .size = sizeof(ack), .flags = QUARRY_STAT_ACK };
	struct sleeper s;
	pid_t pid;

	EXPECT_EQ(events_of(self->a.fd) & POLLIN, 0);
	ASSERT_EQ(fall_asleep(&s, self->a.fd, POLLIN), 0);
	pid = fork();
	if (pid == 0) {
		struct pool mine;

		if (join(&mine, self->a.fd, 1) || alloc_one(&mine, 64) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	EXPECT_EQ(wake_up(&s), POLLIN);
	status_of(pid);
	EXPECT_EQ(events_of(self->a.fd) & POLLIN, POLLIN);
	ASSERT_EQ(call(self->a.fd, QUARRY_IOC_STAT, &ack), 0);
	EXPECT_EQ(ack.events & QUARRY_EVENT_PEER_DIED, QUARRY_EVENT_PEER_DIED);
	EXPECT_EQ(events_of(self->a.fd) & POLLIN, 0);
}

TEST_F(sharing, poll_tells_of_low_memory_and_of_memory_back)
{
	static uint64_t out[QUARRY_MAX_BATCH];
	int n;

	EXPECT_EQ(events_of(self->a.fd) & (POLLPRI | POLLOUT), POLLOUT);
	n = alloc_n(&self->a, 16 * KIB, 0, QUARRY_MAX_BATCH, out);
	EXPECT_EQ(events_of(self->a.fd) & (POLLPRI | POLLOUT), POLLPRI);
	EXPECT_EQ(free_n(&self->a, n, out), n);
	EXPECT_EQ(events_of(self->a.fd) & (POLLPRI | POLLOUT), POLLOUT);
}

static uint32_t acknowledge(int fd)
{
	struct quarry_stat ack = { .size = sizeof(ack), .flags = QUARRY_STAT_ACK };

	return call(fd, QUARRY_IOC_STAT, &ack) ? ~0U : ack.events;
}

TEST_F(sharing, who_sleeps_in_poll_is_woken_by_low_memory_by_memory_back_and_by_a_death)
{
	static uint64_t out[QUARRY_MAX_BATCH];
	const short levels = POLLPRI | POLLOUT;
	struct sleeper s;
	int up[2], n;
	pid_t pid;

	acknowledge(self->b.fd);
	ASSERT_EQ(fall_asleep(&s, self->b.fd, levels), 0);
	n = alloc_n(&self->a, 16 * KIB, 0, QUARRY_MAX_BATCH, out);
	EXPECT_EQ(wake_up(&s), POLLPRI);
	EXPECT_EQ(acknowledge(self->b.fd), QUARRY_EVENT_LOW_MEMORY);
	EXPECT_EQ(events_of(self->b.fd), 0);

	ASSERT_EQ(fall_asleep(&s, self->b.fd, levels), 0);
	EXPECT_EQ(free_n(&self->a, n, out), n);
	EXPECT_EQ(wake_up(&s), POLLOUT);
	EXPECT_EQ(acknowledge(self->b.fd), QUARRY_EVENT_MEMORY_BACK);
	EXPECT_EQ(events_of(self->b.fd), 0);

	/* The same from a peer that takes all there is, and is killed. */
	ASSERT_EQ(pipe(up), 0);
	ASSERT_EQ(fall_asleep(&s, self->b.fd, levels), 0);
	pid = fork();
	if (pid == 0) {
		struct pool mine;

		if (join(&mine, self->a.fd, 1) ||
		    alloc_n(&mine, 16 * KIB, 0, QUARRY_MAX_BATCH, out) < 480)
			_exit(1);
		tell(up[1]);
		for (;;)
			pause();
	}
	EXPECT_EQ(wake_up(&s), POLLPRI);
	wait_for(up[0]);
	EXPECT_EQ(acknowledge(self->b.fd), QUARRY_EVENT_LOW_MEMORY);
	ASSERT_EQ(fall_asleep(&s, self->b.fd, POLLIN | levels), 0);
	kill(pid, SIGKILL);
	EXPECT_NE(wake_up(&s), 0);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_EQ(events_of(self->b.fd), POLLIN | POLLOUT);
	EXPECT_EQ(acknowledge(self->b.fd), QUARRY_EVENT_PEER_DIED | QUARRY_EVENT_MEMORY_BACK);
	EXPECT_EQ(events_of(self->b.fd), 0);
	close(up[0]);
	close(up[1]);
}

TEST_F(sharing, poll_tells_a_reaped_client)
{
	EXPECT_EQ(events_of(self->b.fd) & POLLHUP, 0);
	munmap(self->b.area, self->b.area_bytes);
	self->b.area = NULL;
	EXPECT_EQ(events_of(self->b.fd) & POLLHUP, POLLHUP);
}

TEST_F(sharing, drain_gives_idle_slabs_back)
{
	struct quarry_drain drain = { .size = sizeof(drain), .flags = QUARRY_DRAIN_POOL };
	static uint64_t out[QUARRY_MAX_BATCH];
	uint64_t free_before = stat_of(self->a.fd).free_bytes;

	ASSERT_EQ(alloc_n(&self->a, 64, 0, 2000, out), 2000);
	ASSERT_EQ(free_n(&self->a, 2000, out), 2000);
	ASSERT_EQ(call(self->a.fd, QUARRY_IOC_DRAIN, &drain), 0);
	EXPECT_GT(drain.slabs, 0);
	EXPECT_EQ(stat_of(self->a.fd).slabs, 0);
	EXPECT_GE(stat_of(self->a.fd).free_bytes, free_before);
}

TEST_HARNESS_MAIN
