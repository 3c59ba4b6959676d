# SPDX-License-Identifier: MIT
# Benchmarks of the drivers' allocator, in User Mode Linux.
BOOTS ?= 5

.PHONY: bench-kernel
bench-kernel: ## drivers' allocations beside the kernel's own (newest UML; BOOTS=5); build/bench/kernel.json
	@tools/deps.sh kernels kunit
	@tools/bench/kernel/run.sh $(BOOTS) $(BUILD)/bench/kernel.json
