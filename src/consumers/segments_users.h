/* SPDX-License-Identifier: MIT */
/*
 * MongoDB's `users`, which onboard-segments alone writes. Part of onboard-segments.
 *
 * A document is a user's state at its version, or a tombstone. A state gives way
 * to one that is not older; an equal version counts as newer, save for
 * user.created, which is the oldest there is. A tombstone gives way to nothing
 * but another tombstone.
 */
#pragma once

#include "run/consumer.h"

/* What a batch says of one user. */
struct user {
	int64_t id;
	const struct event *newest;  /* the state to be written */
	const struct event *created; /* NULL: not in the batch */
	size_t first, count;         /* its deliveries; the caller's */
	/* set by segments_users_write */
	enum outcome out; /* of newest: DONE also when what is there is newer */
	const char *why;
	bool gone; /* a tombstone is what is there */
};

/* Each user once. 0: all have their outcome. */
int segments_users_write(struct consumer *c, struct batch *b, struct user *users, size_t n,
	struct err *e) MUST_CHECK;
