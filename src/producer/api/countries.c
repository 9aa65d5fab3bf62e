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
item_write(struct json_out *o, const struct sql_result *r, size_t row)
{
	json_out_object(o, NULL);
	user_json_text(o, "code", r, row, 0);
	user_json_text(o, "name", r, row, 1);
	if (r->columns > 2) {
		json_out_number(o, "users", sql_text(r, row, 2));
		json_out_number(o, "avg_score", sql_text(r, row, 3));
	}
	json_out_end(o);
}

static void
countries_write(struct buf *out, const struct sql_result *r, const char *as_of)
{
	struct json_out o;

	json_out_init(&o, out);
	json_out_object(&o, NULL);
	json_out_list(&o, "items");
	for (size_t row = 0; row < r->rows; row++)
		item_write(&o, r, row);
	json_out_end(&o);
	json_out_null(&o, "next_cursor");
	if (r->columns > 2)
		json_out_text(&o, "as_of", as_of);
	json_out_end(&o);
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
	countries_write(&b, r, m->as_of);
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
