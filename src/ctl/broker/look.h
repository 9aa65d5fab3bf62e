/* SPDX-License-Identifier: MIT */
/* A look at the broker's queues, by AMQP alone: depth, consumers, retries, pauses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "link/broker.h"
#include "model/topology.h"

struct look_queue {
	const char *name;
	const char *consumer;               /* NULL: user.dlq, or a queue of topology.file */
	bool there;                         /* the queue exists */
	uint32_t depth, consumers, waiting; /* waiting: the sum of retry */
	uint32_t retry[TOPOLOGY_RETRIES];
	bool paused;
};
struct look {
	struct look_queue *list;
	size_t count;
	uint32_t dead; /* depth of user.dlq */
};
/* only: a consumer's name, or NULL for all. */
int look_broker(struct broker *b, const char *consumers, const char *only, struct arena *mem,
	struct look *out, struct err *e) MUST_CHECK;

/* Passive: -1 with ERR_MISSING where the queue does not exist. consumers may be NULL. */
int look_depth(struct broker *b, const char *queue, uint32_t *depth, uint32_t *consumers,
	struct err *e) MUST_CHECK;
/* The same, but a queue that does not exist is no error: *there is false, the counts are 0. */
int look_there(struct broker *b, const char *queue, bool *there, uint32_t *depth,
	uint32_t *consumers, struct err *e) MUST_CHECK;
/*
 * For callers that act on a 0. While a queue's leader is too busy to answer,
 * RabbitMQ says 0 messages and 0 consumers. So a 0 is checked: this gets a message,
 * which waits for the leader, and gives it back. *depth is at least 1 where there
 * was one. consumers may be NULL.
 */
int look_depth_sure(struct broker *b, const char *queue, uint32_t *depth, uint32_t *consumers,
	struct err *e) MUST_CHECK;

/* The consumer that reads this queue, or whose retry queue it is; NULL: none of ours. */
const struct consumer_row *look_owner(const char *queue);
