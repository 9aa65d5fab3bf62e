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

#define KEPT_S "7776000" /* 90 days after the last event of the day */
#define KEY_SIZE 32
#define DAY_US 86400000000

/*
 * Totals are read after the commit, so who commits last reads them all. Of a day
 * that Redis does not know (yet, or any more) all types are read, at most the
 * 256 most frequent; of others those that have come.
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

/* Counts only grow: a smaller one is an older one, by a process that was slower. */
static void
script_make(void)
{
	kv_script_init(&script,
		"for i = 2, #ARGV, 2 do\n"
		" local have = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '')\n"
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

static void
day_key(const char *prefix, int64_t day, char out[static KEY_SIZE])
{
	char text[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(day * DAY_US, text);
	snprintf(out, KEY_SIZE, "%s:%.10s", prefix, text);
}

/* Those of one day are active; adds three commands. */
static int
active_add(struct kv *kv, struct arena *mem, const struct counted *list, size_t n, struct err *e)
{
	char key[KEY_SIZE], stats[KEY_SIZE];
	const char **argv = arena_alloc(mem, (n + 2) * sizeof *argv);

	must(argv);
	day_key("active", list[0].day, key);
	day_key("stats:events", list[0].day, stats);
	argv[0] = "SADD";
	argv[1] = key;
	for (size_t i = 0; i < n; i++) {
		argv[2 + i] = arena_printf(mem, "%" PRId64, list[i].ev->user_id);
		must(argv[2 + i]);
	}
	return kv_add(kv, n + 2, argv, NULL, e) ||
			kv_add(kv, 3, (const char *const[]){ "EXPIRE", key, KEPT_S }, NULL, e) ||
			kv_add(kv, 2, (const char *const[]){ "EXISTS", stats }, NULL, e)
		? -1
		: 0;
}

/* The replies are active_add's, three a day, in the list's order. */
static int
totals_read(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	const struct kv_reply *replies, struct sql_result *r, struct err *e)
{
	enum { WHOLE, DAYS, TYPES, COUNT };
	struct sql_array a[COUNT];
	struct sql_params p;
	int rc;

	sql_arrays_init(a, COUNT, 1 << 20);
	for (size_t i = 0, day = 0; i < n; i++) {
		bool first = i == 0 || list[i - 1].day != list[i].day;

		if (first && replies[3 * day++ + 2].number == 0)
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

static int
totals_add(struct kv *kv, struct arena *mem, const struct sql_result *r, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char **argv = arena_alloc(mem, (2 * r->rows + 2) * sizeof *argv);
	char key[KEY_SIZE];
	int64_t day;
	size_t n = 0;

	must(argv && pthread_once(&once, script_make) == 0);
	argv[1] = KEPT_S;
	for (size_t i = 0; i < r->rows; i++) {
		argv[2 + n++] = sql_text(r, i, 1);
		argv[2 + n++] = sql_text(r, i, 2);
		if (i + 1 < r->rows && strcmp(sql_text(r, i, 0), sql_text(r, i + 1, 0)) == 0)
			continue;
		if (sql_i64(r, i, 0, &day, e))
			return -1;
		day_key("stats:events", day, key);
		argv[0] = key;
		if (kv_add_script(kv, &script, 1, 2 + n, argv, NULL, e))
			return -1;
		n = 0;
	}
	return 0;
}

int
analytics_show(struct consumer *c, struct arena *mem, struct counted *list, size_t n, struct err *e)
{
	struct kv *kv = consumer_kv(c);
	struct kv_reply *replies;
	struct sql_result r;
	int rc = 0;

	qsort(list, n, sizeof *list, by_day);
	for (size_t i = 0, from = 0; i < n && rc == 0; i++)
		if (i + 1 == n || list[i + 1].day != list[i].day) {
			rc = active_add(kv, mem, list + from, i + 1 - from, e);
			from = i + 1;
		}
	if (rc || kv_flush_all(kv, mem, &replies, e) ||
		totals_read(c, mem, list, n, replies, &r, e) || totals_add(kv, mem, &r, e) ||
		kv_flush_all(kv, mem, NULL, e)) {
		kv_forget(kv);
		return -1;
	}
	return 0;
}
