// SPDX-License-Identifier: MIT
// Objects and containers in a pool: containers [DEVICE], "host:" for one that needs no module.
#include <quarry/memory.hpp>

#include <cstdio>
#include <numeric>
#include <string>
#include <unordered_map>
#include <vector>

struct Point {
    double x, y;
};

int main(int, char** argv) {
    auto device = quarry::device::open(argv[1]);
    if (!device) return std::fprintf(stderr, "%s\n", device.error().message()), 1;
    auto pool = quarry::pool::create({.bytes = 1 << 20}, &*device);
    if (!pool) return std::fprintf(stderr, "%s\n", pool.error().message()), 1;

    // One object, destroyed and given back when its handle ends.
    auto point = pool->make<Point>(Point{3, 4});
    if (!point) return std::fprintf(stderr, "%s\n", point.error().message()), 1;
    std::printf("a point at offset %llu\n", static_cast<unsigned long long>(point->offset()));

    // Standard containers of this process, their memory in the pool.
    quarry::memory_resource resource(*pool);
    std::pmr::unordered_map<std::pmr::string, int> ages(&resource);
    ages["a name too long to lie in the string itself"] = 42;
    std::printf("%zu name in the map\n", ages.size());

    // A vector that lies in the pool as a whole: every client finds it by its offset.
    using Numbers = std::vector<int, quarry::allocator<int>>;
    auto numbers = pool->make<Numbers>(quarry::allocator<int>(*pool));
    if (!numbers) return std::fprintf(stderr, "%s\n", numbers.error().message()), 1;
    for (int i = 1; i <= 1000; i++) (*numbers)->push_back(i);
    // As another client sees it, with a mapping of its own.
    auto reader = quarry::pool::join(pool->fd());
    if (!reader) return std::fprintf(stderr, "%s\n", reader.error().message()), 1;
    const auto* seen = static_cast<const Numbers*>(reader->address(numbers->offset()));
    std::printf("another client adds them up: %d\n", std::accumulate(seen->begin(), seen->end(), 0));
}
