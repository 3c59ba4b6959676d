#include "host.h"
#include <errno.h>
int quarry_host_open(void) { errno = ENOENT; return -1; }
bool quarry_host_has(int fd) { (void)fd; return false; }
int quarry_host_request(int fd, unsigned long request, void *argument) { (void)fd; (void)request; (void)argument; return -1; }
int quarry_host_call(struct host_client *client, unsigned long request, void *argument) { (void)client; (void)request; (void)argument; return -1; }
struct host_client *quarry_host_client(int fd) { (void)fd; return NULL; }
void *quarry_host_map(int fd, uint64_t offset, size_t bytes) { (void)fd; (void)offset; (void)bytes; return NULL; }
void quarry_host_end(struct host_client *client) { (void)client; }
void quarry_host_closed(int fd) { (void)fd; }
