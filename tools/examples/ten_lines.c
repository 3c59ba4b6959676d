/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <quarry/quarry.h>
#include <stdio.h>

int main(void) {
    struct quarry_pool *pool = quarry_create(NULL, &(struct quarry_options){.bytes = 1 << 20});
    char *text = pool ? quarry_alloc(pool, 64) : NULL;
    if (!text)
        return fprintf(stderr, "%s\n", quarry_strerror(errno, pool ? QUARRY_CALL_ALLOC : QUARRY_CALL_CREATE)), 1;
    snprintf(text, 64, "shared at offset %llu", (unsigned long long)quarry_offset(pool, text));
    puts(text);
    if (quarry_free(pool, text) == 0 && quarry_free(pool, text) < 0)
        printf("freed twice: %s\n", quarry_strerror(errno, QUARRY_CALL_FREE));
    quarry_leave(pool);
}
