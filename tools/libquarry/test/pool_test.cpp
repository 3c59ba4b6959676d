// SPDX-License-Identifier: MIT
// Ways into a pool and out of it, and each of them with every system call refused in turn.
#include <fcntl.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>

#include "fixture.hpp"

namespace {

class Pool : public Quarry {
protected:
    // Runs `enter` with its first, second, ... system call failing, until none is left to fail.
    // Each time it must fail with that very errno and hold nothing, or do without the call.
    // Returns how many calls there were.
    int refuse_each_call(const std::function<quarry_pool*()>& enter) {
        for (int nth = 0;; nth++) {
            const fake::Held before = fake::held();
            fake::fail_after(nth, EDOM);
            quarry_pool* pool = enter();
            const int error = errno;
            const bool fired = fake::failure_fired();
            fake::fail_after(-1, 0);
            if (!fired) {
                EXPECT_NE(pool, nullptr);
                quarry_leave(pool);
                EXPECT_EQ(fake::held(), before) << "after success";
                return nth;
            }
            EXPECT_EQ(pool, nullptr) << "call " << nth;
            EXPECT_EQ(error, EDOM) << "call " << nth;
            EXPECT_EQ(fake::held(), before) << "leak when call " << nth << " is refused";
            if (pool) quarry_leave(pool);
        }
    }
};

TEST_F(Pool, CreateGivesAClientWithItsAreaAndMemoryMapped) {
    quarry_options options = heap(8192);
    options.max_bytes = 1 << 17;
    options.name = "bench";
    quarry_pool* pool = quarry_create(nullptr, &options);
    ASSERT_NE(pool, nullptr);
    EXPECT_EQ(quarry_max_bytes(pool), 1u << 17);
    EXPECT_EQ(quarry_kind(pool), unsigned{QUARRY_KIND_HEAP});
    EXPECT_NE(quarry_pool_id(pool), 0u);
    EXPECT_NE(quarry_client_id(pool), 0u);
    EXPECT_GE(quarry_fd(pool), 0);
    EXPECT_NE(fcntl(quarry_fd(pool), F_GETFD) & FD_CLOEXEC, 0);
    void* object = quarry_alloc(pool, 64);
    ASSERT_NE(object, nullptr);
    memset(object, 1, 64);
    struct quarry_stat stat;
    EXPECT_EQ(quarry_stat(pool, &stat), 0);
    EXPECT_STREQ(stat.name, "bench");
    quarry_leave(pool);
    EXPECT_EQ(fake::clients(), 0);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Pool, CreateMakesFixedPools) {
    quarry_options options = {};
    options.kind = QUARRY_KIND_FIXED;
    options.object_size = 48;
    options.object_count = 100;
    quarry_pool* pool = quarry_create(nullptr, &options);
    ASSERT_NE(pool, nullptr);
    quarry_pool* other = quarry_join(quarry_fd(pool));
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(quarry_object_size(other), 48u);
    EXPECT_EQ(quarry_object_count(other), 100u);
    EXPECT_EQ(quarry_alloc(pool, 40), nullptr);
    EXPECT_EQ(errno, EMSGSIZE);
    EXPECT_NE(quarry_alloc(pool, 48), nullptr);
    quarry_leave(other);
    quarry_leave(pool);
}

TEST_F(Pool, ARangePoolGivesOffsetsAndNoAddresses) {
    quarry_options options = {};
    options.kind = QUARRY_KIND_RANGE;
    options.max_bytes = 64 * 1024;
    options.granule = 256;
    options.max_ranges = 100;
    quarry_pool* pool = quarry_create(nullptr, &options);
    ASSERT_NE(pool, nullptr);
    EXPECT_EQ(quarry_alloc(pool, 100), nullptr);
    EXPECT_EQ(errno, EOPNOTSUPP);
    EXPECT_EQ(fake::objects(), 0);
    EXPECT_EQ(quarry_address(pool, 0), nullptr);
    EXPECT_EQ(errno, EOPNOTSUPP);
    EXPECT_EQ(quarry_offset(pool, &options), QUARRY_NO_OFFSET);
    EXPECT_EQ(errno, EOPNOTSUPP);
    const uint64_t range = quarry_alloc_offset(pool, 512, 0);
    ASSERT_NE(range, QUARRY_NO_OFFSET);
    EXPECT_EQ(quarry_resize(pool, range, 700), 768u);
    EXPECT_EQ(quarry_resize(pool, range, 1 << 20), 0u);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(quarry_free_offset(pool, range), 0);
    EXPECT_EQ(quarry_resize(pool, range, 100), 0u);
    EXPECT_EQ(errno, EALREADY);
    quarry_leave(pool);
    EXPECT_EQ(fake::clients(), 0);
}

TEST_F(Pool, OptionsOfTheFirstVersionOfTheHeaderAreTaken) {
    quarry_options options = heap();
    options.granule = 77;  // behind the end of what that caller knows
    quarry_pool* pool =
        quarry_create_sized(nullptr, &options, offsetof(quarry_options, granule));
    ASSERT_NE(pool, nullptr);
    quarry_leave(pool);
    EXPECT_EQ(quarry_create_sized(nullptr, &options, offsetof(quarry_options, granule) - 1),
              nullptr);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(Pool, CreateRefusesWrongOptionsWithTheirErrno) {
    struct Case {
        const char* what;
        int error;
        void (*spoil)(quarry_options&);
    };
    const Case cases[] = {
        {"no bytes", EINVAL, [](quarry_options& o) { o.bytes = 0; }},
        {"unknown flag", EINVAL, [](quarry_options& o) { o.flags = 1u << 31; }},
        {"unknown kind", EINVAL, [](quarry_options& o) { o.kind = 77; }},
        {"unknown zone", EINVAL, [](quarry_options& o) { o.zone = 77; }},
        {"offline node", EINVAL, [](quarry_options& o) { o.on_node = true, o.node = 63; }},
        {"lowmem", EPERM, [](quarry_options& o) { o.zone = QUARRY_ZONE_LOWMEM; }},
        {"too large", EFBIG, [](quarry_options& o) { o.bytes = 1ull << 50; }},
        {"overflow", EOVERFLOW,
         [](quarry_options& o) {
             o.kind = QUARRY_KIND_FIXED, o.object_size = 8, o.object_count = 1ull << 63;
         }},
        {"long name", ENAMETOOLONG,
         [](quarry_options& o) { o.name = "12345678901234567890123456789012"; }},
    };
    for (const Case& c : cases) {
        quarry_options options = heap();
        c.spoil(options);
        EXPECT_EQ(quarry_create(nullptr, &options), nullptr) << c.what;
        EXPECT_EQ(errno, c.error) << c.what;
    }
    quarry_options named = heap();
    named.name = "1234567890123456789012345678901";
    quarry_pool* pool = quarry_create(nullptr, &named);
    ASSERT_NE(pool, nullptr) << "31 characters are allowed";
    EXPECT_EQ(quarry_create(nullptr, &named), nullptr);
    EXPECT_EQ(errno, EEXIST);
    quarry_leave(pool);
}

TEST_F(Pool, CreateTakesOptionsOfOtherVersionsByTheKernelsRule) {
    struct {
        quarry_options options;
        std::uint64_t newer;
    } caller = {heap(), 0};
    quarry_pool* pool = quarry_create_sized(nullptr, &caller.options, sizeof caller);
    ASSERT_NE(pool, nullptr);
    quarry_leave(pool);
    caller.newer = 1;
    EXPECT_EQ(quarry_create_sized(nullptr, &caller.options, sizeof caller), nullptr);
    EXPECT_EQ(errno, E2BIG);
    // A caller built before range pools knows the options up to their name, and no less.
    const std::size_t first = offsetof(quarry_options, granule);
    caller.options.granule = ~0ull;
    pool = quarry_create_sized(nullptr, &caller.options, first);
    ASSERT_NE(pool, nullptr);
    quarry_leave(pool);
    EXPECT_EQ(quarry_create_sized(nullptr, &caller.options, first - 1), nullptr);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(Pool, OpenSaysWhyADeviceIsNone) {
    EXPECT_EQ(quarry_open("/nonexistent/quarry"), nullptr);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(quarry_open("/dev/null"), nullptr);
    EXPECT_EQ(errno, ENOTTY);
    fake::set_abi_version(QUARRY_ABI_VERSION + 1);
    EXPECT_EQ(quarry_open(nullptr), nullptr);
    EXPECT_EQ(errno, EPROTO);
}

TEST_F(Pool, OpenHoldsNothingWhicheverCallIsRefused) {
    for (int nth = 0; nth < 3; nth++) {
        fake::fail_after(nth, ENOMEM);
        EXPECT_EQ(quarry_open(nullptr), nullptr) << nth;
        EXPECT_EQ(errno, ENOMEM) << nth;
        EXPECT_TRUE(fake::failure_fired());
    }
    fake::fail_after(-1, 0);
}

TEST_F(Pool, OneDeviceMakesManyPoolsAndTellsItsLimits) {
    quarry_device* device = quarry_open(nullptr);
    ASSERT_NE(device, nullptr);
    struct quarry_info info;
    memset(static_cast<void*>(&info), 0xff, sizeof info);
    ASSERT_EQ(quarry_info(device, &info), 0);
    EXPECT_EQ(info.max_batch, unsigned{QUARRY_MAX_BATCH});
    const quarry_options options = heap();
    quarry_pool* a = quarry_create(device, &options);
    quarry_pool* b = quarry_create(device, &options);
    quarry_close(device);
    ASSERT_NE(a, nullptr);
    ASSERT_NE(b, nullptr);
    EXPECT_NE(quarry_pool_id(a), quarry_pool_id(b));
    EXPECT_NE(quarry_alloc(a, 8), nullptr) << "a pool outlives the device's descriptor";
    quarry_leave(a);
    quarry_leave(b);
    quarry_close(nullptr);
    quarry_leave(nullptr);
}

TEST_F(Pool, JoinMakesAnotherClientOfTheSameMemory) {
    quarry_pool* first = new_pool();
    quarry_pool* second = quarry_join(quarry_fd(first));
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(quarry_pool_id(first), quarry_pool_id(second));
    EXPECT_NE(quarry_client_id(first), quarry_client_id(second));
    char* object = static_cast<char*>(quarry_alloc(first, 16));
    ASSERT_NE(object, nullptr);
    strcpy(object, "shared");
    const std::uint64_t offset = quarry_offset(first, object);
    EXPECT_STREQ(static_cast<char*>(quarry_address(second, offset)), "shared");
    EXPECT_EQ(quarry_free_offset(second, offset), -1);
    EXPECT_EQ(errno, EACCES);
    quarry_leave(first);
    EXPECT_EQ(fake::objects(), 0);
    EXPECT_NE(quarry_alloc(second, 16), nullptr) << "a client outlives the pool's creator";
    quarry_leave(second);
}

TEST_F(Pool, JoinRefusesWhatIsNoPool) {
    EXPECT_EQ(quarry_join(-1), nullptr);
    EXPECT_EQ(errno, EBADF);
    const int null = open("/dev/null", O_RDWR);
    EXPECT_EQ(quarry_adopt(null), nullptr);
    EXPECT_EQ(errno, ENOTTY);
    EXPECT_GE(fcntl(null, F_GETFD), 0) << "a refused adopt leaves the descriptor";
    close(null);
}

TEST_F(Pool, AdoptTakesTheDescriptor) {
    quarry_pool* first = new_pool();
    const int shared = quarry_share(first);
    ASSERT_GE(shared, 0);
    EXPECT_EQ(fcntl(shared, F_GETFD) & FD_CLOEXEC, 0) << "it is to survive exec";
    quarry_pool* second = quarry_adopt(shared);
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(fcntl(shared, F_GETFD), -1);
    quarry_leave(second);
    quarry_leave(first);
}

TEST_F(Pool, EnvironmentNamesThePoolToJoin) {
    quarry_pool* first = new_pool();
    const int shared = quarry_share(first);
    setenv(QUARRY_POOL_FD_ENV, std::to_string(shared).c_str(), 1);
    quarry_pool* second = quarry_open_env();
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(quarry_pool_id(first), quarry_pool_id(second));
    EXPECT_GE(fcntl(shared, F_GETFD), 0) << "it stays open for programs started from here";
    close(shared);
    EXPECT_EQ(quarry_open_env(), nullptr);
    EXPECT_EQ(errno, EBADF);
    for (const char* wrong : {"", "x", "-1", "3x", "99999999999999999999", " 3"}) {
        setenv(QUARRY_POOL_FD_ENV, wrong, 1);
        EXPECT_EQ(quarry_open_env(), nullptr) << wrong;
        EXPECT_EQ(errno, EINVAL) << wrong;
    }
    unsetenv(QUARRY_POOL_FD_ENV);
    EXPECT_EQ(quarry_open_env(), nullptr);
    EXPECT_EQ(errno, ENOENT);
    quarry_leave(second);
    quarry_leave(first);
}

TEST_F(Pool, CreateHoldsNothingWhicheverCallIsRefused) {
    // allocate, open, INFO, POOL_CREATE, mmap and madvise the handle, mmap the area, the memory, and
    // beside magazines the class table
    EXPECT_EQ(refuse_each_call([] {
                  const quarry_options options = heap();
                  return quarry_create(nullptr, &options);
              }),
              fake::magazines() ? 9 : 8);
}

TEST_F(Pool, JoinHoldsNothingWhicheverCallIsRefused) {
    quarry_pool* first = new_pool();
    const int fd = quarry_fd(first);
    const int calls = fake::magazines() ? 6 : 5;
    EXPECT_EQ(refuse_each_call([fd] { return quarry_join(fd); }), calls);
    setenv(QUARRY_POOL_FD_ENV, std::to_string(fd).c_str(), 1);
    EXPECT_EQ(refuse_each_call([] { return quarry_open_env(); }), calls);
    unsetenv(QUARRY_POOL_FD_ENV);
    quarry_leave(first);
}

TEST_F(Pool, ReceiveHoldsNothingWhicheverCallIsRefused) {
    quarry_pool* first = new_pool();
    EXPECT_EQ(refuse_each_call([first] {
                  int ends[2];
                  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) abort();
                  quarry_pool* pool = nullptr;
                  if (quarry_send_pool(first, ends[0]) == 0)
                      pool = quarry_receive_pool(ends[1], nullptr);
                  const int error = errno;
                  close(ends[0]);
                  close(ends[1]);
                  errno = error;
                  return pool;
              }),
              fake::magazines() ? 8 : 7);
    quarry_leave(first);
}

TEST_F(Pool, LeaveAndCloseKeepErrno) {
    quarry_pool* pool = new_pool();
    quarry_device* device = quarry_open(nullptr);
    errno = EXFULL;
    quarry_leave(pool);
    quarry_close(device);
    EXPECT_EQ(errno, EXFULL);
}

}  // namespace
