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

.PHONY: help clean
help: ## list the targets
	@awk -F':.*## ' '/^[a-zA-Z0-9_-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

include tools/kernels/kernels.mk
include selftests/host/host.mk
include kunit/kunit.mk
include tools/tools.mk
include tools/bench/bench.mk
include selftests/vm/vm.mk
include selftests/vm/run/run.mk
include selftests/stress/stress.mk
include tools/bench/vm/vm.mk
include tools/check/check.mk

# What `make test` runs; each target also stands alone. User space, and beside it the kernels: the
# two build nothing in common but the module, whose build takes a lock.
TEST_TARGETS := test-host test-libquarry test-record test-bench-report test-tools + \
	test-kunit test-vm test-kill-short

.PHONY: test
test: ## every test: host, UML, VM; the last line counts them
	@tools/deps.sh host tools check kunit vm run
	@tools/check/tally.sh $(TEST_TARGETS)

clean: ## remove everything built (kernel caches outside the tree stay)
	rm -rf $(BUILD)
