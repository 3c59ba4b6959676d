// SPDX-License-Identifier: MIT
/*
 * Who is a client: one open pool file bound to one address space, with its client area
 * mapped. (README: "A descriptor is the right to join, and nothing else")
 */
#include "device.h"
#include <sys/prctl.h>
#include "kselftest_harness.h"

FIXTURE(client)
{
	struct pool pool;
	uint64_t object;
};

FIXTURE_SETUP(client)
{
	ASSERT_EQ(create_heap(&self->pool, MIB, 4 * MIB), 0);
	self->object = alloc_one(&self->pool, 64);
}

FIXTURE_TEARDOWN(client)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	EXPECT_EQ(free_one(&self->pool, self->object), 0);
	leave(&self->pool);
}

/* What a stranger (another address space) gets from each call on this descriptor. */
static int stranger(struct pool *p, uint64_t object)
{
	struct quarry_info info = { .size = sizeof(info) };
	struct quarry_stat stat = { .size = sizeof(stat) };
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = PAGE };
	struct quarry_drain drain = { .size = sizeof(drain) };
	struct quarry_verify audit = { .size = sizeof(audit) };
	struct pool mine;
	uint64_t out;

	if (alloc_n(p, 64, 0, 1, &out) != -EXDEV)
		return 1;
	if (free_one(p, object) != -EXDEV)
		return 2;
	if (transfer_n(p, p->client, 1, &object) != -EXDEV)
		return 3;
	if (call(p->fd, QUARRY_IOC_REGION_ADD, &region) != -EXDEV)
		return 4;
	if (call(p->fd, QUARRY_IOC_REGION_REMOVE, &region) != -EXDEV)
		return 5;
	if (call(p->fd, QUARRY_IOC_DRAIN, &drain) != -EXDEV)
		return 6;
	if (call(p->fd, QUARRY_IOC_VERIFY, &audit) != -EXDEV)
		return 7;
	if (call(p->fd, QUARRY_IOC_INFO, &info) || info.abi_version != QUARRY_ABI_VERSION)
		return 8;
	if (call(p->fd, QUARRY_IOC_STAT, &stat) || stat.pool_id != p->id)
		return 9;
	if (mmap(NULL, p->area_bytes, PROT_READ, MAP_SHARED, p->fd, QUARRY_CLIENT_AREA_OFFSET) !=
		    MAP_FAILED || errno != EXDEV)
		return 10;
	if (join(&mine, p->fd, 1))
		return 11;
	if (mine.client == p->client || mine.id != p->id)
		return 12;
	if (alloc_n(&mine, 64, 0, 1, &out) != 1 || out == object)
		return 13;
	if (free_one(&mine, object) != -EACCES)
		return 14;
	if (free_one(&mine, out))
		return 15;
	leave(&mine);
	return 0;
}

TEST_F(client, a_forked_child_may_only_look_and_join)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(stranger(&self->pool, self->object));
	EXPECT_EQ(status_of(pid), 0);
}

TEST_F(client, a_receiver_of_the_descriptor_may_only_look_and_join)
{
	int sockets[2];
	pid_t pid;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	pid = fork();
	if (pid == 0) {
		struct pool copy = self->pool;

		close(self->pool.fd);
		copy.fd = receive_fd(sockets[1]);
		_exit(copy.fd < 0 ? 100 : stranger(&copy, self->object));
	}
	EXPECT_EQ(send_fd(sockets[0], self->pool.fd), 0);
	EXPECT_EQ(status_of(pid), 0);
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(client, another_descriptor_of_the_same_process_is_another_client)
{
	struct pool second;

	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	EXPECT_NE(second.client, self->pool.client);
	EXPECT_EQ(free_one(&second, self->object), -EACCES);
	EXPECT_EQ(stat_of(self->pool.fd).clients, 2);
	leave(&second);
	EXPECT_EQ(stat_of(self->pool.fd).clients, 1);
}

TEST_F(client, a_dup_is_the_same_client)
{
	struct pool copy = self->pool;
	int64_t object;

	copy.fd = dup(self->pool.fd);
	ASSERT_GE(copy.fd, 0);
	object = alloc_one(&copy, 64);
	EXPECT_EQ(close(copy.fd), 0);
	EXPECT_EQ(free_one(&self->pool, object), 0);
}

TEST_F(client, without_its_area_a_client_is_not_connected)
{
	struct pool second;
	uint64_t out;

	ASSERT_EQ(join(&second, self->pool.fd, 0), 0);
	EXPECT_EQ(alloc_n(&second, 64, 0, 1, &out), -ENOTCONN);
	EXPECT_EQ(transfer_n(&second, self->pool.client, 1, &self->object), -ENOTCONN);
	EXPECT_EQ(transfer_n(&self->pool, second.client, 1, &self->object), -EUNATCH);
	ASSERT_EQ(map_area(&second), 0);
	EXPECT_EQ(alloc_n(&second, 64, 0, 1, &out), 1);
	EXPECT_EQ(free_one(&second, out), 0);
	leave(&second);
}

TEST_F(client, after_its_reap_a_client_is_shut_down_and_still_tells_its_state)
{
	struct quarry_info info = { .size = sizeof(info) };
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = PAGE };
	struct quarry_drain drain = { .size = sizeof(drain) };
	struct pool second, third;
	uint64_t out;

	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	ASSERT_EQ(alloc_n(&second, 64, 0, 1, &out), 1);
	ASSERT_EQ(munmap(second.area, second.area_bytes), 0);
	second.area = NULL;
	EXPECT_EQ(stat_of(self->pool.fd).objects, 1);
	EXPECT_EQ(alloc_n(&second, 64, 0, 1, &out), -ESHUTDOWN);
	EXPECT_EQ(free_one(&second, out), -ESHUTDOWN);
	EXPECT_EQ(transfer_n(&second, self->pool.client, 1, &out), -ESHUTDOWN);
	EXPECT_EQ(call(second.fd, QUARRY_IOC_REGION_ADD, &region), -ESHUTDOWN);
	EXPECT_EQ(call(second.fd, QUARRY_IOC_DRAIN, &drain), -ESHUTDOWN);
	EXPECT_EQ(map_area(&second), -ESHUTDOWN);
	EXPECT_EQ(transfer_n(&self->pool, second.client, 1, &self->object), -ESRCH);
	EXPECT_EQ(call(second.fd, QUARRY_IOC_INFO, &info), 0);
	EXPECT_EQ(stat_of(second.fd).events & QUARRY_EVENT_REAPED, QUARRY_EVENT_REAPED);
	EXPECT_EQ(join(&third, second.fd, 1), 0);
	leave(&third);
	leave(&second);
}

TEST_F(client, the_area_cannot_be_moved_resized_or_mapped_twice)
{
	void *elsewhere = mmap(NULL, self->pool.area_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
	struct pool second;

	/* Nor split. */
	ASSERT_GT(self->pool.area_bytes, PAGE);
	EXPECT_EQ(munmap(self->pool.area, PAGE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mprotect((char *)self->pool.area + PAGE, PAGE, PROT_NONE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mremap(self->pool.area, self->pool.area_bytes, 2 * self->pool.area_bytes,
			 MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(mremap(self->pool.area, 0, self->pool.area_bytes, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(mremap(self->pool.area, self->pool.area_bytes, self->pool.area_bytes,
			 MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), MAP_FAILED);
	EXPECT_EQ(mremap(self->pool.area, self->pool.area_bytes, self->pool.area_bytes,
			 MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, self->pool.area_bytes, PROT_READ, MAP_SHARED, self->pool.fd,
		       QUARRY_CLIENT_AREA_OFFSET), MAP_FAILED);
	EXPECT_EQ(errno, EBUSY);
	EXPECT_EQ(mmap(NULL, self->pool.area_bytes + PAGE, PROT_READ, MAP_SHARED, self->pool.fd,
		       QUARRY_CLIENT_AREA_OFFSET), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	ASSERT_EQ(join(&second, self->pool.fd, 0), 0);
	EXPECT_EQ(mmap(NULL, second.area_bytes, PROT_READ, MAP_PRIVATE, second.fd,
		       QUARRY_CLIENT_AREA_OFFSET), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	leave(&second);
	/* It still lives, where it was. */
	EXPECT_EQ(stat_of(self->pool.fd).client_objects, 1);
	EXPECT_EQ(((struct quarry_client_area *)self->pool.area)->client_id, self->pool.client);
}

TEST_F(client, no_advice_or_protection_ends_the_area)
{
	static const struct {
		int advice, answer;
	} cases[] = {
		{ MADV_DONTNEED, 0 }, { MADV_COLD, 0 }, { MADV_PAGEOUT, 0 },
		{ MADV_POPULATE_READ, 0 }, { MADV_DONTFORK, 0 },
		{ MADV_FREE, EINVAL }, { MADV_WIPEONFORK, EINVAL }, { MADV_DODUMP, EINVAL },
		{ MADV_REMOVE, ENODEV },
	};
	const struct quarry_client_area *area = self->pool.area;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		errno = 0;
		madvise(self->pool.area, self->pool.area_bytes, cases[i].advice);
		EXPECT_EQ(errno, cases[i].answer) {
			TH_LOG("advice %d", cases[i].advice);
		}
		EXPECT_EQ(area->client_id, self->pool.client);
		EXPECT_EQ(area->max_bytes, self->pool.max_bytes);
	}
	EXPECT_EQ(mprotect(self->pool.area, self->pool.area_bytes, PROT_NONE), 0);
	EXPECT_EQ(free_one(&self->pool, self->object), 0);
	self->object = alloc_one(&self->pool, 64);
	EXPECT_EQ(mprotect(self->pool.area, self->pool.area_bytes, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(madvise(self->pool.area, self->pool.area_bytes, MADV_REMOVE), -1);
	EXPECT_EQ(errno, ENODEV);
	EXPECT_EQ(area->client_id, self->pool.client);
	EXPECT_EQ(stat_of(self->pool.fd).clients, 1);
	EXPECT_EQ(stat_of(self->pool.fd).reaps, 0);
}

/* In a child that has inherited its parent's area. */
static int heir(struct pool *p, uint64_t object)
{
	const struct quarry_client_area *area = p->area;

	if (area->client_id != p->client)
		return 1;
	if (free_one(p, object) != -EXDEV)
		return 2;
	if (munmap(p->area, p->area_bytes))
		return 3;
	return stat_of(p->fd).reaps ? 4 : 0;
}

TEST_F(client, a_child_that_inherits_the_area_by_advice_is_no_client_and_ends_none)
{
	struct quarry_stat s;
	int up[2];
	pid_t pid;

	/* Newer kernels refuse the advice for a mapping that cannot be stretched: then nobody inherits it. */
	if (madvise(self->pool.area, self->pool.area_bytes, MADV_DOFORK)) {
		ASSERT_EQ(errno, EINVAL);
		pid = fork();
		if (pid == 0)
			_exit(*(volatile char *)self->pool.area);
		EXPECT_EQ(status_of(pid), 128 + SIGSEGV);
		EXPECT_EQ(stat_of(self->pool.fd).reaps, 0);
		return;
	}
	pid = fork();
	if (pid == 0)
		_exit(heir(&self->pool, self->object));
	EXPECT_EQ(status_of(pid), 0);
	/* One that dies with it. */
	pid = fork();
	if (pid == 0)
		_exit(0);
	EXPECT_EQ(status_of(pid), 0);
	s = stat_of(self->pool.fd);
	EXPECT_EQ(s.reaps, 0);
	EXPECT_EQ(s.client_objects, 1);

	/* And an heir that lives does not keep its dead parent's objects, descriptor closed or not. */
	ASSERT_EQ(pipe(up), 0);
	for (int closed = 0; closed < 2; closed++) {
		pid = fork();
		if (pid == 0) {
			struct pool p;

			if (join(&p, self->pool.fd, 1) || alloc_one(&p, 64) < 0 ||
			    madvise(p.area, p.area_bytes, MADV_DOFORK))
				_exit(1);
			if (fork() == 0) {
				tell(up[1]);
				sleep(2);
				_exit(((struct quarry_client_area *)p.area)->client_id != p.client);
			}
			if (closed)
				close(p.fd);
			for (;;)
				pause();
		}
		wait_for(up[0]);
		EXPECT_EQ(stat_of(self->pool.fd).objects, 2);
		usleep(200000);
		kill(pid, SIGKILL);
		EXPECT_EQ(status_of(pid), 128 + SIGKILL);
		s = stat_of(self->pool.fd);
		EXPECT_EQ(s.objects, 1);
		EXPECT_EQ(s.reaps, (uint64_t)closed + 1);
		EXPECT_EQ(s.late_reaps, 0);
	}
	sleep(3);
	close(up[0]);
	close(up[1]);
}

TEST_F(client, a_mapping_put_over_the_area_is_its_end)
{
	struct pool second;
	uint64_t out;

	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	ASSERT_EQ(alloc_n(&second, 64, 0, 1, &out), 1);
	ASSERT_EQ(mmap(second.area, second.area_bytes, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), second.area);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 1);
	EXPECT_EQ(free_one(&second, out), -ESHUTDOWN);
	leave(&second);
}

TEST_F(client, the_area_describes_the_pool)
{
	const struct quarry_client_area *area = self->pool.area;
	struct quarry_info info = { .size = sizeof(info) };

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_INFO, &info), 0);
	EXPECT_EQ(area->abi_version, QUARRY_ABI_VERSION);
	EXPECT_EQ(area->bytes, self->pool.area_bytes);
	EXPECT_EQ(area->pool_id, self->pool.id);
	EXPECT_EQ(area->client_id, self->pool.client);
	EXPECT_EQ(area->max_bytes, self->pool.max_bytes);
	EXPECT_EQ(area->class_count, info.class_count);
	EXPECT_EQ(memcmp(area->class_size, info.class_size, sizeof(info.class_size)), 0);
}

TEST_F(client, what_user_space_writes_into_its_area_changes_nothing)
{
	struct pool second;
	uint8_t *area;

	ASSERT_EQ(join(&second, self->pool.fd, 0), 0);
	area = mmap(NULL, second.area_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, second.fd,
		    QUARRY_CLIENT_AREA_OFFSET);
	if (area != MAP_FAILED) {
		uint64_t out;

		/* The head, and the block of the first CPU as far as it has memory. */
		memset(area, 0xff, PAGE + 16 * KIB);
		EXPECT_EQ(alloc_n(&second, 64, 0, 1, &out), 1);
		memset(area, 0x00, PAGE + 16 * KIB);
		EXPECT_EQ(free_one(&second, out), 0);
		munmap(area, second.area_bytes);
	}
	leave(&second);
}

TEST_F(client, ids_are_never_used_again)
{
	uint64_t last = self->pool.client;

	for (int i = 0; i < 200; i++) {
		struct pool p;

		ASSERT_EQ(join(&p, self->pool.fd, 1), 0);
		EXPECT_GT(p.client, last);
		last = p.client;
		leave(&p);
	}
}

TEST_F(client, a_thousand_clients_share_one_pool)
{
	enum { COUNT = 1000 };
	struct pool *all = calloc(COUNT, sizeof(*all));
	int made = 0;

	for (; made < COUNT; made++) {
		if (join(&all[made], self->pool.fd, 0) || map_area(&all[made]))
			break;
		if (alloc_one(&all[made], 64) < 0)
			break;
	}
	EXPECT_EQ(made, COUNT);
	EXPECT_EQ(stat_of(self->pool.fd).objects, (uint64_t)made + 1);
	EXPECT_EQ(verify(self->pool.fd), 0);
	for (int i = 0; i < made; i++)
		leave(&all[i]);
	free(all);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 1);
}

/* A client of its own, in a child that has a child that does the same; its exit status. */
static int storm(int fd, int generations)
{
	for (;; generations--) {
		uint64_t out[20];
		struct pool mine;
		pid_t pid;

		if (join(&mine, fd, 1) || alloc_n(&mine, 200, 0, 20, out) != 20)
			return 1;
		if (!generations)
			return 0;
		pid = fork();
		if (pid == 0)
			continue;
		/* The other objects are the reaper's. */
		return pid < 0 || free_n(&mine, 10, out) != 10 ? 2 : 0;
	}
}

TEST_F(client, a_storm_of_forks_and_kills_leaves_nothing)
{
	enum { CHILDREN = 60 };
	struct quarry_stat before = stat_of(self->pool.fd), after;
	pid_t children[CHILDREN];
	int status, wrong = 0, ended = 0;

	/* Orphans come home to be waited for. */
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		if (children[i] == 0)
			_exit(storm(self->pool.fd, 2));
		ASSERT_GT(children[i], 0);
		if (i % 3 == 2)
			kill(children[i - 1], SIGKILL);
	}
	while (wait(&status) > 0) {
		ended++;
		wrong += !(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
			 !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	EXPECT_EQ(wrong, 0);
	EXPECT_GT(ended, 2 * CHILDREN);
	after = stat_of(self->pool.fd);
	EXPECT_EQ(after.clients, before.clients);
	EXPECT_EQ(after.objects, before.objects);
	EXPECT_GT(after.reaped_objects - before.reaped_objects, 10 * 2 * CHILDREN);
	EXPECT_EQ(after.late_reaps, before.late_reaps);
}

TEST_HARNESS_MAIN
