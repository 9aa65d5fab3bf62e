/* SPDX-License-Identifier: MIT */
/*
 * MongoDB's `users`, which onboard-segments writes; model/user_state.h says what a
 * document is and what it gives way to. Part of onboard-segments.
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
