// SPDX-License-Identifier: MIT
//
// Any bytes at all into the reader (its CRCs off, or nothing would get past them): it must answer
// without a fault, keep its promises to the caller, and use memory in proportion.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "trace.h"

namespace {

void require(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    quarry_trace* trace = nullptr;
    const quarry_trace_status opened = quarry_trace_open_memory(data, size, &trace);
    const bool open = opened == QUARRY_TRACE_OK || opened == QUARRY_TRACE_TRUNCATED;
    require(open == (trace != nullptr), "a trace if and only if it can be read");
    require(opened != QUARRY_TRACE_IO && opened != QUARRY_TRACE_NO_MEMORY, "no such trouble here");
    if (!trace) return 0;
    const std::uint32_t threads = quarry_trace_get_info(trace)->threads;
    std::unordered_map<std::uint64_t, std::uint64_t> live;  // sizes
    quarry_trace_event event;
    quarry_trace_status status;
    std::uint64_t objects = 0, number = 0, ns = 0, events = 0;
    while ((status = quarry_trace_next(trace, &event)) == QUARRY_TRACE_OK) {
        events++;
        require(event.thread < threads, "threads below info.threads");
        require(event.number >= number && event.ns >= ns, "numbers and times never fall");
        require(event.align == 0 || (event.align & (event.align - 1)) == 0, "a power of two");
#ifdef QUARRY_PLANTED_FAULT  // to see that the fuzzer gets this deep
        require(!event.implied, "a fault that was planted");
#endif
        number = event.number;
        ns = event.ns;
        if (event.kind == QUARRY_TRACE_FREE || event.kind == QUARRY_TRACE_RESIZED) {
            const auto found = live.find(event.object);
            require(found != live.end(), "only living objects die or change");
            const bool dies = event.kind == QUARRY_TRACE_FREE;
            require(found->second == (dies ? event.size : event.old_size), "the size it had");
            if (dies) live.erase(found);
            else found->second = event.size;
        } else {
            require(event.object == objects++, "objects count up");
            live[event.object] = event.size;
        }
        require(events <= 2 * size, "no more events than bytes allow");
    }
    require(status == QUARRY_TRACE_DONE || status == QUARRY_TRACE_TRUNCATED ||
                status == QUARRY_TRACE_CORRUPT, "an end that is one");
    require(quarry_trace_next(trace, &event) == status, "the end stays the end");
    require(quarry_trace_get_info(trace)->objects == objects || status == QUARRY_TRACE_CORRUPT,
            "objects are counted");
    quarry_trace_close(trace);
    return 0;
}
