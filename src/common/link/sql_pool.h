/* SPDX-License-Identifier: MIT */
/*
 * A few connections to one database on the loop (sql_async), so that a slow
 * statement holds up only its own connection. A call goes to the usable
 * connection with the fewest calls.
 *
 * What must not wait for each other has a pool of its own: reads by key do not
 * wait for a list, and neither waits for a change that waits for a row's lock.
 *
 * Threads: the loop's; the links may be read by any.
 * Ownership: the pool owns its connections. Results, statements and parameters
 * are as in sql.h.
 *
 * The end has two steps. sql_pool_close answers what waits with ERR_AWAY, and
 * such an answer may make its caller ask again: a closed pool refuses each call
 * with ERR_AWAY. sql_pool_free comes once nobody can call any more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "link/sql.h"

struct sql_pool;

/* count: from 1 on. All connections begin to connect at once. */
struct sql_pool *sql_pool_open(struct event_base *base, const struct sql_options *o, size_t count,
	struct err *e) MUST_CHECK;
void sql_pool_close(struct sql_pool *p); /* NULL is fine */
void sql_pool_free(struct sql_pool *p);  /* closes it where that is left; NULL is fine */

bool sql_pool_usable(const struct sql_pool *p); /* one connection at least; false once closed */
/* The first connection's link: the one that /health shows for the pool. Not of a closed pool. */
struct link *sql_pool_link(struct sql_pool *p);

/* As sql_async_run and sql_async_transact. */
int sql_pool_run(struct sql_pool *p, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *params, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
int sql_pool_transact(struct sql_pool *p, struct arena *mem, const struct sql_part *parts,
	size_t count, sql_done_fn *done, void *arg, struct err *e) MUST_CHECK;
