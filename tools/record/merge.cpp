// SPDX-License-Identifier: MIT
// See merge.hpp.
#include "merge.hpp"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "trace_writer.hpp"

namespace quarry::trace {
namespace {

// An input, at its next event.
struct Source {
    quarry_trace* trace;
    std::uint64_t start_ns;
    quarry_trace_event event;
    bool left;
    std::unordered_map<std::uint64_t, std::uint64_t> addresses;  // of living objects
    std::vector<std::uint32_t> threads;                          // theirs in the merged trace

    std::uint64_t ns() const { return start_ns + event.ns; }
};

constexpr std::uint32_t no_thread = UINT32_MAX;

class Merger {
public:
    explicit Merger(const quarry_trace_header& header)
        : start_ns_(header.monotonic_ns), writer_(header) {}

    void add(Source& source) {
        const quarry_trace_event& event = source.event;
        std::uint32_t& thread = source.threads[event.thread];
        if (thread == no_thread) thread = threads_++;
        const std::uint64_t ns = source.ns() - start_ns_;
        if (event.kind == QUARRY_TRACE_FREE) {
            put(thread, QUARRY_TRACE_OP_FREE, ns, source.addresses.at(event.object));
            source.addresses.erase(event.object);
            return;
        }
        if (event.kind == QUARRY_TRACE_RESIZED) {
            const std::uint64_t address = source.addresses.at(event.object);
            put(thread, QUARRY_TRACE_OP_REALLOC_BEGIN, ns, address);
            put(thread, QUARRY_TRACE_OP_REALLOC_END, ns, address, event.size);
            return;
        }
        // Addresses 16, 32, ...: one an object, never used again.
        const std::uint64_t address = ++objects_ << 4;
        source.addresses[event.object] = address;
        const auto align_log2 =
            static_cast<std::uint8_t>(event.align ? std::countr_zero(event.align) : 0);
        const auto op = event.kind == QUARRY_TRACE_ZEROED    ? QUARRY_TRACE_OP_CALLOC
                        : event.kind == QUARRY_TRACE_ALIGNED ? QUARRY_TRACE_OP_ALIGNED
                                                             : QUARRY_TRACE_OP_MALLOC;
        put(thread, op, ns, address, event.size, align_log2);
    }

    std::vector<std::uint8_t> finish(std::uint64_t dropped) {
        return writer_.finish(QUARRY_TRACE_WRITTEN, dropped);
    }

private:
    void put(std::uint32_t thread, quarry_trace_op op, std::uint64_t ns, std::uint64_t address,
             std::uint64_t size = 0, std::uint8_t align_log2 = 0) {
        writer_.add(thread, {number_++, ns, address, size, static_cast<std::uint8_t>(op), align_log2});
    }

    std::uint64_t start_ns_;
    std::uint64_t number_ = 0, objects_ = 0;
    std::uint32_t threads_ = 0;
    TraceWriter writer_;
};

bool finished(quarry_trace_status status) {
    return status == QUARRY_TRACE_DONE || status == QUARRY_TRACE_TRUNCATED;
}

}  // namespace

quarry_trace_status merge(const std::vector<quarry_trace*>& traces, const std::string& program,
                          std::vector<std::uint8_t>& bytes) {
    std::vector<Source> sources;
    quarry_trace_header header =
        make_header(program, "merged from " + std::to_string(traces.size()) + " traces");
    header.flags = QUARRY_TRACE_MERGED;
    header.monotonic_ns = UINT64_MAX;
    std::uint64_t dropped = 0;
    quarry_trace_status status = QUARRY_TRACE_OK;
    const auto advance = [&](Source& source) {
        status = quarry_trace_next(source.trace, &source.event);
        source.left = status == QUARRY_TRACE_OK;
        return source.left || finished(status);
    };
    for (quarry_trace* trace : traces) {
        const quarry_trace_info& info = *quarry_trace_get_info(trace);
        dropped += info.dropped;
        if (info.header.monotonic_ns < header.monotonic_ns) {
            header.monotonic_ns = info.header.monotonic_ns;
            header.realtime_ns = info.header.realtime_ns;
        }
        quarry_trace_rewind(trace);
        Source& source = sources.emplace_back();
        source.trace = trace;
        source.start_ns = info.header.monotonic_ns;
        source.threads.assign(info.threads, no_thread);
        if (!advance(source)) return status;
    }
    Merger merger(header);
    for (;;) {
        Source* first = nullptr;
        for (Source& source : sources)
            if (source.left && (!first || source.ns() < first->ns())) first = &source;
        if (!first) break;
        merger.add(*first);
        if (!advance(*first)) return status;
    }
    bytes = merger.finish(dropped);
    return QUARRY_TRACE_OK;
}

}  // namespace quarry::trace
