/* SPDX-License-Identifier: MIT */
/*
 * Tables that are partitioned by day (range of a date column "day"): partitions
 * are made ahead, NAME_YYYYMMDD, and dropped when their day is past what is
 * kept. What has none of its own lies in NAME_default and moves when its day's
 * partition is made. The days are those of UTC, by the database's clock.
 *
 * Threads: the caller's connection is the caller's thread's.
 */
#pragma once

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
};

/*
 * Makes what is missing, drops what is past; neither inside a transaction of the
 * caller's. tick, which may be NULL, is called between two tables. 0: done;
 * 1: another process is just at it.
 */
int days_keep(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e) MUST_CHECK;
