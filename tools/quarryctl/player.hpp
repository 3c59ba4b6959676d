// SPDX-License-Identifier: MIT
//
// Plays a program's recorded allocations and frees in a pool, through libquarry.
//
// Order. By default one thread plays all events in the order in which they were recorded. With
// `threaded`, each recorded thread is a thread here and plays its own events in their order; a free
// waits until the allocation that it undoes was played, whichever thread does that. The recorded
// order is one in which nobody waits, so no wait can be for ever.
//
// Batches. Consecutive events of one kind (allocations: of one size and alignment) go to the kernel
// in one call, at most `batch` of them; nothing is reordered for that.
//
// An allocation that the pool refuses is counted by its errno and its object skipped, as a program
// that copes would do. A refused free of an own object, a wrong pattern: mismatches, and must be 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common.hpp"
#include "mesh.hpp"

namespace quarryctl {

struct Event {
    std::uint32_t object;  // index into Program::bytes
    std::uint32_t thread;  // 0..threads-1
    bool is_free;
};

// One recorded program. Objects that it never freed have no free event.
struct Program {
    struct Object {
        std::uint64_t bytes;
        std::uint64_t align;  // 0: none asked for
    };

    std::vector<Event> events;
    std::vector<Object> objects;
    std::uint32_t threads = 1;
    std::uint64_t trace_events = 0;   // of the trace, that became the events here
    std::uint64_t trace_records = 0;  // what the whole trace holds
};

struct PlayOptions {
    std::uint64_t seed = 1;
    bool pattern = false;
    bool threaded = false;
    unsigned batch = 64;
    unsigned hand_each = 64;  // every n-th free is a handover, if there is a mesh
    double mark_at = -1;      // announce this fraction of the events, then play until killed
    std::uint64_t spoil = 0;  // damage the n-th object's pattern, to see the check fail; 0: none
};

// What one thread counts.
struct Counts {
    std::uint64_t objects = 0, bytes = 0, freed = 0, calls = 0, checks = 0, mismatches = 0;
    std::uint64_t received = 0, received_bytes = 0;
    // Of objects that no magazine holds, and of handed ones: allocations and frees, and the system
    // calls that they made. Exact with one playing thread; with several, calls may go to the wrong sum.
    std::uint64_t large = 0, large_system_calls = 0;
    std::map<int, std::uint64_t> refusals;  // by errno

    void add(const Counts& other);
};

class Player {
public:
    // All outlive the player; `mesh` may be null.
    Player(quarry_pool* pool, const Program& program, const PlayOptions& options, Mesh* mesh);

    // Plays everything once, and frees what is left.
    void play();
    // An object from a peer: checks and frees it.
    void receive(const Handover& object);

    // What was counted until now, received objects included. Not while it plays.
    const Counts& counts();
    std::uint64_t peak_objects() const { return peak_objects_; }
    std::uint64_t peak_bytes() const { return peak_bytes_; }

private:
    struct Worker;

    void play_events(Worker& worker);
    std::size_t play_allocs(Worker& worker, std::size_t first);
    std::size_t play_frees(Worker& worker, std::size_t first);
    std::size_t run_length(const Worker& worker, std::size_t first) const;
    std::uint64_t await(std::uint32_t object);
    void give_back(Worker& worker, const std::uint32_t* objects, std::size_t count);
    bool is_large(const Program::Object& object) const;
    bool hand_over(Worker& worker, std::uint32_t object, std::uint64_t offset);
    void free_rest(Worker& worker);
    void check(Counts& counts, std::uint64_t offset, std::uint64_t bytes, const PatternKey& key);
    void count_live(std::uint64_t objects, std::uint64_t bytes);
    void count_dead(std::uint64_t objects, std::uint64_t bytes);
    void progress(std::size_t events);
    void service_mesh();

    PatternKey key(std::uint32_t object) const { return {options_.seed, object, generation_}; }

    quarry_pool* pool_;
    const Program& program_;
    PlayOptions options_;
    Mesh* mesh_;
    std::mutex mesh_lock_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> offsets_;  // by object; see player.cpp
    std::uint64_t generation_ = 0;
    std::atomic<std::uint64_t> live_objects_ = 0, live_bytes_ = 0;
    std::atomic<std::uint64_t> peak_objects_ = 0, peak_bytes_ = 0;
    std::atomic<std::uint64_t> played_ = 0;
    std::atomic<bool> marked_ = false;
    Counts total_, received_;  // received_: under mesh_lock_
};

}  // namespace quarryctl
