// SPDX-License-Identifier: MIT
//
// iceoryx' MemPool as a peer: equal chunks of shared memory behind a lock-free list of indices.
#include <sys/mman.h>

#include <iceoryx_hoofs/internal/posix_wrapper/shared_memory_object/allocator.hpp>
#include <iceoryx_posh/internal/mepoo/mem_pool.hpp>

#include "patterns.hpp"

namespace {

constexpr uint64_t kBytes = 16 << 20;

void* shared_memory() {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) bench::die("no memory");
    return memory;
}

struct Calls {
    iox::mepoo::MemPool* pool;
    void* alloc(uint64_t) const {
        void* object = pool->getChunk();
        if (!object) [[unlikely]]
            bench::die("an allocation failed");
        return object;
    }
    void free(void* object, uint64_t) const { pool->freeChunk(object); }
};
struct Iceoryx {
    iox::posix::Allocator memory{shared_memory(), kBytes};
    iox::mepoo::MemPool pool{64, 1 << 14, memory, memory};
    Calls calls() { return {&pool}; }
    void finish() {}
};

const bench::Cases iceoryx_cases{{"shm-pair", nullptr, bench::hot_64<Iceoryx>}};

}  // namespace
