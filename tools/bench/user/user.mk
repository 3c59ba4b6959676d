# SPDX-License-Identifier: MIT
# Benchmarks of user space: pools of "host:", by the calls that programs have inlined, against the
# mallocs, and against pools of other libraries (peers.sh).
USER_BENCH := $(BENCH_BUILD)/user_bench

$(BENCH_BUILD)/user/%.o: $(BENCH_DIR)/user/%.cpp $(wildcard $(BENCH_DIR)/*.hpp $(BENCH_DIR)/user/*.hpp tools/libquarry/include/quarry/*.h) uapi/linux/quarry.h
	@mkdir -p $(@D)
	g++ -std=c++20 -O2 -fno-builtin-malloc -fno-builtin-free -Wall -Wextra -Werror -pthread \
		-Iuapi -Itools/libquarry/include -c $< -o $@
$(USER_BENCH): $(patsubst $(BENCH_DIR)/%.cpp,$(BENCH_BUILD)/%.o,$(wildcard $(BENCH_DIR)/user/*_cases.cpp)) $(BENCH_BUILD)/host_bench.o $(TOOLS_LIB)/libquarry.a
	g++ -no-pie -pthread $^ -o $@

.PHONY: bench-user
bench-user: ## benchmarks of user space against the mallocs, dpdk, boost, iceoryx (CASES=, LAUNCHES=5)
	@tools/deps.sh bench tools
	@$(MAKE) --no-print-directory $(USER_BENCH)
	@$(BENCH_DIR)/user/peers.sh
	@QUARRY_BENCH=user $(BENCH_DIR)/run.sh "$(CASES)" "$(LAUNCHES)"
