/* SPDX-License-Identifier: MIT */
/*
 * Writes MongoDB's `users`. model/user_state.h says what a document holds, and
 * which write may replace it. Part of onboard-segments.
 */
#pragma once

#include "run/consumer.h"

/* What a batch says about one user. */
struct user {
	int64_t id;
	const struct event *newest;  /* the state to write */
	const struct event *created; /* NULL: not in the batch */
	size_t first, count;         /* the user's deliveries; the caller uses them */
	/* set by segments_users_write */
	enum outcome out; /* of newest: also DONE if the stored document is newer */
	const char *why;
	bool gone; /* the stored document is a tombstone */
};

/* users names no user twice. 0: every user has an outcome. */
int segments_users_write(struct consumer *c, struct batch *b, struct user *users, size_t n,
	struct err *e) MUST_CHECK;
