/* SPDX-License-Identifier: MIT */
/*
 * rebuild segments: MongoDB's `users`. First tombstones, from the archive's
 * user.deleted of whom PostgreSQL has no more, which frees their e-mails; then
 * every user of PostgreSQL. A document gets name, e-mail and version where they
 * are not older; segment and scores that it has it keeps, a new one begins as
 * every user does.
 */
#include <stdio.h>
#include <string.h>

#include "link/doc_bulk.h"
#include "ctl/rebuild/rebuild_archive.h"
#include "model/event.h"
#include "model/doc_indexes.h"
#include "model/user_state.h"

struct users {
	struct user_state *at;
	size_t n;
};

/* "2026-11-20/01a1…" while it reads the archive, then a user's id. */
static bool
in_archive(const char *cursor)
{
	return strchr(cursor, '/') != NULL;
}

static bool
cursor_valid(const char *text)
{
	return in_archive(text) ? rebuild_archive_valid(text) : rebuild_user_valid(text);
}

/* Day and event, and behind them the last user: all of them are still to come. */
static void
cursor_add(struct rebuild *r, struct sql_params *p)
{
	if (in_archive(r->cursor)) {
		rebuild_archive_add(r, p);
		sql_add_text(p, "0");
	} else {
		sql_add_text(p, "9999-12-31");
		sql_add_text(p, "ffffffff-ffff-ffff-ffff-ffffffffffff");
		sql_add_text(p, r->cursor);
	}
}

static int
segments_count(struct rebuild *r, int64_t *out, struct err *e)
{
	static const struct sql_statement st = { "rebuild_segments_count",
		"SELECT (SELECT count(*) FROM outbox WHERE (day, event_id) > ($1::date, $2::uuid))"
		" + (SELECT count(*) FROM users WHERE id > $3::bigint)" };
	struct sql_params p;
	struct sql_result rows;

	sql_params_init(&p);
	cursor_add(r, &p);
	return sql_run(r->sql, r->mem, &st, &p, &rows, e) || sql_i64(&rows, 0, 0, out, e) ? -1 : 0;
}

/* ---- the archive ---- */

static int
tombstone_add(struct rebuild *r, struct doc_bulk *bulk, const struct sql_result *rows, size_t row,
	struct err *e)
{
	struct doc_body *which = doc_new(r->mem), *what = doc_new(r->mem);
	struct event ev;

	if (!rebuild_archive_parse(r, rows, row, &ev))
		return 0;
	user_state_tombstone(which, what, ev.user_id, ev.version, ev.time_us);
	return doc_bulk_replace_one(bulk, which, what, true, e);
}

/*
 * A window of the archive, whatever is in it, so that no statement takes long:
 * of it the deletions, and the last row for the cursor.
 */
static int
archive_batch(struct rebuild *r, size_t *n, struct err *e)
{
	static const struct sql_statement st = { "rebuild_segments_archive",
		"WITH w AS MATERIALIZED (SELECT day, event_id, type, user_id, body,"
		" row_number() OVER (ORDER BY day, event_id) AS nr, count(*) OVER () AS n"
		" FROM (SELECT * FROM outbox WHERE (day, event_id) > ($1::date, $2::uuid)"
		" ORDER BY day, event_id LIMIT $3::bigint) o)"
		" SELECT day, event_id, CASE WHEN type = '" EVENT_TYPE_DELETED "' AND NOT EXISTS"
		" (SELECT FROM users u WHERE u.id = w.user_id) THEN body END, n FROM w"
		" WHERE type = '" EVENT_TYPE_DELETED "' OR nr = n ORDER BY nr" };
	struct doc_bulk *bulk = doc_bulk_new(r->mem, USER_COLLECTION);
	const struct doc_item *items;
	struct sql_result rows;
	struct sql_params p;
	int64_t seen;

	sql_params_init(&p);
	rebuild_archive_add(r, &p);
	sql_add_i64(&p, r->limit);
	*n = 0;
	if (sql_run(r->sql, r->mem, &st, &p, &rows, e))
		return -1;
	if (rows.rows == 0)
		return 0;
	for (size_t i = 0; i < rows.rows; i++)
		if (!sql_null(&rows, i, 2) && tombstone_add(r, bulk, &rows, i, e))
			return -1;
	if (doc_bulk_count(bulk) > 0 && doc_bulk_run(r->doc, bulk, &items, e))
		return -1;
	for (size_t i = 0; i < doc_bulk_count(bulk); i++) {
		if (items[i].fate == DOC_FAILED)
			return err_set(e, items[i].kind, "a tombstone: %s", items[i].why);
		*(items[i].fate == DOC_DONE ? &r->written : &r->skipped) += 1;
	}
	if (sql_i64(&rows, rows.rows - 1, 3, &seen, e))
		return -1;
	*n = (size_t)seen;
	rebuild_archive_move(r, &rows);
	return 0;
}

/* ---- the users ---- */

static int
users_read(struct rebuild *r, struct users *u, struct err *e)
{
	static const struct sql_statement st = { "rebuild_segments_users",
		"SELECT id, username, email, version,"
		" floor(extract(epoch FROM created_at) * 1000000)::bigint,"
		" floor(extract(epoch FROM updated_at) * 1000000)::bigint"
		" FROM users WHERE id > $1::bigint ORDER BY id LIMIT $2::bigint" };
	struct sql_result rows;
	struct sql_params p;

	sql_params_init(&p);
	sql_add_text(&p, r->cursor);
	sql_add_i64(&p, r->limit);
	if (sql_run(r->sql, r->mem, &st, &p, &rows, e))
		return -1;
	*u = (struct users){ arena_alloc(r->mem, (rows.rows + 1) * sizeof *u->at), rows.rows };
	must(u->at);
	for (size_t i = 0; i < u->n; i++) {
		struct user_state *s = &u->at[i];

		*s = (struct user_state){ .created_known = true,
			.username = sql_text(&rows, i, 1),
			.email = sql_text(&rows, i, 2) };
		if (sql_i64(&rows, i, 0, &s->id, e) || sql_i64(&rows, i, 3, &s->version, e) ||
			sql_i64(&rows, i, 4, &s->created_us, e) ||
			sql_i64(&rows, i, 5, &s->updated_us, e))
			return -1;
	}
	return 0;
}

/* Into blocked come those of whom there is something newer, or whose e-mail another document has. */
static int
users_write(struct rebuild *r, const struct users *u, struct users *blocked, struct err *e)
{
	struct doc_bulk *bulk = doc_bulk_new(r->mem, USER_COLLECTION);
	struct doc_body *which = doc_new(r->mem), *what = doc_new(r->mem);
	const struct doc_item *items;

	*blocked = (struct users){ arena_alloc(r->mem, (u->n + 1) * sizeof *u->at), 0 };
	must(blocked->at);
	for (size_t i = 0; i < u->n; i++) {
		user_state_update(which, what, &u->at[i]);
		if (doc_bulk_update_one(bulk, which, what, true, e))
			return -1;
	}
	if (doc_bulk_run(r->doc, bulk, &items, e))
		return -1;
	for (size_t i = 0; i < u->n; i++)
		if (items[i].fate == DOC_DONE)
			r->written++;
		else if (items[i].fate == DOC_DUPLICATE)
			blocked->at[blocked->n++] = u->at[i];
		else
			return err_set(e, items[i].kind, "user %lld: %s", (long long)u->at[i].id,
				items[i].why);
	return 0;
}

/* 1: PostgreSQL knows the holder, no older than this, by another e-mail. */
static int
holder_stale(struct rebuild *r, int64_t id, int64_t version, const char *email, struct err *e)
{
	static const struct sql_statement st = { "rebuild_segments_holder",
		"SELECT EXISTS (SELECT FROM users WHERE id = $1::bigint"
		" AND version >= $2::bigint AND email <> $3::text)" };
	struct sql_params p;
	struct sql_result rows;
	bool stale;

	sql_params_init(&p);
	sql_add_i64(&p, id);
	sql_add_i64(&p, version);
	sql_add_text(&p, email);
	if (sql_run(r->sql, r->mem, &st, &p, &rows, e) || sql_bool(&rows, 0, 0, &stale, e))
		return -1;
	return stale;
}

/* E-mails that documents hold whose users have changed theirs are free again. */
static int
emails_free(struct rebuild *r, const struct users *blocked, struct err *e)
{
	struct doc_body *who = doc_new(r->mem), *what = doc_new(r->mem);
	struct doc_bulk *bulk = doc_bulk_new(r->mem, USER_COLLECTION);
	const struct doc_item *items;
	struct doc_list have;
	int64_t id, version;

	doc_begin(who, "email");
	doc_begin_array(who, "$in");
	for (size_t i = 0; i < blocked->n; i++)
		doc_add_string(who, NULL, blocked->at[i].email);
	doc_end(who);
	doc_end(who);
	if (doc_find(r->doc, r->mem, USER_COLLECTION, who, &(struct doc_find){ 0 }, &have, e))
		return -1;
	for (size_t i = 0; i < have.count; i++) {
		const char *email = doc_get_text(&have.at[i], "email", NULL);
		int stale;

		if (!email || !doc_get_i64(&have.at[i], "_id", &id) ||
			!doc_get_i64(&have.at[i], "version", &version))
			continue;
		stale = holder_stale(r, id, version, email, e);
		if (stale < 0)
			return -1;
		if (!stale)
			continue;
		doc_clear(who);
		doc_add_i64(who, "_id", id);
		doc_add_i64(who, "version", version);
		doc_add_string(who, "email", email);
		doc_clear(what);
		doc_begin(what, "$unset");
		doc_add_string(what, "email", "");
		doc_end(what);
		if (doc_bulk_update_one(bulk, who, what, false, e))
			return -1;
	}
	return doc_bulk_count(bulk) > 0 && doc_bulk_run(r->doc, bulk, &items, e) ? -1 : 0;
}

static bool
is_newer(const struct doc_view *have, int64_t version)
{
	int64_t has;

	return doc_type(have, "deleted_at") != DOC_ABSENT ||
		(doc_get_i64(have, "version", &has) && has > version);
}

/* Those who have no document of their state, nor a newer one: said, since no later run mends it. */
static int
left_tell(struct rebuild *r, const struct users *still, struct err *e)
{
	struct doc_body *who = doc_new(r->mem);
	struct doc_list have;
	size_t at = 0;
	int64_t id;

	doc_begin(who, "_id");
	doc_begin_array(who, "$in");
	for (size_t i = 0; i < still->n; i++)
		doc_add_i64(who, NULL, still->at[i].id);
	doc_end(who);
	doc_end(who);
	if (doc_find(r->doc, r->mem, USER_COLLECTION, who, &(struct doc_find){ 0 }, &have, e))
		return -1;
	for (size_t i = 0; i < still->n; i++) {
		const struct user_state *s = &still->at[i];

		for (at = 0; at < have.count; at++)
			if (doc_get_i64(&have.at[at], "_id", &id) && id == s->id &&
				is_newer(&have.at[at], s->version))
				break;
		if (at == have.count)
			fprintf(stderr,
				"user %lld is left as it was: another user's document has the e-mail, "
				"and PostgreSQL does not know that user\n",
				(long long)s->id);
	}
	return 0;
}

static int
users_batch(struct rebuild *r, size_t *n, struct err *e)
{
	struct users all, blocked, still;

	if (users_read(r, &all, e))
		return -1;
	*n = all.n;
	if (all.n == 0)
		return 0;
	if (users_write(r, &all, &blocked, e))
		return -1;
	if (blocked.n > 0) {
		if (emails_free(r, &blocked, e) || users_write(r, &blocked, &still, e) ||
			(still.n > 0 && left_tell(r, &still, e)))
			return -1;
		r->skipped += still.n;
	}
	snprintf(r->cursor, sizeof r->cursor, "%lld", (long long)all.at[all.n - 1].id);
	return 0;
}

static int
segments_batch(struct rebuild *r, size_t *n, struct err *e)
{
	if (in_archive(r->cursor)) {
		if (archive_batch(r, n, e))
			return -1;
		if (*n > 0)
			return 0;
		snprintf(r->cursor, sizeof r->cursor, "0");
	}
	return users_batch(r, n, e);
}

/*
 * Before the first write: the index keeps an e-mail from standing there twice. Where it does
 * already, the writes mend that, and the index is made behind them.
 */
static int
segments_begin(struct rebuild *r, struct err *e)
{
	const char *why;

	if (doc_indexes_mend(r->doc, r->mem, USER_COLLECTION, NULL, NULL, &why, e))
		return -1;
	if (*why)
		fprintf(stderr, "%s; going on, and trying again at the end\n", why);
	return 0;
}

static int
segments_finish(struct rebuild *r, struct err *e)
{
	return rebuild_indexes(r, USER_COLLECTION, e);
}

const struct rebuild_kind rebuild_segments = { .name = "segments",
	.first = REBUILD_ARCHIVE_FIRST,
	.from = "archived events and users",
	.to = "MongoDB",
	.needs_doc = true,
	.cursor_valid = cursor_valid,
	.begin = segments_begin,
	.finish = segments_finish,
	.count = segments_count,
	.batch = segments_batch };
