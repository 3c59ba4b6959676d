# SPDX-License-Identifier: MIT
# Benchmarks of the core on the host, against the mallocs that Debian has.
BENCH_DIR   := tools/bench
BENCH_BUILD := $(BUILD)/bench

# The core as the kernel compiles it, as far as that links into a program: without the
# kernel's code model, its thunks, -mfentry, and its 8-byte stacks (hooks are the host's).
BENCH_CORE_FLAGS := -std=gnu++20 -O2 -ffreestanding -fno-exceptions -fno-rtti \
	-fno-threadsafe-statics -fno-use-cxa-atexit -fno-asynchronous-unwind-tables \
	-fno-unwind-tables -fvisibility=hidden -mgeneral-regs-only -mno-red-zone -fno-PIE \
	-fno-strict-aliasing -fno-common -fno-delete-null-pointer-checks -fno-jump-tables \
	-fcf-protection=branch -mharden-sls=all -mtune=generic -falign-functions=16 \
	-fno-stack-clash-protection -fstack-protector-strong -Wall -Wextra -Werror

$(BENCH_BUILD)/core.o: module/core/core.cpp $(wildcard module/core/*/*.hpp module/core/seam/*.cpp module/include/*.h)
	@mkdir -p $(@D)
	g++ $(BENCH_CORE_FLAGS) -c $< -o $@
$(BENCH_BUILD)/%.o: $(BENCH_DIR)/%.cpp $(wildcard $(BENCH_DIR)/*.hpp module/core/*/*.hpp) module/include/quarry_seam.h
	@mkdir -p $(@D)
	g++ -std=c++20 -O2 -fno-PIE -fno-builtin-malloc -fno-builtin-free -Wall -Wextra -Werror -pthread -c $< -o $@
$(BENCH_BUILD)/host_bench: $(patsubst $(BENCH_DIR)/%.cpp,$(BENCH_BUILD)/%.o,$(wildcard $(BENCH_DIR)/*.cpp)) $(BENCH_BUILD)/core.o
	g++ -no-pie -pthread $^ -o $@

.PHONY: bench-host
bench-host: ## benchmarks of the core against the mallocs (CASES="name or pattern ...", LAUNCHES=5)
	@tools/deps.sh bench
	@$(MAKE) --no-print-directory $(BENCH_BUILD)/host_bench
	@$(BENCH_DIR)/run.sh "$(CASES)" "$(LAUNCHES)"

.PHONY: bench-count
bench-count: ## instructions and cache misses of one pair, by callgrind (CASES="name ...")
	@tools/deps.sh bench
	@$(MAKE) --no-print-directory $(BENCH_BUILD)/host_bench
	@python3 -B $(BENCH_DIR)/count.py $(CASES)

.PHONY: bench bench-page
bench: ## every benchmark, and one page of all: build/bench/report.html (half an hour at most)
	@for part in bench-host bench-user bench-vm bench-latency bench-sections bench-kernel; do \
		$(MAKE) --no-print-directory $$part || exit 1; done
	@$(MAKE) --no-print-directory bench-page

bench-page: ## the page of the figures that were measured last
	@python3 -B $(BENCH_DIR)/page.py $(BENCH_BUILD)

.PHONY: test-bench-page
test-bench-page: ## the page of figures in a real browser: a telephone's width, a desk, the dark, print
	@tools/deps.sh browser
	@python3 -B $(BENCH_DIR)/browser_test.py $(BENCH_BUILD)/browser

.PHONY: test-bench-report
test-bench-report: ## tests of the benchmarks' report: its rules, its table, its curves
	@tools/deps.sh check
	@python3 -B $(BENCH_DIR)/report_test.py
include tools/bench/user/user.mk
