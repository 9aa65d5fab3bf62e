/* SPDX-License-Identifier: MIT */
/*
 * Invalidations that could not be carried out in Redis: it was away, or it
 * refused them (memory full, rights). They stand in PostgreSQL until an
 * instance has carried them out. While one stands there, no instance may use
 * copies, neither its own nor those in Redis.
 *
 * Each instance looks at the table twice a second. An empty table allows it to
 * use copies for LEASE_MS from the moment it asked. An instance that owes an
 * invalidation stores it, waits until every lease given before has run out,
 * and answers its client after that. When another invalidation has been owed
 * for longer, all instances know already, and nobody waits.
 *
 * While PostgreSQL is away, an instance goes on as it last knew: nothing can be
 * changed meanwhile.
 *
 * Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct link;
struct loop;
struct owed;

#define OWED_COUNTRY_SIZE 4

struct owed_item {
	int64_t user_id, version; /* user_id 0: the list of country */
	int64_t seq;              /* of the row: kept by owed_paid */
	char country[OWED_COUNTRY_SIZE];
};

/* e NULL: whoever reads after this sees the change. Otherwise some may still see the old state. */
typedef void owed_done_fn(void *arg, const struct err *e);

struct owed_options {
	struct loop *loop;
	const char *url;            /* PostgreSQL's */
	bool (*can_pay)(void *arg); /* Redis can be reached */
	/* Carries them out; answers each by owed_paid, now or later. */
	void (*pay)(void *arg, const struct owed_item *items, size_t n);
	/* Copies may be used again: forget those from before. */
	void (*renew)(void *arg);
	void *arg;
};

struct owed *owed_new(const struct owed_options *o, struct err *e) MUST_CHECK;
void owed_free(struct owed *o); /* NULL is fine */
/* UP, or BLOCKED while an invalidation is owed. */
struct link *owed_link(struct owed *o);
/* Copies may be used now. */
bool owed_none(const struct owed *o);
/* An invalidation of this instance is not known to all others yet. */
bool owed_pending(const struct owed *o);
/* done may be NULL: nobody waits. why: Redis' own words, for the log. */
void owed_add(struct owed *o, const struct owed_item *item, const char *why, owed_done_fn *done,
	void *arg);
void owed_paid(struct owed *o, const struct owed_item *item, bool paid);
