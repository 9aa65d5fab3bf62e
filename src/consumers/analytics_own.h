/* SPDX-License-Identifier: MIT */
/*
 * What the parts of onboard-analytics share; nobody else includes it.
 *
 *	analytics.c        the handler
 *	analytics_count.c  PostgreSQL: the inbox and the counts, one transaction
 *	analytics_show.c   Redis: who was active, and PostgreSQL's totals
 *	analytics_active.c the sets of active users
 *
 * An event has two days. The inbox day follows from what never changes, so that
 * a copy is looked for where the first one lies: the time in the id where that
 * is a UUID v7, else the timestamp. The day that it counts for is its
 * timestamp's: history that is imported today counts for its own days.
 */
#pragma once

#include "run/consumer.h"

#define ANALYTICS_KEPT_S "7776000" /* 90 days after the last event of the day */
#define ANALYTICS_KEY_SIZE 32
#define ACTIVE_USERS_MAX 4000       /* of one call: Lua's stack holds no more than 8000 */
#define ANALYTICS_COUNTRY_NONE "ZZ" /* ISO 3166 leaves it to its users */

struct counted {
	const struct event *ev;
	int64_t inbox_day, day; /* since 1970-01-01 */
	char country[4];
};

/* All of the batch, without repeated ids, in the order of the ids. */
struct counted *analytics_list(struct batch *b, size_t *n);
/* In the inbox and added to the counts, or nothing; what is in the inbox adds nothing. */
int analytics_count(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	struct err *e) MUST_CHECK;
/* The inbox' partitions and retention. Answers as days_keep. */
int analytics_keep(struct consumer *c, struct arena *mem, struct err *e) MUST_CHECK;
/* After the commit: changes the list's order. Harmless twice. */
int analytics_show(struct consumer *c, struct arena *mem, struct counted *list, size_t n,
	struct err *e) MUST_CHECK;

/* "active:2026-11-20" */
void analytics_day_key(const char *prefix, int64_t day, char out[static ANALYTICS_KEY_SIZE]);
/* Those of one day are active. Adds one script, which answers 0 while there is no set. */
int analytics_active_add(struct kv *kv, struct arena *mem, const struct counted *list, size_t n,
	struct err *e) MUST_CHECK;
/* Makes the day's set from the inbox, with these in it. */
int analytics_active_make(struct consumer *c, struct arena *mem, const struct counted *list,
	size_t n, struct err *e) MUST_CHECK;
