/* SPDX-License-Identifier: MIT */
/* stats: entries by consumer, class and what their errors have in common. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/dlq/dlq.h"
#include "ctl/kit/json.h"
#include "ctl/kit/table.h"

#define GROUPS_MAX 4096
#define SLOTS (2 * GROUPS_MAX)

struct group {
	char consumer[64], class[32], error[DLQ_FINGERPRINT_MAX + 1], example[DLQ_ID_SIZE];
	char first[40], last[40];
	int64_t first_us, last_us;
	uint64_t count;
};

struct stats {
	struct dlq *d;
	struct group *groups[SLOTS];
	size_t count;
	uint64_t matched;
};

static struct group *
group_find(struct stats *s, const struct group *like)
{
	struct dlq_hash h;
	size_t at;

	dlq_hash_begin(&h);
	dlq_hash_add(&h, like->consumer, strlen(like->consumer));
	dlq_hash_add(&h, like->class, strlen(like->class));
	dlq_hash_add(&h, like->error, strlen(like->error));
	for (at = h.half[1] % SLOTS; s->groups[at]; at = (at + 1) % SLOTS)
		if (strcmp(s->groups[at]->consumer, like->consumer) == 0 &&
			strcmp(s->groups[at]->class, like->class) == 0 &&
			strcmp(s->groups[at]->error, like->error) == 0)
			return s->groups[at];
	s->groups[at] = must_malloc(sizeof *like);
	*s->groups[at] = *like;
	s->count++;
	return s->groups[at];
}

static int
stats_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct stats *s = arg;
	struct group g = { .first_us = INT64_MAX, .last_us = -1 }, *of;
	struct dlq_entry d;

	(void)e;
	dlq_entry_read(&d, m, s->d->mem);
	if (!dlq_filter_match(&s->d->o.filter, &d))
		return 0;
	s->matched++;
	snprintf(g.consumer, sizeof g.consumer, "%s", d.consumer ? d.consumer : "");
	snprintf(g.class, sizeof g.class, "%s", d.class ? d.class : "");
	if (d.error)
		dlq_fingerprint(d.error, g.error);
	snprintf(g.example, sizeof g.example, "%s", d.id);
	/* a sender of a thousand kinds of garbage must not use up memory */
	if (s->count >= GROUPS_MAX)
		snprintf(g.error, sizeof g.error, "(others)");
	if (s->count >= GROUPS_MAX + 64)
		g.consumer[0] = g.class[0] = '\0';
	of = group_find(s, &g);
	of->count++;
	if (d.failed_us >= 0 && d.failed_us < of->first_us) {
		of->first_us = d.failed_us;
		snprintf(of->first, sizeof of->first, "%s", d.failed_at);
	}
	if (d.failed_us > of->last_us) {
		of->last_us = d.failed_us;
		snprintf(of->last, sizeof of->last, "%s", d.failed_at);
		memcpy(of->example, d.id, sizeof of->example);
	}
	return 0;
}

static int
group_compare(const void *a, const void *b)
{
	const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;

	/* slots without a group to the end */
	if (!x || !y)
		return !x - !y;
	return x->count != y->count ? (x->count < y->count ? 1 : -1)
				    : strcmp(x->consumer, y->consumer);
}

static const char *
text_or_null(const char *text)
{
	return *text ? text : NULL;
}

static void
group_json(const struct group *g)
{
	struct ctl_line line;
	struct json_out *o = ctl_line_begin(&line);

	json_out_i64(o, "count", (int64_t)g->count);
	ctl_json_text(o, "consumer", text_or_null(g->consumer));
	ctl_json_text(o, "class", text_or_null(g->class));
	ctl_json_text(o, "error", text_or_null(g->error));
	ctl_json_text(o, "first_failed_at", text_or_null(g->first));
	ctl_json_text(o, "failed_at", text_or_null(g->last));
	ctl_json_text(o, "example", text_or_null(g->example));
	ctl_line_print(&line);
}

static void
groups_print(struct stats *s)
{
	static const struct table_column columns[] = { { "COUNT", 0, true },
		{ "CONSUMER", 0, false }, { "CLASS", 0, false }, { "LAST", 0, false },
		{ "ERROR", 20, false } };
	struct table t;
	char count[24], when[20];

	qsort(s->groups, SLOTS, sizeof *s->groups, group_compare);
	table_begin(&t, columns, ARRAY_LEN(columns), s->d->ctl->colour);
	for (size_t i = 0; i < s->count; i++) {
		const struct group *g = s->groups[i];

		if (s->d->ctl->json) {
			group_json(g);
			continue;
		}
		snprintf(count, sizeof count, "%" PRIu64, g->count);
		snprintf(when, sizeof when, "%.19s", g->last);
		table_row(&t,
			(const char *const[]){ count, text_or_null(g->consumer),
				text_or_null(g->class), text_or_null(when),
				text_or_null(g->error) });
	}
	table_end(&t);
	if (!s->d->ctl->json)
		printf("\n%" PRIu64
		       " entries. `onboardctl dlq list --consumer … --error …` has them.\n",
			s->matched);
}

int
dlq_stats(struct dlq *d)
{
	struct stats *s = must_calloc(1, sizeof *s);
	struct dlq_reader r = { .what = "reading", .message = stats_message, .arg = s };
	struct err e = ERR_INIT;
	int code;

	s->d = d;
	if (d->o.filter.limit)
		code = ctl_fail(d->ctl, CTL_USAGE, "stats counts all that match: no --limit");
	else if (dlq_connect(d, &e) || dlq_read(d, &r, &e))
		code = ctl_fail_err(d->ctl, &e);
	else if (s->matched == 0)
		code = ctl_fail(d->ctl, CTL_NOTHING,
			r.seen ? "none of %" PRIu64 " entries matches" : "the DLQ is empty",
			r.seen);
	else
		code = CTL_DONE;
	if (code == CTL_DONE)
		groups_print(s);
	for (size_t i = 0; i < SLOTS; i++)
		free(s->groups[i]);
	free(s);
	return code;
}
