// SPDX-License-Identifier: MIT
// Counters, audit, regions, events; and the sentences for people.
#include <algorithm>
#include <set>
#include <string>

#include "fixture.hpp"

namespace {

using Admin = Quarry;

TEST_F(Admin, StatTellsTheClientAndThePool) {
    quarry_pool* pool = new_pool();
    quarry_pool* other = quarry_join(quarry_fd(pool));
    ASSERT_NE(quarry_alloc(pool, 4096), nullptr);
    quarry_free(pool, quarry_alloc(pool, 4096));
    quarry_free_offset(pool, 1 << 15);
    struct quarry_stat stat;
    memset(static_cast<void*>(&stat), 0xff, sizeof stat);
    ASSERT_EQ(quarry_stat(pool, &stat), 0) << "what the caller left in it does not matter";
    EXPECT_EQ(stat.pool_id, quarry_pool_id(pool));
    EXPECT_EQ(stat.client_id, quarry_client_id(pool));
    EXPECT_EQ(stat.allocs, 2u);
    EXPECT_EQ(stat.frees, 1u);
    EXPECT_EQ(stat.refused, 1u);
    EXPECT_EQ(stat.client_objects, 1u);
    ASSERT_EQ(quarry_stat(other, &stat), 0);
    EXPECT_EQ(stat.client_objects, 0u);
    const int joins = fake::ioctls(QUARRY_IOC_JOIN);
    ASSERT_EQ(quarry_stat_fd(quarry_fd(pool), &stat), 0);
    EXPECT_EQ(stat.client_objects, 1u);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_JOIN), joins);
    EXPECT_EQ(quarry_stat_fd(-1, &stat), -1);
    EXPECT_EQ(errno, EBADF);
    quarry_leave(other);
    quarry_leave(pool);
}

TEST_F(Admin, ClassesFillWhatRoomThereIs) {
    quarry_pool* pool = new_pool();
    struct quarry_class_stat classes[4] = {};
    EXPECT_EQ(quarry_classes(pool, classes, 4), 2);
    EXPECT_EQ(classes[1].size, 16u);
    EXPECT_EQ(classes[2].size, 0u);
    EXPECT_EQ(quarry_classes(pool, nullptr, 0), 2);
    EXPECT_EQ(quarry_classes(pool, classes, 1000), 2) << "more room than classes can be is no error";
    quarry_leave(pool);
}

TEST_F(Admin, VerifyAndRegionsAreTheCreators) {
    quarry_options options = heap(4096);
    options.max_bytes = 1 << 16;
    quarry_pool* pool = quarry_create(nullptr, &options);
    quarry_pool* other = quarry_join(quarry_fd(pool));
    struct quarry_verify verify;
    memset(static_cast<void*>(&verify), 0xff, sizeof verify);
    ASSERT_NE(quarry_alloc(pool, 4096), nullptr);
    EXPECT_EQ(quarry_verify(pool, &verify), 0);
    EXPECT_EQ(verify.faults, 0u);
    EXPECT_EQ(verify.objects, 1u);
    EXPECT_EQ(quarry_verify(other, &verify), -1);
    EXPECT_EQ(errno, EPERM);
    struct quarry_region region;
    EXPECT_EQ(quarry_region_add(other, 4096, QUARRY_ZONE_NORMAL, -1, nullptr), -1);
    EXPECT_EQ(errno, EPERM);
    EXPECT_EQ(quarry_region_add(pool, 5000, QUARRY_ZONE_NORMAL, -1, &region), 0);
    EXPECT_EQ(region.bytes, 8192u);
    EXPECT_EQ(region.offset, 4096u);
    EXPECT_EQ(quarry_region_add(pool, 1 << 20, QUARRY_ZONE_NORMAL, -1, nullptr), -1);
    EXPECT_EQ(errno, EFBIG);
    EXPECT_EQ(quarry_region_remove(pool, 4096, &region), -1);
    EXPECT_EQ(errno, EBUSY);
    struct quarry_drain drained;
    EXPECT_EQ(quarry_drain(pool, QUARRY_DRAIN_POOL, &drained), 0);
    EXPECT_EQ(quarry_drain(other, QUARRY_DRAIN_POOL, nullptr), -1);
    EXPECT_EQ(errno, EPERM);
    EXPECT_EQ(quarry_drain(other, 0, nullptr), 0);
    quarry_leave(other);
    quarry_leave(pool);
}

TEST_F(Admin, EventsStayUntilTheyAreAcknowledged) {
    quarry_pool* pool = new_pool();
    quarry_leave(quarry_join(quarry_fd(pool)));
    EXPECT_EQ(quarry_events(pool, false), int{QUARRY_EVENT_PEER_DIED});
    EXPECT_EQ(quarry_events(pool, true), int{QUARRY_EVENT_PEER_DIED});
    EXPECT_EQ(quarry_events(pool, false), 0);
    quarry_leave(pool);
}

// Every errno of <linux/quarry.h>.
const int abi_errors[] = {EFAULT, EINVAL,   E2BIG,  EMSGSIZE,  EOVERFLOW, EFBIG,  ENOTTY, EBADFD,
                          EXDEV,  ENOTCONN, ESHUTDOWN, EPERM,  EDQUOT,  ENOBUFS,  EUSERS, ENOMEM,
                          ENOSPC, ERANGE,   ENXIO,  EBADSLT,   EALREADY, EACCES,  EUCLEAN, ESRCH,
                          EUNATCH, ETOOMANYREFS, EBUSY, EEXIST, EOPNOTSUPP, ENOSR, EXFULL, EMFILE, ENFILE};

TEST_F(Admin, EveryErrnoOfTheInterfaceHasASentenceOfItsOwn) {
    const std::string unknown = quarry_strerror(ENOTEMPTY, QUARRY_CALL_ALLOC);
    std::set<std::string> free_texts;
    for (int error : abi_errors) {
        for (int call = 0; call < QUARRY_CALL_COUNT; call++) {
            // EACCES means the object or the device, so it is the calls that can give it that speak.
            if (error == EACCES && call != QUARRY_CALL_FREE && call != QUARRY_CALL_TRANSFER && call != QUARRY_CALL_SHARE_OBJECTS &&
                call != QUARRY_CALL_OPEN && call != QUARRY_CALL_CREATE)
                continue;
            const std::string text = quarry_strerror(error, static_cast<quarry_call>(call));
            EXPECT_NE(text, unknown) << "errno " << error << " call " << call;
            EXPECT_GT(text.size(), 20u) << text;
            EXPECT_NE(text.find(": "), std::string::npos) << "no next step in: " << text;
            EXPECT_NE(text.back(), '.') << text;
            if (call == QUARRY_CALL_FREE) {
                EXPECT_TRUE(free_texts.insert(text).second) << "the same for two errors: " << text;
            }
        }
    }
    EXPECT_NE(std::string(quarry_strerror(EACCES, QUARRY_CALL_FREE)),
              quarry_strerror(EACCES, QUARRY_CALL_OPEN));
}

TEST_F(Admin, StrangeErrorsAndCallsHaveATextToo) {
    EXPECT_STREQ(quarry_strerror(0, QUARRY_CALL_ALLOC), "no error");
    EXPECT_NE(quarry_strerror(-1, QUARRY_CALL_ALLOC), nullptr);
    EXPECT_NE(quarry_strerror(123456, static_cast<quarry_call>(99)), nullptr);
    EXPECT_STREQ(quarry_call_name(QUARRY_CALL_TRANSFER), "transfer");
    EXPECT_STREQ(quarry_call_name(static_cast<quarry_call>(99)), "call");
    std::set<std::string> names;
    for (int call = 0; call < QUARRY_CALL_COUNT; call++)
        EXPECT_TRUE(names.insert(quarry_call_name(static_cast<quarry_call>(call))).second) << call;
}

}  // namespace
