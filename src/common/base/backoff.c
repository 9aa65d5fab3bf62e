/* SPDX-License-Identifier: MIT */
#include "base/backoff.h"

#include "base/must.h"

int64_t
backoff_wait_ms(const struct backoff *b, unsigned attempt, uint64_t random)
{
	int64_t whole = b->base_ms;

	must(b->base_ms > 0 && b->cap_ms >= b->base_ms);
	for (; attempt > 0 && whole < b->cap_ms; attempt--)
		whole = whole > b->cap_ms / 2 ? b->cap_ms : whole * 2;
	return whole - (int64_t)(random % (uint64_t)(whole / 2 + 1));
}
