/* SPDX-License-Identifier: MIT */
/*
 * Publishes events that a transaction has already stored. One thread with its own
 * connection publishes them as mandatory and persistent messages. It sends many
 * in one write, and keeps a window of unconfirmed ones.
 *
 * A batch is published when the broker has confirmed all of its events and
 * returned none. Then the publisher calls done(). If the broker returns or refuses
 * an event, the publisher declares the topology again and sends the event again.
 * If the connection is lost, the next one sends all unconfirmed events again.
 *
 * Memory is bounded: if the queue is full, the publisher refuses a batch. Nothing
 * is lost, because its rows stay unpublished in the outbox for run/outbox.
 *
 * Threads: push from one thread at a time; done() runs on the publisher's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid7.h"

struct link;
struct metrics;
struct publisher;
struct publisher_batch;

struct publisher_event {
	struct uuid id;
	const char *type; /* also the routing key */
	const char *body;
	size_t length;
	const char *traceparent; /* NULL: none */
	bool test;               /* header x-test */
};

#define PUBLISHER_APP_ID "onboard" /* the app_id of every event that it publishes */

struct publisher_options {
	const char *url, *name; /* name: the daemon's */
	unsigned heartbeat_s;
	const char *consumers; /* topology.consumers */
	int64_t check_every_ms;
	/* swept: how many of the batches' events came from the sweeper */
	void (*done)(void *arg, const struct uuid *batch_ids, size_t n, size_t swept);
	void *arg;
};

struct publisher *publisher_start(const struct publisher_options *o, struct err *e) MUST_CHECK;
/* Waits until the queue is empty, the broker is away, or wait_ms have passed. */
void publisher_drain(struct publisher *p, int64_t wait_ms);
void publisher_stop(struct publisher *p); /* queued events stay in the outbox; NULL is fine */
struct link *publisher_link(struct publisher *p);
struct metrics *publisher_metrics(struct publisher *p);
bool publisher_alive(const struct publisher *p);
/* The topology is declared, or the broker is away. A daemon waits for this before it is ready. */
bool publisher_settled(const struct publisher *p);
size_t publisher_queued(const struct publisher *p); /* events not confirmed yet */
/* How long the queued events will take at the recent rate; also 0 while the broker is away. */
int64_t publisher_behind_ms(const struct publisher *p);
/* True: it holds the batch in memory, and has not told done() about it yet. */
bool publisher_holds(struct publisher *p, const struct uuid *batch_id);

/*
 * The events of one transaction; id is the transaction's row in outbox_unpublished.
 * The batch copies every event. bytes: the initial size.
 */
struct publisher_batch *publisher_batch_new(const struct uuid *id, size_t bytes);
void publisher_batch_add(struct publisher_batch *b, const struct publisher_event *event);
void publisher_batch_swept(struct publisher_batch *b); /* says that the sweeper pushes it */
void publisher_batch_free(struct publisher_batch *b);  /* only if it was not pushed */
/* Takes b, also if the answer is false. A batch that it holds already is not published twice. */
bool publisher_push(struct publisher *p, struct publisher_batch *b);
