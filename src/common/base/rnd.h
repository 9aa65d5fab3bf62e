/* SPDX-License-Identifier: MIT */
/*
 * Random numbers. rnd_bytes takes them from the kernel (getrandom), buffered for
 * each thread and safe after fork. rnd_below has no modulo bias. rnd_seed begins
 * a repeatable stream for tests, apart from rnd_bytes.
 *
 * Threads: any; a stream belongs to one thread.
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
