// SPDX-License-Identifier: MIT
//
// What quarryctl's subcommands share: exit statuses, errors that say what to do next, sizes with
// suffixes, and one way to print a report as text or JSON.
#pragma once

#include <argp.h>
#include <quarry/quarry.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace quarryctl {

using Report = nlohmann::ordered_json;

// Exit statuses, distinct so that scripts can tell. `create` ends with its COMMAND's instead, or
// with one of the last three, which are those of env(1) and timeout(1).
enum Exit : int {
    ok = 0,
    wrong = 1,       // what was looked at is wrong: faults, mismatches, an attack that succeeded
    usage = 2,       // the command line is wrong
    no_device = 3,   // the module is not loaded, or this user may not use it
    no_pool = 4,     // there is no such pool
    refused = 5,     // the kernel or the system refused what was asked
    create_failed = 125,
    command_not_executable = 126,
    command_not_found = 127,
};

// A subcommand. `run` gets its own argv, argv[0] being "quarryctl NAME".
struct Subcommand {
    const char* name;
    const char* summary;
    int (*run)(int argc, char** argv);
};

int run_info(int argc, char** argv);
int run_create(int argc, char** argv);
int run_list(int argc, char** argv);
int run_stat(int argc, char** argv);
int run_verify(int argc, char** argv);
int run_replay(int argc, char** argv);
int run_attack(int argc, char** argv);

// Prints "quarryctl: TEXT" on stderr.
void complain(const char* format, ...) __attribute__((format(printf, 1, 2)));
// The same for a libquarry call that failed with errno `error`; returns the exit status for it.
Exit complain_of(int error, quarry_call call, const char* what);

// "64K" -> 65536; suffixes K, M, G, T. False when it is no such number.
bool parse_size(std::string_view text, std::uint64_t& bytes);
// A plain decimal number.
bool parse_number(std::string_view text, std::uint64_t& number);
// 65536 -> "64.0 KiB".
std::string human_size(std::uint64_t bytes);

// For argp parsers: reads a size or a number into `to`, or ends with a usage error.
void take_size(argp_state* state, const char* option, const char* text, std::uint64_t& to);
void take_number(argp_state* state, const char* option, const char* text, std::uint64_t& to);

// argp_parse() with this program's conventions: exit status `usage`, options before arguments.
void parse_arguments(const argp& parser, int argc, char** argv, void* input);

// Prints `report`: as one JSON object, or as "key: value" lines, nested ones indented.
void print_report(const Report& report, bool as_json);

// A pool's counters, under the names that debugfs gives them.
Report report_of(const struct quarry_stat& stat);

}  // namespace quarryctl
