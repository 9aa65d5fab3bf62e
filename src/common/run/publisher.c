/* SPDX-License-Identifier: MIT */
#include "run/publisher.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "link/broker.h"
#include "model/event.h"
#include "run/thread.h"
#include "model/topology.h"

#define WINDOW 4096      /* unconfirmed events at most */
#define CHUNK 256        /* events in one write at most */
#define QUEUE_MAX 100000 /* events held in memory at most */
#define DONE_MAX 512     /* batches in one call of done() at most */
#define AGAIN_MS 1000    /* after a return or a refusal */
#define STALL_MS 20000   /* a slow connect and a slow declaration */
#define RATE_EVERY_MS 50
#define FEW 500 /* queued events that are no backlog */
#define BATCH_LIMIT (256u << 20)

enum { M_CONFIRMED, M_RETURNED, M_NACKED, M_QUEUED, M_REFUSED };
static const struct metric_def defs[] = {
	[M_CONFIRMED] = { "onboard_publish_confirmed_total", METRIC_COUNTER,
		"Events that the broker has confirmed.", {} },
	[M_RETURNED] = { "onboard_publish_returned_total", METRIC_COUNTER,
		"Events that no queue was bound to; tried again.", {} },
	[M_NACKED] = { "onboard_publish_nacked_total", METRIC_COUNTER,
		"Events that the broker refused; tried again.", {} },
	[M_QUEUED] = { "onboard_publish_queued", METRIC_GAUGE,
		"Events in memory, not confirmed yet.", {} },
	[M_REFUSED] = { "onboard_publish_left_to_sweeper_total", METRIC_COUNTER,
		"Events that found the queue full and wait in the outbox.", {} },
};

struct item {
	STAILQ_ENTRY(item) entry;
	struct publisher_batch *batch;
	struct publisher_event event;
	char id[UUID_TEXT_SIZE];
	bool returned;
};
STAILQ_HEAD(items, item);

struct publisher_batch {
	struct arena *mem; /* holds this struct, too */
	struct uuid id;
	struct items items;
	size_t count; /* events not done yet */
	size_t swept; /* its events, if the sweeper pushed it; otherwise 0 */
	UT_hash_handle hh;
};

struct publisher {
	struct broker *broker;
	struct thread *thread;
	struct metrics *metrics;
	struct metric_cell *cells[ARRAY_LEN(defs)];
	struct publisher_options o;
	char *consumers;

	pthread_mutex_t lock; /* guards pushed and held */
	struct items pushed;
	struct publisher_batch *held; /* by id: from the push until done() returns */
	atomic_size_t queued;
	_Atomic int64_t behind_ms;
	atomic_bool settled;

	/* only the thread uses these */
	struct items waiting;      /* to send, oldest first */
	struct items later;        /* to send again at again_ms */
	struct item *sent[WINDOW]; /* by tag % WINDOW */
	size_t sent_count;
	int64_t again_ms, declare_ms; /* monotonic */
	bool declared;
	bool full; /* the broker link takes no event until a confirm arrives or it has sent data */
	int64_t rate_ms; /* when rate was last computed */
	uint64_t rate_count;
	double rate; /* confirms a second, smoothed */
	struct publisher_batch *done[DONE_MAX];
	size_t done_count;
};

/* ---- batches ---- */

struct publisher_batch *
publisher_batch_new(const struct uuid *id, size_t bytes)
{
	struct arena *mem = arena_new(bytes + sizeof(struct publisher_batch) + 512, BATCH_LIMIT);
	struct publisher_batch *b = arena_alloc(mem, sizeof *b);

	must(b);
	b->mem = mem;
	b->id = *id;
	STAILQ_INIT(&b->items);
	return b;
}

void
publisher_batch_add(struct publisher_batch *b, const struct publisher_event *event)
{
	struct item *i = arena_alloc(b->mem, sizeof *i);

	must(i); /* the caller bounds the batch */
	i->batch = b;
	i->event = *event;
	i->event.body = arena_memdup(b->mem, event->body, event->length);
	i->event.type = arena_strdup(b->mem, event->type);
	if (event->traceparent)
		i->event.traceparent = arena_strdup(b->mem, event->traceparent);
	must(i->event.body && i->event.type && (!event->traceparent || i->event.traceparent));
	uuid_format(&event->id, i->id);
	STAILQ_INSERT_TAIL(&b->items, i, entry);
	b->count++;
}

void
publisher_batch_swept(struct publisher_batch *b)
{
	b->swept = b->count;
}

void
publisher_batch_free(struct publisher_batch *b)
{
	arena_free(b->mem);
}

/* The caller holds the lock. */
static struct publisher_batch *
held_find(struct publisher *p, const struct uuid *id)
{
	struct publisher_batch *b;

	HASH_FIND(hh, p->held, id, sizeof *id, b);
	return b;
}

bool
publisher_holds(struct publisher *p, const struct uuid *batch_id)
{
	bool found;

	must(pthread_mutex_lock(&p->lock) == 0);
	found = held_find(p, batch_id) != NULL;
	must(pthread_mutex_unlock(&p->lock) == 0);
	return found;
}

bool
publisher_push(struct publisher *p, struct publisher_batch *b)
{
	size_t n = b->count;
	bool twice;

	if (n == 0 || atomic_load(&p->queued) + n > QUEUE_MAX) {
		metric_add(p->cells[M_REFUSED], n);
		publisher_batch_free(b);
		return false;
	}
	must(pthread_mutex_lock(&p->lock) == 0);
	twice = held_find(p, &b->id) != NULL;
	if (!twice) {
		HASH_ADD(hh, p->held, id, sizeof b->id, b);
		STAILQ_CONCAT(&p->pushed, &b->items);
		atomic_fetch_add(&p->queued, n);
	}
	must(pthread_mutex_unlock(&p->lock) == 0);
	if (twice)
		publisher_batch_free(b);
	else
		thread_wake(p->thread);
	return true;
}

/* ---- confirms and returns ---- */

/* Calls done() first: until done() knows a batch, publisher_holds() must find it. */
static void
done_tell(struct publisher *p)
{
	struct uuid ids[DONE_MAX];
	size_t swept = 0;

	if (p->done_count == 0)
		return;
	for (size_t n = 0; n < p->done_count; n++) {
		ids[n] = p->done[n]->id;
		swept += p->done[n]->swept;
	}
	p->o.done(p->o.arg, ids, p->done_count, swept);
	must(pthread_mutex_lock(&p->lock) == 0);
	for (size_t n = 0; n < p->done_count; n++)
		HASH_DEL(p->held, p->done[n]);
	must(pthread_mutex_unlock(&p->lock) == 0);
	for (size_t n = 0; n < p->done_count; n++)
		publisher_batch_free(p->done[n]);
	p->done_count = 0;
}

static void
item_done(struct publisher *p, struct item *i)
{
	struct publisher_batch *b = i->batch;

	metric_add(p->cells[M_CONFIRMED], 1);
	atomic_fetch_sub(&p->queued, 1);
	if (--b->count > 0)
		return;
	p->done[p->done_count++] = b;
	if (p->done_count == DONE_MAX)
		done_tell(p);
}

static void
on_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct publisher *p = arg;
	struct item *i = p->sent[tag % WINDOW];

	must(i);
	p->sent[tag % WINDOW] = NULL;
	p->sent_count--;
	nacked |= fault_hit(FAULT_publisher_confirmed);
	if (!nacked && !i->returned) {
		item_done(p, i);
		return;
	}
	if (nacked) {
		metric_add(p->cells[M_NACKED], 1);
		log_warn("event refused by the broker", LOG_S("event_id", i->id));
	} else {
		log_warn("event without a queue", LOG_S("event_id", i->id),
			LOG_S("type", i->event.type));
	}
	i->returned = false;
	STAILQ_INSERT_TAIL(&p->later, i, entry);
	p->again_ms = clock_mono_ms() + AGAIN_MS;
	p->declared = false; /* a binding may be gone */
}

/* The broker returns a message before it confirms it. */
static void
on_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct publisher *p = arg;

	(void)code;
	(void)why;
	metric_add(p->cells[M_RETURNED], 1);
	for (size_t n = 0; n < WINDOW && m->props.message_id; n++)
		if (p->sent[n] && strcmp(p->sent[n]->id, m->props.message_id) == 0)
			p->sent[n]->returned = true;
}

/* The connection is lost. Nobody knows which events arrived, so all are sent again, in order. */
static void
unconfirmed_requeue(struct publisher *p)
{
	struct items back = STAILQ_HEAD_INITIALIZER(back);
	struct item *i;

	while ((i = STAILQ_FIRST(&p->later))) {
		STAILQ_REMOVE_HEAD(&p->later, entry);
		STAILQ_INSERT_TAIL(&back, i, entry);
	}
	for (size_t n = 0; n < WINDOW; n++)
		if ((i = p->sent[n])) {
			i->returned = false;
			STAILQ_INSERT_TAIL(&back, i, entry);
			p->sent[n] = NULL;
		}
	p->sent_count = 0;
	p->full = false;
	STAILQ_CONCAT(&back, &p->waiting);
	STAILQ_CONCAT(&p->waiting, &back);
}

/* ---- sending ---- */

static int
item_send(struct publisher *p, struct item *i, struct err *e)
{
	struct broker_field headers[2];
	size_t n = 0;
	uint64_t tag;

	if (i->event.traceparent)
		headers[n++] =
			(struct broker_field){ "traceparent", broker_text(i->event.traceparent) };
	if (i->event.test)
		headers[n++] = (struct broker_field){ EVENT_HEADER_TEST, broker_int(1) };
	if (broker_publish(p->broker,
		    &(struct broker_publish){ .exchange = TOPOLOGY_EVENTS,
			    .routing_key = i->event.type,
			    .mandatory = true,
			    .body = i->event.body,
			    .length = i->event.length,
			    .props = { .content_type = "application/json",
				    .delivery_mode = 2,
				    .message_id = i->id,
				    .type = i->event.type,
				    .app_id = PUBLISHER_APP_ID,
				    .has_timestamp = true,
				    .timestamp = (uint64_t)uuid7_time_ms(&i->event.id) / 1000 },
			    .headers = headers,
			    .header_count = n },
		    &tag, e))
		return -1;
	must(!p->sent[tag % WINDOW]);
	p->sent[tag % WINDOW] = i;
	p->sent_count++;
	return 0;
}

static void
pushed_collect(struct publisher *p)
{
	must(pthread_mutex_lock(&p->lock) == 0);
	STAILQ_CONCAT(&p->waiting, &p->pushed);
	must(pthread_mutex_unlock(&p->lock) == 0);
}

/* Sends as many events as fit into the window and into one write. */
static int
items_send(struct publisher *p, struct err *e)
{
	struct item *i;

	if (p->again_ms && clock_mono_ms() >= p->again_ms) {
		STAILQ_CONCAT(&p->waiting, &p->later);
		p->again_ms = 0;
	}
	p->full = false;
	for (int n = 0; n < CHUNK && p->sent_count < WINDOW && (i = STAILQ_FIRST(&p->waiting));
		n++) {
		STAILQ_REMOVE_HEAD(&p->waiting, entry);
		if (item_send(p, i, e)) {
			STAILQ_INSERT_HEAD(&p->waiting, i, entry);
			p->full = e->kind == ERR_LIMIT;
			return p->full ? 0 : -1;
		}
	}
	return broker_flush(p->broker, e);
}

static int
topology_renew(struct publisher *p, struct err *e)
{
	struct err why = ERR_INIT;

	if (topology_declare(p->broker, p->consumers, &why)) {
		if (why.kind == ERR_AWAY)
			return err_set(e, ERR_AWAY, "%s", why.text);
		/* a person must mend the faulty part; the rest of the topology takes events */
		log_error("the topology is not as it should be", LOG_E(&why));
	}
	p->declared = true;
	atomic_store(&p->settled, true);
	p->declare_ms = clock_mono_ms() + p->o.check_every_ms;
	return 0;
}

/* Waits until there is work. Events that cannot be sent now are no work. */
static void
work_wait(struct publisher *p, struct thread *t)
{
	bool can = link_usable(broker_link(p->broker)) && !p->full && p->sent_count < WINDOW;
	int64_t wait = broker_poll_ms(p->broker), left;
	struct pollfd fds[] = { { .fd = thread_wake_fd(t), .events = POLLIN },
		{ .fd = broker_fd(p->broker), .events = broker_poll_events(p->broker) } };

	if (can && p->again_ms && (left = p->again_ms - clock_mono_ms()) < wait)
		wait = left;
	if (wait > 1000)
		wait = 1000;
	if (can && !STAILQ_EMPTY(&p->waiting))
		wait = 0;
	(void)poll(fds, ARRAY_LEN(fds), wait > 0 ? (int)wait : 0);
	if (fds[0].revents)
		thread_wake_clear(t);
}

static void
behind_set(struct publisher *p)
{
	int64_t now = clock_mono_ms(), passed = now - p->rate_ms;
	uint64_t count = metric_value(p->cells[M_CONFIRMED]);
	size_t n = atomic_load(&p->queued);

	if (passed < RATE_EVERY_MS)
		return;
	p->rate += ((double)(count - p->rate_count) * 1000 / (double)passed - p->rate) / 8;
	p->rate_count = count;
	p->rate_ms = now;
	atomic_store(&p->behind_ms,
		n > FEW ? (int64_t)((double)n * 1000 / (p->rate > 1 ? p->rate : 1)) : 0);
}

static int
publisher_turn(struct publisher *p, struct thread *t, struct err *e)
{
	struct link_view v;

	if (!p->declared || clock_mono_ms() >= p->declare_ms) {
		if (topology_renew(p, e))
			return -1;
	}
	work_wait(p, t);
	if (broker_pump(p->broker, 0, e))
		return -1;
	pushed_collect(p);
	link_look(broker_link(p->broker), &v);
	if (v.state == LINK_UP && items_send(p, e))
		return -1;
	done_tell(p);
	metric_set(p->cells[M_QUEUED], (int64_t)atomic_load(&p->queued));
	if (v.state == LINK_UP)
		behind_set(p);
	else
		atomic_store(&p->behind_ms, 0);
	return 0;
}

static void
publisher_run(struct thread *t, void *arg)
{
	struct publisher *p = arg;
	struct err e;

	while (!thread_stopping(t)) {
		e = ERR_INIT;
		thread_tick(t);
		if (broker_fd(p->broker) < 0) {
			p->declared = false;
			atomic_store(&p->behind_ms, 0);
			unconfirmed_requeue(p);
			thread_wait(t, broker_due_ms(p->broker));
			if (broker_due_ms(p->broker) == 0 && !thread_stopping(t) &&
				broker_connect(p->broker, &e))
				atomic_store(&p->settled, true);
		} else if (publisher_turn(p, t, &e) && broker_fd(p->broker) >= 0) {
			log_warn("publishing failed", LOG_E(&e));
			thread_wait(t, 100);
		}
	}
	done_tell(p);
	broker_close(p->broker);
	unconfirmed_requeue(p);
}

/* ---- its life ---- */

struct publisher *
publisher_start(const struct publisher_options *o, struct err *e)
{
	static const struct broker_events events = { .confirmed = on_confirmed,
		.returned = on_returned };
	struct publisher *p;

	if (topology_list_check(o->consumers, e))
		return NULL;
	p = must_calloc(1, sizeof *p);
	p->o = *o;
	p->consumers = must_strdup(o->consumers ? o->consumers : "");
	STAILQ_INIT(&p->pushed);
	STAILQ_INIT(&p->waiting);
	STAILQ_INIT(&p->later);
	p->metrics = metrics_new(defs, ARRAY_LEN(defs));
	for (size_t i = 0; i < ARRAY_LEN(defs); i++)
		p->cells[i] = metrics_cell(p->metrics, i);
	must(pthread_mutex_init(&p->lock, NULL) == 0);
	p->broker = broker_new(&(struct broker_options){ .url = o->url,
				       .name = o->name,
				       .heartbeat_s = o->heartbeat_s,
				       .window = WINDOW,
				       .events = &events,
				       .arg = p },
		e);
	if (!p->broker) {
		publisher_stop(p);
		return NULL;
	}
	p->thread = thread_start("publisher", publisher_run, p);
	return p;
}

static void
items_free(struct items *list)
{
	struct item *i;

	while ((i = STAILQ_FIRST(list))) {
		struct publisher_batch *b = i->batch;

		STAILQ_REMOVE_HEAD(list, entry);
		if (--b->count == 0)
			publisher_batch_free(b);
	}
}

void
publisher_drain(struct publisher *p, int64_t wait_ms)
{
	int64_t until = clock_mono_ms() + wait_ms;

	while (publisher_queued(p) > 0 && clock_mono_ms() < until &&
		link_usable(broker_link(p->broker)))
		(void)poll(NULL, 0, 5);
}

void
publisher_stop(struct publisher *p)
{
	if (!p)
		return;
	thread_join(p->thread);
	HASH_CLEAR(hh, p->held);
	items_free(&p->pushed);
	items_free(&p->waiting);
	items_free(&p->later);
	broker_free(p->broker);
	metrics_free(p->metrics);
	must(pthread_mutex_destroy(&p->lock) == 0);
	free(p->consumers);
	free(p);
}

struct link *
publisher_link(struct publisher *p)
{
	return broker_link(p->broker);
}

struct metrics *
publisher_metrics(struct publisher *p)
{
	return p->metrics;
}

bool
publisher_alive(const struct publisher *p)
{
	return thread_alive(p->thread, STALL_MS);
}

bool
publisher_settled(const struct publisher *p)
{
	return atomic_load(&p->settled);
}

size_t
publisher_queued(const struct publisher *p)
{
	return atomic_load(&p->queued);
}

int64_t
publisher_behind_ms(const struct publisher *p)
{
	return atomic_load(&p->behind_ms);
}
