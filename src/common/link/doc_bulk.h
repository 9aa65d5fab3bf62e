/* SPDX-License-Identifier: MIT */
/*
 * Many writes in one go, unordered: inserts go first, then updates, then
 * deletes, one command each, so that it is known of each whether it was
 * carried out. A bulk runs once.
 *
 * doc_bulk_new answers NULL when its arena is full, which the others take as a
 * bulk in which nothing fits.
 */
#pragma once

#include "link/doc.h"

#define DOC_BULK_MAX 10000
#define DOC_BULK_BYTES_MAX (32u << 20) /* of each of the three; a server takes 48 MB at once */

enum doc_fate {
	DOC_DONE,
	DOC_DUPLICATE, /* 11000; index says of which */
	DOC_FAILED,    /* kind and why; INVALID can never be right, else try again */
};

struct doc_item {
	enum doc_fate fate;
	enum err_kind kind;
	const char *index; /* DUPLICATE: "_id_", "email_1", "" when the server does not say */
	const char *why;   /* NULL when done */
};

struct doc_bulk;

struct doc_bulk *doc_bulk_new(struct arena *mem, const char *collection);
/*
 * Each copies what it is given and is one more item. ERR_LIMIT: the document or
 * the bulk is too large; the item is not in it, and the bulk stays as it was.
 */
int doc_bulk_insert(struct doc_bulk *b, const struct doc_body *document, struct err *e) MUST_CHECK;
int doc_bulk_update_one(struct doc_bulk *b, const struct doc_body *selector,
	const struct doc_body *update, bool upsert, struct err *e) MUST_CHECK;
/* document stands in the place of all that was there; the _id stays. Counts as an update. */
int doc_bulk_replace_one(struct doc_bulk *b, const struct doc_body *selector,
	const struct doc_body *document, bool upsert, struct err *e) MUST_CHECK;
int doc_bulk_delete_one(struct doc_bulk *b, const struct doc_body *selector, struct err *e)
	MUST_CHECK;
size_t doc_bulk_count(const struct doc_bulk *b);
/*
 * 0: *items has the fate of each, in the order they were added. −1 with
 * ERR_AWAY: some of it may have been done, and all of it is to be done again.
 */
int doc_bulk_run(struct doc *d, struct doc_bulk *b, const struct doc_item **items, struct err *e)
	MUST_CHECK;
