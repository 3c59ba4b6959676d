/* SPDX-License-Identifier: MIT */
/*
 * A client with magazines without libquarry: its area mapped to write, and the two
 * restartable sequences of the protocol, by hand (x86-64).
 */
#ifndef QUARRY_SELFTEST_MAGAZINE_H
#define QUARRY_SELFTEST_MAGAZINE_H

#include "device.h"
#include <pthread.h>
#include <sys/rseq.h>

#define C64 7U
#define CLASSES 48U
#define BLOCK (1UL << QUARRY_CPU_BLOCK_SHIFT)

enum outcome {
	TAKEN,	/* or put */
	SLOW,	/* empty, full, or stopped */
	AGAIN,	/* aborted */
};

static inline struct rseq *own_rseq(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static inline uint8_t *block_of(struct pool *p, unsigned int cpu)
{
	return (uint8_t *)p->area + PAGE + cpu * BLOCK;
}

static inline struct quarry_magazine *magazine_of(struct pool *p, unsigned int cpu, uint32_t class)
{
	return &((struct quarry_cpu_block *)block_of(p, cpu))->magazine[class];
}

static inline uint32_t held_in(struct pool *p, unsigned int cpu, uint32_t class)
{
	return magazine_of(p, cpu, class)->top - magazine_of(p, cpu, class)->first;
}

static inline uint32_t capacity_of(struct pool *p, unsigned int cpu, uint32_t class)
{
	return magazine_of(p, cpu, class)->end - magazine_of(p, cpu, class)->first;
}

static inline unsigned int blocks_of(const struct pool *p)
{
	return ((struct quarry_client_area *)p->area)->cpus;
}

#define SEQUENCE_BEGIN								\
	".pushsection __rseq_cs, \"aw\"\n\t.balign 32\n"			\
	"33:\n\t.long 0, 0\n\t.quad 31f, 32f - 31f, 34f\n\t.popsection\n\t"	\
	"leaq 33b(%%rip), %%rax\n\tmovq %%rax, %[cs]\n"				\
	"31:\n\tcmpl %[cpu], %[cpu_id]\n\tjne %l[again]\n\t"			\
	"movl (%[m]), %%eax\n\t"
#define SEQUENCE_END								\
	"32:\n\t.pushsection __rseq_failure, \"ax\"\n\t"			\
	".byte 0x0f, 0xb9, 0x3d\n\t.long 0x53053053\n"				\
	"34:\n\tjmp %l[again]\n\t.popsection\n\t"

static inline enum outcome take_on(uint8_t *block, uint32_t class, uint32_t cpu, uint32_t *entry)
{
	struct quarry_magazine *m = &((struct quarry_cpu_block *)block)->magazine[class];
	struct rseq *rseq = own_rseq();
	uint32_t got;

	__asm__ goto(SEQUENCE_BEGIN
		     "cmpl 8(%[m]), %%eax\n\tjbe %l[slow]\n\t"
		     "movl -4(%[block], %%rax, 4), %[got]\n\t"
		     "decl %%eax\n\tmovl %%eax, (%[m])\n"
		     SEQUENCE_END
		     : [got] "=&r"(got), [cs] "+m"(rseq->rseq_cs)
		     : [cpu] "r"(cpu), [cpu_id] "m"(rseq->cpu_id), [m] "r"(m), [block] "r"(block)
		     : "rax", "memory", "cc"
		     : slow, again);
	*entry = got;
	return TAKEN;
slow:
	return SLOW;
again:
	return AGAIN;
}

static inline enum outcome put_on(uint8_t *block, uint32_t class, uint32_t cpu, uint32_t entry)
{
	struct quarry_magazine *m = &((struct quarry_cpu_block *)block)->magazine[class];
	struct rseq *rseq = own_rseq();

	__asm__ goto(SEQUENCE_BEGIN
		     "cmpl 4(%[m]), %%eax\n\tjae %l[slow]\n\t"
		     "movl %[entry], (%[block], %%rax, 4)\n\t"
		     "incl %%eax\n\tmovl %%eax, (%[m])\n"
		     SEQUENCE_END
		     : [cs] "+m"(rseq->rseq_cs)
		     : [cpu] "r"(cpu), [cpu_id] "m"(rseq->cpu_id), [m] "r"(m), [block] "r"(block),
		       [entry] "r"(entry)
		     : "rax", "memory", "cc"
		     : slow, again);
	return TAKEN;
slow:
	return SLOW;
again:
	return AGAIN;
}

static inline int refill(struct pool *p, uint32_t class, uint64_t *offset, uint32_t *filled)
{
	struct quarry_refill r = { .size = sizeof(r), .class_index = class };
	int err = call(p->fd, QUARRY_IOC_REFILL, &r);

	*offset = r.offset;
	if (filled)
		*filled = r.filled;
	return err;
}

/* `object` as FLUSH_OBJECT, or ~0 for none. */
static inline int flush(struct pool *p, uint32_t class, uint64_t object, struct quarry_flush *f)
{
	struct quarry_flush own;

	if (!f)
		f = &own;
	*f = (struct quarry_flush){ .size = sizeof(*f), .class_index = class, .offset = object,
				    .flags = object == ~0ULL ? 0 : QUARRY_FLUSH_OBJECT };
	return call(p->fd, QUARRY_IOC_FLUSH, f);
}

/* From the magazine of this CPU, or else by REFILL: 0 or a negative errno. */
static inline int take(struct pool *p, uint32_t class, uint64_t *offset)
{
	uint32_t entry;

	for (;;) {
		uint32_t cpu = __atomic_load_n(&own_rseq()->cpu_id, __ATOMIC_RELAXED);

		switch (cpu < blocks_of(p) ? take_on(block_of(p, cpu), class, cpu, &entry) : SLOW) {
		case TAKEN:
			*offset = (uint64_t)entry * 8;
			return 0;
		case SLOW:
			return refill(p, class, offset, NULL);
		default:
			break;
		}
	}
}

static inline int give(struct pool *p, uint32_t class, uint64_t offset)
{
	for (;;) {
		uint32_t cpu = __atomic_load_n(&own_rseq()->cpu_id, __ATOMIC_RELAXED);

		switch (cpu < blocks_of(p) ? put_on(block_of(p, cpu), class, cpu, offset / 8) : SLOW) {
		case TAKEN:
			return 0;
		case SLOW:
			return flush(p, class, offset, NULL);
		default:
			break;
		}
	}
}

static inline int map_area_to_write(struct pool *p)
{
	p->area = mmap(NULL, p->area_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd,
		       QUARRY_CLIENT_AREA_OFFSET);
	if (p->area == MAP_FAILED) {
		p->area = NULL;
		return -errno;
	}
	return 0;
}

static inline int enlist(struct pool *p, int fd)
{
	int err = join(p, fd, 0);

	if (!err)
		err = map_area_to_write(p);
	return err ? err : map_memory(p);
}

/* A pool whose creator has magazines. */
static inline int found(struct pool *p, struct quarry_pool_create *c)
{
	int err;

	memset(p, 0, sizeof(*p));
	err = create_raw(c);
	if (err)
		return err;
	p->fd = c->fd;
	p->id = c->pool_id;
	p->client = c->client_id;
	p->max_bytes = c->max_bytes;
	p->area_bytes = c->client_area_bytes;
	err = map_area_to_write(p);
	return err ? err : map_memory(p);
}

static inline int found_heap(struct pool *p, uint64_t bytes, uint64_t max_bytes)
{
	struct quarry_pool_create c;

	create_defaults(&c);
	c.bytes = bytes;
	c.max_bytes = max_bytes;
	return found(p, &c);
}

static inline int drain(struct pool *p, uint32_t flags, uint64_t *slots)
{
	struct quarry_drain d = { .size = sizeof(d), .flags = flags };
	int err = call(p->fd, QUARRY_IOC_DRAIN, &d);

	if (slots)
		*slots = d.slots;
	return err;
}

/* This thread, from now on. */
static inline int stay_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static inline int set_online(unsigned int cpu, int online)
{
	char path[64];
	int fd, n;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	n = write(fd, online ? "1" : "0", 1) == 1 ? 0 : -errno;
	close(fd);
	return n;
}

static inline uint64_t random_of(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif /* QUARRY_SELFTEST_MAGAZINE_H */
