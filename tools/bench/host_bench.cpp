// SPDX-License-Identifier: MIT
//
// One launch of one benchmark case on one allocator: prints one number (case.hpp). run.sh
// launches it, pinned and interleaved with its peers.
//
//   host_bench CASE quarry|malloc
//   host_bench CURVE quarry|malloc LIVE    one point of a curve
//   host_bench --list                      the cases, one a line
//   host_bench --describe                  `case NAME ALLOCATORS THREADS` and
//                                          `curve NAME ALLOCATORS LIVE...`, split by tabs
#include <cstring>

#include "case.hpp"

namespace {

const char* allocators(bool has_peers) { return has_peers ? "quarry malloc" : "quarry"; }

void describe() {
    for (const bench::Case& c : bench::cases())
        std::printf("case\t%s\t%s%s%s\t%u\n", c.name, allocators(c.malloc), *c.others ? " " : "",
                    c.others, c.threads);
    for (const bench::Curve& c : bench::curves()) {
        std::printf("curve\t%s\t%s\t", c.name, allocators(c.malloc));
        for (uint64_t live = 10; live <= c.last; live *= 10)
            std::printf("%s%lu", live == 10 ? "" : " ", static_cast<unsigned long>(live));
        std::puts("");
    }
}

// The one of this name, run by the allocator that is asked for.
template <typename List, typename... Args>
bool launch(const List& list, const char* name, const char* allocator, Args... args) {
    for (const auto& entry : list) {
        if (std::strcmp(name, entry.name)) continue;
        const auto run = !std::strcmp(allocator, "quarry") ? entry.quarry : entry.malloc;
        if (!run) bench::die("this case has no peer");
        std::printf("%.6g\n", run(args...));
        return true;
    }
    return false;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && !std::strcmp(argv[1], "--list")) {
        for (const bench::Case& c : bench::cases()) std::puts(c.name);
        return 0;
    }
    if (argc == 2 && !std::strcmp(argv[1], "--describe")) {
        describe();
        return 0;
    }
    if (argc != 3 && argc != 4) bench::die("usage: host_bench CASE quarry|malloc [LIVE]");
    if (std::strcmp(argv[2], "quarry") && std::strcmp(argv[2], "malloc"))
        bench::die("the allocator is quarry or malloc");
    const bool done = argc == 3 ? launch(bench::cases(), argv[1], argv[2])
                                : launch(bench::curves(), argv[1], argv[2],
                                         std::strtoull(argv[3], nullptr, 10));
    if (!done) bench::die("no such case");
}
