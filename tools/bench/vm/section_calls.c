// SPDX-License-Identifier: MIT
/*
 * The calls whose longest section with interrupts or preemption off sections.py looks for: of small
 * pools, of a driver and of a large pool at 10^6 live objects, in the order of this file. In the
 * folder FOLDER, which the host sees: for each call it writes NAME.ready, waits for NAME.go, makes
 * the call, writes NAME.done.
 *
 *   section_calls FOLDER [LIVE]
 */
#include "../../../selftests/tests/device.h"
#include <time.h>

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "section_calls: line %d: %s\n", __LINE__, strerror(errno)); \
			exit(2);                                                                   \
		}                                                                                  \
	} while (0)

static const char *folder;
static struct pool p, peer;
static uint64_t out[QUARRY_MAX_BATCH], runs[64];

static void touch(const char *name, const char *suffix)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%s", folder, name, suffix);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	MUST(fd >= 0);
	close(fd);
}

static void begin(const char *name)
{
	char path[256];

	touch(name, "ready");
	snprintf(path, sizeof(path), "%s/%s.go", folder, name);
	while (access(path, F_OK))
		;
}

static void fill(struct pool *of, uint64_t size, int n)
{
	for (int got; n > 0; n -= got)
		MUST((got = alloc_n(of, size, 0, n < QUARRY_MAX_BATCH ? n : QUARRY_MAX_BATCH, out)) > 0);
}

static void reap(const char *name, int objects)
{
	struct pool victim;

	MUST(join(&victim, p.fd, 1) == 0);
	fill(&victim, 64, objects);
	begin(name);
	munmap(victim.area, victim.area_bytes);
	touch(name, "done");
	victim.area = NULL;
	leave(&victim);
}

#define CALL(name, call)            \
	do {                        \
		begin(name);        \
		call;               \
		touch(name, "done"); \
	} while (0)

/* Of section_driver.ko. */
static void drive(const char *call)
{
	int fd = open("/sys/module/section_driver/parameters/call", O_WRONLY);

	MUST(fd >= 0 && write(fd, call, strlen(call)) == (ssize_t)strlen(call));
	close(fd);
}

/* Audits and ranges: of few objects, since their steps are the same whatever is live. */
static void small_pools(void)
{
	struct quarry_pool_create wide;
	struct pool few, ranges;

	MUST(create_heap(&few, 4 * MIB, 16 * MIB) == 0);
	fill(&few, 64, 2000);
	fill(&few, 2048, 200);
	MUST(alloc_n(&few, 40000, 0, 20, runs) == 20);
	CALL("verify", MUST(verify(few.fd) == 0));
	leave(&few);

	create_defaults(&wide);
	wide.kind = QUARRY_KIND_RANGE;
	wide.max_bytes = 64 * MIB;
	wide.granule = 256;
	wide.max_ranges = 4096;
	MUST(create_unmapped(&ranges, &wide) == 0);
	CALL("range-pool-alloc", MUST(alloc_n(&ranges, 5000, 0, 1000, out) == 1000));
	CALL("range-pool-free", MUST(free_n(&ranges, 500, out) == 500));
	CALL("resize", MUST(resize_one(&ranges, out[600], 3000) >= 0));
	CALL("range-pool-verify", MUST(verify(ranges.fd) == 0));
	leave(&ranges);
}

#define DRIVE(name) CALL(name, drive(name))

static void driver_calls(void)
{
	drive("fill");
	DRIVE("cache-free");
	DRIVE("cache-alloc");
	DRIVE("cache-free-bulk");
	DRIVE("cache-shrink");
	DRIVE("cache-alloc-bulk");
	DRIVE("cache-prefill");
	DRIVE("reserve-free");
	DRIVE("heap-alloc");
	DRIVE("heap-free");
	DRIVE("heap-verify");
	DRIVE("page-alloc");
	DRIVE("page-free");
	DRIVE("range-free");
	DRIVE("range-alloc");
	DRIVE("range-verify");
	drive("empty");
}

int main(int argc, char **argv)
{
	int live = argc > 2 ? atoi(argv[2]) : 1000000;
	struct quarry_refill refill = { .size = sizeof(refill), .class_index = 7 };
	struct quarry_flush flush = { .size = sizeof(flush), .class_index = 7 };
	struct quarry_drain drain = { .size = sizeof(drain), .flags = QUARRY_DRAIN_POOL };
	struct quarry_transfer share = { .size = sizeof(share), .count = 64, .offsets = (uintptr_t)out };
	struct quarry_stat stat = { .size = sizeof(stat) };

	folder = argv[1];
	small_pools();
	driver_calls();
	MUST(create_heap(&p, 8 * MIB, 256 * MIB) == 0);
	MUST(join(&peer, p.fd, 1) == 0);
	fill(&p, 64, live);
	CALL("alloc", MUST(alloc_n(&p, 64, 0, 4096, out) == 4096));
	CALL("free", MUST(free_n(&p, 4096, out) == 4096));
	CALL("alloc-2048", MUST(alloc_n(&p, 2048, 0, 1024, out) == 1024));
	CALL("free-2048", MUST(free_n(&p, 1024, out) == 1024));
	CALL("alloc-pages", MUST(alloc_n(&p, 40000, 0, 64, runs) == 64));
	CALL("free-pages", MUST(free_n(&p, 64, runs) == 64));
	CALL("refill", MUST(call(p.fd, QUARRY_IOC_REFILL, &refill) == 0));
	CALL("flush", MUST(call(p.fd, QUARRY_IOC_FLUSH, &flush) == 0));
	MUST(alloc_n(&p, 64, 0, 1024, out) == 1024);
	CALL("transfer", MUST(transfer_n(&p, peer.client, 1024, out) == 1024));
	MUST(transfer_n(&peer, p.client, 1024, out) == 1024);
	share.to_client = peer.client;
	CALL("share", MUST(call(p.fd, QUARRY_IOC_SHARE, &share) == 0));
	CALL("free-shared", MUST(free_n(&peer, 64, out) == 64));
	CALL("reserve", MUST(reserve_n(&p, 64, 0, 4096) == 4096));
	CALL("unreserve", MUST(reserve_n(&p, 64, 0, 0) == 0));
	CALL("drain", MUST(call(p.fd, QUARRY_IOC_DRAIN, &drain) == 0));
	CALL("stat", MUST(call(p.fd, QUARRY_IOC_STAT, &stat) == 0));
	reap("reap-1", 1);
	reap("reap-1000", 1000);
	reap("reap-100000", 100000);
	leave(&peer);
	leave(&p);
	return 0;
}
