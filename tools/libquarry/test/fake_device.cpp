// SPDX-License-Identifier: MIT
#include "fake_device.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "fake_state.hpp"

extern "C" bool quarry_rseq_place(std::ptrdiff_t* place);

namespace fake {

State* state = nullptr;

namespace {

// What one process's table counts and injects; a forked child continues with a copy.
struct Process {
    // No lock here: a forked child would inherit it locked.
    std::atomic<int> countdown = -1;
    int countdown_error = 0;
    std::atomic<bool> fired = false;
    unsigned long failing_request = 0;
    int failing_error = 0;
    unsigned batch_limit = 0;
    int batch_error = 0;
    std::size_t socket_chunk = 0;
    std::function<void(unsigned long)> before_ioctl;
    std::map<std::uintptr_t, int> areas;  // address -> client index
    std::atomic<int> mappings = 0;
    std::atomic<int> allocations = 0;
};

Process* process;

// True, with errno set, when this fallible call is the one that fails.
bool fails() {
    if (process->countdown < 0 || process->countdown-- != 0) return false;
    process->fired = true;
    errno = process->countdown_error;
    return true;
}

int fake_open(const char* path, int flags) {
    if (fails()) return -1;
    if (std::strcmp(path, QUARRY_DEVICE) != 0) return open(path, flags);
    Guard guard;
    return new_file(-1);
}

// Ends no client: the fake cannot see the last close of a file, only the end of an area.
int fake_close(int fd) { return close(fd); }

int fake_ioctl(int fd, unsigned long request, void* argument) {
    if (fails()) return -1;
    if (process->before_ioctl) process->before_ioctl(request);
    Guard guard;
    state->ioctl_count[request & 15]++;
    if (process->failing_error && process->failing_request == request) {
        errno = process->failing_error;
        return -1;
    }
    const int error = serve(fd, request, argument, process->batch_limit, process->batch_error);
    if (!error) return 0;
    errno = error;
    return -1;
}

void* count_mapping(void* address) {
    if (address != MAP_FAILED) process->mappings++;
    return address;
}

void* map_area(int client, std::size_t bytes) {
    if (state->clients[client].process != getpid()) return errno = EXDEV, MAP_FAILED;
    if (state->clients[client].reaped) return errno = ESHUTDOWN, MAP_FAILED;
    if (bytes != area_bytes) return errno = EINVAL, MAP_FAILED;
    // A second mapping of the same shared pages.
    void* area = mremap(state->area[client], 0, bytes, MREMAP_MAYMOVE);
    if (area == MAP_FAILED) return area;
    madvise(area, bytes, MADV_DONTFORK);
    state->clients[client].area_mapped = true;
    process->areas[reinterpret_cast<std::uintptr_t>(area)] = client;
    return area;
}

void* fake_mmap(void* address, std::size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (fails()) return MAP_FAILED;
    if (fd < 0) return count_mapping(mmap(address, bytes, protection, flags, fd, offset));
    Guard guard;
    const int client = client_of(fd);
    if (client < 0) return errno = EBADF, MAP_FAILED;
    if (offset == static_cast<off_t>(QUARRY_CLIENT_AREA_OFFSET))
        return count_mapping(map_area(client, bytes));
    const int pool = state->clients[client].pool;
    if (offset == static_cast<off_t>(QUARRY_CLASS_TABLE_OFFSET)) {
        if (bytes * 4096 != state->pools[pool].max_bytes) return errno = EINVAL, MAP_FAILED;
        return count_mapping(mremap(state->page_class[pool], 0, 4096, MREMAP_MAYMOVE));
    }
    if (bytes > state->pools[pool].max_bytes) return errno = EINVAL, MAP_FAILED;
    // A second mapping of the same shared pages.
    return count_mapping(mremap(state->memory[pool], 0, bytes, MREMAP_MAYMOVE));
}

int fake_munmap(void* address, std::size_t bytes) {
    {
        Guard guard;
        const auto area = process->areas.find(reinterpret_cast<std::uintptr_t>(address));
        if (area != process->areas.end()) {
            reap_client(area->second);
            process->areas.erase(area);
        }
    }
    process->mappings--;
    return munmap(address, bytes);
}

int fake_madvise(void* address, std::size_t bytes, int advice) {
    return fails() ? -1 : madvise(address, bytes, advice);
}

int fake_dup(int fd, int lowest) { return fails() ? -1 : fcntl(fd, F_DUPFD, lowest); }

msghdr first_bytes(const msghdr& whole, iovec& part) {
    msghdr message = whole;
    part = whole.msg_iov[0];
    if (process->socket_chunk && part.iov_len > process->socket_chunk)
        part.iov_len = process->socket_chunk;
    message.msg_iov = &part;
    return message;
}

ssize_t fake_sendmsg(int socket, const msghdr* whole, int flags) {
    if (fails()) return -1;
    iovec part;
    const msghdr message = first_bytes(*whole, part);
    return sendmsg(socket, &message, flags);
}

ssize_t fake_recvmsg(int socket, msghdr* whole, int flags) {
    if (fails()) return -1;
    iovec part;
    msghdr message = first_bytes(*whole, part);
    const ssize_t got = recvmsg(socket, &message, flags);
    whole->msg_controllen = message.msg_controllen;
    whole->msg_flags = message.msg_flags;
    return got;
}

void* fake_allocate(std::size_t bytes) {
    if (fails()) return nullptr;
    process->allocations++;
    return calloc(1, bytes);
}

void fake_release(void* memory) {
    process->allocations--;
    free(memory);
}

const struct quarry_sys table = {
    .open = fake_open,
    .close = fake_close,
    .ioctl = fake_ioctl,
    .mmap = fake_mmap,
    .munmap = fake_munmap,
    .madvise = fake_madvise,
    .dup_at_least = fake_dup,
    .sendmsg = fake_sendmsg,
    .recvmsg = fake_recvmsg,
    .allocate = fake_allocate,
    .release = fake_release,
};

Client& client_by_id(std::uint64_t id) {
    for (Client& client : state->clients)
        if (client.id == id) return client;
    abort();
}

// Objects in use: what lies in magazines is the client's, and free.
int objects_at(int index) {
    const Client& client = state->clients[index];
    if (!client.id || client.reaped) return 0;
    return static_cast<int>(client.objects - in_magazines(index));
}

}  // namespace

int client_of(int fd) {
    struct stat seen;
    if (fstat(fd, &seen) < 0) return -2;
    for (const File& file : state->files)
        if (file.inode == seen.st_ino) return file.client;
    return -2;
}

int new_file(int client) {
    const int fd = memfd_create("quarry-fake", MFD_CLOEXEC);
    struct stat seen;
    if (fd < 0 || fstat(fd, &seen) < 0) return -1;
    File* place = nullptr;
    for (File& file : state->files) {
        if (file.inode == seen.st_ino) place = &file;
        if (!file.inode && !place) place = &file;
    }
    if (!place) {
        close(fd);
        errno = ENFILE;
        return -1;
    }
    *place = {seen.st_ino, client};
    return fd;
}

void install() {
    if (!state) {
        void* memory = mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) abort();
        state = static_cast<State*>(memory);
        process = new Process;
    }
    delete process;
    process = new Process;
    madvise(static_cast<void*>(state), sizeof(State), MADV_REMOVE);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&state->lock, &attributes);
    state->next_id = 100;
    state->abi_version = QUARRY_ABI_VERSION;
    const char* mode = std::getenv("QUARRY_TEST_MAGAZINES");
    state->magazines = !mode || std::strcmp(mode, "0");
    quarry_sys = &table;
}

void fail_after(int nth, int error) {
    process->countdown = nth;
    process->countdown_error = error;
    process->fired = false;
}
bool failure_fired() { return process->fired; }

void fail_ioctl(unsigned long request, int error) {
    process->failing_request = request;
    process->failing_error = error;
}

void before_ioctl(std::function<void(unsigned long)> hook) {
    process->before_ioctl = std::move(hook);
}

void stop_batches_at(unsigned most, int error) {
    process->batch_limit = most;
    process->batch_error = error;
}

void set_abi_version(std::uint32_t version) { state->abi_version = version; }
void set_socket_chunk(std::size_t bytes) { process->socket_chunk = bytes; }

Held held() {
    int descriptors = 0;
    for (int fd = 0; fd < 1024; fd++) descriptors += fcntl(fd, F_GETFD) >= 0;
    return {descriptors, process->mappings, process->allocations};
}

int ioctls(unsigned long request) { return state->ioctl_count[request & 15]; }

void reap_process(int pid) {
    Guard guard;
    for (int i = 0; i < most_clients; i++)
        if (state->clients[i].id && state->clients[i].process == pid) reap_client(i);
}

int clients() {
    int count = 0;
    for (const Client& client : state->clients) count += client.id && !client.reaped;
    return count;
}

int objects() {
    int count = 0;
    for (int i = 0; i < most_clients; i++) count += objects_at(i);
    return count;
}

int objects_of(std::uint64_t id) {
    return objects_at(static_cast<int>(&client_by_id(id) - state->clients));
}

bool magazines() {
    std::ptrdiff_t place;
    return state->magazines && quarry_rseq_place(&place);
}

void set_client_room(std::uint64_t id, std::uint64_t bytes) {
    client_by_id(id).limit = client_by_id(id).bytes + bytes;
}
void forget_area(std::uint64_t id) { client_by_id(id).area_mapped = false; }

void reap(std::uint64_t id) {
    Guard guard;
    reap_client(static_cast<int>(&client_by_id(id) - state->clients));
}

void corrupt(std::uint64_t pool_id, std::uint64_t offset) {
    for (Pool& pool : state->pools)
        if (pool.id == pool_id) pool.grain[offset / QUARRY_GRAIN].corrupt = 1;
}

}  // namespace fake
