# SPDX-License-Identifier: MIT
# Quarry: every command that a user or a developer needs. `make help` lists them.
# Each part owns its fragment; this file only joins them.
ROOT  := $(CURDIR)
BUILD := build
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Objects of user space are cached beside the kernels, outside the tree, whatever the checkout's place.
export CCACHE_DIR ?= $(or $(QUARRY_CACHE),$(HOME)/.cache/quarry)/ccache
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
CCACHE = $(if $(wildcard /usr/bin/ccache),ccache)
# Test programs are linked in a fifth of the default linker's time.
FAST_LINK := $(if $(wildcard /usr/bin/ld.gold),-fuse-ld=gold)

.PHONY: help clean
help: ## list the targets
	@awk -F':.*## ' '/^[a-zA-Z0-9_-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

include tools/kernels/kernels.mk
include selftests/host/host.mk
include selftests/interleave/interleave.mk
include kunit/kunit.mk
include tools/tools.mk
include tools/bench/bench.mk
include selftests/vm/vm.mk
include selftests/vm/run/run.mk
include selftests/stress/stress.mk
include tools/bench/vm/vm.mk
include tools/bench/kernel/kernel.mk
include tools/check/check.mk

# What `make test` runs, in two lanes; each target also stands alone. All that they need is built
# first: it keeps every CPU busy, and no two of them then build the same thing at one time.
TEST_TARGETS := test-host test-interleave test-record test-libquarry test-bench-report test-tools + \
	test-vm test-kunit test-kill-short test-nmi

.PHONY: test test-build
test: ## every test: host, UML, VM; the last line counts them
	@tools/deps.sh host interleave tools check kunit vm run
	@mkdir -p $(BUILD)/test
	@echo "building what the tests need ($(BUILD)/test/build.log)"
	@# What does not build is told by the test that needs it.
	@$(MAKE) --no-print-directory -k -j$$(nproc) test-build >$(BUILD)/test/build.log 2>&1 || true
	@tools/check/tally.sh $(TEST_TARGETS)

test-build: host-programs interleave-program libquarry-programs record-programs traces kunit-modules module vm-programs sample-driver nmi-driver kill-program

clean: ## remove everything built (kernel caches outside the tree stay)
	rm -rf $(BUILD)
