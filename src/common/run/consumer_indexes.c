/* SPDX-License-Identifier: MIT */
/*
 * The consumer runtime: the indexes of the collection that the handler writes. The
 * worker makes them at the start. Somebody may drop one later, so it looks again
 * every topology.check_every.
 *
 * Sometimes an index cannot be made, for instance because the documents of two
 * users have the same e-mail. Then the consumer works on without it and says so:
 * each event still brings its user's document nearer to the truth, and one of them
 * may end the fault.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/consumer_own.h"
#include "model/doc_indexes.h"

static bool
mending_goes_on(void *arg)
{
	return consumer_wait(arg, 0);
}

/* why "": no index is missing. */
static void
lack_set(struct consumer *c, const char *why)
{
	bool news;

	must(pthread_mutex_lock(&c->lock) == 0);
	news = strncmp(c->lack, why, sizeof c->lack - 1) != 0;
	snprintf(c->lack, sizeof c->lack, "%s", why);
	must(pthread_mutex_unlock(&c->lock) == 0);
	metric_set(c->cells[CM_INDEXES], *why != '\0');
	if (news && *why)
		log_warn("an index is missing: `onboardctl doctor` says how to mend it",
			LOG_S("collection", c->place->collection), LOG_S("why", why));
	else if (news)
		log_info("no index is missing any more", LOG_S("collection", c->place->collection));
}

int
consumer_indexes_look(struct consumer *c, struct err *e)
{
	enum consumer_state s = consumer_state(&c->status);
	bool starting = s == CONSUMER_STARTING || s == CONSUMER_STARTING_PAUSED;
	struct arena *mem;
	const char *why;
	int rc;

	if (!c->place->collection || clock_mono_ms() < c->indexes_ms)
		return 0;
	mem = arena_new(4096, 1 << 20);
	rc = doc_indexes_mend(c->doc, mem, c->place->collection, mending_goes_on, c, &why, e);
	if (rc == 0)
		lack_set(c, why);
	arena_free(mem);
	/* the start needs the indexes, so a failed look is repeated at once; later it can wait */
	if (rc == 0 || !starting)
		c->indexes_ms = clock_mono_ms() + c->check_every_ms;
	return rc;
}

const char *
consumer_indexes_notice(struct consumer *c)
{
	must(pthread_mutex_lock(&c->lock) == 0);
	memcpy(c->lack_shown, c->lack, sizeof c->lack_shown);
	must(pthread_mutex_unlock(&c->lock) == 0);
	return *c->lack_shown ? c->lack_shown : NULL;
}
