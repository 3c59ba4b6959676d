// SPDX-License-Identifier: MIT
#include "debugfs.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace quarryctl {
namespace {

// A number; "a=1 b=x" as an object; else the text.
Report value_of(const std::string& text) {
    std::uint64_t number;
    if (parse_number(text, number)) return number;
    Report fields = Report::object();
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        const auto equals = word.find('=');
        if (equals == word.npos || equals == 0) return text;
        fields[word.substr(0, equals)] = value_of(word.substr(equals + 1));
    }
    if (fields.empty()) return text;
    return fields;
}

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t");
    const auto last = text.find_last_not_of(" \t\r");
    return first == text.npos ? "" : text.substr(first, last - first + 1);
}

// Whether `wanted` is the pool's id, which is its folder's name, or its name.
bool goes_by(const std::string& folder, const std::string& wanted) {
    if (folder == wanted) return true;
    std::ifstream lines(debugfs_root() + "/" + folder + "/stat");
    for (std::string line; std::getline(lines, line);) {
        const auto colon = line.find(':');
        if (colon == line.npos) continue;
        const std::string key = line.substr(0, colon);
        if (key == "name" && trimmed(line.substr(colon + 1)) == wanted) return true;
    }
    return false;
}

}  // namespace

std::string debugfs_root() {
    const char* elsewhere = std::getenv("QUARRY_DEBUGFS");
    return elsewhere ? elsewhere : "/sys/kernel/debug/quarry";
}

// Beside pools, whose folders are their ids, there is one of drivers' heaps.
static bool is_pool(const std::string& name) {
    return name.find_first_not_of("0123456789") == std::string::npos;
}

bool debugfs_pools(std::vector<std::string>& folders, Exit& why) {
    std::error_code error;
    const std::string root = debugfs_root();
    for (std::filesystem::directory_iterator entry(root, error), end; !error && entry != end;
         entry.increment(error))
        if (const std::string name = entry->path().filename(); is_pool(name) && entry->is_directory(error))
            folders.push_back(name);
    if (error) {
        const bool closed = error.value() == EACCES || error.value() == EPERM;
        complain("%s: %s: %s", root.c_str(), error.message().c_str(),
                 closed ? "run this as root"
                        : "load the module, and mount debugfs (mount -t debugfs none "
                          "/sys/kernel/debug)");
        why = no_device;
        return false;
    }
    // Ids are numbers: the shorter is the smaller.
    std::sort(folders.begin(), folders.end(), [](const std::string& a, const std::string& b) {
        return a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    return true;
}

bool debugfs_find(const char* pool, std::string& folder, Exit& why) {
    std::vector<std::string> folders;
    if (!debugfs_pools(folders, why)) return false;
    std::vector<std::string> found;
    for (const std::string& candidate : folders)
        if (!pool || goes_by(candidate, pool)) found.push_back(candidate);
    if (found.size() == 1) {
        folder = found[0];
        return true;
    }
    why = no_pool;
    if (found.empty()) {
        if (pool) complain("no pool '%s': `quarryctl list` shows the living ones", pool);
        else complain("there is no pool: `quarryctl create` makes one");
    } else {
        std::string names;
        for (const std::string& name : found) names += " " + name;
        complain("%zu pools %s: say which one of%s", found.size(),
                 pool ? "go by that name" : "are alive", names.c_str());
    }
    return false;
}

bool debugfs_read(const std::string& folder, const char* file, Report& report, Exit& why,
                  bool may_be_empty) {
    const std::string path = debugfs_root() + "/" + folder + "/" + file;
    errno = 0;
    std::ifstream lines(path);
    if (!lines) {
        const bool gone = errno == ENOENT;
        complain("%s: %s: %s", path.c_str(), std::strerror(errno),
                 gone ? "the pool has ended meanwhile" : "run this as root");
        why = gone ? no_pool : refused;
        return false;
    }
    for (std::string line; std::getline(lines, line);) {
        const auto colon = line.find(':');
        if (colon == line.npos) continue;
        report[trimmed(line.substr(0, colon))] = value_of(trimmed(line.substr(colon + 1)));
    }
    if (lines.bad() || (report.empty() && !may_be_empty)) {
        complain("%s: nothing could be read: look at the kernel log (dmesg)", path.c_str());
        why = refused;
        return false;
    }
    return true;
}

}  // namespace quarryctl
