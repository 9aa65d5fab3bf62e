/* SPDX-License-Identifier: MIT */
#include "run/outbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "link/sql.h"
#include "run/days.h"
#include "run/outbox_keep.h"
#include "run/publisher.h"
#include "run/thread.h"

#define DONE_MAX 200000 /* remembered while the database is away; the rest is published again */
#define FORGET_MAX 2000 /* in one statement */
#define SWEEP_MAX 500   /* in one transaction */
#define SWEEP_WAIT_MS 5000
#define SWEEP_EVERY_MS 1000
#define LOOK_EVERY_MS 5000
#define LINGER_MS 50
#define STALL_MS 30000
#define ARENA_MAX (256u << 20)

enum { M_UNPUBLISHED, M_OLDEST, M_SWEPT };
static const struct metric_def defs[] = {
	[M_UNPUBLISHED] = { "onboard_outbox_unpublished", METRIC_GAUGE,
		"Events that no broker has confirmed yet, of the 10000 oldest batches.", {} },
	[M_OLDEST] = { "onboard_outbox_oldest_seconds", METRIC_GAUGE,
		"Age of the oldest unpublished event.", {} },
	[M_SWEPT] = { "onboard_outbox_swept_total", METRIC_COUNTER,
		"Events that stayed behind and were published by the sweeper.", {} },
};

static const struct sql_statement forget_some = { "outbox_forget",
	"DELETE FROM outbox_unpublished WHERE batch_id = ANY ($1::uuid[])" };
static const struct sql_statement left_behind = { "outbox_left_behind",
	"WITH u AS MATERIALIZED (SELECT * FROM outbox_unpublished WHERE batch_id < $1::uuid"
	" ORDER BY batch_id LIMIT $2::integer FOR UPDATE SKIP LOCKED)"
	" SELECT u.batch_id, o.event_id, o.type, o.body, o.traceparent FROM u"
	" LEFT JOIN outbox o ON o.day BETWEEN u.first_day AND u.last_day"
	" AND o.event_id = ANY (u.event_ids) ORDER BY u.batch_id, o.event_id" };
static const struct sql_statement backlog = { "outbox_backlog",
	"SELECT coalesce(sum(cardinality(event_ids)), 0), min(batch_id::text)"
	" FROM (SELECT * FROM outbox_unpublished ORDER BY batch_id LIMIT 10000) u" };
struct outbox {
	struct sql *sql;
	struct thread *thread;
	struct publisher *publisher;
	struct metrics *metrics;
	int64_t sweep_after_ms, retention_days;
	atomic_bool ready;

	pthread_mutex_t lock; /* of awake and done */
	bool awake;           /* the thread is there to be woken */
	struct uuid *done;    /* batches confirmed, still written down as unpublished */
	size_t done_count;

	/* the thread's own */
	struct thread *self; /* NULL: before it, and after */
	struct arena *mem;
	struct uuid *taken;
	size_t taken_count;
	int64_t sweep_ms, look_ms;
	struct days_due keep_due;
};

void
outbox_day(const struct uuid *id, char out[static OUTBOX_DAY_SIZE])
{
	char text[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(uuid7_time_ms(id) * 1000, text);
	snprintf(out, OUTBOX_DAY_SIZE, "%.10s", text);
}

void
outbox_done(void *arg, const struct uuid *ids, size_t n)
{
	struct outbox *o = arg;
	size_t room;

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

/* ---- forgetting what is confirmed ---- */

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
forget(struct outbox *o, struct err *e)
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
			rc = sql_run(o->sql, o->mem, &forget_some, &p, &r, e);
		if (rc == 0)
			o->taken_count -= n;
		arena_reset(o->mem);
		if (o->self)
			thread_tick(o->self);
	}
	sql_array_fini(&ids);
	return rc;
}

/* ---- what stayed behind ---- */

/* An id that sorts before all made from this time on. */
static void
cutoff_format(int64_t ms, char out[static UUID_TEXT_SIZE])
{
	struct uuid u = { 0 };

	for (int i = 0; i < 6; i++)
		u.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
	uuid_format(&u, out);
}

/* How many of the batches the publisher has confirmed by now. */
static size_t
confirmed_count(struct outbox *o, const struct uuid *ids, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < o->taken_count; k++)
			if (memcmp(&ids[i], &o->taken[k], sizeof *ids) == 0) {
				found++;
				break;
			}
	return found;
}

static void
swept_wait(struct outbox *o, const struct uuid *ids, size_t n)
{
	int64_t until = clock_mono_ms() + SWEEP_WAIT_MS;

	while (confirmed_count(o, ids, n) < n && clock_mono_ms() < until &&
		!thread_stopping(o->self)) {
		thread_wait(o->self, until - clock_mono_ms());
		done_take(o);
	}
}

static struct publisher_batch *
batch_pushed(struct outbox *o, struct publisher_batch *b, size_t *refused)
{
	if (b && !publisher_push(o->publisher, b))
		++*refused; /* full: these are not the ones to hurry with */
	return NULL;
}

/* Their rows stay locked until they are confirmed and gone, or given back. Answers how many events. */
static int64_t
sweep_rows(struct outbox *o, const struct sql_result *r)
{
	struct uuid ids[SWEEP_MAX], event;
	struct publisher_batch *b = NULL;
	size_t n = 0, refused = 0;
	int64_t events = 0;

	for (size_t i = 0; i < r->rows; i++) {
		const char *id = sql_text(r, i, 0);

		if (i == 0 || strcmp(id, sql_text(r, i - 1, 0)) != 0) {
			b = batch_pushed(o, b, &refused);
			must(n < SWEEP_MAX && uuid_parse(id, 36, &ids[n]));
			b = publisher_batch_new(&ids[n++], 4096);
		}
		if (sql_null(r, i, 1)) {
			log_error("an unpublished batch has lost its events",
				LOG_S("batch_id", id));
			publisher_batch_free(b);
			b = NULL;
			n--;
			continue;
		}
		must(uuid_parse(sql_text(r, i, 1), 36, &event));
		publisher_batch_add(b,
			&(struct publisher_event){ .id = event,
				.type = sql_text(r, i, 2),
				.body = sql_text(r, i, 3),
				.length = sql_length(r, i, 3),
				.traceparent = sql_text(r, i, 4) });
		events++;
	}
	(void)batch_pushed(o, b, &refused);
	if (refused == 0)
		swept_wait(o, ids, n);
	metric_add(metrics_cell(o->metrics, M_SWEPT), (uint64_t)events);
	return events;
}

/* 1: there may be more at once. */
static int
sweep(struct outbox *o, struct err *e)
{
	int64_t before = clock_wall_us() / 1000 - o->sweep_after_ms;
	int64_t oldest = publisher_oldest_ms(o->publisher);
	char cutoff[UUID_TEXT_SIZE];
	struct sql_params p;
	struct sql_result r;
	enum sql_fate fate;
	int64_t n;
	size_t batches = 0;

	if (!link_usable(publisher_link(o->publisher)))
		return 0;
	/* what the publisher still has in memory is not left behind, however old it is */
	if (oldest && oldest - o->sweep_after_ms < before)
		before = oldest - o->sweep_after_ms;
	cutoff_format(before, cutoff);
	sql_params_init(&p);
	sql_add_text(&p, cutoff);
	sql_add_i64(&p, SWEEP_MAX);
	if (sql_begin(o->sql, e))
		return -1;
	if (sql_run(o->sql, o->mem, &left_behind, &p, &r, e)) {
		sql_rollback(o->sql);
		return -1;
	}
	for (size_t i = 0; i < r.rows; i++)
		batches += i == 0 || strcmp(sql_text(&r, i, 0), sql_text(&r, i - 1, 0)) != 0;
	n = r.rows ? sweep_rows(o, &r) : 0;
	/* deleted inside the transaction that holds the locks; else they would be swept again */
	if (n > 0 && forget(o, e)) {
		sql_rollback(o->sql);
		return -1;
	}
	if (sql_commit(o->sql, &fate, e))
		return -1;
	if (n > 0)
		log_info("events that had stayed behind are published", LOG_I("events", n));
	return batches == SWEEP_MAX;
}

/* ---- keeping ---- */

static int
look(struct outbox *o, struct err *e)
{
	struct sql_result r;
	struct uuid oldest;
	int64_t n, age = 0;

	if (sql_run(o->sql, o->mem, &backlog, NULL, &r, e) || sql_i64(&r, 0, 0, &n, e))
		return -1;
	if (!sql_null(&r, 0, 1) && uuid_parse(sql_text(&r, 0, 1), 36, &oldest))
		age = clock_wall_us() / 1000000 - uuid7_time_ms(&oldest) / 1000;
	metric_set(metrics_cell(o->metrics, M_UNPUBLISHED), n);
	metric_set(metrics_cell(o->metrics, M_OLDEST), age > 0 ? age : 0);
	return 0;
}

static void
on_tick(void *arg)
{
	thread_tick(arg);
}

/* Nothing waits for it: what it could not do now is done at a later turn. */
static void
keep(struct outbox *o)
{
	struct err e = ERR_INIT;
	int rc = outbox_keep(o->sql, o->mem, o->retention_days, on_tick, o->self, &e);

	if (rc < 0 && link_usable(sql_link(o->sql)))
		log_warn("keeping the outbox' days failed", LOG_E(&e));
	days_kept(&o->keep_due, rc);
}

static int
turn(struct outbox *o, struct err *e)
{
	int64_t now = clock_mono_ms();
	int rc = 0;

	done_take(o);
	if (forget(o, e))
		return -1;
	if (!atomic_load(&o->ready)) { /* the first answer of its tables: the schema is there */
		if (look(o, e))
			return -1;
		atomic_store(&o->ready, true);
	}
	if (days_due(&o->keep_due))
		keep(o);
	if (now >= o->sweep_ms) {
		rc = sweep(o, e);
		if (rc < 0)
			return -1;
		o->sweep_ms = now + (rc ? 0 : SWEEP_EVERY_MS);
	}
	if (now >= o->look_ms) {
		if (look(o, e))
			return -1;
		o->look_ms = now + LOOK_EVERY_MS;
	}
	return 0;
}

static void
run(struct thread *t, void *arg)
{
	struct outbox *o = arg;

	o->self = t;
	while (!thread_stopping(t)) {
		struct err e = ERR_INIT;
		int64_t wait = SWEEP_EVERY_MS;

		thread_tick(t);
		if (turn(o, &e)) {
			bool there = link_usable(sql_link(o->sql));

			/* away is said by the link; anything else is news */
			if (there)
				log_warn("keeping the outbox failed", LOG_E(&e));
			wait = there                      ? SWEEP_EVERY_MS
				: sql_due_ms(o->sql) > 50 ? sql_due_ms(o->sql)
							  : 50;
		} else if (o->sweep_ms <= clock_mono_ms()) {
			wait = 0;
		}
		arena_reset(o->mem);
		thread_wait(t, wait);
		/* confirms come in many small portions; a little later they are one statement */
		if (!thread_stopping(t))
			(void)poll(NULL, 0, LINGER_MS);
	}
}

struct outbox *
outbox_new(const struct outbox_options *options, struct err *e)
{
	struct outbox *o = must_calloc(1, sizeof *o);

	o->sweep_after_ms = options->sweep_after_ms;
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
				  .lazy_commit = true },
		e);
	if (!o->sql) {
		outbox_stop(o, 0);
		return NULL;
	}
	return o;
}

void
outbox_start(struct outbox *o, struct publisher *p)
{
	o->publisher = p;
	o->thread = thread_start("outbox", run, o);
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
	} while (o->sql && wait_ms > 0 && o->taken_count && forget(o, &e) == 0 &&
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

struct link *
outbox_link(struct outbox *o)
{
	return sql_link(o->sql);
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
