/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analytics_own.h"
#include "base/clock.h"
#include "link/kv.h"
#include "link/sql.h"

#define DAY_US 86400000000
#define TRIES_MAX 3 /* when keys vanish while we write them */

/*
 * Totals are read after the commit, so the last process to commit reads all of
 * them. If Redis does not have a day, the statement reads the totals of the day's
 * 256 most frequent types; otherwise it reads only the types of the batch.
 */
static const struct sql_statement totals = { "analytics_totals",
	"SELECT w.day, t.type, t.total FROM unnest($1::integer[]) AS w (day)"
	" CROSS JOIN LATERAL (SELECT type, sum(count)::bigint AS total FROM event_counts"
	" WHERE day = date '1970-01-01' + w.day GROUP BY type ORDER BY 2 DESC, 1 LIMIT 256) AS t"
	" UNION ALL SELECT p.day, p.type, sum(c.count)::bigint"
	" FROM unnest($2::integer[], $3::text[]) AS p (day, type)"
	" JOIN event_counts c ON c.day = date '1970-01-01' + p.day AND c.type = p.type"
	" GROUP BY 1, 2 ORDER BY 1" };

static struct kv_script script;

/*
 * Totals only grow: a smaller total is older and comes from a slower process.
 * KEYS: totals. ARGV: TTL, "whole" if the words hold all types of the day, then
 * types and their totals. Answers 0 if Redis lacks the day and some types are missing.
 */
static void
script_make(void)
{
	kv_script_init(&script,
		KV_LUA_OF_TYPE
		"if of_type(KEYS[1], 'hash') == 'none' and ARGV[2] ~= 'whole' then return 0 end\n"
		"for i = 3, #ARGV, 2 do\n"
		" local have = redis.call('HGET', KEYS[1], ARGV[i])\n"
		" have = have and tonumber(string.match(have, '^%d+$') or '')\n"
		" if not have or have < tonumber(ARGV[i + 1]) then\n"
		"  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])\n"
		" end\n"
		"end\n"
		"return redis.call('EXPIRE', KEYS[1], ARGV[1])\n");
}

static int
by_day(const void *x, const void *y)
{
	const struct counted *a = x, *b = y;

	return a->day != b->day ? (a->day < b->day ? -1 : 1) : strcmp(a->ev->type, b->ev->type);
}

void
analytics_day_key(const char *prefix, int64_t day, char out[static ANALYTICS_KEY_SIZE])
{
	char text[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(day * DAY_US, text);
	snprintf(out, ANALYTICS_KEY_SIZE, "%s:%.10s", prefix, text);
}

/* The index of the first event of another day than from's. */
static size_t
day_end(const struct counted *list, size_t n, size_t from)
{
	size_t i = from + 1;

	while (i < n && list[i].day == list[from].day)
		i++;
	return i;
}

/* Adds active users, and sets has_totals[i] for the day whose events begin at index i. */
static int
active_show(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	bool *has_totals, struct err *e)
{
	struct kv *kv = consumer_kv(c);
	char totals_key[ANALYTICS_KEY_SIZE];
	struct kv_reply *replies;
	int rc = 0;

	for (size_t from = 0, end; from < n && rc == 0; from = end) {
		end = day_end(list, n, from);
		analytics_day_key("stats:events", list[from].day, totals_key);
		rc = analytics_active_add(kv, mem, list + from, end - from, e) ||
				kv_add(kv, 2, (const char *const[]){ "TYPE", totals_key }, NULL, e)
			? -1
			: 0;
	}
	if (rc || kv_flush_all(kv, mem, &replies, e))
		return -1;
	for (size_t from = 0, end, k = 0; from < n && rc == 0; from = end, k += 2) {
		end = day_end(list, n, from);
		has_totals[from] =
			replies[k + 1].type == KV_TEXT && strcmp(replies[k + 1].text, "hash") == 0;
		if (replies[k].number == 0)
			rc = analytics_active_make(c, mem, list + from, end - from, e);
	}
	return rc;
}

static int
totals_read(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	const bool *has_totals, struct sql_result *r, struct err *e)
{
	enum { WHOLE, DAYS, TYPES, COUNT };
	struct sql_array a[COUNT];
	struct sql_params p;
	int rc;

	sql_arrays_init(a, COUNT, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		bool first = i == 0 || list[i - 1].day != list[i].day;

		if (first && !has_totals[i])
			sql_array_i64(&a[WHOLE], list[i].day);
		if (first || strcmp(list[i - 1].ev->type, list[i].ev->type) != 0) {
			sql_array_i64(&a[DAYS], list[i].day);
			sql_array_text(&a[TYPES], list[i].ev->type);
		}
	}
	sql_params_init(&p);
	rc = sql_add_arrays(&p, a, COUNT, e) || sql_run(consumer_sql(c), mem, &totals, &p, r, e);
	sql_arrays_fini(a, COUNT);
	return rc ? -1 : 0;
}

/* list is sorted by day. */
static bool
day_had_totals(const struct counted *list, size_t n, const bool *has_totals, int64_t day)
{
	for (size_t from = 0; from < n; from = day_end(list, n, from))
		if (list[from].day == day)
			return has_totals[from];
	return false;
}

static int
totals_add(struct kv *kv, struct arena *mem, const struct sql_result *r, const struct counted *list,
	size_t n, const bool *has_totals, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char **argv = arena_alloc(mem, (2 * r->rows + 3) * sizeof *argv);
	char key[ANALYTICS_KEY_SIZE];
	size_t words = 3;
	int64_t day;

	must(argv && pthread_once(&once, script_make) == 0);
	argv[1] = ANALYTICS_KEPT_S;
	for (size_t i = 0; i < r->rows; i++) {
		argv[words++] = sql_text(r, i, 1);
		argv[words++] = sql_text(r, i, 2);
		if (i + 1 < r->rows && strcmp(sql_text(r, i, 0), sql_text(r, i + 1, 0)) == 0)
			continue;
		if (sql_i64(r, i, 0, &day, e))
			return -1;
		analytics_day_key("stats:events", day, key);
		argv[0] = key;
		argv[2] = day_had_totals(list, n, has_totals, day) ? "part" : "whole";
		if (kv_add_script(kv, &script, 1, words, argv, NULL, e))
			return -1;
		words = 3;
	}
	return 0;
}

/* 1: a day's totals vanished meanwhile, so has_totals is out of date. */
static int
totals_show(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	const bool *has_totals, struct err *e)
{
	struct kv *kv = consumer_kv(c);
	struct kv_reply *replies;
	struct sql_result r;
	size_t added;

	if (totals_read(c, mem, list, n, has_totals, &r, e) ||
		totals_add(kv, mem, &r, list, n, has_totals, e))
		return -1;
	added = kv_added(kv);
	if (kv_flush_all(kv, mem, &replies, e))
		return -1;
	for (size_t i = 0; i < added; i++)
		if (replies[i].number == 0)
			return 1;
	return 0;
}

int
analytics_show(struct consumer *c, struct arena *mem, struct counted *list, size_t n, struct err *e)
{
	bool *has_totals = arena_alloc(mem, n * sizeof *has_totals);
	int rc = 1;

	must(has_totals);
	qsort(list, n, sizeof *list, by_day);
	for (int tries = 0; tries < TRIES_MAX && rc == 1; tries++) {
		rc = active_show(c, mem, list, n, has_totals, e);
		if (rc == 0)
			rc = totals_show(c, mem, list, n, has_totals, e);
	}
	if (rc == 1)
		rc = err_set(e, ERR_AWAY, "keys of analytics vanish while they are written");
	if (rc)
		kv_forget(consumer_kv(c));
	return rc;
}
