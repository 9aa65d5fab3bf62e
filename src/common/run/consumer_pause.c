/* SPDX-License-Identifier: MIT */
/*
 * The consumer runtime: an operator's pause (run/pause.h). The I/O thread asks for
 * the flag before it consumes anything, and then once a second. A paused consumer
 * takes no messages, finishes those that it holds, and gives none back.
 */
#include "base/clock.h"
#include "base/log.h"
#include "run/consumer_own.h"
#include "run/pause.h"

#define LOOK_MS 1000
#define LOOK_FAILED_MS 10000
#define LOOKS_TO_RESUME 2 /* somebody who reads the flag hides it for a moment */

static void
pause_set(struct consumer *c, bool on)
{
	if (!consumer_state_set(&c->status, on ? STEP_PAUSE : STEP_RESUME))
		return;
	if (on)
		log_warn("paused by an operator: nothing is taken until `onboardctl resume`",
			LOG_S("consumer", c->handler->name));
	else
		log_info("resumed by an operator", LOG_S("consumer", c->handler->name));
}

int
consumer_pause_look(struct consumer *c, struct err *e)
{
	struct err why = ERR_INIT;
	bool on = false;

	if (clock_mono_ms() < c->pause_look_ms || consumer_facts(&c->status)->draining)
		return 0;
	if (pause_look(c->broker, c->handler->name, &on, &why)) {
		if (broker_fd(c->broker) < 0)
			return err_set(e, ERR_AWAY, "%s", why.text);
		/* the last answer stands */
		log_warn("cannot ask whether an operator paused it", LOG_E(&why));
		c->pause_look_ms = clock_mono_ms() + LOOK_FAILED_MS;
		return 0;
	}
	c->pause_look_ms = clock_mono_ms() + LOOK_MS;
	c->pause_misses = on ? 0 : c->pause_misses + 1;
	if (on || c->pause_misses >= LOOKS_TO_RESUME)
		pause_set(c, on);
	return 0;
}
