/* SPDX-License-Identifier: MIT */
/*
 * An operator's pause of a consumer. All instances share the broker, so the flag
 * lies there: the durable queue onboard.paused.NAME holds a message while NAME is
 * paused, and none otherwise. `onboardctl pause` publishes the message, `resume`
 * removes it. Each instance declares the queue once a second and reads its depth.
 *
 * Asking publishes nothing: an alarm blocks a connection that publishes, and a
 * consumer must empty its queue just then. The queue is a classic queue: the
 * broker's first answer already gives its exact depth, where a quorum queue says 0
 * until it has a leader. The message tells who paused the consumer, when and why.
 * Whoever reads it hides it for a moment. So the queue holds PAUSE_COPIES copies,
 * and reading does not end the pause.
 *
 * Threads: the connection's.
 */
#pragma once

#include <stdbool.h>

#include "link/broker.h"

#define PAUSE_COPIES 3
#define PAUSE_NAME_SIZE 80

void pause_queue_name(const char *consumer, char out[static PAUSE_NAME_SIZE]);
/* Declares the flag's queue; *paused: whether the queue holds a message. */
int pause_look(struct broker *b, const char *consumer, bool *paused, struct err *e) MUST_CHECK;
