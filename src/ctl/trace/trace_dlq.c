/* SPDX-License-Identifier: MIT */
/*
 * trace: what lies of the event in the dead-letter queue, by the look of `dlq`:
 * nothing is taken. Whoever holds its lock is not waited for, and a queue too
 * long is left to `dlq show`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "ctl/dlq/dlq.h"
#include "ctl/trace/trace.h"

#define DEAD_MAX 100000 /* a second or two */
#define TOLD_MAX 50

struct finding {
	struct trace *t;
	const struct traced *v;
	const char *const *ids;
	struct dlq_reader reader;
	uint64_t found;
};

static bool
wanted(const struct finding *f, const struct dlq_entry *d)
{
	for (const char *const *id = f->ids; *id; id++)
		if (d->event_id && strcasecmp(d->event_id, *id) == 0)
			return true;
	return !*f->ids && f->v->user_id != 0 && d->user_id == f->v->user_id;
}

static int
message(void *arg, const struct broker_message *m, struct err *e)
{
	struct finding *f = arg;
	struct dlq *d = f->t->dlq;
	struct traced of = { 0 };
	struct dlq_entry entry;
	char text[500], next[200];

	(void)e;
	dlq_entry_read(&entry, m, d->mem);
	if (!wanted(f, &entry) || f->found++ >= TOLD_MAX)
		return 0;
	f->t->found = true;
	of.id = entry.event_id;
	snprintf(text, sizeof text, "%.40s gave it up (%.20s): %.300s",
		entry.consumer ? entry.consumer : "a consumer",
		entry.class ? entry.class : "no class", entry.error ? entry.error : "no error");
	snprintf(next, sizeof next, "`onboardctl dlq replay %s`; dlq show tells more", entry.id);
	trace_tell(f->t, &of, "dlq", HOP_NOT, entry.failed_at, text, next);
	return 0;
}

static void
look(struct finding *f, struct err *e)
{
	struct dlq d = { .ctl = f->t->c, .what = "trace", .o.no_wait = true };
	char text[100];

	f->t->dlq = &d;
	f->reader = (struct dlq_reader){ .what = "reading", .message = message, .arg = f };
	if (dlq_connect(&d, e) || dlq_read(&d, &f->reader, e)) {
		dlq_disconnect(&d);
		return;
	}
	dlq_disconnect(&d);
	snprintf(text, sizeof text, "none of the %" PRIu64 " that are dead", f->reader.total);
	if (f->found == 0)
		trace_tell(f->t, f->v, "dlq", HOP_NONE, NULL, text, NULL);
	snprintf(text, sizeof text, "%" PRIu64 " entries in all", f->found);
	if (f->found > TOLD_MAX)
		trace_tell(f->t, f->v, "dlq", HOP_NOT, NULL, text, "`onboardctl dlq show ID`");
}

void
trace_dlq(struct trace *t, const struct traced *v, const char *const *ids)
{
	struct finding f = { .t = t, .v = v, .ids = ids };
	struct err e = ERR_INIT;
	char text[100], next[120];

	if (!t->b)
		return;
	if (t->look.dead == 0) {
		trace_tell(t, v, "dlq", HOP_NONE, NULL, "no event is dead", NULL);
		return;
	}
	if (t->look.dead <= DEAD_MAX) {
		look(&f, &e);
		if (e.kind == ERR_NONE)
			return;
	} else {
		snprintf(text, sizeof text, "%" PRIu32 " dead: too many to look at here",
			t->look.dead);
	}
	if (v->id)
		snprintf(next, sizeof next, "look with `onboardctl dlq show %s`", v->id);
	else
		snprintf(next, sizeof next, "look with `onboardctl dlq list --user %" PRId64 "`",
			v->user_id);
	t->away |= e.kind == ERR_AWAY;
	trace_tell(t, v, "dlq", HOP_UNKNOWN, NULL, e.kind ? e.text : text, next);
}
