// SPDX-License-Identifier: MIT
// See settings.hpp.
#include "settings.hpp"

#include <cstdlib>
#include <cstring>

#include "sys.hpp"

namespace quarry::record {
namespace {

constexpr std::uint64_t default_max_bytes = std::uint64_t{1} << 30;

// Text that grows to the right in a fixed place; once it does not fit it is no good.
class Text {
public:
    Text(char* out, std::size_t bytes) : out_(out), left_(bytes) { *out_ = 0; }

    Text& add(const char* text, std::size_t bytes) {
        if (bytes >= left_) {
            left_ = 0;
            return *this;
        }
        std::memcpy(out_, text, bytes);
        out_ += bytes;
        left_ -= bytes;
        *out_ = 0;
        return *this;
    }
    Text& add(const char* text) { return add(text, std::strlen(text)); }
    Text& add(unsigned number) {
        char digits[12];
        std::size_t i = sizeof(digits);
        do digits[--i] = static_cast<char>('0' + number % 10);
        while (number /= 10);
        return add(digits + i, sizeof(digits) - i);
    }
    bool good() const { return left_ != 0; }

private:
    char* out_;
    std::size_t left_;
};

// The executable's name, made of characters that a file name may hold.
void read_program(char (&out)[64]) {
    char path[Settings::path_bytes];
    const long got = sys(SYS_readlink, "/proc/self/exe", path, sizeof(path) - 1);
    path[got > 0 ? got : 0] = 0;
    const char* slash = std::strrchr(path, '/');
    const char* name = slash ? slash + 1 : path;
    std::size_t i = 0;
    for (; name[i] && name[i] != ' ' && i + 1 < sizeof(out); i++) {
        const char c = name[i];
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || std::strchr("._+-", c);
        out[i] = plain ? c : '_';
    }
    out[i] = 0;
    if (!i) std::memcpy(out, "unknown", 8);
}

bool listed(const char* list, const char* name) {
    const std::size_t bytes = std::strlen(name);
    while (*list) {
        const std::size_t item = std::strcspn(list, ",");
        if (item == bytes && !std::memcmp(list, name, bytes)) return true;
        list += item + (list[item] == ',');
    }
    return false;
}

}  // namespace

bool read_settings(Settings& settings) {
    if (!environ) return false;
    settings.on = false;
    const char* folder = std::getenv("QUARRY_TRACE_DIR");
    if (!folder || !*folder) return true;
    read_program(settings.program);
    const char* only = std::getenv("QUARRY_TRACE_ONLY");
    if (only && *only && !listed(only, settings.program)) return true;
    // A program may change its working folder: keep the whole path.
    Text text(settings.folder, sizeof(settings.folder));
    char here[Settings::path_bytes];
    if (*folder != '/') {
        if (sys(SYS_getcwd, here, sizeof(here)) <= 0) return true;
        text.add(here).add("/");
    }
    settings.on = text.add(folder).good();
    const char* limit = std::getenv("QUARRY_TRACE_MAX_BYTES");
    settings.max_bytes = limit && *limit ? std::strtoull(limit, nullptr, 10) : default_max_bytes;
    return true;
}

bool trace_path(const Settings& settings, int pid, unsigned round, char* out, std::size_t bytes) {
    Text text(out, bytes);
    text.add(settings.folder).add("/").add(settings.program).add(".");
    text.add(static_cast<unsigned>(pid));
    if (round) text.add(".").add(round);
    return text.add(".qtrace").good();
}

}  // namespace quarry::record
