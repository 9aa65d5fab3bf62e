/* SPDX-License-Identifier: MIT */
/*
 * Publishes events that a transaction has already stored: one thread with its
 * own connection, mandatory and persistent, many in one write, a window of
 * confirms. A batch whose events are all confirmed, and none returned, is told
 * to done(); nothing else counts as published. A returned or refused event is tried again after
 * the topology was declared anew, one on a lost connection with the next.
 *
 * Memory is bounded: past the queue's bound a batch is refused, which loses
 * nothing, since its rows stay unpublished in the outbox for run/outbox.
 *
 * Threads: push from any one at a time; done() runs on the publisher's own.
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

#define PUBLISHER_APP_ID "onboard" /* of every event that it publishes */

struct publisher_options {
	const char *url, *name; /* the daemon's */
	unsigned heartbeat_s;
	const char *consumers; /* topology.consumers */
	int64_t check_every_ms;
	/* swept: how many of the batches' events came from the sweeper */
	void (*done)(void *arg, const struct uuid *batch_ids, size_t n, size_t swept);
	void *arg;
};

struct publisher *publisher_start(const struct publisher_options *o, struct err *e) MUST_CHECK;
/* Waits at most wait_ms for what is queued, while the broker is there. */
void publisher_drain(struct publisher *p, int64_t wait_ms);
void publisher_stop(struct publisher *p); /* what is queued stays in the outbox; NULL is fine */
struct link *publisher_link(struct publisher *p);
struct metrics *publisher_metrics(struct publisher *p);
bool publisher_alive(const struct publisher *p);
/* The topology stands, or the broker is away: what a daemon waits for before it is ready. */
bool publisher_settled(const struct publisher *p);
size_t publisher_queued(const struct publisher *p); /* events not confirmed yet */
/* How long what is queued will take at the rate of late; 0 also while the broker is away. */
int64_t publisher_behind_ms(const struct publisher *p);
/* It has the batch in memory: pushed, and not told to done() yet. */
bool publisher_holds(struct publisher *p, const struct uuid *batch_id);

/* Events of one transaction, by its row in outbox_unpublished. Copies all; bytes: room to begin with. */
struct publisher_batch *publisher_batch_new(const struct uuid *id, size_t bytes);
void publisher_batch_add(struct publisher_batch *b, const struct publisher_event *event);
void publisher_batch_swept(struct publisher_batch *b); /* the sweeper pushes it */
void publisher_batch_free(struct publisher_batch *b);  /* one that was not pushed */
/* Takes b, also when false. A batch that it holds already is not published a second time. */
bool publisher_push(struct publisher *p, struct publisher_batch *b);
