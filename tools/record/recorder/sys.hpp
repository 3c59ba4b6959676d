// SPDX-License-Identifier: MIT
//
// What the recorder asks of the kernel: directly, because it stands under malloc. So no call here
// allocates, is a cancellation point (malloc is none), or can be interposed; errors are -errno.
#pragma once

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace quarry::record {

inline constexpr std::size_t kernel_sigset_bytes = 8;

template <typename... Arguments>
long sys(long number, Arguments... arguments) {
    const int saved = errno;
    const long result = syscall(number, arguments...);
    const long answer = result == -1 ? -errno : result;
    errno = saved;
    return answer;
}

inline int sys_open(const char* path, int flags, int mode = 0) {
    return static_cast<int>(sys(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode));
}
inline void sys_close(int fd) { sys(SYS_close, fd); }
inline int sys_getpid() { return static_cast<int>(sys(SYS_getpid)); }
inline int sys_gettid() { return static_cast<int>(sys(SYS_gettid)); }
inline bool sys_thread_lives(int pid, int tid) { return sys(SYS_tgkill, pid, tid, 0) != -ESRCH; }

// Reads at most `bytes` - 1 bytes of a small file, and ends them with a NUL; how many, or -errno.
inline long sys_read_file(const char* path, char* out, std::size_t bytes) {
    const int fd = sys_open(path, O_RDONLY);
    if (fd < 0) return fd;
    const long got = sys(SYS_read, fd, out, bytes - 1);
    sys_close(fd);
    out[got > 0 ? got : 0] = 0;
    return got;
}

// Writes both parts whole, or says why not. A file size limit must not become the program's SIGXFSZ.
inline long sys_write_all(int fd, const void* head, std::size_t head_bytes, const void* body,
                          std::size_t body_bytes) {
    iovec parts[2] = {{const_cast<void*>(head), head_bytes}, {const_cast<void*>(body), body_bytes}};
    while (parts[0].iov_len + parts[1].iov_len) {
        const long done = sys(SYS_writev, fd, parts, 2);
        if (done == -EINTR) continue;
        if (done == -EFBIG) {
            const std::uint64_t just_it = std::uint64_t{1} << (SIGXFSZ - 1);
            const timespec at_once = {0, 0};
            sys(SYS_rt_sigtimedwait, &just_it, nullptr, &at_once, kernel_sigset_bytes);
        }
        if (done <= 0) return done ? done : -EIO;
        auto left = static_cast<std::size_t>(done);
        for (iovec& part : parts) {
            const std::size_t step = left < part.iov_len ? left : part.iov_len;
            part.iov_base = static_cast<char*>(part.iov_base) + step;
            part.iov_len -= step;
            left -= step;
        }
    }
    return 0;
}

// Mutual exclusion between threads of one process, with every signal held off: so a handler never
// finds its own thread in here, and may call _exit. All zero is "free", as after a fork.
// Drepper, "Futexes Are Tricky" (2011), the second mutex.
class Lock {
public:
    void acquire() {
        std::uint32_t was = 0;
        if (word_.compare_exchange_strong(was, 1, std::memory_order_acquire)) return;
        if (was != 2) was = word_.exchange(2, std::memory_order_acquire);
        while (was) {
            sys(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 2, nullptr, nullptr, 0);
            was = word_.exchange(2, std::memory_order_acquire);
        }
    }
    void release() {
        if (word_.exchange(0, std::memory_order_release) == 2)
            sys(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }

private:
    std::atomic<std::uint32_t> word_;  // 0 free, 1 held, 2 held and waited for
};

class Critical {
public:
    explicit Critical(Lock& lock) : lock_(lock) {
        const std::uint64_t all = ~std::uint64_t{0};
        sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask_, kernel_sigset_bytes);
        lock_.acquire();
    }
    ~Critical() {
        lock_.release();
        sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask_, nullptr, kernel_sigset_bytes);
    }
    Critical(const Critical&) = delete;
    Critical& operator=(const Critical&) = delete;

private:
    Lock& lock_;
    std::uint64_t mask_ = 0;
};

}  // namespace quarry::record
