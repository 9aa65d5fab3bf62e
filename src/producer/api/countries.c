/* SPDX-License-Identifier: MIT */
/*
 * GET /api/countries and /api/countries/stats. Statistics read every user, so one
 * answer serves all requests for api.stats_ttl, and one statement makes it.
 */
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "model/user_json.h"
#include "run/tiers.h"

#define ANSWER_MAX (1u << 20)

/* An answer may be as old as api.stats_ttl: no change of a user invalidates it. */
static const struct tiers_kind kind = { .begin = "countries", .end = "", .local = true };

static const struct sql_statement names = { "country_names",
	"SELECT code, name FROM countries ORDER BY name" };
/* A country without users has no average, so it is left out. */
static const struct sql_statement stats = { "country_stats",
	"SELECT co.code, co.name, s.users, round(s.score::numeric, 2) FROM"
	" (SELECT country, count(*) AS users, avg(profile_score) AS score FROM users"
	" WHERE country IS NOT NULL GROUP BY country) s JOIN countries co ON co.code = s.country"
	" ORDER BY s.users DESC, co.code" };

/* Lives in its request's arena. */
struct making {
	struct api *api;
	const struct sql_statement *statement;
	struct tiers_read *read;
	char as_of[CLOCK_RFC3339_SIZE]; /* no later than what the statement sees */
};

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
on_countries(void *arg, const struct sql_result *r, const struct err *e)
{
	struct making *m = arg;
	struct buf b;

	if (e) {
		tiers_failed(m->read, e);
		return;
	}
	buf_init(&b, ANSWER_MAX);
	buf_add_text(&b, "{\"items\":[");
	for (size_t row = 0; row < r->rows; row++)
		item(&b, r, row);
	buf_add_text(&b, "],\"next_cursor\":null");
	if (r->columns > 2)
		buf_printf(&b, ",\"as_of\":\"%s\"", m->as_of);
	buf_add_char(&b, '}');
	tiers_made(m->read, &b, 0);
	buf_fini(&b);
}

static int
countries_ask(void *arg, struct tiers_read *read, struct err *e)
{
	struct making *m = arg;

	m->read = read;
	clock_format_rfc3339(clock_wall_us(), m->as_of);
	return api_list(m->api, NULL, m->statement, NULL, on_countries, m, e);
}

static const struct tiers_source source = { .kind = &kind, .ask = countries_ask };

static void
countries_answer(struct api *a, struct http_request *r, const char *key,
	const struct sql_statement *statement)
{
	struct making *m;

	if (tiers_answer(a->cache, &source, key, r))
		return;
	m = arena_alloc(http_mem(r), sizeof *m);
	must(m);
	m->api = a;
	m->statement = statement;
	tiers_load(a->cache, &source, key, r, m);
}

void
countries_get(void *arg, struct http_request *r)
{
	countries_answer(arg, r, "countries", &names);
}

void
countries_stats(void *arg, struct http_request *r)
{
	countries_answer(arg, r, "countries:stats", &stats);
}
