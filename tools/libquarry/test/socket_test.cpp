// SPDX-License-Identifier: MIT
// A pool over a Unix socket, from honest and from hostile senders.
#include <fcntl.h>
#include <sys/socket.h>

#include "fixture.hpp"

namespace {

class Socket : public Quarry {
protected:
    void open_ends(int type) {
        ASSERT_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends_), 0);
    }
    void close_ends() {
        for (int& end : ends_) {
            if (end >= 0) close(end);
            end = -1;
        }
    }

    // One message with `bytes` of data and `count` descriptors.
    void send_raw(const void* data, std::size_t bytes, const int* fds, std::size_t count) {
        alignas(cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))] = {};
        iovec part = {const_cast<void*>(data), bytes};
        msghdr message = {};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (count) {
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE(count * sizeof(int));
            cmsghdr* rights = CMSG_FIRSTHDR(&message);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(count * sizeof(int));
            memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
        }
        ASSERT_EQ(sendmsg(ends_[0], &message, 0), static_cast<ssize_t>(bytes));
    }

    void expect_refused(int error) {
        EXPECT_EQ(quarry_receive_pool(ends_[1], nullptr), nullptr);
        EXPECT_EQ(errno, error);
    }

    int ends_[2] = {-1, -1};
};

struct Invitation {
    char magic[8] = {'q', 'u', 'a', 'r', 'r', 'y', '0', '1'};
    std::uint64_t pool_id = 0;
    std::uint64_t client_id = 0;
};

TEST_F(Socket, TheReceiverJoinsAndKnowsTheSender) {
    quarry_pool* pool = new_pool();
    for (int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
        open_ends(type);
        EXPECT_EQ(quarry_send_pool(pool, ends_[0]), 0);
        std::uint64_t sender = 0;
        quarry_pool* other = quarry_receive_pool(ends_[1], &sender);
        ASSERT_NE(other, nullptr) << strerror(errno);
        EXPECT_EQ(sender, quarry_client_id(pool));
        EXPECT_EQ(quarry_pool_id(other), quarry_pool_id(pool));
        EXPECT_NE(quarry_client_id(other), sender);
        quarry_leave(other);
        close_ends();
    }
    quarry_leave(pool);
}

TEST_F(Socket, TheReceiverIsAnotherProcess) {
    quarry_pool* pool = new_pool();
    open_ends(SOCK_STREAM);
    const std::uint64_t offset = quarry_alloc_offset(pool, 16, 0);
    strcpy(static_cast<char*>(quarry_address(pool, offset)), "hello");
    EXPECT_EQ(quarry_send_pool(pool, ends_[0]), 0);
    EXPECT_EQ(in_child([&] {
                  quarry_pool* mine = quarry_receive_pool(ends_[1], nullptr);
                  if (!mine) return 1;
                  if (strcmp(static_cast<char*>(quarry_address(mine, offset)), "hello")) return 2;
                  return quarry_alloc(mine, 8) ? 0 : 3;
              }),
              0);
    quarry_leave(pool);
    close_ends();
}

TEST_F(Socket, AStreamMayDeliverInPieces) {
    quarry_pool* pool = new_pool();
    open_ends(SOCK_STREAM);
    fake::set_socket_chunk(5);
    EXPECT_EQ(quarry_send_pool(pool, ends_[0]), 0);
    quarry_pool* other = quarry_receive_pool(ends_[1], nullptr);
    ASSERT_NE(other, nullptr) << strerror(errno);
    quarry_leave(other);
    quarry_leave(pool);
    close_ends();
}

TEST_F(Socket, SendingToNobodyIsEPIPEAndNoSignal) {
    quarry_pool* pool = new_pool();
    open_ends(SOCK_STREAM);
    close(ends_[1]);
    ends_[1] = -1;
    EXPECT_EQ(quarry_send_pool(pool, ends_[0]), -1);
    EXPECT_EQ(errno, EPIPE);
    EXPECT_EQ(quarry_send_pool(pool, 9999), -1);
    EXPECT_EQ(errno, EBADF);
    quarry_leave(pool);
    close_ends();
}

TEST_F(Socket, AClosedOtherEndIsECONNRESET) {
    open_ends(SOCK_STREAM);
    close(ends_[0]);
    ends_[0] = -1;
    expect_refused(ECONNRESET);
    close_ends();
}

TEST_F(Socket, AnEmptySocketThatDoesNotBlockIsEAGAIN) {
    open_ends(SOCK_STREAM | SOCK_NONBLOCK);
    expect_refused(EAGAIN);
    close_ends();
}

TEST_F(Socket, WhatIsNoInvitationIsRefusedAndItsDescriptorsClosed) {
    quarry_pool* pool = new_pool();
    const int fd = quarry_fd(pool);
    const int many[40] = {fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd,
                          fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd, fd};
    Invitation right;
    right.pool_id = quarry_pool_id(pool);
    Invitation spelled = right;
    spelled.magic[7] = '2';
    Invitation elsewhere = right;
    elsewhere.pool_id++;
    struct Case {
        const char* what;
        const void* data;
        std::size_t bytes;
        std::size_t count;
    };
    const Case cases[] = {
        {"no descriptor", &right, sizeof right, 0},  {"two descriptors", &right, sizeof right, 2},
        {"40 descriptors", &right, sizeof right, 40}, {"wrong magic", &spelled, sizeof spelled, 1},
        {"another pool's id", &elsewhere, sizeof elsewhere, 1},
        {"one byte", &right, 1, 1},
    };
    for (const Case& c : cases) {
        open_ends(SOCK_STREAM);
        send_raw(c.data, c.bytes, many, c.count);
        shutdown(ends_[0], SHUT_WR);
        const fake::Held before = fake::held();
        EXPECT_EQ(quarry_receive_pool(ends_[1], nullptr), nullptr) << c.what;
        EXPECT_EQ(errno, c.bytes == 1 ? ECONNRESET : EPROTO) << c.what;
        EXPECT_EQ(fake::held(), before) << c.what;
        close_ends();
    }
    quarry_leave(pool);
}

TEST_F(Socket, ADescriptorOfSomethingElseIsRefused) {
    open_ends(SOCK_STREAM);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const Invitation invitation;
    send_raw(&invitation, sizeof invitation, &null, 1);
    close(null);
    expect_refused(ENOTTY);
    close_ends();
}

TEST_F(Socket, ATruncatedDatagramIsRefused) {
    open_ends(SOCK_DGRAM);
    const char long_message[200] = "quarry01";
    quarry_pool* pool = new_pool();
    const int fd = quarry_fd(pool);
    send_raw(long_message, sizeof long_message, &fd, 1);
    expect_refused(EPROTO);
    send_raw(long_message, 10, &fd, 1);
    shutdown(ends_[0], SHUT_WR);
    fcntl(ends_[1], F_SETFL, O_NONBLOCK);
    EXPECT_EQ(quarry_receive_pool(ends_[1], nullptr), nullptr);
    quarry_leave(pool);
    close_ends();
}

}  // namespace
