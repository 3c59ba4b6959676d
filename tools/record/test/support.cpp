// SPDX-License-Identifier: MIT
// See support.hpp.
#include "support.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

#include "victim.h"

namespace quarry::trace {
namespace {

std::string folder_of(const char* variable) {
    const char* folder = std::getenv(variable);
    if (folder) return folder;
    std::fprintf(stderr, "%s is not set: run `make test-record`\n", variable);
    std::exit(2);
}

Read read_open(quarry_trace* trace, quarry_trace_status opened) {
    Read read;
    read.opened = opened;
    read.ended = opened;
    if (!trace) return read;
    quarry_trace_event event;
    while ((read.ended = quarry_trace_next(trace, &event)) == QUARRY_TRACE_OK)
        read.events.push_back(event);
    read.info = *quarry_trace_get_info(trace);
    EXPECT_EQ(quarry_trace_next(trace, &event), read.ended) << "the end must stay the end";
    quarry_trace_close(trace);
    return read;
}

std::string text_of_file(const std::string& path) {
    const Bytes bytes = load(path);
    return {bytes.begin(), bytes.end()};
}

}  // namespace

std::uint64_t Read::count(quarry_trace_kind kind) const {
    return static_cast<std::uint64_t>(
        std::count_if(events.begin(), events.end(), [=](const auto& e) { return e.kind == kind; }));
}

std::vector<quarry_trace_event> Read::between_marks() const {
    std::vector<quarry_trace_event> found;
    int marks = 0;
    for (const quarry_trace_event& event : events) {
        if (event.size == VICTIM_MARK)
            marks += event.kind == QUARRY_TRACE_FREE;
        else if (marks == 1)
            found.push_back(event);
    }
    EXPECT_EQ(marks, 2);
    return found;
}

std::uint64_t Read::live() const {
    return count(QUARRY_TRACE_ALLOC) + count(QUARRY_TRACE_ZEROED) + count(QUARRY_TRACE_ALIGNED) -
           count(QUARRY_TRACE_FREE);
}

Read read_bytes(const Bytes& bytes) {
    quarry_trace* trace = nullptr;
    const quarry_trace_status status =
        quarry_trace_open_memory(bytes.data(), bytes.size(), &trace);
    return read_open(trace, status);
}

Read read_file(const std::string& path) {
    quarry_trace* trace = nullptr;
    const quarry_trace_status status = quarry_trace_open(path.c_str(), &trace);
    return read_open(trace, status);
}

Bytes load(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void store(const std::string& path, const Bytes& bytes) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
}

std::string test_bin(const std::string& name) {
    return folder_of("RECORD_TEST_BIN") + "/" + name;
}
std::string record_build(const std::string& name) { return folder_of("RECORD_BUILD") + "/" + name; }

Folder::Folder() {
    path_ = (std::filesystem::temp_directory_path() / "quarry-record-XXXXXX").string();
    if (!mkdtemp(path_.data())) std::abort();
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> Folder::traces(const std::string& program) const {
    std::vector<std::pair<std::uint64_t, std::string>> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
        const std::string name = entry.path().filename();
        if (name.rfind(program + ".", 0) != 0 || entry.path().extension() != ".qtrace") continue;
        found.emplace_back(read_file(entry.path()).info.header.monotonic_ns, entry.path());
    }
    std::sort(found.begin(), found.end());
    std::vector<std::string> paths;
    for (const auto& [ns, path] : found) paths.push_back(path);
    return paths;
}

bool Ran::exited(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
bool Ran::killed(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }

Ran run(const std::string& command, const std::vector<std::string>& settings) {
    const Folder folder;
    const std::string out = folder.path() + "/out", err = folder.path() + "/err";
    const pid_t child = fork();
    if (!child) {
        for (const std::string& setting : settings) putenv(strdup(setting.c_str()));
        // The redirections come first: `exec` with no fork, so its status is the program's.
        const std::string line = "exec >" + out + " 2>" + err + "; exec " + command;
        execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
        _exit(127);
    }
    Ran ran;
    for (int ms = 0; waitpid(child, &ran.status, WNOHANG) == 0; ms++) {
        if (ms == 60'000) {
            ADD_FAILURE() << "hangs: " << command;
            kill(child, SIGKILL);
        }
        usleep(1000);
    }
    ran.out = text_of_file(out);
    ran.err = text_of_file(err);
    return ran;
}

Ran record(const Folder& folder, const std::string& mode,
           const std::vector<std::string>& settings) {
    std::string command = "env QUARRY_TRACE_DIR=" + folder.path();
    for (const std::string& setting : settings) command += " " + setting;
    command += " LD_PRELOAD=" + record_build("libquarry-record.so") + " " + test_bin("victim");
    return run(command + " " + mode);
}

}  // namespace quarry::trace
