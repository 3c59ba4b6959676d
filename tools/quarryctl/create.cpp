// SPDX-License-Identifier: MIT
//
// quarryctl create: makes a pool, runs a command with the right to join it, and keeps the pool for
// as long as the command runs. The pool's creator is quarryctl itself.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "common.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "Makes a pool, hands it to COMMAND, and ends it when COMMAND ends.\v"
    "COMMAND finds the pool's descriptor number in $QUARRY_POOL_FD; quarry_open_env() of libquarry, "
    "and quarryctl's stat, replay and attack, join it. N is bytes, or a number with K, M or G.\n\n"
    "Examples:\n"
    "  quarryctl create --bytes 64M --name cache -- ./server --port 80\n"
    "  quarryctl create --bytes 1M --max 1G -- quarryctl replay gcc.trace\n"
    "  quarryctl create --kind fixed --object-size 256 --count 1000 -- sh -c './a & ./b; wait'\n"
    "  quarryctl create --kind range --max 8G --granule 64K --ranges 10000 -- ./vram-manager\n\n"
    "Exit status: that of COMMAND (128 + N when signal N ended it); 2 usage; 125 the pool could not "
    "be made; 126 COMMAND cannot be run; 127 COMMAND was not found.\n";

enum Key { kind_key = 256, bytes_key, max_key, size_key, count_key, name_key, zero_key, hold_key,
           lowmem_key, node_key, limit_key, granule_key, ranges_key, align_key };

constexpr argp_option options[] = {
    {"kind", kind_key, "heap|fixed|range", 0,
     "objects of any size (default), or of one size, or offsets alone", 0},
    {"bytes", bytes_key, "N", 0, "heap: memory from the start (default 16M)", 0},
    {"max", max_key, "N", 0, "heap: memory that it may grow to (default: --bytes); range: capacity", 0},
    {"object-size", size_key, "N", 0, "fixed: bytes of an object, a multiple of 8", 0},
    {"count", count_key, "N", 0, "fixed: how many objects", 0},
    {"granule", granule_key, "N", 0, "range: what sizes are rounded up to, a power of two", 0},
    {"ranges", ranges_key, "N", 0, "range: most that are live at a time", 0},
    {"align", align_key, "N", 0, "range: an alignment to be found without waste; up to 3 times", 0},
    {"limit", limit_key, "N", 0, "most memory that one client may own", 0},
    {"name", name_key, "NAME", 0, "a name for people, at most 31 characters", 0},
    {"zero", zero_key, nullptr, 0, "zero an object that goes to another client", 0},
    {"hold-pinned", hold_key, nullptr, 0, "heap: give nobody pages that I/O still holds", 0},
    {"lowmem", lowmem_key, nullptr, 0, "memory below 4 GiB", 0},
    {"node", node_key, "N", 0, "prefer this NUMA node", 0},
    {},
};

struct Arguments {
    quarry_options pool = {};
    bool bytes_given = false;
    unsigned aligns = 0;
    char** command = nullptr;
};

error_t parse(int key, char* text, argp_state* state) {
    auto& arguments = *static_cast<Arguments*>(state->input);
    quarry_options& pool = arguments.pool;
    std::uint64_t number = 0;
    switch (key) {
        case kind_key:
            if (!std::strcmp(text, "heap")) pool.kind = QUARRY_KIND_HEAP;
            else if (!std::strcmp(text, "fixed")) pool.kind = QUARRY_KIND_FIXED;
            else if (!std::strcmp(text, "range")) pool.kind = QUARRY_KIND_RANGE;
            else argp_error(state, "--kind '%s': it is heap, fixed or range", text);
            return 0;
        case bytes_key:
            arguments.bytes_given = true;
            return take_size(state, "bytes", text, pool.bytes), 0;
        case max_key: return take_size(state, "max", text, pool.max_bytes), 0;
        case size_key: return take_size(state, "object-size", text, pool.object_size), 0;
        case count_key: return take_size(state, "count", text, pool.object_count), 0;
        case granule_key: return take_size(state, "granule", text, pool.granule), 0;
        case ranges_key: return take_size(state, "ranges", text, pool.max_ranges), 0;
        case align_key:
            if (arguments.aligns == 3) argp_error(state, "--align can be given 3 times at most");
            return take_size(state, "align", text, pool.aligns[arguments.aligns++]), 0;
        case limit_key: return take_size(state, "limit", text, pool.client_limit), 0;
        case name_key: return pool.name = text, 0;
        case zero_key: return pool.flags |= QUARRY_POOL_ZERO, 0;
        case hold_key: return pool.flags |= QUARRY_POOL_HOLD_PINNED, 0;
        case lowmem_key: return pool.zone = QUARRY_ZONE_LOWMEM, 0;
        case node_key:
            take_number(state, "node", text, number);
            if (number > INT32_MAX) argp_error(state, "--node '%s' is no NUMA node", text);
            pool.on_node = true;
            return pool.node = static_cast<int32_t>(number), 0;
        case ARGP_KEY_ARGS:
            arguments.command = state->argv + state->next;
            return 0;
        case ARGP_KEY_END:
            if (!arguments.command)
                argp_error(state, "say which command is to use the pool: -- COMMAND...");
            if (pool.kind == QUARRY_KIND_HEAP && !arguments.bytes_given) pool.bytes = 16u << 20;
            if (pool.kind == QUARRY_KIND_RANGE &&
                (!pool.max_bytes || !pool.granule || !pool.max_ranges))
                argp_error(state, "--kind range takes --max, --granule and --ranges");
            if (pool.kind == QUARRY_KIND_RANGE && (pool.bytes || pool.object_size || pool.object_count))
                argp_error(state, "--bytes, --object-size and --count are of other kinds");
            if (pool.kind != QUARRY_KIND_RANGE &&
                (pool.granule || pool.max_ranges || arguments.aligns))
                argp_error(state, "--granule, --ranges and --align are of --kind range");
            if (pool.kind == QUARRY_KIND_HEAP && (pool.object_size || pool.object_count))
                argp_error(state, "--object-size and --count are of --kind fixed");
            if (pool.kind == QUARRY_KIND_FIXED && (!pool.object_size || !pool.object_count))
                argp_error(state, "--kind fixed takes --object-size and --count");
            if (pool.kind == QUARRY_KIND_FIXED && (pool.bytes || pool.max_bytes))
                argp_error(state, "--bytes and --max are of --kind heap");
            return 0;
        default: return ARGP_ERR_UNKNOWN;
    }
}

pid_t command_process = 0;

void pass_on(int signal) {
    if (command_process > 0) kill(command_process, signal);
}

// The keyboard's signals reach COMMAND by themselves; those sent to quarryctl are passed on.
void await_command_not_signals() {
    struct sigaction ignore = {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGINT, &ignore, nullptr);
    sigaction(SIGQUIT, &ignore, nullptr);
    struct sigaction forward = {};
    forward.sa_handler = pass_on;
    forward.sa_flags = SA_RESTART;
    for (int signal : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) sigaction(signal, &forward, nullptr);
}

[[noreturn]] void become_command(char** command, int fd) {
    setenv(QUARRY_POOL_FD_ENV, std::to_string(fd).c_str(), 1);
    execvp(command[0], command);
    const int error = errno;
    complain("cannot run %s: %s", command[0], std::strerror(error));
    _exit(error == ENOENT ? command_not_found : command_not_executable);
}

int run_command(char** command, int fd) {
    // Blocked until the handlers know whom to pass a signal to.
    sigset_t passed, before;
    sigemptyset(&passed);
    for (int signal : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&passed, signal);
    sigprocmask(SIG_BLOCK, &passed, &before);
    command_process = fork();
    if (command_process < 0) {
        complain("cannot start a process: %s", std::strerror(errno));
        return create_failed;
    }
    if (command_process == 0) {
        sigprocmask(SIG_SETMASK, &before, nullptr);
        become_command(command, fd);
    }
    close(fd);
    await_command_not_signals();
    sigprocmask(SIG_SETMASK, &before, nullptr);
    int status;
    while (waitpid(command_process, &status, 0) < 0)
        if (errno != EINTR) return create_failed;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int run_create(int argc, char** argv) {
    Arguments arguments;
    parse_arguments({options, parse, "-- COMMAND [ARGUMENT...]", doc, nullptr, nullptr, nullptr},
                    argc, argv, &arguments);
    quarry_pool* pool = quarry_create(nullptr, &arguments.pool);
    if (!pool) {
        complain_of(errno, QUARRY_CALL_CREATE, "cannot make the pool");
        return create_failed;
    }
    const int fd = quarry_share(pool);
    if (fd < 0) {
        complain_of(errno, QUARRY_CALL_SHARE, "cannot hand the pool on");
        quarry_leave(pool);
        return create_failed;
    }
    const int status = run_command(arguments.command, fd);
    quarry_leave(pool);
    return status;
}

}  // namespace quarryctl
