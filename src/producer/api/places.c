/* SPDX-License-Identifier: MIT */
#include "places.h"

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/lru.h"

#define REMEMBER 4096
#define REMEMBER_MS 600000
#define KEY_MAX 1400 /* three texts of a hundred characters at four bytes each */

/* Finds first, and inserts only a city that is missing. */
static const struct sql_statement find = {
	"place_find",
	"WITH c AS (SELECT id, code FROM countries WHERE code = upper($1) OR lower(name) = lower($1)"
	" ORDER BY code = upper($1) DESC LIMIT 1)"
	" SELECT c.code, ci.id, ci.name FROM c LEFT JOIN cities ci ON ci.country_id = c.id"
	" AND lower(ci.name) = lower($2) AND coalesce(lower(ci.region), '') = coalesce(lower($3), '')"
};
static const struct sql_statement make = { "place_make",
	"INSERT INTO cities (name, region, country_id) SELECT $2, $3, id FROM countries WHERE code = $1"
	" ON CONFLICT DO NOTHING" };

struct places {
	struct api *api;
	struct lru *known; /* "country\1city\1region" → "LV 123 Riga" */
};

struct search {
	struct places *places;
	const struct address_input *in;
	struct sql_params params;
	place_fn *fn;
	void *arg;
	unsigned turns;
	char country[4];
	char key[KEY_MAX];
};

struct places *
places_new(struct api *a)
{
	struct places *p = must_calloc(1, sizeof *p);

	p->api = a;
	p->known = lru_new(REMEMBER, 4 << 20, REMEMBER_MS);
	return p;
}

void
places_free(struct places *p)
{
	if (!p)
		return;
	lru_free(p->known);
	free(p);
}

void
places_forget(struct places *p)
{
	lru_clear(p->known);
}

static void
key_make(const struct address_input *in, char out[static KEY_MAX])
{
	snprintf(out, KEY_MAX, "%s\1%s\1%s", in->country, in->city, in->region ? in->region : "");
}

static void on_found(void *arg, const struct sql_result *r, const struct err *e);

static void
search_end(struct search *s, const struct place *p, const struct err *e)
{
	s->fn(s->arg, p, e);
	free(s);
}

static int
search_run(struct search *s, bool making, struct err *e)
{
	sql_params_init(&s->params);
	sql_add_text(&s->params, making ? s->country : s->in->country);
	sql_add_text(&s->params, s->in->city);
	sql_add_text(&s->params, s->in->region);
	if (making)
		return api_change(s->places->api, NULL, &(struct sql_part){ &make, &s->params }, 1,
			on_found, s, e);
	return api_read(s->places->api, NULL, &find, &s->params, on_found, s, e);
}

static void
on_found(void *arg, const struct sql_result *r, const struct err *e)
{
	struct search *s = arg;
	struct err why = ERR_INIT;
	struct place p = { 0 };
	char text[PLACE_CITY_SIZE + 40];
	int n;

	if (e) {
		search_end(s, NULL, e);
		return;
	}
	if (r->columns == 0) { /* inserted, by us or by another process: look again */
		if (search_run(s, false, &why))
			search_end(s, NULL, &why);
		return;
	}
	if (r->rows == 0) {
		err_set(&why, ERR_INVALID, "is no country: want its ISO code or its English name");
		search_end(s, NULL, &why);
		return;
	}
	snprintf(p.country, sizeof p.country, "%s", sql_text(r, 0, 0));
	if (sql_null(r, 0, 1)) {
		memcpy(s->country, p.country, sizeof s->country);
		if (s->turns++ >= 3) {
			err_set(&why, ERR_INTERNAL, "a city that was made is not there");
			search_end(s, NULL, &why);
		} else if (search_run(s, true, &why)) {
			search_end(s, NULL, &why);
		}
		return;
	}
	if (sql_i64(r, 0, 1, &p.city_id, &why)) {
		search_end(s, NULL, &why);
		return;
	}
	snprintf(p.city, sizeof p.city, "%s", sql_text(r, 0, 2));
	n = snprintf(text, sizeof text, "%s %lld %s", p.country, (long long)p.city_id, p.city);
	lru_put(s->places->known, s->key, text, (size_t)n, 1);
	search_end(s, &p, NULL);
}

int
place_find(struct places *p, const struct address_input *in, struct place *out, place_fn *fn,
	void *arg, struct err *e)
{
	char key[KEY_MAX];
	struct search *s;
	const char *known;
	int64_t version;
	size_t length;

	key_make(in, key);
	known = lru_get(p->known, key, &length, &version);
	if (known) {
		const char *blank = strchr(known, ' ');
		char *end;

		snprintf(out->country, sizeof out->country, "%.*s", (int)(blank - known), known);
		out->city_id = strtoll(blank, &end, 10);
		snprintf(out->city, sizeof out->city, "%s", end + 1);
		return 1;
	}
	s = must_calloc(1, sizeof *s);
	s->places = p;
	s->in = in;
	s->fn = fn;
	s->arg = arg;
	memcpy(s->key, key, sizeof key);
	if (search_run(s, false, e) == 0)
		return 0;
	free(s);
	return -1;
}
