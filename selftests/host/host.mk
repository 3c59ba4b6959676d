# SPDX-License-Identifier: MIT
# Host tests of the core: GoogleTest, one program for each selftests/host/*_test.cpp, in three
# variants. A new *_test.cpp needs no line here; its tests need theirs in expected.list.
#
#   plain  g++      -O2
#   asan   g++      AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan   clang++  ThreadSanitizer
HOST_DIR      := selftests/host
HOST_BUILD    := $(BUILD)/host
HOST_VARIANTS := plain asan tsan
HOST_TESTS    := $(patsubst $(HOST_DIR)/%.cpp,%,$(wildcard $(HOST_DIR)/*_test.cpp))

HOST_CXX_plain   := g++
HOST_CXX_asan    := g++
HOST_CXX_tsan    := clang++
HOST_FLAGS_plain := -O2
HOST_FLAGS_asan  := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
HOST_FLAGS_tsan  := -O1 -fsanitize=thread -fno-omit-frame-pointer
HOST_WARNINGS    := -Wall -Wextra -Werror
HOST_CXXFLAGS    := -std=c++20 -g $(HOST_WARNINGS) -pthread -MMD -MP

# host_variant VARIANT: how its objects, library and programs are made. The core's own
# translation unit is linked where the seam is used: seam*_test.cpp.
define host_variant
$(HOST_BUILD)/$(1)/%.o: $(HOST_DIR)/%.cpp | $(HOST_BUILD)/$(1)
	$$(CCACHE) $(HOST_CXX_$(1)) $(HOST_CXXFLAGS) $(HOST_FLAGS_$(1)) -c $$< -o $$@
$(HOST_BUILD)/$(1)/core.o: module/core/core.cpp | $(HOST_BUILD)/$(1)
	$$(CCACHE) $(HOST_CXX_$(1)) $(HOST_CXXFLAGS) $(HOST_FLAGS_$(1)) -fno-exceptions -fno-rtti -c $$< -o $$@
$(HOST_BUILD)/$(1)/%_test: $(HOST_BUILD)/$(1)/%_test.o $(HOST_BUILD)/$(1)/host_platform.o $(HOST_BUILD)/$(1)/host_main.o
	$(HOST_CXX_$(1)) $(HOST_FLAGS_$(1)) $(FAST_LINK) -pthread $$^ -lgtest -o $$@
$(HOST_BUILD)/$(1)/seam%_test: $(HOST_BUILD)/$(1)/seam%_test.o $(HOST_BUILD)/$(1)/host_platform.o $(HOST_BUILD)/$(1)/host_main.o $(HOST_BUILD)/$(1)/os_host.o $(HOST_BUILD)/$(1)/core.o
	$(HOST_CXX_$(1)) $(HOST_FLAGS_$(1)) $(FAST_LINK) -pthread $$^ -lgtest -o $$@
$(HOST_BUILD)/$(1):
	@mkdir -p $$@
.PRECIOUS: $(HOST_BUILD)/$(1)/%.o
.PHONY: host-$(1)
host-$(1): $(HOST_TESTS:%=$(HOST_BUILD)/$(1)/%)
-include $(wildcard $(HOST_BUILD)/$(1)/*.d)
endef
$(foreach v,$(HOST_VARIANTS),$(eval $(call host_variant,$(v))))

.PHONY: test-host
test-host: ## host tests of the core (TEST=filter, SAN=plain|asan|tsan)
	@tools/deps.sh host
	@$(HOST_DIR)/run.sh "$(SAN)" "$(TEST)"

.PHONY: host-programs
host-programs: $(HOST_VARIANTS:%=host-%) $(HOST_BUILD)/fuzz_buddy $(HOST_BUILD)/fuzz_range

.PHONY: host-expected
host-expected: ## writes the list of host tests that must be there, from those that are
	@tools/deps.sh host
	@$(MAKE) --no-print-directory -j2 host-plain
	@$(HOST_DIR)/run.sh --list >$(HOST_DIR)/expected.list

# Fuzzing: libFuzzer with AddressSanitizer; what it finds interesting stays in the corpus. A short
# run of each is part of the host tests (run.sh); a long one is `make fuzz-range FUZZ_SECONDS=3600`.
FUZZ_SECONDS ?= 60
HOST_FUZZ_FLAGS := -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
$(HOST_BUILD)/fuzz/%.o: $(HOST_DIR)/%.cpp
	@mkdir -p $(@D)
	$(CCACHE) clang++ $(HOST_CXXFLAGS) $(HOST_FUZZ_FLAGS) -c $< -o $@
$(HOST_BUILD)/fuzz_%: $(HOST_BUILD)/fuzz/fuzz_%.o $(HOST_BUILD)/fuzz/host_platform.o
	clang++ $(HOST_FUZZ_FLAGS) $(FAST_LINK) -pthread $^ -o $@
.PRECIOUS: $(HOST_BUILD)/fuzz/%.o
-include $(wildcard $(HOST_BUILD)/fuzz/*.d)

.PHONY: fuzz-buddy fuzz-range
fuzz-buddy: ## fuzz the buddy against its model (FUZZ_SECONDS=60)
fuzz-range: ## fuzz the range allocator against its model (FUZZ_SECONDS=60)
fuzz-buddy fuzz-range: fuzz-%:
	@tools/deps.sh host
	@$(MAKE) --no-print-directory $(HOST_BUILD)/fuzz_$*
	@mkdir -p $(HOST_BUILD)/corpus_$*
	@$(HOST_BUILD)/fuzz_$* -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -len_control=0 -print_final_stats=1 \
		-artifact_prefix=$(HOST_BUILD)/ $(HOST_BUILD)/corpus_$* 2>&1 | tail -n 15
