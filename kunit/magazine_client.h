/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A client's side of its magazines, played on the kernel's own alias of its block.
 *
 * A case stays on CPU 0, so nothing but the calls that it makes touches that CPU's
 * magazines.
 */
#ifndef QUARRY_MAGAZINE_CLIENT_H
#define QUARRY_MAGAZINE_CLIENT_H

#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include "../module/magazine.h"
#include "quarry_kunit.h"

#define C64 7U		/* the class of 64 bytes */
#define C2048 47U

static inline struct quarry_client *member(struct kunit *test, struct quarry_pool *pool)
{
	struct quarry_client *client = quarry_kunit_client(test, pool);

	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	KUNIT_ASSERT_EQ(test, quarry_magazines_open(client), 0);
	KUNIT_ASSERT_NOT_NULL(test, client->magazines->part[0]);
	return client;
}

static inline struct quarry_magazine *words(struct quarry_client *client, u32 class_index)
{
	struct quarry_cpu_block *block = page_address(client->magazines->part[0]);

	return &block->magazine[class_index];
}

static inline u32 held_in(struct quarry_client *client, u32 class_index)
{
	return words(client, class_index)->top - words(client, class_index)->first;
}

static inline u32 capacity_of(struct quarry_client *client, u32 class_index)
{
	return words(client, class_index)->end - words(client, class_index)->first;
}

/* What stands at an index of the block: in the base, or in a piece. */
static inline u32 *entry_at(struct quarry_client *client, u32 index)
{
	u32 byte = index * 4, part = 0;

	if (byte >= QUARRY_CORE_MAGAZINE_BASE) {
		part = 1 + (byte - QUARRY_CORE_MAGAZINE_BASE) / QUARRY_CORE_MAGAZINE_PIECE;
		byte = (byte - QUARRY_CORE_MAGAZINE_BASE) % QUARRY_CORE_MAGAZINE_PIECE;
	}
	return page_address(client->magazines->part[part]) + byte;
}

static inline u32 *entry(struct quarry_client *client, u32 class_index, u32 i)
{
	return entry_at(client, words(client, class_index)->first + i);
}

static inline bool pop(struct quarry_client *client, u32 class_index, u64 *offset)
{
	struct quarry_magazine *m = words(client, class_index);

	if (m->top <= m->first)
		return false;
	*offset = (u64)*entry_at(client, --m->top) * 8;
	return true;
}

static inline bool push(struct quarry_client *client, u32 class_index, u64 offset)
{
	struct quarry_magazine *m = words(client, class_index);

	if (m->top >= m->end)
		return false;
	*entry_at(client, m->top++) = offset / 8;
	return true;
}

static inline int take(struct quarry_client *client, u32 class_index, u64 *offset)
{
	u32 filled;

	return pop(client, class_index, offset) ? 0 :
	       quarry_client_refill(client, class_index, offset, &filled);
}

static inline int give(struct quarry_client *client, u32 class_index, u64 offset)
{
	struct quarry_core_flushed flushed;
	struct quarry_blame blame;

	return push(client, class_index, offset) ? 0 :
	       quarry_client_flush(client, class_index, &offset, &flushed, &blame);
}

#endif /* QUARRY_MAGAZINE_CLIENT_H */
