/* SPDX-License-Identifier: MIT */
#include "model/days.h"

#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rnd.h"

#define EVERY_MS 600000
#define AGAIN_MS 1000
#define WAIT_MS 50    /* for a lock: later sessions wait behind us meanwhile */
#define WORK_MS 1000  /* while we lock the default partition: inserts into it wait */
#define MOVE_MAX 5000 /* rows of one day; moving them takes about 0.2 s */
#define PAGES_MAX 20  /* in one turn */

static const struct backoff later_wait = { .base_ms = 20000, .cap_ms = EVERY_MS };

static const struct sql_statement keep_lock = { "days_keep_lock",
	"SELECT pg_try_advisory_xact_lock(hashtext('onboard'), hashtext($1::text))" };
static const struct sql_statement days_missing = { "days_missing",
	"SELECT to_char(d, 'YYYYMMDD'), d::date, d::date + 1"
	" FROM generate_series(now() AT TIME ZONE 'UTC' - interval '1 day',"
	" now() AT TIME ZONE 'UTC' + make_interval(days => $2::integer), '1 day') AS d"
	" WHERE to_regclass($1::text || '_' || to_char(d, 'YYYYMMDD')) IS NULL" };
static const struct sql_statement days_over = { "days_over",
	"SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD')"
	" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
	" WHERE i.inhparent = $1::text::regclass AND c.relname ~ '_[0-9]{8}$'"
	" AND to_date(right(c.relname, 8), 'YYYYMMDD') <"
	" (now() AT TIME ZONE 'UTC')::date - $2::integer ORDER BY 2" };

bool
days_due(const struct days_due *d)
{
	return clock_mono_ms() >= d->at_ms;
}

void
days_kept(struct days_due *d, int answer)
{
	int64_t wait = EVERY_MS;

	if (answer == DAYS_AGAIN)
		wait = AGAIN_MS;
	else if (answer != DAYS_KEPT)
		wait = backoff_wait_ms(&later_wait, d->tries++, rnd_u64());
	if (answer >= DAYS_KEPT && answer <= DAYS_AGAIN)
		d->tries = 0;
	d->at_ms = clock_mono_ms() + wait;
}

static int
day_needed(struct sql *s, struct arena *mem, const struct days_table *t, const char *day, bool *out,
	struct err *e)
{
	struct sql_params p;
	struct sql_result r;

	*out = false;
	if (!t->needed)
		return 0;
	sql_params_init(&p);
	sql_add_text(&p, day);
	return sql_run(s, mem, t->needed, &p, &r, e) || sql_bool(&r, 0, 0, out, e) ? -1 : 0;
}

/* Another try may succeed: a lock was taken, the time was over, a deadlock. */
static bool
may_go_later(const struct sql_result *r)
{
	return strcmp(r->sqlstate, "55P03") == 0 || sql_timed_out(r) || sql_again(r);
}

/*
 * Runs the script in a transaction of its own, so it holds its locks only
 * briefly. drops: the day that the script drops unless it is needed, or NULL.
 */
static int
script_apply(struct sql *s, struct arena *mem, const struct days_table *t, const char *script,
	const char *drops, struct err *e)
{
	struct sql_params p;
	struct sql_result r;
	enum sql_fate fate;
	bool mine, needed = false;

	sql_params_init(&p);
	sql_add_text(&p, t->name);
	if (sql_begin(s, e))
		return -1;
	if (sql_run(s, mem, &keep_lock, &p, &r, e) || sql_bool(&r, 0, 0, &mine, e) ||
		(mine && drops && day_needed(s, mem, t, drops, &needed, e))) {
		sql_rollback(s);
		return -1;
	}
	if (mine && !needed && sql_script(s, script, 0, &r, e)) {
		sql_rollback(s);
		if (!may_go_later(&r))
			return -1;
		log_info("a table's partitions are kept later", LOG_S("table", t->name),
			LOG_S("why", e->text));
		return DAYS_LATER;
	}
	if (sql_commit(s, &fate, e))
		return -1;
	if (drops && mine && !needed)
		log_info("partition dropped after the retention", LOG_S("table", t->name),
			LOG_S("day", drops));
	return mine ? DAYS_KEPT : DAYS_AGAIN;
}

/*
 * Names and dates come from the server's own list of days, so they are digits.
 * A day with more than MOVE_MAX rows in the default partition stays there: the
 * move would block that day's inserts for too long. The rows are counted before
 * the lock is taken.
 */
static int
day_make(struct sql *s, struct arena *mem, const struct days_table *t, const char *digits,
	const char *from, const char *to, struct err *e)
{
	const char *n = t->name;
	char text[1500];
	int length = snprintf(text, sizeof text,
		"SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d;"
		"DO $$ BEGIN IF to_regclass('%s_%s') IS NULL AND (SELECT count(*) FROM"
		" (SELECT FROM %s_default WHERE day = '%s' LIMIT %d + 1) r) <= %d THEN"
		" LOCK TABLE %s_default IN ACCESS EXCLUSIVE MODE;"
		" CREATE TABLE %s_%s (LIKE %s INCLUDING ALL);"
		" WITH moved AS (DELETE FROM %s_default WHERE day = '%s' RETURNING *)"
		" INSERT INTO %s_%s SELECT * FROM moved;"
		" ALTER TABLE %s ATTACH PARTITION %s_%s FOR VALUES FROM ('%s') TO ('%s');"
		" END IF; END $$",
		WAIT_MS, WORK_MS, n, digits, n, from, MOVE_MAX, MOVE_MAX, n, n, digits, n, n, from,
		n, digits, n, n, digits, from, to);

	must(length > 0 && (size_t)length < sizeof text);
	return script_apply(s, mem, t, text, NULL, e);
}

static int
days_make(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	struct sql_params p;
	struct sql_result r;
	int rc = DAYS_KEPT;

	sql_params_init(&p);
	sql_add_text(&p, t->name);
	sql_add_i64(&p, DAYS_AHEAD);
	if (sql_run(s, mem, &days_missing, &p, &r, e))
		return -1;
	for (size_t i = 0; i < r.rows && rc == DAYS_KEPT; i++) {
		rc = day_make(s, mem, t, sql_text(&r, i, 0), sql_text(&r, i, 1), sql_text(&r, i, 2),
			e);
		if (tick)
			tick(arg);
	}
	return rc;
}

static int
days_drop(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	struct sql_params p;
	struct sql_result r;
	char text[200];
	int rc = DAYS_KEPT;

	sql_params_init(&p);
	sql_add_text(&p, t->name);
	sql_add_i64(&p, t->keep_days);
	if (sql_run(s, mem, &days_over, &p, &r, e))
		return -1;
	for (size_t i = 0; i < r.rows && rc == DAYS_KEPT; i++) {
		snprintf(text, sizeof text,
			"SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d;"
			"DROP TABLE IF EXISTS %s",
			WAIT_MS, WORK_MS, sql_text(&r, i, 0));
		rc = script_apply(s, mem, t, text, sql_text(&r, i, 1), e);
		if (tick)
			tick(arg);
	}
	return rc;
}

/* Each page is one transaction, so no statement runs long, however many rows are old. */
static int
default_forget(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	struct sql_params p;
	struct sql_result r;

	sql_params_init(&p);
	sql_add_i64(&p, t->keep_days);
	for (int page = 0; page < PAGES_MAX; page++) {
		if (sql_run(s, mem, t->forget, &p, &r, e))
			return -1;
		if (r.affected < DAYS_PAGE)
			return DAYS_KEPT;
		if (tick)
			tick(arg);
	}
	return DAYS_AGAIN;
}

int
days_keep(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	static int (*const parts[])(struct sql *, struct arena *, const struct days_table *,
		void (*)(void *), void *, struct err *) = { days_make, days_drop, default_forget };
	int rc = DAYS_KEPT;

	for (size_t i = 0; i < ARRAY_LEN(parts) && rc >= 0; i++) {
		int part = parts[i](s, mem, t, tick, arg, e);

		rc = part < 0 || part > rc ? part : rc;
	}
	return rc;
}
