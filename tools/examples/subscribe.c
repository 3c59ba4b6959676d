/* SPDX-License-Identifier: MIT */
/*
 * subscribe SOCKET COUNT: joins the pool of `publish` behind SOCKET and reads COUNT messages where
 * they lie: none is copied, and each is gone when its last reader has freed it.
 */
#include <errno.h>
#include <quarry/queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what, enum quarry_call call) {
    fprintf(stderr, "subscribe: %s: %s\n", what, quarry_strerror(errno, call));
    return 1;
}

int main(int count, char **words) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int messages = count == 3 ? atoi(words[2]) : 0;
    uint64_t publisher, message = QUARRY_NO_OFFSET;
    int socket_fd = -1, read_so_far = 0;

    if (messages < 1)
        return fprintf(stderr, "usage: subscribe SOCKET COUNT\n"), 2;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    for (int tries = 0; tries < 500; tries++) { /* the publisher may come later */
        socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (!connect(socket_fd, (struct sockaddr *)&address, sizeof address))
            break;
        close(socket_fd);
        socket_fd = -1;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    struct quarry_pool *pool = socket_fd < 0 ? NULL : quarry_receive_pool(socket_fd, &publisher);
    if (!pool)
        return fail("no publisher", QUARRY_CALL_RECEIVE);
    const uint64_t queue = quarry_queue_create(pool, 16);
    if (queue == QUARRY_NO_OFFSET || quarry_queue_invite(pool, queue, publisher))
        return fail("no queue", QUARRY_CALL_SHARE_OBJECTS);
    if (write(socket_fd, &queue, sizeof queue) != sizeof queue)
        return perror("subscribe"), 1;
    close(socket_fd);

    while (read_so_far < messages && (message = quarry_receive(pool, queue, 10000)) != QUARRY_NO_OFFSET) {
        const char *text = quarry_address(pool, message);
        if (read_so_far++ % 100 == 0)
            printf("%.200s\n", text), fflush(stdout);
        if (quarry_free_offset(pool, message))
            return fail("a message cannot be freed", QUARRY_CALL_FREE);
    }
    if (message == QUARRY_NO_OFFSET)
        return fail("nothing came for 10 s", QUARRY_CALL_RECEIVE);
    printf("read %d\n", read_so_far);
    quarry_leave(pool);
    return 0;
}
