/* SPDX-License-Identifier: MIT */
/*
 * PATCH, PUT (both merge) and DELETE /api/users/{id}. One transaction locks the
 * user, changes the row, raises its version and stores the event. After the commit
 * the caches are told, and then the client gets its answer: so a GET after the
 * answer shows the change. The answer is the state that the statement returned.
 *
 * The lock is a statement of its own. After a wait for a lock, PostgreSQL reads
 * only the locked row again. Addresses and cities read by the same statement
 * would be as they were before the wait.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/event.h"
#include "places.h"
#include "user_cache.h"
#include "user_input.h"
#include "model/outbox_sql.h"
#include "model/user_json.h"

#define ANSWER_MAX (64u << 10)
#define TURNS_MAX 4

static const struct sql_statement lock_user = { "user_lock",
	"SELECT id FROM users WHERE id = $1 FOR UPDATE" };
/* Two users may share an address: the second to leave it must see that the first left. */
static const struct sql_statement lock_address = {
	"user_lock_address",
	"SELECT id FROM addresses WHERE id = (SELECT address_id FROM users WHERE id = $1) FOR UPDATE"
};

#define OLD \
	"WITH old AS MATERIALIZED (SELECT u.id, u.version, u.address_id, u.country AS code" \
	" FROM users u WHERE u.id = $1)," \
	" go AS (SELECT old.*, EXISTS (SELECT FROM users o WHERE o.address_id = old.address_id" \
	" AND o.id <> old.id) AS shared FROM old WHERE $2::bigint[] IS NULL OR version = ANY ($2))"
#define EVENT(type, payload) \
	" e AS (SELECT json_build_object('id', $3::text, 'type', '" type \
	"', 'timestamp', $4::text, 'payload', json_strip_nulls(json_build_object(" payload \
	")))::text AS body FROM "
#define STORE(type) \
	OUTBOX_STORE("SELECT $5::date, $3::uuid, '" type "', $1::bigint, body, $6 FROM e", \
		"SELECT $3::uuid, $5::date, $5::date, ARRAY[$3::uuid] FROM e")

/* Columns of both statements' answers. In the update's they follow the user's USER_COLUMNS. */
enum { CHANGE_BODY, CHANGE_BEFORE, CHANGE_VERSION };

#define TIMES USER_TIME("w.created_at") ", " USER_TIME("w.updated_at")
#define CHANGED \
	" SELECT w.id, w.username, w.email, w.name, w.profile_score, w.is_verified, w.version," \
	" " TIMES ", w.street, w.postal_code, w.city, w.region, w.country, w.country_name," \
	" e.body, old.code, w.version FROM old LEFT JOIN w ON true LEFT JOIN e ON true"
#define DROPPED " SELECT e.body, old.code, old.version + 1 FROM old LEFT JOIN e ON true"

/* $7 username, $8 email, $9 has name, $10 name, $11 has address, $12 city, $13 street, $14 postal,
 * $15 country's code */
static const struct sql_statement update = { "user_update",
	OLD
	", an AS (SELECT nextval('addresses_id_seq') AS id FROM go"
	" WHERE $11::boolean AND $12::bigint IS NOT NULL AND (address_id IS NULL OR shared)),"
	" ai AS (INSERT INTO addresses (id, street, postal_code, city_id)"
	" SELECT id, $13::text, $14::text, $12::bigint FROM an),"
	" au AS (UPDATE addresses a SET street = $13, postal_code = $14, city_id = $12 FROM go"
	" WHERE $11::boolean AND $12::bigint IS NOT NULL AND a.id = go.address_id AND NOT go.shared),"
	" u AS (UPDATE users SET username = coalesce($7::text, username),"
	" email = coalesce($8::text, email),"
	" name = CASE WHEN $9::boolean THEN $10::text ELSE name END,"
	" address_id = CASE WHEN NOT $11::boolean THEN users.address_id"
	" WHEN $12::bigint IS NULL THEN NULL"
	" ELSE coalesce((SELECT id FROM an), users.address_id) END,"
	" city_id = CASE WHEN $11::boolean THEN $12::bigint ELSE users.city_id END,"
	" country = CASE WHEN $11::boolean THEN $15::text ELSE users.country END,"
	" version = users.version + 1, updated_at = clock_timestamp() FROM go"
	" WHERE users.id = go.id RETURNING users.id, users.username, users.email, users.name,"
	" users.profile_score, users.is_verified, users.version, users.created_at,"
	" users.updated_at),"
	" ad AS (DELETE FROM addresses a USING go JOIN u ON u.id = go.id WHERE $11::boolean"
	" AND $12::bigint IS NULL AND a.id = go.address_id AND NOT go.shared),"
	/* The address as given, or as it is; the city as it is stored, not as the client wrote it. */
	" w AS (SELECT u.*, CASE WHEN $11::boolean THEN $13::text ELSE a.street END AS street,"
	" CASE WHEN $11::boolean THEN $14::text ELSE a.postal_code END AS postal_code,"
	" ci.name AS city, ci.region, co.code AS country, co.name AS country_name,"
	" go.code AS previous_country FROM u JOIN go ON go.id = u.id"
	" LEFT JOIN addresses a ON a.id = go.address_id AND NOT $11::boolean"
	" LEFT JOIN cities ci ON ci.id = CASE WHEN $11::boolean THEN $12::bigint ELSE a.city_id END"
	" LEFT JOIN countries co ON co.id = ci.country_id)," EVENT(EVENT_TYPE_UPDATED,
		"'user_id', id, 'username', username, 'email', email, 'version', version,"
		" 'name', name, 'country', country, 'city', city,"
		" 'previous_country', previous_country") "w)," STORE(EVENT_TYPE_UPDATED) CHANGED };

static const struct sql_statement drop = {
	"user_delete",
	OLD
	", u AS (DELETE FROM users USING go WHERE users.id = go.id RETURNING users.id),"
	" a AS (DELETE FROM addresses USING go, u WHERE addresses.id = go.address_id AND NOT go.shared)," EVENT(
		EVENT_TYPE_DELETED,
		"'user_id', go.id, 'version', go.version + 1, 'country', go.code") "go JOIN u ON"
										   " u.id = go.id)," STORE(
											   EVENT_TYPE_DELETED)
											   DROPPED
};

static const struct sql_statement others = { "user_others",
	"SELECT EXISTS (SELECT FROM users WHERE lower(username) = lower($2) AND id <> $1),"
	" EXISTS (SELECT FROM users WHERE email = $3 AND id <> $1)" };

/* Lives in its request's arena. */
struct change {
	struct api *api;
	struct http_request *request;
	bool deleting;
	struct user_input in;
	struct place place;
	int64_t id;
	const char *if_match; /* an array of versions; NULL: any */
	bool taken_username;
	struct uuid event;
	char event_text[UUID_TEXT_SIZE], day[OUTBOX_DAY_SIZE], now[CLOCK_RFC3339_SIZE];
	struct sql_params id_params, params;
	unsigned turns;
	struct sql_result made; /* the change's answer; its rows live in the request's arena */
	int64_t version;
};

static void change_run(struct change *c);

/* ---- after the commit ---- */

static void
on_caches_told(void *arg, const struct err *why)
{
	struct change *c = arg;
	struct buf b;
	char tag[32];

	if (why) {
		http_answer_error(c->request, why);
		return;
	}
	if (c->deleting) {
		http_answer(c->request, 204, NULL, NULL, 0);
		return;
	}
	buf_init(&b, ANSWER_MAX);
	user_json(&b, &c->made, 0);
	snprintf(tag, sizeof tag, "\"%" PRId64 "\"", c->version);
	http_answer_header(c->request, "ETag", tag);
	http_answer_json(c->request, 200, &b);
	buf_fini(&b);
}

static size_t
column(const struct change *c, size_t which)
{
	return which + (c->deleting ? 0 : USER_COLUMNS);
}

static void
change_tell(struct change *c, const struct sql_result *r)
{
	const size_t body = column(c, CHANGE_BODY), length = sql_length(r, 0, body);
	struct publisher_batch *out = publisher_batch_new(&c->event, length + 512);
	const char *before = sql_text(r, 0, column(c, CHANGE_BEFORE));
	const char *after = c->deleting ? NULL : sql_text(r, 0, USER_COUNTRY);

	c->made = *r;
	publisher_batch_add(out,
		&(struct publisher_event){ .id = c->event,
			.type = c->deleting ? EVENT_TYPE_DELETED : EVENT_TYPE_UPDATED,
			.body = sql_text(r, 0, body),
			.length = length,
			.traceparent = http_trace(c->request)->parent });
	(void)publisher_push(c->api->publisher, out);
	user_cache_country_changed(c->api->cache, before);
	if (after && (!before || strcmp(before, after) != 0))
		user_cache_country_changed(c->api->cache, after);
	user_cache_changed(c->api->cache, c->id, c->version, on_caches_told, c);
}

/* ---- the change ---- */

static void
taken_answer(struct change *c, bool username, bool email)
{
	struct problem_field fields[2];
	size_t n = 0;

	if (username)
		fields[n++] = (struct problem_field){ "username", "is taken" };
	if (email)
		fields[n++] = (struct problem_field){ "email", "is taken" };
	http_answer_problem(c->request, 409,
		username && email  ? "username and email are taken"
			: username ? "username is taken"
				   : "email is taken",
		fields, n);
}

/* The database names the first conflict that it met; the other field may be taken, too. */
static void
on_others(void *arg, const struct sql_result *r, const struct err *e)
{
	struct change *c = arg;
	struct err why = ERR_INIT;
	bool username = c->taken_username, email = !c->taken_username;
	bool by_username, by_email;

	if (!e && sql_bool(r, 0, 0, &by_username, &why) == 0 &&
		sql_bool(r, 0, 1, &by_email, &why) == 0 && (by_username || by_email)) {
		username = by_username;
		email = by_email;
	}
	taken_answer(c, username, email);
}

static void
change_taken(struct change *c, const struct sql_result *r)
{
	bool username = strcmp(r->constraint, "users_username_key") == 0;
	struct err e = ERR_INIT;

	if (username || strcmp(r->constraint, "users_email_key") == 0) {
		c->taken_username = username;
		sql_params_init(&c->params);
		sql_add_i64(&c->params, c->id);
		sql_add_text(&c->params, c->in.username);
		sql_add_text(&c->params, *c->in.email ? c->in.email : NULL);
		if (api_read(c->api, NULL, &others, &c->params, on_others, c, &e))
			taken_answer(c, username, !username);
		return;
	}
	places_forget(c->api->places);
	http_answer_problem(c->request, 503, "the address' city has just gone", NULL, 0);
}

static void
on_changed(void *arg, const struct sql_result *r, const struct err *e)
{
	struct change *c = arg;
	struct err why = ERR_INIT;

	if (e && sql_again(r) && ++c->turns < TURNS_MAX) {
		change_run(c);
	} else if (e && e->kind == ERR_CONFLICT) {
		change_taken(c, r);
	} else if (e) {
		http_answer_error(c->request, e);
	} else if (r->rows == 0) {
		http_answer_problem(c->request, 404, "no such user", NULL, 0);
	} else if (sql_null(r, 0, column(c, CHANGE_BODY))) {
		http_answer_problem(c->request, 412, "the user has changed since: read it again",
			NULL, 0);
	} else if (sql_i64(r, 0, column(c, CHANGE_VERSION), &c->version, &why)) {
		http_answer_error(c->request, &why);
	} else {
		change_tell(c, r);
	}
}

static void
change_run(struct change *c)
{
	const struct sql_part lock = { &lock_user, &c->id_params };
	const struct sql_part lock_too = { &lock_address, &c->id_params };
	const struct sql_part change = { c->deleting ? &drop : &update, &c->params };
	const struct sql_part with_address[] = { lock, lock_too, change };
	const struct sql_part alone[] = { lock, change };
	const bool addressed = c->deleting || c->in.has_address;
	struct err e = ERR_INIT;
	struct sql_params *p = &c->params;

	sql_params_init(&c->id_params);
	sql_add_i64(&c->id_params, c->id);
	sql_params_init(p);
	sql_add_i64(p, c->id);
	sql_add_text(p, c->if_match);
	sql_add_text(p, c->event_text);
	sql_add_text(p, c->now);
	sql_add_text(p, c->day);
	sql_add_text(p, http_trace(c->request)->parent);
	if (!c->deleting) {
		sql_add_text(p, c->in.username);
		sql_add_text(p, *c->in.email ? c->in.email : NULL);
		sql_add_bool(p, c->in.has_name);
		sql_add_text(p, c->in.name);
		sql_add_bool(p, c->in.has_address);
		if (c->place.city_id)
			sql_add_i64(p, c->place.city_id);
		else
			sql_add_text(p, NULL);
		sql_add_text(p, c->in.address.street);
		sql_add_text(p, c->in.address.postal_code);
		sql_add_text(p, c->place.city_id ? c->place.country : NULL);
	}
	if (api_change(c->api, http_mem(c->request), addressed ? with_address : alone,
		    addressed ? ARRAY_LEN(with_address) : ARRAY_LEN(alone), on_changed, c, &e))
		http_answer_error(c->request, &e);
}

static void
on_place(void *arg, const struct place *p, const struct err *e)
{
	struct change *c = arg;

	if (e && e->kind == ERR_INVALID) {
		http_answer_problem(c->request, 422, NULL,
			&(struct problem_field){ "address.country", e->text }, 1);
	} else if (e) {
		http_answer_error(c->request, e);
	} else {
		c->place = *p;
		change_run(c);
	}
}

/* A list of ETags as "{1,2}". Weak ETags and foreign ones match nothing. NULL: none is ours. */
static const char *
tags_read(struct arena *mem, const char *text)
{
	struct buf b;
	const char *out;

	buf_init(&b, 16 << 10);
	for (const char *end; *text; text = end) {
		size_t digits;

		text += strspn(text, " \t,");
		end = text + strcspn(text, ",");
		digits = *text == '"' ? strspn(text + 1, "0123456789") : 0;
		if (digits == 0 || digits > 18 || text[1 + digits] != '"' ||
			strspn(text + 2 + digits, " \t") != (size_t)(end - text) - 2 - digits)
			continue;
		buf_add_char(&b, b.length ? ',' : '{');
		buf_add(&b, text + 1, digits);
	}
	if (b.length)
		buf_add_char(&b, '}');
	out = b.length && !buf_failed(&b) ? arena_strndup(mem, buf_text(&b), b.length) : NULL;
	buf_fini(&b);
	return out;
}

/* NULL: answered. */
static struct change *
change_new(struct api *a, struct http_request *r, bool deleting)
{
	const char *match = http_header(r, "If-Match");
	struct change *c = arena_alloc(http_mem(r), sizeof *c);

	must(c);
	c->api = a;
	c->request = r;
	c->deleting = deleting;
	if (!http_part_id(r, 0, &c->id)) {
		http_answer_problem(r, 404, "no such user", NULL, 0);
		return NULL;
	}
	if (match && strcmp(match, "*") != 0) {
		c->if_match = tags_read(http_mem(r), match);
		if (!c->if_match) {
			http_answer_problem(r, 412, "If-Match is no ETag of ours", NULL, 0);
			return NULL;
		}
	}
	c->event = uuid7_new();
	uuid_format(&c->event, c->event_text);
	outbox_day(&c->event, c->day);
	clock_format_rfc3339(clock_wall_us(), c->now);
	return c;
}

void
user_patch(void *arg, struct http_request *r)
{
	struct api *a = arg;
	const struct json *v = http_json(r);
	struct change *c = v ? change_new(a, r, false) : NULL;
	struct err e = ERR_INIT;
	int known = 1;

	if (!c)
		return;
	user_input_read(v, false, http_mem(r), &c->in);
	if (!c->in.error_count && json_count(v) == 0) {
		http_answer_problem(r, 422, "the body changes nothing", NULL, 0);
		return;
	}
	if (c->in.error_count) {
		http_answer_problem(r, 422, "some fields are not as they must be", c->in.errors,
			c->in.error_count);
		return;
	}
	if (c->in.has_address && !c->in.address_null)
		known = place_find(a->places, &c->in.address, &c->place, on_place, c, &e);
	if (known < 0)
		http_answer_error(r, &e);
	else if (known)
		change_run(c);
}

void
user_delete(void *arg, struct http_request *r)
{
	struct change *c = change_new(arg, r, true);

	if (c)
		change_run(c);
}
