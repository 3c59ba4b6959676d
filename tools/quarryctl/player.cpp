// SPDX-License-Identifier: MIT
#include "player.hpp"

#include <quarry/quarry.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <thread>

namespace quarryctl {
namespace {

// offsets_[object] is its offset while it lives, else one of these. Only the player of its
// allocation writes it before it lives, only the player of its free after that; the store-release
// of the offset pairs with the load-acquire in await().
constexpr std::uint64_t unplayed = QUARRY_NO_OFFSET;  // its allocation is still to come
constexpr std::uint64_t absent = QUARRY_NO_OFFSET - 1;   // refused, freed or handed over

void raise_to(std::atomic<std::uint64_t>& peak, std::uint64_t value) {
    std::uint64_t seen = peak.load(std::memory_order_relaxed);
    while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
}

}  // namespace

void Counts::add(const Counts& other) {
    objects += other.objects;
    bytes += other.bytes;
    calls += other.calls;
    freed += other.freed;
    large += other.large;
    large_system_calls += other.large_system_calls;
    checks += other.checks;
    mismatches += other.mismatches;
    received += other.received;
    received_bytes += other.received_bytes;
    for (const auto& [error, count] : other.refusals) refusals[error] += count;
}

// One playing thread: its events in order, and its counts.
struct Player::Worker {
    std::vector<Event> own;
    const std::vector<Event>* events = &own;
    Counts counts;
    std::vector<std::uint64_t> offsets;  // of the current batch
    std::vector<std::uint32_t> objects;
    unsigned until_hand = 0;

    explicit Worker(unsigned batch) : offsets(batch), objects(batch) {}
};

Player::Player(quarry_pool* pool, const Program& program, const PlayOptions& options, Mesh* mesh)
    : pool_(pool),
      program_(program),
      options_(options),
      mesh_(mesh),
      offsets_(new std::atomic<std::uint64_t>[program.objects.size()]) {}

void Player::play() {
    for (std::size_t i = 0; i < program_.objects.size(); i++)
        offsets_[i].store(unplayed, std::memory_order_relaxed);
    generation_++;
    played_ = 0;
    std::vector<Worker> workers(options_.threaded ? program_.threads : 1, Worker(options_.batch));
    if (options_.threaded) {
        for (const Event& event : program_.events) workers[event.thread].own.push_back(event);
        std::vector<std::thread> threads;
        for (Worker& worker : workers) {
            worker.events = &worker.own;
            threads.emplace_back([this, &worker] { play_events(worker); });
        }
        for (std::thread& thread : threads) thread.join();
    } else {
        workers[0].events = &program_.events;
        play_events(workers[0]);
    }
    free_rest(workers[0]);
    for (const Worker& worker : workers) total_.add(worker.counts);
}

const Counts& Player::counts() {
    std::lock_guard guard(mesh_lock_);
    total_.add(received_);
    received_ = {};
    return total_;
}

void Player::play_events(Worker& worker) {
    std::size_t since_service = 0;
    for (std::size_t at = 0; at < worker.events->size();) {
        const std::size_t done =
            (*worker.events)[at].is_free ? play_frees(worker, at) : play_allocs(worker, at);
        at += done;
        progress(done);
        since_service += done;
        if (mesh_ && since_service >= 64) {
            service_mesh();
            since_service = 0;
        }
    }
}

// How many events from `first` on can be one call.
std::size_t Player::run_length(const Worker& worker, std::size_t first) const {
    const std::vector<Event>& events = *worker.events;
    const std::size_t end = std::min(events.size(), first + options_.batch);
    const Program::Object& kind = program_.objects[events[first].object];
    std::size_t at = first + 1;
    for (; at < end && events[at].is_free == events[first].is_free; at++) {
        const Program::Object& object = program_.objects[events[at].object];
        if (!events[at].is_free && (object.bytes != kind.bytes || object.align != kind.align)) break;
    }
    return at - first;
}

bool Player::is_large(const Program::Object& object) const {
    return object.bytes > QUARRY_MOST_CLASS_BYTES || object.align > QUARRY_MOST_CLASS_BYTES;
}

std::size_t Player::play_allocs(Worker& worker, std::size_t first) {
    const std::size_t wanted = run_length(worker, first);
    const Event* events = worker.events->data() + first;
    const Program::Object& kind = program_.objects[events[0].object];
    const std::uint64_t before = quarry_object_calls(pool_);
    const std::size_t done =
        quarry_alloc_batch(pool_, kind.bytes, kind.align, worker.offsets.data(), wanted);
    const int error = errno;
    worker.counts.calls++;
    if (is_large(kind)) {
        worker.counts.large += done;
        worker.counts.large_system_calls += quarry_object_calls(pool_) - before;
    }
    for (std::size_t i = 0; i < done; i++) {
        auto* address = static_cast<unsigned char*>(quarry_address(pool_, worker.offsets[i]));
        if (options_.pattern) write_pattern(address, kind.bytes, key(events[i].object));
        if (options_.spoil && worker.counts.objects + i + 1 == options_.spoil) *address ^= 1;
        offsets_[events[i].object].store(worker.offsets[i], std::memory_order_release);
    }
    worker.counts.objects += done;
    worker.counts.bytes += done * kind.bytes;
    count_live(done, done * kind.bytes);
    if (done == wanted) return done;
    // The one that was refused is skipped; those after it are asked for again.
    worker.counts.refusals[error]++;
    offsets_[events[done].object].store(absent, std::memory_order_release);
    return done + 1;
}

// The object's offset, or `absent`, when its allocation has been played.
std::uint64_t Player::await(std::uint32_t object) {
    for (;;) {
        const std::uint64_t offset = offsets_[object].load(std::memory_order_acquire);
        if (offset != unplayed) return offset;
        std::this_thread::yield();
    }
}

std::size_t Player::play_frees(Worker& worker, std::size_t first) {
    const std::size_t count = run_length(worker, first);
    const Event* events = worker.events->data() + first;
    for (std::size_t i = 0; i < count; i++) worker.objects[i] = events[i].object;
    give_back(worker, worker.objects.data(), count);
    return count;
}

// Checks `objects` (at most a batch), and frees them or hands them on.
void Player::give_back(Worker& worker, const std::uint32_t* objects, std::size_t count) {
    std::size_t own = 0, large = 0;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < count; i++) {
        const std::uint64_t offset = await(objects[i]);
        if (offset == absent) continue;
        offsets_[objects[i]].store(absent, std::memory_order_relaxed);
        const std::uint64_t size = program_.objects[objects[i]].bytes;
        if (options_.pattern) check(worker.counts, offset, size, key(objects[i]));
        if (hand_over(worker, objects[i], offset)) {
            count_dead(1, size);
            continue;
        }
        worker.offsets[own++] = offset;
        bytes += size;
        large += is_large(program_.objects[objects[i]]);
    }
    count_dead(own, bytes);
    const std::uint64_t before = quarry_object_calls(pool_);
    for (std::size_t at = 0; at < own;) {
        const std::size_t gone = quarry_free_batch(pool_, worker.offsets.data() + at, own - at);
        worker.counts.freed += gone;
        at += gone;
        worker.counts.calls++;
        if (at == own) break;
        const int error = errno;
        worker.counts.refusals[error]++;
        worker.counts.mismatches++;
        std::fprintf(stderr, "quarryctl: free of own object at %llu refused: %s\n",
                     static_cast<unsigned long long>(worker.offsets[at]),
                     quarry_strerror(error, QUARRY_CALL_FREE));
        at++;
    }
    // A batch with a large object in it goes to the kernel for that one.
    if (large) {
        worker.counts.large += large;
        worker.counts.large_system_calls += quarry_object_calls(pool_) - before;
    }
}

bool Player::hand_over(Worker& worker, std::uint32_t object, std::uint64_t offset) {
    if (!mesh_ || !options_.hand_each || ++worker.until_hand < options_.hand_each) return false;
    std::lock_guard guard(mesh_lock_);
    if (!mesh_->hand({offset, program_.objects[object].bytes, key(object)})) return false;
    worker.until_hand = 0;
    return true;
}

void Player::free_rest(Worker& worker) {
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < program_.objects.size(); i++) {
        if (offsets_[i].load(std::memory_order_relaxed) >= absent) continue;
        worker.objects[count++] = i;
        if (count < options_.batch) continue;
        give_back(worker, worker.objects.data(), count);
        count = 0;
    }
    give_back(worker, worker.objects.data(), count);
}

void Player::check(Counts& counts, std::uint64_t offset, std::uint64_t bytes,
                   const PatternKey& expected) {
    counts.checks++;
    void* object = quarry_span(pool_, offset, bytes);
    if (object && check_pattern(object, bytes, expected)) return;
    counts.mismatches++;
    std::fprintf(stderr, "quarryctl: object %llu of seed %llu at %llu: its pattern is gone\n",
                 static_cast<unsigned long long>(expected.object),
                 static_cast<unsigned long long>(expected.seed),
                 static_cast<unsigned long long>(offset));
}

void Player::receive(const Handover& object) {
    received_.received++;
    received_.received_bytes += object.bytes;
    if (options_.pattern) check(received_, object.offset, object.bytes, object.key);
    received_.calls++;
    const std::uint64_t before = quarry_object_calls(pool_);
    const bool freed = quarry_free_offset(pool_, object.offset) == 0;
    const int error = errno;
    // It has no mark here, so the kernel is asked.
    received_.large++;
    received_.large_system_calls += quarry_object_calls(pool_) - before;
    received_.freed += freed;
    if (freed) return;
    received_.refusals[error]++;
    received_.mismatches++;
    std::fprintf(stderr, "quarryctl: free of received object at %llu refused: %s\n",
                 static_cast<unsigned long long>(object.offset),
                 quarry_strerror(error, QUARRY_CALL_FREE));
}

void Player::service_mesh() {
    std::unique_lock guard(mesh_lock_, std::try_to_lock);
    if (guard) mesh_->take();
}

void Player::count_live(std::uint64_t objects, std::uint64_t bytes) {
    raise_to(peak_objects_, live_objects_.fetch_add(objects, std::memory_order_relaxed) + objects);
    raise_to(peak_bytes_, live_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes);
}

void Player::count_dead(std::uint64_t objects, std::uint64_t bytes) {
    live_objects_.fetch_sub(objects, std::memory_order_relaxed);
    live_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

// Announces the fraction that was asked for, once, on a line of its own.
void Player::progress(std::size_t events) {
    const std::uint64_t played = played_.fetch_add(events, std::memory_order_relaxed) + events;
    if (options_.mark_at < 0) return;
    if (static_cast<double>(played) < options_.mark_at * static_cast<double>(program_.events.size()))
        return;
    if (marked_.exchange(true)) return;
    std::printf("at %.2f: %llu objects, %llu bytes live\n", options_.mark_at,
                static_cast<unsigned long long>(live_objects_.load()),
                static_cast<unsigned long long>(live_bytes_.load()));
    std::fflush(stdout);
}

}  // namespace quarryctl
