// SPDX-License-Identifier: MIT
/*
 * Kills at random times under load. Rounds of several processes and threads that allocate, write,
 * check, hand over, share, set aside and free in one pool, by libquarry, so through magazines;
 * victims die by SIGKILL at a random moment, some while an earlier victim is being reaped;
 * survivors keep checking what they own. After each batch: nothing lost, counted by verify and
 * STAT. At the end: where the kills landed, and no place without one.
 *
 *   kill [KILLS] [SEED]     TAP on standard output; 500 kills, seed from the clock. With fewer
 *                           than 500 the places are told, but not wanted.
 *
 * (README: "A kill at any instruction leaks nothing")
 */
#define _GNU_SOURCE
#include <quarry/quarry.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include "device.h"
#include "kselftest.h"
#include "sys.h"

enum { VICTIMS = 3, SURVIVORS = 2, THREADS = 2, HELD = 3000, FIRST = 1000, HANDED = 8,
       BATCH = 50, ENOUGH = 500 };

/* Where a thread is. */
enum place {
	STARTING,	/* fork, and what comes before the first join */
	JOINING,	/* JOIN, and the mappings of a client */
	WORKING,	/* writes and checks what it owns */
	FAST,		/* an alloc or a free, outside of any call */
	REFILLING,
	FLUSHING,
	ALLOCATING,
	FREEING,
	TRANSFERRING,
	SHARING,
	RESERVING,
	PLACES
};

static const char *const place_names[PLACES] = {
	"start", "join and mmap", "own memory", "fast path", "refill", "drain", "alloc", "free",
	"transfer", "share", "reserve",
};

struct board {			/* shared by all processes */
	volatile uint64_t mismatches;
	volatile uint64_t rounds[SURVIVORS];
	volatile uint64_t handed, shared, received_ids[SURVIVORS], victim_ids[VICTIMS];
	volatile int working[VICTIMS];	/* the victim has joined, and its threads run */
	volatile int places[VICTIMS][THREADS];
	volatile int stop;
};

static struct board *board;
static uint64_t seed;
static uint64_t landed[PLACES], landed_in_reap;

/* ---- where this thread is ---- */

static __thread volatile int *place;

static enum place place_of(unsigned long request)
{
	switch (request) {
	case QUARRY_IOC_REFILL: return REFILLING;
	case QUARRY_IOC_FLUSH: return FLUSHING;
	case QUARRY_IOC_ALLOC: return ALLOCATING;
	case QUARRY_IOC_FREE: return FREEING;
	case QUARRY_IOC_TRANSFER: return TRANSFERRING;
	case QUARRY_IOC_SHARE: return SHARING;
	case QUARRY_IOC_RESERVE: return RESERVING;
	default: return JOINING;
	}
}

static int noted_ioctl(int fd, unsigned long request, void *argument)
{
	int before, result;

	if (!place)
		return quarry_sys_kernel.ioctl(fd, request, argument);
	before = *place;
	*place = place_of(request);
	result = quarry_sys_kernel.ioctl(fd, request, argument);
	*place = before;
	return result;
}

/* ---- the work ---- */

static uint64_t next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	uint64_t z = *state;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

struct object {
	uint8_t *at;
	uint32_t bytes;
	uint8_t mark;
	uint8_t is_shared;
};

struct worker {
	struct quarry_pool *pool;
	uint64_t random;
	int survivor;		/* index, or -1 */
	int victim;
	int thread;
	int n;
	struct object held[HELD];
};

static uint32_t random_size(uint64_t *random)
{
	uint32_t top = next(random) % 40 == 0 ? 15 : 11;

	return 8 + next(random) % (1u << (3 + next(random) % (top - 2)));
}

static int intact(const struct object *o)
{
	for (uint32_t i = 0; i < o->bytes; i++)
		if (o->at[i] != o->mark)
			return 0;
	return 1;
}

static void mismatch(void)
{
	__atomic_fetch_add(&board->mismatches, 1, __ATOMIC_RELAXED);
}

static void take(struct worker *w)
{
	uint32_t bytes = random_size(&w->random);
	int want = 1 + next(&w->random) % 16;

	for (int i = 0; i < want && w->n < HELD; i++) {
		*place = FAST;
		uint8_t *at = quarry_alloc(w->pool, bytes);

		*place = WORKING;
		if (!at)
			return;
		struct object *o = &w->held[w->n++];

		*o = (struct object){ at, bytes, next(&w->random) & 0xff, 0 };
		memset(at, o->mark, bytes);
	}
}

/* Much to begin with, so that a reap takes its time. */
static void take_first(struct worker *w)
{
	static __thread uint64_t offsets[FIRST];
	size_t n = quarry_alloc_batch(w->pool, 64, 0, offsets, FIRST);

	for (size_t i = 0; i < n; i++) {
		uint8_t *at = quarry_address(w->pool, offsets[i]);

		w->held[w->n++] = (struct object){ at, 64, i & 0xff, 0 };
		memset(at, i & 0xff, 64);
	}
}

static void give(struct worker *w, int at)
{
	struct object o = w->held[at];
	int err;

	if (!intact(&o))
		mismatch();
	*place = FAST;
	err = quarry_free_sized(w->pool, o.at, o.bytes);
	*place = WORKING;
	if (err)
		mismatch();
	w->held[at] = w->held[--w->n];
}

/* The newest to a survivor, who keeps them until it ends. */
static void hand(struct worker *w, int share)
{
	uint64_t peer = board->received_ids[next(&w->random) % SURVIVORS], offsets[HANDED];
	int n = 0, done;

	while (n < HANDED && n < w->n && !w->held[w->n - 1 - n].is_shared) {
		offsets[n] = quarry_offset(w->pool, w->held[w->n - 1 - n].at);
		n++;
	}
	if (!peer || !n)
		return;
	if (share) {
		done = quarry_share_objects(w->pool, peer, offsets, n);
		for (int i = 0; i < done; i++)
			w->held[w->n - 1 - i].is_shared = 1;
		__atomic_fetch_add(&board->shared, done, __ATOMIC_RELAXED);
	} else {
		done = quarry_transfer(w->pool, peer, offsets, n);
		w->n -= done;
		__atomic_fetch_add(&board->handed, done, __ATOMIC_RELAXED);
	}
}

/* Takes, writes, checks, hands on and frees until told to stop, or killed. */
static void *work(void *arg)
{
	struct worker *w = arg;
	static volatile int nowhere[SURVIVORS][THREADS];

	place = w->victim >= 0 ? &board->places[w->victim][w->thread] :
				 &nowhere[w->survivor][w->thread];
	*place = WORKING;
	take_first(w);
	if (w->victim >= 0)
		board->working[w->victim] = 1;
	while (!board->stop) {
		int what = next(&w->random) % 64;

		if (what < 6 && w->survivor < 0)
			hand(w, what % 2);
		else if (what == 6)
			while (w->n)
				give(w, w->n - 1);
		else if (what < 9)
			(void)quarry_reserve(w->pool, random_size(&w->random), 0,
					     next(&w->random) % 64, NULL);
		else if (what < 32)
			take(w);
		else
			for (int i = next(&w->random) % 16; i && w->n; i--)
				give(w, next(&w->random) % w->n);
		if (w->survivor >= 0)
			board->rounds[w->survivor]++;
	}
	while (w->n)
		give(w, w->n - 1);
	return NULL;
}

static pid_t start(int fd, int survivor, int victim)
{
	static struct worker workers[THREADS];
	uint64_t random = next(&seed);
	pthread_t threads[THREADS];
	struct quarry_pool *pool;
	pid_t pid;

	if (victim >= 0) {
		board->working[victim] = 0;
		board->victim_ids[victim] = 0;
		for (int t = 0; t < THREADS; t++)
			board->places[victim][t] = STARTING;
	}
	pid = fork();
	if (pid)
		return pid;
	if (victim >= 0) {
		place = &board->places[victim][0];
		*place = JOINING;
	}
	pool = quarry_join(fd);
	if (!pool)
		_exit(1);
	if (survivor >= 0)
		board->received_ids[survivor] = quarry_client_id(pool);
	else
		board->victim_ids[victim] = quarry_client_id(pool);
	for (int t = 0; t < THREADS; t++) {
		workers[t] = (struct worker){ .pool = pool, .random = random + t,
					      .survivor = survivor, .victim = victim, .thread = t };
		if (pthread_create(&threads[t], NULL, work, &workers[t]))
			_exit(2);
	}
	/* It sleeps: this is no place of its own. */
	place = NULL;
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	quarry_leave(pool);
	_exit(0);
}

/* ---- the kills ---- */

/* Stops the survivors, and wants the pool empty and whole. */
static int settle(int fd, pid_t *survivors, char *why, size_t room)
{
	board->stop = 1;
	for (int i = 0; i < SURVIVORS; i++) {
		int status = status_of(survivors[i]);

		if (status) {
			snprintf(why, room, "survivor %d ended with %d", i, status);
			return 1;
		}
	}
	struct quarry_stat s = stat_of(fd);
	int64_t faults = verify(fd);

	if (faults) {
		snprintf(why, room, "verify: %lld", (long long)faults);
		return 1;
	}
	if (s.objects || s.used_bytes || s.clients != 1 || s.corruptions || s.shares ||
	    s.reserve_objects) {
		snprintf(why, room, "%llu objects, %llu bytes, %u clients, %llu corruptions, "
			 "%llu shares, %llu set aside left",
			 (unsigned long long)s.objects, (unsigned long long)s.used_bytes, s.clients,
			 (unsigned long long)s.corruptions, (unsigned long long)s.shares,
			 (unsigned long long)s.reserve_objects);
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

/* Waits until the reap of a client that was killed has begun: from then on nobody finds it. */
static void await_reap(struct pool *p, uint64_t client)
{
	const uint64_t nothing = ~(uint64_t)7;

	for (int i = 0; i < 100000 && transfer_n(p, client, 1, &nothing) != -ESRCH; i++)
		usleep(10);
}

/* The victim is dead; where was it? A new one takes its place. */
static void bury(int fd, pid_t *victims, int v)
{
	status_of(victims[v]);
	for (int t = 0; t < THREADS; t++)
		landed[board->places[v][t]]++;
	victims[v] = start(fd, -1, v);
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
		int v = next(&seed) % VICTIMS, other = (v + 1) % VICTIMS;

		/* One in eight dies while it starts: in fork, open, join or mmap. */
		if (next(&seed) % 8)
			await(v);
		usleep(next(&seed) % 5000);
		reaps = stat_of(p.fd).reaps;
		sure += board->working[v];
		kill(victims[v], SIGKILL);
		if (next(&seed) % 3 == 0) {	/* a second one, while the first is being reaped */
			if (board->working[v])
				await_reap(&p, board->victim_ids[v]);
			sure += board->working[other];
			kill(victims[other], SIGKILL);
			landed_in_reap += board->working[v] && stat_of(p.fd).reaps == reaps;
			bury(p.fd, victims, other);
			k++;
		}
		bury(p.fd, victims, v);
	}
	for (int i = 0; i < VICTIMS; i++) {
		kill(victims[i], SIGKILL);
		status_of(victims[i]);
	}
	reaps = stat_of(p.fd).reaps;
	if (settle(p.fd, survivors, why, room))
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
	ksft_print_msg("%d kills of working clients, %llu reaps, %llu objects reaped, %llu late, %llu handed over, %llu shared\n",
		       sure, (unsigned long long)reaps,
		       (unsigned long long)stat_of(p.fd).reaped_objects,
		       (unsigned long long)stat_of(p.fd).late_reaps,
		       (unsigned long long)board->handed, (unsigned long long)board->shared);
	leave(&p);
	return 0;
}

/* How many places no kill has landed in. */
static int print_places(void)
{
	int empty = 0;

	ksft_print_msg("where the threads of those killed were:\n");
	for (int i = 0; i < PLACES; i++) {
		ksft_print_msg("  %-16s %6llu\n", place_names[i], (unsigned long long)landed[i]);
		empty += !landed[i];
	}
	ksft_print_msg("  %-16s %6llu kills\n", "during a reap", (unsigned long long)landed_in_reap);
	return empty + !landed_in_reap;
}

int main(int argc, char **argv)
{
	static struct quarry_sys noting;
	int kills = argc > 1 ? atoi(argv[1]) : ENOUGH;
	int batches = (kills + BATCH - 1) / BATCH, empty;
	char why[160];

	/* Before all others when it wakes, or what it waits for is over when it comes to it. */
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &(struct sched_param){ 1 });
	noting = quarry_sys_kernel;
	noting.ioctl = noted_ioctl;
	quarry_sys = &noting;
	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksft_print_header();
	ksft_print_msg("%d kills, seed %llu\n", kills, (unsigned long long)seed);
	ksft_set_plan(batches + (kills >= ENOUGH));
	for (int i = 0; i < batches; i++) {
		if (batch(BATCH, why, sizeof(why)))
			ksft_test_result_fail("batch %d: %s\n", i, why);
		else
			ksft_test_result_pass("batch %d of %d kills: nothing lost\n", i, BATCH);
	}
	empty = print_places();
	if (kills >= ENOUGH) {
		if (empty)
			ksft_test_result_fail("kills landed in each place: in %d none\n", empty);
		else
			ksft_test_result_pass("kills landed in each place\n");
	}
	ksft_finished();
}
