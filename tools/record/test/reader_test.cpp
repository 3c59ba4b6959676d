// SPDX-License-Identifier: MIT
//
// The reader: what it makes of whole traces, and what it says of every other file.
#include <gtest/gtest.h>
#include <map>
#include <random>

#include "support.hpp"
#include "trace_writer.hpp"

namespace quarry::trace {
namespace {

constexpr std::uint64_t ns_step = 10;

// Writes records one after the other, numbered in this order.
class Script {
public:
    Script() : writer_(make_header("script", "script of a test")) {}

    Script& alloc(std::uint64_t address, std::uint64_t size, std::uint32_t thread = 0) {
        return put(QUARRY_TRACE_OP_MALLOC, address, size, thread);
    }
    Script& free(std::uint64_t address, std::uint32_t thread = 0) {
        return put(QUARRY_TRACE_OP_FREE, address, 0, thread);
    }
    Script& begin(std::uint64_t address, std::uint32_t thread = 0) {
        return put(QUARRY_TRACE_OP_REALLOC_BEGIN, address, 0, thread);
    }
    Script& end(std::uint64_t address, std::uint64_t size, std::uint32_t thread = 0) {
        return put(QUARRY_TRACE_OP_REALLOC_END, address, size, thread);
    }
    Script& put(quarry_trace_op op, std::uint64_t address, std::uint64_t size, std::uint32_t thread,
                std::uint8_t align_log2 = 0) {
        writer_.add(thread, {number_, number_ * ns_step, address, size,
                             static_cast<std::uint8_t>(op), align_log2});
        number_++;
        return *this;
    }
    Script& cut(std::uint32_t thread = 0) { return writer_.flush(thread), *this; }
    Script& number(std::uint64_t number) { return number_ = number, *this; }
    Bytes bytes() { return writer_.finish(QUARRY_TRACE_EXITED); }

private:
    TraceWriter writer_;
    std::uint64_t number_ = 0;
};

// A small trace with every record and three blocks of two threads.
Bytes sample() {
    Script script;
    script.alloc(0x1000, 24).put(QUARRY_TRACE_OP_CALLOC, 0x2000, 48, 0);
    script.put(QUARRY_TRACE_OP_ALIGNED, 0x4000, 100, 1, 12).begin(0x1000).cut();
    script.alloc(0x1000, 5, 1).end(0x8000, 4096).free(0x4000).free(0x2000, 1);
    return script.bytes();
}

quarry_trace_header& header_of(Bytes& bytes) {
    return *reinterpret_cast<quarry_trace_header*>(bytes.data());
}

void seal(Bytes& bytes) { header_of(bytes).crc = crc_of(header_of(bytes)); }

TEST(Reader, MakesEventsOfRecords) {
    const Read read = read_bytes(sample());
    EXPECT_EQ(read.opened, QUARRY_TRACE_OK);
    EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
    EXPECT_EQ(read.info.threads, 2u);
    EXPECT_EQ(read.info.blocks, 3u);
    EXPECT_EQ(read.info.records, 8u);
    EXPECT_EQ(read.info.lost, 0u);
    EXPECT_EQ(read.info.objects, 4u);
    EXPECT_STREQ(read.info.header.program, "script");
    ASSERT_EQ(read.events.size(), 7u);
    EXPECT_EQ(read.events[1].kind, QUARRY_TRACE_ZEROED);
    EXPECT_EQ(read.events[2].kind, QUARRY_TRACE_ALIGNED);
    EXPECT_EQ(read.events[2].align, 4096u);
    EXPECT_EQ(read.events[2].thread, 1u);
    EXPECT_EQ(read.events[3].object, 3u) << "an address that a realloc has left is another object";
    EXPECT_EQ(read.events[4].kind, QUARRY_TRACE_RESIZED);
    EXPECT_EQ(read.events[4].object, 0u);
    EXPECT_EQ(read.events[4].old_size, 24u);
    EXPECT_EQ(read.events[4].size, 4096u);
    EXPECT_EQ(read.events[5].born_thread, 1u);
    EXPECT_EQ(read.events[5].born_ns, 2 * ns_step);
    EXPECT_EQ(read.events[6].object, 1u);
}

TEST(Reader, ReadsAnEmptyTrace) {
    const Read read = read_bytes(TraceWriter(make_header("e", "")).finish(QUARRY_TRACE_EXITED));
    EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
    EXPECT_TRUE(read.events.empty());
}

TEST(Reader, RewindsToTheFirstEvent) {
    const Bytes bytes = sample();
    quarry_trace* trace = nullptr;
    ASSERT_EQ(quarry_trace_open_memory(bytes.data(), bytes.size(), &trace), QUARRY_TRACE_OK);
    std::vector<std::uint64_t> numbers[2];
    quarry_trace_event event;
    for (int stop : {3, 100}) {
        quarry_trace_rewind(trace);
        for (int i = 0; i < stop && quarry_trace_next(trace, &event) == QUARRY_TRACE_OK; i++)
            numbers[stop > 3].push_back(event.object * 1000 + event.number);
    }
    EXPECT_EQ(numbers[1].size(), 7u);
    numbers[1].resize(3);
    EXPECT_EQ(numbers[0], numbers[1]);
    quarry_trace_close(trace);
}

TEST(Reader, ARandomStreamComesBackAsItWas) {
    std::mt19937_64 random(20);
    Script script;
    struct Live {
        std::uint64_t address, object, size;
    };
    std::vector<Live> live;
    std::vector<quarry_trace_event> expected;
    std::uint64_t objects = 0, number = 0, next_address = 1 << 20;
    std::vector<std::uint64_t> reusable;
    const auto fresh = [&] {
        if (reusable.empty() || random() % 3 == 0) return next_address += 16 << random() % 12;
        const std::size_t i = random() % reusable.size();
        std::swap(reusable[i], reusable.back());
        const std::uint64_t address = reusable.back();
        reusable.pop_back();
        return address;
    };
    for (int i = 0; i < 300'000; i++) {
        const auto thread = static_cast<std::uint32_t>(random() % 5);
        const std::uint64_t size = random() >> random() % 64;
        quarry_trace_event event = {};
        if (live.empty() || random() % 5 < 2 + (i < 150'000)) {
            const std::uint64_t address = fresh();
            script.alloc(address, size, thread);
            live.push_back({address, objects, size});
            event.kind = QUARRY_TRACE_ALLOC;
            event.object = objects++;
            event.size = size;
        } else {
            std::swap(live[random() % live.size()], live.back());
            Live& victim = live.back();
            event.object = victim.object;
            if (random() % 4 == 0) {
                script.begin(victim.address, thread);
                number++;
                reusable.push_back(victim.address);
                event.old_size = victim.size;
                victim.address = fresh();
                victim.size = event.size = size | 1;
                script.end(victim.address, victim.size, thread);
                event.kind = QUARRY_TRACE_RESIZED;
            } else {
                script.free(victim.address, thread);
                event.kind = QUARRY_TRACE_FREE;
                event.size = victim.size;
                reusable.push_back(victim.address);
                live.pop_back();
            }
        }
        event.thread = thread;
        event.number = number++;
        expected.push_back(event);
    }
    const Read read = read_bytes(script.bytes());
    ASSERT_EQ(read.ended, QUARRY_TRACE_DONE);
    ASSERT_EQ(read.events.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); i++) {
        const auto& a = read.events[i];
        const auto& b = expected[i];
        ASSERT_TRUE(a.kind == b.kind && a.object == b.object && a.size == b.size &&
                    a.old_size == b.old_size && a.thread == b.thread && a.number == b.number &&
                    a.ns == b.number * ns_step)
            << i;
    }
    EXPECT_EQ(read.live(), live.size());
}

TEST(Reader, CountsFreesOfMemoryFromBefore) {
    const Read read = read_bytes(Script().free(0x10).alloc(0x20, 1).begin(0x30).end(0x40, 9).bytes());
    EXPECT_EQ(read.info.unknown_frees, 2u);
    ASSERT_EQ(read.events.size(), 2u);
    EXPECT_EQ(read.events[1].kind, QUARRY_TRACE_ALLOC);
    EXPECT_EQ(read.events[1].size, 9u);
}

TEST(Reader, AnAddressHandedOutTwiceImpliesAFree) {
    const Read read = read_bytes(Script().alloc(0x20, 7).alloc(0x20, 8, 1).free(0x20).bytes());
    EXPECT_EQ(read.info.implied_frees, 1u);
    ASSERT_EQ(read.events.size(), 4u);
    EXPECT_EQ(read.events[1].kind, QUARRY_TRACE_FREE);
    EXPECT_EQ(read.events[1].implied, 1u);
    EXPECT_EQ(read.events[1].object, 0u);
    EXPECT_EQ(read.events[2].object, 1u);
    EXPECT_EQ(read.events[3].object, 1u);
}

TEST(Reader, AFailedReallocLeavesTheObject) {
    const Read read = read_bytes(Script().alloc(0x20, 7).begin(0x20).end(0, 1 << 30).free(0x20).bytes());
    EXPECT_EQ(read.info.failed_reallocs, 1u);
    ASSERT_EQ(read.events.size(), 2u);
    EXPECT_EQ(read.events[1].size, 7u);
}

TEST(Reader, AReallocToNothingIsAFree) {
    const Read read = read_bytes(Script().alloc(0x20, 7).begin(0x20).end(0, 0).bytes());
    ASSERT_EQ(read.events.size(), 2u);
    EXPECT_EQ(read.events[1].kind, QUARRY_TRACE_FREE);
    EXPECT_EQ(read.info.failed_reallocs, 0u);
}

TEST(Reader, NumbersThreadsWithoutGaps) {
    const Read read = read_bytes(Script().alloc(16, 1, 7).alloc(32, 2, 4'000'000'000).bytes());
    EXPECT_EQ(read.info.threads, 2u);
    ASSERT_EQ(read.events.size(), 2u);
    EXPECT_EQ(read.events[0].thread, 0u);
    EXPECT_EQ(read.events[1].thread, 1u);
}

TEST(Reader, CountsNumbersWithoutAnEvent) {
    EXPECT_EQ(read_bytes(Script().alloc(16, 1).number(5).alloc(32, 1).bytes()).info.lost, 4u);
}

TEST(Reader, TellsWhatIsNoTrace) {
    const Bytes elf = {0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    EXPECT_EQ(read_bytes(elf).opened, QUARRY_TRACE_NOT_A_TRACE);
    EXPECT_EQ(read_bytes({'x'}).opened, QUARRY_TRACE_NOT_A_TRACE);
    EXPECT_EQ(read_bytes(Bytes(1000, 0)).opened, QUARRY_TRACE_NOT_A_TRACE);
}

TEST(Reader, TellsAnotherVersion) {
    Bytes bytes = sample();
    header_of(bytes).version = QUARRY_TRACE_VERSION + 1;
    seal(bytes);
    EXPECT_EQ(read_bytes(bytes).opened, QUARRY_TRACE_WRONG_VERSION);
}

TEST(Reader, TellsAnotherByteOrder) {
    Bytes bytes = sample();
    header_of(bytes).byte_order = __builtin_bswap32(QUARRY_TRACE_BYTE_ORDER);
    EXPECT_EQ(read_bytes(bytes).opened, QUARRY_TRACE_WRONG_BYTE_ORDER);
}

TEST(Reader, TellsFilesThatCannotBeRead) {
    quarry_trace* trace = nullptr;
    EXPECT_EQ(quarry_trace_open("/nonexistent", &trace), QUARRY_TRACE_IO);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(trace, nullptr);
    EXPECT_EQ(quarry_trace_open("/", &trace), QUARRY_TRACE_IO);
    EXPECT_EQ(errno, EISDIR);
    EXPECT_EQ(quarry_trace_open("/dev/zero", &trace), QUARRY_TRACE_IO);
}

TEST(Reader, EveryPrefixOfATraceIsTruncatedAndReadable) {
    const Bytes bytes = sample();
    const Read whole = read_bytes(bytes);
    std::size_t most = 0;
    for (std::size_t length = 0; length < bytes.size(); length++) {
        SCOPED_TRACE(length);
        const Read read = read_bytes({bytes.begin(), bytes.begin() + static_cast<long>(length)});
        ASSERT_EQ(read.opened, QUARRY_TRACE_TRUNCATED);
        ASSERT_EQ(read.ended, QUARRY_TRACE_TRUNCATED);
        ASSERT_EQ(read.info.truncated, 1u);
        ASSERT_LE(read.info.bytes, length);
        ASSERT_LE(read.events.size(), whole.events.size());
        most = std::max(most, read.events.size());
    }
    EXPECT_EQ(most, whole.events.size());
}

TEST(Reader, EveryFlippedBitIsNoticed) {
    const Bytes bytes = sample();
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit++) {
        Bytes bad = bytes;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        const quarry_trace_status status = read_bytes(bad).opened;
        // Never OK. A length that grew past the end of the file looks torn.
        ASSERT_NE(status, QUARRY_TRACE_OK) << "bit " << bit;
        if (status == QUARRY_TRACE_TRUNCATED) {
            ASSERT_GE(bit / 8, sizeof(quarry_trace_header));
        }
    }
}

TEST(Reader, BytesBehindTheEndAreCorrupt) {
    Bytes bytes = sample();
    bytes.push_back(0);
    EXPECT_EQ(read_bytes(bytes).opened, QUARRY_TRACE_CORRUPT);
}

TEST(Reader, ABlockThatStandsTwiceIsCorrupt) {
    Bytes bytes = Script().alloc(0x20, 7).alloc(0x30, 8).bytes();
    const Bytes block(bytes.begin() + sizeof(quarry_trace_header),
                      bytes.end() - sizeof(quarry_trace_end));
    bytes.insert(bytes.begin() + sizeof(quarry_trace_header), block.begin(), block.end());
    auto* end = reinterpret_cast<quarry_trace_end*>(&*(bytes.end() - sizeof(quarry_trace_end)));
    end->events *= 2;
    end->crc = crc_of(*end);
    EXPECT_EQ(read_bytes(bytes).opened, QUARRY_TRACE_CORRUPT);
}

TEST(Reader, OneNumberInTwoThreadsIsCorrupt) {
    const Read read = read_bytes(
        Script().alloc(16, 1).number(9).alloc(32, 2).number(9).alloc(48, 3, 1).bytes());
    EXPECT_EQ(read.opened, QUARRY_TRACE_OK);
    EXPECT_EQ(read.ended, QUARRY_TRACE_CORRUPT);
}

TEST(Reader, AReallocThatEndsWithoutABeginIsCorrupt) {
    EXPECT_EQ(read_bytes(Script().alloc(16, 1).end(32, 2).bytes()).ended, QUARRY_TRACE_CORRUPT);
    EXPECT_EQ(read_bytes(Script().alloc(16, 1).begin(16).free(32).bytes()).ended,
              QUARRY_TRACE_CORRUPT);
    EXPECT_EQ(read_bytes(Script().alloc(16, 1).begin(16).begin(32).bytes()).ended,
              QUARRY_TRACE_CORRUPT);
}

TEST(Reader, AReallocWithoutAnEndAtTheVeryEndIsFine) {
    EXPECT_EQ(read_bytes(Script().alloc(16, 1).begin(16).bytes()).ended, QUARRY_TRACE_DONE);
}

TEST(Codec, VarintsOfEveryLengthComeBack) {
    for (unsigned bits = 0; bits <= 64; bits++) {
        const std::uint64_t value = bits == 64 ? UINT64_MAX : (std::uint64_t{1} << bits) - 1;
        std::uint8_t bytes[16];
        const std::uint8_t* end = put_varint(bytes, value);
        EXPECT_LE(end - bytes, 10);
        std::uint64_t back = 0;
        EXPECT_EQ(get_varint(bytes, end, back), end);
        EXPECT_EQ(back, value);
        EXPECT_EQ(get_varint(bytes, end - 1, back), nullptr);
    }
    const std::uint8_t over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    std::uint64_t value;
    EXPECT_EQ(get_varint(over, over + sizeof(over), value), nullptr) << "66 bits";
}

TEST(Codec, TheLongestEventFits) {
    CodecState state = {0, 0, 0};
    std::uint8_t bytes[QUARRY_TRACE_MAX_EVENT];
    const RawEvent event = {UINT64_MAX, UINT64_MAX, std::uint64_t{1} << 63 >> 1 << 4 | 8, UINT64_MAX,
                            QUARRY_TRACE_OP_ALIGNED, 63};
    EXPECT_LE(encode(bytes, state, event) - bytes, QUARRY_TRACE_MAX_EVENT);
}

TEST(Codec, TheCrcIsThatOfZlib) {
    EXPECT_EQ(crc32(0, "123456789", 9), 0xcbf43926u);
    EXPECT_EQ(crc32(crc32(0, "1234", 4), "56789", 5), 0xcbf43926u);
    EXPECT_EQ(crc32(0, "", 0), 0u);
}

}  // namespace
}  // namespace quarry::trace
