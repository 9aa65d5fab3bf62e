/* SPDX-License-Identifier: MIT */
/*
 * MongoDB's collections and their indexes, in one table: made by the consumer
 * that writes the collection, looked after by onboardctl doctor.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "link/doc.h"

#define EVENT_COLLECTION "events" /* onboard-eventlog */
#define USER_COLLECTION "users"   /* onboard-segments */
/* onboard-eventlog: {_id: user_id, at} of the deleted; kept, since an event may come back years later */
#define FORGOTTEN_COLLECTION "forgotten_users"

int doc_indexes_make(struct doc *d, const char *collection, struct err *e) MUST_CHECK;
/* The names of those that are not there, with commas between; "" when none is missing. mem's. */
int doc_indexes_missing(struct doc *d, struct arena *mem, const char *collection,
	const char **names, struct err *e) MUST_CHECK;
