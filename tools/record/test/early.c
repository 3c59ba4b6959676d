/* SPDX-License-Identifier: MIT */
/*
 * A program whose dlsym allocates, resizes and frees, as a C library's may: the recorder asks it for
 * malloc while it has none yet. Every answer must be memory that works, and stay so.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int calls;
static char *kept, *freed_later;

void *dlsym(void *handle, const char *name)
{
	static void *(*find)(void *, const char *);
	char *a = malloc(100), *b = calloc(10, 10);

	(void)handle; /* RTLD_NEXT: what stands behind the recorder is the C library */
	calls++;
	if (!a || !b || b[0] || b[99])
		return NULL;
	memset(a, 'a', 100);
	a = realloc(a, 1000);
	if (!a || a[0] != 'a' || a[99] != 'a')
		return NULL;
	if (kept) {
		free(a);
		free(b);
	} else {
		kept = a;
		freed_later = b;
	}
	if (!find)
		find = dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.34");
	return find ? find(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), name) : NULL;
}

int main(void)
{
	/* Memory from the time of the lookup, resized and freed by the allocator that is there now. */
	kept = realloc(kept, 5000);
	if (!kept || kept[0] != 'a' || kept[99] != 'a')
		return 1;
	free(kept);
	free(freed_later);
	printf("%d\n", calls);
	return calls > 0 ? 0 : 2;
}
