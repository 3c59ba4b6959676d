// SPDX-License-Identifier: MIT
//
// Queues in a pool's memory: whatever becomes of them, no object is without an owner.
#include <quarry/queue.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "fixture.hpp"

namespace {

class Queue : public Quarry {
protected:
    void SetUp() override {
        Quarry::SetUp();
        device_ = quarry_open("host:");
        ASSERT_NE(device_, nullptr);
        const quarry_options options = heap(1 << 20);
        creator_ = quarry_create(device_, &options);
        ASSERT_NE(creator_, nullptr);
        receiver_ = quarry_join(quarry_fd(creator_));
        sender_ = quarry_join(quarry_fd(creator_));
        ASSERT_NE(receiver_, nullptr);
        ASSERT_NE(sender_, nullptr);
    }
    void TearDown() override {
        struct quarry_verify verify;
        EXPECT_EQ(quarry_verify(creator_, &verify), 0);
        EXPECT_EQ(verify.faults, 0u) << verify.first;
        quarry_leave(sender_);
        quarry_leave(receiver_);
        quarry_leave(creator_);
        quarry_close(device_);
        Quarry::TearDown();
    }

    std::uint64_t make(std::uint32_t places) {
        const std::uint64_t queue = quarry_queue_create(receiver_, places);
        EXPECT_NE(queue, QUARRY_NO_OFFSET);
        EXPECT_EQ(quarry_queue_invite(receiver_, queue, quarry_client_id(sender_)), 0);
        return queue;
    }
    std::uint64_t object() { return quarry_alloc_offset(sender_, 64, 0); }
    static std::uint64_t objects(quarry_pool* pool) {
        struct quarry_stat stat;
        EXPECT_EQ(quarry_drain(pool, 0, nullptr), 0);
        EXPECT_EQ(quarry_stat(pool, &stat), 0);
        return stat.client_objects;
    }
    static void expect_error(int error) { EXPECT_EQ(errno, error) << std::strerror(errno); }

    quarry_device* device_ = nullptr;
    quarry_pool* creator_ = nullptr;
    quarry_pool* receiver_ = nullptr;
    quarry_pool* sender_ = nullptr;
};

TEST_F(Queue, ObjectsArriveInOrderAndBelongToTheReceiver) {
    const std::uint64_t queue = make(8);
    for (int lap = 0; lap < 5; lap++) {
        std::vector<std::uint64_t> sent;
        for (int i = 0; i < 5; i++) {
            sent.push_back(object());
            ASSERT_EQ(quarry_send(sender_, queue, sent.back()), 0);
            EXPECT_EQ(quarry_free_offset(sender_, sent.back()), -1);
            expect_error(EACCES);
        }
        for (const std::uint64_t offset : sent) {
            EXPECT_EQ(quarry_receive(receiver_, queue, 0), offset);
            EXPECT_EQ(quarry_free_offset(receiver_, offset), 0);
        }
        EXPECT_EQ(quarry_receive(receiver_, queue, 0), QUARRY_NO_OFFSET);
        expect_error(EAGAIN);
    }
}

TEST_F(Queue, AFullQueueRefusesAndTheObjectStaysTheSenders) {
    const std::uint64_t queue = make(3);  // four
    for (int i = 0; i < 4; i++) ASSERT_EQ(quarry_send(sender_, queue, object()), 0);
    const std::uint64_t fifth = object();
    EXPECT_EQ(quarry_send(sender_, queue, fifth), -1);
    expect_error(EAGAIN);
    EXPECT_NE(quarry_receive(receiver_, queue, 0), QUARRY_NO_OFFSET);
    EXPECT_EQ(quarry_send(sender_, queue, fifth), 0);
    EXPECT_EQ(quarry_send(sender_, queue, fifth), -1) << "it is the receiver's";
    EXPECT_EQ(quarry_send(sender_, queue, object()), -1);
    expect_error(EAGAIN);
}

TEST_F(Queue, ASharedSendLeavesTheSenderAHolder) {
    const std::uint64_t queue = make(4), sent = object();
    std::strcpy(static_cast<char*>(quarry_address(sender_, sent)), "news");
    ASSERT_EQ(quarry_send_share(sender_, queue, sent), 0);
    EXPECT_EQ(quarry_free_offset(sender_, sent), 0);
    ASSERT_EQ(quarry_receive(receiver_, queue, 0), sent);
    EXPECT_STREQ(static_cast<char*>(quarry_address(receiver_, sent)), "news");
    EXPECT_EQ(quarry_free_offset(receiver_, sent), 0);
}

TEST_F(Queue, ADeadReceiverIsESRCHAndTheQueuesMemoryIsNobodyElses) {
    const std::uint64_t queue = make(4);
    quarry_pool* other = quarry_join(quarry_fd(creator_));
    ASSERT_EQ(quarry_send(sender_, queue, object()), 0);
    const std::uint64_t last = object();
    quarry_leave(receiver_);
    receiver_ = nullptr;
    EXPECT_EQ(quarry_send(sender_, queue, last), -1);
    expect_error(ESRCH);
    for (int i = 0; i < 100; i++) EXPECT_NE(quarry_alloc_offset(other, 288, 64), queue);
    EXPECT_EQ(quarry_free_offset(sender_, queue), 0);
    EXPECT_EQ(quarry_free_offset(sender_, last), 0);
    EXPECT_EQ(objects(sender_), 0u);
    quarry_leave(other);
}

TEST_F(Queue, WhatIsNoQueueIsEILSEQ) {
    const std::uint64_t queue = make(4), sent = object();
    const std::uint64_t wrong[] = {queue + 64, queue + 8, sent, QUARRY_NO_OFFSET, std::uint64_t{1} << 40};
    for (const std::uint64_t offset : wrong) {
        EXPECT_EQ(quarry_send(sender_, offset, sent), -1);
        expect_error(EILSEQ);
        EXPECT_EQ(quarry_receive(receiver_, offset, 10), QUARRY_NO_OFFSET);
        expect_error(EILSEQ);
        EXPECT_EQ(quarry_queue_invite(receiver_, offset, quarry_client_id(sender_)), -1);
        expect_error(EILSEQ);
    }
    EXPECT_EQ(quarry_queue_create(receiver_, 0), QUARRY_NO_OFFSET);
    expect_error(EINVAL);
    EXPECT_EQ(quarry_queue_create(receiver_, QUARRY_MOST_PLACES + 1), QUARRY_NO_OFFSET);
    expect_error(EINVAL);
    EXPECT_EQ(quarry_free_offset(sender_, sent), 0) << "still the sender's";
}

// Whatever stands in the queue, each call ends, and every object has its owner.
TEST_F(Queue, AScribbledQueueHoldsNobodyUpAndLosesNothing) {
    std::mt19937_64 random(1);
    const std::uint64_t bogus = object();
    for (int round = 0; round < 2000; round++) {
        const std::uint64_t queue = make(8);
        auto* words = static_cast<std::uint64_t*>(quarry_address(receiver_, queue));
        for (int i = 0; i < 3; i++) ASSERT_EQ(quarry_send(sender_, queue, object()), 0);
        const unsigned at = 8 + random() % (32 + 8 - 8);  // credits, ends, slots
        words[at] = round % 3 ? random() : random() >> (random() % 64);
        if (round % 7 == 0) words[32 + random() % 8] = bogus / 8 | 1ull << 32;
        for (int i = 0; i < 12; i++) {
            const std::uint64_t sent = object();
            if (quarry_send(sender_, queue, sent) != 0 && errno != EILSEQ) {
                EXPECT_EQ(quarry_free_offset(sender_, sent), 0);
            }
            const std::uint64_t offset = quarry_receive(receiver_, queue, 0);
            if (offset != QUARRY_NO_OFFSET) (void)quarry_free_offset(receiver_, offset);
        }
        EXPECT_EQ(quarry_free_offset(sender_, queue), 0);
        EXPECT_EQ(quarry_free_offset(receiver_, queue), 0);
        // What it never heard of it has all the same: a receiver's end gives it back.
        if (round % 100 == 99) {
            EXPECT_EQ(objects(sender_), 1u);
            quarry_pool* next = quarry_join(quarry_fd(sender_));
            quarry_leave(receiver_);
            receiver_ = next;
            EXPECT_EQ(objects(receiver_), 0u);
        }
    }
    EXPECT_EQ(quarry_free_offset(sender_, bogus), 0) << "named by a scribbled queue, and still its owner's";
}

TEST_F(Queue, PositionsMayBeAsLargeAsTheyLike) {
    const std::uint64_t queue = make(4);
    auto* words = static_cast<std::uint64_t*>(quarry_address(receiver_, queue));
    const std::uint64_t start = (std::uint64_t{1} << 31) - 4;
    words[16] = words[24] = start;
    for (std::uint64_t i = 0; i < 4; i++) words[32 + i] = (start + i) << 33;
    for (int i = 0; i < 40; i++) {
        const std::uint64_t sent = object();
        ASSERT_EQ(quarry_send(sender_, queue, sent), 0) << i;
        ASSERT_EQ(quarry_receive(receiver_, queue, 0), sent) << i;
        ASSERT_EQ(quarry_free_offset(receiver_, sent), 0);
    }
}

// Tail and head may stand where a sender or receiver was killed before it moved them on.
TEST_F(Queue, WhoDiedBeforeMovingTheEndsHoldsNobodyUp) {
    const std::uint64_t queue = make(8);
    auto* words = static_cast<std::uint64_t*>(quarry_address(receiver_, queue));
    for (int i = 0; i < 20; i++) {
        const std::uint64_t a = object(), b = object();
        ASSERT_EQ(quarry_send(sender_, queue, a), 0);
        --words[16];  // a's sender did not come to it
        ASSERT_EQ(quarry_send(sender_, queue, b), 0);
        ASSERT_EQ(quarry_receive(receiver_, queue, 0), a);
        --words[24];
        ASSERT_EQ(quarry_receive(receiver_, queue, 0), b);
        EXPECT_EQ(quarry_free_offset(receiver_, a), 0);
        EXPECT_EQ(quarry_free_offset(receiver_, b), 0);
    }
}

TEST_F(Queue, AReceiverWaitsAsLongAsItSays) {
    const std::uint64_t queue = make(4);
    EXPECT_EQ(quarry_receive(receiver_, queue, 30), QUARRY_NO_OFFSET);
    expect_error(EAGAIN);
    const std::uint64_t sent = object();
    std::thread late([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        EXPECT_EQ(quarry_send(sender_, queue, sent), 0);
    });
    EXPECT_EQ(quarry_receive(receiver_, queue, -1), sent);
    late.join();
    EXPECT_EQ(quarry_free_offset(receiver_, sent), 0);
}

TEST_F(Queue, ManyThreadsSendAndReceiveEachObjectOnce) {
    constexpr int each = 3000;
    const std::uint64_t queue = make(32);
    std::atomic<int> received{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; t++)
        threads.emplace_back([&] {
            for (int i = 0; i < each; i++) {
                std::uint64_t sent = object();
                *static_cast<std::uint64_t*>(quarry_address(sender_, sent)) = ~sent;
                while (quarry_send(sender_, queue, sent) != 0) {
                    ASSERT_EQ(errno, EAGAIN);
                    std::this_thread::yield();
                }
            }
        });
    for (int t = 0; t < 2; t++)
        threads.emplace_back([&] {
            while (received < 2 * each) {
                const std::uint64_t offset = quarry_receive(receiver_, queue, 20);
                if (offset == QUARRY_NO_OFFSET) continue;
                ASSERT_EQ(*static_cast<std::uint64_t*>(quarry_address(receiver_, offset)), ~offset);
                ASSERT_EQ(quarry_free_offset(receiver_, offset), 0) << "received twice";
                ++received;
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(received, 2 * each);
    EXPECT_EQ(objects(sender_), 1u) << "the queue";
}

}  // namespace
