/* SPDX-License-Identifier: MIT */
/*
 * Many unordered writes in one go: first the inserts, then the updates, then the
 * deletes. Each kind is one command, so the outcome of every write is known. A bulk
 * runs once.
 *
 * doc_bulk_new returns NULL when its arena is full. The other functions take NULL
 * as a bulk without room.
 */
#pragma once

#include "link/doc.h"

#define DOC_BULK_MAX 10000
#define DOC_BULK_BYTES_MAX \
	(32u << 20) /* for each of the three kinds; a server takes 48 MB at once */

enum doc_fate {
	DOC_DONE,
	DOC_DUPLICATE, /* code 11000; see index */
	DOC_FAILED,    /* see kind and why; after ERR_INVALID no further try helps */
};

struct doc_item {
	enum doc_fate fate;
	enum err_kind kind;
	const char *index; /* DUPLICATE: "_id_", "email_1"; "": the server does not name it */
	const char *why;   /* NULL when done */
};

struct doc_bulk;

struct doc_bulk *doc_bulk_new(struct arena *mem, const char *collection);
/*
 * Each call copies its documents and adds one item. ERR_LIMIT: the document or the
 * bulk is too large; the bulk stays as it was.
 */
int doc_bulk_insert(struct doc_bulk *b, const struct doc_body *document, struct err *e) MUST_CHECK;
int doc_bulk_update_one(struct doc_bulk *b, const struct doc_body *selector,
	const struct doc_body *update, bool upsert, struct err *e) MUST_CHECK;
/* Replaces the whole document except its _id. Counts as an update. */
int doc_bulk_replace_one(struct doc_bulk *b, const struct doc_body *selector,
	const struct doc_body *document, bool upsert, struct err *e) MUST_CHECK;
int doc_bulk_delete_one(struct doc_bulk *b, const struct doc_body *selector, struct err *e)
	MUST_CHECK;
size_t doc_bulk_count(const struct doc_bulk *b);
/*
 * 0: *items has the fate of each item, in the order of the additions. −1 with
 * ERR_AWAY: some writes may be done; the caller must repeat all of them.
 */
int doc_bulk_run(struct doc *d, struct doc_bulk *b, const struct doc_item **items, struct err *e)
	MUST_CHECK;
