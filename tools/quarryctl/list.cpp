// SPDX-License-Identifier: MIT
// quarryctl list: a line a living pool, by debugfs.
#include <cstdio>

#include "debugfs.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "The living pools, one a line. Needs root: it reads debugfs.\v"
    "Examples:\n"
    "  quarryctl list\n"
    "  quarryctl list --json | jq '.[] | select(.clients == 1)'\n\n"
    "Exit status: 0, also when there is none; 2 usage; 3 no module or not root.\n";

constexpr argp_option options[] = {
    {"json", 'j', nullptr, 0, "print a JSON array of objects, as of stat", 0},
    {},
};

error_t parse(int key, char*, argp_state* state) {
    if (key == 'j') return *static_cast<bool*>(state->input) = true, 0;
    if (key == ARGP_KEY_ARG) argp_error(state, "list takes no arguments");
    return ARGP_ERR_UNKNOWN;
}

std::string text_of(const Report& report, const char* key) {
    if (!report.contains(key)) return "-";
    const Report& value = report.at(key);
    return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string size_of(const Report& report, const char* key) {
    if (!report.contains(key) || !report.at(key).is_number()) return "-";
    return human_size(report.at(key).get<std::uint64_t>());
}

}  // namespace

int run_list(int argc, char** argv) {
    bool as_json = false;
    parse_arguments({options, parse, nullptr, doc, nullptr, nullptr, nullptr}, argc, argv,
                    &as_json);
    std::vector<std::string> folders;
    Exit why = ok;
    if (!debugfs_pools(folders, why)) return why;
    Report pools = Report::array();
    for (const std::string& folder : folders) {
        Report pool = Report::object();
        // One that ends between the two reads is no longer in the list.
        if (debugfs_read(folder, "stat", pool, why)) pools.push_back(pool);
    }
    if (as_json) {
        std::printf("%s\n", pools.dump(2).c_str());
        return ok;
    }
    std::printf("%-8s %-20s %-6s %8s %12s %12s %12s %10s\n", "ID", "NAME", "KIND", "CLIENTS",
                "BYTES", "USED", "MAX", "OBJECTS");
    for (const Report& pool : pools)
        std::printf("%-8s %-20s %-6s %8s %12s %12s %12s %10s\n", text_of(pool, "pool_id").c_str(),
                    text_of(pool, "name").c_str(), text_of(pool, "kind").c_str(),
                    text_of(pool, "clients").c_str(), size_of(pool, "bytes").c_str(),
                    size_of(pool, "used_bytes").c_str(), size_of(pool, "max_bytes").c_str(),
                    text_of(pool, "objects").c_str());
    return ok;
}

}  // namespace quarryctl
