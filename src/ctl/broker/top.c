/* SPDX-License-Identifier: MIT */
/*
 * top: queues, outbox and this host's daemons, once a second. A server that is
 * away is a line, not an end: it is tried again in the next second.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "link/sql.h"
#include "model/outbox_sql.h"
#include "ctl/broker/look.h"
#include "ctl/broker/scrape.h"
#include "ctl/kit/json.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"
#include "ctl/kit/table.h"
#include "ctl/verbs.h"

#define EVERY_MS 1000
#define ARENA_MAX (8u << 20)

/* What one second's look has found. */
struct second {
	struct arena *mem;
	int64_t at_ms, at_us;
	struct look look;
	bool broker, outbox; /* could be asked */
	struct err broker_why, outbox_why;
	struct outbox_backlog backlog;
	struct scraped daemons[SCRAPED_MAX];
	size_t daemon_count;
};

struct top {
	struct ctl *c;
	struct broker *b;
	struct sql *sql;
	struct second seconds[2];
	bool live; /* redrawn in place */
};

static volatile sig_atomic_t ended;

static void
on_end(int number)
{
	(void)number;
	ended = 1;
}

static void
broker_look(struct top *t, struct second *s)
{
	s->broker_why = ERR_INIT;
	if (!t->b)
		t->b = ctl_broker(t->c, &s->broker_why);
	s->broker = t->b &&
		look_broker(t->b, conf_string(t->c->conf, "topology", "consumers"), NULL, s->mem,
			&s->look, &s->broker_why) == 0;
	if (!s->broker) {
		broker_free(t->b);
		t->b = NULL;
	}
}

static void
outbox_look(struct top *t, struct second *s)
{
	s->outbox_why = ERR_INIT;
	s->outbox = outbox_backlog_read(t->sql, s->mem, true, &s->backlog, &s->outbox_why) == 0;
}

static void
look(struct top *t, struct second *s)
{
	arena_reset(s->mem);
	s->look = (struct look){ 0 };
	s->at_ms = clock_mono_ms();
	s->at_us = clock_wall_us();
	broker_look(t, s);
	outbox_look(t, s);
	s->daemon_count = scrape_all(t->c->conf, s->daemons);
}

static const struct scraped *
daemon_before(const struct second *was, const struct scraped *d)
{
	for (size_t i = 0; was->at_ms && i < was->daemon_count; i++)
		if (was->daemons[i].port == d->port &&
			strcmp(was->daemons[i].daemon, d->daemon) == 0)
			return &was->daemons[i];
	return NULL;
}

/* A second; a counter that began anew has no rate. */
static int64_t
rate(int64_t now, int64_t before, int64_t ms)
{
	return ms > 0 && now >= before ? (now - before) * 1000 / ms : 0;
}

static bool
queue_change(const struct second *s, const struct second *was, const struct look_queue *q,
	int64_t *out)
{
	for (size_t i = 0; was->at_ms && i < was->look.count; i++)
		if (strcmp(was->look.list[i].name, q->name) == 0) {
			*out = ((int64_t)q->depth - was->look.list[i].depth) * 1000 /
				(s->at_ms - was->at_ms);
			return true;
		}
	return false;
}

/* ---- for people ---- */

static void
queues_print(const struct top *t, const struct second *s, const struct second *was)
{
	static const struct table_column columns[] = { { "QUEUE", 20, false }, { "READY", 7, true },
		{ "CHANGE/S", 8, true }, { "RETRY", 6, true }, { "CONSUMERS", 9, true },
		{ "", 7, false } };
	char n[4][24];
	struct table table;

	table_begin(&table, columns, ARRAY_LEN(columns), t->c->colour);
	for (size_t i = 0; i < s->look.count; i++) {
		const struct look_queue *q = &s->look.list[i];
		int64_t change = 0;

		snprintf(n[0], 24, "%" PRIu32, q->depth);
		snprintf(n[1], 24, queue_change(s, was, q, &change) ? "%+" PRId64 : "-", change);
		snprintf(n[2], 24, "%" PRIu32, q->waiting);
		snprintf(n[3], 24, "%" PRIu32, q->consumers);
		table_row(&table,
			(const char *const[]){ q->name, n[0], n[1], q->consumer ? n[2] : "-", n[3],
				!q->there           ? "missing"
					: q->paused ? "paused"
						    : "" });
	}
	table_end(&table);
}

static void
daemons_print(const struct top *t, const struct second *s, const struct second *was)
{
	static const struct table_column columns[] = { { "DAEMON (OF THIS HOST)", 20, false },
		{ "PORT", 5, true }, { "DONE/S", 7, true }, { "RETRY/S", 7, true },
		{ "DEAD/S", 6, true }, { "HELD", 5, true }, { "CPU%", 5, true }, { "", 6, false } };
	int64_t ms = s->at_ms - was->at_ms;
	char n[6][24];
	struct table table;

	if (s->daemon_count == 0) {
		puts("no daemon's admin listener answers on this host");
		return;
	}
	table_begin(&table, columns, ARRAY_LEN(columns), t->c->colour);
	for (size_t i = 0; i < s->daemon_count; i++) {
		const struct scraped *d = &s->daemons[i], *b = daemon_before(was, d);

		snprintf(n[0], 24, "%u", d->port);
		snprintf(n[1], 24, b ? "%" PRId64 : "-", b ? rate(d->done, b->done, ms) : 0);
		snprintf(n[2], 24, b ? "%" PRId64 : "-", b ? rate(d->retries, b->retries, ms) : 0);
		snprintf(n[3], 24, b ? "%" PRId64 : "-", b ? rate(d->dead, b->dead, ms) : 0);
		snprintf(n[4], 24, "%" PRId64, d->held);
		snprintf(n[5], 24, b ? "%" PRId64 : "-",
			b ? rate(d->cpu_ms, b->cpu_ms, ms) / 10 : 0);
		table_row(&table,
			(const char *const[]){ d->daemon, n[0], n[1], n[2], n[3], n[4], n[5],
				d->paused ? "paused" : "" });
	}
	table_end(&table);
}

static void
print(const struct top *t, const struct second *s, const struct second *was)
{
	char at[CLOCK_RFC3339_SIZE], age[CTL_AGE_SIZE];

	clock_format_rfc3339(s->at_us, at);
	if (t->live)
		fputs("\033[H\033[J", stdout);
	printf("%.19sZ  ", at);
	if (s->outbox) {
		ctl_age(s->backlog.oldest_s, age);
		printf("outbox: %" PRId64 " unpublished%s%s", s->backlog.events,
			s->backlog.events ? ", the oldest for " : "", s->backlog.events ? age : "");
	} else {
		printf("PostgreSQL: %.48s", s->outbox_why.text);
	}
	puts("");
	if (s->broker)
		queues_print(t, s, was);
	else
		printf("RabbitMQ: %.68s\n", s->broker_why.text);
	daemons_print(t, s, was);
	if (!t->live)
		puts("");
	fflush(stdout);
}

/* ---- for programs: one object a second ---- */

static void
queues_json(struct json_out *o, const struct second *s, const struct second *was)
{
	int64_t change;

	json_out_list(o, "queues");
	for (size_t i = 0; i < s->look.count; i++) {
		const struct look_queue *q = &s->look.list[i];

		json_out_object(o, NULL);
		ctl_json_text(o, "queue", q->name);
		json_out_i64(o, "depth", q->depth);
		json_out_i64(o, "retry", q->waiting);
		json_out_i64(o, "consumers", q->consumers);
		json_out_bool(o, "paused", q->paused);
		if (queue_change(s, was, q, &change))
			json_out_i64(o, "change_per_s", change);
		json_out_end(o);
	}
	json_out_end(o);
}

static void
daemons_json(struct json_out *o, const struct second *s, const struct second *was)
{
	int64_t ms = s->at_ms - was->at_ms;

	json_out_list(o, "daemons");
	for (size_t i = 0; i < s->daemon_count; i++) {
		const struct scraped *d = &s->daemons[i], *p = daemon_before(was, d);

		json_out_object(o, NULL);
		ctl_json_text(o, "daemon", d->daemon);
		json_out_i64(o, "port", d->port);
		json_out_bool(o, "paused", d->paused);
		json_out_i64(o, "held", d->held);
		json_out_i64(o, "done", d->done);
		json_out_i64(o, "retries", d->retries);
		json_out_i64(o, "dead", d->dead);
		if (p)
			json_out_i64(o, "done_per_s", rate(d->done, p->done, ms));
		json_out_end(o);
	}
	json_out_end(o);
}

static void
json_print(const struct second *s, const struct second *was)
{
	char at[CLOCK_RFC3339_SIZE];
	struct ctl_line line;
	struct json_out *o = ctl_line_begin(&line);

	clock_format_rfc3339(s->at_us, at);
	ctl_json_text(o, "at", at);
	if (s->outbox) {
		json_out_i64(o, "outbox_unpublished", s->backlog.events);
		json_out_i64(o, "outbox_oldest_seconds", s->backlog.oldest_s);
	} else {
		ctl_json_text(o, "postgres", s->outbox_why.text);
	}
	if (!s->broker)
		ctl_json_text(o, "rabbitmq", s->broker_why.text);
	queues_json(o, s, was);
	daemons_json(o, s, was);
	ctl_line_print(&line);
}

static void
run(struct top *t, int64_t rounds)
{
	for (int64_t n = 0; !ended; n++) {
		struct second *s = &t->seconds[n % 2], *was = &t->seconds[1 - n % 2];
		int64_t left;

		look(t, s);
		if (t->c->json)
			json_print(s, was);
		else
			print(t, s, was);
		if ((rounds && n + 1 >= rounds) || ferror(stdout))
			return;
		/* the connection is looked after by each round, which comes sooner than a heartbeat */
		left = s->at_ms + EVERY_MS - clock_mono_ms();
		if (left > 0)
			usleep((useconds_t)left * 1000);
	}
}

int
ctl_top(struct ctl *c, int argc, char **argv)
{
	struct top t = { .c = c, .live = !c->json && isatty(STDOUT_FILENO) };
	struct sigaction act = { .sa_handler = on_end };
	int64_t rounds = 0;
	bool once = false, away;
	const struct ctl_option options[] = { { "--once", .flag = &once },
		{ "--rounds", .number = &rounds, .min = 1, .max = 1000000 }, { 0 } };
	struct err e = ERR_INIT;

	if (options_take(c, options, 0, argc, argv) < 0)
		return CTL_USAGE;
	if (once) {
		rounds = 1;
		t.live = false;
	}
	t.sql = ctl_sql(c, &e);
	if (!t.sql)
		return ctl_fail_err(c, &e);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	t.seconds[0].mem = arena_new(1 << 16, ARENA_MAX);
	t.seconds[1].mem = arena_new(1 << 16, ARENA_MAX);
	run(&t, rounds);
	away = rounds == 1 && (!t.seconds[0].broker || !t.seconds[0].outbox);
	broker_free(t.b);
	sql_close(t.sql);
	arena_free(t.seconds[0].mem);
	arena_free(t.seconds[1].mem);
	return away ? CTL_AWAY : CTL_DONE;
}
