// SPDX-License-Identifier: MIT
#include "model.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <sstream>

#include <relacy/relacy.hpp>
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef assert
#undef errno
#undef free
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst

namespace model {

namespace {

constexpr std::size_t kArenaBytes = std::size_t{64} << 20;
constexpr unsigned kCells = 1u << 17;

// The value is kept as its difference to what the memory held at first, since a word of Relacy's begins as
// 0 for everybody.
struct Cell {
    void* at = nullptr;
    std::uint64_t round = 0;
    std::uint64_t first = 0;
    alignas(rl::generic_atomic<std::uint64_t, true>) unsigned char storage[sizeof(
        rl::generic_atomic<std::uint64_t, true>)];

    rl::generic_atomic<std::uint64_t, true>& word() {
        return *reinterpret_cast<rl::generic_atomic<std::uint64_t, true>*>(storage);
    }
};

struct State {
    Cell* cells;
    unsigned* used;  // of this schedule, by place
    unsigned count = 0;
    std::uint64_t round = 0;
    char* arena;
    std::size_t taken = 0;
    Plan plan{};
    bool running = false;
    unsigned long schedules = 0;
    const char* broken = nullptr;  // what did not hold

    State() {
        cells = static_cast<Cell*>(std::calloc(kCells, sizeof(Cell)));
        used = static_cast<unsigned*>(std::calloc(kCells, sizeof(unsigned)));
        // The same addresses in every schedule.
        arena = static_cast<char*>(mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (!cells || !used || arena == MAP_FAILED) std::abort();
    }
};
State& state() {
    static State s;
    return s;
}

unsigned place_of(void* at) {
    return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(at) * 0x9e3779b97f4a7c15ull >> 47);
}

// Where it is, or where it would be.
Cell& find(void* at) {
    State& s = state();
    unsigned i = place_of(at);
    while (s.cells[i].round == s.round && s.cells[i].at != at) i = (i + 1) % kCells;
    return s.cells[i];
}

Cell& cell_of(Word word) {
    State& s = state();
    Cell& cell = find(word.at);
    if (cell.round == s.round) return cell;
    if (s.count == kCells / 2) std::abort();
    s.used[s.count++] = static_cast<unsigned>(&cell - s.cells);
    cell.at = word.at;
    cell.round = s.round;
    cell.first = 0;
    std::memcpy(&cell.first, word.at, word.bytes);
    ::new (cell.storage) rl::generic_atomic<std::uint64_t, true>;
    return cell;
}

// Also in memory, for whoever looks at it as bytes.
void keep(Word word, std::uint64_t value) { std::memcpy(word.at, &value, word.bytes); }

rl::memory_order order_of(int order, bool loads = true, bool stores = true) {
    const auto o = static_cast<std::memory_order>(order);
    if (o == std::memory_order::seq_cst) return state().plan.weak ? rl::mo_relaxed : rl::mo_seq_cst;
    if (o == std::memory_order::acq_rel)
        return loads && stores ? rl::mo_acq_rel : loads ? rl::mo_acquire : rl::mo_release;
    if (o == std::memory_order::acquire || o == std::memory_order::consume) return rl::mo_acquire;
    if (o == std::memory_order::release) return rl::mo_release;
    return rl::mo_relaxed;
}

void begin_schedule() {
    State& s = state();
    ++s.schedules;
    ++s.round;
    s.count = 0;
    std::memset(s.arena, 0, s.taken);
    s.taken = 0;
    s.running = true;
}
void end_schedule() {
    State& s = state();
    s.running = false;
    for (unsigned i = 0; i < s.count; ++i) {
        using Atomic = rl::generic_atomic<std::uint64_t, true>;
        s.cells[s.used[i]].word().~Atomic();
    }
    s.count = 0;
}

struct Suite : rl::test_suite<Suite, kThreads> {
    alignas(64) unsigned char storage[kScenarioBytes];
    Scenario* scenario = nullptr;

    void before() {
        // There may be more than anybody waits for.
        if (state().schedules == state().plan.schedules) rl::ctx().rl_until("enough", $);
        begin_schedule();
        std::memset(storage, 0, sizeof(storage));
        scenario = state().plan.make(storage);
        scenario->before();
    }
    void thread(unsigned index) { scenario->run(index); }
    void after() {
        scenario->after();
        scenario->~Scenario();
        end_schedule();
    }
};

}  // namespace

std::uint64_t load(Word word, int order) {
    Cell& cell = cell_of(word);
    return cell.word().load(order_of(order, true, false), $) ^ cell.first;
}
void store(Word word, std::uint64_t value, int order) {
    Cell& cell = cell_of(word);
    cell.word().store(value ^ cell.first, order_of(order, false, true), $);
    keep(word, value);
}
std::uint64_t exchange(Word word, std::uint64_t value, int order) {
    Cell& cell = cell_of(word);
    const std::uint64_t old = cell.word().exchange(value ^ cell.first, order_of(order), $);
    keep(word, value);
    return old ^ cell.first;
}
bool compare_exchange(Word word, std::uint64_t& expected, std::uint64_t desired, int success,
                      int failure) {
    Cell& cell = cell_of(word);
    std::uint64_t seen = expected ^ cell.first;
    const rl::memory_order order = order_of(success);
    rl::memory_order other = order_of(failure, true, false);
    // Of an order that is weak for both, Relacy knows one for a failure.
    if (order == rl::mo_relaxed || order == rl::mo_release) other = rl::mo_relaxed;
    const bool done =
        cell.word().compare_exchange_strong(seen, desired ^ cell.first, order, $, other, $);
    if (done)
        keep(word, desired);
    else
        expected = seen ^ cell.first;
    return done;
}
std::uint64_t newest(Word word) {
    Cell& cell = cell_of(word);
    return cell.word().debug_value() ^ cell.first;
}
void born(Word word) {
    State& s = state();
    if (!s.running) return;
    Cell& cell = find(word.at);
    if (cell.round != s.round) return;
    using Atomic = rl::generic_atomic<std::uint64_t, true>;
    cell.word().~Atomic();
    ::new (cell.storage) Atomic;
    cell.first = 0;
    std::memcpy(&cell.first, word.at, word.bytes);
}

class Mutex {
public:
    rl::mutex mutex;
};
Mutex* make_mutex() { return ::new (memory(sizeof(Mutex))) Mutex; }
void end_mutex(Mutex* mutex) { mutex->~Mutex(); }
void lock(Mutex* mutex) { mutex->mutex.lock($); }
void unlock(Mutex* mutex) { mutex->mutex.unlock($); }

void* memory(std::size_t bytes, std::size_t align) {
    State& s = state();
    const std::size_t at = (s.taken + align - 1) & ~(align - 1);
    if (at + bytes > kArenaBytes) std::abort();
    s.taken = at + bytes;
    return s.arena + at;
}
unsigned thread() { return static_cast<unsigned>(rl::ctx().current_thread()); }
void yield() { rl::ctx().yield(1, $); }
void expect(bool condition, const char* what) {
    if (condition) return;
    state().broken = what;
    rl::ctx().fail_test(what, rl::test_result_user_assert_failed, $);
}

Outcome explore(const Plan& plan) {
    State& s = state();
    s.plan = plan;
    s.schedules = 0;
    s.broken = nullptr;
    std::ostringstream out;
    rl::test_params params;
    params.iteration_count = plan.schedules;
    params.output_stream = &out;
    params.progress_stream = &out;
    params.search_type = plan.search == Search::random ? rl::random_scheduler_type
                                                       : rl::fair_context_bound_scheduler_type;
    params.context_bound = 2;
    params.execution_depth_limit = 200000;
    params.output_history = true;  // no second run, for a history that nobody could read
    rl::simulate<Suite>(params);
    s.running = false;
    const bool held = params.test_result == rl::test_result_success ||
                      params.test_result == rl::test_result_until_condition_hit;
    const char* what = held ? "" : s.broken ? s.broken : rl::test_result_str(params.test_result);
    return {held, what, s.schedules};
}

}  // namespace model
