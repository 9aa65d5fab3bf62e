/* SPDX-License-Identifier: MIT */
/* trace: the effect that the event has had at each consumer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "model/inbox.h"
#include "model/redis_keys.h"
#include "ctl/trace/trace.h"

/* false: the document is missing or cannot be read, and that is told. */
static bool
document_found(struct trace *t, const struct traced *v, const struct consumer_row *c,
	const struct doc_body *who, struct doc_view *out)
{
	struct err e = ERR_INIT;

	if (doc_find_one(t->doc, t->mem, c->collection, who, out, &e) == 0)
		return true;
	if (e.kind == ERR_MISSING)
		trace_waits(t, v, c);
	else
		trace_unknown(t, v, c->name, &e);
	return false;
}

static void
tell_event_document(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	struct doc_body *who = doc_new(t->mem);
	char at[CLOCK_RFC3339_SIZE] = "", text[100], took[40] = "";
	struct doc_view d;
	int64_t us = 0;

	if (!v->id)
		return;
	doc_add_string(who, "_id", v->id);
	if (!document_found(t, v, c, who, &d))
		return;
	if (doc_get_date_us(&d, "received_at", &us))
		clock_format_rfc3339(us, at);
	if (us && v->made_us && us >= v->made_us)
		snprintf(took, sizeof took, ", after %" PRId64 " ms", (us - v->made_us) / 1000);
	snprintf(text, sizeof text, "in MongoDB's %s%s", c->collection, took);
	trace_tell(t, v, c->name, HOP_ARRIVED, *at ? at : NULL, text, NULL);
}

static void
tell_profile(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	char profile[REDIS_KEY_SIZE], guard[REDIS_KEY_SIZE], text[120];
	struct kv_reply replies[2];
	struct err e = ERR_INIT;
	int64_t have;

	redis_key_profile(v->user_id, profile);
	redis_key_version(v->user_id, guard);
	if (kv_add(t->kv, 2, (const char *const[]){ "GET", guard }, NULL, &e) ||
		kv_add(t->kv, 2, (const char *const[]){ "TTL", profile }, NULL, &e) ||
		kv_flush(t->kv, t->mem, replies, 2, &e) || kv_check(&replies[0], &e) ||
		kv_check(&replies[1], &e)) {
		kv_forget(t->kv);
		trace_unknown(t, v, c->name, &e);
		return;
	}
	have = replies[0].type == KV_TEXT ? strtoll(replies[0].text, NULL, 10) : 0;
	if (have == 0 || have < v->version) {
		trace_waits(t, v, c);
		return;
	}
	if (replies[1].number > 0)
		snprintf(text, sizeof text, "profile of version %" PRId64 ", %" PRId64 " s to live",
			have, replies[1].number);
	else
		snprintf(text, sizeof text, "version %" PRId64 " seen; no profile now", have);
	trace_tell(t, v, c->name, HOP_ARRIVED, NULL, text, NULL);
}

static void
tell_user_document(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	struct doc_body *who = doc_new(t->mem);
	char at[CLOCK_RFC3339_SIZE] = "", text[120];
	struct doc_view d;
	const char *segment;
	int64_t us, have = 0;

	doc_add_i64(who, "_id", v->user_id);
	if (!document_found(t, v, c, who, &d))
		return;
	if (!doc_get_i64(&d, "version", &have) || have < v->version) {
		trace_waits(t, v, c);
		return;
	}
	if (doc_get_date_us(&d, "updated_at", &us) || doc_get_date_us(&d, "deleted_at", &us))
		clock_format_rfc3339(us, at);
	segment = doc_get_text(&d, "segment", NULL);
	snprintf(text, sizeof text, "%.40s, version %" PRId64, segment ? segment : "deleted", have);
	trace_tell(t, v, c->name, HOP_ARRIVED, *at ? at : NULL, text, NULL);
}

/* False: the server could not be asked, or the table is not there; both are told. */
static bool
table_there(struct trace *t, const struct traced *v, const char *hop, const char *table,
	bool *there)
{
	static const struct sql_statement st = { "trace_table",
		"SELECT to_regclass($1::text) IS NOT NULL" };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;

	sql_params_init(&p);
	sql_add_text(&p, table);
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e) || sql_bool(&rows, 0, 0, there, &e)) {
		trace_unknown(t, v, hop, &e);
		return false;
	}
	if (!*there)
		trace_tell(t, v, hop, HOP_NONE, NULL, "its table is not there",
			"`onboardctl db migrate up`");
	return *there;
}

static void
tell_mails(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	static const struct sql_statement st = { "trace_mail",
		"SELECT to_jsonb(m)->>'template', to_jsonb(m)->>'state',"
		" coalesce(to_jsonb(m)->>'sent_at', to_jsonb(m)->>'updated_at')"
		" FROM mail_log m WHERE m.user_id = $1::bigint ORDER BY 1 LIMIT 20" };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;
	char text[160];
	bool there;

	if (!table_there(t, v, c->name, "mail_log", &there))
		return;
	sql_params_init(&p);
	sql_add_i64(&p, v->user_id);
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e)) {
		trace_unknown(t, v, c->name, &e);
		return;
	}
	if (rows.rows == 0) {
		trace_waits(t, v, c);
		return;
	}
	for (size_t i = 0; i < rows.rows; i++) {
		const char *state = sql_text(&rows, i, 1);
		bool sent = state && strcmp(state, "sent") == 0;

		snprintf(text, sizeof text, "%.60s: %.40s",
			sql_null(&rows, i, 0) ? "mail" : sql_text(&rows, i, 0),
			state ? state : "?");
		trace_tell(t, v, c->name, sent ? HOP_ARRIVED : HOP_NOT, sql_text(&rows, i, 2), text,
			NULL);
	}
}

static void
tell_inbox(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	static const struct sql_statement st = { "trace_inbox",
		"SELECT to_jsonb(i)->>'counted_on' FROM " INBOX_TABLE " i"
		" WHERE i.event_id = $1::uuid LIMIT 1" };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;
	bool there;

	if (!v->id || !table_there(t, v, c->name, INBOX_TABLE, &there))
		return;
	sql_params_init(&p);
	sql_add_text(&p, v->id);
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e))
		trace_unknown(t, v, c->name, &e);
	else if (rows.rows == 0)
		trace_waits(t, v, c);
	else
		trace_tell(t, v, c->name, HOP_ARRIVED, sql_text(&rows, 0, 0), "counted", NULL);
}

void
trace_stores(struct trace *t, const struct traced *v)
{
	static const struct {
		void (*tell)(struct trace *, const struct traced *, const struct consumer_row *);
		bool of_user; /* needs the user's id, which only the event's row or document tells */
	} effects[] = { [TRACE_NONE] = { trace_unasked, false },
		[TRACE_EVENT_DOCUMENT] = { tell_event_document, false },
		[TRACE_USER_DOCUMENT] = { tell_user_document, true },
		[TRACE_PROFILE] = { tell_profile, true },
		[TRACE_MAIL] = { tell_mails, true },
		[TRACE_INBOX] = { tell_inbox, false } };

	for (const struct consumer_row *c = consumer_rows; c->name; c++)
		if (trace_bound(v, c) && (!effects[c->trace].of_user || (v->user_id && v->type)))
			effects[c->trace].tell(t, v, c);
}
