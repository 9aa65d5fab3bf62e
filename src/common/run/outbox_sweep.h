/* SPDX-License-Identifier: MIT */
/*
 * Rows of outbox_unpublished and their owners.
 *
 * A process that stores events has an owner number. Each row that it writes
 * carries the number. While the process lives, its outbox connection holds a
 * shared advisory lock by that number, so every process can see whether a row's
 * owner lives:
 *
 *	another process, alive   its publisher has the events: we leave the row alone
 *	a dead one, or none      we adopt the row: we write our number into it and
 *	                         publish the events
 *	this process             we publish only the batches that our publisher does
 *	                         not hold (its queue was full, an answer was lost)
 *
 * A process that has lost its outbox connection looks dead until it reconnects.
 * Meanwhile an event may be published twice; none is lost.
 *
 * The database's clock (written_at) tells a row's age, never the time in an id:
 * an API with a wrong clock writes wrong ids.
 *
 * One pass reads the old rows in their order, a portion at a time. A portion that
 * cannot be published does not stop the pass.
 *
 * Threads: one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/uuid7.h"

struct publisher;
struct sql;

struct outbox_sweep {
	struct sql *sql;
	struct publisher *publisher;
	int owner;
	int64_t after_ms; /* younger rows are being published */
	/* Tells whether the batch is confirmed, so its row will soon be deleted. */
	bool (*confirmed)(void *arg, const struct uuid *batch_id);
	void *arg;

	/* private */
	bool held;        /* the lock is ours, */
	uint64_t session; /* since this connection */
	char at[40];      /* the pass has read the rows up to this written_at */
	char at_batch[UUID_TEXT_SIZE];
	int64_t events_max; /* in a portion; halved when the database was too slow */
};

int outbox_owner_new(void); /* for a process that starts: a random number */
/* For sql_options.settings: the inserts of this connection carry the owner. */
#define OUTBOX_OWNER_SETTING_SIZE 48
void outbox_owner_setting(int owner, char out[static OUTBOX_OWNER_SETTING_SIZE]);

/* Takes the owner's lock, anew for each connection. Costs nothing while the lock is held. */
int outbox_owner_hold(struct outbox_sweep *s, struct arena *mem, struct err *e) MUST_CHECK;
/* Hands the next portion to the publisher. 1: call it again, there may be more. */
int outbox_sweep(struct outbox_sweep *s, struct arena *mem, struct err *e) MUST_CHECK;
/* Counts the events that this owner may publish and that are older than since by after_ms. */
int outbox_behind(struct sql *sql, struct arena *mem, int owner, const char *since,
	int64_t after_ms, int64_t *events, struct err *e) MUST_CHECK;
