# SPDX-License-Identifier: MIT
# Kills at random times under load, in the virtual machine.
KILLS      ?= 10000
KILL_SHORT := 500

$(BUILD)/vm/stress/kill: selftests/stress/kill.c $(VM_HEADERS) $(BUILD)/vm/kselftest/.done
	@mkdir -p $(@D)
	gcc $(VM_CFLAGS) -o $@ $<

.PHONY: kill-program test-kill test-kill-short
# After the others, which make the same headers.
kill-program: vm-programs
	@$(MAKE) --no-print-directory $(BUILD)/vm/stress/kill

test-kill: module ## kills under load, nothing lost [KILLS=10000] [SEED=n] [KERNEL=6.1]
	@tools/deps.sh vm
	@$(MAKE) --no-print-directory $(BUILD)/vm/stress/kill
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --timeout 5000 -- selftests/stress/kill-guest.sh $(KILLS) $(SEED)

test-kill-short: ## the first 500 of these kills, as `make test` runs them
	@$(MAKE) --no-print-directory test-kill KILLS=$(KILL_SHORT)
