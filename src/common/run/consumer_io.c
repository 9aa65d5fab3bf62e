/* SPDX-License-Identifier: MIT */
/* The consumer runtime: the thread that owns the connection to the broker. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/consumer_own.h"

#define ARENA_FIRST (64u << 10)
#define ARENA_LIMIT (512u << 20)
#define HOLD_MAX_MS (25 * 60 * 1000) /* the broker's own patience is 30 minutes */
#define DECLARE_AGAIN_MS 1000
#define FILL_MS 5000  /* before a pause or the end: how long the window may take to fill */
#define GATHER_MS 2   /* so long deliveries may come together while the worker is at a batch */
#define QUIET_MS 250  /* or so long nothing came */
#define PROMPT_MS 50  /* so soon a broker that does not hang answers */
#define DRAIN_MS 7000 /* what is not begun by then is handed back */

/* ---- bunches ---- */

static struct bunch *
bunch_new(struct consumer *c)
{
	struct bunch *b = c->spare;

	if (b) {
		c->spare = b->next;
	} else {
		b = must_calloc(1, sizeof *b);
		b->mem = arena_new(ARENA_FIRST, ARENA_LIMIT);
		b->list = must_calloc(c->batch_max, sizeof *b->list);
	}
	b->count = b->open = 0;
	b->connection = c->connection;
	b->first_ms = clock_mono_ms();
	b->handled_us = 0;
	b->full = false;
	b->next = NULL;
	return b;
}

static void
bunch_free(struct bunch *b)
{
	arena_free(b->mem);
	free(b->list);
	free(b);
}

static void
bunch_drop(struct consumer *c, struct bunch *b)
{
	size_t n = 0;

	for (struct bunch *s = c->spare; s; s = s->next)
		n++;
	if (n >= BUNCHES_SPARE) {
		bunch_free(b);
		return;
	}
	arena_reset(b->mem);
	b->next = c->spare;
	c->spare = b;
}

static void
list_drop(struct consumer *c, struct bunch **list)
{
	struct bunch *b;

	while ((b = *list)) {
		*list = b->next;
		bunch_drop(c, b);
	}
}

static void
list_add(struct bunch **list, struct bunch *b)
{
	while (*list)
		list = &(*list)->next;
	b->next = NULL;
	*list = b;
}

/* Of a connection or channel that has gone: the broker's again, and its tags mean others now. */
static void
stale_drop(struct consumer *c, struct bunch **list)
{
	struct bunch *b;

	while ((b = *list)) {
		if (b->connection == c->connection) {
			list = &b->next;
			continue;
		}
		*list = b->next;
		bunch_drop(c, b);
	}
}

/* What it held is the broker's again. */
static void
connection_gone(struct consumer *c)
{
	c->connection++;
	c->worker_holds = 0;
}

/* Deliveries that are not settled yet. */
static size_t
held_count(const struct consumer *c)
{
	size_t n = c->worker_holds;

	for (const struct bunch *b = c->ready; b; b = b->next)
		n += b->count;
	for (const struct bunch *b = c->settling; b; b = b->next)
		n += b->open;
	return n;
}

/* The one that still takes deliveries. */
static struct bunch *
forming(struct consumer *c, bool alone)
{
	struct bunch *last = c->ready;

	while (last && last->next)
		last = last->next;
	if (!last || last->full || (alone && last->count > 0) ||
		last->connection != c->connection) {
		if (last)
			last->full = true;
		last = bunch_new(c);
		list_add(&c->ready, last);
	}
	return last;
}

/* ---- what the broker says ---- */

static void
on_deliver(void *arg, const struct broker_message *m)
{
	struct consumer *c = arg;
	bool again = m->redelivered || m->delivery_count > 0;
	struct bunch *b = forming(c, again);
	struct held *h = &b->list[b->count];

	c->came = true;
	*h = (struct held){ .m = broker_message_copy(m, b->mem) };
	must(h->m); /* the arena takes the largest message there is, and is full long before */
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
	else if (c->intake == INTAKE_ONE && c->prefetch > 1 && held_count(c) == 1)
		c->intake = INTAKE_WIDENING; /* acks wait for it: see fill() */
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
	connection_gone(c);
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

/* ---- a turn ---- */

static int
declare(struct consumer *c, struct err *e)
{
	struct err why = ERR_INIT;

	if (clock_mono_ms() < c->declare_ms)
		return 0;
	if (topology_declare(c->broker, c->topology_only, &why)) {
		if (why.kind == ERR_AWAY)
			return err_set(e, ERR_AWAY, "%s", why.text);
		log_error("the topology is not as it should be", LOG_E(&why));
		if (why.kind == ERR_MISSING) { /* deleted while it was being declared */
			c->declare_ms = clock_mono_ms() + DECLARE_AGAIN_MS;
			return 0;
		}
	}
	c->declare_ms = clock_mono_ms() + c->check_every_ms;
	return 0;
}

static int
consume(struct consumer *c, enum intake intake, struct err *e)
{
	struct err why = ERR_INIT;

	c->intake = intake;
	c->lost = false;
	/* a new consumer's window does not count what the last one left with us */
	c->window = intake == INTAKE_ONE ? 1 : c->prefetch - held_count(c);
	if (broker_qos(c->broker, (uint16_t)c->window, e))
		return -1;
	/*
	 * A name of its own each time: of one that was cancelled and consumes again by the
	 * same name, RabbitMQ 3.10 mixes up what is on its way, and closes the connection.
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

/* Nothing more is to be taken, though the stores are there: the end, or an operator's pause. */
static bool
leaving(const struct consumer_facts *now)
{
	return now->draining || now->paused;
}

/*
 * Nothing came for a while: because nothing was there, or because the broker hangs? A get goes
 * through the queue's log as what is published does. Late, or with a message: it starts anew.
 */
static int
look_if_empty(struct consumer *c, bool *empty, struct err *e)
{
	int64_t asked_ms = clock_mono_ms(), came_ms = c->came_ms;
	struct arena *mem = arena_new(ARENA_FIRST, ARENA_LIMIT);
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
 * What is on its way when a consumer is cancelled a quorum queue takes back as
 * delivered once. So before that the window is let fill, by acking nothing for a
 * moment: when it is full, or nothing comes, nothing is on its way.
 */
static int
fill(struct consumer *c, const struct consumer_facts *now, bool *filling, struct err *e)
{
	int64_t now_ms = clock_mono_ms();
	bool empty = false;

	*filling = false;
	if (!leaving(now) || now->away || held_count(c) >= c->window + c->got ||
		now_ms - c->leave_ms >= FILL_MS)
		return 0;
	if (now_ms - c->came_ms >= QUIET_MS && look_if_empty(c, &empty, e))
		return -1;
	*filling = !empty;
	return 0;
}

static int
consume_as_wanted(struct consumer *c, struct err *e)
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
		if (fill(c, now, &filling, e))
			return -1;
		if (filling)
			return 0;
		atomic_store(&c->consuming, false);
		return broker_cancel(c->broker, c->tag, e);
	}
	if (have && c->intake == INTAKE_WIDENING) {
		/* what comes redelivered is through: from now on many at a time */
		if (broker_cancel(c->broker, c->tag, e))
			return -1;
		return consume(c, INTAKE_MANY, e);
	}
	if (now->takes && !have && held_count(c) < c->prefetch)
		return consume(c, INTAKE_ONE, e);
	return 0;
}

static void
worker_feed(struct consumer *c)
{
	struct bunch *b = c->ready;
	int64_t now;

	if (c->worker_busy || !b)
		return;
	now = clock_mono_ms();
	if (!b->full && !b->next && c->intake == INTAKE_MANY &&
		!consumer_facts(&c->status)->draining && now < c->linger_until_ms)
		return;
	c->linger_until_ms = now + c->linger_ms;
	c->ready = b->next;
	b->next = NULL;
	c->worker_busy = true;
	c->worker_holds = b->count;
	c->worker_first_ms = b->first_ms;
	must(pthread_mutex_lock(&c->lock) == 0);
	must(!c->to_worker);
	c->to_worker = b;
	must(pthread_mutex_unlock(&c->lock) == 0);
	thread_wake(c->worker);
}

/* What the worker has finished; of a connection that is gone nothing can be acked. */
static void
worker_take(struct consumer *c)
{
	struct bunch *b, *next;

	must(pthread_mutex_lock(&c->lock) == 0);
	b = c->to_io;
	c->to_io = NULL;
	must(pthread_mutex_unlock(&c->lock) == 0);
	for (; b; b = next) {
		next = b->next;
		c->worker_busy = false;
		c->worker_holds = 0;
		if (b->connection == c->connection)
			list_add(&c->settling, b);
		else
			bunch_drop(c, b);
	}
}

static int
settle_all(struct consumer *c, struct err *e)
{
	const struct consumer_facts *now = consumer_facts(&c->status);
	struct bunch **at = &c->settling, *b;

	/* before a cancel the window stays full: see fill() */
	if (atomic_load(&c->consuming) && !c->lost && !now->away &&
		(c->intake == INTAKE_WIDENING || leaving(now)))
		return 0;
	if (consumer_ack_front(c, e))
		return -1;
	while ((b = *at)) {
		if (b->open > 0 && clock_mono_ms() >= c->again_ms && consumer_settle(c, b, e))
			return -1;
		if (b->open > 0) {
			at = &b->next;
			continue;
		}
		*at = b->next;
		bunch_drop(c, b);
	}
	return 0;
}

/* Held for long, because a store is away for long: the broker would close the channel soon. */
static int
give_back_old(struct consumer *c, struct err *e)
{
	int64_t since = clock_mono_ms() - HOLD_MAX_MS;

	if (!consumer_facts(&c->status)->away ||
		!((c->worker_busy && c->worker_first_ms < since) ||
			(c->ready && c->ready->first_ms < since)))
		return 0;
	log_info("what was held for long is given back", LOG_S("consumer", c->handler->name));
	connection_gone(c);
	c->worker_first_ms = INT64_MAX;
	return broker_give_back(c->broker, e);
}

/* At the end: what the worker will not come to, since its store is away or time is up. */
static void
hand_back(struct consumer *c)
{
	const struct consumer_facts *now = consumer_facts(&c->status);
	struct bunch *b;

	if (!now->draining)
		return;
	if (!c->drain_ms)
		c->drain_ms = clock_mono_ms();
	if (!now->away && clock_mono_ms() - c->drain_ms < DRAIN_MS)
		return;
	while ((b = c->ready)) {
		c->ready = b->next;
		list_add(&c->settling, b);
	}
}

static void
poll_wait(struct consumer *c, struct thread *t)
{
	const struct consumer_facts *now = consumer_facts(&c->status);
	int64_t wait = broker_poll_ms(c->broker), left;
	struct pollfd fds[] = { { .fd = thread_wake_fd(t), .events = POLLIN },
		{ .fd = broker_fd(c->broker), .events = broker_poll_events(c->broker) } };

	if (c->ready && !c->worker_busy) {
		left = c->linger_until_ms - clock_mono_ms();
		if (left < wait)
			wait = left;
	}
	if (c->settling && (left = c->again_ms - clock_mono_ms()) > 0 && left < wait)
		wait = left;
	if (wait > 1000)
		wait = 1000;
	if (wait > QUIET_MS / 5 && (now->draining || (now->paused && atomic_load(&c->consuming))))
		wait = QUIET_MS / 5;
	/* while the worker is at a batch, what is coming gathers: one wake-up for many deliveries */
	if (c->worker_busy && c->came && wait > 0)
		(void)poll(fds, 1, GATHER_MS);
	else
		(void)poll(fds, ARRAY_LEN(fds), wait > 0 ? (int)wait : 0);
	if (fds[0].revents)
		thread_wake_clear(t);
}

static int
turn(struct consumer *c, struct thread *t, struct err *e)
{
	hand_back(c);
	if (declare(c, e) || consumer_pause_look(c, e) || consume_as_wanted(c, e))
		return -1;
	stale_drop(c, &c->ready);
	stale_drop(c, &c->settling);
	worker_feed(c);
	poll_wait(c, t);
	c->came = false;
	if (broker_pump(c->broker, 0, e))
		return -1;
	stale_drop(c, &c->settling);
	worker_take(c);
	if (settle_all(c, e) || give_back_old(c, e) || broker_flush(c->broker, e))
		return -1;
	worker_feed(c);
	if (c->came)
		c->came_ms = clock_mono_ms();
	metric_set(c->cells[CM_HELD], (int64_t)held_count(c));
	if (consumer_facts(&c->status)->draining && !atomic_load(&c->consuming) && !c->ready &&
		!c->worker_busy && !c->settling)
		(void)consumer_state_set(&c->status, STEP_DRAINED);
	return 0;
}

static void
away(struct consumer *c, struct thread *t)
{
	struct err e = ERR_INIT;

	atomic_store(&c->consuming, false);
	connection_gone(c);
	c->lost = false;
	c->declare_ms = 0;
	c->pause_look_ms = 0;
	list_drop(c, &c->ready);
	list_drop(c, &c->settling);
	worker_take(c);
	if (consumer_facts(&c->status)->draining && !c->worker_busy)
		(void)consumer_state_set(&c->status, STEP_DRAINED);
	thread_wait(t, broker_due_ms(c->broker));
	if (broker_due_ms(c->broker) == 0 && !thread_stopping(t))
		(void)!broker_connect(c->broker, &e);
}

void
consumer_io_run(struct thread *t, void *arg)
{
	struct consumer *c = arg;

	consumer_threads_wait(c);
	while (!thread_stopping(t)) {
		struct err e = ERR_INIT;

		thread_tick(t);
		if (broker_fd(c->broker) < 0) {
			away(c, t);
		} else if (turn(c, t, &e) && broker_fd(c->broker) >= 0) {
			log_warn("consuming failed, trying again", LOG_E(&e));
			c->lost = true;
			thread_wait(t, 500);
		}
	}
	broker_close(c->broker);
}

void
consumer_io_end(struct consumer *c)
{
	struct bunch *b;

	worker_take(c);
	if (c->to_worker)
		bunch_drop(c, c->to_worker);
	list_drop(c, &c->ready);
	list_drop(c, &c->settling);
	while ((b = c->spare)) {
		c->spare = b->next;
		bunch_free(b);
	}
}
