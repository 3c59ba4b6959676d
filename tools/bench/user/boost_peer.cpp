// SPDX-License-Identifier: MIT
//
// Boost.Interprocess as a peer: managed_shared_memory by itself, or with BOOST_CACHED its
// cached_node_allocator, which keeps some nodes without a lock.
#include <unistd.h>

#include <boost/interprocess/allocators/cached_node_allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <memory>
#include <string>

#include "patterns.hpp"

namespace {

namespace ipc = boost::interprocess;

struct Segment {
    std::string name = "quarry-bench-" + std::to_string(getpid());
    ipc::managed_shared_memory memory{ipc::create_only, name.c_str(), 64 << 20};
    ~Segment() { ipc::shared_memory_object::remove(name.c_str()); }
    void finish() {}
};

#ifdef BOOST_CACHED
struct Object {
    char bytes[64];
};
using Nodes = ipc::cached_node_allocator<Object, ipc::managed_shared_memory::segment_manager>;
struct Calls {
    Nodes* nodes;
    void* alloc(uint64_t) const { return nodes->allocate_one().get(); }
    void free(void* object, uint64_t) const { nodes->deallocate_one(static_cast<Object*>(object)); }
};
struct Boost : Segment {
    Nodes nodes{memory.get_segment_manager()};
    Calls calls() { return {&nodes}; }
};
#else
struct Calls {
    ipc::managed_shared_memory* memory;
    void* alloc(uint64_t size) const { return memory->allocate(size); }
    void free(void* object, uint64_t) const { memory->deallocate(object); }
};
struct Boost : Segment {
    Calls calls() { return {&memory}; }
};
#endif

const bench::Cases boost_cases{{"shm-pair", nullptr, bench::hot_64<Boost>}};

}  // namespace
