/* SPDX-License-Identifier: MIT */
/* Shared by the files of link/doc. Other files must not include it. */
#pragma once

#include <mongoc/mongoc.h>

#include "link/doc.h"

#define CALL_ALL_MS 4500
#define CALL_WHOLE_MS 20000 /* for a call that reads a whole collection */

/* One call: a client of the pool, a deadline, and the outcome. */
struct doc_call {
	struct doc *d;
	mongoc_client_t *client;
	mongoc_collection_t *collection; /* NULL: the call is for the database */
	const char *database;
	uint64_t losses; /* the value of d->losses when the call began */
	bool whole;
	bson_error_t error;
};

/* −1: do not call doc_call_end. collection NULL: the call is for the database. */
int doc_call_begin(struct doc *d, const char *collection, struct doc_call *c, struct err *e)
	MUST_CHECK;
/* The same for a call that reads a whole collection: one answer may take all of the time. */
int doc_call_begin_whole(struct doc *d, const char *collection, struct doc_call *c, struct err *e)
	MUST_CHECK;
/* Gives the client back and reports to the link. good false: see c->error. Returns 0 or −1. */
int doc_call_end(struct doc_call *c, bool good, struct err *e) MUST_CHECK;
int doc_call_ms(const struct doc_call *c); /* for maxTimeMS: shorter than the socket's timeout */

/* Copies every document of the cursor to mem; ends cursor and call. */
int doc_gather(struct doc_call *c, mongoc_cursor_t *cursor, struct arena *mem, struct doc_list *out,
	struct err *e) MUST_CHECK;

int doc_error_set(const bson_error_t *error, struct err *e); /* returns −1 */
/* Shows the body as bson, borrowed; NULL: {}. */
int doc_bson(const struct doc_body *b, bson_t *out, struct err *e) MUST_CHECK;

/* Sets this thread's deadline, at which the streams stop waiting; 0: none. */
void doc_deadline_set(int64_t mono_ms);
/* The same; one wait may last until the deadline, whatever timeout the driver sets. */
void doc_deadline_set_whole(int64_t mono_ms);
void doc_stream_use(mongoc_client_t *client);
