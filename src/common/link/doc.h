/* SPDX-License-Identifier: MIT */
/*
 * MongoDB, blocking, through a pool: any thread may call, each call has a
 * connection to itself. (A client without a pool deadlocks on a lost server.)
 * The only files that see mongo-c-driver. Documents: link/doc_body.h, writing
 * many: link/doc_bulk.h.
 *
 * Errors: while the server is away and the next try is not due, a call answers
 * ERR_AWAY at once. Whatever makes a call answer ERR_AWAY (no server, not the
 * primary, shutting down, no permission: what an operator mends, no document's
 * fault) also takes the link down until the next good answer. After ERR_AWAY
 * nobody knows whether a write was carried out: write only what is harmless
 * twice; the driver's own second tries are off. Texts hold the server's message
 * up to where it begins to quote, and its code: no content, address or password.
 *
 * Time: a call ends 4.5 s after it began at the latest (the two that read a whole
 * collection, to make an index or in doc_aggregate_whole: 20 s), whatever the server
 * does, plus what a host name of several dead addresses costs (2 s each). A
 * host *name* is resolved by the C library, which waits as resolv.conf says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "link/doc_body.h"
#include "link/link.h"

struct doc;

/* A time in the URL counts when it is shorter. */
struct doc_options {
	const char *url;         /* mongodb://host/database; TLS and the like by its parameters */
	const char *application; /* appname, as the server's log shows it */
	const char *link_name;   /* NULL: "mongo" */
	int64_t select_ms;       /* finding a server; 0: 2000 */
	int64_t connect_ms;      /* 0: 2000 */
	int64_t call_ms;         /* each answer on a socket; 0: 2000 */
	int64_t wait_ms;         /* for a connection of the pool; 0: 2000 */
	unsigned connections;    /* 0: 16 */
};

/* Connects at the first call. ERR_INVALID: the URL. NULL on error. */
struct doc *doc_open(const struct doc_options *o, struct err *e) MUST_CHECK;
void doc_close(struct doc *d); /* no call is under way; NULL is fine */
struct link *doc_link(struct doc *d);
int doc_ping(struct doc *d, struct err *e) MUST_CHECK; /* the probe */
int64_t doc_due_ms(struct doc *d);                     /* until a call may try; 0: now, or up */

/* ---- reading ---- */

struct doc_find {
	const struct doc_body *sort, *projection; /* NULL: none */
	int64_t limit, skip;                      /* 0: none; what mem holds is the last bound */
};

/* selector NULL: all. o NULL: as it comes. ERR_LIMIT: mem is too small for it. */
int doc_find(struct doc *d, struct arena *mem, const char *collection,
	const struct doc_body *selector, const struct doc_find *o, struct doc_list *out,
	struct err *e) MUST_CHECK;
/* ERR_MISSING: there is none. */
int doc_find_one(struct doc *d, struct arena *mem, const char *collection,
	const struct doc_body *selector, struct doc_view *out, struct err *e) MUST_CHECK;
int doc_count(struct doc *d, const char *collection, const struct doc_body *selector, int64_t *out,
	struct err *e) MUST_CHECK;
/*
 * pipeline is a constant, extended JSON, "[{…}, …]": a text in it that is "@name",
 * alone, stands for that member of parameters, whatever its type.
 */
int doc_aggregate(struct doc *d, struct arena *mem, const char *collection, const char *pipeline,
	const struct doc_body *parameters, struct doc_list *out, struct err *e) MUST_CHECK;
/* The same for a pipeline that reads the whole collection. */
int doc_aggregate_whole(struct doc *d, struct arena *mem, const char *collection,
	const char *pipeline, const struct doc_body *parameters, struct doc_list *out,
	struct err *e) MUST_CHECK;

/* ---- writing ---- */

struct doc_wrote {
	int64_t matched, modified, deleted;
	bool inserted;  /* by an upsert */
	char index[64]; /* ERR_CONFLICT: the unique index, "" when the server does not say */
};

int doc_update_one(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *update, bool upsert, struct doc_wrote *out, struct err *e)
	MUST_CHECK;
int doc_update_many(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *update, struct doc_wrote *out, struct err *e) MUST_CHECK;
int doc_delete_many(struct doc *d, const char *collection, const struct doc_body *selector,
	struct doc_wrote *out, struct err *e) MUST_CHECK;

/* ---- indexes, and what tools and tests ask ---- */

struct doc_index {
	const char *name;
	const struct doc_body *keys;    /* {user_id: 1, timestamp: -1}, {place: "2dsphere"} */
	const struct doc_body *partial; /* partialFilterExpression; NULL: all documents */
	bool unique, sparse;
};

/* One that is there already is fine; ERR_CONFLICT: another of that name, or values are not unique. */
int doc_create_index(struct doc *d, const char *collection, const struct doc_index *i,
	struct err *e) MUST_CHECK;
/* Documents with name, key, unique, …; none when there is no such collection. */
int doc_list_indexes(struct doc *d, struct arena *mem, const char *collection, struct doc_list *out,
	struct err *e) MUST_CHECK;
int doc_version(struct doc *d, char out[static 32], struct err *e) MUST_CHECK;

/* ---- of the server's words; tests call them too ---- */

/* By a server's code, one table; the message only where the code says nothing. */
enum err_kind doc_error_kind(int code, const char *message);
/* What of a message may be shown. */
void doc_error_text(const char *message, char *out, size_t size);
/* The index that a duplicate-key message names; "" when it names none. */
void doc_error_index(const char *message, char *out, size_t size);
