/* SPDX-License-Identifier: MIT */
/*
 * Metrics, declared once in tables: name, kind, one line of help, label names.
 * /metrics (Prometheus text 0.0.4) and the manual come from the same tables.
 *
 *	static const struct metric_def defs[] = {
 *		[M_REQUESTS] = { "onboard_http_requests_total", METRIC_COUNTER,
 *			"HTTP requests answered.", { "route", "status" } },
 *	};
 *	struct metrics *m = metrics_new(defs, ARRAY_LEN(defs));
 *	metric_add(metrics_cell(m, M_REQUESTS, "signup", "201"), 1);
 *
 * metrics_cell takes a lock, so callers keep the cell. A change is one relaxed
 * atomic. Label values come from fixed sets, never from a client. A metric that
 * has METRICS_CELLS_MAX cells returns its shared cell "other".
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* METRIC_COUNTER_US counts microseconds and shows seconds. */
enum metric_kind { METRIC_COUNTER, METRIC_COUNTER_US, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRICS_LABELS_MAX 3
#define METRICS_CELLS_MAX 256

struct metric_def {
	const char *name; /* onboard_... or process_..., unit as suffix: _seconds, _bytes, _total */
	enum metric_kind kind;
	const char *help;
	const char *labels[METRICS_LABELS_MAX]; /* NULL after the last one */
};

struct metrics;
struct metric_cell;

struct metrics *metrics_new(const struct metric_def *defs, size_t count);
void metrics_free(struct metrics *m);

/* One const char * for each label of the definition. */
struct metric_cell *metrics_cell(struct metrics *m, size_t index, ...);

void metric_add(struct metric_cell *c, uint64_t n);    /* counter */
void metric_set(struct metric_cell *c, int64_t value); /* gauge */
/* A histogram of seconds, observed in microseconds: buckets from 0.0001 to 10 by 1-2.5-5. */
void metric_observe_us(struct metric_cell *c, int64_t us);
uint64_t metric_value(const struct metric_cell *c); /* of a histogram: its observations */

/* Appends a table to the page; call it for each table. */
void metrics_write(const struct metrics *m, struct buf *out);
