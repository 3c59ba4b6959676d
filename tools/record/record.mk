# SPDX-License-Identifier: MIT
# The allocation recorder, the reader of its traces, and the traces of real programs.
#
# Outputs: build/tools/record/{libquarry-record.so,libquarrytrace.a,quarry-trace}, build/traces/.
# A tool that replays traces includes "record/trace.h" (-Itools) and links $(RECORD_LIB).

RECORD_OUT   := $(BUILD)/tools/record
RECORD_LIB   := $(RECORD_OUT)/libquarrytrace.a
RECORD_SO    := $(RECORD_OUT)/libquarry-record.so
RECORD_TOOL  := $(RECORD_OUT)/quarry-trace
RECORD_CXX   ?= g++
RECORD_FLAGS := -std=c++20 -O2 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Wshadow -Werror -Itools/record
# The preload library stands under malloc: nothing of the C++ runtime, no lazy binding, and the
# compiler must not make calls of malloc out of what it reads here.
RECORD_SO_FLAGS := -fPIC -fno-exceptions -fno-rtti -fvisibility=hidden -fno-builtin

RECORD_LIB_OBJ  := $(RECORD_OUT)/trace_file.o $(RECORD_OUT)/trace_reader.o
RECORD_SO_OBJ   := $(patsubst tools/record/%.cpp,$(RECORD_OUT)/%.o,$(wildcard tools/record/recorder/*.cpp))
RECORD_TOOL_OBJ := $(addprefix $(RECORD_OUT)/,quarry_trace.o summary.o merge.o)

.PHONY: record traces test-record

record: tools-deps $(RECORD_LIB) $(RECORD_SO) $(RECORD_TOOL) ## build the allocation recorder and quarry-trace

$(RECORD_LIB_OBJ): RECORD_EXTRA := -fno-exceptions -fno-rtti
$(RECORD_SO_OBJ): RECORD_EXTRA := $(RECORD_SO_FLAGS)

$(RECORD_OUT)/%.o: tools/record/%.cpp
	@mkdir -p $(@D)
	$(CCACHE) $(RECORD_CXX) $(RECORD_FLAGS) $(RECORD_EXTRA) -MMD -MP -c $< -o $@

$(RECORD_LIB): $(RECORD_LIB_OBJ)
	rm -f $@
	ar rcs $@ $^

$(RECORD_SO): $(RECORD_SO_OBJ)
	$(RECORD_CXX) -shared -nodefaultlibs -Wl,-z,defs -Wl,-z,now -Wl,-z,relro -Wl,-soname,$(@F) $^ -lc -lgcc -o $@

$(RECORD_TOOL): $(RECORD_TOOL_OBJ) $(RECORD_LIB)
	$(RECORD_CXX) $^ -o $@

# Real programs' traces. Recorded again when the recorder or the workloads change, or when a trace is
# gone; not for each change of the sources that the programs work on.
RECORD_TRACES    := $(BUILD)/traces
RECORD_WORKLOADS := $(wildcard tools/record/workloads/*) tools/record/workloads.sh

traces: record $(RECORD_TRACES)/summary.json ## record real programs (g++, perl, git, sqlite3) into build/traces

$(RECORD_TRACES)/summary.json: $(RECORD_SO) $(RECORD_TOOL) $(RECORD_WORKLOADS)
	tools/record/workloads.sh $(@D)

# The tests: unit tests (the reader's also sanitized), programs to record, and the fuzzer.
RECORD_TEST     := $(RECORD_OUT)/test
RECORD_TEST_SRC := $(addprefix tools/record/test/,support.cpp reader_test.cpp recorder_test.cpp tool_test.cpp)
RECORD_TEST_OBJ := $(RECORD_TEST_SRC:tools/record/%.cpp=$(RECORD_OUT)/%.o)
RECORD_ASAN     := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
RECORD_VICTIM   := -std=gnu11 -O1 -fno-builtin -Wall -Wextra -Werror -Wno-use-after-free -pthread
RECORD_FUZZ     := clang++ $(filter-out -Wshadow,$(RECORD_FLAGS)) -O1 -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all

$(RECORD_TEST)/record-test: $(RECORD_TEST_OBJ) $(RECORD_LIB)
	$(RECORD_CXX) $^ -lgtest -lgtest_main -pthread -o $@
$(RECORD_TEST)/asan/%.o: tools/record/%.cpp
	@mkdir -p $(@D)
	$(CCACHE) $(RECORD_CXX) $(RECORD_FLAGS) $(RECORD_ASAN) -MMD -MP -c $< -o $@
$(RECORD_TEST)/record-test-asan: $(addprefix $(RECORD_TEST)/asan/,test/reader_test.o test/support.o trace_file.o trace_reader.o)
	$(RECORD_CXX) $(RECORD_ASAN) $(FAST_LINK) $^ -lgtest -lgtest_main -pthread -o $@
$(RECORD_TEST)/victim $(RECORD_TEST)/early: $(RECORD_TEST)/%: tools/record/test/%.c tools/record/test/victim.h
	@mkdir -p $(@D)
	$(CC) $(RECORD_VICTIM) $< -o $@
$(RECORD_TEST)/behind.so: tools/record/test/behind.c
	@mkdir -p $(@D)
	$(CC) $(RECORD_VICTIM) -shared -fPIC $< -o $@
$(RECORD_TEST)/c_reader: tools/record/test/c_reader.c $(RECORD_LIB)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -Wall -Wextra -Werror -Itools/record $^ -o $@
$(RECORD_TEST)/fuzz/%.o: tools/record/%.cpp
	@mkdir -p $(@D)
	$(CCACHE) $(RECORD_FUZZ) -MMD -MP -c $< -o $@
$(RECORD_TEST)/planted/%.o: tools/record/%.cpp
	@mkdir -p $(@D)
	$(CCACHE) $(RECORD_FUZZ) -DQUARRY_PLANTED_FAULT -MMD -MP -c $< -o $@
$(RECORD_TEST)/fuzz_reader: $(addprefix $(RECORD_TEST)/fuzz/,test/fuzz_reader.o trace_file.o trace_reader.o)
	$(RECORD_FUZZ) $(FAST_LINK) $^ -o $@
$(RECORD_TEST)/fuzz_planted: $(addprefix $(RECORD_TEST)/planted/,test/fuzz_reader.o trace_file.o trace_reader.o)
	$(RECORD_FUZZ) $(FAST_LINK) $^ -o $@

RECORD_TEST_PROGRAMS := $(addprefix $(RECORD_TEST)/,record-test record-test-asan victim early behind.so \
	c_reader fuzz_reader fuzz_planted)
.PHONY: record-programs
record-programs: record $(RECORD_TEST_PROGRAMS)

test-record: traces $(RECORD_TEST_PROGRAMS) ## test the recorder and its reader (one test: TEST=Suite.Name)
	tools/record/test/run.sh $(RECORD_OUT) $(RECORD_TRACES) "$(or $(TEST),*)"

-include $(wildcard $(RECORD_OUT)/*.d $(RECORD_OUT)/recorder/*.d $(RECORD_TEST)/*.d $(RECORD_TEST)/*/*.d $(RECORD_TEST)/*/test/*.d)
