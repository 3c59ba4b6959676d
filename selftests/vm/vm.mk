# SPDX-License-Identifier: MIT
# The test programs and the virtual machine that runs them (selftests/vm/vm.sh, run-tests.sh).
#
# A program is one file, selftests/tests/NAME.c, and runs when selftests/vm/tests.list names it; it
# is built static, with the kernel's own kselftest headers. NAME-m32 is the same file for 32 bits.
# What a program needs beyond libc: VM_LIBS_NAME := -l...
VM_DIR     := selftests/vm
VM_BUILD   := $(BUILD)/vm/tests
VM_KERNEL   = $(or $(KERNEL),6.1)
VM_SECONDS ?= 1200
VM_NAMES   := $(filter-out %.sh,$(shell awk '!/^\#/ && NF { print $$1 }' $(VM_DIR)/tests.list))
VM_CFLAGS  := -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-pthread -Iuapi -Iselftests/tests -isystem $(BUILD)/vm/kselftest
VM_HEADERS := $(wildcard selftests/tests/*.h) uapi/linux/quarry.h

.PHONY: vm-programs test-vm test-vm-selftest vm-shell

$(BUILD)/vm/kselftest/.done: selftests/lib/kselftest.sh
	@mkdir -p $(@D)
	@cp "$$(selftests/lib/kselftest.sh)"/*.h $(@D)/
	@# An emulated machine on a busy host may take long for what is short: tests.list bounds a program.
	@sed -i 's/define TEST_TIMEOUT_DEFAULT 30/define TEST_TIMEOUT_DEFAULT 150/' $(@D)/kselftest_harness.h
	@grep -q 'TEST_TIMEOUT_DEFAULT 150' $(@D)/kselftest_harness.h
	@touch $@

$(VM_BUILD)/%-m32.o: selftests/tests/%.c $(VM_HEADERS) $(BUILD)/vm/kselftest/.done
	@mkdir -p $(@D)
	$(CCACHE) gcc -m32 $(VM_CFLAGS) -c $< -o $@

$(VM_BUILD)/%.o: selftests/tests/%.c $(VM_HEADERS) $(BUILD)/vm/kselftest/.done
	@mkdir -p $(@D)
	$(CCACHE) gcc $(VM_CFLAGS) -c $< -o $@

$(VM_BUILD)/%-m32: $(VM_BUILD)/%-m32.o
	gcc -m32 -pthread -static -o $@ $< $(VM_LIBS_$*)

$(VM_BUILD)/%: $(VM_BUILD)/%.o
	gcc -pthread -static -o $@ $< $(VM_LIBS_$*)
.PRECIOUS: $(VM_BUILD)/%.o $(VM_BUILD)/%-m32.o

vm-programs:
	@tools/deps.sh vm
	@$(MAKE) --no-print-directory $(addprefix $(VM_BUILD)/,$(VM_NAMES))

# A driver of its own, which the program sample_driver loads.
SAMPLE_BUILD = $(BUILD)/sample_driver/$(VM_KERNEL)
.PHONY: sample-driver
sample-driver: module
	@tools/kernels/driver.sh $(VM_KERNEL) selftests/sample_driver $(SAMPLE_BUILD)

# Another, which NMIs from outside drive.
NMI_BUILD = $(BUILD)/nmi_driver/$(VM_KERNEL)
.PHONY: nmi-driver test-nmi
nmi-driver: module
	@tools/kernels/driver.sh $(VM_KERNEL) selftests/nmi_driver $(NMI_BUILD)

test-nmi: nmi-driver ## allocate and free in NMIs, sent from outside [KERNEL=6.1|6.12|newest]
	@tools/deps.sh vm
	@python3 -B $(VM_DIR)/nmi.py $(VM_KERNEL) $(BUILD)/module/$(VM_KERNEL)/quarry.ko $(NMI_BUILD)/nmi_driver.ko $(BUILD)/nmi

test-vm: module vm-programs sample-driver ## run the TAP programs on a stock kernel [KERNEL=6.1|6.12|newest] [TEST=name]
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --timeout $(VM_SECONDS) -- $(VM_DIR)/run-tests.sh $(TEST)

test-vm-selftest: ## see the virtual machine and its runner fail on planted faults
	@tools/deps.sh vm kernels run
	@$(VM_DIR)/selftest.sh $(VM_KERNEL)

vm-shell: ## a root shell on a stock kernel, with this machine's files [KERNEL=...]
	@tools/deps.sh vm
	@$(VM_DIR)/vm.sh --kernel $(VM_KERNEL) --shell
