// SPDX-License-Identifier: MIT
//
// What the cases of user space run on: a pool of "host:", by the calls of <quarry/quarry.h> as a
// program has them inlined; with its checks, without, and malloc.
#pragma once

#include <quarry/quarry.h>

#include "../case.hpp"

namespace bench {

class Pool {
public:
    explicit Pool(uint64_t bytes = 64 << 20) {
        quarry_device* device = quarry_open("host:");
        quarry_options options = {};
        options.bytes = bytes;
        options.max_bytes = uint64_t{2} << 30;
        pool_ = device ? quarry_create(device, &options) : nullptr;
        quarry_close(device);
        if (!pool_) die("no pool");
    }
    ~Pool() { quarry_leave(pool_); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    quarry_pool* get() const { return pool_; }
    // Nothing was lost or torn, and no misuse seen where there was none.
    void finish() {
        struct quarry_verify verify;
        if (quarry_verify(pool_, &verify) || verify.faults) die("the pool is not sound");
        if (quarry_duplicates(pool_, nullptr)) die("duplicates");
    }

private:
    quarry_pool* pool_;
};

// What a thread works with: a copy, as a program has its pool in a variable.
struct CheckedCalls {
    quarry_pool* pool;
    [[gnu::always_inline]] void* alloc(uint64_t size) const {
        void* object = quarry_alloc(pool, size);
        if (!object) [[unlikely]]
            die("an allocation failed");
        return object;
    }
    [[gnu::always_inline]] void free(void* object, uint64_t size) const {
        if (quarry_free_sized(pool, object, size)) [[unlikely]]
            die("a free failed");
    }
};

struct UncheckedCalls {
    quarry_pool* pool;
    [[gnu::always_inline]] void* alloc(uint64_t size) const {
        void* object = quarry_alloc_unchecked(pool, size);
        if (!object) [[unlikely]]
            die("an allocation failed");
        return object;
    }
    [[gnu::always_inline]] void free(void* object, uint64_t size) const {
        if (quarry_free_unchecked(pool, object, size)) [[unlikely]]
            die("a free failed");
    }
};

struct Checked : Pool {
    using Pool::Pool;
    CheckedCalls calls() const { return {get()}; }
};
struct Unchecked : Pool {
    using Pool::Pool;
    UncheckedCalls calls() const { return {get()}; }
};

struct MallocCalls {
    void* alloc(uint64_t size) const { return std::malloc(size); }
    void free(void* object, uint64_t) const { std::free(object); }
};
struct Malloc {
    explicit Malloc(uint64_t = 0) {}
    MallocCalls calls() const { return {}; }
    void finish() {}
};

}  // namespace bench
