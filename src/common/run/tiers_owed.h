/* SPDX-License-Identifier: MIT */
/*
 * Invalidations that are owed: Redis was away, or it refused them (its memory
 * is full, the user lacks rights, it is a replica). They stand in the table
 * cache_owed until an instance has carried them out. While a row stands there,
 * no instance may use copies, neither its own nor those in Redis.
 *
 * Each instance looks at the table twice a second. An empty table is a lease: the
 * instance may use copies for LEASE_MS from the moment it asked. An instance that
 * owes an invalidation stores a row and waits until every lease from before has
 * run out; only then its client gets an answer. When another row has stood there
 * for long enough, all instances know already, and nobody waits.
 *
 * While PostgreSQL is away, nothing can be changed, so an instance goes on as it
 * last knew.
 *
 * Only the files of run/tiers include this. Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "run/tiers.h"

struct link;
struct loop;
struct owed;

struct owed_item {
	char key[REDIS_KEY_SIZE];
	int64_t version;
	int64_t seq; /* of the row that owed_options.pay got; goes back by owed_paid */
};

struct owed_options {
	struct loop *loop;
	const char *url;            /* PostgreSQL's */
	const char *application;    /* its name for the connection */
	bool (*can_pay)(void *arg); /* Redis can be reached */
	/* Carries the invalidations out. Calls owed_paid for each, now or later. */
	void (*pay)(void *arg, const struct owed_item *items, size_t n);
	/* Copies may be used again: forget those from before. */
	void (*renew)(void *arg);
	void *arg;
};

struct owed *owed_new(const struct owed_options *o, struct err *e) MUST_CHECK;
void owed_free(struct owed *o); /* NULL is fine */
/* UP, or BLOCKED while an invalidation is owed. */
struct link *owed_link(struct owed *o);
/* Nothing is owed as far as this instance knows, and its lease has not run out. */
bool owed_none(const struct owed *o);
/* Not every other instance knows yet of an invalidation that this one owes. */
bool owed_pending(const struct owed *o);
/* done may be NULL: nobody waits. why: Redis' own words, for the log. */
void owed_add(struct owed *o, const struct owed_item *item, const char *why, tiers_done_fn *done,
	void *arg);
void owed_paid(struct owed *o, const struct owed_item *item, bool paid);
