// SPDX-License-Identifier: MIT
/*
 * Magazines in user space against the device: what the sequences and the calls move, what
 * hostile words can do, kills, memory. (README: "What lies free in a client's magazines
 * serves others")
 */
#include "magazine.h"
#include <sys/resource.h>
#include <time.h>
#include "kselftest_harness.h"

FIXTURE(magazines)
{
	struct pool pool;
};

FIXTURE_SETUP(magazines)
{
	ASSERT_EQ(found_heap(&self->pool, 4 * MIB, 64 * MIB), 0);
}

FIXTURE_TEARDOWN(magazines)
{
	EXPECT_EQ(verify(self->pool.fd), 0);
	leave(&self->pool);
}

TEST_F(magazines, the_area_says_where_the_blocks_are)
{
	struct quarry_info info = { .size = sizeof(info) };
	struct quarry_client_area *area = self->pool.area;

	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_INFO, &info), 0);
	EXPECT_TRUE(info.features & QUARRY_FEATURE_MAGAZINES);
	EXPECT_EQ(area->cpus, info.cpus);
	EXPECT_EQ(area->blocks_offset, PAGE);
	EXPECT_EQ(area->block_bytes, BLOCK);
	EXPECT_EQ(area->bytes, PAGE + info.cpus * BLOCK);
	EXPECT_EQ(area->bytes, self->pool.area_bytes);
	EXPECT_GE(stat_of(self->pool.fd).magazine_bytes, 2 * 16 * KIB);
	for (unsigned int cpu = 0; cpu < 2; cpu++)
		for (uint32_t class = 0; class < CLASSES; class++) {
			ASSERT_EQ(held_in(&self->pool, cpu, class), 0);
			ASSERT_EQ(capacity_of(&self->pool, cpu, class), 0);
		}
}

TEST_F(magazines, sequences_and_calls_move_objects_and_stat_counts_them)
{
	static uint64_t held[3000];
	uint64_t first, slots;
	uint32_t filled;
	struct quarry_stat before = stat_of(self->pool.fd), after;

	ASSERT_EQ(stay_on(0), 0);
	ASSERT_EQ(refill(&self->pool, C64, &first, &filled), 0);
	EXPECT_EQ(filled, QUARRY_MIN_MAGAZINE / 2 - 1);
	EXPECT_EQ(capacity_of(&self->pool, 0, C64), QUARRY_MIN_MAGAZINE);
	for (int i = 0; i < 3000; i++) {
		ASSERT_EQ(take(&self->pool, C64, &held[i]), 0);
		memset(self->pool.memory + held[i], i, 64);
	}
	for (int i = 0; i < 3000; i++) {
		for (int k = 0; k < 64; k++)
			ASSERT_EQ(self->pool.memory[held[i] + k], (uint8_t)i);
		ASSERT_EQ(give(&self->pool, C64, held[i]), 0);
	}
	ASSERT_EQ(give(&self->pool, C64, first), 0);
	after = stat_of(self->pool.fd);
	EXPECT_EQ(after.client_objects, held_in(&self->pool, 0, C64));
	EXPECT_EQ(after.allocs - before.allocs, after.frees - before.frees + after.client_objects);
	EXPECT_GT(after.refills, before.refills);
	EXPECT_GT(after.flushes, before.flushes);
	EXPECT_EQ(drain(&self->pool, 0, &slots), 0);
	EXPECT_EQ(slots, after.client_objects);
	EXPECT_EQ(stat_of(self->pool.fd).client_objects, 0);
	EXPECT_EQ(stat_of(self->pool.fd).refused, before.refused);
}

TEST_F(magazines, wrong_calls_have_their_errors)
{
	struct quarry_refill r = { .size = sizeof(r), .class_index = C64 };
	struct quarry_flush f = { .size = sizeof(f), .class_index = C64 };
	struct quarry_pool_create c;
	struct pool fresh, range, large;
	uint64_t offset, slots;
	pid_t pid;

#define REFILL(e, ...) do { struct quarry_refill x = r; __VA_ARGS__;		\
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REFILL, &x), -(e)); } while (0)
#define FLUSH(e, ...) do { struct quarry_flush x = f; __VA_ARGS__;		\
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_FLUSH, &x), -(e)); } while (0)
	REFILL(EINVAL, x.size = 8);
	REFILL(EINVAL, x.flags = 1);
	REFILL(EINVAL, x.class_index = CLASSES);
	REFILL(EINVAL, x.class_index = ~0U);
	REFILL(E2BIG, x.size = 8192);
	FLUSH(EINVAL, x.size = 8);
	FLUSH(EINVAL, x.flags = 2);
	FLUSH(EINVAL, x.class_index = CLASSES);
	FLUSH(EINVAL, x.flags = QUARRY_FLUSH_OBJECT; x.offset = 4);
	FLUSH(ERANGE, x.flags = QUARRY_FLUSH_OBJECT; x.offset = 1ULL << 40);
	FLUSH(ENXIO, x.flags = QUARRY_FLUSH_OBJECT; x.offset = 60 * MIB);
	FLUSH(EALREADY, x.flags = QUARRY_FLUSH_OBJECT; x.offset = 0);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REFILL, (void *)8), -EFAULT);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_FLUSH, (void *)8), -EFAULT);
	/* An answer that cannot be written: the object is back, the rest in the magazine. */
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, &r, sizeof(r));
	mprotect(page, PAGE, PROT_READ);
	EXPECT_EQ(call(self->pool.fd, QUARRY_IOC_REFILL, page), -EFAULT);
	munmap(page, PAGE);
	drain(&self->pool, 0, &slots);
	EXPECT_EQ(stat_of(self->pool.fd).client_objects, 0);

	ASSERT_EQ(join(&fresh, self->pool.fd, 0), 0);
	EXPECT_EQ(refill(&fresh, C64, &offset, NULL), -ENOTCONN);
	ASSERT_EQ(map_area_to_write(&fresh), 0);
	ASSERT_EQ(refill(&fresh, C64, &offset, NULL), 0);
	EXPECT_EQ(flush(&self->pool, C64, offset, NULL), -EACCES);
	pid = fork();
	if (!pid)
		_exit(refill(&fresh, C64, &offset, NULL) == -EXDEV &&
		      flush(&fresh, C64, offset, NULL) == -EXDEV ? 0 : 1);
	EXPECT_EQ(status_of(pid), 0);
	munmap(fresh.area, fresh.area_bytes);
	fresh.area = NULL;
	EXPECT_EQ(refill(&fresh, C64, &offset, NULL), -ESHUTDOWN);
	EXPECT_EQ(flush(&fresh, C64, offset, NULL), -ESHUTDOWN);
	leave(&fresh);
	/* Pools without magazines: no class is one. */
	create_defaults(&c);
	c.kind = QUARRY_KIND_RANGE;
	c.max_bytes = MIB;
	c.granule = 1;
	c.max_ranges = 10;
	ASSERT_EQ(create_unmapped(&range, &c), 0);
	EXPECT_EQ(range.area_bytes, PAGE);
	EXPECT_EQ(refill(&range, 0, &offset, NULL), -EINVAL);
	leave(&range);
	create_defaults(&c);
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 2056;
	c.object_count = 10;
	ASSERT_EQ(create(&large, &c), 0);
	EXPECT_EQ(large.area_bytes, PAGE);
	EXPECT_EQ(refill(&large, 0, &offset, NULL), -EINVAL);
	leave(&large);
}

/* The area is larger than a page now: a split is what is refused. */
TEST_F(magazines, the_area_cannot_be_split_moved_or_shrunk)
{
	uint8_t *area = self->pool.area;
	uint64_t offset;

	EXPECT_EQ(munmap(area, PAGE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(munmap(area + PAGE, PAGE), -1);
	EXPECT_EQ(munmap(area + self->pool.area_bytes - PAGE, PAGE), -1);
	EXPECT_EQ(mprotect(area + PAGE, PAGE, PROT_READ), -1);
	EXPECT_EQ(madvise(area + PAGE, PAGE, MADV_DODUMP), -1);
	EXPECT_EQ(mremap(area, self->pool.area_bytes, 2 * PAGE, 0), MAP_FAILED);
	EXPECT_EQ(mremap(area + PAGE, BLOCK, BLOCK, MREMAP_MAYMOVE | MREMAP_FIXED,
			 area + (1 << 30)), MAP_FAILED);
	EXPECT_EQ(mmap(area + PAGE, PAGE, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		  MAP_FAILED);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd, QUARRY_CLIENT_AREA_OFFSET),
		  MAP_FAILED);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd,
		       QUARRY_CLIENT_AREA_OFFSET + PAGE), MAP_FAILED);
	/* The client lives, and what it dropped from its mapping comes again. */
	ASSERT_EQ(stay_on(0), 0);
	ASSERT_EQ(refill(&self->pool, C64, &offset, NULL), 0);
	EXPECT_EQ(madvise(area, self->pool.area_bytes, MADV_DONTNEED), 0);
	EXPECT_EQ(held_in(&self->pool, 0, C64), QUARRY_MIN_MAGAZINE / 2 - 1);
	EXPECT_EQ(give(&self->pool, C64, offset), 0);
	EXPECT_EQ(held_in(&self->pool, 0, C64), QUARRY_MIN_MAGAZINE / 2);
}

/* Writes whatever it likes to all that it can write to, and makes calls. */
static void scribble(struct pool *p, uint64_t seed)
{
	static const uint32_t likely[] = { 0, 1, 255, 256, 320, 704, 736, 768, 32768, ~0U };
	uint64_t offset, out[16];
	struct quarry_flush f;

	for (;;) {
		unsigned int cpu = random_of(&seed) % 2;
		uint32_t class = random_of(&seed) % CLASSES;
		uint32_t *words = (uint32_t *)magazine_of(p, cpu, class);

		for (int i = 0; i < 64; i++) {
			uint32_t *word = (uint32_t *)block_of(p, cpu) + random_of(&seed) % 4096;

			*word = random_of(&seed) % 4 ? random_of(&seed) % (4 * MIB / 8) :
						       random_of(&seed);
		}
		words[random_of(&seed) % 4] = likely[random_of(&seed) % 10];
		switch (random_of(&seed) % 6) {
		case 0:
			refill(p, class, &offset, NULL);
			break;
		case 1:
			flush(p, class, random_of(&seed) % (4 * MIB), &f);
			break;
		case 2:
			drain(p, 0, NULL);
			break;
		case 3:
			alloc_n(p, 64, 0, 16, out);
			break;
		case 4:
			sched_yield();
			break;
		default:
			flush(p, class, ~0ULL, &f);
		}
	}
}

TEST_F(magazines, a_hostile_client_scribbles_all_and_harms_itself_alone)
{
	static uint64_t held[400];
	uint64_t state = 88172645463325252ULL, slots;
	struct quarry_pool_create c;
	pid_t hostile[2];
	time_t until;

	/* What a client has scribbled over stays its own until it dies: a limit bounds that. */
	leave(&self->pool);
	create_defaults(&c);
	c.bytes = 4 * MIB;
	c.max_bytes = 64 * MIB;
	c.client_limit = 2 * MIB;
	ASSERT_EQ(found(&self->pool, &c), 0);
	for (int i = 0; i < 2; i++) {
		hostile[i] = fork();
		if (!hostile[i]) {
			struct pool p;

			if (enlist(&p, self->pool.fd))
				_exit(1);
			stay_on(i);
			scribble(&p, 4711 + i);
		}
	}
	for (int i = 0; i < 400; i++) {
		ASSERT_EQ(take(&self->pool, C64, &held[i]), 0);
		memset(self->pool.memory + held[i], i, 64);
	}
	until = time(NULL) + 8;
	while (time(NULL) < until) {
		for (int round = 0; round < 2000; round++) {
			int i = random_of(&state) % 400;

			for (int k = 0; k < 64; k += 7)
				ASSERT_EQ(self->pool.memory[held[i] + k], (uint8_t)i);
			ASSERT_EQ(give(&self->pool, C64, held[i]), 0);
			ASSERT_EQ(take(&self->pool, C64, &held[i]), 0);
			memset(self->pool.memory + held[i], i, 64);
		}
		ASSERT_EQ(drain(&self->pool, QUARRY_DRAIN_POOL, &slots), 0);
		ASSERT_EQ(verify(self->pool.fd), 0);
	}
	for (int i = 0; i < 2; i++) {
		kill(hostile[i], SIGKILL);
		EXPECT_EQ(status_of(hostile[i]), 128 + SIGKILL);
	}
	/* It was busy. */
	EXPECT_GT(stat_of(self->pool.fd).refused, 100);
	EXPECT_EQ(stat_of(self->pool.fd).corruptions, 0);
	for (int i = 0; i < 400; i++)
		EXPECT_EQ(give(&self->pool, C64, held[i]), 0);
	drain(&self->pool, 0, NULL);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 0);
}

TEST_F(magazines, a_killed_client_with_full_magazines_loses_nothing)
{
	struct quarry_stat before = stat_of(self->pool.fd), after;
	int pipes[2];

	ASSERT_EQ(pipe(pipes), 0);
	for (int round = 0; round < 10; round++) {
		pid_t pid = fork();

		if (!pid) {
			struct pool p;
			uint64_t offset, kept = 0;

			if (enlist(&p, self->pool.fd))
				_exit(1);
			for (unsigned int cpu = 0; cpu < 2; cpu++) {
				stay_on(cpu);
				for (uint32_t class = 0; class < CLASSES; class++)
					for (int i = 0; i < 40; i++) {
						if (take(&p, class, &offset))
							_exit(2);
						kept++;
					}
			}
			tell(pipes[1]);
			for (;;)
				if (!take(&p, C64, &offset))
					give(&p, C64, offset);
		}
		wait_for(pipes[0]);
		after = stat_of(self->pool.fd);
		EXPECT_GE(after.objects, 2 * CLASSES * 40);
		kill(pid, SIGKILL);
		EXPECT_EQ(status_of(pid), 128 + SIGKILL);
		after = stat_of(self->pool.fd);
		EXPECT_EQ(after.objects, 0);
		EXPECT_EQ(after.used_bytes, 0);
	}
	EXPECT_EQ(after.reaps - before.reaps, 10);
	EXPECT_EQ(after.late_reaps, before.late_reaps);
	EXPECT_EQ(after.allocs - before.allocs,
		  after.frees - before.frees + after.reaped_objects - before.reaped_objects);
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(magazines, what_an_idle_client_caches_serves_a_busy_one_before_enospc)
{
	struct quarry_pool_create c;
	struct pool idle, busy;
	static uint64_t held[1000];
	uint64_t offset;
	int n = 0;

	create_defaults(&c);
	c.kind = QUARRY_KIND_FIXED;
	c.object_size = 64;
	c.object_count = 1000;
	ASSERT_EQ(found(&idle, &c), 0);
	ASSERT_EQ(enlist(&busy, idle.fd), 0);
	for (unsigned int cpu = 0; cpu < 2; cpu++) {
		ASSERT_EQ(stay_on(cpu), 0);
		ASSERT_EQ(refill(&idle, 0, &offset, NULL), 0);
	}
	ASSERT_EQ(stat_of(idle.fd).client_objects, 64);
	while (n < 1000 && !take(&busy, 0, &held[n]))
		n++;
	/* The idle one uses two. */
	EXPECT_EQ(n, 998);
	EXPECT_EQ(take(&busy, 0, &offset), -ENOSPC);
	EXPECT_EQ(stat_of(idle.fd).client_objects, 2);
	EXPECT_EQ(stat_of(idle.fd).unreachable, 0);
	EXPECT_EQ(verify(idle.fd), 0);
	leave(&busy);
	leave(&idle);
}

TEST_F(magazines, the_budget_of_a_client_bounds_its_magazines)
{
	long whole = parameter("client_magazine_bytes");
	uint64_t before = stat_of(self->pool.fd).magazine_bytes, offset;
	static uint64_t held[4000];
	struct pool p;

	ASSERT_GT(whole, 0);
	ASSERT_EQ(stay_on(0), 0);
	/* None: each object by a call. */
	ASSERT_EQ(set_parameter("client_magazine_bytes", 0), 0);
	EXPECT_EQ(enlist(&p, self->pool.fd), 0);
	EXPECT_EQ(stat_of(p.fd).magazine_bytes, before);
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(take(&p, C64, &held[i]), 0);
	EXPECT_EQ(stat_of(p.fd).client_objects, 100);
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(give(&p, C64, held[i]), 0);
	EXPECT_EQ(stat_of(p.fd).client_objects, 0);
	/* One block and one piece: one class may grow, another may not. */
	EXPECT_EQ(set_parameter("client_magazine_bytes", 16 * KIB + 8 * KIB), 0);
	for (int i = 0; i < 2000; i++)
		EXPECT_EQ(take(&p, 0, &held[i]), 0);
	for (int i = 2000; i < 4000; i++)
		EXPECT_EQ(take(&p, 1, &held[i]), 0);
	EXPECT_LE(stat_of(p.fd).magazine_bytes, before + 16 * KIB + 8 * KIB);
	EXPECT_LE(capacity_of(&p, 0, 1), QUARRY_MIN_MAGAZINE);
	EXPECT_EQ(stat_of(p.fd).client_objects,
		  4000 + held_in(&p, 0, 0) + held_in(&p, 0, 1));
	leave(&p);
	EXPECT_EQ(set_parameter("client_magazine_bytes", whole), 0);
	EXPECT_EQ(stat_of(self->pool.fd).magazine_bytes, before);
	EXPECT_EQ(refill(&self->pool, C64, &offset, NULL), 0);
}

TEST_F(magazines, a_thousand_clients_of_one_pool_cost_what_they_may_and_are_drained_at_once)
{
	static struct pool clients[1000];
	uint64_t offset, slots, before = stat_of(self->pool.fd).magazine_bytes;
	struct rlimit files = { 4096, 4096 };
	uint32_t filled, cached = 0;
	int n = 0;

	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
	ASSERT_EQ(stay_on(0), 0);
	for (; n < 1000; n++) {
		ASSERT_EQ(join(&clients[n], self->pool.fd, 0), 0);
		ASSERT_EQ(map_area_to_write(&clients[n]), 0);
		ASSERT_EQ(refill(&clients[n], n % CLASSES, &offset, &filled), 0);
		cached += filled;
	}
	EXPECT_EQ(stat_of(self->pool.fd).magazine_bytes,
		  before + 1000 * sysconf(_SC_NPROCESSORS_ONLN) * 16 * KIB);
	EXPECT_GT(cached, 15 * 1000);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 1000 + cached);
	EXPECT_EQ(drain(&self->pool, QUARRY_DRAIN_POOL, &slots), 0);
	/* What an emulated CPU cannot do in time another drain does. */
	for (int i = 0; i < 20 && stat_of(self->pool.fd).objects > 1000; i++)
		drain(&self->pool, QUARRY_DRAIN_POOL, &slots);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 1000);
	while (n)
		leave(&clients[--n]);
	EXPECT_EQ(stat_of(self->pool.fd).magazine_bytes, before);
	EXPECT_EQ(stat_of(self->pool.fd).objects, 0);
}

TEST_F(magazines, the_class_table_tells_the_class_of_each_slot)
{
	uint64_t bytes = self->pool.max_bytes / PAGE, small, large, run, slots;
	struct quarry_region region = { .size = sizeof(region), .node = -1, .bytes = 40 * MIB };
	struct quarry_pool_create c;
	struct pool range;
	uint8_t *table = mmap(NULL, bytes, PROT_READ, MAP_SHARED, self->pool.fd,
			      QUARRY_CLASS_TABLE_OFFSET);

	ASSERT_NE(table, MAP_FAILED);
	ASSERT_EQ(refill(&self->pool, C64, &small, NULL), 0);
	ASSERT_EQ(refill(&self->pool, CLASSES - 1, &large, NULL), 0);
	run = alloc_one(&self->pool, 3 * PAGE);
	EXPECT_EQ(table[small / PAGE], C64 + 1);
	EXPECT_EQ(table[large / PAGE], CLASSES);
	EXPECT_EQ(table[run / PAGE], 0);
	EXPECT_EQ(free_one(&self->pool, small), 0);
	EXPECT_EQ(free_one(&self->pool, large), 0);
	EXPECT_EQ(free_one(&self->pool, run), 0);
	EXPECT_EQ(drain(&self->pool, QUARRY_DRAIN_POOL, &slots), 0);
	EXPECT_EQ(table[small / PAGE], 0);
	EXPECT_EQ(table[large / PAGE], 0);
	/* Where no region has been: zeroes, read before; then what there is. */
	for (uint64_t i = 0; i < bytes; i += 512)
		EXPECT_EQ(table[i], 0);
	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REGION_ADD, &region), 0);
	for (int i = 0; i < 5000; i++) {
		uint64_t offset;

		ASSERT_EQ(take(&self->pool, CLASSES - 1, &offset), 0);
		ASSERT_EQ(table[offset / PAGE], CLASSES);
		large = offset > large ? offset : large;
	}
	EXPECT_GT(large, 16 * MIB - 1);
	EXPECT_EQ(munmap(table, PAGE), 0);
	EXPECT_EQ(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self->pool.fd,
		       QUARRY_CLASS_TABLE_OFFSET), MAP_FAILED);
	EXPECT_EQ(errno, EACCES);
	table = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->pool.fd, QUARRY_CLASS_TABLE_OFFSET);
	ASSERT_NE(table, MAP_FAILED);
	EXPECT_EQ(mprotect(table, PAGE, PROT_READ | PROT_WRITE), -1);
	EXPECT_EQ(errno, EACCES);
	munmap(table, PAGE);
	EXPECT_EQ(mmap(NULL, bytes + PAGE, PROT_READ, MAP_SHARED, self->pool.fd,
		       QUARRY_CLASS_TABLE_OFFSET), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->pool.fd,
		       QUARRY_CLASS_TABLE_OFFSET), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	create_defaults(&c);
	c.kind = QUARRY_KIND_RANGE;
	c.max_bytes = MIB;
	c.granule = 1;
	c.max_ranges = 10;
	ASSERT_EQ(create_unmapped(&range, &c), 0);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, range.fd, QUARRY_CLASS_TABLE_OFFSET),
		  MAP_FAILED);
	EXPECT_EQ(errno, EOPNOTSUPP);
	leave(&range);
}

TEST_HARNESS_MAIN
