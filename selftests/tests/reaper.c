// SPDX-License-Identifier: MIT
/*
 * The reaper, in each way to die that protocol section 1 names: what the dead client
 * owned is back before waitpid returns, or, where somebody still holds its address
 * space, when they let go, counted as late. (README: "A kill at any instruction leaks
 * nothing")
 */
#include "device.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include "kselftest_harness.h"

enum { OBJECTS = 500 };

FIXTURE(reaper)
{
	struct pool pool;
	int up[2];		/* child to parent */
	int down[2];		/* parent to child */
	uint64_t reaps;
};

FIXTURE_SETUP(reaper)
{
	ASSERT_EQ(create_heap(&self->pool, 2 * MIB, 16 * MIB), 0);
	ASSERT_EQ(pipe(self->up), 0);
	ASSERT_EQ(pipe(self->down), 0);
	self->reaps = stat_of(self->pool.fd).reaps;
}

FIXTURE_TEARDOWN(reaper)
{
	struct quarry_stat s = stat_of(self->pool.fd);

	EXPECT_EQ(s.objects, 0);
	EXPECT_EQ(s.used_bytes, 0);
	EXPECT_EQ(s.clients, 1);
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
	for (int i = 0; i < 2; i++) {
		close(self->up[i]);
		close(self->down[i]);
	}
}

/* In the child: joins, takes objects of many sizes. Exits on trouble. */
static struct pool child_with_objects(int fd)
{
	static const uint64_t sizes[] = { 8, 24, 64, 100, 512, 2048, 5000, 20000 };
	struct pool p;
	uint64_t out[OBJECTS];

	if (join(&p, fd, 1))
		_exit(50);
	for (int i = 0; i < OBJECTS; i++) {
		int64_t offset = alloc_one(&p, sizes[i % 8]);

		if (offset < 0)
			_exit(51);
		out[i] = offset;
		memset(p.memory + out[i], 0x5a, 8);
	}
	return p;
}

/* Everything is back, right now, and it was one reap, in time or late. */
#define EXPECT_REAPED(how_late)                                                \
	do {                                                                   \
		struct quarry_stat now = stat_of(self->pool.fd);               \
		EXPECT_EQ(now.objects, 0);                                     \
		EXPECT_EQ(now.reaps, self->reaps + 1);                         \
		EXPECT_EQ(now.reaped_objects, (uint64_t)OBJECTS);              \
		EXPECT_EQ(now.late_reaps, (uint64_t)(how_late));               \
	} while (0)

#define CHILD(...)                                                             \
	({                                                                     \
		pid_t child = fork();                                          \
		if (child == 0) {                                              \
			struct pool p = child_with_objects(self->pool.fd);     \
			(void)p;                                               \
			__VA_ARGS__;                                           \
			_exit(0);                                              \
		}                                                              \
		child;                                                         \
	})

#define WAIT_TO_BE_KILLED tell(self->up[1]); for (;;) pause()

TEST_F(reaper, exit_gives_everything_back_before_waitpid)
{
	pid_t pid = CHILD();

	EXPECT_EQ(status_of(pid), 0);
	EXPECT_REAPED(0);
}

TEST_F(reaper, a_kill_gives_everything_back_before_waitpid)
{
	pid_t pid = CHILD(WAIT_TO_BE_KILLED);

	wait_for(self->up[0]);
	EXPECT_EQ(stat_of(self->pool.fd).objects, (uint64_t)OBJECTS);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);
}

TEST_F(reaper, munmap_of_the_area_is_a_death)
{
	pid_t pid = CHILD(munmap(p.area, p.area_bytes); tell(self->up[1]); wait_for(self->down[0]));

	wait_for(self->up[0]);
	EXPECT_REAPED(0);
	tell(self->down[1]);
	EXPECT_EQ(status_of(pid), 0);
}

TEST_F(reaper, exec_is_a_death)
{
	pid_t pid = CHILD({
		char fd[16];

		/* Across exec both descriptors stay open; the mapping does not. */
		fcntl(p.fd, F_SETFD, 0);
		snprintf(fd, sizeof(fd), "%d", self->up[1]);
		dup2(self->up[1], 1);
		dup2(self->down[0], 0);
		execl("/bin/sh", "sh", "-c", "printf x; read line", NULL);
		_exit(52);
	});

	wait_for(self->up[0]);
	EXPECT_REAPED(0);
	if (write(self->down[1], "\n", 1) != 1)
		abort();
	EXPECT_EQ(status_of(pid), 0);
}

TEST_F(reaper, closing_the_last_descriptor_while_mapped_is_no_death_until_the_area_goes)
{
	/* The mapping keeps the file: the client lives on and its objects stay. */
	pid_t pid = CHILD(close(p.fd); tell(self->up[1]); wait_for(self->down[0]));

	wait_for(self->up[0]);
	EXPECT_EQ(stat_of(self->pool.fd).objects, (uint64_t)OBJECTS);
	tell(self->down[1]);
	EXPECT_EQ(status_of(pid), 0);
	EXPECT_REAPED(0);
}

TEST_F(reaper, a_live_forked_child_does_not_keep_its_dead_parents_objects)
{
	pid_t pid = CHILD({
		if (fork() == 0) {
			tell(self->up[1]);
			wait_for(self->down[0]);
			tell(self->up[1]);
			_exit(0);
		}
		for (;;)
			pause();
	});

	wait_for(self->up[0]);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);	/* the grandchild holds the descriptor, and lives */
	tell(self->down[1]);
	wait_for(self->up[0]);
}

TEST_F(reaper, the_death_of_a_forked_child_reaps_nothing_of_its_parent)
{
	int64_t object = alloc_one(&self->pool, 64);
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	EXPECT_EQ(status_of(pid), 0);
	EXPECT_EQ(stat_of(self->pool.fd).reaps, self->reaps);
	EXPECT_EQ(free_one(&self->pool, object), 0);
}

TEST_F(reaper, a_dup_in_another_process_does_not_keep_a_dead_clients_objects)
{
	int sockets[2];
	pid_t pid;
	int fd;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	pid = CHILD(send_fd(sockets[1], p.fd); WAIT_TO_BE_KILLED);
	wait_for(self->up[0]);
	fd = receive_fd(sockets[0]);
	ASSERT_GE(fd, 0);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);
	close(fd);
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(reaper, a_descriptor_in_flight_does_not_keep_a_dead_clients_objects)
{
	int sockets[2];
	pid_t pid;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	pid = CHILD(send_fd(sockets[1], p.fd); WAIT_TO_BE_KILLED);
	wait_for(self->up[0]);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);	/* it is still in the survivor's socket */
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(reaper, pidfd_getfd_does_not_keep_a_dead_clients_objects)
{
	int pid_fd, fd, shared[2];
	pid_t pid;

	ASSERT_EQ(pipe(shared), 0);
	pid = CHILD({
		if (write(shared[1], &p.fd, sizeof(p.fd)) != sizeof(p.fd))
			_exit(53);
		WAIT_TO_BE_KILLED;
	});
	wait_for(self->up[0]);
	ASSERT_EQ(read(shared[0], &fd, sizeof(fd)), (ssize_t)sizeof(fd));
	pid_fd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_GE(pid_fd, 0);
	fd = syscall(SYS_pidfd_getfd, pid_fd, fd, 0);
	ASSERT_GE(fd, 0);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);
	close(fd);
	close(pid_fd);
	close(shared[0]);
	close(shared[1]);
}

/* io_uring keeps a registered file beyond the exit of the process that registered it. */
static int register_with_io_uring(int fd)
{
	struct {
		uint32_t words[30];
	} params;
	int ring;

	memset(&params, 0, sizeof(params));
	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		return -errno;
	if (syscall(SYS_io_uring_register, ring, 2 /* IORING_REGISTER_FILES */, &fd, 1))
		return -errno;
	return ring;
}

TEST_F(reaper, a_file_registered_with_io_uring_does_not_keep_a_dead_clients_objects)
{
	pid_t pid = CHILD({
		if (register_with_io_uring(p.fd) < 0)
			_exit(54);
		WAIT_TO_BE_KILLED;
	});

	wait_for(self->up[0]);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);
}

TEST_F(reaper, an_open_proc_maps_does_not_delay_the_reap_of_an_open_descriptor)
{
	char path[64], byte;
	pid_t pid;
	int maps;

	/* With the descriptor still open, flush reaps in time. */
	pid = CHILD(WAIT_TO_BE_KILLED);
	wait_for(self->up[0]);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = open(path, O_RDONLY);
	ASSERT_GE(maps, 0);
	ASSERT_EQ(read(maps, &byte, 1), 1);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);
	close(maps);
}

/*
 * Holds another process's address space for sure, and as long as we want: process_vm_readv
 * into a page of ours that is not there yet. The copy waits for us to fill the page, and the
 * call drops the address space only when it returns.
 */
struct holder {
	pthread_t thread;
	pid_t pid;
	void *remote;
	void *page;
	int faults;
};

static void *read_into_the_hole(void *arg)
{
	struct holder *h = arg;
	struct iovec local = { h->page, 8 };
	struct iovec remote = { h->remote, 8 };

	return (void *)process_vm_readv(h->pid, &local, 1, &remote, 1, 0);
}

/* Returns once the call waits inside; 0 or a negative errno. */
static int hold_address_space(struct holder *h, pid_t pid, void *remote)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffd_msg message;

	h->pid = pid;
	h->remote = remote;
	h->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)h->page;
	range.range.len = PAGE;
	h->faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (h->page == MAP_FAILED || h->faults < 0 || ioctl(h->faults, UFFDIO_API, &api) ||
	    ioctl(h->faults, UFFDIO_REGISTER, &range) ||
	    pthread_create(&h->thread, NULL, read_into_the_hole, h))
		return -errno;
	return read(h->faults, &message, sizeof(message)) == sizeof(message) ? 0 : -EIO;
}

/* Lets go; the bytes that were read. */
static long let_go(struct holder *h)
{
	struct uffdio_zeropage fill = { .range = { (uintptr_t)h->page, PAGE } };
	void *bytes = NULL;

	if (ioctl(h->faults, UFFDIO_ZEROPAGE, &fill) || pthread_join(h->thread, &bytes))
		return -errno;
	close(h->faults);
	munmap(h->page, PAGE);
	return (long)bytes;
}

TEST_F(reaper, who_holds_the_address_space_of_a_client_without_descriptor_makes_its_reap_late)
{
	struct holder h;
	pid_t pid = CHILD(close(p.fd); WAIT_TO_BE_KILLED);

	wait_for(self->up[0]);
	/* A forked child has our addresses. */
	ASSERT_EQ(hold_address_space(&h, pid, &h), 0);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	struct quarry_stat now = stat_of(self->pool.fd);

	EXPECT_EQ(now.objects, (uint64_t)OBJECTS);
	EXPECT_EQ(now.reaps, self->reaps);
	EXPECT_EQ(now.clients, 2);
	EXPECT_EQ(let_go(&h), 8);
	EXPECT_REAPED(1);
}

TEST_F(reaper, who_holds_the_address_space_of_a_client_with_its_descriptor_delays_nothing)
{
	struct holder h;
	pid_t pid = CHILD(WAIT_TO_BE_KILLED);

	wait_for(self->up[0]);
	ASSERT_EQ(hold_address_space(&h, pid, &h), 0);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_REAPED(0);
	EXPECT_EQ(let_go(&h), 8);
	EXPECT_REAPED(0);
}

static int idle_thread(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return 0;
}

TEST_F(reaper, a_process_that_shares_the_address_space_keeps_it_until_it_ends)
{
	/* CLONE_VM without CLONE_THREAD: the client is one address space, and that lives. */
	int pids[2];
	pid_t pid, sharer;

	ASSERT_EQ(pipe(pids), 0);
	pid = CHILD({
		char *stack = malloc(64 * 1024);
		pid_t second = clone(idle_thread, stack + 64 * 1024, CLONE_VM | SIGCHLD, NULL);

		close(p.fd);
		if (write(pids[1], &second, sizeof(second)) != sizeof(second))
			_exit(55);
		WAIT_TO_BE_KILLED;
	});
	wait_for(self->up[0]);
	ASSERT_EQ(read(pids[0], &sharer, sizeof(sharer)), (ssize_t)sizeof(sharer));
	/* The sharer becomes ours when its parent dies. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	kill(sharer, SIGKILL);
	EXPECT_EQ(status_of(sharer), 128 + SIGKILL);
	struct quarry_stat now = stat_of(self->pool.fd);

	EXPECT_EQ(now.objects, 0);
	EXPECT_EQ(now.reaps, self->reaps + 1);
	close(pids[0]);
	close(pids[1]);
}

static void *thread_that_leaves_the_table(void *arg)
{
	(void)arg;
	/* This thread's own copy of the descriptors closes when it ends: no death. */
	return (void *)(long)unshare(CLONE_FILES);
}

TEST_F(reaper, the_end_of_a_thread_with_its_own_descriptors_is_no_death)
{
	pthread_t thread;
	void *failed;
	int64_t object = alloc_one(&self->pool, 64);

	ASSERT_EQ(pthread_create(&thread, NULL, thread_that_leaves_the_table, NULL), 0);
	ASSERT_EQ(pthread_join(thread, &failed), 0);
	EXPECT_EQ(failed, NULL);
	usleep(20000);
	EXPECT_EQ(stat_of(self->pool.fd).reaps, self->reaps);
	EXPECT_EQ(free_one(&self->pool, object), 0);
}

TEST_F(reaper, a_close_of_one_descriptor_is_no_death)
{
	int64_t object = alloc_one(&self->pool, 64);
	int copy = dup(self->pool.fd);

	EXPECT_EQ(close(copy), 0);
	EXPECT_EQ(stat_of(self->pool.fd).reaps, self->reaps);
	EXPECT_EQ(free_one(&self->pool, object), 0);
}

static void *forever(void *arg)
{
	struct pool *p = arg;

	for (;;) {
		uint64_t out[16];
		int n = alloc_n(p, 64, 0, 16, out);

		if (n > 0)
			free_n(p, n, out);
	}
	return NULL;
}

TEST_F(reaper, exit_with_running_threads_gives_everything_back)
{
	pid_t pid = CHILD({
		pthread_t threads[4];

		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, forever, &p);
		usleep(20000);
	});

	EXPECT_EQ(status_of(pid), 0);
	struct quarry_stat now = stat_of(self->pool.fd);

	EXPECT_EQ(now.objects, 0);
	EXPECT_GE(now.reaped_objects, (uint64_t)OBJECTS);
	EXPECT_EQ(now.late_reaps, 0);
}

TEST_F(reaper, a_thread_that_unmaps_the_area_ends_the_calls_of_the_others)
{
	pid_t pid = CHILD({
		pthread_t threads[4];

		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, forever, &p);
		usleep(20000);
		munmap(p.area, p.area_bytes);
		uint64_t out;

		if (alloc_n(&p, 64, 0, 1, &out) != -ESHUTDOWN)
			_exit(56);
	});

	EXPECT_EQ(status_of(pid), 0);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 0);
}

TEST_F(reaper, a_core_dump_leaves_the_pool_out_and_gives_everything_back)
{
	char directory[] = "/tmp/core-XXXXXX";
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	pid_t pid;

	ASSERT_NE(mkdtemp(directory), NULL);
	FILE *pattern = fopen("/proc/sys/kernel/core_pattern", "w");

	ASSERT_NE(pattern, NULL);
	fprintf(pattern, "%s/core", directory);
	ASSERT_EQ(fclose(pattern), 0);
	pid = CHILD({
		memcpy(p.memory + 64, "quarry-object-in-a-core", 23);
		setrlimit(RLIMIT_CORE, &unlimited);
		prctl(PR_SET_DUMPABLE, 1);
		abort();
	});
	EXPECT_EQ(status_of(pid), 128 + SIGABRT);
	EXPECT_REAPED(0);
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "%s/core", directory);
	if (stat(path, &st)) {
		char with_pid[96];

		snprintf(with_pid, sizeof(with_pid), "%s.%d", path, pid);
		ASSERT_EQ(stat(with_pid, &st), 0);
		strcpy(path, with_pid);
	}
	/* 16 MiB of pool are not in it. */
	EXPECT_LT(st.st_size, (off_t)(8 * MIB));
	unlink(path);
	rmdir(directory);
}

TEST_F(reaper, a_killed_client_leaves_the_objects_of_others_untouched)
{
	uint64_t mine[OBJECTS];
	pid_t pid;

	ASSERT_EQ(alloc_n(&self->pool, 64, 0, OBJECTS, mine), OBJECTS);
	for (int i = 0; i < OBJECTS; i++)
		memset(self->pool.memory + mine[i], i & 0xff, 64);
	pid = CHILD(WAIT_TO_BE_KILLED);
	wait_for(self->up[0]);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_EQ(stat_of(self->pool.fd).client_objects, (uint64_t)OBJECTS);
	for (int i = 0; i < OBJECTS; i++)
		for (int k = 0; k < 64; k++) {
			ASSERT_EQ(self->pool.memory[mine[i] + k], i & 0xff);
		}
	EXPECT_EQ(free_n(&self->pool, OBJECTS, mine), OBJECTS);
}

TEST_F(reaper, the_pool_outlives_its_creator)
{
	int sockets[2];
	struct pool survivor;
	pid_t pid;
	int fd;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	pid = fork();
	if (pid == 0) {
		struct pool p;

		if (create_heap(&p, MIB, MIB) || alloc_one(&p, 64) < 0)
			_exit(57);
		send_fd(sockets[1], p.fd);
		WAIT_TO_BE_KILLED;
	}
	wait_for(self->up[0]);
	fd = receive_fd(sockets[0]);
	ASSERT_EQ(join(&survivor, fd, 1), 0);
	kill(pid, SIGKILL);
	EXPECT_EQ(status_of(pid), 128 + SIGKILL);
	EXPECT_EQ(stat_of(survivor.fd).objects, 0);
	EXPECT_GE(alloc_one(&survivor, 4096), 0);
	leave(&survivor);
	close(fd);
	close(sockets[0]);
	close(sockets[1]);
}

TEST_HARNESS_MAIN
