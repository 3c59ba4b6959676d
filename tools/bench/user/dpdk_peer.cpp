// SPDX-License-Identifier: MIT
//
// DPDK's rte_mempool as a peer: no huge pages, a per-core cache of the largest size (512).
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>

#include "patterns.hpp"

namespace {

rte_mempool* new_pool() {
    static char arguments[][24] = {"dpdk", "--no-huge", "--no-pci",       "--no-telemetry", "--no-shconf",
                                   "-m",   "256",       "--log-level=3", "-l",             "0"};
    static char* vector[sizeof(arguments) / sizeof(*arguments) + 1];
    int count = 0;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed)) bench::die("no affinity");
    // DPDK binds its main thread: to the CPU that this process was given.
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &allowed)) std::snprintf(arguments[9], sizeof(arguments[9]), "%d", cpu);
    for (auto& argument : arguments) vector[count++] = argument;
    if (rte_eal_init(count, vector) < 0) bench::die(rte_strerror(rte_errno));
    rte_mempool* pool = rte_mempool_create("pool", (1 << 14) - 1, 64, RTE_MEMPOOL_CACHE_MAX_SIZE, 0, nullptr,
                                           nullptr, nullptr, nullptr, SOCKET_ID_ANY, 0);
    if (!pool) bench::die(rte_strerror(rte_errno));
    return pool;
}

struct DpdkCalls {
    rte_mempool* pool;
    [[gnu::always_inline]] void* alloc(uint64_t) const {
        void* object;
        if (rte_mempool_get(pool, &object)) [[unlikely]]
            bench::die("an allocation failed");
        return object;
    }
    [[gnu::always_inline]] void free(void* object, uint64_t) const { rte_mempool_put(pool, object); }
};
struct Dpdk {
    rte_mempool* pool = new_pool();
    DpdkCalls calls() const { return {pool}; }
    void finish() {}
};

double bulk() {
    constexpr unsigned kBulk = 64;
    return bench::on<Dpdk>([](Dpdk& a) {
        void* objects[kBulk];
        return bench::measure(kBulk, [&] {
            if (rte_mempool_get_bulk(a.pool, objects, kBulk)) bench::die("a batch failed");
            for (void* object : objects) bench::touch(object);
            rte_mempool_put_bulk(a.pool, objects, kBulk);
        });
    });
}

const bench::Cases dpdk_cases{
    {"user-hot-64", nullptr, bench::hot_64<Dpdk>},
    {"user-lifo-64", nullptr, bench::batch_64<Dpdk, 64, false>},
    {"user-lifo-1024", nullptr, bench::batch_64<Dpdk, 1024, false>},
    {"user-bulk-64", nullptr, bulk},
    {"user-bulk-64-checked", nullptr, bulk},
};

}  // namespace
