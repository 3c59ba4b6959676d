// SPDX-License-Identifier: MIT
#include "common.hpp"

#include <cerrno>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace quarryctl {

void complain(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::fputs("quarryctl: ", stderr);
    std::vfprintf(stderr, format, arguments);
    std::fputc('\n', stderr);
    va_end(arguments);
}

Exit complain_of(int error, quarry_call call, const char* what) {
    complain("%s: %s (%s)", what, quarry_strerror(error, call), strerrorname_np(error));
    const bool at_device = call == QUARRY_CALL_OPEN || call == QUARRY_CALL_CREATE;
    if (at_device && (error == ENOENT || error == ENODEV || error == EACCES || error == ENXIO))
        return no_device;
    return call == QUARRY_CALL_ENV && error == ENOENT ? no_pool : refused;
}

bool parse_number(std::string_view text, std::uint64_t& number) {
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, number);
    return error == std::errc() && stopped == end;
}

bool parse_size(std::string_view text, std::uint64_t& bytes) {
    constexpr std::string_view suffixes = "KMGT";
    unsigned shift = 0;
    if (!text.empty()) {
        const auto place = suffixes.find(static_cast<char>(text.back() & ~0x20));
        if (place != suffixes.npos) {
            shift = 10 * (static_cast<unsigned>(place) + 1);
            text.remove_suffix(1);
        }
    }
    std::uint64_t count;
    if (!parse_number(text, count) || count > (UINT64_MAX >> shift)) return false;
    bytes = count << shift;
    return true;
}

std::string human_size(std::uint64_t bytes) {
    constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    unsigned unit = 0;
    while (value >= 1024 && unit < 4) value /= 1024, unit++;
    char text[32];
    std::snprintf(text, sizeof text, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

void take_size(argp_state* state, const char* option, const char* text, std::uint64_t& to) {
    if (!parse_size(text, to))
        argp_error(state, "--%s '%s' is no size: give bytes, or a number with K, M or G", option,
                   text);
}

void take_number(argp_state* state, const char* option, const char* text, std::uint64_t& to) {
    if (!parse_number(text, to)) argp_error(state, "--%s '%s' is no number", option, text);
}

void parse_arguments(const argp& parser, int argc, char** argv, void* input) {
    argp_err_exit_status = usage;
    argp_parse(&parser, argc, argv, ARGP_IN_ORDER, nullptr, input);
}

namespace {

void print_lines(const Report& report, int indent) {
    for (const auto& [key, value] : report.items()) {
        if (value.is_object()) {
            std::printf("%*s%s:\n", indent, "", key.c_str());
            print_lines(value, indent + 2);
        } else {
            const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
            std::printf("%*s%s: %s\n", indent, "", key.c_str(), text.c_str());
        }
    }
}

}  // namespace

void print_report(const Report& report, bool as_json) {
    if (as_json) {
        std::printf("%s\n", report.dump(2).c_str());
    } else {
        print_lines(report, 0);
    }
    std::fflush(stdout);
}

Report report_of(const struct quarry_stat& stat) {
    return {
        {"pool_id", stat.pool_id},
        {"name", stat.name},
        {"kind", stat.kind == QUARRY_KIND_RANGE   ? "range"
                 : stat.kind == QUARRY_KIND_FIXED ? "fixed"
                                                  : "heap"},
        {"clients", stat.clients},
        {"max_bytes", stat.max_bytes},
        {"bytes", stat.bytes},
        {"free_bytes", stat.free_bytes},
        {"used_bytes", stat.used_bytes},
        {"objects", stat.objects},
        {"meta_bytes", stat.meta_bytes},
        {"regions", stat.regions},
        {"slabs", stat.slabs},
        {"allocs", stat.allocs},
        {"frees", stat.frees},
        {"refused", stat.refused},
        {"transfers", stat.transfers},
        {"shares", stat.shares},
        {"held_bytes", stat.held_bytes},
        {"reserve_objects", stat.reserve_objects},
        {"reaps", stat.reaps},
        {"late_reaps", stat.late_reaps},
        {"reaped_objects", stat.reaped_objects},
        {"reaped_bytes", stat.reaped_bytes},
        {"corruptions", stat.corruptions},
        {"client_limit", stat.client_limit},
    };
}

}  // namespace quarryctl
