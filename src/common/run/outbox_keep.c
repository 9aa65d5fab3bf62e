/* SPDX-License-Identifier: MIT */
#include "run/outbox_keep.h"

#include "link/sql.h"
#include "model/days.h"

static const struct sql_statement day_needed = { "outbox_day_needed",
	"SELECT EXISTS (SELECT FROM outbox_unpublished"
	" WHERE $1::date BETWEEN first_day AND last_day)" };
/* What is unpublished is needed, and whatever is younger stays with it. */
static const struct sql_statement default_forget = { "outbox_default_forget",
	"DELETE FROM outbox_default WHERE ctid = ANY (ARRAY (SELECT ctid FROM outbox_default"
	" WHERE day < least((now() AT TIME ZONE 'UTC')::date - $1::integer,"
	" (SELECT min(first_day) FROM outbox_unpublished)) LIMIT " DAYS_PAGE "))" };

int
outbox_keep(struct sql *sql, struct arena *mem, int64_t retention_days, void (*tick)(void *),
	void *arg, struct err *e)
{
	const struct days_table days = { "outbox", retention_days, &day_needed, &default_forget };

	return days_keep(sql, mem, &days, tick, arg, e);
}
