/* SPDX-License-Identifier: MIT */
#include "base/bucket.h"

#define SECOND_US 1000000

/* The time until the bucket is full. */
static int64_t
missing_us(const struct bucket *b, int64_t now_us)
{
	return b->full_us > now_us ? b->full_us - now_us : 0;
}

int64_t
bucket_room(const struct bucket *b, int64_t want, int64_t now_us)
{
	int64_t room;

	if (b->rate == 0)
		return want;
	room = (SECOND_US - missing_us(b, now_us)) * b->rate / SECOND_US;
	room = room < 0 ? 0 : room;
	return room < want ? room : want;
}

void
bucket_take(struct bucket *b, int64_t n, int64_t now_us)
{
	if (b->rate > 0)
		b->full_us = now_us + missing_us(b, now_us) + n * SECOND_US / b->rate;
}

int64_t
bucket_wait_us(const struct bucket *b, int64_t n, int64_t now_us)
{
	int64_t wait;

	if (b->rate == 0)
		return 0;
	n = n < b->rate ? n : b->rate;
	wait = missing_us(b, now_us) + (n * SECOND_US + b->rate - 1) / b->rate - SECOND_US;
	return wait > 0 ? wait : 0;
}
