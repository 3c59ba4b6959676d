// SPDX-License-Identifier: MIT
//
// HeapResource: a heap as a std::pmr::memory_resource, so that any container of the standard
// library lives in it. The heap deals in offsets; the memory that stands behind them is given
// here. A deallocation is a sized free: one that is wrong ends the program with its error.
//
//   HeapResource resource(heap, memory);
//   std::pmr::vector<int> numbers(&resource);
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory_resource>
#include <new>

#include "../../module/core/cache/heap.hpp"

namespace quarry {

template <Platform P>
class HeapResource : public std::pmr::memory_resource {
public:
    // `memory` is where offset 0 lies; aligned to a page.
    HeapResource(Heap<P>& heap, unsigned char* memory) : heap_(heap), memory_(memory) {}

    // As realloc: in place where that is possible, else elsewhere with a copy. Null: no memory,
    // the old object stays. Errors of a wrong pointer end the program.
    void* reallocate(void* p, std::size_t bytes) {
        const Error e = heap_.resize_in_place(offset_of(p), bytes);
        if (ok(e)) return p;
        if (e != Error::cannot_grow) die(e);
        const auto larger = heap_.alloc(bytes);
        if (!larger) return nullptr;
        std::memcpy(memory_ + *larger, p, heap_.usable_size(offset_of(p)));
        if (const Error freed = heap_.free(offset_of(p)); !ok(freed)) die(freed);
        return memory_ + *larger;
    }

private:
    void* do_allocate(std::size_t bytes, std::size_t align) override {
        const auto object = heap_.alloc(bytes ? bytes : 1, align < kGrain ? kGrain : align);
        if (!object) throw std::bad_alloc();
        return memory_ + *object;
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t) override {
        if (const Error e = heap_.free_sized(offset_of(p), bytes ? bytes : 1); !ok(e)) die(e);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override {
        return this == &other;
    }

    Offset offset_of(const void* p) const {
        return static_cast<Offset>(static_cast<const unsigned char*>(p) - memory_);
    }
    [[noreturn]] static void die(Error e) {
        std::fprintf(stderr, "heap resource: error %d\n", static_cast<int>(e));
        std::abort();
    }

    Heap<P>& heap_;
    unsigned char* memory_;
};

}  // namespace quarry
