// SPDX-License-Identifier: MIT
//
// quarryctl replay: real programs' recorded allocations, played in a pool. See player.hpp for what
// is played and mesh.hpp for how objects are handed on; this file is the command line and report.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "player.hpp"
#include "program.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "Replays programs recorded by tools/record in the pool of $QUARRY_POOL_FD.\v"
    "Several traces are played one after another. With --pattern each object is written with a "
    "pattern of its own and checked before it is freed. With --mesh and --hand-to some objects are "
    "handed to other replaying processes, which check and free them.\n\n"
    "Examples:\n"
    "  quarryctl create --bytes 64M --max 1G -- quarryctl replay --pattern cc1plus.trace\n"
    "  quarryctl replay --threads --json perl.trace\n"
    "  quarryctl replay --pattern --mesh /run/m --name a --hand-to b a.trace &\n"
    "  quarryctl replay --pattern --mesh /run/m --name b --hand-to a b.trace\n\n"
    "Exit status: 0 all objects were as they should be; 1 something was not; 2 usage; 4 no pool in "
    "$QUARRY_POOL_FD; 5 a trace, the pool or a peer cannot be used.\n";

enum Key { fd_key = 256, name_key, seed_key, pattern_key, threads_key, batch_key, repeat_key,
           mesh_key, to_key, each_key, mark_key, report_key, events_key, spoil_key };

constexpr argp_option options[] = {
    {"pool-fd", fd_key, "FD", 0, "join by this descriptor, not by $QUARRY_POOL_FD", 0},
    {"name", name_key, "NAME", 0, "this process's name (default: the first trace's)", 0},
    {"pattern", pattern_key, nullptr, 0, "write a pattern to each object, and check it", 0},
    {"seed", seed_key, "N", 0, "of the pattern (default: the client's id)", 0},
    {"threads", threads_key, nullptr, 0,
     "a thread for each recorded thread (default: one, in the recorded order)", 0},
    {"batch", batch_key, "N", 0, "most objects in one call, 1..4096 (default 64)", 0},
    {"repeat", repeat_key, "N", 0, "play so many times (default 1)", 0},
    {"events", events_key, "N", 0, "play the first N events of each trace (default: all)", 0},
    {"spoil", spoil_key, "N", 0,
     "damage the pattern of the N-th object, to see that the check finds it", 0},
    {"mesh", mesh_key, "FOLDER", 0, "where replaying processes meet: a new folder for each run", 0},
    {"hand-to", to_key, "NAME", 0, "hand objects to this process of the mesh (repeatable)", 0},
    {"hand-each", each_key, "N", 0, "each N-th free is a handover (default 64)", 0},
    {"kill-me-at", mark_key, "FRACTION", 0,
     "print a line `at FRACTION: ...` there, then play on, again and again, until killed", 0},
    {"report", report_key, "FILE", 0, "write the JSON report to FILE too", 0},
    {"json", 'j', nullptr, 0, "print the report as one JSON object", 0},
    {},
};

struct Arguments {
    PlayOptions play;
    bool seed_given = false;
    std::uint64_t fd = UINT64_MAX;
    std::uint64_t repeat = 1;
    std::uint64_t most_events = UINT64_MAX;
    std::string name, folder;
    std::vector<std::string> peers, traces;
    const char* report = nullptr;
    bool as_json = false;
};

error_t parse(int key, char* text, argp_state* state) {
    auto& arguments = *static_cast<Arguments*>(state->input);
    std::uint64_t number = 0;
    char* end = nullptr;
    switch (key) {
        case fd_key:
            take_number(state, "pool-fd", text, arguments.fd);
            if (arguments.fd > INT32_MAX) argp_error(state, "--pool-fd '%s' is no descriptor", text);
            return 0;
        case name_key: return arguments.name = text, 0;
        case pattern_key: return arguments.play.pattern = true, 0;
        case seed_key:
            arguments.seed_given = true;
            return take_number(state, "seed", text, arguments.play.seed), 0;
        case threads_key: return arguments.play.threaded = true, 0;
        case batch_key:
            take_number(state, "batch", text, number);
            if (number < 1 || number > QUARRY_MAX_BATCH)
                argp_error(state, "--batch %s: it is 1 to %d", text, QUARRY_MAX_BATCH);
            return arguments.play.batch = static_cast<unsigned>(number), 0;
        case repeat_key: return take_number(state, "repeat", text, arguments.repeat), 0;
        case events_key: return take_number(state, "events", text, arguments.most_events), 0;
        case spoil_key: return take_number(state, "spoil", text, arguments.play.spoil), 0;
        case mesh_key: return arguments.folder = text, 0;
        case to_key: return arguments.peers.emplace_back(text), 0;
        case each_key:
            take_number(state, "hand-each", text, number);
            return arguments.play.hand_each = static_cast<unsigned>(number), 0;
        case mark_key:
            arguments.play.mark_at = std::strtod(text, &end);
            if (*end || !(arguments.play.mark_at >= 0 && arguments.play.mark_at <= 1))
                argp_error(state, "--kill-me-at '%s': it is a fraction, 0 to 1", text);
            return 0;
        case report_key: return arguments.report = text, 0;
        case 'j': return arguments.as_json = true, 0;
        case ARGP_KEY_ARG: return arguments.traces.emplace_back(text), 0;
        case ARGP_KEY_END:
            if (arguments.traces.empty()) argp_error(state, "say which TRACE to replay");
            if (!arguments.peers.empty() && arguments.folder.empty())
                argp_error(state, "--hand-to takes --mesh FOLDER");
            if (arguments.name.empty())
                arguments.name = std::filesystem::path(arguments.traces[0]).stem();
            return 0;
        default: return ARGP_ERR_UNKNOWN;
    }
}

// Somebody was to kill this process; if nobody does in this time, the run has gone wrong.
constexpr auto patience = std::chrono::seconds(180);
constexpr int mesh_seconds = 120;

using Clock = std::chrono::steady_clock;

struct Totals {
    Counts counts;
    std::uint64_t trace_events = 0, trace_records = 0;
    std::uint64_t events = 0, peak_objects = 0, peak_bytes = 0;
};

void play_program(quarry_pool* pool, const Program& program, const Arguments& arguments, Mesh* mesh,
                  Player*& receiver, Totals& totals) {
    Player player(pool, program, arguments.play, mesh);
    receiver = &player;
    const auto start = Clock::now();
    const bool until_killed = arguments.play.mark_at >= 0;
    for (std::uint64_t i = 0; until_killed ? Clock::now() - start < patience : i < arguments.repeat;
         i++) {
        player.play();
        totals.events += program.events.size();
    }
    totals.trace_events += program.trace_events;
    totals.trace_records += program.trace_records;
    totals.counts.add(player.counts());
    totals.peak_objects = std::max(totals.peak_objects, player.peak_objects());
    totals.peak_bytes = std::max(totals.peak_bytes, player.peak_bytes());
}

Report report_of(const Arguments& arguments, const Totals& totals, const Mesh* mesh,
                 std::uint64_t client, std::uint64_t left, std::uint64_t system_calls,
                 double seconds) {
    const Counts& counts = totals.counts;
    const std::uint64_t transfers = mesh ? mesh->calls() : 0;
    const std::uint64_t calls = counts.calls + transfers;
    const std::uint64_t small = counts.objects + counts.freed - counts.large;
    const std::uint64_t small_system_calls =
        system_calls - std::min(system_calls, transfers + counts.large_system_calls);
    Report refusals = Report::object();
    for (const auto& [error, count] : counts.refusals) refusals[strerrorname_np(error)] = count;
    return {
        {"program", arguments.name},
        {"client", client},
        {"events", totals.events},
        {"trace_events", totals.trace_events},
        {"trace_records", totals.trace_records},
        {"objects", counts.objects},
        {"bytes", counts.bytes},
        {"peak_objects", totals.peak_objects},
        {"peak_bytes", totals.peak_bytes},
        {"calls", calls},
        {"calls_per_object",
         counts.objects ? static_cast<double>(calls) / static_cast<double>(counts.objects) : 0.0},
        {"freed", counts.freed},
        {"system_calls", system_calls},
        // Allocations and frees of objects that a magazine may hold, one by one; larger ones and those that
        // came from a peer; and the system calls that each of the two took.
        {"small", small},
        {"small_system_calls", small_system_calls},
        {"large", counts.large},
        {"large_system_calls", counts.large_system_calls},
        {"transfer_calls", transfers},
        {"without_system_call",
         small > small_system_calls
             ? 1 - static_cast<double>(small_system_calls) / static_cast<double>(small) : 0.0},
        {"refusals", refusals},
        {"patterns_checked", counts.checks},
        {"mismatches", counts.mismatches},
        {"handed", mesh ? mesh->handed() : 0},
        {"handed_to_the_dead", mesh ? mesh->undelivered() : 0},
        {"received", counts.received},
        {"received_bytes", counts.received_bytes},
        {"left_objects", left},
        {"seconds", seconds},
    };
}

int replay(quarry_pool* pool, Arguments& arguments, const std::vector<Program>& programs) {
    if (!arguments.seed_given) arguments.play.seed = quarry_client_id(pool);
    std::unique_ptr<Mesh> mesh;
    // What peers hand over goes to the player of the moment, and after the last to an idle one.
    const Program nothing;
    Player idle(pool, nothing, arguments.play, nullptr);
    Player* receiver = &idle;
    if (!arguments.folder.empty()) {
        mesh = std::make_unique<Mesh>(arguments.folder, arguments.name, arguments.peers);
        const auto receive = [&](const Handover& object) { receiver->receive(object); };
        if (!mesh->open(pool, receive, mesh_seconds)) {
            complain("mesh in %s: %s: start every --hand-to process, and make the folder",
                     arguments.folder.c_str(), std::strerror(errno));
            return refused;
        }
    }
    Totals totals;
    bool good = true;
    const auto start = Clock::now();
    for (const Program& program : programs) {
        play_program(pool, program, arguments, mesh.get(), receiver, totals);
        receiver = &idle;
    }
    if (mesh && !mesh->finish(mesh_seconds)) {
        complain("a process of the mesh is neither done nor dead after %d s", mesh_seconds);
        good = false;
    }
    totals.counts.add(idle.counts());
    const std::chrono::duration<double> seconds = Clock::now() - start;
    const std::uint64_t system_calls = quarry_object_calls(pool);
    struct quarry_stat stat = {};
    // What lies in this client's magazines is not left: it goes home before what is owned is counted.
    if (quarry_drain(pool, 0, nullptr) < 0) return complain_of(errno, QUARRY_CALL_DRAIN, "drain");
    if (quarry_stat(pool, &stat) < 0) return complain_of(errno, QUARRY_CALL_STAT, "stat");
    const Report report = report_of(arguments, totals, mesh.get(), stat.client_id,
                                    stat.client_objects, system_calls, seconds.count());
    if (arguments.report && !(std::ofstream(arguments.report) << report.dump(2) << '\n').flush()) {
        complain("%s: %s", arguments.report, std::strerror(errno));
        good = false;
    }
    print_report(report, arguments.as_json);
    if (totals.counts.mismatches) good = false;
    // What a peer moved here and died before it told is left, and goes back when this client does.
    if (!mesh && stat.client_objects) good = false;
    if (arguments.play.mark_at >= 0) {
        complain("nobody killed this process: --kill-me-at is for a run that does");
        good = false;
    }
    return good ? ok : wrong;
}

}  // namespace

int run_replay(int argc, char** argv) {
    Arguments arguments;
    parse_arguments({options, parse, "TRACE...", doc, nullptr, nullptr, nullptr}, argc, argv,
                    &arguments);
    std::vector<Program> programs(arguments.traces.size());
    for (std::size_t i = 0; i < programs.size(); i++) {
        std::string why;
        if (load_program(arguments.traces[i], programs[i], why, arguments.most_events)) continue;
        complain("%s: %s", arguments.traces[i].c_str(), why.c_str());
        return refused;
    }
    const bool by_env = arguments.fd == UINT64_MAX;
    quarry_pool* pool = by_env ? quarry_open_env() : quarry_join(static_cast<int>(arguments.fd));
    if (!pool) return complain_of(errno, by_env ? QUARRY_CALL_ENV : QUARRY_CALL_JOIN, "cannot join");
    const int status = replay(pool, arguments, programs);
    quarry_leave(pool);
    return status;
}

}  // namespace quarryctl
