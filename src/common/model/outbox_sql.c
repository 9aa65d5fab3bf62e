/* SPDX-License-Identifier: MIT */
#include "model/outbox_sql.h"

#include <stdio.h>

#include "base/clock.h"
#include "model/days.h"

#define DAY_MS 86400000
#define BATCHES_MAX "500" /* that the sweeper reads at once */

#define LOCKS "1869968482" /* "outb": the first number of the advisory locks */
#define LIVE \
	"live AS MATERIALIZED (SELECT objid::bigint AS owner FROM pg_locks WHERE locktype = 'advisory'" \
	" AND classid = " LOCKS " AND objsubid = 2 AND granted" \
	" AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
/* The rows that the sweeper with owner number $1 may take. */
#define OURS "(owner IS NULL OR owner = $1::integer OR owner NOT IN (SELECT owner FROM live))"

const struct sql_statement outbox_forget = { "outbox_forget",
	"DELETE FROM outbox_unpublished WHERE batch_id = ANY ($1::uuid[])" };

#define BACKLOG \
	"SELECT coalesce(sum(cardinality(event_ids)), 0), min(written_at)," \
	" coalesce(floor(extract(epoch FROM now() - min(written_at))), 0)::bigint FROM "
static const struct sql_statement backlog_of_oldest = { "outbox_backlog",
	BACKLOG "(SELECT * FROM outbox_unpublished ORDER BY written_at, batch_id LIMIT 10000) u" };
static const struct sql_statement backlog_of_all = { "outbox_backlog_all",
	BACKLOG "outbox_unpublished" };

const struct sql_statement outbox_hold = { "outbox_hold",
	"SELECT pg_try_advisory_lock_shared(" LOCKS ", $1::integer)" };

/*
 * The statement reads the next rows, as many as hold $5 events, and adopts the
 * rows of dead owners. It answers nothing while our own lock is not held: nobody
 * would know that we live. A row from the future (the database's clock was set
 * back) counts as old as it is ahead.
 */
const struct sql_statement outbox_portion = { "outbox_portion",
	"WITH " LIVE ", c AS MATERIALIZED (SELECT * FROM outbox_unpublished"
	" WHERE (written_at, batch_id) > ($3::timestamptz, $4::uuid)"
	" AND abs(extract(epoch FROM now() - written_at)) * 1000 > $2::bigint"
	" AND EXISTS (SELECT FROM live WHERE live.owner = $1::integer) AND " OURS
	" ORDER BY written_at, batch_id LIMIT " BATCHES_MAX " FOR UPDATE SKIP LOCKED),"
	" s AS MATERIALIZED (SELECT c.*, row_number() OVER w AS n, sum(cardinality(event_ids)) OVER w"
	" - cardinality(event_ids) AS before FROM c WINDOW w AS (ORDER BY written_at, batch_id)),"
	" t AS MATERIALIZED (SELECT * FROM s WHERE before < $5::bigint),"
	" a AS (UPDATE outbox_unpublished u SET owner = $1::integer FROM t"
	" WHERE u.batch_id = t.batch_id AND t.owner IS DISTINCT FROM $1::integer)"
	" SELECT t.batch_id, t.written_at, t.first_day, x.event_id"
	" FROM t CROSS JOIN LATERAL unnest(t.event_ids) WITH ORDINALITY AS x (event_id, n)"
	" ORDER BY t.n, x.n" };

/*
 * One lookup by the primary key for each event. LIMIT 1 keeps the planner from
 * another join: without statistics PostgreSQL 15 reads the whole day.
 */
const struct sql_statement outbox_bodies = { "outbox_bodies",
	"SELECT x.n, o.type, o.body, o.traceparent"
	" FROM unnest($1::date[], $2::uuid[]) WITH ORDINALITY AS x (day, event_id, n)"
	" CROSS JOIN LATERAL (SELECT * FROM outbox o WHERE o.day = x.day"
	" AND o.event_id = x.event_id LIMIT 1) o ORDER BY x.n" };

const struct sql_statement outbox_behind_count = { "outbox_behind",
	"WITH " LIVE
	" SELECT coalesce(sum(cardinality(event_ids)), 0) FROM outbox_unpublished WHERE"
	" written_at < $2::timestamptz - $3::bigint * interval '1 ms' AND " OURS };

static const struct sql_statement day_needed = { "outbox_day_needed",
	"SELECT EXISTS (SELECT FROM outbox_unpublished"
	" WHERE $1::date BETWEEN first_day AND last_day)" };
/* Unpublished events are needed; younger rows stay with them. */
static const struct sql_statement default_forget = { "outbox_default_forget",
	DAYS_FORGET("outbox",
		"day < least(" DAYS_FIRST_KEPT
		", (SELECT min(first_day) FROM outbox_unpublished))") };

void
outbox_day(const struct uuid *id, char out[static OUTBOX_DAY_SIZE])
{
	char text[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(uuid7_time_ms(id) * 1000, text);
	snprintf(out, OUTBOX_DAY_SIZE, "%.10s", text);
}

int64_t
outbox_day_number(const struct uuid *id)
{
	return uuid7_time_ms(id) / DAY_MS;
}

int
outbox_backlog_read(struct sql *sql, struct arena *mem, bool all, struct outbox_backlog *out,
	struct err *e)
{
	struct sql_result r;

	if (sql_run(sql, mem, all ? &backlog_of_all : &backlog_of_oldest, NULL, &r, e) ||
		sql_i64(&r, 0, 0, &out->events, e) || sql_i64(&r, 0, 2, &out->oldest_s, e))
		return -1;
	out->oldest = sql_text(&r, 0, 1);
	return 0;
}

int
outbox_keep(struct sql *sql, struct arena *mem, int64_t retention_days, void (*tick)(void *),
	void *arg, struct err *e)
{
	const struct days_table days = { "outbox", retention_days, &day_needed, &default_forget };

	return days_keep(sql, mem, &days, tick, arg, e);
}
