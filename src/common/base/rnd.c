/* SPDX-License-Identifier: MIT */
#include "base/rnd.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/must.h"

/*
 * A child must not repeat its parent's numbers, so it discards the bytes buffered
 * before the fork.
 */
static atomic_uint forks;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static _Thread_local struct {
	unsigned char bytes[256];
	size_t left;
	unsigned forks;
} pool;

static void
on_fork(void)
{
	atomic_fetch_add(&forks, 1);
}

static void
watch_forks(void)
{
	must(pthread_atfork(NULL, NULL, on_fork) == 0);
}

static void
from_kernel(void *out, size_t size)
{
	unsigned char *p = out;
	ssize_t n;

	while (size > 0) {
		n = getrandom(p, size, 0);
		must(n > 0 || errno == EINTR);
		if (n > 0) {
			p += n;
			size -= (size_t)n;
		}
	}
}

void
rnd_bytes(void *out, size_t size)
{
	unsigned now;

	if (size > sizeof pool.bytes / 4) {
		from_kernel(out, size);
		return;
	}
	must(pthread_once(&once, watch_forks) == 0);
	now = atomic_load(&forks);
	if (pool.left < size || pool.forks != now) {
		from_kernel(pool.bytes, sizeof pool.bytes);
		pool.left = sizeof pool.bytes;
		pool.forks = now;
	}
	pool.left -= size;
	memcpy(out, pool.bytes + pool.left, size);
	memset(pool.bytes + pool.left, 0, size);
}

uint64_t
rnd_u64(void)
{
	uint64_t n;

	rnd_bytes(&n, sizeof n);
	return n;
}

uint64_t
rnd_below(uint64_t bound)
{
	uint64_t n, rest;

	must(bound > 0);
	rest = -bound % bound; /* 2^64 mod bound: this many numbers would come once too often */
	do
		n = rnd_u64();
	while (n < rest);
	return n % bound;
}

/* splitmix64 spreads the seed; xoshiro256** makes the numbers. */
void
rnd_seed(struct rnd_stream *s, uint64_t seed)
{
	for (size_t i = 0; i < ARRAY_LEN(s->state); i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		s->state[i] = z ^ (z >> 31);
	}
}

static uint64_t
turn_left(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

uint64_t
rnd_next(struct rnd_stream *r)
{
	uint64_t *s = r->state, answer = turn_left(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = turn_left(s[3], 45);
	return answer;
}
