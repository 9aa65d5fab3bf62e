/* SPDX-License-Identifier: MIT */
#include "run/flight.h"

#include <string.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/must.h"

struct flight {
	UT_hash_handle hh;
	struct flights *all;
	char key[FLIGHT_KEY_SIZE];
	int64_t began_ms;
	bool forgotten; /* no longer in the table */
	struct http_request **waiting;
	size_t count, room;
};

struct flights {
	struct flight *by_key;
};

struct flights *
flights_new(void)
{
	return must_calloc(1, sizeof(struct flights));
}

void
flights_free(struct flights *all)
{
	must(!all || !all->by_key);
	free(all);
}

static void
flight_wait(struct flight *f, struct http_request *r)
{
	if (f->count == f->room) {
		f->room = f->room ? f->room * 2 : 4;
		f->waiting = must_realloc(f->waiting, f->room * sizeof *f->waiting);
	}
	f->waiting[f->count++] = r;
}

struct flight *
flight_join(struct flights *all, const char *key, struct http_request *r)
{
	size_t length = strlen(key);
	struct flight *f;

	must(length < FLIGHT_KEY_SIZE);
	HASH_FIND_STR(all->by_key, key, f);
	if (f) {
		flight_wait(f, r);
		return NULL;
	}
	f = must_calloc(1, sizeof *f);
	f->all = all;
	f->began_ms = clock_mono_ms();
	memcpy(f->key, key, length + 1);
	flight_wait(f, r);
	HASH_ADD_STR(all->by_key, key, f);
	return f;
}

const char *
flight_key(const struct flight *f)
{
	return f->key;
}

static void
flight_forget(struct flight *f)
{
	HASH_DEL(f->all->by_key, f);
	f->forgotten = true;
}

void
flights_forget_older(struct flights *all, const char *key, int64_t age_ms)
{
	struct flight *f;

	HASH_FIND_STR(all->by_key, key, f);
	if (f && clock_mono_ms() - f->began_ms >= age_ms)
		flight_forget(f);
}

void
flights_forget(struct flights *all, const char *key)
{
	flights_forget_older(all, key, 0);
}

void
flights_forget_all(struct flights *all)
{
	while (all->by_key)
		flight_forget(all->by_key);
}

void
flight_again(struct flight *f)
{
	struct flight *newer;

	if (!f->forgotten)
		return;
	HASH_FIND_STR(f->all->by_key, f->key, newer);
	if (newer)
		return;
	f->began_ms = clock_mono_ms();
	f->forgotten = false;
	HASH_ADD_STR(f->all->by_key, key, f);
}

bool
flight_forgotten(const struct flight *f)
{
	return f->forgotten;
}

void
flight_land(struct flight *f, flight_answer_fn *answer, const void *arg)
{
	if (!f->forgotten)
		HASH_DEL(f->all->by_key, f);
	for (size_t i = 0; i < f->count; i++)
		answer(arg, f->waiting[i]);
	free(f->waiting);
	free(f);
}
