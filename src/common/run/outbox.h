/* SPDX-License-Identifier: MIT */
/*
 * The outbox's housekeeping. Fresh events do not pass through here: the API hands
 * them to the publisher. One thread with its own database connection
 *   - deletes the unpublished rows of batches that the publisher has confirmed,
 *   - publishes events that stayed behind (after a crash, an outage of the broker,
 *     a full queue), oldest first. run/outbox_sweep.h tells how processes share
 *     that work,
 *   - creates partitions ahead, drops expired ones that hold nothing unpublished,
 *     and forgets old Idempotency-Keys.
 *
 * Threads: the publisher's thread calls outbox_done; the thread that made the
 * outbox calls the rest, unless a comment says otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid7.h"

struct link;
struct metrics;
struct outbox;
struct publisher;

struct outbox_options {
	const char *url, *name; /* application_name */
	int owner; /* outbox_owner_new(); the connections that store events have it too */
	int64_t sweep_after_ms; /* younger rows are being published */
	int64_t retention_days;
};

struct outbox *outbox_new(const struct outbox_options *o, struct err *e) MUST_CHECK;
void outbox_start(struct outbox *o, struct publisher *p);
void outbox_halt(struct outbox *o); /* from here on its thread no longer uses the publisher */
/* Call it after publisher_stop: records confirmed batches, for at most wait_ms. NULL is fine. */
void outbox_stop(struct outbox *o, int64_t wait_ms);
/* For publisher_options.done; arg is the outbox. */
void outbox_done(void *arg, const struct uuid *batch_ids, size_t n, size_t swept);
struct metrics *outbox_metrics(struct outbox *o);
bool outbox_alive(const struct outbox *o);
bool outbox_ready(const struct outbox *o); /* its tables have answered once, so the schema exists */
/* Events stay unpublished although the broker is up. Any thread may ask. */
bool outbox_stuck(const struct outbox *o);
