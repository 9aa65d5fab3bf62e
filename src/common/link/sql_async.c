/* SPDX-License-Identifier: MIT */
/*
 * PostgreSQL on a libevent loop: one connection, one running call, a bounded queue
 * behind it. Every event ends in advance() or connection_lost().
 */
#include "link/sql_own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"

enum phase {
	PHASE_WAITING, /* until the next try is due */
	PHASE_CONNECTING,
	PHASE_IDLE,
	PHASE_PREPARING, /* the head's first statement that the server does not know */
	PHASE_RUNNING,   /* the head */
};

struct call {
	struct call *next;
	struct arena *mem;
	struct sql_part parts[SQL_PARTS_MAX];
	size_t count;
	sql_done_fn *done;
	void *arg;
	int64_t since_ms;
};

struct sql_async {
	struct sql_settings settings;
	struct link link;
	struct event_base *base;
	PGconn *pg;
	struct sql_prepared prepared;
	struct sql_answer answer;
	enum phase phase;
	struct event *io; /* watches pg's socket; lives as long as pg */
	short io_events;
	struct event *timer; /* of the phase: backoff, connect, query; idle: ping */
	struct event *kick;  /* a send failed inside sql_async_run: the loop reports the loss */
	struct call *head, **tail; /* the head runs in PREPARING and RUNNING */
	size_t waiting, queue_max;
	int64_t ping_ms;
	int64_t blocked_until_ms; /* 0: the link is not BLOCKED */
	bool closing;
	unsigned calling; /* depth of done callbacks */
};

static void on_io(evutil_socket_t fd, short what, void *arg);

static void
phase_set(struct sql_async *s, enum phase to, int64_t timer_ms)
{
	const struct timeval tv = { timer_ms / 1000, timer_ms % 1000 * 1000 };

	s->phase = to;
	if (timer_ms < 0)
		must(event_del(s->timer) == 0);
	else
		must(event_add(s->timer, &tv) == 0);
}

/* Watches the socket for these events; libpq may have changed the socket. */
static void
io_set(struct sql_async *s, short events)
{
	if (s->io && s->io_events == events && event_get_fd(s->io) == PQsocket(s->pg) &&
		s->phase != PHASE_CONNECTING)
		return;
	if (s->io)
		event_free(s->io);
	s->io = event_new(s->base, PQsocket(s->pg), (short)(events | EV_PERSIST), on_io, s);
	must(s->io && event_add(s->io, NULL) == 0);
	s->io_events = events;
}

/* Removes the head of the queue and calls its done. */
static void
answer_head(struct sql_async *s, const struct sql_result *r, const struct err *e)
{
	struct call *c = s->head;

	s->head = c->next;
	if (!s->head)
		s->tail = &s->head;
	s->waiting--;
	s->calling++;
	if (c->done)
		c->done(c->arg, r, e);
	s->calling--;
	free(c);
}

/*
 * Gives the connection up: all waiting calls get ERR_AWAY, and the timer is set for
 * the next try.
 */
static void
connection_lost(struct sql_async *s, const char *why)
{
	struct sql_result r = { .fate = s->phase == PHASE_RUNNING ? SQL_UNSURE : SQL_UNDONE };
	struct err e = ERR_INIT, first = ERR_INIT;
	size_t n = s->waiting;

	/* the server's last message is the better reason */
	if (s->answer.failed && sql_answer_end(&s->answer, NULL, &r, &first)) {
		why = first.text;
		if (s->phase != PHASE_RUNNING)
			r.fate = SQL_UNDONE;
	}
	sql_answer_clear(&s->answer);
	if (s->io)
		event_free(s->io);
	s->io = NULL;
	PQfinish(s->pg);
	s->pg = NULL;
	s->prepared.count = 0;
	s->blocked_until_ms = 0;
	if (s->closing)
		link_closed(&s->link);
	else
		link_state_set(&s->link, LINK_DOWN, why);
	phase_set(s, PHASE_WAITING, s->closing ? -1 : link_wait_ms(&s->link));
	err_set(&e, ERR_AWAY, "%s is away: %s", s->link.name, why);
	for (; n > 0 && s->head; n--) {
		if (first.kind != ERR_NONE && first.kind != ERR_AWAY)
			e.kind = first.kind; /* only for the running call */
		answer_head(s, &r, &e);
		r = (struct sql_result){ .fate = SQL_UNDONE };
		first.kind = ERR_NONE;
		e.kind = ERR_AWAY;
	}
}

static void
idle(struct sql_async *s)
{
	phase_set(s, PHASE_IDLE, s->ping_ms);
}

/* The next statement to prepare; NULL: the server knows all of them. */
static const struct sql_statement *
unknown_statement(const struct sql_async *s, const struct call *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (!sql_prepared_has(&s->prepared, c->parts[i].statement))
			return c->parts[i].statement;
	return NULL;
}

/*
 * Sends several parts as a pipeline with one Sync at its end. The server runs them
 * in one implicit transaction; after an error it skips the rest and rolls back.
 */
static bool
send_parts(struct sql_async *s, const struct call *c)
{
	bool sent = c->count == 1 || PQenterPipelineMode(s->pg);

	for (size_t i = 0; i < c->count && sent; i++) {
		const struct sql_params *p = c->parts[i].params;

		sent = PQsendQueryPrepared(s->pg, c->parts[i].statement->name,
			p ? (int)p->count : 0, p ? p->value : NULL, NULL, NULL, 0);
	}
	return sent && (c->count == 1 || PQpipelineSync(s->pg));
}

/* Sends the head's call. False: the connection is lost, and the caller must report it. */
static bool
call_send(struct sql_async *s)
{
	struct call *c = s->head;
	const struct sql_statement *unknown = unknown_statement(s, c);
	bool sent;
	int flush;

	if (unknown) {
		sent = PQsendPrepare(s->pg, unknown->name, unknown->text, 0, NULL);
		phase_set(s, PHASE_PREPARING, s->settings.query_ms);
	} else {
		sent = send_parts(s, c);
		/* the server measures each part's time separately */
		phase_set(s, PHASE_RUNNING, s->settings.query_ms * (int64_t)c->count);
	}
	flush = sent ? PQflush(s->pg) : -1;
	if (flush >= 0)
		io_set(s, flush ? EV_READ | EV_WRITE : EV_READ);
	return flush >= 0;
}

/* Fails the calls that waited too long, then sends the next one. */
static void
calls_advance(struct sql_async *s)
{
	struct sql_result r = { .fate = SQL_UNDONE };
	struct err e = ERR_INIT;
	int64_t now = clock_mono_ms();

	while (s->phase == PHASE_IDLE && s->head &&
		now - s->head->since_ms > s->settings.query_ms) {
		err_set(&e, ERR_LIMIT, "waited too long for its turn");
		answer_head(s, &r, &e);
	}
	if (s->phase == PHASE_IDLE && s->head && !call_send(s))
		connection_lost(s, "the connection was lost");
}

/* The server is ready again after the running call. */
static void
answered(struct sql_async *s)
{
	enum phase was = s->phase;
	struct arena *mem = was == PHASE_RUNNING ? s->head->mem : NULL;
	struct sql_result r;
	struct err e = ERR_INIT;
	PGresult *own;
	bool read_only;
	int rc;

	/* leave pipeline mode: every answer up to the Sync has been taken */
	if (sql_answer_fatal(&s->answer) || !PQexitPipelineMode(s->pg)) {
		connection_lost(s, "the server ended the session");
		return;
	}
	must(was == PHASE_PREPARING || was == PHASE_RUNNING);
	rc = sql_answer_end(&s->answer, mem, &r, &e);
	own = mem ? NULL : r.own;
	sql_room_judge(&s->settings, &s->link, &s->blocked_until_ms, &r);
	idle(s);
	if (was == PHASE_PREPARING && rc == 0) {
		PQclear(own);
		sql_prepared_add(&s->prepared, unknown_statement(s, s->head));
		if (!call_send(s))
			connection_lost(s, "the connection was lost");
		return;
	}
	if (was == PHASE_PREPARING)
		r.fate = SQL_UNDONE;
	if (rc)
		err_wrap(&e, "%s", s->head->parts[s->head->count - 1].statement->name);
	read_only = rc == 0 && s->head->parts[0].statement == &sql_probe &&
		sql_read_only(&s->settings, &r);
	/* done may run the next call: in the phase IDLE, sql_async_run sends it at once */
	answer_head(s, &r, rc ? &e : NULL);
	PQclear(own);
	if (read_only)
		connection_lost(s, "the server is read-only");
	else
		calls_advance(s);
}

static void
connected(struct sql_async *s)
{
	sql_pg_ready(s->pg);
	idle(s);
	io_set(s, EV_READ);
	link_state_set(&s->link, LINK_UP, NULL);
	calls_advance(s);
}

static void
connect_step(struct sql_async *s, PostgresPollingStatusType step)
{
	char why[256];

	switch (step) {
	case PGRES_POLLING_READING: io_set(s, EV_READ); break;
	case PGRES_POLLING_WRITING: io_set(s, EV_WRITE); break;
	case PGRES_POLLING_OK: connected(s); break;
	default: sql_pg_why(s->pg, why, sizeof why); connection_lost(s, why);
	}
}

static void
connect_begin(struct sql_async *s)
{
	link_state_set(&s->link, LINK_CONNECTING, NULL);
	phase_set(s, PHASE_CONNECTING, s->settings.connect_ms);
	s->pg = sql_pg_start(&s->settings);
	connect_step(s,
		s->pg && PQstatus(s->pg) != CONNECTION_BAD ? PGRES_POLLING_WRITING
							   : PGRES_POLLING_FAILED);
}

static void
advance(struct sql_async *s)
{
	int flush;

	if (s->phase == PHASE_CONNECTING) {
		connect_step(s, PQconnectPoll(s->pg));
		return;
	}
	if (!PQconsumeInput(s->pg)) {
		(void)sql_answer_take(&s->answer,
			s->pg); /* take the answers that arrived before the end */
		connection_lost(s, "the connection was lost");
		return;
	}
	flush = PQflush(s->pg);
	if (flush < 0) {
		connection_lost(s, "the connection was lost");
		return;
	}
	io_set(s, flush ? EV_READ | EV_WRITE : EV_READ);
	if (s->phase == PHASE_IDLE) {
		/* notices and parameter changes; the next read reports an end */
		if (PQisBusy(s->pg) == 0 && PQstatus(s->pg) != CONNECTION_OK)
			connection_lost(s, "the server closed the connection");
		return;
	}
	switch (sql_answer_take(&s->answer, s->pg)) {
	case SQL_STEP_MORE: break;
	case SQL_STEP_END: answered(s); break;
	case SQL_STEP_LOST: connection_lost(s, "the connection was lost"); break;
	}
}

static void
on_io(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	advance(arg);
}

static void
on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct sql_async *s = arg;

	(void)fd;
	(void)what;
	if (s->phase == PHASE_PREPARING || s->phase == PHASE_RUNNING)
		connection_lost(s, "the connection was lost");
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sql_async *s = arg;
	struct err e = ERR_INIT;

	(void)fd;
	(void)what;
	switch (s->phase) {
	case PHASE_WAITING: connect_begin(s); break;
	case PHASE_CONNECTING: connection_lost(s, "no answer to the connect in time"); break;
	case PHASE_PREPARING:
	case PHASE_RUNNING: connection_lost(s, "no answer in time"); break;
	case PHASE_IDLE:
		if (sql_async_run(s, NULL, &sql_probe, NULL, NULL, NULL, &e))
			idle(s);
		break;
	}
}

struct sql_async *
sql_async_open(struct event_base *base, const struct sql_options *o, struct err *e)
{
	struct sql_async *s = must_calloc(1, sizeof *s);

	if (sql_settings_init(&s->settings, o, e)) {
		free(s);
		return NULL;
	}
	link_init(&s->link, o->link_name ? o->link_name : "postgres");
	s->base = base;
	s->tail = &s->head;
	s->queue_max = o->queue_max ? o->queue_max : 64;
	s->ping_ms = o->ping_ms ? o->ping_ms : 2000;
	s->timer = event_new(base, -1, 0, on_timer, s);
	s->kick = event_new(base, -1, 0, on_kick, s);
	must(s->timer && s->kick);
	phase_set(s, PHASE_WAITING, 0);
	return s;
}

void
sql_async_close(struct sql_async *s)
{
	if (!s)
		return;
	must(s->calling == 0);
	s->closing = true;
	if (s->pg)
		connection_lost(s, "closing");
	must(!s->head);
	event_free(s->timer);
	event_free(s->kick);
	link_fini(&s->link);
	sql_settings_fini(&s->settings);
	free(s);
}

struct link *
sql_async_link(struct sql_async *s)
{
	return &s->link;
}

size_t
sql_async_waiting(const struct sql_async *s)
{
	return s->waiting;
}

int
sql_async_run(struct sql_async *s, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e)
{
	return sql_async_transact(s, mem, &(struct sql_part){ st, p }, 1, done, arg, e);
}

int
sql_async_transact(struct sql_async *s, struct arena *mem, const struct sql_part *parts,
	size_t count, sql_done_fn *done, void *arg, struct err *e)
{
	struct call *c;
	struct link_view v;

	must(count > 0 && count <= SQL_PARTS_MAX);
	if (s->phase == PHASE_WAITING || s->phase == PHASE_CONNECTING) {
		link_look(&s->link, &v);
		return err_set(e, ERR_AWAY, "%s is away: %s", v.name, v.why);
	}
	if (s->waiting > s->queue_max)
		return err_set(e, ERR_LIMIT, "%zu calls already wait for %s", s->waiting,
			s->link.name);
	c = must_calloc(1, sizeof *c);
	*c = (struct call){ .mem = mem,
		.count = count,
		.done = done,
		.arg = arg,
		.since_ms = clock_mono_ms() };
	memcpy(c->parts, parts, count * sizeof *parts);
	*s->tail = c;
	s->tail = &c->next;
	s->waiting++;
	if (s->phase == PHASE_IDLE && s->head == c && !call_send(s))
		event_active(s->kick, EV_TIMEOUT, 0);
	return 0;
}
