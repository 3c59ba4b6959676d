// SPDX-License-Identifier: MIT
// A forked child: its first call makes it a client of its own.
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

#include "fixture.hpp"

namespace {

#define CHECK(condition) \
    do {                 \
        if (!(condition)) return fprintf(stderr, "%d: %s, errno %d\n", __LINE__, #condition, errno), 1; \
    } while (0)

using Fork = Quarry;

TEST_F(Fork, TheChildsFirstCallJoins) {
    quarry_pool* pool = new_pool();
    const std::uint64_t parent = quarry_client_id(pool);
    char* object = static_cast<char*>(quarry_alloc(pool, 16));
    strcpy(object, "parent's");
    const int joins = fake::ioctls(QUARRY_IOC_JOIN);
    EXPECT_EQ(in_child([&] {
                  CHECK(fake::clients() == 1);
                  void* own = quarry_alloc(pool, 16);
                  CHECK(own != nullptr);
                  CHECK(quarry_client_id(pool) != parent);
                  CHECK(strcmp(object, "parent's") == 0);
                  CHECK(quarry_free(pool, object) == -1 && errno == EACCES);
                  CHECK(quarry_free(pool, own) == 0);
                  CHECK(fake::clients() == 2);
                  quarry_leave(pool);
                  CHECK(fake::clients() == 1);
                  return 0;
              }),
              0);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_JOIN), joins + 1) << "once, not once a call";
    EXPECT_EQ(quarry_client_id(pool), parent);
    EXPECT_EQ(quarry_free(pool, object), 0) << "the parent goes on as before";
    quarry_leave(pool);
}

TEST_F(Fork, AChildOfARawCloneJoinsToo) {
    quarry_pool* pool = new_pool();
    const std::uint64_t parent = quarry_client_id(pool);
    const pid_t child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (child == 0) _exit(quarry_alloc(pool, 8) && quarry_client_id(pool) != parent ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    fake::reap_process(child);
    quarry_leave(pool);
}

TEST_F(Fork, TheChildHoldsNoMoreDescriptorsThanTheParentDid) {
    quarry_pool* pool = new_pool();
    EXPECT_EQ(in_child([&] {
                  const fake::Held before = fake::held();
                  CHECK(quarry_alloc(pool, 8) != nullptr);
                  CHECK(fake::held().descriptors == before.descriptors);
                  quarry_leave(pool);
                  CHECK(fake::held().descriptors == before.descriptors - 1);
                  return 0;
              }),
              0);
    quarry_leave(pool);
}

TEST_F(Fork, AChildMayLeaveWithoutEverHavingJoined) {
    quarry_pool* pool = new_pool();
    const int joins = fake::ioctls(QUARRY_IOC_JOIN);
    EXPECT_EQ(in_child([&] {
                  const fake::Held before = fake::held();
                  quarry_leave(pool);
                  CHECK(fake::held().descriptors == before.descriptors - 1);
                  return 0;
              }),
              0);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_JOIN), joins);
    EXPECT_NE(quarry_alloc(pool, 8), nullptr) << "the parent is still a client";
    quarry_leave(pool);
}

TEST_F(Fork, AGrandchildJoinsThroughTheChildsDescriptor) {
    quarry_pool* pool = new_pool();
    EXPECT_EQ(in_child([&] {
                  CHECK(quarry_alloc(pool, 8) != nullptr);
                  const std::uint64_t child = quarry_client_id(pool);
                  return in_child([&] {
                      CHECK(quarry_alloc(pool, 8) != nullptr);
                      CHECK(quarry_client_id(pool) != child);
                      return 0;
                  });
              }),
              0);
    EXPECT_EQ(in_child([&] {
                  return in_child([&] {
                      CHECK(quarry_alloc(pool, 8) != nullptr);
                      return 0;
                  });
              }),
              0)
        << "also when the child never joined";
    quarry_leave(pool);
}

TEST_F(Fork, AClosedInheritedDescriptorIsEBADF) {
    quarry_pool* pool = new_pool();
    EXPECT_EQ(in_child([&] {
                  close(quarry_pool_id(pool) ? 0 : 0);
                  for (int fd = 3; fd < 100; fd++) close(fd);
                  CHECK(quarry_alloc(pool, 8) == nullptr && errno == EBADF);
                  CHECK(quarry_client_id(pool) == 0);
                  CHECK(quarry_fd(pool) == -1 && errno == EBADF);
                  quarry_leave(pool);
                  return 0;
              }),
              0);
    quarry_leave(pool);
}

TEST_F(Fork, ADescriptorThatTookTheInheritedNumberIsNotMistakenForThePool) {
    quarry_pool* pool = new_pool();
    quarry_pool* second = new_pool();
    const int number = quarry_fd(pool);
    const int other = quarry_fd(second);
    EXPECT_EQ(in_child([&] {
                  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
                  CHECK(dup2(null, number) == number);
                  CHECK(quarry_alloc(pool, 8) == nullptr && errno == ENOTTY);
                  quarry_leave(pool);
                  CHECK(fcntl(number, F_GETFD) >= 0); /* not ours: not closed */
                  return 0;
              }),
              0);
    EXPECT_EQ(in_child([&] {
                  const fake::Held before = fake::held();
                  CHECK(dup2(other, number) == number);
                  CHECK(quarry_alloc(pool, 8) == nullptr && errno == EBADF);
                  CHECK(fake::held().descriptors == before.descriptors);
                  quarry_leave(pool);
                  CHECK(fcntl(number, F_GETFD) >= 0);
                  return 0;
              }),
              0);
    quarry_leave(pool);
    quarry_leave(second);
}

TEST_F(Fork, AFailedJoinInTheChildHoldsNothingAndIsTriedAgain) {
    quarry_pool* pool = new_pool();
    EXPECT_EQ(in_child([&] {
                  for (int nth = 0; nth < 2; nth++) { /* JOIN, mmap of the area */
                      const fake::Held before = fake::held();
                      fake::fail_after(nth, ENOMEM);
                      CHECK(quarry_alloc(pool, 8) == nullptr && errno == ENOMEM);
                      CHECK(fake::failure_fired());
                      CHECK(fake::held() == before);
                  }
                  CHECK(quarry_alloc(pool, 8) != nullptr);
                  return 0;
              }),
              0);
    quarry_leave(pool);
}

TEST_F(Fork, ThreadsOfTheChildJoinOnce) {
    quarry_pool* pool = new_pool();
    const int joins = fake::ioctls(QUARRY_IOC_JOIN);
    EXPECT_EQ(in_child([&] {
                  std::atomic<int> bad = 0;
                  std::vector<std::thread> threads;
                  for (int t = 0; t < 4; t++)
                      threads.emplace_back([&] { bad += quarry_alloc(pool, 8) == nullptr; });
                  for (auto& thread : threads) thread.join();
                  CHECK(bad == 0);
                  return 0;
              }),
              0);
    EXPECT_EQ(fake::ioctls(QUARRY_IOC_JOIN), joins + 1);
    quarry_leave(pool);
}

TEST_F(Fork, AChildForkedWhileAnotherThreadWorksIsNotStuck) {
    quarry_pool* pool = new_pool();
    std::atomic<bool> stop = false;
    std::thread worker([&] {
        while (!stop) quarry_free(pool, quarry_alloc(pool, 8));
    });
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(in_child([&] {
                      alarm(20);
                      CHECK(quarry_client_id(pool) != 0);
                      return 0;
                  }),
                  0);
    }
    stop = true;
    worker.join();
    quarry_leave(pool);
}

}  // namespace
