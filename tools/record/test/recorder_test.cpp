// SPDX-License-Identifier: MIT
//
// The recorder against programs whose allocations are known: what it must see, and see nothing else.
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "support.hpp"
#include "victim.h"

namespace quarry::trace {
namespace {

// The one whole trace in the folder.
Read only_trace(const Folder& folder) {
    const auto traces = folder.traces("victim");
    EXPECT_EQ(traces.size(), 1u);
    if (traces.empty()) return {};
    const Read read = read_file(traces[0]);
    EXPECT_EQ(read.opened, QUARRY_TRACE_OK);
    EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
    EXPECT_EQ(read.info.implied_frees, 0u);
    EXPECT_EQ(read.info.dropped, 0u);
    return read;
}

TEST(Recorder, RecordsExactlyWhatAProgramAllocates) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "exact").exited(0));
    const Read read = only_trace(folder);
    struct Expected {
        quarry_trace_kind kind;
        std::uint64_t object, size, old_size, align;
    };
    // victim.c, exact(): objects 0.. are those after the mark.
    const Expected expected[] = {
        {QUARRY_TRACE_ALLOC, 0, 100, 0, 0},      {QUARRY_TRACE_ALLOC, 1, 0, 0, 0},
        {QUARRY_TRACE_ZEROED, 2, 63, 0, 0},      {QUARRY_TRACE_ALIGNED, 3, 200, 0, 64},
        {QUARRY_TRACE_ALIGNED, 4, 512, 0, 256},  {QUARRY_TRACE_ALIGNED, 5, 10, 0, 4096},
        {QUARRY_TRACE_ALIGNED, 6, 11, 0, 4096},  {QUARRY_TRACE_ALIGNED, 7, 12, 0, 4096},
        {QUARRY_TRACE_FREE, 2, 63, 0, 0},        {QUARRY_TRACE_RESIZED, 0, 5000, 100, 0},
        {QUARRY_TRACE_RESIZED, 0, 50, 5000, 0},  {QUARRY_TRACE_RESIZED, 0, 900, 50, 0},
        {QUARRY_TRACE_ALLOC, 8, 77, 0, 0},       {QUARRY_TRACE_FREE, 8, 77, 0, 0},
        {QUARRY_TRACE_FREE, 7, 12, 0, 0},        {QUARRY_TRACE_FREE, 3, 200, 0, 0},
        {QUARRY_TRACE_FREE, 0, 900, 0, 0},       {QUARRY_TRACE_FREE, 6, 11, 0, 0},
        {QUARRY_TRACE_FREE, 4, 512, 0, 0},
    };
    const auto events = read.between_marks();
    ASSERT_EQ(events.size(), std::size(expected));
    const std::uint64_t first = events[0].object;
    for (std::size_t i = 0; i < events.size(); i++) {
        SCOPED_TRACE(i);
        EXPECT_EQ(events[i].kind, expected[i].kind);
        EXPECT_EQ(events[i].object - first, expected[i].object);
        EXPECT_EQ(events[i].size, expected[i].size);
        EXPECT_EQ(events[i].old_size, expected[i].old_size);
        EXPECT_EQ(events[i].align, expected[i].align);
        EXPECT_EQ(events[i].thread, 0u);
    }
    EXPECT_EQ(read.info.failed_reallocs, 1u);  // an overflowing reallocarray never gets that far
    EXPECT_EQ(read.info.unknown_frees, 0u);
    EXPECT_EQ(read.info.lost, 0u);
    EXPECT_STREQ(read.info.header.program, "victim");
    EXPECT_NE(std::string(read.info.header.command).find("victim exact"), std::string::npos);
    EXPECT_EQ(read.info.reason, QUARRY_TRACE_EXITED);
    // And outside of the marks, nothing: the C library and the loader allocate nothing here.
    EXPECT_EQ(read.events.size(), std::size(expected) + 4);
}

TEST(Recorder, ReallocKeepsTheObjectAndItsSizes) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "chains").exited(0));
    const auto events = only_trace(folder).between_marks();
    std::map<std::uint64_t, std::vector<std::uint64_t>> sizes;
    for (const auto& event : events) {
        auto& chain = sizes[event.object];
        if (event.kind == QUARRY_TRACE_RESIZED) {
            EXPECT_EQ(event.old_size, chain.back());
        } else if (event.kind == QUARRY_TRACE_FREE) {
            EXPECT_EQ(event.size, chain.back());
        }
        chain.push_back(event.size);
    }
    std::vector<std::uint64_t> expected;
    for (int shift = 0; shift <= 32; shift++)
        expected.push_back(std::uint64_t{1} << (shift <= 16 ? shift : 32 - shift));
    expected.push_back(1);  // the free
    ASSERT_EQ(sizes.size(), std::size_t{VICTIM_CHAINS});
    for (const auto& [object, chain] : sizes) EXPECT_EQ(chain, expected);
}

TEST(Recorder, EightThreadsFreeEachOthersObjectsInOrder) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "threads").exited(0));
    const Read read = only_trace(folder);
    EXPECT_EQ(read.info.lost, 0u);
    EXPECT_EQ(read.info.unknown_frees, 0u);
    EXPECT_EQ(read.info.threads, VICTIM_THREADS + 1u);
    std::map<std::uint32_t, std::uint64_t> allocations, frees;
    std::map<std::uint64_t, quarry_trace_event> live;
    std::uint64_t number = 0, ns = 0;
    for (const auto& event : read.events) {
        EXPECT_TRUE(event.number > number || event.number == 0);
        EXPECT_GE(event.ns, ns);
        number = event.number;
        ns = event.ns;
        if (event.kind != QUARRY_TRACE_FREE) {
            EXPECT_TRUE(live.emplace(event.object, event).second);
            if (event.thread) allocations[event.thread]++;
            continue;
        }
        ASSERT_EQ(live.count(event.object), 1u) << "a free came before its allocation";
        EXPECT_EQ(live[event.object].size, event.size);
        EXPECT_EQ(live[event.object].thread, event.born_thread);
        EXPECT_EQ(live[event.object].ns, event.born_ns);
        if (event.thread) {
            EXPECT_NE(event.thread, event.born_thread);
            frees[event.thread]++;
        }
        live.erase(event.object);
    }
    ASSERT_EQ(allocations.size(), std::size_t{VICTIM_THREADS});
    for (const auto& [thread, count] : allocations) {
        EXPECT_EQ(count, std::uint64_t{VICTIM_ROUNDS}) << "thread " << thread;
        EXPECT_EQ(frees[thread], std::uint64_t{VICTIM_ROUNDS}) << "thread " << thread;
    }
}

TEST(Recorder, ThreadsThatEndedLeaveTheirBuffersToOthers) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "successive").exited(0));
    const Read read = only_trace(folder);
    std::set<std::uint32_t> threads;
    std::uint64_t objects = 0;
    for (const auto& event : read.events)
        if (event.size == 33) {
            threads.insert(event.thread);
            objects += event.kind == QUARRY_TRACE_ALLOC;
        }
    EXPECT_EQ(objects, std::uint64_t{VICTIM_SUCCESSIVE});
    EXPECT_EQ(threads.size(), std::size_t{VICTIM_SUCCESSIVE});
    EXPECT_EQ(read.info.lost, 0u);
}

TEST(Recorder, MoreThreadsThanBuffersAreCountedAsDropped) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "together").exited(0));
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 1u);
    const Read read = read_file(traces[0]);
    EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
    // What a thread too many allocates is dropped. Its free is too, or it is one of unknown memory:
    // when other threads have ended by then, it gets a buffer after all.
    EXPECT_GE(read.info.dropped, VICTIM_TOGETHER - 255u);
    EXPECT_EQ(read.info.dropped + read.info.unknown_frees, 2u * (VICTIM_TOGETHER - 255));
    std::uint64_t seen = 0;
    for (const auto& event : read.events) seen += event.size == 34 && event.kind != QUARRY_TRACE_FREE;
    EXPECT_EQ(seen, 255u);
}

void check_fork(const std::string& how) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "fork " + how).exited(0));
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 2u);
    const Read parent = read_file(traces[0]), child = read_file(traces[1]);
    EXPECT_EQ(parent.ended, QUARRY_TRACE_DONE);
    EXPECT_EQ(child.ended, QUARRY_TRACE_DONE);
    EXPECT_EQ(child.info.header.parent_pid, parent.info.header.pid);
    EXPECT_EQ(child.info.unknown_frees, std::uint64_t{VICTIM_INHERITED});
    EXPECT_EQ(child.events.size(), 2u * VICTIM_OWN + 4) << "the child's own, and the marks";
    EXPECT_EQ(child.between_marks().size(), 2u * VICTIM_OWN);
    EXPECT_EQ(child.info.lost, 0u);
    std::uint64_t inherited = 0, own = 0;
    for (const auto& event : parent.events) {
        if (event.thread == 0 && event.size == 40) inherited++;
        if (event.thread == 0 && event.size == 50) own++;
    }
    EXPECT_EQ(inherited, 2u * VICTIM_INHERITED);
    EXPECT_EQ(own, 0u);
    EXPECT_EQ(parent.info.unknown_frees, 0u);
    EXPECT_EQ(parent.info.lost, 0u);
}

TEST(Recorder, AForkedChildHasATraceOfItsOwn) { check_fork("library"); }
TEST(Recorder, AChildForkedBehindTheHandlersHasATraceOfItsOwn) { check_fork("raw"); }

TEST(Recorder, AChildOfVforkLeavesTheParentsTraceAlone) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "vfork exit").exited(0));
    const Read read = only_trace(folder);
    EXPECT_EQ(read.events.size(), 4u);
    EXPECT_EQ(read.info.reason, QUARRY_TRACE_EXITED);
}

TEST(Recorder, TheEndOfAChildOfVforkIsNotTakenForItsParents) {
    const Folder folder;
    EXPECT_TRUE(record(folder, "vfork killed").killed(SIGKILL));
    EXPECT_TRUE(folder.traces("victim").empty()) << "nothing filled a block";
}

TEST(Recorder, AnExecFromAChildOfVforkLeavesTheParentsTraceAlone) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "vfork exec").exited(0));
    EXPECT_EQ(only_trace(folder).events.size(), 4u);  // "nothing" allocates nothing, and has no trace
}

TEST(Recorder, EachExecEndsTheTrace) {
    for (const char* how : {"execl", "execlp", "execle", "execv", "execve", "execvp", "execvpe",
                            "fexecve", "execveat"}) {
        SCOPED_TRACE(how);
        const Folder folder;
        ASSERT_TRUE(record(folder, std::string("exec ") + how).exited(0));
        const Read read = only_trace(folder);
        EXPECT_EQ(read.events.size(), 2u);
        EXPECT_EQ(read.info.reason, QUARRY_TRACE_EXECED);
    }
}

TEST(Recorder, AProcessThatExecsHasATraceForEachProgram) {
    const Folder folder;
    const std::string command = "env QUARRY_TRACE_DIR=" + folder.path() +
                                " LD_PRELOAD=" + record_build("libquarry-record.so") + " env X=1 " +
                                test_bin("victim") + " exact";
    ASSERT_TRUE(run(command).exited(0));
    const auto before = folder.traces("env"), after = folder.traces("victim");
    ASSERT_EQ(before.size(), 1u);
    ASSERT_EQ(after.size(), 1u);
    EXPECT_EQ(read_file(before[0]).info.reason, QUARRY_TRACE_EXECED);
    EXPECT_EQ(read_file(before[0]).info.header.pid, read_file(after[0]).info.header.pid);
    EXPECT_EQ(read_file(after[0]).events.size(), 23u);
}

TEST(Recorder, AFailedExecChangesNothing) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "exec failing").exited(0));
    const Read read = only_trace(folder);
    EXPECT_EQ(read.events.size(), 6u);
    EXPECT_EQ(read.info.reason, QUARRY_TRACE_EXITED);
}

TEST(Recorder, EveryOrderlyEndLeavesAWholeTrace) {
    const std::map<std::string, quarry_trace_reason> ends = {
        {"exit", QUARRY_TRACE_EXITED},         {"_exit", QUARRY_TRACE_EXITED},
        {"_Exit", QUARRY_TRACE_EXITED},        {"quick_exit", QUARRY_TRACE_EXITED},
        {"pthread_exit", QUARRY_TRACE_EXITED}, {"abort", QUARRY_TRACE_ABORTED}};
    for (const auto& [how, reason] : ends) {
        SCOPED_TRACE(how);
        const Folder folder;
        const Ran ran = record(folder, "end " + how);
        EXPECT_TRUE(how == "abort"          ? ran.killed(SIGABRT)
                    : how == "pthread_exit" ? ran.exited(0)
                                            : ran.exited(3));
        const Read read = only_trace(folder);
        EXPECT_EQ(read.info.reason, reason);
        std::uint64_t left = 0;
        for (const auto& event : read.events)
            if (event.size == 80) left += event.kind == QUARRY_TRACE_ALLOC ? 1 : -1;
        EXPECT_EQ(left, 1u);
    }
}

TEST(Recorder, AnEndThatCannotBeSeenLeavesNoEndRecord) {
    for (const char* how : {"raw", "term"}) {
        SCOPED_TRACE(how);
        const Folder folder;
        const Ran ran = record(folder, std::string("end ") + how);
        EXPECT_TRUE(how[0] == 'r' ? ran.exited(3) : ran.killed(SIGTERM));
        EXPECT_TRUE(folder.traces("victim").empty()) << "nothing filled a block";
    }
}

TEST(Recorder, ExitFromASignalHandlerNeverHangsAndLeavesAWholeTrace) {
    int whole = 0;
    for (int microseconds = 1000; microseconds <= 40000; microseconds += 1300) {
        const Folder folder;
        const Ran ran = record(folder, "interrupted " + std::to_string(microseconds));
        ASSERT_TRUE(ran.exited(4)) << microseconds << " us";
        for (const auto& path : folder.traces("victim")) {
            const Read read = read_file(path);
            EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
            EXPECT_LE(read.info.lost, 1u);
            whole++;
        }
    }
    EXPECT_GT(whole, 10);
}

TEST(Recorder, AKilledProcessLeavesAReadablePrefix) {
    const Folder folder;
    const std::string victim = "env QUARRY_TRACE_DIR=" + folder.path() +
                               " LD_PRELOAD=" + record_build("libquarry-record.so") + " " +
                               test_bin("victim") + " endless";
    // Killed once a few blocks are written; `wait` would call it 137.
    const Ran ran = run("sh -c '" + victim + " & child=$!; while :; do sleep 0.05; for f in " +
                        folder.path() + "/*; do [ -e \"$f\" ] && [ $(stat -c %s \"$f\") -gt 300000 ]"
                        " && break 2; done; done; kill -9 $child; wait $child; exit 0'");
    ASSERT_TRUE(ran.exited(0)) << ran.err;
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 1u);
    const Read read = read_file(traces[0]);
    EXPECT_EQ(read.opened, QUARRY_TRACE_TRUNCATED);
    EXPECT_EQ(read.ended, QUARRY_TRACE_TRUNCATED);
    EXPECT_GT(read.events.size(), 30000u);
    EXPECT_EQ(read.info.reason, 0u);
    EXPECT_EQ(read.info.lost, 0u);
    EXPECT_LE(read.live(), 101u);
}

TEST(Recorder, CallsKeepErrno) {
    const Folder folder;
    const Ran ran = record(folder, "errno");
    EXPECT_TRUE(ran.exited(0)) << ran.err;
    EXPECT_EQ(only_trace(folder).events.size(), 200000u);
}

TEST(Recorder, AProgramMayCloseEveryDescriptorAndGoElsewhere) {
    const Folder folder;
    const Ran ran = record(folder, "closes");
    EXPECT_TRUE(ran.exited(0)) << ran.err;
    EXPECT_EQ(only_trace(folder).events.size(), 400000u);
}

TEST(Recorder, LeavesNoDescriptorOpen) {
    const Folder folder;
    const Ran ran = record(folder, "descriptors");
    EXPECT_TRUE(ran.exited(0)) << ran.err;
}

TEST(Recorder, ATraceStopsAtItsLimitAndTheProgramGoesOn) {
    const Folder folder;
    EXPECT_TRUE(record(folder, "errno", {"QUARRY_TRACE_MAX_BYTES=200000"}).exited(0));
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 1u);
    const Read read = read_file(traces[0]);
    EXPECT_EQ(read.ended, QUARRY_TRACE_DONE);
    EXPECT_EQ(read.info.reason, QUARRY_TRACE_FULL);
    EXPECT_LT(read.info.bytes, 200000u + 3 * QUARRY_TRACE_MAX_PAYLOAD);
    EXPECT_GT(read.events.size(), 10000u);
}

TEST(Recorder, AFolderThatIsNotThereStopsTheRecordingOnly) {
    const Folder folder;
    const Ran ran = run("env QUARRY_TRACE_DIR=" + folder.path() + "/none LD_PRELOAD=" +
                        record_build("libquarry-record.so") + " " + test_bin("victim") + " errno");
    EXPECT_TRUE(ran.exited(0));
    EXPECT_NE(ran.err.find("cannot be written"), std::string::npos) << ran.err;
}

TEST(Recorder, AFileSizeLimitStopsTheRecordingAndNotTheProgram) {
    const Folder folder;
    const Ran ran = run("sh -c 'ulimit -f 200; exec env QUARRY_TRACE_DIR=" + folder.path() +
                        " LD_PRELOAD=" + record_build("libquarry-record.so") + " " +
                        test_bin("victim") + " errno'");
    EXPECT_TRUE(ran.exited(0)) << ran.status;
    EXPECT_NE(ran.err.find("cannot be written"), std::string::npos) << ran.err;
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 1u);
    EXPECT_EQ(read_file(traces[0]).ended, QUARRY_TRACE_TRUNCATED);
}

TEST(Recorder, OnlyTheProgramsThatWereNamedAreRecorded) {
    const Folder folder;
    ASSERT_TRUE(record(folder, "exact", {"QUARRY_TRACE_ONLY=vict,victims,other"}).exited(0));
    EXPECT_TRUE(folder.traces("victim").empty());
    ASSERT_TRUE(record(folder, "exact", {"QUARRY_TRACE_ONLY=other,victim"}).exited(0));
    EXPECT_EQ(folder.traces("victim").size(), 1u);
}

TEST(Recorder, WithoutAFolderNothingIsRecordedOrSaid) {
    const Ran ran =
        run("env LD_PRELOAD=" + record_build("libquarry-record.so") + " " + test_bin("victim") +
            " exact");
    EXPECT_TRUE(ran.exited(0));
    EXPECT_EQ(ran.err, "");
}

TEST(Recorder, ServesADlsymThatAllocates) {
    const Folder folder;
    const Ran ran = run("env QUARRY_TRACE_DIR=" + folder.path() + " LD_PRELOAD=" +
                        record_build("libquarry-record.so") + " " + test_bin("early"));
    EXPECT_TRUE(ran.exited(0)) << ran.status;
    EXPECT_GE(std::atoi(ran.out.c_str()), 13) << ran.out;
}

TEST(Recorder, PassesCallsOnToAnAllocatorBehindIt) {
    const Folder folder;
    const Ran ran = run("env QUARRY_TRACE_DIR=" + folder.path() + " LD_PRELOAD=" +
                        record_build("libquarry-record.so") + ":" + test_bin("behind.so") + " " +
                        test_bin("victim") + " exact");
    EXPECT_TRUE(ran.exited(0));
    EXPECT_EQ(ran.err, "served 5\n") << "two marks, two objects and one that is too large";
    EXPECT_EQ(only_trace(folder).events.size(), 23u);
}

// Two processes of one name and number (as after an exec of itself) do not write to one file.
TEST(Recorder, NeverWritesToAFileThatIsThere) {
    const Folder folder;
    const Ran ran = run("sh -c 'echo mine >" + folder.path() +
                        "/victim.$$.qtrace; exec env QUARRY_TRACE_DIR=" + folder.path() +
                        " LD_PRELOAD=" + record_build("libquarry-record.so") + " " +
                        test_bin("victim") + " exact'");
    ASSERT_TRUE(ran.exited(0));
    const auto traces = folder.traces("victim");
    ASSERT_EQ(traces.size(), 2u);
    EXPECT_EQ(load(traces[0]).size(), 5u);
    EXPECT_EQ(read_file(traces[1]).events.size(), 23u);
}

// Measured and printed; the bar is loose, to see a lock or a system call an event.
TEST(Recorder, CostsTensOfNanosecondsAnEvent) {
    double plain = 1e9, recorded = 1e9;
    for (int i = 0; i < 3; i++) {
        const Folder folder;
        plain = std::min(plain, std::atof(run(test_bin("victim") + " bench").out.c_str()));
        recorded = std::min(recorded, std::atof(record(folder, "bench").out.c_str()));
    }
    const double each = (recorded - plain) / 2;
    std::printf("recorder: a malloc and free pair takes %.1f ns alone, %.1f ns recorded: %.1f ns an "
                "event\n", plain, recorded, each);
    RecordProperty("ns_an_event", std::to_string(each));
    EXPECT_GT(plain, 0);
    EXPECT_LT(each, 1000);
}

}  // namespace
}  // namespace quarry::trace
