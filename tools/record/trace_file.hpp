// SPDX-License-Identifier: MIT
//
// A trace's bytes, checked, and its records merged: all threads' events in the order of their
// numbers. Addresses stay addresses here; trace_reader.cpp makes objects of them.
//
// The bytes are hostile: every length is checked before it is used, and memory is bounded by a small
// multiple of their number. Opening decodes every event once for its block and once for its thread,
// about 20 ns an event; next() is O(log threads).
#pragma once

#include <cstddef>
#include <cstdint>

#include "trace.h"
#include "trace_codec.hpp"

namespace quarry::trace {

class TraceFile {
public:
    TraceFile() = default;
    TraceFile(const TraceFile&) = delete;
    TraceFile& operator=(const TraceFile&) = delete;
    ~TraceFile();

    // As quarry_trace_open_memory(). Once.
    quarry_trace_status open(const void* data, std::size_t bytes);
    // The next record and whose it is; threads are numbered without gaps.
    quarry_trace_status next(RawEvent& raw, std::uint32_t& thread);
    void rewind();

    quarry_trace_info& info() { return info_; }
    const quarry_trace_info& info() const { return info_; }

private:
    struct BlockRef {
        std::size_t offset;
        std::uint32_t thread;
    };

    // Where the merge stands in one thread's blocks; `event` is its next one.
    struct Cursor {
        std::size_t block, last_block;  // indices into blocks_; last_block is one past
        const std::uint8_t* at;
        const std::uint8_t* end;
        CodecState state;
        RawEvent event;
        std::uint32_t thread;
    };

    static int by_thread_then_offset(const void* a, const void* b);

    quarry_trace_status check_header();
    quarry_trace_status check_blocks();
    quarry_trace_status check_block(std::size_t offset, quarry_trace_block& block);
    quarry_trace_status check_end(std::size_t offset);
    quarry_trace_status check_threads();
    quarry_trace_status make_cursors();
    bool remember(std::size_t offset, std::uint32_t thread);
    bool start_block(Cursor& cursor);
    bool advance(Cursor& cursor);
    void sink(std::size_t i);

    const std::uint8_t* data_ = nullptr;
    std::size_t bytes_ = 0;
    quarry_trace_info info_ = {};
    BlockRef* blocks_ = nullptr;
    std::size_t block_count_ = 0, block_capacity_ = 0;
    Cursor* cursors_ = nullptr;  // a thread each
    Cursor** heap_ = nullptr;    // those with an event left, the smallest number first
    std::size_t cursor_count_ = 0, heap_count_ = 0;
    std::uint64_t highest_ = 0;  // number of any event, plus 1
    std::uint64_t last_number_ = 0, last_ns_ = 0;
    bool any_ = false;
};

}  // namespace quarry::trace
