/* SPDX-License-Identifier: MIT */
/* The consumer runtime: the daemon around the I/O thread and the worker. */
#include "run/consumer.h"

#include <stdio.h>

#include "base/log.h"
#include "link/doc.h"
#include "link/kv.h"
#include "link/sql.h"
#include "run/consumer_own.h"
#include "base/loop.h"
#include "run/schema.h"

#define LOOK_MS 20
#define IO_STALL_MS 20000   /* a connect and a declaration that both reach their deadline */
#define WORK_STALL_MS 60000 /* a batch of several calls that all reach their deadline */

static const struct metric_def defs[CM_COUNT] = {
	[CM_DELIVERIES] = { "onboard_consumer_deliveries_total", METRIC_COUNTER,
		"Deliveries settled.", { "consumer", "outcome" } },
	[CM_SECONDS] = { "onboard_consumer_batch_seconds", METRIC_HISTOGRAM, "Handling one batch.",
		{ "consumer" } },
	[CM_BATCHES] = { "onboard_consumer_batches_total", METRIC_COUNTER, "Batches handled.",
		{ "consumer" } },
	[CM_HELD] = { "onboard_consumer_held", METRIC_GAUGE, "Deliveries not acked yet.",
		{ "consumer" } },
	[CM_AWAY] = { "onboard_consumer_away", METRIC_GAUGE,
		"1 while a store is away, until a batch has succeeded.", { "consumer" } },
	[CM_PAUSED] = { "onboard_consumer_paused", METRIC_GAUGE,
		"1 while an operator has paused it.", { "consumer" } },
	[CM_REDELIVERED] = { "onboard_consumer_redelivered_total", METRIC_COUNTER,
		"Deliveries that were delivered before.", { "consumer" } },
	[CM_INDEXES] = { "onboard_consumer_indexes_missing", METRIC_GAUGE,
		"1 while an index of its collection cannot be made.", { "consumer" } },
};

/* One program is one consumer. So the daemon's hooks use this handler. */
static const struct handler *program;

struct doc *
consumer_doc(struct consumer *c)
{
	must(c->doc);
	return c->doc;
}

struct kv *
consumer_kv(struct consumer *c)
{
	must(c->kv);
	return c->kv;
}

struct sql *
consumer_sql(struct consumer *c)
{
	must(c->sql);
	return c->sql;
}

const struct conf *
consumer_conf(struct consumer *c)
{
	return daemon_conf(c->daemon);
}

void
consumer_depends(struct consumer *c, struct link *l)
{
	daemon_depends(c->daemon, l, true);
}

void
consumer_metrics(struct consumer *c, struct metrics *m)
{
	daemon_metrics(c->daemon, m);
}

/* The configured number, bounded by the handler's own maximum. */
static size_t
conf_bounded(const struct conf *f, const char *key, size_t most)
{
	size_t n = (size_t)conf_int(f, "consumer", key);

	return most && n > most ? most : n;
}

static int
stores_open(struct consumer *c, const struct conf *f, const char *name, struct err *e)
{
	if (c->handler->needs & NEED_DOC) {
		c->doc = doc_open(&(struct doc_options){ .url = conf_string(f, "mongo", "url"),
					  .application = name },
			e);
		if (!c->doc)
			return -1;
		daemon_depends(c->daemon, doc_link(c->doc), true);
	}
	if (c->handler->needs & NEED_KV) {
		c->kv = kv_open(&(struct kv_options){ .url = conf_string(f, "redis", "url") }, e);
		if (!c->kv)
			return -1;
		daemon_depends(c->daemon, kv_link(c->kv), true);
	}
	if (c->handler->needs & (NEED_SQL | NEED_SQL_READ)) {
		c->sql = sql_open(&(struct sql_options){ .url = conf_string(f, "postgres", "url"),
					  .application = name,
					  .want = c->handler->needs & NEED_SQL ? SQL_WANT_WRITABLE
									       : SQL_WANT_PRIMARY,
					  .plan_anew = true },
			e);
		if (!c->sql)
			return -1;
		daemon_depends(c->daemon, sql_link(c->sql), true);
		c->schema = schema_check_start(c->daemon, "onboard");
	}
	return 0;
}

static void
metrics_open(struct consumer *c)
{
	const char *name = c->handler->name;

	c->metrics = metrics_new(defs, ARRAY_LEN(defs));
	for (size_t i = CM_SECONDS; i < CM_COUNT; i++)
		c->cells[i] = metrics_cell(c->metrics, i, name);
	for (size_t i = 0; i < FATE_COUNT; i++)
		c->outcomes[i] = metrics_cell(c->metrics, CM_DELIVERIES, name, consumer_fates[i]);
	daemon_metrics(c->daemon, c->metrics);
}

void
consumer_threads_wait(struct consumer *c)
{
	must(pthread_mutex_lock(&c->lock) == 0);
	must(c->io && c->worker);
	must(pthread_mutex_unlock(&c->lock) == 0);
}

static int
runtime_start(struct daemon *d, void *state, struct err *e)
{
	const struct conf *f = daemon_conf(d);
	const char *only = conf_string(f, "topology", "consumers");
	struct consumer *c = state;
	char name[64];

	c->daemon = d;
	c->handler = program;
	c->place = consumer_row_find(program->name);
	must(pthread_mutex_init(&c->lock, NULL) == 0);
	c->state = must_calloc(1, program->state_size ? program->state_size : 1);
	c->batch_max = conf_bounded(f, "batch", program->batch_max);
	c->prefetch = conf_bounded(f, "prefetch", program->prefetch_max);
	c->linger_ms = conf_int(f, "consumer", "linger");
	c->check_every_ms = conf_int(f, "topology", "check_every");
	c->topology_only = only ? must_strdup(only) : NULL; /* a reload frees the configuration */
	metrics_open(c);
	consumer_status_init(&c->status, c->cells[CM_PAUSED], c->cells[CM_AWAY]);
	snprintf(name, sizeof name, "onboard-%s", program->name);
	if (topology_file_load(conf_string(f, "topology", "file"), e) ||
		topology_list_check(c->topology_only, e) || stores_open(c, f, name, e) ||
		(program->open && program->open(c, c->state, e)))
		return -1;
	c->broker = consumer_broker_new(c, conf_string(f, "rabbitmq", "url"), name,
		(unsigned)(conf_int(f, "rabbitmq", "heartbeat") / 1000), e);
	if (!c->broker)
		return -1;
	daemon_depends(d, broker_link(c->broker), true);
	/* each thread wakes the other one: see consumer_threads_wait() */
	must(pthread_mutex_lock(&c->lock) == 0);
	c->io = thread_start("broker", consumer_io_run, c);
	c->worker = thread_start("worker", consumer_work_run, c);
	must(pthread_mutex_unlock(&c->lock) == 0);
	return 0;
}

static bool
is_ready(void *state)
{
	struct consumer *c = state;
	enum consumer_state s = consumer_state(&c->status);

	return atomic_load(&c->consuming) || s == CONSUMER_PAUSED || s == CONSUMER_PAUSED_AWAY;
}

static const char *
notice_text(void *state)
{
	struct consumer *c = state;
	const struct consumer_facts *now = consumer_facts(&c->status);

	if (now->paused)
		return "paused by an operator; `onboardctl resume` ends it";
	if (now->away)
		return "a store is away; the events held are tried again";
	return consumer_indexes_notice(c);
}

static bool
threads_alive(void *state)
{
	struct consumer *c = state;

	return thread_alive(c->io, IO_STALL_MS) && thread_alive(c->worker, WORK_STALL_MS);
}

static void
on_drain_look(void *arg)
{
	struct consumer *c = arg;

	if (consumer_state(&c->status) == CONSUMER_DRAINED)
		daemon_drained(c->daemon);
	else
		loop_timer_set(c->drain_look, LOOK_MS);
}

static void
handler_reload(void *state, const struct conf *now)
{
	struct consumer *c = state;

	if (program->reload)
		program->reload(c->state, now);
}

static void
drain_begin(void *state)
{
	struct consumer *c = state;

	(void)consumer_state_set(&c->status, STEP_DRAIN);
	thread_wake(c->io);
	thread_wake(c->worker);
	c->drain_look = loop_timer_new(daemon_loop(c->daemon), on_drain_look, c);
	loop_timer_set(c->drain_look, 0);
}

static void
runtime_stop(void *state)
{
	struct consumer *c = state;

	if (!c->handler)
		return;
	/* each may wake the other up to its end */
	thread_finish(c->worker);
	thread_finish(c->io);
	thread_join(c->worker);
	thread_join(c->io);
	consumer_io_end(c);
	broker_free(c->broker);
	if (c->handler->stop)
		c->handler->stop(c->state);
	doc_close(c->doc);
	kv_close(c->kv);
	sql_close(c->sql);
	schema_check_stop(c->schema);
	topology_file_forget();
	loop_timer_free(c->drain_look);
	consumer_status_fini(&c->status);
	metrics_free(c->metrics);
	must(pthread_mutex_destroy(&c->lock) == 0);
	free(c->topology_only);
	free(c->state);
}

int
consumer_main(int argc, char **argv, const struct handler *h)
{
	static char name[64];
	const struct consumer_row *row = consumer_row_find(h->name);
	struct daemon_def def = { .name = name,
		.summary = h->summary,
		.state_size = sizeof(struct consumer),
		.check = h->check,
		.start = runtime_start,
		.reload = handler_reload,
		.ready = is_ready,
		.notice = notice_text,
		.alive = threads_alive,
		.drain = drain_begin,
		.stop = runtime_stop };

	must(row); /* in model/consumers.h */
	must(!row->collection || h->needs & NEED_DOC);
	def.admin_port = row->admin_port;
	snprintf(name, sizeof name, "onboard-%s", h->name);
	program = h;
	return daemon_main(argc, argv, &def);
}
