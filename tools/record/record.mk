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

.PHONY: record

record: tools-deps $(RECORD_LIB) $(RECORD_SO) $(RECORD_TOOL) ## build the allocation recorder and quarry-trace

$(RECORD_LIB_OBJ): RECORD_EXTRA := -fno-exceptions -fno-rtti
$(RECORD_SO_OBJ): RECORD_EXTRA := $(RECORD_SO_FLAGS)

$(RECORD_OUT)/%.o: tools/record/%.cpp
	@mkdir -p $(@D)
	$(RECORD_CXX) $(RECORD_FLAGS) $(RECORD_EXTRA) -MMD -MP -c $< -o $@

$(RECORD_LIB): $(RECORD_LIB_OBJ)
	rm -f $@
	ar rcs $@ $^

$(RECORD_SO): $(RECORD_SO_OBJ)
	$(RECORD_CXX) -shared -nodefaultlibs -Wl,-z,defs -Wl,-z,now -Wl,-z,relro -Wl,-soname,$(@F) $^ -lc -lgcc -o $@

$(RECORD_TOOL): $(RECORD_TOOL_OBJ) $(RECORD_LIB)
	$(RECORD_CXX) $^ -o $@

-include $(wildcard $(RECORD_OUT)/*.d $(RECORD_OUT)/recorder/*.d)
