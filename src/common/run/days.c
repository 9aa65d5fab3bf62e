/* SPDX-License-Identifier: MIT */
#include "run/days.h"

#include <stdio.h>

#include "base/log.h"

#define MOVE_MS 20000 /* a day that had no partition, at its worst */

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

/*
 * Names and dates come from the server's own list of days: digits only. What
 * came while the day had no partition lies in the default one, and moves.
 */
static int
days_make(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	struct sql_params p;
	struct sql_result r, done;
	char text[1200];

	sql_params_init(&p);
	sql_add_text(&p, t->name);
	sql_add_i64(&p, DAYS_AHEAD);
	if (sql_run(s, mem, &days_missing, &p, &r, e))
		return -1;
	for (size_t i = 0; i < r.rows; i++) {
		const char *digits = sql_text(&r, i, 0), *from = sql_text(&r, i, 1), *n = t->name;
		int length = snprintf(text, sizeof text,
			"SET LOCAL statement_timeout = %d;"
			"LOCK TABLE %s_default IN ACCESS EXCLUSIVE MODE;"
			"CREATE TABLE %s_%s (LIKE %s INCLUDING ALL);"
			"WITH moved AS (DELETE FROM %s_default WHERE day = '%s' RETURNING *)"
			" INSERT INTO %s_%s SELECT * FROM moved;"
			"ALTER TABLE %s ATTACH PARTITION %s_%s"
			" FOR VALUES FROM ('%s') TO ('%s')",
			MOVE_MS, n, n, digits, n, n, from, n, digits, n, n, digits, from,
			sql_text(&r, i, 2));

		must(length > 0 && (size_t)length < sizeof text);
		if (sql_script(s, text, MOVE_MS + 2000, &done, e))
			return -1;
		if (tick)
			tick(arg);
	}
	return 0;
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

static int
days_drop(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	struct sql_params p;
	struct sql_result r, done;
	char text[100];
	bool needed;

	sql_params_init(&p);
	sql_add_text(&p, t->name);
	sql_add_i64(&p, t->keep_days);
	if (sql_run(s, mem, &days_over, &p, &r, e))
		return -1;
	for (size_t i = 0; i < r.rows; i++) {
		const char *table = sql_text(&r, i, 0);

		if (day_needed(s, mem, t, sql_text(&r, i, 1), &needed, e))
			return -1;
		if (needed)
			continue;
		snprintf(text, sizeof text, "DROP TABLE %s", table);
		if (sql_script(s, text, 0, &done, e))
			return -1;
		log_info("partition dropped after the retention", LOG_S("table", table));
		if (tick)
			tick(arg);
	}
	return 0;
}

typedef int step_fn(struct sql *s, struct arena *mem, const struct days_table *t,
	void (*tick)(void *), void *arg, struct err *e);

/*
 * Each in a transaction of its own: making locks the default partition and
 * dropping the parent, which an insert takes the other way round.
 */
static int
locked(step_fn *step, struct sql *s, struct arena *mem, const struct days_table *t,
	void (*tick)(void *), void *arg, struct err *e)
{
	struct sql_params p;
	struct sql_result r;
	enum sql_fate fate;
	bool mine;

	sql_params_init(&p);
	sql_add_text(&p, t->name);
	if (sql_begin(s, e))
		return -1;
	if (sql_run(s, mem, &keep_lock, &p, &r, e) || sql_bool(&r, 0, 0, &mine, e) ||
		(mine && step(s, mem, t, tick, arg, e))) {
		sql_rollback(s);
		return -1;
	}
	if (sql_commit(s, &fate, e))
		return -1;
	return mine ? 0 : 1;
}

int
days_keep(struct sql *s, struct arena *mem, const struct days_table *t, void (*tick)(void *),
	void *arg, struct err *e)
{
	int rc = locked(days_make, s, mem, t, tick, arg, e);

	return rc ? rc : locked(days_drop, s, mem, t, tick, arg, e);
}
