/* SPDX-License-Identifier: MIT */
/*
 * GET /api/users: by country, by city with a minimum score, by username, by
 * e-mail, or all; in pages by id. A country's first page of the default size is
 * cached under users:country:{code}.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "model/identity.h"
#include "base/json.h"
#include "model/user_json.h"
#include "user_cache.h"

#define LIMIT_USUAL 50
#define LIMIT_MAX 200
#define ANSWER_MAX (2u << 20)

/*
 * A page is the next rows of one index, joined to their addresses. The inner limit
 * is a number (LIMIT_MAX and one more), because a generic plan does not know the
 * parameter's value: it would expect a tenth of all users, and join all addresses.
 *
 * Equality is written as a row comparison and an upper bound, so that the order is
 * the index's own. With "country = $3 ORDER BY id" the planner may walk along the
 * ids of all users until it has met enough of that country.
 */
#define MOST " LIMIT 201"
#define PAGE(where, order) \
	USER_SELECT_FROM("(SELECT * FROM users u WHERE " where " ORDER BY " order MOST ")") \
	" ORDER BY " order " LIMIT $2"

static const struct sql_statement by_country = { "users_by_country",
	PAGE("(u.country, u.id) > ($3, $1) AND u.country <= $3", "u.country, u.id") };
/* Reads a page from each city of that name; the first rows of all of them are the page. */
#define CITY_PAGES \
	"(SELECT w.* FROM cities ci JOIN countries co ON co.id = ci.country_id," \
	" LATERAL (SELECT * FROM users u WHERE (u.city_id, u.id) > (ci.id, $1)" \
	" AND u.city_id <= ci.id AND ($5::float8 IS NULL OR u.profile_score >= $5)" \
	" ORDER BY u.city_id, u.id LIMIT $2) w WHERE lower(ci.name) = lower($3)" \
	" AND ($4::text IS NULL OR co.code = $4) ORDER BY w.id" MOST ")"
static const struct sql_statement by_city = { "users_by_city",
	USER_SELECT_FROM(CITY_PAGES) " ORDER BY u.id LIMIT $2" };
static const struct sql_statement by_username = { "users_by_username",
	PAGE("u.id > $1 AND lower(u.username) = lower($3)", "u.id") };
static const struct sql_statement by_email = { "users_by_email",
	PAGE("u.id > $1 AND u.email = $3", "u.id") };
static const struct sql_statement all_users = { "users_all", PAGE("u.id > $1", "u.id") };

/* Lives in its request's arena. */
struct listing {
	struct api *api;
	struct http_request *request;
	struct sql_params params;
	const struct sql_statement *statement;
	int64_t limit, after;
	const char *text[3]; /* $3 to $5 */
	size_t text_count;
	char key[REDIS_KEY_SIZE]; /* "": not cached */
	struct tiers_read *read;  /* of a cached one */
	char email[EMAIL_MAX + 1], country[4];
	struct problem_field errors[8];
	size_t error_count;
};

static void
fault_add(struct listing *l, const char *field, const char *reason)
{
	if (l->error_count < ARRAY_LEN(l->errors))
		l->errors[l->error_count++] = (struct problem_field){ field, reason };
}

static void
on_page_rows(void *arg, const struct sql_result *r, const struct err *e)
{
	struct listing *l = arg;
	size_t n = r->rows < (size_t)l->limit ? r->rows : (size_t)l->limit;
	struct json_out o;
	struct buf b;

	if (e && l->read) {
		tiers_failed(l->read, e);
		return;
	}
	if (e) {
		http_answer_error(l->request, e);
		return;
	}
	buf_init(&b, ANSWER_MAX);
	json_out_init(&o, &b);
	json_out_object(&o, NULL);
	json_out_list(&o, "items");
	for (size_t row = 0; row < n; row++) {
		json_out_name(&o, NULL);
		user_json(&b, r, row);
	}
	json_out_end(&o);
	json_out_text(&o, "next_cursor", r->rows > n ? sql_text(r, n - 1, USER_ID) : NULL);
	json_out_end(&o);
	if (l->read)
		tiers_made(l->read, &b, 0);
	else
		http_answer_json(l->request, 200, &b);
	buf_fini(&b);
}

static int
page_query(struct listing *l, struct err *e)
{
	sql_params_init(&l->params);
	sql_add_i64(&l->params, l->after);
	sql_add_i64(&l->params, l->limit + 1); /* one more tells whether there is a next page */
	for (size_t i = 0; i < l->text_count; i++)
		sql_add_text(&l->params, l->text[i]);
	return api_list(l->api, NULL, l->statement, &l->params, on_page_rows, l, e);
}

/* ---- a country's first page ---- */

static int
country_ask(void *arg, struct tiers_read *read, struct err *e)
{
	struct listing *l = arg;

	l->read = read;
	return page_query(l, e);
}

static bool
country_accept(void *arg, struct arena *mem, const char *text, size_t length, int64_t *version)
{
	const struct json *v;

	(void)arg;
	*version = 0;
	return json_parse(mem, text, length, &v, NULL) == 0 && json_type(v) == JSON_OBJECT &&
		json_get(v, "items");
}

static const struct tiers_source country_source = { .kind = &user_country_kind,
	.accept = country_accept,
	.ask = country_ask };

/* ---- the query ---- */

static void
number_read(struct listing *l, const char *name, int64_t min, int64_t max, int64_t *out)
{
	const char *text = http_query(l->request, name);
	char *end;
	int64_t n;

	if (!text)
		return;
	n = isdigit((unsigned char)*text) && strlen(text) <= 16 ? strtoll(text, &end, 10) : -1;
	if (n < min || n > max || *end)
		fault_add(l, name,
			strcmp(name, "limit") == 0 ? "wants 1 to 200" : "is not a cursor of ours");
	else
		*out = n;
}

static const char *
text_read(struct listing *l, const char *name, size_t max)
{
	const char *text = http_query(l->request, name);

	if (text && (!*text || strlen(text) > max)) {
		fault_add(l, name, "is empty or too long");
		return NULL;
	}
	return text;
}

static const char *
score_read(struct listing *l)
{
	const char *text = http_query(l->request, "min_score");
	size_t digits;

	if (!text)
		return NULL;
	digits = strspn(text, "0123456789.");
	if (!*text || text[digits] || digits > 12 || strchr(text, '.') != strrchr(text, '.') ||
		!isdigit((unsigned char)*text) || !isdigit((unsigned char)text[digits - 1])) {
		fault_add(l, "min_score", "is not a number from 0 on");
		return NULL;
	}
	return text;
}

static const char *
country_read(struct listing *l)
{
	const char *text = text_read(l, "country", 3);
	size_t i = 0;

	if (!text)
		return NULL;
	for (; text[i] && isalpha((unsigned char)text[i]); i++)
		l->country[i] = (char)toupper((unsigned char)text[i]);
	if (text[i] || i < 2) {
		fault_add(l, "country", "is not an ISO code");
		return NULL;
	}
	return l->country;
}

static void
filters_read(struct listing *l)
{
	const char *country = country_read(l), *city = text_read(l, "city", 400);
	const char *username = text_read(l, "username", 50), *email = text_read(l, "email", 400);
	const char *score = score_read(l);
	struct err e = ERR_INIT;

	if (!!username + !!email + (country || city) > 1)
		fault_add(l, username ? "username" : "email",
			"cannot be combined with another filter");
	if (score && !city)
		fault_add(l, "min_score", "goes with city");
	if (email && email_normalize(email, strlen(email), l->email, &e))
		fault_add(l, "email", "is not an e-mail address");
	if (username) {
		l->statement = &by_username;
		l->text[l->text_count++] = username;
	} else if (email) {
		l->statement = &by_email;
		l->text[l->text_count++] = l->email;
	} else if (city) {
		l->statement = &by_city;
		l->text[0] = city;
		l->text[1] = country;
		l->text[2] = score;
		l->text_count = 3;
	} else if (country) {
		l->statement = &by_country;
		l->text[l->text_count++] = country;
		if (l->limit == LIMIT_USUAL && l->after == 0)
			redis_key_country(country, l->key);
	}
}

void
user_list(void *arg, struct http_request *r)
{
	struct listing *l = arena_alloc(http_mem(r), sizeof *l);
	struct api *a = arg;
	struct err e = ERR_INIT;

	must(l);
	*l = (struct listing){ .api = a,
		.request = r,
		.statement = &all_users,
		.limit = LIMIT_USUAL };
	number_read(l, "limit", 1, LIMIT_MAX, &l->limit);
	number_read(l, "cursor", 0, JSON_INTEGER_MAX, &l->after);
	filters_read(l);
	if (l->error_count) {
		http_answer_problem(r, 422, NULL, l->errors, l->error_count);
		return;
	}
	if (!*l->key) {
		if (page_query(l, &e))
			http_answer_error(r, &e);
	} else if (!tiers_answer(a->cache, &country_source, l->key, r)) {
		tiers_load(a->cache, &country_source, l->key, r, l);
	}
}
