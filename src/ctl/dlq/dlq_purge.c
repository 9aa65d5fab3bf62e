/* SPDX-License-Identifier: MIT */
/* purge: an entry is in a file, on the disk, before it leaves the queue. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "ctl/kit/state_folder.h"

#define TOGETHER 1000 /* one fsync for so many */

struct purge {
	struct dlq *d;
	struct dlq_selection s;
	char path[4096];
	int fd;
	off_t size; /* of the file, as far as it is on the disk */
	struct buf lines;
	uint64_t tags[TOGETHER];
	size_t waiting;
	uint64_t found, removed;
	struct dlq_set done;
	struct dlq_reader reader;
};

/* The n-th name to try: of two purges in one second, each keeps its own copy. */
static int
copy_name(struct purge *p, const char *stamp, unsigned n, struct err *e)
{
	char file[96], more[16] = "";

	if (n > 1)
		snprintf(more, sizeof more, "-%u", n);
	snprintf(file, sizeof file, "onboard-dlq-purged-%s%s.ndjson", stamp, more);
	return state_folder_path(file, p->path, sizeof p->path, e) ||
			folders_make(p->path, STATE_FOLDER_MODE)
		? -1
		: 0;
}

static int
copy_make(struct purge *p, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC;
	time_t now = (time_t)(clock_wall_us() / 1000000);
	struct err why = ERR_INIT;
	char stamp[32];
	struct tm t;

	gmtime_r(&now, &t);
	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &t);
	/* never over a file that exists: it may be the last copy of something */
	if (p->d->o.to) {
		snprintf(p->path, sizeof p->path, "%s", p->d->o.to);
		p->fd = open(p->path, flags, 0600);
	}
	for (unsigned n = 1; p->fd < 0 && !p->d->o.to && n < 100; n++) {
		if (copy_name(p, stamp, n, &why) == 0)
			p->fd = open(p->path, flags, 0600);
		if (p->fd < 0 && (why.kind != ERR_NONE || errno != EEXIST))
			break;
	}
	if (p->fd >= 0)
		return 0;
	if (why.kind != ERR_NONE)
		return err_set(e, ERR_CONFLICT,
			"nothing was removed: %s; --to FILE names another place", why.text);
	return err_set(e, ERR_CONFLICT,
		"nothing was removed: cannot make %s: %s; --to FILE names another", p->path,
		strerror(errno));
}

/* Cuts the file behind the last line that is on the disk. Entries behind it are still in the DLQ. */
static int
copy_write_failed(struct purge *p, struct err *e)
{
	err_set(e, ERR_INTERNAL, "cannot write %s: %s", p->path, strerror(errno));
	(void)!ftruncate(p->fd, p->size);
	return -1;
}

/* Writes the lines that wait to the disk, then removes their entries from the queue. */
static int
copy_flush(struct purge *p, struct err *e)
{
	const char *at = buf_text(&p->lines);

	for (size_t left = p->lines.length; left > 0;) {
		ssize_t n = write(p->fd, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return copy_write_failed(p, e);
		at += n, left -= (size_t)n;
	}
	if (p->waiting && fdatasync(p->fd))
		return copy_write_failed(p, e);
	p->size += (off_t)p->lines.length;
	for (size_t i = 0; i < p->waiting; i++)
		if (broker_ack(p->d->b, p->tags[i], false, e))
			return -1;
	p->reader.acked += p->waiting;
	p->removed += p->waiting;
	p->waiting = 0;
	buf_clear(&p->lines);
	return 0;
}

static int
purge_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct purge *p = arg;
	struct dlq_entry d;
	char key[DLQ_KEY_SIZE];

	dlq_entry_read(&d, m, p->d->mem);
	if (!dlq_selected(&p->s, &d, m))
		return 0;
	p->found++;
	if (!p->d->o.yes)
		return 0;
	if ((p->fd < 0 && copy_make(p, e)) || dlq_line_write(&p->lines, &d, m, e))
		return -1;
	dlq_entry_key(&d, m, key);
	dlq_set_add(&p->done, key, NULL);
	p->tags[p->waiting++] = m->tag;
	return p->waiting == TOGETHER || p->lines.length > 8 << 20 ? copy_flush(p, e) : 0;
}

static int
purge_begin(struct purge *p, struct audit *a, struct err *e)
{
	if (dlq_connect(p->d, e) || dlq_select(p->d, &p->s, e))
		return -1;
	if (p->d->o.yes && audit_begin(p->d->ctl, a, e))
		return -1;
	return 0;
}

/* At the end of the look, removes the last entries before the others go back to the queue. */
static int
purge_turn(void *arg, struct err *e)
{
	struct purge *p = arg;

	return p->waiting && p->reader.seen == p->reader.total ? copy_flush(p, e) : 0;
}

static bool
purge_busy(void *arg)
{
	const struct purge *p = arg;

	return p->waiting && p->reader.seen == p->reader.total;
}

static int
purge_report(struct purge *p, int rc, const struct err *e)
{
	struct ctl *c = p->d->ctl;
	struct ctl_line line;
	struct json_out *o;

	if (p->removed && c->json) {
		o = ctl_line_begin(&line);
		json_out_i64(o, "purged", (int64_t)p->removed);
		ctl_json_text(o, "file", p->path);
		ctl_line_print(&line);
	} else if (p->removed) {
		printf("%" PRIu64 " entries removed; they are in %s\n"
		       "`onboardctl dlq import %s` brings them back\n",
			p->removed, p->path, p->path);
	}
	if (rc)
		return e->kind == ERR_INVALID && !p->d->o.yes
			? ctl_fail(c, CTL_USAGE, "%s", e->text)
			: ctl_fail_err(c, e);
	if (p->found == 0)
		return ctl_fail(c, CTL_NOTHING, "nothing matches; nothing was removed");
	if (!p->d->o.yes)
		return ctl_fail(c, CTL_USAGE,
			"%" PRIu64
			" entries would be removed; --yes does it, and keeps them in a file",
			p->found);
	return CTL_DONE;
}

int
dlq_purge(struct dlq *d)
{
	struct purge p = { .d = d, .fd = -1 };
	struct audit a = { .what = "dlq purge", .why = d->o.why, .fd = -1 };
	struct err e = ERR_INIT;
	struct buf filter;
	int rc, code;

	p.reader = (struct dlq_reader){ .what = "purging",
		.message = purge_message,
		.turn = purge_turn,
		.busy = purge_busy,
		.arg = &p,
		.done = &p.done };
	buf_init(&filter, 1 << 20);
	dlq_options_json(&d->o, &filter);
	a.filter = buf_text(&filter);
	buf_init(&p.lines, DLQ_LINE_MAX);
	rc = purge_begin(&p, &a, &e) || dlq_read(d, &p.reader, &e) ? -1 : 0;
	audit_end(&a, p.removed, rc ? e.text : "done");
	if (p.fd >= 0) {
		close(p.fd);
		if (p.size == 0)
			unlink(p.path);
	}
	code = purge_report(&p, rc, &e);
	dlq_selection_fini(&p.s);
	dlq_set_fini(&p.done);
	buf_fini(&p.lines);
	buf_fini(&filter);
	return code;
}
