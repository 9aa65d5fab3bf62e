/* SPDX-License-Identifier: MIT */
/* RabbitMQ: handles each received frame. */
#include "link/broker_own.h"

#include <stdio.h>
#include <string.h>

/* While fn runs, no call may wait: waiting would release frames in use. */
#define CALL(b, fn, ...) \
	do { \
		if ((b)->events.fn) { \
			(b)->in_call = true; \
			(b)->events.fn((b)->arg, ##__VA_ARGS__); \
			(b)->in_call = false; \
		} \
	} while (0)

static void
text_of(amqp_bytes_t s, char out[static 256])
{
	snprintf(out, 256, "%.*s", (int)(s.len < 255 ? s.len : 255), s.len ? (char *)s.bytes : "");
}

static void
message_done(struct broker *b, struct incoming *in)
{
	amqp_method_number_t id = in->id;

	in->m.length = (size_t)in->size;
	if (!in->m.body)
		in->m.body = buf_text(&in->body);
	if (id == AMQP_BASIC_DELIVER_METHOD) {
		if (b->ch[CH_CONSUME].open)
			CALL(b, deliver, &in->m);
	} else if (id == AMQP_BASIC_RETURN_METHOD) {
		CALL(b, returned, &in->m, in->return_code, in->return_text);
	} else if (b->ask.id == AMQP_BASIC_GET_OK_METHOD) {
		b->ask.got = broker_message_copy(&in->m, b->ask.mem);
		b->ask.answered = true;
	}
	in->id = 0;
	broker_buf_rest(&in->body);
}

static int
on_header(struct broker *b, struct incoming *in, const amqp_frame_t *f, struct err *e)
{
	struct err why = ERR_INIT;

	if (!in->id || in->has_header)
		return broker_broken(b, e, "the server sent a message's head out of turn");
	if (broker_message_header(in, f->payload.properties.raw.bytes,
		    f->payload.properties.raw.len, f->payload.properties.body_size, &why))
		return broker_broken(b, e, "%s", why.text);
	if (in->size == 0)
		message_done(b, in);
	return 0;
}

static int
on_body(struct broker *b, struct incoming *in, const amqp_frame_t *f, struct err *e)
{
	amqp_bytes_t part = f->payload.body_fragment;

	if (!in->id || !in->has_header || part.len > in->size - in->got)
		return broker_broken(b, e, "the server sent a message's body out of turn");
	if (part.len == in->size)
		in->m.body = part.bytes;
	else
		buf_add(&in->body, part.bytes, part.len);
	in->got += part.len;
	if (in->got == in->size)
		message_done(b, in);
	return 0;
}

static int
connection_closed(struct broker *b, const amqp_connection_close_t *c, struct err *e)
{
	char words[256];

	text_of(c->reply_text, words);
	if (b->out_at == 0) /* otherwise a frame may be half sent */
		buf_clear(&b->out);
	broker_frame_end(&b->out, broker_method_begin(&b->out, 0, AMQP_CONNECTION_CLOSE_OK_METHOD));
	/* keep the broker's words, whether or not it waited for ours */
	if (broker_send(b, NULL))
		b->more = false;
	return broker_lost(b, e, "the server closed the connection: %s", words);
}

static int
on_connection(struct broker *b, const amqp_method_t *m, struct err *e)
{
	char words[256];

	switch (m->id) {
	case AMQP_CONNECTION_CLOSE_METHOD: return connection_closed(b, m->decoded, e);
	case AMQP_CONNECTION_CLOSE_OK_METHOD:
		b->ask.answered = b->ask.id == AMQP_CONNECTION_CLOSE_OK_METHOD;
		return 0;
	case AMQP_CONNECTION_BLOCKED_METHOD:
		text_of(((amqp_connection_blocked_t *)m->decoded)->reason, words);
		b->blocked = true;
		/* while the channels are being opened, the link is not UP yet */
		if (link_usable(&b->link))
			link_state_set(&b->link, LINK_BLOCKED, words);
		CALL(b, blocked, words);
		return 0;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		if (b->blocked && !link_usable(&b->link))
			link_state_set(&b->link, LINK_UP, NULL);
		b->blocked = false;
		CALL(b, unblocked);
		return 0;
	default: return broker_broken(b, e, "unexpected method %08x", (unsigned)m->id);
	}
}

/* A refused question closes its channel only. Without a question, the connection ends. */
static int
channel_closed(struct broker *b, uint16_t ch, const amqp_channel_close_t *c, struct err *e)
{
	char words[256];
	int code = c->reply_code;

	text_of(c->reply_text, words);
	b->ch[ch].open = false;
	b->ch[ch].in.id = 0;
	broker_frame_end(&b->out, broker_method_begin(&b->out, ch, AMQP_CHANNEL_CLOSE_OK_METHOD));
	if (buf_failed(&b->out))
		return broker_lost(b, e, "too much is waiting to be sent");
	if (ch != CH_RULE)
		CALL(b, channel_closed, code, words);
	if (b->ask.id && b->ask.channel == ch) {
		b->ask.refused = code;
		snprintf(b->ask.words, sizeof b->ask.words, "%s", words);
		b->ask.answered = true;
		return 0;
	}
	if (ch == CH_RULE)
		return 0;
	if (broker_send(b, NULL))
		b->more = false;
	broker_lost(b, e, "the server closed a channel: %s", words);
	if (e)
		e->kind = broker_code_kind(code);
	return -1;
}

static int
on_cancel(struct broker *b, amqp_bytes_t tag)
{
	char consumer[256];

	text_of(tag, consumer);
	CALL(b, cancelled, consumer);
	return 0;
}

static int
on_method(struct broker *b, uint16_t ch, const amqp_method_t *m, struct err *e)
{
	const amqp_basic_ack_t *ack = m->decoded;
	const amqp_basic_nack_t *nack = m->decoded;

	switch (m->id) {
	case AMQP_BASIC_DELIVER_METHOD:
	case AMQP_BASIC_RETURN_METHOD:
	case AMQP_BASIC_GET_OK_METHOD: broker_message_begin(&b->ch[ch].in, m); return 0;
	case AMQP_BASIC_ACK_METHOD:
		broker_confirm(b, ack->delivery_tag, ack->multiple, false);
		return 0;
	case AMQP_BASIC_NACK_METHOD:
		broker_confirm(b, nack->delivery_tag, nack->multiple, true);
		return 0;
	case AMQP_BASIC_CANCEL_METHOD:
		return on_cancel(b, ((amqp_basic_cancel_t *)m->decoded)->consumer_tag);
	case AMQP_CHANNEL_CLOSE_METHOD: return channel_closed(b, ch, m->decoded, e);
	case AMQP_CHANNEL_FLOW_METHOD: return 0; /* RabbitMQ sends none */
	default: break;
	}
	if (b->ask.id && ch == b->ask.channel && (m->id == b->ask.id || m->id == b->ask.or_id)) {
		b->ask.answer = *m;
		b->ask.answered = true;
		return 0;
	}
	return broker_broken(b, e, "the server sent an answer that nobody asked for (%08x)",
		(unsigned)m->id);
}

int
broker_dispatch(struct broker *b, const amqp_frame_t *f, struct err *e)
{
	switch (f->frame_type) {
	case AMQP_FRAME_METHOD:
		if (f->channel == 0)
			return on_connection(b, &f->payload.method, e);
		return on_method(b, f->channel, &f->payload.method, e);
	case AMQP_FRAME_HEADER: return on_header(b, &b->ch[f->channel].in, f, e);
	case AMQP_FRAME_BODY: return on_body(b, &b->ch[f->channel].in, f, e);
	default: return 0;
	}
}
