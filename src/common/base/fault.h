/* SPDX-License-Identifier: MIT */
/*
 * Fault points: places where a test makes the real code fail or die. Off
 * unless ONBOARD_FAULTS names them at start, and then said in the log:
 *
 *	ONBOARD_FAULTS="point=action[@nth][,point=action...]"
 *	actions: fail (the point answers true), kill (SIGKILL to ourselves),
 *	         abort, stall:MS (the point waits, then goes on),
 *	         ahead:MS (of clock_wall: the wall clock is ahead)
 *	@nth:    only the nth passage, counted from 1; @nth+ from then on;
 *	         without it every passage
 *
 * A point is one load and one branch while off. Every point's name stands in
 * FAULT_POINTS, so that a campaign can take them in turn.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define FAULT_POINTS(X) \
	X(selftest) \
	X(loop_turn) \
	X(clock_wall)          /* ahead: what a wrong clock would say */ \
	X(signup_committed)    /* fail: it is not published, the sweeper has it */ \
	X(publisher_confirmed) /* fail: the confirm is taken for a refusal */ \
	X(outbox_forget)       /* fail: what is confirmed stays unpublished */ \
	X(mailer_answered)     /* the mail server has answered; fail: the log is away */ \
	X(move_confirmed) /* onboardctl: a message is in both queues; fail: taken for a refusal */

enum fault_point {
#define X(name) FAULT_##name,
	FAULT_POINTS(X)
#undef X
		FAULT_COUNT
};

extern bool fault_any;

int fault_init(const char *spec, struct err *e) MUST_CHECK; /* NULL or "": none */
bool fault_hit_slow(enum fault_point p);
int64_t fault_ahead_slow_us(enum fault_point p);
const char *fault_name(enum fault_point p);

static inline bool
fault_hit(enum fault_point p)
{
	return __builtin_expect(fault_any, 0) && fault_hit_slow(p);
}

/* By how much this clock is ahead. */
static inline int64_t
fault_ahead_us(enum fault_point p)
{
	return __builtin_expect(fault_any, 0) ? fault_ahead_slow_us(p) : 0;
}
