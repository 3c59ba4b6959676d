// SPDX-License-Identifier: MIT
/*
 * What an object costs in one call of 32, over 32 calls of one, and what a driver's allocation and
 * free cost beside the kernel's own: exact instructions, in a virtual machine whose clock counts
 * them (one guest nanosecond is one instruction). Loads the modules itself, from /quarry.ko and
 * /cache_cost.ko: it runs in an initramfs.
 *
 * Prints one JSON object on a line. Exit 1 when the bar of the calls (1/6) is missed.
 */
#include "../../../selftests/tests/device.h"
#include <sys/syscall.h>
#include <time.h>

enum { BATCH = 32, ROUNDS = 200 };

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

static uint64_t median(uint64_t *values)
{
	qsort(values, ROUNDS, sizeof(*values), compare);
	return values[ROUNDS / 2];
}

static int load(const char *name)
{
	int module = open(name, O_RDONLY);

	return module < 0 || syscall(SYS_finit_module, module, "", 0) ? -errno : 0;
}

/* A figure of cache_cost.ko, in instructions; -1 without it. */
static double figure(const char *name)
{
	char path[128];
	double hundredths = -100;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/cache_cost/parameters/%s", name);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%lf", &hundredths) != 1)
			hundredths = -100;
		fclose(f);
	}
	return hundredths / 100;
}

static void print_drivers(void)
{
	static const char *const cases[] = { "hot", "batch", "bulk", "page" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char ours[32], theirs[32];

		snprintf(ours, sizeof(ours), "quarry_%s", cases[i]);
		snprintf(theirs, sizeof(theirs), "kernel_%s", cases[i]);
		printf(", \"driver_%s\": {\"unit\": \"instructions/pair\", \"quarry\": %.1f, "
		       "\"kernel\": %.1f, \"ratio\": %.3f%s}", cases[i], figure(ours), figure(theirs),
		       figure(ours) / figure(theirs), i ? "" : ", \"bar\": 90");
	}
}

int main(void)
{
	static uint64_t alloc_1[ROUNDS], alloc_32[ROUNDS], free_1[ROUNDS], free_32[ROUNDS], clock[ROUNDS];
	uint64_t out[BATCH];
	struct pool p;

	if (load("/quarry.ko") || load("/cache_cost.ko"))
		return fprintf(stderr, "batch_cost: the modules cannot be loaded: %s\n", strerror(errno)), 2;
	if (create_heap(&p, 4 * MIB, 4 * MIB))
		return fprintf(stderr, "batch_cost: no pool\n"), 2;
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t t0 = now();
		uint64_t t1 = now();

		for (int i = 0; i < BATCH; i++)
			if (alloc_n(&p, 64, 0, 1, &out[i]) != 1)
				return 3;
		uint64_t t2 = now();

		for (int i = 0; i < BATCH; i++)
			if (free_n(&p, 1, &out[i]) != 1)
				return 3;
		uint64_t t3 = now();

		if (alloc_n(&p, 64, 0, BATCH, out) != BATCH)
			return 3;
		uint64_t t4 = now();

		if (free_n(&p, BATCH, out) != BATCH)
			return 3;
		uint64_t t5 = now();

		clock[r] = t1 - t0;
		alloc_1[r] = t2 - t1;
		free_1[r] = t3 - t2;
		alloc_32[r] = t4 - t3;
		free_32[r] = t5 - t4;
	}
	uint64_t own = median(clock);
	double a1 = (double)(median(alloc_1) - own) / BATCH, a32 = (double)(median(alloc_32) - own) / BATCH;
	double f1 = (double)(median(free_1) - own) / BATCH, f32 = (double)(median(free_32) - own) / BATCH;

	printf("{\"unit\": \"instructions/object\", \"alloc_single\": %.1f, \"alloc_batch32\": %.1f, "
	       "\"alloc_ratio\": %.4f, \"free_single\": %.1f, \"free_batch32\": %.1f, "
	       "\"free_ratio\": %.4f, \"bar\": %.4f", a1, a32, a32 / a1, f1, f32, f32 / f1, 1.0 / 6);
	print_drivers();
	puts("}");
	return a32 / a1 <= 1.0 / 6 ? 0 : 1;
}
