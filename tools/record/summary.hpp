// SPDX-License-Identifier: MIT
//
// What a trace says in figures: sizes, lifetimes, alignments, threads, and the most that was alive.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "trace.h"

namespace quarry::trace {

struct SizeRow {
    std::uint64_t objects = 0, bytes = 0;
};

struct ThreadRow {
    std::uint64_t allocations = 0, frees = 0, resizes = 0;
    std::uint64_t foreign_frees = 0;  // of objects that another thread allocated
};

struct Summary {
    static constexpr std::size_t size_rows = 65;      // [bit_width(size - 1)]: up to 2^row bytes
    static constexpr std::size_t lifetime_rows = 13;  // [digits of ns]: below 10^row ns; last: more

    quarry_trace_status status = QUARRY_TRACE_OK;  // how reading ended
    quarry_trace_info info = {};                   // as at the end
    std::array<std::uint64_t, QUARRY_TRACE_FREE + 1> events = {};  // by kind
    std::array<SizeRow, size_rows> sizes = {};  // of allocations, and of resizes by the new size
    std::array<std::uint64_t, lifetime_rows> lifetimes = {};
    std::map<std::uint64_t, std::uint64_t> aligns;  // allocations by the alignment asked for
    std::vector<ThreadRow> threads;
    std::uint64_t total_bytes = 0;  // asked for, resizes by their new size
    std::uint64_t live_objects = 0, live_bytes = 0;  // at the end
    std::uint64_t peak_objects = 0, peak_bytes = 0;  // each at its own time
    std::uint64_t peak_bytes_objects = 0;            // objects alive when peak_bytes were
    std::uint64_t last_ns = 0;
};

// Reads all of `trace` from its start.
Summary summarize(quarry_trace* trace);

// For people, in a few dozen lines; and for programs, one JSON object.
std::string text_of(const Summary& summary);
std::string json_of(const Summary& summary);

}  // namespace quarry::trace
