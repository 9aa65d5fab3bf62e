/* SPDX-License-Identifier: MIT */
/*
 * W3C trace context: one request's way through signup, outbox, broker, retries
 * and logs. A trace is taken over from the caller's traceparent where that is
 * sane, else it begins here; each hop gets a span of its own.
 *
 * Threads: any; plain values.
 */
#pragma once

#include <stddef.h>

#define TRACE_PARENT_SIZE 56 /* 00-<32>-<16>-<2> and NUL */

struct trace {
	char parent[TRACE_PARENT_SIZE]; /* the header for the next hop */
	char id[33];                    /* the trace's, for logs */
};

/* from NULL, or not as the standard has it: a new trace. */
void trace_begin(struct trace *t, const char *from, size_t length);
