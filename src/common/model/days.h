/* SPDX-License-Identifier: MIT */
/*
 * Tables partitioned by day (ranges of a date column "day"). Partitions are
 * called NAME_YYYYMMDD. They are created ahead, and dropped when their day is
 * past the retention. NAME_default takes the rows of a day without a partition;
 * they move when that day's partition is created. Days are in UTC, by the
 * database's clock.
 *
 * Creating and dropping a partition needs locks that conflict with every reader,
 * and a session that waits for such a lock delays all sessions that come after
 * it. So no wait for a lock lasts longer than 50 ms, and the next try is due
 * 10 s to 10 minutes later. Nothing depends on the result: the default partition
 * takes the rows.
 *
 * Threads: a call belongs to its connection's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/text.h"
#include "link/sql.h"

#define DAYS_AHEAD 7

struct days_table {
	const char *name; /* a constant, as in the migration */
	int64_t keep_days;
	/* NULL, or answers one bool; true: rows of the day $1 are still needed, so it stays. */
	const struct sql_statement *needed;
	/* A DAYS_FORGET: deletes rows of the default partition that are older than $1 days. */
	const struct sql_statement *forget;
};

/* SQL: deletes rows of the default partition for which `past` is true, at most DAYS_PAGE. */
#define DAYS_PAGE 10000
#define DAYS_FORGET(table, past) \
	"DELETE FROM " table "_default WHERE ctid = ANY (ARRAY (SELECT ctid FROM " table \
	"_default WHERE " past " LIMIT " TEXT_OF(DAYS_PAGE) "))"
/* SQL: the oldest day that a retention of $1 days keeps. */
#define DAYS_FIRST_KEPT "(now() AT TIME ZONE 'UTC')::date - $1::integer"

enum {
	DAYS_KEPT,
	DAYS_AGAIN, /* another process holds the table's lock, or there is more to delete */
	DAYS_LATER, /* a lock was not free, or the work took too long */
};

/*
 * Creates missing partitions, drops expired ones, and deletes old rows of the
 * default one. Call it outside of any transaction. tick is called between two
 * steps and may be NULL. Answers a DAYS_ value or −1.
 */
int days_keep(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e) MUST_CHECK;

/* When the next days_keep is due. Zeroes mean now. */
struct days_due {
	int64_t at_ms; /* monotonic */
	unsigned tries;
};
bool days_due(const struct days_due *d);
void days_kept(struct days_due *d, int answer); /* the answer of days_keep */
