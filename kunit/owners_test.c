// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Owners behind the shim: who may free and hand on what, for every short
 * history of three clients, for more clients than a slab's dictionary holds,
 * and beside the limits of each.
 */
#include <linux/sched.h>
#include "quarry_kunit.h"

#define CLIENTS 3
#define OBJECTS 2
#define DEPTH 4

struct world {
	struct quarry_client *client[CLIENTS];
	u64 offset[OBJECTS];
	int owner[OBJECTS];	/* -1: free */
};

static int transfer(struct quarry_client *from, struct quarry_client *to, u64 offset, u64 *owner)
{
	struct quarry_blame blame = {};
	u32 done = 0;
	int err = quarry_client_transfer(from, to->id, &offset, 1, &done, &blame);

	*owner = blame.owner;
	return err;
}

/* Steps: free(c, o), transfer(c, d, o); each from every client, whoever owns the object. */
#define STEPS (CLIENTS * OBJECTS + CLIENTS * CLIENTS * OBJECTS)

static void play(struct kunit *test, struct world *w, unsigned int step)
{
	struct quarry_blame blame = {};
	unsigned int c, d, o;
	u64 owner = 0;
	u32 done = 0;
	int err, expected;

	if (step < CLIENTS * OBJECTS) {
		c = step / OBJECTS;
		o = step % OBJECTS;
		err = quarry_client_free(w->client[c], &w->offset[o], 1, &done, &blame);
		owner = blame.owner;
	} else {
		step -= CLIENTS * OBJECTS;
		o = step % OBJECTS;
		c = step / OBJECTS % CLIENTS;
		d = step / OBJECTS / CLIENTS;
		err = transfer(w->client[c], w->client[d], w->offset[o], &owner);
		step += CLIENTS * OBJECTS;
	}
	expected = w->owner[o] < 0 ? -EALREADY : w->owner[o] != c ? -EACCES : 0;
	KUNIT_ASSERT_EQ(test, err, expected);
	if (expected == -EACCES)
		KUNIT_ASSERT_EQ(test, owner, w->client[w->owner[o]]->id);
	if (!expected)
		w->owner[o] = step < CLIENTS * OBJECTS ? -1 : (int)d;
}

static void every_history(struct kunit *test, u64 size)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 16 * PAGE_SIZE, 16 * PAGE_SIZE);
	unsigned int history[DEPTH] = {}, i, o, c;
	unsigned long played = 0;
	struct world w;
	u64 objects, bytes, live[CLIENTS];
	u32 done;

	for (c = 0; c < CLIENTS; c++)
		w.client[c] = quarry_kunit_client(test, pool);
	for (;;) {
		for (o = 0; o < OBJECTS; o++) {
			w.owner[o] = o % CLIENTS;
			KUNIT_ASSERT_EQ(test, quarry_client_alloc(w.client[o % CLIENTS], size, 8, 1,
								  &w.offset[o], &done), 0);
		}
		for (i = 0; i < DEPTH; i++)
			play(test, &w, history[i]);
		memset(live, 0, sizeof(live));
		for (o = 0; o < OBJECTS; o++)
			if (w.owner[o] >= 0)
				live[w.owner[o]]++;
		for (c = 0; c < CLIENTS; c++) {
			quarry_core_client_usage(w.client[c]->core, &objects, &bytes);
			KUNIT_ASSERT_EQ(test, objects, live[c]);
			KUNIT_ASSERT_EQ(test, bytes, live[c] * size);
		}
		if (played % 64 == 0)
			KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool),
					live[0] + live[1] + live[2]);
		for (o = 0; o < OBJECTS; o++)
			if (w.owner[o] >= 0)
				KUNIT_ASSERT_EQ(test, quarry_kunit_give(w.client[w.owner[o]],
									w.offset[o]), 0);
		if (++played % 1024 == 0)
			cond_resched();
		for (i = DEPTH; i-- > 0;) {
			if (++history[i] < STEPS)
				break;
			history[i] = 0;
		}
		if (i >= DEPTH)
			break;
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	kunit_info(test, "measured: %lu histories of %d steps, %d clients, %d objects\n", played,
		   DEPTH, CLIENTS, OBJECTS);
}

static void every_history_of_three_clients_and_two_slots(struct kunit *test)
{
	every_history(test, 64);
}

static void every_history_of_three_clients_and_two_runs(struct kunit *test)
{
	every_history(test, 3 * PAGE_SIZE);
}

#define MANY 40

/* One slab, 40 clients: 15 fit its dictionary, the others must be served all the same. */
static void more_clients_than_a_dictionary_holds_share_one_slab(struct kunit *test)
{
	struct quarry_client **client = quarry_kunit_memory(test, MANY * sizeof(*client));
	u64 *offset = quarry_kunit_memory(test, MANY * sizeof(*offset));
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 8 * PAGE_SIZE);
	unsigned int i, j;

	for (i = 0; i < MANY; i++) {
		client[i] = quarry_kunit_client(test, pool);
		KUNIT_ASSERT_EQ_MSG(test, quarry_kunit_take(client[i], 64, 8, &offset[i]), 0,
				    "client %u", i);
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)MANY);
	for (i = 0; i < MANY; i++)
		for (j = 0; j < MANY; j++)
			if (i != j)
				KUNIT_ASSERT_EQ(test, quarry_kunit_give(client[i], offset[j]),
						(int)QUARRY_E_NOT_OWNER);
	/* Half of them free, a quarter is reaped, the rest frees after that. */
	for (i = 0; i < MANY; i += 2)
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(client[i], offset[i]), 0);
	for (i = 1; i < MANY; i += 4)
		quarry_kunit_end_client(test, client[i]);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)(MANY / 4));
	for (i = 3; i < MANY; i += 4) {
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(client[i], offset[i]), 0);
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(client[i], offset[i]),
				(int)QUARRY_E_ALREADY_FREE);
	}
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

/* A slab's objects go to ever more clients: refused in the end, and then nothing has changed. */
static void transfers_beyond_a_dictionary_end_cleanly(struct kunit *test)
{
	struct quarry_client **client = quarry_kunit_memory(test, MANY * sizeof(*client));
	struct quarry_pool *pool = quarry_kunit_heap(test, 8 * PAGE_SIZE, 8 * PAGE_SIZE);
	u64 *offset = quarry_kunit_memory(test, MANY * sizeof(*offset)), owner;
	int *holder = quarry_kunit_memory(test, MANY * sizeof(*holder));
	unsigned int i, moved = 0;
	int err;

	for (i = 0; i < MANY; i++)
		client[i] = quarry_kunit_client(test, pool);
	for (i = 0; i < MANY; i++)
		KUNIT_ASSERT_EQ(test, quarry_kunit_take(client[0], 64, 8, &offset[i]), 0);
	for (i = 1; i < MANY; i++) {
		err = transfer(client[0], client[i], offset[i], &owner);
		if (!err) {
			holder[i] = i;
			moved++;
			continue;
		}
		KUNIT_EXPECT_EQ(test, err, -ETOOMANYREFS);
	}
	KUNIT_EXPECT_GE(test, moved, 14U);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)MANY);
	kunit_info(test, "measured: one slab's objects went to %u other clients\n", moved);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, quarry_kunit_give(client[holder[i]], offset[i]), 0);
	KUNIT_EXPECT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
}

/* Each limit from 0 slots to 40, in one batch and one by one, by grant and by transfer. */
static void a_limit_is_met_exactly(struct kunit *test)
{
	struct quarry_pool *pool = quarry_kunit_heap(test, 16 * PAGE_SIZE, 16 * PAGE_SIZE);
	struct quarry_client *giver = quarry_kunit_client(test, pool);
	struct quarry_client *client;
	u64 offsets[48], slots, owner, given;
	u32 done, more;

	for (slots = 1; slots <= 40; slots++) {
		/* Between two slots: what does not fit whole does not fit. */
		pool->client_limit = slots * 64 + slots % 64;
		client = quarry_kunit_client(test, pool);
		KUNIT_EXPECT_EQ(test, quarry_client_alloc(client, 64, 8, 48, offsets, &done), -EDQUOT);
		KUNIT_EXPECT_EQ(test, (u64)done, slots);
		KUNIT_EXPECT_EQ(test, quarry_client_alloc(client, 1, 8, 1, offsets + done, &more),
				slots % 64 < 8 ? -EDQUOT : 0);
		KUNIT_ASSERT_EQ(test, quarry_kunit_take(giver, 64, 8, &given), 0);
		KUNIT_EXPECT_EQ(test, transfer(giver, client, given, &owner), -EDQUOT);
		KUNIT_ASSERT_EQ(test, quarry_kunit_give(client, offsets[0]), 0);
		KUNIT_EXPECT_EQ(test, transfer(giver, client, given, &owner), 0);
		quarry_kunit_end_client(test, client);
		KUNIT_ASSERT_EQ(test, quarry_kunit_verify(test, pool), (u64)0);
	}
}

static struct kunit_case owners_cases[] = {
	KUNIT_CASE(every_history_of_three_clients_and_two_slots),
	KUNIT_CASE(every_history_of_three_clients_and_two_runs),
	KUNIT_CASE(more_clients_than_a_dictionary_holds_share_one_slab),
	KUNIT_CASE(transfers_beyond_a_dictionary_end_cleanly),
	KUNIT_CASE(a_limit_is_met_exactly),
	{}
};

QUARRY_KUNIT_SUITE(quarry_owners, owners_cases);
