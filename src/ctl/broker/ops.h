/* SPDX-License-Identifier: MIT */
/*
 * What the operator's verbs share (queues, top, pause, resume, topology mend,
 * trace, rebuild, doctor): options, JSON lines, and one look at the broker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "ctl/kit/ctl.h"
#include "link/broker.h"
#include "model/topology.h"

/*
 * The option at argv[*i], as "--name VALUE" or "--name=VALUE": 1, *value set and
 * *i moved onto its last word; 0: it is another word; -1: its value is missing.
 */
int ops_option(const struct ctl *c, int argc, char **argv, int *i, const char *name,
	const char **value);
/* A whole number from min to max; otherwise says so and answers false. */
bool ops_number(const struct ctl *c, const char *name, const char *text, int64_t min, int64_t max,
	int64_t *out);
/* The consumer of this name; NULL after a line that lists the names. */
const struct consumer_row *ops_consumer(const struct ctl *c, const char *name);

/* Members of one JSON object, with the comma before all but the first. */
void ops_json_text(struct buf *b, const char *name, const char *text); /* NULL: null */
void ops_json_i64(struct buf *b, const char *name, int64_t n);
void ops_json_bool(struct buf *b, const char *name, bool on);
void ops_json_open(struct buf *b);  /* { */
void ops_json_print(struct buf *b); /* } and the line, to stdout; b is empty after */

void ops_age(int64_t seconds, char out[static 16]); /* "12 s", "3 min", "5 h", "2 d" */

/* ---- one look at the broker, by AMQP alone ---- */

struct look_queue {
	const char *name;
	const char *consumer;               /* NULL: user.dlq, or one of topology.file */
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
/* only: a consumer's name, or NULL. ERR_MISSING names no one: there is none such. */
int look_broker(struct broker *b, const char *consumers, const char *only, struct arena *mem,
	struct look *out, struct err *e) MUST_CHECK;
/* Passive: -1 with ERR_MISSING where there is none. */
int look_depth(struct broker *b, const char *queue, uint32_t *depth, uint32_t *consumers,
	struct err *e) MUST_CHECK;
/*
 * For whom a 0 has consequences: of a queue whose leader has no time to answer
 * RabbitMQ says 0 messages and 0 consumers. So then a message is asked for, which
 * waits for the leader, and given back; at least 1 where there was one. consumers
 * may be NULL.
 */
int look_depth_sure(struct broker *b, const char *queue, uint32_t *depth, uint32_t *consumers,
	struct err *e) MUST_CHECK;

/* ---- pause ---- */

struct pause_info {
	const char *who, *at, *why; /* mem's; NULL: not said */
};
/* Whether it is paused; the flag's queue is not made. */
int pause_flag(struct broker *b, const char *consumer, bool *paused, struct err *e) MUST_CHECK;
int pause_read(struct broker *b, const char *consumer, struct arena *mem, struct pause_info *out,
	struct err *e) MUST_CHECK;
