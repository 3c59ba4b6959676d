// SPDX-License-Identifier: MIT
//
// Replaying processes that hand objects to each other.
//
// Each has a datagram socket FOLDER/NAME.sock and a file FOLDER/NAME.client with its client id,
// written when it is ready; FOLDER/NAME.done says that it hands nothing more. To hand an object over
// is a TRANSFER first, then a message that names it: so what a receiver reads of is its own already,
// and an object whose receiver dies in between is the reaper's, never nobody's.
//
// Nobody waits for a queue without emptying its own, so no ring of full queues can stand still.
// Not thread-safe: the player calls it under its lock.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pattern.hpp"

struct quarry_pool;

namespace quarryctl {

struct Handover {
    std::uint64_t offset;
    std::uint64_t bytes;
    PatternKey key;
};

class Mesh {
public:
    using Receive = std::function<void(const Handover&)>;

    Mesh(std::string folder, std::string name, std::vector<std::string> peers)
        : folder_(std::move(folder)), name_(std::move(name)) {
        for (std::string& peer : peers) peers_.push_back({std::move(peer)});
    }
    Mesh(const Mesh&) = delete;
    ~Mesh();

    // Opens the socket, says who this is, and waits up to `seconds` for all peers to be there.
    // False, and errno, when the socket cannot be made or a peer does not come (ETIMEDOUT).
    bool open(quarry_pool* pool, Receive receive, int seconds);

    // Hands one object to the next living peer: true when it is no longer this process's.
    bool hand(const Handover& object);
    // Takes what has arrived.
    void take();
    // Says that nothing more comes from here, and takes what still arrives until every peer is done
    // or dead, or `seconds` are over (false).
    bool finish(int seconds);

    std::uint64_t calls() const { return calls_; }
    std::uint64_t handed() const { return handed_; }
    std::uint64_t undelivered() const { return undelivered_; }

private:
    struct Peer {
        std::string name;
        std::uint64_t client = 0;
        int socket = -1;
        bool dead = false;
    };

    std::string path(const std::string& name, const char* suffix) const;
    bool write_file(const char* suffix, const std::string& text) const;
    bool meet(Peer& peer);
    bool is_over(Peer& peer);
    bool deliver(Peer& peer, const Handover& object);

    std::string folder_, name_;
    std::vector<Peer> peers_;
    quarry_pool* pool_ = nullptr;
    Receive receive_;
    int socket_ = -1;
    std::size_t next_ = 0;
    std::uint64_t calls_ = 0, handed_ = 0, undelivered_ = 0;
};

}  // namespace quarryctl
