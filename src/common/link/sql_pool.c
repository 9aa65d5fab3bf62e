/* SPDX-License-Identifier: MIT */
#include "link/sql_pool.h"

#include <stdlib.h>

#include "base/must.h"

struct sql_pool {
	struct sql_async **list;
	size_t count; /* open ones; 0: closed */
};

struct sql_pool *
sql_pool_open(struct event_base *base, const struct sql_options *o, size_t count, struct err *e)
{
	struct sql_pool *p = must_calloc(1, sizeof *p);

	must(count > 0);
	p->list = must_calloc(count, sizeof *p->list);
	while (p->count < count) {
		p->list[p->count] = sql_async_open(base, o, e);
		if (!p->list[p->count]) {
			sql_pool_free(p);
			return NULL;
		}
		p->count++;
	}
	return p;
}

void
sql_pool_close(struct sql_pool *p)
{
	/* out of the list before it closes: an answer may lead to a call on another one */
	while (p && p->count > 0)
		sql_async_close(p->list[--p->count]);
}

void
sql_pool_free(struct sql_pool *p)
{
	if (!p)
		return;
	sql_pool_close(p);
	free(p->list);
	free(p);
}

/* The usable connection with the fewest calls; the first one where none is usable. */
static struct sql_async *
least_busy(const struct sql_pool *p)
{
	struct sql_async *best = NULL;

	for (size_t i = 0; i < p->count; i++) {
		struct sql_async *s = p->list[i];

		if (link_usable(sql_async_link(s)) &&
			(!best || sql_async_waiting(s) < sql_async_waiting(best)))
			best = s;
	}
	return best ? best : p->list[0];
}

bool
sql_pool_usable(const struct sql_pool *p)
{
	return p->count > 0 && link_usable(sql_async_link(least_busy(p)));
}

struct link *
sql_pool_link(struct sql_pool *p)
{
	must(p->count > 0);
	return sql_async_link(p->list[0]);
}

int
sql_pool_run(struct sql_pool *p, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *params, sql_done_fn *done, void *arg, struct err *e)
{
	return sql_pool_transact(p, mem, &(struct sql_part){ st, params }, 1, done, arg, e);
}

int
sql_pool_transact(struct sql_pool *p, struct arena *mem, const struct sql_part *parts, size_t count,
	sql_done_fn *done, void *arg, struct err *e)
{
	if (p->count == 0)
		return err_set(e, ERR_AWAY, "the process is ending");
	return sql_async_transact(least_busy(p), mem, parts, count, done, arg, e);
}
