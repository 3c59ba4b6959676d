// SPDX-License-Identifier: MIT
//
// What the tests share: programs run under the recorder, and traces read into vectors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "trace.h"

namespace quarry::trace {

using Bytes = std::vector<std::uint8_t>;

// A trace, read to its end.
struct Read {
    quarry_trace_status opened = QUARRY_TRACE_OK;
    quarry_trace_status ended = QUARRY_TRACE_OK;
    quarry_trace_info info = {};
    std::vector<quarry_trace_event> events;

    std::uint64_t count(quarry_trace_kind kind) const;
    // The events between the first two marks of a victim (objects of VICTIM_MARK bytes).
    std::vector<quarry_trace_event> between_marks() const;
    std::uint64_t live() const;  // objects alive at the end
};

Read read_bytes(const Bytes& bytes);
Read read_file(const std::string& path);
Bytes load(const std::string& path);
void store(const std::string& path, const Bytes& bytes);

// Where the programs under test are: $RECORD_TEST_BIN and $RECORD_BUILD, absolute.
std::string test_bin(const std::string& name);
std::string record_build(const std::string& name);

// A folder that goes with the object.
class Folder {
public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    const std::string& path() const { return path_; }
    // The files of this name's processes, in the order in which they began.
    std::vector<std::string> traces(const std::string& program) const;

private:
    std::string path_;
};

struct Ran {
    int status = 0;  // as of waitpid
    std::string out, err;

    bool exited(int code) const;
    bool killed(int signal) const;
};

// Runs a command line of sh with the environment's settings in front, e.g. {"A=1"}; at most 60 s.
Ran run(const std::string& command, const std::vector<std::string>& settings = {});

// Runs `victim MODE` under the recorder, its traces in `folder`.
Ran record(const Folder& folder, const std::string& mode,
           const std::vector<std::string>& settings = {});

}  // namespace quarry::trace
