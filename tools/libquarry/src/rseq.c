/* SPDX-License-Identifier: MIT */
/*
 * Where the thread's struct rseq is. Only glibc's registration is used (2.35 and newer): its offset
 * from the thread pointer is one number for all threads. Without one, a stand-in with the same
 * offset in all threads serves, whose cpu_id says "not registered": the fast path then finds no
 * block and needs no test of its own.
 */
#include <sys/mman.h>

#include "internal.h"

#if QUARRY_SEQUENCES

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* struct rseq as far as a sequence touches it. */
static _Thread_local struct {
    uint32_t cpu_id_start;
    int32_t cpu_id;
    uint64_t rseq_cs;
} stand_in __attribute__((aligned(32), tls_model("initial-exec"))) = {.cpu_id = -1};

bool quarry_rseq_place(ptrdiff_t *place) {
    char *thread;

    __asm__("movq %%fs:0, %0" : "=r"(thread));
    if (&__rseq_size && __rseq_size) {
        *place = __rseq_offset;
        return true;
    }
    *place = (char *)&stand_in - thread;
    return false;
}

#else

bool quarry_rseq_place(ptrdiff_t *place) {
    *place = 0;
    return false;
}

#endif
