/* SPDX-License-Identifier: MIT */
/*
 * The country and city of an address. A statement of its own stores a new city
 * and commits, so the city is there when a signup's transaction refers to it.
 * Places that were found are remembered, since countries and cities hardly change.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "user_input.h"

struct api;
struct places;

#define PLACE_CITY_SIZE (4 * 100 + 1)

struct place {
	int64_t city_id;
	char country[4];            /* the code */
	char city[PLACE_CITY_SIZE]; /* as it is stored; the client may have used another case */
};

/* Exactly one of p and e is not NULL. ERR_INVALID: no such country. Called from the loop. */
typedef void place_fn(void *arg, const struct place *p, const struct err *e);

struct places *places_new(struct api *a);
void places_free(struct places *p);
/*
 * 1: known; *out is set, and fn is never called. 0: fn will be called, and in must
 * live until then. -1: e.
 */
int place_find(struct places *p, const struct address_input *in, struct place *out, place_fn *fn,
	void *arg, struct err *e) MUST_CHECK;
void places_forget(struct places *p); /* a city that was remembered is gone */
