// SPDX-License-Identifier: MIT
//
// The recorder's log: events into a buffer of their thread, full buffers into the trace's file.
//
// Guarantees
// - An event costs no system call and no lock: a clock reading, one atomic add, 6-8 bytes. A full
//   buffer costs one write of a whole block; a process holds at most 256 buffers of 64 KiB, and
//   a 257th living thread's events are counted as dropped.
// - No descriptor stays open (the program may close any), none of its files is ever written to.
// - A process that ends by exit, _exit, exec or abort leaves a whole trace. One that is killed
//   leaves all blocks written until then and no end record: the reader says so.
// - The log lives in pages that a fork gives to the child as zeroes (MADV_WIPEONFORK): so a child
//   starts a trace of its own at its first event, however it was forked, and never writes to its
//   parent's. A child of vfork shares its parent's memory; its calls are its parent's.
// - Threads that ended leave their buffers, which a later thread takes over.
// - finish() is provisional: it writes what the buffers hold, and the end, and changes no buffer. If
//   the process goes on (a failed exec, a destructor after ours), the next write takes that back.
//
// States of Buffer::owner (thread id): 0 -> tid under the lock, by the thread itself; tid -> another
// tid under the lock, when the kernel knows the first no more; anything -> 0 by a fork's wiping.
// Buffer::filled: stored (release) by the owner alone, outside the lock to add an event and under it
// to empty the buffer; read (acquire) under the lock by whoever finishes. What lies below it is
// stable until it is emptied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../trace.h"

namespace quarry::record {

// Is anything recorded in this process? Cheap, for the hooks.
bool recording();

// Adds an event of the calling thread. Keeps errno. Not to be called by two levels of one thread.
void record(quarry_trace_op op, const void* address, std::size_t size = 0, std::size_t align = 0);

// Counts a call that the hooks could not record.
void count_dropped();

// Reads the settings, unless an early event did; called when the library is loaded.
void start();

// Makes the trace whole as it stands. Keeps errno; safe in signal handlers; nothing in a vfork child.
void finish(quarry_trace_reason reason);

}  // namespace quarry::record
