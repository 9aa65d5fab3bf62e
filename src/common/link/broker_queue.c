/* SPDX-License-Identifier: MIT */
/* RabbitMQ: exchanges, queues and bindings, on their own channel. */
#include "link/broker_own.h"

#include <stdio.h>
#include <string.h>

static void
put_args(struct buf *out, const struct broker_field *args, size_t count)
{
	size_t start = out->length;

	broker_put(out, 0, 4);
	for (size_t i = 0; i < count; i++)
		broker_field_add(out, args[i].name, strlen(args[i].name), &args[i].value);
	for (size_t i = 0; !buf_failed(out) && i < 4; i++)
		out->data[start + i] = (char)((out->length - start - 4) >> (24 - 8 * i));
}

/* Begins a method whose first field is the obsolete ticket. */
static int
method_begin(struct broker *b, amqp_method_number_t id, size_t *start, struct err *e)
{
	if (broker_ready(b, CH_RULE, e))
		return -1;
	*start = broker_method_begin(&b->out, CH_RULE, id);
	broker_put(&b->out, 0, 2);
	return 0;
}

int
broker_exchange_declare(struct broker *b, const char *name, const char *type, bool passive,
	bool durable, struct err *e)
{
	size_t start;
	int bad;

	if (method_begin(b, AMQP_EXCHANGE_DECLARE_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, name);
	bad |= broker_put_name(&b->out, type);
	broker_put(&b->out, (passive ? 1u : 0) | (durable ? 2u : 0), 1);
	broker_put(&b->out, 0, 4);
	return broker_ask(b, CH_RULE, start, bad, AMQP_EXCHANGE_DECLARE_OK_METHOD, 0, e);
}

int
broker_exchange_delete(struct broker *b, const char *name, struct err *e)
{
	size_t start;
	int bad;

	if (method_begin(b, AMQP_EXCHANGE_DELETE_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, name);
	broker_put(&b->out, 0, 1);
	return broker_ask(b, CH_RULE, start, bad, AMQP_EXCHANGE_DELETE_OK_METHOD, 0, e);
}

int
broker_queue_declare(struct broker *b, const struct broker_queue *q, struct broker_queue_info *out,
	struct err *e)
{
	const amqp_queue_declare_ok_t *ok;
	size_t start;
	int bad;

	if (method_begin(b, AMQP_QUEUE_DECLARE_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, q->name);
	broker_put(&b->out,
		(q->passive ? 1u : 0) | (q->durable ? 2u : 0) | (q->exclusive ? 4u : 0) |
			(q->auto_delete ? 8u : 0),
		1);
	put_args(&b->out, q->args, q->arg_count);
	if (broker_ask(b, CH_RULE, start, bad, AMQP_QUEUE_DECLARE_OK_METHOD, 0, e))
		return -1;
	ok = b->ask.answer.decoded;
	if (out) {
		*out = (struct broker_queue_info){ .messages = ok->message_count,
			.consumers = ok->consumer_count };
		snprintf(out->name, sizeof out->name, "%.*s", (int)ok->queue.len,
			(char *)ok->queue.bytes);
	}
	return 0;
}

int
broker_queue_bind(struct broker *b, const char *queue, const char *exchange, const char *key,
	struct err *e)
{
	size_t start;
	int bad;

	if (method_begin(b, AMQP_QUEUE_BIND_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, queue);
	bad |= broker_put_name(&b->out, exchange);
	bad |= broker_put_name(&b->out, key);
	broker_put(&b->out, 0, 1);
	broker_put(&b->out, 0, 4);
	return broker_ask(b, CH_RULE, start, bad, AMQP_QUEUE_BIND_OK_METHOD, 0, e);
}

int
broker_queue_unbind(struct broker *b, const char *queue, const char *exchange, const char *key,
	struct err *e)
{
	size_t start;
	int bad;

	if (method_begin(b, AMQP_QUEUE_UNBIND_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, queue);
	bad |= broker_put_name(&b->out, exchange);
	bad |= broker_put_name(&b->out, key);
	broker_put(&b->out, 0, 4);
	return broker_ask(b, CH_RULE, start, bad, AMQP_QUEUE_UNBIND_OK_METHOD, 0, e);
}

int
broker_queue_purge(struct broker *b, const char *queue, uint32_t *messages, struct err *e)
{
	size_t start;
	int bad;

	if (method_begin(b, AMQP_QUEUE_PURGE_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, queue);
	broker_put(&b->out, 0, 1);
	if (broker_ask(b, CH_RULE, start, bad, AMQP_QUEUE_PURGE_OK_METHOD, 0, e))
		return -1;
	if (messages)
		*messages = ((amqp_queue_purge_ok_t *)b->ask.answer.decoded)->message_count;
	return 0;
}

int
broker_queue_delete(struct broker *b, const char *queue, uint32_t *messages, struct err *e)
{
	size_t start;
	int bad;

	if (method_begin(b, AMQP_QUEUE_DELETE_METHOD, &start, e))
		return -1;
	bad = broker_put_name(&b->out, queue);
	broker_put(&b->out, 0, 1);
	if (broker_ask(b, CH_RULE, start, bad, AMQP_QUEUE_DELETE_OK_METHOD, 0, e))
		return -1;
	if (messages)
		*messages = ((amqp_queue_delete_ok_t *)b->ask.answer.decoded)->message_count;
	return 0;
}
