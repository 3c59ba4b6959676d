// SPDX-License-Identifier: MIT
//
// A Quarry device inside the test process, behind the library's table of system calls.
//
// It keeps the rules of <linux/quarry.h>: descriptor kinds, address spaces, the client area, owners,
// partial results, reaping at the end of the area, and every errno those give. Its state lies in
// shared memory, so that real forked children work on the same device; a descriptor is a real one
// (a memfd, known by its inode), so that dup, SCM_RIGHTS and leaks are real too. Its allocator is
// the simplest that is right: first fit over grains.
//
// Every fallible call can be made to fail: the n-th from now, or one ioctl by its number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "sys.h"

namespace fake {

// Erases all state, and puts the fake behind the library.
void install();

// Makes the call after `nth` more fallible calls fail with `error`. Off when it has fired.
void fail_after(int nth, int error);
// Whether the failure has fired.
bool failure_fired();
// Makes each ioctl with this number fail with `error`, until 0 is given.
void fail_ioctl(unsigned long request, int error);
// Calls this before each ioctl, with its number, without the device's lock.
void before_ioctl(std::function<void(unsigned long)> hook);
// Lets ALLOC, FREE and TRANSFER do only `most` objects a call, then stop with `error`; 0: off.
void stop_batches_at(unsigned most, int error);
// What the next INFO says of the ABI's version.
void set_abi_version(std::uint32_t version);
// Most bytes of sendmsg and recvmsg in one call; 0: no limit.
void set_socket_chunk(std::size_t bytes);

// Descriptors and mappings made through the table and not yet undone, and memory not released.
struct Held {
    int descriptors;
    int mappings;
    int allocations;
    bool operator==(const Held&) const = default;
};
Held held();

// Ioctls with this number since install(), all processes together.
int ioctls(unsigned long request);
// What the kernel does when a process exits: reaps its clients.
void reap_process(int pid);
// Whether this process's clients have magazines: the fake has them (QUARRY_TEST_MAGAZINES is not 0)
// and the process has rseq.
bool magazines();
// Living clients, objects in use (not those in magazines) and those of one client, over all pools.
int clients();
int objects();
int objects_of(std::uint64_t client_id);
// Makes a client's limit what it already owns plus `bytes`.
void set_client_room(std::uint64_t client_id, std::uint64_t bytes);
// Puts the client that maps its area late in the state before that.
void forget_area(std::uint64_t client_id);
// Reaps one client, as another mm's end would.
void reap(std::uint64_t client_id);
// Quarantines the object at `offset`.
void corrupt(std::uint64_t pool_id, std::uint64_t offset);

}  // namespace fake
