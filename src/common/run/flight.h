/* SPDX-License-Identifier: MIT */
/*
 * Single flight: one answer is made for all requests that ask for a key at the
 * same time. The first request makes it; requests that come before it is ready
 * wait for it.
 *
 *	f = flight_join(all, key, request);
 *	if (f)                          the caller makes the answer, then:
 *		flight_land(f, answer, arg);    answers every waiting request, and frees f
 *
 * The server's bound of connections bounds requests, and so flights.
 * Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FLIGHT_KEY_SIZE 64

struct flight;
struct flights;
struct http_request;

typedef void flight_answer_fn(const void *arg, struct http_request *r);

struct flights *flights_new(void);
void flights_free(struct flights *all); /* every flight must have landed; NULL is fine */
/* NULL: r waits for a flight that another request began. Else the caller lands this one, once. */
struct flight *flight_join(struct flights *all, const char *key, struct http_request *r);
const char *flight_key(const struct flight *f);
/*
 * The key has changed. Requests that wait already get the answer under way;
 * later requests begin another flight.
 */
void flights_forget(struct flights *all, const char *key);
void flights_forget_all(struct flights *all);
/* The same, but only if the flight began at least age_ms ago. */
void flights_forget_older(struct flights *all, const char *key, int64_t age_ms);
bool flight_forgotten(const struct flight *f); /* then nobody may keep the answer */
/*
 * The answer is read from now on: a change from before does not matter to it. A
 * forgotten flight counts again, unless another one has begun for its key.
 */
void flight_again(struct flight *f);
void flight_land(struct flight *f, flight_answer_fn *answer, const void *arg);
