/* SPDX-License-Identifier: MIT */
/*
 * rebuild cache: every user's profile from PostgreSQL, as onboard-cache writes
 * it: never over a newer version. What hangs on them (country lists, copies in
 * processes) is told to go.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "ctl/rebuild/rebuild.h"
#include "model/redis_keys.h"
#include "model/user_json.h"

#define PROFILE_MAX (64u << 10)

static int
cache_count(struct rebuild *r, int64_t *out, struct err *e)
{
	static const struct sql_statement st = { "rebuild_users_count",
		"SELECT count(*) FROM users WHERE id > $1::bigint" };
	struct sql_params p;
	struct sql_result rows;

	sql_params_init(&p);
	sql_add_text(&p, r->cursor);
	return sql_run(r->sql, r->mem, &st, &p, &rows, e) || sql_i64(&rows, 0, 0, out, e) ? -1 : 0;
}

static int
row_write(struct rebuild *r, const struct sql_result *rows, size_t row, struct buf *text,
	int64_t ttl_s, struct err *e)
{
	struct guarded_write w;
	int64_t id, version;

	buf_clear(text);
	user_json(text, rows, row);
	if (sql_i64(rows, row, USER_ID, &id, e) || sql_i64(rows, row, USER_VERSION, &version, e))
		return -1;
	profile_write_make(&w, id, version, buf_text(text), text->length, ttl_s, true);
	return kv_add_script(r->kv, guarded_script(), 2, GUARDED_WORDS, w.argv, w.lengths, e);
}

static int
cache_batch(struct rebuild *r, size_t *n, struct err *e)
{
	static const struct sql_statement st = { "rebuild_users",
		USER_SELECT " WHERE u.id > $1::bigint ORDER BY u.id LIMIT $2::bigint" };
	int64_t ttl_s = conf_int(r->c->conf, "api", "cache_ttl") / 1000;
	struct kv_reply *replies;
	struct sql_result rows;
	struct sql_params p;
	struct buf text;
	int rc = 0;

	sql_params_init(&p);
	sql_add_text(&p, r->cursor);
	sql_add_i64(&p, r->limit);
	if (sql_run(r->sql, r->mem, &st, &p, &rows, e))
		return -1;
	*n = rows.rows;
	if (rows.rows == 0)
		return 0;
	buf_init(&text, PROFILE_MAX);
	for (size_t i = 0; i < rows.rows && rc == 0; i++)
		rc = row_write(r, &rows, i, &text, ttl_s, e);
	buf_fini(&text);
	if (rc || kv_flush_all(r->kv, r->mem, &replies, e))
		return -1;
	for (size_t i = 0; i < rows.rows; i++)
		*(replies[i].number == 1 ? &r->written : &r->skipped) += 1;
	snprintf(r->cursor, sizeof r->cursor, "%s", sql_text(&rows, rows.rows - 1, USER_ID));
	return 0;
}

/* The lists by country are made again by whoever asks for them next. */
static int
cache_finish(struct rebuild *r, struct err *e)
{
	static const struct sql_statement st = { "rebuild_countries",
		"SELECT code FROM countries ORDER BY code" };
	char key[REDIS_KEY_SIZE];
	struct kv_reply *replies;
	struct sql_result rows;

	if (sql_run(r->sql, r->mem, &st, NULL, &rows, e))
		return -1;
	for (size_t i = 0; i < rows.rows; i++) {
		const char *code = sql_text(&rows, i, 0);

		redis_key_country(code ? code : "", key);
		if (kv_add(r->kv, 2, (const char *const[]){ "DEL", key }, NULL, e) ||
			kv_add(r->kv, 3, (const char *const[]){ "PUBLISH", CACHE_INVALIDATE, key },
				NULL, e))
			return -1;
	}
	if (rows.rows == 0)
		return 0;
	return kv_flush_all(r->kv, r->mem, &replies, e);
}

const struct rebuild_kind rebuild_cache = { .name = "cache",
	.first = "0",
	.from = "users",
	.to = "Redis",
	.needs_kv = true,
	.cursor_valid = rebuild_user_valid,
	.count = cache_count,
	.batch = cache_batch,
	.finish = cache_finish };
