/* SPDX-License-Identifier: MIT */
/*
 * Keeps recommendations in Redis for an hour, as GET /api/users/{id}/recommendations
 * answers them. Part of onboard-segments.
 */
#pragma once

#include "segments_users.h"

/*
 * For users whose state is written. A new user gets the popular products, unless
 * the key exists already. A deleted user's keys are deleted.
 */
int segments_picks_write(struct consumer *c, struct batch *b, const struct user *users, size_t n,
	struct err *e) MUST_CHECK;
