/* SPDX-License-Identifier: MIT */
/* The kernel behind the table of system calls: thin wrappers, no policy. */
#include "sys.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int kernel_open(const char *path, int flags) { return open(path, flags); }

static int kernel_ioctl(int fd, unsigned long request, void *argument) {
    return ioctl(fd, request, argument);
}

static int kernel_dup_at_least(int fd, int lowest) { return fcntl(fd, F_DUPFD, lowest); }

static void *kernel_allocate(size_t bytes) { return calloc(1, bytes); }

const struct quarry_sys quarry_sys_kernel = {
    .open = kernel_open,
    .close = close,
    .ioctl = kernel_ioctl,
    .mmap = mmap,
    .munmap = munmap,
    .madvise = madvise,
    .dup_at_least = kernel_dup_at_least,
    .sendmsg = sendmsg,
    .recvmsg = recvmsg,
    .allocate = kernel_allocate,
    .release = free,
};

const struct quarry_sys *quarry_sys = &quarry_sys_kernel;
