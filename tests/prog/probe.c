/* SPDX-License-Identifier: MIT */
/*
 * A tiny daemon that uses all four links and does nothing else: what the fault
 * tests break the servers under. Its metrics say how many round trips each
 * server gave and how long the longest call took.
 *
 *	PROBE_QUEUE   a queue of its own; declared, published to and consumed from
 *	PROBE_DRAIN   "never": drain() never ends; a number: ends after so many ms
 *	PROBE_NO_PORT set: no admin port of its own
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "link/broker.h"
#include "link/doc.h"
#include "link/kv.h"
#include "link/sql.h"
#include "run/daemon.h"
#include "run/schema.h"
#include "base/loop.h"
#include "run/thread.h"
#include "model/topology.h"

#define EVERY_MS 100
#define STALL_MS 10000

enum server { SQL, KV, BROKER, DOC, SERVERS };
static const char *const names[SERVERS] = { "postgres", "redis", "rabbitmq", "mongo" };

enum { M_TRIPS, M_LONGEST, M_CANCELLED };
static const struct metric_def defs[] = {
	[M_TRIPS] = { "probe_round_trips_total", METRIC_COUNTER, "Answers.", { "server" } },
	[M_LONGEST] = { "probe_longest_call_milliseconds", METRIC_GAUGE,
		"The longest call, answered or not.", { "server" } },
	[M_CANCELLED] = { "probe_cancelled_total", METRIC_COUNTER,
		"Times the broker took the consumer away.", {} },
};

struct probe {
	struct daemon *daemon;
	struct metrics *metrics;
	struct loop_timer *tick, *drain;
	struct sql_async *sql;
	struct kv_async *kv;
	struct broker *broker;
	struct doc *doc;
	struct schema_check *schema;
	struct thread *broker_thread, *doc_thread;
	const char *queue;
	int64_t asked_ms[SERVERS]; /* 0: nothing is under way; loop's */
	bool consuming;            /* the broker thread's */
};

static void
call_took(struct probe *p, enum server s, int64_t ms, bool answered)
{
	struct metric_cell *longest = metrics_cell(p->metrics, M_LONGEST, names[s]);

	if (ms > (int64_t)metric_value(longest))
		metric_set(longest, ms);
	if (answered)
		metric_add(metrics_cell(p->metrics, M_TRIPS, names[s]), 1);
}

/* ---- on the loop ---- */

static void
on_sql(void *arg, const struct sql_result *r, const struct err *e)
{
	struct probe *p = arg;

	(void)r;
	call_took(p, SQL, clock_mono_ms() - p->asked_ms[SQL], !e);
	p->asked_ms[SQL] = 0;
}

static void
on_kv(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct probe *p = arg;

	(void)r;
	call_took(p, KV, clock_mono_ms() - p->asked_ms[KV], !e);
	p->asked_ms[KV] = 0;
}

static void
on_tick(void *arg)
{
	static const struct sql_statement one = { "probe_one", "SELECT 1" };
	static const char *const ping[] = { "PING" };
	struct probe *p = arg;

	if (!p->asked_ms[SQL] && sql_async_run(p->sql, NULL, &one, NULL, on_sql, p, NULL) == 0)
		p->asked_ms[SQL] = clock_mono_ms();
	if (!p->asked_ms[KV] && kv_async_run(p->kv, 1, ping, NULL, on_kv, p, NULL) == 0)
		p->asked_ms[KV] = clock_mono_ms();
	loop_timer_set(p->tick, EVERY_MS);
}

/* ---- the broker's thread ---- */

static void
on_deliver(void *arg, const struct broker_message *m)
{
	struct probe *p = arg;

	call_took(p, BROKER, 0, true);
	(void)!broker_ack(p->broker, m->tag, false, NULL);
}

static void
on_cancelled(void *arg, const char *consumer)
{
	struct probe *p = arg;

	log_warn("cancelled", LOG_S("consumer", consumer));
	metric_add(metrics_cell(p->metrics, M_CANCELLED), 1);
	p->consuming = false;
}

static int
broker_consume_again(struct probe *p, struct err *e)
{
	const struct broker_field quorum = { "x-queue-type", broker_text("quorum") };
	const struct broker_queue q = { .name = p->queue,
		.durable = true,
		.args = &quorum,
		.arg_count = 1 };

	if (topology_declare(p->broker, "", e) || broker_queue_declare(p->broker, &q, NULL, e) ||
		broker_qos(p->broker, 100, e) ||
		broker_consume(p->broker, p->queue, "probe", false, e))
		return -1;
	p->consuming = true;
	return 0;
}

static int
broker_round(struct probe *p, struct err *e)
{
	const struct broker_publish m = { .exchange = "",
		.routing_key = p->queue,
		.mandatory = true,
		.body = "{}",
		.length = 2,
		.props.delivery_mode = 2 };
	struct link_view v;

	if (!p->consuming && broker_consume_again(p, e))
		return -1;
	link_look(broker_link(p->broker), &v);
	if (v.state == LINK_UP &&
		(broker_publish(p->broker, &m, NULL, e) || broker_settle(p->broker, 3000, e)))
		return -1;
	return broker_pump(p->broker, EVERY_MS, e);
}

static void
broker_run(struct thread *t, void *arg)
{
	struct probe *p = arg;
	struct err e;

	while (!thread_stopping(t)) {
		int64_t began = clock_mono_ms();
		struct link_view v;

		e = ERR_INIT;
		thread_tick(t);
		link_look(broker_link(p->broker), &v);
		if (v.state == LINK_DOWN) {
			p->consuming = false;
			thread_wait(t, broker_due_ms(p->broker));
			began = clock_mono_ms();
			if (thread_stopping(t) || broker_connect(p->broker, &e) == 0)
				continue;
		} else if (broker_round(p, &e) && e.kind != ERR_AWAY) {
			log_warn("round failed", LOG_E(&e));
			p->consuming = false;
			thread_wait(t, EVERY_MS);
		}
		call_took(p, BROKER, clock_mono_ms() - began, false);
	}
	broker_close(p->broker);
}

/* ---- MongoDB's thread ---- */

static void
doc_run(struct thread *t, void *arg)
{
	struct probe *p = arg;

	while (!thread_stopping(t)) {
		int64_t began = clock_mono_ms(), due = doc_due_ms(p->doc);
		struct err e = ERR_INIT;
		bool answered;

		thread_tick(t);
		if (due == 0) {
			answered = doc_ping(p->doc, &e) == 0;
			call_took(p, DOC, clock_mono_ms() - began, answered);
		}
		thread_wait(t, due > EVERY_MS ? due : EVERY_MS);
	}
}

/* ---- hooks ---- */

static const struct broker_events broker_events = { .deliver = on_deliver,
	.cancelled = on_cancelled };

static int
start(struct daemon *d, void *state, struct err *e)
{
	struct probe *p = state;
	const struct conf *c = daemon_conf(d);

	p->daemon = d;
	p->queue = getenv("PROBE_QUEUE");
	if (!p->queue)
		return err_set(e, ERR_INVALID, "PROBE_QUEUE is not set");
	p->metrics = metrics_new(defs, ARRAY_LEN(defs));
	daemon_metrics(d, p->metrics);
	p->sql = sql_async_open(loop_base(daemon_loop(d)),
		&(struct sql_options){ .url = conf_string(c, "postgres", "url"),
			.application = "probe" },
		e);
	p->kv = p->sql ? kv_async_open(loop_base(daemon_loop(d)),
				 &(struct kv_options){ .url = conf_string(c, "redis", "url") }, e)
		       : NULL;
	p->broker = p->kv
		? broker_new(
			  &(struct broker_options){ .url = conf_string(c, "rabbitmq", "url"),
				  .name = "probe",
				  .events = &broker_events,
				  .arg = p,
				  .heartbeat_s =
					  (unsigned)(conf_int(c, "rabbitmq", "heartbeat") / 1000) },
			  e)
		: NULL;
	p->doc = p->broker ? doc_open(&(struct doc_options){ .url = conf_string(c, "mongo", "url"),
					      .application = "probe" },
				     e)
			   : NULL;
	if (!p->doc)
		return -1;
	daemon_depends(d, sql_async_link(p->sql), true);
	p->schema = schema_check_start(d, "onboard");
	daemon_depends(d, kv_async_link(p->kv), false);
	daemon_depends(d, broker_link(p->broker), true);
	daemon_depends(d, doc_link(p->doc), true);
	p->tick = loop_timer_new(daemon_loop(d), on_tick, p);
	loop_timer_set(p->tick, 0);
	p->broker_thread = thread_start("broker", broker_run, p);
	p->doc_thread = thread_start("mongo", doc_run, p);
	return 0;
}

static bool
alive(void *state)
{
	struct probe *p = state;

	return thread_alive(p->broker_thread, STALL_MS) && thread_alive(p->doc_thread, STALL_MS);
}

static void
on_drained(void *arg)
{
	struct probe *p = arg;

	daemon_drained(p->daemon);
}

static void
drain(void *state)
{
	struct probe *p = state;
	const char *how = getenv("PROBE_DRAIN");

	if (how && strcmp(how, "never") == 0)
		return;
	p->drain = loop_timer_new(daemon_loop(p->daemon), on_drained, p);
	loop_timer_set(p->drain, how ? strtol(how, NULL, 10) : 0);
}

static void
stop(void *state)
{
	struct probe *p = state;

	thread_join(p->broker_thread);
	thread_join(p->doc_thread);
	schema_check_stop(p->schema);
	doc_close(p->doc);
	broker_free(p->broker);
	kv_async_close(p->kv);
	sql_async_close(p->sql);
	loop_timer_free(p->tick);
	loop_timer_free(p->drain);
	metrics_free(p->metrics);
}

int
main(int argc, char **argv)
{
	const struct daemon_def def = { .name = "probe",
		.summary = "Uses all four links.",
		.admin_port = getenv("PROBE_NO_PORT") ? 0 : 9199,
		.state_size = sizeof(struct probe),
		.start = start,
		.alive = alive,
		.drain = drain,
		.stop = stop };

	return daemon_main(argc, argv, &def);
}
