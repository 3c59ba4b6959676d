/* SPDX-License-Identifier: MIT */
/* Cases of the kernel benchmark: see bench.c. */
#ifndef QUARRY_KERNEL_BENCH_H
#define QUARRY_KERNEL_BENCH_H

#include <linux/types.h>
#include <linux/quarry.h>

/**
 * struct bench_case - one allocator at one case
 * @name: of the case
 * @who: "quarry", or the peer
 * @operations: that one run makes
 * @prepare: once, before the first run; or NULL
 * @run: what is timed
 * @finish: once, after the last; or NULL
 */
struct bench_case {
	const char *name;
	const char *who;
	u32 operations;
	int (*prepare)(void);
	void (*run)(void);
	void (*finish)(void);
};

extern const struct bench_case bench_objects[], bench_pages[], bench_ranges[];

static inline u32 bench_random(u32 *state)
{
	return (*state = *state * 1664525 + 1013904223) >> 8;
}

#endif
