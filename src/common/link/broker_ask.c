/* SPDX-License-Identifier: MIT */
/* RabbitMQ: questions and their answers, with a deadline; channels; consuming. */
#include "link/broker_own.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/*
 * Ends the frame that began at start, sends it and waits for the answer. After
 * the deadline the connection is given up, because a late answer would look like
 * the answer to the next question.
 */
int
broker_ask(struct broker *b, uint16_t channel, size_t start, int bad_name, amqp_method_number_t id,
	amqp_method_number_t or_id, struct err *e)
{
	int64_t until = clock_mono_ms() + b->call_ms, left;
	struct question *q = &b->ask;

	must(!b->in_call && q->id == 0);
	broker_frame_end(&b->out, start);
	if (bad_name || buf_failed(&b->out)) {
		b->out.length = start;
		b->out.failed = false;
		return err_set(e, bad_name ? ERR_INVALID : ERR_LIMIT,
			bad_name ? "a name is over 255 bytes" : "too much is waiting to be sent");
	}
	q->channel = channel;
	q->id = id;
	q->or_id = or_id;
	q->answered = false;
	q->refused = 0;
	q->answer = (amqp_method_t){ 0 };
	q->got = NULL;
	while (!q->answered) {
		left = until - clock_mono_ms();
		if (left <= 0)
			broker_lost(b, e, "the server did not answer in time");
		if (left <= 0 || broker_turn(b, left, e)) {
			q->id = 0;
			q->answered = false;
			return -1;
		}
	}
	q->id = 0;
	q->answered = false;
	b->more = true;
	return q->refused ? err_set(e, broker_code_kind(q->refused), "%s", q->words) : 0;
}

static int
channel_open(struct broker *b, uint16_t channel, struct err *e)
{
	size_t start = broker_method_begin(&b->out, channel, AMQP_CHANNEL_OPEN_METHOD);

	broker_put(&b->out, 0, 1);
	if (broker_ask(b, channel, start, 0, AMQP_CHANNEL_OPEN_OK_METHOD, 0, e))
		return -1;
	b->ch[channel].open = true;
	if (channel != CH_PUBLISH)
		return 0;
	start = broker_method_begin(&b->out, channel, AMQP_CONFIRM_SELECT_METHOD);
	broker_put(&b->out, 0, 1);
	return broker_ask(b, channel, start, 0, AMQP_CONFIRM_SELECT_OK_METHOD, 0, e);
}

int
broker_channels_open(struct broker *b, int64_t until_ms, struct err *e)
{
	int64_t call_ms = b->call_ms;
	struct err why = ERR_INIT;
	int rc = 0;

	if (until_ms > clock_mono_ms() + b->connect_ms)
		until_ms = clock_mono_ms() + b->connect_ms;
	for (uint16_t ch = CH_CONSUME; ch < CH_COUNT && rc == 0; ch++) {
		b->call_ms = until_ms - clock_mono_ms();
		rc = channel_open(b, ch, &why);
	}
	b->call_ms = call_ms;
	if (rc && b->fd >= 0)
		return broker_lost(b, e, "a channel was refused: %s", why.text);
	return rc ? err_set(e, why.kind, "%s", why.text) : 0;
}

int
broker_ready(struct broker *b, uint16_t channel, struct err *e)
{
	if (broker_usable(b, e))
		return -1;
	return b->ch[channel].open ? 0 : channel_open(b, channel, e);
}

int
broker_qos(struct broker *b, uint16_t prefetch, struct err *e)
{
	size_t start;

	if (broker_ready(b, CH_CONSUME, e))
		return -1;
	start = broker_method_begin(&b->out, CH_CONSUME, AMQP_BASIC_QOS_METHOD);
	broker_put(&b->out, 0, 4);
	broker_put(&b->out, prefetch, 2);
	broker_put(&b->out, 0, 1); /* not global: RabbitMQ 4.3 refuses global QoS */
	return broker_ask(b, CH_CONSUME, start, 0, AMQP_BASIC_QOS_OK_METHOD, 0, e);
}

int
broker_consume(struct broker *b, const char *queue, const char *tag, bool exclusive, struct err *e)
{
	size_t start;
	int bad;

	if (broker_ready(b, CH_CONSUME, e))
		return -1;
	start = broker_method_begin(&b->out, CH_CONSUME, AMQP_BASIC_CONSUME_METHOD);
	broker_put(&b->out, 0, 2);
	bad = broker_put_name(&b->out, queue);
	bad |= broker_put_name(&b->out, tag);
	broker_put(&b->out, exclusive ? 4 : 0, 1); /* no_local 1, no_ack 2, exclusive 4, nowait 8 */
	broker_put(&b->out, 0, 4);
	return broker_ask(b, CH_CONSUME, start, bad, AMQP_BASIC_CONSUME_OK_METHOD, 0, e);
}

int
broker_cancel(struct broker *b, const char *tag, struct err *e)
{
	size_t start;
	int bad;

	if (broker_ready(b, CH_CONSUME, e))
		return -1;
	start = broker_method_begin(&b->out, CH_CONSUME, AMQP_BASIC_CANCEL_METHOD);
	bad = broker_put_name(&b->out, tag);
	broker_put(&b->out, 0, 1);
	return broker_ask(b, CH_CONSUME, start, bad, AMQP_BASIC_CANCEL_OK_METHOD, 0, e);
}

static int
answer_delivery(struct broker *b, amqp_method_number_t id, uint64_t tag, unsigned bits,
	struct err *e)
{
	size_t start;

	if (broker_usable(b, e))
		return -1;
	if (!b->ch[CH_CONSUME].open)
		return err_set(e, ERR_AWAY, "the consuming channel was closed");
	start = broker_method_begin(&b->out, CH_CONSUME, id);
	broker_put(&b->out, tag, 8);
	broker_put(&b->out, bits, 1);
	broker_frame_end(&b->out, start);
	if (!buf_failed(&b->out))
		return 0;
	b->out.length = start;
	b->out.failed = false;
	return err_set(e, ERR_LIMIT, "too much is waiting to be sent");
}

int
broker_ack(struct broker *b, uint64_t tag, bool multiple, struct err *e)
{
	return answer_delivery(b, AMQP_BASIC_ACK_METHOD, tag, multiple, e);
}

int
broker_nack(struct broker *b, uint64_t tag, bool multiple, bool requeue, struct err *e)
{
	return answer_delivery(b, AMQP_BASIC_NACK_METHOD, tag,
		(multiple ? 1u : 0) | (requeue ? 2u : 0), e);
}

int
broker_get(struct broker *b, const char *queue, struct arena *mem, struct broker_message **out,
	struct err *e)
{
	size_t start;
	int bad;

	*out = NULL;
	if (broker_ready(b, CH_CONSUME, e))
		return -1;
	start = broker_method_begin(&b->out, CH_CONSUME, AMQP_BASIC_GET_METHOD);
	broker_put(&b->out, 0, 2);
	bad = broker_put_name(&b->out, queue);
	broker_put(&b->out, 0, 1);
	b->ask.mem = mem;
	if (broker_ask(b, CH_CONSUME, start, bad, AMQP_BASIC_GET_OK_METHOD,
		    AMQP_BASIC_GET_EMPTY_METHOD, e))
		return -1;
	*out = b->ask.got;
	if (!*out && b->ask.answer.id != AMQP_BASIC_GET_EMPTY_METHOD)
		return err_set(e, ERR_LIMIT, "no room for a message");
	return 0;
}

int
broker_give_back(struct broker *b, struct err *e)
{
	size_t start;

	if (broker_usable(b, e))
		return -1;
	if (b->ch[CH_CONSUME].open) {
		/* drop later deliveries: their ack would find no channel */
		b->ch[CH_CONSUME].open = false;
		start = broker_method_begin(&b->out, CH_CONSUME, AMQP_CHANNEL_CLOSE_METHOD);
		broker_put(&b->out, AMQP_REPLY_SUCCESS, 2);
		(void)broker_put_name(&b->out, "");
		broker_put(&b->out, 0, 4);
		if (broker_ask(b, CH_CONSUME, start, 0, AMQP_CHANNEL_CLOSE_OK_METHOD, 0, e))
			return -1;
	}
	return channel_open(b, CH_CONSUME, e);
}
