/* SPDX-License-Identifier: MIT */
/*
 * onboard-api: one loop, one thread; no lock on the way of a request. Besides
 * it only the publisher's thread and the outbox's (run/publisher, run/outbox).
 *
 *	main.c         the daemon: what it opens, when it is ready, how it drains
 *	signup.c       POST /api/users/signup: micro-batches, one transaction each
 *	signup_batch.c a batch's statement, and what became of each signup in it
 *	signup_key.c   Idempotency-Key
 *	places.c       an address' country and city, before the transaction
 *	user_input.c   what a client may say of a user, every fault at once
 *	user_get.c     GET one: process, Redis, database; one rebuild at a time
 *	flight.c       one making of an answer for all who ask meanwhile
 *	user_list.c    GET many, in pages
 *	user_change.c  PATCH, PUT, DELETE
 *	countries.c    names and statistics
 *	cache.c        the tiers, and how a change reaches them
 *	cache_owed.c   invalidations that Redis refused, and who may use copies then
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/conf.h"
#include "base/metrics.h"
#include "link/kv.h"
#include "link/sql.h"
#include "run/daemon.h"
#include "http/http.h"
#include "base/loop.h"
#include "run/outbox.h"
#include "run/outbox_sweep.h"
#include "run/publisher.h"

#define API_LANE_MAX 16

/*
 * Connections to the database, by what they serve: lists and statistics may
 * take long, and what is behind them in a queue waits. So they have connections
 * of their own, and so have changes, which may wait for a row's lock.
 */
enum api_lane {
	LANE_READ, /* by key: users, places, idempotency keys */
	LANE_LIST,
	LANE_CHANGE,
	LANE_COUNT
};

struct api_lane_pool {
	struct sql_async *list[API_LANE_MAX];
	size_t count;
};

enum api_metric {
	M_BATCH_ROWS,
	M_BATCHES,
	M_BATCH_SECONDS,
	M_QUEUE,
	M_SIGNUPS,
	M_MEMORY_HITS,
	M_MEMORY_MISSES,
	M_MEMORY_ENTRIES,
	M_REDIS_HITS,
	M_REDIS_MISSES,
	M_STATEMENTS,
	M_COUNT
};

struct cache;
struct countries;
struct flights;
struct places;
struct signups;

struct api {
	struct daemon *daemon;
	struct loop *loop;
	struct http *http;
	struct sql_async *writer; /* signups alone */
	struct api_lane_pool lanes[LANE_COUNT];
	struct schema_check *schema;
	struct publisher *publisher;
	struct outbox *outbox;
	int owner; /* this process' number in outbox_unpublished */
	struct cache *cache;
	struct places *places;
	struct signups *signups;
	struct flights *flights; /* by the keys of the caches */
	struct countries *countries;
	struct metrics *metrics;
	struct metric_cell *cells[M_COUNT];
};

/* On the lane's connection with the least to do. A refusal is an error, not an answer of done. */
int api_read(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
int api_list(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
/* The parts of one transaction, as sql_async_transact has them. */
int api_change(struct api *a, struct arena *mem, const struct sql_part *parts, size_t count,
	sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;

/* main.c's routes */
http_handler_fn signup_post;
http_handler_fn user_get, user_list, user_patch, user_delete;
http_handler_fn countries_get, countries_stats;

/* signup.c */
struct signups *signups_new(struct api *a);
void signups_reload(struct signups *s, const struct conf *c);
/* The loop has ended: what waits for a timer or its turn fails, and so does whatever ends after this. */
void signups_stop(struct signups *s); /* NULL is fine */
void signups_free(struct signups *s);

/* countries.c */
struct countries *countries_new(struct api *a);
void countries_free(struct countries *c);
