// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Before and after each case of each suite. */
#include <linux/module.h>
#include "quarry_kunit.h"

int quarry_kunit_init(struct kunit *test, const char *suite)
{
	if (quarry_watch_filtered(suite, test->name))
		kunit_skip(test, "filtered");
	return 0;
}

void quarry_kunit_exit(struct kunit *test)
{
}

MODULE_DESCRIPTION("KUnit suites of Quarry");
MODULE_LICENSE("Dual MIT/GPL");
