/* SPDX-License-Identifier: MIT */
/*
 * onboard-analytics counts events by day, type and country in PostgreSQL. In
 * Redis it keeps each day's totals and the users who were active on that day.
 *
 * An event counts once however often it is delivered, because its row in the
 * inbox and its counts commit together. Redis gets totals, never increments.
 */
#include "analytics_own.h"
#include "base/log.h"
#include "model/days.h"

struct analytics {
	struct days_due keep_due; /* when to look after the inbox' partitions next */
};

static int
analytics_start(struct consumer *c, void *state, struct err *e)
{
	struct analytics *a = state;
	struct arena *mem = arena_new(1 << 14, 1 << 20);
	int rc = analytics_keep(c, mem, e);

	arena_free(mem);
	days_kept(&a->keep_due, rc);
	if (rc >= 0) /* 1: the rest is done later */
		return 0;
	return err_wrap(e, "looking after the inbox (is the schema up to date? onboardctl doctor)");
}

/* A failure stops nothing: a row without a partition goes into the default partition. */
static int
inbox_keep(struct consumer *c, struct analytics *a, struct arena *mem, struct err *e)
{
	struct err why = ERR_INIT;
	int rc;

	if (!days_due(&a->keep_due))
		return 0;
	rc = analytics_keep(c, mem, &why);
	days_kept(&a->keep_due, rc);
	if (rc >= 0)
		return 0;
	if (why.kind == ERR_AWAY)
		return err_set(e, ERR_AWAY, "%s", why.text);
	log_warn("looking after the inbox failed", LOG_E(&why));
	return 0;
}

static int
analytics_handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	struct counted *list;
	size_t n;

	if (inbox_keep(c, state, b->mem, e))
		return -1;
	list = analytics_list(b, &n);
	if (analytics_count(c, b->mem, list, n, e) || analytics_show(c, b->mem, list, n, e))
		return -1;
	for (size_t i = 0; i < b->n; i++)
		b->d[i].out = OUT_DONE;
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct handler analytics = { .name = "analytics",
		.summary = "Counts events by day, type and country.",
		.needs = NEED_SQL | NEED_KV,
		.state_size = sizeof(struct analytics),
		.start = analytics_start,
		.handle = analytics_handle };

	return consumer_main(argc, argv, &analytics);
}
