/* SPDX-License-Identifier: MIT */
/*
 * An event as a consumer sees it: strict JSON, checked against the schema of
 * its type before any handler runs. The type is the body's, never the routing
 * key's. Whatever is wrong can never be right: ERR_INVALID with the reason,
 * which repeats no value.
 *
 * Threads: any. Ownership: all of it lives in the arena it was parsed with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/uuid7.h"

enum event_kind { EVENT_CREATED, EVENT_UPDATED, EVENT_DELETED, EVENT_ACTIVITY };

struct event {
	char id[UUID_TEXT_SIZE]; /* lower case */
	enum event_kind kind;
	const char *type; /* "user.created" */
	const char *name; /* "created": behind the first point */
	int64_t time_us;
	int64_t user_id, version; /* version 1 where none is given */
	const struct json *payload;
	/* CREATED, UPDATED; NULL: not given. E-mail in its stored form. */
	const char *username, *email, *display_name, *country, *city, *previous_country;
	/* ACTIVITY; NULL: not given */
	const struct json *metadata, *geo, *session;
	bool has_point; /* of geo */
	double lon, lat;
	const char *geo_country, *geo_city;
};

int event_parse(struct arena *mem, const char *body, size_t length, struct event *out,
	struct err *e) MUST_CHECK;
