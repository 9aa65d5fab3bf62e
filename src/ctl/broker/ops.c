/* SPDX-License-Identifier: MIT */
#include "ctl/broker/ops.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "run/pause.h"

#define QUEUES_MAX 256
#define BACK_MS 2000 /* until a message that was looked at is back in its queue */
#define BACK_EVERY_MS 50

int
ops_option(const struct ctl *c, int argc, char **argv, int *i, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0)
		return 0;
	if (argv[*i][n] == '=') {
		*value = argv[*i] + n + 1;
		return 1;
	}
	if (argv[*i][n])
		return 0;
	if (*i + 1 >= argc) {
		ctl_fail(c, CTL_USAGE, "%s wants a value", name);
		return -1;
	}
	*value = argv[++*i];
	return 1;
}

bool
ops_number(const struct ctl *c, const char *name, const char *text, int64_t min, int64_t max,
	int64_t *out)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < min || n > max) {
		ctl_fail(c, CTL_USAGE, "%s wants a whole number from %" PRId64 " to %" PRId64, name,
			min, max);
		return false;
	}
	*out = n;
	return true;
}

const struct consumer_row *
ops_consumer(const struct ctl *c, const char *name)
{
	const struct consumer_row *row = consumer_row_find(name);

	if (!row)
		ctl_fail(c, CTL_USAGE, "no consumer is called \"%s\"; there are:" CONSUMER_NAMES,
			name);
	return row;
}

static void
name_add(struct buf *b, const char *name)
{
	if (b->length > 0 && b->data[b->length - 1] != '{' && b->data[b->length - 1] != '[')
		buf_add_char(b, ',');
	buf_add_json_string(b, name, strlen(name));
	buf_add_char(b, ':');
}

void
ops_json_text(struct buf *b, const char *name, const char *text)
{
	name_add(b, name);
	if (text)
		buf_add_json_string(b, text, strlen(text));
	else
		buf_add_text(b, "null");
}

void
ops_json_i64(struct buf *b, const char *name, int64_t n)
{
	name_add(b, name);
	buf_add_i64(b, n);
}

void
ops_json_bool(struct buf *b, const char *name, bool on)
{
	name_add(b, name);
	buf_add_text(b, on ? "true" : "false");
}

void
ops_json_open(struct buf *b)
{
	buf_add_char(b, '{');
}

void
ops_json_print(struct buf *b)
{
	buf_add_text(b, "}\n");
	fputs(buf_text(b), stdout);
	fflush(stdout);
	buf_clear(b);
}

void
ops_age(int64_t s, char out[static 16])
{
	static const struct {
		int64_t from, unit;
		const char *name;
	} units[] = { { 172800, 86400, "d" }, { 7200, 3600, "h" }, { 120, 60, "min" },
		{ INT64_MIN, 1, "s" } };
	size_t i = 0;

	while (s < units[i].from)
		i++;
	snprintf(out, 16, "%d %s", (int)(s / units[i].unit), units[i].name);
}

int
look_depth(struct broker *b, const char *queue, uint32_t *depth, uint32_t *consumers, struct err *e)
{
	struct broker_queue_info info;

	if (broker_queue_declare(b, &(struct broker_queue){ .name = queue, .passive = true }, &info,
		    e))
		return -1;
	*depth = info.messages;
	if (consumers)
		*consumers = info.consumers;
	return 0;
}

/* Waits until the queue's leader answers; what it gives goes back. */
static int
leader_ask(struct broker *b, const char *queue, bool *gave, struct err *e)
{
	struct arena *mem = arena_new(4096, BROKER_BODY_MAX + 2 * BROKER_HEAD_MAX);
	struct broker_message *m = NULL;
	int rc = broker_get(b, queue, mem, &m, e);

	*gave = m != NULL;
	if (rc == 0 && m)
		rc = broker_nack(b, m->tag, false, true, e) || broker_flush(b, e) ? -1 : 0;
	arena_free(mem);
	return rc;
}

int
look_depth_sure(struct broker *b, const char *queue, uint32_t *depth, uint32_t *consumers,
	struct err *e)
{
	uint32_t none;
	int64_t until;
	bool gave;

	if (!consumers)
		consumers = &none;
	if (look_depth(b, queue, depth, consumers, e))
		return -1;
	if (*depth > 0 || *consumers > 0)
		return 0;
	if (leader_ask(b, queue, &gave, e))
		return -1;
	until = clock_mono_ms() + BACK_MS;
	for (;;) {
		if (look_depth(b, queue, depth, consumers, e))
			return -1;
		/* a get counts as a consumer until what it got is back */
		if (!gave || *consumers == 0 || clock_mono_ms() > until)
			break;
		if (broker_pump(b, BACK_EVERY_MS, e))
			return -1;
	}
	if (gave && *depth == 0)
		*depth = 1;
	return 0;
}

int
pause_flag(struct broker *b, const char *consumer, bool *paused, struct err *e)
{
	struct err why = ERR_INIT;
	char name[PAUSE_NAME_SIZE];
	uint32_t depth;

	*paused = false;
	pause_queue_name(consumer, name);
	if (look_depth(b, name, &depth, NULL, &why))
		return why.kind == ERR_MISSING ? 0 : err_set(e, why.kind, "%s", why.text);
	*paused = depth > 0;
	return 0;
}

/* ---- the look ---- */

struct looking {
	struct look *out;
	struct arena *mem;
	const char *only;
};

/* The consumer whose queue it is, or whose retry queue (then *n from 1 on). */
static const struct consumer_row *
owner_find(const char *queue, unsigned *n)
{
	char name[256];

	*n = 0;
	for (const struct consumer_row *t = consumer_rows; t->name; t++) {
		if (strcmp(t->queue, queue) == 0)
			return t;
		for (unsigned i = 1; i <= TOPOLOGY_RETRIES; i++) {
			topology_retry_name(t->queue, i, name);
			if (strcmp(name, queue) == 0) {
				*n = i;
				return t;
			}
		}
	}
	return NULL;
}

static struct look_queue *
look_find(struct look *l, const char *name)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->list[i].name, name) == 0)
			return &l->list[i];
	return NULL;
}

static int
look_one(struct broker *b, const struct topology_object *o, void *arg, struct err *e)
{
	struct looking *g = arg;
	const struct consumer_row *t;
	struct look_queue *q;
	struct err why = ERR_INIT;
	uint32_t depth = 0, consumers = 0;
	unsigned n;
	bool there;

	if (o->step != STEP_QUEUE)
		return 0;
	t = owner_find(o->name, &n);
	if (g->only && (!t || strcmp(t->name, g->only) != 0))
		return 0;
	there = look_depth(b, o->name, &depth, &consumers, &why) == 0;
	if (!there && why.kind != ERR_MISSING)
		return err_set(e, why.kind, "%s", why.text);
	if (n > 0) {
		q = look_find(g->out, t->queue);
		must(q);
		q->retry[n - 1] = depth;
		q->waiting += depth;
		return 0;
	}
	if (g->out->count == QUEUES_MAX)
		return err_set(e, ERR_LIMIT, "over %d queues", QUEUES_MAX);
	q = &g->out->list[g->out->count++];
	*q = (struct look_queue){ .name = arena_strdup(g->mem, o->name),
		.consumer = t ? t->name : NULL,
		.there = there,
		.depth = depth,
		.consumers = consumers };
	must(q->name);
	if (strcmp(o->name, TOPOLOGY_DEAD_QUEUE) == 0)
		g->out->dead = depth;
	return t ? pause_flag(b, t->name, &q->paused, e) : 0;
}

int
look_broker(struct broker *b, const char *consumers, const char *only, struct arena *mem,
	struct look *out, struct err *e)
{
	struct looking g = { out, mem, only };

	*out = (struct look){ .list = arena_alloc(mem, QUEUES_MAX * sizeof *out->list) };
	must(out->list);
	return topology_each(b, consumers, look_one, &g, e);
}
