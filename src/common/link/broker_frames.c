/* SPDX-License-Identifier: MIT */
/* RabbitMQ: frames out and in, heartbeats, the one place that waits. */
#include "link/broker_own.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

#define FRAMES_A_TURN 4096
#define HEAD 7

size_t
broker_frame_begin(struct buf *out, uint8_t type, uint16_t channel)
{
	size_t start = out->length;

	broker_put(out, type, 1);
	broker_put(out, channel, 2);
	broker_put(out, 0, 4);
	return start;
}

void
broker_frame_end(struct buf *out, size_t start)
{
	size_t length = out->length - start - HEAD;

	broker_put(out, AMQP_FRAME_END, 1);
	if (buf_failed(out))
		return;
	for (size_t i = 0; i < 4; i++)
		out->data[start + 3 + i] = (char)(length >> (24 - 8 * i));
}

size_t
broker_method_begin(struct buf *out, uint16_t channel, amqp_method_number_t id)
{
	size_t start = broker_frame_begin(out, AMQP_FRAME_METHOD, channel);

	broker_put(out, id, 4);
	return start;
}

void
broker_put(struct buf *out, uint64_t v, size_t bytes)
{
	char *p = buf_reserve(out, bytes);

	for (size_t i = 0; p && i < bytes; i++)
		p[i] = (char)(v >> (8 * (bytes - 1 - i)));
}

int
broker_put_name(struct buf *out, const char *text)
{
	size_t n = strlen(text);

	if (n > 255)
		return -1;
	broker_put(out, n, 1);
	buf_add(out, text, n);
	return 0;
}

/* ---- out ---- */

static uint32_t
u32_at(const char *p)
{
	const uint8_t *u = (const uint8_t *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/*
 * rabbitmq-c alone can write into its TLS socket, and takes no bytes, only what
 * it encodes itself: so a frame of ours is decoded for it. What must not
 * happen is that it waits: poll said that there is room.
 */
static int
send_tls_frame(struct broker *b, char *p, uint32_t length)
{
	amqp_frame_t f = { .frame_type = (uint8_t)p[0],
		.channel = (amqp_channel_t)((uint8_t)p[1] << 8 | (uint8_t)p[2]) };
	amqp_pool_t pool;
	int rc = AMQP_STATUS_OK;

	init_amqp_pool(&pool, 4096);
	p += HEAD;
	if (f.frame_type == AMQP_FRAME_METHOD) {
		f.payload.method.id = u32_at(p);
		rc = amqp_decode_method(f.payload.method.id, &pool,
			(amqp_bytes_t){ length - 4, p + 4 }, &f.payload.method.decoded);
	} else if (f.frame_type == AMQP_FRAME_HEADER) {
		f.payload.properties.class_id = AMQP_BASIC_CLASS;
		f.payload.properties.body_size = (uint64_t)u32_at(p + 4) << 32 | u32_at(p + 8);
		rc = amqp_decode_properties(AMQP_BASIC_CLASS, &pool,
			(amqp_bytes_t){ length - 12, p + 12 }, &f.payload.properties.decoded);
	} else if (f.frame_type == AMQP_FRAME_BODY) {
		f.payload.body_fragment = (amqp_bytes_t){ length, p };
	}
	if (rc == AMQP_STATUS_OK)
		rc = amqp_send_frame(b->conn, &f);
	empty_amqp_pool(&pool);
	return rc;
}

static int
send_tls(struct broker *b, struct err *e)
{
	while (b->out_at < b->out.length) {
		struct pollfd p = { .fd = b->fd, .events = POLLOUT };
		char *frame = b->out.data + b->out_at;
		uint32_t length = u32_at(frame + 3);
		int rc;

		if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT))
			return 0;
		rc = send_tls_frame(b, frame, length);
		if (rc != AMQP_STATUS_OK)
			return broker_lost(b, e, "lost while sending: %s", amqp_error_string2(rc));
		b->out_at += HEAD + length + 1;
		b->sent_ms = clock_mono_ms();
		b->more = true; /* a TLS write may have read */
	}
	return 0;
}

int
broker_send(struct broker *b, struct err *e)
{
	if (b->tls && send_tls(b, e))
		return -1;
	while (b->out_at < b->out.length) {
		ssize_t n;

		if (b->tls)
			return 0;
		n = send(b->fd, b->out.data + b->out_at, b->out.length - b->out_at,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		if (n < 0)
			return broker_lost(b, e, "lost while sending: %s", strerror(errno));
		b->out_at += (size_t)n;
		b->sent_ms = clock_mono_ms();
	}
	buf_clear(&b->out);
	b->out_at = 0;
	return 0;
}

size_t
broker_unsent(const struct broker *b)
{
	return b->out.length - b->out_at;
}

static void
beat(struct broker *b)
{
	/* anything sent counts as a heartbeat; what waits to be sent will be one */
	if (b->beat_ms && broker_unsent(b) == 0 && clock_mono_ms() - b->sent_ms >= b->beat_ms / 2)
		broker_frame_end(&b->out, broker_frame_begin(&b->out, AMQP_FRAME_HEARTBEAT, 0));
}

/* ---- in ---- */

/* 1: a frame was handled, 0: there is none. */
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
	if (rc != AMQP_STATUS_OK)
		return broker_lost(b, e, "lost while reading: %s", amqp_error_string2(rc));
	if (f.channel >= CH_COUNT)
		return broker_lost(b, e, "a frame came for a channel that was never opened");
	b->frames++;
	if (broker_dispatch(b, &f, e))
		return -1;
	/* the library keeps what it read until told; a message's parts are kept till it is whole */
	if (b->ch[f.channel].in.id == 0 && !b->ask.answered)
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
			break; /* its answer must be looked at before more is read */
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

	/* looks before it sends: what came may say that the broker blocks, or is gone */
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
