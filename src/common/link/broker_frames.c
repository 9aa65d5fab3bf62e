/* SPDX-License-Identifier: MIT */
/* RabbitMQ: sends frames. */
#include "link/broker_own.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

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

void
broker_buf_rest(struct buf *b)
{
	if (b->room > BUF_KEPT)
		buf_fini(b);
	else
		buf_clear(b);
}

static uint32_t
u32_at(const char *p)
{
	const uint8_t *u = (const uint8_t *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/*
 * Only rabbitmq-c can write to its TLS socket, and it takes no bytes, only frames
 * that it encodes itself. So we decode our frame for it. The write must not wait:
 * poll has reported room.
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
		b->more = true; /* a TLS write may have read bytes */
	}
	return 0;
}

static int
send_plain(struct broker *b, struct err *e)
{
	while (b->out_at < b->out.length) {
		ssize_t n = send(b->fd, b->out.data + b->out_at, b->out.length - b->out_at,
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
	return 0;
}

int
broker_send(struct broker *b, struct err *e)
{
	int rc = b->tls ? send_tls(b, e) : send_plain(b, e);

	if (b->out_at == b->out.length) {
		broker_buf_rest(&b->out);
		b->out_at = 0;
	} else if (b->out_at > BUF_KEPT && b->out_at > b->out.length / 2) {
		/* under steady publishing the buffer would never be empty */
		buf_drop_front(&b->out, b->out_at);
		b->out_at = 0;
	}
	return rc;
}

size_t
broker_unsent(const struct broker *b)
{
	return b->out.length - b->out_at;
}
