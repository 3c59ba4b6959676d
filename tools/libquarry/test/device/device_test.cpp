// SPDX-License-Identifier: MIT
//
// libquarry on the real /dev/quarry: what only a kernel can show. Needs the module and access to the
// device; without them every test fails.
#include <gtest/gtest.h>
#include <poll.h>
#include <quarry/quarry.h>
#include <quarry/quarry.hpp>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

namespace {

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition))                                                                      \
            return fprintf(stderr, "%d: %s, errno %s\n", __LINE__, #condition,                 \
                           strerrorname_np(errno)),                                            \
                   1;                                                                          \
    } while (0)

class Device : public testing::Test {
protected:
    void SetUp() override {
        quarry_options options = {};
        options.bytes = 1 << 20;
        options.max_bytes = 4 << 20;
        pool_ = quarry_create(nullptr, &options);
        ASSERT_NE(pool_, nullptr) << quarry_strerror(errno, QUARRY_CALL_CREATE);
    }
    void TearDown() override {
        if (!pool_) return;
        struct quarry_verify verify;
        EXPECT_EQ(quarry_verify(pool_, &verify), 0) << strerror(errno);
        EXPECT_EQ(verify.faults, 0u) << verify.first;
        quarry_leave(pool_);
    }

    // To the kernel what lies in magazines is owned, too: it goes home first.
    struct quarry_stat stat() const {
        struct quarry_stat stat = {};
        EXPECT_EQ(quarry_drain(pool_, 0, nullptr), 0) << strerror(errno);
        EXPECT_EQ(quarry_stat(pool_, &stat), 0) << strerror(errno);
        return stat;
    }

    template <typename Body>
    static int in_child(Body body) {
        const pid_t child = fork();
        if (child == 0) _exit(body());
        int status = -1;
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    }

    quarry_pool* pool_ = nullptr;
};

TEST_F(Device, ObjectsOfAllSizesAreDisjointAndHoldWhatIsWritten) {
    std::vector<std::pair<unsigned char*, std::size_t>> objects;
    for (std::size_t bytes = 1; bytes <= 40000; bytes += bytes / 3 + 1) {
        auto* object = static_cast<unsigned char*>(quarry_alloc(pool_, bytes));
        ASSERT_NE(object, nullptr) << bytes << ": " << quarry_strerror(errno, QUARRY_CALL_ALLOC);
        for (std::size_t i = 0; i < bytes; i++) ASSERT_EQ(object[i], 0) << "fresh memory is zeroed";
        memset(object, static_cast<int>(objects.size() + 1), bytes);
        objects.emplace_back(object, bytes);
    }
    for (std::size_t n = 0; n < objects.size(); n++) {
        auto [object, bytes] = objects[n];
        for (std::size_t i = 0; i < bytes; i++) ASSERT_EQ(object[i], n + 1);
        EXPECT_EQ(quarry_free(pool_, object), 0);
    }
    EXPECT_EQ(stat().objects, 0u);
}

TEST_F(Device, WrongFreesAreTheErrorsThatTheHeaderNames) {
    auto* object = static_cast<char*>(quarry_alloc(pool_, 256));
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(quarry_free(pool_, object + 1), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(quarry_free(pool_, object + 8), -1);
    EXPECT_EQ(errno, EBADSLT);
    EXPECT_EQ(quarry_free_offset(pool_, quarry_max_bytes(pool_)), -1);
    EXPECT_EQ(errno, ERANGE);
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(quarry_free_offset(other, quarry_offset(pool_, object)), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(quarry_free(pool_, object), 0);
    EXPECT_EQ(quarry_free(pool_, object), -1);
    EXPECT_EQ(errno, EALREADY);
    quarry_leave(other);
}

TEST_F(Device, AForkedChildJoinsByItselfAndSeesTheMemoryWhereItWas) {
    auto* object = static_cast<char*>(quarry_alloc(pool_, 64));
    ASSERT_NE(object, nullptr);
    strcpy(object, "parent's");
    const std::uint64_t parent = quarry_client_id(pool_);
    EXPECT_EQ(in_child([&] {
                  CHECK(strcmp(object, "parent's") == 0);
                  void* own = quarry_alloc(pool_, 64);
                  CHECK(own != nullptr);
                  CHECK(quarry_client_id(pool_) != parent);
                  CHECK(quarry_free(pool_, object) == -1 && errno == EACCES);
                  strcpy(object, "child's");
                  CHECK(quarry_free(pool_, own) == 0);
                  struct quarry_verify verify;
                  CHECK(quarry_verify(pool_, &verify) == -1 && errno == EPERM);
                  quarry_leave(pool_);
                  return 0;
              }),
              0);
    EXPECT_STREQ(object, "child's");
    EXPECT_EQ(quarry_free(pool_, object), 0);
    EXPECT_EQ(stat().clients, 1u);
}

TEST_F(Device, AKilledChildsObjectsAreBackWhenWaitpidReturns) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        std::uint64_t offsets[100];
        char good = quarry_alloc_all(pool_, 64, 0, offsets, 100) == 0 ? 'y' : 'n';
        if (write(ready[1], &good, 1) != 1) _exit(1);
        for (;;) pause();
    }
    char good = 0;
    ASSERT_EQ(read(ready[0], &good, 1), 1);
    EXPECT_EQ(good, 'y');
    EXPECT_EQ(stat().objects, 100u);
    EXPECT_EQ(stat().clients, 2u);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const struct quarry_stat after = stat();
    EXPECT_EQ(after.objects, 0u);
    EXPECT_EQ(after.clients, 1u);
    EXPECT_EQ(after.reaped_objects, 100u);
    EXPECT_EQ(after.late_reaps, 0u);
    pollfd event = {quarry_fd(pool_), POLLIN, 0};
    EXPECT_EQ(poll(&event, 1, 0), 1);
    EXPECT_NE(event.revents & POLLIN, 0);
    EXPECT_NE(quarry_events(pool_, true) & QUARRY_EVENT_PEER_DIED, 0);
    event = {quarry_fd(pool_), POLLIN, 0};
    EXPECT_EQ(poll(&event, 1, 0), 0) << "acknowledged";
    close(ready[0]);
    close(ready[1]);
}

TEST_F(Device, LeavingGivesEverythingBackAtOnce) {
    quarry_pool* other = quarry_join(quarry_fd(pool_));
    ASSERT_NE(other, nullptr);
    std::uint64_t offsets[50];
    ASSERT_EQ(quarry_alloc_all(other, 100, 0, offsets, 50), 0);
    EXPECT_EQ(stat().objects, 50u);
    quarry_leave(other);
    EXPECT_EQ(stat().objects, 0u);
    EXPECT_EQ(stat().clients, 1u);
}

TEST_F(Device, APoolTravelsOverASocketToAnotherProcess) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        // As a stranger would: only the socket.
        std::uint64_t sender = 0;
        quarry_pool* pool = quarry_receive_pool(ends[1], &sender);
        std::uint64_t offset = pool ? quarry_alloc_offset(pool, 32, 0) : QUARRY_NO_OFFSET;
        if (offset == QUARRY_NO_OFFSET) _exit(1);
        strcpy(static_cast<char*>(quarry_address(pool, offset)), "for you");
        if (quarry_transfer(pool, sender, &offset, 1) != 1) _exit(2);
        _exit(write(ends[1], &offset, sizeof offset) == sizeof offset ? 0 : 3);
    }
    EXPECT_EQ(quarry_send_pool(pool_, ends[0]), 0);
    std::uint64_t offset = QUARRY_NO_OFFSET;
    EXPECT_EQ(read(ends[0], &offset, sizeof offset), static_cast<ssize_t>(sizeof offset));
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_STREQ(static_cast<char*>(quarry_address(pool_, offset)), "for you");
    EXPECT_EQ(stat().objects, 1u) << "the sender is dead, what it gave is ours";
    EXPECT_EQ(quarry_free_offset(pool_, offset), 0);
    close(ends[0]);
    close(ends[1]);
}

TEST_F(Device, BatchesAreOneCallAndPartialResultsSayWhy) {
    std::vector<std::uint64_t> offsets(1 << 16);
    const std::size_t done = quarry_alloc_batch(pool_, 4096, 0, offsets.data(), offsets.size());
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_GT(done, (4u << 20) / 4096 / 2);
    EXPECT_EQ(quarry_free_batch(pool_, offsets.data(), done), done);
    EXPECT_EQ(quarry_alloc_all(pool_, 4096, 0, offsets.data(), offsets.size()), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stat().objects, 0u);
}

TEST_F(Device, ThreadsShareOneClient) {
    std::vector<std::thread> threads;
    std::atomic<int> failures = 0;
    for (int t = 0; t < 4; t++) {
        threads.emplace_back([&] {
            for (int i = 0; i < 300; i++) {
                std::uint64_t mine[4];
                if (quarry_alloc_all(pool_, 48, 0, mine, 4) < 0) failures++;
                else if (quarry_free_batch(pool_, mine, 4) != 4) failures++;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(stat().objects, 0u);
    EXPECT_EQ(stat().client_id, quarry_client_id(pool_));
}

TEST_F(Device, AnExecedProgramJoinsThroughASharedDescriptor) {
    const int shared = quarry_share(pool_);
    ASSERT_GE(shared, 0);
    EXPECT_EQ(in_child([&] {
                  setenv(QUARRY_POOL_FD_ENV, std::to_string(shared).c_str(), 1);
                  execl("/proc/self/exe", "device-test", "--joined", nullptr);
                  return 99;
              }),
              0);
    close(shared);
    EXPECT_EQ(stat().objects, 0u);
    EXPECT_EQ(stat().reaped_objects, 1u) << "the program left one behind";
}

TEST(FixedPool, HoldsExactlyItsCount) {
    auto pool = quarry::pool::create(
        {.kind = QUARRY_KIND_FIXED, .object_size = 104, .object_count = 1000});
    ASSERT_TRUE(pool) << pool.error().message();
    std::vector<std::uint64_t> offsets(1001);
    EXPECT_EQ(quarry_alloc_batch(pool->get(), 104, 0, offsets.data(), 1001), 1000u);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(quarry_alloc(pool->get(), 96), nullptr);
    EXPECT_EQ(errno, EMSGSIZE);
    EXPECT_EQ(quarry_free_batch(pool->get(), offsets.data(), 1000), 1000u);
}

int joined() {
    quarry_pool* pool = quarry_open_env();
    CHECK(pool != nullptr);
    CHECK(quarry_alloc(pool, 64) != nullptr);
    CHECK(quarry_drain(pool, 0, nullptr) == 0);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && !strcmp(argv[1], "--joined")) return joined();
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
