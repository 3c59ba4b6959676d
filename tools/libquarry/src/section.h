/* SPDX-License-Identifier: MIT */
/*
 * Several objects in one restartable sequence, and what keeps sequences out from elsewhere.
 *
 * The same protocol as <quarry/fast.h>. A sequence of n copies n entries, 4 at a step, between the
 * block and the caller's buffer, and commits by one store; aborted, it starts again. SECTION_MOST
 * entries at a time keep it shorter than any time slice.
 */
#ifndef QUARRY_SECTION_H
#define QUARRY_SECTION_H

#include <linux/quarry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SECTION_MOST 64u

/* Where blocks are: table[cpu] is a CPU's distance from `anchor`; table[-1] and [-2] are there, 0. */
struct section_place {
    const void *anchor; /* a struct quarry_cpu_block of zeroes */
    const uint64_t *table;
    ptrdiff_t rseq;
};

/* Entries for the sequence to copy to: it may write below entry[0]. */
struct section_buffer {
    uint32_t below[4];
    uint32_t entry[SECTION_MOST];
};

/* Up to `want` (at most SECTION_MOST) entries from the top of this CPU's magazine; how many. */
uint32_t section_take(const struct section_place *place, unsigned size_class,
                      struct section_buffer *to, uint32_t want);
/* Puts the first of `count` entries there for which there is room; how many. */
uint32_t section_put(const struct section_place *place, unsigned size_class, const uint32_t *entries,
                     uint32_t count);
/*
 * The same with offsets, which are entries * 8, of as many objects as there are: for batches. `offsets`
 * is read or written in the sequence.
 */
uint32_t section_take_offsets(const struct section_place *place, unsigned size_class, uint64_t *offsets,
                              uint32_t want);
uint32_t section_put_offsets(const struct section_place *place, unsigned size_class,
                             const uint64_t *offsets, uint32_t count);
/* The CPU that this thread is on, a hint; -1 and below: it has no rseq. */
int section_cpu(const struct section_place *place);

/*
 * For whoever writes magazines from outside sequences in this process ("host:", and the tests' device):
 * after this no sequence is under way on `cpu` that began before; false: the system has no such
 * call. Shut the magazine (first UINT32_MAX, end 0) before, and none will begin.
 */
bool section_interrupt(unsigned cpu);

#ifdef __cplusplus
}
#endif
#endif
