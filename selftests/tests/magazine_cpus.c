// SPDX-License-Identifier: MIT
/*
 * Magazines and their CPUs: drains from another CPU beside sequences, a CPU that goes and
 * comes, one that cannot be reached. (README: "A CPU that a real-time task keeps")
 */
#include "magazine.h"
#include <setjmp.h>
#include <time.h>
#include "kselftest_harness.h"

static sigjmp_buf after_fault;

static void on_fault(int signal)
{
	siglongjmp(after_fault, signal);
}

/* The signal that a read of this address gives, or a write; or 0. */
static int fault_of(volatile uint8_t *address, int write)
{
	struct sigaction action = { .sa_handler = on_fault }, bus, segv;
	int signal;

	sigaction(SIGBUS, &action, &bus);
	sigaction(SIGSEGV, &action, &segv);
	signal = sigsetjmp(after_fault, 1);
	if (!signal) {
		if (write)
			*address = 1;
		else
			(void)*address;
	}
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return signal;
}

FIXTURE(cpus)
{
	struct pool pool;
};

/* Leaves the guest as it was, whatever fails. */
FIXTURE_SETUP(cpus)
{
	ASSERT_EQ(stay_on(0), 0);
	ASSERT_EQ(found_heap(&self->pool, 4 * MIB, 64 * MIB), 0);
}

FIXTURE_TEARDOWN(cpus)
{
	set_online(1, 1);
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

struct player {
	struct pool *pool;
	unsigned int cpu;
	uint64_t seed;
	uint64_t rounds;
	uint64_t held[300];
	int n;
	int wrong;
	volatile int stop;
};

/* Takes and gives; moves between CPUs when told to stay on none. */
static void *play(void *arg)
{
	struct player *p = arg;

	if (p->cpu < 2)
		stay_on(p->cpu);
	while (!p->stop && !p->wrong) {
		uint32_t class = C64;
		uint64_t offset;

		p->rounds++;
		if (p->cpu >= 2 && p->rounds % 512 == 0)
			stay_on(p->rounds / 512 % 2);
		if (p->n < 300 && (random_of(&p->seed) & 1 || !p->n)) {
			p->wrong = take(p->pool, class, &offset);
			if (p->wrong)
				break;
			/* Given twice, it would not be clear. */
			if (__atomic_exchange_n((uint64_t *)(p->pool->memory + offset), 1,
						__ATOMIC_RELAXED))
				p->wrong = 1;
			p->held[p->n++] = offset;
		} else {
			offset = p->held[--p->n];
			__atomic_store_n((uint64_t *)(p->pool->memory + offset), 0,
					 __ATOMIC_RELAXED);
			p->wrong = give(p->pool, class, offset);
		}
	}
	return NULL;
}

TEST_F(cpus, drains_from_elsewhere_lose_nothing_beside_sequences)
{
	static struct player players[3];
	pthread_t threads[3];
	uint64_t slots, drained = 0, held = 0;
	time_t until = time(NULL) + 8;

	for (int i = 0; i < 3; i++) {
		players[i] = (struct player){ .pool = &self->pool, .cpu = i, .seed = 99 + i };
		ASSERT_EQ(pthread_create(&threads[i], NULL, play, &players[i]), 0);
	}
	while (time(NULL) < until) {
		ASSERT_EQ(drain(&self->pool, QUARRY_DRAIN_POOL, &slots), 0);
		drained += slots;
		usleep(2000);
	}
	for (int i = 0; i < 3; i++)
		players[i].stop = 1;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(players[i].wrong, 0);
		EXPECT_GT(players[i].rounds, 100);
		held += players[i].n;
	}
	printf("# %llu slots drained beside %llu steps\n", (unsigned long long)drained,
	       (unsigned long long)(players[0].rounds + players[1].rounds + players[2].rounds));
	EXPECT_GT(drained, 0);
	drain(&self->pool, 0, NULL);
	EXPECT_EQ(stat_of(self->pool.fd).client_objects, held);
	EXPECT_EQ(stat_of(self->pool.fd).refused, 0);
}

TEST_F(cpus, the_magazines_of_a_cpu_that_went_are_drained_and_used_again)
{
	uint64_t offset, slots;
	struct pool other;

	ASSERT_EQ(stay_on(1), 0);
	ASSERT_EQ(refill(&self->pool, C64, &offset, NULL), 0);
	EXPECT_EQ(held_in(&self->pool, 1, C64), 31);
	ASSERT_EQ(stay_on(0), 0);
	ASSERT_EQ(set_online(1, 0), 0);
	/* Made while it is away: no block there, and a write to it is SIGBUS. */
	ASSERT_EQ(enlist(&other, self->pool.fd), 0);
	EXPECT_EQ(capacity_of(&other, 1, C64), 0);
	EXPECT_EQ(fault_of(block_of(&other, 1), 1), SIGBUS);
	EXPECT_EQ(fault_of(block_of(&other, 1) + BLOCK - 1, 0), 0);
	EXPECT_EQ(fault_of(block_of(&other, 0), 1), 0);
	EXPECT_EQ(fault_of(block_of(&other, 0) + 16 * KIB, 1), SIGBUS);
	EXPECT_EQ(drain(&self->pool, 0, &slots), 0);
	EXPECT_EQ(slots, 31);
	EXPECT_EQ(held_in(&self->pool, 1, C64), 0);
	EXPECT_EQ(stat_of(self->pool.fd).unreachable, 0);
	ASSERT_EQ(set_online(1, 1), 0);
	ASSERT_EQ(stay_on(1), 0);
	EXPECT_EQ(give(&self->pool, C64, offset), 0);
	EXPECT_EQ(take(&self->pool, C64, &offset), 0);
	/* The first refill there brings the block. */
	EXPECT_EQ(refill(&other, C64, &offset, NULL), 0);
	EXPECT_EQ(held_in(&other, 1, C64), 31);
	EXPECT_EQ(fault_of(block_of(&other, 1) + 8 * KIB, 1), 0);
	EXPECT_EQ(take(&other, C64, &offset), 0);
	leave(&other);
}

TEST_F(cpus, a_cpu_goes_and_comes_under_load)
{
	static struct player players[2];
	pthread_t threads[2];
	uint64_t held = 0, slots;

	for (int i = 0; i < 2; i++) {
		players[i] = (struct player){ .pool = &self->pool, .cpu = 2, .seed = 5 + i };
		ASSERT_EQ(pthread_create(&threads[i], NULL, play, &players[i]), 0);
	}
	for (int round = 0; round < 6; round++) {
		usleep(200000);
		EXPECT_EQ(set_online(1, 0), 0);
		EXPECT_EQ(drain(&self->pool, QUARRY_DRAIN_POOL, &slots), 0);
		usleep(200000);
		EXPECT_EQ(set_online(1, 1), 0);
		EXPECT_EQ(drain(&self->pool, QUARRY_DRAIN_POOL, &slots), 0);
	}
	for (int i = 0; i < 2; i++)
		players[i].stop = 1;
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(players[i].wrong, 0);
		held += players[i].n;
	}
	drain(&self->pool, 0, NULL);
	EXPECT_EQ(stat_of(self->pool.fd).client_objects, held);
	EXPECT_EQ(stat_of(self->pool.fd).refused, 0);
}

static void *spin(void *arg)
{
	volatile int *stop = arg;
	struct sched_param priority = { .sched_priority = 50 };

	stay_on(1);
	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority))
		return (void *)1;
	*(volatile int *)(stop + 1) = 1;
	while (!*stop) {
	}
	return NULL;
}

static int set_rt_runtime(const char *text)
{
	int fd = open("/proc/sys/kernel/sched_rt_runtime_us", O_WRONLY);
	int n = write(fd, text, strlen(text)) > 0 ? 0 : -errno;

	close(fd);
	return n;
}

TEST_F(cpus, a_cpu_that_a_real_time_spinner_keeps_is_counted_and_delays_nobody)
{
	static volatile int flags[2];
	struct timespec begin, end;
	pthread_t spinner;
	uint64_t offset, slots;
	void *failed;

	ASSERT_EQ(stay_on(1), 0);
	ASSERT_EQ(refill(&self->pool, C64, &offset, NULL), 0);
	ASSERT_EQ(stay_on(0), 0);
	ASSERT_EQ(set_rt_runtime("-1"), 0);
	ASSERT_EQ(pthread_create(&spinner, NULL, spin, (void *)flags), 0);
	while (!flags[1])
		usleep(1000);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	EXPECT_EQ(drain(&self->pool, 0, &slots), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	flags[0] = 1;
	pthread_join(spinner, &failed);
	set_rt_runtime("950000");
	EXPECT_EQ(failed, NULL);
	EXPECT_EQ(slots, 0);
	EXPECT_EQ(stat_of(self->pool.fd).unreachable, 1);
	/* 10 ms, and what an emulated machine takes to be scheduled. */
	EXPECT_LT((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000, 1000);
	/* It is reachable again. */
	EXPECT_EQ(drain(&self->pool, 0, &slots), 0);
	EXPECT_EQ(slots, 31);
}

TEST_HARNESS_MAIN
