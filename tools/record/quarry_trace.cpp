// SPDX-License-Identifier: MIT
//
// quarry-trace: looks into allocation traces, and joins them.
#include <argp.h>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "merge.hpp"
#include "summary.hpp"
#include "trace.h"

namespace {

using namespace quarry::trace;

constexpr const char* doc =
    "Looks into the allocation traces that libquarry-record.so writes (format: trace.h).\v"
    "  info    sizes, lifetimes, alignments, threads, and the most that was alive\n"
    "  dump    each event on a line: number, time, thread, kind, object, size\n"
    "  merge   the traces of several processes as one trace (-o FILE)\n\n"
    "Examples:\n"
    "  QUARRY_TRACE_DIR=/tmp/t QUARRY_TRACE_ONLY=cc1plus \\\n"
    "    LD_PRELOAD=$PWD/build/tools/record/libquarry-record.so g++ -c x.cpp\n"
    "  quarry-trace info /tmp/t/cc1plus.*.qtrace\n"
    "  quarry-trace dump --json --limit 100 /tmp/t/cc1plus.4711.qtrace\n"
    "  quarry-trace merge --name git -o git.qtrace /tmp/t/git.*.qtrace\n\n"
    "Exit status: 0 all is well; 2 usage; 3 a trace is truncated (what there is was read); 4 a file "
    "is not a trace, or of another byte order or version; 5 a trace is corrupt; 6 a file cannot be "
    "read or written, or there is no memory.\n";

enum Exit { exit_ok = 0, exit_usage = 2, exit_truncated, exit_foreign, exit_corrupt, exit_system };

enum Key { limit_key = 256, name_key };

constexpr argp_option options[] = {
    {"json", 'j', nullptr, 0, "print JSON: an object (info), or one a line (dump)", 0},
    {"limit", limit_key, "N", 0, "dump: only the first N events", 0},
    {"output", 'o', "FILE", 0, "merge: write this file", 0},
    {"name", name_key, "NAME", 0, "merge: the program's name (default: the first trace's)", 0},
    {},
};

struct Arguments {
    std::string command, name;
    std::vector<const char*> files;
    const char* output = nullptr;
    std::uint64_t limit = UINT64_MAX;
    bool json = false;
};

error_t parse(int key, char* text, argp_state* state) {
    auto& arguments = *static_cast<Arguments*>(state->input);
    switch (key) {
    case 'j': return arguments.json = true, 0;
    case 'o': return arguments.output = text, 0;
    case name_key: return arguments.name = text, 0;
    case limit_key: {
        char* end = nullptr;
        errno = 0;
        arguments.limit = std::strtoull(text, &end, 10);
        if (errno || *end || end == text || *text == '-')
            argp_error(state, "--limit '%s' is no number", text);
        return 0;
    }
    case ARGP_KEY_ARG:
        if (state->arg_num == 0) return arguments.command = text, 0;
        return arguments.files.push_back(text), 0;
    case ARGP_KEY_END: {
        const std::string& command = arguments.command;
        if (command != "info" && command != "dump" && command != "merge")
            argp_error(state, "say what to do: info, dump or merge");
        if (arguments.files.empty()) argp_error(state, "say which FILE to read");
        if (command == "dump" && arguments.files.size() > 1)
            argp_error(state, "dump takes one FILE");
        if (command == "merge" && !arguments.output) argp_error(state, "merge takes -o FILE");
        return 0;
    }
    default: return ARGP_ERR_UNKNOWN;
    }
}

int exit_status(quarry_trace_status status) {
    switch (status) {
    case QUARRY_TRACE_OK:
    case QUARRY_TRACE_DONE: return exit_ok;
    case QUARRY_TRACE_TRUNCATED: return exit_truncated;
    case QUARRY_TRACE_CORRUPT: return exit_corrupt;
    case QUARRY_TRACE_IO:
    case QUARRY_TRACE_NO_MEMORY: return exit_system;
    default: return exit_foreign;
    }
}

int complain(const char* path, quarry_trace_status status) {
    const bool system = status == QUARRY_TRACE_IO;
    std::fprintf(stderr, "quarry-trace: %s: %s%s%s\n", path, quarry_trace_explain(status),
                 system ? ": " : "", system ? std::strerror(errno) : "");
    return exit_status(status);
}

struct Close {
    void operator()(quarry_trace* trace) const { quarry_trace_close(trace); }
};
using Trace = std::unique_ptr<quarry_trace, Close>;

Trace open_trace(const char* path, quarry_trace_status& status) {
    quarry_trace* trace = nullptr;
    status = quarry_trace_open(path, &trace);
    return Trace(trace);
}

int info(const Arguments& arguments) {
    int worst = exit_ok;
    bool first = true;
    const bool list = arguments.json && arguments.files.size() > 1;
    if (list) std::printf("[\n");
    for (const char* path : arguments.files) {
        quarry_trace_status status;
        const Trace trace = open_trace(path, status);
        if (status != QUARRY_TRACE_OK) worst = std::max(worst, complain(path, status));
        if (!trace) continue;
        const Summary summary = summarize(trace.get());
        if (exit_status(summary.status) > exit_truncated)
            worst = std::max(worst, complain(path, summary.status));
        if (!first) std::printf(list ? ",\n" : "\n");
        first = false;
        std::fputs((arguments.json ? json_of(summary) : text_of(summary)).c_str(), stdout);
    }
    if (list) std::printf("]\n");
    return worst;
}

void print_json(const quarry_trace_event& event) {
    nlohmann::ordered_json json = {
        {"number", event.number}, {"ns", event.ns},         {"thread", event.thread},
        {"kind", quarry_trace_kind_name(event.kind)},       {"object", event.object},
        {"size", event.size},
    };
    if (event.align) json["align"] = event.align;
    if (event.kind == QUARRY_TRACE_RESIZED) json["old_size"] = event.old_size;
    if (event.kind == QUARRY_TRACE_FREE || event.kind == QUARRY_TRACE_RESIZED) {
        json["born_ns"] = event.born_ns;
        json["born_thread"] = event.born_thread;
    }
    if (event.implied) json["implied"] = true;
    std::printf("%s\n", json.dump().c_str());
}

void print_text(const quarry_trace_event& event) {
    std::printf("%10" PRIu64 " %13" PRIu64 " ns  thread %-3u %-7s object %-8" PRIu64 " %8" PRIu64,
                event.number, event.ns, event.thread, quarry_trace_kind_name(event.kind),
                event.object, event.size);
    if (event.kind == QUARRY_TRACE_RESIZED) std::printf(" from %" PRIu64, event.old_size);
    if (event.align) std::printf(" align %" PRIu64, event.align);
    std::printf(event.implied ? " implied\n" : "\n");
}

int dump(const Arguments& arguments) {
    const char* path = arguments.files[0];
    quarry_trace_status status;
    const Trace trace = open_trace(path, status);
    if (!trace) return complain(path, status);
    quarry_trace_event event;
    std::uint64_t left = arguments.limit;
    while (left-- && (status = quarry_trace_next(trace.get(), &event)) == QUARRY_TRACE_OK)
        arguments.json ? print_json(event) : print_text(event);
    if (status != QUARRY_TRACE_OK && status != QUARRY_TRACE_DONE) return complain(path, status);
    return exit_ok;
}

int write_file(const char* path, const std::vector<std::uint8_t>& bytes) {
    // Whole or not at all: a reader never sees a part of it.
    const std::string part = std::string(path) + ".part";
    std::FILE* file = std::fopen(part.c_str(), "wb");
    bool good = file && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (file && std::fclose(file) != 0) good = false;
    if (good && std::rename(part.c_str(), path) == 0) return exit_ok;
    std::fprintf(stderr, "quarry-trace: %s: %s\n", path, std::strerror(errno));
    std::remove(part.c_str());
    return exit_system;
}

int join(const Arguments& arguments) {
    std::vector<Trace> traces;
    std::vector<quarry_trace*> inputs;
    int worst = exit_ok;
    for (const char* path : arguments.files) {
        quarry_trace_status status;
        Trace trace = open_trace(path, status);
        if (status != QUARRY_TRACE_OK) worst = std::max(worst, complain(path, status));
        if (!trace) return worst;
        inputs.push_back(trace.get());
        traces.push_back(std::move(trace));
    }
    std::string name = arguments.name;
    if (name.empty()) name = quarry_trace_get_info(inputs[0])->header.program;
    std::vector<std::uint8_t> bytes;
    const quarry_trace_status status = merge(inputs, name, bytes);
    if (status != QUARRY_TRACE_OK) return complain("merge", status);
    return std::max(worst, write_file(arguments.output, bytes));
}

}  // namespace

int main(int argc, char** argv) {
    argp_err_exit_status = exit_usage;
    Arguments arguments;
    const argp parser = {options, parse, "info FILE...\ndump FILE\nmerge -o FILE FILE...", doc,
                         nullptr, nullptr, nullptr};
    argp_parse(&parser, argc, argv, 0, nullptr, &arguments);
    const int status = arguments.command == "info"   ? info(arguments)
                       : arguments.command == "dump" ? dump(arguments)
                                                     : join(arguments);
    if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return status;
    std::perror("quarry-trace: standard output");
    return exit_system;
}
