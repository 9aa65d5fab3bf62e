/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "analytics_own.h"
#include "link/sql.h"
#include "model/days.h"
#include "model/inbox.h"
#include "model/outbox_sql.h"

#define AGAIN_MAX 5 /* tries when transactions conflict; then the database has trouble */
#define DAY_MS 86400000
#define ARRAY_BYTES_MAX (1u << 20) /* 1000 types of 64 bytes need far less */

/*
 * One statement is one transaction: one round trip, one sync to disk. It writes
 * rows in the order of their keys, first the inbox and then the counts, so two
 * processes may wait for each other but never deadlock. PostgreSQL hashes the
 * filter's subquery once, whatever the planner thinks of the arrays' lengths.
 */
static const struct sql_statement count = { "analytics_count",
	"WITH came AS MATERIALIZED (SELECT * FROM unnest($1::integer[], $2::uuid[], $3::integer[],"
	" $4::text[], $5::text[], $6::bigint[])"
	" AS c (inbox_day, event_id, day, type, country, user_id)),"
	" fresh AS (INSERT INTO " INBOX_TABLE " (day, event_id, user_id, counted_for)"
	" SELECT date '1970-01-01' + inbox_day, event_id, user_id,"
	" CASE WHEN day <> inbox_day THEN date '1970-01-01' + day END"
	" FROM came ON CONFLICT DO NOTHING"
	" RETURNING event_id)"
	" INSERT INTO event_counts AS have (day, type, country, count)"
	" SELECT date '1970-01-01' + day, type, country, n FROM (SELECT day, type, country,"
	" count(*) FILTER (WHERE event_id IN (SELECT event_id FROM fresh)) AS n"
	" FROM came GROUP BY day, type, country) AS g WHERE n > 0 ORDER BY day, type, country"
	" ON CONFLICT (day, type, country) DO UPDATE SET count = have.count + excluded.count" };
static const struct sql_statement forget = { "analytics_forget",
	DAYS_FORGET(INBOX_TABLE, "counted_on < " DAYS_FIRST_KEPT) };

/* The event's country in upper case; ANALYTICS_COUNTRY_NONE if it is not a code. */
static void
country_read(const struct event *ev, char out[static 4])
{
	const char *code = ev->kind == EVENT_ACTIVITY ? ev->geo_country : ev->country;
	size_t n = code ? strlen(code) : 0;
	bool sane = n == 2 || n == 3;

	for (size_t i = 0; sane && i < n; i++) {
		out[i] = (char)(code[i] & ~0x20);
		sane = out[i] >= 'A' && out[i] <= 'Z' && isascii(code[i]);
	}
	if (sane)
		out[n] = '\0';
	else
		strcpy(out, ANALYTICS_COUNTRY_NONE);
}

static int
by_id(const void *x, const void *y)
{
	const struct counted *a = x, *b = y;
	int order = strcmp(a->ev->id, b->ev->id);

	/* the first copy in a batch counts; events lie in memory in their order of arrival */
	return order ? order : a->ev < b->ev ? -1 : a->ev > b->ev;
}

struct counted *
analytics_list(struct batch *b, size_t *n)
{
	struct counted *list = arena_alloc(b->mem, b->n * sizeof *list);
	size_t kept = 0;

	must(list);
	for (size_t i = 0; i < b->n; i++) {
		struct counted *one = &list[i];
		struct uuid id;

		one->ev = b->d[i].ev;
		one->day = one->ev->time_us / 1000 / DAY_MS;
		must(uuid_parse(one->ev->id, strlen(one->ev->id), &id));
		one->inbox_day = uuid_is_v7(&id) ? outbox_day_number(&id) : one->day;
		country_read(one->ev, one->country);
	}
	qsort(list, b->n, sizeof *list, by_id);
	for (size_t i = 0; i < b->n; i++)
		if (kept == 0 || strcmp(list[kept - 1].ev->id, list[i].ev->id) != 0)
			list[kept++] = list[i];
	*n = kept;
	return list;
}

int
analytics_count(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	struct err *e)
{
	struct sql_array a[6];
	struct sql_params p;
	struct sql_result r = { 0 };
	int rc;

	sql_arrays_init(a, ARRAY_LEN(a), ARRAY_BYTES_MAX);
	for (size_t i = 0; i < n; i++) {
		sql_array_i64(&a[0], list[i].inbox_day);
		sql_array_text(&a[1], list[i].ev->id);
		sql_array_i64(&a[2], list[i].day);
		sql_array_text(&a[3], list[i].ev->type);
		sql_array_text(&a[4], list[i].country);
		sql_array_i64(&a[5], list[i].ev->user_id);
	}
	sql_params_init(&p);
	rc = sql_add_arrays(&p, a, ARRAY_LEN(a), e);
	for (int tries = 0; rc == 0 && tries < AGAIN_MAX; tries++) {
		rc = sql_run(consumer_sql(c), mem, &count, &p, &r, e);
		if (rc == 0 || !sql_again(&r))
			break;
		rc = tries + 1 < AGAIN_MAX ? 0 : -1;
	}
	sql_arrays_fini(a, ARRAY_LEN(a));
	return rc;
}

int
analytics_keep(struct consumer *c, struct arena *mem, struct err *e)
{
	static const struct days_table inbox = { INBOX_TABLE, INBOX_DAYS, NULL, &forget };

	return days_keep(consumer_sql(c), mem, &inbox, NULL, NULL, e);
}
