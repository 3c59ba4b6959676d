# SPDX-License-Identifier: MIT
# Benchmarks in a virtual machine whose clock counts instructions.
$(BUILD)/bench/batch_cost: tools/bench/vm/batch_cost.c $(VM_HEADERS)
	@mkdir -p $(@D)
	gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -static -Iuapi -o $@ $<

# A driver of its own, that measures when it is loaded.
COST_BUILD := $(BUILD)/bench/cache_cost
.PHONY: cache-cost
cache-cost: module
	@mkdir -p $(COST_BUILD)
	@cp -u tools/bench/vm/cache_cost/Kbuild tools/bench/vm/cache_cost/cache_cost.c $(COST_BUILD)/
	@headers=$$(tools/kernels/get.sh headers $(VM_KERNEL)); \
	$(MAKE) --no-print-directory -C $$headers M=$(CURDIR)/$(COST_BUILD) QUARRY_ROOT=$(CURDIR) CONFIG_DEBUG_INFO_BTF_MODULES= \
		KBUILD_EXTRA_SYMBOLS=$(CURDIR)/$(BUILD)/module/$(VM_KERNEL)/Module.symvers modules >$(COST_BUILD)/build.log 2>&1 || \
		{ cat $(COST_BUILD)/build.log; exit 1; }

.PHONY: bench-vm
bench-vm: module cache-cost ## instructions: one call of 32 objects against 32 calls; drivers' caches against the kernel's (stock 6.1, icount)
	@tools/deps.sh vm
	@$(MAKE) --no-print-directory $(BUILD)/bench/batch_cost
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --icount --file $(BUILD)/module/$(VM_KERNEL)/quarry.ko:/quarry.ko \
		--file $(COST_BUILD)/cache_cost.ko:/cache_cost.ko -- $(BUILD)/bench/batch_cost | tee $(BUILD)/bench/vm.json
