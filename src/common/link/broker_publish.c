/* SPDX-License-Identifier: MIT */
/* RabbitMQ: encodes many publishes into one buffer, and keeps the window of confirms. */
#include "link/broker_own.h"

#include <string.h>

#include "base/clock.h"

/* Wire order; the flag of entry i is bit 15 - i. */
static unsigned
flags_of(const struct broker_properties *p, bool headers)
{
	const bool has[14] = { p->content_type, p->content_encoding, headers, p->delivery_mode != 0,
		p->has_priority, p->correlation_id, p->reply_to, p->expiration, p->message_id,
		p->has_timestamp, p->type, p->user_id, p->app_id, p->cluster_id };
	unsigned flags = 0;

	for (size_t i = 0; i < ARRAY_LEN(has); i++)
		flags |= has[i] ? 1u << (15 - i) : 0;
	return flags;
}

static bool
dropped(const struct broker_publish *p, const char *name, size_t n, const struct broker_value *v)
{
	if (p->carried_max && n + v->length > p->carried_max)
		return true;
	for (size_t i = 0; i < p->header_count; i++)
		if (strlen(p->headers[i].name) == n && memcmp(p->headers[i].name, name, n) == 0)
			return true;
	for (const char *const *d = p->drop; d && *d; d++) {
		size_t want = strlen(*d);

		if (want > 0 && (*d)[want - 1] == '*'
				? n >= want - 1 && memcmp(*d, name, want - 1) == 0
				: n == want && memcmp(*d, name, n) == 0)
			return true;
	}
	return false;
}

/* 0, or -1: a name of over 255 bytes. */
static int
put_headers(struct buf *out, const struct broker_publish *p)
{
	const struct broker_table *carried = &p->props.headers;
	size_t start = out->length, at = 0, n;
	struct broker_value v;
	const char *name;

	broker_put(out, 0, 4);
	while (broker_table_next(carried, &at, &name, &n, &v))
		if (!dropped(p, name, n, &v))
			broker_field_add(out, name, n, &v);
	for (size_t i = 0; i < p->header_count; i++) {
		n = strlen(p->headers[i].name);
		if (n > 255)
			return -1;
		broker_field_add(out, p->headers[i].name, n, &p->headers[i].value);
	}
	for (size_t i = 0; !buf_failed(out) && i < 4; i++)
		out->data[start + i] = (char)((out->length - start - 4) >> (24 - 8 * i));
	return 0;
}

static int
put_texts(struct buf *out, const char *const *texts, size_t count)
{
	int bad = 0;

	for (size_t i = 0; i < count; i++)
		if (texts[i])
			bad |= broker_put_name(out, texts[i]);
	return bad;
}

static int
put_properties(struct buf *out, const struct broker_publish *p)
{
	const struct broker_properties *q = &p->props;
	bool headers = q->headers.length > 0 || p->header_count > 0;
	int bad = 0;

	broker_put(out, flags_of(q, headers), 2);
	bad |= put_texts(out, (const char *const[]){ q->content_type, q->content_encoding }, 2);
	if (headers)
		bad |= put_headers(out, p);
	if (q->delivery_mode)
		broker_put(out, q->delivery_mode, 1);
	if (q->has_priority)
		broker_put(out, q->priority, 1);
	bad |= put_texts(out,
		(const char *const[]){ q->correlation_id, q->reply_to, q->expiration,
			q->message_id },
		4);
	if (q->has_timestamp)
		broker_put(out, q->timestamp, 8);
	bad |= put_texts(out,
		(const char *const[]){ q->type, q->user_id, q->app_id, q->cluster_id }, 4);
	return bad;
}

/* 0, or -1: a name of over 255 bytes. */
static int
put_head(struct buf *out, const struct broker_publish *p)
{
	size_t start = broker_frame_begin(out, AMQP_FRAME_HEADER, CH_PUBLISH);
	int bad;

	broker_put(out, AMQP_BASIC_CLASS, 2);
	broker_put(out, 0, 2);
	broker_put(out, p->length, 8);
	bad = put_properties(out, p);
	broker_frame_end(out, start);
	return bad;
}

int
broker_publish_encode(struct buf *out, const struct broker_publish *p, uint32_t frame_max,
	struct err *e)
{
	size_t before = out->length, start, head, room = frame_max - 8;
	struct broker_publish bare = *p;
	int bad = 0;

	if (p->length > BROKER_BODY_MAX)
		return err_set(e, ERR_LIMIT, "a message of %zu bytes is over the limit of %u",
			p->length, BROKER_BODY_MAX);
	start = broker_method_begin(out, CH_PUBLISH, AMQP_BASIC_PUBLISH_METHOD);
	broker_put(out, 0, 2);
	bad |= broker_put_name(out, p->exchange);
	bad |= broker_put_name(out, p->routing_key);
	broker_put(out, p->mandatory ? 1 : 0, 1);
	broker_frame_end(out, start);
	head = out->length;
	bad |= put_head(out, p);
	if (!bad && out->length - head > frame_max && p->headers_optional) {
		out->length = head;
		bare.header_count = 0;
		bad |= put_head(out, &bare);
	}
	if (!bad && !buf_failed(out) && out->length - head > frame_max) {
		err_set(e, ERR_INVALID, "a message's headers are over %u bytes", frame_max);
		goto undo;
	}
	for (size_t at = 0; at < p->length; at += room) {
		start = broker_frame_begin(out, AMQP_FRAME_BODY, CH_PUBLISH);
		buf_add(out, p->body + at, p->length - at < room ? p->length - at : room);
		broker_frame_end(out, start);
	}
	if (!bad && !buf_failed(out))
		return 0;
	if (bad)
		err_set(e, ERR_INVALID,
			"a message's routing key, property or header name is over 255 bytes");
	else
		err_set(e, ERR_LIMIT, "too much is waiting to be sent");
undo:
	out->length = before;
	out->failed = false;
	return -1;
}

static uint32_t
frame_out_max(const struct broker *b)
{
	return b->tls && b->frame_max > TLS_FRAME_MAX ? TLS_FRAME_MAX : b->frame_max;
}

bool
broker_publish_trim(const struct broker *b, struct broker_publish *p)
{
	size_t before = p->carried_max, limit = before ? before : 2 * BROKER_HEAD_MAX;
	struct buf head;
	bool fits = false;

	buf_init(&head, 4 * BROKER_HEAD_MAX);
	while (!fits) {
		buf_clear(&head);
		if (put_head(&head, p) || buf_failed(&head))
			break;
		fits = head.length <= frame_out_max(b);
		if (fits || limit == 1)
			break;
		limit /= 2;
		p->carried_max = limit;
	}
	buf_fini(&head);
	if (!fits)
		p->carried_max = before;
	return p->carried_max != before;
}

int
broker_publish(struct broker *b, const struct broker_publish *p, uint64_t *tag, struct err *e)
{
	if (broker_usable(b, e))
		return -1;
	if (b->blocked)
		return err_set(e, ERR_AWAY, "RabbitMQ takes no messages for now (an alarm)");
	if (b->next_tag - b->open_tag >= b->window)
		return err_set(e, ERR_LIMIT, "%zu messages are unconfirmed", b->unconfirmed);
	if (broker_publish_encode(&b->out, p, frame_out_max(b), e))
		return -1;
	b->done[b->next_tag % b->window] = 0;
	b->unconfirmed++;
	if (tag)
		*tag = b->next_tag;
	b->next_tag++;
	return 0;
}

static void
confirm_one(struct broker *b, uint64_t tag, bool nacked)
{
	uint8_t *done = &b->done[tag % b->window];

	if (*done)
		return;
	*done = 1;
	b->unconfirmed--;
	/* before the callback, which may publish into the freed room */
	while (b->open_tag < b->next_tag && b->done[b->open_tag % b->window])
		b->open_tag++;
	if (!b->events.confirmed)
		return;
	b->in_call = true;
	b->events.confirmed(b->arg, tag, nacked);
	b->in_call = false;
}

void
broker_confirm(struct broker *b, uint64_t tag, bool multiple, bool nacked)
{
	uint64_t end = b->next_tag; /* after the messages sent before this answer */

	/* tag 0 means all; ignore tags that were never assigned */
	if (multiple && tag == 0)
		tag = end - 1;
	if (tag >= end || tag < b->open_tag)
		return;
	for (uint64_t t = multiple ? b->open_tag : tag; t <= tag; t++)
		confirm_one(b, t, nacked);
}

size_t
broker_unconfirmed(const struct broker *b)
{
	return b->unconfirmed;
}

int
broker_settle(struct broker *b, int64_t wait_ms, struct err *e)
{
	int64_t until = clock_mono_ms() + wait_ms;

	if (broker_flush(b, e))
		return -1;
	while (b->unconfirmed > 0) {
		int64_t left = until - clock_mono_ms();

		if (left <= 0)
			return err_set(e, ERR_AWAY, "%zu messages unconfirmed after %lld ms",
				b->unconfirmed, (long long)wait_ms);
		if (broker_turn(b, left, e))
			return -1;
	}
	return 0;
}
