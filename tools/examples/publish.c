/* SPDX-License-Identifier: MIT */
/*
 * publish SOCKET SUBSCRIBERS COUNT: makes a pool, hands it to so many subscribers over a Unix socket,
 * and sends each of COUNT messages to all of them: one object, held by all who have not read it.
 * A subscriber may die at any time; what it held goes with it.
 */
#include <errno.h>
#include <quarry/queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what, enum quarry_call call) {
    fprintf(stderr, "publish: %s: %s\n", what, quarry_strerror(errno, call));
    return 1;
}

int main(int count, char **words) {
    const char *device = getenv("QUARRY_DEVICE");
    const struct quarry_options options = {.bytes = 1 << 20, .max_bytes = 16 << 20};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int subscribers = count == 4 ? atoi(words[2]) : 0, messages = count == 4 ? atoi(words[3]) : 0;
    uint64_t inbox[64];
    unsigned missed = 0;

    if (subscribers < 1 || subscribers > 64)
        return fprintf(stderr, "usage: publish SOCKET SUBSCRIBERS COUNT (1..64 subscribers)\n"), 2;
    struct quarry_device *opened = device ? quarry_open(device) : NULL;
    struct quarry_pool *pool = quarry_create(opened, &options);
    if (!pool)
        return fail("no pool", QUARRY_CALL_CREATE);

    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    unlink(words[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, subscribers))
        return perror(words[1]), 1;
    for (int i = 0; i < subscribers; i++) {
        const int socket = accept(listener, NULL, NULL);
        if (quarry_send_pool(pool, socket) || read(socket, &inbox[i], sizeof inbox[i]) != sizeof inbox[i])
            return fail("a subscriber did not join", QUARRY_CALL_SEND);
        close(socket);
    }
    for (int message = 1; message <= messages; message++) {
        char *text = quarry_alloc(pool, 256);
        if (!text)
            return fail("no memory for a message", QUARRY_CALL_ALLOC);
        snprintf(text, 256, "message %d of %d", message, messages);
        for (int i = 0; i < subscribers; i++) {
            int tries = 2000; /* a slow subscriber has 2 s, a dead one none */
            while (inbox[i] != QUARRY_NO_OFFSET && quarry_send_share(pool, inbox[i], quarry_offset(pool, text))) {
                if (errno == EAGAIN && tries--) {
                    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
                    continue;
                }
                quarry_free_offset(pool, inbox[i]); /* which was ours, too */
                inbox[i] = QUARRY_NO_OFFSET;
                missed++;
            }
        }
        if (quarry_free(pool, text))
            return fail("a message cannot be freed", QUARRY_CALL_FREE);
    }
    struct quarry_stat stat = {0};
    for (int i = 0; i < 500 && !quarry_stat(pool, &stat) && stat.clients > 1; i++)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    for (int i = 0; i < subscribers; i++)
        if (inbox[i] != QUARRY_NO_OFFSET)
            quarry_free_offset(pool, inbox[i]);
    quarry_drain(pool, QUARRY_DRAIN_POOL, NULL);
    quarry_stat(pool, &stat);
    printf("published %d, missed %u, subscribers left %u, objects left %llu, shares %llu\n", messages,
           missed, stat.clients - 1, (unsigned long long)stat.objects, (unsigned long long)stat.shares);
    quarry_leave(pool);
    quarry_close(opened);
    return stat.objects != 0;
}
