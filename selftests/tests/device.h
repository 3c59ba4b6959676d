/* SPDX-License-Identifier: MIT */
/*
 * The device without libquarry: each call as one C function that answers 0 or the
 * negative errno, so that a test says in a line what it wants of the kernel itself.
 */
#ifndef QUARRY_SELFTEST_DEVICE_H
#define QUARRY_SELFTEST_DEVICE_H

/* 32-bit callers map at offsets above 4 GiB too. */
#define _FILE_OFFSET_BITS 64
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/quarry.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../module/include/quarry_abi_layout.h"

#define PAGE 4096UL
#define KIB 1024ULL
#define MIB (1024ULL * KIB)

/* A client of a pool as a test holds it. */
struct pool {
	int fd;
	uint64_t id;
	uint64_t client;
	uint64_t max_bytes;
	uint32_t area_bytes;
	void *area;
	uint8_t *memory;
};

static inline int call(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static inline int control(void)
{
	int fd = open(QUARRY_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline void create_defaults(struct quarry_pool_create *c)
{
	memset(c, 0, sizeof(*c));
	c->size = sizeof(*c);
	c->node = -1;
	c->fd_flags = QUARRY_FD_CLOEXEC;
}

/* POOL_CREATE on a control descriptor of its own. */
static inline int create_raw(struct quarry_pool_create *c)
{
	int fd = control();
	int err;

	if (fd < 0)
		return fd;
	err = call(fd, QUARRY_IOC_POOL_CREATE, c);
	close(fd);
	return err;
}

static inline int map_area(struct pool *p)
{
	p->area = mmap(NULL, p->area_bytes, PROT_READ, MAP_SHARED, p->fd, QUARRY_CLIENT_AREA_OFFSET);
	if (p->area == MAP_FAILED) {
		p->area = NULL;
		return -errno;
	}
	return 0;
}

static inline int map_memory(struct pool *p)
{
	p->memory = mmap(NULL, p->max_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->memory == MAP_FAILED) {
		p->memory = NULL;
		return -errno;
	}
	return 0;
}

/* A pool as described, with its client area mapped: all that a range pool has. */
static inline int create_unmapped(struct pool *p, struct quarry_pool_create *c)
{
	int err;

	memset(p, 0, sizeof(*p));
	p->fd = -1;
	err = create_raw(c);
	if (err)
		return err;
	p->fd = c->fd;
	p->id = c->pool_id;
	p->client = c->client_id;
	p->max_bytes = c->max_bytes;
	p->area_bytes = c->client_area_bytes;
	return map_area(p);
}

/* The same, with its memory mapped too. */
static inline int create(struct pool *p, struct quarry_pool_create *c)
{
	int err = create_unmapped(p, c);

	return err ? err : map_memory(p);
}

static inline int create_heap(struct pool *p, uint64_t bytes, uint64_t max_bytes)
{
	struct quarry_pool_create c;

	create_defaults(&c);
	c.bytes = bytes;
	c.max_bytes = max_bytes;
	return create(p, &c);
}

/* Another client of the pool behind `fd`; unmapped when `map` is 0. */
static inline int join(struct pool *p, int fd, int map)
{
	struct quarry_join j = { .size = sizeof(j), .fd_flags = QUARRY_FD_CLOEXEC };
	int err = call(fd, QUARRY_IOC_JOIN, &j);

	memset(p, 0, sizeof(*p));
	p->fd = -1;
	if (err)
		return err;
	p->fd = j.fd;
	p->id = j.pool_id;
	p->client = j.client_id;
	p->max_bytes = j.max_bytes;
	p->area_bytes = j.client_area_bytes;
	if (!map)
		return 0;
	err = map_area(p);
	return err ? err : map_memory(p);
}

static inline void leave(struct pool *p)
{
	if (p->memory)
		munmap(p->memory, p->max_bytes);
	if (p->area)
		munmap(p->area, p->area_bytes);
	if (p->fd >= 0)
		close(p->fd);
	p->memory = NULL;
	p->area = NULL;
	p->fd = -1;
}

/* How many were granted, or the negative errno when none was. */
static inline int alloc_n(struct pool *p, uint64_t size, uint64_t align, uint32_t n, uint64_t *out)
{
	struct quarry_alloc a = { .size = sizeof(a), .object_size = size, .align = align,
				  .count = n, .offsets = (uintptr_t)out };
	int err = call(p->fd, QUARRY_IOC_ALLOC, &a);

	return err ? err : (int)a.done;
}

/* One object's offset, or the negative errno. */
static inline int64_t alloc_one(struct pool *p, uint64_t size)
{
	uint64_t offset = 0;
	int n = alloc_n(p, size, 0, 1, &offset);

	return n < 0 ? n : (int64_t)offset;
}

/* How many are set aside then, or the negative errno. */
static inline int reserve_n(struct pool *p, uint64_t size, uint64_t align, uint32_t n)
{
	struct quarry_reservation r = { .size = sizeof(r), .object_size = size, .align = align, .count = n };
	int err = call(p->fd, QUARRY_IOC_RESERVE, &r);

	return err ? err : (int)r.left;
}

static inline int free_n(struct pool *p, uint32_t n, const uint64_t *offsets)
{
	struct quarry_free f = { .size = sizeof(f), .count = n, .offsets = (uintptr_t)offsets };
	int err = call(p->fd, QUARRY_IOC_FREE, &f);

	return err ? err : (int)f.done;
}

/* 0, or the negative errno. */
static inline int free_one(struct pool *p, uint64_t offset)
{
	int n = free_n(p, 1, &offset);

	return n < 0 ? n : 0;
}

static inline int transfer_n(struct pool *p, uint64_t to, uint32_t n, const uint64_t *offsets)
{
	struct quarry_transfer t = { .size = sizeof(t), .to_client = to, .count = n,
				     .offsets = (uintptr_t)offsets };
	int err = call(p->fd, QUARRY_IOC_TRANSFER, &t);

	return err ? err : (int)t.done;
}

/* The range's bytes from then on, or the negative errno. */
static inline int64_t resize_one(struct pool *p, uint64_t offset, uint64_t size)
{
	struct quarry_resize r = { .size = sizeof(r), .offset = offset, .object_size = size };
	int err = call(p->fd, QUARRY_IOC_RESIZE, &r);

	return err ? err : (int64_t)r.bytes;
}

static inline struct quarry_stat stat_of(int fd)
{
	struct quarry_stat s = { .size = sizeof(s) };

	if (call(fd, QUARRY_IOC_STAT, &s))
		memset(&s, 0xff, sizeof(s));
	return s;
}

/* Faults of a full audit; -errno when it could not be had. Prints the first. */
static inline int64_t verify(int fd)
{
	struct quarry_verify v = { .size = sizeof(v) };
	int err = call(fd, QUARRY_IOC_VERIFY, &v);

	if (err)
		return err;
	if (v.faults)
		printf("# verify: %s at %#llx (%llu faults)\n", v.first,
		       (unsigned long long)v.first_offset, (unsigned long long)v.faults);
	return (int64_t)v.faults;
}

/* Passes a descriptor over a socket, with one byte. */
static inline int send_fd(int socket, int fd)
{
	char byte = 'q';
	struct iovec iov = { &byte, 1 };
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
			    .msg_controllen = sizeof(control.room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(socket, &m, 0) == 1 ? 0 : -errno;
}

static inline int receive_fd(int socket)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
			    .msg_controllen = sizeof(control.room) };
	struct cmsghdr *c;
	int fd;

	if (recvmsg(socket, &m, 0) != 1)
		return -errno;
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/* One step of a hand-shake between two processes over a pipe or socket. */
static inline void tell(int fd)
{
	char byte = 1;

	if (write(fd, &byte, 1) != 1)
		abort();
}

static inline void wait_for(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(99);
}

/* The exit status of a child; 128 + signal when one killed it. */
static inline int status_of(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The module's parameter, for limits that a test must reach. */
static inline long parameter(const char *name)
{
	char path[128];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/quarry/parameters/%s", name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

static inline int set_parameter(const char *name, long value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/quarry/parameters/%s", name);
	f = fopen(path, "w");
	if (!f)
		return -errno;
	fprintf(f, "%ld\n", value);
	return fclose(f) ? -errno : 0;
}

/* Writes a text to a file of the kernel's, which is emptied before. */
static inline int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n < 0 ? -errno : 0;
}

/* How often the OOM killer has killed since boot. */
static inline long oom_kills(void)
{
	char line[256];
	long kills = 0;
	FILE *f = fopen("/proc/vmstat", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "oom_kill %ld", &kills);
	if (f)
		fclose(f);
	return kills;
}

#endif /* QUARRY_SELFTEST_DEVICE_H */
