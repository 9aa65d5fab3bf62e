/* SPDX-License-Identifier: MIT */
/* How long to wait before the next try: a pure function, jittered by a random number that the caller brings. */
#pragma once

#include <stdint.h>

struct backoff {
	int64_t base_ms;
	int64_t cap_ms;
};

/* attempt 0 is the first wait. Between half and the whole of min(cap, base * 2^attempt), as random says. */
int64_t backoff_wait_ms(const struct backoff *b, unsigned attempt, uint64_t random);
