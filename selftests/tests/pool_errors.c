// SPDX-License-Identifier: MIT
/*
 * What is wrong about a pool itself: each field of a description out of range, alignments
 * that a fixed pool has not, clients and descriptors that are none left, regions. Each is
 * its own errno, and changes nothing. (README: "Every wrong call is its own error at the
 * call, and changes nothing")
 */
#include "device.h"
#include <dirent.h>
#include <grp.h>
#include <sys/resource.h>
#include "kselftest_harness.h"

/* Pools that live now, by their folders. */
static int pools(void)
{
	DIR *dir = opendir("/sys/kernel/debug/quarry");
	int count = 0;

	if (!dir)
		return -errno;
	for (struct dirent *e; (e = readdir(dir));)
		count += e->d_name[0] != '.';
	closedir(dir);
	return count;
}

#define FIELD(name) offsetof(struct quarry_pool_create, name), sizeof(((struct quarry_pool_create *)0)->name)
#define ELEMENT(name, i) offsetof(struct quarry_pool_create, name) + 8 * (i), 8

struct wrong_field {
	size_t at, bytes;
	uint64_t value;
	int error;
};

static const struct wrong_field kOfEveryKind[] = {
	{ FIELD(kind), QUARRY_KIND_RANGE + 1, -EINVAL },
	{ FIELD(kind), ~0ULL, -EINVAL },
	{ FIELD(zone), QUARRY_ZONE_LOWMEM + 1, -EINVAL },
	{ FIELD(zone), ~0ULL, -EINVAL },
	{ FIELD(node), -2, -EINVAL },
	{ FIELD(node), 1U << 31, -EINVAL },
	{ FIELD(node), (1U << 31) - 1, -EINVAL },
	{ FIELD(node), 63, -EINVAL },
	{ FIELD(flags), QUARRY_POOL_HOLD_PINNED << 1, -EINVAL },
	{ FIELD(flags), 1U << 31, -EINVAL },
	{ FIELD(fd_flags), QUARRY_FD_CLOEXEC << 1, -EINVAL },
	{ FIELD(fd_flags), 1U << 31, -EINVAL },
	{ ELEMENT(reserved, 0), 1, -EINVAL },
	{ ELEMENT(reserved, 1), 1ULL << 63, -EINVAL },
	{ ELEMENT(reserved, 2), 1, -EINVAL },
	/* Answers, whatever stood there; and a limit that no client can reach. */
	{ FIELD(fd), ~0ULL, 0 },
	{ FIELD(client_area_bytes), ~0ULL, 0 },
	{ FIELD(pool_id), ~0ULL, 0 },
	{ FIELD(client_id), ~0ULL, 0 },
	{ FIELD(client_limit), ~0ULL, 0 },
};

static const struct wrong_field kOfHeaps[] = {
	{ FIELD(bytes), 0, -EINVAL },
	{ FIELD(bytes), QUARRY_MAX_POOL + 1, -EFBIG },
	{ FIELD(bytes), ~0ULL, -EFBIG },
	{ FIELD(max_bytes), MIB - 4096, -EINVAL },
	{ FIELD(max_bytes), QUARRY_MAX_POOL + 1, -EFBIG },
	{ FIELD(max_bytes), ~0ULL, -EFBIG },
	{ FIELD(object_size), 8, -EINVAL },
	{ FIELD(object_count), 1, -EINVAL },
	{ FIELD(granule), 8, -EINVAL },
	{ FIELD(max_ranges), 1, -EINVAL },
	{ ELEMENT(range_align, 0), 4096, -EINVAL },
	{ ELEMENT(range_align, 1), 4096, -EINVAL },
	{ ELEMENT(range_align, 2), 4096, -EINVAL },
};

static const struct wrong_field kOfFixedPools[] = {
	{ FIELD(bytes), 1, -EINVAL },
	{ FIELD(max_bytes), 4096, -EINVAL },
	{ FIELD(object_size), 0, -EINVAL },
	{ FIELD(object_size), 4, -EINVAL },
	{ FIELD(object_size), 63, -EINVAL },
	{ FIELD(object_size), ~0ULL, -EINVAL },
	{ FIELD(object_size), ~7ULL, -EOVERFLOW },
	{ FIELD(object_size), QUARRY_MAX_OBJECT + 8, -EFBIG },
	{ FIELD(object_count), 0, -EINVAL },
	{ FIELD(object_count), ~0ULL, -EOVERFLOW },
	{ FIELD(object_count), QUARRY_MAX_POOL / 64 + 1, -EFBIG },
	{ FIELD(granule), 8, -EINVAL },
	{ FIELD(max_ranges), 1, -EINVAL },
	{ ELEMENT(range_align, 0), 4096, -EINVAL },
	{ ELEMENT(range_align, 1), 4096, -EINVAL },
	{ ELEMENT(range_align, 2), 4096, -EINVAL },
};

static void describe(struct quarry_pool_create *c, uint32_t kind)
{
	create_defaults(c);
	c->kind = kind;
	if (kind == QUARRY_KIND_HEAP) {
		c->bytes = MIB;
	} else if (kind == QUARRY_KIND_FIXED) {
		c->object_size = 64;
		c->object_count = 4;
	} else {
		c->max_bytes = MIB;
		c->granule = 256;
		c->max_ranges = 10;
	}
}

static void try_fields(struct __test_metadata *_metadata, uint32_t kind,
		       const struct wrong_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct quarry_pool_create c;
		int before = pools(), err;

		describe(&c, kind);
		memcpy((char *)&c + fields[i].at, &fields[i].value, fields[i].bytes);
		err = create_raw(&c);
		EXPECT_EQ(err, fields[i].error) {
			TH_LOG("kind %u, case %zu: the field at %zu", kind, i, fields[i].at);
		}
		if (!err)
			close(c.fd);
		EXPECT_EQ(pools(), before);
	}
}

#define TRY(kind, fields) try_fields(_metadata, kind, fields, sizeof(fields) / sizeof(fields[0]))

TEST(each_field_of_a_heaps_description_out_of_range_has_its_errno)
{
	TRY(QUARRY_KIND_HEAP, kOfEveryKind);
	TRY(QUARRY_KIND_HEAP, kOfHeaps);
}

TEST(each_field_of_a_fixed_pools_description_out_of_range_has_its_errno)
{
	TRY(QUARRY_KIND_FIXED, kOfEveryKind);
	TRY(QUARRY_KIND_FIXED, kOfFixedPools);
}

/* Fields that only ranges have are tried by the program `ranges`. */
TEST(each_common_field_of_a_range_pools_description_out_of_range_has_its_errno)
{
	struct quarry_pool_create c;

	TRY(QUARRY_KIND_RANGE, kOfEveryKind);
	describe(&c, QUARRY_KIND_RANGE);
	c.zone = QUARRY_ZONE_LOWMEM;
	EXPECT_EQ(create_raw(&c), -EINVAL);
}

TEST(an_alignment_that_a_fixed_pools_objects_have_not_is_einval)
{
	static const struct {
		uint64_t size, align;
		int answer;
	} cases[] = {
		{ 64, 8, 1 }, { 64, 64, 1 }, { 64, 128, -EINVAL }, { 64, 4096, -EINVAL },
		{ 96, 32, 1 }, { 96, 64, -EINVAL },
		{ 24, 8, 1 }, { 24, 16, -EINVAL },
		{ 4096, 4096, 1 }, { 4096, 8192, -EINVAL },
		{ 12288, 4096, 1 }, { 12288, 8192, -EINVAL },
		{ 65536, 4096, 1 }, { 65536, 8192, -EINVAL }, { 65536, 65536, -EINVAL },
		{ 64, QUARRY_MAX_OBJECT, -EINVAL }, { 64, 2 * QUARRY_MAX_OBJECT, -EFBIG },
		{ 64, 48, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct quarry_pool_create c;
		uint64_t out[4];
		struct pool p;

		create_defaults(&c);
		c.kind = QUARRY_KIND_FIXED;
		c.object_size = cases[i].size;
		c.object_count = 4;
		ASSERT_EQ(create(&p, &c), 0);
		EXPECT_EQ(alloc_n(&p, cases[i].size, cases[i].align, 1, out), cases[i].answer) {
			TH_LOG("case %zu", i);
		}
		if (cases[i].answer == 1) {
			/* The others are as well aligned: it was no luck. */
			EXPECT_EQ(alloc_n(&p, cases[i].size, cases[i].align, 3, out + 1), 3);
			for (int k = 0; k < 4; k++) {
				EXPECT_EQ(out[k] % cases[i].align, 0);
			}
		} else {
			EXPECT_EQ(stat_of(p.fd).objects, 0);
			EXPECT_EQ(alloc_n(&p, cases[i].size, 0, 4, out), 4);
		}
		EXPECT_EQ(verify(p.fd), 0);
		leave(&p);
	}
}

TEST(sizes_whose_product_overflows_are_eoverflow)
{
	struct pool p;
	uint64_t out[2];

	ASSERT_EQ(create_heap(&p, MIB, MIB), 0);
	EXPECT_EQ(alloc_n(&p, ~0ULL, 0, 2, out), -EOVERFLOW);
	EXPECT_EQ(alloc_n(&p, 1ULL << 63, 0, 2, out), -EOVERFLOW);
	EXPECT_EQ(alloc_n(&p, (1ULL << 63) - 1, 0, 2, out), -EFBIG);
	EXPECT_EQ(stat_of(p.fd).objects, 0);
	leave(&p);
}

FIXTURE(clients)
{
	struct pool pool;
	long most;
};

FIXTURE_SETUP(clients)
{
	self->most = parameter("max_clients");
	ASSERT_GT(self->most, 3);
	ASSERT_EQ(set_parameter("max_clients", 3), 0);
	ASSERT_EQ(create_heap(&self->pool, MIB, MIB), 0);
}

FIXTURE_TEARDOWN(clients)
{
	EXPECT_EQ(set_parameter("max_clients", self->most), 0);
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

TEST_F(clients, as_many_as_a_pool_can_have_and_one_more_is_eusers)
{
	struct quarry_info info = { .size = sizeof(info) };
	struct pool second, third, none, fresh;
	uint64_t out;

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_INFO, &info), 0);
	EXPECT_EQ(info.max_clients, 3);
	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	ASSERT_EQ(join(&third, self->pool.fd, 1), 0);
	EXPECT_EQ(join(&none, self->pool.fd, 1), -EUSERS);
	EXPECT_EQ(join(&none, second.fd, 1), -EUSERS);
	EXPECT_EQ(stat_of(self->pool.fd).clients, 3);
	EXPECT_EQ(stat_of(self->pool.fd).reaps, 0);

	/* One that is reaped keeps its place as long as its descriptor is open. */
	ASSERT_EQ(munmap(third.area, third.area_bytes), 0);
	third.area = NULL;
	EXPECT_EQ(stat_of(self->pool.fd).clients, 2);
	EXPECT_EQ(join(&none, self->pool.fd, 1), -EUSERS);
	leave(&third);
	ASSERT_EQ(join(&third, self->pool.fd, 1), 0);
	EXPECT_EQ(alloc_n(&third, 64, 0, 1, &out), 1);

	/* A pool has the limit with which it was made. */
	ASSERT_EQ(set_parameter("max_clients", 4), 0);
	EXPECT_EQ(join(&none, self->pool.fd, 1), -EUSERS);
	ASSERT_EQ(create_heap(&fresh, MIB, MIB), 0);
	ASSERT_EQ(join(&none, fresh.fd, 1), 0);
	leave(&none);
	leave(&fresh);
	leave(&third);
	leave(&second);
}

TEST_F(clients, a_pool_or_a_client_without_a_descriptor_left_is_emfile_and_nobodys_death)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLIN };
	struct quarry_stat before = stat_of(self->pool.fd), after;
	struct rlimit limit, was;
	struct quarry_pool_create c;
	struct pool none;
	int here = pools(), fd = control();

	ASSERT_GE(fd, 0);
	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	limit = was;
	limit.rlim_cur = fd + 1;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	EXPECT_EQ(join(&none, self->pool.fd, 1), -EMFILE);
	describe(&c, QUARRY_KIND_HEAP);
	EXPECT_EQ(call(fd, QUARRY_IOC_POOL_CREATE, &c), -EMFILE);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);

	after = stat_of(self->pool.fd);
	EXPECT_EQ(after.clients, before.clients);
	EXPECT_EQ(after.reaps, before.reaps);
	EXPECT_EQ(after.events, before.events);
	EXPECT_EQ(poll(&p, 1, 0), 0);
	EXPECT_EQ(pools(), here);
	/* The places are not taken either. */
	ASSERT_EQ(join(&none, self->pool.fd, 1), 0);
	leave(&none);
	close(fd);
}

FIXTURE(regions)
{
	struct pool pool;
	struct quarry_stat before;
	long user_bytes;
};

FIXTURE_SETUP(regions)
{
	self->user_bytes = parameter("max_user_bytes");
	ASSERT_GT(self->user_bytes, 0);
	ASSERT_EQ(create_heap(&self->pool, 64 * KIB, 2 * MIB), 0);
	self->before = stat_of(self->pool.fd);
}

FIXTURE_TEARDOWN(regions)
{
	EXPECT_EQ(set_parameter("max_user_bytes", self->user_bytes), 0);
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

static int add(struct pool *p, uint32_t zone, int32_t node, uint64_t bytes, uint64_t *added)
{
	struct quarry_region r = { .size = sizeof(r), .zone = zone, .node = node, .bytes = bytes };
	int err = call(p->fd, QUARRY_IOC_REGION_ADD, &r);

	*added = err ? 0 : r.bytes;
	return err;
}

static int removes(struct pool *p, uint64_t offset)
{
	struct quarry_region r = { .size = sizeof(r), .offset = offset };

	return call(p->fd, QUARRY_IOC_REGION_REMOVE, &r);
}

TEST_F(regions, what_cannot_be_added_has_its_errno)
{
	struct pool peer, fixed;
	struct quarry_pool_create c;
	uint64_t added;

	EXPECT_EQ(add(&self->pool, 2, -1, PAGE, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, ~0U, -1, PAGE, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, 0, -2, PAGE, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, 0, 63, PAGE, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, 0, INT32_MAX, PAGE, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, 0, INT32_MIN, PAGE, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, 0, -1, 0, &added), -EINVAL);
	EXPECT_EQ(add(&self->pool, 0, -1, QUARRY_MAX_POOL + 1, &added), -EFBIG);
	EXPECT_EQ(add(&self->pool, 0, -1, 1ULL << 63, &added), -EFBIG);
	EXPECT_EQ(add(&self->pool, 0, -1, ~0ULL, &added), -EFBIG);
	ASSERT_EQ(join(&peer, self->pool.fd, 1), 0);
	EXPECT_EQ(add(&peer, 0, -1, PAGE, &added), -EPERM);
	EXPECT_EQ(add(&peer, QUARRY_ZONE_LOWMEM, -1, PAGE, &added), -EPERM);
	leave(&peer);
	create_defaults(&c);
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 64;
	c.object_count = 64;
	ASSERT_EQ(create(&fixed, &c), 0);
	EXPECT_EQ(add(&fixed, 0, -1, PAGE, &added), -EOPNOTSUPP);
	EXPECT_EQ(removes(&fixed, 0), -EOPNOTSUPP);
	leave(&fixed);
	EXPECT_EQ(stat_of(self->pool.fd).bytes, self->before.bytes);
	EXPECT_EQ(stat_of(self->pool.fd).regions, self->before.regions);
}

TEST_F(regions, a_pool_takes_what_fits_and_then_says_enospc)
{
	uint64_t added;

	EXPECT_EQ(add(&self->pool, 0, -1, 4 * MIB, &added), 0);
	EXPECT_EQ(added, 2 * MIB - self->before.bytes);
	EXPECT_EQ(stat_of(self->pool.fd).bytes, 2 * MIB);
	EXPECT_EQ(add(&self->pool, 0, -1, 4 * MIB, &added), -ENOSPC);
	EXPECT_EQ(add(&self->pool, 0, -1, 1, &added), -ENOSPC);
	EXPECT_EQ(stat_of(self->pool.fd).bytes, 2 * MIB);
}

TEST_F(regions, a_user_takes_what_its_limit_leaves_and_then_gets_edquot)
{
	uint64_t added;

	ASSERT_EQ(set_parameter("max_user_bytes", self->before.bytes + 3 * PAGE), 0);
	EXPECT_EQ(add(&self->pool, 0, -1, MIB, &added), 0);
	EXPECT_EQ(added, 3 * PAGE);
	EXPECT_EQ(add(&self->pool, 0, -1, MIB, &added), -EDQUOT);
	EXPECT_EQ(add(&self->pool, 0, -1, 1, &added), -EDQUOT);
	EXPECT_EQ(stat_of(self->pool.fd).bytes, self->before.bytes + 3 * PAGE);
}

/* Without capabilities: 256 KiB of a megabyte that may be locked are the pool's. */
static int adds_beyond_memlock(void)
{
	struct rlimit limit = { MIB, MIB };
	uint64_t added, before;
	struct pool p;

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) || setgid(65534) ||
	    setuid(65534))
		return 120;
	if (create_heap(&p, 256 * KIB, 8 * MIB))
		return 121;
	before = stat_of(p.fd).bytes;
	if (add(&p, 0, -1, MIB, &added) != -ENOBUFS)
		return 1;
	if (add(&p, 0, -1, MIB - before + 1, &added) != -ENOBUFS)
		return 2;
	if (stat_of(p.fd).bytes != before)
		return 3;
	if (add(&p, 0, -1, MIB - before, &added) || added != MIB - before)
		return 4;
	if (add(&p, 0, -1, 1, &added) != -ENOBUFS)
		return 5;
	return verify(p.fd) ? 6 : 0;
}

TEST_F(regions, what_rlimit_memlock_forbids_is_enobufs)
{
	struct stat st;
	pid_t pid;

	ASSERT_EQ(stat(QUARRY_DEVICE, &st), 0);
	ASSERT_EQ(chmod(QUARRY_DEVICE, 0666), 0);
	pid = fork();
	if (pid == 0)
		_exit(adds_beyond_memlock());
	EXPECT_EQ(status_of(pid), 0);
	chmod(QUARRY_DEVICE, st.st_mode & 07777);
}

TEST_F(regions, what_cannot_be_removed_has_its_errno_and_stays)
{
	struct quarry_region r = { .size = sizeof(r), .node = -1, .bytes = 256 * KIB };
	struct pool peer;
	int64_t inside = -1;
	uint64_t bytes;

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &r), 0);
	bytes = stat_of(self->pool.fd).bytes;
	for (int i = 0; i < 32 && (inside < (int64_t)r.offset ||
				   inside >= (int64_t)(r.offset + r.bytes)); i++)
		inside = alloc_one(&self->pool, 16 * KIB);
	ASSERT_GE(inside, (int64_t)r.offset);
	memset(self->pool.memory + inside, 0x5c, 16 * KIB);

	EXPECT_EQ(removes(&self->pool, r.offset), -EBUSY);
	EXPECT_EQ(removes(&self->pool, r.offset + 4), -EINVAL);
	EXPECT_EQ(removes(&self->pool, r.offset + 8), -EBADSLT);
	EXPECT_EQ(removes(&self->pool, r.offset + PAGE), -EBADSLT);
	EXPECT_EQ(removes(&self->pool, r.offset + r.bytes - 8), -EBADSLT);
	EXPECT_EQ(removes(&self->pool, self->pool.max_bytes - PAGE), -ENXIO);
	EXPECT_EQ(removes(&self->pool, self->pool.max_bytes), -ERANGE);
	EXPECT_EQ(removes(&self->pool, ~7ULL), -ERANGE);
	ASSERT_EQ(join(&peer, self->pool.fd, 1), 0);
	EXPECT_EQ(removes(&peer, r.offset), -EPERM);
	leave(&peer);

	EXPECT_EQ(stat_of(self->pool.fd).bytes, bytes);
	for (uint64_t k = 0; k < 16 * KIB; k++) {
		ASSERT_EQ(self->pool.memory[inside + k], 0x5c);
	}
	EXPECT_EQ(free_one(&self->pool, inside), 0);
}

TEST_F(regions, classes_that_cannot_be_written_are_efault_and_acknowledge_nothing)
{
	struct quarry_class_stat classes[QUARRY_MAX_CLASSES];
	struct quarry_stat s = { .size = sizeof(s), .flags = QUARRY_STAT_ACK, .classes = 8,
				 .class_count = 1 };
	uint32_t events = stat_of(self->pool.fd).events;

	EXPECT_NE(events, 0);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_STAT, &s), -EFAULT);
	EXPECT_EQ(stat_of(self->pool.fd).events, events);
	/* More room than there are classes is no error, and not used. */
	memset(classes, 0xee, sizeof(classes));
	s = (struct quarry_stat){ .size = sizeof(s), .classes = (uintptr_t)classes,
				  .class_count = QUARRY_MAX_CLASSES };
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_STAT, &s), 0);
	EXPECT_LT(s.class_count, QUARRY_MAX_CLASSES);
	EXPECT_EQ(classes[0].size, 8);
	EXPECT_EQ(classes[s.class_count].size, 0xeeeeeeee);
}

TEST_HARNESS_MAIN
