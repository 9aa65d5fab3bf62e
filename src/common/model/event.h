/* SPDX-License-Identifier: MIT */
/*
 * An event as a consumer sees it: strict JSON, checked against the schema of its
 * type before any handler runs. The type comes from the body, never from the
 * routing key. A wrong event will never become right: it is ERR_INVALID with the
 * reason, which repeats no value.
 *
 * Threads: any. Ownership: all of it lives in the arena that it was parsed with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/uuid7.h"

/* Every type begins with this. These three are changes of a user; all others are activities. */
#define EVENT_TYPE_BEGIN "user."
#define EVENT_TYPE_CREATED EVENT_TYPE_BEGIN "created"
#define EVENT_TYPE_UPDATED EVENT_TYPE_BEGIN "updated"
#define EVENT_TYPE_DELETED EVENT_TYPE_BEGIN "deleted"
#define EVENT_HEADER_TEST "x-test" /* 1: a test event; the mailer sends nothing for it */

/* Ids from here on belong to no user in PostgreSQL: `onboardctl publish` makes them up. */
#define EVENT_USER_MADE_UP INT64_C(8000000000000000)

enum event_kind { EVENT_CREATED, EVENT_UPDATED, EVENT_DELETED, EVENT_ACTIVITY };

struct event {
	char id[UUID_TEXT_SIZE]; /* lower case */
	enum event_kind kind;
	const char *type; /* "user.created" */
	const char *name; /* "created": what follows the first dot */
	int64_t time_us;
	int64_t user_id, version; /* version: 1 if the event has none */
	const struct json *payload;
	/* CREATED, UPDATED; NULL: absent. The e-mail is in its stored form. */
	const char *username, *email, *display_name, *country, *city, *previous_country;
	/* ACTIVITY; NULL: absent */
	const struct json *metadata, *geo, *session;
	bool has_point; /* geo has coordinates */
	double lon, lat;
	const char *geo_country, *geo_city;
};

/* "created" of "user.created"; the whole type if it begins otherwise. */
const char *event_name(const char *type);

int event_parse(struct arena *mem, const char *body, size_t length, struct event *out,
	struct err *e) MUST_CHECK;
