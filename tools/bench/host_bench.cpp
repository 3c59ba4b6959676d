// SPDX-License-Identifier: MIT
//
// One launch of one benchmark case on one allocator: prints nanoseconds of thread CPU time
// for one pair of allocation and free. run.sh launches it, pinned and interleaved.
//
//   host_bench CASE quarry|malloc     malloc is glibc's, or a preloaded one
//   host_bench --list
//
// Every object's first word is written. Random choices are drawn beforehand, the same for
// every allocator. The heap is called as a driver's wrapper calls it: pin, the extern C
// entry in another object, unpin; the whole call where the fast half does not serve.
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "host_os.hpp"

namespace {

constexpr uint64_t kBytes = uint64_t{1} << 30;

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "host_bench: %s\n", what);
    std::exit(1);
}

struct Malloc {
    void* alloc(uint64_t size) { return std::malloc(size); }
    void free(void* p) { std::free(p); }
    void finish() {}
};

class Quarry {
public:
    Quarry() {
        void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) die("no memory");
        base_ = static_cast<char*>(memory);
        if (quarry_core_heap_create(kBytes / 4096, base_, &heap_)) die("no heap");
        if (quarry_core_heap_add_region(heap_, 0, kBytes / 4096, QUARRY_CORE_NORMAL))
            die("no region");
    }
    void* alloc(uint64_t size) {
        uint64_t offset;
        const unsigned cpu = bench::pin();
        const bool got = quarry_core_heap_try_alloc(heap_, cpu, size, &offset);
        bench::unpin();
        if (!got && quarry_core_heap_alloc(heap_, size, 8, &offset, QUARRY_MAY_SLEEP)) [[unlikely]]
            die("an allocation failed");
        return base_ + offset;
    }
    void free(void* p) {
        const uint64_t offset = static_cast<uint64_t>(static_cast<char*>(p) - base_);
        const unsigned cpu = bench::pin();
        const bool done = quarry_core_heap_try_free(heap_, cpu, offset);
        bench::unpin();
        if (!done && quarry_core_heap_free(heap_, offset)) [[unlikely]]
            die("a free failed");
    }
    // Nothing was lost or torn meanwhile.
    void finish() {
        quarry_core_audit audit;
        quarry_core_heap_verify(heap_, 1, &audit);
        if (audit.faults) die(audit.first);
        quarry_core_heap_destroy(heap_);
    }

private:
    char* base_;
    quarry_core_heap* heap_;
};

double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

void touch(void* p) { *static_cast<volatile uint64_t*>(p) = 1; }

// Calls round(), which does `pairs` pairs, until the clock says enough; ns per pair.
template <typename Round>
double measure(uint64_t pairs, Round&& round) {
    constexpr double kWarm = 60e6;
    constexpr double kTimed = 200e6;
    const uint64_t rounds = std::max<uint64_t>(1, 200'000 / pairs);
    for (const double start = now(); now() - start < kWarm;)
        for (uint64_t i = 0; i < rounds; ++i) round();
    uint64_t done = 0;
    const double start = now();
    double end = start;
    while ((end = now()) - start < kTimed) {
        for (uint64_t i = 0; i < rounds; ++i) round();
        done += rounds * pairs;
    }
    return (end - start) / static_cast<double>(done);
}

// `batch` objects of 64 bytes, freed last first or in random order.
template <typename A>
double batches(A& a, uint32_t batch, bool random) {
    constexpr uint32_t kOrders = 32;
    std::vector<uint32_t> order(kOrders * batch);
    std::mt19937 generator(1);
    for (uint32_t o = 0; o < kOrders; ++o) {
        for (uint32_t i = 0; i < batch; ++i) order[o * batch + i] = batch - 1 - i;
        if (random)
            std::shuffle(&order[o * batch], &order[o * batch] + batch, generator);
    }
    std::vector<void*> live(batch);
    uint32_t o = 0;
    return measure(batch, [&] {
        for (auto& p : live) touch(p = a.alloc(64));
        const uint32_t* at = &order[o++ % kOrders * batch];
        for (uint32_t i = 0; i < batch; ++i) a.free(live[at[i]]);
    });
}

template <typename A>
double hot(A& a) {
    return measure(1, [&] {
        void* p = a.alloc(64);
        touch(p);
        a.free(p);
    });
}

// `count` live, 8..2048 bytes log-uniform, a random one replaced.
template <typename A>
double mixed(A& a, uint32_t count) {
    struct Step {
        uint32_t victim;
        uint32_t size;
    };
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> exponent(3, 11);
    std::vector<Step> steps(1 << 16);
    for (Step& s : steps) {
        s.victim = generator() % count;
        s.size = static_cast<uint32_t>(__builtin_exp2(exponent(generator)));
    }
    std::vector<void*> live(count);
    for (uint32_t i = 0; i < count; ++i) touch(live[i] = a.alloc(steps[i].size));
    const double ns = measure(steps.size(), [&] {
        for (const Step& s : steps) {
            a.free(live[s.victim]);
            touch(live[s.victim] = a.alloc(s.size));
        }
    });
    for (void* p : live) a.free(p);
    return ns;
}

template <typename A>
double run(const char* name) {
    A a;
    double ns = 0;
    if (!std::strcmp(name, "hot-64"))
        ns = hot(a);
    else if (!std::strcmp(name, "lifo-64"))
        ns = batches(a, 64, false);
    else if (!std::strcmp(name, "random-64"))
        ns = batches(a, 64, true);
    else if (!std::strcmp(name, "lifo-1024"))
        ns = batches(a, 1024, false);
    else if (!std::strcmp(name, "random-1024"))
        ns = batches(a, 1024, true);
    else if (!std::strcmp(name, "mixed-1k"))
        ns = mixed(a, 1000);
    else if (!std::strcmp(name, "mixed-10k"))
        ns = mixed(a, 10000);
    else
        die("no such case");
    a.finish();
    return ns;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && !std::strcmp(argv[1], "--list")) {
        std::puts("hot-64\nlifo-64\nrandom-64\nlifo-1024\nrandom-1024\nmixed-1k\nmixed-10k");
        return 0;
    }
    if (argc != 3) die("usage: host_bench CASE quarry|malloc");
    const double ns =
        !std::strcmp(argv[2], "quarry") ? run<Quarry>(argv[1]) : run<Malloc>(argv[1]);
    std::printf("%.4f\n", ns);
    return 0;
}
