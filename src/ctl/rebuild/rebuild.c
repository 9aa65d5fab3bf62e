/* SPDX-License-Identifier: MIT */
/* rebuild cache | events | segments: writes a store again from its source; a killed run goes on. */
#include "ctl/rebuild/rebuild.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "ctl/kit/options.h"
#include "ctl/kit/progress.h"
#include "ctl/kit/state_folder.h"
#include "ctl/verbs.h"
#include "model/doc_indexes.h"

#define BATCH 500
#define ARENA_MAX (128u << 20)
#define QUERY_MS 30000

struct words {
	const struct rebuild_kind *kind;
	const char *from, *state, *why;
	int64_t rate;
	bool dry;
};

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

/* ---- the loop ---- */

/* At most rate a second, counted from the start. */
static void
rate_wait(const struct words *w, uint64_t seen, int64_t began_ms)
{
	int64_t due = began_ms + (int64_t)(seen * 1000 / (uint64_t)w->rate);
	int64_t wait = due - clock_mono_ms();

	if (wait > 0)
		usleep((useconds_t)wait * 1000);
}

static int
batches_run(struct rebuild *r, const struct words *w, const char *path, struct err *e)
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
			rc = rebuild_state_write(r, w->kind, path, e);
		r->seen += rc ? 0 : n;
		progress_set(&p, r->seen);
		if (rc == 0 && w->rate)
			rate_wait(w, r->seen, began);
	} while (rc == 0 && n > 0);
	if (rc == 0 && w->kind->finish)
		rc = w->kind->finish(r, e);
	progress_end(&p);
	if (rc == 0)
		(void)unlink(path);
	return rc;
}

static int
audited_run(struct rebuild *r, const struct words *w, const char *path, struct err *e)
{
	struct audit a = { .what = "rebuild", .why = w->why };
	int rc;

	if (w->dry)
		return batches_run(r, w, path, e);
	if (audit_begin_on(r->c, &a,
		    (const char *const[]){ "kind", w->kind->name, "from", r->cursor, NULL }, e))
		return -1;
	rc = batches_run(r, w, path, e);
	audit_end(&a, r->written, rc ? e->text : "done");
	return rc;
}

static void
result_print(struct rebuild *r, const struct words *w)
{
	struct ctl_line line;
	struct json_out *o;

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
	o = ctl_line_begin(&line);
	ctl_json_text(o, "rebuild", w->kind->name);
	json_out_bool(o, "dry_run", w->dry);
	json_out_i64(o, "read", (int64_t)r->seen);
	json_out_i64(o, "written", (int64_t)r->written);
	json_out_i64(o, "kept", (int64_t)r->skipped);
	ctl_json_text(o, "cursor", r->cursor);
	ctl_line_print(&line);
}

static int
rebuild_stores_open(struct rebuild *r, const struct rebuild_kind *k, struct err *e)
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

static const struct rebuild_kind *
kind_find(const char *name)
{
	const struct rebuild_kind *const kinds[] = { &rebuild_cache, &rebuild_events,
		&rebuild_segments };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

static int
rebuild_words_read(struct ctl *c, int argc, char **argv, struct words *w)
{
	const struct ctl_option options[] = { { "--dry-run", .flag = &w->dry },
		{ "--from", .text = &w->from }, { "--state", .text = &w->state },
		{ "--why", .text = &w->why }, { "--rate", .rate = &w->rate }, { 0 } };

	if (options_take(c, options, 1, argc, argv) < 0)
		return CTL_USAGE;
	if (!argv[1])
		return ctl_fail(c, CTL_USAGE, "want: rebuild cache | segments | events");
	w->kind = kind_find(argv[1]);
	if (!w->kind)
		return ctl_fail(c, CTL_USAGE, "what is \"%s\"?", argv[1]);
	if (w->from && !w->kind->cursor_valid(w->from))
		return ctl_fail(c, CTL_USAGE,
			"--from wants what an earlier run printed, such as %s", w->kind->first);
	return CTL_DONE;
}

/* Runs behind the cursor; the result or the fault is told. */
static int
rebuild_run(struct rebuild *r, const struct words *w, const char *path)
{
	struct err e = ERR_INIT;
	int code = CTL_DONE;

	if (rebuild_stores_open(r, w->kind, &e) == 0 && audited_run(r, w, path, &e) == 0)
		result_print(r, w);
	else if (r->seen)
		code = ctl_fail(r->c, e.kind == ERR_AWAY ? CTL_AWAY : CTL_FAILED,
			"%s; run it again: it goes on from %s", e.text, r->cursor);
	else
		code = ctl_fail_err(r->c, &e);
	sql_close(r->sql);
	doc_close(r->doc);
	kv_close(r->kv);
	return code;
}

int
ctl_rebuild(struct ctl *c, int argc, char **argv)
{
	struct rebuild r = { .c = c, .limit = BATCH };
	struct words w = { 0 };
	struct err e = ERR_INIT;
	char path[1024];
	int code = rebuild_words_read(c, argc, argv, &w);

	if (code)
		return code;
	if (state_path(&w, path, sizeof path, &e))
		return ctl_fail(c, CTL_FAILED, "%s; --state FILE names another place", e.text);
	r.mem = arena_new(1 << 20, ARENA_MAX);
	r.dry = w.dry;
	/* a slow start shall not be one long first step */
	if (w.rate && w.rate < r.limit)
		r.limit = w.rate;
	if (w.from)
		snprintf(r.cursor, sizeof r.cursor, "%s", w.from);
	else if (!rebuild_state_read(&r, w.kind, path, r.cursor))
		snprintf(r.cursor, sizeof r.cursor, "%s", w.kind->first);
	else if (!w.dry)
		fprintf(stderr, "going on from %s; --from %s begins anew\n", r.cursor,
			w.kind->first);
	code = rebuild_run(&r, &w, path);
	arena_free(r.mem);
	return code;
}
