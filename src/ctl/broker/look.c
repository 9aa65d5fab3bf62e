/* SPDX-License-Identifier: MIT */
#include "ctl/broker/look.h"

#include <string.h>

#include "base/clock.h"
#include "ctl/broker/pause.h"
#include "model/topology.h"

#define QUEUES_MAX 256
#define BACK_MS 2000 /* until a message that was looked at is back in its queue */
#define BACK_EVERY_MS 50

/* ---- one queue ---- */

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

int
look_there(struct broker *b, const char *queue, bool *there, uint32_t *depth, uint32_t *consumers,
	struct err *e)
{
	struct err why = ERR_INIT;

	*there = look_depth(b, queue, depth, consumers, &why) == 0;
	if (*there)
		return 0;
	*depth = 0;
	if (consumers)
		*consumers = 0;
	return why.kind == ERR_MISSING ? 0 : err_set(e, why.kind, "%s", why.text);
}

/* Waits until the queue's leader answers; a message that it gives goes back. */
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

/* ---- the look ---- */

struct looking {
	struct look *out;
	struct arena *mem;
	const char *only;
};

/* The number of the consumer's retry queue, from 1 on; 0: the queue is not its retry queue. */
static unsigned
retry_number(const struct consumer_row *t, const char *queue)
{
	char name[256];

	for (unsigned i = 1; i <= TOPOLOGY_RETRIES; i++) {
		topology_retry_name(t->queue, i, name);
		if (strcmp(name, queue) == 0)
			return i;
	}
	return 0;
}

const struct consumer_row *
look_owner(const char *queue)
{
	for (const struct consumer_row *t = consumer_rows; t->name; t++)
		if (strcmp(t->queue, queue) == 0 || retry_number(t, queue))
			return t;
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
queue_look(struct broker *b, const struct topology_object *o, void *arg, struct err *e)
{
	struct looking *g = arg;
	const struct consumer_row *t;
	struct look_queue *q;
	uint32_t depth = 0, consumers = 0;
	unsigned n;
	bool there;

	if (o->step != STEP_QUEUE)
		return 0;
	t = look_owner(o->name);
	n = t ? retry_number(t, o->name) : 0;
	if (g->only && (!t || strcmp(t->name, g->only) != 0))
		return 0;
	if (look_there(b, o->name, &there, &depth, &consumers, e))
		return -1;
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
	return topology_each(b, consumers, queue_look, &g, e);
}
