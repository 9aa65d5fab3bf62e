/* SPDX-License-Identifier: MIT */
/*
 * The outbox beside the way of a fresh event: one thread with its own database
 * connection that
 *   - forgets as unpublished what the publisher has confirmed,
 *   - publishes what stayed behind (a crash, a broker away, a full queue),
 *     oldest first, by the rows' owners (run/outbox_sweep), so that no process
 *     publishes what another one has in hand,
 *   - makes the days' partitions ahead and drops those past the retention that
 *     hold nothing unpublished, and forgets old Idempotency-Keys.
 *
 * Threads: outbox_done from the publisher's; the rest from the maker's.
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
	int owner;              /* outbox_owner_new(): also of the connections that store events */
	int64_t sweep_after_ms; /* younger rows are on their way */
	int64_t retention_days;
};

struct outbox *outbox_new(const struct outbox_options *o, struct err *e) MUST_CHECK;
void outbox_start(struct outbox *o, struct publisher *p);
void outbox_halt(struct outbox *o); /* its thread uses the publisher no more */
/* After the publisher: writes down what is confirmed, at most wait_ms long. NULL is fine. */
void outbox_stop(struct outbox *o, int64_t wait_ms);
/* For publisher_options.done; arg is the outbox. */
void outbox_done(void *arg, const struct uuid *batch_ids, size_t n, size_t swept);
struct link *outbox_link(struct outbox *o);
struct metrics *outbox_metrics(struct outbox *o);
bool outbox_alive(const struct outbox *o);
bool outbox_ready(const struct outbox *o); /* its tables have answered once: the schema is there */
/* Events stay unpublished although the broker is there. From any thread. */
bool outbox_stuck(const struct outbox *o);
