/* SPDX-License-Identifier: MIT */
/*
 * MongoDB's collections and their indexes, in one table. The consumer that writes
 * a collection makes its indexes and checks them from time to time; `onboardctl
 * doctor` reports missing ones.
 *
 * Threads: the caller's; see link/doc.h.
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "link/doc.h"

#define EVENT_COLLECTION "events" /* onboard-eventlog */
#define USER_COLLECTION "users"   /* onboard-segments */
/* onboard-eventlog: {_id: user_id, at} of deleted users. Kept: an event may return years later. */
#define FORGOTTEN_COLLECTION "forgotten_users"

/*
 * Makes missing indexes. *why (mem's) is "" when all exist now; else it says which
 * index cannot be made, and why, and names users by their ids. One index may take
 * 20 s, so goes_on is called before each; false ends with ERR_AWAY. NULL: never
 * ends early. -1: ERR_AWAY.
 */
int doc_indexes_mend(struct doc *d, struct arena *mem, const char *collection,
	bool (*goes_on)(void *arg), void *arg, const char **why, struct err *e) MUST_CHECK;
/* "1 and 7, 2 and 9": a few pairs of documents that share a value which must be unique. mem's. */
int doc_indexes_duplicates(struct doc *d, struct arena *mem, const char *collection,
	const char **text, struct err *e) MUST_CHECK;
/* The names of missing indexes, with commas; "" when none is missing. mem's. */
int doc_indexes_missing(struct doc *d, struct arena *mem, const char *collection,
	const char **names, struct err *e) MUST_CHECK;
