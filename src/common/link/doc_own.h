/* SPDX-License-Identifier: MIT */
/* What the files of link/doc share; nobody else includes it. */
#pragma once

#include <mongoc/mongoc.h>

#include "link/doc.h"

#define CALL_ALL_MS 4500
#define CALL_WHOLE_MS 20000 /* of a call that reads a whole collection */

/* One call: a client of the pool, a deadline, and what became of it. */
struct doc_call {
	struct doc *d;
	mongoc_client_t *client;
	mongoc_collection_t *collection; /* NULL: the call is for the database */
	const char *database;
	uint64_t losses; /* d's, when the call began */
	bool whole;
	bson_error_t error;
};

/* −1: nothing to end. collection NULL: none. */
int doc_call_begin(struct doc *d, const char *collection, struct doc_call *c, struct err *e)
	MUST_CHECK;
/* The same for a call that reads a whole collection: one answer may take all of its time. */
int doc_call_begin_whole(struct doc *d, const char *collection, struct doc_call *c, struct err *e)
	MUST_CHECK;
/* Gives the client back, tells the link. good false: c->error says why. Answers 0 or −1. */
int doc_call_end(struct doc_call *c, bool good, struct err *e) MUST_CHECK;
int doc_call_ms(const struct doc_call *c); /* for maxTimeMS: less than the socket's time */

/* Every document of the cursor into mem; ends cursor and call. */
int doc_gather(struct doc_call *c, mongoc_cursor_t *cursor, struct arena *mem, struct doc_list *out,
	struct err *e) MUST_CHECK;

int doc_error_set(const bson_error_t *error, struct err *e); /* answers −1 */
/* How the body reads as bson, borrowed; NULL: {}. */
int doc_bson(const struct doc_body *b, bson_t *out, struct err *e) MUST_CHECK;

/* The streams of the client end their waits at the thread's deadline; 0: none. */
void doc_deadline_set(int64_t mono_ms);
/* The same, and one wait may last until then, whatever time the driver gives it. */
void doc_deadline_set_whole(int64_t mono_ms);
void doc_stream_use(mongoc_client_t *client);
