// SPDX-License-Identifier: MIT
// Containers in a pool: <quarry/memory.hpp>.
#include <quarry/memory.hpp>

#include <list>
#include <numeric>
#include <string>
#include <unordered_map>
#include <vector>

#include "fixture.hpp"

namespace {

class Memory : public Quarry {
protected:
    static quarry::pool make(std::uint64_t bytes = 1 << 18) {
        auto pool = quarry::pool::create({.bytes = bytes});
        EXPECT_TRUE(pool);
        return std::move(*pool);
    }
};

TEST_F(Memory, StandardContainersLiveInAPoolByAResource) {
    auto pool = make();
    {
        quarry::memory_resource resource(pool);
        std::pmr::vector<int> numbers(&resource);
        for (int i = 0; i < 1000; i++) numbers.push_back(i);
        EXPECT_NE(pool.offset(numbers.data()), QUARRY_NO_OFFSET);
        std::pmr::list<std::pmr::string> names(&resource);
        for (int i = 0; i < 100; i++) names.emplace_back(std::string(30, 'x'));
        std::pmr::unordered_map<int, std::pmr::string> map(&resource);
        for (int i = 0; i < 100; i++) map.emplace(i, std::string(40, 'y'));
        EXPECT_EQ(map.at(7).size(), 40u);
        EXPECT_TRUE(resource == resource);
        EXPECT_FALSE(resource == *std::pmr::get_default_resource());
        EXPECT_GT(fake::objects(), 300);
    }
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Memory, AResourceWithoutMemoryThrowsBadAlloc) {
    auto pool = make(4096);
    quarry::memory_resource resource(pool);
    EXPECT_THROW((void)resource.allocate(8192), std::bad_alloc);
    void* empty = resource.allocate(0);
    EXPECT_NE(empty, nullptr);
    resource.deallocate(empty, 0);
    EXPECT_EQ(fake::objects(), 0);
}

using Numbers = std::vector<int, quarry::allocator<int>>;

TEST_F(Memory, AVectorInThePoolIsTheSameForEveryClient) {
    auto pool = make();
    auto other = quarry::pool::join(pool.fd());
    ASSERT_TRUE(other);
    {
        auto made = pool.make<Numbers>(quarry::allocator<int>(pool));
        ASSERT_TRUE(made);
        for (int i = 1; i <= 1000; i++) (*made)->push_back(i);
        (*made)->erase((*made)->begin(), (*made)->begin() + 10);
        (*made)->insert((*made)->begin(), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
        const auto* seen = static_cast<const Numbers*>(other->address(made->offset()));
        ASSERT_NE(static_cast<const void*>(seen), static_cast<const void*>(made->get())) << "mapped elsewhere";
        EXPECT_EQ(seen->size(), 1000u);
        EXPECT_EQ(std::accumulate(seen->begin(), seen->end(), 0), 500500);
        EXPECT_NE(other->offset(&(*seen)[0]), QUARRY_NO_OFFSET) << "found in its own mapping";
        Numbers copy(**made);
        EXPECT_EQ(copy, **made);
        Numbers moved(std::move(copy));
        EXPECT_EQ(moved.size(), 1000u);
    }
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Memory, AChildReadsAVectorAndChangesNothing) {
    auto pool = make();
    auto made = pool.make<Numbers>(quarry::allocator<int>(pool));
    ASSERT_TRUE(made);
    (*made)->assign(100, 7);
    EXPECT_EQ(in_child([&] {
                  const int sum = std::accumulate((*made)->begin(), (*made)->end(), 0);
                  const bool refused = !pool.free((*made)->data());
                  (void)made->release();
                  return sum == 700 && refused ? 0 : 1;
              }),
              0);
    EXPECT_EQ((*made)->size(), 100u);
}

TEST_F(Memory, AnAllocatorOfAPoolThatThisProcessHasNotJoinedThrows) {
    auto pool = make();
    const quarry::allocator<int> orphan = [] {
        auto gone = make();
        return quarry::allocator<int>(gone);
    }();
    Numbers numbers(orphan);
    EXPECT_THROW(numbers.push_back(1), std::bad_alloc);
    EXPECT_FALSE(orphan == quarry::allocator<int>(pool));
}

TEST_F(Memory, OffsetPointersAreRandomAccessPointers) {
    int numbers[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    quarry::offset_ptr<int> p = numbers, null, end = numbers + 8;
    static_assert(std::random_access_iterator<quarry::offset_ptr<int>>);
    EXPECT_EQ(null, nullptr);
    EXPECT_FALSE(null);
    EXPECT_EQ(end - p, 8);
    EXPECT_EQ(*(p + 3), 3);
    EXPECT_EQ(p[5], 5);
    EXPECT_EQ(*++p, 1);
    EXPECT_EQ(*p--, 1);
    EXPECT_LT(p, end);
    quarry::offset_ptr<const int> constant = p;
    quarry::offset_ptr<const void> untyped = constant;
    EXPECT_EQ(static_cast<quarry::offset_ptr<const int>>(untyped), constant);
    quarry::offset_ptr<int> elsewhere;
    elsewhere = p;
    EXPECT_EQ(elsewhere.get(), numbers) << "a copy points to the same";
    EXPECT_EQ(quarry::offset_ptr<int>::pointer_to(numbers[2]).get(), numbers + 2);
    EXPECT_EQ(std::to_address(p), numbers);
}

}  // namespace
