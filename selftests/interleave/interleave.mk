# SPDX-License-Identifier: MIT
# Interleavings of the core, explored (model.hpp). The core's headers meet another <atomic>.
INTERLEAVE_DIR   := selftests/interleave
INTERLEAVE_BUILD := $(BUILD)/interleave
INTERLEAVE_CXX   := $(CCACHE) g++ -std=c++20 -g -O2 -Wall -Wextra -Werror -MMD -MP

$(INTERLEAVE_BUILD)/scenarios.o: INTERLEAVE_CXX += -I$(INTERLEAVE_DIR)/std
$(INTERLEAVE_BUILD)/%.o: $(INTERLEAVE_DIR)/%.cpp
	@mkdir -p $(@D)
	$(INTERLEAVE_CXX) -c $< -o $@
$(INTERLEAVE_BUILD)/interleave_test: $(addprefix $(INTERLEAVE_BUILD)/,interleave_test.o scenarios.o model.o)
	g++ $(FAST_LINK) -pthread $^ -lgtest -lgtest_main -o $@

.PHONY: interleave-program test-interleave
interleave-program: $(INTERLEAVE_BUILD)/interleave_test

test-interleave: ## interleavings of grant, drain and reap, one after the other (TEST=filter, SCHEDULES=4000)
	@tools/deps.sh interleave
	@$(MAKE) --no-print-directory interleave-program
	@$(INTERLEAVE_DIR)/run.sh $(INTERLEAVE_BUILD)/interleave_test "$(TEST)"

-include $(wildcard $(INTERLEAVE_BUILD)/*.d)
