/* SPDX-License-Identifier: MIT */
/*
 * Recommendations in Redis, as GET /api/users/{id}/recommendations answers them,
 * for an hour. Part of onboard-segments.
 */
#pragma once

#include "segments_users.h"

/*
 * For those whose state is written: who is new gets what is popular, unless
 * there is something already; of who is deleted the keys go.
 */
int segments_picks_write(struct consumer *c, struct batch *b, const struct user *users, size_t n,
	struct err *e) MUST_CHECK;
