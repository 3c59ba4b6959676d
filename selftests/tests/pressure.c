// SPDX-License-Identifier: MIT
/*
 * A system that is short of memory: what pools grew by and is idle goes back to it, nothing live is
 * touched, and who has set something aside gets it. (README: "Idle memory goes back ...")
 */
#include "device.h"
#include <sys/sysinfo.h>
#include "kselftest_harness.h"

FIXTURE(pressure)
{
	struct pool pool;
};

FIXTURE_SETUP(pressure)
{
	ASSERT_EQ(create_heap(&self->pool, MIB, 300 * MIB), 0);
}

FIXTURE_TEARDOWN(pressure)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), n = fd < 0 ? -1 : (int)write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n == (int)strlen(text) ? 0 : -errno;
}

/* A line "key value" of a file of /proc, or -1. */
static long long number_in(const char *path, const char *key)
{
	FILE *f = fopen(path, "r");
	char line[256];
	long long value = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = atoll(line + strlen(key));
	if (f)
		fclose(f);
	return value;
}

/* Asks all shrinkers, until the pool has no more than so many bytes. */
static uint64_t shrink_to(struct pool *p, uint64_t bytes)
{
	for (int i = 0; i < 100 && stat_of(p->fd).bytes > bytes; i++) {
		if (write_text("/proc/sys/vm/drop_caches", "2"))
			break;
		usleep(50000);
	}
	return stat_of(p->fd).bytes;
}

/* Grows the pool by 1 MiB objects; how many. */
static int grow(struct pool *p, int want, uint64_t *out)
{
	int n = 0;

	while (n < want && alloc_n(p, MIB, 0, 1, &out[n]) == 1)
		n++;
	return n;
}

TEST_F(pressure, a_shrinker_gives_back_what_is_idle_and_leaves_what_is_live)
{
	uint64_t out[64], small[100];
	long long locked = number_in("/proc/self/status", "VmLck:");

	ASSERT_EQ(grow(&self->pool, 64, out), 64);
	ASSERT_EQ(alloc_n(&self->pool, 64, 0, 100, small), 100);
	for (int i = 0; i < 100; i++)
		memset(self->pool.memory + small[i], i, 64);
	for (int i = 0; i < 64; i++)
		memset(self->pool.memory + out[i], i, MIB);
	EXPECT_GE(stat_of(self->pool.fd).bytes, 65 * MIB);
	EXPECT_GE(number_in("/proc/self/status", "VmLck:"), locked + 64 * 1024);
	/* All of it is live. */
	ASSERT_EQ(write_text("/proc/sys/vm/drop_caches", "2"), 0);
	EXPECT_GE(stat_of(self->pool.fd).bytes, 65 * MIB);
	EXPECT_EQ(free_n(&self->pool, 63, out + 1), 63);
	EXPECT_LE(shrink_to(&self->pool, 9 * MIB), 9 * MIB);
	for (int i = 0; i < 100; i++)
		for (int k = 0; k < 64; k++)
			ASSERT_EQ(self->pool.memory[small[i] + k], (uint8_t)i);
	for (uint64_t k = 0; k < MIB; k += 512)
		ASSERT_EQ(self->pool.memory[out[0] + k], 0);
	EXPECT_EQ(verify(self->pool.fd), 0);
	EXPECT_EQ(free_n(&self->pool, 1, out), 1);
	EXPECT_EQ(free_n(&self->pool, 100, small), 100);
	EXPECT_EQ(shrink_to(&self->pool, MIB), MIB);
	/* Counted by no limit any more. */
	for (int i = 0; i < 100 && number_in("/proc/self/status", "VmLck:") > locked; i++)
		usleep(10000);
	EXPECT_EQ(number_in("/proc/self/status", "VmLck:"), locked);
	/* It grows again, with fresh memory. */
	ASSERT_EQ(grow(&self->pool, 64, out), 64);
	for (int i = 0; i < 64; i++)
		for (uint64_t k = 0; out[i] >= MIB && k < MIB; k += 512)
			ASSERT_EQ(self->pool.memory[out[i] + k], 0);
	EXPECT_EQ(free_n(&self->pool, 64, out), 64);
}

TEST_F(pressure, what_lies_in_magazines_does_not_keep_a_region)
{
	uint64_t out[64];
	struct quarry_refill r = { .size = sizeof(r), .class_index = 7 };

	ASSERT_EQ(grow(&self->pool, 64, out), 64);
	/* Of slabs in what it grew by. */
	for (int i = 0; i < 40; i++)
		ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REFILL, &r), 0);
	EXPECT_EQ(free_n(&self->pool, 64, out), 64);
	EXPECT_LE(shrink_to(&self->pool, 9 * MIB), 9 * MIB);
}

/*
 * A process that wants more than what is left beside the pool's idle memory gets it: nobody is
 * killed for it.
 */
TEST_F(pressure, a_hog_gets_a_pools_idle_memory_and_who_has_a_reserve_does_not_fail)
{
	static uint64_t out[300], mine[1000];
	long long kills = number_in("/proc/vmstat", "oom_kill ");
	struct sysinfo info;
	int told[2], n, got;
	uint64_t hog;
	char byte = 0;
	pid_t pid;

	n = grow(&self->pool, 250, out);
	ASSERT_GE(n, 200);
	{
		struct quarry_reservation r = { .size = sizeof(r), .object_size = 2048, .count = 1000 };

		ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_RESERVE, &r), 0);
		ASSERT_EQ(r.left, 1000);
	}
	ASSERT_EQ(free_n(&self->pool, n, out), n);
	ASSERT_EQ(sysinfo(&info), 0);
	hog = number_in("/proc/meminfo", "MemAvailable:") * 1024 + (uint64_t)n / 2 * MIB;
	ASSERT_LT(hog, (uint64_t)info.totalram * info.mem_unit);
	ASSERT_EQ(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		volatile uint8_t *memory = mmap(NULL, hog, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (memory == MAP_FAILED)
			_exit(51);
		for (uint64_t at = 0; at < hog; at += PAGE)
			memory[at] = 1;
		if (write(told[1], "", 1) != 1)
			_exit(52);
		for (;;)
			pause();
	}
	close(told[1]);
	got = (int)read(told[0], &byte, 1);
	EXPECT_EQ(got, 1) {
		TH_LOG("the hog ended with %d", status_of(pid));
	}
	EXPECT_LT(stat_of(self->pool.fd).bytes, (uint64_t)n * MIB);
	EXPECT_EQ(number_in("/proc/vmstat", "oom_kill "), kills);
	EXPECT_EQ(alloc_n(&self->pool, 2048, 0, 1000, mine), 1000);
	for (int i = 0; i < 1000; i++)
		memset(self->pool.memory + mine[i], i, 2048);
	EXPECT_EQ(free_n(&self->pool, 1000, mine), 1000);
	if (got == 1) {
		kill(pid, SIGKILL);
		EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	}
	close(told[0]);
}

TEST_HARNESS_MAIN
