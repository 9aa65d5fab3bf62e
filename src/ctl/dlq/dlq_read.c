/* SPDX-License-Identifier: MIT */
/*
 * The look: consumes entries without an ack, and returns them by closing the
 * channel. A quorum queue gives a consumer no more than its prefetch, so each time
 * the prefetch is used up, the look adds a consumer.
 */
#include <inttypes.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/broker/look.h"
#include "model/topology.h"

#define IDLE_MS 400      /* without a message: ask for the queue's depth again */
#define STALL_MS 15000   /* without a message although the queue has some */
#define RETURN_MS 30000  /* until all messages are back in the queue */
#define LEFT_OVER_MS 700 /* a consumer that stays this long is alive */
#define SWEEPS 10
#define PREFETCH_MAX 60000

/* sure: checks a 0, see look_depth_sure. */
static int
dlq_depth(struct dlq *d, bool sure, uint32_t *messages, uint32_t *consumers, struct err *e)
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
 * How many entries there are to read. Entries that a killed command held return a
 * moment after its lock is free: then the queue has no consumer and stops growing.
 */
static int
depth_first(struct dlq *d, uint32_t *messages, struct err *e)
{
	uint32_t consumers, before = 0;
	bool waited = false;
	int64_t until = 0;

	for (;; waited = true) {
		bool last = waited && clock_mono_ms() > until;

		if (dlq_depth(d, !waited || last, messages, &consumers, e))
			return -1;
		if (!waited) /* the question may have taken long */
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
	/* larger steps, unless entries are acked */
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

/* 1: no more entries come. */
static int
silence_check(struct dlq *d, struct dlq_reader *r, const struct reading *l, struct err *e)
{
	int64_t silent = clock_mono_ms() - l->came_ms;
	uint32_t ready;

	if (silent < IDLE_MS)
		return 0;
	if (dlq_depth(d, true, &ready, NULL, e))
		return -1;
	if (ready == 0)
		return 1; /* another program has taken the rest */
	if (silent < STALL_MS)
		return 0;
	return err_set(e, ERR_INTERNAL,
		"%" PRIu64 " of %" PRIu64 " entries came, then nothing for %d s; "
		"is another program reading %s?",
		r->seen, r->total, STALL_MS / 1000, TOPOLOGY_DEAD_QUEUE);
}

/* Waits until the held entries are in the queue again, or until it stops growing. */
static void
returned_wait(struct dlq *d, uint64_t held)
{
	int64_t until = clock_mono_ms() + RETURN_MS, moved = clock_mono_ms();
	uint32_t ready, last = 0;

	while (dlq_depth(d, false, &ready, NULL, NULL) == 0 && ready < held &&
		clock_mono_ms() < until && clock_mono_ms() < moved + 2000) {
		if (ready != last)
			moved = clock_mono_ms();
		last = ready;
		if (broker_pump(d->b, 20, NULL))
			return;
	}
}

static int
queue_read(struct dlq *d, struct dlq_reader *r, struct progress *p, struct err *e)
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
			rc = silence_check(d, r, &l, e);
		if (rc < 0)
			return -1;
		if (rc == 1)
			r->total = r->seen;
		progress_set(p, r->seen);
	}
	return r->failed ? err_set(e, r->error.kind, "%s", r->error.text) : 0;
}

/* One look at this many entries; after: the queue's depth once they are back. */
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
	rc = r->total ? queue_read(d, r, &p, e) : 0;
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
	/* a quorum queue loses the last of many acks when the channel closes right after them */
	for (unsigned i = 0; r->done && r->done->count && r->acked && after > left && i < SWEEPS;
		i++) {
		s.reader = (struct dlq_reader){ .what = "sweeping",
			.message = sweep_message,
			.arg = &s };
		if (read_once(d, &s.reader, after, &after, e))
			return -1;
		if (s.reader.acked == 0)
			break; /* they are new entries */
		left = s.reader.held - s.reader.acked;
	}
	return 0;
}
