// SPDX-License-Identifier: MIT
//
// The hooks of object caches for tests: what is out is in a book, the n-th request of
// either kind can be refused, memory comes dirty, and a call with a lock of the host
// platform held aborts. Included once in a program: it defines the hooks.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "../../module/core/object/object_cache.hpp"
#include "host_platform.hpp"

namespace quarry {

struct ObjectHooks {
    struct Block {
        std::size_t bytes;
        std::size_t align;
    };
    std::mutex mutex;
    std::map<void*, Block> slabs;
    std::map<void*, Block> metas;
    u64 slabs_made = 0;
    u64 metas_made = 0;
    u64 refuse_slab = 0;  // requests still to come until the refused one; 0: none
    u64 refuse_meta = 0;
    Context last_context = Context::may_sleep;

    static ObjectHooks& get() {
        static auto* instance = new ObjectHooks;
        return *instance;
    }
    u64 slab_count() {
        std::lock_guard guard(mutex);
        return slabs.size();
    }
    u64 meta_count() {
        std::lock_guard guard(mutex);
        return metas.size();
    }
    bool nothing_is_out() { return slab_count() == 0 && meta_count() == 0; }
    // The first byte of the slab that holds `p`, or null.
    void* slab_of(const void* p) {
        std::lock_guard guard(mutex);
        auto it = slabs.upper_bound(const_cast<void*>(p));
        if (it == slabs.begin()) return nullptr;
        --it;
        const auto distance = static_cast<const char*>(p) - static_cast<char*>(it->first);
        return static_cast<std::size_t>(distance) < it->second.bytes ? it->first : nullptr;
    }
    void* alloc(std::map<void*, Block>& book, u64& made, u64& refuse, std::size_t bytes,
                std::size_t align, Context context) {
        if (!HostPlatform::idle()) die("a hook is called with a lock held");
        std::lock_guard guard(mutex);
        last_context = context;
        if (refuse && --refuse == 0) return nullptr;
        void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align);
        std::memset(memory, 0xa5, bytes);
        book.emplace(memory, Block{bytes, align});
        ++made;
        return memory;
    }
    void free(std::map<void*, Block>& book, void* memory, std::size_t bytes, std::size_t align) {
        if (!HostPlatform::idle()) die("a hook is called with a lock held");
        {
            std::lock_guard guard(mutex);
            const auto it = book.find(memory);
            if (it == book.end()) die("freed twice, or never had");
            if (it->second.bytes != bytes || it->second.align != align)
                die("freed with another size or alignment");
            book.erase(it);
        }
        std::free(memory);
    }
    [[noreturn]] static void die(const char* what) {
        std::fprintf(stderr, "object hooks: %s\n", what);
        std::abort();
    }
};

void* object_slab_alloc(std::size_t bytes, std::size_t align, Context context) {
    auto& hooks = ObjectHooks::get();
    return hooks.alloc(hooks.slabs, hooks.slabs_made, hooks.refuse_slab, bytes, align, context);
}
void object_slab_free(void* slab, std::size_t bytes, std::size_t align) {
    ObjectHooks::get().free(ObjectHooks::get().slabs, slab, bytes, align);
}
void* object_meta_alloc(std::size_t bytes, Context context) {
    auto& hooks = ObjectHooks::get();
    return hooks.alloc(hooks.metas, hooks.metas_made, hooks.refuse_meta, bytes, 64, context);
}
void object_meta_free(void* meta, std::size_t bytes) {
    ObjectHooks::get().free(ObjectHooks::get().metas, meta, bytes, 64);
}

// Fixture: nothing is out before and after.
class ObjectTest : public ::testing::Test {
protected:
    void SetUp() override {
        hooks.refuse_slab = hooks.refuse_meta = 0;
        ASSERT_TRUE(hooks.nothing_is_out());
    }
    void TearDown() override {
        hooks.refuse_slab = hooks.refuse_meta = 0;
        EXPECT_EQ(hooks.slab_count(), 0u) << "slabs were left";
        EXPECT_EQ(hooks.meta_count(), 0u) << "metadata was left";
    }
    template <typename Cache>
    static Cache create(u64 capacity = kUnbounded) {
        auto made = Cache::create(capacity);
        EXPECT_TRUE(made);
        return *std::move(made);
    }
    template <typename Cache>
    static void verify(const Cache& cache) {
        Audit audit;
        cache.verify(audit);
        ASSERT_TRUE(audit.clean()) << audit.result().first;
        ASSERT_EQ(audit.result().objects, cache.live());
        ASSERT_EQ(audit.result().slabs, cache.slabs());
    }

    ObjectHooks& hooks = ObjectHooks::get();
};

}  // namespace quarry
