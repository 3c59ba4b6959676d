// SPDX-License-Identifier: MIT
//
// malloc and its relatives, in front of the program's own: each asks the next one and tells the log.
//
// The order matters (trace.h, ORDER): a free is told before it is done, an allocation after. A call
// that fails is not told. What an allocator calls while it serves a call is its own business, and a
// call from a signal handler that interrupts one cannot be told: both are counted as dropped.
#include <cerrno>
#include <cstring>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.hpp"
#include "next.hpp"

#define QUARRY_HOOK extern "C" [[gnu::visibility("default")]]

namespace quarry::record {
namespace {

[[gnu::tls_model("initial-exec")]] thread_local constinit unsigned depth = 0;

// One call of the program's; `tell`: the log is to hear of it.
class Call {
public:
    Call() : tell(depth++ == 0 && recording()) {}
    ~Call() { depth--; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // An allocation's answer, on its way to the program.
    void* answer(quarry_trace_op op, void* block, std::size_t size, std::size_t align = 0) const {
        if (block && tell) record(op, block, size, align);
        if (block && !tell && depth > 1) count_dropped();
        return block;
    }

    const bool tell;
};

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

void* resize(const Next& to, void* block, std::size_t size) {
    Call call;
    if (!block) return call.answer(QUARRY_TRACE_OP_MALLOC, to.realloc(block, size), size);
    if (!call.tell) {
        if (depth > 1) count_dropped();
        return to.realloc(block, size);
    }
    record(QUARRY_TRACE_OP_REALLOC_BEGIN, block);
    void* moved = to.realloc(block, size);
    record(QUARRY_TRACE_OP_REALLOC_END, moved, size);
    return moved;
}

}  // namespace
}  // namespace quarry::record

using namespace quarry::record;

QUARRY_HOOK void* malloc(size_t size) noexcept {
    const Next* to = next();
    if (!to) return arena_alloc(size);
    Call call;
    return call.answer(QUARRY_TRACE_OP_MALLOC, to->malloc(size), size);
}

QUARRY_HOOK void* calloc(size_t count, size_t size) noexcept {
    const Next* to = next();
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return nullptr;
    }
    if (!to) return arena_alloc(bytes);
    Call call;
    return call.answer(QUARRY_TRACE_OP_CALLOC, to->calloc(count, size), bytes);
}

QUARRY_HOOK void free(void* block) noexcept {
    if (!block || in_arena(block)) return;
    const Next* to = next();
    if (!to) return;  // while looking up; only the arena's blocks can be freed then
    Call call;
    if (call.tell)
        record(QUARRY_TRACE_OP_FREE, block);
    else if (depth > 1)
        count_dropped();
    to->free(block);
}

QUARRY_HOOK void* realloc(void* block, size_t size) noexcept {
    const Next* to = next();
    if (to && !in_arena(block)) return resize(*to, block, size);
    void* moved = to ? malloc(size) : arena_alloc(size);
    if (moved && block) {
        const size_t old = arena_size(block);
        memcpy(moved, block, old < size ? old : size);
    }
    return moved;
}

QUARRY_HOOK void* reallocarray(void* block, size_t count, size_t size) noexcept {
    size_t bytes;
    if (!__builtin_mul_overflow(count, size, &bytes)) return realloc(block, bytes);
    errno = ENOMEM;
    return nullptr;
}

QUARRY_HOOK void* memalign(size_t align, size_t size) noexcept {
    const Next* to = next();
    if (!to) return nullptr;
    Call call;
    return call.answer(QUARRY_TRACE_OP_ALIGNED, to->memalign(align, size), size, align);
}

QUARRY_HOOK void* aligned_alloc(size_t align, size_t size) noexcept {
    const Next* to = next();
    if (!to) return nullptr;
    Call call;
    return call.answer(QUARRY_TRACE_OP_ALIGNED, to->aligned_alloc(align, size), size, align);
}

QUARRY_HOOK int posix_memalign(void** block, size_t align, size_t size) noexcept {
    const Next* to = next();
    if (!to) return ENOMEM;
    Call call;
    const int error = to->posix_memalign(block, align, size);
    if (!error) call.answer(QUARRY_TRACE_OP_ALIGNED, *block, size, align);
    return error;
}

QUARRY_HOOK void* valloc(size_t size) noexcept {
    const Next* to = next();
    if (!to) return nullptr;
    Call call;
    return call.answer(QUARRY_TRACE_OP_ALIGNED, to->valloc(size), size, page_bytes());
}

QUARRY_HOOK void* pvalloc(size_t size) noexcept {
    const Next* to = next();
    if (!to || !to->pvalloc) return nullptr;
    Call call;
    return call.answer(QUARRY_TRACE_OP_ALIGNED, to->pvalloc(size), size, page_bytes());
}

// C23: the sizes are promises to the allocator, which may do without.
QUARRY_HOOK void free_sized(void* block, size_t) noexcept { free(block); }
QUARRY_HOOK void free_aligned_sized(void* block, size_t, size_t) noexcept { free(block); }
