// SPDX-License-Identifier: MIT
/*
 * Who may, and how much: limits by user, also from another user namespace;
 * RLIMIT_MEMLOCK; lowmem; rights; a machine without memory. (README: "No process takes
 * more than it may, and the OOM killer is never called")
 */
#include "device.h"
#include <grp.h>
#include <sys/resource.h>
#include "kselftest_harness.h"

/* Runs f in a child of the given user; its exit status. */
static int as_user(uid_t uid, int (*f)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		if (uid && (setgroups(0, NULL) || setgid(uid) || setuid(uid)))
			_exit(120);
		_exit(f());
	}
	return status_of(pid);
}

static int saved_mode;

FIXTURE(limits)
{
	long user_bytes, user_pools, user_clients, pool_bytes, lowmem_bytes;
};

FIXTURE_SETUP(limits)
{
	struct stat st;

	self->user_bytes = parameter("max_user_bytes");
	self->user_pools = parameter("max_user_pools");
	self->user_clients = parameter("max_user_clients");
	self->pool_bytes = parameter("max_pool_bytes");
	self->lowmem_bytes = parameter("max_user_lowmem_bytes");
	ASSERT_GE(self->user_bytes, 0);
	ASSERT_GT(self->user_pools, 0);
	ASSERT_GT(self->user_clients, 0);
	ASSERT_EQ(stat(QUARRY_DEVICE, &st), 0);
	saved_mode = st.st_mode & 07777;
}

FIXTURE_TEARDOWN(limits)
{
	EXPECT_EQ(set_parameter("max_user_bytes", self->user_bytes), 0);
	EXPECT_EQ(set_parameter("max_user_pools", self->user_pools), 0);
	EXPECT_EQ(set_parameter("max_user_clients", self->user_clients), 0);
	EXPECT_EQ(set_parameter("max_pool_bytes", self->pool_bytes), 0);
	EXPECT_EQ(set_parameter("max_user_lowmem_bytes", self->lowmem_bytes), 0);
	chmod(QUARRY_DEVICE, saved_mode);
}

static int opens(void)
{
	int fd = control();

	return fd < 0 ? -fd : 0;
}

TEST_F(limits, the_device_is_for_root_and_its_group)
{
	EXPECT_EQ(saved_mode, 0660);
	EXPECT_EQ(as_user(0, opens), 0);
	EXPECT_EQ(as_user(65534, opens), EACCES);
}

static int makes_three_pools(void)
{
	struct pool p[3];

	for (int i = 0; i < 3; i++) {
		int err = create_heap(&p[i], 64 * KIB, 64 * KIB);

		if (err)
			return -err == EDQUOT ? 10 + i : -err;
	}
	return 0;
}

TEST_F(limits, pools_of_one_user_are_limited)
{
	chmod(QUARRY_DEVICE, 0666);
	ASSERT_EQ(set_parameter("max_user_pools", 2), 0);
	EXPECT_EQ(as_user(65534, makes_three_pools), 12);
	/* Given back with the process. */
	EXPECT_EQ(as_user(65534, makes_three_pools), 12);
	ASSERT_EQ(set_parameter("max_user_pools", 3), 0);
	EXPECT_EQ(as_user(65534, makes_three_pools), 0);
}

static int makes_three_clients(void)
{
	struct pool p, q[3];
	int err = create_heap(&p, 64 * KIB, 64 * KIB);

	if (err)
		return -err;
	for (int i = 0; i < 3; i++) {
		err = join(&q[i], p.fd, 1);
		if (err)
			return -err == EDQUOT ? 10 + i : -err;
	}
	return 0;
}

TEST_F(limits, clients_of_one_user_are_limited)
{
	chmod(QUARRY_DEVICE, 0666);
	ASSERT_EQ(set_parameter("max_user_clients", 3), 0);
	EXPECT_EQ(as_user(65534, makes_three_clients), 12);
	ASSERT_EQ(set_parameter("max_user_clients", 4), 0);
	EXPECT_EQ(as_user(65534, makes_three_clients), 0);
}

static int set_file_max(const char *value)
{
	FILE *f = fopen("/proc/sys/fs/file-max", "w");

	if (!f)
		return -errno;
	fputs(value, f);
	return fclose(f) ? -errno : 0;
}

/* Root is not bound by it, so the calls are those of another effective user. */
TEST_F(limits, a_pool_or_a_client_without_a_file_left_is_enfile_and_takes_no_place)
{
	int fd = control(), create, joined, tried, opened;
	struct quarry_pool_create c;
	char most[32] = "";
	struct pool p, none;
	FILE *f;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(create_heap(&p, 64 * KIB, 64 * KIB), 0);
	create_defaults(&c);
	c.bytes = 64 * KIB;
	c.max_bytes = 64 * KIB;
	f = fopen("/proc/sys/fs/file-max", "r");
	ASSERT_NE(f, NULL);
	EXPECT_NE(fgets(most, sizeof(most), f), NULL);
	fclose(f);
	ASSERT_EQ(set_parameter("max_user_pools", 2), 0);
	ASSERT_EQ(set_file_max("1\n"), 0);

	ASSERT_EQ(seteuid(65534), 0);
	opened = open("/", O_RDONLY) < 0 ? errno : 0;
	create = call(fd, QUARRY_IOC_POOL_CREATE, &c);
	joined = join(&none, p.fd, 0);
	ASSERT_EQ(seteuid(0), 0);
	ASSERT_EQ(set_file_max(most), 0);

	EXPECT_EQ(opened, ENFILE);
	EXPECT_EQ(create, -ENFILE);
	EXPECT_EQ(joined, -ENFILE);
	EXPECT_EQ(stat_of(p.fd).clients, 1);
	/* The user's second place is free. */
	ASSERT_EQ(seteuid(65534), 0);
	tried = call(fd, QUARRY_IOC_POOL_CREATE, &c);
	ASSERT_EQ(seteuid(0), 0);
	EXPECT_EQ(tried, 0);
	close(c.fd);
	close(fd);
	leave(&p);
}

static int takes_two_mib(void)
{
	struct pool p;
	int err = create_heap(&p, MIB, 8 * MIB);

	if (err)
		return -err;
	for (int i = 0; i < 32; i++) {
		int64_t o = alloc_one(&p, 64 * KIB);

		if (o < 0)
			return -o == EDQUOT ? 100 + (i >= 12) : -o;
	}
	return verify(p.fd) ? 99 : 0;
}

/* A user with room to lock: the parent raises the limit before it changes user. */
static int as_user_with_memlock(uid_t uid, rlim_t bytes, int (*f)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		struct rlimit limit = { bytes, bytes };

		if (setrlimit(RLIMIT_MEMLOCK, &limit))
			_exit(121);
		if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
			_exit(120);
		_exit(f());
	}
	return status_of(pid);
}

TEST_F(limits, bytes_of_one_user_are_limited_also_while_a_pool_grows)
{
	chmod(QUARRY_DEVICE, 0666);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_two_mib), 0);
	ASSERT_EQ(set_parameter("max_user_bytes", 1536 * 1024), 0);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_two_mib), 101);
	ASSERT_EQ(set_parameter("max_user_bytes", 512 * 1024), 0);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_two_mib), EDQUOT);
}

static int takes_two_mib_in_a_user_namespace(void)
{
	if (unshare(CLONE_NEWUSER))
		return 122;
	return takes_two_mib();
}

TEST_F(limits, another_user_namespace_does_not_escape_the_limit)
{
	FILE *f = fopen("/proc/sys/kernel/unprivileged_userns_clone", "w");

	if (f) {
		fprintf(f, "1\n");
		fclose(f);
	}
	chmod(QUARRY_DEVICE, 0666);
	ASSERT_EQ(set_parameter("max_user_bytes", 512 * 1024), 0);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_two_mib_in_a_user_namespace),
		  EDQUOT);
}

static int takes_two_mib_with_little_memlock(void)
{
	struct pool p;
	int err = create_heap(&p, 256 * KIB, 8 * MIB);
	int64_t o = 0, last = 0;

	if (err)
		return -err;
	for (int i = 0; i < 32 && o >= 0; i++) {
		last = o;
		o = alloc_one(&p, 64 * KIB);
	}
	if (o != -ENOBUFS)
		return o < 0 ? (int)-o : 1;
	/* Nothing is lost: what the pool has, it still gives, in any size. */
	if (verify(p.fd) || free_one(&p, last) || alloc_one(&p, 64) < 0)
		return 99;
	return 0;
}

TEST_F(limits, pinned_pages_count_against_rlimit_memlock)
{
	chmod(QUARRY_DEVICE, 0666);
	EXPECT_EQ(as_user_with_memlock(65534, MIB, takes_two_mib_with_little_memlock), 0);
	EXPECT_EQ(as_user_with_memlock(65534, 64 * KIB, takes_two_mib), ENOBUFS);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_two_mib), 0);
}

static int makes_lowmem(void)
{
	struct quarry_pool_create c;
	int err;

	create_defaults(&c);
	c.bytes = 64 * KIB;
	c.zone = QUARRY_ZONE_LOWMEM;
	err = create_raw(&c);
	return -err;
}

TEST_F(limits, lowmem_is_for_those_with_the_capability)
{
	chmod(QUARRY_DEVICE, 0666);
	EXPECT_EQ(as_user(0, makes_lowmem), 0);
	EXPECT_EQ(as_user(65534, makes_lowmem), EPERM);
}

/* Without CAP_SYS_RAWIO, under a quota of 256 KiB; 0, or which step went wrong. */
static int takes_lowmem_by_its_quota(void)
{
	struct quarry_region r = { .size = sizeof(r), .zone = QUARRY_ZONE_LOWMEM, .node = -1 };
	struct quarry_pool_create c;
	struct pool first, second, normal, none;
	int64_t o = 0;

	create_defaults(&c);
	c.zone = QUARRY_ZONE_LOWMEM;
	c.bytes = 256 * KIB + PAGE;
	if (create(&none, &c) != -EDQUOT)
		return 1;
	/* Nothing of what was refused is counted. */
	c.bytes = 128 * KIB;
	c.max_bytes = 8 * MIB;
	if (create(&first, &c))
		return 2;
	c.bytes = 64 * KIB;
	if (create(&second, &c))
		return 3;
	c.bytes = 64 * KIB + PAGE;
	if (create(&none, &c) != -EDQUOT)
		return 4;
	/* A pool of lowmem grows by lowmem: to the quota, and not beyond it. */
	for (int i = 0; i < 64 && o >= 0; i++)
		o = alloc_one(&first, 16 * KIB);
	if (o != -EDQUOT || stat_of(first.fd).bytes != 192 * KIB)
		return 5;
	/* Other memory is not counted there; lowmem in a pool of it is. */
	if (create_heap(&normal, MIB, 8 * MIB))
		return 6;
	r.bytes = PAGE;
	if (call(normal.fd, QUARRY_IOC_REGION_ADD, &r) != -EDQUOT)
		return 7;
	/* The bytes come back with a pool... */
	leave(&second);
	r.bytes = 64 * KIB + PAGE;
	if (call(normal.fd, QUARRY_IOC_REGION_ADD, &r) || r.bytes != 64 * KIB)
		return 8;
	/* ... with a region... */
	r = (struct quarry_region){ .size = sizeof(r), .offset = r.offset };
	if (call(normal.fd, QUARRY_IOC_REGION_REMOVE, &r) || r.bytes != 64 * KIB)
		return 9;
	c.bytes = 64 * KIB;
	if (create(&second, &c))
		return 10;
	/* ... and by a fixed pool. */
	leave(&first);
	leave(&second);
	create_defaults(&c);
	c.zone = QUARRY_ZONE_LOWMEM;
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 4096;
	c.object_count = 65;
	if (create(&first, &c) != -EDQUOT)
		return 11;
	c.object_count = 64;
	if (create(&first, &c) || alloc_one(&first, 4096) < 0)
		return 12;
	return verify(normal.fd) || verify(first.fd) ? 99 : 0;
}

TEST_F(limits, lowmem_without_the_capability_is_what_the_quota_leaves)
{
	chmod(QUARRY_DEVICE, 0666);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_lowmem_by_its_quota), 1);
	ASSERT_EQ(set_parameter("max_user_lowmem_bytes", 256 * 1024), 0);
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_lowmem_by_its_quota), 0);
	/* All of it is back with the process, however its pools died. */
	EXPECT_EQ(as_user_with_memlock(65534, RLIM_INFINITY, takes_lowmem_by_its_quota), 0);
	/* Each user has a quota of its own; the capability has no need of one. */
	EXPECT_EQ(as_user_with_memlock(65533, RLIM_INFINITY, takes_lowmem_by_its_quota), 0);
	EXPECT_EQ(as_user_with_memlock(0, RLIM_INFINITY, takes_lowmem_by_its_quota), 1);
}

/* A region of lowmem in a pool of another zone. */
static int adds_lowmem(void)
{
	struct quarry_region r = { .size = sizeof(r), .zone = QUARRY_ZONE_LOWMEM, .node = -1,
				   .bytes = PAGE };
	struct pool p;
	int err = create_heap(&p, 64 * KIB, MIB);

	return err ? 120 : -call(p.fd, QUARRY_IOC_REGION_ADD, &r);
}

TEST_F(limits, a_region_of_lowmem_is_for_those_with_the_capability)
{
	chmod(QUARRY_DEVICE, 0666);
	EXPECT_EQ(as_user(0, adds_lowmem), 0);
	EXPECT_EQ(as_user(65534, adds_lowmem), EPERM);
}

static int fills_memory(void)
{
	static struct pool p[64];
	int64_t o = 0;

	/* Each pool may be as large as the module allows: together more than the machine. */
	for (int k = 0; k < 64 && o >= 0; k++) {
		int err = create_heap(&p[k], 256 * KIB, 256 * MIB);

		if (err)
			return err == -ENOMEM ? 0 : -err;
		for (int i = 0; i < 64 && o >= 0; i++)
			o = alloc_one(&p[k], 4 * MIB);
		if (o == -ENOSPC)
			o = 0;
	}
	return o == -ENOMEM ? 0 : o < 0 ? (int)-o : 1;
}

TEST_F(limits, a_machine_without_memory_is_enomem_and_calls_no_oom_killer)
{
	long before = oom_kills();

	ASSERT_EQ(set_parameter("max_user_bytes", 1L << 40), 0);
	EXPECT_EQ(as_user_with_memlock(0, RLIM_INFINITY, fills_memory), 0);
	EXPECT_EQ(oom_kills(), before);
}

TEST_HARNESS_MAIN
