# SPDX-License-Identifier: MIT
# The main job: recorded programs in a kernel pool (run.sh), and the proof that it can fail.
.PHONY: run test-run-faults

RUN_DIR := selftests/vm/run

run: ## the main job: real programs' traces on a kernel pool, one killed, one attacking
	@tools/deps.sh run kernels tools vm
	@echo "building: module for 6.1, tools, traces" && began=$$SECONDS && \
		$(MAKE) --no-print-directory module KERNEL=6.1 >/dev/null && \
		$(MAKE) --no-print-directory tools traces | sed "/Nothing to be done/d" && echo "built in $$((SECONDS - began)) s"
	@$(RUN_DIR)/run.sh

test-run-faults: ## see `make run` fail on planted faults
	@tools/deps.sh run kernels tools vm
	@$(MAKE) --no-print-directory module KERNEL=6.1
	@$(MAKE) --no-print-directory tools traces
	@$(RUN_DIR)/faults.sh
