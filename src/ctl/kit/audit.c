/* SPDX-License-Identifier: MIT */
#include "ctl/kit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid7.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/ctl.h"
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
 * One write, so that lines of two operators do not mix, and onto the disk. What
 * a full disk took of a line is taken back: the next line begins at its place.
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

static int
line_write(const struct audit *a, const char *phase, uint64_t count, const char *result)
{
	char when[CLOCK_RFC3339_SIZE], user[OPERATOR_USER_SIZE];
	struct buf out;
	int rc = -1;

	clock_format_rfc3339(clock_wall_us(), when);
	buf_init(&out, 1 << 16);
	buf_printf(&out,
		"{\"at\":\"%s\",\"change\":\"%s\",\"phase\":\"%s\",\"what\":\"%s\",\"user\":", when,
		a->change, phase, a->what);
	dlq_json_text(&out, operator_user(user));
	buf_printf(&out, ",\"uid\":%u,\"sudo_user\":", (unsigned)getuid());
	dlq_json_text(&out, operator_sudo_user());
	buf_printf(&out, ",\"pid\":%d,\"filter\":%s,\"why\":", (int)getpid(),
		a->filter ? a->filter : "null");
	dlq_json_text(&out, a->why);
	if (result) {
		buf_printf(&out, ",\"count\":%" PRIu64 ",\"result\":", count);
		dlq_json_text(&out, result);
	}
	buf_add_text(&out, "}\n");
	errno = E2BIG;
	if (!buf_failed(&out))
		rc = bytes_write(a->fd, out.data, out.length);
	buf_fini(&out);
	return rc;
}

static int
refused(const char *path, int why, struct err *e)
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
		return refused(path, first, e);
	if (line_write(a, "begin", 0, NULL) == 0)
		return 0;
	refused(a->path, errno, e);
	close(a->fd);
	a->fd = -1;
	return -1;
}

int
audit_begin_on(const struct ctl *c, struct audit *a, const char *const *pairs, struct err *e)
{
	struct buf filter;
	int rc;

	buf_init(&filter, 1 << 15);
	buf_add_char(&filter, '{');
	for (; *pairs; pairs += 2) {
		if (!pairs[1])
			continue;
		buf_printf(&filter, "%s\"%s\":", filter.length > 1 ? "," : "", pairs[0]);
		dlq_json_text(&filter, pairs[1]);
	}
	buf_add_char(&filter, '}');
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
