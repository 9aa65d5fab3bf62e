/* SPDX-License-Identifier: MIT */
/*
 * PostgreSQL, blocking. Uses libpq's non-blocking calls, poll() and a deadline,
 * because PQexec waits for ever on a frozen server.
 */
#include "link/sql_own.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum transaction {
	TX_NONE,
	TX_OPEN,
	TX_LOST, /* lost inside: all is undone, and no call may run until the end */
};

struct sql {
	struct sql_settings settings;
	struct link link;
	PGconn *pg;                   /* NULL: not connected */
	struct sql_prepared prepared; /* the statements of pg */
	int64_t due_ms;               /* when the next try may begin */
	int64_t blocked_until_ms;     /* 0: the link is not BLOCKED */
	enum transaction tx;
};

struct sql *
sql_open(const struct sql_options *o, struct err *e)
{
	struct sql *s = must_calloc(1, sizeof *s);

	if (sql_settings_init(&s->settings, o, e)) {
		free(s);
		return NULL;
	}
	link_init(&s->link, o->link_name ? o->link_name : "postgres");
	return s;
}

void
sql_close(struct sql *s)
{
	if (!s)
		return;
	PQfinish(s->pg);
	link_fini(&s->link);
	sql_settings_fini(&s->settings);
	free(s);
}

struct link *
sql_link(struct sql *s)
{
	return &s->link;
}

int64_t
sql_due_ms(const struct sql *s)
{
	int64_t left = s->pg ? 0 : s->due_ms - clock_mono_ms();

	return left > 0 ? left : 0;
}

/* Gives the connection up; the next try is due in wait_ms. */
static void
connection_drop(struct sql *s, const char *why, int64_t wait_ms)
{
	PQfinish(s->pg);
	s->pg = NULL;
	s->prepared.count = 0;
	s->blocked_until_ms = 0;
	s->due_ms = clock_mono_ms() + wait_ms;
	if (s->tx == TX_OPEN)
		s->tx = TX_LOST;
	link_state_set(&s->link, LINK_DOWN, why);
}

static int
away(struct sql *s, struct err *e)
{
	struct link_view v;

	link_look(&s->link, &v);
	return err_set(e, ERR_AWAY, "%s is away: %s", v.name, v.why);
}

/* 1: the socket is ready; 0: the deadline passed. */
static int
wait_for(PGconn *c, short events, int64_t deadline_ms)
{
	struct pollfd p = { .fd = PQsocket(c), .events = events };
	int64_t left;
	int n;

	do {
		left = deadline_ms - clock_mono_ms();
		if (left <= 0)
			return 0;
		n = poll(&p, 1, (int)left);
	} while (n < 0 && errno == EINTR);
	return n != 0;
}

static int
reach(struct sql *s, struct err *e)
{
	int64_t deadline = clock_mono_ms() + s->settings.connect_ms;
	PostgresPollingStatusType step = PGRES_POLLING_WRITING;
	char why[256];
	bool late = false;

	link_state_set(&s->link, LINK_CONNECTING, NULL);
	s->pg = sql_pg_start(&s->settings);
	while (s->pg && PQstatus(s->pg) != CONNECTION_BAD && !late) {
		late = !wait_for(s->pg, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline);
		if (late)
			break;
		step = PQconnectPoll(s->pg);
		if (step == PGRES_POLLING_OK || step == PGRES_POLLING_FAILED)
			break;
	}
	if (step == PGRES_POLLING_OK) {
		sql_pg_ready(s->pg);
		link_state_set(&s->link, LINK_UP, NULL);
		return 0;
	}
	if (late)
		snprintf(why, sizeof why, "no answer to the connect in %d ms",
			(int)s->settings.connect_ms);
	else
		sql_pg_why(s->pg, why, sizeof why);
	connection_drop(s, why, link_wait_ms(&s->link));
	return away(s, e);
}

/* 0: connected. Replaces an idle connection that has ended. */
static int
ensure(struct sql *s, struct err *e)
{
	struct pollfd p;

	if (s->tx == TX_LOST)
		return err_set(e, ERR_AWAY, "the transaction's connection was lost");
	if (s->pg) {
		p = (struct pollfd){ .fd = PQsocket(s->pg), .events = POLLIN };
		if (poll(&p, 1, 0) <= 0 || (PQconsumeInput(s->pg) && poll(&p, 1, 0) <= 0))
			return 0;
		connection_drop(s, "the server closed the connection", 0);
		if (s->tx == TX_LOST)
			return err_set(e, ERR_AWAY, "the transaction's connection was lost");
	}
	return sql_due_ms(s) > 0 ? away(s, e) : reach(s, e);
}

/* 0: the server answered, with success or an error. */
static int
await(struct sql *s, struct sql_answer *a, int64_t deadline_ms, const char **why)
{
	enum sql_step step = SQL_STEP_MORE;
	int flush = 1;

	while (step == SQL_STEP_MORE) {
		if (flush == 1)
			flush = PQflush(s->pg);
		*why = "the connection was lost";
		if (flush < 0)
			return -1;
		*why = "no answer in time";
		if (!wait_for(s->pg, flush == 1 ? POLLIN | POLLOUT : POLLIN, deadline_ms))
			return -1;
		/* read while writing, or two full buffers would wait for each other */
		*why = "the connection was lost";
		if (!PQconsumeInput(s->pg))
			return -1;
		step = sql_answer_take(a, s->pg);
	}
	return step == SQL_STEP_END ? 0 : -1;
}

/* sent: the result of PQsend. Takes the answer; drops the connection if it must. */
static int
finish(struct sql *s, int sent, int64_t timeout_ms, struct arena *mem, struct sql_result *out,
	struct err *e)
{
	struct sql_answer a = { 0 };
	const char *why = "the connection was lost";
	bool fatal;
	int rc;

	if (!sent || await(s, &a, clock_mono_ms() + timeout_ms, &why)) {
		fatal = a.failed != NULL; /* the server's last message is the better reason */
		rc = fatal ? sql_answer_end(&a, NULL, out, e) : err_set(e, ERR_AWAY, "%s", why);
		if (!fatal)
			*out = (struct sql_result){ .fate = SQL_UNSURE };
		out->fate = sent && out->fate != SQL_UNDONE && s->tx == TX_NONE ? SQL_UNSURE
										: SQL_UNDONE;
		sql_answer_clear(&a);
		connection_drop(s, fatal && e ? e->text : why, link_wait_ms(&s->link));
		return rc ? rc : err_set(e, ERR_AWAY, "%s", why);
	}
	fatal = sql_answer_fatal(&a);
	rc = sql_answer_end(&a, mem, out, e);
	if (fatal) {
		if (s->tx == TX_OPEN)
			out->fate = SQL_UNDONE;
		connection_drop(s, e ? e->text : "the server ended the session",
			link_wait_ms(&s->link));
	} else {
		sql_room_judge(&s->settings, &s->link, &s->blocked_until_ms, out);
	}
	return rc;
}

static int
plain(struct sql *s, const char *text, struct sql_result *out, struct err *e)
{
	int rc = finish(s, PQsendQueryParams(s->pg, text, 0, NULL, NULL, NULL, NULL, 0),
		s->settings.query_ms, NULL, out, e);

	return rc;
}

int
sql_run(struct sql *s, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, struct sql_result *out, struct err *e)
{
	int rc;

	*out = (struct sql_result){ .fate = SQL_UNDONE };
	must(mem);
	if (ensure(s, e))
		return -1;
	if (!sql_prepared_has(&s->prepared, st)) {
		rc = finish(s, PQsendPrepare(s->pg, st->name, st->text, 0, NULL),
			s->settings.query_ms / 2, NULL, out, e);
		PQclear(out->own);
		out->own = NULL;
		out->fate = SQL_UNDONE;
		if (rc)
			return err_wrap(e, "prepare %s", st->name);
		sql_prepared_add(&s->prepared, st);
	}
	rc = finish(s,
		PQsendQueryPrepared(s->pg, st->name, p ? (int)p->count : 0, p ? p->value : NULL,
			NULL, NULL, 0),
		s->settings.query_ms, mem, out, e);
	return rc ? err_wrap(e, "%s", st->name) : 0;
}

int
sql_ping(struct sql *s, struct err *e)
{
	struct sql_result r = { 0 };
	int rc;

	if (ensure(s, e))
		return -1;
	if (clock_mono_ms() < s->blocked_until_ms)
		return away(s, e);
	rc = plain(s, sql_probe.text, &r, e);
	if (rc == 0 && sql_read_only(&s->settings, &r)) {
		connection_drop(s, "the server is read-only", link_wait_ms(&s->link));
		rc = away(s, e);
	}
	PQclear(r.own);
	return rc;
}

int
sql_script(struct sql *s, const char *text, int64_t timeout_ms, struct sql_result *out,
	struct err *e)
{
	int rc;

	*out = (struct sql_result){ .fate = SQL_UNDONE };
	if (ensure(s, e))
		return -1;
	rc = finish(s, PQsendQuery(s->pg, text), timeout_ms ? timeout_ms : s->settings.query_ms,
		NULL, out, e);
	PQclear(out->own);
	out->own = NULL;
	return rc;
}

int
sql_begin(struct sql *s, struct err *e)
{
	struct sql_result r = { 0 };
	int rc;

	must(s->tx == TX_NONE);
	if (ensure(s, e))
		return -1;
	rc = plain(s, "BEGIN", &r, e);
	PQclear(r.own);
	if (rc == 0)
		s->tx = TX_OPEN;
	return rc;
}

int
sql_commit(struct sql *s, enum sql_fate *fate, struct err *e)
{
	struct sql_result r = { 0 };
	enum transaction tx = s->tx;
	int rc;

	must(tx != TX_NONE);
	*fate = SQL_UNDONE;
	s->tx = TX_NONE; /* a loss from now on counts as unsure */
	if (tx == TX_LOST || !s->pg)
		return err_set(e, ERR_AWAY, "the transaction's connection was lost");
	rc = plain(s, "COMMIT", &r, e);
	*fate = r.fate;
	/* after an error in the transaction, COMMIT succeeds as a ROLLBACK */
	if (rc == 0 && strcmp(PQcmdStatus(r.own), "COMMIT") != 0) {
		*fate = SQL_UNDONE;
		rc = err_set(e, ERR_INTERNAL, "the transaction had failed before its commit");
	}
	PQclear(r.own);
	return rc;
}

void
sql_rollback(struct sql *s)
{
	struct sql_result r = { 0 };
	struct err e = ERR_INIT;

	if (s->tx == TX_OPEN && s->pg && plain(s, "ROLLBACK", &r, &e) && s->pg)
		connection_drop(s, "the transaction could not be rolled back",
			link_wait_ms(&s->link));
	PQclear(r.own);
	s->tx = TX_NONE;
}
