// SPDX-License-Identifier: MIT
// A map in a pool, read by another process (Boost.Container; libstdc++'s map takes plain pointers only).
//
//     shared_map [DEVICE]    "host:": one process, two clients
#include <sys/wait.h>
#include <unistd.h>

#include <boost/container/map.hpp>
#include <cstdio>
#include <cstring>
#include <functional>
#include <quarry/memory.hpp>

using Entry = std::pair<const int, int>;
using Squares = boost::container::map<int, int, std::less<int>, quarry::allocator<Entry>>;

// What another client finds at an offset that it was told.
static bool reads(const quarry::pool& pool, std::uint64_t offset) {
    const auto* squares = static_cast<const Squares*>(pool.address(offset));
    const auto found = squares->find(12);
    return squares->size() == 100 && found != squares->end() && found->second == 144;
}

int main(int count, char** argv) {
    const bool in_process = count > 1 && !std::strcmp(argv[1], "host:");
    auto device = quarry::device::open(argv[1]);
    if (!device) return std::fprintf(stderr, "%s\n", device.error().message()), 1;
    auto pool = quarry::pool::create({.bytes = 1 << 20}, &*device);
    if (!pool) return std::fprintf(stderr, "%s\n", pool.error().message()), 1;
    auto squares = pool->make<Squares>(std::less<int>(), quarry::allocator<Entry>(*pool));
    if (!squares) return std::fprintf(stderr, "%s\n", squares.error().message()), 1;
    for (int i = 0; i < 100; i++) (*squares)->emplace(i, i * i);
    bool ok;
    if (in_process) {
        auto reader = quarry::pool::join(pool->fd());
        ok = reader && reads(*reader, squares->offset());
    } else {
        const pid_t child = fork();
        if (child == 0) _exit(reads(*pool, squares->offset()) ? 0 : 1);
        int status = -1;
        waitpid(child, &status, 0);
        ok = status == 0;
    }
    std::puts(ok ? "12 squared is 144, also over there" : "the map is not the same over there");
    return !ok;
}
