/* SPDX-License-Identifier: MIT */
/* Shared by the files of link/sql. Other files must not include it. */
#pragma once

#include <libpq-fe.h>

#include "link/sql.h"

#define SQL_PREPARED_MAX 128

struct sql_settings {
	char *url, *application, *server_options;
	int64_t connect_ms, query_ms;
	enum sql_want want;
};

/* The prepared statements of one connection; a new connection begins with none. */
struct sql_prepared {
	const struct sql_statement *known[SQL_PREPARED_MAX];
	size_t count;
};

int sql_settings_init(struct sql_settings *s, const struct sql_options *o, struct err *e)
	MUST_CHECK;
void sql_settings_fini(struct sql_settings *s);

/* Begins to connect without blocking; NULL: no memory. */
PGconn *sql_pg_start(const struct sql_settings *s);
/* Why connecting failed, in one line without host, port and password. */
void sql_pg_why(const PGconn *c, char *why, size_t size);
void sql_pg_ready(PGconn *c); /* after PGRES_POLLING_OK */

bool sql_prepared_has(const struct sql_prepared *p, const struct sql_statement *st);
void sql_prepared_add(struct sql_prepared *p, const struct sql_statement *st);

/*
 * One answer, complete once the server is ready again. CommandComplete arrives
 * before an implicit transaction commits, so it proves nothing by itself.
 */
struct sql_answer {
	PGresult *good;   /* the last good one */
	PGresult *failed; /* the first bad one */
};
enum sql_step { SQL_STEP_MORE, SQL_STEP_END, SQL_STEP_LOST };

/* After PQconsumeInput: takes the complete results. */
enum sql_step sql_answer_take(struct sql_answer *a, PGconn *c);
void sql_answer_clear(struct sql_answer *a);
/*
 * Moves the answer to out and ties it to mem (NULL: the caller clears out->own). Sets
 * e on error.
 */
int sql_answer_end(struct sql_answer *a, struct arena *mem, struct sql_result *out, struct err *e);
/* A ping that also asks whether the session is read-only. */
extern const struct sql_statement sql_probe;
/* r: the answer to sql_probe. True: a link that wants to write cannot use this connection. */
bool sql_read_only(const struct sql_settings *s, const struct sql_result *r);
/* Call it after each answer on a kept connection. until_ms: the end of BLOCKED; 0: not BLOCKED. */
void sql_room_judge(const struct sql_settings *s, struct link *l, int64_t *until_ms,
	const struct sql_result *r);
bool sql_answer_fatal(const struct sql_answer *a); /* the connection cannot be used any more */
