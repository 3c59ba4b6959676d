# SPDX-License-Identifier: GPL-2.0 OR MIT
# KUnit suites on User Mode Linux: KERNEL=6.1|newest chooses one kernel (both when unset),
# TEST=suite.case one case (or a whole suite).
KUNIT_ARGS = $(if $(KERNEL),--kernel $(KERNEL)) $(if $(TEST),--filter '$(TEST)')

.PHONY: test-kunit test-kunit-selftest test-kunit-debug kunit-deps kunit-modules
kunit-deps:
	@tools/deps.sh kunit

kunit-modules: kunit-deps
	@kunit/run.sh --build $(if $(KERNEL),--kernel $(KERNEL))

test-kunit: kunit-deps ## KUnit suites on UML [KERNEL=6.1|newest] [TEST=suite.case], planted faults included
	@kunit/run.sh $(if $(TEST),,--full) $(KUNIT_ARGS)

test-kunit-selftest: kunit-deps ## see the KUnit runner fail on each planted fault [KERNEL=...]
	@kunit/run.sh --selftest $(if $(KERNEL),--kernel $(KERNEL))

test-kunit-debug: kunit-deps ## the KUnit suites on kernels with KASAN, lockdep, kmemleak, failslab (15 minutes)
	@kunit/run.sh --debug $(KUNIT_ARGS)
