/* SPDX-License-Identifier: MIT */
/*
 * Objects from client to client, without a system call to say so: a queue is an object in the pool
 * from which one client, its maker, receives, and into which others send.
 *
 *     receiver                                        sender
 *     queue = quarry_queue_create(pool, 64);
 *     quarry_queue_invite(pool, queue, sender's id);  ... and tells it the number `queue`
 *                                                     quarry_send(pool, queue, object);
 *     object = quarry_receive(pool, queue, 1000);
 *     quarry_free_offset(pool, object);
 *
 * OWNERSHIP  An object is the receiver's (quarry_send), or held by both (quarry_send_share), before
 *            its number is in the queue. So whatever becomes of the queue, it is in the pool's
 *            books with an owner: the death of either side, at any instruction, a queue that is
 *            full, scribbled over or never read loses no object. What a receiver never heard of is
 *            back when it dies.
 * MEMORY     Senders hold the queue beside its maker (they are invited: quarry_share_objects()), so
 *            its memory is nobody else's until the last of them has freed it or died.
 * TRUST      The clients of a pool trust each other with contents, and a queue is contents: who writes
 *            wild numbers there can make others receive what is not theirs (their free is EACCES) or
 *            nothing, and send to the wrong client; never wait without end, and never touch
 *            memory outside the pool.
 * COST       A send is one call (TRANSFER or SHARE) and three atomic operations, a receive two; no
 *            lock, so nobody waits for the dead. FIFO for each sender. Any number of threads may send
 *            and receive. A sender killed between the two halves of a send takes one place of the
 *            queue with it: make it a few places larger than is needed.
 *            Who waits looks again after 20 us, then after longer, at most 1 ms: no futex works in
 *            a pool's memory.
 *
 * Errors as in <quarry/quarry.h>; each function lists what it adds.
 */
#ifndef QUARRY_QUEUE_H
#define QUARRY_QUEUE_H

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most places of a queue. */
#define QUARRY_MOST_PLACES 65536u

/*
 * Makes a queue of at least `places` (1..QUARRY_MOST_PLACES; a power of two is taken) for this client
 * to receive from; its offset, or QUARRY_NO_OFFSET. 8 bytes a place and 256. quarry_free_offset() ends
 * it for the one who calls. Adds the errors of quarry_alloc().
 */
uint64_t quarry_queue_create(struct quarry_pool *pool, uint32_t places);
/* Lets client `sender` send, once for each sender: quarry_share_objects() and its errors. */
int quarry_queue_invite(struct quarry_pool *pool, uint64_t queue, uint64_t sender);

/*
 * Makes an object of this client the property of the queue's maker and tells it. EAGAIN: the queue
 * is full; ESRCH: its maker has died (free the queue); EILSEQ: this is no queue, or it is damaged;
 * and those of quarry_transfer(). But for EILSEQ the object is still this client's then.
 */
int quarry_send(struct quarry_pool *pool, uint64_t queue, uint64_t object);
/* The same, and this client holds the object still: quarry_share_objects() in place of transfer. */
int quarry_send_share(struct quarry_pool *pool, uint64_t queue, uint64_t object);

/*
 * The next object of a queue that this client made, or QUARRY_NO_OFFSET: EAGAIN (none has come within
 * `milliseconds`; 0: looks once; below 0: waits for ever), EINTR (a signal), EILSEQ (this is no
 * queue, or it is damaged).
 */
uint64_t quarry_receive(struct quarry_pool *pool, uint64_t queue, int milliseconds);

#ifdef __cplusplus
}
#endif
#endif
