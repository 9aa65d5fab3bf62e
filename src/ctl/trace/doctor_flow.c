/* SPDX-License-Identifier: MIT */
#include "ctl/trace/doctor_flow.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/broker/look.h"
#include "model/inbox.h"
#include "model/outbox_sql.h"

#define OUTBOX_LATE_S 60
#define DAYS_AHEAD 1 /* today's and tomorrow's; a daemon makes a week of them */

static void
queue_tell(struct ctl *c, const struct look_queue *q, size_t *found)
{
	char text[120], fix[120];

	if (!q->consumer || !q->there)
		return; /* what is missing the topology has told */
	if (q->paused) {
		snprintf(text, sizeof text, "%s is paused; %" PRIu32 " events wait", q->consumer,
			q->depth);
		snprintf(fix, sizeof fix, "onboardctl resume %s", q->consumer);
	} else if (q->depth > 0 && q->consumers == 0) {
		snprintf(text, sizeof text, "%" PRIu32 " wait in %s, and nobody consumes", q->depth,
			q->name);
		snprintf(fix, sizeof fix, "start onboard-%s", q->consumer);
	} else {
		return;
	}
	++*found;
	ctl_finding(c, CTL_MARK_WARN, "queues", text, fix);
}

int
doctor_queues(struct ctl *c, struct broker *b, struct arena *mem, bool *bad, struct err *e)
{
	struct look l = { 0 };
	char text[80];
	size_t found = 0;

	(void)bad; /* what waits is no fault of the system's */
	if (look_broker(b, conf_string(c->conf, "topology", "consumers"), NULL, mem, &l, e))
		return -1;
	for (size_t i = 0; i < l.count; i++)
		queue_tell(c, &l.list[i], &found);
	if (found == 0)
		ctl_finding(c, CTL_MARK_OK, "queues", "none paused, none without its consumer",
			NULL);
	snprintf(text, sizeof text, "%" PRIu32 " dead", l.dead);
	ctl_finding(c, l.dead ? CTL_MARK_WARN : CTL_MARK_OK, "dlq", text,
		l.dead ? "onboardctl dlq list, then dlq replay" : NULL);
	return 0;
}

static int
backlog(struct ctl *c, struct sql *s, struct arena *mem, bool *bad, struct err *e)
{
	struct outbox_backlog left;
	char text[100], age[16];
	int64_t late_s;
	bool late;

	if (outbox_backlog_read(s, mem, false, &left, e))
		return -1;
	late_s = left.oldest_s;
	ctl_age(late_s < 0 ? -late_s : late_s, age);
	snprintf(text, sizeof text,
		left.events == 0     ? "all published"
			: late_s < 0 ? "%" PRId64 " unpublished, the oldest from %s ahead"
				     : "%" PRId64 " unpublished, the oldest for %s",
		left.events, age);
	late = late_s < -OUTBOX_LATE_S || late_s > OUTBOX_LATE_S;
	*bad |= late;
	ctl_finding(c, late ? CTL_MARK_BAD : CTL_MARK_OK, "outbox", text,
		!late                ? NULL
			: late_s < 0 ? "PostgreSQL's clock was set back: is it right now?"
				     : "is onboard-api running, and RabbitMQ there?");
	return 0;
}

#define DAYS_SELECT(table) \
	"SELECT (SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid" \
	" WHERE i.inhparent = '" table "'::regclass AND c.relname ~ '^" table "_[0-9]{8}$'" \
	" AND to_date(right(c.relname, 8), 'YYYYMMDD') >= (now() AT TIME ZONE 'UTC')::date)," \
	" (SELECT count(*) FROM pg_inherits WHERE inhparent = '" table "'::regclass) <= 1," \
	" (SELECT count(*) FROM (SELECT FROM " table "_default LIMIT 100000) d)"

static const struct days_look {
	const char *table, *daemon;
	bool odd_days; /* events of any day may come: then rows of the default one are no fault */
	struct sql_statement st;
} days_tables[] = {
	{ "outbox", "onboard-api", false, { "doctor_days", DAYS_SELECT("outbox") } },
	{ INBOX_TABLE, "onboard-analytics", true,
		{ "doctor_inbox_days", DAYS_SELECT(INBOX_TABLE) } },
};

/* Rows of a day without a partition lie in the default one: few move later, many go with the retention. */
static int
days(struct ctl *c, struct sql *s, struct arena *mem, const struct days_look *t, bool *bad,
	struct err *e)
{
	struct sql_result rows;
	int64_t ahead, strays;
	bool none, wrong;
	char text[140], fix[140];

	if (sql_run(s, mem, &t->st, NULL, &rows, e) || sql_i64(&rows, 0, 0, &ahead, e) ||
		sql_bool(&rows, 0, 1, &none, e) || sql_i64(&rows, 0, 2, &strays, e))
		return -1;
	wrong = !none && ahead <= DAYS_AHEAD;
	if (none)
		snprintf(text, sizeof text, "%s: none yet, %s makes them", t->table, t->daemon);
	else
		snprintf(text, sizeof text, "%s: %" PRId64 " from today on have their partition",
			t->table, ahead);
	snprintf(fix, sizeof fix, "%s makes them, is it running?%s", t->daemon,
		t->odd_days ? "" : " `onboardctl db maintain` does, too");
	*bad |= wrong;
	ctl_finding(c, wrong ? CTL_MARK_BAD : CTL_MARK_OK, "days", text, wrong ? fix : NULL);
	if (strays == 0)
		return 0;
	snprintf(text, sizeof text, "%" PRId64 "%s rows lie in %s_default, in no day of their own",
		strays, strays == 100000 ? " or more" : "", t->table);
	ctl_finding(c, t->odd_days ? CTL_MARK_OK : CTL_MARK_WARN, "days", text,
		t->odd_days ? NULL
			    : "`onboardctl db maintain` moves few; many are deleted after "
			      "outbox.retention");
	return 0;
}

int
doctor_outbox(struct ctl *c, struct sql *s, struct arena *mem, bool *bad, struct err *e)
{
	if (backlog(c, s, mem, bad, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(days_tables); i++)
		if (days(c, s, mem, &days_tables[i], bad, e))
			return -1;
	return 0;
}
