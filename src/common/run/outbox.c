/* SPDX-License-Identifier: MIT */
#include "run/outbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "link/sql.h"
#include "model/days.h"
#include "model/outbox_sql.h"
#include "model/signup_keys.h"
#include "run/outbox_sweep.h"
#include "run/publisher.h"
#include "run/thread.h"

#define DONE_MAX \
	200000 /* batches remembered while the database is away; others are published again */
#define FORGET_MAX 2000 /* batches in one statement */
#define SWEEP_EVERY_MS 1000
#define LOOK_EVERY_MS 2000
#define STUCK_MS 5000 /* so long the same event is the oldest, past outbox.sweep_after */
#define KEYS_EVERY_MS 10000
#define KEYS_BUDGET_MS 100
#define LINGER_MS 50
#define STALL_MS 30000
#define ARENA_MAX (256u << 20)
#define STEPS 3

enum { M_UNPUBLISHED, M_OLDEST, M_SWEPT };
static const struct metric_def defs[] = {
	[M_UNPUBLISHED] = { "onboard_outbox_unpublished", METRIC_GAUGE,
		"Events that no broker has confirmed yet, of the 10000 oldest batches.", {} },
	[M_OLDEST] = { "onboard_outbox_oldest_seconds", METRIC_GAUGE,
		"Age of the oldest unpublished event by PostgreSQL's clock; below 0: that was set back.",
		{} },
	[M_SWEPT] = { "onboard_outbox_swept_total", METRIC_COUNTER,
		"Events that stayed behind and were published by the sweeper.", {} },
};

struct outbox {
	struct sql *sql;
	struct thread *thread;
	struct publisher *publisher;
	struct metrics *metrics;
	int64_t retention_days;
	atomic_bool ready, stuck;
	atomic_size_t swept; /* events published since the last log line */

	pthread_mutex_t lock; /* guards awake and done */
	bool awake;           /* the thread runs and may be woken */
	struct uuid *done;    /* confirmed batches whose rows still exist */
	size_t done_count;

	/* used by the thread alone */
	struct thread *self; /* NULL while the thread does not run */
	struct arena *mem;
	struct uuid *taken;
	size_t taken_count;
	struct outbox_sweep sweep;
	int64_t due_ms[STEPS];
	struct days_due keep_due;
	char oldest[40];  /* when the oldest unpublished batch was written */
	int64_t moved_ms; /* when the oldest batch last changed, or a server was away */
};

void
outbox_done(void *arg, const struct uuid *ids, size_t n, size_t swept)
{
	struct outbox *o = arg;
	size_t room;

	atomic_fetch_add(&o->swept, swept);
	metric_add(metrics_cell(o->metrics, M_SWEPT), swept);
	must(pthread_mutex_lock(&o->lock) == 0);
	room = DONE_MAX - o->done_count;
	if (n > room)
		n = room;
	memcpy(o->done + o->done_count, ids, n * sizeof *ids);
	o->done_count += n;
	if (o->awake)
		thread_wake(o->thread);
	must(pthread_mutex_unlock(&o->lock) == 0);
}

/* ---- forgetting confirmed batches ---- */

static void
done_take(struct outbox *o)
{
	size_t n;

	must(pthread_mutex_lock(&o->lock) == 0);
	n = o->done_count;
	if (n > DONE_MAX - o->taken_count)
		n = DONE_MAX - o->taken_count;
	memcpy(o->taken + o->taken_count, o->done, n * sizeof *o->done);
	o->taken_count += n;
	o->done_count -= n;
	memmove(o->done, o->done + n, o->done_count * sizeof *o->done);
	must(pthread_mutex_unlock(&o->lock) == 0);
}

static int
confirmed_forget(struct outbox *o, struct err *e)
{
	char id[UUID_TEXT_SIZE];
	struct sql_params p;
	struct sql_result r;
	struct sql_array ids;
	int rc = 0;

	sql_array_init(&ids, FORGET_MAX * (UUID_TEXT_SIZE + 3) + 16);
	while (o->taken_count > 0 && rc == 0) {
		size_t n = o->taken_count < FORGET_MAX ? o->taken_count : FORGET_MAX;

		sql_array_clear(&ids);
		for (size_t i = 0; i < n; i++) {
			uuid_format(&o->taken[o->taken_count - 1 - i], id);
			sql_array_text(&ids, id);
		}
		sql_params_init(&p);
		if (fault_hit(FAULT_outbox_forget))
			rc = err_set(e, ERR_INTERNAL, "fault point outbox_forget");
		else
			rc = sql_add_array(&p, &ids, e);
		if (rc == 0)
			rc = sql_run(o->sql, o->mem, &outbox_forget, &p, &r, e);
		if (rc == 0)
			o->taken_count -= n;
		arena_reset(o->mem);
		if (o->self)
			thread_tick(o->self);
	}
	sql_array_fini(&ids);
	return rc;
}

/* ---- events that stayed behind ---- */

static bool
batch_confirmed(void *arg, const struct uuid *batch_id)
{
	struct outbox *o = arg;

	done_take(o);
	for (size_t i = 0; i < o->taken_count; i++)
		if (memcmp(&o->taken[i], batch_id, sizeof *batch_id) == 0)
			return true;
	return false;
}

static int
sweep_step(struct outbox *o, struct err *e)
{
	if (outbox_owner_hold(&o->sweep, o->mem, e))
		return -1;
	return outbox_sweep(&o->sweep, o->mem, e);
}

/* ---- keeping ---- */

/*
 * The sweeper is stuck when the same event stays the oldest although the broker is
 * up, whatever the reason. An outage is no such case: the server's link reports it.
 */
static void
stuck_look(struct outbox *o, bool looked, const char *oldest, int64_t age_s)
{
	bool could = link_usable(publisher_link(o->publisher)) && link_usable(sql_link(o->sql));
	bool old = !looked || (oldest && (age_s < 0 || age_s * 1000 > o->sweep.after_ms));
	bool same = !looked || (oldest && strcmp(oldest, o->oldest) == 0);
	int64_t now = clock_mono_ms();

	if (!could || !old || !same)
		o->moved_ms = now;
	if (looked)
		snprintf(o->oldest, sizeof o->oldest, "%s", oldest ? oldest : "");
	atomic_store(&o->stuck, now - o->moved_ms > STUCK_MS);
}

static int
backlog_look(struct outbox *o, struct err *e)
{
	size_t swept = atomic_exchange(&o->swept, 0);
	struct outbox_backlog b;

	if (swept > 0)
		log_info("events that had stayed behind are published",
			LOG_I("events", (int64_t)swept));
	if (outbox_backlog_read(o->sql, o->mem, false, &b, e)) {
		stuck_look(o, false, NULL, 0);
		return -1;
	}
	metric_set(metrics_cell(o->metrics, M_UNPUBLISHED), b.events);
	metric_set(metrics_cell(o->metrics, M_OLDEST), b.oldest_s);
	stuck_look(o, true, b.oldest, b.oldest_s);
	atomic_store(&o->ready, true); /* its tables have answered, so the schema exists */
	return 0;
}

static void
on_tick(void *arg)
{
	thread_tick(arg);
}

/* Nothing depends on it: a later turn does what this one could not. */
static void
days_keep_turn(struct outbox *o)
{
	struct err e = ERR_INIT;
	int rc = outbox_keep(o->sql, o->mem, o->retention_days, on_tick, o->self, &e);

	if (rc < 0 && link_usable(sql_link(o->sql)))
		log_warn("keeping the outbox' days failed", LOG_E(&e));
	days_kept(&o->keep_due, rc);
}

/* It works in short portions, so confirmed and unpublished events need not wait. */
static int
keys_forget(struct outbox *o, struct err *e)
{
	return signup_keys_forget(o->sql, o->mem, KEYS_BUDGET_MS, e);
}

/*
 * The link reports a server that is away; other errors are logged here. Before
 * the schema exists, ERR_AWAY is not logged. Returns the least time to wait.
 */
static int64_t
step_failed(const struct outbox *o, const char *step, const struct err *e)
{
	int64_t due = sql_due_ms(o->sql);

	if (!link_usable(sql_link(o->sql)))
		return due > 50 ? due : 50;
	if (e->kind != ERR_AWAY || atomic_load(&o->ready))
		log_warn("keeping the outbox failed", LOG_S("step", step), LOG_E(e));
	return SWEEP_EVERY_MS;
}

/* Each step has its own schedule, and runs whether or not the others succeeded. */
static const struct {
	const char *name;
	int (*run)(struct outbox *, struct err *);
	int64_t every_ms, more_ms; /* more_ms: when a step was not finished */
} steps[STEPS] = {
	{ "sweep", sweep_step, SWEEP_EVERY_MS, 0 },
	{ "look", backlog_look, LOOK_EVERY_MS, 0 },
	{ "keys", keys_forget, KEYS_EVERY_MS, 0 },
};

/* Returns how long to wait until the next turn. */
static int64_t
outbox_turn(struct outbox *o)
{
	struct err e = ERR_INIT;
	int64_t wait = SWEEP_EVERY_MS, left;

	done_take(o);
	if (confirmed_forget(o, &e))
		wait = step_failed(o, "forget", &e);
	for (size_t i = 0; i < STEPS; i++) {
		if (clock_mono_ms() >= o->due_ms[i]) {
			int rc;

			e = ERR_INIT;
			rc = steps[i].run(o, &e);
			arena_reset(o->mem);
			thread_tick(o->self);
			o->due_ms[i] = clock_mono_ms() +
				(rc < 0                  ? step_failed(o, steps[i].name, &e)
						: rc > 0 ? steps[i].more_ms
							 : steps[i].every_ms);
		}
		left = o->due_ms[i] - clock_mono_ms();
		if (left < wait)
			wait = left;
	}
	if (days_due(&o->keep_due))
		days_keep_turn(o);
	arena_reset(o->mem);
	return wait;
}

static void
outbox_thread(struct thread *t, void *arg)
{
	struct outbox *o = arg;

	o->self = t;
	o->moved_ms = clock_mono_ms();
	while (!thread_stopping(t)) {
		int64_t wait;

		thread_tick(t);
		wait = outbox_turn(o);
		thread_wait(t, wait);
		/* confirms arrive in small portions; after a short wait one statement takes many */
		if (!thread_stopping(t))
			(void)poll(NULL, 0, LINGER_MS);
	}
}

struct outbox *
outbox_new(const struct outbox_options *options, struct err *e)
{
	struct outbox *o = must_calloc(1, sizeof *o);

	o->sweep = (struct outbox_sweep){ .owner = options->owner,
		.after_ms = options->sweep_after_ms,
		.confirmed = batch_confirmed,
		.arg = o };
	o->retention_days = options->retention_days;
	must(pthread_mutex_init(&o->lock, NULL) == 0);
	o->metrics = metrics_new(defs, ARRAY_LEN(defs));
	o->mem = arena_new(1 << 14, ARENA_MAX);
	o->done = must_calloc(DONE_MAX, sizeof *o->done);
	o->taken = must_calloc(DONE_MAX, sizeof *o->taken);
	o->sql = sql_open(&(struct sql_options){ .url = options->url,
				  .application = options->name,
				  .link_name = "postgres-outbox",
				  .want = SQL_WANT_WRITABLE,
				  .lazy_commit = true,
				  .plan_anew = true },
		e);
	if (!o->sql) {
		outbox_stop(o, 0);
		return NULL;
	}
	o->sweep.sql = o->sql;
	return o;
}

void
outbox_start(struct outbox *o, struct publisher *p)
{
	o->publisher = o->sweep.publisher = p;
	o->thread = thread_start("outbox", outbox_thread, o);
	must(pthread_mutex_lock(&o->lock) == 0);
	o->awake = true;
	must(pthread_mutex_unlock(&o->lock) == 0);
}

void
outbox_halt(struct outbox *o)
{
	must(pthread_mutex_lock(&o->lock) == 0);
	o->awake = false;
	must(pthread_mutex_unlock(&o->lock) == 0);
	thread_join(o->thread);
	o->thread = o->self = NULL;
}

void
outbox_stop(struct outbox *o, int64_t wait_ms)
{
	int64_t until = clock_mono_ms() + wait_ms;
	struct err e = ERR_INIT;

	if (!o)
		return;
	outbox_halt(o);
	do {
		done_take(o);
	} while (o->sql && wait_ms > 0 && o->taken_count && confirmed_forget(o, &e) == 0 &&
		clock_mono_ms() < until);
	if (o->taken_count)
		log_warn(
			"confirmed events are still written down as unpublished, and will come twice",
			LOG_I("batches", (int64_t)o->taken_count), LOG_E(&e));
	sql_close(o->sql);
	arena_free(o->mem);
	metrics_free(o->metrics);
	must(pthread_mutex_destroy(&o->lock) == 0);
	free(o->done);
	free(o->taken);
	free(o);
}

struct metrics *
outbox_metrics(struct outbox *o)
{
	return o->metrics;
}

bool
outbox_alive(const struct outbox *o)
{
	return thread_alive(o->thread, STALL_MS);
}

bool
outbox_ready(const struct outbox *o)
{
	return atomic_load(&o->ready);
}

bool
outbox_stuck(const struct outbox *o)
{
	return atomic_load(&o->stuck);
}
