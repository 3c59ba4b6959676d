// SPDX-License-Identifier: MIT
//
// What the cases of the heap run on: malloc, or a heap of Quarry over memory of its own. The
// heap is called as a driver's wrapper calls it: pin, the extern C entry in another object,
// unpin; the whole call where the fast half does not serve.
#pragma once

#include <sys/mman.h>

#include <memory>

#include "case.hpp"
#include "host_os.hpp"

namespace bench {

struct Malloc {
    void* alloc(uint64_t size) { return std::malloc(size); }
    void free(void* p) { std::free(p); }
    void finish() {}
};

// Address space that is backed as it is written.
class Memory {
public:
    explicit Memory(uint64_t bytes) : bytes_(bytes) {
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) die("no memory");
        base_ = static_cast<char*>(memory);
    }
    ~Memory() { munmap(base_, bytes_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    char* base() const { return base_; }
    uint64_t bytes() const { return bytes_; }

private:
    uint64_t bytes_;
    char* base_;
};

class Quarry {
public:
    Quarry() : own_(std::make_unique<Memory>(uint64_t{1} << 30)) { create(*own_); }
    // Over memory that may serve another heap later.
    explicit Quarry(const Memory& memory) { create(memory); }
    // Live objects are forgotten.
    ~Quarry() { quarry_core_heap_destroy(heap_); }
    Quarry(const Quarry&) = delete;
    Quarry& operator=(const Quarry&) = delete;

    void* alloc(uint64_t size) {
        uint64_t offset;
        {
            Pinned pinned;
            offset = quarry_core_heap_try_alloc(heap_, pinned.cpu(), size);
        }
        if (offset == QUARRY_NO_OBJECT) [[unlikely]]
            return alloc_slow(size);
        return base_ + offset;
    }
    void free(void* p) {
        const uint64_t offset = static_cast<uint64_t>(static_cast<char*>(p) - base_);
        bool done;
        {
            Pinned pinned;
            done = quarry_core_heap_try_free(heap_, pinned.cpu(), offset);
        }
        if (!done) [[unlikely]]
            free_slow(offset);
    }
    // Nothing was lost or torn meanwhile.
    void finish() {
        quarry_core_audit audit;
        quarry_core_heap_verify(heap_, 1, &audit);
        if (audit.faults) die(audit.first);
    }

private:
    [[gnu::noinline]] void* alloc_slow(uint64_t size) {
        uint64_t offset;
        if (quarry_core_heap_alloc(heap_, size, 8, QUARRY_CORE_NORMAL, &offset, QUARRY_MAY_SLEEP))
            die("an allocation failed");
        return base_ + offset;
    }
    [[gnu::noinline]] void free_slow(uint64_t offset) {
        if (quarry_core_heap_free(heap_, offset)) die("a free failed");
    }
    void create(const Memory& memory) {
        base_ = memory.base();
        const uint64_t pages = memory.bytes() / 4096;
        if (quarry_core_heap_create(pages, base_, 0, &heap_)) die("no heap");
        if (quarry_core_heap_add_region(heap_, 0, pages, QUARRY_CORE_NORMAL)) die("no region");
    }

    std::unique_ptr<Memory> own_;
    char* base_;
    quarry_core_heap* heap_;
};

}  // namespace bench
