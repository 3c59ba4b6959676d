// SPDX-License-Identifier: MIT
//
// What the recorder was asked to do, by the environment; and the name of the program it is in.
//
//   QUARRY_TRACE_DIR        the folder for traces, PROGRAM.PID[.N].qtrace; without it: no recording
//   QUARRY_TRACE_ONLY       names of executables, with commas between: record no others
//   QUARRY_TRACE_MAX_BYTES  of one trace (default 1 GiB); then it ends, and the program goes on
#pragma once

#include <cstddef>
#include <cstdint>

namespace quarry::record {

struct Settings {
    static constexpr std::size_t path_bytes = 4096;

    bool on;
    std::uint64_t max_bytes;
    char folder[path_bytes];
    char program[64];
};

// Reads the environment into `settings`; false: it is not there yet (the program is being loaded).
bool read_settings(Settings& settings);

// Writes FOLDER/PROGRAM.PID.qtrace (round 0) or FOLDER/PROGRAM.PID.ROUND.qtrace to `out`; false:
// it is too long.
bool trace_path(const Settings& settings, int pid, unsigned round, char* out, std::size_t bytes);

}  // namespace quarry::record
