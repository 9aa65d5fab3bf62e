/* SPDX-License-Identifier: MIT */
/* trace EVENT_ID | --user ID: each hop of an event, and where it stands. */
#include "ctl/trace/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid7.h"
#include "ctl/kit/json.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"
#include "ctl/kit/table.h"
#include "ctl/verbs.h"
#include "model/doc_indexes.h"

#define ARENA_MAX (32u << 20)
#define EVENTS_MAX 10 /* of a user: the newest */

void
trace_tell(struct trace *t, const struct traced *v, const char *hop, enum hop_state s,
	const char *at, const char *text, const char *next)
{
	static const char *const names[] = { "arrived", "waiting", "none", "unknown", "unknown" };
	static const enum ctl_mark marks[] = { CTL_MARK_OK, CTL_MARK_WARN, CTL_MARK_OK,
		CTL_MARK_BAD, CTL_MARK_OK };
	bool blank = s == HOP_NONE || s == HOP_UNASKED;
	struct ctl_line line;
	struct json_out *o;
	struct buf b;

	t->found |= s == HOP_ARRIVED;
	t->behind |= s == HOP_NOT;
	if (!t->c->json) {
		printf("%s %-10s %-23.23s ", blank ? "-   " : ctl_mark(t->c, marks[s]), hop,
			at ? at : "-");
		/* of errors it may be anybody's text */
		buf_init(&b, 1 << 16);
		table_clean(&b, text, strlen(text));
		table_wrap(40, buf_text(&b));
		buf_fini(&b);
		if (next) {
			printf("     -> ");
			table_wrap(8, next);
		}
		fflush(stdout);
		return;
	}
	o = ctl_line_begin(&line);
	ctl_json_text(o, "hop", hop);
	ctl_json_text(o, "event_id", v->id);
	ctl_json_text(o, "state", names[s]);
	ctl_json_text(o, "at", at);
	ctl_json_text(o, "text", text);
	ctl_json_text(o, "next", next);
	ctl_line_print(&line);
}

void
trace_unknown(struct trace *t, const struct traced *v, const char *hop, const struct err *e)
{
	t->away |= e->kind == ERR_AWAY;
	trace_tell(t, v, hop, HOP_UNKNOWN, NULL, e->text,
		e->kind == ERR_AWAY ? "`onboardctl doctor` says what is away" : NULL);
}

static const struct look_queue *
queue_of(const struct trace *t, const char *consumer)
{
	for (size_t i = 0; i < t->look.count; i++)
		if (t->look.list[i].consumer && strcmp(t->look.list[i].consumer, consumer) == 0)
			return &t->look.list[i];
	return NULL;
}

bool
trace_bound(const struct traced *v, const struct consumer_row *c)
{
	for (const char *const *key = c->keys; v->type && *key; key++)
		if (strcmp(*key, "user.*") == 0 || strcmp(*key, v->type) == 0)
			return true;
	return !v->type;
}

/* What to do about an event that waits for a consumer; q is its queue. */
static void
next_step(const struct trace *t, const struct traced *v, const struct consumer_row *c,
	const struct look_queue *q, char *out, size_t size)
{
	if (q->paused)
		snprintf(out, size, "%s is paused: `onboardctl resume %s`", c->name, c->name);
	else if (q->consumers == 0)
		snprintf(out, size, "nobody consumes: start onboard-%s", c->name);
	else if (q->depth > 0 || q->waiting > 0)
		snprintf(out, size, "on its way: look again, or `onboardctl top`");
	else if (t->look.dead > 0 && v->id)
		snprintf(out, size, "`onboardctl dlq show %s`", v->id);
	else if (c->rebuild)
		snprintf(out, size, "`onboardctl rebuild %s` makes it again", c->rebuild);
	else
		snprintf(out, size, "`onboardctl dlq list --consumer %s`", c->name);
}

/* absent: what is said before the figures of the queue. */
static void
waiting_tell(struct trace *t, const struct traced *v, const struct consumer_row *c,
	enum hop_state s, const char *absent)
{
	const struct look_queue *q = queue_of(t, c->name);
	char text[400], next[200];
	bool idle = q && !q->paused && q->consumers > 0 && q->depth + q->waiting == 0;

	if (v->unpublished) {
		snprintf(text, sizeof text, "%s: it is not published yet", absent);
		trace_tell(t, v, c->name, s, NULL, text,
			"`onboardctl doctor`; onboard-api publishes it once the broker answers");
		return;
	}
	if (!q || !q->there) {
		snprintf(text, sizeof text, "%s%s", absent, t->b ? ", and there is no queue" : "");
		trace_tell(t, v, c->name, s, NULL, text,
			t->b ? "`onboardctl topology declare`" : "`onboardctl doctor`");
		return;
	}
	snprintf(text, sizeof text, "%s: %" PRIu32 " wait, %" PRIu32 " in retry, %" PRIu32 " dead",
		absent, q->depth, q->waiting, t->look.dead);
	next_step(t, v, c, q, next, sizeof next);
	trace_tell(t, v, c->name, s, NULL, text, s == HOP_UNASKED && idle ? NULL : next);
}

void
trace_waits(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	waiting_tell(t, v, c, HOP_NOT, "not there");
}

void
trace_unasked(struct trace *t, const struct traced *v, const struct consumer_row *c)
{
	waiting_tell(t, v, c, HOP_UNASKED, "trace cannot see its effect");
}

/* ---- the outbox ---- */

static void
published_tell(struct trace *t, struct traced *v)
{
	static const struct sql_statement st = { "trace_unpublished",
		"SELECT floor(extract(epoch FROM now() - written_at))::bigint,"
		" abs(extract(epoch FROM now() - written_at)) * 1000 > $2::bigint"
		" FROM outbox_unpublished WHERE $1::uuid = ANY (event_ids)" };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;
	char text[100], age[16];
	bool late = false;
	int64_t age_s = 0;

	sql_params_init(&p);
	sql_add_text(&p, v->id);
	sql_add_i64(&p, conf_int(t->c->conf, "outbox", "sweep_after"));
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e) ||
		(rows.rows &&
			(sql_i64(&rows, 0, 0, &age_s, &e) || sql_bool(&rows, 0, 1, &late, &e)))) {
		trace_unknown(t, v, "published", &e);
		return;
	}
	v->unpublished = late;
	if (rows.rows > 0 && !late) {
		trace_tell(t, v, "published", HOP_NOT, NULL,
			"just stored: on its way, or published and not marked so yet",
			"look again in a few seconds");
		return;
	}
	if (!v->unpublished) {
		trace_tell(t, v, "published", HOP_ARRIVED, NULL, "the broker has confirmed it",
			NULL);
		return;
	}
	ctl_age(age_s, age);
	snprintf(text, sizeof text, "not yet, for %s", age);
	trace_tell(t, v, "published", HOP_NOT, NULL, text,
		"onboard-api publishes what stayed behind: is it running, is RabbitMQ there?");
}

static void
id_time(struct traced *v)
{
	struct uuid id;

	if (v->id && uuid_parse(v->id, strlen(v->id), &id) && uuid_is_v7(&id))
		v->made_us = uuid7_time_ms(&id) * 1000;
}

/* What the row of the archive tells: type, user, version. */
static void
body_take(struct trace *t, struct traced *v, const char *body, size_t length)
{
	struct event ev;

	if (event_parse(t->mem, body, length, &ev, NULL))
		return;
	v->type = ev.type;
	v->user_id = ev.user_id;
	v->version = ev.kind == EVENT_ACTIVITY ? 0 : ev.version;
	if (!v->made_us)
		v->made_us = ev.time_us;
}

static void
outbox_row_tell(struct trace *t, struct traced *v)
{
	char at[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(v->made_us, at);
	trace_tell(t, v, "outbox", HOP_ARRIVED, at, v->type ? v->type : "an event", NULL);
	published_tell(t, v);
}

static void
outbox(struct trace *t, struct traced *v)
{
	static const struct sql_statement st = { "trace_outbox",
		"SELECT body FROM outbox WHERE event_id = $1::uuid" };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;

	sql_params_init(&p);
	sql_add_text(&p, v->id);
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e)) {
		trace_unknown(t, v, "outbox", &e);
		return;
	}
	id_time(v);
	if (rows.rows == 0) {
		trace_tell(t, v, "outbox", HOP_NONE, NULL,
			"not there: another publisher's, an activity, or older", NULL);
		return;
	}
	body_take(t, v, sql_text(&rows, 0, 0), sql_length(&rows, 0, 0));
	outbox_row_tell(t, v);
}

/* Of an event that came by no outbox, what the event log has written. */
static void
document_take(struct trace *t, struct traced *v)
{
	struct doc_body *who = doc_new(t->mem);
	struct doc_view d;
	size_t n;

	doc_add_string(who, "_id", v->id);
	if (doc_find_one(t->doc, t->mem, EVENT_COLLECTION, who, &d, NULL))
		return;
	v->type = doc_get_text(&d, "type", &n);
	(void)!doc_get_i64(&d, "user_id", &v->user_id);
	(void)!doc_get_i64(&d, "payload.version", &v->version);
}

static void
user_row(struct trace *t, const struct traced *v)
{
	static const struct sql_statement st = { "trace_user",
		"SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"
		" version FROM users WHERE id = $1::bigint" };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;
	char text[100];

	if (v->user_id == 0)
		return;
	sql_params_init(&p);
	sql_add_i64(&p, v->user_id);
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e)) {
		trace_unknown(t, v, "user", &e);
		return;
	}
	if (rows.rows == 0) {
		snprintf(text, sizeof text, "PostgreSQL has no user %" PRId64, v->user_id);
		trace_tell(t, v, "user", HOP_NONE, NULL, text, NULL);
		return;
	}
	snprintf(text, sizeof text, "user %" PRId64 ", version %s", v->user_id,
		sql_text(&rows, 0, 1));
	trace_tell(t, v, "user", HOP_ARRIVED, sql_text(&rows, 0, 0), text, NULL);
}

static void
trace_event(struct trace *t, const char *id)
{
	struct traced v = { .id = id };

	outbox(t, &v);
	if (!v.type)
		document_take(t, &v);
	user_row(t, &v);
	trace_stores(t, &v);
	trace_dlq(t, &v, (const char *const[]){ id, NULL });
}

/* The user's newest events of the archive, the oldest of them first. */
static void
trace_user(struct trace *t, int64_t user_id)
{
	static const struct sql_statement st = { "trace_events",
		"SELECT event_id, body FROM (SELECT event_id, body FROM outbox"
		" WHERE user_id = $1::bigint ORDER BY event_id DESC LIMIT $2::bigint) o"
		" ORDER BY event_id" };
	const char *ids[EVENTS_MAX + 1] = { NULL };
	struct traced v = { .user_id = user_id };
	struct err e = ERR_INIT;
	struct sql_result rows;
	struct sql_params p;

	user_row(t, &v);
	sql_params_init(&p);
	sql_add_i64(&p, user_id);
	sql_add_i64(&p, EVENTS_MAX);
	if (sql_run(t->sql, t->mem, &st, &p, &rows, &e)) {
		trace_unknown(t, &v, "outbox", &e);
		rows.rows = 0;
	}
	/* the stores show what the newest has made of them */
	for (size_t i = 0; i < rows.rows; i++) {
		v = (struct traced){ .id = sql_text(&rows, i, 0), .user_id = user_id };
		ids[i] = v.id;
		id_time(&v);
		body_take(t, &v, sql_text(&rows, i, 1), sql_length(&rows, i, 1));
		outbox_row_tell(t, &v);
	}
	trace_stores(t, &v);
	trace_dlq(t, &v, ids);
}

static int
stores_open(struct trace *t, struct err *e)
{
	const struct conf *f = t->c->conf;
	struct traced none = { 0 };
	struct err why = ERR_INIT;

	t->sql = sql_open(&(struct sql_options){ .url = conf_string(f, "postgres", "url"),
				  .application = "onboardctl",
				  .query_ms = 10000 },
		e);
	t->doc = t->sql ? doc_open(&(struct doc_options){ .url = conf_string(f, "mongo", "url"),
					   .application = "onboardctl" },
				  e)
			: NULL;
	t->kv = t->doc ? kv_open(&(struct kv_options){ .url = conf_string(f, "redis", "url") }, e)
		       : NULL;
	if (!t->kv)
		return -1;
	t->b = ctl_broker(t->c, &why);
	if (!t->b ||
		look_broker(t->b, conf_string(f, "topology", "consumers"), NULL, t->mem, &t->look,
			&why))
		trace_unknown(t, &none, "broker", &why);
	return 0;
}

int
ctl_trace(struct ctl *c, int argc, char **argv)
{
	struct trace t = { .c = c };
	struct err e = ERR_INIT;
	struct uuid parsed;
	char text[UUID_TEXT_SIZE];
	int64_t user = 0;
	const struct ctl_option options[] = {
		{ "--user", .number = &user, .min = 1, .max = INT64_MAX }, { 0 }
	};
	const char *id;
	int rc;

	if (options_take(c, options, 1, argc, argv) < 0)
		return CTL_USAGE;
	id = argv[1];
	if (!id == !user)
		return ctl_fail(c, CTL_USAGE, "want: trace EVENT_ID, or trace --user ID");
	if (id && !uuid_parse(id, strlen(id), &parsed))
		return ctl_fail(c, CTL_USAGE, "\"%s\" is no event's id (a UUID)", id);
	t.mem = arena_new(1 << 16, ARENA_MAX);
	rc = stores_open(&t, &e);
	if (rc == 0 && id) {
		uuid_format(&parsed, text);
		trace_event(&t, text);
	} else if (rc == 0) {
		trace_user(&t, user);
	}
	broker_free(t.b);
	sql_close(t.sql);
	doc_close(t.doc);
	kv_close(t.kv);
	arena_free(t.mem);
	if (rc)
		return ctl_fail_err(c, &e);
	if (!t.found && !t.away)
		return ctl_fail(c, CTL_NOTHING,
			"nothing knows of it: was it published, is the id right?");
	return t.away ? CTL_AWAY : CTL_DONE;
}
