// SPDX-License-Identifier: MIT
// See trace_file.hpp.
#include "trace_file.hpp"

#include <cstdlib>
#include <cstring>

namespace quarry::trace {
namespace {

// A fuzzer would never find a valid CRC: its build takes any, so that it reaches what is behind.
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
constexpr bool check_crc = false;
#else
constexpr bool check_crc = true;
#endif

}  // namespace

TraceFile::~TraceFile() {
    std::free(blocks_);
    std::free(cursors_);
    std::free(heap_);
}

int TraceFile::by_thread_then_offset(const void* a, const void* b) {
    const auto& x = *static_cast<const BlockRef*>(a);
    const auto& y = *static_cast<const BlockRef*>(b);
    if (x.thread != y.thread) return x.thread < y.thread ? -1 : 1;
    return x.offset < y.offset ? -1 : x.offset > y.offset;
}

quarry_trace_status TraceFile::check_header() {
    const std::size_t magic = bytes_ < sizeof(info_.header.magic) ? bytes_ : 8;
    if (std::memcmp(data_, QUARRY_TRACE_MAGIC, magic)) return QUARRY_TRACE_NOT_A_TRACE;
    auto& header = info_.header;
    std::memcpy(&header, data_, bytes_ < sizeof(header) ? bytes_ : sizeof(header));
    if (bytes_ >= 12 && header.byte_order != QUARRY_TRACE_BYTE_ORDER)
        return header.byte_order == std::uint32_t{0x04030201} ? QUARRY_TRACE_WRONG_BYTE_ORDER
                                                              : QUARRY_TRACE_CORRUPT;
    if (bytes_ >= 14 && header.version != QUARRY_TRACE_VERSION) return QUARRY_TRACE_WRONG_VERSION;
    if (bytes_ < sizeof(header)) {
        // Torn before the first block: nothing is known but that this was to be a trace.
        header = {};
        return QUARRY_TRACE_TRUNCATED;
    }
    const bool good = header.header_bytes == sizeof(header) && header.reserved == 0 &&
                      !header.program[sizeof(header.program) - 1] &&
                      !header.command[sizeof(header.command) - 1] &&
                      (!check_crc || header.crc == crc_of(header));
    return good ? QUARRY_TRACE_OK : QUARRY_TRACE_CORRUPT;
}

quarry_trace_status TraceFile::check_end(std::size_t offset) {
    quarry_trace_end end;
    if (bytes_ - offset < sizeof(end)) return QUARRY_TRACE_TRUNCATED;
    std::memcpy(&end, data_ + offset, sizeof(end));
    if (check_crc && end.crc != crc_of(end)) return QUARRY_TRACE_CORRUPT;
    if (end.events != info_.records || bytes_ - offset != sizeof(end) ||
        end.reason < QUARRY_TRACE_EXITED || end.reason > QUARRY_TRACE_WRITTEN ||
        end.numbered < highest_)
        return QUARRY_TRACE_CORRUPT;
    info_.reason = end.reason;
    info_.dropped = end.dropped;
    info_.bytes = bytes_;
    highest_ = end.numbered;
    return QUARRY_TRACE_OK;
}

// Checks the block and every event in it.
quarry_trace_status TraceFile::check_block(std::size_t offset, quarry_trace_block& block) {
    const std::size_t left = bytes_ - offset;
    if (left < sizeof(block)) return QUARRY_TRACE_TRUNCATED;
    std::memcpy(&block, data_ + offset, sizeof(block));
    if (block.payload_bytes == 0 || block.payload_bytes > QUARRY_TRACE_MAX_PAYLOAD ||
        block.events == 0 || block.reserved != 0)
        return QUARRY_TRACE_CORRUPT;
    if (left - sizeof(block) < block.payload_bytes) return QUARRY_TRACE_TRUNCATED;
    const std::uint8_t* at = data_ + offset + sizeof(block);
    const std::uint8_t* end = at + block.payload_bytes;
    if (check_crc && block.crc != crc_of(block, at)) return QUARRY_TRACE_CORRUPT;
    CodecState state = CodecState::start_of(block);
    RawEvent event;
    for (std::uint32_t i = 0; i < block.events; i++) {
        at = decode(at, end, state, event);
        if (!at || (i == 0 && (event.number != block.first_event || event.ns != block.first_ns)))
            return QUARRY_TRACE_CORRUPT;
    }
    if (at != end || event.number == UINT64_MAX) return QUARRY_TRACE_CORRUPT;
    if (event.number + 1 > highest_) highest_ = event.number + 1;
    return QUARRY_TRACE_OK;
}

bool TraceFile::remember(std::size_t offset, std::uint32_t thread) {
    if (block_count_ == block_capacity_) {
        const std::size_t wanted = block_capacity_ ? 2 * block_capacity_ : 64;
        void* bigger = std::realloc(blocks_, wanted * sizeof(BlockRef));
        if (!bigger) return false;
        blocks_ = static_cast<BlockRef*>(bigger);
        block_capacity_ = wanted;
    }
    blocks_[block_count_++] = {offset, thread};
    return true;
}

quarry_trace_status TraceFile::check_blocks() {
    for (std::size_t offset = sizeof(info_.header);;) {
        std::uint32_t mark;
        info_.bytes = offset;
        if (bytes_ - offset < sizeof(mark)) return QUARRY_TRACE_TRUNCATED;
        std::memcpy(&mark, data_ + offset, sizeof(mark));
        if (mark == QUARRY_TRACE_END_MARK) return check_end(offset);
        if (mark != QUARRY_TRACE_BLOCK_MARK) return QUARRY_TRACE_CORRUPT;
        quarry_trace_block block;
        const quarry_trace_status status = check_block(offset, block);
        if (status != QUARRY_TRACE_OK) return status;
        if (!remember(offset, block.thread)) return QUARRY_TRACE_NO_MEMORY;
        info_.blocks++;
        info_.records += block.events;
        offset += sizeof(block) + block.payload_bytes;
    }
}

quarry_trace_status TraceFile::make_cursors() {
    if (!block_count_) return QUARRY_TRACE_OK;
    std::qsort(blocks_, block_count_, sizeof(BlockRef), by_thread_then_offset);
    cursor_count_ = 1;
    for (std::size_t i = 1; i < block_count_; i++)
        cursor_count_ += blocks_[i].thread != blocks_[i - 1].thread;
    cursors_ = static_cast<Cursor*>(std::calloc(cursor_count_, sizeof(Cursor)));
    heap_ = static_cast<Cursor**>(std::calloc(cursor_count_, sizeof(Cursor*)));
    if (!cursors_ || !heap_) return QUARRY_TRACE_NO_MEMORY;
    std::size_t block = 0;
    for (std::size_t i = 0; i < cursor_count_; i++) {
        Cursor& cursor = cursors_[i];
        const std::uint32_t thread = blocks_[block].thread;
        cursor.thread = static_cast<std::uint32_t>(i);
        cursor.block = block;
        while (block < block_count_ && blocks_[block].thread == thread) block++;
        cursor.last_block = block;
    }
    info_.threads = static_cast<std::uint32_t>(cursor_count_);
    return check_threads();
}

// One thread's numbers and times must grow from block to block.
quarry_trace_status TraceFile::check_threads() {
    for (std::size_t i = 0; i < cursor_count_; i++) {
        Cursor cursor = cursors_[i];
        if (!start_block(cursor)) return QUARRY_TRACE_CORRUPT;
        for (RawEvent before = cursor.event; advance(cursor); before = cursor.event)
            if (cursor.event.number <= before.number || cursor.event.ns < before.ns)
                return QUARRY_TRACE_CORRUPT;
    }
    return QUARRY_TRACE_OK;
}

quarry_trace_status TraceFile::open(const void* data, std::size_t bytes) {
    data_ = static_cast<const std::uint8_t*>(bytes ? data : "");  // nothing may come as a null
    bytes_ = bytes;
    quarry_trace_status status = check_header();
    if (status == QUARRY_TRACE_OK) status = check_blocks();
    if (status == QUARRY_TRACE_OK || status == QUARRY_TRACE_TRUNCATED) {
        info_.truncated = status == QUARRY_TRACE_TRUNCATED;
        info_.lost = highest_ - info_.records;
        if (highest_ < info_.records) return QUARRY_TRACE_CORRUPT;
        const quarry_trace_status cursors = make_cursors();
        if (cursors != QUARRY_TRACE_OK) return cursors;
        rewind();
    }
    return status;
}

bool TraceFile::start_block(Cursor& cursor) {
    quarry_trace_block block;
    std::memcpy(&block, data_ + blocks_[cursor.block].offset, sizeof(block));
    cursor.at = data_ + blocks_[cursor.block].offset + sizeof(block);
    cursor.end = cursor.at + block.payload_bytes;
    cursor.state = CodecState::start_of(block);
    cursor.at = decode(cursor.at, cursor.end, cursor.state, cursor.event);
    return cursor.at != nullptr;
}

// To the thread's next event; false: it has none.
bool TraceFile::advance(Cursor& cursor) {
    if (cursor.at == cursor.end) return ++cursor.block < cursor.last_block && start_block(cursor);
    cursor.at = decode(cursor.at, cursor.end, cursor.state, cursor.event);
    return cursor.at != nullptr;
}

void TraceFile::sink(std::size_t i) {
    for (;;) {
        std::size_t least = i;
        for (std::size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap_count_; child++)
            if (heap_[child]->event.number < heap_[least]->event.number) least = child;
        if (least == i) return;
        Cursor* const swapped = heap_[i];
        heap_[i] = heap_[least];
        heap_[least] = swapped;
        i = least;
    }
}

void TraceFile::rewind() {
    std::size_t block = 0;
    heap_count_ = 0;
    for (std::size_t i = 0; i < cursor_count_; i++) {
        Cursor& cursor = cursors_[i];
        cursor.block = block;
        block = cursor.last_block;
        if (start_block(cursor)) heap_[heap_count_++] = &cursor;
    }
    for (std::size_t i = heap_count_; i-- > 0;) sink(i);
    any_ = false;
    last_ns_ = 0;
}

quarry_trace_status TraceFile::next(RawEvent& raw, std::uint32_t& thread) {
    if (!heap_count_) return info_.truncated ? QUARRY_TRACE_TRUNCATED : QUARRY_TRACE_DONE;
    Cursor& cursor = *heap_[0];
    raw = cursor.event;
    thread = cursor.thread;
    if (any_ && raw.number <= last_number_) return QUARRY_TRACE_CORRUPT;
    any_ = true;
    last_number_ = raw.number;
    // Two threads' clocks are read apart from their numbers: let time stand rather than fall.
    if (raw.ns < last_ns_) raw.ns = last_ns_;
    last_ns_ = raw.ns;
    if (!advance(cursor)) heap_[0] = heap_[--heap_count_];
    sink(0);
    return QUARRY_TRACE_OK;
}

}  // namespace quarry::trace
