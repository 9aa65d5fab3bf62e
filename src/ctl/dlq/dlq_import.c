/* SPDX-License-Identifier: MIT */
/* import: publishes the entries of a file of export or purge into the DLQ, with confirms. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "model/dead_letter.h"
#include "model/topology.h"

#define CONFIRM_MS 30000

struct import {
	struct dlq *d;
	struct dlq_reader reader; /* for the confirms alone */
	uint64_t lines, sent, confirmed, refused, expiring;
	char why[256];
};

static void
import_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct import *x = arg;

	(void)tag;
	x->confirmed += !nacked;
	x->refused += nacked;
}

static void
import_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct import *x = arg;

	(void)m;
	(void)code;
	snprintf(x->why, sizeof x->why, "%s", why);
	x->refused++;
	x->confirmed--; /* its confirm follows */
}

static int
line_send(struct import *x, const char *line, size_t length, struct err *e)
{
	struct broker_publish p;
	struct broker_message m;
	struct err why = ERR_INIT;

	arena_reset(x->d->mem);
	if (dlq_line_read(line, length, x->d->mem, &m, &why))
		return err_set(e, ERR_INVALID, "line %" PRIu64 ": %s", x->lines, why.text);
	dead_letter_copy(&p, &m, COPY_MOVED);
	p.exchange = TOPOLOGY_DEAD;
	p.routing_key = TOPOLOGY_DEAD_KEY;
	x->expiring += m.props.expiration != NULL;
	while (broker_publish(x->d->b, &p, NULL, &why)) {
		if (why.kind == ERR_LIMIT && broker_unconfirmed(x->d->b)) {
			if (broker_pump(x->d->b, 100, e))
				return -1;
			continue;
		}
		/* what the broker had added to its headers makes them larger than it takes */
		if (why.kind == ERR_INVALID && broker_publish_trim(x->d->b, &p)) {
			ctl_fail(x->d->ctl, 0,
				"line %" PRIu64 ": its headers fill more than a frame: those over "
				"%zu bytes are left out",
				x->lines, p.carried_max);
			continue;
		}
		return err_set(e, why.kind, "line %" PRIu64 ": %s", x->lines, why.text);
	}
	x->sent++;
	return broker_unsent(x->d->b) > 1 << 18 ? broker_pump(x->d->b, 0, e) : 0;
}

/* A last line without an end that cannot be read: a full disk or a kill has cut it. */
static bool
line_torn(struct import *x, const char *line, size_t length, FILE *f, bool tell)
{
	struct broker_message m;

	if (line[length - 1] == '\n' || !feof(f) ||
		dlq_line_read(line, length, x->d->mem, &m, NULL) == 0)
		return false;
	if (tell)
		ctl_fail(x->d->ctl, 0, "the last line (%" PRIu64 ") is torn: it is left out",
			x->lines);
	return true;
}

static int
file_send(struct import *x, FILE *f, bool check_only, struct err *e)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	struct progress p;
	struct broker_message m;
	int rc = 0;

	progress_begin(&p, check_only ? "checking" : "importing", 0);
	for (x->lines = 0; rc == 0 && (n = getline(&line, &room, f)) >= 0;) {
		x->lines++;
		if (strspn(line, " \t\r\n") == (size_t)n)
			continue;
		arena_reset(x->d->mem);
		if (line_torn(x, line, (size_t)n, f, !check_only))
			break;
		arena_reset(x->d->mem);
		if (!check_only) {
			rc = line_send(x, line, (size_t)n, e);
		} else if (dlq_line_read(line, (size_t)n, x->d->mem, &m, e)) {
			rc = err_wrap(e, "line %" PRIu64, x->lines);
		}
		progress_set(&p, x->lines);
	}
	if (rc == 0 && ferror(f))
		rc = err_set(e, ERR_INTERNAL, "cannot read: %s", strerror(errno));
	free(line);
	progress_end(&p);
	return rc;
}

static int
import_run(struct import *x, FILE *f, struct err *e)
{
	int64_t until;

	/* check every line before the first is sent */
	if (f != stdin) {
		if (file_send(x, f, true, e))
			return err_wrap(e, "nothing was imported");
		rewind(f);
	}
	x->d->reader = &x->reader;
	if (file_send(x, f, false, e) || broker_flush(x->d->b, e))
		return -1;
	for (until = clock_mono_ms() + CONFIRM_MS; broker_unconfirmed(x->d->b);)
		if (clock_mono_ms() > until)
			return err_set(e, ERR_AWAY, "%zu entries were not confirmed",
				broker_unconfirmed(x->d->b));
		else if (broker_pump(x->d->b, 100, e))
			return -1;
	if (x->refused)
		return err_set(e, ERR_CONFLICT, "%" PRIu64 " entries were refused (%s); %s",
			x->refused, *x->why ? x->why : "not confirmed",
			"`onboardctl topology check` says whether dlx leads to user.dlq");
	return 0;
}

int
dlq_import(struct dlq *d)
{
	struct import x = { .d = d,
		.reader = { .confirmed = import_confirmed, .returned = import_returned } };
	struct audit a = { .what = "dlq import", .why = d->o.why, .fd = -1 };
	const char *path = d->o.words[0];
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	struct err e = ERR_INIT;
	struct ctl_line line;
	struct buf where;
	struct json_out o;
	int rc;

	if (!f)
		return ctl_fail(d->ctl, CTL_FAILED, "cannot read %s: %s", path, strerror(errno));
	x.reader.arg = &x;
	buf_init(&where, 1 << 16);
	json_out_init(&o, &where);
	json_out_object(&o, NULL);
	ctl_json_text(&o, "file", path);
	json_out_end(&o);
	a.filter = buf_text(&where);
	rc = dlq_connect(d, &e) || audit_begin(d->ctl, &a, &e) || import_run(&x, f, &e) ? -1 : 0;
	d->reader = NULL;
	if (x.expiring)
		ctl_fail(d->ctl, 0,
			"%" PRIu64 " had an expiration, which is left out: an entry stays until "
			"it is taken out",
			x.expiring);
	audit_end(&a, x.confirmed, rc ? e.text : "done");
	if (f != stdin)
		fclose(f);
	buf_fini(&where);
	if (d->ctl->json) {
		json_out_i64(ctl_line_begin(&line), "imported", (int64_t)x.confirmed);
		ctl_line_print(&line);
	} else if (x.confirmed || rc == 0) {
		printf("%" PRIu64 " entries imported\n", x.confirmed);
	}
	return rc ? ctl_fail_err(d->ctl, &e) : CTL_DONE;
}
