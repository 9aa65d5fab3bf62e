/* SPDX-License-Identifier: MIT */
/*
 * replay --edit: opens the body in the operator's editor. The connection is closed
 * meanwhile, so that a long edit blocks nobody. The edited event is not the event
 * that failed, so it gets an id of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/event.h"
#include "base/text.h"
#include "base/uuid7.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "model/dead_letter.h"

#define BODY_MAX (16u << 20)
#define CONFIRM_MS 10000

struct edit {
	struct dlq *d;
	struct dlq_selection s;
	struct arena *mem;
	struct broker_message *m;
	struct dlq_entry entry;
	uint64_t found;
	/* of the second look */
	bool send, sent;
	uint64_t tag, deliver_tag;
	char why[256];
	const char *body;
	size_t length;
	char new_id[UUID_TEXT_SIZE], replay_of[DLQ_ID_SIZE], key[DLQ_KEY_SIZE];
	struct dlq_reader reader;
};

static int
find_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct edit *x = arg;
	struct dlq_entry entry;

	dlq_entry_read(&entry, m, x->d->mem);
	if (!dlq_selected(&x->s, &entry, m) || x->found++)
		return 0;
	if (m->length > BODY_MAX)
		return err_set(e, ERR_LIMIT, "its body is too large to be edited");
	x->m = broker_message_copy(m, x->mem);
	if (!x->m)
		return err_set(e, ERR_LIMIT, "no room for the entry");
	dlq_entry_read(&x->entry, x->m, x->mem);
	dlq_entry_key(&x->entry, x->m, x->key);
	return 0;
}

static int
entry_find(struct edit *x, struct err *e)
{
	struct dlq_reader r = { .what = "reading", .message = find_message, .arg = x };

	if (dlq_connect(x->d, e) || dlq_select(x->d, &x->s, e) || dlq_read(x->d, &r, e))
		return -1;
	dlq_disconnect(x->d);
	if (x->found == 0)
		return err_set(e, ERR_MISSING, "no entry has the id %s", x->d->o.words[0]);
	if (x->found > 1)
		return err_set(e, ERR_INVALID,
			"%" PRIu64 " entries have this id; --edit wants one, by its own id. Where "
			"they share that too, purge them, and import the one to keep",
			x->found);
	return dlq_return_check(&x->entry, e);
}

static int
editor_run(const char *path, struct err *e)
{
	const char *editor = getenv("VISUAL");
	pid_t child;
	int status = 0;

	if (!editor || !*editor)
		editor = getenv("EDITOR");
	if (!editor || !*editor)
		editor = "vi";
	child = fork();
	if (child == 0) {
		char command[4096];

		/* the editor may be a command with words of its own; the path is one word */
		snprintf(command, sizeof command, "%s \"$1\"", editor);
		execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(e, ERR_CONFLICT, "the editor (%s) failed; nothing was sent", editor);
	return 0;
}

static int
body_edit(struct edit *x, const char **out, struct err *e)
{
	const char *folder = getenv("TMPDIR");
	char path[4096];
	int fd, rc = -1;

	snprintf(path, sizeof path, "%s/onboardctl.XXXXXX.json",
		folder && *folder ? folder : "/tmp");
	fd = mkostemps(path, (int)strlen(".json"), O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_INTERNAL, "cannot make %s: %s", path, strerror(errno));
	if (write(fd, x->m->body, x->m->length) != (ssize_t)x->m->length)
		err_set(e, ERR_INTERNAL, "cannot write %s: %s", path, strerror(errno));
	else if (editor_run(path, e) == 0)
		rc = text_file_read(path, BODY_MAX, x->mem, out, e);
	close(fd);
	unlink(path);
	return rc;
}

/* Replaces the event's id in the text with a new one. */
static int
id_renew(struct edit *x, const char *text, struct buf *out, struct err *e)
{
	struct uuid u = uuid7_new();
	const struct json *v;
	struct event ev;
	struct err why = ERR_INIT;
	const char *old, *at;

	if (event_parse(x->mem, text, strlen(text), &ev, &why) ||
		json_parse(x->mem, text, strlen(text), &v, &why))
		return err_set(e, ERR_CONFLICT,
			"nothing was sent, it would fail again: %s; run it again to edit anew",
			why.text);
	uuid_format(&u, x->new_id);
	old = json_string(json_get(v, "id"));
	/* the payload may have the same text in front of it */
	for (at = strstr(text, old); at; at = strstr(at + 1, old)) {
		buf_clear(out);
		buf_add(out, text, (size_t)(at - text));
		buf_add_text(out, x->new_id);
		buf_add_text(out, at + strlen(old));
		if (event_parse(x->mem, buf_text(out), out->length, &ev, NULL) == 0 &&
			strcmp(ev.id, x->new_id) == 0)
			return 0;
	}
	return err_set(e, ERR_CONFLICT, "nothing was sent: write the id without escapes");
}

static int
send_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct edit *x = arg;
	struct dlq_entry entry;
	struct dead_letter_return back;
	char key[DLQ_KEY_SIZE];

	dlq_entry_read(&entry, m, x->d->mem);
	dlq_entry_key(&entry, m, key);
	if (x->send || strcmp(key, x->key) != 0)
		return 0;
	dead_letter_return(&back, m, entry.queue, x->replay_of);
	back.publish.body = x->body;
	back.publish.length = x->length;
	back.publish.props.message_id = x->new_id;
	if (broker_publish(x->d->b, &back.publish, &x->tag, e))
		return -1;
	x->send = true;
	x->deliver_tag = m->tag;
	return 0;
}

static bool
edit_busy(void *arg)
{
	const struct edit *x = arg;

	return x->send && !x->sent && !*x->why;
}

static void
edit_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct edit *x = arg;

	(void)m;
	(void)code;
	(void)why;
	snprintf(x->why, sizeof x->why, "there is no queue %.200s", x->entry.queue);
}

static void
edit_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct edit *x = arg;

	if (tag != x->tag || *x->why)
		return;
	if (nacked)
		snprintf(x->why, sizeof x->why, "the broker refused it");
	else if (broker_ack(x->d->b, x->deliver_tag, false, NULL) == 0)
		x->reader.acked++;
	x->sent = !nacked;
}

static int
edit_run(struct edit *x, struct audit *a, struct buf *body, struct err *e)
{
	const char *text = NULL;

	if (entry_find(x, e) || body_edit(x, &text, e))
		return -1;
	if (strlen(text) == x->m->length && memcmp(text, x->m->body, x->m->length) == 0)
		return err_set(e, ERR_CONFLICT,
			"it was not changed, so nothing was sent; without --edit it goes as it is");
	if (id_renew(x, text, body, e))
		return -1;
	x->body = body->data;
	x->length = body->length;
	memcpy(x->replay_of, x->entry.id, sizeof x->replay_of);
	if (dlq_connect(x->d, e) || audit_begin(x->d->ctl, a, e) || dlq_read(x->d, &x->reader, e))
		return -1;
	if (!x->send)
		return err_set(e, ERR_MISSING, "it has left the DLQ meanwhile; nothing was sent");
	return x->sent ? 0 : err_set(e, ERR_CONFLICT, "it stays in the DLQ: %s", x->why);
}

static void
edit_report(const struct edit *x)
{
	struct ctl_line line;
	struct json_out *o;

	if (!x->d->ctl->json) {
		printf("replayed as event %s\n", x->new_id);
		return;
	}
	o = ctl_line_begin(&line);
	json_out_i64(o, "replayed", 1);
	ctl_json_text(o, "event_id", x->new_id);
	ctl_json_text(o, "replay_of", x->replay_of);
	ctl_line_print(&line);
}

int
dlq_edit(struct dlq *d)
{
	struct edit x = { .d = d };
	struct audit a = { .what = "dlq replay --edit", .why = d->o.why, .fd = -1 };
	struct err e = ERR_INIT;
	struct buf filter, body;
	int rc;

	if (d->o.word_count != 1 || d->o.canary || d->o.dry_run || d->o.plan)
		return ctl_fail(d->ctl, CTL_USAGE, "want: dlq replay ID --edit [--why TEXT]");
	x.reader = (struct dlq_reader){ .what = "replaying",
		.message = send_message,
		.busy = edit_busy,
		.confirmed = edit_confirmed,
		.returned = edit_returned,
		.arg = &x };
	x.mem = arena_new(1 << 16, 256u << 20);
	buf_init(&filter, 1 << 16);
	buf_init(&body, BODY_MAX + 64);
	dlq_options_json(&d->o, &filter);
	a.filter = buf_text(&filter);
	rc = edit_run(&x, &a, &body, &e);
	audit_end(&a, x.sent, rc ? e.text : "done");
	if (rc == 0)
		edit_report(&x);
	dlq_selection_fini(&x.s);
	arena_free(x.mem);
	buf_fini(&filter);
	buf_fini(&body);
	if (rc)
		return e.kind == ERR_INVALID ? ctl_fail(d->ctl, CTL_USAGE, "%s", e.text)
					     : ctl_fail_err(d->ctl, &e);
	return CTL_DONE;
}
