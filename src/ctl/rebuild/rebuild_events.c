/* SPDX-License-Identifier: MIT */
/*
 * rebuild events: users' events from the outbox, which is their archive, into
 * MongoDB. A document that is there already stays as it is. Of a user whom
 * PostgreSQL has no more, name and e-mail stay out; one who goes in the very
 * moment is looked for once more behind the write.
 */
#include "base/clock.h"
#include "link/doc_bulk.h"
#include "ctl/rebuild/rebuild_archive.h"
#include "model/doc_indexes.h"
#include "model/event_document.h"
#include "model/event_forget.h"

static int
events_count(struct rebuild *r, int64_t *out, struct err *e)
{
	static const struct sql_statement st = { "rebuild_events_count",
		"SELECT count(*) FROM outbox WHERE (day, event_id) > ($1::date, $2::uuid)" };
	struct sql_params p;
	struct sql_result rows;

	sql_params_init(&p);
	rebuild_archive_add(r, &p);
	return sql_run(r->sql, r->mem, &st, &p, &rows, e) || sql_i64(&rows, 0, 0, out, e) ? -1 : 0;
}

/* Those of the ids that PostgreSQL has no user of; in order. */
static int
gone_read(struct rebuild *r, const struct event *ev, size_t n, struct sql_result *rows,
	struct err *e)
{
	static const struct sql_statement st = { "rebuild_gone",
		"SELECT DISTINCT g.id FROM unnest($1::bigint[]) AS g(id)"
		" WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = g.id) ORDER BY g.id" };
	struct sql_array ids;
	struct sql_params p;
	int rc;

	sql_array_init(&ids, 1 << 20);
	sql_params_init(&p);
	for (size_t i = 0; i < n; i++)
		sql_array_i64(&ids, ev[i].user_id);
	rc = sql_add_array(&p, &ids, e) || sql_run(r->sql, r->mem, &st, &p, rows, e) ? -1 : 0;
	sql_array_fini(&ids);
	return rc;
}

static bool
is_gone(const struct sql_result *rows, int64_t user_id)
{
	int64_t id;

	for (size_t i = 0; i < rows->rows; i++)
		if (sql_i64(rows, i, 0, &id, NULL) == 0 && id == user_id)
			return true;
	return false;
}

/* Whom PostgreSQL has no more, now that the documents are written: fresh is not in before. */
static int
gone_forget(struct rebuild *r, const struct event *ev, size_t n, const struct sql_result *before,
	struct err *e)
{
	struct event_users all, fresh;
	struct sql_result after;

	if (gone_read(r, ev, n, &after, e))
		return -1;
	event_users_init(&all, r->mem, after.rows);
	event_users_init(&fresh, r->mem, after.rows);
	for (size_t i = 0; i < after.rows; i++) {
		int64_t id;

		if (sql_i64(&after, i, 0, &id, e))
			return -1;
		all.at[all.n++] = id;
		if (!is_gone(before, id))
			fresh.at[fresh.n++] = id;
	}
	return event_forget_remember(r->doc, r->mem, &all, e) ||
			event_forget_strip(r->doc, &fresh, NULL, NULL, e)
		? -1
		: 0;
}

static int
events_insert(struct rebuild *r, const struct event *ev, size_t n, struct err *e)
{
	struct doc_bulk *bulk = doc_bulk_new(r->mem, EVENT_COLLECTION);
	struct doc_body *body = doc_new(r->mem);
	struct sql_result before;
	const struct doc_item *items;
	int64_t now = clock_wall_us();

	if (gone_read(r, ev, n, &before, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		event_document(body, &ev[i], now, is_gone(&before, ev[i].user_id));
		if (doc_bulk_insert(bulk, body, e))
			return err_wrap(e, "event %s", ev[i].id);
	}
	if (doc_bulk_run(r->doc, bulk, &items, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (items[i].fate == DOC_FAILED)
			return err_set(e, items[i].kind, "event %s: %s", ev[i].id, items[i].why);
		*(items[i].fate == DOC_DONE ? &r->written : &r->skipped) += 1;
	}
	return gone_forget(r, ev, n, &before, e);
}

static int
events_batch(struct rebuild *r, size_t *n, struct err *e)
{
	static const struct sql_statement st = { "rebuild_events",
		"SELECT day, event_id, body FROM outbox WHERE (day, event_id) > ($1::date, $2::uuid)"
		" ORDER BY day, event_id LIMIT $3::bigint" };
	struct event *ev;
	struct sql_result rows;
	struct sql_params p;
	size_t sound = 0;

	sql_params_init(&p);
	rebuild_archive_add(r, &p);
	sql_add_i64(&p, r->limit);
	if (sql_run(r->sql, r->mem, &st, &p, &rows, e))
		return -1;
	*n = rows.rows;
	if (rows.rows == 0)
		return 0;
	ev = arena_alloc(r->mem, rows.rows * sizeof *ev);
	must(ev);
	for (size_t i = 0; i < rows.rows; i++)
		sound += rebuild_archive_parse(r, &rows, i, &ev[sound]);
	if (sound > 0 && events_insert(r, ev, sound, e))
		return -1;
	rebuild_archive_move(r, &rows);
	return 0;
}

static int
events_finish(struct rebuild *r, struct err *e)
{
	return rebuild_indexes(r, EVENT_COLLECTION, e);
}

const struct rebuild_kind rebuild_events = { .name = "events",
	.first = REBUILD_ARCHIVE_FIRST,
	.from = "archived events",
	.to = "MongoDB",
	.needs_doc = true,
	.cursor_valid = rebuild_archive_valid,
	.count = events_count,
	.batch = events_batch,
	.finish = events_finish };
