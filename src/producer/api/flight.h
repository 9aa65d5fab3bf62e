/* SPDX-License-Identifier: MIT */
/*
 * One making of an answer, however many requests ask for it meanwhile. The
 * first request for a key makes the answer; those that come before it is there
 * wait for it.
 *
 *	f = flight_join(all, key, request);
 *	if (f)                          the caller makes the answer, then:
 *		flight_land(f, answer, arg);    answers every request that waits, and frees f
 *
 * Requests are bounded by api.connections, so flights are, too. Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/http.h"

#define FLIGHT_KEY_SIZE 64

struct flight;
struct flights;

typedef void flight_answer_fn(const void *arg, struct http_request *r);

struct flights *flights_new(void);
void flights_free(struct flights *all); /* none may be under way; NULL is fine */
/* NULL: r waits for a flight that is under way. Else the caller lands this one, once. */
struct flight *flight_join(struct flights *all, const char *key, struct http_request *r);
const char *flight_key(const struct flight *f);
/* What is being made is old: those who wait get it, later requests begin another flight. */
void flights_forget(struct flights *all, const char *key);
void flights_forget_all(struct flights *all);
/* The same, if it began so long ago or longer. */
void flights_forget_older(struct flights *all, const char *key, int64_t age_ms);
bool flight_forgotten(const struct flight *f); /* then nobody may keep the answer */
void flight_land(struct flight *f, flight_answer_fn *answer, const void *arg);
