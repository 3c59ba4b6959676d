/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What all suites share: the switches of the runner, and the watch on the hooks.
 *
 * In a build with QUARRY_KUNIT=1 the linker puts quarry_watch_* (watch.c, part
 * of quarry.ko) before the shim's hooks. The core and the shim are the ones
 * that ship, byte for byte; the watch counts what passes and, when a case asks
 * for it, refuses.
 */
#ifndef QUARRY_KUNIT_H
#define QUARRY_KUNIT_H

#include <kunit/test.h>
#include "../module/include/quarry_seam.h"

/* The runner's switches: parameters of quarry.ko, which is loaded by then. */
bool quarry_watch_planted(const char *kind);
bool quarry_watch_filtered(const char *suite, const char *test);

/* Before and after each case of each suite: the filter; watch off; nothing left behind. */
int quarry_kunit_init(struct kunit *test, const char *suite);
void quarry_kunit_exit(struct kunit *test);

/* Declares and registers the one suite of a file, of the cases in `case_array`. */
#define QUARRY_KUNIT_SUITE(suite_name, case_array)				\
	static int suite_name##_case_init(struct kunit *test)			\
	{									\
		return quarry_kunit_init(test, #suite_name);			\
	}									\
	static struct kunit_suite suite_name = {				\
		.name = #suite_name,						\
		.init = suite_name##_case_init,					\
		.exit = quarry_kunit_exit,					\
		.test_cases = case_array,					\
	};									\
	kunit_test_suite(suite_name)

#endif /* QUARRY_KUNIT_H */
