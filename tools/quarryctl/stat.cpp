// SPDX-License-Identifier: MIT
// quarryctl stat: counters of one pool, by debugfs, or by STAT of the pool in $QUARRY_POOL_FD.
#include <cerrno>
#include <cstdlib>

#include "debugfs.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "Counters of a pool.\v"
    "POOL is a name or id that `quarryctl list` shows; this needs root. Without POOL it is the pool "
    "in $QUARRY_POOL_FD (under `quarryctl create`; no root needed), else the only living pool.\n\n"
    "Examples:\n"
    "  quarryctl stat cache\n"
    "  quarryctl stat cache --json | jq .reaped_objects\n"
    "  quarryctl stat cache --clients --map\n"
    "  quarryctl create --bytes 1M -- quarryctl stat\n\n"
    "Exit status: 0; 2 usage; 3 no module or not root; 4 no such pool; 5 refused.\n";

constexpr argp_option options[] = {
    {"clients", 'c', nullptr, 0, "and its clients, with what each owns (root)", 0},
    {"map", 'm', nullptr, 0, "and its regions (root)", 0},
    {"json", 'j', nullptr, 0, "print one JSON object", 0},
    {},
};

struct Arguments {
    bool as_json = false;
    bool clients = false;
    bool map = false;
    const char* pool = nullptr;
};

error_t parse(int key, char* text, argp_state* state) {
    auto& arguments = *static_cast<Arguments*>(state->input);
    if (key == 'j') return arguments.as_json = true, 0;
    if (key == 'c') return arguments.clients = true, 0;
    if (key == 'm') return arguments.map = true, 0;
    if (key != ARGP_KEY_ARG) return ARGP_ERR_UNKNOWN;
    if (arguments.pool) argp_error(state, "one pool at a time");
    return arguments.pool = text, 0;
}

// By the descriptor alone: STAT answers without a join, so looking makes no client.
int stat_by_descriptor(const char* text, bool as_json) {
    std::uint64_t fd;
    struct quarry_stat stat;
    if (!parse_number(text, fd) || fd > INT32_MAX)
        return complain_of(EINVAL, QUARRY_CALL_ENV, "stat");
    if (quarry_stat_fd(static_cast<int>(fd), &stat) < 0)
        return complain_of(errno, QUARRY_CALL_ENV, "stat");
    print_report(report_of(stat), as_json);
    return ok;
}

}  // namespace

int run_stat(int argc, char** argv) {
    Arguments arguments;
    parse_arguments({options, parse, "[POOL]", doc, nullptr, nullptr, nullptr}, argc, argv,
                    &arguments);
    const char* descriptor = std::getenv(QUARRY_POOL_FD_ENV);
    const bool more = arguments.clients || arguments.map;
    if (!arguments.pool && descriptor && !more)
        return stat_by_descriptor(descriptor, arguments.as_json);
    std::string folder;
    Exit why = ok;
    if (!debugfs_find(arguments.pool, folder, why)) return why;
    Report report;
    if (!debugfs_read(folder, "stat", report, why)) return why;
    if (arguments.clients) {
        Report& section = report["client_list"] = Report::object();
        if (!debugfs_read(folder, "clients", section, why, true)) return why;
    }
    if (arguments.map) {
        Report& section = report["region_list"] = Report::object();
        if (!debugfs_read(folder, "map", section, why, true)) return why;
    }
    print_report(report, arguments.as_json);
    return ok;
}

}  // namespace quarryctl
