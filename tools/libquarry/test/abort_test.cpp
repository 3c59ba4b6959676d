// SPDX-License-Identifier: MIT
// Sequences that are aborted all the time: by migration, by signals, by a drain from another CPU.
// Nothing is lost and nothing is given twice.
#define QUARRY_SEQUENCE_DELAY ".rept 32\n\tpause\n\t.endr\n\t"
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "fixture.hpp"

namespace {

using Offsets = std::vector<std::uint64_t>;

class Aborted : public Quarry {
protected:
    void SetUp() override {
        Quarry::SetUp();
        pool_ = new_pool(1 << 19);
        ASSERT_NE(pool_, nullptr);
        for (auto& holder : holders_) holder = 0;
    }
    void TearDown() override {
        quarry_leave(pool_);
        Quarry::TearDown();
    }

    // An object in hand belongs to nobody else: the word of its offset says so, beside the pool.
    bool take(std::uint64_t offset) {
        return offset / 8 < std::size(holders_) && holders_[offset / 8].exchange(1) == 0;
    }
    bool give(std::uint64_t offset) {
        return offset / 8 < std::size(holders_) && holders_[offset / 8].exchange(0) == 1;
    }

    // Pairs and batches of one thread, `rounds` of them; how many objects were not its alone.
    int work(unsigned seed, int rounds) {
        int wrong = 0;
        Offsets held;
        for (int i = 0; i < rounds; i++) {
            seed = seed * 1664525 + 1013904223;
            const std::size_t sizes[] = {16, 64, 64, 200};
            const std::size_t bytes = sizes[seed >> 28 & 3];
            if (seed >> 24 & 7) {
                const std::uint64_t offset = quarry_alloc_offset(pool_, bytes, 0);
                if (offset == QUARRY_NO_OFFSET || !take(offset)) wrong++;
                else held.push_back(offset);
            } else {
                Offsets many(24);
                many.resize(quarry_alloc_batch(pool_, bytes, 0, many.data(), many.size()));
                for (auto offset : many) wrong += !take(offset);
                held.insert(held.end(), many.begin(), many.end());
            }
            while (held.size() > 40 || (!held.empty() && (seed >> 20 & 1))) {
                const std::size_t n = seed >> 16 & 3 ? 1 : std::min<std::size_t>(held.size(), 20);
                for (std::size_t k = held.size() - n; k < held.size(); k++) wrong += !give(held[k]);
                if (quarry_free_batch(pool_, &held[held.size() - n], n) != n) wrong++;
                held.resize(held.size() - n);
                seed = seed * 1664525 + 1013904223;
            }
        }
        for (auto offset : held) wrong += !give(offset) + (quarry_free_offset(pool_, offset) != 0);
        return wrong;
    }

    void expect_all_home() {
        EXPECT_EQ(fake::objects(), 0);
        EXPECT_EQ(quarry_duplicates(pool_, nullptr), 0u);
        ASSERT_EQ(quarry_drain(pool_, 0, nullptr), 0);
        struct quarry_stat stat;
        ASSERT_EQ(quarry_stat(pool_, &stat), 0);
        EXPECT_EQ(stat.client_objects, 0u);
        Offsets all((1 << 19) / 64);
        EXPECT_EQ(quarry_alloc_all(pool_, 64, 0, all.data(), all.size()), 0) << "the whole pool is there";
        EXPECT_EQ(std::set<std::uint64_t>(all.begin(), all.end()).size(), all.size());
    }

    quarry_pool* pool_ = nullptr;
    static inline std::atomic<char> holders_[(1 << 19) / 8];
};

TEST_F(Aborted, ByMigrationOfEveryThreadAllTheTime) {
    std::atomic<int> wrong = 0;
    std::atomic<bool> stop = false;
    std::vector<pid_t> threads(3);
    std::atomic<int> started = 0;
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < threads.size(); t++)
        workers.emplace_back([&, t] {
            threads[t] = static_cast<pid_t>(syscall(SYS_gettid));
            started++;
            wrong += work(t + 1, 30000);
        });
    std::thread mover([&] {
        cpu_set_t allowed;
        sched_getaffinity(0, sizeof allowed, &allowed);
        while (started < 3) sched_yield();
        for (unsigned i = 0; !stop; i++) {
            for (std::size_t t = 0; t < threads.size(); t++) {
                cpu_set_t one;
                CPU_ZERO(&one);
                unsigned n = (i + static_cast<unsigned>(t)) % static_cast<unsigned>(CPU_COUNT(&allowed));
                for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                    if (CPU_ISSET(cpu, &allowed) && n-- == 0) CPU_SET(cpu, &one);
                sched_setaffinity(threads[t], sizeof one, &one);
            }
            sched_yield();
        }
    });
    for (auto& worker : workers) worker.join();
    stop = true;
    mover.join();
    EXPECT_EQ(wrong, 0);
    expect_all_home();
}

TEST_F(Aborted, ByADrainThatShutsTheMagazinesUnderThem) {
    std::atomic<int> wrong = 0;
    std::atomic<int> drains = 0, running = 2;
    // Without magazines there is no sequence to end, and a drain waits for each call beside it.
    const int wanted = fake::magazines() ? 200 : 20;
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < 2; t++)
        workers.emplace_back([&, t] {
            for (unsigned i = 0; i < 4 || drains < wanted; i++) wrong += work(t + 11 + i, 2000);
            running--;
        });
    for (; running; drains++) wrong += quarry_drain(pool_, 0, nullptr) != 0;
    for (auto& worker : workers) worker.join();
    EXPECT_EQ(wrong, 0);
    expect_all_home();
}

// The handler allocates and frees, too, in the middle of whatever it interrupts; only where the fast
// path serves: the tests' device takes a lock, which a kernel does not.
quarry_pool* in_handler;
std::atomic<int> handled, handled_wrong;
thread_local volatile sig_atomic_t in_device;

void handler(int) {
    const int error = errno;
    if (!in_device) {
        void* objects[4];
        int have = 0;
        for (auto& object : objects) {
            object = quarry_alloc(in_handler, 64);
            have += object != nullptr;
        }
        for (int i = 0; i < have; i++)
            if (quarry_free_sized(in_handler, objects[i], 64)) handled_wrong++;
        handled++;
    }
    errno = error;
}

TEST_F(Aborted, BySignalsWhoseHandlerUsesTheSamePool) {
    if (!fake::magazines()) GTEST_SKIP() << "each call is the device's";
    // Half full on each CPU, and a pair takes one: neither the handler nor the pairs need a call.
    cpu_set_t before, one;
    sched_getaffinity(0, sizeof before, &before);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    void* first = quarry_alloc(pool_, 64);
    ASSERT_EQ(quarry_free(pool_, first), 0);
    in_handler = pool_;
    handled = handled_wrong = 0;
    struct sigaction action = {}, old;
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, &old);
    const itimerval often = {{0, 50}, {0, 50}}, never = {};
    setitimer(ITIMER_REAL, &often, nullptr);
    const int calls = fake::ioctls(QUARRY_IOC_REFILL) + fake::ioctls(QUARRY_IOC_FLUSH);
    int wrong = 0;
    for (int i = 0; i < 3000000 && handled < 2000; i++) {
        const std::uint64_t offset = quarry_alloc_offset(pool_, 64, 0);
        wrong += offset == QUARRY_NO_OFFSET || !take(offset);
        wrong += !give(offset) + (quarry_free_offset(pool_, offset) != 0);
    }
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &old, nullptr);
    sched_setaffinity(0, sizeof before, &before);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_REFILL) + fake::ioctls(QUARRY_IOC_FLUSH), calls);
    EXPECT_GT(handled, 10);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(handled_wrong, 0);
    expect_all_home();
}

}  // namespace
