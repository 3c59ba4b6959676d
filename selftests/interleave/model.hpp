// SPDX-License-Identifier: MIT
//
// A schedule-exploring checker under the core (Relacy, by D. Vyukov): threads are fibres of one, which
// change places at atomic operations and locks alone, as a scheduler says that tries one
// interleaving after the other; a load may answer what an order weaker than it should be lets it.
//
//   std/atomic        the core's atomics, each of which is a word of the model
//   platform.hpp      the core's Platform: CPUs are locks, locks are the model's
//   scenarios.cpp     what is explored, and the faults that are planted
//   interleave_test.cpp  the tests
//
// A word's history begins with what its memory holds when it is first touched, and that all
// threads see: memory that was just made is published too early, all else is as the core asked.
#pragma once

#include <cstddef>
#include <cstdint>

namespace model {

// ---- words ----

struct Word {
    void* at;
    unsigned bytes;
};
std::uint64_t load(Word word, int order);
void store(Word word, std::uint64_t value, int order);
std::uint64_t exchange(Word word, std::uint64_t value, int order);
bool compare_exchange(Word word, std::uint64_t& expected, std::uint64_t desired, int success,
                      int failure);
// The value in modification order, without a step.
std::uint64_t newest(Word word);
// An atomic begins its life: whatever was here is over.
void born(Word word);

// ---- locks ----

class Mutex;
Mutex* make_mutex();
void end_mutex(Mutex* mutex);
void lock(Mutex* mutex);
void unlock(Mutex* mutex);

// ---- the run ----

// Zeroed; gone when the schedule ends.
void* memory(std::size_t bytes, std::size_t align = 64);
unsigned thread();
// Lets the others go on: a loop that waits for them must.
void yield();
// What must hold in every schedule; a string literal.
void expect(bool condition, const char* what);

inline constexpr unsigned kThreads = 3;
struct Scenario {
    virtual ~Scenario() = default;
    virtual void before() = 0;              // alone
    virtual void run(unsigned thread) = 0;  // each beside the others
    virtual void after() = 0;               // alone
};

enum class Search {
    bounded,  // every schedule of up to two changes of a thread that could have gone on
    random,
};

struct Plan {
    Scenario* (*make)(void* at);  // in place, sizeof at most kScenarioBytes
    Search search;
    unsigned long schedules;      // most of them
    bool weak = false;            // a planted fault: what is asked for as seq_cst is relaxed
};
inline constexpr std::size_t kScenarioBytes = 4096;

struct Outcome {
    bool held;         // in every schedule
    const char* what;  // did not
    unsigned long schedules;
};
Outcome explore(const Plan& plan);

}  // namespace model
