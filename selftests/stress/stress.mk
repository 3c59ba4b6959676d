# SPDX-License-Identifier: MIT
# Kills in the virtual machine: at random times under load, and at each instruction.
KILLS      ?= 10000
KILL_SHORT := 500

# Each instruction of these parts of libquarry, and of the inlined calls in the program itself. `planted`:
# its sequences end before they commit, which must be seen.
EACH         := $(BUILD)/vm/stress/each_instruction
EACH_OBJECTS := $(addprefix $(TOOLS_LIB)/,slow.o objects.o section.o)
EACH_CFLAGS   = -Itools/libquarry/include -Itools/libquarry/src $(VM_CFLAGS)
KILL_DEPS    := $(BUILD)/vm/kselftest/.done $(VM_HEADERS) \
	$(wildcard tools/libquarry/include/quarry/*.h tools/libquarry/src/*.h)
EACH_PLANT   := "movq $$0, %%fs:8(%[rseq])\n\t"

$(BUILD)/vm/stress/%.o: selftests/stress/%.c $(KILL_DEPS)
	@mkdir -p $(@D)
	$(CCACHE) gcc $(EACH_CFLAGS) -c $< -o $@
$(EACH)_planted.o: selftests/stress/each_instruction.c $(KILL_DEPS)
	@mkdir -p $(@D)
	$(CCACHE) gcc $(EACH_CFLAGS) '-DQUARRY_SEQUENCE_DELAY=$(EACH_PLANT)' -c $< -o $@
$(BUILD)/vm/stress/%: $(BUILD)/vm/stress/%.o $(TOOLS_LIB)/libquarry.a
	gcc -pthread -static -o $@ $^
.PRECIOUS: $(BUILD)/vm/stress/%.o
$(EACH).list $(EACH)_planted.list: %.list: % selftests/stress/instructions.py
	python3 -B selftests/stress/instructions.py $< $(EACH_OBJECTS) >$@

.PHONY: kill-program kill-programs test-kill test-kill-short
# After the others, which make the same headers.
kill-program: vm-programs tools-deps
	@$(MAKE) --no-print-directory kill-programs
kill-programs: $(BUILD)/vm/stress/kill $(EACH).list $(EACH)_planted.list

test-kill: module ## kills under load and at each instruction, nothing lost [KILLS=10000] [SEED=n] [KERNEL=6.1]
	@tools/deps.sh vm tools
	@$(MAKE) --no-print-directory kill-programs
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --timeout 5000 -- selftests/stress/kill-guest.sh $(KILLS) $(SEED)

test-kill-short: ## 500 kills under load and one at each instruction of the fast paths, as `make test` runs them
	@$(MAKE) --no-print-directory test-kill KILLS=$(KILL_SHORT)
