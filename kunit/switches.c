// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The runner's switches: parameters of quarry.ko in a build with QUARRY_KUNIT=1.
 *
 * Not of the module of the suites: 6.1 runs suites before it sets the
 * parameters of the module that brings them.
 */
#include <linux/glob.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include "quarry_kunit.h"

static char kunit_plant[16];
static char kunit_only[128];

static int plant_set(const char *value, const struct kernel_param *param)
{
	if (!strcmp(value, "refuse"))
		return -EPERM;
	return param_set_copystring(value, param);
}

static const struct kernel_param_ops plant_ops = {
	.set = plant_set,
	.get = param_get_string,
};

static struct kparam_string plant_string = {
	.maxlen = sizeof(kunit_plant),
	.string = kunit_plant,
};
module_param_cb(kunit_plant, &plant_ops, &plant_string, 0444);
MODULE_PARM_DESC(kunit_plant, "the fault that quarry_plant.planted commits");

module_param_string(kunit_only, kunit_only, sizeof(kunit_only), 0444);
MODULE_PARM_DESC(kunit_only, "SUITE.CASE with wildcards: all other cases are skipped");

bool quarry_watch_planted(const char *kind)
{
	return !strcmp(kunit_plant, kind);
}
EXPORT_SYMBOL_GPL(quarry_watch_planted);

/* True when the filter leaves this case out. "SUITE" alone is the whole suite. */
bool quarry_watch_filtered(const char *suite, const char *test)
{
	char name[256];

	if (!kunit_only[0])
		return false;
	snprintf(name, sizeof(name), "%s.%s", suite, test);
	return strchr(kunit_only, '.') ? !glob_match(kunit_only, name) :
					   !glob_match(kunit_only, suite);
}
EXPORT_SYMBOL_GPL(quarry_watch_filtered);
