// SPDX-License-Identifier: MIT
// The C++ header: owners and handles.
#include <quarry/quarry.hpp>

#include "../../../module/include/quarry_abi_layout.h"
#include "fixture.hpp"

namespace {

using Cpp = Quarry;

struct Counted {
    static inline int alive = 0;
    int a, b;
    Counted(int x, int y) : a(x), b(y) { alive++; }
    Counted(const Counted&) = delete;
    ~Counted() { alive--; }
};

TEST_F(Cpp, APoolLeavesWhenItEnds) {
    {
        auto pool = quarry::pool::create({.bytes = 1 << 16});
        ASSERT_TRUE(pool);
        EXPECT_EQ(fake::clients(), 1);
        quarry::pool moved = std::move(*pool);
        EXPECT_NE(moved.client_id(), 0u);
    }
    EXPECT_EQ(fake::clients(), 0);
}

TEST_F(Cpp, AnObjectGoesBackWhenItsHandleEnds) {
    auto pool = quarry::pool::create({.bytes = 1 << 16});
    ASSERT_TRUE(pool);
    {
        auto object = pool->alloc(100);
        ASSERT_TRUE(object);
        EXPECT_EQ(object->size(), 100u);
        EXPECT_EQ(object->bytes().size(), 100u);
        quarry::object second = std::move(*object);
        EXPECT_FALSE(*object);
        EXPECT_EQ(fake::objects(), 1);
        second = quarry::object();
        EXPECT_EQ(fake::objects(), 0);
        second = std::move(pool->alloc(8).value());
        const auto offset = second.release();
        EXPECT_EQ(fake::objects(), 1) << "released is not freed";
        auto adopted = quarry::object::adopt(pool->get(), offset, 8);
        EXPECT_TRUE(adopted.reset());
        EXPECT_TRUE(adopted.reset()) << "an empty handle frees nothing";
        auto twice = quarry::object::adopt(pool->get(), offset, 8);
        const auto refused = twice.reset();
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error(), (quarry::error{EALREADY, QUARRY_CALL_FREE}));
    }
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Cpp, MakeConstructsAndDestroys) {
    auto pool = quarry::pool::create({.bytes = 1 << 16});
    ASSERT_TRUE(pool);
    {
        auto made = pool->make<Counted>(1, 2);
        ASSERT_TRUE(made);
        quarry::unique_object<Counted> object = std::move(*made);
        EXPECT_EQ(object->a + object->b, 3);
        EXPECT_EQ(Counted::alive, 1);
        object = std::move(pool->make<Counted>(3, 4).value());
        EXPECT_EQ(Counted::alive, 1);
        EXPECT_EQ((*object).b, 4);
        EXPECT_EQ(pool->address(object.offset()), object.get());
    }
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_EQ(fake::objects(), 0);
    struct alignas(64) Wide {
        char bytes[64];
    };
    ASSERT_NE(pool->alloc(8)->release(), QUARRY_NO_OFFSET);
    auto wide = pool->make<Wide>();
    ASSERT_TRUE(wide);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide->get()) % 64, 0u);
}

TEST_F(Cpp, ErrorsCarryTheCallAndASentence) {
    auto none = quarry::pool::create({.bytes = 0});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, EINVAL);
    EXPECT_EQ(none.error().call, QUARRY_CALL_CREATE);
    EXPECT_STREQ(none.error().message(), quarry_strerror(EINVAL, QUARRY_CALL_CREATE));
    EXPECT_EQ(none.error().to_error_code(), std::errc::invalid_argument);
    auto pool = quarry::pool::create({.bytes = 4096});
    ASSERT_TRUE(pool);
    auto full = pool->alloc(8192);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code, ENOSPC);
    std::uint64_t offsets[3];
    EXPECT_FALSE(pool->alloc_all(2048, offsets));
    EXPECT_EQ(fake::objects(), 0);
    EXPECT_TRUE(pool->alloc_all(1024, offsets));
    EXPECT_TRUE(pool->free_all(offsets));
    EXPECT_FALSE(pool->free_all(offsets));
    int local;
    EXPECT_EQ(pool->free(&local).error().code, ERANGE);
}

TEST_F(Cpp, AnObjectIsHandedOnWithItsHandle) {
    auto pool = quarry::pool::create({.bytes = 1 << 16, .name = "cpp"});
    ASSERT_TRUE(pool);
    auto other = quarry::pool::join(pool->fd());
    ASSERT_TRUE(other);
    auto object = pool->alloc(8);
    ASSERT_TRUE(object);
    EXPECT_FALSE(object->transfer(999));
    EXPECT_TRUE(*object) << "a refused transfer leaves the handle";
    const auto offset = object->offset();
    EXPECT_TRUE(object->transfer(other->client_id()));
    EXPECT_FALSE(*object);
    EXPECT_EQ(fake::objects_of(other->client_id()), 1);
    EXPECT_TRUE(quarry::object::adopt(other->get(), offset, 8).reset());
    EXPECT_EQ(other->stat()->client_objects, 0u);
    EXPECT_EQ(other->classes()->size(), 2u);
    EXPECT_EQ(pool->verify()->faults, 0u);
}

TEST_F(Cpp, ASharedObjectEndsWithTheLastOfItsHandles) {
    auto host = quarry::device::open("host:");
    ASSERT_TRUE(host);
    auto pool = quarry::pool::create({.bytes = 1 << 16}, &*host);
    ASSERT_TRUE(pool);
    auto reader = quarry::pool::join(pool->fd());
    auto third = quarry::pool::join(pool->fd());
    ASSERT_TRUE(reader && third);
    auto made = pool->make<int>(42);
    ASSERT_TRUE(made);
    quarry::shared_object<int> mine(std::move(*made));
    EXPECT_FALSE(*made) << "the sole owner has given it up";
    EXPECT_EQ(mine.share(999).error(), (quarry::error{ESRCH, QUARRY_CALL_SHARE_OBJECTS}));
    EXPECT_TRUE(mine.share(reader->client_id()));
    EXPECT_EQ(mine.share(reader->client_id()).error().code, EEXIST);
    EXPECT_EQ(mine.transfer(reader->client_id()).error().code, EEXIST);
    ASSERT_TRUE(mine) << "a refused transfer leaves the handle";
    EXPECT_EQ(pool->stat()->shares, 2u);
    {
        auto theirs = quarry::shared_object<int>::adopt(reader->get(), mine.offset());
        EXPECT_TRUE(mine.reset());
        EXPECT_FALSE(mine);
        EXPECT_EQ(*theirs, 42);
        const auto offset = theirs.offset();
        EXPECT_TRUE(theirs.transfer(third->client_id()));
        EXPECT_FALSE(theirs) << "and its end frees nothing";
        theirs = quarry::shared_object<int>::adopt(third->get(), offset);
        EXPECT_EQ(*theirs, 42);
        EXPECT_EQ(pool->stat()->shares, 1u);
    }
    EXPECT_EQ(pool->stat()->shares, 0u);
    EXPECT_EQ(pool->verify()->objects, pool->stat()->objects);
    EXPECT_EQ(mine.share(1).error().code, EINVAL);
}

TEST_F(Cpp, ADeviceTellsItsLimits) {
    auto device = quarry::device::open();
    ASSERT_TRUE(device);
    EXPECT_EQ(device->info()->abi_version, unsigned{QUARRY_ABI_VERSION});
    auto pool = quarry::pool::create({.bytes = 4096}, &*device);
    EXPECT_TRUE(pool);
    EXPECT_FALSE(quarry::device::open("/nonexistent"));
}

}  // namespace
