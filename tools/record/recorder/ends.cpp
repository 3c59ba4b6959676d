// SPDX-License-Identifier: MIT
//
// The ends of a program: exit, _exit, quick_exit, abort and exec, each of which makes the trace whole.
//
// - exit: once in this library's destructor, and once more behind all other destructors, which may
//   still free memory.
// - exec: the trace ends, and the new program begins another (the environment carries the preload
//   on). If the exec fails, the trace goes on as if nothing had been.
// - A child of vfork (posix_spawn, system, g++'s way to start cc1plus) shares its parent's memory: in
//   it finish() does nothing, and its exec starts the new program's own trace.
// - Death by a signal, abort() inside the C library (assert) and raw system calls are not seen: the
//   trace then ends with the last block that was written, and says that it is truncated.
#include <alloca.h>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <unistd.h>

#include "log.hpp"
#include "next.hpp"

#define QUARRY_HOOK extern "C" [[gnu::visibility("default")]]

using namespace quarry::record;

namespace {

void finish_exit() { finish(QUARRY_TRACE_EXITED); }
void finish_exit_late(int, void*) { finish_exit(); }

[[gnu::constructor]] void load() {
    next();
    start();
    // Handlers run in the reverse order of their registration: this one, of the first, last.
    at_quick_exit(finish_exit);
}

[[gnu::destructor]] void unload() {
    finish_exit();
    // exit() runs the destructors of all libraries in one handler; one that is registered meanwhile
    // runs after it. on_exit, not atexit: that would run it at the end of this library's own.
    on_exit(finish_exit_late, nullptr);
}

const Next& ready() {
    const Next* to = next();
    return *to;  // not null: only looking the functions up makes it so, and that never gets here
}

// The arguments of execl and execlp, from `first` to the null, as a vector; `list` is then at what
// follows the null.
#define QUARRY_VECTOR(vector, first, list)                                        \
    va_list list;                                                                 \
    size_t vector##_count = 1;                                                    \
    va_start(list, first);                                                        \
    while (va_arg(list, char*)) vector##_count++;                                 \
    va_end(list);                                                                 \
    auto** vector = static_cast<char**>(alloca((vector##_count + 1) * sizeof(char*))); \
    vector[0] = const_cast<char*>(first);                                         \
    va_start(list, first);                                                        \
    for (size_t i = 1; i <= vector##_count; i++) vector[i] = va_arg(list, char*)

}  // namespace

QUARRY_HOOK int execve(const char* path, char* const argv[], char* const envp[]) noexcept {
    finish(QUARRY_TRACE_EXECED);
    return ready().execve(path, argv, envp);
}

QUARRY_HOOK int execv(const char* path, char* const argv[]) noexcept {
    return execve(path, argv, environ);
}

QUARRY_HOOK int execvpe(const char* file, char* const argv[], char* const envp[]) noexcept {
    finish(QUARRY_TRACE_EXECED);
    return ready().execvpe(file, argv, envp);
}

QUARRY_HOOK int execvp(const char* file, char* const argv[]) noexcept {
    return execvpe(file, argv, environ);
}

QUARRY_HOOK int fexecve(int fd, char* const argv[], char* const envp[]) noexcept {
    finish(QUARRY_TRACE_EXECED);
    return ready().fexecve(fd, argv, envp);
}

QUARRY_HOOK int execveat(int folder, const char* path, char* const argv[], char* const envp[],
                         int flags) noexcept {
    finish(QUARRY_TRACE_EXECED);
    return ready().execveat(folder, path, argv, envp, flags);
}

QUARRY_HOOK int execl(const char* path, const char* first, ...) noexcept {
    QUARRY_VECTOR(argv, first, list);
    va_end(list);
    return execve(path, argv, environ);
}

QUARRY_HOOK int execlp(const char* file, const char* first, ...) noexcept {
    QUARRY_VECTOR(argv, first, list);
    va_end(list);
    return execvpe(file, argv, environ);
}

QUARRY_HOOK int execle(const char* path, const char* first, ...) noexcept {
    QUARRY_VECTOR(argv, first, list);
    char** envp = va_arg(list, char**);
    va_end(list);
    return execve(path, argv, envp);
}

QUARRY_HOOK void _exit(int status) {
    finish_exit();
    ready().exit_at_once(status);
    __builtin_unreachable();
}

QUARRY_HOOK void _Exit(int status) noexcept { _exit(status); }

QUARRY_HOOK void abort() noexcept {
    finish(QUARRY_TRACE_ABORTED);
    ready().abort();
    __builtin_unreachable();
}
