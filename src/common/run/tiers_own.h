/* SPDX-License-Identifier: MIT */
/* What the files of run/tiers share; nobody else includes it. */
#pragma once

#include "base/lru.h"
#include "base/metrics.h"
#include "link/kv.h"
#include "run/flight.h"
#include "run/tiers.h"
#include "run/tiers_owed.h"

enum tiers_metric {
	M_MEMORY_HITS,
	M_MEMORY_MISSES,
	M_MEMORY_ENTRIES,
	M_REDIS_HITS,
	M_REDIS_MISSES,
	M_COUNT
};

struct tiers {
	struct lru *shared, *local; /* copies of keys that Redis has too; of local kinds */
	struct kv_async *kv, *listener;
	struct owed *owed;
	struct flights *flights;
	const struct tiers_kind *const *kinds;
	int64_t ttl_s;
	int64_t plain_put_ms; /* when this process last wrote a text without a guard to Redis */
	struct metrics *metrics;
	struct metric_cell *cells[M_COUNT];
};

/* Copies may be used now. */
bool tiers_usable(const struct tiers *t);
/* For a command whose answer changes nothing here. */
void tiers_ignore(void *arg, const struct kv_reply *r, const struct err *e);

/* tiers_tell.c: deletes a key's text in Redis and tells the other processes. */
void tiers_tell(struct tiers *t, const struct owed_item *item, tiers_done_fn *done, void *arg);
/* For tiers_owed: the same for rows of the table. */
void tiers_pay(void *arg, const struct owed_item *items, size_t n);
