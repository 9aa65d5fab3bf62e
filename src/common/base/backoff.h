/* SPDX-License-Identifier: MIT */
/*
 * How long to wait before the next try: a pure function; the caller brings the random
 * number for the jitter.
 */
#pragma once

#include <stdint.h>

struct backoff {
	int64_t base_ms;
	int64_t cap_ms;
};

/*
 * From half of min(cap, base * 2^attempt) to the whole of it, by `random`. Attempt 0
 * is the first wait.
 */
int64_t backoff_wait_ms(const struct backoff *b, unsigned attempt, uint64_t random);
