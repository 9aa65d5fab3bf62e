/* SPDX-License-Identifier: MIT */
/* queues: depth, retries and consumers of each queue, by AMQP alone. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/broker/look.h"
#include "ctl/broker/pause.h"
#include "ctl/kit/json.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"
#include "ctl/kit/table.h"
#include "ctl/verbs.h"

#define ARENA_MAX (4u << 20)
#define WATCH_MS 2000

struct words {
	const char *only;
	bool all, watch;
	int64_t rounds; /* of --watch; 0: for ever */
};

static const char *
state_text(const struct look_queue *q)
{
	if (!q->there)
		return "missing: onboardctl topology declare";
	if (q->paused)
		return q->consumers ? "pausing" : "paused";
	if (q->consumer && q->consumers == 0)
		return q->depth ? "nobody consumes" : "idle: no consumer";
	return q->consumer || !q->depth ? "ok" : "holds messages";
}

static void
why_print(struct broker *b, const struct look_queue *q, struct arena *mem)
{
	struct err e = ERR_INIT;
	struct pause_info p;
	struct buf clean;

	if (!q->paused || pause_read(b, q->consumer, mem, &p, &e) || !p.who)
		return;
	buf_init(&clean, 4096);
	table_clean(&clean, p.who, strlen(p.who));
	buf_printf(&clean, " at %.19sZ", p.at && strlen(p.at) >= 19 ? p.at : "?");
	if (p.why) {
		buf_add_text(&clean, ": ");
		table_clean(&clean, p.why, strlen(p.why));
	}
	printf("%s: paused by %s\n", q->consumer, buf_text(&clean));
	buf_fini(&clean);
}

static void
cells_print(struct table *t, const char *name, uint32_t depth, uint32_t waiting, int64_t change,
	bool known, uint32_t consumers, const char *state)
{
	char numbers[4][24];

	snprintf(numbers[0], 24, "%" PRIu32, depth);
	snprintf(numbers[1], 24, "%" PRIu32, waiting);
	snprintf(numbers[2], 24, known ? "%+" PRId64 : "-", change);
	snprintf(numbers[3], 24, "%" PRIu32, consumers);
	table_row(t,
		(const char *const[]){ name, numbers[0], numbers[1], numbers[2], numbers[3],
			state });
}

/* By how many its depth changes in a second, since the look before. */
static bool
change_find(const struct look *before, const struct look_queue *q, int64_t ms, int64_t *out)
{
	for (size_t i = 0; ms > 0 && i < before->count; i++)
		if (strcmp(before->list[i].name, q->name) == 0) {
			*out = ((int64_t)q->depth - before->list[i].depth) * 1000 / ms;
			return true;
		}
	return false;
}

static void
rows_print(const struct ctl *c, const struct look *l, const struct look *before, int64_t ms,
	bool all)
{
	static const struct table_column columns[] = { { "QUEUE", 20, false }, { "READY", 7, true },
		{ "RETRY", 5, true }, { "CHANGE/S", 8, true }, { "CONSUMERS", 9, true },
		{ "STATE", 8, false } };
	struct table t;

	table_begin(&t, columns, ARRAY_LEN(columns), c->colour);
	for (size_t i = 0; i < l->count; i++) {
		const struct look_queue *q = &l->list[i];
		int64_t change = 0;
		bool known = change_find(before, q, ms, &change);
		char name[256];

		cells_print(&t, q->name, q->depth, q->waiting, change, known, q->consumers,
			state_text(q));
		for (unsigned n = 1; all && q->consumer && n <= TOPOLOGY_RETRIES; n++) {
			topology_retry_name(q->name, n, name);
			cells_print(&t, name, q->retry[n - 1], 0, 0, false, 0, "");
		}
	}
	table_end(&t);
}

static void
json_print(const struct look *l, const struct look *before, int64_t ms)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct look_queue *q = &l->list[i];
		struct ctl_line line;
		struct json_out *o = ctl_line_begin(&line);
		int64_t change;

		ctl_json_text(o, "queue", q->name);
		ctl_json_text(o, "consumer", q->consumer);
		json_out_bool(o, "exists", q->there);
		json_out_i64(o, "depth", q->depth);
		json_out_i64(o, "consumers", q->consumers);
		if (q->consumer) {
			json_out_list(o, "retry");
			for (unsigned n = 0; n < TOPOLOGY_RETRIES; n++)
				json_out_i64(o, NULL, q->retry[n]);
			json_out_end(o);
			json_out_bool(o, "paused", q->paused);
		}
		if (change_find(before, q, ms, &change))
			json_out_i64(o, "change_per_s", change);
		ctl_line_print(&line);
	}
}

static int
words_read(struct ctl *c, int argc, char **argv, struct words *w)
{
	const struct ctl_option options[] = { { "--all", .flag = &w->all },
		{ "--watch", .flag = &w->watch },
		{ "--rounds", .number = &w->rounds, .min = 1, .max = 1000000 }, { 0 } };

	if (options_take(c, options, 1, argc, argv) < 0)
		return CTL_USAGE;
	w->only = argv[1];
	if (w->only && !option_consumer(c, w->only))
		return CTL_USAGE;
	return CTL_DONE;
}

static int
once(struct ctl *c, struct broker *b, const struct words *w, const struct look *before, int64_t ms,
	struct arena *mem, struct look *l, struct err *e)
{
	if (look_broker(b, conf_string(c->conf, "topology", "consumers"), w->only, mem, l, e))
		return -1;
	if (c->json) {
		json_print(l, before, ms);
		return 0;
	}
	rows_print(c, l, before, ms, w->all);
	for (size_t i = 0; i < l->count; i++)
		why_print(b, &l->list[i], mem);
	if (l->dead > 0)
		puts("`onboardctl dlq list` shows what is dead.");
	fflush(stdout);
	return 0;
}

static int
rounds_run(struct ctl *c, struct broker *b, const struct words *w, struct err *e)
{
	struct arena *mem[2] = { arena_new(1 << 16, ARENA_MAX), arena_new(1 << 16, ARENA_MAX) };
	struct look looks[2] = { 0 };
	int64_t then = 0, now;
	int rc = 0;

	for (int64_t n = 0; rc == 0; n++) {
		size_t at = (size_t)(n % 2);

		arena_reset(mem[at]);
		now = clock_mono_ms();
		rc = once(c, b, w, &looks[1 - at], then ? now - then : 0, mem[at], &looks[at], e);
		then = now;
		if (!w->watch || (w->rounds && n + 1 >= w->rounds) || ferror(stdout))
			break;
		while (rc == 0 && clock_mono_ms() - now < WATCH_MS)
			rc = broker_pump(b, WATCH_MS - (clock_mono_ms() - now), e);
		if (!c->json)
			putchar('\n');
	}
	arena_free(mem[0]);
	arena_free(mem[1]);
	return rc;
}

int
ctl_queues(struct ctl *c, int argc, char **argv)
{
	struct words w = { 0 };
	struct err e = ERR_INIT;
	struct broker *b;
	int rc = words_read(c, argc, argv, &w);

	if (rc)
		return rc;
	b = ctl_broker(c, &e);
	if (!b)
		return ctl_fail_err(c, &e);
	rc = rounds_run(c, b, &w, &e);
	broker_free(b);
	return rc ? ctl_fail_err(c, &e) : CTL_DONE;
}
