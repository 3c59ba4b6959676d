// SPDX-License-Identifier: MIT
/*
 * What happens at each instruction of the user's side: a hardware breakpoint on it, and at the
 * stop, in a client that works,
 *
 *   kill      SIGKILL: all that it owned is back before waitpid() returns, and nobody else's is
 *   migrate   it goes on on another CPU, its sequence aborted
 *   signal    a handler that allocates and frees in the same pool runs there and then
 *
 * After the last two the client ends its work: nothing is lost, nothing was given twice.
 *
 *   each_instruction ADDRESSES [fast|all [signal]]
 *
 * ADDRESSES has a line `address function` for each instruction (instructions.py, from the
 * disassembly of this program); `fast`: of the sequences and the inlined calls alone. Those must
 * all be reached; of the slow paths, how much was is told. `signal`: that alone.
 * (README: "A kill at any instruction leaks nothing", "A sequence that is aborted ...")
 */
#define _GNU_SOURCE
#include <errno.h>
#include <quarry/quarry.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"
#include "magazine.h"

enum { MANY = 150, KEPT = 100, MOST = 4000, STOPS = 4, SIZES = 5 };

static const size_t sizes[SIZES] = { 8, 24, 100, 256, 2048 };
static struct quarry_pool *pool;

/* ---- the calls as programs have them inlined ---- */

#define STEP __attribute__((noinline, noclone, aligned(64)))

STEP void *step_alloc(void) { return quarry_alloc(pool, 64); }
STEP int step_free(void *object) { return quarry_free_sized(pool, object, 64); }
STEP void *step_alloc_unchecked(void) { return quarry_alloc_unchecked(pool, 64); }
STEP int step_free_unchecked(void *object) { return quarry_free_unchecked(pool, object, 64); }
STEP void *step_alloc_small(void) { return quarry_alloc(pool, 16); }
STEP int step_free_small(void *object) { return quarry_free_sized(pool, object, 16); }
STEP void *step_alloc_any(size_t bytes) { return quarry_alloc(pool, bytes); }
STEP int step_free_any(void *object, size_t bytes) { return quarry_free_sized(pool, object, bytes); }

/* ---- the client that works: each object's first word is 0 unless somebody has it ---- */

/* The child's exit status: the line that went wrong. */
#define MUST(condition)                                  \
	do {                                             \
		if (!(condition))                        \
			_exit(__LINE__ % 200 + 1);       \
	} while (0)

static int checked = 1;

static void *own(void *object)
{
	MUST(object);
	if (checked)
		MUST(__atomic_exchange_n((uint64_t *)object, 1, __ATOMIC_RELAXED) == 0);
	return object;
}

static void *disown(void *object)
{
	if (checked)
		MUST(__atomic_exchange_n((uint64_t *)object, 0, __ATOMIC_RELAXED) == 1);
	return object;
}

/* What the handler holds from one time to the next: a sequence that it came into must not have it, too. */
static void *of_handler[2];

static void handler(int signal)
{
	static const size_t bytes[2] = { 64, 16 };
	const int error = errno;

	(void)signal;
	for (int i = 0; i < 2; i++) {
		void *before = of_handler[i];

		of_handler[i] = own(quarry_alloc(pool, bytes[i]));
		if (before)
			MUST(quarry_free_sized(pool, disown(before), bytes[i]) == 0);
	}
	errno = error;
}

static void singles(void)
{
	void *held[MANY];

	for (int i = 0; i < MANY; i++)
		held[i] = own(step_alloc());
	for (int i = 0; i < MANY; i++)
		MUST(step_free(disown(held[i])) == 0);
	for (int i = 0; i < MANY; i++)
		held[i] = own(step_alloc_unchecked());
	for (int i = 0; i < MANY; i++)
		MUST(step_free_unchecked(disown(held[i])) == 0);
	for (int i = 0; i < MANY; i++)
		held[i] = own(step_alloc_small());
	for (int i = 0; i < MANY; i++)
		MUST(step_free_small(disown(held[i])) == 0);
	for (int s = 0; s < SIZES; s++) {
		const int n = sizes[s] == 100 ? MANY : 20;

		for (int i = 0; i < n; i++)
			held[i] = own(step_alloc_any(sizes[s]));
		for (int i = 0; i < n; i++)
			MUST(step_free_any(disown(held[i]), sizes[s]) == 0);
	}
	held[0] = own(quarry_alloc(pool, 5000));
	MUST(quarry_free(pool, disown(held[0])) == 0);
}

static void batches(void)
{
	static const size_t counts[] = { 1, 3, 8, 9, 20, 64, 150 };
	uint64_t offsets[MANY];

	for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++)
		for (int unchecked = 0; unchecked < 2; unchecked++)
			for (int s = 0; s < 2; s++) {
				const size_t n = counts[c], bytes = s ? 64 : 16;

				MUST((unchecked ? quarry_alloc_batch_unchecked(pool, bytes, offsets, n) :
						  quarry_alloc_batch(pool, bytes, 0, offsets, n)) == n);
				for (size_t i = 0; i < n; i++)
					own(quarry_address(pool, offsets[i]));
				for (size_t i = 0; i < n; i++)
					disown(quarry_address(pool, offsets[i]));
				MUST((unchecked ? quarry_free_batch_unchecked(pool, bytes, offsets, n) :
						  quarry_free_batch(pool, offsets, n)) == n);
			}
}

/* The sequences that take and put n entries, as the library has them. */
static void sections(void)
{
	const struct section_place place = quarry_place(pool);
	struct section_buffer taken;

	for (uint32_t n = 1; n < 20; n += 3) {
		void *object = own(step_alloc());
		const uint32_t got = section_take(&place, QUARRY_LARGE_CLASS, &taken, n);
		uint32_t put = 0;

		/* An abort in between may have moved it to a magazine without room: then it goes by the slow path. */
		while (put < got) {
			const uint32_t now = section_put(&place, QUARRY_LARGE_CLASS, taken.entry + put,
							 got - put);

			if (!now)
				break;
			put += now;
		}
		for (; put < got; put++)
			MUST(quarry_free_unchecked(pool, quarry_address(pool, taken.entry[put] * 8ull), 64) == 0);
		MUST(step_free(disown(object)) == 0);
	}
	MUST(section_put(&place, QUARRY_LARGE_CLASS, taken.entry, 0) == 0);
	MUST(section_put_offsets(&place, QUARRY_LARGE_CLASS, NULL, 0) == 0);
}

static void wrong_frees(void *foreign)
{
	void *object = step_alloc(), *small = step_alloc_small(), *any = step_alloc_any(100);

	MUST(object && small && any);
	MUST(step_free_small(small) == 0);
	MUST(step_free_small(small) == -1 && errno == EALREADY);
	MUST(step_free_any(any, 100) == 0);
	MUST(step_free_any(any, 100) == -1 && errno == EALREADY);
	MUST(quarry_free_sized(pool, object, 100) == -1 && errno == EMSGSIZE);
	MUST(quarry_free(pool, (char *)object + 8) == -1);
	MUST(step_free(foreign) == -1 && errno == EACCES);
	MUST(step_free(object) == 0);
	MUST(step_free(object) == -1 && errno == EALREADY);
	MUST(quarry_free(pool, NULL) == 0);
}

static void handler_lets_go(void)
{
	for (int i = 0; i < 2; i++) {
		void *object = __atomic_exchange_n(&of_handler[i], NULL, __ATOMIC_RELAXED);

		if (object)
			MUST(quarry_free(pool, disown(object)) == 0);
	}
}

/*
 * As when two frees race: the mark says that it is in use, and a magazine has it. This client loses
 * such an object until its reap, so this comes last.
 */
static void duplicates(void)
{
	void *a = step_alloc(), *b = step_alloc_small(), *c = step_alloc_any(100);
	uint64_t offset;

	MUST(a && b && c);
	MUST(step_free_unchecked(a) == 0);
	MUST(step_alloc() != a);
	MUST(quarry_free_unchecked(pool, b, 16) == 0);
	MUST(step_alloc_small() != b);
	MUST(quarry_free_unchecked(pool, c, 100) == 0);
	MUST(step_alloc_any(100) != c);
	a = step_alloc();
	MUST(a && step_free_unchecked(a) == 0);
	MUST(quarry_alloc_batch(pool, 64, 0, &offset, 1) == 1);
	MUST(quarry_address(pool, offset) != a);
}

static uint64_t objects_now(void)
{
	struct quarry_stat before, after;

	/* A CPU that a drain does not reach in time keeps what it holds until the next. */
	do {
		MUST(quarry_stat(pool, &before) == 0);
		MUST(quarry_drain(pool, 0, NULL) == 0);
		MUST(quarry_stat(pool, &after) == 0);
	} while (after.unreachable != before.unreachable);
	return after.objects;
}

static void hold_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(sigprocmask(how, &set, NULL) == 0);
}

/* `hands_over`: a handler may get what was just freed, and then a second free of it is a right one. */
static void work(void *foreign, int hands_over)
{
	const uint64_t before = objects_now();

	singles();
	batches();
	sections();
	if (!hands_over)
		wrong_frees(foreign);
	/* A handler that comes while its objects go would take others. */
	hold_signals(SIG_BLOCK);
	handler_lets_go();
	MUST(objects_now() == before);
	hold_signals(SIG_UNBLOCK);
	duplicates();
	hold_signals(SIG_BLOCK);
	handler_lets_go();
}

/* ---- who stops it ---- */

struct place {
	unsigned long address;
	char function[48];
	int fast, reached;
};

static struct place places[MOST];
static int count;
static int chosen[MOST], choices;

static unsigned char *kept[KEPT];
static struct quarry_stat at_first;
static unsigned clients;
static char why[160];

static int nothing_lost(void)
{
	struct quarry_verify verify;
	struct quarry_stat stat;

	if (quarry_stat(pool, &stat))
		return snprintf(why, sizeof(why), "no STAT"), 0;
	if (stat.objects != at_first.objects || stat.used_bytes != at_first.used_bytes ||
	    stat.clients != at_first.clients || stat.corruptions)
		return snprintf(why, sizeof(why), "%llu objects, %llu bytes, %u clients, %llu corruptions",
				(unsigned long long)stat.objects, (unsigned long long)stat.used_bytes,
				stat.clients, (unsigned long long)stat.corruptions), 0;
	for (int i = 0; i < KEPT; i++)
		for (int b = 0; b < 64; b++)
			if (kept[i][b] != (unsigned char)(i + 1))
				return snprintf(why, sizeof(why), "the survivor's object %d is damaged", i), 0;
	/* It takes four times as long as all the rest: after each 32nd client, and at the end. */
	if (clients++ % 32 == 0 && (quarry_verify(pool, &verify) || verify.faults))
		return snprintf(why, sizeof(why), "verify: %.100s", verify.first), 0;
	return 1;
}

static int set_stop(pid_t pid, int slot, unsigned long address)
{
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[slot]), address);
}

/* Local, for execution: no other bits. */
static int arm(pid_t pid, unsigned slots)
{
	unsigned long control = 0;

	for (int i = 0; i < STOPS; i++)
		if (slots & 1u << i)
			control |= 1ul << 2 * i;
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), control);
}

static int on_cpu(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof(set), &set);
}

enum mode { KILL, MIGRATE, SIGNAL };

/*
 * One client with up to STOPS breakpoints. At the first it is killed, or at each it is disturbed and
 * goes on. Marks what was reached; 0 when something was lost or wrong, then `why` says it.
 */
static int one_client(enum mode mode, struct place **stops, int n)
{
	const pid_t pid = fork();
	unsigned armed = (1u << n) - 1;
	int status, cpu = 0, at = -1;

	if (pid == 0) {
		checked = mode != KILL;
		signal(SIGUSR1, handler);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		work(kept[0], mode == SIGNAL);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return snprintf(why, sizeof(why), "no client to stop"), 0;
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL);
	on_cpu(pid, cpu);
	for (int i = 0; i < n; i++)
		if (set_stop(pid, i, stops[i]->address))
			return snprintf(why, sizeof(why), "no breakpoint: %s", strerror(errno)), 0;
	if (arm(pid, armed))
		return snprintf(why, sizeof(why), "no breakpoint: %s", strerror(errno)), 0;
	for (int pass = 0;;) {
		struct user_regs_struct regs;

		ptrace(PTRACE_CONT, pid, 0, pass);
		if (waitpid(pid, &status, 0) != pid)
			return snprintf(why, sizeof(why), "the client has gone"), 0;
		if (!WIFSTOPPED(status))
			break;
		pass = WSTOPSIG(status);
		if (pass != SIGTRAP)
			continue;
		ptrace(PTRACE_GETREGS, pid, 0, &regs);
		for (at = 0; at < n && stops[at]->address != regs.rip; at++)
			;
		if (at == n)
			return snprintf(why, sizeof(why), "a stop where none is: %llx", regs.rip), 0;
		stops[at]->reached = 1;
		if (mode == KILL) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		armed &= ~(1u << at);
		arm(pid, armed);
		if (mode == MIGRATE)
			on_cpu(pid, cpu ^= 1);
		pass = mode == SIGNAL ? SIGUSR1 : 0;
	}
	if (mode == KILL && at >= 0 ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL :
				      !WIFEXITED(status) || WEXITSTATUS(status))
		return snprintf(why, sizeof(why), "the client ended with %#x (line %d of its work) after %s+%#lx",
				status, WEXITSTATUS(status) - 1, at < 0 ? "nothing" : stops[at]->function,
				at < 0 ? 0 : stops[at]->address), 0;
	if (!nothing_lost()) {
		snprintf(why + strlen(why), sizeof(why) - strlen(why), " after %s, %#lx",
			 at < 0 ? "no stop" : stops[at]->function, at < 0 ? 0 : stops[at]->address);
		return 0;
	}
	return 1;
}

/*
 * All chosen places, STOPS at a time, that are not reached yet. A client that is killed leaves the other
 * stops to the next one; one that came to its end came by all that it comes by.
 */
static int everywhere(enum mode mode)
{
	struct place *stops[STOPS];
	int next = 0, n = 0;

	while (next < choices || n) {
		int left = 0;

		for (; n < STOPS && next < choices; next++)
			if (!places[chosen[next]].reached)
				stops[n++] = &places[chosen[next]];
		if (n && !one_client(mode, stops, n))
			return 0;
		for (int i = 0; i < n; i++)
			if (!stops[i]->reached)
				stops[left++] = stops[i];
		n = left < n && mode == KILL ? left : 0;
	}
	clients = 0;
	return nothing_lost();
}

/* What a disturbance before made a client pass by is tried again, alone. */
static int over_and_over(enum mode mode)
{
	for (int i = 0; i < choices; i++)
		places[chosen[i]].reached = 0;
	if (!everywhere(mode))
		return 0;
	for (int i = 0; i < 2 * choices; i++) {
		struct place *p = &places[chosen[i % choices]];

		if (p->fast && !p->reached && !one_client(mode, &p, 1))
			return 0;
	}
	return 1;
}

static int read_places(const char *name)
{
	FILE *f = fopen(name, "r");

	if (!f)
		return 0;
	while (count < MOST &&
	       fscanf(f, "%lx %47s", &places[count].address, places[count].function) == 2) {
		struct place *p = &places[count++];

		p->fast = !strncmp(p->function, "step_", 5) ||
			  !strncmp(p->function, "section_take", 12) ||
			  !strncmp(p->function, "section_put", 11);
	}
	fclose(f);
	return count > 0 && count < MOST;
}

/* Of each function, how much was reached; how many of the fast ones' instructions were not. */
static int coverage(enum mode mode)
{
	int missed = 0;

	for (int i = 0; i < choices;) {
		const char *function = places[chosen[i]].function;
		int all = 0, reached = 0;

		for (; i < choices && !strcmp(places[chosen[i]].function, function); i++) {
			const struct place *p = &places[chosen[i]];

			all++;
			reached += p->reached;
			if (p->fast && !p->reached &&
			    !(mode == SIGNAL && strstr(function, ".cold"))) {
				missed++;
				ksft_print_msg("not reached: %s, %#lx\n", function, p->address);
			}
		}
		ksft_print_msg("%-32s %4d of %4d instructions%s\n", function, reached, all,
			       reached ? "" : ": never called");
	}
	return missed;
}

static void stop_everywhere(enum mode mode)
{
	static const char *const names[] = {
		[KILL] = "SIGKILL", [MIGRATE] = "a migration", [SIGNAL] = "a signal whose handler uses the pool",
	};
	int reached = 0, missed, whole;

	quarry_drain(pool, 0, NULL);
	quarry_stat(pool, &at_first);
	whole = over_and_over(mode);
	if (whole)
		ksft_test_result_pass("%s at each instruction: nothing lost, nothing given twice\n", names[mode]);
	else
		ksft_test_result_fail("%s at each instruction: %s\n", names[mode], why);
	for (int i = 0; i < choices; i++)
		reached += places[chosen[i]].reached;
	missed = whole ? coverage(mode) : 1;
	if (!missed && reached >= choices / 2)
		ksft_test_result_pass("%s: %d of %d instructions reached, of the fast paths all\n", names[mode],
				      reached, choices);
	else
		ksft_test_result_fail("%s: %d of %d instructions reached, %d of the fast paths missed\n",
				      names[mode], reached, choices, missed);
}

int main(int argc, char **argv)
{
	const int fast = argc > 2 && !strcmp(argv[2], "fast");
	const struct quarry_options options = { .bytes = 4 << 20, .max_bytes = 8 << 20 };

	ksft_print_header();
	if (argc < 2 || !read_places(argv[1]))
		ksft_exit_fail_msg("there are no addresses of instructions\n");
	for (int i = 0; i < count; i++)
		if (!fast || places[i].fast)
			chosen[choices++] = i;
	pool = quarry_create(NULL, &options);
	if (!pool)
		ksft_exit_fail_msg("%s\n", quarry_strerror(errno, QUARRY_CALL_CREATE));
	for (int i = 0; i < KEPT; i++) {
		kept[i] = quarry_alloc(pool, 64);
		if (!kept[i])
			ksft_exit_fail_msg("no object\n");
		memset(kept[i], i + 1, 64);
	}
	if (argc > 3) {
		ksft_set_plan(2);
		stop_everywhere(SIGNAL);
	} else {
		/* Kills come last: they leave words behind in objects. */
		ksft_set_plan(6);
		stop_everywhere(MIGRATE);
		stop_everywhere(SIGNAL);
		stop_everywhere(KILL);
	}
	ksft_finished();
}
