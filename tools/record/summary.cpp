// SPDX-License-Identifier: MIT
// See summary.hpp.
#include "summary.hpp"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace quarry::trace {
namespace {

std::size_t size_row(std::uint64_t size) {
    return size <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(size - 1));
}

std::size_t lifetime_row(std::uint64_t ns) {
    std::size_t row = 0;
    for (; ns && row + 1 < Summary::lifetime_rows; ns /= 10) row++;
    return row;
}

void count(Summary& summary, const quarry_trace_event& event) {
    summary.events[event.kind]++;
    summary.last_ns = event.ns;
    if (event.thread >= summary.threads.size()) summary.threads.resize(event.thread + 1);
    ThreadRow& thread = summary.threads[event.thread];
    if (event.kind == QUARRY_TRACE_FREE) {
        thread.frees++;
        thread.foreign_frees += event.born_thread != event.thread;
        summary.lifetimes[lifetime_row(event.ns - event.born_ns)]++;
        summary.live_objects--;
        summary.live_bytes -= event.size;
        return;
    }
    if (event.kind == QUARRY_TRACE_RESIZED) {
        thread.resizes++;
        summary.live_bytes -= event.old_size;
    } else {
        thread.allocations++;
        summary.live_objects++;
        if (event.align) summary.aligns[event.align]++;
    }
    SizeRow& row = summary.sizes[size_row(event.size)];
    row.objects++;
    row.bytes += event.size;
    summary.total_bytes += event.size;
    summary.live_bytes += event.size;
    summary.peak_objects = std::max(summary.peak_objects, summary.live_objects);
    if (summary.live_bytes <= summary.peak_bytes) return;
    summary.peak_bytes = summary.live_bytes;
    summary.peak_bytes_objects = summary.live_objects;
}

[[gnu::format(printf, 2, 3)]] void print(std::string& out, const char* format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    const int bytes = std::vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    out.append(line, static_cast<std::size_t>(std::clamp(bytes, 0, 511)));
}

// Up to `most` bytes: "8", "16K", "2M".
std::string size_name(std::uint64_t bytes) {
    static constexpr const char* units[] = {"", "K", "M", "G", "T", "P", "E"};
    std::size_t unit = 0;
    while (bytes >= 1024 && bytes % 1024 == 0 && unit < 6) {
        bytes /= 1024;
        unit++;
    }
    return std::to_string(bytes) + units[unit];
}

std::string row_name(std::size_t row) {
    return row < 64 ? size_name(std::uint64_t{1} << row) : "16E";
}

constexpr const char* lifetime_names[Summary::lifetime_rows] = {
    "0 ns",      "< 10 ns", "< 100 ns", "< 1 us", "< 10 us", "< 100 us", "< 1 ms",
    "< 10 ms", "< 100 ms", "< 1 s",   "< 10 s", "< 100 s", ">= 100 s"};

using Number = unsigned long long;

}  // namespace

Summary summarize(quarry_trace* trace) {
    Summary summary;
    quarry_trace_event event;
    quarry_trace_rewind(trace);
    while ((summary.status = quarry_trace_next(trace, &event)) == QUARRY_TRACE_OK)
        count(summary, event);
    summary.info = *quarry_trace_get_info(trace);
    summary.threads.resize(summary.info.threads);
    return summary;
}

std::string text_of(const Summary& s) {
    std::string out;
    const quarry_trace_info& info = s.info;
    print(out, "program     %s (pid %u), %s\n", info.header.program, info.header.pid,
          info.truncated ? "truncated: its end is missing" : quarry_trace_reason_name(info.reason));
    print(out, "command     %s\n", info.header.command);
    print(out, "time        %.3f s, %u thread%s\n", static_cast<double>(s.last_ns) / 1e9,
          info.threads, info.threads == 1 ? "" : "s");
    print(out, "file        %llu bytes, %llu records, %llu lost, %llu dropped\n",
          Number{info.bytes}, Number{info.records}, Number{info.lost}, Number{info.dropped});
    print(out, "events     ");
    for (std::uint32_t kind = QUARRY_TRACE_ALLOC; kind <= QUARRY_TRACE_FREE; kind++)
        print(out, " %s %llu", quarry_trace_kind_name(kind), Number{s.events[kind]});
    print(out, "\nodd frees   %llu of memory from before, %llu implied; %llu reallocs failed\n",
          Number{info.unknown_frees}, Number{info.implied_frees}, Number{info.failed_reallocs});
    print(out, "objects     %llu, %llu bytes in all\n", Number{info.objects},
          Number{s.total_bytes});
    print(out, "most alive  %llu objects; %llu bytes (in %llu objects)\n", Number{s.peak_objects},
          Number{s.peak_bytes}, Number{s.peak_bytes_objects});
    print(out, "at the end  %llu objects, %llu bytes\n", Number{s.live_objects},
          Number{s.live_bytes});
    print(out, "\n%12s %12s %14s\n", "size up to", "objects", "bytes");
    for (std::size_t i = 0; i < s.sizes.size(); i++)
        if (s.sizes[i].objects)
            print(out, "%12s %12llu %14llu\n", row_name(i).c_str(), Number{s.sizes[i].objects},
                  Number{s.sizes[i].bytes});
    print(out, "\n%12s %12s\n", "lifetime", "objects");
    for (std::size_t i = 0; i < s.lifetimes.size(); i++)
        if (s.lifetimes[i]) print(out, "%12s %12llu\n", lifetime_names[i], Number{s.lifetimes[i]});
    print(out, "%12s %12llu\n", "to the end", Number{s.live_objects});
    if (!s.aligns.empty()) print(out, "\n%12s %12s\n", "alignment", "objects");
    for (const auto& [align, objects] : s.aligns)
        print(out, "%12s %12llu\n", size_name(align).c_str(), Number{objects});
    print(out, "\n%12s %12s %12s %12s %14s\n", "thread", "allocations", "resizes", "frees",
          "of others'");
    for (std::size_t i = 0; i < s.threads.size(); i++) {
        const ThreadRow& row = s.threads[i];
        print(out, "%12zu %12llu %12llu %12llu %14llu\n", i, Number{row.allocations},
              Number{row.resizes}, Number{row.frees}, Number{row.foreign_frees});
    }
    return out;
}

std::string json_of(const Summary& s) {
    using Json = nlohmann::ordered_json;
    const quarry_trace_info& info = s.info;
    Json json = {
        {"program", info.header.program},
        {"command", info.header.command},
        {"pid", info.header.pid},
        {"parent_pid", info.header.parent_pid},
        {"version", info.header.version},
        {"merged", (info.header.flags & QUARRY_TRACE_MERGED) != 0},
        {"truncated", info.truncated != 0},
        {"end", quarry_trace_reason_name(info.reason)},
        {"ns", s.last_ns},
        {"file_bytes", info.bytes},
        {"records", info.records},
        {"lost", info.lost},
        {"dropped", info.dropped},
        {"unknown_frees", info.unknown_frees},
        {"implied_frees", info.implied_frees},
        {"failed_reallocs", info.failed_reallocs},
        {"objects", info.objects},
        {"bytes", s.total_bytes},
        {"peak_objects", s.peak_objects},
        {"peak_bytes", s.peak_bytes},
        {"peak_bytes_objects", s.peak_bytes_objects},
        {"end_objects", s.live_objects},
        {"end_bytes", s.live_bytes},
    };
    for (std::uint32_t kind = QUARRY_TRACE_ALLOC; kind <= QUARRY_TRACE_FREE; kind++)
        json["events"][quarry_trace_kind_name(kind)] = s.events[kind];
    json["sizes"] = Json::array();
    for (std::size_t i = 0; i < s.sizes.size(); i++)
        if (s.sizes[i].objects)
            json["sizes"].push_back({{"log2_up_to", i},
                                     {"objects", s.sizes[i].objects},
                                     {"bytes", s.sizes[i].bytes}});
    json["lifetimes"] = Json::array();
    for (std::size_t i = 0; i < s.lifetimes.size(); i++)
        if (s.lifetimes[i])
            json["lifetimes"].push_back(
                {{"is", lifetime_names[i]}, {"objects", s.lifetimes[i]}});
    json["alignments"] = Json::array();
    for (const auto& [align, objects] : s.aligns)
        json["alignments"].push_back({{"bytes", align}, {"objects", objects}});
    json["threads"] = Json::array();
    for (const ThreadRow& row : s.threads)
        json["threads"].push_back({{"allocations", row.allocations},
                                   {"resizes", row.resizes},
                                   {"frees", row.frees},
                                   {"foreign_frees", row.foreign_frees}});
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace quarry::trace
