/* SPDX-License-Identifier: MIT */
/*
 * The fast path: quarry_alloc() and quarry_free() without a system call, inlined into the program.
 * Included by <quarry/quarry.h>; nothing here is to be called by name but what that header lists.
 *
 * Taking an object is a restartable sequence (rseq(2)) on the magazine of the CPU that it runs on,
 * which the kernel fills; giving one back is another. <linux/quarry.h>, section 6, is the protocol.
 * Whatever the sequence cannot do (empty, full, no magazine, a forked child that has not joined, a
 * thread without rseq) is done by the library's slow path, at a system call for half a magazine.
 *
 * CHECKS   Beside each object stands a mark in memory of this process alone: 2 bytes for each 64
 *          of the pool for objects of 64 bytes and more, else 1 byte for each 8. It says: allocated
 *          here, starts here, of this class. A free tests and clears it before the sequence, so a
 *          double free, a foreign or inner pointer and a wrong size are errors at that very call,
 *          which then asks the kernel what exactly is wrong. An allocation tests that it is clear
 *          and sets it after the sequence: a mark that is set means that two frees of one object
 *          raced; the duplicate is dropped and counted (quarry_duplicates()).
 *
 * SIGNALS  The sequence ends in one store. A signal, a migration, a preemption before it: nothing
 *          has happened, and it starts again. So all of this is async-signal-safe.
 *
 * A shared object that was compiled with these calls and is unloaded by dlclose(3) must not be
 * unmapped by a thread that was in one of them last and has not been scheduled since: the kernel
 * may still look at the description of the sequence. Sleep, or call quarry_drain(), before.
 *
 * x86-64 with gcc 11 or clang 11 and newer, when optimising; elsewhere the same calls are functions.
 */
#ifndef QUARRY_FAST_H
#define QUARRY_FAST_H

#ifndef QUARRY_QUARRY_H
#error "include <quarry/quarry.h>"
#endif

/* The library's own sequences, too, exist only where these do. */
#if defined(__x86_64__) && defined(__LP64__) && \
    (defined(__clang__) ? __clang_major__ >= 11 : defined(__GNUC__) && __GNUC__ >= 11)
#define QUARRY_SEQUENCES 1
#else
#define QUARRY_SEQUENCES 0
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The head of a handle, and what lies behind it at fixed distances. All of it is part of the
 * library's binary interface: programs have it inlined.
 *
 *   0                      struct quarry_fast, the rest of the handle; a forked child has a copy
 *   QUARRY_AT_CLIENT       what belongs to this process alone, from here on zero in a forked child
 *   QUARRY_AT_BLOCKS       for each CPU (and -1, -2: a thread without rseq) the distance from the
 *                          handle to that CPU's block of magazines; 0: to `shut`, empty and full
 *   QUARRY_AT_ALL_BLOCKS   the same for the library, also where sizes are not classes (fixed pools)
 *   QUARRY_AT_MARKS        marks of objects of 64 bytes and more: __u16 for each 64 bytes of pool
 *   fast->small_marks      marks of smaller ones: a byte for each 8 bytes of pool
 */
#define QUARRY_AT_CLIENT 0x1000
#define QUARRY_AT_BLOCKS 0x2000
#define QUARRY_AT_ALL_BLOCKS 0x12000
#define QUARRY_AT_MARKS 0x22000
/* CPUs that the tables have room for. */
#define QUARRY_MOST_CPUS 8190
/* The first class whose marks are the large ones, and the most bytes of a class. */
#define QUARRY_LARGE_CLASS 7
#define QUARRY_MOST_CLASS_BYTES 2048

struct quarry_fast {
    struct quarry_cpu_block shut;
    unsigned char *base;        /* the pool's offset 0; NULL: a range pool */
    uint64_t grains;            /* offsets / 8 below this have marks; 0: none has */
    uint64_t lines;             /* the same in units of 64 bytes */
    ptrdiff_t rseq;             /* the thread's struct rseq (or a stand-in), from the thread pointer */
    unsigned char *small_marks;
    uint8_t class_of[256];      /* by (bytes - 1) / 8 */
};

/* The slow paths. `bytes` 0: no size is known. Offsets are this far from the base, right or wrong. */
#define QUARRY_BY_ADDRESS 1u /* the caller has, or wants, an address */
#define QUARRY_UNCHECKED 2u  /* without marks */
#if defined(__GNUC__)
#define QUARRY_COLD __attribute__((__cold__))
#else
#define QUARRY_COLD
#endif
QUARRY_COLD uint64_t quarry_slow_alloc(struct quarry_pool *pool, uint64_t bytes, uint64_t align, unsigned how);
QUARRY_COLD int quarry_slow_free(struct quarry_pool *pool, uint64_t offset, uint64_t bytes, uint64_t align,
                     unsigned how);
/* The magazine of its class does not take `offset`, whose mark is cleared. */
QUARRY_COLD int quarry_slow_put(struct quarry_pool *pool, uint64_t offset, unsigned size_class, unsigned how);
/* A magazine held `offset`, which is in use: two frees of it raced. */
QUARRY_COLD void quarry_slow_duplicate(struct quarry_pool *pool, uint64_t offset);

/* Always inlined, and never a function of the program's own. */
#define QUARRY_INLINE extern __inline__ __attribute__((__always_inline__, __gnu_inline__, __artificial__))

/* Whether a class of heap pools holds such an object; `align` 0 or a power of two. */
QUARRY_INLINE int quarry_has_class(uint64_t bytes, uint64_t align) {
    return bytes - 1 < QUARRY_MOST_CLASS_BYTES && align <= QUARRY_MOST_CLASS_BYTES &&
           (align & (align - 1)) == 0;
}

/*
 * The index of that class: 8..64 in steps of 8, then eight to each doubling, up to 2048; the smallest
 * that is a multiple of `align`.
 */
QUARRY_INLINE unsigned quarry_class_of(uint64_t bytes, uint64_t align) {
    const uint64_t wide = align > QUARRY_GRAIN ? (bytes + align - 1) & ~(align - 1) : bytes;
    const unsigned top = wide > 64 ? 63 - (unsigned)__builtin_clzll(wide - 1) : 0;

    return wide <= 64 ? (unsigned)((wide + 7) / 8 - 1)
                      : 8 * (top - 6) + (unsigned)((wide - 1) >> (top - 3));
}

/* Whether objects of a class of heap pools have a multiple of 64 bytes. */
QUARRY_INLINE int quarry_is_whole(unsigned size_class) {
    return size_class == QUARRY_LARGE_CLASS ||
           (size_class > QUARRY_LARGE_CLASS &&
            (((uint64_t)(size_class - 8) % 8 + 1) * 8 << (size_class - 8) / 8) % 64 == 0);
}

/* The mark of an object of such a class at `entry`, which is its offset / 8. */
QUARRY_INLINE uint16_t quarry_large_mark(uint64_t entry, unsigned size_class) {
    const unsigned at = __builtin_constant_p(size_class) && quarry_is_whole(size_class)
                            ? 0 : (unsigned)entry & 7;

    return (uint16_t)(at | (size_class + 1) << 8);
}

#if QUARRY_SEQUENCES

/*
 * A sequence begins and ends with these; between them `block` is the address of this CPU's block (its
 * CPU's number, behind OPEN alone).
 * The description of the sequence lies in __rseq_cs, the signature that the kernel wants to see
 * before the place where an aborted one goes on in __rseq_failure; both in the group of the function
 * that they belong to ("?"), so that the linker drops them with it.
 */
#define QUARRY_SEQUENCE_OPEN                              \
    ".pushsection __rseq_cs, \"aw?\", @progbits\n\t"      \
    ".balign 32\n"                                        \
    "3:\n\t"                                              \
    ".long 0, 0\n\t"                                      \
    ".quad 1f, 2f - 1f, 4f\n\t"                           \
    ".popsection\n\t"                                     \
    "leaq 3b(%%rip), %[block]\n\t"                        \
    "movq %[block], %%fs:8(%[rseq])\n"                    \
    "1:\n\t"                                              \
    "movslq %%fs:4(%[rseq]), %[block]\n\t"
#define QUARRY_SEQUENCE_BEGIN(table)                       \
    QUARRY_SEQUENCE_OPEN                                   \
    "movq %c[" table "](%[pool],%[block],8), %[block]\n\t" \
    "addq %[pool], %[block]\n\t"
#define QUARRY_SEQUENCE_END                                 \
    "2:\n\t"                                                \
    ".pushsection __rseq_failure, \"ax?\", @progbits\n\t"   \
    ".byte 0x0f, 0xb9, 0x3d\n\t"                            \
    ".long 0x53053053\n"                                    \
    "4:\n\t"                                                \
    "jmp %l[again]\n\t"                                     \
    ".popsection\n"

/* Tests make sequences long here, just before they commit, so that they are aborted often. */
#ifndef QUARRY_SEQUENCE_DELAY
#define QUARRY_SEQUENCE_DELAY ""
#endif

/* Member `m` of a magazine of a class known when compiling, and of another one. */
#define QUARRY_OF_CONSTANT(m) "%c[magazine]+" m "(%[block])"
#define QUARRY_OF_VARIABLE(m) m "(%[block],%[magazine])"

#define QUARRY_TAKE_SEQUENCE(OF)                 \
    QUARRY_SEQUENCE_BEGIN("blocks")              \
    "movl " OF("0") ", %k[top]\n\t"              \
    "cmpl " OF("8") ", %k[top]\n\t"              \
    "jbe %l[empty]\n\t"                          \
    "movl -4(%[block],%[top],4), %k[entry]\n\t"  \
    "decl %k[top]\n\t"                           \
    QUARRY_SEQUENCE_DELAY                        \
    "movl %k[top], " OF("0") "\n"                \
    QUARRY_SEQUENCE_END

#define QUARRY_PUT_SEQUENCE(OF)                  \
    QUARRY_SEQUENCE_BEGIN("blocks")              \
    "movl " OF("0") ", %k[top]\n\t"              \
    "cmpl " OF("4") ", %k[top]\n\t"              \
    "jae %l[full]\n\t"                           \
    "movl %k[entry], (%[block],%[top],4)\n\t"    \
    "incl %k[top]\n\t"                           \
    QUARRY_SEQUENCE_DELAY                        \
    "movl %k[top], " OF("0") "\n"                \
    QUARRY_SEQUENCE_END

/* For the race detector: what was written before a free happened before what is written after. */
#if defined(__SANITIZE_THREAD__)
#define QUARRY_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUARRY_TSAN 1
#endif
#endif
#ifdef QUARRY_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define QUARRY_TAKEN(pool, entry) \
    __tsan_acquire(((const struct quarry_fast *)(pool))->base + (uint64_t)(entry) * QUARRY_GRAIN)
#define QUARRY_GIVEN(pool, entry) \
    __tsan_release(((const struct quarry_fast *)(pool))->base + (uint64_t)(entry) * QUARRY_GRAIN)
#else
#define QUARRY_TAKEN(pool, entry) ((void)0)
#define QUARRY_GIVEN(pool, entry) ((void)0)
#endif

/*
 * A large mark is class + 1 in its high byte, 0: not set, and below it where in its 64 bytes an object
 * of this class starts, in units of 8. So one comparison proves owner, start and class. Tested with
 * one load and written with one store: in assembly, because at a misuse another thread writes there.
 * Objects of a multiple of 64 bytes start where their mark does: it is a constant.
 */
#define QUARRY_SET_MARK                                     \
    "cmpb $0, %c[marks]+1(%[pool],%[index],2)\n\t"          \
    "jne %l[duplicate]\n\t"                                 \
    "movw %w[mark], %c[marks](%[pool],%[index],2)\n"
#define QUARRY_CLEAR_MARK                                   \
    "cmpw %w[mark], %c[marks](%[pool],%[index],2)\n\t"      \
    "jne %l[refused]\n\t"                                   \
    "movb $0, %c[marks]+1(%[pool],%[index],2)\n"
#define QUARRY_SET_SMALL_MARK            \
    "cmpb $0, (%[marks],%[entry])\n\t"   \
    "jne %l[duplicate]\n\t"              \
    "movb %b[of_class], (%[marks],%[entry])\n"
#define QUARRY_CLEAR_SMALL_MARK          \
    "cmpb %b[of_class], (%[marks],%[entry])\n\t" \
    "jne %l[refused]\n\t"                \
    "movb $0, (%[marks],%[entry])\n"

/*
 * The same where the class is not known when compiling, without a branch on it, which would be guessed
 * wrong at every other size: `at` is a large mark, or a small one and the byte before it, so that
 * the class is at[1] in either case; the low byte is the mark's, or a word of the caller's. Relaxed
 * atomics, for the same reason as above.
 */
QUARRY_INLINE volatile uint8_t *quarry_mark_of(struct quarry_pool *pool, uint64_t entry,
                                               unsigned size_class) {
    const uint64_t large = (uintptr_t)pool + QUARRY_AT_MARKS + entry / 8 * 2;
    const uint64_t small = (uintptr_t)((struct quarry_fast *)pool)->small_marks - 1 + entry;
    const uint64_t is_large = 0 - (uint64_t)(size_class >= QUARRY_LARGE_CLASS);

    return (volatile uint8_t *)(uintptr_t)(small + ((large - small) & is_large));
}

QUARRY_INLINE volatile uint8_t *quarry_low_byte(volatile uint8_t *at, volatile uint16_t *own,
                                                unsigned size_class) {
    const uint64_t is_large = 0 - (uint64_t)(size_class >= QUARRY_LARGE_CLASS);

    return (volatile uint8_t *)(uintptr_t)((uintptr_t)own + (((uintptr_t)at - (uintptr_t)own) & is_large));
}

QUARRY_INLINE int quarry_set_any_mark(struct quarry_pool *pool, uint64_t entry, unsigned size_class) {
    volatile uint8_t *at = quarry_mark_of(pool, entry, size_class);
    volatile uint16_t own;

    if (__builtin_expect(__atomic_load_n(&at[1], __ATOMIC_RELAXED) != 0, 0))
        return 0;
    __atomic_store_n(&at[1], (uint8_t)(size_class + 1), __ATOMIC_RELAXED);
    /* Last and whole, so that the next load of it need not wait for two stores. */
    __atomic_store_n((volatile uint16_t *)quarry_low_byte(at, &own, size_class),
                     (uint16_t)((entry & 7) | (size_class + 1) << 8), __ATOMIC_RELAXED);
    return 1;
}

QUARRY_INLINE int quarry_clear_any_mark(struct quarry_pool *pool, uint64_t entry, unsigned size_class) {
    volatile uint8_t *at = quarry_mark_of(pool, entry, size_class);
    volatile uint16_t own = (uint16_t)(entry & 7);
    const unsigned has_class = __atomic_load_n(&at[1], __ATOMIC_RELAXED);
    const unsigned starts = __atomic_load_n(quarry_low_byte(at, &own, size_class), __ATOMIC_RELAXED);

    if (__builtin_expect(((has_class ^ (size_class + 1)) | (starts ^ (unsigned)(entry & 7))) != 0, 0))
        return 0;
    __atomic_store_n(&at[1], (uint8_t)0, __ATOMIC_RELAXED);
    return 1;
}

/* The class of a size that has one: a constant, or looked up. */
QUARRY_INLINE unsigned quarry_class_here(struct quarry_pool *pool, uint64_t bytes, uint64_t align) {
    if (__builtin_constant_p(bytes) || align > QUARRY_GRAIN)
        return quarry_class_of(bytes, align);
    return ((const struct quarry_fast *)pool)->class_of[(bytes - 1) / 8];
}

/* An object's offset; QUARRY_NO_OFFSET and errno. */
QUARRY_INLINE uint64_t quarry_take(struct quarry_pool *pool, uint64_t bytes, uint64_t align,
                                   unsigned how) {
    const struct quarry_fast *fast = (const struct quarry_fast *)pool;
    uint64_t block, top, entry;

    if (__builtin_expect(quarry_has_class(bytes, align), 1)) {
        const unsigned size_class = quarry_class_here(pool, bytes, align);

again:
        if (__builtin_constant_p(size_class)) {
            __asm__ __volatile__ goto(
                QUARRY_TAKE_SEQUENCE(QUARRY_OF_CONSTANT)
                : [block] "=&r"(block), [top] "=&r"(top), [entry] "=&r"(entry)
                : [pool] "r"(pool), [rseq] "r"(fast->rseq), [blocks] "i"(QUARRY_AT_BLOCKS),
                  [magazine] "i"(size_class * sizeof(struct quarry_magazine))
                : "cc"
                : again, empty);
        } else {
            __asm__ __volatile__ goto(
                QUARRY_TAKE_SEQUENCE(QUARRY_OF_VARIABLE)
                : [block] "=&r"(block), [top] "=&r"(top), [entry] "=&r"(entry)
                : [pool] "r"(pool), [rseq] "r"(fast->rseq), [blocks] "i"(QUARRY_AT_BLOCKS),
                  [magazine] "r"((uint64_t)size_class * sizeof(struct quarry_magazine))
                : "cc"
                : again, empty);
        }
        QUARRY_TAKEN(pool, entry);
        if (how & QUARRY_UNCHECKED) {
        } else if (!__builtin_constant_p(size_class)) {
            if (!quarry_set_any_mark(pool, entry, size_class))
                goto duplicate;
        } else if (size_class >= QUARRY_LARGE_CLASS) {
            __asm__ __volatile__ goto(QUARRY_SET_MARK
                                      :
                                      : [index] "r"(entry >> 3), [pool] "r"(pool),
                                        [marks] "i"(QUARRY_AT_MARKS),
                                        [mark] "ri"(quarry_large_mark(entry, size_class))
                                      : "cc"
                                      : duplicate);
        } else {
            __asm__ __volatile__ goto(QUARRY_SET_SMALL_MARK
                                      :
                                      : [entry] "r"(entry), [marks] "r"(fast->small_marks),
                                        [of_class] "qi"((uint8_t)(size_class + 1))
                                      : "cc"
                                      : duplicate);
        }
        return entry * QUARRY_GRAIN;
duplicate:
        quarry_slow_duplicate(pool, entry * QUARRY_GRAIN);
        goto again;
    }
empty:
    return quarry_slow_alloc(pool, bytes, align, how);
}

/* Puts an object whose mark is cleared into the magazine of its class. */
QUARRY_INLINE int quarry_put(struct quarry_pool *pool, uint64_t entry, unsigned size_class,
                             unsigned how) {
    const struct quarry_fast *fast = (const struct quarry_fast *)pool;
    uint64_t block, top;

    QUARRY_GIVEN(pool, entry);
again:
    if (__builtin_constant_p(size_class)) {
        __asm__ __volatile__ goto(
            QUARRY_PUT_SEQUENCE(QUARRY_OF_CONSTANT)
            : [block] "=&r"(block), [top] "=&r"(top)
            : [pool] "r"(pool), [rseq] "r"(fast->rseq), [blocks] "i"(QUARRY_AT_BLOCKS),
              [magazine] "i"(size_class * sizeof(struct quarry_magazine)), [entry] "r"(entry)
            : "cc", "memory"
            : again, full);
    } else {
        __asm__ __volatile__ goto(
            QUARRY_PUT_SEQUENCE(QUARRY_OF_VARIABLE)
            : [block] "=&r"(block), [top] "=&r"(top)
            : [pool] "r"(pool), [rseq] "r"(fast->rseq), [blocks] "i"(QUARRY_AT_BLOCKS),
              [magazine] "r"((uint64_t)size_class * sizeof(struct quarry_magazine)),
              [entry] "r"(entry)
            : "cc", "memory"
            : again, full);
    }
    return 0;
full:
    return quarry_slow_put(pool, entry * QUARRY_GRAIN, size_class, how);
}

/* An offset / 8, in which a wrong alignment makes a number that no pool has. */
QUARRY_INLINE uint64_t quarry_entry(uint64_t offset) { return offset >> 3 | offset << 61; }

/* Gives back an object whose size is known. */
QUARRY_INLINE int quarry_give(struct quarry_pool *pool, uint64_t offset, uint64_t bytes,
                              uint64_t align, unsigned how) {
    const struct quarry_fast *fast = (const struct quarry_fast *)pool;
    const uint64_t entry = quarry_entry(offset);

    if (__builtin_expect(quarry_has_class(bytes, align), 1)) {
        const unsigned size_class = quarry_class_here(pool, bytes, align);

        if (how & QUARRY_UNCHECKED)
            return quarry_put(pool, entry, size_class, how);
        if (__builtin_constant_p(size_class) && quarry_is_whole(size_class)) {
            /* An object of a multiple of 64 bytes, so of an offset that is one. */
            const uint64_t index = offset >> 6 | offset << 58;

            if (__builtin_expect(index >= fast->lines, 0))
                goto refused;
            __asm__ __volatile__ goto(QUARRY_CLEAR_MARK
                                      :
                                      : [index] "r"(index), [pool] "r"(pool), [marks] "i"(QUARRY_AT_MARKS),
                                        [mark] "i"(quarry_large_mark(0, size_class))
                                      : "cc"
                                      : refused);
            /* Not index * 8: what the magazine is given depends on one shift less. */
            return quarry_put(pool, offset >> 3, size_class, how);
        }
        if (__builtin_expect(entry >= fast->grains, 0))
            goto refused;
        if (!__builtin_constant_p(size_class)) {
            if (!quarry_clear_any_mark(pool, entry, size_class))
                goto refused;
        } else if (size_class >= QUARRY_LARGE_CLASS) {
            __asm__ __volatile__ goto(QUARRY_CLEAR_MARK
                                      :
                                      : [index] "r"(entry >> 3), [pool] "r"(pool),
                                        [marks] "i"(QUARRY_AT_MARKS),
                                        [mark] "r"(quarry_large_mark(entry, size_class))
                                      : "cc"
                                      : refused);
        } else {
            __asm__ __volatile__ goto(QUARRY_CLEAR_SMALL_MARK
                                      :
                                      : [entry] "r"(entry), [marks] "r"(fast->small_marks),
                                        [of_class] "qi"((uint8_t)(size_class + 1))
                                      : "cc"
                                      : refused);
        }
        return quarry_put(pool, entry, size_class, how);
    }
refused:
    return quarry_slow_free(pool, offset, bytes, align, how);
}

/* The same without a size: the mark says it. Here for objects of 64 bytes and more. */
QUARRY_INLINE int quarry_give_any(struct quarry_pool *pool, uint64_t offset, unsigned how) {
    const struct quarry_fast *fast = (const struct quarry_fast *)pool;
    const uint64_t entry = quarry_entry(offset);

    if (__builtin_expect(entry < fast->grains, 1)) {
        volatile uint16_t *at = (volatile uint16_t *)((char *)pool + QUARRY_AT_MARKS) + entry / 8;
        uint16_t mark;

        __asm__ __volatile__("movw %1, %0" : "=r"(mark) : "m"(*at));
        if (__builtin_expect(mark > 0xff && (uint8_t)mark == (entry & 7), 1)) {
            __asm__ __volatile__("movb $0, %0" : "=m"(((volatile uint8_t *)at)[1]));
            return quarry_put(pool, entry, (mark >> 8) - 1u, how);
        }
    }
    return quarry_slow_free(pool, offset, 0, 0, how);
}

QUARRY_INLINE uint64_t quarry_distance(struct quarry_pool *pool, const void *object) {
    return (uint64_t)((uintptr_t)object - (uintptr_t)((const struct quarry_fast *)pool)->base);
}

QUARRY_INLINE void *quarry_at(struct quarry_pool *pool, uint64_t offset) {
    return offset == QUARRY_NO_OFFSET ? NULL : ((struct quarry_fast *)pool)->base + offset;
}

#if defined(__OPTIMIZE__) && !defined(QUARRY_NO_INLINE)
/* The calls of <quarry/quarry.h>, inlined; their addresses, if taken, are the library's. */
#define QUARRY_CALL QUARRY_INLINE

QUARRY_CALL uint64_t quarry_alloc_offset(struct quarry_pool *pool, size_t bytes, size_t align) {
    return quarry_take(pool, bytes, align, 0);
}
QUARRY_CALL void *quarry_alloc_aligned(struct quarry_pool *pool, size_t bytes, size_t align) {
    return quarry_at(pool, quarry_take(pool, bytes, align, QUARRY_BY_ADDRESS));
}
QUARRY_CALL void *quarry_alloc(struct quarry_pool *pool, size_t bytes) {
    return quarry_at(pool, quarry_take(pool, bytes, 0, QUARRY_BY_ADDRESS));
}
QUARRY_CALL void *quarry_alloc_unchecked(struct quarry_pool *pool, size_t bytes) {
    return quarry_at(pool, quarry_take(pool, bytes, 0, QUARRY_BY_ADDRESS | QUARRY_UNCHECKED));
}
QUARRY_CALL int quarry_free(struct quarry_pool *pool, void *object) {
    return quarry_give_any(pool, quarry_distance(pool, object), QUARRY_BY_ADDRESS);
}
QUARRY_CALL int quarry_free_offset(struct quarry_pool *pool, uint64_t offset) {
    return quarry_give_any(pool, offset, 0);
}
QUARRY_CALL int quarry_free_sized(struct quarry_pool *pool, void *object, size_t bytes) {
    return quarry_give(pool, quarry_distance(pool, object), bytes, 0, QUARRY_BY_ADDRESS);
}
QUARRY_CALL int quarry_free_sized_aligned(struct quarry_pool *pool, void *object, size_t bytes,
                                          size_t align) {
    return quarry_give(pool, quarry_distance(pool, object), bytes, align, QUARRY_BY_ADDRESS);
}
QUARRY_CALL int quarry_free_offset_sized(struct quarry_pool *pool, uint64_t offset, size_t bytes,
                                         size_t align) {
    return quarry_give(pool, offset, bytes, align, 0);
}
QUARRY_CALL int quarry_free_unchecked(struct quarry_pool *pool, void *object, size_t bytes) {
    return quarry_give(pool, quarry_distance(pool, object), bytes, 0,
                       QUARRY_BY_ADDRESS | QUARRY_UNCHECKED);
}
#endif

#endif /* QUARRY_SEQUENCES */

#ifdef __cplusplus
}
#endif
#endif
