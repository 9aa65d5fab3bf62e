/* SPDX-License-Identifier: MIT */
/*
 * Fault points: places where a test makes the real code fail or die. A point is
 * off unless ONBOARD_FAULTS names it when the program starts. The log says so:
 *
 *	ONBOARD_FAULTS="point=action[@nth][,point=action...]"
 *	actions: fail (fault_hit returns true), kill (SIGKILL to this process),
 *	         abort, stall:MS (the point waits, then continues),
 *	         ahead:MS (clock_wall alone: the wall clock runs ahead)
 *	@nth:    only the nth pass, counted from 1; @nth+ from the nth pass on;
 *	         without it every pass
 *
 * A point that is off costs one load and one branch. FAULT_POINTS names every
 * point, so that a campaign can try them in turn.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define FAULT_POINTS(X) \
	X(selftest) \
	X(loop_turn) \
	X(clock_wall)          /* ahead: the clock is wrong */ \
	X(signup_committed)    /* fail: the event is left to the sweeper */ \
	X(publisher_confirmed) /* fail: the confirm counts as a refusal */ \
	X(outbox_forget)       /* fail: confirmed events stay marked as unpublished */ \
	X(mailer_answered)     /* the mail server has answered; fail: mail_log is away */ \
	X(move_confirmed) /* onboardctl: a message is in both queues; fail: counts as a refusal */

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

static inline bool
fault_hit(enum fault_point p)
{
	return __builtin_expect(fault_any, 0) && fault_hit_slow(p);
}

/* How far this clock runs ahead. */
static inline int64_t
fault_ahead_us(enum fault_point p)
{
	return __builtin_expect(fault_any, 0) ? fault_ahead_slow_us(p) : 0;
}
