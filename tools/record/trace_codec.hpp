// SPDX-License-Identifier: MIT
//
// Events to bytes and back, and the CRC: the one place that knows the encoding of trace.h. Used by
// the recorder, the reader and the writer; allocates nothing, calls nothing, needs no library.
//
// Cost: 6-8 bytes and a few ns an event either way; the CRC goes 8 bytes a step.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "trace.h"

namespace quarry::trace {

// One event as it stands in a payload.
struct RawEvent {
    std::uint64_t number;
    std::uint64_t ns;
    std::uint64_t address;
    std::uint64_t size;
    std::uint8_t op;
    std::uint8_t align_log2;
};

// What an event is written relative to: the event before it in its block.
struct CodecState {
    std::uint64_t number;
    std::uint64_t ns;
    std::uint64_t key;

    static constexpr CodecState start_of(const quarry_trace_block& block) {
        return {block.first_event - 1, block.first_ns, 0};
    }
};

inline constexpr std::uint8_t step_flag = 8;
inline constexpr std::size_t crc_bytes = sizeof(std::uint32_t);

constexpr bool has_size(std::uint8_t op) {
    return op != QUARRY_TRACE_OP_FREE && op != QUARRY_TRACE_OP_REALLOC_BEGIN;
}

constexpr std::uint64_t zigzag(std::uint64_t delta) { return (delta << 1) ^ (0 - (delta >> 63)); }
constexpr std::uint64_t unzigzag(std::uint64_t code) { return (code >> 1) ^ (0 - (code & 1)); }

inline std::uint8_t* put_varint(std::uint8_t* out, std::uint64_t value) {
    while (value >= 0x80) {
        *out++ = static_cast<std::uint8_t>(value | 0x80);
        value >>= 7;
    }
    *out++ = static_cast<std::uint8_t>(value);
    return out;
}

// The byte after the varint at `in`, or null: it runs past `end`, or over 64 bits.
inline const std::uint8_t* get_varint(const std::uint8_t* in, const std::uint8_t* end,
                                      std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && in < end; shift += 7) {
        const std::uint64_t byte = *in++;
        if (shift == 63 && byte > 1) return nullptr;
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return in;
    }
    return nullptr;
}

// Writes `event` at `out`, where QUARRY_TRACE_MAX_EVENT bytes must be free; returns the end of it.
inline std::uint8_t* encode(std::uint8_t* out, CodecState& state, const RawEvent& event) {
    const std::uint64_t step = event.number - state.number;
    const std::uint64_t key = std::rotr(event.address, 4);
    *out++ = static_cast<std::uint8_t>(event.op | (step == 1 ? 0 : step_flag));
    if (step != 1) out = put_varint(out, step);
    out = put_varint(out, event.ns - state.ns);
    out = put_varint(out, zigzag(key - state.key));
    if (has_size(event.op)) out = put_varint(out, event.size);
    if (event.op == QUARRY_TRACE_OP_ALIGNED) *out++ = event.align_log2;
    state = {event.number, event.ns, key};
    return out;
}

// Reads the event at `in`; returns the end of it, or null: what stands there is no event.
inline const std::uint8_t* decode(const std::uint8_t* in, const std::uint8_t* end,
                                  CodecState& state, RawEvent& event) {
    if (in >= end || *in >= 2 * step_flag) return nullptr;
    const std::uint8_t op = *in & (step_flag - 1);
    if (op < QUARRY_TRACE_OP_MALLOC || op > QUARRY_TRACE_OP_FREE) return nullptr;
    std::uint64_t step = 1, ns = 0, key = 0, size = 0;
    std::uint8_t align_log2 = 0;
    const bool stepped = *in++ & step_flag;
    if (stepped && (!(in = get_varint(in, end, step)) || step < 2)) return nullptr;
    if (!(in = get_varint(in, end, ns))) return nullptr;
    if (!(in = get_varint(in, end, key))) return nullptr;
    if (has_size(op) && !(in = get_varint(in, end, size))) return nullptr;
    if (op == QUARRY_TRACE_OP_ALIGNED) {
        if (in >= end || *in > 63) return nullptr;
        align_log2 = *in++;
    }
    CodecState next = {state.number + step, state.ns + ns, state.key + unzigzag(key)};
    // Numbers and times only grow; the first event of a trace steps from -1 to 0.
    if (next.number < state.number && state.number != UINT64_MAX) return nullptr;
    if (next.ns < state.ns) return nullptr;
    const bool may_be_null = op == QUARRY_TRACE_OP_REALLOC_END;
    if (next.key == 0 && !may_be_null) return nullptr;
    state = next;
    event = {next.number, next.ns, std::rotl(next.key, 4), size, op, align_log2};
    return in;
}

namespace detail {

constexpr auto make_crc_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t byte = 0; byte < 256; byte++) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
        tables[0][byte] = crc;
    }
    for (std::size_t i = 1; i < 8; i++)
        for (std::size_t byte = 0; byte < 256; byte++)
            tables[i][byte] = (tables[i - 1][byte] >> 8) ^ tables[0][tables[i - 1][byte] & 0xff];
    return tables;
}

inline constexpr auto crc_tables = make_crc_tables();

}  // namespace detail

// CRC-32 as zlib's: crc32(0, data) begins, crc32(previous, data) continues. After Kounavis and
// Berry, "A Systematic Approach to Building High Performance Software-Based CRC Generators" (2005).
inline std::uint32_t crc32(std::uint32_t crc, const void* data, std::size_t bytes) {
    const auto& t = detail::crc_tables;
    const auto* in = static_cast<const std::uint8_t*>(data);
    crc = ~crc;
    if constexpr (std::endian::native == std::endian::little) {
        for (; bytes >= 8; bytes -= 8, in += 8) {
            std::uint64_t word;
            std::memcpy(&word, in, 8);
            word ^= crc;
            crc = 0;
            for (unsigned i = 0; i < 8; i++) crc ^= t[7 - i][(word >> (8 * i)) & 0xff];
        }
    }
    for (; bytes; bytes--) crc = (crc >> 8) ^ t[0][(crc ^ *in++) & 0xff];
    return ~crc;
}

// The CRCs of the three structs.
inline std::uint32_t crc_of(const quarry_trace_header& header) {
    return crc32(0, &header, sizeof(header) - crc_bytes);
}
inline std::uint32_t crc_of(const quarry_trace_end& end) {
    return crc32(0, &end, sizeof(end) - crc_bytes);
}
inline std::uint32_t crc_of(const quarry_trace_block& block, const void* payload) {
    return crc32(crc32(0, &block, sizeof(block) - crc_bytes), payload, block.payload_bytes);
}

}  // namespace quarry::trace
