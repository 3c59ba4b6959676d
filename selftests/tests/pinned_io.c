// SPDX-License-Identifier: MIT
/*
 * Pool memory under I/O that pins pages: direct reads and writes of a block device, and
 * buffers registered with io_uring, which take no memory of a file on 6.1. Whatever comes
 * of it, the pool is sound. (README: "Pool memory is memory to direct I/O")
 */
#include "device.h"
#include <linux/io_uring.h>
#include <sys/utsname.h>
#include <sys/uio.h>
#include "kselftest_harness.h"

#define DISK_BYTES (4 * MIB)

FIXTURE(io)
{
	struct pool pool;
	int disk;		/* a RAM disk, which reads and writes the very pages that are pinned */
	uint8_t *data;		/* an object of DISK_BYTES */
	uint64_t offset;
};

FIXTURE_SETUP(io)
{
	int64_t o;

	ASSERT_EQ(system("insmod $VM_IMAGE/modules/lib/modules/$(uname -r)/kernel/drivers/block/brd.ko* "
			 "rd_nr=1 rd_size=4096"), 0);
	self->disk = open("/dev/ram0", O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_GE(self->disk, 0);
	ASSERT_EQ(create_heap(&self->pool, DISK_BYTES, 16 * MIB), 0);
	o = alloc_one(&self->pool, DISK_BYTES);
	ASSERT_GE(o, 0);
	self->offset = o;
	self->data = self->pool.memory + o;
}

FIXTURE_TEARDOWN(io)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	EXPECT_EQ(free_one(&self->pool, self->offset), 0);
	leave(&self->pool);
	close(self->disk);
	EXPECT_EQ(system("rmmod brd"), 0);
}

static void fill(uint8_t *at, uint64_t bytes, unsigned seed)
{
	for (uint64_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(seed + i * 7 + (i >> 9));
}

/* The first byte that is not as fill() left it, or `bytes`. */
static uint64_t differs(const uint8_t *at, uint64_t bytes, unsigned seed)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (at[i] != (uint8_t)(seed + i * 7 + (i >> 9)))
			return i;
	return bytes;
}

TEST_F(io, what_is_written_directly_from_the_pool_is_on_the_disk)
{
	static const uint64_t sizes[] = { 512, PAGE, 3 * PAGE, 64 * KIB, MIB, DISK_BYTES };
	uint8_t *plain = malloc(DISK_BYTES);
	int buffered = open("/dev/ram0", O_RDONLY | O_CLOEXEC);

	ASSERT_GE(buffered, 0);
	for (int i = 0; i < 6; i++) {
		fill(self->data, sizes[i], i + 1);
		ASSERT_EQ(pwrite(self->disk, self->data, sizes[i], 0), (ssize_t)sizes[i]);
		posix_fadvise(buffered, 0, 0, POSIX_FADV_DONTNEED);
		ASSERT_EQ(pread(buffered, plain, sizes[i], 0), (ssize_t)sizes[i]);
		EXPECT_EQ(differs(plain, sizes[i], i + 1), sizes[i]);
		EXPECT_EQ(differs(self->data, sizes[i], i + 1), sizes[i]);
	}
	close(buffered);
	free(plain);
}

TEST_F(io, what_is_read_directly_into_the_pool_is_seen_by_every_client)
{
	struct pool second;
	uint8_t *plain = aligned_alloc(PAGE, MIB);

	ASSERT_EQ(join(&second, self->pool.fd, 1), 0);
	fill(plain, MIB, 77);
	ASSERT_EQ(pwrite(self->disk, plain, MIB, 0), (ssize_t)MIB);
	memset(self->data, 0, DISK_BYTES);
	/* Into the middle, from a page boundary on and from inside a page. */
	ASSERT_EQ(pread(self->disk, self->data + PAGE, MIB, 0), (ssize_t)MIB);
	EXPECT_EQ(differs(second.memory + self->offset + PAGE, MIB, 77), MIB);
	ASSERT_EQ(pread(self->disk, self->data + 2 * MIB + 512, MIB, 0), (ssize_t)MIB);
	EXPECT_EQ(differs(second.memory + self->offset + 2 * MIB + 512, MIB, 77), MIB);
	/* Nothing beside it. */
	EXPECT_EQ(self->data[PAGE - 1], 0);
	EXPECT_EQ(self->data[PAGE + MIB], 0);
	EXPECT_EQ(self->data[2 * MIB + 511], 0);
	EXPECT_EQ(self->data[3 * MIB + 512], 0);
	leave(&second);
	free(plain);
}

TEST_F(io, where_there_is_no_page_or_no_right_to_write_direct_io_is_efault)
{
	uint8_t *hole = self->pool.memory + self->pool.max_bytes - PAGE;
	void *readonly = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd, self->offset);

	ASSERT_NE(readonly, MAP_FAILED);
	fill(self->data, PAGE, 5);
	EXPECT_EQ(pread(self->disk, hole, PAGE, 0), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(pwrite(self->disk, hole, PAGE, 0), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(pread(self->disk, readonly, PAGE, 0), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(differs(self->data, PAGE, 5), PAGE);
	EXPECT_EQ(pwrite(self->disk, readonly, PAGE, 0), (ssize_t)PAGE);
	munmap(readonly, PAGE);
}

TEST_F(io, buffers_registered_with_io_uring_are_eopnotsupp_on_6_1_and_keep_their_region_later)
{
	struct quarry_region r = { .size = sizeof(r), .node = -1, .bytes = 256 * KIB };
	struct quarry_region gone = { .size = sizeof(gone) };
	uint32_t params[30] = { 0 };
	struct utsname kernel;
	struct iovec buffer;
	int ring, err;

	ASSERT_EQ(uname(&kernel), 0);
	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &r), 0);
	gone.offset = r.offset;
	ring = syscall(SYS_io_uring_setup, 4, params);
	ASSERT_GE(ring, 0);
	/* The call itself works: memory of no file is taken. */
	buffer.iov_base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffer.iov_len = PAGE;
	ASSERT_EQ(syscall(SYS_io_uring_register, ring, 0 /* BUFFERS */, &buffer, 1), 0);
	ASSERT_EQ(syscall(SYS_io_uring_register, ring, 1 /* UNREGISTER_BUFFERS */, NULL, 0), 0);

	buffer.iov_base = self->pool.memory + r.offset;
	buffer.iov_len = 64 * KIB;
	err = syscall(SYS_io_uring_register, ring, 0, &buffer, 1) ? -errno : 0;
	if (!strncmp(kernel.release, "6.1.", 4)) {
		EXPECT_EQ(err, -EOPNOTSUPP);
	} else {
		EXPECT_EQ(err, 0);
		EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone), -EBUSY);
		EXPECT_EQ(syscall(SYS_io_uring_register, ring, 1, NULL, 0), 0);
	}
	close(ring);
	/* No page of it is held any more; a ring lets go of its pages some time after close. */
	for (int i = 0; i < 50; i++) {
		err = call(self->pool.fd, QUARRY_IOC_REGION_REMOVE, &gone);
		if (err != -EBUSY)
			break;
		usleep(20000);
	}
	EXPECT_EQ(err, 0);
}

/* ---- QUARRY_POOL_HOLD_PINNED ------------------------------------------------- */

#define HELD_BYTES (4 * PAGE)

FIXTURE(held)
{
	struct pool pool;
	int pipe[2];
};

static int create_holding(struct pool *pool, uint32_t flags)
{
	struct quarry_pool_create c;

	create_defaults(&c);
	c.bytes = MIB;
	c.max_bytes = MIB;
	c.flags = flags;
	return create(pool, &c);
}

FIXTURE_SETUP(held)
{
	ASSERT_EQ(create_holding(&self->pool, QUARRY_POOL_HOLD_PINNED), 0);
	ASSERT_EQ(pipe2(self->pipe, O_CLOEXEC), 0);
	ASSERT_GE(fcntl(self->pipe[1], F_SETPIPE_SZ, (int)MIB), (int)MIB);
}

FIXTURE_TEARDOWN(held)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
	close(self->pipe[0]);
	close(self->pipe[1]);
}

/* The pipe refers to the object's pages until it is read or closed: as a device does in I/O. */
static int hold(int pipe, const struct pool *pool, uint64_t offset, size_t bytes)
{
	struct iovec part = { .iov_base = pool->memory + offset, .iov_len = bytes };

	return vmsplice(pipe, &part, 1, 0) == (ssize_t)bytes ? 0 : -errno;
}

static void let_go(int pipe[2])
{
	close(pipe[0]);
	close(pipe[1]);
	if (pipe2(pipe, O_CLOEXEC))
		abort();
}

/* How many bytes are held once they are `wanted`, or after 10 s. */
static uint64_t held_soon(int fd, uint64_t wanted)
{
	uint64_t held = 0;

	for (int i = 0; i < 500; i++) {
		held = stat_of(fd).held_bytes;
		if (held == wanted)
			break;
		usleep(20000);
	}
	return held;
}

TEST_F(held, a_freed_page_that_is_held_goes_to_nobody_before_it_is_let_go)
{
	struct pool other;
	int64_t held = alloc_one(&self->pool, HELD_BYTES), o;
	uint64_t pages = 0;

	ASSERT_GE(held, 0);
	ASSERT_EQ(join(&other, self->pool.fd, 1), 0);
	ASSERT_EQ(hold(self->pipe[1], &self->pool, held, HELD_BYTES), 0);
	EXPECT_EQ(free_one(&self->pool, held), 0);
	EXPECT_EQ(stat_of(self->pool.fd).held_bytes, HELD_BYTES);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 0);
	EXPECT_EQ(verify(self->pool.fd), 0);
	EXPECT_EQ(free_one(&self->pool, held), -EALREADY);
	usleep(200000);		/* it is looked at meanwhile, and held still */
	while ((o = alloc_one(&other, PAGE)) >= 0) {
		EXPECT_TRUE(o < held || o >= held + (int64_t)HELD_BYTES);
		pages++;
	}
	EXPECT_EQ(o, -ENOSPC);
	EXPECT_EQ(pages, (MIB - HELD_BYTES) / PAGE);
	let_go(self->pipe);
	EXPECT_EQ(alloc_one(&other, HELD_BYTES), held);
	EXPECT_EQ(stat_of(self->pool.fd).held_bytes, 0);
	leave(&other);
}

TEST_F(held, without_the_flag_it_goes_to_the_next_at_once)
{
	struct pool plain;
	int64_t o, first;

	ASSERT_EQ(create_holding(&plain, 0), 0);
	first = alloc_one(&plain, MIB);
	ASSERT_EQ(first, 0);
	ASSERT_EQ(hold(self->pipe[1], &plain, first, HELD_BYTES), 0);
	EXPECT_EQ(free_one(&plain, first), 0);
	EXPECT_EQ(stat_of(plain.fd).held_bytes, 0);
	o = alloc_one(&plain, MIB);
	EXPECT_EQ(o, first);
	leave(&plain);
}

TEST_F(held, a_free_that_would_hold_more_than_a_quarter_is_ebusy_and_only_whole_pages_are_held)
{
	struct quarry_pool_create c;
	uint64_t objects[2];

	ASSERT_EQ(alloc_n(&self->pool, 160 * KIB, 0, 2, objects), 2);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(hold(self->pipe[1], &self->pool, objects[i], 160 * KIB), 0);
	EXPECT_EQ(free_one(&self->pool, objects[0]), 0);
	EXPECT_EQ(free_one(&self->pool, objects[1]), -EBUSY);
	EXPECT_EQ(stat_of(self->pool.fd).held_bytes, 160 * KIB);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 1);
	let_go(self->pipe);
	EXPECT_EQ(free_one(&self->pool, objects[1]), 0);
	EXPECT_EQ(held_soon(self->pool.fd, 0), 0);

	create_defaults(&c);
	c.flags = QUARRY_POOL_HOLD_PINNED;
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = PAGE + 8;
	c.object_count = 4;
	EXPECT_EQ(create_raw(&c), -EOPNOTSUPP);
	c.object_size = 64;
	EXPECT_EQ(create_raw(&c), -EOPNOTSUPP);
}

TEST_F(held, a_slot_of_a_fixed_pool_goes_to_nobody_before_it_is_let_go)
{
	struct quarry_pool_create c;
	struct pool frames, other;
	uint64_t slots[16];
	int64_t last;

	create_defaults(&c);
	c.flags = QUARRY_POOL_HOLD_PINNED;
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 2 * PAGE;
	c.object_count = 16;
	c.bytes = 0;
	c.max_bytes = 0;
	ASSERT_EQ(create(&frames, &c), 0);
	ASSERT_EQ(join(&other, frames.fd, 1), 0);
	ASSERT_EQ(alloc_n(&frames, 2 * PAGE, 0, 16, slots), 16);
	ASSERT_EQ(hold(self->pipe[1], &frames, slots[3], 2 * PAGE), 0);
	ASSERT_EQ(hold(self->pipe[1], &frames, slots[7] + PAGE, PAGE), 0);
	for (int i = 0; i < 16; i++)
		EXPECT_EQ(free_one(&frames, slots[i]), 0);
	EXPECT_EQ(free_one(&frames, slots[3]), -EALREADY);
	EXPECT_EQ(stat_of(frames.fd).held_bytes, 4 * PAGE);
	EXPECT_EQ(stat_of(frames.fd).objects, 0);
	EXPECT_EQ(verify(frames.fd), 0);
	for (int i = 0; i < 14; i++) {
		last = alloc_one(&other, 2 * PAGE);
		EXPECT_GE(last, 0);
		EXPECT_NE(last, (int64_t)slots[3]);
		EXPECT_NE(last, (int64_t)slots[7]);
	}
	EXPECT_EQ(alloc_one(&other, 2 * PAGE), -ENOSPC);
	let_go(self->pipe);
	EXPECT_EQ(held_soon(frames.fd, 0), 0);
	EXPECT_GE(alloc_one(&other, 2 * PAGE), 0);
	EXPECT_GE(alloc_one(&other, 2 * PAGE), 0);
	EXPECT_EQ(alloc_one(&other, 2 * PAGE), -ENOSPC);
	/* What a dead client leaves, too. */
	ASSERT_EQ(hold(self->pipe[1], &other, last, 2 * PAGE), 0);
	leave(&other);
	EXPECT_EQ(stat_of(frames.fd).held_bytes, 2 * PAGE);
	EXPECT_EQ(alloc_n(&frames, 2 * PAGE, 0, 16, slots), 15);
	let_go(self->pipe);
	EXPECT_EQ(held_soon(frames.fd, 0), 0);
	EXPECT_EQ(verify(frames.fd), 0);
	leave(&frames);
}

static int load(const char *folder, const char *name, const char *options)
{
	char line[400];

	snprintf(line, sizeof(line), "insmod $VM_IMAGE/modules/lib/modules/$(uname -r)/kernel/%s/%s.ko* %s",
		 folder, name, options);
	return system(line);
}

/* One direct read through a ring; it is in flight when this returns. */
static int start_read(int disk, void *at, uint32_t bytes)
{
	struct io_uring_params params = { 0 };
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	struct io_uring_sqe *entries;
	uint8_t *sq;

	if (ring < 0)
		return -errno;
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(uint32_t), PROT_READ | PROT_WRITE,
		  MAP_SHARED, ring, IORING_OFF_SQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		       IORING_OFF_SQES);
	if (sq == MAP_FAILED || (void *)entries == MAP_FAILED)
		return -errno;
	entries[0].opcode = IORING_OP_READ;
	entries[0].fd = disk;
	entries[0].addr = (uintptr_t)at;
	entries[0].len = bytes;
	*(uint32_t *)(sq + params.sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1 ? ring : -errno;
}

TEST_F(held, a_read_in_flight_keeps_the_pages_of_a_client_that_is_killed)
{
	struct quarry_stat stat;
	int64_t held = -1, o;
	pid_t child;

	ASSERT_EQ(load("fs/configfs", "configfs", ""), 0);
	/* Each read takes two seconds, those of the kernel that looks for partitions too. */
	ASSERT_EQ(load("drivers/block/null_blk", "null_blk", "nr_devices=1 gb=1 irqmode=2 completion_nsec=2000000000"),
		  0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		int disk = open("/dev/nullb0", O_RDONLY | O_DIRECT | O_CLOEXEC);
		struct pool mine;

		if (disk < 0 || join(&mine, self->pool.fd, 1))
			_exit(1);
		held = alloc_one(&mine, HELD_BYTES);
		if (held < 0 || start_read(disk, mine.memory + held, HELD_BYTES) < 0)
			_exit(2);
		if (write(self->pipe[1], &held, sizeof(held)) != sizeof(held))
			_exit(3);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(self->pipe[0], &held, sizeof(held)), (ssize_t)sizeof(held));
	kill(child, SIGKILL);
	ASSERT_EQ(status_of(child), 128 + SIGKILL);
	stat = stat_of(self->pool.fd);
	EXPECT_EQ(stat.reaps, 1);
	EXPECT_EQ(stat.reaped_objects, 1);
	EXPECT_EQ(stat.held_bytes, HELD_BYTES);
	EXPECT_EQ(verify(self->pool.fd), 0);
	while ((o = alloc_one(&self->pool, PAGE)) >= 0)
		EXPECT_TRUE(o < held || o >= held + (int64_t)HELD_BYTES);
	EXPECT_EQ(o, -ENOSPC);
	/* The work finds the read's end by itself. */
	EXPECT_EQ(held_soon(self->pool.fd, 0), 0);
	EXPECT_EQ(alloc_one(&self->pool, HELD_BYTES), held);
	EXPECT_EQ(system("rmmod null_blk && rmmod configfs"), 0);
}

TEST_F(held, a_registered_buffer_keeps_the_pages_of_a_dead_client_as_long_as_its_ring)
{
	int64_t told[2] = { -1, -1 };	/* the error of the registration, and who keeps the ring */
	struct utsname kernel;
	pid_t child;

	ASSERT_EQ(uname(&kernel), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		struct io_uring_params params = { 0 };
		int ring = syscall(SYS_io_uring_setup, 4, &params);
		struct iovec buffer = { .iov_len = HELD_BYTES };
		struct pool mine;
		int64_t o;

		if (ring < 0 || fcntl(ring, F_SETFD, 0) || join(&mine, self->pool.fd, 1))
			_exit(1);
		o = alloc_one(&mine, HELD_BYTES);
		if (o < 0)
			_exit(2);
		buffer.iov_base = mine.memory + o;
		told[0] = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) ? -errno : 0;
		told[1] = fork();
		if (!told[1])
			for (;;)
				pause();
		if (write(self->pipe[1], told, sizeof(told)) != sizeof(told))
			_exit(3);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(self->pipe[0], told, sizeof(told)), (ssize_t)sizeof(told));
	kill(child, SIGKILL);
	ASSERT_EQ(status_of(child), 128 + SIGKILL);
	EXPECT_EQ(stat_of(self->pool.fd).reaped_objects, 1);
	if (!strncmp(kernel.release, "6.1.", 4)) {
		EXPECT_EQ(told[0], -EOPNOTSUPP);
	} else {
		EXPECT_EQ(told[0], 0);
		usleep(200000);
		EXPECT_EQ(stat_of(self->pool.fd).held_bytes, HELD_BYTES);
		EXPECT_EQ(alloc_one(&self->pool, MIB), -ENOSPC);
	}
	kill(told[1], SIGKILL);
	EXPECT_EQ(held_soon(self->pool.fd, 0), 0);
	EXPECT_EQ(alloc_one(&self->pool, MIB), 0);
}

TEST_HARNESS_MAIN
