// SPDX-License-Identifier: MIT
// quarryctl verify: a full audit of one pool or of all, by debugfs.
#include <cstdio>

#include "debugfs.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "Audits a pool (or all): every page, slab, object and owner against each other. Needs root.\v"
    "Examples:\n"
    "  quarryctl verify          # all living pools\n"
    "  quarryctl verify cache --json\n\n"
    "Exit status: 0 no faults; 1 faults were found; 2 usage; 3 no module or not root; "
    "4 no such pool; 5 refused.\n";

constexpr argp_option options[] = {
    {"json", 'j', nullptr, 0, "print a JSON object, by pool", 0},
    {},
};

struct Arguments {
    bool as_json = false;
    const char* pool = nullptr;
};

error_t parse(int key, char* text, argp_state* state) {
    auto& arguments = *static_cast<Arguments*>(state->input);
    if (key == 'j') return arguments.as_json = true, 0;
    if (key != ARGP_KEY_ARG) return ARGP_ERR_UNKNOWN;
    if (arguments.pool) argp_error(state, "one pool at a time, or none for all");
    return arguments.pool = text, 0;
}

}  // namespace

int run_verify(int argc, char** argv) {
    Arguments arguments;
    parse_arguments({options, parse, "[POOL]", doc, nullptr, nullptr, nullptr}, argc, argv,
                    &arguments);
    std::vector<std::string> folders;
    Exit why = ok;
    if (arguments.pool) {
        folders.emplace_back();
        if (!debugfs_find(arguments.pool, folders[0], why)) return why;
    } else if (!debugfs_pools(folders, why)) {
        return why;
    }
    Report audits = Report::object();
    int status = ok;
    for (const std::string& folder : folders) {
        Report audit;
        if (!debugfs_read(folder, "verify", audit, why)) return why;
        if (!audit.contains("faults") || !audit.at("faults").is_number()) {
            complain("%s: the audit does not say how many faults: module and quarryctl differ",
                     folder.c_str());
            return refused;
        }
        const auto faults = audit.at("faults").get<std::uint64_t>();
        if (faults) status = wrong;
        if (!arguments.as_json && faults)
            std::printf("%s: %s faults\n", folder.c_str(), std::to_string(faults).c_str());
        audits[folder] = audit;
    }
    if (arguments.as_json || status) print_report(audits, arguments.as_json);
    if (!arguments.as_json && !status)
        std::printf("verify: ok (%zu %s)\n", folders.size(), folders.size() == 1 ? "pool" : "pools");
    return status;
}

}  // namespace quarryctl
