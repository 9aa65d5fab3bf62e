/* SPDX-License-Identifier: MIT */
#include "ctl/kit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid7.h"
#include "ctl/kit/ctl.h"
#include "ctl/kit/json.h"
#include "ctl/kit/operator.h"
#include "ctl/kit/state_folder.h"

#define MODE 0640
#define FOLDER_MODE 0750

static int
log_open(char *path, mode_t folders)
{
	(void)folders_make(path, folders); /* open() tells what is wrong */
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, MODE);
}

/* A plain user may not write below /var/log. */
static int
own_log_open(struct audit *a)
{
	struct err e;

	if (state_folder_path("audit.log", a->path, sizeof a->path, &e))
		return -1;
	return log_open(a->path, STATE_FOLDER_MODE);
}

/*
 * One write, so that the lines of two operators do not mix, and onto the disk. If a
 * full disk takes only a part of a line, the part is removed again.
 */
static int
bytes_write(int fd, const char *p, size_t length)
{
	ssize_t n = write(fd, p, length);
	int why = n < 0 ? errno : ENOSPC;
	struct stat st;
	off_t end;

	if (n == (ssize_t)length) {
		/* a pipe or terminal has no disk */
		return fdatasync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : -1;
	}
	end = lseek(fd, 0, SEEK_CUR);
	if (n > 0 && fstat(fd, &st) == 0 && st.st_size == end)
		(void)!ftruncate(fd, end - n);
	errno = why;
	return -1;
}

/* phase: "begin" or "end"; count and result only of the end. */
static int
line_write(const struct audit *a, const char *phase, uint64_t count, const char *result)
{
	char when[CLOCK_RFC3339_SIZE], user[OPERATOR_USER_SIZE];
	const char *filter = a->filter ? a->filter : "null";
	struct json_out o;
	struct buf out;
	int rc = -1;

	clock_format_rfc3339(clock_wall_us(), when);
	buf_init(&out, 1 << 16);
	json_out_init(&o, &out);
	json_out_object(&o, NULL);
	ctl_json_text(&o, "at", when);
	ctl_json_text(&o, "change", a->change);
	ctl_json_text(&o, "phase", phase);
	ctl_json_text(&o, "what", a->what);
	ctl_json_text(&o, "user", operator_user(user));
	json_out_i64(&o, "uid", getuid());
	ctl_json_text(&o, "sudo_user", operator_sudo_user());
	json_out_i64(&o, "pid", getpid());
	json_out_raw(&o, "filter", filter, strlen(filter));
	ctl_json_text(&o, "why", a->why);
	if (result) {
		json_out_i64(&o, "count", (int64_t)count);
		ctl_json_text(&o, "result", result);
	}
	json_out_end(&o);
	buf_add_char(&out, '\n');
	errno = E2BIG;
	if (!buf_failed(&out))
		rc = bytes_write(a->fd, out.data, out.length);
	buf_fini(&out);
	return rc;
}

static int
audit_refused(const char *path, int why, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"nothing was changed: the audit log %s cannot be written: %s; "
		"ctl.audit_log says where it lies",
		path, strerror(why));
}

int
audit_begin(const struct ctl *c, struct audit *a, struct err *e)
{
	const char *path = conf_string(c->conf, "ctl", "audit_log");
	bool chosen = strcmp(conf_origin(c->conf, "ctl", "audit_log"), "default") != 0;
	struct uuid id = uuid7_new();
	int first;

	uuid_format(&id, a->change);
	snprintf(a->path, sizeof a->path, "%s", path);
	a->fd = log_open(a->path, FOLDER_MODE);
	first = errno;
	if (a->fd < 0 && !chosen)
		a->fd = own_log_open(a);
	if (a->fd < 0)
		return audit_refused(path, first, e);
	if (line_write(a, "begin", 0, NULL) == 0)
		return 0;
	audit_refused(a->path, errno, e);
	close(a->fd);
	a->fd = -1;
	return -1;
}

int
audit_begin_on(const struct ctl *c, struct audit *a, const char *const *pairs, struct err *e)
{
	struct json_out o;
	struct buf filter;
	int rc;

	buf_init(&filter, 1 << 15);
	json_out_init(&o, &filter);
	json_out_object(&o, NULL);
	for (; *pairs; pairs += 2)
		if (pairs[1])
			ctl_json_text(&o, pairs[0], pairs[1]);
	json_out_end(&o);
	snprintf(a->filter_text, sizeof a->filter_text, "%s",
		filter.length < sizeof a->filter_text ? buf_text(&filter) : "{}");
	a->filter = a->filter_text;
	rc = audit_begin(c, a, e);
	buf_fini(&filter);
	return rc;
}

void
audit_end(struct audit *a, uint64_t count, const char *result)
{
	if (a->fd < 0)
		return;
	if (line_write(a, "end", count, result))
		fprintf(stderr, "onboardctl: the end is not in the audit log %s: %s\n", a->path,
			strerror(errno));
	close(a->fd);
	a->fd = -1;
}
