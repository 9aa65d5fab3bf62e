/* SPDX-License-Identifier: MIT */
/*
 * The headers of a message that a consumer could not finish, and its way back.
 *
 *	make     model/retry.h: the next retry queue, or the dead-letter exchange
 *	copy     the message to one other queue
 *	read     the broker's own list of deaths; the headers have names here
 *	return   a dead letter to its consumer, as if it had never failed
 *
 * All of it is pure: it fills in a struct broker_publish, and the caller
 * publishes.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link/broker.h"

/* What a consumer writes down of a failure. */
#define HEADER_DEAD_ID "x-dead-id"
#define HEADER_CONSUMER "x-consumer"
#define HEADER_ORIGINAL_QUEUE "x-original-queue"
#define HEADER_RETRY_COUNT "x-retry-count"
#define HEADER_ERROR_CLASS "x-error-class"
#define HEADER_ERROR "x-error"
#define HEADER_FIRST_FAILED_AT "x-first-failed-at"
#define HEADER_FAILED_AT "x-failed-at"
/* The key that the message was published with; it stays when the message returns. */
#define HEADER_ORIGINAL_KEY "x-original-routing-key"
/* On an edited event: the x-dead-id of the entry that it replaces. */
#define HEADER_REPLAY_OF "replay-of"

enum dead_letter_copy {
	COPY_MOVED,   /* keeps every header of the message */
	COPY_RETRIED, /* leaves out what the broker adds on the way: it would grow with every turn */
	COPY_RETURNED, /* leaves out whatever tells of failures: the retries begin anew */
};
/*
 * A mandatory copy of m; the caller adds where it goes. It is for one queue, so
 * the sender's further recipients (CC, BCC) are left out in any case. So are
 * the sender's time to live, which would make the copy vanish on its way, and
 * the sender's user, since the broker takes no user but our own. p points into m.
 */
void dead_letter_copy(struct broker_publish *p, const struct broker_message *m,
	enum dead_letter_copy how);
/* True: the broker sets this header at each delivery; it is no part of the message. */
bool dead_letter_of_delivery(const char *name, size_t length);

/*
 * The deaths that the broker noted in x-death, the last one first. *at starts
 * with 0. False: no further one.
 */
bool dead_letter_death(const struct broker_message *m, size_t *at, struct broker_table *death);
/* When it died, in seconds since 1970; -1: unknown. */
int64_t dead_letter_death_s(const struct broker_table *death);

struct dead_letter_return {
	struct broker_publish publish; /* points into this struct, m and the arguments */
	struct broker_field headers[2];
	char key[256];
};
/* m goes to this queue and no other. replay_of may be NULL. */
void dead_letter_return(struct dead_letter_return *out, const struct broker_message *m,
	const char *queue, const char *replay_of);
