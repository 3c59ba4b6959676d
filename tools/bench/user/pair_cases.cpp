// SPDX-License-Identifier: MIT
//
// One thread, a pool of "host:" against malloc and DPDK's mempool.
//
//   user-hot-64            a hot pair of 64 bytes, checks on
//   user-lifo-N            N objects of 64 bytes, freed last first
//   user-random-1024       the same, freed in random order
//   user-mixed-1k          1000 live, 8..2048 bytes log-uniform, a random one replaced
//   user-bulk-64           64 objects of 64 bytes in one call, per object, checks off
//   user-bulk-64-checked   the same with the checks on
//   user-growth            of 10^6 live objects of 64 bytes a random one is replaced
//   checks                 the hot pair with checks over the one without: least of many short
//                          slices, the two in turn
#include "patterns.hpp"
#include "pool.hpp"

namespace {

using bench::batch_64;
using bench::Checked;
using bench::hot_64;
using bench::Malloc;
using bench::measure;
using bench::now;
using bench::touch;
using bench::Unchecked;

template <typename A>
double mixed() {
    constexpr uint32_t kLive = 1000;
    struct Step {
        uint32_t victim;
        uint32_t size;
    };
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> exponent(3, 11);
    std::vector<Step> steps(1 << 16);
    for (Step& s : steps) {
        s.victim = generator() % kLive;
        s.size = static_cast<uint32_t>(__builtin_exp2(exponent(generator)));
    }
    return bench::on<A>([&](A& a) {
        struct Object {
            void* at;
            uint32_t size;
        };
        std::vector<Object> live(kLive);
        const auto c = a.calls();
        for (uint32_t i = 0; i < kLive; ++i) {
            live[i] = {c.alloc(steps[i].size), steps[i].size};
            touch(live[i].at);
        }
        const double ns = measure(steps.size(), [&] {
            for (const Step& s : steps) {
                Object& object = live[s.victim];
                c.free(object.at, object.size);
                object = {c.alloc(s.size), s.size};
                touch(object.at);
            }
        });
        for (Object& object : live) c.free(object.at, object.size);
        return ns;
    });
}

constexpr size_t kBulk = 64;

double bulk_checked() {
    return bench::on<Checked>([](Checked& pool) {
        uint64_t offsets[kBulk];
        char* base = static_cast<char*>(quarry_address(pool.get(), 0));
        return measure(kBulk, [&] {
            if (quarry_alloc_batch(pool.get(), 64, 0, offsets, kBulk) < kBulk) bench::die("a batch failed");
            for (uint64_t offset : offsets) touch(base + offset);
            if (quarry_free_batch(pool.get(), offsets, kBulk) < kBulk) bench::die("a batch failed");
        });
    });
}
double bulk_unchecked() {
    return bench::on<Unchecked>([](Unchecked& pool) {
        uint64_t offsets[kBulk];
        char* base = static_cast<char*>(quarry_address(pool.get(), 0));
        return measure(kBulk, [&] {
            if (quarry_alloc_batch_unchecked(pool.get(), 64, offsets, kBulk) < kBulk)
                bench::die("a batch failed");
            for (uint64_t offset : offsets) touch(base + offset);
            if (quarry_free_batch_unchecked(pool.get(), 64, offsets, kBulk) < kBulk)
                bench::die("a batch failed");
        });
    });
}

template <typename A>
double growth() {
    constexpr uint64_t kLive = 1'000'000;
    constexpr uint64_t kRound = 1 << 14;
    return bench::on<A>([](A& a) {
        std::vector<void*> live(kLive);
        const auto c = a.calls();
        for (auto& object : live) touch(object = c.alloc(64));
        std::mt19937 generator(1);
        std::vector<uint32_t> victims(1 << 21);
        for (auto& v : victims) v = static_cast<uint32_t>(generator() % kLive);
        const auto replace = [&](uint32_t victim) {
            c.free(live[victim], 64);
            touch(live[victim] = c.alloc(64));
        };
        // Not as the objects were made, but as such a program's are after a while.
        for (uint64_t i = 0; i < 2 * kLive; ++i) replace(victims[i % victims.size()]);
        uint64_t at = 0;
        const double ns = measure(kRound, [&] {
            for (uint64_t i = 0; i < kRound; ++i) replace(victims[at + i]);
            at = (at + kRound) % victims.size();
        });
        for (void* object : live) c.free(object, 64);
        return ns;
    });
}

template <typename A>
double slice(A& a) {
    constexpr int kPairs = 50'000;
    const auto c = a.calls();
    const double start = now();
    for (int i = 0; i < kPairs; ++i) {
        void* object = c.alloc(64);
        touch(object);
        c.free(object, 64);
    }
    return now() - start;
}

double checks() {
    Checked with(1 << 20);
    Unchecked without(1 << 20);
    double least[2] = {1e30, 1e30};
    for (int i = 0; i < 300; ++i) {
        const double spent[2] = {slice(with), slice(without)};
        for (int side = 0; side < 2; ++side)
            if (i >= 20) least[side] = std::min(least[side], spent[side]);
    }
    with.finish();
    without.finish();
    return least[0] / least[1];
}

const bench::Cases pair_cases{
    {"user-hot-64", hot_64<Checked>, hot_64<Malloc>, 1, "dpdk"},
    {"user-lifo-64", batch_64<Checked, 64, false>, batch_64<Malloc, 64, false>, 1, "dpdk"},
    {"user-lifo-1024", batch_64<Checked, 1024, false>, batch_64<Malloc, 1024, false>, 1, "dpdk"},
    {"user-random-1024", batch_64<Checked, 1024, true>, batch_64<Malloc, 1024, true>},
    {"user-mixed-1k", mixed<Checked>, mixed<Malloc>},
    {"user-bulk-64", bulk_unchecked, nullptr, 1, "dpdk"},
    {"user-bulk-64-checked", bulk_checked, nullptr, 1, "dpdk"},
    {"shm-pair", hot_64<Checked>, nullptr, 1, "boost boost-cached iceoryx"},
    {"checks", checks},
    {"user-growth", growth<Checked>, growth<Malloc>},
};

}  // namespace
