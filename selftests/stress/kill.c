// SPDX-License-Identifier: MIT
/*
 * Kills at random times under load. Rounds of several processes and threads that
 * allocate, write, check, hand over and free in one pool; victims die by SIGKILL at a
 * random moment, some while an earlier victim is still being reaped; survivors keep
 * checking what they own. After each batch: nothing lost, counted by verify and STAT.
 *
 *   kill [KILLS] [SEED]     TAP on standard output; 500 kills, seed from the clock
 *
 * (README: "A kill at any instruction leaks nothing")
 */
#include "device.h"
#include <pthread.h>
#include <time.h>
#include "kselftest.h"

enum { VICTIMS = 3, SURVIVORS = 2, THREADS = 2, HELD = 300, BATCH = 50 };

struct board {			/* shared by all processes */
	volatile uint64_t mismatches;
	volatile uint64_t rounds[SURVIVORS];
	volatile uint64_t handed, received_ids[SURVIVORS];
	volatile int working[VICTIMS];	/* the victim has joined, and its threads run */
	volatile int stop;
};

static struct board *board;
static uint64_t seed;

static uint64_t next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	uint64_t z = *state;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

struct object {
	uint64_t offset;
	uint32_t bytes;
	uint8_t mark;
};

static uint32_t random_size(uint64_t *random)
{
	uint32_t top = next(random) % 20 == 0 ? 15 : 11;

	return 8 + next(random) % (1u << (3 + next(random) % (top - 2)));
}

static void paint(struct pool *p, struct object *o)
{
	memset(p->memory + o->offset, o->mark, o->bytes);
}

static int intact(struct pool *p, struct object *o)
{
	const uint8_t *m = p->memory + o->offset;

	for (uint32_t i = 0; i < o->bytes; i++)
		if (m[i] != o->mark)
			return 0;
	return 1;
}

struct worker {
	struct pool *pool;
	uint64_t random;
	int survivor;		/* index, or -1 */
	int victim;
};

/* Takes, writes, checks and frees until told to stop, or killed. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct object held[HELD];
	uint64_t random = w->random;
	int n = 0;

	if (w->victim >= 0)
		board->working[w->victim] = 1;
	while (!board->stop) {
		if (n < HELD && next(&random) % 2) {
			uint64_t out[16];
			uint32_t bytes = random_size(&random);
			int want = 1 + next(&random) % 16;
			int got = alloc_n(w->pool, bytes, 0, want > HELD - n ? HELD - n : want, out);

			for (int i = 0; i < got; i++) {
				struct object *o = &held[n++];

				*o = (struct object){ out[i], bytes, next(&random) & 0xff };
				paint(w->pool, o);
			}
		} else if (n) {
			int at = next(&random) % n;
			struct object o = held[at];

			if (!intact(w->pool, &o))
				__atomic_fetch_add(&board->mismatches, 1, __ATOMIC_RELAXED);
			uint64_t peer = board->received_ids[next(&random) % SURVIVORS];

			/* Sometimes to a survivor, who reaps nothing: it keeps it until it ends. */
			if (next(&random) % 64 == 0 && w->survivor < 0 && peer &&
			    transfer_n(w->pool, peer, 1, &o.offset) == 1) {
				__atomic_fetch_add(&board->handed, 1, __ATOMIC_RELAXED);
			} else if (free_one(w->pool, o.offset)) {
				__atomic_fetch_add(&board->mismatches, 1, __ATOMIC_RELAXED);
			}
			held[at] = held[--n];
		}
		if (w->survivor >= 0)
			board->rounds[w->survivor]++;
	}
	for (int i = 0; i < n; i++) {
		if (!intact(w->pool, &held[i]))
			__atomic_fetch_add(&board->mismatches, 1, __ATOMIC_RELAXED);
		if (free_one(w->pool, held[i].offset))
			__atomic_fetch_add(&board->mismatches, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static pid_t start(int fd, int survivor, int victim)
{
	uint64_t random = next(&seed);
	pid_t pid;

	if (victim >= 0)
		board->working[victim] = 0;
	pid = fork();

	if (pid)
		return pid;
	struct pool p;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	if (join(&p, fd, 1))
		_exit(1);
	if (survivor >= 0)
		board->received_ids[survivor] = p.client;
	for (int t = 0; t < THREADS; t++) {
		workers[t] = (struct worker){ &p, random + t, survivor, victim };
		if (pthread_create(&threads[t], NULL, work, &workers[t]))
			_exit(2);
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	leave(&p);
	_exit(0);
}

/* Stops the survivors, and wants the pool empty and whole. */
static int settle(struct pool *p, pid_t *survivors, char *why, size_t room)
{
	board->stop = 1;
	for (int i = 0; i < SURVIVORS; i++) {
		int status = status_of(survivors[i]);

		if (status) {
			snprintf(why, room, "survivor %d ended with %d", i, status);
			return 1;
		}
	}
	struct quarry_stat s = stat_of(p->fd);
	int64_t faults = verify(p->fd);

	if (faults) {
		snprintf(why, room, "verify: %lld", (long long)faults);
		return 1;
	}
	if (s.objects || s.used_bytes || s.clients != 1 || s.corruptions) {
		snprintf(why, room, "%llu objects, %llu bytes, %u clients, %llu corruptions left",
			 (unsigned long long)s.objects, (unsigned long long)s.used_bytes, s.clients,
			 (unsigned long long)s.corruptions);
		return 1;
	}
	if (board->mismatches) {
		snprintf(why, room, "%llu mismatches", (unsigned long long)board->mismatches);
		return 1;
	}
	return 0;
}

static void await(int victim)
{
	for (int i = 0; i < 20000 && !board->working[victim]; i++)
		usleep(100);
}

/* One batch of kills in a pool of its own; 0 when nothing was lost. */
static int batch(int kills, char *why, size_t room)
{
	struct pool p;
	pid_t survivors[SURVIVORS], victims[VICTIMS] = { 0 };
	uint64_t reaps;
	int sure = 0;		/* kills of clients that had joined: each must be a reap */

	memset(board, 0, sizeof(*board));
	if (create_heap(&p, MIB, 32 * MIB)) {
		snprintf(why, room, "no pool");
		return 1;
	}
	for (int i = 0; i < SURVIVORS; i++)
		survivors[i] = start(p.fd, i, -1);
	for (int i = 0; i < VICTIMS; i++)
		victims[i] = start(p.fd, -1, i);
	for (int k = 0; k < kills; k++) {
		int v = next(&seed) % VICTIMS;

		/* One in eight dies while it starts: in fork, open, join or mmap. */
		if (next(&seed) % 8)
			await(v);
		usleep(next(&seed) % 3000);
		sure += board->working[v];
		kill(victims[v], SIGKILL);
		if (next(&seed) % 3 == 0) {	/* a second one, while the first is being reaped */
			int other = (v + 1) % VICTIMS;

			sure += board->working[other];
			kill(victims[other], SIGKILL);
			status_of(victims[other]);
			victims[other] = start(p.fd, -1, other);
			k++;
		}
		status_of(victims[v]);
		victims[v] = start(p.fd, -1, v);
	}
	for (int i = 0; i < VICTIMS; i++) {
		kill(victims[i], SIGKILL);
		status_of(victims[i]);
	}
	reaps = stat_of(p.fd).reaps;
	if (settle(&p, survivors, why, room))
		return 1;
	if (reaps < (uint64_t)sure || sure < kills / 2) {
		snprintf(why, room, "%llu reaps for %d kills of working clients, of %d",
			 (unsigned long long)reaps, sure, kills);
		return 1;
	}
	for (int i = 0; i < SURVIVORS; i++)
		if (!board->rounds[i]) {
			snprintf(why, room, "survivor %d did no work", i);
			return 1;
		}
	ksft_print_msg("%d kills of working clients, %llu reaps, %llu objects reaped, %llu late, %llu handed over\n",
		       sure, (unsigned long long)reaps,
		       (unsigned long long)stat_of(p.fd).reaped_objects,
		       (unsigned long long)stat_of(p.fd).late_reaps,
		       (unsigned long long)board->handed);
	leave(&p);
	return 0;
}

int main(int argc, char **argv)
{
	int kills = argc > 1 ? atoi(argv[1]) : 500;
	int batches = (kills + BATCH - 1) / BATCH;
	char why[128];

	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksft_print_header();
	ksft_print_msg("%d kills, seed %llu\n", kills, (unsigned long long)seed);
	ksft_set_plan(batches);
	for (int i = 0; i < batches; i++) {
		if (batch(BATCH, why, sizeof(why)))
			ksft_test_result_fail("batch %d: %s\n", i, why);
		else
			ksft_test_result_pass("batch %d of %d kills: nothing lost\n", i, BATCH);
	}
	ksft_finished();
}
