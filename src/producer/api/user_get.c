/* SPDX-License-Identifier: MIT */
/* GET /api/users/{id}: the process, Redis, the database; one rebuild at a time for one key. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/json.h"
#include "cache.h"
#include "model/redis_keys.h"
#include "model/user_json.h"
#include "run/flight.h"

#define ANSWER_MAX (64u << 10)
#define JOIN_MS 1000 /* less than a client waits whose change others are not told of */

static const struct sql_statement by_id = { "user_by_id", USER_SELECT " WHERE u.id = $1" };

struct load {
	struct api *api;
	struct flight *flight;
	int64_t user_id;
	struct arena *mem;
	struct sql_params params;
};

static void
answer_user(struct http_request *r, const char *text, size_t length, int64_t version)
{
	char tag[32];

	snprintf(tag, sizeof tag, "\"%" PRId64 "\"", version);
	http_answer_header(r, "ETag", tag);
	http_answer(r, 200, "application/json", text, length);
}

struct loaded {
	const char *text;
	size_t length;
	int64_t version;
};

static void
answer_loaded(const void *arg, struct http_request *r)
{
	const struct loaded *l = arg;

	answer_user(r, l->text, l->length, l->version);
}

static void
answer_error(const void *arg, struct http_request *r)
{
	http_answer_error(r, arg);
}

static void
load_end(struct load *l, flight_answer_fn *answer, const void *arg)
{
	flight_land(l->flight, answer, arg);
	arena_free(l->mem);
	free(l);
}

static void
load_answer(struct load *l, const char *text, size_t length, int64_t version)
{
	if (!flight_forgotten(l->flight))
		cache_memory_put(l->api->cache, flight_key(l->flight), text, length, version);
	load_end(l, answer_loaded, &(struct loaded){ text, length, version });
}

static void
load_fail(struct load *l, const struct err *e)
{
	load_end(l, answer_error, e);
}

static void
on_row(void *arg, const struct sql_result *r, const struct err *e)
{
	struct load *l = arg;
	struct err why = ERR_INIT;
	int64_t version;
	struct buf b;

	if (e) {
		load_fail(l, e);
		return;
	}
	if (r->rows == 0) {
		err_set(&why, ERR_MISSING, "no such user");
		load_fail(l, &why);
		return;
	}
	if (sql_i64(r, 0, USER_VERSION, &version, &why)) {
		load_fail(l, &why);
		return;
	}
	buf_init(&b, ANSWER_MAX);
	user_json(&b, r, 0);
	if (buf_failed(&b)) {
		err_set(&why, ERR_INTERNAL, "a user is over %u bytes", ANSWER_MAX);
		load_fail(l, &why);
	} else {
		if (!flight_forgotten(l->flight))
			cache_profile_put(l->api->cache, l->user_id, version, buf_text(&b),
				b.length);
		load_answer(l, buf_text(&b), b.length, version);
	}
	buf_fini(&b);
}

static void
from_database(struct load *l)
{
	struct err e = ERR_INIT;

	sql_params_init(&l->params);
	sql_add_i64(&l->params, l->user_id);
	metric_add(l->api->cells[M_REDIS_MISSES], 1);
	if (api_read(l->api, l->mem, &by_id, &l->params, on_row, l, &e))
		load_fail(l, &e);
}

/* What is in Redis may be anybody's: it is a user's JSON with a version, or it is not there. */
static bool
version_read(struct load *l, const struct kv_reply *r, int64_t *version)
{
	const struct json *v;
	int64_t id;

	return json_parse(l->mem, r->text, r->length, &v, NULL) == 0 &&
		json_type(v) == JSON_OBJECT && json_get(v, "id") && json_get(v, "version") &&
		json_integer(json_get(v, "id"), &id) && id == l->user_id &&
		json_integer(json_get(v, "version"), version);
}

static void
on_redis(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct load *l = arg;
	int64_t version;

	if (!e && r->type == KV_TEXT && version_read(l, r, &version)) {
		metric_add(l->api->cells[M_REDIS_HITS], 1);
		load_answer(l, r->text, r->length, version);
	} else {
		from_database(l);
	}
}

void
user_get(void *arg, struct http_request *r)
{
	struct api *a = arg;
	char key[PROFILE_KEY_SIZE];
	const char *text;
	struct flight *flight;
	struct load *l;
	int64_t id, version;
	size_t length;

	if (!http_part_id(r, 0, &id)) {
		http_answer_problem(r, 404, "no such user", NULL, 0);
		return;
	}
	profile_key(id, key);
	text = cache_memory_get(a->cache, key, &length, &version);
	if (text) {
		answer_user(r, text, length, version);
		return;
	}
	/* nobody tells us of changes now: what began long ago may have read the state before one */
	if (!cache_usable(a->cache))
		flights_forget_older(a->flights, key, JOIN_MS);
	flight = flight_join(a->flights, key, r);
	if (!flight)
		return;
	l = must_calloc(1, sizeof *l);
	l->api = a;
	l->flight = flight;
	l->user_id = id;
	l->mem = arena_new(4096, 4 << 20);
	if (cache_redis_get(a->cache, key, on_redis, l))
		from_database(l);
}
