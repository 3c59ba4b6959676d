// SPDX-License-Identifier: MIT
// Objects: alloc, free, transfer, batches, partial results, offsets and addresses.
#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "fixture.hpp"

namespace {

using Offsets = std::vector<std::uint64_t>;

class Object : public Quarry {
protected:
    void SetUp() override {
        Quarry::SetUp();
        pool_ = new_pool();
        ASSERT_NE(pool_, nullptr);
    }
    void TearDown() override {
        quarry_leave(pool_);
        Quarry::TearDown();
    }

    quarry_pool* pool_ = nullptr;
};

TEST_F(Object, AllocGivesDisjointWritableMemory) {
    std::set<void*> seen;
    for (int i = 0; i < 100; i++) {
        void* object = quarry_alloc(pool_, 24);
        ASSERT_NE(object, nullptr);
        memset(object, i, 24);
        EXPECT_TRUE(seen.insert(object).second);
    }
    for (void* object : seen) EXPECT_EQ(quarry_free(pool_, object), 0);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Object, AllocRefusesWrongSizes) {
    EXPECT_EQ(quarry_alloc(pool_, 0), nullptr);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(quarry_alloc_aligned(pool_, 8, 24), nullptr);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(quarry_alloc(pool_, QUARRY_MAX_OBJECT + 1), nullptr);
    EXPECT_EQ(errno, EFBIG);
    EXPECT_EQ(quarry_alloc(pool_, SIZE_MAX), nullptr);
    EXPECT_EQ(errno, EOVERFLOW);
    EXPECT_EQ(quarry_alloc(pool_, 1 << 17), nullptr);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Object, AllocAligns) {
    ASSERT_NE(quarry_alloc(pool_, 8), nullptr);
    for (std::size_t align = 8; align <= 4096; align *= 2) {
        void* object = quarry_alloc_aligned(pool_, 8, align);
        ASSERT_NE(object, nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(object) % align, 0u);
        EXPECT_EQ(quarry_offset(pool_, object) % align, 0u);
    }
}

TEST_F(Object, EachWrongFreeHasItsErrnoAndChangesNothing) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    const std::uint64_t mine = quarry_alloc_offset(pool_, 64, 0);
    const std::uint64_t gone = quarry_alloc_offset(pool_, 64, 0);
    const std::uint64_t bad = quarry_alloc_offset(pool_, 4096, 0);
    const std::uint64_t theirs = quarry_alloc_offset(other, 64, 0);
    EXPECT_EQ(quarry_free_offset(pool_, gone), 0);
    fake::corrupt(quarry_pool_id(pool_), bad);
    const std::pair<std::uint64_t, int> cases[] = {
        {gone, EALREADY},           {theirs, EACCES},          {mine + 8, EBADSLT},
        {mine + 1, EINVAL},         {1 << 16, ERANGE},         {UINT64_MAX - 7, ERANGE},
        {bad, EUCLEAN},
    };
    for (auto [offset, error] : cases) {
        const int before = fake::objects();
        EXPECT_EQ(quarry_free_offset(pool_, offset), -1) << offset;
        EXPECT_EQ(errno, error) << offset;
        EXPECT_EQ(fake::objects(), before);
    }
    EXPECT_EQ(quarry_free_offset(pool_, mine), 0);
    quarry_leave(other);
}

TEST_F(Object, FreeOfAnOffsetWithoutRegionIsENXIO) {
    quarry_options options = heap(4096);
    options.max_bytes = 8192;
    quarry_pool* pool = quarry_create(nullptr, &options);
    ASSERT_NE(pool, nullptr);
    EXPECT_EQ(quarry_free_offset(pool, 4096), -1);
    EXPECT_EQ(errno, ENXIO);
    quarry_leave(pool);
}

TEST_F(Object, FreeByPointerKnowsWhatIsOutsideThePool) {
    int local;
    EXPECT_EQ(quarry_free(pool_, &local), -1);
    EXPECT_EQ(errno, ERANGE);
    EXPECT_EQ(quarry_free(pool_, nullptr), 0);
    auto* base = static_cast<char*>(quarry_address(pool_, 0));
    EXPECT_EQ(quarry_free(pool_, base - 8), -1);
    EXPECT_EQ(errno, ERANGE);
    EXPECT_EQ(quarry_free(pool_, base + quarry_max_bytes(pool_)), -1);
    EXPECT_EQ(errno, ERANGE);
}

TEST_F(Object, BatchIsOneSystemCall) {
    Offsets offsets(32);
    EXPECT_EQ(quarry_alloc_batch(pool_, 64, 0, offsets.data(), 32), 32u);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_ALLOC), 1);
    EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), 32), 32u);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_FREE), fake::magazines() ? 0 : 1);
}

TEST_F(Object, BatchAboveTheKernelsLimitIsCutIntoPieces) {
    quarry_pool* big = new_pool(1 << 20);
    const std::size_t count = 2 * QUARRY_MAX_BATCH + 5;
    Offsets offsets(count);
    EXPECT_EQ(quarry_alloc_batch(big, 8, 0, offsets.data(), count), count);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_ALLOC), 3);
    EXPECT_EQ(quarry_free_batch(big, offsets.data(), count), count);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_FREE), fake::magazines() ? 2 : 3);
    EXPECT_EQ(fake::objects(), 0);
    quarry_leave(big);
}

TEST_F(Object, BatchOfNoneIsNoCall) {
    EXPECT_EQ(quarry_alloc_batch(pool_, 8, 0, nullptr, 0), 0u);
    EXPECT_EQ(quarry_free_batch(pool_, nullptr, 0), 0u);
    EXPECT_EQ(quarry_alloc_all(pool_, 8, 0, nullptr, 0), 0);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_ALLOC), 0);
}

TEST_F(Object, PartialAllocSaysHowManyAndWhy) {
    Offsets offsets(40);
    EXPECT_EQ(quarry_alloc_batch(pool_, 2048, 0, offsets.data(), 40), 32u);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(fake::objects(), 32);
    EXPECT_EQ(quarry_alloc_batch(pool_, 8, 0, offsets.data(), 1), 0u);
    EXPECT_EQ(errno, ENOSPC);
}

TEST_F(Object, AllOrNothingGivesBackWhatItGot) {
    Offsets offsets(40);
    EXPECT_EQ(quarry_alloc_all(pool_, 2048, 0, offsets.data(), 40), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(fake::objects(), 0);
    EXPECT_EQ(quarry_alloc_all(pool_, 2048, 0, offsets.data(), 32), 0);
    EXPECT_EQ(fake::objects(), 32);
}

TEST_F(Object, AllOrNothingGivesBackAcrossPieces) {
    quarry_pool* big = new_pool(1 << 20);
    Offsets offsets((1 << 17) + 1);
    EXPECT_EQ(quarry_alloc_all(big, 8, 0, offsets.data(), offsets.size()), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(fake::objects(), 0);
    quarry_leave(big);
}

TEST_F(Object, AllOrNothingKeepsTheFirstErrorWhenTheClientIsReapedMeanwhile) {
    Offsets offsets(8);
    fake::stop_batches_at(4, ENOMEM);
    fake::fail_ioctl(QUARRY_IOC_FREE, ESHUTDOWN);
    EXPECT_EQ(quarry_alloc_all(pool_, 8, 0, offsets.data(), 8), -1);
    EXPECT_EQ(errno, ENOMEM);
    fake::fail_ioctl(0, 0);
    fake::stop_batches_at(0, 0);
}

TEST_F(Object, FreeBatchStopsAtTheFirstRefused) {
    Offsets offsets(4);
    ASSERT_EQ(quarry_alloc_all(pool_, 8, 0, offsets.data(), 4), 0);
    const Offsets wrong = {offsets[0], offsets[1], offsets[0], offsets[2]};
    EXPECT_EQ(quarry_free_batch(pool_, wrong.data(), 4), 2u);
    EXPECT_EQ(errno, EALREADY);
    EXPECT_EQ(fake::objects(), 2);
}

TEST_F(Object, EveryErrnoOfTheKernelArrivesUnchanged) {
    const int errors[] = {EFAULT,  EINVAL,    E2BIG,    EMSGSIZE,  EOVERFLOW,    EFBIG,  ENOTTY,
                          EBADFD,  EXDEV,     ENOTCONN, ESHUTDOWN, EPERM,        EDQUOT, ENOBUFS,
                          EUSERS,  ENOMEM,    ENOSPC,   ERANGE,    ENXIO,        EBADSLT, EALREADY,
                          EACCES,  EUCLEAN,   ESRCH,    EUNATCH,   ETOOMANYREFS, EBUSY,  EEXIST,
                          EOPNOTSUPP, ENOSR, EXFULL, EMFILE, ENFILE};
    static std::uint64_t offset = 0;
    // Each call, and whether it failed.
    const struct {
        unsigned long request;
        bool (*fails)(quarry_pool*);
    } calls[] = {
        {QUARRY_IOC_ALLOC, [](quarry_pool* p) { return !quarry_alloc(p, 4096); }},
        {QUARRY_IOC_ALLOC, [](quarry_pool* p) { return quarry_alloc_all(p, 4096, 0, &offset, 1) < 0; }},
        {QUARRY_IOC_FREE, [](quarry_pool* p) { return quarry_free_offset(p, 0) < 0; }},
        {QUARRY_IOC_RESERVE, [](quarry_pool* p) { return quarry_reserve(p, 8, 0, 1, nullptr) < 0; }},
        {QUARRY_IOC_TRANSFER, [](quarry_pool* p) { return !quarry_transfer(p, 1, &offset, 1); }},
        {QUARRY_IOC_STAT,
         [](quarry_pool* p) {
             struct quarry_stat stat;
             return quarry_stat(p, &stat) < 0;
         }},
        {QUARRY_IOC_STAT, [](quarry_pool* p) { return quarry_events(p, true) < 0; }},
        {QUARRY_IOC_STAT, [](quarry_pool* p) { return quarry_classes(p, nullptr, 0) < 0; }},
        {QUARRY_IOC_VERIFY,
         [](quarry_pool* p) {
             struct quarry_verify verify;
             return quarry_verify(p, &verify) < 0;
         }},
        {QUARRY_IOC_DRAIN, [](quarry_pool* p) { return quarry_drain(p, 0, nullptr) < 0; }},
        {QUARRY_IOC_REGION_ADD,
         [](quarry_pool* p) { return quarry_region_add(p, 1, 0, -1, nullptr) < 0; }},
        {QUARRY_IOC_REGION_REMOVE,
         [](quarry_pool* p) { return quarry_region_remove(p, 0, nullptr) < 0; }},
        {QUARRY_IOC_JOIN, [](quarry_pool* p) { return !quarry_join(quarry_fd(p)); }},
        {QUARRY_IOC_POOL_CREATE,
         [](quarry_pool*) {
             const quarry_options options = heap();
             return !quarry_create(nullptr, &options);
         }},
        {QUARRY_IOC_INFO, [](quarry_pool*) { return !quarry_open(nullptr); }},
    };
    for (const auto& call : calls) {
        for (int error : errors) {
            fake::fail_ioctl(call.request, error);
            errno = 0;
            const bool failed = call.fails(pool_);
            const int seen = errno;
            fake::fail_ioctl(0, 0);
            EXPECT_TRUE(failed) << call.request;
            EXPECT_EQ(seen, error) << call.request;
        }
    }
}

TEST_F(Object, PartialResultsCarryEachErrno) {
    Offsets offsets(4);
    for (int error : {ENOMEM, ENOSPC, EDQUOT, ENOBUFS}) {
        fake::stop_batches_at(2, error);
        EXPECT_EQ(quarry_alloc_batch(pool_, 4096, 0, offsets.data(), 4), 2u);
        EXPECT_EQ(errno, error);
        fake::stop_batches_at(1, error);
        EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), 2), 1u);
        EXPECT_EQ(errno, error);
    }
    fake::stop_batches_at(0, 0);
}

TEST_F(Object, ASignalInTheMiddleOfABatchStopsNothing) {
    Offsets offsets(10);
    fake::stop_batches_at(3, EINTR);
    EXPECT_EQ(quarry_alloc_batch(pool_, 8, 0, offsets.data(), 10), 10u);
    EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), 10), 10u);
    fake::stop_batches_at(0, 0);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Object, TransferMovesOwnership) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    Offsets offsets(3);
    ASSERT_EQ(quarry_alloc_all(pool_, 16, 0, offsets.data(), 3), 0);
    EXPECT_EQ(quarry_transfer(pool_, quarry_client_id(other), offsets.data(), 3), 3u);
    EXPECT_EQ(quarry_free_offset(pool_, offsets[0]), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(quarry_free_batch(other, offsets.data(), 3), 3u);
    quarry_leave(other);
}

TEST_F(Object, TransferRefusesWithTheRuleThatWasBroken) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    const std::uint64_t to = quarry_client_id(other);
    Offsets offsets(3);
    ASSERT_EQ(quarry_alloc_all(pool_, 16, 0, offsets.data(), 3), 0);
    fake::set_client_room(to, 32);
    EXPECT_EQ(quarry_transfer(pool_, to, offsets.data(), 3), 2u);
    EXPECT_EQ(errno, EDQUOT);
    EXPECT_EQ(quarry_transfer(pool_, to, offsets.data(), 1), 0u);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(quarry_transfer(pool_, 12345, &offsets[2], 1), 0u);
    EXPECT_EQ(errno, ESRCH);
    fake::forget_area(to);
    EXPECT_EQ(quarry_transfer(pool_, to, &offsets[2], 1), 0u);
    EXPECT_EQ(errno, EUNATCH);
    quarry_leave(other);
    EXPECT_EQ(quarry_transfer(pool_, to, &offsets[2], 1), 0u);
    EXPECT_EQ(errno, ESRCH);
}

TEST_F(Object, AReapedClientIsESHUTDOWNAndStillTellsItsState) {
    ASSERT_NE(quarry_alloc(pool_, 4096), nullptr);
    fake::reap(quarry_client_id(pool_));
    EXPECT_EQ(quarry_alloc(pool_, 4096), nullptr);
    EXPECT_EQ(errno, ESHUTDOWN);
    EXPECT_EQ(quarry_events(pool_, false) & QUARRY_EVENT_REAPED, int{QUARRY_EVENT_REAPED});
    quarry_pool* again = quarry_join(quarry_fd(pool_));
    ASSERT_NE(again, nullptr);
    EXPECT_NE(quarry_alloc(again, 8), nullptr);
    quarry_leave(again);
}

TEST_F(Object, OffsetsAndAddressesTranslateBothWaysWithinThePoolOnly) {
    const std::uint64_t max = quarry_max_bytes(pool_);
    auto* base = static_cast<char*>(quarry_address(pool_, 0));
    ASSERT_NE(base, nullptr);
    EXPECT_EQ(quarry_address(pool_, max - 1), base + max - 1);
    EXPECT_EQ(quarry_offset(pool_, base + max - 1), max - 1);
    EXPECT_EQ(quarry_offset(pool_, base + 17), 17u);
    errno = 0;
    EXPECT_EQ(quarry_address(pool_, max), nullptr);
    EXPECT_EQ(errno, ERANGE);
    EXPECT_EQ(quarry_address(pool_, UINT64_MAX), nullptr);
    for (const char* outside : {base - 1, base + max, static_cast<char*>(nullptr)}) {
        errno = 0;
        EXPECT_EQ(quarry_offset(pool_, outside), QUARRY_NO_OFFSET);
        EXPECT_EQ(errno, ERANGE);
    }
    EXPECT_EQ(quarry_span(pool_, max - 8, 8), base + max - 8);
    EXPECT_EQ(quarry_span(pool_, max - 8, 9), nullptr);
    EXPECT_EQ(quarry_span(pool_, 8, SIZE_MAX), nullptr);
    EXPECT_EQ(quarry_span(pool_, max, 0), nullptr);
}

TEST_F(Object, ManyThreadsUseOnePool) {
    std::vector<std::thread> threads;
    std::atomic<int> failures = 0;
    for (int t = 0; t < 4; t++) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 500; i++) {
                Offsets mine(4);
                if (quarry_alloc_all(pool_, 32, 0, mine.data(), 4) < 0) failures++;
                for (auto offset : mine) memset(quarry_address(pool_, offset), t, 32);
                if (quarry_free_batch(pool_, mine.data(), 4) != 4) failures++;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(fake::objects(), 0);
}

}  // namespace
