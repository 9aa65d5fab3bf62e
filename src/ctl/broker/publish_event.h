/* SPDX-License-Identifier: MIT */
/* A test event: the given members as they are, the others made up. Needs no server. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#define PUBLISH_USERS 1000000000000000LL

struct publish_event {
	const char *type; /* "user.created" */
	int64_t user_id;  /* 0: made up */
	const char *username, *email;
	const struct json *payload; /* an object, or NULL */
};

/* The whole body at out's end; id: its event id. user_id: whose it became, 0 when unknown. */
void publish_event_write(const struct publish_event *p, const char *id, int64_t now_us,
	struct buf *out, int64_t *user_id);
