/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Room for the offsets of one call; see batch.c. */
#ifndef QUARRY_BATCH_H
#define QUARRY_BATCH_H

#include <linux/types.h>

/* Batches up to this are held on the stack. */
#define QUARRY_SMALL_BATCH 64U

/**
 * struct quarry_batch - room for the offsets of one call
 * @offsets: the room
 * @bytes: taken from the system for it, or 0
 * @small: it is here, when the batch is small
 */
struct quarry_batch {
	u64 *offsets;
	size_t bytes;
	u64 small[QUARRY_SMALL_BATCH];
};

/**
 * enum quarry_batch_for - what becomes of the objects
 * @QUARRY_BATCH_TAKES: the call takes memory: it may be refused
 * @QUARRY_BATCH_GIVES: the call gives objects back, or passes them on
 */
enum quarry_batch_for {
	QUARRY_BATCH_TAKES,
	QUARRY_BATCH_GIVES,
};

int quarry_batch_get(struct quarry_batch *batch, u32 count, enum quarry_batch_for what);
void quarry_batch_put(struct quarry_batch *batch);

#endif /* QUARRY_BATCH_H */
