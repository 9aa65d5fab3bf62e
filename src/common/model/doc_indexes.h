/* SPDX-License-Identifier: MIT */
/*
 * MongoDB's collections and their indexes, in one table. The consumer that writes
 * a collection makes them and looks after them; onboardctl doctor tells.
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "link/doc.h"

#define EVENT_COLLECTION "events" /* onboard-eventlog */
#define USER_COLLECTION "users"   /* onboard-segments */
/* onboard-eventlog: {_id: user_id, at} of the deleted; kept, since an event may come back years later */
#define FORGOTTEN_COLLECTION "forgotten_users"

/*
 * Makes the indexes that are missing. *why, mem's: "" when none is missing any more, else
 * which cannot be made, and why; it names users by their ids. goes_on is asked before each
 * index, since one may take 20 s; false: ERR_AWAY. NULL: no end before the last. -1: ERR_AWAY.
 */
int doc_indexes_mend(struct doc *d, struct arena *mem, const char *collection,
	bool (*goes_on)(void *arg), void *arg, const char **why, struct err *e) MUST_CHECK;
/* "1 and 7, 2 and 9": ids of documents with one value in a field that is to be unique; a few. mem's. */
int doc_indexes_duplicates(struct doc *d, struct arena *mem, const char *collection,
	const char **text, struct err *e) MUST_CHECK;
/* The names of those that are not there, with commas between; "" when none is missing. mem's. */
int doc_indexes_missing(struct doc *d, struct arena *mem, const char *collection,
	const char **names, struct err *e) MUST_CHECK;
