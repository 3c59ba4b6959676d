// SPDX-License-Identifier: MIT
//
// One launch of one benchmark case on one allocator: prints one number (case.hpp). run.sh
// launches it, pinned and interleaved with its peers.
//
//   host_bench CASE quarry|malloc
//   host_bench --list      the cases, one a line
#include <cstring>

#include "case.hpp"

int main(int argc, char** argv) {
    if (argc == 2 && !std::strcmp(argv[1], "--list")) {
        for (const bench::Case& c : bench::cases()) std::puts(c.name);
        return 0;
    }
    if (argc != 3) bench::die("usage: host_bench CASE quarry|malloc");
    for (const bench::Case& c : bench::cases()) {
        if (std::strcmp(argv[1], c.name)) continue;
        const auto run = !std::strcmp(argv[2], "quarry") ? c.quarry : c.malloc;
        if (!run) bench::die("this case has no peer");
        std::printf("%.4f\n", run());
        return 0;
    }
    bench::die("no such case");
}
