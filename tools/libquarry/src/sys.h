/* SPDX-License-Identifier: MIT */
/*
 * Every system call of libquarry, in one table. The tests put a device of their own behind it,
 * and make each call fail in turn; the table in sys.c is the kernel. Conventions are those of the
 * calls themselves: -1 (MAP_FAILED for mmap) and errno.
 */
#ifndef QUARRY_SYS_H
#define QUARRY_SYS_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct quarry_sys {
    int (*open)(const char *path, int flags);
    int (*close)(int fd);
    int (*ioctl)(int fd, unsigned long request, void *argument);
    void *(*mmap)(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
    int (*munmap)(void *address, size_t bytes);
    int (*madvise)(void *address, size_t bytes, int advice);
    int (*dup_at_least)(int fd, int lowest); /* fcntl F_DUPFD: not close-on-exec */
    ssize_t (*sendmsg)(int socket, const struct msghdr *message, int flags);
    ssize_t (*recvmsg)(int socket, struct msghdr *message, int flags);
    void *(*allocate)(size_t bytes); /* zeroed */
    void (*release)(void *memory);
};

extern const struct quarry_sys quarry_sys_kernel;
/* The table in use. Only tests change it, before any other call. */
extern const struct quarry_sys *quarry_sys;

#ifdef __cplusplus
}
#endif
#endif
