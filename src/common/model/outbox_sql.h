/* SPDX-License-Identifier: MIT */
/*
 * The outbox in SQL: its statements for run, which names no table, and for the
 * programs that store or count events.
 *
 *	outbox               every event, partitioned by day, kept as an archive
 *	outbox_unpublished   one row for each transaction whose events no broker has
 *	                     confirmed yet
 *
 * Threads: the constants belong to all; a call belongs to its connection's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/uuid7.h"
#include "link/sql.h"

/* The day of an event, "2026-11-20". It follows from the time in the event's id. */
#define OUTBOX_DAY_SIZE 11
void outbox_day(const struct uuid *id, char out[static OUTBOX_DAY_SIZE]);
/*
 * The same as a number: date '1970-01-01' plus this. For ids that others may
 * have made: any UUID v7 has one, also past the year 9999.
 */
int64_t outbox_day_number(const struct uuid *id);

/*
 * Stores events: two queries of the WITH list in a statement that also makes the
 * change that they tell of. events is a SELECT of day, event_id, type, user_id,
 * body, traceparent; batch is a SELECT of batch_id, first_day, last_day,
 * event_ids, one row or none.
 */
#define OUTBOX_STORE(events, batch) \
	" o AS (INSERT INTO outbox (day, event_id, type, user_id, body, traceparent) " events \
	"), p AS (INSERT INTO outbox_unpublished (batch_id, first_day, last_day, event_ids) " batch \
	")"

/* The events that no broker has confirmed yet. */
struct outbox_backlog {
	int64_t events;
	int64_t oldest_s; /* age of the oldest by the database's clock; below 0: from the future */
	const char *oldest; /* when it was written, mem's; NULL: there is none */
};
/* all: counts every batch; else only the 10000 oldest, which bounds the work. */
int outbox_backlog_read(struct sql *sql, struct arena *mem, bool all, struct outbox_backlog *out,
	struct err *e) MUST_CHECK;

/* $1 batch ids: these batches are confirmed. */
extern const struct sql_statement outbox_forget;

/*
 * The sweeper's statements; run/outbox_sweep.h tells the story of the owners.
 * $1 is the sweeper's owner number.
 */
extern const struct sql_statement outbox_hold; /* takes the owner's lock: answers one bool */
/*
 * $2 the least age in ms, $3 and $4 the written_at and batch_id after which to
 * begin, $5 the number of events to find. Answers batch_id, written_at,
 * first_day, event_id: one row for each event. Rows of dead owners become $1's.
 */
extern const struct sql_statement outbox_portion;
/* $1 days, $2 event ids: answers the place in these arrays, type, body, traceparent. */
extern const struct sql_statement outbox_bodies;
/* $2 a time, $3 ms: counts the events older than $2 by $3 that $1 may take. */
extern const struct sql_statement outbox_behind_count;

/*
 * Creates missing partitions of the outbox and drops expired ones that hold
 * nothing unpublished. tick may be NULL. Answers what days_keep answers.
 */
int outbox_keep(struct sql *sql, struct arena *mem, int64_t retention_days, void (*tick)(void *),
	void *arg, struct err *e) MUST_CHECK;
