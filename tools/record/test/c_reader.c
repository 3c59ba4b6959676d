/* SPDX-License-Identifier: MIT */
/* trace.h from C, linked without the C++ runtime: c_reader FILE prints the events and live objects. */
#include <stdio.h>

#include "trace.h"

int main(int argc, char **argv)
{
	struct quarry_trace_event event;
	struct quarry_trace *trace;
	enum quarry_trace_status status;
	unsigned long events = 0;
	long live = 0;

	if (argc != 2)
		return 2;
	status = quarry_trace_open(argv[1], &trace);
	if (!trace) {
		puts(quarry_trace_explain(status));
		return 1;
	}
	while ((status = quarry_trace_next(trace, &event)) == QUARRY_TRACE_OK) {
		events++;
		if (event.kind == QUARRY_TRACE_FREE)
			live--;
		else if (event.kind != QUARRY_TRACE_RESIZED)
			live++;
	}
	printf("%lu %ld %s\n", events, live, quarry_trace_explain(status));
	quarry_trace_close(trace);
	return status == QUARRY_TRACE_DONE ? 0 : 1;
}
