/* SPDX-License-Identifier: MIT */
#include "base/breaker.h"

#include "base/must.h"

void
breaker_init(struct breaker *b, unsigned threshold, int64_t open_ms)
{
	must(threshold > 0 && open_ms > 0);
	*b = (struct breaker){ .threshold = threshold, .open_ms = open_ms };
}

bool
breaker_allow(struct breaker *b, int64_t now_ms)
{
	if (b->state == BREAKER_CLOSED)
		return true;
	if (b->state == BREAKER_OPEN && now_ms - b->opened_ms >= b->open_ms)
		b->state = BREAKER_HALF_OPEN;
	if (b->state == BREAKER_OPEN || b->trial)
		return false;
	b->trial = true;
	return true;
}

void
breaker_success(struct breaker *b)
{
	/* this answers a call made before the breaker opened: it proves nothing about now */
	if (b->state == BREAKER_OPEN)
		return;
	b->state = BREAKER_CLOSED;
	b->failures = 0;
	b->trial = false;
}

void
breaker_failure(struct breaker *b, int64_t now_ms)
{
	b->failures++;
	if (b->state == BREAKER_HALF_OPEN ||
		(b->state == BREAKER_CLOSED && b->failures >= b->threshold)) {
		b->state = BREAKER_OPEN;
		b->opened_ms = now_ms;
		b->trial = false;
	}
}

const char *
breaker_state_name(enum breaker_state s)
{
	static const char *const names[] = { "CLOSED", "OPEN", "HALF_OPEN" };

	must((unsigned)s < ARRAY_LEN(names));
	return names[s];
}
