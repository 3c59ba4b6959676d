/* SPDX-License-Identifier: MIT */
#include "section.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#if QUARRY_SEQUENCES

/* As QUARRY_SEQUENCE_BEGIN, with a table anywhere; `magazine` becomes the address of the magazine. */
#define BEGIN                                             \
    QUARRY_SEQUENCE_OPEN                                  \
    "movq (%[table],%[block],8), %[block]\n\t"            \
    "addq %[anchor], %[block]\n\t"

uint32_t section_take(const struct section_place *place, unsigned size_class,
                      struct section_buffer *to, uint32_t want) {
    uint64_t block, from, n, i;

again:
    __asm__ __volatile__ goto(BEGIN
                 "movl (%[block],%[magazine]), %k[from]\n\t"
                 "movl 8(%[block],%[magazine]), %k[i]\n\t"
                 "movl %k[from], %k[n]\n\t"
                 "subl %k[i], %k[n]\n\t"
                 "jbe %l[empty]\n\t"
                 "cmpl %k[want], %k[n]\n\t"
                 "cmoval %k[want], %k[n]\n\t"
                 "subl %k[n], %k[from]\n\t"
                 "movq %[n], %[i]\n\t"
                 "leaq (%[block],%[from],4), %[from]\n"
                 "5:\n\t"
                 "movdqu -16(%[from],%[i],4), %%xmm0\n\t"
                 "movdqu %%xmm0, -16(%[to],%[i],4)\n\t"
                 "subq $4, %[i]\n\t"
                 "ja 5b\n\t"
                 "subq %[block], %[from]\n\t"
                 "shrl $2, %k[from]\n\t"
                 "movl %k[from], (%[block],%[magazine])\n"
                 QUARRY_SEQUENCE_END
                 : [block] "=&r"(block), [from] "=&r"(from), [n] "=&r"(n), [i] "=&r"(i)
                 : [table] "r"(place->table), [anchor] "m"(place->anchor), [rseq] "r"(place->rseq),
                   [magazine] "r"(size_class * sizeof(struct quarry_magazine)), [to] "r"(to->entry),
                   [want] "r"(want)
                 : "cc", "memory", "xmm0"
                 : again, empty);
    return (uint32_t)n;
empty:
    return 0;
}

uint32_t section_put(const struct section_place *place, unsigned size_class, const uint32_t *entries,
                     uint32_t count) {
    uint64_t block, at, n, i;

    if (!count)
        return 0;
again:
    __asm__ __volatile__ goto(BEGIN
                 "movl (%[block],%[magazine]), %k[at]\n\t"
                 "movl 4(%[block],%[magazine]), %k[n]\n\t"
                 "subl %k[at], %k[n]\n\t"
                 "jbe %l[full]\n\t"
                 "cmpl %k[count], %k[n]\n\t"
                 "cmoval %k[count], %k[n]\n\t"
                 "leaq (%[block],%[at],4), %[at]\n\t"
                 "xorl %k[i], %k[i]\n\t"
                 "subq $4, %[n]\n\t"
                 "jb 6f\n"
                 "5:\n\t"
                 "movdqu (%[entries],%[i],4), %%xmm0\n\t"
                 "movdqu %%xmm0, (%[at],%[i],4)\n\t"
                 "addq $4, %[i]\n\t"
                 "cmpq %[n], %[i]\n\t"
                 "jbe 5b\n"
                 "6:\n\t"
                 "addq $4, %[n]\n\t"
                 "cmpq %[n], %[i]\n\t"
                 "jae 8f\n"
                 "7:\n\t"
                 "movd (%[entries],%[i],4), %%xmm0\n\t"
                 "movd %%xmm0, (%[at],%[i],4)\n\t"
                 "incq %[i]\n\t"
                 "cmpq %[n], %[i]\n\t"
                 "jb 7b\n"
                 "8:\n\t"
                 "leaq (%[at],%[n],4), %[at]\n\t"
                 "subq %[block], %[at]\n\t"
                 "shrl $2, %k[at]\n\t"
                 "movl %k[at], (%[block],%[magazine])\n"
                 QUARRY_SEQUENCE_END
                 : [block] "=&r"(block), [at] "=&r"(at), [n] "=&r"(n), [i] "=&r"(i)
                 : [table] "r"(place->table), [anchor] "m"(place->anchor), [rseq] "r"(place->rseq),
                   [magazine] "r"(size_class * sizeof(struct quarry_magazine)),
                   [entries] "r"(entries), [count] "r"(count)
                 : "cc", "memory", "xmm0"
                 : again, full);
    return (uint32_t)n;
full:
    return 0;
}

/* Four entries become four offsets: widened by zeroes, shifted; eight at a step. */
uint32_t section_take_offsets(const struct section_place *place, unsigned size_class, uint64_t *offsets,
                              uint32_t want) {
    uint64_t block, from, n, i;

again:
    __asm__ __volatile__ goto(
        BEGIN
        "movl (%[block],%[magazine]), %k[from]\n\t"
        "movl 8(%[block],%[magazine]), %k[i]\n\t"
        "movl %k[from], %k[n]\n\t"
        "subl %k[i], %k[n]\n\t"
        "jbe %l[empty]\n\t"
        "cmpl %k[want], %k[n]\n\t"
        "cmoval %k[want], %k[n]\n\t"
        "subl %k[n], %k[from]\n\t"
        "leaq (%[block],%[from],4), %[from]\n\t"
        "xorl %k[i], %k[i]\n\t"
        "pxor %%xmm3, %%xmm3\n\t"
        "subq $8, %[n]\n\t"
        "jb 6f\n"
        "5:\n\t"
        "movdqu (%[from],%[i],4), %%xmm0\n\t"
        "movdqa %%xmm0, %%xmm1\n\t"
        "punpckldq %%xmm3, %%xmm0\n\t"
        "punpckhdq %%xmm3, %%xmm1\n\t"
        "psllq $3, %%xmm0\n\t"
        "psllq $3, %%xmm1\n\t"
        "movdqu %%xmm0, (%[offsets],%[i],8)\n\t"
        "movdqu %%xmm1, 16(%[offsets],%[i],8)\n\t"
        "movdqu 16(%[from],%[i],4), %%xmm0\n\t"
        "movdqa %%xmm0, %%xmm1\n\t"
        "punpckldq %%xmm3, %%xmm0\n\t"
        "punpckhdq %%xmm3, %%xmm1\n\t"
        "psllq $3, %%xmm0\n\t"
        "psllq $3, %%xmm1\n\t"
        "movdqu %%xmm0, 32(%[offsets],%[i],8)\n\t"
        "movdqu %%xmm1, 48(%[offsets],%[i],8)\n\t"
        "addq $8, %[i]\n\t"
        "cmpq %[n], %[i]\n\t"
        "jbe 5b\n"
        "6:\n\t"
        "addq $8, %[n]\n\t"
        "cmpq %[n], %[i]\n\t"
        "jae 8f\n"
        "7:\n\t"
        "movd (%[from],%[i],4), %%xmm0\n\t"
        "psllq $3, %%xmm0\n\t"
        "movq %%xmm0, (%[offsets],%[i],8)\n\t"
        "incq %[i]\n\t"
        "cmpq %[n], %[i]\n\t"
        "jb 7b\n"
        "8:\n\t"
        "subq %[block], %[from]\n\t"
        "shrl $2, %k[from]\n\t"
        "movl %k[from], (%[block],%[magazine])\n"
        QUARRY_SEQUENCE_END
        : [block] "=&r"(block), [from] "=&r"(from), [n] "=&r"(n), [i] "=&r"(i)
        : [table] "r"(place->table), [anchor] "m"(place->anchor), [rseq] "r"(place->rseq),
          [magazine] "r"(size_class * sizeof(struct quarry_magazine)), [offsets] "r"(offsets),
          [want] "r"(want)
        : "cc", "memory", "xmm0", "xmm1", "xmm3"
        : again, empty);
    return (uint32_t)n;
empty:
    return 0;
}

/* Four offsets become four entries: shifted, the even halves of them. */
uint32_t section_put_offsets(const struct section_place *place, unsigned size_class,
                             const uint64_t *offsets, uint32_t count) {
    uint64_t block, at, n, i;

    if (!count)
        return 0;
again:
    __asm__ __volatile__ goto(
        BEGIN
        "movl (%[block],%[magazine]), %k[at]\n\t"
        "movl 4(%[block],%[magazine]), %k[n]\n\t"
        "subl %k[at], %k[n]\n\t"
        "jbe %l[full]\n\t"
        "cmpl %k[count], %k[n]\n\t"
        "cmoval %k[count], %k[n]\n\t"
        "leaq (%[block],%[at],4), %[at]\n\t"
        "xorl %k[i], %k[i]\n\t"
        "subq $8, %[n]\n\t"
        "jb 6f\n"
        "5:\n\t"
        "movdqu (%[offsets],%[i],8), %%xmm0\n\t"
        "movdqu 16(%[offsets],%[i],8), %%xmm1\n\t"
        "psrlq $3, %%xmm0\n\t"
        "psrlq $3, %%xmm1\n\t"
        "shufps $0x88, %%xmm1, %%xmm0\n\t"
        "movdqu %%xmm0, (%[at],%[i],4)\n\t"
        "movdqu 32(%[offsets],%[i],8), %%xmm0\n\t"
        "movdqu 48(%[offsets],%[i],8), %%xmm1\n\t"
        "psrlq $3, %%xmm0\n\t"
        "psrlq $3, %%xmm1\n\t"
        "shufps $0x88, %%xmm1, %%xmm0\n\t"
        "movdqu %%xmm0, 16(%[at],%[i],4)\n\t"
        "addq $8, %[i]\n\t"
        "cmpq %[n], %[i]\n\t"
        "jbe 5b\n"
        "6:\n\t"
        "addq $8, %[n]\n\t"
        "cmpq %[n], %[i]\n\t"
        "jae 8f\n"
        "7:\n\t"
        "movq (%[offsets],%[i],8), %%xmm0\n\t"
        "psrlq $3, %%xmm0\n\t"
        "movd %%xmm0, (%[at],%[i],4)\n\t"
        "incq %[i]\n\t"
        "cmpq %[n], %[i]\n\t"
        "jb 7b\n"
        "8:\n\t"
        "leaq (%[at],%[n],4), %[at]\n\t"
        "subq %[block], %[at]\n\t"
        "shrl $2, %k[at]\n\t"
        "movl %k[at], (%[block],%[magazine])\n"
        QUARRY_SEQUENCE_END
        : [block] "=&r"(block), [at] "=&r"(at), [n] "=&r"(n), [i] "=&r"(i)
        : [table] "r"(place->table), [anchor] "m"(place->anchor), [rseq] "r"(place->rseq),
          [magazine] "r"(size_class * sizeof(struct quarry_magazine)), [offsets] "r"(offsets),
          [count] "r"(count)
        : "cc", "memory", "xmm0", "xmm1"
        : again, full);
    return (uint32_t)n;
full:
    return 0;
}

int section_cpu(const struct section_place *place) {
    int cpu;

    __asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(place->rseq));
    return cpu;
}

bool section_interrupt(unsigned cpu) {
    for (int tries = 0; tries < 2; tries++) {
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_FLAG_CPU,
                    cpu) == 0)
            return true;
        /* The first time, in this address space. */
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0) < 0)
            break;
    }
    return false;
}

#else

uint32_t section_take(const struct section_place *place, unsigned size_class,
                      struct section_buffer *to, uint32_t want) {
    (void)place, (void)size_class, (void)to, (void)want;
    return 0;
}

uint32_t section_put(const struct section_place *place, unsigned size_class, const uint32_t *entries,
                     uint32_t count) {
    (void)place, (void)size_class, (void)entries, (void)count;
    return 0;
}

uint32_t section_take_offsets(const struct section_place *place, unsigned size_class, uint64_t *offsets,
                              uint32_t want) {
    (void)place, (void)size_class, (void)offsets, (void)want;
    return 0;
}

uint32_t section_put_offsets(const struct section_place *place, unsigned size_class,
                             const uint64_t *offsets, uint32_t count) {
    (void)place, (void)size_class, (void)offsets, (void)count;
    return 0;
}

int section_cpu(const struct section_place *place) {
    (void)place;
    return -1;
}

bool section_interrupt(unsigned cpu) {
    (void)cpu;
    return false;
}

#endif
