/* SPDX-License-Identifier: MIT */
/*
 * The archive of events is the outbox. A cursor is its primary key: day and event
 * id of the last row that is done ("2026-11-20/01a1…").
 */
#pragma once

#include "model/event.h"
#include "ctl/rebuild/rebuild.h"

#define REBUILD_ARCHIVE_FIRST "1970-01-01/00000000-0000-0000-0000-000000000000"

bool rebuild_archive_valid(const char *cursor);
void rebuild_archive_add(struct rebuild *r,
	struct sql_params *p); /* the cursor: $1::date, $2::uuid */
/* Moves the cursor behind the last of these rows (day, event_id, body, …). */
void rebuild_archive_move(struct rebuild *r, const struct sql_result *rows);
/* false: the row's body is no event; that is logged. */
bool rebuild_archive_parse(struct rebuild *r, const struct sql_result *rows, size_t row,
	struct event *out);
