/* SPDX-License-Identifier: MIT */
/*
 * The archive of events, which is the outbox, behind a cursor: day and event id
 * of the last row that is done ("2026-11-20/01a1…"), as its key has them.
 */
#pragma once

#include "model/event.h"
#include "ctl/rebuild/rebuild.h"

#define REBUILD_ARCHIVE_FIRST "1970-01-01/00000000-0000-0000-0000-000000000000"

bool rebuild_archive_valid(const char *cursor);
void rebuild_archive_add(struct rebuild *r,
	struct sql_params *p); /* the cursor: $1::date, $2::uuid */
/* Rows of day, event_id, body, …: the cursor behind the last of them. */
void rebuild_archive_move(struct rebuild *r, const struct sql_result *rows);
/* false: what the archive has there is no event, which is logged. */
bool rebuild_archive_parse(struct rebuild *r, const struct sql_result *rows, size_t row,
	struct event *out);
