// SPDX-License-Identifier: MIT
#include "mesh.hpp"

#include <poll.h>
#include <quarry/quarry.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace quarryctl {
namespace {

bool address_of(const std::string& path, sockaddr_un& address) {
    address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return errno = ENAMETOOLONG, false;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    return true;
}

void nap() { usleep(2000); }

class Deadline {
public:
    explicit Deadline(int seconds)
        : end_(std::chrono::steady_clock::now() + std::chrono::seconds(seconds)) {}
    bool over() const { return std::chrono::steady_clock::now() >= end_; }

private:
    std::chrono::steady_clock::time_point end_;
};

}  // namespace

Mesh::~Mesh() {
    for (Peer& peer : peers_)
        if (peer.socket >= 0) close(peer.socket);
    if (socket_ >= 0) close(socket_);
}

std::string Mesh::path(const std::string& name, const char* suffix) const {
    return folder_ + "/" + name + suffix;
}

// Whole or not at all: readers never see half a file.
bool Mesh::write_file(const char* suffix, const std::string& text) const {
    const std::string target = path(name_, suffix);
    const std::string draft = target + ".new";
    {
        std::ofstream file(draft);
        file << text << '\n';
        if (!file.flush()) return false;
    }
    return std::rename(draft.c_str(), target.c_str()) == 0;
}

bool Mesh::open(quarry_pool* pool, Receive receive, int seconds) {
    sockaddr_un address;
    pool_ = pool;
    receive_ = std::move(receive);
    if (!address_of(path(name_, ".sock"), address)) return false;
    unlink(address.sun_path);
    unlink(path(name_, ".done").c_str());
    socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_ < 0) return false;
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return false;
    if (!write_file(".client", std::to_string(quarry_client_id(pool)))) return false;
    const Deadline deadline(seconds);
    for (Peer& peer : peers_) {
        while (!meet(peer)) {
            if (deadline.over()) return errno = ETIMEDOUT, false;
            nap();
        }
    }
    return true;
}

// Reads a peer's client id and connects to it; false while it is not there yet.
bool Mesh::meet(Peer& peer) {
    std::ifstream file(path(peer.name, ".client"));
    if (!(file >> peer.client)) return false;
    sockaddr_un address;
    if (!address_of(path(peer.name, ".sock"), address)) return false;
    peer.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (peer.socket < 0) return false;
    // A peer that has died before we met it has still been there.
    if (connect(peer.socket, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        peer.dead = true;
    return true;
}

bool Mesh::hand(const Handover& object) {
    for (std::size_t i = 0; i < peers_.size(); i++) {
        Peer& peer = peers_[next_++ % peers_.size()];
        if (peer.dead) continue;
        // Not into a full queue, where there would be a wait: the next chance comes.
        pollfd room = {peer.socket, POLLOUT, 0};
        if (poll(&room, 1, 0) <= 0 || !(room.revents & POLLOUT)) continue;
        calls_++;
        if (quarry_transfer(pool_, peer.client, &object.offset, 1) == 1) {
            handed_++;
            if (!deliver(peer, object)) undelivered_++;
            return true;
        }
        if (errno == ESRCH) peer.dead = true;
    }
    return false;
}

// Tells the new owner; false when it has died, and the reaper has the object.
bool Mesh::deliver(Peer& peer, const Handover& object) {
    for (;;) {
        if (send(peer.socket, &object, sizeof object, MSG_NOSIGNAL) == sizeof object) return true;
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
            peer.dead = true;
            return false;
        }
        take();
        pollfd room = {peer.socket, POLLOUT, 0};
        poll(&room, 1, 2);
    }
}

void Mesh::take() {
    Handover object;
    while (recv(socket_, &object, sizeof object, 0) == sizeof object) receive_(object);
}

// A peer that is dead refuses a connection to its socket.
bool Mesh::is_over(Peer& peer) {
    if (peer.dead || access(path(peer.name, ".done").c_str(), F_OK) == 0) return true;
    sockaddr_un address;
    if (!address_of(path(peer.name, ".sock"), address)) return true;
    if (connect(peer.socket, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        peer.dead = errno == ECONNREFUSED || errno == ENOENT;
    return peer.dead;
}

bool Mesh::finish(int seconds) {
    if (!write_file(".done", "done")) return false;
    const Deadline deadline(seconds);
    for (;;) {
        bool all_over = true;
        for (Peer& peer : peers_) all_over &= is_over(peer);
        take();  // after the look: what a peer sent before it was done is here by now
        if (all_over) return true;
        if (deadline.over()) return errno = ETIMEDOUT, false;
        nap();
    }
}

}  // namespace quarryctl
