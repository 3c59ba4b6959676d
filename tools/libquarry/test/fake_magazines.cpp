// SPDX-License-Identifier: MIT
//
// The fake device's magazines: its classes, the clients' areas, and what goes in and out of them.
#include <unistd.h>

#include <cstring>

#include "fake_state.hpp"
#include "section.h"

extern "C" bool quarry_rseq_place(std::ptrdiff_t* place);

namespace fake {
namespace {

// Where the sequences of this process find a client's magazines.
template <typename Work>
void with_magazines(int client, Work work) {
    static const struct quarry_cpu_block shut = {};
    std::uint64_t table[2 + most_cpus] = {};
    section_place place = {&shut, table + 2, 0};
    for (std::uint32_t cpu = 0; cpu < most_cpus; cpu++)
        table[2 + cpu] = reinterpret_cast<std::uintptr_t>(state->area[client] + blocks_offset +
                                                          cpu * block_bytes) -
                         reinterpret_cast<std::uintptr_t>(&shut);
    if (quarry_rseq_place(&place.rseq) && section_cpu(&place) < static_cast<int>(most_cpus)) work(place);
}

}  // namespace

std::uint32_t magazine_put(int client, unsigned size_class, const std::uint32_t* entries,
                           std::uint32_t count) {
    std::uint32_t put = 0;
    with_magazines(client, [&](const section_place& place) {
        put = section_put(&place, size_class, entries, count);
    });
    return put;
}

std::uint32_t magazine_take(int client, unsigned size_class, section_buffer& to, std::uint32_t most) {
    std::uint32_t taken = 0;
    with_magazines(client, [&](const section_place& place) {
        taken = section_take(&place, size_class, &to, most);
    });
    return taken;
}

void make_area(int client) {
    const Client& c = state->clients[client];
    const Pool& pool = state->pools[c.pool];
    auto* area = reinterpret_cast<struct quarry_client_area*>(state->area[client]);
    std::memset(static_cast<void*>(area), 0, sizeof *area);
    area->abi_version = state->abi_version;
    area->bytes = area_bytes;
    area->pool_id = pool.id;
    area->client_id = c.id;
    area->max_bytes = pool.max_bytes;
    area->kind = pool.kind;
    area->class_count = classes_of(pool);
    for (std::uint32_t i = 0; i < area->class_count; i++)
        area->class_size[i] = class_bytes(pool, static_cast<int>(i));
    area->blocks_offset = blocks_offset;
    area->block_bytes = block_bytes;
    if (!state->magazines || !area->class_count) return;
    area->cpus = most_cpus;
    for (std::uint32_t cpu = 0; cpu < most_cpus; cpu++) {
        auto* block = reinterpret_cast<struct quarry_cpu_block*>(state->area[client] + blocks_offset +
                                                                 cpu * block_bytes);
        for (std::uint32_t i = 0; i < area->class_count; i++) {
            block->magazine[i].first = block->magazine[i].top = first_of(i);
            block->magazine[i].end = first_of(i) + capacity;
        }
    }
}

std::uint32_t classes_of(const Pool& pool) {
    if (pool.kind == QUARRY_KIND_HEAP) return heap_classes;
    return pool.kind == QUARRY_KIND_FIXED && pool.object_size <= QUARRY_MOST_CLASS_BYTES;
}

std::uint32_t class_bytes(const Pool& pool, int size_class) {
    if (pool.kind == QUARRY_KIND_FIXED) return static_cast<std::uint32_t>(pool.object_size);
    return heap_class_bytes(static_cast<std::uint32_t>(size_class));
}

int class_of(const Pool& pool, std::uint64_t bytes, std::uint64_t align) {
    if (!quarry_has_class(bytes, align) || pool.kind == QUARRY_KIND_RANGE) return -1;
    return pool.kind == QUARRY_KIND_FIXED ? 0 : static_cast<int>(quarry_class_of(bytes, align));
}

// Alone on each magazine: shut it, interrupt who is in it, empty it, open it again.
void drain_magazines(int client) {
    Client& c = state->clients[client];
    Pool& pool = state->pools[c.pool];
    if (!state->magazines || c.process != getpid()) return;
    for (std::uint32_t cpu = 0; cpu < most_cpus; cpu++) {
        auto* entries = reinterpret_cast<std::uint32_t*>(state->area[client] + blocks_offset +
                                                         cpu * block_bytes);
        auto* block = reinterpret_cast<struct quarry_cpu_block*>(entries);
        bool any = false;
        for (std::uint32_t i = 0; i < classes_of(pool); i++) {
            struct quarry_magazine& m = block->magazine[i];
            if (__atomic_load_n(&m.top, __ATOMIC_ACQUIRE) == first_of(i)) continue;
            __atomic_store_n(&m.first, UINT32_MAX, __ATOMIC_RELAXED);
            __atomic_store_n(&m.end, 0u, __ATOMIC_RELEASE);
            any = true;
        }
        if (any && !section_interrupt(cpu)) continue;
        for (std::uint32_t i = 0; any && i < classes_of(pool); i++) {
            struct quarry_magazine& m = block->magazine[i];
            if (m.end) continue;
            for (std::uint32_t at = first_of(i); at < m.top; at++)
                if (!check_owned(client, entries[at] * std::uint64_t{QUARRY_GRAIN})) take_back(pool, entries[at]);
            __atomic_store_n(&m.top, first_of(i), __ATOMIC_RELAXED);
            __atomic_store_n(&m.first, first_of(i), __ATOMIC_RELAXED);
            __atomic_store_n(&m.end, first_of(i) + capacity, __ATOMIC_RELEASE);
        }
    }
}

std::uint64_t in_magazines(int client) {
    const Pool& pool = state->pools[state->clients[client].pool];
    std::uint64_t held = 0;
    for (std::uint32_t cpu = 0; state->magazines && cpu < most_cpus; cpu++) {
        const auto* block = reinterpret_cast<const struct quarry_cpu_block*>(
            state->area[client] + blocks_offset + cpu * block_bytes);
        for (std::uint32_t i = 0; i < classes_of(pool); i++)
            held += __atomic_load_n(&block->magazine[i].top, __ATOMIC_RELAXED) - first_of(i);
    }
    return held;
}

}  // namespace fake
