/* SPDX-License-Identifier: MIT */
#include "ctl/rebuild/rebuild_archive.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/uuid7.h"

#define DAY 10 /* "2026-11-20" */
enum { C_DAY, C_ID, C_BODY };

bool
rebuild_archive_valid(const char *cursor)
{
	struct uuid id;
	size_t n = strlen(cursor);

	return n == DAY + 1 + UUID_TEXT_SIZE - 1 && cursor[DAY] == '/' &&
		strspn(cursor, "0123456789-") == DAY &&
		uuid_parse(cursor + DAY + 1, n - DAY - 1, &id);
}

void
rebuild_archive_add(struct rebuild *r, struct sql_params *p)
{
	sql_add_text(p, arena_strndup(r->mem, r->cursor, DAY));
	sql_add_text(p, r->cursor + DAY + 1);
}

void
rebuild_archive_move(struct rebuild *r, const struct sql_result *rows)
{
	snprintf(r->cursor, sizeof r->cursor, "%s/%s", sql_text(rows, rows->rows - 1, C_DAY),
		sql_text(rows, rows->rows - 1, C_ID));
}

bool
rebuild_archive_parse(struct rebuild *r, const struct sql_result *rows, size_t row,
	struct event *out)
{
	struct err why = ERR_INIT;

	if (event_parse(r->mem, sql_text(rows, row, C_BODY), sql_length(rows, row, C_BODY), out,
		    &why) == 0)
		return true;
	log_error("an event of the archive is none", LOG_S("event_id", sql_text(rows, row, C_ID)),
		LOG_E(&why));
	return false;
}
