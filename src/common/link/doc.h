/* SPDX-License-Identifier: MIT */
/*
 * MongoDB, blocking, through a pool: any thread may call, and each call has a
 * connection of its own. (A client without a pool deadlocks on a lost server.)
 * Only the files of link/doc use mongo-c-driver. Documents: link/doc_body.h; many
 * writes at once: link/doc_bulk.h.
 *
 * Errors: while the server is away and the next try is not due, a call returns
 * ERR_AWAY at once. ERR_AWAY means that an operator must mend something, and that
 * no document is at fault: no server, not the primary, shutting down, no
 * permission. It sets the link DOWN until the next good answer. After ERR_AWAY it
 * is unknown whether a write was done, so write only what may be written twice.
 * The driver's own retries are off. Texts hold the server's code and its message
 * up to the first quote: no content, address or password.
 *
 * Time: a call ends within 4.5 s, whatever the server does. The two calls that read
 * a whole collection (doc_create_index, doc_aggregate_whole) have 20 s. Each dead
 * address of a host name may add 2 s. The C library resolves a host *name*, and
 * its wait depends on resolv.conf.
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

/* A shorter time in the URL wins. */
struct doc_options {
	const char *url; /* mongodb://host/database; its parameters may set TLS and the like */
	const char *application; /* appname, shown in the server's log */
	const char *link_name;   /* NULL: "mongo" */
	int64_t select_ms;       /* finding a server; 0: 2000 */
	int64_t connect_ms;      /* 0: 2000 */
	int64_t call_ms;         /* each answer on a socket; 0: 2000 */
	int64_t wait_ms;         /* waiting for a free connection of the pool; 0: 2000 */
	unsigned connections;    /* 0: 16 */
};

/* Connects at the first call. ERR_INVALID: the URL. NULL on error. */
struct doc *doc_open(const struct doc_options *o, struct err *e) MUST_CHECK;
void doc_close(struct doc *d); /* no call may be running; NULL is fine */
struct link *doc_link(struct doc *d);
int doc_ping(struct doc *d, struct err *e) MUST_CHECK; /* the probe */
int64_t doc_due_ms(struct doc *d); /* time until a call may try; 0: now, or up */

/* ---- reading ---- */

struct doc_find {
	const struct doc_body *sort, *projection; /* NULL: none */
	int64_t limit, skip;                      /* 0: none; the arena bounds the result anyway */
};

/* selector NULL: all documents. o NULL: no sort, no limit. ERR_LIMIT: mem is too small. */
int doc_find(struct doc *d, struct arena *mem, const char *collection,
	const struct doc_body *selector, const struct doc_find *o, struct doc_list *out,
	struct err *e) MUST_CHECK;
/* ERR_MISSING: no such document. */
int doc_find_one(struct doc *d, struct arena *mem, const char *collection,
	const struct doc_body *selector, struct doc_view *out, struct err *e) MUST_CHECK;
int doc_count(struct doc *d, const char *collection, const struct doc_body *selector, int64_t *out,
	struct err *e) MUST_CHECK;
/*
 * pipeline is a constant in extended JSON: "[{…}, …]". A string "@name" in it
 * stands for the member `name` of parameters, of any type.
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
	char index[64]; /* ERR_CONFLICT: the unique index; "": the server does not name it */
};

int doc_update_one(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *update, bool upsert, struct doc_wrote *out, struct err *e)
	MUST_CHECK;
int doc_update_many(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *update, struct doc_wrote *out, struct err *e) MUST_CHECK;
int doc_delete_many(struct doc *d, const char *collection, const struct doc_body *selector,
	struct doc_wrote *out, struct err *e) MUST_CHECK;

/* ---- indexes, and questions of tools and tests ---- */

struct doc_index {
	const char *name;
	const struct doc_body *keys;    /* {user_id: 1, timestamp: -1}, {place: "2dsphere"} */
	const struct doc_body *partial; /* partialFilterExpression; NULL: all documents */
	bool unique, sparse;
};

/* The same index may exist. ERR_CONFLICT: another index has the name, or values are not unique. */
int doc_create_index(struct doc *d, const char *collection, const struct doc_index *i,
	struct err *e) MUST_CHECK;
/* Documents with name, key, unique, …; an empty list when there is no such collection. */
int doc_list_indexes(struct doc *d, struct arena *mem, const char *collection, struct doc_list *out,
	struct err *e) MUST_CHECK;
int doc_version(struct doc *d, char out[static 32], struct err *e) MUST_CHECK;

/* ---- the server's error messages; tests call these too ---- */

/* The kind of a server's code, by one table; the message counts only if the code tells nothing. */
enum err_kind doc_error_kind(int code, const char *message);
/* The part of a message that may be shown. */
void doc_error_text(const char *message, char *out, size_t size);
/* The index that a duplicate-key message names; "" when it names none. */
void doc_error_index(const char *message, char *out, size_t size);
