/* SPDX-License-Identifier: MIT */
/*
 * Tables partitioned by day (range of a date column "day"). Partitions are made
 * ahead, NAME_YYYYMMDD, and dropped when their day is past the retention. Rows
 * of a day without a partition lie in NAME_default; they move when their day's
 * partition is made. The days are those of UTC, by the database's clock.
 *
 * Making and dropping a partition needs locks that conflict with every reader,
 * and a session that waits for such a lock holds up all that come after it. So
 * no wait for a lock lasts longer than 50 ms, and the next try is due 10 s to
 * 10 minutes later. Nothing depends on the result: the default partition takes
 * the rows of a day without one.
 *
 * Threads: the caller's connection is the caller's thread's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "link/sql.h"

#define DAYS_AHEAD 7

struct days_table {
	const char *name; /* a constant, as in the migration */
	int64_t keep_days;
	/* NULL, or answers one bool: is anything of the day $1 needed yet? Then it stays. */
	const struct sql_statement *needed;
	/* Deletes at most DAYS_PAGE rows of the default partition that are past $1 days. */
	const struct sql_statement *forget;
};
#define DAYS_PAGE "10000"

enum {
	DAYS_KEPT,
	DAYS_AGAIN, /* another process keeps the table, or there is more to delete */
	DAYS_LATER, /* a lock was not to be had at once, or the work took too long */
};

/*
 * Makes the partitions that are missing, drops those past the retention, and
 * deletes old rows of the default one; not inside a transaction of the caller's.
 * tick, which may be NULL, is called between two steps. Answers a DAYS_ value or −1.
 */
int days_keep(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e) MUST_CHECK;

/* When a table is to be kept next. Starts as zeroes: now. */
struct days_due {
	int64_t at_ms; /* monotonic */
	unsigned tries;
};
bool days_due(const struct days_due *d);
void days_kept(struct days_due *d, int answer); /* answer: of days_keep */
