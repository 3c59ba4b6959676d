// SPDX-License-Identifier: MIT
//
// FixedPool: where it may stand, what compiles, errors, queries, a model.
#include <gtest/gtest.h>
#include <pthread.h>

#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../module/core/slots/fixed_pool.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

template <typename Pool>
void expect_clean(const Pool& pool) {
    Audit audit;
    pool.verify(audit);
    EXPECT_TRUE(audit.clean()) << audit.result().first << " at " << audit.result().first_offset;
    EXPECT_EQ(audit.result().objects, pool.allocated());
}

// ---- what compiles ----

struct Fits {
    u64 x[8];
};
struct Larger {
    unsigned char x[65];
};
struct alignas(128) Wider {
    unsigned char x[64];
};
template <typename Pool, typename T>
concept CanAlloc = requires(Pool& pool) { pool.template alloc<T>(); };
template <typename Pool, typename T>
concept CanFree = requires(Pool& pool, T* t) { pool.free(t); };

using Pool64 = FixedPool<64, 100>;
static_assert(CanAlloc<Pool64, Fits> && CanFree<Pool64, Fits>);
static_assert(CanAlloc<Pool64, char> && CanFree<Pool64, char>);
static_assert(!CanAlloc<Pool64, Larger> && !CanFree<Pool64, Larger>, "too large");
static_assert(!CanAlloc<Pool64, Wider> && !CanFree<Pool64, Wider>, "aligned more than a block");
static_assert(CanAlloc<FixedPool<128, 2, 128>, Wider>);
static_assert(!CanAlloc<FixedPool<24, 4>, std::max_align_t>, "24 bytes are aligned to 8");
static_assert(!std::is_copy_constructible_v<Pool64> && !std::is_move_constructible_v<Pool64>);
static_assert(!std::is_copy_assignable_v<Pool64> && !std::is_move_assignable_v<Pool64>);
static_assert(Pool64::total() == 100 && Pool64::kAlign == 64);
static_assert(alignof(FixedPool<4096, 2, 4096>) == 4096);
// One bit a block, a summary, and 24 bytes.
static_assert(sizeof(FixedPool<64, 4096>) <= 64 * 4096 + 4096 / 8 + 8 + 24 + 64);

// ---- where it stands ----

constinit FixedPool<64, 1000> static_pool;
constinit FixedPool<4096, 4096> large_static_pool;

template <typename Pool>
void use(Pool& pool) {
    std::set<void*> all;
    while (const auto block = pool.alloc_untyped()) all.insert(*block);
    EXPECT_EQ(all.size(), pool.total());
    EXPECT_EQ(pool.alloc_untyped().error(), Error::pool_full);
    for (void* block : all) EXPECT_EQ(pool.free_untyped(block), Error::none);
    expect_clean(pool);
}
TEST(FixedPool, StandsInStaticMemoryWithoutAConstructorAtRunTime) {
    use(static_pool);
    use(large_static_pool);
}
TEST(FixedPool, StandsOnTheStack) {
    FixedPool<24, 100> pool;
    use(pool);
}
TEST(FixedPool, StandsInMemoryOfTheCallers) {
    using Pool = FixedPool<24, 100>;
    alignas(Pool) unsigned char memory[sizeof(Pool)];
    memset(memory, 0xa5, sizeof(memory));
    auto* pool = new (memory) Pool;
    use(*pool);
    pool->~Pool();
}
TEST(FixedPool, StandsOnTheHeapAndNeedsNoStackForSixteenMebibytes) {
    // A thread with the smallest of stacks makes and uses it.
    using Pool = FixedPool<4096, 4096>;
    static_assert(sizeof(Pool) > 16 << 20);
    pthread_attr_t attr;
    ASSERT_EQ(pthread_attr_init(&attr), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&attr, 256 << 10), 0);
    pthread_t thread;
    auto body = [](void*) -> void* {
        auto pool = std::make_unique<Pool>();
        for (int i = 0; i < 3; ++i) (void)pool->alloc_untyped();
        return reinterpret_cast<void*>(u64{pool->allocated()});
    };
    ASSERT_EQ(pthread_create(&thread, &attr, body, nullptr), 0);
    void* answer = nullptr;
    ASSERT_EQ(pthread_join(thread, &answer), 0);
    EXPECT_EQ(reinterpret_cast<u64>(answer), 3u);
    pthread_attr_destroy(&attr);
}
// Not inlined: else the compiler knows that what stood there before is of no account.
template <typename Pool>
[[gnu::noinline]] Pool* build_at(void* memory) {
    return new (memory) Pool;
}
TEST(FixedPool, TheConstructorWritesNoBlock) {
    using Pool = FixedPool<64, 64>;
    alignas(Pool) unsigned char memory[sizeof(Pool)];
    memset(memory, 0xa5, sizeof(memory));
    asm volatile("" ::"r"(memory) : "memory");
    auto* pool = build_at<Pool>(memory);
    const auto* block = static_cast<unsigned char*>(pool->at(0));
    for (u32 i = 1; i < 64 * 64; ++i) ASSERT_EQ(block[i], 0xa5) << i;
    pool->~Pool();
}

// ---- objects ----

struct Noisy {
    static inline int alive = 0;
    std::unique_ptr<int> value;
    explicit Noisy(int v) : value(new int(v)) { ++alive; }
    ~Noisy() { --alive; }
};

TEST(FixedPool, TypedAllocationMakesAndFreeDestroys) {
    FixedPool<16, 3> pool;
    Noisy::alive = 0;
    const auto a = pool.alloc<Noisy>(1), b = pool.alloc<Noisy>(2);
    EXPECT_EQ(*(*a)->value, 1);
    EXPECT_EQ(*(*b)->value, 2);
    EXPECT_EQ(Noisy::alive, 2);
    EXPECT_EQ(pool.free(*a), Error::none);
    EXPECT_EQ(pool.free(*a), Error::already_free);  // and not destroyed twice
    EXPECT_EQ(Noisy::alive, 1);
    EXPECT_EQ(pool.free(*b), Error::none);
    EXPECT_EQ(pool.free(*b), Error::already_free);
    EXPECT_EQ(Noisy::alive, 0);
    expect_clean(pool);
}
TEST(FixedPool, BlocksAreAlignedAsTheTypeSays) {
    FixedPool<192, 5, 64> pool;
    FixedPool<4096, 3, 4096> pages;
    for (u32 n = 0; n < 5; ++n) EXPECT_EQ(reinterpret_cast<u64>(*pool.alloc_untyped()) % 64, 0u);
    for (u32 n = 0; n < 3; ++n) EXPECT_EQ(reinterpret_cast<u64>(*pages.alloc_untyped()) % 4096, 0u);
}
TEST(FixedPool, ZeroingIsOptionalAndCoversTheWholeBlock) {
    FixedPool<24, 4> zeroed(Zeroing::yes);
    for (int round = 0; round < 3; ++round) {
        void* block = *zeroed.alloc_untyped();
        for (int i = 0; i < 24; ++i) EXPECT_EQ(static_cast<unsigned char*>(block)[i], 0);
        memset(block, 0xff, 24);
        EXPECT_EQ(zeroed.free_untyped(block), Error::none);
    }
    FixedPool<24, 4> plain;
    void* block = *plain.alloc_untyped();
    memset(block, 0xff, 24);
    EXPECT_EQ(plain.free_untyped(block), Error::none);
    EXPECT_EQ(static_cast<unsigned char*>(*plain.alloc_untyped())[7], 0xff);
}

// ---- errors and queries ----

TEST(FixedPool, NullDoubleFreeOutOfBoundsAndUnalignedAreErrorsOfTheirOwn) {
    FixedPool<24, 70> pool;
    auto* first = static_cast<unsigned char*>(*pool.alloc_untyped());
    void* second = *pool.alloc_untyped();
    EXPECT_EQ(pool.free_untyped(nullptr), Error::invalid);
    EXPECT_EQ(pool.free(static_cast<Noisy*>(nullptr)), Error::invalid);
    for (u64 inside = 1; inside < 24; ++inside)
        EXPECT_EQ(pool.free_untyped(first + inside), Error::misaligned);
    EXPECT_EQ(pool.free_untyped(first + u64{70} * 24), Error::out_of_range);
    EXPECT_EQ(pool.free_untyped(first - 24), Error::out_of_range);
    EXPECT_EQ(pool.free_untyped(first + u64{60} * 24), Error::already_free);
    EXPECT_EQ(pool.allocated(), 2u);
    expect_clean(pool);
    EXPECT_EQ(pool.free_untyped(first), Error::none);
    EXPECT_EQ(pool.free_untyped(second), Error::none);
    EXPECT_EQ(pool.free_untyped(first), Error::already_free);
    EXPECT_EQ(pool.free_untyped(second), Error::already_free);
    EXPECT_EQ(pool.allocated(), 0u);
    expect_clean(pool);
}
TEST(FixedPool, FreeAllMakesEveryBlockFreeAgain) {
    FixedPool<8, 200> pool;
    for (u32 n = 0; n < 150; ++n) (void)pool.alloc_untyped();
    for (u32 n = 0; n < 150; n += 4) (void)pool.free_untyped(pool.at(n));
    pool.free_all();
    EXPECT_EQ(pool.allocated(), 0u);
    EXPECT_EQ(pool.free_untyped(pool.at(3)), Error::already_free);
    use(pool);
}
TEST(FixedPool, TotalAllocatedAndFreeBlocksAddUp) {
    FixedPool<8, 100> pool;
    for (u32 n = 1; n <= 100; ++n) {
        ASSERT_TRUE(pool.alloc_untyped());
        EXPECT_EQ(pool.allocated(), n);
        EXPECT_EQ(pool.free_blocks(), 100 - n);
    }
}
TEST(FixedPool, AddressToNumberAndBackByArithmetic) {
    FixedPool<24, 100> pool;
    for (u32 n = 0; n < 100; ++n) {
        u32 back = 0;
        EXPECT_EQ(pool.number_of(pool.at(n), back), Error::none);
        EXPECT_EQ(back, n);
    }
}
TEST(FixedPool, IterationVisitsEveryLiveBlockOnceAndMayFreeIt) {
    FixedPool<16, 300> pool;
    std::set<void*> live;
    while (const auto block = pool.alloc_untyped()) live.insert(*block);
    for (u32 n = 0; n < 300; n += 3) {
        EXPECT_EQ(pool.free_untyped(pool.at(n)), Error::none);
        live.erase(pool.at(n));
    }
    std::vector<void*> seen;
    pool.for_each([&](void* block) {
        seen.push_back(block);
        EXPECT_EQ(pool.free_untyped(block), Error::none);
    });
    EXPECT_EQ(seen, std::vector<void*>(live.begin(), live.end()));
    EXPECT_EQ(pool.allocated(), 0u);
    expect_clean(pool);
}

template <typename Pool>
void against_a_model() {
    auto pool = std::make_unique<Pool>();
    constexpr u32 kCount = Pool::total();
    std::set<u32> model;
    std::mt19937 random(kCount);
    for (u32 step = 0; step < 20000; ++step) {
        if (random() % 8 < (step / (2 * kCount + 50) % 2 ? 6u : 2u)) {
            const auto block = pool->alloc_untyped();
            ASSERT_EQ(bool{block}, model.size() < kCount);
            u32 number = 0;
            if (!block) continue;
            ASSERT_EQ(pool->number_of(*block, number), Error::none);
            ASSERT_TRUE(model.insert(number).second);
        } else {
            const u32 number = random() % kCount;
            ASSERT_EQ(pool->free_untyped(pool->at(number)),
                      model.erase(number) ? Error::none : Error::already_free);
        }
        ASSERT_EQ(pool->allocated(), model.size());
        if (kCount < 1000 || step % 64 == 0) expect_clean(*pool);
    }
}
TEST(FixedPool, AModelAgreesAfterEveryStepWithTheAuditClean) {
    against_a_model<FixedPool<1, 1>>();
    against_a_model<FixedPool<3, 2>>();
    against_a_model<FixedPool<8, 64>>();
    against_a_model<FixedPool<24, 65>>();
    against_a_model<FixedPool<64, 4200>>();
}
TEST(FixedPool, TheHeadersExampleWorks) {
    struct Message {
        int number;
        explicit Message(int n) : number(n) {}
    };
    constinit static FixedPool<64, 1000> pool;
    const auto message = pool.alloc<Message>(7);
    ASSERT_TRUE(message);
    EXPECT_EQ((*message)->number, 7);
    EXPECT_EQ(pool.free(*message), Error::none);
    const auto raw = pool.alloc_untyped();
    ASSERT_TRUE(raw);
    EXPECT_EQ(pool.free_untyped(*raw), Error::none);
}

}  // namespace
}  // namespace quarry
