/* SPDX-License-Identifier: MIT */
/* replay: the plan, the passes, the canary's steps, and the report. */
#include "ctl/dlq/dlq_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "ctl/kit/table.h"

#define RECONNECT_MS 60000
#define PASSES_MAX 1000
#define PASSES_IDLE 5 /* in a row, each cut off before anything was confirmed */
#define QUEUES_MAX 64

/* ---- the plan ---- */

struct plan {
	struct replay *r;
	FILE *file;
	struct {
		char queue[256], consumer[64];
		uint64_t count;
	} to[QUEUES_MAX];
	size_t to_count;
	uint64_t count;
};

static void
plan_count(struct plan *p, const struct dlq_entry *entry)
{
	size_t i = 0;

	while (i < p->to_count && strcmp(p->to[i].queue, entry->queue) != 0)
		i++;
	if (i == QUEUES_MAX)
		i--;
	if (i == p->to_count) {
		snprintf(p->to[i].queue, sizeof p->to[i].queue, "%s", entry->queue);
		snprintf(p->to[i].consumer, sizeof p->to[i].consumer, "%s",
			entry->consumer ? entry->consumer : "-");
		p->to_count++;
	}
	p->to[i].count++;
	p->count++;
}

static int
plan_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct plan *p = arg;
	struct ctl_line line;
	struct dlq_entry entry;
	char key[DLQ_KEY_SIZE];

	dlq_entry_read(&entry, m, p->r->d->mem);
	dlq_entry_key(&entry, m, key);
	if (!dlq_selected(&p->r->s, &entry, m) || !replay_may_go(p->r, &entry, key))
		return 0;
	plan_count(p, &entry);
	if (p->file && fprintf(p->file, "%s\n", entry.id) < 0)
		return err_set(e, ERR_INTERNAL, "cannot write the plan: %s", strerror(errno));
	if (!p->r->d->ctl->json)
		return 0;
	dlq_entry_json(&entry, ctl_line_begin(&line));
	ctl_line_print(&line);
	return 0;
}

static void
plan_print(const struct plan *p)
{
	static const struct table_column columns[] = { { "ENTRIES", 0, true },
		{ "CONSUMER", 0, false }, { "BACK TO", 0, false } };
	struct table t;
	char count[24];

	table_begin(&t, columns, ARRAY_LEN(columns), p->r->d->ctl->colour);
	for (size_t i = 0; i < p->to_count; i++) {
		snprintf(count, sizeof count, "%" PRIu64, p->to[i].count);
		table_row(&t, (const char *const[]){ count, p->to[i].consumer, p->to[i].queue });
	}
	table_end(&t);
}

static int
plan_run(struct replay *r, struct err *e)
{
	const char *path = r->d->o.plan;
	struct plan p = { .r = r };
	struct dlq_reader reader = { .what = "planning", .message = plan_message, .arg = &p };
	int rc;

	if (path && !(p.file = fopen(path, "we")))
		return err_set(e, ERR_INVALID, "cannot write the plan %s: %s", path,
			strerror(errno));
	rc = dlq_read(r->d, &reader, e);
	if (p.file && fclose(p.file) && rc == 0)
		rc = err_set(e, ERR_INTERNAL, "cannot write the plan %s: %s", path,
			strerror(errno));
	r->chosen = p.count;
	if (rc || r->d->ctl->json)
		return rc;
	plan_print(&p);
	if (p.count && path)
		printf("\nNothing was sent. `onboardctl dlq replay --apply %s` replays these.\n",
			path);
	else if (p.count)
		puts("\nNothing was sent. Without --dry-run they go back.");
	return 0;
}

/* ---- the passes ---- */

static int
replay_reconnect(struct replay *r, struct err *e)
{
	int64_t until = clock_mono_ms() + RECONNECT_MS;

	r->d->locked = false;
	broker_close(r->d->b);
	fprintf(stderr, "onboardctl dlq: %s; connecting again, nothing is lost\n", e->text);
	do {
		int64_t wait = broker_due_ms(r->d->b);

		if (wait > 0)
			usleep((useconds_t)wait * 1000);
		if (dlq_connect(r->d, e) == 0)
			return 0;
		if (e->kind != ERR_AWAY)
			return -1;
	} while (clock_mono_ms() < until);
	return -1;
}

/* Passes until one ends well; a lost connection is made again while entries get through. max 0: all. */
static int
passes_run(struct replay *r, uint64_t max, struct err *e)
{
	uint64_t end = r->replayed + max;
	unsigned idle = 0;

	for (unsigned i = 0;; i++) {
		uint64_t before = r->replayed + r->stayed;
		struct err why = ERR_INIT;
		int rc = replay_pass(r, max ? end - r->replayed : 0, &why);

		if (rc == 0 && (!r->full || (max && r->replayed >= end)))
			return 0;
		if (rc == 0)
			continue;
		idle = r->replayed + r->stayed == before ? idle + 1 : 0;
		/* the same fault again and again without one confirm: the connection is not the cause */
		if (broker_fd(r->d->b) >= 0 || i == PASSES_MAX ||
			(idle && (why.kind != ERR_AWAY || idle == PASSES_IDLE)))
			return err_set(e, why.kind, "%s", why.text);
		/* unconfirmed entries are sent again: begin with one, and with more as they succeed */
		r->window = 1;
		if (replay_reconnect(r, &why))
			return err_set(e, why.kind, "%s; run the same command again", why.text);
		if (max && r->replayed >= end)
			return 0;
	}
}

struct comeback {
	struct replay *r;
	uint64_t count;
	char id[DLQ_ID_SIZE];
};

static int
comeback_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct comeback *c = arg;
	struct dlq_entry entry;

	(void)e;
	dlq_entry_read(&entry, m, c->r->d->mem);
	if (replay_came_back(c->r, &entry, m)) {
		c->count++;
		memcpy(c->id, entry.id, sizeof c->id);
	}
	return 0;
}

static int
canary_wait(struct replay *r, struct err *e)
{
	int64_t until = clock_mono_ms() + r->d->o.canary_wait_s * 1000, left;

	while ((left = until - clock_mono_ms()) > 0)
		if (broker_pump(r->d->b, left < 1000 ? left : 1000, e))
			return -1;
	return 0;
}

static int
canary_run(struct replay *r, struct err *e)
{
	for (uint64_t step = 1;; step *= 10) {
		struct comeback back = { .r = r };
		struct dlq_reader reader = { .what = "looking",
			.message = comeback_message,
			.arg = &back };
		uint64_t before = r->replayed;

		bool more;

		if (passes_run(r, step, e))
			return -1;
		more = r->reader.stop;
		if (r->replayed == before && more)
			continue;
		if (r->replayed == before)
			return 0;
		fprintf(stderr,
			"onboardctl dlq: %" PRIu64 " replayed, waiting %" PRId64
			" s whether they come back\n",
			r->replayed, r->d->o.canary_wait_s);
		if (canary_wait(r, e) || dlq_read(r->d, &reader, e))
			return -1;
		if (back.count)
			return err_set(e, ERR_CONFLICT,
				"stopped: %" PRIu64 " of %" PRIu64 " came back dead; "
				"`onboardctl dlq show %s` says why; the others are still in the DLQ",
				back.count, r->replayed, back.id);
		if (!more)
			return 0;
	}
}

/* ---- the verb ---- */

static int
replay_report(struct replay *r, int rc, const struct err *e)
{
	struct ctl *c = r->d->ctl;
	struct ctl_line line;
	struct json_out *o;

	if (c->json && !r->d->o.dry_run && !r->d->o.plan) {
		o = ctl_line_begin(&line);
		json_out_i64(o, "replayed", (int64_t)r->replayed);
		json_out_i64(o, "stayed", (int64_t)r->stayed);
		ctl_line_print(&line);
	} else if (r->replayed) {
		printf("%" PRIu64 " entries replayed\n", r->replayed);
	}
	for (size_t i = 0; i < r->reason_count; i++)
		ctl_fail(c, 0, "%" PRIu64 " stay in the DLQ: %s", r->reasons[i].count,
			r->reasons[i].text);
	if (rc)
		return e->kind == ERR_INVALID ? ctl_fail(c, CTL_USAGE, "%s", e->text)
					      : ctl_fail_err(c, e);
	if (r->stayed)
		return CTL_FAILED;
	if (r->replayed == 0 && r->chosen == 0)
		return ctl_fail(c, CTL_NOTHING, "nothing matches; nothing was sent");
	if (r->s.by_set && r->d->o.apply && r->ids.count < r->s.ids.count)
		ctl_fail(c, 0, "%zu of the plan's %zu are no longer in the DLQ",
			r->s.ids.count - r->ids.count, r->s.ids.count);
	return CTL_DONE;
}

static int
replay_run(struct replay *r, struct audit *a, struct err *e)
{
	const struct dlq_options *o = &r->d->o;

	if (dlq_connect(r->d, e) || dlq_select(r->d, &r->s, e))
		return -1;
	if (o->dry_run || o->plan)
		return plan_run(r, e);
	if (audit_begin(r->d->ctl, a, e))
		return -1;
	return o->canary ? canary_run(r, e) : passes_run(r, 0, e);
}

int
dlq_replay(struct dlq *d)
{
	struct audit a = { .what = "dlq replay", .why = d->o.why, .fd = -1 };
	struct err e = ERR_INIT;
	struct replay *r;
	struct buf filter;
	int rc, code;

	if (!d->o.word_count && !d->o.all && !d->o.apply && !dlq_filter_any(&d->o.filter))
		return ctl_fail(d->ctl, CTL_USAGE,
			"which? want ids, filters (--consumer, --error …), --apply FILE or --all");
	if (d->o.edit)
		return dlq_edit(d);
	r = must_calloc(1, sizeof *r);
	r->d = d;
	r->last = &r->first;
	r->window = REPLAY_WINDOW;
	r->start_us = clock_wall_us();
	buf_init(&filter, 1 << 20);
	dlq_options_json(&d->o, &filter);
	a.filter = buf_text(&filter);
	rc = replay_run(r, &a, &e);
	audit_end(&a, r->replayed, rc ? e.text : r->stayed ? "some stayed" : "done");
	code = replay_report(r, rc, &e);
	dlq_selection_fini(&r->s);
	dlq_set_fini(&r->done);
	dlq_set_fini(&r->fresh);
	dlq_set_fini(&r->ids);
	dlq_set_fini(&r->events);
	dlq_set_fini(&r->refused);
	free(r);
	buf_fini(&filter);
	return code;
}
