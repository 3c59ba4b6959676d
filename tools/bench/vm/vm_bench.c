// SPDX-License-Identifier: MIT
/*
 * What the calls cost in exact instructions, in a virtual machine whose clock counts them (one
 * guest nanosecond is one instruction): a pair by libquarry's inlined sequences, a refill, a drain,
 * a transfer and a reap by the object, the system call included; a call of 32 beside 32 calls;
 * and a driver's allocation and free beside the kernel's own, measured by cache_cost.ko. Loads the
 * modules itself, from /quarry.ko and /cache_cost.ko: it runs in an initramfs.
 *
 * Prints a line a case, separated by tabs: name, median, least, most, bar (-: none), peer (-: none),
 * the peer's median. Medians of 101 rounds, the clock's own cost taken off.
 */
#include <quarry/quarry.h>
#include "../../../selftests/tests/device.h"
#include <time.h>

enum { BATCH = 32, PAIRS = 64, MOVED = 64, MANY = 100000, ROUNDS = 101, REAPS = 5 };

static uint64_t own_cost;	/* of the clock */
static const char *suffix = "";

static uint64_t now(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

#define MUST(condition)                                                                       \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "vm_bench: line %d: %s\n", __LINE__, strerror(errno)); \
			exit(2);                                                              \
		}                                                                             \
	} while (0)

/* Spent on `ops` operations in each round. */
static void report(const char *name, uint64_t *spent, int rounds, double ops, double bar)
{
	qsort(spent, rounds, sizeof(*spent), compare);
	printf("%s%s\t%.2f\t%.2f\t%.2f\t", name, suffix, (spent[rounds / 2] - own_cost) / ops,
	       (spent[0] - own_cost) / ops, (spent[rounds - 1] - own_cost) / ops);
	if (bar && !*suffix)
		printf("%.4f\t-\t0\n", bar);
	else
		printf("-\t-\t0\n");
	fflush(stdout);
}

static void measure_clock(void)
{
	uint64_t spent[ROUNDS];

	for (int r = 0; r < ROUNDS; r++) {
		uint64_t t0 = now();

		spent[r] = now() - t0;
	}
	qsort(spent, ROUNDS, sizeof(*spent), compare);
	own_cost = spent[ROUNDS / 2];
}

/* ---- libquarry: pairs from a magazine that has some ---- */

/* Of a size that the compiler knows, as programs ask for objects; four pairs a turn of the loop. */
#define PAIRS_OF(name, bytes, alloc, free)                                    \
	__attribute__((noinline)) static void name(struct quarry_pool *pool)  \
	{                                                                     \
		for (int i = 0; i < PAIRS / 4; i++) {                         \
			free(pool, alloc(pool, bytes), bytes);                \
			free(pool, alloc(pool, bytes), bytes);                \
			free(pool, alloc(pool, bytes), bytes);                \
			free(pool, alloc(pool, bytes), bytes);                \
		}                                                             \
	}

PAIRS_OF(pairs_64, 64, quarry_alloc_unchecked, quarry_free_unchecked)
PAIRS_OF(checked_pairs_64, 64, quarry_alloc, quarry_free_sized)
PAIRS_OF(pairs_2048, 2048, quarry_alloc_unchecked, quarry_free_unchecked)
PAIRS_OF(checked_pairs_2048, 2048, quarry_alloc, quarry_free_sized)

static void measure_pairs(struct quarry_pool *pool, size_t bytes)
{
	void (*const of_64[2])(struct quarry_pool *) = { pairs_64, checked_pairs_64 };
	void (*const of_2048[2])(struct quarry_pool *) = { pairs_2048, checked_pairs_2048 };
	static const char *const names[2] = { "vm-pair", "vm-pair-checked" };
	static const double bars[2] = { 30, 45 };
	uint64_t spent[ROUNDS];

	for (int w = 0; w < 2; w++) {
		void (*const work)(struct quarry_pool *) = bytes == 64 ? of_64[w] : of_2048[w];

		work(pool);
		for (int r = 0; r < ROUNDS; r++) {
			uint64_t t0 = now();

			work(pool);
			spent[r] = now() - t0;
		}
		report(names[w], spent, ROUNDS, PAIRS, bars[w]);
	}
}

/* ---- refill and drain of 32, as the slow paths make them ---- */

static uint32_t class_of(int fd, size_t bytes)
{
	struct quarry_info info = { .size = sizeof(info) };
	uint32_t c = 0;

	MUST(call(fd, QUARRY_IOC_INFO, &info) == 0);
	while (info.class_size[c] != bytes)
		c++;
	return c;
}

static void measure_magazines(struct quarry_pool *pool, size_t bytes)
{
	const int fd = quarry_fd(pool);
	struct quarry_refill refill = { .size = sizeof(refill), .class_index = class_of(fd, bytes) };
	struct quarry_flush flush = { .size = sizeof(flush), .flags = QUARRY_FLUSH_OBJECT,
				      .class_index = refill.class_index };
	struct quarry_drain drain = { .size = sizeof(drain) };
	uint64_t filled[ROUNDS], drained[ROUNDS], held[3 * BATCH];
	struct pool raw = { .fd = fd };

	MUST(call(fd, QUARRY_IOC_DRAIN, &drain) == 0);
	for (int r = -1; r < ROUNDS; r++) {
		uint64_t t0, spent[3];
		int n = 0;

		/* Four within 10 ms would make the magazine grow. */
		usleep(11000);
		for (int i = 0; i < 3; i++) {
			t0 = now();
			MUST(call(fd, QUARRY_IOC_REFILL, &refill) == 0);
			spent[i] = now() - t0;
			MUST(refill.filled == BATCH - 1);
			held[n++] = refill.offset;
			for (int k = 1; k < BATCH; k++)
				held[n++] = quarry_offset(pool, quarry_alloc_unchecked(pool, bytes));
		}
		usleep(11000);
		while (n > BATCH)
			MUST(quarry_free_unchecked(pool, quarry_address(pool, held[--n]), bytes) == 0);
		flush.offset = held[--n];
		t0 = now();
		MUST(call(fd, QUARRY_IOC_FLUSH, &flush) == 0);
		if (r >= 0) {
			filled[r] = spent[1];
			drained[r] = now() - t0;
		}
		MUST(flush.drained == BATCH);
		while (n < 2 * BATCH - 1)
			held[n++] = quarry_offset(pool, quarry_alloc_unchecked(pool, bytes));
		MUST(free_n(&raw, n, held) == n);
	}
	report("vm-refill-32", filled, ROUNDS, BATCH, 60);
	report("vm-drain-32", drained, ROUNDS, BATCH + 1, 60);
}

/* ---- calls on the device ---- */

static void measure_batch(struct pool *p, size_t bytes)
{
	uint64_t single[2][ROUNDS], batch[2][ROUNDS], out[BATCH];
	static const char *const names[2] = { "vm-alloc-batch-32", "vm-free-batch-32" };

	for (int r = 0; r < ROUNDS; r++) {
		uint64_t t0 = now();

		for (int i = 0; i < BATCH; i++)
			MUST(alloc_n(p, bytes, 0, 1, &out[i]) == 1);
		uint64_t t1 = now();

		for (int i = 0; i < BATCH; i++)
			MUST(free_n(p, 1, &out[i]) == 1);
		uint64_t t2 = now();

		MUST(alloc_n(p, bytes, 0, BATCH, out) == BATCH);
		uint64_t t3 = now();

		MUST(free_n(p, BATCH, out) == BATCH);
		uint64_t t4 = now();

		single[0][r] = t1 - t0;
		single[1][r] = t2 - t1;
		batch[0][r] = t3 - t2;
		batch[1][r] = t4 - t3;
	}
	for (int i = 0; i < 2; i++) {
		qsort(single[i], ROUNDS, sizeof(uint64_t), compare);
		qsort(batch[i], ROUNDS, sizeof(uint64_t), compare);
		printf("%s\t%.2f\t%.2f\t%.2f\t%.4f\tone a call\t%.2f\n", names[i],
		       (double)(batch[i][ROUNDS / 2] - own_cost) / BATCH,
		       (double)(batch[i][0] - own_cost) / BATCH,
		       (double)(batch[i][ROUNDS - 1] - own_cost) / BATCH, i ? 0 : 1.0 / 6,
		       (double)(single[i][ROUNDS / 2] - own_cost) / BATCH);
	}
}

static void measure_transfer(struct pool *p, size_t bytes)
{
	struct pool peer;
	uint64_t spent[ROUNDS], out[MOVED];

	MUST(join(&peer, p->fd, 1) == 0);
	MUST(alloc_n(p, bytes, 0, MOVED, out) == MOVED);
	for (int r = 0; r < ROUNDS; r++) {
		struct pool *from = r % 2 ? &peer : p, *to = r % 2 ? p : &peer;
		uint64_t t0 = now();

		MUST(transfer_n(from, to->client, MOVED, out) == MOVED);
		spent[r] = now() - t0;
	}
	report("vm-transfer-64", spent, ROUNDS, MOVED, 120);
	leave(&peer);
}

/* From the end of its mapping until all is back. */
static void measure_reap(struct pool *p, size_t bytes)
{
	uint64_t spent[REAPS], out[QUARRY_MAX_BATCH];
	int many = bytes == 64 ? MANY : MANY / 16;

	for (int r = 0; r < REAPS; r++) {
		struct pool victim;

		MUST(join(&victim, p->fd, 1) == 0);
		for (int n = 0, got; n < many; n += got) {
			int want = many - n < QUARRY_MAX_BATCH ? many - n : QUARRY_MAX_BATCH;

			MUST((got = alloc_n(&victim, bytes, 0, want, out)) > 0);
		}
		MUST(stat_of(p->fd).objects >= (uint64_t)many);
		uint64_t t0 = now();

		munmap(victim.area, victim.area_bytes);
		spent[r] = now() - t0;
		MUST(stat_of(p->fd).objects < (uint64_t)many);
		victim.area = NULL;
		leave(&victim);
	}
	report("vm-reap-100k", spent, REAPS, many, 100);
}

static void measure_pool(size_t bytes, unsigned int flags)
{
	struct quarry_pool_create c;
	struct quarry_pool *pool;
	struct pool p;

	create_defaults(&c);
	c.bytes = 64 * MIB;
	c.max_bytes = 64 * MIB;
	c.flags = flags;
	MUST(create(&p, &c) == 0);
	MUST((pool = quarry_join(p.fd)));
	measure_pairs(pool, bytes);
	measure_magazines(pool, bytes);
	quarry_leave(pool);
	measure_transfer(&p, bytes);
	measure_reap(&p, bytes);
	if (bytes == 64 && !flags)
		measure_batch(&p, bytes);
	leave(&p);
}

/* ---- drivers' caches ---- */

/* A figure of cache_cost.ko, in instructions. */
static double figure(const char *whose, const char *name)
{
	char path[128];
	double hundredths = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/cache_cost/parameters/%s_%s", whose, name);
	MUST((f = fopen(path, "r")));
	MUST(fscanf(f, "%lf", &hundredths) == 1);
	fclose(f);
	return hundredths / 100;
}

static void print_drivers(void)
{
	static const char *const cases[] = { "hot", "batch", "bulk", "page" };
	static const char *const names[] = { "vm-cache-pair", "vm-cache-batch-64", "vm-cache-bulk-64",
					     "vm-page-pair" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		double ours = figure("quarry", cases[i]);

		printf("%s\t%.2f\t%.2f\t%.2f\t%s\tkernel\t%.2f\n", names[i], ours, ours, ours,
		       i ? "-" : "90", figure("kernel", cases[i]));
	}
}

static void load(const char *name)
{
	int module = open(name, O_RDONLY);

	MUST(module >= 0 && syscall(SYS_finit_module, module, "", 0) == 0);
	close(module);
}

int main(void)
{
	static const struct {
		size_t bytes;
		unsigned int flags;
		const char *suffix;
	} pools[] = {
		{ 64, 0, "" }, { 2048, 0, " (2048)" }, { 64, QUARRY_POOL_ZERO, " (64, zero)" },
		{ 2048, QUARRY_POOL_ZERO, " (2048, zero)" },
	};

	load("/quarry.ko");
	load("/cache_cost.ko");
	measure_clock();
	for (size_t i = 0; i < sizeof(pools) / sizeof(*pools); i++) {
		suffix = pools[i].suffix;
		measure_pool(pools[i].bytes, pools[i].flags);
	}
	print_drivers();
	return 0;
}
