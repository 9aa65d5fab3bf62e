/* SPDX-License-Identifier: MIT */
/* export: entries into a file, which appears whole or not at all. They stay in the queue. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/dlq/dlq.h"
#include "ctl/kit/json.h"

struct export
{
	struct dlq *d;
	struct dlq_selection s;
	struct dlq_reader reader;
	FILE *file;
	struct buf line;
	uint64_t written;
};

static int
export_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct export *x = arg;
	struct dlq_entry d;

	dlq_entry_read(&d, m, x->d->mem);
	if (!dlq_selected(&x->s, &d, m))
		return 0;
	buf_clear(&x->line);
	if (dlq_line_write(&x->line, &d, m, e))
		return -1;
	x->written++;
	if (fwrite(x->line.data, 1, x->line.length, x->file) == x->line.length)
		return 0;
	if (x->file != stdout)
		return err_set(e, ERR_INTERNAL, "cannot write: %s", strerror(errno));
	x->reader.stop = true; /* main() tells why, unless the reader has gone away */
	return 0;
}

static int
export_to_file(struct export *x, const char *path, struct err *e)
{
	char part[4096];
	int fd, rc;

	snprintf(part, sizeof part, "%s.part.%d", path, (int)getpid());
	/* others' data: for its owner alone */
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	x->file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!x->file)
		return err_set(e, ERR_INTERNAL, "cannot make %s: %s", part, strerror(errno));
	rc = dlq_connect(x->d, e) || dlq_select(x->d, &x->s, e) || dlq_read(x->d, &x->reader, e)
		? -1
		: 0;
	if (fflush(x->file) || fsync(fd))
		rc = rc ? rc
			: err_set(e, ERR_INTERNAL, "cannot write %s: %s", part, strerror(errno));
	fclose(x->file);
	if (rc == 0 && x->written && rename(part, path))
		rc = err_set(e, ERR_INTERNAL, "cannot make %s: %s", path, strerror(errno));
	if (rc || x->written == 0)
		unlink(part);
	return rc;
}

int
dlq_export(struct dlq *d)
{
	struct export x = { .d = d, .reader = { .what = "exporting", .message = export_message } };
	const char *path = d->o.words[0];
	struct err e = ERR_INIT;
	struct ctl_line line;
	int rc;

	x.reader.arg = &x;
	d->o.word_count = 0; /* a file, no id */
	buf_init(&x.line, DLQ_LINE_MAX);
	if (strcmp(path, "-") == 0) {
		x.file = stdout;
		rc = dlq_connect(d, &e) || dlq_select(d, &x.s, &e) || dlq_read(d, &x.reader, &e)
			? -1
			: 0;
	} else {
		rc = export_to_file(&x, path, &e);
	}
	dlq_selection_fini(&x.s);
	buf_fini(&x.line);
	if (rc)
		return ctl_fail_err(d->ctl, &e);
	if (x.written == 0)
		return ctl_fail(d->ctl, CTL_NOTHING,
			x.reader.seen ? "none of %" PRIu64 " entries matches; no file was made"
				      : "the DLQ is empty; no file was made",
			x.reader.seen);
	if (strcmp(path, "-") == 0)
		return CTL_DONE;
	if (d->ctl->json) {
		json_out_i64(ctl_line_begin(&line), "exported", (int64_t)x.written);
		ctl_line_print(&line);
	} else {
		printf("%" PRIu64 " entries in %s; they are still in the DLQ\n", x.written, path);
	}
	return CTL_DONE;
}
