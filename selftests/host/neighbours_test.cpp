// SPDX-License-Identifier: MIT
//
// Neighbours go together (slot_groups.hpp): where one of them is refused, all before it are done,
// and none behind it.
#include <algorithm>

#include "pool_fixture.hpp"

namespace quarry {
namespace {

class NeighboursTest : public PoolTest {
protected:
    void SetUp() override {
        make(256, 256);
        a = &join();
        b = &join(64 * 100);
        slots = alloc(*a, 64, 256);
    }
    // Each place of the first three owner words, for the one that is refused.
    template <typename Spoil, typename Call, typename Undo>
    void at_each_place(Error wanted, Spoil&& spoil, Call&& call, Undo&& undo) {
        for (std::size_t at = 0; at < 48; ++at) {
            std::vector<Offset> list(slots.begin(), slots.begin() + 60);
            spoil(list, at);
            const u64 before = a->objects();
            EXPECT_EQ(call(list), wanted) << at;
            EXPECT_EQ(last.done, at);
            EXPECT_EQ(a->objects(), before - at);
            EXPECT_EQ(refusal.offset, list[at]);
            verify();
            undo(at);
        }
    }
    void take_back(std::size_t n) {
        const auto again = alloc(*a, 64, static_cast<u32>(n));
        EXPECT_EQ(again.size(), n);
        std::set<Offset> mine(slots.begin() + static_cast<std::ptrdiff_t>(n), slots.end());
        for (const Offset offset : again) EXPECT_TRUE(mine.insert(offset).second) << "given twice";
        slots.assign(mine.begin(), mine.end());
    }

    TestClient* a = nullptr;
    TestClient* b = nullptr;
    std::vector<Offset> slots;
};

TEST_F(NeighboursTest, AForeignOneStopsAFree) {
    const Offset theirs = alloc(*b, 64)[0];
    at_each_place(
        Error::not_owner, [&](auto& list, std::size_t at) { list[at] = theirs; },
        [&](const auto& list) { return free_all(*a, list); }, [&](std::size_t n) { take_back(n); });
}

TEST_F(NeighboursTest, OneThatIsNamedTwiceStopsAFree) {
    at_each_place(
        Error::already_free,
        [&](auto& list, std::size_t at) {
            if (at) list[at] = list[at - 1];
            if (!at) list[0] = slots.back() + 64 * 3000;
        },
        [&](const auto& list) {
            const Error e = free_all(*a, list);
            return e == Error::no_region || last.done == 0 ? Error::already_free : e;
        },
        [&](std::size_t n) { take_back(n); });
}

TEST_F(NeighboursTest, AMiddleStopsAFree) {
    at_each_place(
        Error::not_object, [&](auto& list, std::size_t at) { list[at] += 8; },
        [&](const auto& list) { return free_all(*a, list); }, [&](std::size_t n) { take_back(n); });
}

TEST_F(NeighboursTest, TheyGoInAnyOrder) {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        std::shuffle(slots.begin(), slots.begin() + 1 + random() % 250, random);
        const std::size_t n = 1 + random() % 256;
        EXPECT_EQ(free_all(*a, {slots.begin(), slots.begin() + static_cast<std::ptrdiff_t>(n)}), Error::none);
        EXPECT_EQ(last.done, n);
        verify();
        take_back(n);
    }
}

TEST_F(NeighboursTest, AForeignOneStopsATransfer) {
    const Offset theirs = alloc(*b, 64)[0];
    at_each_place(
        Error::not_owner, [&](auto& list, std::size_t at) { list[at] = theirs; },
        [&](const auto& list) { return move(*a, *b, list); },
        [&](std::size_t n) {
            EXPECT_EQ(b->objects(), n + 1);
            EXPECT_EQ(move(*b, *a, {slots.begin(), slots.begin() + static_cast<std::ptrdiff_t>(n)}),
                      Error::none);
        });
}

TEST_F(NeighboursTest, TheReceiversLimitStopsATransferAtTheObject) {
    // 100 of them, whatever it has already.
    for (u32 had = 0; had < 40; had += 3) {
        const auto before = alloc(*b, 64, had);
        EXPECT_EQ(move(*a, *b, slots), Error::quota);
        EXPECT_EQ(last.done, 100 - had);
        EXPECT_EQ(b->bytes(), 6400u);
        verify();
        EXPECT_EQ(move(*b, *a, {slots.begin(), slots.begin() + 100 - had}), Error::none);
        if (had) {
            EXPECT_EQ(free_all(*b, before), Error::none);
        }
        EXPECT_EQ(b->objects(), 0u);
    }
}

TEST_F(NeighboursTest, BehindTheLastSlotOfASlabIsNone) {
    // 48 bytes: the last owner word of the slab is not full.
    const SizeClass& c = kSizeClasses[class_of(48, 8)];
    const auto all = alloc(*a, 48, c.slots);
    std::vector<Offset> list(all.end() - 3, all.end());
    list.push_back(all.back() + 48);
    const Error e = free_all(*a, list);
    EXPECT_TRUE(e == Error::not_object || e == Error::already_free) << static_cast<int>(e);
    EXPECT_EQ(last.done, 3u);
    verify();
}

}  // namespace
}  // namespace quarry
