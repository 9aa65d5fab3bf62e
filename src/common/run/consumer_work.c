/* SPDX-License-Identifier: MIT */
/* The consumer runtime: the worker. It decodes, runs the handler and waits for stores. */
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rnd.h"
#include "link/doc.h"
#include "link/kv.h"
#include "link/sql.h"
#include "run/consumer_own.h"
#include "run/publisher.h"

#define PROBE_EVERY_MS 2000

static const struct backoff probing = { .base_ms = 100, .cap_ms = 5000 };

const char *
consumer_why(struct batch *b, const struct err *e)
{
	const char *text = arena_strdup(b->mem, e->text);

	return text ? text : "no room for the reason";
}

static int
stores_probe(struct consumer *c, struct err *e)
{
	if (c->doc && doc_ping(c->doc, e))
		return -1;
	if (c->kv && kv_ping(c->kv, e))
		return -1;
	if (c->sql && sql_ping(c->sql, e))
		return -1;
	return c->handler->probe ? c->handler->probe(c, c->state, e) : 0;
}

static bool
daemon_ends(const struct consumer *c, const struct thread *t)
{
	return thread_stopping(t) || consumer_facts(&c->status)->draining;
}

bool
consumer_wait(struct consumer *c, int64_t ms)
{
	int64_t until = clock_mono_ms() + ms, left = ms;

	do {
		thread_tick(c->self);
		if (daemon_ends(c, c->self))
			return false;
		if (left > 0)
			thread_wait(c->self, left);
		left = until - clock_mono_ms();
	} while (left > 0);
	return true;
}

/*
 * Waits until every store answers its probe; false: the daemon ends. The state stays
 * "away" all the same, until a batch succeeds: a store may answer pings and no calls.
 */
static bool
stores_wait(struct consumer *c, struct thread *t, const struct err *why, unsigned *attempt)
{
	bool ends = daemon_ends(c, t), news;
	struct err e = ERR_INIT;

	news = consumer_state_set(&c->status, STEP_AWAY);
	thread_wake(c->io);
	if (ends)
		return false; /* the I/O thread hands back the rest */
	if (news)
		log_warn("a store is away: nothing more is taken",
			LOG_S("consumer", c->handler->name), LOG_E(why));
	else
		log_warn("a store answers its probe, but not the batch: trying again",
			LOG_S("consumer", c->handler->name), LOG_E(why));
	do {
		thread_tick(t);
		thread_wait(t, backoff_wait_ms(&probing, (*attempt)++, rnd_u64()));
		if (daemon_ends(c, t))
			return false;
	} while (stores_probe(c, &e));
	return true;
}

static void
stores_back(struct consumer *c)
{
	if (!consumer_state_set(&c->status, STEP_BACK))
		return;
	log_info("the stores are back", LOG_S("consumer", c->handler->name));
	thread_wake(c->io);
}

/* Decodes the messages and rejects those that are no event. */
static size_t
bunch_decode(struct bunch *b, struct delivery *d, size_t *which)
{
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++) {
		struct held *h = &b->list[i];
		const char *app = h->m->props.app_id;
		bool test = broker_table_int(&h->m->props.headers, EVENT_HEADER_TEST, 0) == 1;
		struct err e = ERR_INIT;

		if (h->out != OUT_UNSET)
			continue;
		if (event_parse(b->mem, h->m->body, h->m->length, &h->ev, &e)) {
			h->out = OUT_REJECT;
			h->class = RETRY_PERMANENT;
			h->why = arena_strdup(b->mem, e.text);
			continue;
		}
		which[n] = i;
		d[n++] = (struct delivery){ .ev = &h->ev,
			.body = h->m->body,
			.length = h->m->length,
			.last = retry_count(h->m) >= TOPOLOGY_RETRIES,
			.test = test,
			.own = app && strcmp(app, PUBLISHER_APP_ID) == 0 && !test };
	}
	return n;
}

static void
outcomes_take(struct bunch *b, const struct delivery *d, const size_t *which, size_t n,
	const struct err *failed)
{
	for (size_t i = 0; i < n; i++) {
		struct held *h = &b->list[which[i]];

		h->out = d[i].out;
		h->why = d[i].why;
		h->class = d[i].out == OUT_REJECT ? RETRY_PERMANENT : RETRY_AGAIN;
		if (h->out == OUT_UNSET) {
			h->out = OUT_RETRY;
			h->why = failed ? arena_strdup(b->mem, failed->text)
					: "the handler gave no outcome";
		}
	}
}

/* False: the daemon ends while a store is away; no delivery has an outcome. */
static bool
bunch_handle(struct consumer *c, struct thread *t, struct bunch *b)
{
	struct delivery *d = arena_alloc(b->mem, b->count * sizeof *d);
	size_t *which = arena_alloc(b->mem, b->count * sizeof *which), n;
	struct err e = ERR_INIT;
	int64_t began = clock_mono_us();
	unsigned attempt = 0;
	struct batch batch;
	int rc = 0;

	must(d && which);
	n = bunch_decode(b, d, which);
	while (n > 0) {
		batch = (struct batch){ d, n, b->mem };
		e = ERR_INIT;
		thread_tick(t);
		rc = c->handler->handle(c, c->state, &batch, &e);
		if (rc == 0 || e.kind != ERR_AWAY)
			break;
		/* outcomes from before the store went do not count */
		for (size_t i = 0; i < n; i++) {
			d[i].out = OUT_UNSET;
			d[i].why = NULL;
		}
		if (!stores_wait(c, t, &e, &attempt))
			return false;
	}
	stores_back(c);
	outcomes_take(b, d, which, n, rc ? &e : NULL);
	b->handled_us = clock_mono_us() - began;
	metric_observe_us(c->cells[CM_SECONDS], b->handled_us);
	metric_add(c->cells[CM_BATCHES], 1);
	return true;
}

static bool
handler_start(struct consumer *c, struct thread *t)
{
	struct err e = ERR_INIT;
	unsigned attempt = 0;

	while (!thread_stopping(t)) {
		bool there;

		thread_tick(t);
		e = ERR_INIT;
		there = stores_probe(c, &e) == 0;
		if (there && consumer_indexes_look(c, &e) == 0 &&
			(!c->handler->start || c->handler->start(c, c->state, &e) == 0)) {
			(void)consumer_state_set(&c->status, STEP_STARTED);
			thread_wake(c->io);
			return true;
		}
		/* a link reports a server that is away; nobody else reports a missing table */
		if (there || e.kind != ERR_AWAY)
			log_error("cannot begin, trying again", LOG_E(&e));
		thread_wait(t, backoff_wait_ms(&probing, attempt++, rnd_u64()));
	}
	return false;
}

/* A batch came meanwhile. Whether it succeeds says more than a probe. */
static bool
work_waits(struct consumer *c)
{
	bool waits;

	must(pthread_mutex_lock(&c->lock) == 0);
	waits = c->to_worker != NULL;
	must(pthread_mutex_unlock(&c->lock) == 0);
	return waits;
}

/* Without work nobody would notice that a store is away, so we probe it now and then. */
static void
idle_probe(struct consumer *c, struct thread *t, int64_t *probe_ms)
{
	struct err e = ERR_INIT;
	unsigned attempt = 0;

	thread_wait(t, PROBE_EVERY_MS / 2);
	if (clock_mono_ms() - *probe_ms < PROBE_EVERY_MS || thread_stopping(t))
		return;
	if (stores_probe(c, &e) && !consumer_facts(&c->status)->draining &&
		stores_wait(c, t, &e, &attempt) && !work_waits(c))
		stores_back(c);
	*probe_ms = clock_mono_ms();
}

void
consumer_work_run(struct thread *t, void *arg)
{
	struct consumer *c = arg;
	int64_t probe_ms = clock_mono_ms();

	consumer_threads_wait(c);
	c->self = t;
	if (!handler_start(c, t))
		return;
	while (!thread_stopping(t)) {
		const struct consumer_facts *now = consumer_facts(&c->status);
		struct bunch *b;
		struct err e = ERR_INIT;
		bool whole;

		thread_tick(t);
		if (!now->away && !now->draining) /* the link reports why it fails */
			(void)!consumer_indexes_look(c, &e);
		must(pthread_mutex_lock(&c->lock) == 0);
		b = c->to_worker;
		c->to_worker = NULL;
		must(pthread_mutex_unlock(&c->lock) == 0);
		if (!b) {
			idle_probe(c, t, &probe_ms);
			continue;
		}
		whole = bunch_handle(c, t, b);
		if (!whole)
			for (size_t i = 0; i < b->count; i++)
				b->list[i].out = OUT_UNSET; /* so they are handed back */
		must(pthread_mutex_lock(&c->lock) == 0);
		b->next = c->to_io;
		c->to_io = b;
		must(pthread_mutex_unlock(&c->lock) == 0);
		thread_wake(c->io);
	}
}
