// SPDX-License-Identifier: MIT
// Replay without a kernel: the pattern, the player and the mesh on libquarry's fake device.
#include <sys/mman.h>

#include <random>
#include <thread>

#include "../../libquarry/test/fixture.hpp"
#include "../mesh.hpp"
#include "../pattern.hpp"
#include "../player.hpp"

namespace quarryctl {
namespace {

// ---- the pattern

TEST(Pattern, EveryByteOfSmallObjectsCounts) {
    std::vector<unsigned char> object(4096 + 16, 0xee);
    const PatternKey key = {1, 2, 3};
    for (std::size_t bytes : {1u, 2u, 7u, 8u, 9u, 63u, 64u, 100u, 4095u, 4096u}) {
        write_pattern(object.data(), bytes, key);
        EXPECT_EQ(object[bytes], 0xee) << "written beyond " << bytes;
        EXPECT_TRUE(check_pattern(object.data(), bytes, key));
        for (std::size_t at = 0; at < bytes; at++) {
            object[at] ^= 1;
            EXPECT_FALSE(check_pattern(object.data(), bytes, key)) << at << " of " << bytes;
            object[at] ^= 1;
        }
        std::fill(object.begin(), object.end(), 0xee);
    }
}

TEST(Pattern, FirstLastAndSampledWordsOfLargeObjectsCount) {
    for (std::size_t bytes : {4097u, 5000u, 65536u, 1000001u}) {
        std::vector<unsigned char> object(bytes + 8, 0xee);
        const PatternKey key = {1, 2, 3};
        write_pattern(object.data(), bytes, key);
        EXPECT_EQ(object[bytes], 0xee);
        ASSERT_TRUE(check_pattern(object.data(), bytes, key));
        for (std::size_t at : {std::size_t{0}, std::size_t{7}, pattern_stride, bytes - 1, bytes - 8}) {
            object[at] ^= 0x80;
            EXPECT_FALSE(check_pattern(object.data(), bytes, key)) << at << " of " << bytes;
            object[at] ^= 0x80;
        }
    }
}

// Some sizes put the last word across a sample: what was written did not pass its own check.
TEST(Pattern, WhatIsWrittenPassesTheCheckAtEverySize) {
    std::vector<unsigned char> object(8192);
    for (std::size_t bytes = 1; bytes <= object.size(); bytes++) {
        write_pattern(object.data(), bytes, {1, bytes, 3});
        ASSERT_TRUE(check_pattern(object.data(), bytes, {1, bytes, 3})) << bytes;
    }
}

TEST(Pattern, AnyPartOfTheKeyChangesIt) {
    unsigned char object[64];
    write_pattern(object, 64, {1, 2, 3});
    EXPECT_FALSE(check_pattern(object, 64, {2, 2, 3}));
    EXPECT_FALSE(check_pattern(object, 64, {1, 3, 3}));
    EXPECT_FALSE(check_pattern(object, 64, {1, 2, 4}));
    EXPECT_FALSE(check_pattern(object, 8, {2, 1, 3}));
}

// ---- the player

class Play : public ::Quarry {
protected:
    void SetUp() override {
        ::Quarry::SetUp();
        pool_ = new_pool(1 << 18);
    }
    void TearDown() override {
        quarry_leave(pool_);
        ::Quarry::TearDown();
    }

    // Random sizes and lifetimes over `threads` threads; some objects are never freed.
    static Program random_program(std::size_t objects, std::uint32_t threads, unsigned seed) {
        std::mt19937 random(seed);
        Program program;
        program.threads = threads;
        std::vector<std::uint32_t> live;
        for (std::uint32_t i = 0; i < objects; i++) {
            program.objects.push_back({1 + random() % 600, random() % 8 ? 0u : 64u});
            program.events.push_back({i, static_cast<std::uint32_t>(random() % threads), false});
            live.push_back(i);
            while (!live.empty() && random() % 8 && live.size() > 50) {
                std::swap(live[random() % live.size()], live.back());
                program.events.push_back(
                    {live.back(), static_cast<std::uint32_t>(random() % threads), true});
                live.pop_back();
            }
        }
        return program;
    }

    static PlayOptions with_pattern() {
        PlayOptions options;
        options.pattern = true;
        return options;
    }

    quarry_pool* pool_ = nullptr;
};

TEST_F(Play, EveryObjectIsWrittenCheckedAndFreed) {
    const Program program = random_program(2000, 1, 1);
    Player player(pool_, program, with_pattern(), nullptr);
    player.play();
    EXPECT_EQ(player.counts().objects, 2000u);
    EXPECT_EQ(player.counts().checks, 2000u);
    EXPECT_EQ(player.counts().mismatches, 0u);
    EXPECT_TRUE(player.counts().refusals.empty());
    EXPECT_GE(player.peak_objects(), 50u);
    EXPECT_EQ(fake::objects(), 0);
    std::uint64_t bytes = 0;
    for (const auto& object : program.objects) bytes += object.bytes;
    EXPECT_EQ(player.counts().bytes, bytes);
    EXPECT_EQ(player.counts().calls, static_cast<unsigned>(fake::ioctls(QUARRY_IOC_ALLOC) +
                                                           fake::ioctls(QUARRY_IOC_FREE)));
}

TEST_F(Play, AgainGivesANewGeneration) {
    const Program program = random_program(300, 1, 2);
    Player player(pool_, program, with_pattern(), nullptr);
    player.play();
    player.play();
    EXPECT_EQ(player.counts().checks, 600u);
    EXPECT_EQ(player.counts().mismatches, 0u);
}

TEST_F(Play, RunsOfOneSizeAreOneCall) {
    Program program;
    for (std::uint32_t i = 0; i < 64; i++) program.objects.push_back({48, 0});
    for (std::uint32_t i = 0; i < 64; i++) program.events.push_back({i, 0, false});
    for (std::uint32_t i = 0; i < 64; i++) program.events.push_back({i, 0, true});
    PlayOptions options = with_pattern();
    options.batch = 32;
    Player player(pool_, program, options, nullptr);
    player.play();
    EXPECT_EQ(player.counts().calls, 4u);
    program.objects[10].bytes = 40;
    program.objects[20].align = 16;
    options.batch = 4096;
    Player cut(pool_, program, options, nullptr);
    cut.play();
    EXPECT_EQ(cut.counts().calls, 6u) << "10, 1, 9, 1, 43 allocations and 64 frees";
    EXPECT_EQ(cut.counts().mismatches, 0u);
}

TEST_F(Play, ThreadsPlayTheirOwnEvents) {
    for (unsigned seed = 0; seed < 5; seed++) {
        const Program program = random_program(1000, 4, seed);
        PlayOptions options = with_pattern();
        options.threaded = true;
        Player player(pool_, program, options, nullptr);
        player.play();
        EXPECT_EQ(player.counts().objects + player.counts().refusals.size(), 1000u);
        EXPECT_EQ(player.counts().checks, 1000u);
        EXPECT_EQ(player.counts().mismatches, 0u);
        EXPECT_EQ(fake::objects(), 0);
    }
}

TEST_F(Play, WhatThePoolRefusesIsCountedAndSkipped) {
    Program program;
    for (std::uint32_t i = 0; i < 8; i++) {
        program.objects.push_back({100000, 0});
        program.events.push_back({i, 0, false});
    }
    program.objects.push_back({std::uint64_t{QUARRY_MAX_OBJECT} + 1, 0});
    program.events.push_back({8, 0, false});
    for (std::uint32_t i = 0; i < 9; i++) program.events.push_back({i, 0, true});
    Player player(pool_, program, with_pattern(), nullptr);
    player.play();
    EXPECT_EQ(player.counts().objects, 2u);
    EXPECT_EQ(player.counts().refusals.at(ENOSPC), 6u);
    EXPECT_EQ(player.counts().refusals.at(EFBIG), 1u);
    EXPECT_EQ(player.counts().mismatches, 0u);
    EXPECT_EQ(fake::objects(), 0);
}

// Overwrites one byte at the pool's `offset` before the `nth` ALLOC.
void plant(quarry_pool* pool, std::uint64_t offset, int nth) {
    fake::before_ioctl([=, count = 0](unsigned long request) mutable {
        if (request == QUARRY_IOC_ALLOC && ++count == nth)
            static_cast<unsigned char*>(quarry_address(pool, offset))[0] ^= 1;
    });
}

TEST_F(Play, APlantedOverwriteIsAMismatch) {
    Program program;
    program.objects = {{64, 0}, {72, 0}, {80, 0}};
    program.events = {{0, 0, false}, {1, 0, false}, {2, 0, false}, {1, 0, true}};
    plant(pool_, 4096, 3); // the second object: another size, another page
    Player player(pool_, program, with_pattern(), nullptr);
    player.play();
    EXPECT_EQ(player.counts().mismatches, 1u);
    EXPECT_EQ(player.counts().checks, 3u);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Play, ARefusedFreeOfAnOwnObjectIsAMismatch) {
    Program program;
    program.objects = {{64, 0}, {64, 0}, {64, 0}};
    program.events = {{0, 0, false}, {1, 0, false}, {2, 0, false}};
    program.events.insert(program.events.end(), {{0, 0, true}, {1, 0, true}, {2, 0, true}});
    fake::before_ioctl([this, done = false](unsigned long request) mutable {
        if (request == QUARRY_IOC_FREE && !done) fake::corrupt(quarry_pool_id(pool_), 64);
    });
    Player player(pool_, program, with_pattern(), nullptr);
    player.play();
    EXPECT_EQ(player.counts().mismatches, 1u);
    EXPECT_EQ(player.counts().refusals.at(EUCLEAN), 1u);
    EXPECT_EQ(fake::objects(), 1) << "the two beside it are freed";
}

// ---- the mesh

class Meet : public Play {
protected:
    void SetUp() override {
        Play::SetUp();
        char folder[] = "/tmp/quarry-mesh-XXXXXX";
        ASSERT_NE(mkdtemp(folder), nullptr);
        folder_ = folder;
        results_ = static_cast<Result*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                                             MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    }
    void TearDown() override {
        munmap(results_, 4096);
        const std::string command = "rm -r " + folder_;
        EXPECT_EQ(system(command.c_str()), 0);
        Play::TearDown();
    }

    struct Result {
        std::uint64_t objects, handed, undelivered, received, mismatches, checks;
        int finished;
    };

    // A child that plays a program of its own and hands each fourth object on.
    // It dies by SIGKILL at its `die_at`-th call, if that is not 0: before the call, because the
    // fake's own lock would stay locked for ever.
    pid_t start(int self, const char* name, std::vector<std::string> peers, int die_at = 0,
                std::uint32_t threads = 1) {
        const pid_t child = fork();
        if (child) return child;
        quarry_pool* pool = quarry_join(quarry_fd(pool_));
        if (!pool) _exit(3);
        const Program program = random_program(2000, threads, static_cast<unsigned>(self));
        PlayOptions options = with_pattern();
        options.threaded = threads > 1;
        options.seed = static_cast<std::uint64_t>(self);
        options.hand_each = 4;
        if (die_at) options.mark_at = 0.1;
        if (die_at)
            fake::before_ioctl([die_at](unsigned long) mutable {
                if (--die_at == 0) raise(SIGKILL);
            });
        Mesh mesh(folder_, name, std::move(peers));
        Player player(pool, program, options, &mesh);
        if (!mesh.open(pool, [&](const Handover& object) { player.receive(object); }, 20)) _exit(4);
        do player.play();
        while (die_at);
        const bool finished = mesh.finish(20);
        const Counts counts = player.counts();
        results_[self] = {counts.objects,  mesh.handed(),     mesh.undelivered(),
                          counts.received, counts.mismatches, counts.checks, finished};
        quarry_leave(pool);
        _exit(0);
    }

    static int end_of(pid_t child) {
        int status = -1;
        waitpid(child, &status, 0);
        fake::reap_process(child);
        return status;
    }

    std::string folder_;
    Result* results_ = nullptr;
};

TEST_F(Meet, WhatOneHandsOverTheOthersCheckAndFree) {
    const pid_t a = start(0, "a", {"b", "c"});
    const pid_t b = start(1, "b", {"a", "c"});
    const pid_t c = start(2, "c", {"a", "b"});
    for (pid_t child : {a, b, c}) EXPECT_EQ(end_of(child), 0);
    std::uint64_t handed = 0, received = 0, objects = 0, checks = 0;
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(results_[i].finished, 1);
        EXPECT_EQ(results_[i].mismatches, 0u);
        EXPECT_EQ(results_[i].undelivered, 0u);
        handed += results_[i].handed;
        received += results_[i].received;
        objects += results_[i].objects;
        checks += results_[i].checks;
    }
    EXPECT_GT(handed, 10u) << "a busy host lets few of them meet";
    EXPECT_EQ(handed, received);
    EXPECT_EQ(checks, objects + received) << "each is checked, and once more by its receiver";
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Meet, ThreadsOfAPeerHandOverToo) {
    const pid_t a = start(0, "a", {"b"}, 0, 3);
    const pid_t b = start(1, "b", {"a"}, 0, 3);
    EXPECT_EQ(end_of(a), 0);
    EXPECT_EQ(end_of(b), 0);
    EXPECT_EQ(results_[0].mismatches + results_[1].mismatches, 0u);
    EXPECT_EQ(results_[0].handed + results_[1].handed,
              results_[0].received + results_[1].received);
    EXPECT_GT(results_[0].handed + results_[1].handed, 10u) << "a busy host lets few of them meet";
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Meet, APeerKilledInTheMiddleStopsNobodyAndLosesNothing) {
    const pid_t a = start(0, "a", {"b"});
    const pid_t b = start(1, "b", {"a"}, 1500);
    EXPECT_EQ(end_of(b), SIGKILL);
    EXPECT_EQ(end_of(a), 0);
    EXPECT_EQ(results_[0].finished, 1);
    EXPECT_EQ(results_[0].mismatches, 0u);
    EXPECT_EQ(fake::objects(), 0);
}

TEST_F(Meet, APeerThatNeverComesIsATimeout) {
    Mesh mesh(folder_, "alone", {"nobody"});
    EXPECT_FALSE(mesh.open(pool_, [](const Handover&) {}, 0));
    EXPECT_EQ(errno, ETIMEDOUT);
}

}  // namespace
}  // namespace quarryctl
