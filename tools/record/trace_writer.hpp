// SPDX-License-Identifier: MIT
//
// Writes a trace from events that a tool has in hand: for `quarry-trace merge` and the tests. The
// recorder has its own writer, which may not allocate.
//
// Memory: the whole trace, plus a block a thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "trace_codec.hpp"

namespace quarry::trace {

// The fixed fields of a header; the caller sets the others and the writer the CRC.
inline quarry_trace_header make_header(const std::string& program, const std::string& command) {
    quarry_trace_header header = {};
    std::memcpy(header.magic, QUARRY_TRACE_MAGIC, sizeof(header.magic));
    header.byte_order = QUARRY_TRACE_BYTE_ORDER;
    header.version = QUARRY_TRACE_VERSION;
    header.header_bytes = sizeof(header);
    program.copy(header.program, sizeof(header.program) - 1);
    command.copy(header.command, sizeof(header.command) - 1);
    return header;
}

class TraceWriter {
public:
    explicit TraceWriter(quarry_trace_header header) {
        header.crc = crc_of(header);
        append(&header, sizeof(header));
    }

    // Numbers must differ, and grow within a thread; times must not fall within a thread.
    void add(std::uint32_t thread, const RawEvent& event) {
        Thread& to = threads_[thread];
        if (to.payload.size() + QUARRY_TRACE_MAX_EVENT > QUARRY_TRACE_MAX_PAYLOAD) flush(to);
        if (to.payload.empty()) {
            to.block = {QUARRY_TRACE_BLOCK_MARK, 0, 0, thread, event.number, event.ns, 0, 0};
            to.state = CodecState::start_of(to.block);
        }
        std::uint8_t bytes[QUARRY_TRACE_MAX_EVENT];
        std::uint8_t* end = encode(bytes, to.state, event);
        to.payload.insert(to.payload.end(), bytes, end);
        to.block.events++;
        events_++;
        if (event.number >= numbered_) numbered_ = event.number + 1;
    }

    // Ends the block of `thread`; what it does next stands in a new one.
    void flush(std::uint32_t thread) { flush(threads_[thread]); }

    // Ends the trace and returns its bytes.
    std::vector<std::uint8_t> finish(quarry_trace_reason reason, std::uint64_t dropped = 0) {
        for (auto& [number, thread] : threads_) flush(thread);
        quarry_trace_end end = {QUARRY_TRACE_END_MARK, reason, events_, dropped, numbered_,
                                static_cast<std::uint32_t>(threads_.size()), 0};
        end.crc = crc_of(end);
        append(&end, sizeof(end));
        return std::move(bytes_);
    }

private:
    struct Thread {
        quarry_trace_block block;
        CodecState state;
        std::vector<std::uint8_t> payload;
    };

    void append(const void* data, std::size_t bytes) {
        const auto* in = static_cast<const std::uint8_t*>(data);
        bytes_.insert(bytes_.end(), in, in + bytes);
    }

    void flush(Thread& thread) {
        if (thread.payload.empty()) return;
        thread.block.payload_bytes = static_cast<std::uint32_t>(thread.payload.size());
        thread.block.crc = crc_of(thread.block, thread.payload.data());
        append(&thread.block, sizeof(thread.block));
        append(thread.payload.data(), thread.payload.size());
        thread.payload.clear();
    }

    std::vector<std::uint8_t> bytes_;
    std::map<std::uint32_t, Thread> threads_;
    std::uint64_t events_ = 0, numbered_ = 0;
};

}  // namespace quarry::trace
