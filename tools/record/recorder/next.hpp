// SPDX-License-Identifier: MIT
//
// The functions that the recorder stands in front of, as the program would have found them: the next
// ones in the order of its libraries (glibc's, or an allocator of its own).
//
// Finding them calls dlsym, which may allocate: such calls are served from a small arena that is
// never given back. The arena's blocks are freed and resized here, never by the allocator.
#pragma once

#include <cstddef>
#include <sys/types.h>

namespace quarry::record {

struct Next {
    void* (*malloc)(std::size_t);
    void* (*calloc)(std::size_t, std::size_t);
    void* (*realloc)(void*, std::size_t);
    void (*free)(void*);
    void* (*memalign)(std::size_t, std::size_t);
    void* (*aligned_alloc)(std::size_t, std::size_t);
    int (*posix_memalign)(void**, std::size_t, std::size_t);
    void* (*valloc)(std::size_t);
    void* (*pvalloc)(std::size_t);
    int (*execve)(const char*, char* const*, char* const*);
    int (*execvpe)(const char*, char* const*, char* const*);
    int (*fexecve)(int, char* const*, char* const*);
    int (*execveat)(int, const char*, char* const*, char* const*, int);
    void (*exit_at_once)(int);
    void (*abort)();
};

// The functions; null while this very thread is looking them up, and only then.
const Next* next();

// From the arena, zeroed, 16-byte aligned; null: it is spent.
void* arena_alloc(std::size_t bytes);
bool in_arena(const void* block);
std::size_t arena_size(const void* block);

}  // namespace quarry::record
