/* SPDX-License-Identifier: MIT */
/* rebuild cache | events | segments: derive again from the source; killed, it goes on. */
#include "ctl/rebuild/rebuild.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/kit/audit.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/url.h"
#include "ctl/broker/ops.h"
#include "ctl/kit/progress.h"
#include "ctl/kit/state_folder.h"
#include "model/doc_indexes.h"

#define BATCH 500
#define ARENA_MAX (128u << 20)
#define STATE_MAX 4096
#define QUERY_MS 30000

struct words {
	const struct rebuild_kind *kind;
	const char *from, *state, *why;
	int64_t rate;
	bool dry;
};

/* ---- the file that keeps the cursor ---- */

bool
rebuild_user_valid(const char *cursor)
{
	size_t n = strlen(cursor);

	return n >= 1 && n <= 18 && strspn(cursor, "0123456789") == n;
}

int
rebuild_indexes(struct rebuild *r, const char *collection, struct err *e)
{
	const char *why;

	if (doc_indexes_mend(r->doc, r->mem, collection, NULL, NULL, &why, e))
		return -1;
	return *why ? err_set(e, ERR_CONFLICT, "%s", why) : 0;
}

static int
state_path(const struct words *w, char *out, size_t size, struct err *e)
{
	char file[64];

	snprintf(file, sizeof file, "rebuild-%s", w->kind->name);
	if (!w->state)
		return state_folder_path(file, out, size, e);
	if ((size_t)snprintf(out, size, "%s", w->state) >= size)
		return err_set(e, ERR_INVALID, "the path of --state is too long");
	return 0;
}

/* From where to where it goes: a cursor of other servers means nothing here. */
static void
target_text(struct rebuild *r, const struct rebuild_kind *k, char *out, size_t size)
{
	const struct conf *f = r->c->conf;
	const char *from = url_redact(URL_POSTGRES, conf_string(f, "postgres", "url"), r->mem);
	const char *to = k->needs_kv
		? url_redact(URL_REDIS, conf_string(f, "redis", "url"), r->mem)
		: url_redact(URL_MONGO, conf_string(f, "mongo", "url"), r->mem);

	snprintf(out, size, "%s %.700s %.700s", k->name, from ? from : "", to ? to : "");
}

/* True: *cursor is where an earlier run of the same came to. */
static bool
state_read(struct rebuild *r, const struct rebuild_kind *k, const char *path,
	char cursor[static REBUILD_CURSOR_SIZE])
{
	char target[1500];
	const char *text, *end;
	struct err e = ERR_INIT;

	target_text(r, k, target, sizeof target);
	if (access(path, F_OK) != 0 || text_file_read(path, STATE_MAX, r->mem, &text, &e))
		return false;
	end = strchr(text, '\n');
	if (!end || (size_t)(end - text) != strlen(target) ||
		strncmp(text, target, strlen(target)) != 0)
		return false;
	snprintf(cursor, REBUILD_CURSOR_SIZE, "%.*s", (int)strcspn(end + 1, "\n"), end + 1);
	return k->cursor_valid(cursor);
}

/* In place of the old one at once: a kill leaves one or the other. */
static int
state_write(struct rebuild *r, const struct rebuild_kind *k, const char *path, struct err *e)
{
	char target[1500], next[1100];
	FILE *f;
	bool bad;

	target_text(r, k, target, sizeof target);
	snprintf(next, sizeof next, "%.1000s.new", path);
	f = folders_make(next, STATE_FOLDER_MODE) ? NULL : fopen(next, "we");
	if (!f)
		return err_set(e, ERR_INTERNAL, "%s: %m; --state FILE names another place", next);
	bad = fprintf(f, "%s\n%s\n", target, r->cursor) < 0;
	bad |= fclose(f) != 0;
	if (bad || rename(next, path) != 0)
		return err_set(e, ERR_INTERNAL, "%s: %m; --state FILE names another place", path);
	return 0;
}

/* ---- the loop ---- */

/* At most rate a second, counted from the start. */
static void
pace(const struct words *w, uint64_t seen, int64_t began_ms)
{
	int64_t due = began_ms + (int64_t)(seen * 1000 / (uint64_t)w->rate);
	int64_t wait = due - clock_mono_ms();

	if (wait > 0)
		usleep((useconds_t)wait * 1000);
}

static int
run_all(struct rebuild *r, const struct words *w, const char *path, struct err *e)
{
	int64_t total = 0, began = clock_mono_ms();
	struct progress p;
	size_t n = 1;
	int rc;

	if (w->kind->count(r, &total, e))
		return -1;
	if (w->dry) {
		r->seen = (uint64_t)total;
		return 0;
	}
	if (w->kind->begin && w->kind->begin(r, e))
		return -1;
	progress_begin(&p, w->kind->name, (uint64_t)total);
	do {
		arena_reset(r->mem);
		rc = w->kind->batch(r, &n, e);
		if (rc == 0 && n > 0)
			rc = state_write(r, w->kind, path, e);
		r->seen += rc ? 0 : n;
		progress_set(&p, r->seen);
		if (rc == 0 && w->rate)
			pace(w, r->seen, began);
	} while (rc == 0 && n > 0);
	if (rc == 0 && w->kind->finish)
		rc = w->kind->finish(r, e);
	progress_end(&p);
	if (rc == 0)
		(void)unlink(path);
	return rc;
}

static int
run_audited(struct rebuild *r, const struct words *w, const char *path, struct err *e)
{
	struct audit a = { .what = "rebuild", .why = w->why };
	int rc;

	if (w->dry)
		return run_all(r, w, path, e);
	if (audit_begin_on(r->c, &a,
		    (const char *const[]){ "kind", w->kind->name, "from", r->cursor, NULL }, e))
		return -1;
	rc = run_all(r, w, path, e);
	audit_end(&a, r->written, rc ? e->text : "done");
	return rc;
}

static void
tell(struct rebuild *r, const struct words *w)
{
	struct buf b;

	if (!r->c->json && w->dry) {
		printf("would read %" PRIu64 " %s and write them into %s,\nfrom %s on\n", r->seen,
			w->kind->from, w->kind->to, r->cursor);
		return;
	}
	if (!r->c->json) {
		printf("%" PRIu64 " %s read, %" PRIu64 " written into %s,\n%" PRIu64
		       " there already or newer\n",
			r->seen, w->kind->from, r->written, w->kind->to, r->skipped);
		return;
	}
	buf_init(&b, 4096);
	ops_json_open(&b);
	ops_json_text(&b, "rebuild", w->kind->name);
	ops_json_bool(&b, "dry_run", w->dry);
	ops_json_i64(&b, "read", (int64_t)r->seen);
	ops_json_i64(&b, "written", (int64_t)r->written);
	ops_json_i64(&b, "kept", (int64_t)r->skipped);
	ops_json_text(&b, "cursor", r->cursor);
	ops_json_print(&b);
	buf_fini(&b);
}

static int
stores_open(struct rebuild *r, const struct rebuild_kind *k, struct err *e)
{
	const struct conf *f = r->c->conf;

	r->sql = sql_open(&(struct sql_options){ .url = conf_string(f, "postgres", "url"),
				  .application = "onboardctl",
				  .query_ms = QUERY_MS },
		e);
	if (!r->sql)
		return -1;
	if (k->needs_doc) {
		r->doc = doc_open(&(struct doc_options){ .url = conf_string(f, "mongo", "url"),
					  .application = "onboardctl" },
			e);
		if (!r->doc || doc_ping(r->doc, e))
			return err_wrap(e, "mongo");
	}
	if (k->needs_kv) {
		r->kv = kv_open(&(struct kv_options){ .url = conf_string(f, "redis", "url") }, e);
		if (!r->kv || kv_ping(r->kv, e))
			return -1;
	}
	return 0;
}

static int
words_read(struct ctl *c, int argc, char **argv, struct words *w)
{
	const struct rebuild_kind *const kinds[] = { &rebuild_cache, &rebuild_events,
		&rebuild_segments };
	const char *value;
	int o;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--dry-run") == 0) {
			w->dry = true;
		} else if ((o = ops_option(c, argc, argv, &i, "--from", &w->from)) != 0 ||
			(o = ops_option(c, argc, argv, &i, "--state", &w->state)) != 0 ||
			(o = ops_option(c, argc, argv, &i, "--why", &w->why)) != 0) {
			if (o < 0)
				return CTL_USAGE;
		} else if ((o = ops_option(c, argc, argv, &i, "--rate", &value)) != 0) {
			char digits[32];

			if (o < 0)
				return CTL_USAGE;
			/* "500" or "500/s" */
			snprintf(digits, sizeof digits, "%s", value);
			if (strlen(digits) > 2 && strcmp(digits + strlen(digits) - 2, "/s") == 0)
				digits[strlen(digits) - 2] = '\0';
			if (!ops_number(c, "--rate", digits, 1, 10000000, &w->rate))
				return CTL_USAGE;
		} else if (w->kind || argv[i][0] == '-') {
			return ctl_fail(c, CTL_USAGE, "what is \"%s\"?", argv[i]);
		} else {
			for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
				if (strcmp(kinds[k]->name, argv[i]) == 0)
					w->kind = kinds[k];
			if (!w->kind)
				return ctl_fail(c, CTL_USAGE, "what is \"%s\"?", argv[i]);
		}
	}
	if (!w->kind)
		return ctl_fail(c, CTL_USAGE, "want: rebuild cache | segments | events");
	if (w->from && !w->kind->cursor_valid(w->from))
		return ctl_fail(c, CTL_USAGE,
			"--from wants what an earlier run printed, such as %s", w->kind->first);
	return CTL_DONE;
}

int
ctl_rebuild(struct ctl *c, int argc, char **argv)
{
	struct rebuild r = { .c = c, .limit = BATCH };
	struct words w = { 0 };
	struct err e = ERR_INIT;
	char path[1024];
	int rc = words_read(c, argc, argv, &w);

	if (rc)
		return rc;
	r.mem = arena_new(1 << 20, ARENA_MAX);
	r.dry = w.dry;
	/* a slow start shall not be one long first step */
	if (w.rate && w.rate < r.limit)
		r.limit = w.rate;
	if (state_path(&w, path, sizeof path, &e)) {
		arena_free(r.mem);
		return ctl_fail(c, CTL_FAILED, "%s; --state FILE names another place", e.text);
	}
	if (w.from)
		snprintf(r.cursor, sizeof r.cursor, "%s", w.from);
	else if (!state_read(&r, w.kind, path, r.cursor))
		snprintf(r.cursor, sizeof r.cursor, "%s", w.kind->first);
	else if (!w.dry)
		fprintf(stderr, "going on from %s; --from %s begins anew\n", r.cursor,
			w.kind->first);
	rc = stores_open(&r, w.kind, &e) || run_audited(&r, &w, path, &e) ? -1 : 0;
	if (rc == 0)
		tell(&r, &w);
	else
		rc = r.seen ? ctl_fail(c, e.kind == ERR_AWAY ? CTL_AWAY : CTL_FAILED,
				      "%s; run it again: it goes on from %s", e.text, r.cursor)
			    : ctl_fail_err(c, &e);
	sql_close(r.sql);
	doc_close(r.doc);
	kv_close(r.kv);
	arena_free(r.mem);
	return rc;
}
