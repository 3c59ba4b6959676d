// SPDX-License-Identifier: MIT
//
// The fake device's calls, in the order in which <linux/quarry.h> states their rules.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fake_state.hpp"
#include "section.h"

namespace fake {
namespace {

struct Call {
    Client* client = nullptr;
    Pool* pool = nullptr;
    int index = -1;
    unsigned batch_limit;
    int batch_error;
};

// First-version sizes are today's: smaller is EINVAL, a longer non-zero tail E2BIG.
template <typename T>
int copy_in(T& to, const void* from) {
    std::uint32_t size;
    if (reinterpret_cast<std::uintptr_t>(from) < 4096) return EFAULT;
    std::memcpy(&size, from, sizeof size);
    if (size < sizeof to) return EINVAL;
    const auto* bytes = static_cast<const unsigned char*>(from);
    for (std::uint32_t i = sizeof to; i < size; i++)
        if (bytes[i]) return E2BIG;
    std::memcpy(&to, from, sizeof to);
    return 0;
}

template <std::size_t n>
bool any(const __u64 (&reserved)[n]) {
    for (__u64 word : reserved)
        if (word) return true;
    return false;
}

bool is_free(const Pool& pool, std::uint64_t at, std::uint64_t length) {
    std::uint64_t run = 0;
    while (run < length && !pool.grain[at + run].covered) run++;
    return run == length;
}

unsigned char* page_class_of(Pool& pool) { return state->page_class[&pool - state->pools]; }

// Objects without a class: first fit over grains; in a heap on pages of their own.
int find_room(Pool& pool, std::uint64_t length, std::uint64_t align, std::uint64_t& start) {
    const std::uint64_t step = align / QUARRY_GRAIN ? align / QUARRY_GRAIN : 1;
    const std::uint64_t end = pool.bytes / QUARRY_GRAIN;
    while (pool.first_free < end && pool.grain[pool.first_free].covered) pool.first_free++;
    const std::uint64_t first = (pool.first_free + step - 1) / step * step;
    const auto in_slab = [&](std::uint64_t at) {
        for (std::uint64_t i = 0; i < length; i += 512)
            if (page_class_of(pool)[(at + i) / 512]) return true;
        return false;
    };
    for (std::uint64_t at = first; at + length <= end; at += step) {
        if (!is_free(pool, at, length)) continue;
        if (pool.kind == QUARRY_KIND_HEAP && in_slab(at)) continue;
        start = at;
        return 0;
    }
    return ENOSPC;
}

// A slot: in a page of the class that has one, else in a page that nobody has.
int find_slot(Pool& pool, int c, std::uint64_t& start) {
    const std::uint64_t length = class_bytes(pool, c) / QUARRY_GRAIN;
    unsigned char* page_class = page_class_of(pool);
    if (pool.kind == QUARRY_KIND_FIXED) {
        for (std::uint64_t i = 0; i < pool.object_count; i++)
            if (!pool.grain[start = i * length].covered) return 0;
        return ENOSPC;
    }
    const std::uint64_t end = pool.bytes / 4096;
    for (std::uint64_t page = pool.first_page[c]; page < end; page++) {
        if (page_class[page] && page_class[page] != c + 1) continue;
        if (!page_class[page] && !is_free(pool, page * 512, 512)) continue;
        for (std::uint64_t at = page * 512; at + length <= page * 512 + 512; at += length) {
            if (pool.grain[at].covered) continue;
            page_class[page] = static_cast<unsigned char>(c + 1);
            pool.first_page[c] = page;
            start = at;
            return 0;
        }
    }
    return ENOSPC;
}

int grant(Call& call, std::uint64_t bytes, std::uint64_t align, std::uint64_t& offset) {
    Pool& pool = *call.pool;
    const int c = class_of(pool, bytes, align);
    const std::uint64_t unit = c >= 0 ? class_bytes(pool, c)
                               : pool.kind == QUARRY_KIND_HEAP ? (bytes + 4095) & ~4095ull
                                                               : bytes;
    const std::uint64_t length = (unit + QUARRY_GRAIN - 1) / QUARRY_GRAIN;
    std::uint64_t at = 0;
    if (call.client->limit && call.client->bytes + length * QUARRY_GRAIN > call.client->limit)
        return EDQUOT;
    if (pool.kind == QUARRY_KIND_HEAP && align < 4096) align = 4096;
    if (int error = c >= 0 ? find_slot(pool, c, at) : find_room(pool, length, align, at)) return error;
    pool.grain[at].length = static_cast<std::uint32_t>(length);
    pool.grain[at].owner = static_cast<std::int16_t>(call.index);
    for (std::uint64_t i = 0; i < length; i++) pool.grain[at + i].covered = 1;
    call.client->bytes += length * QUARRY_GRAIN;
    call.client->objects++;
    pool.allocs++;
    offset = at * QUARRY_GRAIN;
    return 0;
}

// What is free in this process's magazines serves before a call fails.
int grant_or_drain(Call& call, std::uint64_t bytes, std::uint64_t align, std::uint64_t& offset) {
    const int error = grant(call, bytes, align, offset);
    if (error != ENOSPC && error != EDQUOT) return error;
    for (int i = 0; i < most_clients; i++) {
        const Client& client = state->clients[i];
        if (client.id && client.pool == call.client->pool && !client.reaped &&
            (i == call.index || error == ENOSPC))
            drain_magazines(i);
    }
    return grant(call, bytes, align, offset);
}

int check_owned(const Call& call, std::uint64_t offset) { return fake::check_owned(call.index, offset); }

// The rule of partial results, for one object at a time.
template <typename T, typename One>
int batch(const Call& call, T* argument, const T& in, One one) {
    if (in.flags || in.reserved || in.count == 0) return EINVAL;
    if (in.count > QUARRY_MAX_BATCH) return EMSGSIZE;
    if (in.offsets < 4096) return EFAULT;
    std::uint32_t done = 0;
    int error = 0;
    for (; done < in.count && !error; done += !error) {
        error = call.batch_limit && done == call.batch_limit ? call.batch_error : one(done);
    }
    if (error) call.pool->refused++;
    if (!done) return error;
    argument->done = done;
    argument->error = error;
    return 0;
}

int alloc(Call& call, void* argument) {
    struct quarry_alloc in;
    if (int error = copy_in(in, argument)) return error;
    if (in.object_size == 0 || (in.align & (in.align - 1))) return EINVAL;
    if (in.object_size > UINT64_MAX - QUARRY_GRAIN) return EOVERFLOW;
    if (call.pool->kind == QUARRY_KIND_FIXED && in.object_size != call.pool->object_size)
        return EMSGSIZE;
    if (in.object_size > QUARRY_MAX_OBJECT) return EFBIG;
    auto* offsets = reinterpret_cast<std::uint64_t*>(in.offsets);
    return batch(call, static_cast<struct quarry_alloc*>(argument), in,
                 [&](std::uint32_t i) { return grant_or_drain(call, in.object_size, in.align, offsets[i]); });
}

int resize(Call& call, void* argument) {
    struct quarry_resize in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags || !in.object_size) return EINVAL;
    if (call.pool->kind != QUARRY_KIND_RANGE) return EOPNOTSUPP;
    if (int error = check_owned(call, in.offset)) return error;
    const std::uint64_t granule = call.pool->granule;
    const std::uint64_t bytes = (in.object_size + granule - 1) / granule * granule;
    const std::uint64_t at = in.offset / QUARRY_GRAIN, length = bytes / QUARRY_GRAIN;
    Grain& head = call.pool->grain[at];
    if (at + length > call.pool->bytes / QUARRY_GRAIN) return ENOSPC;
    for (std::uint64_t i = head.length; i < length; i++)
        if (call.pool->grain[at + i].covered) return ENOSPC;
    for (std::uint64_t i = 0; i < head.length; i++) call.pool->grain[at + i].covered = i < length;
    for (std::uint64_t i = 0; i < length; i++) call.pool->grain[at + i].covered = 1;
    call.client->bytes += bytes - head.length * std::uint64_t{QUARRY_GRAIN};
    head.length = static_cast<std::uint32_t>(length);
    static_cast<struct quarry_resize*>(argument)->bytes = bytes;
    return 0;
}

int free_objects(Call& call, void* argument) {
    struct quarry_free in;
    if (int error = copy_in(in, argument)) return error;
    const auto* offsets = reinterpret_cast<const std::uint64_t*>(in.offsets);
    return batch(call, static_cast<struct quarry_free*>(argument), in, [&](std::uint32_t i) {
        if (int error = check_owned(call, offsets[i])) return error;
        take_back(*call.pool, offsets[i] / QUARRY_GRAIN);
        call.pool->frees++;
        return 0;
    });
}

bool has_magazine(const Call& call, std::uint32_t c) {
    return state->magazines && c < classes_of(*call.pool);
}

int refill(Call& call, void* argument) {
    struct quarry_refill in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags || !has_magazine(call, in.class_index)) return EINVAL;
    auto* out = static_cast<struct quarry_refill*>(argument);
    const std::uint32_t bytes = class_bytes(*call.pool, static_cast<int>(in.class_index));
    std::uint64_t offset;
    if (int error = grant_or_drain(call, bytes, 0, offset)) {
        call.pool->refused++;
        return error;
    }
    std::uint32_t entries[capacity / 2], count = 0;
    for (std::uint64_t more; count < capacity / 2 && !grant(call, bytes, 0, more); count++)
        entries[count] = static_cast<std::uint32_t>(more / QUARRY_GRAIN);
    const std::uint32_t put = magazine_put(call.index, in.class_index, entries, count);
    for (std::uint32_t i = put; i < count; i++) take_back(*call.pool, entries[i]);
    call.pool->refills++;
    out->offset = offset;
    out->filled = put;
    return 0;
}

int flush(Call& call, void* argument) {
    struct quarry_flush in;
    if (int error = copy_in(in, argument)) return error;
    if ((in.flags & ~QUARRY_FLUSH_OBJECT) || !has_magazine(call, in.class_index)) return EINVAL;
    auto* out = static_cast<struct quarry_flush*>(argument);
    section_buffer taken;
    const std::uint32_t count = magazine_take(call.index, in.class_index, taken, capacity / 2);
    out->bad = 0;
    for (std::uint32_t i = 0; i < count; i++) {
        const std::uint64_t offset = taken.entry[i] * std::uint64_t{QUARRY_GRAIN};
        const int error = check_owned(call, offset);
        if (!error) {
            take_back(*call.pool, taken.entry[i]);
        } else if (!out->bad++) {
            out->bad_error = error;
            out->bad_offset = offset;
        }
    }
    out->drained = count;
    call.pool->flushes++;
    if (!(in.flags & QUARRY_FLUSH_OBJECT)) return 0;
    if (int error = check_owned(call, in.offset)) {
        call.pool->refused++;
        return error;
    }
    take_back(*call.pool, in.offset / QUARRY_GRAIN);
    call.pool->frees++;
    return 0;
}

int transfer(Call& call, void* argument) {
    struct quarry_transfer in;
    if (int error = copy_in(in, argument)) return error;
    int to = -1;
    for (int i = 0; i < most_clients; i++) {
        const Client& c = state->clients[i];
        if (c.id == in.to_client && c.id && c.pool == call.client->pool && !c.reaped) to = i;
    }
    if (to < 0) return ESRCH;
    Client& receiver = state->clients[to];
    if (!receiver.area_mapped) return EUNATCH;
    const auto* offsets = reinterpret_cast<const std::uint64_t*>(in.offsets);
    return batch(call, static_cast<struct quarry_transfer*>(argument), in, [&](std::uint32_t i) {
        if (int error = check_owned(call, offsets[i])) return error;
        Grain& head = call.pool->grain[offsets[i] / QUARRY_GRAIN];
        const std::uint64_t bytes = head.length * std::uint64_t{QUARRY_GRAIN};
        if (receiver.limit && receiver.bytes + bytes > receiver.limit) return EDQUOT;
        head.owner = static_cast<std::int16_t>(to);
        call.client->bytes -= bytes, call.client->objects--;
        receiver.bytes += bytes, receiver.objects++;
        call.pool->transfers++;
        return 0;
    });
}

int new_client(int pool, bool creator) {
    for (int i = 0; i < most_clients; i++) {
        if (state->clients[i].id) continue;
        state->clients[i] = {};
        state->clients[i].id = state->next_id++;
        state->clients[i].pool = pool;
        state->clients[i].process = getpid();
        state->clients[i].creator = creator;
        state->clients[i].limit = state->pools[pool].client_limit;
        make_area(i);
        return i;
    }
    return -1;
}

int create(void* argument) {
    struct quarry_pool_create in;
    if (int error = copy_in(in, argument)) return error;
    if ((in.flags & ~(QUARRY_POOL_ZERO | QUARRY_POOL_HOLD_PINNED)) || in.kind > QUARRY_KIND_RANGE ||
        in.zone > QUARRY_ZONE_LOWMEM || in.node < -1 || in.node > 0 || any(in.reserved))
        return EINVAL;
    const bool fixed = in.kind == QUARRY_KIND_FIXED;
    if (fixed && (!in.object_size || in.object_size % 8 || !in.object_count)) return EINVAL;
    const bool range = in.kind == QUARRY_KIND_RANGE;
    if (range ? in.bytes || !in.max_bytes || !in.max_ranges || in.granule < QUARRY_GRAIN ||
                    (in.granule & (in.granule - 1)) || in.max_bytes % in.granule
              : in.granule || in.max_ranges || any(in.range_align))
        return EINVAL;
    if (!fixed && !range && !in.bytes) return EINVAL;
    std::uint64_t bytes = range ? in.max_bytes : in.bytes;
    if (fixed && __builtin_mul_overflow(in.object_size, in.object_count, &bytes)) return EOVERFLOW;
    bytes = (bytes + 4095) & ~4095ull;
    const std::uint64_t max = in.max_bytes ? (in.max_bytes + 4095) & ~4095ull : bytes;
    if (max > pool_room || bytes > max) return EFBIG;
    if (in.zone == QUARRY_ZONE_LOWMEM) return EPERM;
    int slot = -1;
    for (int i = most_pools - 1; i >= 0; i--) {
        if (!state->pools[i].id) slot = i;
        else if (in.name[0] && !std::strcmp(state->pools[i].name, in.name)) return EEXIST;
    }
    if (slot < 0) return EDQUOT;
    Pool& pool = state->pools[slot];
    std::memset(static_cast<void*>(&pool), 0, sizeof pool);
    pool.id = state->next_id++;
    pool.kind = in.kind;
    pool.bytes = bytes;
    pool.max_bytes = max;
    pool.object_size = in.object_size;
    pool.object_count = in.object_count;
    pool.granule = in.granule;
    pool.client_limit = in.client_limit;
    std::memcpy(pool.name, in.name, sizeof pool.name);
    std::memset(state->page_class[slot], fixed && in.object_size <= 2048, sizeof state->page_class[slot]);
    const int client = new_client(slot, true);
    const int fd = client < 0 ? -1 : new_file(client);
    if (fd < 0) {
        pool.id = 0;
        if (client < 0) return EUSERS;
        state->clients[client].id = 0;
        return errno;
    }
    auto* out = static_cast<struct quarry_pool_create*>(argument);
    out->max_bytes = max;
    out->fd = fd;
    out->client_area_bytes = area_bytes;
    out->pool_id = pool.id;
    out->client_id = state->clients[client].id;
    return 0;
}

int join(Call& call, void* argument) {
    struct quarry_join in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags || (in.fd_flags & ~QUARRY_FD_CLOEXEC) || any(in.reserved)) return EINVAL;
    const int client = new_client(call.client->pool, false);
    if (client < 0) return EUSERS;
    const int fd = new_file(client);
    if (fd < 0) {
        state->clients[client].id = 0;
        return errno;
    }
    auto* out = static_cast<struct quarry_join*>(argument);
    out->kind = call.pool->kind;
    out->fd = fd;
    out->client_area_bytes = area_bytes;
    out->max_bytes = call.pool->max_bytes;
    out->pool_id = call.pool->id;
    out->client_id = state->clients[client].id;
    out->object_size = call.pool->object_size;
    out->object_count = call.pool->object_count;
    return 0;
}

int info(void* argument) {
    struct quarry_info in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags || any(in.reserved)) return EINVAL;
    auto* out = static_cast<struct quarry_info*>(argument);
    out->abi_version = state->abi_version;
    out->cpus = 2;
    out->features = QUARRY_FEATURE_HEAP | QUARRY_FEATURE_FIXED | QUARRY_FEATURE_MAGAZINES;
    out->page_size = 4096;
    out->class_count = heap_classes;
    for (std::uint32_t i = 0; i < heap_classes; i++) out->class_size[i] = heap_class_bytes(i);
    out->max_object = QUARRY_MAX_OBJECT;
    out->max_pool = pool_room;
    out->max_batch = QUARRY_MAX_BATCH;
    out->max_clients = most_clients;
    return 0;
}

int stat(Call& call, void* argument) {
    struct quarry_stat in;
    if (int error = copy_in(in, argument)) return error;
    if ((in.flags & ~QUARRY_STAT_ACK) || in.reserved) return EINVAL;
    auto* out = static_cast<struct quarry_stat*>(argument);
    if (in.classes) {
        auto* classes = reinterpret_cast<struct quarry_class_stat*>(in.classes);
        for (std::uint32_t i = 0; i < in.class_count && i < 2; i++) classes[i] = {8u << i, 1, i, 2};
    }
    out->class_count = 2;
    out->events = call.client->events;
    if (in.flags & QUARRY_STAT_ACK) call.client->events = 0;
    out->pool_id = call.pool->id;
    out->kind = call.pool->kind;
    out->max_bytes = call.pool->max_bytes;
    out->bytes = call.pool->bytes;
    out->allocs = call.pool->allocs;
    out->frees = call.pool->frees;
    out->refused = call.pool->refused;
    out->transfers = call.pool->transfers;
    out->reaps = call.pool->reaps;
    out->reaped_objects = call.pool->reaped_objects;
    out->client_id = call.client->id;
    out->client_objects = call.client->objects;
    out->client_bytes = call.client->bytes;
    std::memcpy(out->name, call.pool->name, sizeof out->name);
    return 0;
}

int region(Call& call, void* argument, bool add) {
    struct quarry_region in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags || in.reserved) return EINVAL;
    if (!call.client->creator) return EPERM;
    if (!add) return call.client->objects ? EBUSY : EOPNOTSUPP;
    if (!in.bytes || in.zone > QUARRY_ZONE_LOWMEM) return EINVAL;
    const std::uint64_t bytes = (in.bytes + 4095) & ~4095ull;
    if (call.pool->bytes + bytes > call.pool->max_bytes) return EFBIG;
    auto* out = static_cast<struct quarry_region*>(argument);
    out->bytes = bytes;
    out->offset = call.pool->bytes;
    out->regions = 1;
    call.pool->bytes += bytes;
    return 0;
}

int verify(Call& call, void* argument) {
    struct quarry_verify in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags) return EINVAL;
    if (!call.client->creator) return EPERM;
    auto* out = static_cast<struct quarry_verify*>(argument);
    out->faults = 0;
    out->objects = 0;
    for (const Grain& grain : call.pool->grain) out->objects += grain.length != 0;
    return 0;
}

int drain(Call& call, void* argument) {
    struct quarry_drain in;
    if (int error = copy_in(in, argument)) return error;
    if (in.flags & ~QUARRY_DRAIN_POOL) return EINVAL;
    if ((in.flags & QUARRY_DRAIN_POOL) && !call.client->creator) return EPERM;
    drain_magazines(call.index);
    return 0;
}

}  // namespace

void take_back(Pool& pool, std::uint64_t at) {
    Grain& head = pool.grain[at];
    Client& owner = state->clients[head.owner];
    for (std::uint64_t i = 0; i < head.length; i++) pool.grain[at + i].covered = 0;
    owner.bytes -= head.length * std::uint64_t{QUARRY_GRAIN};
    owner.objects--;
    head.length = 0;
    if (at < pool.first_free) pool.first_free = at;
    unsigned char& c = page_class_of(pool)[at / 512];
    if (pool.kind != QUARRY_KIND_HEAP) return;
    if (c) pool.first_page[c - 1] = 0;
    if (c && is_free(pool, at / 512 * 512, 512)) {
        c = 0;
        for (std::uint64_t& first : pool.first_page) first = 0;
    }
}

// Whether the client owns an object at `offset`: 0 or the errno of the wrong name.
int check_owned(int client, std::uint64_t offset) {
    const Pool& pool = state->pools[state->clients[client].pool];
    if (offset % QUARRY_GRAIN) return EINVAL;
    if (offset >= pool.max_bytes) return ERANGE;
    if (offset >= pool.bytes) return ENXIO;
    const Grain& head = pool.grain[offset / QUARRY_GRAIN];
    if (head.corrupt) return EUCLEAN;
    if (!head.length) return head.covered ? EBADSLT : EALREADY;
    return head.owner == client ? 0 : EACCES;
}

void reap_client(int index) {
    Client& client = state->clients[index];
    if (client.reaped) return;
    Pool& pool = state->pools[client.pool];
    for (std::uint64_t at = 0; at < grains; at++) {
        if (!pool.grain[at].length || pool.grain[at].owner != index) continue;
        take_back(pool, at);
        pool.reaped_objects++;
    }
    client.reaped = true;
    client.events |= QUARRY_EVENT_REAPED;
    pool.reaps++;
    for (Client& other : state->clients)
        if (other.id && other.pool == client.pool) other.events |= QUARRY_EVENT_PEER_DIED;
}

int serve(int fd, unsigned long request, void* argument, unsigned batch_limit, int batch_error) {
    Call call{.batch_limit = batch_limit, .batch_error = batch_error};
    call.index = client_of(fd);
    if (call.index == -2) return fcntl(fd, F_GETFD) < 0 ? EBADF : ENOTTY;
    if (request == QUARRY_IOC_INFO) return info(argument);
    if (request == QUARRY_IOC_POOL_CREATE) return call.index == -1 ? create(argument) : EBADFD;
    if (call.index == -1) return EBADFD;
    call.client = &state->clients[call.index];
    call.pool = &state->pools[call.client->pool];
    if (request == QUARRY_IOC_JOIN) return join(call, argument);
    if (request == QUARRY_IOC_STAT) return stat(call, argument);
    if (call.client->process != getpid()) return EXDEV;
    if (call.client->reaped) return ESHUTDOWN;
    if (request == QUARRY_IOC_FREE) return free_objects(call, argument);
    if (request == QUARRY_IOC_REGION_ADD) return region(call, argument, true);
    if (request == QUARRY_IOC_REGION_REMOVE) return region(call, argument, false);
    if (request == QUARRY_IOC_DRAIN) return drain(call, argument);
    if (request == QUARRY_IOC_VERIFY) return verify(call, argument);
    if (!call.client->area_mapped) return ENOTCONN;
    if (request == QUARRY_IOC_ALLOC) return alloc(call, argument);
    if (request == QUARRY_IOC_REFILL) return refill(call, argument);
    if (request == QUARRY_IOC_FLUSH) return flush(call, argument);
    if (request == QUARRY_IOC_TRANSFER) return transfer(call, argument);
    if (request == QUARRY_IOC_RESIZE) return resize(call, argument);
    return ENOTTY;
}

}  // namespace fake
