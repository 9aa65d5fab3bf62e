/* SPDX-License-Identifier: MIT */
/* PostgreSQL, shared by the blocking and the loop's connection: settings, errors, answers. */
#include "link/sql_own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* The first row that is a prefix of the SQLSTATE counts. */
static const struct {
	const char *prefix;
	enum err_kind kind;
} kinds[] = {
	{ "08", ERR_AWAY },       /* connection */
	{ "22", ERR_INVALID },    /* data */
	{ "23502", ERR_INVALID }, /* not null */
	{ "23514", ERR_INVALID }, /* check */
	{ "23", ERR_CONFLICT },   /* unique, foreign key, exclusion */
	{ "25006", ERR_AWAY },    /* read-only: a standby, or an operator's setting */
	{ "26000",
		ERR_AWAY }, /* a prepared statement is gone: a new connection prepares it again */
	{ "28", ERR_AWAY }, /* login refused: the set-up is wrong, not the data */
	{ "3D000", ERR_AWAY }, /* no such database */
	{ "40002", ERR_CONFLICT },
	{ "40", ERR_AWAY },    /* deadlock, serialization failure: try again */
	{ "42P01", ERR_AWAY }, /* no such table: not migrated yet */
	{ "53", ERR_AWAY },    /* no room: connections, memory, disk */
	{ "54", ERR_LIMIT },
	{ "55006", ERR_CONFLICT },
	{ "55P03", ERR_AWAY }, /* the lock is not available */
	{ "57014", ERR_AWAY }, /* statement_timeout, or a cancelled query: no row is at fault */
	{ "57P", ERR_AWAY },   /* shutting down, starting up, crashed */
	{ "58", ERR_AWAY },    /* the server's system */
	{ "P0002", ERR_MISSING },
};

enum err_kind
sql_kind(const char *sqlstate)
{
	if (sqlstate[0] == '\0')
		return ERR_AWAY;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strncmp(sqlstate, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return kinds[i].kind;
	return ERR_INTERNAL;
}

bool
sql_timed_out(const struct sql_result *r)
{
	return strcmp(r->sqlstate, "57014") == 0;
}

bool
sql_again(const struct sql_result *r)
{
	return strcmp(r->sqlstate, "40P01") == 0 || strcmp(r->sqlstate, "40001") == 0;
}

/*
 * The server must notice a dead client soon: a session's advisory locks tell which
 * process lives.
 */
#define SERVER_KEEPALIVE \
	" -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"

int
sql_settings_init(struct sql_settings *s, const struct sql_options *o, struct err *e)
{
	PQconninfoOption *parts = NULL;
	const char *own = "", *settings;
	size_t size;

	*s = (struct sql_settings){ .connect_ms = o->connect_ms ? o->connect_ms : 2000,
		.query_ms = o->query_ms ? o->query_ms : 2000,
		.want = o->want };
	if (strncmp(o->url, "postgresql://", 13) == 0 || strncmp(o->url, "postgres://", 11) == 0)
		parts = PQconninfoParse(o->url, NULL); /* its message would quote the URL */
	if (!parts)
		return err_set(e, ERR_INVALID,
			"not a PostgreSQL URL: want postgresql://user:password@host:port/database "
			"with libpq's parameters");
	for (PQconninfoOption *p = parts; p->keyword; p++)
		if (strcmp(p->keyword, "options") == 0 && p->val)
			own = p->val;
	settings = o->settings ? o->settings : "";
	size = strlen(settings) + strlen(own) + 320;
	s->server_options = must_malloc(size);
	snprintf(s->server_options, size,
		"-c statement_timeout=%" PRId64 SERVER_KEEPALIVE "%s%s %s %s", s->query_ms * 9 / 10,
		o->lazy_commit ? " -c synchronous_commit=off" : "",
		o->plan_anew ? " -c plan_cache_mode=force_custom_plan" : "", settings, own);
	PQconninfoFree(parts);
	s->url = must_strdup(o->url);
	s->application = must_strdup(o->application ? o->application : "onboard");
	return 0;
}

void
sql_settings_fini(struct sql_settings *s)
{
	free(s->url);
	free(s->application);
	free(s->server_options);
	*s = (struct sql_settings){ 0 };
}

const struct sql_statement sql_probe = { "onboard_probe",
	"SELECT current_setting('transaction_read_only')::boolean" };

bool
sql_read_only(const struct sql_settings *s, const struct sql_result *r)
{
	struct err e = ERR_INIT;
	bool on = false;

	return s->want == SQL_WANT_WRITABLE && sql_bool(r, 0, 0, &on, &e) == 0 && on;
}

void
sql_room_judge(const struct sql_settings *s, struct link *l, int64_t *until_ms,
	const struct sql_result *r)
{
	char why[64];

	if (s->want == SQL_WANT_WRITABLE && strncmp(r->sqlstate, "53", 2) == 0) {
		snprintf(why, sizeof why, "it has no room for a write (%s)", r->sqlstate);
		link_state_set(l, LINK_BLOCKED, why);
		*until_ms = clock_mono_ms() + SQL_BLOCKED_MS;
	} else if (*until_ms && clock_mono_ms() >= *until_ms) {
		link_state_set(l, LINK_UP, NULL);
		*until_ms = 0;
	}
}

static void
notice_ignore(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

PGconn *
sql_pg_start(const struct sql_settings *s)
{
	/* The URL may override the options before dbname, but not those after it. */
	const char *const names[] = { "application_name", "gssencmode", "keepalives",
		"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
		"target_session_attrs", "dbname", "client_encoding", "options",
		s->want == SQL_WANT_WRITABLE ? "target_session_attrs" : NULL, NULL };
	const char *const values[] = { s->application, "disable", "1", "5", "2", "3", "5000",
		"primary", s->url, "UTF8", s->server_options, "read-write", NULL };
	PGconn *c = PQconnectStartParams(names, values, 1);

	if (c)
		PQsetNoticeReceiver(c, notice_ignore, NULL);
	return c;
}

void
sql_pg_ready(PGconn *c)
{
	must(PQsetnonblocking(c, 1) == 0);
}

void
sql_pg_why(const PGconn *c, char *why, size_t size)
{
	const char *text = c ? PQerrorMessage(c) : "out of memory", *p;
	size_t n;

	/*
	 * one line a host: 'connection to server at "host", port 1 failed: reason';
	 * take the last
	 */
	while ((p = strstr(text, "failed: ")) != NULL)
		text = p + 8;
	if (strncmp(text, "could not translate host name", 29) == 0)
		text = "the host's name can't be resolved";
	for (p = text; strncmp(p, "FATAL:", 6) == 0 || strncmp(p, "ERROR:", 6) == 0; text = p)
		p += 6 + strspn(p + 6, " ");
	/* the library does not tell which of the two it was */
	if (strstr(text, "certificate verify failed"))
		text = "the server's certificate is not from an authority of sslrootcert, or out of date";
	n = strcspn(text, "\r\n");
	snprintf(why, size, "%.*s", (int)(n < 200 ? n : 200), n ? text : "connection failed");
}

bool
sql_prepared_has(const struct sql_prepared *p, const struct sql_statement *st)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->known[i] == st)
			return true;
	return false;
}

void
sql_prepared_add(struct sql_prepared *p, const struct sql_statement *st)
{
	must(p->count <
		SQL_PREPARED_MAX); /* statements are constants, so their number is bounded */
	p->known[p->count++] = st;
}

enum sql_step
sql_answer_take(struct sql_answer *a, PGconn *c)
{
	const bool piped = PQpipelineStatus(c) != PQ_PIPELINE_OFF;
	PGresult *r;
	ExecStatusType status;

	while (!PQisBusy(c)) {
		r = PQgetResult(c);
		status = PQresultStatus(r);
		if (PQstatus(c) == CONNECTION_OK && (r ? status == PGRES_PIPELINE_SYNC : !piped)) {
			PQclear(r);
			return SQL_STEP_END;
		}
		if (PQstatus(c) != CONNECTION_OK && !r)
			return SQL_STEP_LOST;
		if (!r)
			continue; /* the next part's answer follows */
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT ||
			status == PGRES_COPY_BOTH) {
			PQclear(r);
			return SQL_STEP_LOST; /* COPY, which we never use */
		}
		if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ||
			status == PGRES_EMPTY_QUERY) {
			PQclear(a->good);
			a->good = r;
		} else if (a->failed) {
			PQclear(r);
		} else {
			a->failed = r;
		}
		if (PQstatus(c) != CONNECTION_OK)
			return SQL_STEP_LOST;
	}
	return SQL_STEP_MORE;
}

void
sql_answer_clear(struct sql_answer *a)
{
	PQclear(a->good);
	PQclear(a->failed);
	*a = (struct sql_answer){ 0 };
}

bool
sql_answer_fatal(const struct sql_answer *a)
{
	const char *severity, *state;

	if (!a->failed)
		return false;
	severity = PQresultErrorField(a->failed, PG_DIAG_SEVERITY_NONLOCALIZED);
	state = PQresultErrorField(a->failed, PG_DIAG_SQLSTATE);
	if (!severity || !state)
		return true; /* libpq made this error: the server sent none */
	/* 25006: this session stays read-only; the next server may not be */
	/* 26000, 0A000: our prepared statements are gone, or stale ("cached plan must not…") */
	return strcmp(severity, "ERROR") != 0 || strncmp(state, "57P", 3) == 0 ||
		strcmp(state, "25006") == 0 || strcmp(state, "26000") == 0 ||
		strcmp(state, "0A000") == 0;
}

static int
answer_error(const PGresult *r, struct sql_result *out, struct err *e)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	const char *constraint = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (!state)
		return err_set(e, ERR_AWAY, "the connection was lost");
	snprintf(out->sqlstate, sizeof out->sqlstate, "%s", state);
	snprintf(out->constraint, sizeof out->constraint, "%s", constraint ? constraint : "");
	/* a FATAL may come after the commit: only an ERROR proves that nothing was done */
	out->fate = severity && strcmp(severity, "ERROR") == 0 ? SQL_UNDONE : SQL_UNSURE;
	if (strncmp(state, "22", 2) == 0) /* 'invalid input syntax for type x: "the value"' */
		return err_set(e, ERR_INVALID, "%.*s (%s)", (int)strcspn(text ? text : "", ":\""),
			text ? text : "", state);
	return err_set(e, sql_kind(state), "%s (%s)", text ? text : "no message", state);
}

static void
result_clear(void *r)
{
	PQclear(r);
}

int
sql_answer_end(struct sql_answer *a, struct arena *mem, struct sql_result *out, struct err *e)
{
	int rc = 0;

	*out = (struct sql_result){ .fate = SQL_UNSURE };
	if (a->failed) {
		rc = answer_error(a->failed, out, e);
	} else if (!a->good) {
		rc = err_set(e, ERR_AWAY, "the connection was lost");
	} else if (mem && !arena_defer(mem, result_clear, a->good)) {
		a->good = NULL; /* the arena released it */
		out->fate = SQL_DONE;
		rc = err_set(e, ERR_LIMIT, "no room for the result");
	} else {
		out->fate = SQL_DONE;
		out->rows = (size_t)PQntuples(a->good);
		out->columns = (size_t)PQnfields(a->good);
		out->affected = strtoll(PQcmdTuples(a->good), NULL, 10);
		if (strncmp(PQcmdStatus(a->good), "SELECT", 6) == 0)
			out->affected = 0;
		out->own = a->good;
		a->good = NULL;
	}
	sql_answer_clear(a);
	return rc;
}
