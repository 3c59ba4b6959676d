/* SPDX-License-Identifier: MIT */
/*
 * Bounded queues in a pool's memory: <quarry/queue.h>.
 *
 * A ring of words. Positions count up for ever; the word of position p stands at p % places:
 *
 *   63..33  p, its low 31 bits      32  full      31..0  the object's offset / 8
 *
 *   word        transition                       made by                    order
 *   slot        p, empty -> p, full              a sender, at tail == p     release
 *               p, full  -> p + places, empty    a receiver, at head == p   acquire
 *   tail, head  p -> p + 1                       whoever sees that slot     relaxed: hints, which
 *               p has been filled, emptied       the words set right
 *   credits     - 1 before a send, + 1 when one  senders; senders, receivers  acquire, release
 *               failed or its object was received
 *
 * One compare-and-swap of a slot is the whole of a push or a pop, and tail and head are moved on by
 * anybody: so who dies anywhere holds nobody up. A credit stands for a place that will be free when
 * the sender comes to its push, because TRANSFER cannot be taken back.
 *
 * Who waits looks again from time to time: a futex wants to know the file that a page is of, and
 * pool pages are of none that it could know.
 *
 * Every word read here may be anything. Positions are masked, loops bounded, and what does not fit
 * is EILSEQ.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include <quarry/queue.h>

#define MAGIC 0x5155455545303155ull

struct queue {
    _Atomic uint64_t magic;
    _Atomic uint64_t receiver;
    _Atomic uint32_t places;
    _Alignas(64) _Atomic uint32_t credits;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t slot[];
};
_Static_assert(sizeof(struct queue) == 256, "a queue has 256 bytes and 8 for each place");

static uint64_t empty_word(uint64_t position) { return position << 33; }
static uint64_t full_word(uint64_t position, uint64_t offset) {
    return position << 33 | 1ull << 32 | offset / QUARRY_GRAIN;
}
static bool is_full(uint64_t word) { return word >> 32 & 1; }

/* What this program goes by: read once. */
struct view {
    struct queue *queue;
    uint32_t places;
};

static bool look(struct quarry_pool *pool, uint64_t offset, struct view *view) {
    struct queue *queue = offset % 64 ? NULL : quarry_span(pool, offset, sizeof *queue);
    uint32_t places;

    if (queue && atomic_load_explicit(&queue->magic, memory_order_acquire) == MAGIC) {
        places = atomic_load_explicit(&queue->places, memory_order_relaxed);
        if (places && places <= QUARRY_MOST_PLACES && !(places & (places - 1)) &&
            quarry_span(pool, offset, sizeof *queue + places * sizeof queue->slot[0])) {
            *view = (struct view){queue, places};
            return true;
        }
    }
    errno = EILSEQ;
    return false;
}

static _Atomic uint64_t *slot_of(const struct view *view, uint64_t position) {
    return &view->queue->slot[position & (view->places - 1)];
}

uint64_t quarry_queue_create(struct quarry_pool *pool, uint32_t places) {
    uint32_t rounded = 1;
    struct queue *queue;
    uint64_t offset;

    if (!places || places > QUARRY_MOST_PLACES) {
        errno = EINVAL;
        return QUARRY_NO_OFFSET;
    }
    while (rounded < places)
        rounded *= 2;
    offset = quarry_alloc_offset(pool, sizeof *queue + rounded * sizeof queue->slot[0], 64);
    if (offset == QUARRY_NO_OFFSET)
        return offset;
    queue = quarry_address(pool, offset);
    memset(queue, 0, sizeof *queue);
    atomic_store_explicit(&queue->receiver, quarry_client_id(pool), memory_order_relaxed);
    atomic_store_explicit(&queue->places, rounded, memory_order_relaxed);
    atomic_store_explicit(&queue->credits, rounded, memory_order_relaxed);
    for (uint32_t i = 0; i < rounded; i++)
        atomic_store_explicit(&queue->slot[i], empty_word(i), memory_order_relaxed);
    atomic_store_explicit(&queue->magic, MAGIC, memory_order_release);
    return offset;
}

int quarry_queue_invite(struct quarry_pool *pool, uint64_t queue, uint64_t sender) {
    struct view view;

    if (!look(pool, queue, &view))
        return -1;
    return quarry_share_objects(pool, sender, &queue, 1) == 1 ? 0 : -1;
}

static bool take_credit(struct queue *queue) {
    uint32_t credits = atomic_load_explicit(&queue->credits, memory_order_relaxed);

    while (credits)
        if (atomic_compare_exchange_weak_explicit(&queue->credits, &credits, credits - 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    errno = EAGAIN;
    return false;
}
static void give_credit(struct queue *queue) {
    atomic_fetch_add_explicit(&queue->credits, 1, memory_order_release);
}

static void move_on(_Atomic uint64_t *end, uint64_t position) {
    atomic_compare_exchange_strong_explicit(end, &position, position + 1, memory_order_relaxed,
                                            memory_order_relaxed);
}

/* Tries that are more than enough in a queue that nobody has damaged. */
static uint64_t most_tries(const struct view *view) { return 64 + 16 * (uint64_t)view->places; }

static bool push(const struct view *view, uint64_t offset) {
    struct queue *queue = view->queue;

    for (uint64_t tries = most_tries(view); tries; tries--) {
        const uint64_t position = atomic_load_explicit(&queue->tail, memory_order_relaxed);
        uint64_t word = empty_word(position);

        if (atomic_compare_exchange_strong_explicit(slot_of(view, position), &word,
                                                    full_word(position, offset), memory_order_release,
                                                    memory_order_relaxed)) {
            move_on(&queue->tail, position);
            return true;
        }
        /* Filled already, or even emptied since: tail is behind. */
        if (word >> 33 == (position & 0x7fffffff) || word == empty_word(position + view->places))
            move_on(&queue->tail, position);
    }
    errno = EILSEQ;
    return false;
}

/* 1: an object; 0: none is there; -1: EILSEQ. */
static int pop(const struct view *view, uint64_t *offset) {
    struct queue *queue = view->queue;

    for (uint64_t tries = most_tries(view); tries; tries--) {
        const uint64_t position = atomic_load_explicit(&queue->head, memory_order_relaxed);
        uint64_t word = atomic_load_explicit(slot_of(view, position), memory_order_acquire);

        if (word == empty_word(position)) {
            if (atomic_load_explicit(&queue->head, memory_order_relaxed) == position)
                return 0;
        } else if (word >> 33 == (position & 0x7fffffff) && is_full(word)) {
            if (!atomic_compare_exchange_strong_explicit(slot_of(view, position), &word,
                                                         empty_word(position + view->places),
                                                         memory_order_acquire, memory_order_relaxed))
                continue;
            move_on(&queue->head, position);
            give_credit(queue);
            *offset = (uint64_t)(uint32_t)word * QUARRY_GRAIN;
            return 1;
        } else {
            /* Emptied by another one: head is behind. */
            move_on(&queue->head, position);
        }
    }
    errno = EILSEQ;
    return -1;
}

static int hand(struct quarry_pool *pool, uint64_t offset, uint64_t object,
                size_t (*how)(struct quarry_pool *, uint64_t, const uint64_t *, size_t)) {
    struct view view;

    if (!look(pool, offset, &view) || !take_credit(view.queue))
        return -1;
    if (how(pool, atomic_load_explicit(&view.queue->receiver, memory_order_relaxed), &object, 1) != 1) {
        const int why = errno;

        give_credit(view.queue);
        errno = why;
        return -1;
    }
    if (!push(&view, object))
        return -1;
    return 0;
}

int quarry_send(struct quarry_pool *pool, uint64_t queue, uint64_t object) {
    return hand(pool, queue, object, quarry_transfer);
}

int quarry_send_share(struct quarry_pool *pool, uint64_t queue, uint64_t object) {
    return hand(pool, queue, object, quarry_share_objects);
}

/* Between two looks, ns: a longer one each time. */
#define SHORTEST_WAIT 20000L
#define LONGEST_WAIT 1000000L

static int64_t now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

uint64_t quarry_receive(struct quarry_pool *pool, uint64_t queue, int milliseconds) {
    const int64_t end = milliseconds > 0 ? now_ns() + milliseconds * INT64_C(1000000) : 0;
    struct timespec wait = {.tv_nsec = SHORTEST_WAIT};
    struct view view;

    if (!look(pool, queue, &view))
        return QUARRY_NO_OFFSET;
    for (;;) {
        uint64_t offset;
        const int found = pop(&view, &offset);

        if (found > 0)
            return offset;
        if (found < 0)
            return QUARRY_NO_OFFSET;
        if (!milliseconds || (end && now_ns() >= end)) {
            errno = EAGAIN;
            return QUARRY_NO_OFFSET;
        }
        if (nanosleep(&wait, NULL) < 0)
            return QUARRY_NO_OFFSET;
        wait.tv_nsec = wait.tv_nsec * 2 < LONGEST_WAIT ? wait.tv_nsec * 2 : LONGEST_WAIT;
    }
}
