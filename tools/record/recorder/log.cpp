// SPDX-License-Identifier: MIT
// See log.hpp.
#include "log.hpp"

#include <atomic>
#include <bit>
#include <cstring>
#include <ctime>
#include <sys/mman.h>

#include "../trace_codec.hpp"
#include "settings.hpp"
#include "sys.hpp"

namespace quarry::record {
namespace {

using trace::CodecState;

constexpr std::size_t max_buffers = 256;

struct alignas(64) Buffer {
    std::atomic<int> owner;
    std::atomic<std::uint64_t> filled;  // events << 32 | bytes
    quarry_trace_block block;           // of the first event, and whose it is
    CodecState state;                   // after the last
    alignas(64) std::uint8_t payload[QUARRY_TRACE_MAX_PAYLOAD];
};

struct Log {
    alignas(64) std::atomic<std::uint64_t> numbered;  // the next event's number
    alignas(64) std::atomic<std::uint64_t> dropped;
    std::atomic<bool> ready;    // what follows is set; false after a fork
    std::atomic<bool> stopped;  // no more is written, ever
    int pid;
    std::uint64_t start_ns;
    // Under the lock:
    Lock lock;
    bool created;
    bool tail;  // behind `written` stands what finish() wrote
    std::uint32_t threads;
    std::size_t buffers_used;
    std::uint64_t written, events;  // whole blocks and the header; the events in them
    quarry_trace_header header;
    char path[Settings::path_bytes];
    Buffer buffers[max_buffers];
};

enum class Mode : std::uint8_t { undecided, on, off };

// These survive a fork, unlike the log's contents.
constinit std::atomic<Mode> mode = Mode::undecided;
constinit std::atomic<Log*> the_log = nullptr;
constinit Settings settings = {};

[[gnu::tls_model("initial-exec")]] thread_local constinit Buffer* my_buffer = nullptr;
// A thread that found no buffer looks again after so many events: a look is a system call a buffer.
constexpr unsigned events_between_looks = 64;
[[gnu::tls_model("initial-exec")]] thread_local constinit unsigned my_wait = 0;

std::uint64_t now(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(time.tv_nsec);
}

std::uint64_t bytes_of(std::uint64_t filled) { return filled & UINT32_MAX; }
std::uint32_t events_of(std::uint64_t filled) { return static_cast<std::uint32_t>(filled >> 32); }

void complain(const char* path, const char* what) {
    iovec parts[] = {{const_cast<char*>("quarry-record: "), 15},
                     {const_cast<char*>(path), std::strlen(path)},
                     {const_cast<char*>(what), std::strlen(what)}};
    sys(SYS_writev, STDERR_FILENO, parts, 3);
}

void decide() {
    if (mode.load(std::memory_order_acquire) != Mode::undecided || !read_settings(settings)) return;
    mode.store(settings.on ? Mode::on : Mode::off, std::memory_order_release);
}

Log* map_log() {
    Log* log = the_log.load(std::memory_order_acquire);
    if (log) return log;
    void* memory = mmap(nullptr, sizeof(Log), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, sizeof(Log), MADV_WIPEONFORK) != 0) {
        if (memory != MAP_FAILED) munmap(memory, sizeof(Log));
        mode.store(Mode::off, std::memory_order_release);
        complain("", "no memory to record in, recording nothing\n");
        return nullptr;
    }
    if (the_log.compare_exchange_strong(log, static_cast<Log*>(memory), std::memory_order_acq_rel))
        return static_cast<Log*>(memory);
    munmap(memory, sizeof(Log));
    return log;
}

// The first event of a process, or of a forked child. Under the lock.
void begin(Log& log) {
    if (log.ready.load(std::memory_order_relaxed)) return;
    log.pid = sys_getpid();
    log.start_ns = now(CLOCK_MONOTONIC);
    std::memcpy(log.header.magic, QUARRY_TRACE_MAGIC, sizeof(log.header.magic));
    log.header.byte_order = QUARRY_TRACE_BYTE_ORDER;
    log.header.version = QUARRY_TRACE_VERSION;
    log.header.header_bytes = sizeof(log.header);
    log.header.pid = static_cast<std::uint32_t>(log.pid);
    log.header.parent_pid = static_cast<std::uint32_t>(sys(SYS_getppid));
    log.header.realtime_ns = now(CLOCK_REALTIME);
    log.header.monotonic_ns = log.start_ns;
    log.ready.store(true, std::memory_order_release);
}

// The program's name and command line are known at the first write, not at the first event.
void complete_header(Log& log) {
    auto& header = log.header;
    std::memcpy(header.program, settings.program, sizeof(header.program));
    const long got = sys_read_file("/proc/self/cmdline", header.command, sizeof(header.command));
    for (long i = 0; i + 1 < got; i++)
        if (!header.command[i]) header.command[i] = ' ';
    header.crc = trace::crc_of(header);
}

long create(Log& log) {
    for (unsigned round = 0; round < 10'000; round++) {
        if (!trace_path(settings, log.pid, round, log.path, sizeof(log.path))) return -ENAMETOOLONG;
        const int fd = sys_open(log.path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL, 0644);
        if (fd == -EEXIST) continue;
        if (fd < 0) return fd;
        complete_header(log);
        const long error = sys_write_all(fd, &log.header, sizeof(log.header), nullptr, 0);
        if (error) {
            sys_close(fd);
            return error;
        }
        log.created = true;
        log.written = sizeof(log.header);
        return fd;
    }
    return -EEXIST;
}

// The trace's file, ending after its last whole block; or -errno.
long open_trace(Log& log) {
    if (!log.created) return create(log);
    const int fd = sys_open(log.path, O_WRONLY | O_APPEND);
    if (fd < 0 || !log.tail) return fd;
    const long error = sys(SYS_ftruncate, fd, static_cast<off_t>(log.written));
    log.tail = false;
    if (!error) return fd;
    sys_close(fd);
    return error;
}

void stop(Log& log, long error) {
    log.stopped.store(true, std::memory_order_release);
    if (!error) return;
    complain(log.path, ": cannot be written, recording no more\n");
    if (log.created) sys(SYS_truncate, log.path, static_cast<off_t>(log.written));
}

// Writes what `buffer` holds; how many bytes, or -errno.
long write_block(int fd, const Buffer& buffer, std::uint64_t filled) {
    quarry_trace_block block = buffer.block;
    block.payload_bytes = static_cast<std::uint32_t>(bytes_of(filled));
    block.events = events_of(filled);
    block.crc = trace::crc_of(block, buffer.payload);
    const long error = sys_write_all(fd, &block, sizeof(block), buffer.payload, block.payload_bytes);
    return error ? error : static_cast<long>(sizeof(block) + block.payload_bytes);
}

// All buffers as they stand, and the end. Under the lock.
void write_tail(Log& log, quarry_trace_reason reason) {
    long fd = open_trace(log);
    if (fd < 0) return stop(log, fd);
    log.tail = true;
    long done = 0;
    quarry_trace_end end = {QUARRY_TRACE_END_MARK, reason, log.events, 0, 0, log.threads, 0};
    for (std::size_t i = 0; i < log.buffers_used && done >= 0; i++) {
        const Buffer& buffer = log.buffers[i];
        const std::uint64_t filled = buffer.filled.load(std::memory_order_acquire);
        if (!filled) continue;
        done = write_block(static_cast<int>(fd), buffer, filled);
        end.events += events_of(filled);
    }
    end.dropped = log.dropped.load(std::memory_order_relaxed);
    end.numbered = log.numbered.load(std::memory_order_relaxed);
    end.crc = trace::crc_of(end);
    if (done >= 0) done = sys_write_all(static_cast<int>(fd), &end, sizeof(end), nullptr, 0);
    sys_close(static_cast<int>(fd));
    if (done < 0) stop(log, done);
}

// Empties `buffer` into the file. Under the lock.
void flush(Log& log, Buffer& buffer) {
    const std::uint64_t filled = buffer.filled.load(std::memory_order_relaxed);
    if (!filled || log.stopped.load(std::memory_order_relaxed)) return;
    const long fd = open_trace(log);
    const long done = fd < 0 ? fd : write_block(static_cast<int>(fd), buffer, filled);
    if (fd >= 0) sys_close(static_cast<int>(fd));
    if (done < 0) return stop(log, done);
    log.written += static_cast<std::uint64_t>(done);
    log.events += events_of(filled);
    buffer.filled.store(0, std::memory_order_release);
    if (log.written < settings.max_bytes) return;
    write_tail(log, QUARRY_TRACE_FULL);
    stop(log, 0);
}

// A buffer for the calling thread: a new one, or that of a thread that ended. Under the lock.
Buffer* adopt(Log& log) {
    Buffer* buffer = nullptr;
    if (log.buffers_used < max_buffers) {
        buffer = &log.buffers[log.buffers_used++];
    } else {
        for (Buffer& other : log.buffers) {
            if (sys_thread_lives(log.pid, other.owner.load(std::memory_order_relaxed))) continue;
            flush(log, other);
            buffer = &other;
            break;
        }
    }
    if (!buffer) return nullptr;
    buffer->block = {QUARRY_TRACE_BLOCK_MARK, 0, 0, log.threads++, 0, 0, 0, 0};
    buffer->owner.store(sys_gettid(), std::memory_order_relaxed);
    return buffer;
}

bool has_room(const Buffer& buffer) {
    return bytes_of(buffer.filled.load(std::memory_order_relaxed)) + QUARRY_TRACE_MAX_EVENT <=
           QUARRY_TRACE_MAX_PAYLOAD;
}

// The slow path: a buffer of this thread with room for an event, or null.
[[gnu::noinline, gnu::cold]] Buffer* prepare() {
    decide();
    if (mode.load(std::memory_order_relaxed) == Mode::off) return nullptr;
    const int saved = errno;
    Log* log = map_log();
    errno = saved;
    if (!log || log->stopped.load(std::memory_order_relaxed)) return nullptr;
    Critical critical(log->lock);
    begin(*log);
    Buffer* buffer = my_buffer;
    if (!buffer || !buffer->owner.load(std::memory_order_relaxed)) {
        my_buffer = buffer = my_wait ? nullptr : adopt(*log);
        my_wait = buffer ? 0 : my_wait ? my_wait - 1 : events_between_looks;
    }
    if (buffer && !has_room(*buffer)) {
        // A program that fills a buffer before it has an environment is not recorded so early.
        if (mode.load(std::memory_order_relaxed) == Mode::on) flush(*log, *buffer);
        if (!has_room(*buffer)) buffer = nullptr;
    }
    if (!buffer) log->dropped.fetch_add(1, std::memory_order_relaxed);
    return buffer;
}

}  // namespace

bool recording() {
    if (mode.load(std::memory_order_relaxed) == Mode::off) return false;
    const Log* log = the_log.load(std::memory_order_relaxed);
    return !log || !log->stopped.load(std::memory_order_relaxed);
}

void count_dropped() {
    if (Log* log = the_log.load(std::memory_order_acquire))
        log->dropped.fetch_add(1, std::memory_order_relaxed);
}

void record(quarry_trace_op op, const void* address, std::size_t size, std::size_t align) {
    Buffer* buffer = my_buffer;
    if (!buffer || !buffer->owner.load(std::memory_order_relaxed) || !has_room(*buffer))
        if (!(buffer = prepare())) return;
    Log& log = *the_log.load(std::memory_order_relaxed);
    const std::uint64_t filled = buffer->filled.load(std::memory_order_relaxed);
    const std::uint64_t ns = now(CLOCK_MONOTONIC) - log.start_ns;
    const std::uint64_t number = log.numbered.fetch_add(1, std::memory_order_relaxed);
    if (!filled) {
        buffer->block.first_event = number;
        buffer->block.first_ns = ns;
        buffer->state = CodecState::start_of(buffer->block);
    }
    const auto align_log2 = static_cast<std::uint8_t>(align ? std::bit_width(align - 1) : 0);
    const std::uint8_t* end =
        trace::encode(buffer->payload + bytes_of(filled), buffer->state,
                      {number, ns, reinterpret_cast<std::uintptr_t>(address), size,
                       static_cast<std::uint8_t>(op), align_log2});
    const auto bytes = static_cast<std::uint64_t>(end - buffer->payload);
    buffer->filled.store((std::uint64_t{events_of(filled)} + 1) << 32 | bytes,
                         std::memory_order_release);
}

void start() { decide(); }

void finish(quarry_trace_reason reason) {
    Log* log = the_log.load(std::memory_order_acquire);
    if (!log || !log->ready.load(std::memory_order_acquire) || sys_getpid() != log->pid) return;
    decide();
    if (mode.load(std::memory_order_relaxed) != Mode::on) return;
    Critical critical(log->lock);
    if (!log->stopped.load(std::memory_order_relaxed)) write_tail(*log, reason);
}

}  // namespace quarry::record
