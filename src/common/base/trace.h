/* SPDX-License-Identifier: MIT */
/*
 * W3C trace context: follows one request through signup, outbox, broker, retries
 * and logs. A valid traceparent of the caller continues its trace; otherwise a
 * new trace begins. Each hop gets a span of its own.
 *
 * Threads: any; plain values.
 */
#pragma once

#include <stddef.h>

#define TRACE_PARENT_SIZE 56 /* 00-<32>-<16>-<2> and NUL */

struct trace {
	char parent[TRACE_PARENT_SIZE]; /* the header for the next hop */
	char id[33];                    /* the trace's id, for logs */
};

/* from NULL or invalid: begins a new trace. */
void trace_begin(struct trace *t, const char *from, size_t length);
