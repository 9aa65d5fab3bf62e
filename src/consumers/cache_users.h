/* SPDX-License-Identifier: MIT */
/* The users of a batch as PostgreSQL has them now. Part of onboard-cache. */
#pragma once

#include "link/sql.h"
#include "run/consumer.h"

/* In order of their ids; those who are deleted in b are not asked for. */
int cache_users_read(struct consumer *c, struct batch *b, struct sql_result *r, struct err *e)
	MUST_CHECK;
/* The user's row; r->rows when there is none. */
size_t cache_users_find(const struct sql_result *r, int64_t user_id);
/*
 * For each delivery of b: the event is one of onboard-api's, and r has no row
 * of its user, so the user has been deleted. NULL on error.
 */
const bool *cache_users_gone(struct consumer *c, struct batch *b, const struct sql_result *r,
	struct err *e) MUST_CHECK;
