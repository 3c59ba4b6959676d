// SPDX-License-Identifier: MIT
// Magazines: what needs no system call, what the checks say at the call, what races leave.
#include <algorithm>
#include <map>
#include <set>

#include "../../../module/core/slabs/size_class.hpp"
#include "fixture.hpp"

namespace {

using Offsets = std::vector<std::uint64_t>;

class Magazine : public Quarry {
protected:
    void SetUp() override {
        Quarry::SetUp();
        pool_ = new_pool(pool_bytes);
        ASSERT_NE(pool_, nullptr);
    }
    void TearDown() override {
        quarry_leave(pool_);
        Quarry::TearDown();
    }

    static int calls() {
        return fake::ioctls(QUARRY_IOC_ALLOC) + fake::ioctls(QUARRY_IOC_FREE) +
               fake::ioctls(QUARRY_IOC_REFILL) + fake::ioctls(QUARRY_IOC_FLUSH);
    }

    static constexpr std::uint64_t pool_bytes = 1 << 19;
    quarry_pool* pool_ = nullptr;
};

#define NEEDS_MAGAZINES() \
    if (!fake::magazines()) GTEST_SKIP() << "no magazines in this mode"

TEST(Classes, AreTheModulesForEverySizeAndAlignment) {
    for (std::uint64_t bytes = 1; bytes <= quarry::kMaxSlot; bytes++) {
        EXPECT_EQ(quarry_class_of(bytes, 0), quarry::class_of(bytes)) << bytes;
        for (std::uint64_t align = 1; align <= quarry::kMaxSlot; align *= 2) {
            ASSERT_TRUE(quarry_has_class(bytes, align));
            ASSERT_EQ(quarry_class_of(bytes, align), quarry::class_of(bytes, align)) << bytes << " " << align;
        }
    }
    EXPECT_EQ(quarry::kSizeClasses[QUARRY_LARGE_CLASS].slot_bytes, 64u);
    EXPECT_EQ(unsigned{QUARRY_MOST_CLASS_BYTES}, quarry::kMaxSlot);
    for (std::uint64_t align : {3u, 12u, 4096u}) EXPECT_FALSE(quarry_has_class(8, align));
    EXPECT_FALSE(quarry_has_class(0, 0));
    EXPECT_FALSE(quarry_has_class(2049, 0));
}

TEST_F(Magazine, ThousandsOfPairsCostOneCall) {
    NEEDS_MAGAZINES();
    for (int i = 0; i < 10000; i++) {
        void* object = quarry_alloc(pool_, 64);
        ASSERT_NE(object, nullptr);
        ASSERT_EQ(i % 2 ? quarry_free(pool_, object) : quarry_free_sized(pool_, object, 64), 0);
    }
    EXPECT_LE(calls(), 8) << "one refill a CPU that this thread was on";
    EXPECT_GE(fake::ioctls(QUARRY_IOC_REFILL), 1);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, EverySizeComesAndGoesByItsMagazine) {
    std::map<void*, std::size_t> live;
    for (std::size_t bytes = 1; bytes <= 2100; bytes += bytes < 200 ? 1 : 37) {
        void* object = quarry_alloc(pool_, bytes);
        ASSERT_NE(object, nullptr) << bytes;
        memset(object, static_cast<int>(bytes), bytes);
        EXPECT_TRUE(live.emplace(object, bytes).second);
    }
    for (auto [object, bytes] : live) {
        const auto* seen = static_cast<unsigned char*>(object);
        EXPECT_TRUE(std::all_of(seen, seen + bytes, [&, b = bytes](unsigned char c) {
            return c == static_cast<unsigned char>(b);
        })) << bytes;
        EXPECT_EQ(bytes % 2 ? quarry_free_sized(pool_, object, bytes) : quarry_free(pool_, object), 0) << bytes;
    }
    EXPECT_EQ(fake::objects(), 0);
    EXPECT_EQ(quarry_duplicates(pool_, nullptr), 0u);
}

TEST_F(Magazine, RefillsAndFlushesMoveManyAtATime) {
    NEEDS_MAGAZINES();
    Offsets live(2000);
    for (auto& offset : live) ASSERT_NE(offset = quarry_alloc_offset(pool_, 64, 0), QUARRY_NO_OFFSET);
    EXPECT_LE(fake::ioctls(QUARRY_IOC_REFILL), 2000 / 32 + 8);
    EXPECT_EQ(std::set<std::uint64_t>(live.begin(), live.end()).size(), live.size());
    for (auto offset : live) ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
    EXPECT_LE(fake::ioctls(QUARRY_IOC_FLUSH), 2000 / 32 + 8);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_ALLOC) + fake::ioctls(QUARRY_IOC_FREE), 0);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, BatchesOfAFewFillTheMagazineForTheNext) {
    NEEDS_MAGAZINES();
    const std::uint64_t before = quarry_object_calls(pool_);
    std::uint64_t offsets[200];
    for (int unchecked = 0; unchecked < 2; unchecked++) {
        for (auto& offset : offsets)
            ASSERT_EQ(unchecked ? quarry_alloc_batch_unchecked(pool_, 64, &offset, 1)
                                : quarry_alloc_batch(pool_, 64, 0, &offset, 1), 1u);
        for (auto& offset : offsets)
            ASSERT_EQ(unchecked ? quarry_free_batch_unchecked(pool_, 64, &offset, 1)
                                : quarry_free_batch(pool_, &offset, 1), 1u);
    }
    EXPECT_LE(fake::ioctls(QUARRY_IOC_REFILL), 2 * (200 / 8 + 2));
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_ALLOC), 0);
    EXPECT_EQ(quarry_object_calls(pool_) - before,
              static_cast<std::uint64_t>(calls())) << "each call for objects is counted";
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, EachWrongFreeIsItsErrorAtThatCallAndChangesNothing) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    for (const std::uint64_t bytes : {8u, 40u, 64u, 200u, 2048u}) {
        const std::uint64_t mine = quarry_alloc_offset(pool_, bytes, 0);
        const std::uint64_t gone = quarry_alloc_offset(pool_, bytes, 0);
        const std::uint64_t theirs = quarry_alloc_offset(other, bytes, 0);
        EXPECT_EQ(quarry_free_offset(pool_, gone), 0);
        std::vector<std::pair<std::uint64_t, int>> cases = {
            {gone, EALREADY}, {theirs, EACCES}, {mine + 1, EINVAL}, {pool_bytes, ERANGE}, {UINT64_MAX - 7, ERANGE}};
        if (bytes > 8) cases.push_back({mine + 8, EBADSLT});
        for (auto [offset, error] : cases) {
            for (const bool sized : {false, true}) {
                const int before = fake::objects();
                errno = 0;
                EXPECT_EQ(sized ? quarry_free_offset_sized(pool_, offset, bytes, 0) : quarry_free_offset(pool_, offset), -1)
                    << bytes << " " << offset;
                EXPECT_EQ(errno, error) << bytes << " " << offset << " " << sized;
                EXPECT_EQ(fake::objects(), before);
            }
        }
        EXPECT_EQ(quarry_free_offset_sized(pool_, mine, bytes, 0), 0);
        EXPECT_EQ(quarry_free_offset(other, theirs), 0);
    }
    quarry_leave(other);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, ADoubleFreeIsFoundWithoutACall) {
    NEEDS_MAGAZINES();
    void* object = quarry_alloc(pool_, 64);
    EXPECT_EQ(quarry_free(pool_, object), 0);
    const int before = calls();
    EXPECT_EQ(quarry_free(pool_, object), -1);
    EXPECT_EQ(errno, EALREADY);
    EXPECT_EQ(quarry_free_sized(pool_, object, 64), -1);
    EXPECT_EQ(errno, EALREADY);
    EXPECT_EQ(calls(), before);
    EXPECT_EQ(quarry_alloc(pool_, 64), object) << "it is there once";
    EXPECT_NE(quarry_alloc(pool_, 64), object);
}

TEST_F(Magazine, AWrongSizeIsEMSGSIZEAndTheObjectStays) {
    for (const std::size_t bytes : {16u, 60u, 64u, 1000u, 3000u}) {
        void* object = quarry_alloc(pool_, bytes);
        ASSERT_NE(object, nullptr);
        for (const std::size_t wrong : {8u, 33u, 100u, 1500u}) {
            if (!fake::magazines() && bytes > 2048) continue;  // the kernel knows no sizes
            EXPECT_EQ(quarry_free_sized(pool_, object, wrong), -1) << bytes << " as " << wrong;
            EXPECT_EQ(errno, EMSGSIZE) << bytes << " as " << wrong;
        }
        EXPECT_EQ(quarry_free_sized(pool_, object, bytes), 0) << bytes;
    }
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, AlignedObjectsHaveTheirSizedFreeToo) {
    for (std::size_t align = 1; align <= 4096; align *= 2) {
        for (const std::size_t bytes : {8u, 50u, 130u, 1025u}) {
            void* object = quarry_alloc_aligned(pool_, bytes, align);
            ASSERT_NE(object, nullptr);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(object) % align, 0u);
            EXPECT_EQ(quarry_free_sized_aligned(pool_, object, bytes, align), 0) << bytes << " " << align;
        }
    }
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, AReceivedObjectIsFreedRightlyThoughItWasNeverMarkedHere) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    Offsets offsets(5);
    for (auto& offset : offsets) offset = quarry_alloc_offset(other, 64, 0);
    ASSERT_EQ(quarry_transfer(other, quarry_client_id(pool_), offsets.data(), 5), 5u);
    EXPECT_EQ(quarry_free_offset(other, offsets[0]), -1);
    EXPECT_EQ(errno, EACCES) << "handed over is no longer its own";
    EXPECT_EQ(quarry_free_offset_sized(pool_, offsets[0], 64, 0), 0);
    EXPECT_EQ(quarry_free_offset(pool_, offsets[1]), 0);
    EXPECT_EQ(quarry_free_batch(pool_, &offsets[2], 3), 3u);
    EXPECT_EQ(quarry_free_offset(pool_, offsets[1]), -1);
    EXPECT_EQ(errno, EALREADY);
    quarry_leave(other);
}

TEST_F(Magazine, AFreedObjectIsNotHandedOver) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    Offsets offsets(3);
    ASSERT_EQ(quarry_alloc_all(pool_, 64, 0, offsets.data(), 3), 0);
    ASSERT_EQ(quarry_free_offset(pool_, offsets[1]), 0);
    EXPECT_EQ(quarry_transfer(pool_, quarry_client_id(other), offsets.data(), 3), 1u);
    EXPECT_EQ(errno, EALREADY);
    EXPECT_EQ(quarry_free_offset(pool_, offsets[2]), 0);
    EXPECT_EQ(fake::objects_of(quarry_client_id(pool_)), 0);
    EXPECT_EQ(fake::objects_of(quarry_client_id(other)), 1);
    quarry_leave(other);
}

TEST_F(Magazine, ARefusedTransferLeavesTheObjectsAsTheyWere) {
    NEEDS_MAGAZINES();
    Offsets offsets(3);
    ASSERT_EQ(quarry_alloc_all(pool_, 64, 0, offsets.data(), 3), 0);
    EXPECT_EQ(quarry_transfer(pool_, 12345, offsets.data(), 3), 0u);
    EXPECT_EQ(errno, ESRCH);
    const int before = calls();
    EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), 3), 3u);
    EXPECT_EQ(calls(), before) << "their marks are back";
}

TEST_F(Magazine, ABatchOfManyClassesAndStrangersIsFreedInOrder) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    Offsets offsets;
    for (int i = 0; i < 300; i++) {
        const std::size_t sizes[] = {8, 8, 64, 64, 64, 3000, 500};
        offsets.push_back(quarry_alloc_offset(i % 50 == 49 ? other : pool_, sizes[i % 7], 0));
    }
    Offsets given;
    for (int i = 49; i < 300; i += 50) given.push_back(offsets[i]);
    ASSERT_EQ(quarry_transfer(other, quarry_client_id(pool_), given.data(), given.size()), given.size());
    EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), offsets.size()), offsets.size());
    EXPECT_EQ(fake::objects(), 0);
    EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), offsets.size()), 0u);
    EXPECT_TRUE(errno == EALREADY || errno == EBADSLT);
    quarry_leave(other);
}

TEST_F(Magazine, ADoubleFreeInABatchStopsItThere) {
    Offsets offsets(8);
    ASSERT_EQ(quarry_alloc_all(pool_, 64, 0, offsets.data(), 8), 0);
    Offsets wrong = offsets;
    wrong[5] = wrong[2];
    EXPECT_EQ(quarry_free_batch(pool_, wrong.data(), 8), 5u);
    EXPECT_EQ(errno, EALREADY);
    EXPECT_EQ(fake::objects(), 3);
    EXPECT_EQ(quarry_free_batch(pool_, &offsets[5], 3), 3u);
}

TEST_F(Magazine, ADuplicateEntryIsDroppedAndCounted) {
    NEEDS_MAGAZINES();
    for (const std::size_t bytes : {24u, 64u}) {
        const std::uint64_t object = quarry_alloc_offset(pool_, bytes, 0);
        const std::uint64_t before = quarry_duplicates(pool_, nullptr);
        ASSERT_EQ(quarry_free_offset(pool_, object), 0);
        // As the other of two racing frees does, which found the mark, too.
        ASSERT_EQ(quarry_put(pool_, object / 8, quarry_class_of(bytes, 0), 0), 0);
        std::set<std::uint64_t> seen;
        for (int i = 0; i < 100; i++)
            EXPECT_TRUE(seen.insert(quarry_alloc_offset(pool_, bytes, 0)).second) << "given twice";
        std::uint64_t last = 0;
        EXPECT_EQ(quarry_duplicates(pool_, &last), before + 1);
        EXPECT_EQ(last, object);
    }
}

TEST_F(Magazine, ADuplicateThatIsFlushedIsCountedToo) {
    NEEDS_MAGAZINES();
    Offsets live(200);
    for (auto& offset : live) offset = quarry_alloc_offset(pool_, 64, 0);
    for (auto offset : live) ASSERT_EQ(quarry_free_unchecked(pool_, quarry_address(pool_, offset), 64), 0);
    EXPECT_EQ(quarry_duplicates(pool_, nullptr), 0u);
    int refused = 0;
    for (int i = 0; i < 100; i++) refused += quarry_free_unchecked(pool_, quarry_address(pool_, live[0]), 64) < 0;
    EXPECT_LT(refused, 10) << "the flush's own object may be one of them";
    EXPECT_GT(quarry_duplicates(pool_, nullptr), 0u);
}

TEST_F(Magazine, UncheckedPairsAndBatchesNeedNoMarks) {
    for (int i = 0; i < 100; i++) {
        void* object = quarry_alloc_unchecked(pool_, 64);
        ASSERT_NE(object, nullptr);
        ASSERT_EQ(quarry_free_unchecked(pool_, object, 64), 0);
    }
    Offsets offsets(150);
    ASSERT_EQ(quarry_alloc_batch_unchecked(pool_, 64, offsets.data(), 150), 150u);
    EXPECT_EQ(std::set<std::uint64_t>(offsets.begin(), offsets.end()).size(), 150u);
    EXPECT_EQ(fake::objects(), 150);
    EXPECT_EQ(quarry_free_batch_unchecked(pool_, 64, offsets.data(), 150), 150u);
    EXPECT_EQ(fake::objects(), 0);
    void* page = quarry_alloc_unchecked(pool_, 5000);
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(quarry_free_unchecked(pool_, page, 5000), 0);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Magazine, FixedPoolsHaveThemAsWell) {
    for (const std::uint64_t bytes : {8u, 24u, 64u, 72u, 2048u, 4096u}) {
        quarry_options options = {};
        options.kind = QUARRY_KIND_FIXED;
        options.object_size = bytes;
        options.object_count = 100;
        quarry_pool* pool = quarry_create(nullptr, &options);
        ASSERT_NE(pool, nullptr);
        std::set<void*> live;
        for (int i = 0; i < 100; i++) {
            void* object = i % 2 ? quarry_alloc(pool, bytes) : quarry_alloc_aligned(pool, bytes, 8);
            ASSERT_NE(object, nullptr) << bytes << " " << i;
            EXPECT_TRUE(live.insert(object).second);
        }
        EXPECT_EQ(quarry_alloc(pool, bytes), nullptr);
        EXPECT_EQ(errno, ENOSPC);
        for (const std::size_t wrong : {16u, 100u}) {
            EXPECT_EQ(quarry_alloc(pool, wrong), nullptr);
            EXPECT_EQ(errno, EMSGSIZE);
            EXPECT_EQ(quarry_free_sized(pool, *live.begin(), wrong), -1);
            EXPECT_EQ(errno, EMSGSIZE);
            if (!fake::magazines() && bytes > 2048) break;
        }
        int i = 0;
        for (void* object : live)
            EXPECT_EQ(i++ % 2 ? quarry_free(pool, object) : quarry_free_sized(pool, object, bytes), 0) << bytes;
        EXPECT_EQ(quarry_free(pool, *live.begin()), -1);
        EXPECT_EQ(errno, EALREADY);
        const int before = calls();
        for (i = 0; i < 50; i++) EXPECT_EQ(quarry_free(pool, quarry_alloc(pool, bytes)), 0);
        EXPECT_LE(calls(), before + (fake::magazines() && bytes <= 2048 ? 4 : 100)) << bytes;
        EXPECT_EQ(fake::objects(), 0);
        quarry_leave(pool);
    }
}

TEST_F(Magazine, WhatLiesInThemServesBeforeThePoolIsFull) {
    Offsets all(pool_bytes / 64);
    ASSERT_EQ(quarry_alloc_all(pool_, 64, 0, all.data(), all.size()), 0);
    EXPECT_EQ(quarry_alloc(pool_, 64), nullptr);
    EXPECT_EQ(errno, ENOSPC);
    for (auto offset : all) ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
    for (const std::size_t bytes : {8u, 256u, 2048u}) {
        Offsets others(pool_bytes / 4096 * (4096 / bytes));
        EXPECT_EQ(quarry_alloc_all(pool_, bytes, 0, others.data(), others.size()), 0) << bytes;
        for (auto offset : others) ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
    }
    EXPECT_NE(quarry_alloc(pool_, pool_bytes), nullptr) << "whole pages come back";
}

TEST_F(Magazine, ErrnosOfRefillAndFlushArriveUnchanged) {
    NEEDS_MAGAZINES();
    for (int error : {ENOMEM, ENOSPC, EDQUOT, ENOTCONN, EINTR, ENOBUFS}) {
        fake::fail_ioctl(QUARRY_IOC_REFILL, error);
        EXPECT_EQ(quarry_alloc(pool_, 320), nullptr);
        EXPECT_EQ(errno, error);
        fake::fail_ioctl(0, 0);
    }
    Offsets live(400);
    for (auto& offset : live) offset = quarry_alloc_offset(pool_, 320, 0);
    fake::fail_ioctl(QUARRY_IOC_FLUSH, ENOMEM);
    std::uint64_t refused = QUARRY_NO_OFFSET;
    for (std::size_t i = 0; i < live.size() && refused == QUARRY_NO_OFFSET; i++) {
        if (quarry_free_offset(pool_, live[i]) == 0) continue;
        EXPECT_EQ(errno, ENOMEM);
        refused = live[i];
    }
    fake::fail_ioctl(0, 0);
    ASSERT_NE(refused, QUARRY_NO_OFFSET) << "the magazine was never full";
    EXPECT_EQ(quarry_free_offset(pool_, refused), 0) << "the object was still this client's";
}

TEST_F(Magazine, AChildHasItsOwnAndTheParentsStayAsTheyWere) {
    void* object = quarry_alloc(pool_, 64);
    ASSERT_NE(object, nullptr);
    const int in_use = fake::objects();
    EXPECT_EQ(in_child([&] {
                  void* own = quarry_alloc(pool_, 64);
                  if (!own || own == object) return 1;
                  if (quarry_free_sized(pool_, object, 64) != -1 || errno != EACCES) return 2;
                  if (quarry_free(pool_, object) != -1 || errno != EACCES) return 3;
                  const int before = calls();
                  for (int i = 0; i < 100; i++)
                      if (quarry_free(pool_, quarry_alloc(pool_, 64))) return 4;
                  if (fake::magazines() && calls() > before + 4) return 5;
                  return quarry_free(pool_, own) ? 6 : 0;
              }),
              0);
    EXPECT_EQ(fake::objects(), in_use);
    EXPECT_EQ(quarry_free(pool_, object), 0);
}

TEST_F(Magazine, DrainSendsThemHome) {
    NEEDS_MAGAZINES();
    quarry_free(pool_, quarry_alloc(pool_, 64));
    struct quarry_stat stat;
    ASSERT_EQ(quarry_stat(pool_, &stat), 0);
    EXPECT_GT(stat.client_objects, 0u);
    ASSERT_EQ(quarry_drain(pool_, 0, nullptr), 0);
    ASSERT_EQ(quarry_stat(pool_, &stat), 0);
    EXPECT_EQ(stat.client_objects, 0u);
    EXPECT_NE(quarry_alloc(pool_, 64), nullptr);
}

TEST_F(Magazine, TheCallsAreFunctionsForWhoTakesTheirAddress) {
    void* (*volatile alloc)(quarry_pool*, std::size_t) = quarry_alloc;
    int (*volatile release)(quarry_pool*, void*) = quarry_free;
    int (*volatile release_sized)(quarry_pool*, void*, std::size_t) = quarry_free_sized;
    for (const std::size_t bytes : {8u, 64u, 5000u}) {
        EXPECT_EQ(release(pool_, alloc(pool_, bytes)), 0);
        EXPECT_EQ(release_sized(pool_, alloc(pool_, bytes), bytes), 0);
        void* object = alloc(pool_, bytes);
        EXPECT_EQ(quarry_free(pool_, object), 0);
        EXPECT_EQ(release(pool_, object), -1);
        EXPECT_EQ(errno, EALREADY);
    }
    EXPECT_EQ(release(pool_, nullptr), 0);
    EXPECT_EQ(quarry_free_sized(pool_, nullptr, 64), 0);
    EXPECT_EQ(fake::objects(), 0);
}

}  // namespace
