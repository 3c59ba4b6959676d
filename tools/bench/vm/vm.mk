# SPDX-License-Identifier: MIT
# Benchmarks in a virtual machine whose clock counts instructions.
$(BUILD)/bench/batch_cost: tools/bench/vm/batch_cost.c $(VM_HEADERS)
	@mkdir -p $(@D)
	gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -static -Iuapi -o $@ $<

.PHONY: bench-vm
bench-vm: module ## instructions an object: one call of 32 against 32 calls (stock 6.1, icount)
	@tools/deps.sh vm
	@$(MAKE) --no-print-directory $(BUILD)/bench/batch_cost
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --icount --file $(BUILD)/module/$(VM_KERNEL)/quarry.ko:/quarry.ko \
		-- $(BUILD)/bench/batch_cost | tee $(BUILD)/bench/vm.json
