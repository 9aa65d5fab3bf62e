/* SPDX-License-Identifier: MIT */
/* GET /api/users/{id}, through the cache's tiers. */
#include <inttypes.h>
#include <stdio.h>

#include "api.h"
#include "base/json.h"
#include "model/user_json.h"
#include "user_cache.h"

#define ANSWER_MAX (64u << 10)

static const struct sql_statement by_id = { "user_by_id", USER_SELECT " WHERE u.id = $1" };

/* Lives in its request's arena. */
struct profile_load {
	struct api *api;
	int64_t user_id;
	struct tiers_read *read;
	struct sql_params params;
};

static void
on_profile_row(void *arg, const struct sql_result *r, const struct err *e)
{
	struct profile_load *l = arg;
	struct err why = ERR_INIT;
	int64_t version;
	struct buf b;

	if (e) {
		tiers_failed(l->read, e);
		return;
	}
	if (r->rows == 0) {
		err_set(&why, ERR_MISSING, "no such user");
		tiers_failed(l->read, &why);
		return;
	}
	if (sql_i64(r, 0, USER_VERSION, &version, &why)) {
		tiers_failed(l->read, &why);
		return;
	}
	buf_init(&b, ANSWER_MAX);
	user_json(&b, r, 0);
	tiers_made(l->read, &b, version);
	buf_fini(&b);
}

static int
profile_ask(void *arg, struct tiers_read *read, struct err *e)
{
	struct profile_load *l = arg;

	l->read = read;
	sql_params_init(&l->params);
	sql_add_i64(&l->params, l->user_id);
	return api_read(l->api, NULL, &by_id, &l->params, on_profile_row, l, e);
}

/* It is this user's JSON with a version. */
static bool
profile_accept(void *arg, struct arena *mem, const char *text, size_t length, int64_t *version)
{
	const struct profile_load *l = arg;
	const struct json *v;
	int64_t id;

	return json_parse(mem, text, length, &v, NULL) == 0 && json_type(v) == JSON_OBJECT &&
		json_get(v, "id") && json_get(v, "version") &&
		json_integer(json_get(v, "id"), &id) && id == l->user_id &&
		json_integer(json_get(v, "version"), version);
}

static void
profile_answer(struct http_request *r, const char *text, size_t length, int64_t version)
{
	char tag[32];

	snprintf(tag, sizeof tag, "\"%" PRId64 "\"", version);
	http_answer_header(r, "ETag", tag);
	http_answer(r, 200, "application/json", text, length);
}

static const struct tiers_source profile_source = { .kind = &user_profile_kind,
	.accept = profile_accept,
	.ask = profile_ask,
	.answer = profile_answer };

void
user_get(void *arg, struct http_request *r)
{
	struct api *a = arg;
	char key[REDIS_KEY_SIZE];
	struct profile_load *l;
	int64_t id;

	if (!http_part_id(r, 0, &id)) {
		http_answer_problem(r, 404, "no such user", NULL, 0);
		return;
	}
	redis_key_profile(id, key);
	if (tiers_answer(a->cache, &profile_source, key, r))
		return;
	l = arena_alloc(http_mem(r), sizeof *l);
	must(l);
	l->api = a;
	l->user_id = id;
	tiers_load(a->cache, &profile_source, key, r, l);
}
