// SPDX-License-Identifier: MIT
// From a trace file to the program that the player plays.
#include "../program.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "record/trace_writer.hpp"

namespace quarryctl {
namespace {

using quarry::trace::RawEvent;
using quarry::trace::TraceWriter;

class LoadProgram : public testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/quarry-trace-XXXXXX";
        const int fd = mkstemp(name);
        ASSERT_GE(fd, 0);
        close(fd);
        path_ = name;
    }
    void TearDown() override { unlink(path_.c_str()); }

    // Loads what `writer` wrote, `cut` bytes short.
    bool load(TraceWriter& writer, std::size_t cut = 0) {
        std::vector<std::uint8_t> bytes = writer.finish(QUARRY_TRACE_EXITED);
        bytes.resize(bytes.size() - cut);
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
        return load_program(path_, program_, why_);
    }

    void expect_event(std::size_t at, std::uint32_t object, std::uint32_t thread, bool is_free) {
        ASSERT_LT(at, program_.events.size());
        EXPECT_EQ(program_.events[at].object, object) << at;
        EXPECT_EQ(program_.events[at].thread, thread) << at;
        EXPECT_EQ(program_.events[at].is_free, is_free) << at;
    }

    TraceWriter writer_{quarry::trace::make_header("test", "test")};
    Program program_;
    std::string path_, why_;
};

RawEvent raw(std::uint64_t number, std::uint8_t op, std::uint64_t address, std::uint64_t size = 0,
             std::uint8_t align_log2 = 0) {
    return {number, number * 10, address, size, op, align_log2};
}

TEST_F(LoadProgram, KeepsOrderSizesAlignmentsAndThreads) {
    writer_.add(0, raw(0, QUARRY_TRACE_OP_MALLOC, 0x1000, 100));
    writer_.add(1, raw(1, QUARRY_TRACE_OP_CALLOC, 0x2000, 200));
    writer_.add(0, raw(2, QUARRY_TRACE_OP_ALIGNED, 0x3000, 300, 6));
    writer_.add(1, raw(3, QUARRY_TRACE_OP_FREE, 0x1000));
    ASSERT_TRUE(load(writer_)) << why_;
    EXPECT_EQ(program_.threads, 2u);
    ASSERT_EQ(program_.events.size(), 4u);
    expect_event(0, 0, 0, false);
    expect_event(1, 1, 1, false);
    expect_event(2, 2, 0, false);
    expect_event(3, 0, 1, true);
    EXPECT_EQ(program_.objects[0].bytes, 100u);
    EXPECT_EQ(program_.objects[1].align, 0u);
    EXPECT_EQ(program_.objects[2].bytes, 300u);
    EXPECT_EQ(program_.objects[2].align, 64u);
}

TEST_F(LoadProgram, AReallocIsANewObjectAndThenTheEndOfTheOld) {
    writer_.add(0, raw(0, QUARRY_TRACE_OP_MALLOC, 0x1000, 100));
    writer_.add(0, raw(1, QUARRY_TRACE_OP_REALLOC_BEGIN, 0x1000));
    writer_.add(0, raw(2, QUARRY_TRACE_OP_REALLOC_END, 0x5000, 400));
    writer_.add(0, raw(3, QUARRY_TRACE_OP_FREE, 0x5000));
    ASSERT_TRUE(load(writer_)) << why_;
    ASSERT_EQ(program_.events.size(), 4u);
    expect_event(0, 0, 0, false);
    expect_event(1, 1, 0, false);
    expect_event(2, 0, 0, true);
    expect_event(3, 1, 0, true);
    EXPECT_EQ(program_.objects[1].bytes, 400u);
}

TEST_F(LoadProgram, AnObjectOfNoBytesAsksForOne) {
    writer_.add(0, raw(0, QUARRY_TRACE_OP_MALLOC, 0x1000, 0));
    ASSERT_TRUE(load(writer_)) << why_;
    EXPECT_EQ(program_.objects[0].bytes, 1u);
}

TEST_F(LoadProgram, ATornTraceIsPlayedUpToTheTear) {
    writer_.add(0, raw(0, QUARRY_TRACE_OP_MALLOC, 0x1000, 64));
    ASSERT_TRUE(load(writer_, sizeof(quarry_trace_end))) << why_;
    EXPECT_EQ(program_.events.size(), 1u);
}

TEST_F(LoadProgram, WhatIsNoTraceIsRefusedWithAReason) {
    EXPECT_FALSE(load_program("/nonexistent/trace", program_, why_));
    EXPECT_NE(why_.find("No such file"), std::string::npos) << why_;
    EXPECT_FALSE(load_program("/proc/self/exe", program_, why_));
    EXPECT_FALSE(why_.empty());
    EXPECT_FALSE(load(writer_)) << "no event at all";
    EXPECT_NE(why_.find("no allocation"), std::string::npos) << why_;
}

}  // namespace
}  // namespace quarryctl
