// SPDX-License-Identifier: MIT
//
// quarryctl: makes pools, looks at them, replays recorded programs in them, and attacks them.
// One file a subcommand; this one only finds it.
#include <cstdio>
#include <cstring>
#include <string>

#include "common.hpp"

namespace quarryctl {
namespace {

constexpr Subcommand subcommands[] = {
    {"info", "what the kernel side can do, and its limits", run_info},
    {"create", "make a pool that lives as long as a command", run_create},
    {"list", "the living pools", run_list},
    {"stat", "counters of a pool", run_stat},
    {"verify", "audit a pool", run_verify},
    {"replay", "replay recorded programs in a pool", run_replay},
    {"attack", "misuse a pool, and see everything refused", run_attack},
};

void print_help(std::FILE* to) {
    std::fputs("Usage: quarryctl SUBCOMMAND [OPTION...]\n\n"
               "Pools of bounded, pinned memory that processes share and the kernel owns.\n\n",
               to);
    for (const Subcommand& subcommand : subcommands)
        std::fprintf(to, "  %-8s %s\n", subcommand.name, subcommand.summary);
    std::fputs("\nExamples:\n"
               "  quarryctl create --bytes 16M -- ./server      # ./server finds it in $QUARRY_POOL_FD\n"
               "  quarryctl stat --json | jq .used_bytes\n"
               "  quarryctl verify && echo sound\n"
               "\n`quarryctl SUBCOMMAND --help` says more, with examples.\n"
               "Exit status: 0 good; 1 what was looked at is wrong; 2 usage; 3 no module or no access;\n"
               "4 no such pool; 5 refused. create: that of its command, or 125, 126, 127 as env(1).\n",
               to);
}

}  // namespace
}  // namespace quarryctl

int main(int argc, char** argv) {
    using namespace quarryctl;
    const char* name = argc > 1 ? argv[1] : "";
    if (!std::strcmp(name, "--help") || !std::strcmp(name, "-?") || !std::strcmp(name, "help")) {
        print_help(stdout);
        return ok;
    }
    for (const Subcommand& subcommand : subcommands) {
        if (std::strcmp(name, subcommand.name) != 0) continue;
        std::string program = std::string("quarryctl ") + name;
        argv[1] = program.data();
        return subcommand.run(argc - 1, argv + 1);
    }
    if (*name)
        complain("no subcommand '%s': `quarryctl --help` lists them", name);
    else
        print_help(stderr);
    return usage;
}
