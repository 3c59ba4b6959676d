// SPDX-License-Identifier: MIT
//
// quarry-trace, as a user calls it; the reader from C; merged traces.
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support.hpp"
#include "victim.h"

namespace quarry::trace {
namespace {

using nlohmann::json;

Ran tool(const std::string& arguments) { return run(record_build("quarry-trace") + " " + arguments); }

std::string recorded(const Folder& folder, const std::string& mode) {
    EXPECT_TRUE(record(folder, mode).exited(0));
    const auto traces = folder.traces("victim");
    return traces.empty() ? "" : traces[0];
}

TEST(Tool, InfoTellsSizesLifetimesThreadsAndPeaks) {
    const Folder folder;
    const Ran ran = tool("info --json " + recorded(folder, "threads"));
    ASSERT_TRUE(ran.exited(0)) << ran.err;
    const json info = json::parse(ran.out);
    EXPECT_EQ(info["program"], "victim");
    EXPECT_EQ(info["end"], "exit");
    EXPECT_EQ(info["truncated"], false);
    EXPECT_EQ(info["threads"].size(), VICTIM_THREADS + 1u);
    std::uint64_t foreign = 0, sized = 0, lived = 0;
    for (const auto& thread : info["threads"]) foreign += thread["foreign_frees"].get<std::uint64_t>();
    for (const auto& row : info["sizes"]) sized += row["objects"].get<std::uint64_t>();
    for (const auto& row : info["lifetimes"]) lived += row["objects"].get<std::uint64_t>();
    EXPECT_EQ(foreign, std::uint64_t{VICTIM_THREADS} * VICTIM_ROUNDS);
    EXPECT_EQ(sized, info["objects"].get<std::uint64_t>());
    EXPECT_EQ(lived, info["events"]["free"].get<std::uint64_t>());
    EXPECT_GE(info["peak_objects"].get<std::uint64_t>(), 2u);
    EXPECT_LE(info["peak_objects"].get<std::uint64_t>(), VICTIM_THREADS * 65u + 32);
    EXPECT_EQ(info["events"]["alloc"].get<std::uint64_t>() - 2,
              std::uint64_t{VICTIM_THREADS} * VICTIM_ROUNDS);
}

TEST(Tool, InfoForPeopleSaysTheSame) {
    const Folder folder;
    const Ran ran = tool("info " + recorded(folder, "exact"));
    ASSERT_TRUE(ran.exited(0));
    for (const char* words : {"program     victim", "most alive ", "size up to", "alignment", "4K"})
        EXPECT_NE(ran.out.find(words), std::string::npos) << words << "\n" << ran.out;
}

TEST(Tool, PeaksAreThoseOfTheChains) {
    const Folder folder;
    const Ran ran = tool("info --json " + recorded(folder, "chains"));
    ASSERT_TRUE(ran.exited(0));
    const json info = json::parse(ran.out);
    EXPECT_EQ(info["peak_objects"], VICTIM_CHAINS);
    EXPECT_EQ(info["peak_bytes"], VICTIM_CHAINS * 65536);
    EXPECT_EQ(info["peak_bytes_objects"], VICTIM_CHAINS);
    EXPECT_EQ(info["end_objects"], 0);
    EXPECT_EQ(info["events"]["resized"], VICTIM_CHAINS * 32);
}

TEST(Tool, InfoOfSeveralFilesIsAList) {
    const Folder folder;
    const std::string path = recorded(folder, "exact");
    const Ran ran = tool("info --json " + path + " " + path);
    ASSERT_TRUE(ran.exited(0));
    EXPECT_EQ(json::parse(ran.out).size(), 2u);
}

TEST(Tool, DumpTellsEachEvent) {
    const Folder folder;
    const std::string path = recorded(folder, "exact");
    const Ran lines = tool("dump --json " + path);
    ASSERT_TRUE(lines.exited(0));
    std::istringstream in(lines.out);
    std::vector<json> events;
    for (std::string line; std::getline(in, line);) events.push_back(json::parse(line));
    ASSERT_EQ(events.size(), 23u);
    EXPECT_EQ(events[0]["size"], VICTIM_MARK);
    EXPECT_EQ(events[5]["align"], 64);
    EXPECT_EQ(events[11]["old_size"], 100);
    const Ran some = tool("dump --limit 5 " + path);
    EXPECT_EQ(std::count(some.out.begin(), some.out.end(), '\n'), 5);
}

TEST(Tool, ExitStatusTellsWhatIsWrongWithAFile) {
    const Folder folder;
    const std::string path = recorded(folder, "exact"), bad = folder.path() + "/bad";
    Bytes bytes = load(path);
    store(bad, {bytes.begin(), bytes.end() - 1});
    Ran ran = tool("info " + bad);
    EXPECT_TRUE(ran.exited(3));
    EXPECT_NE(ran.err.find("truncated"), std::string::npos);
    EXPECT_TRUE(tool("dump " + bad).exited(3));
    bytes[300] ^= 1;
    store(bad, bytes);
    ran = tool("info " + bad);
    EXPECT_TRUE(ran.exited(5));
    EXPECT_NE(ran.err.find("corrupt"), std::string::npos);
    EXPECT_TRUE(tool("dump " + bad).exited(5));
    EXPECT_TRUE(tool("merge -o " + folder.path() + "/m " + bad).exited(5));
    EXPECT_FALSE(std::filesystem::exists(folder.path() + "/m"));
    EXPECT_TRUE(tool("info /bin/sh").exited(4));
    EXPECT_TRUE(tool("info /nonexistent").exited(6));
    EXPECT_TRUE(tool("merge -o /nonexistent/x " + path).exited(6));
    EXPECT_TRUE(tool("dump " + path + " >/dev/full").exited(6));
}

TEST(Tool, RefusesWrongUse) {
    for (const char* arguments : {"", "info", "fly x", "merge x", "dump a b", "dump --limit -1 x",
                                  "dump --limit x y", "info --nonsense x"})
        EXPECT_TRUE(tool(arguments).exited(2)) << arguments;
    EXPECT_TRUE(tool("--help").exited(0));
}

TEST(Merge, KeepsEachProcesssEventsAndOrder) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "fork library").exited(0));
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 2u);
    const Read parent = read_file(traces[0]), child = read_file(traces[1]);
    const std::string path = folder.path() + "/merged";
    ASSERT_TRUE(tool("merge --name both -o " + path + " " + traces[1] + " " + traces[0]).exited(0));
    const Read both = read_file(path);
    ASSERT_EQ(both.ended, QUARRY_TRACE_DONE);
    EXPECT_STREQ(both.info.header.program, "both");
    EXPECT_EQ(both.info.header.flags, QUARRY_TRACE_MERGED);
    EXPECT_EQ(both.info.reason, QUARRY_TRACE_WRITTEN);
    EXPECT_EQ(both.info.threads, parent.info.threads + child.info.threads);
    EXPECT_EQ(both.info.unknown_frees, 0u);
    EXPECT_EQ(both.info.implied_frees, 0u);
    ASSERT_EQ(both.events.size(), parent.events.size() + child.events.size());
    // Each thread's kinds, sizes and times, in order, must be those of one thread of the inputs.
    using Story = std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>>;
    const auto stories = [](std::initializer_list<const Read*> reads) {
        std::multiset<Story> all;
        for (const Read* read : reads) {
            std::map<std::uint32_t, Story> threads;
            for (const auto& event : read->events)
                threads[event.thread].emplace_back(
                    event.kind, event.size, read->info.header.monotonic_ns + event.ns);
            for (auto& [thread, story] : threads) all.insert(std::move(story));
        }
        return all;
    };
    EXPECT_EQ(stories({&both}), stories({&parent, &child}));
}

TEST(Merge, OfOneTraceIsThatTrace) {
    const Folder folder;
    const std::string from = recorded(folder, "exact"), to = folder.path() + "/merged";
    ASSERT_TRUE(tool("merge -o " + to + " " + from).exited(0));
    const Read a = read_file(from), b = read_file(to);
    ASSERT_EQ(a.events.size(), b.events.size());
    for (std::size_t i = 0; i < a.events.size(); i++) {
        EXPECT_EQ(a.events[i].kind, b.events[i].kind);
        EXPECT_EQ(a.events[i].object, b.events[i].object);
        EXPECT_EQ(a.events[i].size, b.events[i].size);
        EXPECT_EQ(a.events[i].align, b.events[i].align);
        EXPECT_EQ(a.events[i].ns, b.events[i].ns);
    }
}

TEST(Library, ServesACProgramWithoutTheCxxRuntime) {
    const Folder folder;
    const Ran ran = run(test_bin("c_reader") + " " + recorded(folder, "chains"));
    EXPECT_TRUE(ran.exited(0));
    EXPECT_EQ(ran.out, std::to_string(VICTIM_CHAINS * 34 + 4) + " 0 it is at its end\n");
    const Ran none = run(test_bin("c_reader") + " /bin/sh");
    EXPECT_TRUE(none.exited(1));
    EXPECT_EQ(none.out, "it is not an allocation trace\n");
}

// The traces that `make traces` records of real programs: see workloads.sh.
TEST(Workloads, AreWholeRealAndBounded) {
    const char* folder = std::getenv("RECORD_TRACES");
    ASSERT_NE(folder, nullptr);
    const std::map<std::string, std::uint64_t> least_objects = {
        {"cc1plus", 50'000}, {"perl", 20'000}, {"git", 20'000}, {"sqlite3", 50'000}, {"threads", 20'000}};
    std::uintmax_t bytes = 0;
    for (const auto& [name, objects] : least_objects) {
        SCOPED_TRACE(name);
        const std::string path = std::string(folder) + "/" + name + ".qtrace";
        const Read read = read_file(path);
        EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
        EXPECT_GE(read.info.objects, objects);
        EXPECT_EQ(read.info.dropped, 0u);
        EXPECT_EQ(read.info.implied_frees, 0u);
        EXPECT_EQ(read.info.lost, 0u);
        bytes += std::filesystem::file_size(path);
        if (name == "threads" || name == "git") {
            std::uint64_t foreign = 0;
            for (const auto& event : read.events)
                foreign += event.kind == QUARRY_TRACE_FREE && event.born_thread != event.thread;
            EXPECT_GT(read.info.threads, 2u);
            EXPECT_GT(foreign, name == "threads" ? 1000u : 0u);
        }
    }
    EXPECT_LT(bytes, std::uintmax_t{40} << 20);
}

}  // namespace
}  // namespace quarry::trace
