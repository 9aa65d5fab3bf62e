/* SPDX-License-Identifier: MIT */
#include "run/tiers_owed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "link/sql.h"
#include "model/cache_owed_sql.h"

#define LEASE_MS 2000
#define LOOK_EVERY_MS 500
#define LOOK_SOON_MS 100 /* while a client waits */
#define GIVE_UP_MS 6000  /* PostgreSQL has not stored the row either: the client gets an error */
#define STORE_MAX 500
#define PAY_MAX 200
#define ARRAY_BYTES (64u << 10)
#define OTHERS "another instance could not carry out an invalidation"

struct debt {
	TAILQ_ENTRY(debt) entry;
	struct owed_item item;
	int64_t since_ms, stored_ms;
	tiers_done_fn *done;
	void *arg;
};
TAILQ_HEAD(debts, debt);

struct owed {
	struct owed_options options;
	struct sql_async *sql;
	struct link link;
	struct loop_timer *timer;
	/* Not stored; in the statement under way; stored, but its client still waits. */
	struct debts adding, storing, waiting;
	struct sql_array arrays[2];
	struct sql_params params;
	bool busy; /* a statement is under way: one at a time, so that answers keep their order */
	bool looked, none;         /* none: the last look found no row */
	int64_t until_ms;          /* the lease's end */
	int64_t look_ms, asked_ms; /* when the next look is due, and when the last one began */
	struct owed_item paid[PAY_MAX];
	size_t paid_count, paying, pay_max;
	char why[160];
};

static void next_statement_run(struct owed *o);

/* ---- whether copies may be used ---- */

static void
copies_block(struct owed *o)
{
	o->none = false;
	o->until_ms = 0;
	if (o->looked)
		link_state_set(&o->link, LINK_BLOCKED, o->why);
}

static void
lease_renew(struct owed *o, int64_t from_ms)
{
	if (!owed_none(o))
		o->options.renew(o->options.arg);
	o->none = true;
	o->until_ms = from_ms + LEASE_MS;
	if (!link_usable(&o->link))
		link_state_set(&o->link, LINK_UP, NULL);
	snprintf(o->why, sizeof o->why, "%s", OTHERS);
}

bool
owed_none(const struct owed *o)
{
	return clock_mono_ms() < o->until_ms;
}

bool
owed_pending(const struct owed *o)
{
	return !TAILQ_EMPTY(&o->adding) || !TAILQ_EMPTY(&o->storing) || !TAILQ_EMPTY(&o->waiting);
}

struct link *
owed_link(struct owed *o)
{
	return &o->link;
}

/* ---- clients that wait ---- */

static void
debt_end(struct debts *list, struct debt *d, const struct err *e)
{
	TAILQ_REMOVE(list, d, entry);
	if (d->done)
		d->done(d->arg, e);
	free(d);
}

static void
waiting_answer(struct owed *o)
{
	struct debt *d, *after;

	for (d = TAILQ_FIRST(&o->waiting); d; d = after) {
		after = TAILQ_NEXT(d, entry);
		if (o->none || d->stored_ms + LEASE_MS <= o->asked_ms)
			debt_end(&o->waiting, d, NULL);
	}
}

/* A client that waits too long hears that others may not know; the invalidation stays owed. */
static void
late_answer(struct owed *o)
{
	int64_t now = clock_mono_ms();
	struct err e = ERR_INIT;
	struct debt *d, *after;

	err_set(&e, ERR_AWAY, "the change is stored, but not every process knows of it yet");
	TAILQ_FOREACH(d, &o->adding, entry)
	if (d->done && d->since_ms + GIVE_UP_MS <= now) {
		d->done(d->arg, &e);
		d->done = NULL;
	}
	for (d = TAILQ_FIRST(&o->waiting); d; d = after) {
		after = TAILQ_NEXT(d, entry);
		if (d->since_ms + GIVE_UP_MS <= now)
			debt_end(&o->waiting, d, &e);
	}
}

/* ---- the table ---- */

static int
arrays_run(struct owed *o, const struct sql_statement *st, sql_done_fn *done)
{
	struct err e = ERR_INIT;

	sql_params_init(&o->params);
	if (sql_add_arrays(&o->params, o->arrays, ARRAY_LEN(o->arrays), &e) ||
		sql_async_run(o->sql, NULL, st, &o->params, done, o, &e))
		return -1;
	o->busy = true;
	return 0;
}

static void
arrays_add(struct owed *o, const struct owed_item *item, int64_t number)
{
	sql_array_text(&o->arrays[0], item->key);
	sql_array_i64(&o->arrays[1], number);
}

static void
arrays_clear(struct owed *o)
{
	for (size_t i = 0; i < ARRAY_LEN(o->arrays); i++)
		sql_array_clear(&o->arrays[i]);
}

/* They are stored later; storing them twice is harmless. */
static void
storing_undo(struct owed *o)
{
	TAILQ_CONCAT(&o->storing, &o->adding, entry);
	TAILQ_CONCAT(&o->adding, &o->storing, entry);
}

static void
on_stored(void *arg, const struct sql_result *r, const struct err *e)
{
	struct owed *o = arg;
	struct err why = ERR_INIT;
	bool known = false;
	struct debt *d;

	o->busy = false;
	if (e && e->kind != ERR_AWAY)
		log_warn("invalidations could not be stored", LOG_E(e));
	if (e) {
		storing_undo(o);
		return;
	}
	must(sql_bool(r, 0, 0, &known, &why) == 0);
	while ((d = TAILQ_FIRST(&o->storing))) {
		if (known || !d->done) {
			debt_end(&o->storing, d, NULL);
			continue;
		}
		d->stored_ms = clock_mono_ms();
		TAILQ_REMOVE(&o->storing, d, entry);
		TAILQ_INSERT_TAIL(&o->waiting, d, entry);
	}
	o->look_ms = 0;
	next_statement_run(o);
}

static void
rows_store(struct owed *o)
{
	struct debt *d;

	arrays_clear(o);
	for (size_t i = 0; i < STORE_MAX && (d = TAILQ_FIRST(&o->adding)); i++) {
		TAILQ_REMOVE(&o->adding, d, entry);
		TAILQ_INSERT_TAIL(&o->storing, d, entry);
		arrays_add(o, &d->item, d->item.version);
	}
	if (arrays_run(o, &cache_owed_store, on_stored))
		storing_undo(o);
}

static void
on_settled(void *arg, const struct sql_result *r, const struct err *e)
{
	struct owed *o = arg;

	(void)r;
	o->busy = false;
	/* Rows that were not removed are carried out once more, which is harmless. */
	o->look_ms = e ? clock_mono_ms() + LOOK_EVERY_MS : 0;
	next_statement_run(o);
}

static void
rows_settle(struct owed *o)
{
	arrays_clear(o);
	for (size_t i = 0; i < o->paid_count; i++)
		arrays_add(o, &o->paid[i], o->paid[i].seq);
	o->paid_count = 0;
	(void)!arrays_run(o, &cache_owed_settle, on_settled);
}

static bool
item_read(const struct sql_result *r, size_t row, struct owed_item *out)
{
	struct err e = ERR_INIT;

	*out = (struct owed_item){ 0 };
	snprintf(out->key, sizeof out->key, "%s", sql_text(r, row, 0));
	return sql_i64(r, row, 1, &out->version, &e) == 0 && sql_i64(r, row, 2, &out->seq, &e) == 0;
}

static void
rows_pay(struct owed *o, const struct sql_result *r)
{
	struct owed_item items[PAY_MAX];
	size_t n = 0;

	for (size_t row = 0; row < r->rows && n < PAY_MAX; row++)
		n += item_read(r, row, &items[n]);
	o->paying = n;
	o->pay_max = PAY_MAX;
	o->options.pay(o->options.arg, items, n);
}

static void
on_looked(void *arg, const struct sql_result *r, const struct err *e)
{
	struct owed *o = arg;

	o->busy = false;
	if (e && e->kind != ERR_AWAY)
		log_warn("the invalidations that are owed could not be read", LOG_E(e));
	if (e)
		return;
	if (!o->looked)
		link_state_set(&o->link, LINK_UP, NULL);
	o->looked = true;
	if (r->rows > 0)
		copies_block(o);
	else if (TAILQ_EMPTY(&o->adding))
		lease_renew(o, o->asked_ms);
	waiting_answer(o);
	o->look_ms = o->asked_ms + (TAILQ_EMPTY(&o->waiting) ? LOOK_EVERY_MS : LOOK_SOON_MS);
	if (r->rows > 0 && o->options.can_pay(o->options.arg))
		rows_pay(o, r);
	next_statement_run(o);
}

static void
rows_look(struct owed *o)
{
	struct err e = ERR_INIT;

	sql_params_init(&o->params);
	sql_add_i64(&o->params, o->options.can_pay(o->options.arg) ? (int64_t)o->pay_max : 1);
	o->asked_ms = clock_mono_ms();
	if (sql_async_run(o->sql, NULL, &cache_owed_look, &o->params, on_looked, o, &e) == 0)
		o->busy = true;
}

static void
next_statement_run(struct owed *o)
{
	if (o->busy || !link_usable(sql_async_link(o->sql)))
		return;
	if (!TAILQ_EMPTY(&o->adding))
		rows_store(o);
	else if (o->paying == 0 && o->paid_count > 0)
		rows_settle(o);
	else if (o->paying == 0 && clock_mono_ms() >= o->look_ms)
		rows_look(o);
}

static void
on_owed_timer(void *arg)
{
	struct owed *o = arg;

	if (o->none && !link_usable(sql_async_link(o->sql)))
		lease_renew(o, clock_mono_ms());
	late_answer(o);
	next_statement_run(o);
	loop_timer_set(o->timer, owed_pending(o) ? LOOK_SOON_MS : LOOK_EVERY_MS / 2);
}

void
owed_add(struct owed *o, const struct owed_item *item, const char *why, tiers_done_fn *done,
	void *arg)
{
	struct debt *d = must_calloc(1, sizeof *d);

	snprintf(o->why, sizeof o->why, "an invalidation could not be carried out: %.110s", why);
	copies_block(o);
	d->item = *item;
	d->since_ms = clock_mono_ms();
	d->done = done;
	d->arg = arg;
	TAILQ_INSERT_TAIL(&o->adding, d, entry);
	loop_timer_set(o->timer, LOOK_SOON_MS);
	next_statement_run(o);
}

void
owed_paid(struct owed *o, const struct owed_item *item, bool paid)
{
	must(o->paying > 0);
	o->paying--;
	if (paid)
		o->paid[o->paid_count++] = *item;
	else /* Redis may refuse the other rows, too: one is enough to find out. */
		o->pay_max = 1;
	if (o->paying == 0)
		next_statement_run(o);
}

/* ---- its life ---- */

struct owed *
owed_new(const struct owed_options *options, struct err *e)
{
	struct owed *o = must_calloc(1, sizeof *o);

	o->options = *options;
	o->pay_max = PAY_MAX;
	snprintf(o->why, sizeof o->why, "%s", OTHERS);
	TAILQ_INIT(&o->adding);
	TAILQ_INIT(&o->storing);
	TAILQ_INIT(&o->waiting);
	sql_arrays_init(o->arrays, ARRAY_LEN(o->arrays), ARRAY_BYTES);
	link_init(&o->link, "redis-writes");
	link_state_set(&o->link, LINK_CONNECTING, NULL);
	o->sql = sql_async_open(loop_base(options->loop),
		&(struct sql_options){ .url = options->url,
			.application = options->application,
			.link_name = "postgres-cache" },
		e);
	if (!o->sql) {
		owed_free(o);
		return NULL;
	}
	o->timer = loop_timer_new(options->loop, on_owed_timer, o);
	loop_timer_set(o->timer, 0);
	return o;
}

void
owed_free(struct owed *o)
{
	struct debts *const all[] = { &o->adding, &o->storing, &o->waiting };
	struct err e = ERR_INIT;
	struct debt *d;

	if (!o)
		return;
	sql_async_close(o->sql);
	err_set(&e, ERR_AWAY, "the process ends before every process knows of the change");
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		while ((d = TAILQ_FIRST(all[i])))
			debt_end(all[i], d, &e);
	loop_timer_free(o->timer);
	sql_arrays_fini(o->arrays, ARRAY_LEN(o->arrays));
	link_fini(&o->link);
	free(o);
}
