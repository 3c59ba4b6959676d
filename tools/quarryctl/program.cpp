// SPDX-License-Identifier: MIT
#include "program.hpp"

#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "record/trace.h"

namespace quarryctl {
namespace {

// Turns trace events into a Program's: a resized object becomes a new one, and the old is freed
// after it, as realloc does; an object of 0 bytes asks for 1, as malloc does.
class Builder {
public:
    explicit Builder(Program& program) : program_(program) {}

    // False when the trace has more objects than a Program can name.
    bool add(const quarry_trace_event& event) {
        switch (event.kind) {
            case QUARRY_TRACE_FREE: {
                const auto living = living_.find(event.object);
                if (living == living_.end()) return true;
                program_.events.push_back({living->second, event.thread, true});
                living_.erase(living);
                return true;
            }
            case QUARRY_TRACE_RESIZED: {
                const auto living = living_.find(event.object);
                const bool known = living != living_.end();
                const std::uint32_t old = known ? living->second : 0;
                if (!begin(event)) return false;
                if (known) program_.events.push_back({old, event.thread, true});
                return true;
            }
            default: return begin(event);
        }
    }

private:
    bool begin(const quarry_trace_event& event) {
        if (program_.objects.size() == UINT32_MAX) return false;
        const auto object = static_cast<std::uint32_t>(program_.objects.size());
        const std::uint64_t align = event.align > QUARRY_GRAIN ? event.align : 0;
        program_.objects.push_back({event.size ? event.size : 1, align});
        program_.events.push_back({object, event.thread, false});
        living_[event.object] = object;
        return true;
    }

    Program& program_;
    std::unordered_map<std::uint64_t, std::uint32_t> living_;  // by the trace's object
};

}  // namespace

bool load_program(const std::string& path, Program& program, std::string& why, std::uint64_t most) {
    quarry_trace* trace = nullptr;
    quarry_trace_status status = quarry_trace_open(path.c_str(), &trace);
    if (!trace) {
        why = quarry_trace_explain(status);
        if (status == QUARRY_TRACE_IO) why = why + ": " + std::strerror(errno);
        return false;
    }
    Builder builder(program);
    quarry_trace_event event;
    bool room = true;
    while (room && program.trace_events < most &&
           (status = quarry_trace_next(trace, &event)) == QUARRY_TRACE_OK) {
        room = builder.add(event);
        program.trace_events++;
    }
    program.trace_records = quarry_trace_get_info(trace)->records;
    const bool cut = status == QUARRY_TRACE_OK;
    program.threads = std::max(quarry_trace_get_info(trace)->threads, 1u);
    quarry_trace_close(trace);
    // A process that was killed leaves a torn trace; what stands before the tear was real.
    if (room && (cut || status == QUARRY_TRACE_DONE || status == QUARRY_TRACE_TRUNCATED)) {
        if (!program.events.empty()) return true;
        why = "it holds no allocation: record the program again (tools/record)";
        return false;
    }
    why = room ? quarry_trace_explain(status) : "it has more than 2^32 objects: record less";
    return false;
}

}  // namespace quarryctl
