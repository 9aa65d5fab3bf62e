/* SPDX-License-Identifier: MIT */
/* RabbitMQ: receives frames, keeps the heartbeats, and is the one place that waits. */
#include "link/broker_own.h"

#include <poll.h>

#include "base/clock.h"

#define FRAMES_A_TURN 4096

static void
beat(struct broker *b)
{
	/* any sent byte counts as a heartbeat, so queued frames will serve as one */
	if (b->beat_ms && broker_unsent(b) == 0 && clock_mono_ms() - b->sent_ms >= b->beat_ms / 2)
		broker_frame_end(&b->out, broker_frame_begin(&b->out, AMQP_FRAME_HEARTBEAT, 0));
}

/* 1: handled a frame; 0: no frame has arrived. */
static int
read_one(struct broker *b, struct err *e)
{
	struct timeval now = { 0, 0 };
	amqp_frame_t f;
	int rc = amqp_simple_wait_frame_noblock(b->conn, &f, &now);

	if (rc == AMQP_STATUS_TIMEOUT)
		return 0;
	if (rc == AMQP_STATUS_CONNECTION_CLOSED || rc == AMQP_STATUS_SOCKET_ERROR ||
		rc == AMQP_STATUS_SOCKET_CLOSED)
		return broker_lost(b, e, "the connection was cut");
	if (rc == AMQP_STATUS_BAD_AMQP_DATA)
		return broker_broken(b, e,
			"the server sent what is no AMQP, or a message whose headers are over %u "
			"bytes",
			BROKER_HEAD_MAX);
	if (rc != AMQP_STATUS_OK)
		return broker_lost(b, e, "lost while reading: %s", amqp_error_string2(rc));
	if (f.channel >= CH_COUNT)
		return broker_broken(b, e, "received a frame for a channel that is not open");
	b->frames++;
	if (broker_dispatch(b, &f, e))
		return -1;
	/* the library keeps its buffers until told to release them, so tell it each time */
	if (!b->ask.answered)
		amqp_maybe_release_buffers_on_channel(b->conn, f.channel);
	return 1;
}

static int
read_all(struct broker *b, struct err *e)
{
	b->more = false;
	for (int i = 0; i < FRAMES_A_TURN; i++) {
		int rc = read_one(b, e);

		if (rc <= 0)
			return rc;
		if (b->ask.answered)
			break; /* the caller must read the answer before the next frame */
	}
	b->more = true;
	return 0;
}

int64_t
broker_poll_ms(const struct broker *b)
{
	int64_t now = clock_mono_ms(), wait, silent;

	if (b->fd < 0)
		return broker_due_ms(b);
	if (b->more)
		return 0;
	if (!b->beat_ms)
		return 60000;
	wait = b->sent_ms + b->beat_ms / 2 - now;
	silent = b->heard_ms + b->beat_ms * 3 / 2 - now;
	if (broker_unsent(b) > 0 || silent < wait)
		wait = silent;
	return wait < 0 ? 0 : wait;
}

int
broker_turn(struct broker *b, int64_t wait_ms, struct err *e)
{
	struct pollfd p;
	int64_t limit;
	int n;

	must(!b->in_call);
	if (broker_usable(b, e))
		return -1;
	beat(b);
	if (broker_send(b, e))
		return -1;
	limit = broker_poll_ms(b);
	if (wait_ms > limit)
		wait_ms = limit;
	p = (struct pollfd){ .fd = b->fd, .events = broker_poll_events(b) };
	n = poll(&p, 1, (int)(wait_ms > 60000 ? 60000 : wait_ms));
	if (n > 0 && (p.revents & ~POLLOUT))
		b->heard_ms = clock_mono_ms();
	else if (b->beat_ms && clock_mono_ms() - b->heard_ms > b->beat_ms * 3 / 2)
		return broker_lost(b, e, "the server has been silent for %lld s",
			(long long)(b->beat_ms * 3 / 2000));
	if ((b->more || (n > 0 && (p.revents & ~POLLOUT))) && read_all(b, e))
		return -1;
	return broker_send(b, e);
}

int
broker_pump(struct broker *b, int64_t wait_ms, struct err *e)
{
	int64_t until = clock_mono_ms() + wait_ms;

	do {
		int64_t left = until - clock_mono_ms();
		uint64_t before = b->frames;

		if (broker_turn(b, left > 0 ? left : 0, e))
			return -1;
		if (b->frames != before || b->more)
			return 0;
	} while (clock_mono_ms() < until);
	return 0;
}

int
broker_flush(struct broker *b, struct err *e)
{
	int64_t until = clock_mono_ms() + b->call_ms, left;

	/* reads before it sends: a frame may say that the broker blocks or is gone */
	if (broker_turn(b, 0, e))
		return -1;
	while (broker_unsent(b) > 0 && !b->blocked) {
		left = until - clock_mono_ms();
		if (left <= 0)
			return broker_lost(b, e, "the server takes nothing more since %lld ms",
				(long long)b->call_ms);
		if (broker_turn(b, left, e))
			return -1;
	}
	return 0;
}

int
broker_fd(const struct broker *b)
{
	return b->fd;
}

short
broker_poll_events(const struct broker *b)
{
	return broker_unsent(b) > 0 ? POLLIN | POLLOUT : POLLIN;
}
