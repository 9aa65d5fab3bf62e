/* SPDX-License-Identifier: MIT */
/* The consumer runtime: the I/O thread, which owns the connection to the broker. */
#include <poll.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/consumer_own.h"

#define HOLD_MAX_MS (25 * 60 * 1000) /* after 30 minutes the broker closes the channel */
#define DECLARE_AGAIN_MS 1000
#define GATHER_MS 2   /* how long messages gather while the worker has a batch */
#define DRAIN_MS 7000 /* then bunches that wait for the worker are handed back */

static int
topology_keep(struct consumer *c, struct err *e)
{
	struct err why = ERR_INIT;

	if (clock_mono_ms() < c->declare_ms)
		return 0;
	if (topology_declare(c->broker, c->topology_only, &why)) {
		if (why.kind == ERR_AWAY)
			return err_set(e, ERR_AWAY, "%s", why.text);
		log_error("the topology is not as it should be", LOG_E(&why));
		if (why.kind == ERR_MISSING) { /* somebody deleted it meanwhile */
			c->declare_ms = clock_mono_ms() + DECLARE_AGAIN_MS;
			return 0;
		}
	}
	c->declare_ms = clock_mono_ms() + c->check_every_ms;
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

/* Takes finished bunches from the worker. Those of an old connection cannot be acked. */
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
			consumer_bunches_add(&c->settling, b);
		else
			consumer_bunch_drop(c, b);
	}
}

static int
settle_all(struct consumer *c, struct err *e)
{
	struct bunch **at = &c->settling, *b;

	if (consumer_acks_wait(c))
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
		consumer_bunch_drop(c, b);
	}
	return 0;
}

/* A store has been away for so long that the broker would soon close the channel. */
static int
give_back_old(struct consumer *c, struct err *e)
{
	int64_t since = clock_mono_ms() - HOLD_MAX_MS;

	if (!consumer_facts(&c->status)->away ||
		!((c->worker_busy && c->worker_first_ms < since) ||
			(c->ready && c->ready->first_ms < since)))
		return 0;
	log_info("deliveries held for 25 minutes are given back",
		LOG_S("consumer", c->handler->name));
	consumer_connection_gone(c);
	c->worker_first_ms = INT64_MAX;
	return broker_give_back(c->broker, e);
}

/* While draining: hands back the bunches that the worker cannot handle in time. */
static void
drain_hand_back(struct consumer *c)
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
		consumer_bunches_add(&c->settling, b);
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
	if (wait > CONSUMER_QUIET_MS / 5 &&
		(now->draining || (now->paused && atomic_load(&c->consuming))))
		wait = CONSUMER_QUIET_MS / 5;
	/* while the worker has a batch, messages gather: one wake-up for many of them */
	if (c->worker_busy && c->came && wait > 0)
		(void)poll(fds, 1, GATHER_MS);
	else
		(void)poll(fds, ARRAY_LEN(fds), wait > 0 ? (int)wait : 0);
	if (fds[0].revents)
		thread_wake_clear(t);
}

static int
io_turn(struct consumer *c, struct thread *t, struct err *e)
{
	drain_hand_back(c);
	if (topology_keep(c, e) || consumer_pause_look(c, e) || consumer_take_as_wanted(c, e))
		return -1;
	consumer_bunches_drop_stale(c, &c->ready);
	consumer_bunches_drop_stale(c, &c->settling);
	worker_feed(c);
	poll_wait(c, t);
	c->came = false;
	if (broker_pump(c->broker, 0, e))
		return -1;
	consumer_bunches_drop_stale(c, &c->settling);
	worker_take(c);
	if (settle_all(c, e) || give_back_old(c, e) || broker_flush(c->broker, e))
		return -1;
	worker_feed(c);
	if (c->came)
		c->came_ms = clock_mono_ms();
	metric_set(c->cells[CM_HELD], (int64_t)consumer_held(c));
	if (consumer_facts(&c->status)->draining && !atomic_load(&c->consuming) && !c->ready &&
		!c->worker_busy && !c->settling)
		(void)consumer_state_set(&c->status, STEP_DRAINED);
	return 0;
}

static void
connection_restore(struct consumer *c, struct thread *t)
{
	struct err e = ERR_INIT;

	atomic_store(&c->consuming, false);
	consumer_connection_gone(c);
	c->lost = false;
	c->declare_ms = 0;
	c->pause_look_ms = 0;
	consumer_bunches_drop(c, &c->ready);
	consumer_bunches_drop(c, &c->settling);
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
			connection_restore(c, t);
		} else if (io_turn(c, t, &e) && broker_fd(c->broker) >= 0) {
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
	worker_take(c);
	if (c->to_worker)
		consumer_bunch_drop(c, c->to_worker);
	consumer_bunches_free(c);
}
