// SPDX-License-Identifier: MIT
//
// The fake device's state: plain arrays in memory that all test processes share.
#pragma once

#include <quarry/quarry.h>
#include <pthread.h>
#include <sys/types.h>

#include <cstdint>

#include "section.h"

namespace fake {

constexpr int most_pools = 8;
constexpr int most_clients = 64;
constexpr int most_files = 1024;
constexpr std::uint64_t pool_room = 1u << 20;  // offset space of a pool, at most
constexpr std::uint64_t grains = pool_room / QUARRY_GRAIN;
constexpr std::uint64_t pages = pool_room / 4096;
constexpr std::uint32_t most_cpus = 16;
constexpr std::uint32_t blocks_offset = 4096;
constexpr std::uint32_t block_bytes = 1u << QUARRY_CPU_BLOCK_SHIFT;
constexpr std::uint32_t area_bytes = blocks_offset + most_cpus * block_bytes;
// A magazine of the fake never grows: 64 entries, one array a class behind the block's head.
constexpr std::uint32_t capacity = QUARRY_MIN_MAGAZINE;
constexpr std::uint32_t first_of(unsigned size_class) {
    return sizeof(struct quarry_cpu_block) / 4 + size_class * capacity;
}

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
    std::uint64_t refills, flushes;
    std::uint64_t first_free;  // no grain below it is free
    std::uint64_t first_page[QUARRY_MAX_CLASSES];  // no page below it has a free slot of the class
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
    bool magazines;
    alignas(4096) unsigned char memory[most_pools][pool_room];
    alignas(4096) unsigned char page_class[most_pools][4096];  // the class tables
    alignas(4096) unsigned char area[most_clients][area_bytes];
};

// The classes of the module, by their own rule (module/core/slabs/size_class.hpp).
constexpr std::uint32_t heap_classes = 48;
constexpr std::uint32_t heap_class_bytes(std::uint32_t c) {
    if (c < 8) return 8 * (c + 1);
    const std::uint32_t octave = (c - 8) / 8;
    return (64u << octave) + ((c - 8) % 8 + 1) * (8u << octave);
}

// Makes the area of a new client: its head, and magazines with nothing in them.
void make_area(int client);
// Into and out of the magazine of the CPU that the caller is on; how many.
std::uint32_t magazine_put(int client, unsigned size_class, const std::uint32_t* entries,
                           std::uint32_t count);
std::uint32_t magazine_take(int client, unsigned size_class, section_buffer& to, std::uint32_t most);
// Whether the client owns an object at `offset`: 0 or the errno of the wrong name.
int check_owned(int client, std::uint64_t offset);
void take_back(Pool& pool, std::uint64_t at);
// The index of the class and its bytes that serve such an object of a pool; -1: pages, or a range.
int class_of(const Pool& pool, std::uint64_t bytes, std::uint64_t align);
std::uint32_t class_bytes(const Pool& pool, int size_class);
std::uint32_t classes_of(const Pool& pool);
// Empties the magazines of a client whose area this process has mapped.
void drain_magazines(int client);
// Entries in all of a client's magazines.
std::uint64_t in_magazines(int client);

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
