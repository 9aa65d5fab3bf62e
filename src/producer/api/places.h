/* SPDX-License-Identifier: MIT */
/*
 * The country and city of an address. Cities are made by a statement of their
 * own that commits first: what a signup's transaction then refers to is there.
 * What was found is remembered, since countries and cities hardly change.
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
	char city[PLACE_CITY_SIZE]; /* as it is stored: the client may write it in another case */
};

/* p NULL with e (ERR_INVALID: no such country); else e NULL. From the loop, never from in here. */
typedef void place_fn(void *arg, const struct place *p, const struct err *e);

struct places *places_new(struct api *a);
void places_free(struct places *p);
/* 1: known, *out is set and fn never called; 0: fn will be called; -1: e. in lives until then. */
int place_find(struct places *p, const struct address_input *in, struct place *out, place_fn *fn,
	void *arg, struct err *e) MUST_CHECK;
void places_forget(struct places *p); /* something that was remembered is gone */
