// SPDX-License-Identifier: MIT
// See next.hpp.
#include "next.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace quarry::record {
namespace {

constinit Next functions = {};
constinit std::atomic<bool> known = false;
[[gnu::tls_model("initial-exec")]] thread_local constinit bool looking = false;

constexpr std::size_t arena_bytes = 64 * 1024;
constexpr std::size_t unit = 16;
alignas(unit) constinit unsigned char arena[arena_bytes] = {};
constinit std::atomic<std::size_t> arena_used = 0;

// A function that must be there: without it there is no program to record.
template <typename Function>
void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
    if (function) return;
    static constexpr char message[] = "quarry-record: the C library lacks a function\n";
    (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
    syscall(SYS_exit_group, 127);
}

// One that only some C libraries have: whoever calls it has it.
template <typename Function>
void find_if_there(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

[[gnu::noinline, gnu::cold]] const Next* look_up() {
    if (looking) return nullptr;
    looking = true;
    // Two threads may both do this, and find the same.
    Next found = {};
    find(found.malloc, "malloc");
    find(found.calloc, "calloc");
    find(found.realloc, "realloc");
    find(found.free, "free");
    find(found.memalign, "memalign");
    find(found.aligned_alloc, "aligned_alloc");
    find(found.posix_memalign, "posix_memalign");
    find(found.valloc, "valloc");
    find_if_there(found.pvalloc, "pvalloc");
    find(found.execve, "execve");
    find(found.execvpe, "execvpe");
    find(found.fexecve, "fexecve");
    find_if_there(found.execveat, "execveat");
    find(found.exit_at_once, "_exit");
    find(found.abort, "abort");
    if (!known.load(std::memory_order_acquire)) {
        functions = found;
        known.store(true, std::memory_order_release);
    }
    looking = false;
    return &functions;
}

}  // namespace

const Next* next() {
    if (known.load(std::memory_order_acquire)) return &functions;
    return look_up();
}

// A block: 16 bytes that hold its size, then its bytes.
void* arena_alloc(std::size_t bytes) {
    if (bytes > arena_bytes - unit) return nullptr;
    const std::size_t whole = unit + (bytes + unit - 1) / unit * unit;
    std::size_t at = arena_used.load(std::memory_order_relaxed);
    do {
        if (whole > arena_bytes - at) return nullptr;
    } while (!arena_used.compare_exchange_weak(at, at + whole, std::memory_order_relaxed));
    std::memcpy(arena + at, &bytes, sizeof(bytes));
    return arena + at + unit;
}

bool in_arena(const void* block) {
    return reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(arena) <
           arena_bytes;
}

std::size_t arena_size(const void* block) {
    std::size_t bytes;
    std::memcpy(&bytes, static_cast<const unsigned char*>(block) - unit, sizeof(bytes));
    return bytes;
}

}  // namespace quarry::record
