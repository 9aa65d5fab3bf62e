/* SPDX-License-Identifier: MIT */
/* RabbitMQ: reads a message's properties, and copies a message into an arena. */
#include "link/broker_own.h"

#include <stdio.h>
#include <string.h>

/* The properties after the flags, in order; bit 15 is the first. Offset 0: no short string. */
enum { HEADERS_BIT = 13, MODE_BIT = 12, PRIORITY_BIT = 11, TIME_BIT = 6, LAST_BIT = 2 };

static const size_t text_at[16] = {
	[15] = offsetof(struct broker_message, props.content_type),
	[14] = offsetof(struct broker_message, props.content_encoding),
	[10] = offsetof(struct broker_message, props.correlation_id),
	[9] = offsetof(struct broker_message, props.reply_to),
	[8] = offsetof(struct broker_message, props.expiration),
	[7] = offsetof(struct broker_message, props.message_id),
	[5] = offsetof(struct broker_message, props.type),
	[4] = offsetof(struct broker_message, props.user_id),
	[3] = offsetof(struct broker_message, props.app_id),
	[2] = offsetof(struct broker_message, props.cluster_id),
};

static const char *
keep(struct incoming *in, const void *bytes, size_t n)
{
	char *p = in->texts + in->texts_used;

	must(n <= 255 && in->texts_used + 256 <= sizeof in->texts);
	if (n)
		memcpy(p, bytes, n);
	p[n] = '\0';
	in->texts_used += n + 1;
	return p;
}

static const char *
keep_bytes(struct incoming *in, amqp_bytes_t s)
{
	return keep(in, s.bytes, s.len);
}

void
broker_message_begin(struct incoming *in, const amqp_method_t *method)
{
	const amqp_basic_deliver_t *d = method->decoded;
	const amqp_basic_return_t *r = method->decoded;
	const amqp_basic_get_ok_t *g = method->decoded;

	in->id = method->id;
	in->has_header = false;
	in->size = in->got = 0;
	in->texts_used = 0;
	buf_clear(&in->body);
	in->m = (struct broker_message){ .consumer = "" };
	if (method->id == AMQP_BASIC_DELIVER_METHOD) {
		in->m.tag = d->delivery_tag;
		in->m.redelivered = d->redelivered;
		in->m.exchange = keep_bytes(in, d->exchange);
		in->m.routing_key = keep_bytes(in, d->routing_key);
		in->m.consumer = keep_bytes(in, d->consumer_tag);
	} else if (method->id == AMQP_BASIC_RETURN_METHOD) {
		in->m.exchange = keep_bytes(in, r->exchange);
		in->m.routing_key = keep_bytes(in, r->routing_key);
		in->return_code = r->reply_code;
		snprintf(in->return_text, sizeof in->return_text, "%.*s", (int)r->reply_text.len,
			r->reply_text.len ? (char *)r->reply_text.bytes : "");
	} else {
		in->m.tag = g->delivery_tag;
		in->m.redelivered = g->redelivered;
		in->m.exchange = keep_bytes(in, g->exchange);
		in->m.routing_key = keep_bytes(in, g->routing_key);
	}
}

struct reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static uint64_t
number_take(struct reader *r, size_t bytes)
{
	uint64_t v = 0;

	if (r->left < bytes) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | r->p[i];
	r->p += bytes;
	r->left -= bytes;
	return v;
}

static const uint8_t *
take_bytes(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->left < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

int
broker_properties_parse(struct incoming *in, const uint8_t *raw, size_t length)
{
	struct reader r = { raw, length, false };
	struct broker_properties *p = &in->m.props;
	unsigned flags = (unsigned)number_take(&r, 2);

	if (flags & 1) /* more flags than the protocol defines */
		return -1;
	for (int bit = 15; bit >= LAST_BIT && !r.bad; bit--) {
		if (!(flags & 1u << bit))
			continue;
		if (text_at[bit]) {
			size_t n = (size_t)number_take(&r, 1);
			const uint8_t *s = take_bytes(&r, n);

			if (s)
				*(const char **)(void *)((char *)&in->m + text_at[bit]) =
					keep(in, s, n);
		} else if (bit == HEADERS_BIT) {
			size_t n = (size_t)number_take(&r, 4);

			p->headers.bytes = take_bytes(&r, n);
			p->headers.length = p->headers.bytes ? n : 0;
		} else if (bit == MODE_BIT) {
			p->delivery_mode = (uint8_t)number_take(&r, 1);
		} else if (bit == PRIORITY_BIT) {
			p->has_priority = true;
			p->priority = (uint8_t)number_take(&r, 1);
		} else if (bit == TIME_BIT) {
			p->has_timestamp = true;
			p->timestamp = number_take(&r, 8);
		}
	}
	/* nested tables are passed on unread, and checked only when they are read */
	return r.bad || !broker_table_whole(&p->headers) ? -1 : 0;
}

int
broker_message_header(struct incoming *in, const uint8_t *raw, size_t length, uint64_t size,
	struct err *e)
{
	if (size > BROKER_BODY_MAX)
		return err_set(e, ERR_LIMIT, "received a message of %llu bytes; the limit is %u",
			(unsigned long long)size, BROKER_BODY_MAX);
	buf_clear(&in->head);
	buf_add(&in->head, raw, length);
	if (buf_failed(&in->head) ||
		broker_properties_parse(in, (const uint8_t *)buf_text(&in->head), length))
		return err_set(e, ERR_AWAY, "received a message with invalid properties");
	in->has_header = true;
	in->size = size;
	in->m.delivery_count = broker_table_int(&in->m.props.headers, "x-delivery-count", 0);
	return 0;
}

struct broker_message *
broker_message_copy(const struct broker_message *m, struct arena *mem)
{
	struct broker_message *c = arena_memdup(mem, m, sizeof *m);
	const char **texts[] = { &c->exchange, &c->routing_key, &c->consumer };

	if (!c)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!(*texts[i] = arena_strdup(mem, *texts[i])))
			return NULL;
	for (size_t bit = 0; bit < ARRAY_LEN(text_at); bit++) {
		const char **s = (const char **)(void *)((char *)c + text_at[bit]);

		if (text_at[bit] && *s && !(*s = arena_strdup(mem, *s)))
			return NULL;
	}
	c->body = arena_strndup(mem, "", 0);
	if (m->length)
		c->body = arena_memdup(mem, m->body, m->length);
	if (m->props.headers.length)
		c->props.headers.bytes =
			arena_memdup(mem, m->props.headers.bytes, m->props.headers.length);
	return c->body && (!m->props.headers.length || c->props.headers.bytes) ? c : NULL;
}
