// SPDX-License-Identifier: MIT
/*
 * What can be watched: tracepoints quarry:* with stable names and fields that tell
 * exactly what happened, and the debugfs folder of a pool, whose numbers are STAT's.
 * (README: "Everything can be watched")
 */
#include "device.h"
#include <dirent.h>
#include "kselftest_harness.h"

#define TRACING "/sys/kernel/tracing/"
#define EVENTS TRACING "events/quarry/"

/* A whole file, at most 1 MiB, to be freed. */
static char *slurp(const char *path)
{
	char *text = calloc(1, MIB);
	FILE *f = fopen(path, "r");

	if (!f) {
		free(text);
		return NULL;
	}
	fread(text, 1, MIB - 1, f);
	fclose(f);
	return text;
}

/* Lines of the trace with this event and, if given, this text. */
static int traced(const char *trace, const char *event, const char *with)
{
	char marker[64];
	int count = 0;

	snprintf(marker, sizeof(marker), " %s: ", event);
	for (const char *line = trace; line && *line;) {
		const char *end = strchr(line, '\n');
		size_t length = end ? (size_t)(end - line) : strlen(line);

		if (memmem(line, length, marker, strlen(marker)) &&
		    (!with || memmem(line, length, with, strlen(with))))
			count++;
		line = end ? end + 1 : NULL;
	}
	return count;
}

FIXTURE(observe)
{
	struct pool pool;
	char *folder;
};

FIXTURE_SETUP(observe)
{
	ASSERT_EQ(create_heap(&self->pool, MIB, 4 * MIB), 0);
	ASSERT_GT(asprintf(&self->folder, "/sys/kernel/debug/quarry/%llu",
			   (unsigned long long)self->pool.id), 0);
}

FIXTURE_TEARDOWN(observe)
{
	put(EVENTS "enable", "0");
	put(TRACING "trace", "");
	put(TRACING "buffer_size_kb", "1");	/* the ring buffer is no leak of ours */
	free(self->folder);
	leave(&self->pool);
}

TEST_F(observe, every_tracepoint_has_its_stable_fields)
{
	static const struct {
		const char *event, *fields[8];
	} wanted[] = {
		{ "alloc", { "pool", "client", "size", "align", "count", "done", "offset", "ns" } },
		{ "free", { "pool", "client", "count", "done", "offset", "ns" } },
		{ "refused", { "call", "errno", "offset", "owner", "caller" } },
		{ "refill", { "pool", "slot_bytes", "slots", "ns" } },
		{ "drain", { "pool", "slot_bytes", "slots", "ns" } },
		{ "remote_free", { "pool", "slot_bytes", "slab", "slots" } },
		{ "slab_create", { "pool", "slot_bytes", "offset", "bytes" } },
		{ "slab_destroy", { "pool", "slot_bytes", "offset", "bytes" } },
		{ "region_add", { "pool", "offset", "bytes", "zone" } },
		{ "pool_create", { "pool", "kind", "bytes", "max_bytes" } },
		{ "pool_destroy", { "pool" } },
		{ "join", { "pool", "client", "pid" } },
		{ "reap", { "client", "objects", "bytes", "ns", "late" } },
		{ "corruption", { "pool", "offset" } },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		char path[128];
		char *format;

		snprintf(path, sizeof(path), EVENTS "%s/format", wanted[i].event);
		format = slurp(path);
		ASSERT_NE(format, NULL) {
			TH_LOG("no tracepoint %s", wanted[i].event);
		}
		for (int k = 0; k < 8 && wanted[i].fields[k]; k++) {
			char field[64];

			snprintf(field, sizeof(field), " %s;", wanted[i].fields[k]);
			EXPECT_NE(strstr(format, field), NULL) {
				TH_LOG("%s has no field %s", wanted[i].event, wanted[i].fields[k]);
			}
		}
		free(format);
	}
}

TEST_F(observe, the_trace_tells_exactly_what_happened)
{
	struct pool other;
	uint64_t out[40];
	char *trace;
	pid_t pid;

	ASSERT_EQ(put(TRACING "trace", ""), 0);
	ASSERT_EQ(put(EVENTS "enable", "1"), 0);
	ASSERT_EQ(create_heap(&other, MIB, MIB), 0);
	ASSERT_EQ(alloc_n(&other, 64, 0, 40, out), 40);
	ASSERT_EQ(alloc_n(&other, 5000, 0, 1, out), 1);
	ASSERT_EQ(free_one(&other, out[0]), 0);
	ASSERT_EQ(free_one(&other, out[0]), -EALREADY);
	pid = fork();
	if (pid == 0) {
		struct pool p;

		if (join(&p, other.fd, 1) || alloc_n(&p, 128, 0, 7, out) != 7)
			_exit(1);
		_exit(free_one(&p, 3) == -EINVAL ? 0 : 2);
	}
	ASSERT_EQ(status_of(pid), 0);
	leave(&other);
	ASSERT_EQ(put(EVENTS "enable", "0"), 0);
	trace = slurp(TRACING "trace");
	ASSERT_NE(trace, NULL);
	EXPECT_EQ(traced(trace, "pool_create", NULL), 1);
	EXPECT_GE(traced(trace, "region_add", NULL), 1);
	EXPECT_EQ(traced(trace, "alloc", NULL), 3);
	EXPECT_EQ(traced(trace, "alloc", "done=40"), 1);
	EXPECT_EQ(traced(trace, "free", NULL), 3);	/* a line a call, refused ones too */
	EXPECT_EQ(traced(trace, "free", "done=1"), 1);
	EXPECT_EQ(traced(trace, "refused", NULL), 2);
	EXPECT_EQ(traced(trace, "slab_create", NULL), 2);
	EXPECT_EQ(traced(trace, "join", NULL), 2);	/* the creator is a client too */
	EXPECT_EQ(traced(trace, "reap", NULL), 2);
	EXPECT_EQ(traced(trace, "reap", "objects=7"), 1);
	EXPECT_EQ(traced(trace, "reap", "objects=40"), 1);
	EXPECT_EQ(traced(trace, "pool_destroy", NULL), 1);
	EXPECT_EQ(traced(trace, "corruption", NULL), 0);
	free(trace);
}

/* The number behind "key: " in a file of the pool's folder. */
static uint64_t number(const char *folder, const char *file, const char *key)
{
	char path[128], marker[64];
	uint64_t value = ~0ULL;
	char *text, *at;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	snprintf(marker, sizeof(marker), "%s: ", key);
	text = slurp(path);
	if (!text)
		return value;
	for (at = text; at; at = strchr(at, '\n')) {
		if (*at == '\n')
			at++;
		if (!strncmp(at, marker, strlen(marker))) {
			value = strtoull(at + strlen(marker), NULL, 10);
			break;
		}
	}
	free(text);
	return value;
}

TEST_F(observe, debugfs_says_what_stat_says)
{
	struct quarry_stat s;
	uint64_t out[100];

	ASSERT_EQ(alloc_n(&self->pool, 100, 0, 100, out), 100);
	ASSERT_EQ(free_n(&self->pool, 30, out), 30);
	ASSERT_EQ(free_one(&self->pool, out[0]), -EALREADY);
	s = stat_of(self->pool.fd);
	EXPECT_EQ(number(self->folder, "stat", "objects"), s.objects);
	EXPECT_EQ(number(self->folder, "stat", "objects"), 70);
	EXPECT_EQ(number(self->folder, "stat", "used_bytes"), s.used_bytes);
	EXPECT_EQ(number(self->folder, "stat", "bytes"), s.bytes);
	EXPECT_EQ(number(self->folder, "stat", "free_bytes"), s.free_bytes);
	EXPECT_EQ(number(self->folder, "stat", "slabs"), s.slabs);
	EXPECT_EQ(number(self->folder, "stat", "allocs"), s.allocs);
	EXPECT_EQ(number(self->folder, "stat", "frees"), s.frees);
	EXPECT_EQ(number(self->folder, "stat", "refused"), s.refused);
	EXPECT_EQ(s.allocs, 100);
	EXPECT_EQ(s.frees, 30);
	EXPECT_EQ(s.refused, 1);
	EXPECT_EQ(number(self->folder, "verify", "faults"), 0);
	EXPECT_EQ(number(self->folder, "verify", "objects"), 70);
}

TEST_F(observe, the_folder_comes_and_goes_with_its_pool)
{
	struct stat st;
	struct pool p;
	char path[128];

	ASSERT_EQ(create_heap(&p, MIB, MIB), 0);
	snprintf(path, sizeof(path), "/sys/kernel/debug/quarry/%llu", (unsigned long long)p.id);
	EXPECT_EQ(stat(path, &st), 0);
	strcat(path, "/verify");
	EXPECT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_mode & 0077, 0);	/* root's alone */
	*strrchr(path, '/') = '\0';
	leave(&p);
	usleep(50000);
	EXPECT_EQ(stat(path, &st), -1);
}

TEST_F(observe, a_refill_and_a_drain_are_traced_with_their_time)
{
	struct quarry_refill refill = { .size = sizeof(refill), .class_index = 7 };
	struct quarry_drain drain = { .size = sizeof(drain) };
	char pool[32], *trace;

	snprintf(pool, sizeof(pool), "pool=%llu ", (unsigned long long)self->pool.id);
	ASSERT_EQ(put(TRACING "trace", ""), 0);
	ASSERT_EQ(put(EVENTS "refill/enable", "1"), 0);
	ASSERT_EQ(put(EVENTS "drain/enable", "1"), 0);
	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_REFILL, &refill), 0);
	ASSERT_EQ(call(self->pool.fd, QUARRY_IOC_DRAIN, &drain), 0);
	trace = slurp(TRACING "trace");
	ASSERT_NE(trace, NULL);
	EXPECT_EQ(refill.filled, 31);
	EXPECT_EQ(drain.slots, 31);
	EXPECT_EQ(traced(trace, "refill", pool), 1);
	EXPECT_EQ(traced(trace, "refill", "slot_bytes=64 slots=32 ns="), 1);
	EXPECT_EQ(traced(trace, "drain", pool), 1);
	EXPECT_EQ(traced(trace, "drain", "slot_bytes=64 slots=31 ns="), 1);
	EXPECT_EQ(traced(trace, "refill", "ns=0"), 0);
	EXPECT_EQ(traced(trace, "drain", "ns=0"), 0);
	free(trace);
}

TEST_HARNESS_MAIN
