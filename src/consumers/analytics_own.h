/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of onboard-analytics; no other file includes it.
 *
 *	analytics.c        the handler
 *	analytics_count.c  PostgreSQL: the inbox and the counts, one transaction
 *	analytics_show.c   Redis: active users, and PostgreSQL's totals
 *	analytics_active.c the sets of active users
 *
 * An event has two days. The inbox day says which partition holds the event. It
 * never changes, so a copy is looked up where the first one lies: it is the day
 * in the id if that is a UUID v7, otherwise the day of the timestamp. The event
 * counts for the day of its timestamp, so history that somebody imports today
 * counts for its own days.
 */
#pragma once

#include "run/consumer.h"

#define ANALYTICS_KEPT_S "7776000" /* 90 days after the last event of the day */
#define ANALYTICS_KEY_SIZE 32
#define ACTIVE_USERS_MAX 4000       /* in one call: Lua's stack holds at most 8000 */
#define ANALYTICS_COUNTRY_NONE "ZZ" /* a code that ISO 3166 leaves to its users */

struct counted {
	const struct event *ev;
	int64_t inbox_day, day; /* since 1970-01-01 */
	char country[4];
};

/* The batch's events without copies, sorted by id. */
struct counted *analytics_list(struct batch *b, size_t *n);
/* Adds new events to the inbox and the counts, all or none. An event in the inbox adds nothing. */
int analytics_count(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	struct err *e) MUST_CHECK;
/* Looks after the inbox' partitions and retention. Returns what days_keep returns. */
int analytics_keep(struct consumer *c, struct arena *mem, struct err *e) MUST_CHECK;
/* Call after the commit. Changes the list's order. A second call changes nothing. */
int analytics_show(struct consumer *c, struct arena *mem, struct counted *list, size_t n,
	struct err *e) MUST_CHECK;

/* "active:2026-11-20" */
void analytics_day_key(const char *prefix, int64_t day, char out[static ANALYTICS_KEY_SIZE]);
/* Marks users of one day as active: adds one script, which answers 0 if there is no set. */
int analytics_active_add(struct kv *kv, struct arena *mem, const struct counted *list, size_t n,
	struct err *e) MUST_CHECK;
/* Makes the day's set from the inbox, and adds these users. */
int analytics_active_make(struct consumer *c, struct arena *mem, const struct counted *list,
	size_t n, struct err *e) MUST_CHECK;
