/* SPDX-License-Identifier: MIT */
/*
 * PostgreSQL. There are two forms, with one set of statements, parameters and
 * results: struct sql blocks (consumers, tools), struct sql_async lives on a
 * libevent loop (HTTP daemons, mostly by a sql_pool). Each is one connection
 * that opens itself, notices when it is lost, and comes back on a new PGconn
 * after any connection error.
 *
 * Threads: each struct belongs to one thread; any thread may read its link.
 * Ownership: results belong to the arena of the call. Statements are static.
 * Parameters and the texts that they point to must live until the answer.
 *
 * Errors: while the server is away and the next try is not due, a call answers
 * ERR_AWAY at once; waiting is the caller's choice. Error texts hold only the
 * server's primary message and SQLSTATE. DETAIL quotes rows, so we never read
 * it. Deadlock and serialization failure are ERR_AWAY and keep the connection:
 * the same call may work again (sql_again).
 *
 * A link that wants to write is DOWN while the server is read-only. When a
 * write is refused for that reason (25006), or a probe finds it, the link
 * gives the connection up and makes no new one before the server takes writes
 * again. When a write finds no room (class 53: disk, memory), the link is
 * BLOCKED for at least SQL_BLOCKED_MS. Calls are still tried, since nothing
 * else tells when there is room again.
 *
 * Time: connecting lasts at most connect_ms, a call query_ms (async: twice
 * that, with its wait in the queue). The C library resolves host *names* and
 * waits as resolv.conf says. Where that matters, give an address, or a name
 * that /etc/hosts has.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "link/link.h"

#define SQL_BLOCKED_MS 5000

struct event_base;
struct sql;
struct sql_async;

/* Which server a link accepts. Of a URL's hosts it takes the first that fits. */
enum sql_want {
	SQL_WANT_PRIMARY, /* has the newest rows; the URL's target_session_attrs may say otherwise */
	SQL_WANT_WRITABLE, /* and takes writes, whatever the URL says */
};

struct sql_options {
	const char *url;         /* postgresql://…; its parameters may set sslmode and the like */
	const char *application; /* application_name, as pg_stat_activity shows it */
	const char *link_name;   /* NULL: "postgres" */
	enum sql_want want;
	int64_t connect_ms; /* 0: 2000 */
	int64_t query_ms;   /* 0: 2000; the server's statement_timeout is nine tenths of it */
	int64_t ping_ms;    /* async: how often to ping an idle server; 0: 2000, -1: never */
	bool lazy_commit; /* a server's crash may lose the last commits: for work that is done again */
	bool plan_anew; /* for each call: a plan made for a small table reads all of it once it is large */
	const char *settings; /* more for the server's session: "-c name=value"; NULL: none */
	size_t queue_max;     /* async: the most calls that wait behind the running one; 0: 64 */
};

/* Prepared when a connection first runs it. Known by its address, so it outlives the connection. */
struct sql_statement {
	const char *name, *text;
};

/* What became of the call's changes. */
enum sql_fate {
	SQL_UNDONE, /* certainly not done */
	SQL_DONE,   /* certainly done (inside a transaction: once it commits) */
	SQL_UNSURE, /* sent, and the connection was lost before the answer */
};

/* ---- parameters: text in the protocol, so the server's types decide ---- */

#define SQL_PARAMS_MAX 32
struct sql_params {
	size_t count;
	const char *value[SQL_PARAMS_MAX];
	char digits[SQL_PARAMS_MAX]
		   [TEXT_I64_SIZE]; /* value points into this: never copy the struct */
};

void sql_params_init(struct sql_params *p);
void sql_add_text(struct sql_params *p, const char *text); /* NULL is null; text is borrowed */
void sql_add_i64(struct sql_params *p, int64_t n);
void sql_add_bool(struct sql_params *p, bool b);

/*
 * An array parameter, for unnest($1::text[]). Over max_bytes, sql_add_array fails with
 * ERR_LIMIT.
 */
struct sql_array {
	struct buf text;
	size_t count;
};
void sql_array_init(struct sql_array *a, size_t max_bytes);
void sql_array_fini(struct sql_array *a);
void sql_array_clear(struct sql_array *a);                  /* empties it and keeps its memory */
void sql_array_text(struct sql_array *a, const char *text); /* NULL is null */
void sql_array_i64(struct sql_array *a, int64_t n);
void sql_array_bool(struct sql_array *a, bool b);
/* Borrows the array's text: do not change a until the answer. */
int sql_add_array(struct sql_params *p, struct sql_array *a, struct err *e) MUST_CHECK;
/* The same for the columns of one unnest. */
void sql_arrays_init(struct sql_array *a, size_t n, size_t max_bytes);
void sql_arrays_fini(struct sql_array *a, size_t n);
int sql_add_arrays(struct sql_params *p, struct sql_array *a, size_t n, struct err *e) MUST_CHECK;

/* ---- results ---- */

struct sql_result {
	size_t rows, columns;
	int64_t affected; /* rows that INSERT, UPDATE or DELETE changed; otherwise 0 */
	enum sql_fate fate;
	char sqlstate[6];    /* "" when the server gave none */
	char constraint[64]; /* the violated constraint, or "" */
	void *own;
};

/* A row or column out of range is a bug; a value of another type is ERR_INTERNAL. */
bool sql_null(const struct sql_result *r, size_t row, size_t column);
const char *sql_text(const struct sql_result *r, size_t row, size_t column); /* NULL: null */
size_t sql_length(const struct sql_result *r, size_t row, size_t column);
int sql_i64(const struct sql_result *r, size_t row, size_t column, int64_t *out, struct err *e)
	MUST_CHECK;
int sql_bool(const struct sql_result *r, size_t row, size_t column, bool *out, struct err *e)
	MUST_CHECK;

enum err_kind sql_kind(const char *sqlstate); /* the only table; "": no answer, ERR_AWAY */
bool sql_again(const struct sql_result
		*r); /* a deadlock or serialization failure: repeat the transaction */
/* ERR_AWAY on a kept connection: a lock, a slow server, or a statement too heavy for query_ms. */
bool sql_timed_out(const struct sql_result *r);

/* ---- blocking ---- */

/* Connects at the first call. ERR_INVALID: the URL. NULL on error. */
struct sql *sql_open(const struct sql_options *o, struct err *e) MUST_CHECK;
void sql_close(struct sql *s); /* NULL is fine */
struct link *sql_link(struct sql *s);
int sql_ping(struct sql *s, struct err *e)
	MUST_CHECK; /* one round trip: the probe for a store that is away */
int64_t sql_due_ms(
	const struct sql *s); /* time until a call may try to connect; 0: now, or connected */

/* p NULL: no parameters. On error, out still holds fate, sqlstate and constraint. */
int sql_run(struct sql *s, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, struct sql_result *out, struct err *e) MUST_CHECK;
/*
 * Runs several statements without results in one go (migrations); timeout_ms 0:
 * query_ms. The server's statement_timeout still follows query_ms: for a longer
 * one, open the connection with a longer query_ms.
 */
int sql_script(struct sql *s, const char *text, int64_t timeout_ms, struct sql_result *out,
	struct err *e) MUST_CHECK;

/*
 * A connection that is lost inside a transaction undoes everything, and every
 * further call returns ERR_AWAY until commit or rollback is called. So no
 * statement of the transaction can run outside of it.
 */
int sql_begin(struct sql *s, struct err *e) MUST_CHECK;
int sql_commit(struct sql *s, enum sql_fate *fate, struct err *e) MUST_CHECK;
void sql_rollback(struct sql *s); /* drops the connection if ROLLBACK cannot be sent */

/* ---- on the loop ---- */

/* r is never NULL; e is NULL on success. It may call sql_async_run but not sql_async_close. */
typedef void sql_done_fn(void *arg, const struct sql_result *r, const struct err *e);

/* Begins to connect at once, and again by itself after each loss. */
struct sql_async *sql_async_open(struct event_base *base, const struct sql_options *o,
	struct err *e) MUST_CHECK;
void sql_async_close(struct sql_async *s); /* fails waiting calls with ERR_AWAY; NULL is fine */
struct link *sql_async_link(struct sql_async *s);
size_t sql_async_waiting(const struct sql_async *s); /* running and queued calls */
/*
 * 0: the loop will call done once, never this function itself. −1: done is never
 * called (ERR_AWAY: not connected, ERR_LIMIT: the queue is full). Calls run one at
 * a time in their order, each in its own transaction.
 * mem NULL: the result lives until done returns.
 */
int sql_async_run(struct sql_async *s, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
/*
 * The same for the parts of one transaction, sent in one round trip. Each part
 * sees the rows committed before it began, so first lock rows in one part, then
 * read what depends on them in the next. The result is that of the last part; an
 * error in any part undoes all. Each part has its own query_ms.
 */
#define SQL_PARTS_MAX 4
struct sql_part {
	const struct sql_statement *statement;
	const struct sql_params *params; /* NULL: none */
};
int sql_async_transact(struct sql_async *s, struct arena *mem, const struct sql_part *parts,
	size_t count, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
