/* SPDX-License-Identifier: MIT */
/*
 * Randomness. rnd_bytes is the kernel's (getrandom), buffered per thread and
 * safe after fork; rnd_below is uniform without modulo bias. rnd_seed makes a
 * repeatable stream of its own for chaos and tests, apart from rnd_bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void rnd_bytes(void *out, size_t size);
uint64_t rnd_u64(void);
uint64_t rnd_below(uint64_t bound); /* 0 .. bound-1; bound > 0 */

struct rnd_stream {
	uint64_t state[4];
};
void rnd_seed(struct rnd_stream *s, uint64_t seed);
uint64_t rnd_next(struct rnd_stream *s);
