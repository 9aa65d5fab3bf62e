/* SPDX-License-Identifier: MIT */
/*
 * The consumer runtime: how messages come in. The I/O thread subscribes and cancels
 * as the consumer's state wants it.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/consumer_own.h"

#define FILL_MS 5000 /* before a pause or the end: how long the window may take to fill */
#define PROMPT_MS 50 /* a broker that does not hang answers within this time */

void
consumer_connection_gone(struct consumer *c)
{
	c->connection++;
	c->worker_holds = 0;
}

static void
on_deliver(void *arg, const struct broker_message *m)
{
	struct consumer *c = arg;
	bool again = m->redelivered || m->delivery_count > 0;
	struct bunch *b = consumer_bunch_forming(c, again);
	struct held *h = &b->list[b->count];

	c->came = true;
	*h = (struct held){ .m = broker_message_copy(m, b->mem) };
	must(h->m); /* the largest message fits, since BUNCH_BYTES is far below the arena's limit */
	if (m->delivery_count >= POISON_AFTER) {
		h->out = OUT_REJECT;
		h->class = RETRY_POISON;
		h->why = "delivered five times without an end";
	}
	b->count++;
	b->open++;
	b->full = again || b->count == c->batch_max || arena_used(b->mem) > BUNCH_BYTES;
	if (again)
		metric_add(c->cells[CM_REDELIVERED], 1);
	else if (c->intake == INTAKE_ONE && c->prefetch > 1 && consumer_held(c) == 1)
		c->intake = INTAKE_WIDENING; /* acks wait for it: see window_fill() */
}

static void
on_cancelled(void *arg, const char *tag)
{
	struct consumer *c = arg;

	(void)tag;
	log_warn("the queue has gone: declaring it anew", LOG_S("queue", c->place->queue));
	c->lost = true;
	c->declare_ms = 0;
}

static void
on_channel_closed(void *arg, int code, const char *why)
{
	struct consumer *c = arg;

	log_warn("channel closed by the broker", LOG_I("code", code), LOG_S("why", why));
	c->lost = true;
	consumer_connection_gone(c);
}

struct broker *
consumer_broker_new(struct consumer *c, const char *url, const char *name, unsigned heartbeat_s,
	struct err *e)
{
	static const struct broker_events events = { .deliver = on_deliver,
		.cancelled = on_cancelled,
		.channel_closed = on_channel_closed,
		.confirmed = consumer_confirmed,
		.returned = consumer_returned };

	return broker_new(&(struct broker_options){ .url = url,
				  .name = name,
				  .heartbeat_s = heartbeat_s,
				  .events = &events,
				  .arg = c },
		e);
}

static int
subscribe(struct consumer *c, enum intake intake, struct err *e)
{
	struct err why = ERR_INIT;

	c->intake = intake;
	c->lost = false;
	/* the window of a new subscription does not count deliveries that we still hold */
	c->window = intake == INTAKE_ONE ? 1 : c->prefetch - consumer_held(c);
	if (broker_qos(c->broker, (uint16_t)c->window, e))
		return -1;
	/*
	 * Each subscription has a name of its own. When a cancelled consumer consumes again
	 * by the same name, RabbitMQ 3.10 mixes up the messages in flight and closes the
	 * connection.
	 */
	snprintf(c->tag, sizeof c->tag, "onboard-%u", ++c->consumed);
	if (broker_consume(c->broker, c->place->queue, c->tag, false, &why)) {
		if (why.kind == ERR_MISSING)
			c->declare_ms = 0;
		return err_set(e, why.kind, "%s", why.text);
	}
	atomic_store(&c->consuming, true);
	return 0;
}

/* It will take no more messages, though the stores may be usable. */
static bool
leaving(const struct consumer_facts *now)
{
	return now->draining || now->paused;
}

/*
 * No message came for a while. Is the queue empty, or does the broker hang? A get
 * passes through the queue's log as a publish does, so a broker that hangs answers
 * late. After a late answer, or one with a message, the wait begins anew.
 */
static int
queue_look_if_empty(struct consumer *c, bool *empty, struct err *e)
{
	int64_t asked_ms = clock_mono_ms(), came_ms = c->came_ms;
	struct arena *mem = arena_new(BUNCH_ARENA_FIRST, BUNCH_ARENA_LIMIT);
	struct broker_message *m;
	int rc;

	c->came = false;
	rc = broker_get(c->broker, c->place->queue, mem, &m, e);
	if (m) {
		on_deliver(c, m);
		c->got++;
	}
	arena_free(mem);
	if (rc)
		return -1;
	*empty = !c->came && clock_mono_ms() - asked_ms <= PROMPT_MS;
	c->came_ms = *empty ? came_ms : clock_mono_ms();
	return 0;
}

/*
 * A quorum queue counts messages in flight at cancel as delivered. So we let the
 * window fill before we cancel, by acking nothing for a moment. No message is in
 * flight once the window is full or the queue is empty.
 */
static int
window_fill(struct consumer *c, const struct consumer_facts *now, bool *filling, struct err *e)
{
	int64_t now_ms = clock_mono_ms();
	bool empty = false;

	*filling = false;
	if (!leaving(now) || now->away || consumer_held(c) >= c->window + c->got ||
		now_ms - c->leave_ms >= FILL_MS)
		return 0;
	if (now_ms - c->came_ms >= CONSUMER_QUIET_MS && queue_look_if_empty(c, &empty, e))
		return -1;
	*filling = !empty;
	return 0;
}

bool
consumer_acks_wait(const struct consumer *c)
{
	const struct consumer_facts *now = consumer_facts(&c->status);

	return atomic_load(&c->consuming) && !c->lost && !now->away &&
		(c->intake == INTAKE_WIDENING || leaving(now));
}

int
consumer_take_as_wanted(struct consumer *c, struct err *e)
{
	const struct consumer_facts *now = consumer_facts(&c->status);
	bool have = atomic_load(&c->consuming), filling;

	if (!leaving(now)) {
		c->leave_ms = 0;
	} else if (!c->leave_ms) {
		c->leave_ms = clock_mono_ms();
		c->got = 0;
	}

	if (c->lost) {
		atomic_store(&c->consuming, false);
		have = false;
	}
	if (have && !now->takes) {
		if (window_fill(c, now, &filling, e))
			return -1;
		if (filling)
			return 0;
		atomic_store(&c->consuming, false);
		return broker_cancel(c->broker, c->tag, e);
	}
	if (have && c->intake == INTAKE_WIDENING) {
		/* no redelivered messages are left: from now on many at a time */
		if (broker_cancel(c->broker, c->tag, e))
			return -1;
		return subscribe(c, INTAKE_MANY, e);
	}
	if (now->takes && !have && consumer_held(c) < c->prefetch)
		return subscribe(c, INTAKE_ONE, e);
	return 0;
}
