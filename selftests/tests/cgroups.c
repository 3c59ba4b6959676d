// SPDX-License-Identifier: MIT
/*
 * Memory cgroups: what a pool takes is charged to the group of the client that made it
 * take it, and a full group is that client's ENOMEM, never the OOM killer's business.
 * (README: "No process takes more than it may, and the OOM killer is never called")
 */
#include "device.h"
#include "kselftest_harness.h"

/* In a cgroup of 8 MiB: a pool grows until it is refused, with a clean errno. */
static int grows_in_a_small_cgroup(void)
{
	struct pool p;
	int64_t o = 0;
	int n = 0;

	if (put("/sys/fs/cgroup/quarry-test/cgroup.procs", "0"))
		return 123;
	if (create_heap(&p, 256 * KIB, 64 * MIB))
		return 124;
	for (; n < 2000 && o >= 0; n++)
		o = alloc_one(&p, 64 * KIB);
	if (o != -ENOMEM)
		return o < 0 ? (int)-o : 1;
	if (n < 8)
		return 125;	/* refused long before the limit */
	if (verify(p.fd))
		return 99;
	return 0;
}

TEST(a_full_memory_cgroup_is_enomem_and_calls_no_oom_killer)
{
	long before = oom_kills();
	pid_t pid;

	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	ASSERT_EQ(mkdir("/sys/fs/cgroup/quarry-test", 0755), 0);
	ASSERT_EQ(put("/sys/fs/cgroup/quarry-test/memory.max", "8388608"), 0);
	pid = fork();
	if (pid == 0)
		_exit(grows_in_a_small_cgroup());
	EXPECT_EQ(status_of(pid), 0);
	EXPECT_EQ(oom_kills(), before);
	EXPECT_EQ(rmdir("/sys/fs/cgroup/quarry-test"), 0);
}

/* The number behind a word of a file of the group, or (word NULL) the only one. */
static long group_number(const char *group, const char *file, const char *word)
{
	char path[128], line[128];
	long value = -1, seen;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/%s", group, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		size_t length = word ? strlen(word) : 0;

		if (length && (strncmp(line, word, length) || line[length] != ' '))
			continue;
		if (sscanf(line + length, "%ld", &seen) == 1)
			value = seen;
	}
	if (f)
		fclose(f);
	return value;
}

static int enter_group(const char *group)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/cgroup.procs", group);
	return put(path, "0");
}

#define MAKER "quarry-maker"
#define JOINER "quarry-joiner"

FIXTURE(groups)
{
	struct pool pool;	/* made in the group MAKER */
	int up[2], down[2];
	long kills;
};

FIXTURE_SETUP(groups)
{
	self->kills = oom_kills();
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	ASSERT_EQ(mkdir("/sys/fs/cgroup/" MAKER, 0755), 0);
	ASSERT_EQ(mkdir("/sys/fs/cgroup/" JOINER, 0755), 0);
	ASSERT_EQ(enter_group(MAKER), 0);
	ASSERT_EQ(create_heap(&self->pool, 256 * KIB, 64 * MIB), 0);
	ASSERT_EQ(pipe(self->up), 0);
	ASSERT_EQ(pipe(self->down), 0);
}

FIXTURE_TEARDOWN(groups)
{
	EXPECT_EQ(stat_of(self->pool.fd).clients, 1);
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
	EXPECT_EQ(oom_kills(), self->kills);
	EXPECT_EQ(put("/sys/fs/cgroup/cgroup.procs", "0"), 0);
	EXPECT_EQ(rmdir("/sys/fs/cgroup/" MAKER), 0);
	EXPECT_EQ(rmdir("/sys/fs/cgroup/" JOINER), 0);
	for (int i = 0; i < 2; i++) {
		close(self->up[i]);
		close(self->down[i]);
	}
}

/* Eight megabytes for a client in JOINER; then it stays until it is told to go. */
static int joins_and_grows(struct pool *pool, const int *up, const int *down)
{
	struct pool mine;

	if (enter_group(JOINER))
		return 120;
	if (join(&mine, pool->fd, 1))
		return 121;
	for (int i = 0; i < 128; i++)
		if (alloc_one(&mine, 64 * KIB) < 0)
			return 122;
	tell(up[1]);
	wait_for(down[0]);
	return 0;
}

TEST_F(groups, memory_is_charged_to_the_group_of_the_client_that_made_the_pool_grow)
{
	long maker = group_number(MAKER, "memory.current", NULL), joiner;
	uint64_t before = stat_of(self->pool.fd).bytes, grown;
	pid_t pid = fork();

	if (pid == 0)
		_exit(joins_and_grows(&self->pool, self->up, self->down));
	wait_for(self->up[0]);
	grown = stat_of(self->pool.fd).bytes - before;
	EXPECT_GE(grown, 7 * MIB);
	joiner = group_number(JOINER, "memory.current", NULL);
	EXPECT_GE(joiner, (long)grown);
	EXPECT_LE(joiner, (long)(grown + 2 * MIB));
	/* Who made the pool pays for what it was made with. */
	EXPECT_GE(maker, (long)before);
	EXPECT_LE(group_number(MAKER, "memory.current", NULL), maker + (long)(512 * KIB));
	tell(self->down[1]);
	EXPECT_EQ(status_of(pid), 0);
	/* The pool keeps its memory beyond that client's death, and the group its charge... */
	EXPECT_EQ(stat_of(self->pool.fd).objects, 0);
	EXPECT_GE(group_number(JOINER, "memory.current", NULL), (long)grown);
	/* ... until the pool dies. */
	leave(&self->pool);
	for (int i = 0; i < 50 && group_number(JOINER, "memory.current", NULL) > (long)MIB; i++)
		usleep(100000);
	EXPECT_LE(group_number(JOINER, "memory.current", NULL), (long)MIB);
	ASSERT_EQ(create_heap(&self->pool, 256 * KIB, MIB), 0);
}

/* In a group of 4 MiB: grants until it is refused, which must be by ENOMEM. */
static int grows_a_joined_pool(struct pool *pool, const int *up, const int *down)
{
	struct pool mine;
	int64_t o = 0, last = -1;
	int n = 0;

	if (enter_group(JOINER))
		return 120;
	if (join(&mine, pool->fd, 1))
		return 121;
	for (; n < 512 && o >= 0; n++) {
		last = o;
		o = alloc_one(&mine, 64 * KIB);
	}
	if (o != -ENOMEM)
		return o < 0 ? (int)-o : 1;
	if (n < 8)
		return 125;
	/* What the pool has is still to be had. */
	if (free_one(&mine, last) || alloc_one(&mine, 64) < 0)
		return 126;
	tell(up[1]);
	wait_for(down[0]);
	return 0;
}

TEST_F(groups, a_joining_clients_full_group_is_its_own_enomem_and_nobody_elses)
{
	pid_t pid;

	ASSERT_EQ(put("/sys/fs/cgroup/" JOINER "/memory.max", "4194304"), 0);
	pid = fork();
	if (pid == 0)
		_exit(grows_a_joined_pool(&self->pool, self->up, self->down));
	wait_for(self->up[0]);
	EXPECT_GT(group_number(JOINER, "memory.events", "max"), 0);
	EXPECT_EQ(group_number(JOINER, "memory.events", "oom_kill"), 0);
	/* The other client, in another group, makes the same pool grow on. */
	for (int i = 0; i < 128; i++) {
		ASSERT_GE(alloc_one(&self->pool, 64 * KIB), 0);
	}
	tell(self->down[1]);
	EXPECT_EQ(status_of(pid), 0);
}

/* In a group of 4 MiB: pools and regions of 16 MiB. */
static int asks_for_too_much(void)
{
	struct quarry_region r = { .size = sizeof(r), .node = -1, .bytes = 16 * MIB };
	struct quarry_pool_create c;
	struct pool p, none;
	uint64_t bytes;
	int err;

	if (enter_group(JOINER))
		return 120;
	if (create_heap(&none, 16 * MIB, 16 * MIB) != -ENOMEM)
		return 1;
	create_defaults(&c);
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 4096;
	c.object_count = 4096;
	if (create(&none, &c) != -ENOMEM)
		return 2;
	create_defaults(&c);
	c.kind = QUARRY_KIND_RANGE;
	c.max_bytes = 1ULL << 40;
	c.granule = 8;
	c.max_ranges = QUARRY_MAX_RANGES;
	if (create_unmapped(&none, &c) != -ENOMEM)
		return 3;
	/* Nothing of them is left: a small one can be had, and takes what there is. */
	if (create_heap(&p, MIB, 64 * MIB))
		return 4;
	bytes = stat_of(p.fd).bytes;
	if (call(p.fd, QUARRY_IOC_REGION_ADD, &r) || r.bytes >= 16 * MIB ||
	    stat_of(p.fd).bytes != bytes + r.bytes)
		return 5;
	do {
		r = (struct quarry_region){ .size = sizeof(r), .node = -1, .bytes = 16 * MIB };
		err = call(p.fd, QUARRY_IOC_REGION_ADD, &r);
	} while (!err);
	if (err != -ENOMEM)
		return 6;
	return verify(p.fd) ? 99 : 0;
}

TEST_F(groups, what_does_not_fit_into_the_group_is_enomem_and_leaves_nothing)
{
	pid_t pid;

	ASSERT_EQ(put("/sys/fs/cgroup/" JOINER "/memory.max", "4194304"), 0);
	pid = fork();
	if (pid == 0)
		_exit(asks_for_too_much());
	EXPECT_EQ(status_of(pid), 0);
	EXPECT_EQ(group_number(JOINER, "memory.events", "oom_kill"), 0);
}

TEST_HARNESS_MAIN
