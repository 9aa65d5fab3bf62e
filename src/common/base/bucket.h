/* SPDX-License-Identifier: MIT */
/*
 * So many a second, and at most one second's worth at once: a token bucket as
 * pure functions of time (monotonic µs), so tests need not wait.
 */
#pragma once

#include <stdint.h>

struct bucket {
	int64_t rate;    /* a second; 0: no bound */
	int64_t full_us; /* when it will be full again */
};

/* How many may go now, at most want. */
int64_t bucket_room(const struct bucket *b, int64_t want, int64_t now_us);
void bucket_take(struct bucket *b, int64_t n, int64_t now_us);
/* Until n may go, of a second's worth at most; 0: now. */
int64_t bucket_wait_us(const struct bucket *b, int64_t n, int64_t now_us);
