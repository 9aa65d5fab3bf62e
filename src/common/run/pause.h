/* SPDX-License-Identifier: MIT */
/*
 * An operator's pause of a consumer. The broker is the one server that all of
 * its instances share, so the flag is there: the durable queue
 * onboard.paused.NAME holds a message while NAME is paused, and none otherwise.
 * `onboardctl pause` puts it there, `resume` takes it away; each instance asks
 * for the queue's depth once a second, by declaring it again.
 *
 * Asking publishes nothing: a connection that publishes is stopped by an alarm,
 * and a consumer's must drain its queue just then. The queue is a classic one,
 * whose depth is exact from the broker's first answer on, where a quorum queue
 * says 0 until it has a leader. The message tells who, when and why; it is there
 * PAUSE_COPIES times, so that one who reads it (and so hides it for a moment)
 * does not let the consumer go.
 *
 * Threads: the connection's.
 */
#pragma once

#include <stdbool.h>

#include "link/broker.h"

#define PAUSE_COPIES 3
#define PAUSE_NAME_SIZE 80

void pause_queue_name(const char *consumer, char out[static PAUSE_NAME_SIZE]);
/* Makes the flag's queue where it is missing; *paused: whether a message is in it. */
int pause_look(struct broker *b, const char *consumer, bool *paused, struct err *e) MUST_CHECK;
