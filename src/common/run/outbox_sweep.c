/* SPDX-License-Identifier: MIT */
#include "run/outbox_sweep.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/rnd.h"
#include "link/link.h"
#include "link/sql.h"
#include "model/outbox_sql.h"
#include "run/publisher.h"

#define EVENTS_MAX 2000 /* in a portion, plus the rest of its last batch */
#define EVENTS_MIN 50
#define QUEUED_MAX 10000 /* in the publisher's memory; above it, fresh events go first */

/* An event of a portion. */
struct found {
	struct uuid batch, event;
	const struct sql_result *body; /* NULL: the outbox does not have it */
	size_t row;
};

int
outbox_owner_new(void)
{
	return (int)(1 + rnd_below(INT32_MAX - 1));
}

void
outbox_owner_setting(int owner, char out[static OUTBOX_OWNER_SETTING_SIZE])
{
	snprintf(out, OUTBOX_OWNER_SETTING_SIZE, "-c onboard.outbox_owner=%d", owner);
}

int
outbox_owner_hold(struct outbox_sweep *s, struct arena *mem, struct err *e)
{
	struct link_view v;
	struct sql_params p;
	struct sql_result r;

	link_look(sql_link(s->sql), &v);
	if (s->held && v.state == LINK_UP && v.reconnects == s->session)
		return 0;
	s->held = false;
	sql_params_init(&p);
	sql_add_i64(&p, s->owner);
	if (sql_run(s->sql, mem, &outbox_hold, &p, &r, e) || sql_bool(&r, 0, 0, &s->held, e))
		return -1;
	link_look(sql_link(s->sql), &v);
	s->session = v.reconnects;
	return 0;
}

/* ---- a portion ---- */

static int
portion_read(struct outbox_sweep *s, struct arena *mem, struct sql_result *r, struct err *e)
{
	struct sql_params p;

	sql_params_init(&p);
	sql_add_i64(&p, s->owner);
	sql_add_i64(&p, s->after_ms);
	sql_add_text(&p, *s->at ? s->at : "-infinity");
	sql_add_text(&p, *s->at ? s->at_batch : "00000000-0000-0000-0000-000000000000");
	sql_add_i64(&p, s->events_max);
	return sql_run(s->sql, mem, &outbox_portion, &p, r, e);
}

/* Lists the events whose batches no publisher holds. Returns their number. */
static size_t
portion_pick(struct outbox_sweep *s, const struct sql_result *r, struct found *list,
	struct sql_array *days, struct sql_array *ids)
{
	char day[OUTBOX_DAY_SIZE];
	bool wanted = false;
	size_t n = 0;

	for (size_t i = 0; i < r->rows; i++) {
		struct found *f = &list[n];

		must(uuid_parse(sql_text(r, i, 0), 36, &f->batch) &&
			uuid_parse(sql_text(r, i, 3), 36, &f->event));
		/* the publisher calls outbox_done before it lets go of a batch: so we ask it first */
		if (i == 0 || strcmp(sql_text(r, i, 0), sql_text(r, i - 1, 0)) != 0)
			wanted = !publisher_holds(s->publisher, &f->batch) &&
				!s->confirmed(s->arg, &f->batch);
		if (!wanted)
			continue;
		if (uuid_is_v7(&f->event))
			outbox_day(&f->event, day);
		sql_array_text(days, uuid_is_v7(&f->event) ? day : sql_text(r, i, 2));
		sql_array_text(ids, sql_text(r, i, 3));
		f->body = NULL;
		n++;
	}
	return n;
}

static int
bodies_read(struct outbox_sweep *s, struct arena *mem, struct found *list, size_t n,
	struct sql_array arrays[2], struct sql_result *r, struct err *e)
{
	struct sql_params p;
	int64_t place;

	sql_params_init(&p);
	if (sql_add_arrays(&p, arrays, 2, e) || sql_run(s->sql, mem, &outbox_bodies, &p, r, e))
		return -1;
	for (size_t i = 0; i < r->rows; i++) {
		if (sql_i64(r, i, 0, &place, e))
			return -1;
		must(place >= 1 && (size_t)place <= n);
		list[place - 1].body = r;
		list[place - 1].row = i;
	}
	return 0;
}

/* Hands one batch to the publisher: the events from list to end. */
static void
batch_push(struct outbox_sweep *s, const struct found *list, const struct found *end)
{
	struct publisher_batch *b = publisher_batch_new(&list->batch, 4096);
	char id[UUID_TEXT_SIZE];
	int64_t lost = 0;

	for (const struct found *f = list; f < end; f++) {
		if (!f->body) {
			lost++;
			continue;
		}
		publisher_batch_add(b,
			&(struct publisher_event){ .id = f->event,
				.type = sql_text(f->body, f->row, 1),
				.body = sql_text(f->body, f->row, 2),
				.length = sql_length(f->body, f->row, 2),
				.traceparent = sql_text(f->body, f->row, 3) });
	}
	publisher_batch_swept(b);
	uuid_format(&list->batch, id);
	if (lost)
		log_error("an unpublished batch has lost events", LOG_S("batch_id", id),
			LOG_I("events", lost));
	if (lost == end - list)
		publisher_batch_free(b);
	else
		(void)publisher_push(s->publisher,
			b); /* its queue is full: the next pass takes the batch */
}

static int
portion_push(struct outbox_sweep *s, struct arena *mem, const struct sql_result *rows,
	struct err *e)
{
	struct found *list = must_calloc(rows->rows + 1, sizeof *list);
	struct sql_array arrays[2];
	struct sql_result r;
	size_t n, to;
	int rc = 0;

	sql_arrays_init(arrays, 2, 64 + rows->rows * (UUID_TEXT_SIZE + 3));
	n = portion_pick(s, rows, list, &arrays[0], &arrays[1]);
	if (n > 0)
		rc = bodies_read(s, mem, list, n, arrays, &r, e);
	for (size_t i = 0; rc == 0 && i < n; i = to) {
		for (to = i + 1; to < n && memcmp(&list[to].batch, &list[i].batch, 16) == 0; to++)
			;
		batch_push(s, list + i, list + to);
	}
	sql_arrays_fini(arrays, 2);
	free(list);
	return rc;
}

int
outbox_sweep(struct outbox_sweep *s, struct arena *mem, struct err *e)
{
	struct sql_result r;
	int rc;

	if (!s->held || !link_usable(publisher_link(s->publisher)))
		return 0;
	if (publisher_queued(s->publisher) > QUEUED_MAX)
		return *s->at != '\0';
	if (s->events_max == 0)
		s->events_max = EVENTS_MAX;
	rc = portion_read(s, mem, &r, e);
	if (rc == 0 && r.rows == 0) {
		*s->at = '\0'; /* the next pass starts with the oldest row */
		return 0;
	}
	if (rc == 0) {
		snprintf(s->at, sizeof s->at, "%s", sql_text(&r, r.rows - 1, 1));
		snprintf(s->at_batch, sizeof s->at_batch, "%s", sql_text(&r, r.rows - 1, 0));
		rc = portion_push(s, mem, &r, e);
	}
	if (rc && s->events_max > EVENTS_MIN)
		s->events_max /= 2;
	else if (rc == 0 && s->events_max < EVENTS_MAX)
		s->events_max *= 2;
	return rc ? -1 : 1;
}

int
outbox_behind(struct sql *sql, struct arena *mem, int owner, const char *since, int64_t after_ms,
	int64_t *events, struct err *e)
{
	struct sql_params p;
	struct sql_result r;

	sql_params_init(&p);
	sql_add_i64(&p, owner);
	sql_add_text(&p, since);
	sql_add_i64(&p, after_ms);
	if (sql_run(sql, mem, &outbox_behind_count, &p, &r, e))
		return -1;
	return sql_i64(&r, 0, 0, events, e);
}
