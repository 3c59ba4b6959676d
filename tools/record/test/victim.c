/* SPDX-License-Identifier: MIT */
/*
 * The program that is recorded in the tests: victim MODE [ARGUMENT]. Each mode does something known to
 * the allocation; recorder_test.cpp holds the trace against it. Plain C, so that nothing else
 * allocates between the two marks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "victim.h"

/* The compiler must not see through an allocation that is freed at once. */
static void *volatile sink;
static void *keep(void *block)
{
	sink = block;
	return block;
}

static void mark(void)
{
	free(keep(malloc(VICTIM_MARK)));
}

static void check(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "victim: %s\n", what);
	_exit(99);
}

/* Every call once, or in its odd forms; expected in recorder_test.cpp, line by line. */
static int exact(void)
{
	void *a, *b, *c, *d = NULL, *e, *f, *g, *h;
	size_t volatile huge = SIZE_MAX / 2;

	mark();
	a = keep(malloc(100));
	b = keep(malloc(0));
	c = keep(calloc(7, 9));
	check(posix_memalign(&d, 64, 200) == 0, "posix_memalign");
	e = keep(aligned_alloc(256, 512));
	f = keep(memalign(4096, 10));
	g = keep(valloc(11));
	h = keep(pvalloc(12));
	free(c);
	a = keep(realloc(a, 5000));
	a = keep(realloc(a, 50));
	a = keep(reallocarray(a, 30, 30));
	b = keep(realloc(NULL, 77));
	check(realloc(b, 0) == NULL, "realloc to nothing");
	check(keep(malloc(huge)) == NULL, "a huge malloc succeeded");
	check(keep(calloc(huge, 4)) == NULL && errno == ENOMEM, "an overflowing calloc succeeded");
	check(keep(realloc(a, huge)) == NULL, "a huge realloc succeeded");
	check(keep(reallocarray(a, huge, 4)) == NULL, "an overflowing reallocarray succeeded");
	free(NULL);
	free(h);
	free(d);
	free(a);
	free(g);
	free(e);
	(void)f;
	mark();
	return 0;
}

/* Each object doubles from 1 byte to 64 KiB and halves back, VICTIM_CHAINS at once. */
static int chains(void)
{
	void *object[VICTIM_CHAINS] = { 0 };

	mark();
	for (int i = 0; i < VICTIM_CHAINS; i++)
		object[i] = malloc(1);
	for (int shift = 1; shift <= 32; shift++)
		for (int i = 0; i < VICTIM_CHAINS; i++)
			object[i] = realloc(object[i], (size_t)1 << (shift <= 16 ? shift : 32 - shift));
	for (int i = 0; i < VICTIM_CHAINS; i++)
		free(object[i]);
	mark();
	return 0;
}

/* A ring of threads: each allocates, and frees what the thread before it allocated. */
static _Atomic(void *) mailbox[VICTIM_THREADS][64];

static void *ring(void *argument)
{
	const int me = (int)(intptr_t)argument, to = (me + 1) % VICTIM_THREADS;
	unsigned sent = 0, freed = 0;

	while (sent < VICTIM_ROUNDS || freed < VICTIM_ROUNDS) {
		if (sent < VICTIM_ROUNDS && !atomic_load(&mailbox[to][sent % 64])) {
			void *object = malloc(16 + sent % 500);

			memset(object, me, 16);
			atomic_store(&mailbox[to][sent++ % 64], object);
		}
		if (freed < VICTIM_ROUNDS) {
			void *object = atomic_exchange(&mailbox[me][freed % 64], NULL);

			if (object) {
				free(object);
				freed++;
			} else if (sent == VICTIM_ROUNDS || atomic_load(&mailbox[to][sent % 64])) {
				sched_yield();
			}
		}
	}
	return NULL;
}

static int threads(void)
{
	pthread_t thread[VICTIM_THREADS];

	mark();
	for (int i = 0; i < VICTIM_THREADS; i++)
		check(!pthread_create(&thread[i], NULL, ring, (void *)(intptr_t)i), "pthread_create");
	for (int i = 0; i < VICTIM_THREADS; i++)
		pthread_join(thread[i], NULL);
	mark();
	return 0;
}

/* One thread after the other, many more than the recorder has buffers. */
static void *one_object(void *argument)
{
	free(keep(malloc(33)));
	return argument;
}

static int successive(void)
{
	pthread_t thread;

	mark();
	for (int i = 0; i < VICTIM_SUCCESSIVE; i++) {
		check(!pthread_create(&thread, NULL, one_object, NULL), "pthread_create");
		pthread_join(thread, NULL);
	}
	mark();
	return 0;
}

static pthread_barrier_t barrier;

static void *one_object_together(void *argument)
{
	void *object = malloc(34);

	pthread_barrier_wait(&barrier);
	free(object);
	return argument;
}

static int together(void)
{
	static pthread_t thread[VICTIM_TOGETHER];

	pthread_barrier_init(&barrier, NULL, VICTIM_TOGETHER);
	for (int i = 0; i < VICTIM_TOGETHER; i++)
		check(!pthread_create(&thread[i], NULL, one_object_together, NULL), "pthread_create");
	for (int i = 0; i < VICTIM_TOGETHER; i++)
		pthread_join(thread[i], NULL);
	return 0;
}

static atomic_int stop_storm;

static void *storm(void *argument)
{
	void *object[100] = { 0 };

	for (unsigned i = 0; !atomic_load(&stop_storm); i++) {
		free(object[i % 100]);
		object[i % 100] = malloc(1 + i % 3000);
	}
	for (int i = 0; i < 100; i++)
		free(object[i]);
	return argument;
}

/* The child frees what it inherited and allocates objects of its own, then leaves by `how`. */
static int forks(const char *how)
{
	static void *object[VICTIM_INHERITED];
	/* Only fork() makes malloc fit for use when another thread was in it. */
	const int raw = !strcmp(how, "raw");
	pthread_t thread;
	int status;
	pid_t child;

	for (int i = 0; i < VICTIM_INHERITED; i++)
		object[i] = malloc(40);
	check(raw || !pthread_create(&thread, NULL, storm, NULL), "pthread_create");
	child = raw ? _Fork() : fork();
	check(child >= 0, "fork");
	if (!child) {
		mark();
		for (int i = 0; i < VICTIM_INHERITED; i++)
			free(object[i]);
		for (int i = 0; i < VICTIM_OWN; i++)
			object[i] = malloc(50);
		for (int i = 0; i < VICTIM_OWN; i++)
			free(object[i]);
		mark();
		_exit(0);
	}
	check(waitpid(child, &status, 0) == child && status == 0, "the child failed");
	atomic_store(&stop_storm, 1);
	if (!raw)
		pthread_join(thread, NULL);
	for (int i = 0; i < VICTIM_INHERITED; i++)
		free(object[i]);
	return 0;
}

/* vfork, in whose child the memory is the parent's; then exec, or _exit. */
static int vforks(const char *self, const char *how)
{
	int status;
	pid_t child;

	free(keep(malloc(60)));
	child = vfork();
	if (!child) {
		if (!strcmp(how, "exec"))
			execl(self, self, "nothing", (char *)NULL);
		_exit(0);
	}
	check(waitpid(child, &status, 0) == child && status == 0, "the child failed");
	if (!strcmp(how, "killed"))
		raise(SIGKILL);
	mark();
	return 0;
}

static int execs(const char *self, const char *how)
{
	char *const argv[] = { (char *)self, "nothing", NULL };

	mark();
	if (!strcmp(how, "execl"))
		execl(self, self, "nothing", (char *)NULL);
	else if (!strcmp(how, "execlp"))
		execlp(self, self, "nothing", (char *)NULL);
	else if (!strcmp(how, "execle"))
		execle(self, self, "nothing", (char *)NULL, environ);
	else if (!strcmp(how, "execv"))
		execv(self, argv);
	else if (!strcmp(how, "execve"))
		execve(self, argv, environ);
	else if (!strcmp(how, "execvp"))
		execvp(self, argv);
	else if (!strcmp(how, "execvpe"))
		execvpe(self, argv, environ);
	else if (!strcmp(how, "fexecve"))
		fexecve(open(self, O_RDONLY | O_CLOEXEC), argv, environ);
	else if (!strcmp(how, "execveat"))
		execveat(AT_FDCWD, self, argv, environ, 0);
	else if (!strcmp(how, "failing")) {
		check(execl("/nonexistent/program", "program", (char *)NULL) == -1, "exec");
		check(errno == ENOENT, "errno of a failed exec");
		free(keep(malloc(70)));
		mark();
		return 0;
	}
	return 98;
}

static int ends(const char *how)
{
	mark();
	keep(malloc(80));
	if (!strcmp(how, "exit"))
		exit(3);
	if (!strcmp(how, "_exit"))
		_exit(3);
	if (!strcmp(how, "_Exit"))
		_Exit(3);
	if (!strcmp(how, "quick_exit"))
		quick_exit(3);
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "pthread_exit"))
		pthread_exit(NULL);
	if (!strcmp(how, "raw"))
		syscall(SYS_exit_group, 3);
	if (!strcmp(how, "term"))
		raise(SIGTERM);
	return 98;
}

static void leave(int signal)
{
	(void)signal;
	_exit(4);
}

/* _exit from a handler that interrupts allocations at any instruction. */
static int interrupted(const char *microseconds)
{
	const struct itimerval when = { .it_value.tv_usec = atoi(microseconds) };

	signal(SIGALRM, leave);
	setitimer(ITIMER_REAL, &when, NULL);
	storm(NULL);
	return 98;
}

/* Allocates for ever; a line once it has begun. */
static int endless(void)
{
	puts("begun");
	fflush(stdout);
	storm(NULL);
	return 98;
}

/* errno must live through every call, also those that write a block. */
static int keeps_errno(void)
{
	for (int i = 0; i < 100000; i++) {
		void *object;

		errno = 1234;
		object = malloc(24);
		check(errno == 1234, "malloc changed errno");
		free(object);
		check(errno == 1234, "free changed errno");
	}
	return 0;
}

/* Closes what it has not opened, goes elsewhere, and still is recorded. */
static int closes(void)
{
	int blocks = 0;

	check(chdir("/") == 0, "chdir");
	for (int i = 0; i < 200000; i++) {
		free(keep(malloc(24)));
		if (i % 1000 == 0) {
			for (int fd = 3; fd < 64; fd++)
				close(fd);
			check(dup(0) == 3, "a descriptor is not the first free one");
			blocks++;
		}
	}
	return blocks == 200 ? 0 : 98;
}

/* Many blocks are written, and no descriptor is left over. */
static int descriptors(void)
{
	for (int fd = 3; fd < 1024; fd++)
		close(fd); /* what was inherited */
	for (int i = 0; i < 200000; i++)
		free(keep(malloc(24)));
	for (int fd = 3; fd < 1024; fd++)
		check(fcntl(fd, F_GETFD) == -1, "a descriptor is open that is not the program's");
	return 0;
}

static double seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int bench(void)
{
	const int pairs = 2000000;
	void *object[64] = { 0 };
	const double start = seconds();

	for (int i = 0; i < pairs; i++) {
		free(object[i % 64]);
		object[i % 64] = malloc(16 + i % 200);
	}
	printf("%.1f\n", (seconds() - start) / pairs * 1e9);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "nothing";
	const char *how = argc > 2 ? argv[2] : "";

	if (!strcmp(mode, "nothing"))
		return 0;
	if (!strcmp(mode, "exact"))
		return exact();
	if (!strcmp(mode, "chains"))
		return chains();
	if (!strcmp(mode, "threads"))
		return threads();
	if (!strcmp(mode, "successive"))
		return successive();
	if (!strcmp(mode, "together"))
		return together();
	if (!strcmp(mode, "fork"))
		return forks(how);
	if (!strcmp(mode, "vfork"))
		return vforks(argv[0], how);
	if (!strcmp(mode, "exec"))
		return execs(argv[0], how);
	if (!strcmp(mode, "end"))
		return ends(how);
	if (!strcmp(mode, "interrupted"))
		return interrupted(how);
	if (!strcmp(mode, "endless"))
		return endless();
	if (!strcmp(mode, "errno"))
		return keeps_errno();
	if (!strcmp(mode, "closes"))
		return closes();
	if (!strcmp(mode, "descriptors"))
		return descriptors();
	if (!strcmp(mode, "bench"))
		return bench();
	fprintf(stderr, "victim: no mode %s\n", mode);
	return 97;
}
