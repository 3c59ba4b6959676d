// SPDX-License-Identifier: MIT
//
// The slow half of HostPlatform: slots, locks, metadata and its reclaiming, records.
#include "host_platform.hpp"

#include "../../module/core/object/hooks.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace quarry {

namespace {

constexpr const char* kRankNames[QUARRY_LOCK_RANKS] = {
    "REGIONS", "DEPOT", "SHARES", "CLASS", "CLIENT", "OVERFLOW", "PAGES", "OBJECTS"};
static_assert(kRankNames[QUARRY_LOCK_RANKS - 1] != nullptr);

int membarrier(int command) { return static_cast<int>(syscall(SYS_membarrier, command, 0, 0)); }

// What metadata is out, by address.
struct Books {
    std::mutex mutex;
    std::unordered_map<void*, std::size_t> sizes;
    u64 bytes = 0;
    u64 allocations = 0;
    u64 refuse_at = 0;  // allocations still to come until the refused one; 0: none
    bool refuse_on = false;
    u64 refusals = 0;
};
Books& books() {
    static auto* instance = new Books;
    return *instance;
}

struct Records {
    std::mutex mutex;
    std::vector<HostPlatform::Report> reports;
    std::set<HostBacking*> backings;
    std::map<std::pair<void*, u64>, u32> classes;
    u64 zeroed = 0;
    std::multiset<u64> held_pages;
};
Records& records() {
    static auto* instance = new Records;
    return *instance;
}

std::atomic<u32> max_slots{0};
std::atomic<unsigned> threads_now{0};

}  // namespace

// The first 16 bytes of a retired block are the platform's.
struct HostPlatform::Retired {
    Retired* next;
    u64 epoch;
};
// What a quarry_os_after is here.
struct HostPlatform::After {
    After* next;
    void (*fn)(quarry_os_after*);
    u64 epoch;
};

namespace {

struct Limbo {
    std::mutex mutex;
    void* first = nullptr;
    u64 count = 0;
    void* calls = nullptr;
    u64 waiting = 0;  // calls that were not made, or are being made
};
Limbo& limbo() {
    static auto* instance = new Limbo;
    return *instance;
}

}  // namespace

HostPlatform::Slot HostPlatform::slots_[kCpus];
std::atomic<u64> HostPlatform::epoch_{1};
HostPlatform::Trace HostPlatform::trace_;
std::atomic<unsigned> HostPlatform::ever_taken_{0};
const bool HostPlatform::asymmetric_ =
    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;

void HostPlatform::die(const char* what, const char* more, const char* other) {
    std::fprintf(stderr, "host platform: %s %s %s\n", what, more, other);
    std::abort();
}

// ---- slots ----

struct HostSlotKeeper {
    bool armed = false;
    ~HostSlotKeeper() {
        if (armed) HostPlatform::give_slot();
    }
};
static thread_local HostSlotKeeper keeper;

void HostPlatform::take_slot() {
    for (unsigned i = 0; i < kCpus; ++i) {
        bool taken = false;
        if (!slots_[i].taken.compare_exchange_strong(taken, true, std::memory_order_acq_rel))
            continue;
        state_.slot = static_cast<int>(i);
        unsigned most = ever_taken_.load();
        while (most <= i && !ever_taken_.compare_exchange_weak(most, i + 1)) {
        }
        threads_now.fetch_add(1);
        keeper.armed = true;
        return;
    }
    die("more threads than slots");
}

void HostPlatform::give_slot() {
    if (state_.slot < 0) return;
    if (state_.readers || state_.held) die("a thread ends as a reader, pinned, or with a lock");
    slots_[state_.slot].taken.store(false, std::memory_order_release);
    state_.slot = -1;
    threads_now.fetch_sub(1);
}

unsigned HostPlatform::threads() { return threads_now.load(); }

void HostPlatform::must_not_sleep(const char* what) {
    if (state_.held) die(what, "with a lock held:", kRankNames[state_.ranks[state_.held - 1]]);
    if (state_.pins) die(what, "while pinned");
    if (state_.readers) die(what, "as a reader");
}

// ---- in the place of another CPU ----

void HostPlatform::wait_for_drain(Slot& slot) {
    if (state_.held) die("pinning waits with a lock held:", kRankNames[state_.ranks[state_.held - 1]]);
    slot.pinned.store(false, std::memory_order_release);
    while (slot.stop.load(std::memory_order_acquire)) sched_yield();
    announce(slot);
}

unsigned HostPlatform::on_each_cpu(void (*fn)(void*, unsigned), void* arg) {
    static std::mutex one_at_a_time;
    must_not_sleep("on_each_cpu");
    const unsigned here = cpu();
    std::lock_guard guard(one_at_a_time);
    for (unsigned i = 0; i < ever_taken_.load(std::memory_order_acquire); ++i) {
        Slot& slot = slots_[i];
        if (i != here) {
            slot.stop.store(true, std::memory_order_seq_cst);
            if (asymmetric()) membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
            while (slot.pinned.load(std::memory_order_seq_cst)) sched_yield();
        }
        fn(arg, i);
        slot.stop.store(false, std::memory_order_release);
    }
    return 0;
}

unsigned HostPlatform::on_each_cpu_steps(int (*fn)(void*, unsigned), void* arg) {
    struct Steps {
        int (*fn)(void*, unsigned);
        void* arg;
        unsigned long long more[kCpus / 64];
    } steps{fn, arg, {}};
    unsigned missed = 0;
    // Round after round, so that threads pin in between; as many as any drain needs.
    for (bool more = true; more;) {
        missed = on_each_cpu(
            [](void* p, unsigned cpu) {
                auto& s = *static_cast<Steps*>(p);
                if (s.more[cpu / 64] >> cpu % 64 & 1) return;
                if (!s.fn(s.arg, cpu)) s.more[cpu / 64] |= 1ull << cpu % 64;
            },
            &steps);
        more = false;
        for (unsigned i = 0; i < ever_taken_.load(std::memory_order_acquire); ++i)
            more |= !(steps.more[i / 64] >> i % 64 & 1);
    }
    return missed;
}

void HostPlatform::breathe() {
    must_not_sleep("breathe");
    // Each yield gives a busy machine's other programs a whole slice: now and then is enough.
    thread_local unsigned breaths;
    if (threads_now.load(std::memory_order_relaxed) > 1 && ++breaths % 16 == 0) sched_yield();
}

u64 HostPlatform::ns() {
    if (const u64 now = frozen_.load()) return now;
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1000000000u + static_cast<u64>(now.tv_nsec);
}

// ---- magazines ----

HostBlocks::HostBlocks()
    : blocks_(static_cast<unsigned char*>(mmap(nullptr, HostPlatform::kCpus * kBlockBytes,
                                               PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
HostBlocks::~HostBlocks() { munmap(blocks_, HostPlatform::kCpus * kBlockBytes); }

std::vector<HostBlocks::Refused> HostBlocks::take_refused() {
    std::lock_guard guard(records().mutex);
    return std::exchange(refused_, {});
}
void HostBlocks::note(const Refused& refused) {
    std::lock_guard guard(records().mutex);
    refused_.push_back(refused);
}

void* HostPlatform::magazine_memory(void* os, unsigned cpu, unsigned part) {
    must_not_sleep("memory for magazines");
    auto* blocks = static_cast<HostBlocks*>(os);
    if (!blocks || blocks->budget.fetch_sub(1) <= 0) return nullptr;
    if (blocks->given[cpu].fetch_or(1u << part) & 1u << part) return nullptr;
    return blocks->block(cpu) +
           (part ? QUARRY_CORE_MAGAZINE_BASE + (part - 1) * QUARRY_CORE_MAGAZINE_PIECE : 0);
}

void HostPlatform::magazine_refused(void* os, Error e, Offset offset, u64 owner) {
    if (auto* blocks = static_cast<HostBlocks*>(os)) blocks->note({e, offset, owner});
}

void HostPlatform::slab_class(void* os, Offset offset, u64 pages, u32 value) {
    std::lock_guard guard(records().mutex);
    for (u64 i = 0; i < pages; ++i) records().classes[{os, offset / 4096 + i}] = value;
}
u32 HostPlatform::class_of_page(void* os, u64 page) {
    std::lock_guard guard(records().mutex);
    const auto it = records().classes.find({os, page});
    return it == records().classes.end() ? 0 : it->second;
}

// ---- locks ----

HostPlatform::Lock::~Lock() {
    if (held_.load(std::memory_order_relaxed)) die("a held lock ends:", kRankNames[rank_]);
}

unsigned long HostPlatform::Lock::lock() {
    if (state_.meddle_at == rank_) {
        state_.meddle_at = QUARRY_LOCK_RANKS;
        state_.meddle(state_.meddler);
    }
    if (state_.exclusive) die("a lock in an exclusive hold:", kRankNames[rank_]);
    if (state_.held && state_.ranks[state_.held - 1] >= rank_)
        die("lock order:", kRankNames[rank_], kRankNames[state_.ranks[state_.held - 1]]);
    for (unsigned spins = 0; held_.exchange(1, std::memory_order_acquire);)
        while (held_.load(std::memory_order_relaxed))
            if (++spins % 64 == 0) sched_yield();
    state_.ranks[state_.held++] = rank_;
    state_.slots = 0;
    if (state_.pins && rank_ == QUARRY_LOCK_PAGES) count(trace_.long_while_pinned);
    return 0x10c;
}

void HostPlatform::Lock::unlock(unsigned long state) {
    if (state != 0x10c) die("unlock without lock's state:", kRankNames[rank_]);
    if (!state_.held || state_.ranks[state_.held - 1] != rank_)
        die("unlock out of order:", kRankNames[rank_]);
    --state_.held;
    u32 most = max_slots.load(std::memory_order_relaxed);
    while (state_.slots > most && !max_slots.compare_exchange_weak(most, state_.slots)) {
    }
    held_.store(0, std::memory_order_release);
}

u32 HostPlatform::max_slots_per_hold() { return max_slots.load(); }
void HostPlatform::reset_max_slots() { max_slots.store(0); }

// ---- metadata ----

bool HostPlatform::refused() {
    Books& b = books();
    ++b.allocations;
    if (b.refuse_at && --b.refuse_at == 0) {
        if (b.refuse_on) b.refuse_at = 1;
        ++b.refusals;
        return true;
    }
    return false;
}

void* HostPlatform::meta_alloc(std::size_t bytes, Context context) {
    if (context == Context::may_sleep) must_not_sleep("a sleeping allocation");
    if (state_.held) die("an allocation with a lock held:", kRankNames[state_.ranks[state_.held - 1]]);
    if (state_.exclusive) die("an allocation in an exclusive hold");
    if (bytes == 0) die("an allocation of nothing");
    if (state_.pins) count(trace_.long_while_pinned);
    std::lock_guard guard(books().mutex);
    if (refused()) return nullptr;
    const std::size_t padded = (bytes + 63) / 64 * 64;
    void* meta = std::aligned_alloc(padded % 4096 ? 64 : 4096, padded);
    if (!meta) return nullptr;
    std::memset(meta, 0, padded);
    books().sizes.emplace(meta, bytes);
    books().bytes += bytes;
    return meta;
}

void HostPlatform::meta_free(void* meta, std::size_t bytes) {
    {
        std::lock_guard guard(books().mutex);
        const auto it = books().sizes.find(meta);
        if (it == books().sizes.end()) die("metadata is freed twice, or is none");
        if (it->second != bytes) die("metadata is freed with another size");
        books().sizes.erase(it);
        books().bytes -= bytes;
    }
    std::free(meta);
}

void HostPlatform::meta_retire(void* meta, std::size_t bytes) {
    {
        std::lock_guard guard(books().mutex);
        const auto it = books().sizes.find(meta);
        if (it == books().sizes.end()) die("metadata is retired twice, or is none");
        if (it->second != bytes) die("metadata is retired with another size");
        if (bytes < sizeof(Retired)) die("metadata is too small to be retired");
    }
    bool many = false;
    {
        std::lock_guard guard(limbo().mutex);
        const u64 epoch = epoch_.fetch_add(1, std::memory_order_acq_rel);
        limbo().first = new (meta) Retired{static_cast<Retired*>(limbo().first), epoch};
        many = ++limbo().count % 64 == 0;
    }
    if (many) reclaim();
}

void HostPlatform::after_readers(quarry_os_after* after, void (*fn)(quarry_os_after*)) {
    static_assert(sizeof(After) <= sizeof(quarry_os_after));
    bool many = false;
    {
        std::lock_guard guard(limbo().mutex);
        const u64 epoch = epoch_.fetch_add(1, std::memory_order_acq_rel);
        limbo().calls = new (after) After{static_cast<After*>(limbo().calls), fn, epoch};
        many = ++limbo().waiting % 64 == 0;
    }
    if (many) reclaim();
}

// The epoch of the reader that came first, or more than any.
u64 HostPlatform::oldest_reader() {
    if (asymmetric()) membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    u64 oldest = ~u64{0};
    for (auto& slot : slots_) {
        const u64 epoch = asymmetric() ? slot.epoch.load(std::memory_order_acquire)
                                       : slot.epoch.fetch_add(0, std::memory_order_seq_cst);
        if (epoch && epoch < oldest) oldest = epoch;
    }
    return oldest;
}

// Frees what no reader can have any more, and makes the calls that waited for them.
void HostPlatform::reclaim() {
    free_retired();
    if (idle()) make_calls();
}

void HostPlatform::make_calls() {
    After* due = nullptr;
    {
        std::lock_guard guard(limbo().mutex);
        if (!limbo().calls) return;
        const u64 oldest = oldest_reader();
        auto* list = static_cast<After*>(limbo().calls);
        limbo().calls = nullptr;
        while (list) {
            After* next = list->next;
            if (list->epoch < oldest) {
                list->next = due;
                due = list;
            } else {
                list->next = static_cast<After*>(limbo().calls);
                limbo().calls = list;
            }
            list = next;
        }
    }
    while (due) {
        After* next = due->next;
        due->fn(reinterpret_cast<quarry_os_after*>(due));
        due = next;
        std::lock_guard guard(limbo().mutex);
        --limbo().waiting;
    }
}

void HostPlatform::free_retired() {
    std::lock_guard guard(limbo().mutex);
    if (!limbo().first) return;
    const u64 oldest = oldest_reader();
    auto* list = static_cast<Retired*>(limbo().first);
    limbo().first = nullptr;
    while (list) {
        Retired* next = list->next;
        if (list->epoch < oldest) {
            --limbo().count;
            std::size_t bytes = 0;
            {
                std::lock_guard books_guard(books().mutex);
                bytes = books().sizes.at(list);
            }
            meta_free(list, bytes);
        } else {
            list->next = static_cast<Retired*>(limbo().first);
            limbo().first = list;
        }
        list = next;
    }
}

void HostPlatform::settle() {
    must_not_sleep("settle");
    while (retired_blocks() || waiting_calls()) {
        reclaim();
        if (retired_blocks() || waiting_calls()) sched_yield();
    }
}

u64 HostPlatform::meta_bytes() {
    std::lock_guard guard(books().mutex);
    return books().bytes;
}
u64 HostPlatform::meta_blocks() {
    std::lock_guard guard(books().mutex);
    return books().sizes.size();
}
u64 HostPlatform::retired_blocks() {
    std::lock_guard guard(limbo().mutex);
    return limbo().count;
}
u64 HostPlatform::waiting_calls() {
    std::lock_guard guard(limbo().mutex);
    return limbo().waiting;
}
u64 HostPlatform::allocations() {
    std::lock_guard guard(books().mutex);
    return books().allocations;
}
void HostPlatform::refuse_allocation(u64 n) {
    std::lock_guard guard(books().mutex);
    books().refuse_at = n;
    books().refuse_on = false;
    books().refusals = 0;
}
void HostPlatform::refuse_allocations_from(u64 n) {
    std::lock_guard guard(books().mutex);
    books().refuse_at = n;
    books().refuse_on = true;
    books().refusals = 0;
}
u64 HostPlatform::refusals() {
    std::lock_guard guard(books().mutex);
    return books().refusals;
}

// ---- records ----

void HostPlatform::corruption(void* os, quarry_corruption what, Offset offset, u64 client) {
    std::lock_guard guard(records().mutex);
    records().reports.push_back({os, what, offset, client});
}

std::vector<HostPlatform::Report> HostPlatform::take_corruptions() {
    std::lock_guard guard(records().mutex);
    return std::exchange(records().reports, {});
}

void HostPlatform::zero(void* os, Offset offset, u64 bytes) {
    std::lock_guard guard(records().mutex);
    records().zeroed += bytes;
    auto* backing = static_cast<HostBacking*>(os);
    if (!records().backings.count(backing)) return;
    if (offset > backing->bytes() || bytes > backing->bytes() - offset)
        die("zeroing goes beyond the memory of its pool");
    std::memset(backing->at(offset), 0, bytes);
}

namespace {
constexpr u64 kHeldPage = 4096;
}  // namespace

bool HostPlatform::held(void*, Offset offset, u64 bytes) {
    std::lock_guard guard(records().mutex);
    const auto first = records().held_pages.lower_bound(offset / kHeldPage);
    return first != records().held_pages.end() && *first < (offset + bytes) / kHeldPage;
}
void HostPlatform::hold(Offset offset) {
    std::lock_guard guard(records().mutex);
    records().held_pages.insert(offset / kHeldPage);
}
void HostPlatform::let_go(Offset offset) {
    std::lock_guard guard(records().mutex);
    const auto one = records().held_pages.find(offset / kHeldPage);
    if (one == records().held_pages.end()) die("what nobody holds is let go");
    records().held_pages.erase(one);
}

u64 HostPlatform::zeroed_bytes() {
    std::lock_guard guard(records().mutex);
    return records().zeroed;
}
void HostPlatform::reset_zeroed() {
    std::lock_guard guard(records().mutex);
    records().zeroed = 0;
}

HostBacking::HostBacking(u64 bytes) : memory_(bytes) {
    std::lock_guard guard(records().mutex);
    records().backings.insert(this);
}
HostBacking::~HostBacking() {
    std::lock_guard guard(records().mutex);
    records().backings.erase(this);
}

// ---- the hooks of object caches ----

// For the caches that the core itself keeps. Weak: the tests of object caches bring their own,
// and the core's object has those of the seam.
[[gnu::weak]] void* object_slab_alloc(std::size_t bytes, std::size_t, Context context) {
    return HostPlatform::meta_alloc(bytes, context);
}
[[gnu::weak]] void object_slab_free(void* slab, std::size_t bytes, std::size_t) {
    HostPlatform::meta_free(slab, bytes);
}
[[gnu::weak]] void* object_meta_alloc(std::size_t bytes, Context context) {
    return HostPlatform::meta_alloc(bytes, context);
}
[[gnu::weak]] void object_meta_free(void* meta, std::size_t bytes) {
    HostPlatform::meta_free(meta, bytes);
}

}  // namespace quarry
