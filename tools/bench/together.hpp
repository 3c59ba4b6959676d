// SPDX-License-Identifier: MIT
//
// Threads that run at the same time, each alone on one of the process's CPUs (run.sh gives it
// as many as the case has threads).
#pragma once

#include <sched.h>

#include <atomic>
#include <thread>

#include "case.hpp"

namespace bench {

// Puts the calling thread on the n-th CPU that the process may use.
inline void stay_on(unsigned n, const cpu_set_t& allowed) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &allowed) || n--) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof(one), &one)) die("no affinity");
        return;
    }
    die("fewer CPUs than threads");
}

// Calls work(i) for i below `threads`, each on a thread and CPU of its own, all at once.
template <typename Work>
void together(unsigned threads, Work&& work) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed)) die("no affinity");
    std::atomic<unsigned> ready{0};
    std::vector<std::thread> running;
    for (unsigned i = 0; i < threads; ++i)
        running.emplace_back([&, i] {
            stay_on(i, allowed);
            ready.fetch_add(1);
            while (ready.load() < threads) sched_yield();
            work(i);
        });
    for (auto& t : running) t.join();
}

// measure() on each of two threads; the mean. Who is done keeps on until the other is, so
// that nobody is measured alone. make_round(i) answers the thread's round.
template <typename MakeRound>
double measure_both(uint64_t pairs, MakeRound&& make_round) {
    double ns[2];
    std::atomic<unsigned> done{0};
    together(2, [&](unsigned i) {
        auto round = make_round(i);
        ns[i] = measure(pairs, round);
        done.fetch_add(1);
        while (done.load(std::memory_order_relaxed) < 2) round();
    });
    return (ns[0] + ns[1]) / 2;
}

}  // namespace bench
