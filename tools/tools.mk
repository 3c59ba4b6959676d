# SPDX-License-Identifier: MIT
# libquarry, quarryctl, the examples; the recorder's fragment is included.
#
# Outputs: build/tools/libquarry/{libquarry.a,libquarry.so.1}, build/tools/quarryctl,
# build/tools/ten_lines, build/tools/test/ (the unit tests). quarryctl and the
# example are linked static, so that they run in an initramfs too.

TOOLS_VERSION := 1.0.0
TOOLS_OUT     := $(BUILD)/tools
TOOLS_TEST    := $(TOOLS_OUT)/test
TOOLS_CC      ?= gcc
TOOLS_CXX     ?= g++
TOOLS_PREFIX  ?= /usr/local
TOOLS_WARN    := -Wall -Wextra -Werror
TOOLS_FLAGS   := -O2 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iuapi -Itools/libquarry/include $(TOOLS_WARN)
TOOLS_CFLAGS  := $(TOOLS_FLAGS) -std=gnu11 -Wshadow -Wstrict-prototypes -Wmissing-prototypes
TOOLS_CXXFLAGS := $(TOOLS_FLAGS) -std=c++20

TOOLS_LIB     := $(TOOLS_OUT)/libquarry
TOOLS_LIB_SRC := $(wildcard tools/libquarry/src/*.c tools/libquarry/src/host/*.c)
# The core as "host:" has it. Its names, and those of its hooks, are not the library's.
TOOLS_CORE_FLAGS := -std=gnu++20 -O2 -g -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics \
	-fno-use-cxa-atexit -fno-asynchronous-unwind-tables -fno-unwind-tables -fvisibility=hidden \
	-fno-strict-aliasing -fno-delete-null-pointer-checks $(TOOLS_WARN)
TOOLS_CORE_DEPS := module/core/core.cpp $(wildcard module/core/*/*.hpp module/core/seam/*.cpp module/include/*.h)
TOOLS_LIB_OBJ := $(TOOLS_LIB_SRC:tools/libquarry/src/%.c=$(TOOLS_LIB)/%.o)
TOOLS_LIB_PIC := $(TOOLS_LIB_OBJ:.o=.pic.o)

TOOLS_CTL_SRC := $(wildcard tools/quarryctl/*.cpp)
TOOLS_CTL_OBJ := $(TOOLS_CTL_SRC:tools/quarryctl/%.cpp=$(TOOLS_OUT)/quarryctl.o/%.o)

TOOLS_TEST_SRC := $(wildcard tools/libquarry/test/*.cpp)
# The parts of quarryctl that are tested against the same device.
TOOLS_REPLAY_TEST_SRC := tools/quarryctl/test/replay_test.cpp tools/quarryctl/test/program_test.cpp \
	tools/quarryctl/player.cpp tools/quarryctl/mesh.cpp tools/quarryctl/program.cpp \
	tools/libquarry/test/fake_device.cpp tools/libquarry/test/fake_ioctl.cpp \
	tools/libquarry/test/fake_magazines.cpp

# The recorder: RECORD_LIB reads its traces.
include tools/record/record.mk

TOOLS_EXAMPLES := $(addprefix $(TOOLS_OUT)/,ten_lines containers shared_map publish subscribe)
.PHONY: tools tools-deps libquarry quarryctl examples test-libquarry install-libquarry

tools-deps:
	@tools/deps.sh tools

tools: libquarry quarryctl examples $(TOOLS_TEST)/device-test ## build libquarry, quarryctl and the examples

libquarry: tools-deps $(TOOLS_LIB)/libquarry.a $(TOOLS_LIB)/libquarry.so $(TOOLS_LIB)/quarry-uninstalled.pc ## build libquarry (static, shared)
quarryctl: tools-deps $(TOOLS_OUT)/quarryctl ## build quarryctl
examples: tools-deps $(TOOLS_EXAMPLES) ## build the examples

$(TOOLS_LIB)/%.pic.o: tools/libquarry/src/%.c
	@mkdir -p $(@D)
	$(CCACHE) $(TOOLS_CC) $(TOOLS_CFLAGS) -fPIC -MMD -MP -c $< -o $@

$(TOOLS_LIB)/%.o: tools/libquarry/src/%.c
	@mkdir -p $(@D)
	$(CCACHE) $(TOOLS_CC) $(TOOLS_CFLAGS) -MMD -MP -c $< -o $@

$(TOOLS_LIB)/core.pic.o: $(TOOLS_CORE_DEPS)
	@mkdir -p $(@D)
	$(CCACHE) $(TOOLS_CXX) $(TOOLS_CORE_FLAGS) -fPIC -c $< -o $@

$(TOOLS_LIB)/core.o: $(TOOLS_CORE_DEPS)
	@mkdir -p $(@D)
	$(CCACHE) $(TOOLS_CXX) $(TOOLS_CORE_FLAGS) -c $< -o $@

# One object of the core, its hooks and what is between: a program may have a core of its own.
TOOLS_HOST_OBJ := $(filter $(TOOLS_LIB)/host/%,$(TOOLS_LIB_OBJ)) $(TOOLS_LIB)/core.o
$(TOOLS_LIB)/host_all.o: $(TOOLS_HOST_OBJ)
	ld -r --force-group-allocation $^ -o $@
	objcopy --wildcard --keep-global-symbol='quarry_host_*' $@

$(TOOLS_LIB)/libquarry.a: $(filter-out $(TOOLS_HOST_OBJ),$(TOOLS_LIB_OBJ)) $(TOOLS_LIB)/host_all.o
	rm -f $@
	ar rcs $@ $^

$(TOOLS_LIB)/libquarry.so.1: $(TOOLS_LIB_PIC) $(TOOLS_LIB)/core.pic.o tools/libquarry/libquarry.map
	$(TOOLS_CC) -shared -pthread -Wl,-soname,libquarry.so.1 -Wl,--version-script=tools/libquarry/libquarry.map \
		-Wl,-z,defs -Wl,-z,relro,-z,now $(TOOLS_LIB_PIC) $(TOOLS_LIB)/core.pic.o -o $@

$(TOOLS_LIB)/libquarry.so: $(TOOLS_LIB)/libquarry.so.1
	ln -sf libquarry.so.1 $@

# pkg-config finds the copy that is not installed: PKG_CONFIG_PATH=build/tools/libquarry.
$(TOOLS_LIB)/quarry-uninstalled.pc: tools/libquarry/quarry.pc.in tools/tools.mk
	@mkdir -p $(@D)
	sed -e 's|@PREFIX@|$(ROOT)|; s|@VERSION@|$(TOOLS_VERSION)|' -e 's|^libdir=.*|libdir=$(ROOT)/$(TOOLS_LIB)|' \
		-e 's|^Cflags:.*|Cflags: -I$(ROOT)/uapi -I$(ROOT)/tools/libquarry/include|' $< >$@

install-libquarry: libquarry ## install libquarry and its headers (TOOLS_PREFIX=/usr/local, DESTDIR)
	install -d $(DESTDIR)$(TOOLS_PREFIX)/lib/pkgconfig $(DESTDIR)$(TOOLS_PREFIX)/include/linux $(DESTDIR)$(TOOLS_PREFIX)/include/quarry
	install -m 644 $(TOOLS_LIB)/libquarry.a $(TOOLS_LIB)/libquarry.so.1 $(DESTDIR)$(TOOLS_PREFIX)/lib/
	ln -sf libquarry.so.1 $(DESTDIR)$(TOOLS_PREFIX)/lib/libquarry.so
	install -m 644 uapi/linux/quarry.h $(DESTDIR)$(TOOLS_PREFIX)/include/linux/
	install -m 644 tools/libquarry/include/quarry/*.h* $(DESTDIR)$(TOOLS_PREFIX)/include/quarry/
	sed -e 's|@PREFIX@|$(TOOLS_PREFIX)|; s|@VERSION@|$(TOOLS_VERSION)|' tools/libquarry/quarry.pc.in \
		>$(DESTDIR)$(TOOLS_PREFIX)/lib/pkgconfig/quarry.pc

$(TOOLS_OUT)/quarryctl.o/%.o: tools/quarryctl/%.cpp
	@mkdir -p $(@D)
	$(CCACHE) $(TOOLS_CXX) $(TOOLS_CXXFLAGS) -Itools -MMD -MP -c $< -o $@

$(TOOLS_OUT)/quarryctl: $(TOOLS_CTL_OBJ) $(TOOLS_LIB)/libquarry.a $(RECORD_LIB)
	$(TOOLS_CXX) -static -pthread $^ -o $@

$(TOOLS_OUT)/ten_lines $(TOOLS_OUT)/publish $(TOOLS_OUT)/subscribe: $(TOOLS_OUT)/%: tools/examples/%.c $(TOOLS_LIB)/libquarry.a $(wildcard tools/libquarry/include/quarry/*)
	$(TOOLS_CC) $(TOOLS_CFLAGS) -static $< $(TOOLS_LIB)/libquarry.a -o $@

$(TOOLS_OUT)/containers $(TOOLS_OUT)/shared_map: $(TOOLS_OUT)/%: tools/examples/%.cpp $(TOOLS_LIB)/libquarry.a $(wildcard tools/libquarry/include/quarry/*)
	$(TOOLS_CXX) $(TOOLS_CXXFLAGS) -static $< $(TOOLS_LIB)/libquarry.a -o $@

# The unit tests, three times: plain, with the address and undefined-behaviour sanitizers, and with
# the race detector. The library is compiled into each with the same flags.
TOOLS_SANITIZE_plain :=
TOOLS_SANITIZE_tsan  := -fsanitize=thread
TOOLS_SANITIZE_asan  := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

define tools_test_variant
$(TOOLS_TEST)/$(1)/%.c.o: tools/libquarry/src/%.c
	@mkdir -p $$(@D)
	$$(CCACHE) $$(TOOLS_CC) $$(TOOLS_CFLAGS) $$(TOOLS_SANITIZE_$(1)) -MMD -MP -c $$< -o $$@
$(TOOLS_TEST)/$(1)/%.cpp.o: tools/libquarry/test/%.cpp
	@mkdir -p $$(@D)
	$$(CCACHE) $$(TOOLS_CXX) $$(TOOLS_CXXFLAGS) -O1 -Itools/libquarry/src $$(TOOLS_SANITIZE_$(1)) -MMD -MP -c $$< -o $$@
$(TOOLS_TEST)/$(1)/core.o: $(TOOLS_CORE_DEPS)
	@mkdir -p $$(@D)
	$$(CCACHE) $$(TOOLS_CXX) $(TOOLS_CORE_FLAGS) $$(TOOLS_SANITIZE_$(1)) -c $$< -o $$@
$(TOOLS_TEST)/$(1)/libquarry-test: $(TOOLS_TEST)/$(1)/core.o $(TOOLS_LIB_SRC:tools/libquarry/src/%.c=$(TOOLS_TEST)/$(1)/%.c.o) $(TOOLS_TEST_SRC:tools/libquarry/test/%.cpp=$(TOOLS_TEST)/$(1)/%.cpp.o)
	$$(TOOLS_CXX) $$(TOOLS_SANITIZE_$(1)) $(FAST_LINK) -pthread $$^ -lgtest -lgtest_main -o $$@
$(TOOLS_TEST)/$(1)/ctl/%.cpp.o: tools/%.cpp
	@mkdir -p $$(@D)
	$$(CCACHE) $$(TOOLS_CXX) $$(TOOLS_CXXFLAGS) -O1 -Itools -Itools/libquarry/src $$(TOOLS_SANITIZE_$(1)) -MMD -MP -c $$< -o $$@
$(TOOLS_TEST)/$(1)/replay-test: $(TOOLS_TEST)/$(1)/core.o $(TOOLS_LIB_SRC:tools/libquarry/src/%.c=$(TOOLS_TEST)/$(1)/%.c.o) $(TOOLS_REPLAY_TEST_SRC:tools/%.cpp=$(TOOLS_TEST)/$(1)/ctl/%.cpp.o) $(RECORD_LIB)
	$$(TOOLS_CXX) $$(TOOLS_SANITIZE_$(1)) $(FAST_LINK) -pthread $$^ -lgtest -lgtest_main -o $$@
-include $(wildcard $(TOOLS_TEST)/$(1)/*.d $(TOOLS_TEST)/$(1)/host/*.d $(TOOLS_TEST)/$(1)/ctl/*/*.d $(TOOLS_TEST)/$(1)/ctl/*/test/*.d)
endef
$(eval $(call tools_test_variant,plain))
$(eval $(call tools_test_variant,asan))
$(eval $(call tools_test_variant,tsan))

TOOLS_TEST_PROGRAMS := $(foreach v,plain asan tsan,$(TOOLS_TEST)/$(v)/libquarry-test $(TOOLS_TEST)/$(v)/replay-test)

.PHONY: libquarry-programs
libquarry-programs: tools $(TOOLS_TEST_PROGRAMS)

test-libquarry: libquarry quarryctl examples $(TOOLS_TEST_PROGRAMS) ## test libquarry, quarryctl on the host (one test: TEST=Suite.Name)
	tools/libquarry/test/run.sh $(TOOLS_TEST) $(TOOLS_LIB) $(TOOLS_OUT)/quarryctl "$(or $(TEST),*)"

# libquarry on the real device, for the virtual machine (root, module loaded).
$(TOOLS_TEST)/device-test: tools/libquarry/test/device/device_test.cpp $(TOOLS_LIB)/libquarry.a
	@mkdir -p $(@D)
	$(TOOLS_CXX) $(TOOLS_CXXFLAGS) -static-libstdc++ -static-libgcc -pthread $< $(TOOLS_LIB)/libquarry.a -lgtest -o $@

# All of the tools on the real device, in the virtual machine; the traces are those of real programs.
TOOLS_DEVICE_TRACES := perl threads
.PHONY: test-tools
test-tools: tools traces ## test libquarry, quarryctl and the bpftrace scripts on the device, in a VM
	tools/deps.sh run
	$(MAKE) --no-print-directory module KERNEL=6.1
	selftests/vm/vm.sh --mem 2G --timeout 600 -- tools/quarryctl/test/guest.sh \
		$(BUILD)/module/6.1/quarry.ko $(TOOLS_OUT) $(TOOLS_DEVICE_TRACES:%=$(RECORD_TRACES)/%.qtrace)

-include $(wildcard $(TOOLS_LIB)/*.d $(TOOLS_LIB)/host/*.d $(TOOLS_OUT)/quarryctl.o/*.d)
