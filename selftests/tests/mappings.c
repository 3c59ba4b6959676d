// SPDX-License-Identifier: MIT
/*
 * The pool's memory in user space: what a mapping shows, where it ends, what fork,
 * close, partial unmaps and the removal of a region do. (README: "A live object never
 * gives SIGBUS", "Nothing passes between pools")
 */
#include "device.h"
#include <setjmp.h>
#include <sys/uio.h>
#include "kselftest_harness.h"

static sigjmp_buf after_fault;

static void on_fault(int signal)
{
	siglongjmp(after_fault, signal);
}

/* The signal that a read of this address gives, or 0. */
static int fault_of(volatile uint8_t *address)
{
	struct sigaction action = { .sa_handler = on_fault }, bus, segv;
	int signal;

	sigaction(SIGBUS, &action, &bus);
	sigaction(SIGSEGV, &action, &segv);
	signal = sigsetjmp(after_fault, 1);
	if (!signal)
		(void)*address;
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return signal;
}

FIXTURE(mapping)
{
	struct pool pool;
};

FIXTURE_SETUP(mapping)
{
	ASSERT_EQ(create_heap(&self->pool, 64 * KIB, 16 * MIB), 0);
}

FIXTURE_TEARDOWN(mapping)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

TEST_F(mapping, fresh_memory_is_zero)
{
	uint64_t out[64];
	int n = alloc_n(&self->pool, 4096, 0, 8, out);

	ASSERT_GT(n, 0);
	for (int i = 0; i < n; i++)
		for (unsigned long k = 0; k < PAGE; k++) {
			ASSERT_EQ(self->pool.memory[out[i] + k], 0);
		}
}

TEST_F(mapping, two_clients_see_the_same_bytes)
{
	struct pool second;
	int64_t o = alloc_one(&self->pool, 128);

	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	strcpy((char *)self->pool.memory + o, "seen by both");
	EXPECT_STREQ((char *)second.memory + o, "seen by both");
	leave(&second);
}

TEST_F(mapping, an_offset_in_no_region_is_sigbus)
{
	EXPECT_EQ(fault_of(self->pool.memory + self->pool.max_bytes - 1), SIGBUS);
	EXPECT_EQ(fault_of(self->pool.memory), 0);
}

TEST_F(mapping, a_live_object_never_gives_sigbus_while_the_pool_grows)
{
	uint64_t total = 0;

	for (;;) {
		int64_t o = alloc_one(&self->pool, 60000);

		if (o == -ENOSPC)
			break;
		ASSERT_GE(o, 0);
		memset(self->pool.memory + o, 0xa5, 60000);
		total += 60000;
	}
	EXPECT_GT(total, 14 * MIB);
}

TEST_F(mapping, a_mapping_beyond_the_pool_is_einval)
{
	EXPECT_EQ(mmap(NULL, self->pool.max_bytes + PAGE, PROT_READ, MAP_SHARED, self->pool.fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd, self->pool.max_bytes),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
}

TEST_F(mapping, a_private_mapping_is_einval)
{
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->pool.fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
}

TEST_F(mapping, a_read_only_mapping_stays_read_only)
{
	void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd, 0);

	ASSERT_NE(map, MAP_FAILED);
	EXPECT_EQ(mprotect(map, PAGE, PROT_READ | PROT_WRITE), -1);
	EXPECT_EQ(errno, EACCES);
	munmap(map, PAGE);
}

TEST_F(mapping, the_control_descriptor_cannot_be_mapped)
{
	int fd = control();

	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	close(fd);
}

TEST_F(mapping, parts_can_be_mapped_and_unmapped)
{
	int64_t o = alloc_one(&self->pool, 8 * PAGE);
	uint8_t *part = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->pool.fd,
			     o + 2 * PAGE);

	ASSERT_NE(part, MAP_FAILED);
	part[0] = 17;
	EXPECT_EQ(self->pool.memory[o + 2 * PAGE], 17);
	EXPECT_EQ(munmap(self->pool.memory + o, PAGE), 0);
	EXPECT_EQ(fault_of(self->pool.memory + o), SIGSEGV);
	EXPECT_EQ(fault_of(self->pool.memory + o + PAGE), 0);
	munmap(part, 2 * PAGE);
}

TEST_F(mapping, a_forked_child_sees_the_memory_but_owns_nothing)
{
	int64_t o = alloc_one(&self->pool, 64);
	pid_t pid = fork();

	if (pid == 0) {
		if (fault_of(self->pool.memory + o))
			_exit(1);
		if (fault_of(self->pool.area) != SIGSEGV)
			_exit(2);	/* the client area is not inherited */
		self->pool.memory[o] = 99;
		_exit(0);
	}
	EXPECT_EQ(status_of(pid), 0);
	EXPECT_EQ(self->pool.memory[o], 99);
	EXPECT_EQ(free_one(&self->pool, o), 0);
}

TEST_F(mapping, the_memory_stays_readable_after_close)
{
	struct pool second;
	int64_t o;

	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	o = alloc_one(&second, 64);
	second.memory[o] = 42;
	close(second.fd);
	second.fd = -1;
	EXPECT_EQ(second.memory[o], 42);
	leave(&second);
}

TEST_F(mapping, a_region_is_added_and_removed_by_the_creator)
{
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = 256 * KIB };
	uint64_t before = stat_of(self->pool.fd).bytes;
	uint32_t regions;

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &region), 0);
	EXPECT_EQ(region.bytes, 256 * KIB);
	EXPECT_GE(region.regions, 1);
	regions = region.regions;
	EXPECT_EQ(stat_of(self->pool.fd).bytes, before + 256 * KIB);
	EXPECT_EQ(regions, 1);
	EXPECT_EQ(fault_of(self->pool.memory + region.offset), 0);
	struct quarry_region gone = { .size = sizeof(gone), .offset = region.offset };

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), 0);
	EXPECT_EQ(gone.bytes, 256 * KIB);
	EXPECT_EQ(stat_of(self->pool.fd).bytes, before);
	/* It was mapped and touched: the mapping is empty there now. */
	EXPECT_EQ(fault_of(self->pool.memory + region.offset), SIGBUS);
	gone = (struct quarry_region){ .size = sizeof(gone), .offset = region.offset };
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), -ENXIO);
}

TEST_F(mapping, a_region_with_a_live_object_is_ebusy_and_stays)
{
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = MIB };
	struct quarry_region gone = { .size = sizeof(gone) };
	uint64_t held[64];
	int64_t inside = -1;
	int n = 0;

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &region), 0);
	for (; n < 64 && inside < 0; n++) {
		held[n] = alloc_one(&self->pool, 32 * KIB);
		if (held[n] >= region.offset && held[n] < region.offset + region.bytes)
			inside = held[n];
	}
	ASSERT_GE(inside, 0);
	strcpy((char *)self->pool.memory + inside, "alive");
	gone.offset = region.offset;
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), -EBUSY);
	EXPECT_STREQ((char *)self->pool.memory + inside, "alive");
	EXPECT_EQ(free_n(&self->pool, n, held), n);
	gone.size = sizeof(gone);
	gone.bytes = 0;
	gone.regions = 0;
	gone.offset = region.offset;
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), 0);
}

TEST_F(mapping, a_page_in_use_by_io_keeps_its_region)
{
	/* A page spliced into a pipe has a reference that no mapping explains. */
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = 256 * KIB };
	struct quarry_region gone = { .size = sizeof(gone) };
	int pipes[2];

	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &region), 0);
	struct iovec iov = { self->pool.memory + region.offset, PAGE };

	self->pool.memory[region.offset] = 7;
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), (ssize_t)PAGE);
	gone.offset = region.offset;
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), -EBUSY);
	EXPECT_EQ(fault_of(self->pool.memory + region.offset), 0);
	EXPECT_EQ(self->pool.memory[region.offset], 7);
	close(pipes[0]);
	close(pipes[1]);
	gone.offset = region.offset;
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), 0);
}

TEST_F(mapping, nothing_passes_between_pools)
{
	/* What one pool's process wrote is gone before another pool gets the page. */
	for (int round = 0; round < 4; round++) {
		struct pool p;
		uint64_t out[256];
		int n;

		ASSERT_EQ(create_heap(&p, 4 * MIB, 4 * MIB), 0);
		n = alloc_n(&p, 16 * KIB, 0, 200, out);
		ASSERT_GT(n, 150);
		for (int i = 0; i < n; i++) {
			for (unsigned long k = 0; k < 16 * KIB; k += 512) {
				ASSERT_EQ(p.memory[out[i] + k], 0);
			}
			memset(p.memory + out[i], 0xee, 16 * KIB);
		}
		leave(&p);
	}
}

/* Writes to all that a pool can grant to `first`, gives it back, and looks what `second` sees. */
static uint64_t bytes_seen(uint32_t flags)
{
	struct quarry_pool_create c;
	struct pool first, second;
	static uint64_t out[1024];
	uint64_t seen = 0;
	int n, again;

	create_defaults(&c);
	c.bytes = 64 * KIB;
	c.max_bytes = 64 * KIB;
	c.flags = flags;
	if (create(&first, &c) || join(&second, first.fd, 1))
		return ~0ULL;
	n = alloc_n(&first, 64, 0, 1024, out);
	for (int i = 0; i < n; i++)
		memset(first.memory + out[i], 0xcc, 64);
	if (n < 512 || free_n(&first, n, out) != n)
		return ~0ULL;
	again = alloc_n(&second, 64, 0, 1024, out);
	if (again != n)
		return ~0ULL;
	for (int i = 0; i < again; i++)
		for (int k = 0; k < 64; k++)
			seen += second.memory[out[i] + k] != 0;
	leave(&second);
	leave(&first);
	return seen;
}

TEST_F(mapping, a_zeroing_pool_hides_what_another_client_wrote)
{
	EXPECT_EQ(bytes_seen(QUARRY_POOL_ZERO), 0);
	/* Without the flag it is there: so the look above was at the same slots. */
	EXPECT_GE(bytes_seen(0), 512 * 64);
}

static int advise(void *at, size_t bytes, int advice)
{
	return madvise(at, bytes, advice) ? -errno : 0;
}

TEST_F(mapping, no_advice_takes_anything_from_a_live_object)
{
	static const struct {
		int advice, answer;
	} cases[] = {
		{ MADV_DONTNEED, 0 }, { MADV_COLD, 0 }, { MADV_PAGEOUT, 0 }, { MADV_WILLNEED, 0 },
		{ MADV_POPULATE_READ, 0 }, { MADV_POPULATE_WRITE, 0 },
		{ MADV_FREE, -EINVAL }, { MADV_WIPEONFORK, -EINVAL }, { MADV_DODUMP, -EINVAL },
		{ MADV_REMOVE, -ENODEV },
	};
	int64_t o = alloc_one(&self->pool, 4 * PAGE);
	uint8_t *object = self->pool.memory + o;

	ASSERT_GE(o, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(object, 0x21 + i, 4 * PAGE);
		EXPECT_EQ(advise(object, 4 * PAGE, cases[i].advice), cases[i].answer) {
			TH_LOG("advice %d", cases[i].advice);
		}
		for (unsigned long k = 0; k < 4 * PAGE; k++) {
			ASSERT_EQ(object[k], 0x21 + i);
		}
	}
	/* Where no region is, there is nothing to be had in advance either. */
	EXPECT_EQ(advise(self->pool.memory + self->pool.max_bytes - PAGE, PAGE, MADV_POPULATE_READ),
		  -EFAULT);
	EXPECT_EQ(free_one(&self->pool, o), 0);
}

TEST_F(mapping, a_child_inherits_the_memory_unless_its_parent_advises_against)
{
	int64_t o = alloc_one(&self->pool, 64);
	pid_t pid;

	self->pool.memory[o] = 7;
	EXPECT_EQ(advise(self->pool.memory, self->pool.max_bytes, MADV_DONTFORK), 0);
	pid = fork();
	if (pid == 0)
		_exit(fault_of(self->pool.memory + o) == SIGSEGV ? 0 : 1);
	EXPECT_EQ(status_of(pid), 0);
	/* Newer kernels let nobody take it back where a mapping cannot be stretched. */
	if (advise(self->pool.memory, self->pool.max_bytes, MADV_DOFORK)) {
		EXPECT_EQ(errno, EINVAL);
		return;
	}
	pid = fork();
	if (pid == 0)
		_exit(self->pool.memory[o] == 7 ? 0 : 1);
	EXPECT_EQ(status_of(pid), 0);
}

TEST_F(mapping, the_memory_can_be_moved_and_cut_but_not_stretched_or_doubled)
{
	int64_t o = alloc_one(&self->pool, 4 * PAGE);
	uint8_t *part, *moved;

	part = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->pool.fd, o);
	ASSERT_NE(part, MAP_FAILED);
	memset(part, 0x77, 4 * PAGE);
	EXPECT_EQ(mremap(part, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(part, 0, 4 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(part, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(part[4 * PAGE - 1], 0x77);
	moved = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(mremap(part, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved), moved);
	EXPECT_EQ(fault_of(part), SIGSEGV);
	moved[PAGE] = 0x55;
	EXPECT_EQ(self->pool.memory[o + PAGE], 0x55);
	ASSERT_EQ(mremap(moved, 4 * PAGE, 2 * PAGE, 0), moved);
	EXPECT_EQ(fault_of(moved + 2 * PAGE), SIGSEGV);
	EXPECT_EQ(self->pool.memory[o + 3 * PAGE], 0x77);
	munmap(moved, 2 * PAGE);
}

TEST_F(mapping, what_is_mapped_to_be_read_can_be_hidden_or_run_but_never_written)
{
	uint8_t *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd, 0);
	struct iovec mine = { "x", 1 }, there = { map, 1 };

	ASSERT_NE(map, MAP_FAILED);
	self->pool.memory[0] = 0xc3;
	EXPECT_EQ(mprotect(map, PAGE, PROT_NONE), 0);
	EXPECT_EQ(fault_of(map), SIGSEGV);
	/* Newer kernels run nothing of a file system of the kernel's own. */
	if (mprotect(map, PAGE, PROT_READ | PROT_EXEC)) {
		EXPECT_EQ(errno, EACCES);
		EXPECT_EQ(mprotect(map, PAGE, PROT_READ), 0);
	}
	EXPECT_EQ(map[0], 0xc3);
	EXPECT_EQ(mprotect(map, PAGE, PROT_WRITE), -1);
	EXPECT_EQ(errno, EACCES);
	EXPECT_EQ(mprotect(map, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), -1);
	EXPECT_EQ(errno, EACCES);
	/* Nor by way of the kernel. */
	EXPECT_EQ(process_vm_writev(getpid(), &mine, 1, &there, 1, 0), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(self->pool.memory[0], 0xc3);
	munmap(map, PAGE);
}

TEST_F(mapping, a_pool_descriptor_is_no_file_to_read_write_cut_or_open_again)
{
	char path[64], byte = 0;
	int64_t o = alloc_one(&self->pool, 2 * PAGE);
	int fd = self->pool.fd;

	memset(self->pool.memory + o, 0x66, 2 * PAGE);
	EXPECT_EQ(read(fd, &byte, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(write(fd, &byte, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(lseek(fd, 0, SEEK_SET), -1);
	EXPECT_EQ(ftruncate(fd, 0), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, o, PAGE), -1);
	EXPECT_EQ(errno, ENODEV);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EXPECT_EQ(open(path, O_RDWR), -1);
	EXPECT_EQ(errno, ENXIO);
	EXPECT_EQ(truncate(path, 0), -1);
	for (unsigned long k = 0; k < 2 * PAGE; k++) {
		ASSERT_EQ(self->pool.memory[o + k], 0x66);
	}
	EXPECT_EQ(free_one(&self->pool, o), 0);
}

TEST_HARNESS_MAIN
