/* SPDX-License-Identifier: MIT */
/*
 * A pool over a Unix socket: one message with a descriptor in it (SCM_RIGHTS). What arrives is
 * another process's word: its form is checked, every descriptor in it is closed, and only the
 * kernel's answer to JOIN says which pool it was.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define MOST_DESCRIPTORS 8 /* of a message that we close again; the kernel drops what is above */

struct invitation {
    char magic[8];
    uint64_t pool_id;
    uint64_t client_id; /* the sender's */
};

static const char magic[8] = {'q', 'u', 'a', 'r', 'r', 'y', '0', '1'};

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
};

int quarry_send_pool(struct quarry_pool *pool, int socket) {
    struct client *client = quarry_client(pool);
    struct invitation invitation = {.pool_id = pool->pool_id};
    struct iovec part = {.iov_base = &invitation, .iov_len = sizeof invitation};
    union control control = {0};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_SPACE(sizeof(int)),
    };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

    if (!client)
        return -1;
    memcpy(invitation.magic, magic, sizeof magic);
    invitation.client_id = client->client_id;
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &client->fd, sizeof(int));
    while (part.iov_len) {
        ssize_t sent = quarry_sys->sendmsg(socket, &message, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -1;
        /* The descriptor went with the first byte; a stream may take the rest later. */
        message.msg_control = NULL;
        message.msg_controllen = 0;
        part.iov_base = (char *)part.iov_base + sent;
        part.iov_len -= (size_t)sent;
    }
    return 0;
}

/* The one descriptor of `message`; -1 when it holds none or several, which are closed. */
static int only_descriptor(struct msghdr *message) {
    int found = -1;
    int many = (message->msg_flags & MSG_CTRUNC) != 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = 0;

        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (found >= 0) {
                quarry_sys->close(fd);
                many = 1;
            } else {
                found = fd;
            }
        }
    }
    if (many && found >= 0) {
        quarry_sys->close(found);
        found = -1;
    }
    return found;
}

/* Reads a whole invitation and its descriptor: 0, or -1, errno and no descriptor kept. */
static int receive_invitation(int socket, struct invitation *invitation, int *fd) {
    size_t have = 0;

    *fd = -1;
    while (have < sizeof *invitation) {
        union control control = {0};
        struct iovec part = {.iov_base = (char *)invitation + have,
                             .iov_len = sizeof *invitation - have};
        struct msghdr message = {
            .msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof control.bytes,
        };
        ssize_t got = quarry_sys->recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        int arrived;

        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = ECONNRESET;
        if (got <= 0)
            goto failed;
        arrived = only_descriptor(&message);
        if ((have == 0) != (arrived >= 0)) { /* exactly one, with the first byte */
            if (arrived >= 0)
                quarry_sys->close(arrived);
            errno = EPROTO;
            goto failed;
        }
        if (arrived >= 0)
            *fd = arrived;
        have += (size_t)got;
        if (message.msg_flags & MSG_TRUNC)
            break;
    }
    if (have == sizeof *invitation && memcmp(invitation->magic, magic, sizeof magic) == 0)
        return 0;
    errno = EPROTO;

failed:
    if (*fd >= 0) {
        int error = errno;

        quarry_sys->close(*fd);
        errno = error;
    }
    return -1;
}

struct quarry_pool *quarry_receive_pool(int socket, uint64_t *sender) {
    struct invitation invitation;
    struct quarry_pool *pool;
    int fd, error;

    if (receive_invitation(socket, &invitation, &fd) < 0)
        return NULL;
    pool = quarry_join(fd);
    error = errno;
    quarry_sys->close(fd);
    errno = error;
    if (pool && pool->pool_id != invitation.pool_id) {
        quarry_leave(pool);
        errno = EPROTO;
        return NULL;
    }
    if (pool && sender)
        *sender = invitation.client_id;
    return pool;
}

int quarry_share(struct quarry_pool *pool) {
    struct client *client = quarry_client(pool);

    return client ? quarry_sys->dup_at_least(client->fd, 3) : -1;
}
