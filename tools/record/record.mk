# SPDX-License-Identifier: MIT
# The allocation recorder, the reader of its traces, and the traces of real programs.
#
# Outputs: build/tools/record/{libquarry-record.so,libquarrytrace.a,quarry-trace}, build/traces/.
# A tool that replays traces includes "record/trace.h" (-Itools) and links $(RECORD_LIB).

RECORD_OUT   := $(BUILD)/tools/record
RECORD_LIB   := $(RECORD_OUT)/libquarrytrace.a
RECORD_CXX   ?= g++
RECORD_FLAGS := -std=c++20 -O2 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Wshadow -Werror -Itools/record

RECORD_LIB_OBJ := $(RECORD_OUT)/trace_file.o $(RECORD_OUT)/trace_reader.o

.PHONY: record

record: tools-deps $(RECORD_LIB) ## build the allocation recorder and quarry-trace

$(RECORD_OUT)/%.o: tools/record/%.cpp
	@mkdir -p $(@D)
	$(RECORD_CXX) $(RECORD_FLAGS) -fno-exceptions -fno-rtti -MMD -MP -c $< -o $@

$(RECORD_LIB): $(RECORD_LIB_OBJ)
	rm -f $@
	ar rcs $@ $^

-include $(wildcard $(RECORD_OUT)/*.d)
