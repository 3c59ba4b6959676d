// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A case that does nothing, unless the runner plants a fault in it: so that the
 * runner is seen to fail (run.sh --selftest).
 */
#include <linux/delay.h>
#include <linux/module.h>
#include "quarry_kunit.h"

static void planted(struct kunit *test)
{
	if (quarry_watch_planted("fail"))
		KUNIT_FAIL(test, "planted");
	if (quarry_watch_planted("skip"))
		kunit_skip(test, "planted");
	if (quarry_watch_planted("pin"))
		__module_get(THIS_MODULE);
	WARN(quarry_watch_planted("warn"), "planted");
	if (quarry_watch_planted("oops"))
		WRITE_ONCE(*(int *)8, 1);
	while (quarry_watch_planted("hang"))
		msleep(1000);
}

static struct kunit_case plant_cases[] = {
	KUNIT_CASE(planted),
	{}
};

QUARRY_KUNIT_SUITE(quarry_plant, plant_cases);
