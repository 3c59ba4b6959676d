// SPDX-License-Identifier: MIT
//
// The calls of trace.h: records become events of objects.
//
// Needs nothing of the C++ runtime, so a C program can link it.
#include "trace.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "object_map.hpp"
#include "trace_file.hpp"

using namespace quarry::trace;

struct quarry_trace {
    quarry_trace_status open(const void* data, std::size_t bytes);
    quarry_trace_status next(quarry_trace_event& event);
    void rewind();
    ~quarry_trace();

    TraceFile file_;
    void* mapping_ = nullptr;
    std::size_t mapped_bytes_ = 0;

private:
    // A thread's call of realloc that has begun and not ended.
    struct Resizing {
        bool begun;
        bool known;  // the object at its address was known: it is `object`
        LiveObject object;
    };

    quarry_trace_status apply(const RawEvent& raw, std::uint32_t thread, quarry_trace_event& event,
                              bool& have);
    quarry_trace_status end_realloc(const RawEvent& raw, std::uint32_t thread,
                                    quarry_trace_event& event, bool& have);
    quarry_trace_status birth(const LiveObject& object, quarry_trace_event& event);
    quarry_trace_status death(const LiveObject& object, quarry_trace_event& event, bool& have);

    Resizing* resizing_ = nullptr;  // a thread each
    ObjectMap live_;
    bool held_ = false;
    quarry_trace_event held_event_ = {};  // an allocation, behind the free that it implies
    quarry_trace_status final_ = QUARRY_TRACE_OK;
};

quarry_trace_status quarry_trace::open(const void* data, std::size_t bytes) {
    const quarry_trace_status status = file_.open(data, bytes);
    if (status != QUARRY_TRACE_OK && status != QUARRY_TRACE_TRUNCATED) return status;
    resizing_ = static_cast<Resizing*>(std::calloc(file_.info().threads + 1, sizeof(Resizing)));
    return resizing_ ? status : QUARRY_TRACE_NO_MEMORY;
}

quarry_trace::~quarry_trace() {
    std::free(resizing_);
    if (mapping_) munmap(mapping_, mapped_bytes_);
}

void quarry_trace::rewind() {
    quarry_trace_info& info = file_.info();
    info.objects = info.unknown_frees = info.implied_frees = info.failed_reallocs = 0;
    for (std::uint32_t i = 0; i < info.threads; i++) resizing_[i] = {};
    file_.rewind();
    live_.clear();
    held_ = false;
    final_ = QUARRY_TRACE_OK;
}

// `object` now stands at its address, and `event` tells it; what was there before is gone unseen.
quarry_trace_status quarry_trace::birth(const LiveObject& object, quarry_trace_event& event) {
    LiveObject gone;
    if (live_.take(object.address, gone)) {
        held_ = true;
        held_event_ = event;
        file_.info().implied_frees++;
        event = {QUARRY_TRACE_FREE, event.thread, gone.object, event.number, event.ns, gone.size,
                 0, 0, gone.born_ns, gone.born_thread, 1};
    }
    if (live_.insert(object)) return QUARRY_TRACE_OK;
    held_ = false;
    return QUARRY_TRACE_NO_MEMORY;
}

quarry_trace_status quarry_trace::death(const LiveObject& object, quarry_trace_event& event,
                                        bool& have) {
    event.kind = QUARRY_TRACE_FREE;
    event.object = object.object;
    event.size = object.size;
    event.born_ns = object.born_ns;
    event.born_thread = object.born_thread;
    have = true;
    return QUARRY_TRACE_OK;
}

quarry_trace_status quarry_trace::end_realloc(const RawEvent& raw, std::uint32_t thread,
                                              quarry_trace_event& event, bool& have) {
    Resizing& call = resizing_[thread];
    LiveObject& object = call.object;
    call.begun = false;
    if (!raw.address && raw.size) {  // it failed, and its object stays
        file_.info().failed_reallocs++;
        if (!call.known) return QUARRY_TRACE_OK;
        LiveObject other;
        if (live_.take(object.address, other)) return QUARRY_TRACE_CORRUPT;
        return live_.insert(object) ? QUARRY_TRACE_OK : QUARRY_TRACE_NO_MEMORY;
    }
    if (!call.known) file_.info().unknown_frees++;
    if (!raw.address) return call.known ? death(object, event, have) : QUARRY_TRACE_OK;
    have = true;
    if (!call.known) {
        event.object = file_.info().objects++;
        return birth({raw.address, event.object, raw.size, raw.ns, thread}, event);
    }
    event.kind = QUARRY_TRACE_RESIZED;
    event.object = object.object;
    event.old_size = object.size;
    event.born_ns = object.born_ns;
    event.born_thread = object.born_thread;
    object.address = raw.address;
    object.size = raw.size;
    return birth(object, event);
}

// Takes one record in; `have`: it makes an event.
quarry_trace_status quarry_trace::apply(const RawEvent& raw, std::uint32_t thread,
                                        quarry_trace_event& event, bool& have) {
    Resizing& call = resizing_[thread];
    if (call.begun != (raw.op == QUARRY_TRACE_OP_REALLOC_END)) return QUARRY_TRACE_CORRUPT;
    event = {QUARRY_TRACE_ALLOC, thread, 0, raw.number, raw.ns, raw.size, 0, 0, 0, 0, 0};
    LiveObject gone;
    switch (raw.op) {
    case QUARRY_TRACE_OP_REALLOC_BEGIN:
        call.begun = true;
        call.known = live_.take(raw.address, call.object);
        return QUARRY_TRACE_OK;
    case QUARRY_TRACE_OP_REALLOC_END:
        return end_realloc(raw, thread, event, have);
    case QUARRY_TRACE_OP_FREE:
        if (live_.take(raw.address, gone)) return death(gone, event, have);
        file_.info().unknown_frees++;
        return QUARRY_TRACE_OK;
    case QUARRY_TRACE_OP_CALLOC:
        event.kind = QUARRY_TRACE_ZEROED;
        break;
    case QUARRY_TRACE_OP_ALIGNED:
        event.kind = QUARRY_TRACE_ALIGNED;
        event.align = std::uint64_t{1} << raw.align_log2;
        break;
    default:
        break;
    }
    have = true;
    event.object = file_.info().objects++;
    return birth({raw.address, event.object, raw.size, raw.ns, thread}, event);
}

quarry_trace_status quarry_trace::next(quarry_trace_event& event) {
    if (held_) {
        event = held_event_;
        held_ = false;
        return QUARRY_TRACE_OK;
    }
    for (bool have = false; final_ == QUARRY_TRACE_OK;) {
        RawEvent raw;
        std::uint32_t thread = 0;
        final_ = file_.next(raw, thread);
        if (final_ == QUARRY_TRACE_OK) final_ = apply(raw, thread, event, have);
        if (have && final_ == QUARRY_TRACE_OK) return QUARRY_TRACE_OK;
    }
    return final_;
}

namespace {

quarry_trace_status open_bytes(const void* data, std::size_t bytes, void* mapping,
                               quarry_trace** out) {
    void* memory = std::calloc(1, sizeof(quarry_trace));
    if (!memory) {
        if (mapping) munmap(mapping, bytes);
        return QUARRY_TRACE_NO_MEMORY;
    }
    auto* trace = new (memory) quarry_trace;
    trace->mapping_ = mapping;
    trace->mapped_bytes_ = bytes;
    const quarry_trace_status status = trace->open(data, bytes);
    if (status == QUARRY_TRACE_OK || status == QUARRY_TRACE_TRUNCATED)
        *out = trace;
    else
        quarry_trace_close(trace);
    return status;
}

}  // namespace

extern "C" {

quarry_trace_status quarry_trace_open_memory(const void* data, size_t bytes, quarry_trace** trace) {
    *trace = nullptr;
    return open_bytes(data, bytes, nullptr, trace);
}

quarry_trace_status quarry_trace_open(const char* path, quarry_trace** trace) {
    *trace = nullptr;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return QUARRY_TRACE_IO;
    struct stat stat = {};
    void* data = MAP_FAILED;
    bool empty = false;
    if (fstat(fd, &stat) == 0) {
        empty = S_ISREG(stat.st_mode) && stat.st_size == 0;
        if (S_ISREG(stat.st_mode) && !empty)  // a reader's mapping: the file must not shrink
            data = mmap(nullptr, static_cast<std::size_t>(stat.st_size), PROT_READ, MAP_PRIVATE,
                        fd, 0);
        else
            errno = S_ISDIR(stat.st_mode) ? EISDIR : EINVAL;
    }
    const int error = errno;
    close(fd);
    errno = error;
    if (empty) return open_bytes("", 0, nullptr, trace);
    if (data == MAP_FAILED) return QUARRY_TRACE_IO;
    return open_bytes(data, static_cast<std::size_t>(stat.st_size), data, trace);
}

void quarry_trace_close(quarry_trace* trace) {
    if (!trace) return;
    trace->~quarry_trace();
    std::free(trace);
}

quarry_trace_status quarry_trace_next(quarry_trace* trace, quarry_trace_event* event) {
    return trace->next(*event);
}

void quarry_trace_rewind(quarry_trace* trace) { trace->rewind(); }

const quarry_trace_info* quarry_trace_get_info(const quarry_trace* trace) {
    return &trace->file_.info();
}

const char* quarry_trace_explain(quarry_trace_status status) {
    switch (status) {
    case QUARRY_TRACE_OK: return "it is well";
    case QUARRY_TRACE_DONE: return "it is at its end";
    case QUARRY_TRACE_TRUNCATED: return "it is truncated: its end is missing";
    case QUARRY_TRACE_NOT_A_TRACE: return "it is not an allocation trace";
    case QUARRY_TRACE_WRONG_BYTE_ORDER: return "it was written in another byte order";
    case QUARRY_TRACE_WRONG_VERSION: return "its version of the trace format is another";
    case QUARRY_TRACE_CORRUPT: return "it is corrupt";
    case QUARRY_TRACE_IO: return "it cannot be read";
    case QUARRY_TRACE_NO_MEMORY: return "there is no memory left to read it";
    }
    return "unknown status";
}

const char* quarry_trace_reason_name(uint32_t reason) {
    switch (reason) {
    case 0: return "truncated";
    case QUARRY_TRACE_EXITED: return "exit";
    case QUARRY_TRACE_EXECED: return "exec";
    case QUARRY_TRACE_ABORTED: return "abort";
    case QUARRY_TRACE_FULL: return "full";
    case QUARRY_TRACE_WRITTEN: return "written";
    default: return "unknown";
    }
}

const char* quarry_trace_kind_name(uint32_t kind) {
    switch (kind) {
    case QUARRY_TRACE_ALLOC: return "alloc";
    case QUARRY_TRACE_ZEROED: return "zeroed";
    case QUARRY_TRACE_ALIGNED: return "aligned";
    case QUARRY_TRACE_RESIZED: return "resized";
    case QUARRY_TRACE_FREE: return "free";
    default: return "unknown";
    }
}

}  // extern "C"
