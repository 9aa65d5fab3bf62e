/* SPDX-License-Identifier: MIT */
/*
 * onboard-api: one loop, one thread; no lock on the way of a request. Beside it
 * run only the publisher's thread and the outbox's (run/service).
 *
 *	main.c         the daemon: its routes, pools and metrics; what only it opens
 *	signup.c       POST /api/users/signup: micro-batches, one transaction each
 *	signup_batch.c a batch's statement, and what became of each signup in it
 *	signup_key.c   Idempotency-Key
 *	places.c       country and city of an address, before the transaction
 *	user_input.c   checks what a client says of a user, and names every fault
 *	user_get.c     GET one, through the cache's tiers (run/tiers)
 *	user_list.c    GET many, in pages
 *	user_change.c  PATCH, PUT, DELETE
 *	countries.c    names and statistics
 *	user_cache.c   how users and lists of users are kept in the tiers
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/conf.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "http/http.h"
#include "link/kv.h"
#include "link/sql_pool.h"
#include "run/daemon.h"
#include "run/outbox.h"
#include "run/publisher.h"
#include "run/service.h"

/*
 * Connections to the database, by what they serve. Lists and statistics may
 * take long, and a change may wait for a row's lock. Each has connections of
 * its own, so reads by key do not queue behind it.
 */
enum api_pool {
	POOL_SIGNUP, /* one connection: a batch forms while the last one is under way */
	POOL_READ,   /* by key: users, places, idempotency keys */
	POOL_LIST,
	POOL_CHANGE
};

enum api_metric {
	M_BATCH_ROWS,
	M_BATCHES,
	M_BATCH_SECONDS,
	M_QUEUE,
	M_SIGNUPS,
	M_STATEMENTS,
	M_COUNT
};

struct places;
struct signups;
struct tiers;

struct api {
	struct service *service;
	struct daemon *daemon;
	struct loop *loop;
	struct publisher *publisher;
	struct tiers *cache;
	struct places *places;
	struct signups *signups;
	struct metrics *metrics;
	struct metric_cell *cells[M_COUNT];
};

/* By a connection of POOL_READ, POOL_LIST. A refusal is an error here, and done is never called. */
int api_read(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
int api_list(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
/* By one of POOL_CHANGE: the parts of one transaction, as sql_async_transact has them. */
int api_change(struct api *a, struct arena *mem, const struct sql_part *parts, size_t count,
	sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;

/* main.c's routes */
http_handler_fn signup_post;
http_handler_fn user_get, user_list, user_patch, user_delete;
http_handler_fn countries_get, countries_stats;

/* signup.c */
struct signups *signups_new(struct api *a);
void signups_reload(struct signups *s, const struct conf *c);
/* Once the loop has ended: fails what waits for a timer or its turn, and whatever ends later. */
void signups_stop(struct signups *s); /* NULL is fine */
void signups_free(struct signups *s);
