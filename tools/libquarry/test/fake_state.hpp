// SPDX-License-Identifier: MIT
//
// The fake device's state: plain arrays in memory that all test processes share.
#pragma once

#include <linux/quarry.h>
#include <pthread.h>
#include <sys/types.h>

#include <cstdint>

namespace fake {

constexpr int most_pools = 8;
constexpr int most_clients = 64;
constexpr int most_files = 1024;
constexpr std::uint64_t pool_room = 1u << 20;  // offset space of a pool, at most
constexpr std::uint64_t grains = pool_room / QUARRY_GRAIN;
constexpr std::uint32_t area_bytes = 8192;

struct File {
    ino_t inode;  // 0: free
    int client;   // index, or -1: the control descriptor
};

struct Client {
    std::uint64_t id;  // 0: free
    int pool;
    pid_t process;  // stands for the mm
    bool area_mapped;
    bool reaped;
    bool creator;
    std::uint64_t bytes;
    std::uint64_t limit;
    std::uint64_t objects;
    std::uint32_t events;
};

// A grain of a pool: what starts at it.
struct Grain {
    std::uint32_t length;  // grains of the live object that starts here, 0: none
    std::int16_t owner;    // client index
    std::uint8_t covered;  // inside a live object
    std::uint8_t corrupt;
};

struct Pool {
    std::uint64_t id;  // 0: free
    std::uint32_t kind;
    std::uint64_t bytes;
    std::uint64_t max_bytes;
    std::uint64_t object_size;
    std::uint64_t object_count;
    std::uint64_t granule;
    std::uint64_t client_limit;
    char name[QUARRY_NAME_LEN];
    std::uint64_t allocs, frees, refused, transfers, reaps, reaped_objects;
    std::uint64_t first_free;  // no grain below it is free
    Grain grain[grains];
};

struct State {
    pthread_mutex_t lock;  // process-shared
    std::uint64_t next_id;
    std::uint32_t abi_version;
    int ioctl_count[16];
    File files[most_files];
    Client clients[most_clients];
    Pool pools[most_pools];
    alignas(4096) unsigned char memory[most_pools][pool_room];
};

extern State* state;

struct Guard {
    Guard() { pthread_mutex_lock(&state->lock); }
    ~Guard() { pthread_mutex_unlock(&state->lock); }
};

// Under the lock. The index of a client by descriptor: -1 control, -2 not ours.
int client_of(int fd);
void reap_client(int index);
// Makes a descriptor for a client (-1: control); -1 and errno.
int new_file(int client);
// The ioctl itself: 0 or a positive errno.
int serve(int fd, unsigned long request, void* argument, unsigned batch_limit, int batch_error);

}  // namespace fake
