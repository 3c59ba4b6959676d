// SPDX-License-Identifier: MIT
/*
 * Pool memory under I/O that pins pages: direct reads and writes of a block device, and
 * buffers registered with io_uring, which take no memory of a file on 6.1. Whatever comes
 * of it, the pool is sound. (README: "Pool memory is memory to direct I/O")
 */
#include "device.h"
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

TEST_HARNESS_MAIN
