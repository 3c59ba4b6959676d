// SPDX-License-Identifier: MIT
//
// Several processes' traces as one, in the order of their clocks: the processes become threads of it.
// Nothing of one trace changes its order; objects are numbered anew, frees of unknown memory go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace.h"

namespace quarry::trace {

// `bytes` becomes the merged trace of `traces`, which are read from their starts; `program` names it.
// Not OK: one of them turned out to be corrupt, or too large for memory.
quarry_trace_status merge(const std::vector<quarry_trace*>& traces, const std::string& program,
                          std::vector<std::uint8_t>& bytes);

}  // namespace quarry::trace
