/* SPDX-License-Identifier: MIT */
/*
 * The look: consumed without an ack, and given back by closing the channel. A
 * quorum queue gives a consumer no more than its prefetch, so each time that it
 * is used up a further consumer is added.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/broker/ops.h"
#include "ctl/kit/operator.h"
#include "model/topology.h"

#define LOCK "onboardctl.dlq.lock"
#define HOLDER "onboardctl.dlq.holder"
#define HOLDER_EXPIRES_MS 3600000
#define LOCK_WAIT_MS 3600000
#define LOCK_EVERY_MS 200
#define IDLE_MS 400      /* nothing came: look again how much there is */
#define STALL_MS 15000   /* nothing comes though there is something */
#define RETURN_MS 30000  /* until all is back in the queue */
#define LEFT_OVER_MS 700 /* a consumer that stays so long is a living one */
#define SWEEPS 10
#define PREFETCH_MAX 60000

static void
on_deliver(void *arg, const struct broker_message *m)
{
	struct dlq *d = arg;
	struct dlq_reader *r = d->reader;

	if (r)
		r->held++;
	/* what comes after the end, or a fault, goes back with the channel */
	if (!r || r->failed || r->stop || r->seen == r->total)
		return;
	r->seen++;
	arena_reset(d->mem);
	if (r->message(r->arg, m, &r->error))
		r->failed = true;
}

static void
on_confirmed(void *arg, uint64_t tag, bool nacked)
{
	const struct dlq *d = arg;

	if (d->reader && d->reader->confirmed)
		d->reader->confirmed(d->reader->arg, tag, nacked);
}

static void
on_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	const struct dlq *d = arg;

	if (d->reader && d->reader->returned)
		d->reader->returned(d->reader->arg, m, code, why);
}

static const struct broker_events events = { .deliver = on_deliver,
	.confirmed = on_confirmed,
	.returned = on_returned };

/* ---- the lock ---- */

static int
holder_queue(struct dlq *d, struct err *e)
{
	const struct broker_field args[] = { { "x-max-length", broker_int(1) },
		{ "x-expires", broker_int(HOLDER_EXPIRES_MS) } };
	const struct broker_queue q = { .name = HOLDER,
		.durable = true,
		.args = args,
		.arg_count = ARRAY_LEN(args) };

	return broker_queue_declare(d->b, &q, NULL, e);
}

/* For others to read; that it cannot be told is no fault of the lock. */
static void
holder_tell(struct dlq *d)
{
	char when[CLOCK_RFC3339_SIZE], who[OPERATOR_SIZE], text[300];

	if (holder_queue(d, NULL))
		return;
	clock_format_rfc3339(clock_wall_us(), when);
	snprintf(text, sizeof text, "%.100s, process %d, `%s%s`, since %s", operator_at_host(who),
		(int)getpid(), strchr(d->what, ' ') ? "" : "dlq ", d->what, when);
	if (broker_publish(d->b,
		    &(struct broker_publish){ .exchange = "",
			    .routing_key = HOLDER,
			    .body = text,
			    .length = strlen(text) },
		    NULL, NULL) == 0)
		(void)!broker_settle(d->b, 2000, NULL);
}

static void
holder_ask(struct dlq *d, struct buf *out)
{
	struct broker_message *m = NULL;

	arena_reset(d->mem);
	if (broker_queue_declare(d->b, &(struct broker_queue){ .name = HOLDER, .passive = true },
		    NULL, NULL) == 0 &&
		broker_get(d->b, HOLDER, d->mem, &m, NULL) == 0 && m) {
		size_t start = out->length;

		(void)!broker_nack(d->b, m->tag, false, true, NULL);
		buf_add(out, m->body, m->length < 200 ? m->length : 200);
		for (size_t i = start; i < out->length; i++)
			if ((uint8_t)out->data[i] < 0x20 || (uint8_t)out->data[i] > 0x7e)
				out->data[i] = '?';
	} else {
		buf_add_text(out, "another onboardctl");
	}
}

/* 1: it is another's. */
static int
lock_try(struct dlq *d, struct err *e)
{
	const struct broker_queue q = { .name = LOCK, .exclusive = true, .auto_delete = true };
	struct err why = ERR_INIT;

	if (broker_queue_declare(d->b, &q, NULL, &why) == 0)
		return 0;
	if (why.kind == ERR_CONFLICT && strstr(why.text, "RESOURCE_LOCKED"))
		return 1;
	return err_set(e, why.kind, "the lock (queue %s) was refused: %s", LOCK, why.text);
}

static int
lock_take(struct dlq *d, struct err *e)
{
	int64_t until = clock_mono_ms() + LOCK_WAIT_MS;
	bool told = false;
	struct buf who;
	int rc;

	buf_init(&who, 1000);
	while ((rc = lock_try(d, e)) == 1) {
		if (!told)
			holder_ask(d, &who);
		if (d->o.no_wait || clock_mono_ms() > until) {
			rc = err_set(e, ERR_CONFLICT, "the DLQ is in use by %s%s", buf_text(&who),
				strcmp(d->what, "trace") == 0
					? ""
					: "; without --no-wait this command waits");
			break;
		}
		if (!told)
			fprintf(stderr, "onboardctl: waiting, the DLQ is in use by %s\n",
				buf_text(&who));
		told = true;
		if (broker_pump(d->b, LOCK_EVERY_MS, e)) {
			rc = -1;
			break;
		}
	}
	buf_fini(&who);
	if (rc == 0) {
		d->locked = true;
		holder_tell(d);
	}
	return rc;
}

int
dlq_connect(struct dlq *d, struct err *e)
{
	if (!d->mem)
		d->mem = arena_new(1 << 16, 1u << 30);
	if (!d->b)
		d->b = broker_new(&(struct broker_options){ .url = conf_string(d->ctl->conf,
								    "rabbitmq", "url"),
					  .name = "onboardctl dlq",
					  .call_ms = CTL_BROKER_MS,
					  .events = &events,
					  .arg = d },
			e);
	if (!d->b || broker_connect(d->b, e))
		return -1;
	return lock_take(d, e);
}

void
dlq_disconnect(struct dlq *d)
{
	if (d->b && d->locked && broker_fd(d->b) >= 0)
		(void)!broker_queue_delete(d->b, HOLDER, NULL, NULL);
	d->locked = false;
	broker_free(d->b);
	d->b = NULL;
	arena_free(d->mem);
	d->mem = NULL;
}

/* ---- the look ---- */

/* sure: a 0 is asked for twice. */
static int
depth(struct dlq *d, bool sure, uint32_t *messages, uint32_t *consumers, struct err *e)
{
	struct err why = ERR_INIT;
	int rc = sure ? look_depth_sure(d->b, TOPOLOGY_DEAD_QUEUE, messages, consumers, &why)
		      : look_depth(d->b, TOPOLOGY_DEAD_QUEUE, messages, consumers, &why);

	if (rc == 0)
		return 0;
	return why.kind == ERR_MISSING
		? err_set(e, ERR_CONFLICT,
			  "there is no queue %s; `onboardctl topology declare` makes it",
			  TOPOLOGY_DEAD_QUEUE)
		: err_set(e, why.kind, "%s", why.text);
}

/*
 * How much there is to read. What a killed predecessor held is back a moment
 * after its lock is free: the queue has lost its consumer and no longer grows.
 */
static int
depth_first(struct dlq *d, uint32_t *messages, struct err *e)
{
	uint32_t consumers, before = 0;
	bool waited = false;
	int64_t until = 0;

	for (;; waited = true) {
		bool last = waited && clock_mono_ms() > until;

		if (depth(d, !waited || last, messages, &consumers, e))
			return -1;
		if (!waited) /* which may have taken long */
			until = clock_mono_ms() + LEFT_OVER_MS;
		if (last || (consumers == 0 && (waited ? before == *messages : *messages == 0)))
			return 0;
		before = *messages;
		if (broker_pump(d->b, 50, e))
			return -1;
	}
}

struct reading {
	uint64_t credit;
	unsigned consumers;
	uint32_t prefetch;
	int64_t came_ms;
};

static int
consumer_add(struct dlq *d, struct dlq_reader *r, struct reading *l, struct err *e)
{
	struct err why = ERR_INIT;
	char tag[64];

	snprintf(tag, sizeof tag, "onboardctl-%u", ++l->consumers);
	/* where nothing of what comes is acked, larger steps do */
	if (l->consumers > 1 && r->acked == 0)
		l->prefetch = 2 * l->prefetch < PREFETCH_MAX ? 2 * l->prefetch : PREFETCH_MAX;
	l->credit += l->prefetch;
	if (broker_qos(d->b, (uint16_t)l->prefetch, e))
		return -1;
	if (broker_consume(d->b, TOPOLOGY_DEAD_QUEUE, tag, false, &why) == 0)
		return 0;
	if (why.kind == ERR_CONFLICT)
		return err_set(e, ERR_CONFLICT, "another program has %s for itself: %s",
			TOPOLOGY_DEAD_QUEUE, why.text);
	return err_set(e, why.kind, "%s", why.text);
}

/* 1: there is no more to come. */
static int
idle(struct dlq *d, struct dlq_reader *r, const struct reading *l, struct err *e)
{
	int64_t silent = clock_mono_ms() - l->came_ms;
	uint32_t ready;

	if (silent < IDLE_MS)
		return 0;
	if (depth(d, true, &ready, NULL, e))
		return -1;
	if (ready == 0)
		return 1; /* others have taken the rest */
	if (silent < STALL_MS)
		return 0;
	return err_set(e, ERR_INTERNAL,
		"%" PRIu64 " of %" PRIu64 " entries came, then nothing for %d s; "
		"is another program reading %s?",
		r->seen, r->total, STALL_MS / 1000, TOPOLOGY_DEAD_QUEUE);
}

/* All that was held is in the queue again, or nothing more gets there. */
static void
returned_wait(struct dlq *d, uint64_t held)
{
	int64_t until = clock_mono_ms() + RETURN_MS, moved = clock_mono_ms();
	uint32_t ready, last = 0;

	while (depth(d, false, &ready, NULL, NULL) == 0 && ready < held &&
		clock_mono_ms() < until && clock_mono_ms() < moved + 2000) {
		if (ready != last)
			moved = clock_mono_ms();
		last = ready;
		if (broker_pump(d->b, 20, NULL))
			return;
	}
}

static int
look(struct dlq *d, struct dlq_reader *r, struct progress *p, struct err *e)
{
	struct reading l = { .prefetch = r->prefetch ? r->prefetch : PREFETCH_MAX,
		.came_ms = clock_mono_ms() };

	while (!r->failed && ((r->seen < r->total && !r->stop) || (r->busy && r->busy(r->arg)))) {
		bool busy = r->busy && r->busy(r->arg);
		uint64_t before = r->seen;
		int rc = 0;

		if (!busy && !r->stop && r->seen < r->total && r->held - r->acked >= l.credit &&
			consumer_add(d, r, &l, e))
			return -1;
		if (broker_pump(d->b, 50, e) || (r->turn && r->turn(r->arg, e)))
			return -1;
		if (r->seen != before || busy)
			l.came_ms = clock_mono_ms();
		else if (r->seen < r->total && !r->stop)
			rc = idle(d, r, &l, e);
		if (rc < 0)
			return -1;
		if (rc == 1)
			r->total = r->seen;
		progress_set(p, r->seen);
	}
	return r->failed ? err_set(e, r->error.kind, "%s", r->error.text) : 0;
}

/* One look at so many; after: what the queue has when all is back. */
static int
read_once(struct dlq *d, struct dlq_reader *r, uint32_t messages, uint32_t *after, struct err *e)
{
	struct err why = ERR_INIT;
	struct progress p;
	int rc;

	r->seen = r->acked = r->held = 0;
	r->failed = r->stop = false;
	r->total = messages;
	*after = 0;
	d->reader = r;
	progress_begin(&p, r->what, r->total);
	rc = r->total ? look(d, r, &p, e) : 0;
	progress_end(&p);
	d->reader = NULL;
	if (broker_fd(d->b) < 0)
		return rc;
	if (broker_flush(d->b, &why) == 0 && broker_give_back(d->b, &why) == 0) {
		returned_wait(d, r->held - r->acked);
		(void)!depth_first(d, after, &why);
	}
	return why.kind && rc == 0 ? err_set(e, why.kind, "%s", why.text) : rc;
}

struct sweep {
	struct dlq *d;
	struct dlq_set *done;
	struct dlq_reader reader;
};

static int
sweep_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct sweep *s = arg;
	struct dlq_entry entry;
	char key[DLQ_KEY_SIZE];

	dlq_entry_read(&entry, m, s->d->mem);
	dlq_entry_key(&entry, m, key);
	if (!dlq_set_has(s->done, key, NULL))
		return 0;
	s->reader.acked++;
	return broker_ack(s->d->b, m->tag, false, e);
}

int
dlq_read(struct dlq *d, struct dlq_reader *r, struct err *e)
{
	struct sweep s = { .d = d, .done = r->done };
	uint32_t messages = 0, after = 0;
	uint64_t left;

	if (depth_first(d, &messages, e) || read_once(d, r, messages, &after, e))
		return -1;
	left = r->held - r->acked;
	/* of many acks a quorum queue loses the last when the channel is closed right behind them */
	for (unsigned i = 0; r->done && r->done->count && r->acked && after > left && i < SWEEPS;
		i++) {
		s.reader = (struct dlq_reader){ .what = "sweeping",
			.message = sweep_message,
			.arg = &s };
		if (read_once(d, &s.reader, after, &after, e))
			return -1;
		if (s.reader.acked == 0)
			break; /* those are new ones */
		left = s.reader.held - s.reader.acked;
	}
	return 0;
}
