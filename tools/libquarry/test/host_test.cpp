// SPDX-License-Identifier: MIT
// "host:", the device in this process: the same calls and errors over the real core.
#include <signal.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "fixture.hpp"

namespace {

using Offsets = std::vector<std::uint64_t>;

class Host : public Quarry {
protected:
    void SetUp() override {
        Quarry::SetUp();
        device_ = quarry_open("host:");
        ASSERT_NE(device_, nullptr);
        pool_ = make(heap(1 << 20));
        ASSERT_NE(pool_, nullptr);
    }
    void TearDown() override {
        if (pool_) expect_sound(pool_);
        quarry_leave(pool_);
        quarry_close(device_);
        Quarry::TearDown();
    }

    quarry_pool* make(const quarry_options& options) { return quarry_create(device_, &options); }

    static struct quarry_stat stat(quarry_pool* pool) {
        struct quarry_stat stat;
        EXPECT_EQ(quarry_stat(pool, &stat), 0);
        return stat;
    }
    static void expect_sound(quarry_pool* pool) {
        struct quarry_verify verify;
        ASSERT_EQ(quarry_verify(pool, &verify), 0);
        EXPECT_EQ(verify.faults, 0u) << verify.first;
        EXPECT_EQ(verify.objects, stat(pool).objects);
    }
    static void expect_all_home(quarry_pool* pool) {
        EXPECT_EQ(quarry_duplicates(pool, nullptr), 0u);
        EXPECT_EQ(quarry_drain(pool, QUARRY_DRAIN_POOL, nullptr), 0);
        EXPECT_EQ(stat(pool).objects, 0u);
        expect_sound(pool);
    }

    quarry_device* device_ = nullptr;
    quarry_pool* pool_ = nullptr;
};

TEST_F(Host, NeedsNoModuleAndTellsItsLimits) {
    struct quarry_info info;
    ASSERT_EQ(quarry_info(device_, &info), 0);
    EXPECT_EQ(info.abi_version, unsigned{QUARRY_ABI_VERSION});
    EXPECT_EQ(info.class_count, 48u);
    EXPECT_EQ(info.class_size[47], 2048u);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_INFO), 0) << "no device was asked";
}

TEST_F(Host, ASharedObjectLivesAsLongAsItsLastHolder) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    ASSERT_NE(other, nullptr);
    const std::uint64_t to = quarry_client_id(other);
    for (const std::size_t bytes : {8u, 64u, 2048u, 20000u}) {
        Offsets offsets(bytes > 2048 ? 8 : 40);
        ASSERT_EQ(quarry_alloc_all(pool_, bytes, 0, offsets.data(), offsets.size()), 0);
        ASSERT_EQ(quarry_share_objects(pool_, to, offsets.data(), offsets.size()), offsets.size());
        EXPECT_EQ(stat(pool_).shares, 2 * offsets.size());
        EXPECT_EQ(quarry_share_objects(pool_, to, offsets.data(), 1), 0u);
        EXPECT_EQ(errno, EEXIST);
        // Freed by the calls that programs have inlined: none goes to a magazine and to somebody else.
        for (const std::uint64_t offset : offsets)
            EXPECT_EQ(quarry_free_offset_sized(pool_, offset, bytes, 0), 0) << errno;
        Offsets fresh(offsets.size());
        ASSERT_EQ(quarry_alloc_all(pool_, bytes, 0, fresh.data(), fresh.size()), 0);
        for (const std::uint64_t offset : fresh)
            EXPECT_EQ(std::count(offsets.begin(), offsets.end(), offset), 0) << "given twice";
        EXPECT_EQ(quarry_free_batch(pool_, fresh.data(), fresh.size()), fresh.size());
        EXPECT_EQ(quarry_free_offset(pool_, offsets[0]), -1);
        EXPECT_EQ(errno, EACCES);
        EXPECT_EQ(quarry_free_batch(other, offsets.data(), offsets.size()), offsets.size());
        EXPECT_EQ(stat(pool_).shares, 0u);
    }
    quarry_leave(other);
    expect_all_home(pool_);
}

TEST_F(Host, WhatIsSetAsideCanBeHadWhateverElseIsFull) {
    for (const std::size_t bytes : {8u, 64u, 2048u, 20000u}) {
        const std::size_t n = bytes > 2048 ? 10 : 40;
        std::size_t left = 0;
        ASSERT_EQ(quarry_reserve(pool_, bytes, 0, n, &left), 0) << bytes << ": " << errno;
        EXPECT_EQ(left, n);
        EXPECT_EQ(stat(pool_).reserve_objects, n);
        quarry_pool* other = quarry_join(quarry_fd(pool_));
        std::uint64_t offset = 0;
        for (const std::size_t size : {std::size_t{4096}, bytes})
            while (quarry_alloc_all(other, size, 0, &offset, 1) == 0) {}
        EXPECT_EQ(errno, ENOSPC);
        Offsets mine;
        while (quarry_alloc_all(pool_, bytes, 0, &offset, 1) == 0) mine.push_back(offset);
        EXPECT_GE(mine.size(), n);
        EXPECT_EQ(std::set<std::uint64_t>(mine.begin(), mine.end()).size(), mine.size());
        EXPECT_EQ(stat(pool_).reserve_objects, 0u);
        EXPECT_EQ(quarry_free_batch(pool_, mine.data(), mine.size()), mine.size());
        quarry_leave(other);
    }
    ASSERT_EQ(quarry_reserve(pool_, 64, 0, 100, nullptr), 0);
    EXPECT_EQ(quarry_reserve(pool_, std::size_t{8} << 20, 0, 1, nullptr), -1);
    EXPECT_EQ(errno, EFBIG);
    EXPECT_EQ(quarry_reserve(pool_, 64, 0, std::size_t{1} << 40, nullptr), -1);
    EXPECT_EQ(errno, EMSGSIZE);
    EXPECT_EQ(quarry_reserve(pool_, 4096, 0, 4096, nullptr), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stat(pool_).reserve_objects, 100u);
    ASSERT_EQ(quarry_reserve(pool_, 64, 0, 0, nullptr), 0);
    expect_all_home(pool_);
}

TEST_F(Host, WhatAMagazineHoldsIsNotShared) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    const std::uint64_t to = quarry_client_id(other);
    std::uint64_t offset = 0;
    ASSERT_EQ(quarry_alloc_all(pool_, 64, 0, &offset, 1), 0);
    ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
    EXPECT_EQ(quarry_share_objects(pool_, to, &offset, 1), 0u);
    EXPECT_EQ(errno, EALREADY);
    quarry_leave(other);
}

TEST_F(Host, EverySizeAndAlignmentComesAndGoes) {
    std::mt19937 random(1);
    std::vector<std::pair<void*, std::size_t>> live;
    for (int i = 0; i < 3000; i++) {
        const std::size_t bytes = i % 10 ? 1 + random() % 600 : 1 + random() % 20000;
        const std::size_t align = std::size_t{1} << random() % 13;
        void* object = quarry_alloc_aligned(pool_, bytes, align);
        if (!object) {
            ASSERT_EQ(errno, ENOSPC);
        } else {
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(object) % align, 0u);
            memset(object, i, bytes);
            live.emplace_back(object, bytes);
        }
        if (live.size() > 200 || !object) {
            std::swap(live[random() % live.size()], live.back());
            ASSERT_EQ(quarry_free(pool_, live.back().first), 0);
            live.pop_back();
        }
    }
    for (auto [object, bytes] : live) ASSERT_EQ(quarry_free(pool_, object), 0);
    expect_all_home(pool_);
}

TEST_F(Host, EachWrongFreeHasItsErrnoAndChangesNothing) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    ASSERT_NE(other, nullptr);
    for (const std::uint64_t bytes : {8u, 64u, 200u, 5000u}) {
        const std::uint64_t mine = quarry_alloc_offset(pool_, bytes, 0);
        const std::uint64_t gone = quarry_alloc_offset(pool_, bytes, 0);
        const std::uint64_t theirs = quarry_alloc_offset(other, bytes, 0);
        EXPECT_EQ(quarry_free_offset(pool_, gone), 0);
        std::vector<std::pair<std::uint64_t, int>> cases = {
            {gone, EALREADY}, {theirs, EACCES}, {mine + 1, EINVAL}, {1 << 20, ERANGE}};
        if (bytes > 8) cases.push_back({mine + 8, EBADSLT});
        for (auto [offset, error] : cases) {
            errno = 0;
            EXPECT_EQ(quarry_free_offset(pool_, offset), -1) << bytes << " " << offset;
            EXPECT_EQ(errno, error) << bytes << " " << offset;
        }
        EXPECT_EQ(quarry_free_offset_sized(pool_, mine, bytes, 0), 0);
        EXPECT_EQ(quarry_free_offset(other, theirs), 0);
    }
    EXPECT_EQ(quarry_free(pool_, &other), -1);
    EXPECT_EQ(errno, ERANGE);
    quarry_leave(other);
    expect_all_home(pool_);
}

TEST_F(Host, ADoubleFreeIsFoundWhereverTheObjectLies) {
    Offsets live(3000);
    for (auto& offset : live) ASSERT_NE(offset = quarry_alloc_offset(pool_, 64, 0), QUARRY_NO_OFFSET);
    for (auto offset : live) ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
    // In magazines, in the depot behind them, at home.
    for (auto offset : live) {
        ASSERT_EQ(quarry_free_offset(pool_, offset), -1);
        ASSERT_TRUE(errno == EALREADY || errno == EBADSLT) << errno;
    }
    for (auto& offset : live) ASSERT_NE(offset = quarry_alloc_offset(pool_, 64, 0), QUARRY_NO_OFFSET);
    EXPECT_EQ(std::set<std::uint64_t>(live.begin(), live.end()).size(), live.size());
    for (auto offset : live) ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
    expect_all_home(pool_);
}

TEST_F(Host, AClientsObjectsAreBackWhenItLeaves) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    for (int i = 0; i < 1000; i++) ASSERT_NE(quarry_alloc(other, 100), nullptr);
    EXPECT_GE(stat(pool_).objects, 1000u);
    quarry_leave(other);
    EXPECT_EQ(stat(pool_).objects, 0u);
    EXPECT_EQ(stat(pool_).reaps, 1u);
    EXPECT_EQ(quarry_events(pool_, true) & QUARRY_EVENT_PEER_DIED, int{QUARRY_EVENT_PEER_DIED});
    EXPECT_EQ(quarry_events(pool_, false) & QUARRY_EVENT_PEER_DIED, 0);
}

TEST_F(Host, TransferMovesAndShowsBothSides) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    Offsets offsets(100);
    ASSERT_EQ(quarry_alloc_all(pool_, 64, 0, offsets.data(), 100), 0);
    EXPECT_EQ(quarry_transfer(pool_, quarry_client_id(other), offsets.data(), 100), 100u);
    EXPECT_EQ(quarry_free_offset(pool_, offsets[0]), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(quarry_free_batch(other, offsets.data(), 100), 100u);
    EXPECT_EQ(quarry_transfer(pool_, 999, offsets.data(), 1), 0u);
    EXPECT_EQ(errno, ESRCH);
    quarry_leave(other);
    expect_all_home(pool_);
}

TEST_F(Host, APoolGrowsToItsMaximumAndWhatIsFreeAnywhereServes) {
    quarry_options options = heap(1 << 16);
    options.max_bytes = 8 << 20;
    quarry_pool* pool = make(options);
    quarry_pool* idle = quarry_join(quarry_fd(pool));
    for (int i = 0; i < 200; i++) quarry_free(idle, quarry_alloc(idle, 1000));
    Offsets idle_offsets(500);
    ASSERT_EQ(quarry_alloc_all(idle, 1000, 0, idle_offsets.data(), 500), 0);
    for (auto offset : idle_offsets) ASSERT_EQ(quarry_free_offset(idle, offset), 0);
    EXPECT_TRUE(stat(idle).client_objects > 0 || !fake::magazines()) << "free objects in its magazines";
    Offsets all((8 << 20) / 64);
    EXPECT_EQ(quarry_alloc_batch(pool, 64, 0, all.data(), all.size()), all.size()) << strerror(errno);
    EXPECT_EQ(quarry_alloc(pool, 64), nullptr);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stat(pool).bytes, std::uint64_t{8 << 20});
    EXPECT_EQ(stat(idle).client_objects, 0u);
    EXPECT_EQ(quarry_free_batch(pool, all.data(), all.size()), all.size());
    quarry_leave(idle);
    expect_all_home(pool);
    quarry_leave(pool);
}

TEST_F(Host, AClientsLimitHoldsAndItsOwnMagazinesServeFirst) {
    quarry_options options = heap(1 << 20);
    options.client_limit = 64 * 100;
    quarry_pool* pool = make(options);
    Offsets offsets(100);
    ASSERT_EQ(quarry_alloc_all(pool, 64, 0, offsets.data(), 100), 0);
    EXPECT_EQ(quarry_alloc(pool, 64), nullptr);
    EXPECT_EQ(errno, EDQUOT);
    for (auto offset : offsets) ASSERT_EQ(quarry_free_offset(pool, offset), 0);
    EXPECT_NE(quarry_alloc(pool, 4000), nullptr) << "of what its magazines held";
    quarry_leave(pool);
}

TEST_F(Host, FixedAndRangePoolsAreThereToo) {
    quarry_options fixed = {};
    fixed.kind = QUARRY_KIND_FIXED;
    fixed.object_size = 48;
    fixed.object_count = 1000;
    quarry_pool* pool = make(fixed);
    ASSERT_NE(pool, nullptr);
    Offsets offsets(1000);
    for (auto& offset : offsets) ASSERT_NE(offset = quarry_alloc_offset(pool, 48, 0), QUARRY_NO_OFFSET);
    EXPECT_EQ(std::set<std::uint64_t>(offsets.begin(), offsets.end()).size(), 1000u);
    EXPECT_EQ(quarry_alloc(pool, 48), nullptr);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(quarry_alloc(pool, 40), nullptr);
    EXPECT_EQ(errno, EMSGSIZE);
    for (auto offset : offsets) ASSERT_EQ(quarry_free_offset(pool, offset), 0);
    expect_all_home(pool);
    quarry_leave(pool);
    quarry_options range = {};
    range.kind = QUARRY_KIND_RANGE;
    range.max_bytes = 1 << 30;
    range.granule = 4096;
    range.max_ranges = 100;
    pool = make(range);
    ASSERT_NE(pool, nullptr) << strerror(errno);
    const std::uint64_t offset = quarry_alloc_offset(pool, 10000, 0);
    ASSERT_NE(offset, QUARRY_NO_OFFSET);
    EXPECT_EQ(quarry_resize(pool, offset, 20000), 20480u);
    EXPECT_EQ(quarry_alloc(pool, 10), nullptr);
    EXPECT_EQ(errno, EOPNOTSUPP);
    EXPECT_EQ(quarry_free_offset(pool, offset), 0);
    EXPECT_EQ(quarry_free_offset(pool, offset), -1);
    quarry_leave(pool);
}

TEST_F(Host, WrongOptionsAreRefusedAsTheModuleDoes) {
    const struct {
        int error;
        void (*spoil)(quarry_options&);
    } cases[] = {
        {EINVAL, [](quarry_options& o) { o.bytes = 0; }},
        {EINVAL, [](quarry_options& o) { o.flags = 1u << 31; }},
        {EINVAL, [](quarry_options& o) { o.kind = 77; }},
        {EPERM, [](quarry_options& o) { o.zone = QUARRY_ZONE_LOWMEM; }},
        {EFBIG, [](quarry_options& o) { o.bytes = 1ull << 50; }},
        {EINVAL, [](quarry_options& o) { o.name = "a/b"; }},
        {EINVAL, [](quarry_options& o) { o.granule = 64; }},
    };
    for (const auto& c : cases) {
        quarry_options options = heap();
        c.spoil(options);
        EXPECT_EQ(make(options), nullptr);
        EXPECT_EQ(errno, c.error);
    }
    quarry_options named = heap();
    named.name = "twice";
    quarry_pool* pool = make(named);
    EXPECT_EQ(make(named), nullptr);
    EXPECT_EQ(errno, EEXIST);
    quarry_leave(pool);
}

TEST_F(Host, RegionsComeAndGo) {
    quarry_options options = heap(1 << 20);
    options.max_bytes = 4 << 20;
    quarry_pool* pool = make(options);
    struct quarry_region region;
    ASSERT_EQ(quarry_region_add(pool, 1 << 20, QUARRY_ZONE_NORMAL, -1, &region), 0);
    EXPECT_EQ(region.bytes, 1u << 20);
    Offsets offsets((2 << 20) / 64);
    ASSERT_EQ(quarry_alloc_all(pool, 64, 0, offsets.data(), offsets.size()), 0);
    EXPECT_EQ(quarry_region_remove(pool, region.offset, nullptr), -1);
    EXPECT_EQ(errno, EBUSY);
    for (auto offset : offsets) ASSERT_EQ(quarry_free_offset(pool, offset), 0);
    EXPECT_EQ(quarry_region_remove(pool, region.offset, nullptr), 0) << "what magazines hold is no use";
    EXPECT_EQ(quarry_free_offset(pool, region.offset), -1);
    EXPECT_EQ(errno, ENXIO);
    expect_all_home(pool);
    quarry_leave(pool);
}

TEST_F(Host, AMagazineThatIsOftenEmptyOrFullGrows) {
    if (!fake::magazines()) GTEST_SKIP() << "no magazines in this mode";
    Offsets live(1000);
    std::uint64_t calls = 0;
    for (int round = 0; round < 200; round++) {
        const auto before = stat(pool_);
        for (auto& offset : live) ASSERT_NE(offset = quarry_alloc_offset(pool_, 64, 0), QUARRY_NO_OFFSET);
        for (auto offset : live) ASSERT_EQ(quarry_free_offset(pool_, offset), 0);
        const auto after = stat(pool_);
        calls = after.refills + after.flushes - before.refills - before.flushes;
        EXPECT_TRUE(round || calls > 5);
        if (!calls && round > 2) break;
    }
    EXPECT_EQ(calls, 0u) << "a thousand objects fit by now";
    expect_all_home(pool_);
}

TEST_F(Host, AChildsCallsAreEXDEVAndTheParentGoesOn) {
    void* object = quarry_alloc(pool_, 64);
    EXPECT_EQ(in_child([&] {
                  if (quarry_alloc(pool_, 64) || errno != EXDEV) return 1;
                  if (quarry_free(pool_, object) != -1 || errno != EXDEV) return 2;
                  struct quarry_stat stat;
                  if (quarry_stat(pool_, &stat) != -1 || errno != EXDEV) return 3;
                  quarry_leave(pool_);
                  quarry_device* own = quarry_open("host:");
                  const quarry_options options = heap();
                  quarry_pool* fresh = own ? quarry_create(own, &options) : nullptr;
                  if (!fresh || !quarry_alloc(fresh, 64)) return 4;
                  quarry_leave(fresh);
                  return 0;
              }),
              0);
    EXPECT_EQ(quarry_free(pool_, object), 0);
}

TEST_F(Host, ManyThreadsHandTheirObjectsToEachOther) {
    std::atomic<std::uint64_t> boxes[64];
    for (auto& box : boxes) box = 0;
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    // Call by call they meet at each of them.
    const int rounds = fake::magazines() ? 20000 : 4000;
    for (unsigned t = 0; t < 4; t++)
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            for (int i = 0; i < rounds; i++) {
                const std::size_t sizes[] = {8, 64, 64, 256, 1500};
                const std::size_t bytes = sizes[random() % 5];
                auto* object = static_cast<std::uint64_t*>(quarry_alloc(pool_, bytes));
                if (!object) {
                    wrong++;
                    continue;
                }
                *object = bytes;
                auto* taken = reinterpret_cast<std::uint64_t*>(boxes[random() % 64].exchange(
                    reinterpret_cast<std::uint64_t>(object)));
                if (taken) wrong += quarry_free_sized(pool_, taken, *taken) != 0;
                if (i % (rounds / 4) == rounds / 4 - 1) wrong += quarry_drain(pool_, 0, nullptr) != 0;
            }
        });
    for (auto& thread : threads) thread.join();
    for (auto& box : boxes)
        if (box) wrong += quarry_free(pool_, reinterpret_cast<void*>(box.load())) != 0;
    EXPECT_EQ(wrong, 0);
    expect_all_home(pool_);
}

// Slow paths, too: here a handler may come in the middle of any of them.
quarry_pool* in_handler;
std::atomic<int> handled, handled_wrong;

// At most so often: where it takes longer than the timer, nobody else would come to run.
constexpr int most_handled = 300;

void handler(int) {
    const int error = errno;
    if (handled >= most_handled) return;
    void* objects[40];
    for (auto& object : objects) object = quarry_alloc(in_handler, 64);
    for (auto& object : objects) handled_wrong += !object || quarry_free(in_handler, object);
    handled++;
    errno = error;
}

TEST_F(Host, ASignalHandlerMayAllocateAndFreeWhateverItInterrupts) {
    in_handler = pool_;
    handled = handled_wrong = 0;
    struct sigaction action = {}, old;
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, &old);
    const itimerval often = {{0, 100}, {0, 100}}, never = {};
    setitimer(ITIMER_REAL, &often, nullptr);
    int wrong = 0;
    Offsets live(300);
    for (int round = 0; round < 3000 && handled < most_handled; round++) {
        for (auto& offset : live) wrong += (offset = quarry_alloc_offset(pool_, 64, 0)) == QUARRY_NO_OFFSET;
        wrong += std::set<std::uint64_t>(live.begin(), live.end()).size() != live.size();
        for (auto offset : live) wrong += quarry_free_offset(pool_, offset) != 0;
    }
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &old, nullptr);
    EXPECT_GT(handled, 5);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(handled_wrong, 0);
    expect_all_home(pool_);
}

TEST_F(Host, PoolZeroZeroesForAnotherClient) {
    quarry_options options = heap(4096 * 8);
    options.flags = QUARRY_POOL_ZERO;
    quarry_pool* pool = make(options);
    quarry_pool* other = quarry_join(quarry_fd(pool));
    Offsets offsets(4096 * 8 / 64);
    ASSERT_EQ(quarry_alloc_all(pool, 64, 0, offsets.data(), offsets.size()), 0);
    for (auto offset : offsets) memset(quarry_address(pool, offset), 0xaa, 64);
    ASSERT_EQ(quarry_free_batch(pool, offsets.data(), offsets.size()), offsets.size());
    Offsets theirs(offsets.size());
    ASSERT_EQ(quarry_alloc_all(other, 64, 0, theirs.data(), theirs.size()), 0) << strerror(errno);
    for (auto offset : theirs) {
        const auto* bytes = static_cast<unsigned char*>(quarry_address(other, offset));
        ASSERT_TRUE(std::all_of(bytes, bytes + 64, [](unsigned char c) { return c == 0; }));
    }
    quarry_leave(other);
    quarry_leave(pool);
}

}  // namespace
