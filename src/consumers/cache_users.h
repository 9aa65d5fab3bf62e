/* SPDX-License-Identifier: MIT */
/* Reads a batch's users from PostgreSQL. Part of onboard-cache. */
#pragma once

#include "link/sql.h"
#include "run/consumer.h"

/* Sorted by id. Deletions in b are skipped. */
int cache_users_read(struct consumer *c, struct batch *b, struct sql_result *r, struct err *e)
	MUST_CHECK;
/* The index of the user's row; r->rows if there is none. */
size_t cache_users_find(const struct sql_result *r, int64_t user_id);
/*
 * True for each delivery of b whose user has been deleted: the event is one of
 * onboard-api's, and r has no row of its user. NULL on error.
 */
const bool *cache_users_gone(struct consumer *c, struct batch *b, const struct sql_result *r,
	struct err *e) MUST_CHECK;
