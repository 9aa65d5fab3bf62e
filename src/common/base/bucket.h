/* SPDX-License-Identifier: MIT */
/*
 * A token bucket: `rate` items a second, and at most one second's items at once.
 * Its functions are pure and take the time (monotonic µs), so tests need not wait.
 */
#pragma once

#include <stdint.h>

struct bucket {
	int64_t rate;    /* items a second; 0: no bound */
	int64_t full_us; /* when the bucket will be full again */
};

/* How many items may go now; at most `want`. */
int64_t bucket_room(const struct bucket *b, int64_t want, int64_t now_us);
void bucket_take(struct bucket *b, int64_t n, int64_t now_us);
/* How long until n items may go; n counts as one second's items at most. 0: now. */
int64_t bucket_wait_us(const struct bucket *b, int64_t n, int64_t now_us);
