/* SPDX-License-Identifier: MIT */
/*
 * Rows of outbox_unpublished and their owners.
 *
 * A process that stores events has a number, its owner number. Each row that
 * it writes carries the number, and while the process lives its outbox
 * connection holds a shared advisory lock by that number. So everybody can see
 * whether a row's owner lives:
 *
 *	owner alive, another process   its publisher has the events: left alone
 *	owner gone, or none            the sweeper adopts the row: it writes its
 *	                               own number into it and publishes the events
 *	owner is this process          swept only where its publisher does not
 *	                               hold the batch (full queue, lost answer)
 *
 * A process whose outbox connection is lost looks gone until it is back: then
 * an event may be published twice, and none is lost.
 *
 * A row's age is judged by the database's clock (written_at), never by the
 * time in an id: an API whose clock is wrong writes wrong ids.
 *
 * One pass goes through the old rows in their order, a portion at a time. A
 * portion that cannot be published does not keep the pass from the next one.
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
	int64_t after_ms; /* younger rows are on their way */
	/* The batch is confirmed, and its row is about to go. */
	bool (*confirmed)(void *arg, const struct uuid *batch_id);
	void *arg;

	/* its own */
	bool held;        /* the lock, */
	uint64_t session; /* by this connection */
	char at[40];      /* the pass has seen the rows up to this written_at */
	char at_batch[UUID_TEXT_SIZE];
	int64_t events_max; /* in a portion: halved when the database could not do it in time */
};

int outbox_owner_new(void); /* for a process that starts */
/* The setting of a connection whose inserts shall carry this owner: sql_options.settings. */
#define OUTBOX_OWNER_SETTING_SIZE 48
void outbox_owner_setting(int owner, char out[static OUTBOX_OWNER_SETTING_SIZE]);

/* Takes the owner's lock, again for each new connection. One cheap look while it is held. */
int outbox_owner_hold(struct outbox_sweep *s, struct arena *mem, struct err *e) MUST_CHECK;
/* Hands the next portion to the publisher. 1: there may be more at once. */
int outbox_sweep(struct outbox_sweep *s, struct arena *mem, struct err *e) MUST_CHECK;
/* Events that the sweeper with this owner number may take, older than since by after_ms. */
int outbox_behind(struct sql *sql, struct arena *mem, int owner, const char *since,
	int64_t after_ms, int64_t *events, struct err *e) MUST_CHECK;
