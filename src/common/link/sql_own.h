/* SPDX-License-Identifier: MIT */
/* What the files of link/sql share; nobody else includes it. */
#pragma once

#include <libpq-fe.h>

#include "link/sql.h"

#define SQL_PREPARED_MAX 128

struct sql_settings {
	char *url, *application, *server_options;
	int64_t connect_ms, query_ms;
	enum sql_want want;
};

/* Of one connection: empty again with each new one. */
struct sql_prepared {
	const struct sql_statement *known[SQL_PREPARED_MAX];
	size_t count;
};

int sql_settings_init(struct sql_settings *s, const struct sql_options *o, struct err *e)
	MUST_CHECK;
void sql_settings_fini(struct sql_settings *s);

/* Begins to connect, non-blocking; NULL only without memory. */
PGconn *sql_pg_start(const struct sql_settings *s);
/* Why a connection could not be made, in one line without host, port and password. */
void sql_pg_why(const PGconn *c, char *why, size_t size);
void sql_pg_ready(PGconn *c); /* after PGRES_POLLING_OK */

bool sql_prepared_has(const struct sql_prepared *p, const struct sql_statement *st);
void sql_prepared_add(struct sql_prepared *p, const struct sql_statement *st);

/*
 * One answer, gathered until the server is ready again: CommandComplete comes
 * before the commit of an implicit transaction, so only then is it true.
 */
struct sql_answer {
	PGresult *good;   /* the last good one */
	PGresult *failed; /* the first bad one */
};
enum sql_step { SQL_STEP_MORE, SQL_STEP_END, SQL_STEP_LOST };

/* After PQconsumeInput: takes what is whole. */
enum sql_step sql_answer_take(struct sql_answer *a, PGconn *c);
void sql_answer_clear(struct sql_answer *a);
/* Moves the answer into out, tied to mem (NULL: the caller clears out->own). Sets e on error. */
int sql_answer_end(struct sql_answer *a, struct arena *mem, struct sql_result *out, struct err *e);
/* Asks whether the session is read-only, too. */
extern const struct sql_statement sql_probe;
/* r: the answer to sql_probe. True: it is no use to a link that wants to write. */
bool sql_read_only(const struct sql_settings *s, const struct sql_result *r);
/* After each answer on a connection that stays. until_ms: of the link's, 0 while it is not BLOCKED. */
void sql_room_judge(const struct sql_settings *s, struct link *l, int64_t *until_ms,
	const struct sql_result *r);
bool sql_answer_fatal(const struct sql_answer *a); /* the connection is of no more use */
