/* SPDX-License-Identifier: MIT */
/*
 * GET /api/countries and /api/countries/stats. Statistics read every user, so
 * one answer serves everyone for api.stats_ttl, and one statement makes it
 * however many requests wait for it.
 */
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/lru.h"
#include "model/user_json.h"
#include "run/flight.h"

#define ANSWER_MAX (1u << 20)

struct countries {
	struct lru *made;
};

struct kind {
	const char *key;
	struct sql_statement statement;
};

static const struct kind names = { "countries",
	{ "country_names", "SELECT code, name FROM countries ORDER BY name" } };
/* Countries where nobody lives have no average to show, and are left out. */
static const struct kind stats = { "countries:stats",
	{ "country_stats",
		"SELECT co.code, co.name, s.users, round(s.score::numeric, 2) FROM"
		" (SELECT country, count(*) AS users, avg(profile_score) AS score FROM users"
		" WHERE country IS NOT NULL GROUP BY country) s JOIN countries co ON co.code = s.country"
		" ORDER BY s.users DESC, co.code" } };

struct making {
	struct countries *all;
	struct flight *flight;
	char as_of[CLOCK_RFC3339_SIZE]; /* no later than what the statement sees */
};

struct countries *
countries_new(struct api *a)
{
	struct countries *c = must_calloc(1, sizeof *c);

	c->made = lru_new(2, 2 * ANSWER_MAX, conf_int(daemon_conf(a->daemon), "api", "stats_ttl"));
	return c;
}

void
countries_free(struct countries *c)
{
	if (!c)
		return;
	lru_free(c->made);
	free(c);
}

static void
item(struct buf *b, const struct sql_result *r, size_t row)
{
	buf_add_text(b, row ? ",{" : "{");
	user_json_text(b, "code", r, row, 0);
	buf_add_char(b, ',');
	user_json_text(b, "name", r, row, 1);
	if (r->columns > 2) {
		user_json_number(b, "users", r, row, 2);
		user_json_number(b, "avg_score", r, row, 3);
	}
	buf_add_char(b, '}');
}

static void
answer_made(const void *arg, struct http_request *r)
{
	http_answer_json(r, 200, arg);
}

static void
answer_failed(const void *arg, struct http_request *r)
{
	http_answer_error(r, arg);
}

static void
on_rows(void *arg, const struct sql_result *r, const struct err *e)
{
	struct making *m = arg;
	struct buf b;

	buf_init(&b, ANSWER_MAX);
	if (e) {
		flight_land(m->flight, answer_failed, e);
	} else {
		buf_add_text(&b, "{\"items\":[");
		for (size_t row = 0; row < r->rows; row++)
			item(&b, r, row);
		buf_add_text(&b, "],\"next_cursor\":null");
		if (r->columns > 2)
			buf_printf(&b, ",\"as_of\":\"%s\"", m->as_of);
		buf_add_char(&b, '}');
		if (!buf_failed(&b))
			lru_put(m->all->made, flight_key(m->flight), buf_text(&b), b.length, 0);
		flight_land(m->flight, answer_made, &b);
	}
	buf_fini(&b);
	free(m);
}

static void
get(struct api *a, struct http_request *r, const struct kind *k)
{
	struct err e = ERR_INIT;
	struct making *m;
	struct flight *f;
	const char *text;
	int64_t version;
	size_t length;

	text = lru_get(a->countries->made, k->key, &length, &version);
	metric_add(a->cells[text ? M_MEMORY_HITS : M_MEMORY_MISSES], 1);
	if (text) {
		http_answer(r, 200, "application/json", text, length);
		return;
	}
	f = flight_join(a->flights, k->key, r);
	if (!f)
		return;
	m = must_calloc(1, sizeof *m);
	m->all = a->countries;
	m->flight = f;
	clock_format_rfc3339(clock_wall_us(), m->as_of);
	if (api_list(a, NULL, &k->statement, NULL, on_rows, m, &e)) {
		flight_land(f, answer_failed, &e);
		free(m);
	}
}

void
countries_get(void *arg, struct http_request *r)
{
	get(arg, r, &names);
}

void
countries_stats(void *arg, struct http_request *r)
{
	get(arg, r, &stats);
}
