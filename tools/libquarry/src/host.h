/* SPDX-License-Identifier: MIT */
/*
 * "host:", a device in this process: the same requests as the kernel's, as calls. What its
 * descriptors are is known to it alone; <quarry/quarry.h> says what it does not do.
 */
#ifndef QUARRY_HOST_H
#define QUARRY_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUARRY_HOST_DEVICE "host:"

struct host_client;

/* A control descriptor; -1 and errno. */
int quarry_host_open(void);
/* Whether `fd` is a descriptor of this device (also in a forked child, where calls fail). */
bool quarry_host_has(int fd);
/* Any request by descriptor, and one on a client: 0, or -1 and errno. */
int quarry_host_request(int fd, unsigned long request, void *argument);
int quarry_host_call(struct host_client *client, unsigned long request, void *argument);
/* The client of a descriptor; NULL: none of this device's. */
struct host_client *quarry_host_client(int fd);
/* What mmap of the descriptor would give: the area, the memory, the class table. */
void *quarry_host_map(int fd, uint64_t offset, size_t bytes);
/* Whether a depot of the client holds an object of a class: free, as in a magazine. */
bool quarry_host_holds(struct host_client *client, uint32_t size_class, uint32_t entry);
/* The end of a client's area: it is reaped; the pool goes with its last client. */
void quarry_host_end(struct host_client *client);
/* A control descriptor is about to be closed. */
void quarry_host_closed(int fd);

#endif
