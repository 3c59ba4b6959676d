// SPDX-License-Identifier: MIT
/*
 * A driver on Quarry's API (selftests/sample_driver) under real traffic: packets of many processes
 * go through interrupts and softirqs of another CPU, each arrives once and whole, and nothing is
 * left when the driver goes. The same driver on the kernel's allocators, to compare with. (README: "A
 * driver's objects go from CPU to CPU ...")
 */
#include "device.h"
#include <dirent.h>
#include <pthread.h>
#include <time.h>
#include "kselftest_harness.h"

enum { WRITERS = 4, READERS = 3, PACKETS = 1500, MOST_BYTES = 16384 };

static int load(const char *allocator)
{
	const char *kernel = getenv("KERNEL");
	char path[128], parameters[64];
	int fd, err;

	snprintf(path, sizeof(path), "build/sample_driver/%s/sample_driver.ko", kernel ? kernel : "6.1");
	snprintf(parameters, sizeof(parameters), "allocator=%s", allocator);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	err = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;
	close(fd);
	return err;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "sample_driver", O_NONBLOCK) ? -errno : 0;
}

static long long driver_parameter(const char *name)
{
	char path[96], text[32] = "";
	int fd, n;

	snprintf(path, sizeof(path), "/sys/module/sample_driver/parameters/%s", name);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : (int)read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 ? atoll(text) : -1;
}

struct header {
	uint32_t writer;
	uint32_t number;
	uint32_t bytes;
	uint32_t sum;
};

static uint32_t next(uint32_t *state)
{
	return *state = *state * 1664525u + 1013904223u;
}

static uint32_t sum_of(const uint8_t *bytes, uint32_t n)
{
	uint32_t sum = 2166136261u;

	while (n--)
		sum = (sum ^ *bytes++) * 16777619u;
	return sum;
}

static _Noreturn void write_packets(uint32_t writer)
{
	static uint8_t packet[MOST_BYTES];
	struct header *h = (struct header *)packet;
	uint32_t random = writer * 77 + 1;
	int fd = open("/dev/sample_driver", O_WRONLY);

	for (uint32_t i = 0; fd >= 0 && i < PACKETS; i++) {
		uint32_t most = next(&random) % 16 ? 1500 : MOST_BYTES;

		h->writer = writer;
		h->number = i;
		h->bytes = sizeof(*h) + next(&random) % (most - sizeof(*h));
		for (uint32_t k = sizeof(*h); k < h->bytes; k++)
			packet[k] = i + k;
		h->sum = sum_of(packet + sizeof(*h), h->bytes - sizeof(*h));
		if (write(fd, packet, h->bytes) != (ssize_t)h->bytes)
			_exit(1);
	}
	_exit(fd < 0 ? 2 : 0);
}

static uint8_t seen[WRITERS][PACKETS];
static unsigned int got, torn;

static void *read_packets(void *unused)
{
	uint8_t *packet = malloc(MOST_BYTES);
	struct header *h = (struct header *)packet;
	int fd = open("/dev/sample_driver", O_RDONLY);
	time_t end = time(NULL) + 100;

	while (__atomic_load_n(&got, __ATOMIC_RELAXED) < WRITERS * PACKETS && time(NULL) < end) {
		ssize_t n = read(fd, packet, MOST_BYTES);

		if (n < 0 && errno == EAGAIN)
			continue;
		if (n < (ssize_t)sizeof(*h) || n != h->bytes || h->writer >= WRITERS ||
		    h->number >= PACKETS || h->sum != sum_of(packet + sizeof(*h), n - sizeof(*h)))
			__atomic_fetch_add(&torn, 1, __ATOMIC_RELAXED);
		else
			__atomic_fetch_add(&seen[h->writer][h->number], 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&got, 1, __ATOMIC_RELAXED);
	}
	close(fd);
	free(packet);
	return unused;
}

/* All of them through the driver; how many did not arrive once and whole. */
static int traffic(void)
{
	pthread_t readers[READERS];
	pid_t writers[WRITERS];
	int wrong = 0;

	memset(seen, 0, sizeof(seen));
	got = torn = 0;
	for (uint32_t w = 0; w < WRITERS; w++) {
		writers[w] = fork();
		if (writers[w] == 0)
			write_packets(w);
	}
	for (int r = 0; r < READERS; r++)
		pthread_create(&readers[r], NULL, read_packets, NULL);
	for (int w = 0; w < WRITERS; w++)
		wrong += status_of(writers[w]) != 0;
	for (int r = 0; r < READERS; r++)
		pthread_join(readers[r], NULL);
	for (int w = 0; w < WRITERS; w++)
		for (int i = 0; i < PACKETS; i++)
			wrong += seen[w][i] != 1;
	return wrong + torn;
}

/* A figure of the heap with this name in debugfs, or -1. */
static long long heap_stat(const char *name, const char *key)
{
	const char *root = "/sys/kernel/debug/quarry/heaps";
	DIR *dir = opendir(root);
	struct dirent *entry;
	long long value = -1;

	while (dir && value < 0 && (entry = readdir(dir))) {
		char path[400], line[200];
		int is_it = 0;
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s/stat", root, entry->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f)) {
			line[strcspn(line, "\n")] = 0;
			if (!strncmp(line, "name: ", 6))
				is_it = !strcmp(line + 6, name);
			if (is_it && !strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
				value = atoll(line + strlen(key) + 1);
		}
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return value;
}

TEST(packets_go_from_task_to_interrupt_and_back_and_nothing_is_left)
{
	ASSERT_EQ(load("quarry"), 0);
	EXPECT_EQ(heap_stat("sample_headers", "objects"), 64);
	EXPECT_EQ(traffic(), 0);
	EXPECT_EQ(driver_parameter("sent"), WRITERS * PACKETS);
	EXPECT_EQ(driver_parameter("received"), WRITERS * PACKETS);
	EXPECT_GT(driver_parameter("copied"), WRITERS * PACKETS / 2);
	/* All that is live is the reserve. */
	EXPECT_EQ(heap_stat("sample_headers", "objects"), 64);
	EXPECT_EQ(heap_stat("sample_payloads", "objects"), 0);
	EXPECT_EQ(heap_stat("sample_payloads", "refused"), 0);
	EXPECT_EQ(heap_stat("sample_headers", "refused"), 0);
	printf("# quarry: %lld ns of allocator calls a packet, %lld of %d headers from the reserve\n",
	       driver_parameter("ns") / (WRITERS * PACKETS), driver_parameter("drawn"), WRITERS * PACKETS);
	EXPECT_EQ(unload(), 0);
	EXPECT_EQ(heap_stat("sample_headers", "objects"), -1);
}

TEST(the_same_driver_runs_on_the_kernels_allocators)
{
	ASSERT_EQ(load("kernel"), 0);
	EXPECT_EQ(traffic(), 0);
	printf("# kernel: %lld ns of allocator calls a packet (an emulated machine's time is no measure of speed)\n",
	       driver_parameter("ns") / (WRITERS * PACKETS));
	EXPECT_EQ(unload(), 0);
}

TEST(a_driver_that_goes_in_the_middle_of_traffic_leaves_nothing)
{
	for (int round = 0; round < 5; round++) {
		pid_t writers[2];
		int fd;

		ASSERT_EQ(load("quarry"), 0);
		/* The writers may be through before it is asked to go. */
		fd = open("/dev/sample_driver", O_RDONLY);
		ASSERT_GE(fd, 0);
		for (int w = 0; w < 2; w++) {
			writers[w] = fork();
			if (writers[w] == 0)
				write_packets(w);
		}
		usleep(20000 + round * 10000);
		EXPECT_EQ(unload(), -EWOULDBLOCK);
		close(fd);
		for (int w = 0; w < 2; w++) {
			kill(writers[w], SIGKILL);
			status_of(writers[w]);
		}
		/* Its ring, its queue and its tasklet hold packets still. */
		for (int i = 0; i < 100 && unload() == -EWOULDBLOCK; i++)
			usleep(10000);
		EXPECT_EQ(driver_parameter("sent"), -1);
		EXPECT_EQ(heap_stat("sample_payloads", "objects"), -1);
	}
}

TEST(an_allocator_that_nobody_knows_is_einval)
{
	EXPECT_EQ(load("other"), -EINVAL);
}

TEST_HARNESS_MAIN
