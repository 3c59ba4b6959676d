# SPDX-License-Identifier: MIT
# Benchmarks in a virtual machine whose clock counts instructions.
$(BUILD)/bench/vm_bench: tools/bench/vm/vm_bench.c $(TOOLS_LIB)/libquarry.a $(VM_HEADERS)
	@mkdir -p $(@D)
	gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -static -pthread -Itools/libquarry/include -Iuapi -o $@ $< \
		$(TOOLS_LIB)/libquarry.a

# A driver of its own, that measures when it is loaded.
COST_BUILD := $(BUILD)/bench/cache_cost
.PHONY: cache-cost
cache-cost: module
	@tools/kernels/driver.sh $(VM_KERNEL) tools/bench/vm/cache_cost $(COST_BUILD)

.PHONY: bench-vm
bench-vm: module cache-cost ## instructions of calls, of libquarry's pairs, of drivers' caches (stock 6.1, icount); build/bench/vm.json
	@tools/deps.sh vm tools
	@$(MAKE) --no-print-directory $(BUILD)/bench/vm_bench
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --icount --timeout 900 --file $(BUILD)/module/$(VM_KERNEL)/quarry.ko:/quarry.ko \
		--file $(COST_BUILD)/cache_cost.ko:/cache_cost.ko -- $(BUILD)/bench/vm_bench >$(BUILD)/bench/vm.lines
	@python3 -B tools/bench/vm/vm_report.py $(BUILD)/bench/vm.lines $(BUILD)/bench/vm.json

# The peers zero nothing either: init_on_alloc, which Debian turns on, is off.
LATENCY_CALLS ?= 10000000
.PHONY: bench-latency latency-driver
latency-driver: module
	@tools/kernels/driver.sh $(VM_KERNEL) tools/bench/vm/latency $(BUILD)/bench/latency

bench-latency: latency-driver ## each of 10^7 calls of a driver, the longest too, in instructions (stock 6.1, icount)
	@tools/deps.sh vm
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --counted --append init_on_alloc=0 --timeout 1500 -- sh -c \
		'insmod $(BUILD)/module/$(VM_KERNEL)/quarry.ko && insmod $(BUILD)/bench/latency/latency.ko calls=$(LATENCY_CALLS) && \
		dmesg | grep latency && rmmod latency quarry' >$(BUILD)/bench/latency.lines
	@python3 -B tools/bench/vm/latency_report.py $(BUILD)/bench/latency.lines $(BUILD)/bench/latency.json

$(BUILD)/bench/section_calls: tools/bench/vm/section_calls.c $(VM_HEADERS)
	@mkdir -p $(@D)
	gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -static -Iuapi -o $@ $<

.PHONY: bench-sections
bench-sections: module ## the longest section with interrupts or preemption off, by call, at 10^6 live objects (stock 6.1)
	@tools/deps.sh vm
	@$(MAKE) --no-print-directory $(BUILD)/bench/section_calls
	@tools/kernels/driver.sh $(VM_KERNEL) tools/bench/vm/section_driver $(BUILD)/bench/section_driver
	@python3 -B tools/bench/vm/sections.py $(BUILD)/bench/sections $(BUILD)/module/$(VM_KERNEL)/quarry.ko \
		$(BUILD)/bench/section_driver/section_driver.ko $(BUILD)/bench/section_calls $(BUILD)/bench/sections.json $(SECTIONS_LIVE)
