/* SPDX-License-Identifier: MIT */
/*
 * rebuild: writes again what can be derived from a source, in batches behind a
 * cursor. Each kind is one struct. All kinds share the loop, the rate, the progress
 * and the file that keeps the cursor.
 */
#pragma once

#include "base/arena.h"
#include "ctl/kit/ctl.h"
#include "link/doc.h"
#include "link/kv.h"
#include "link/sql.h"

#define REBUILD_CURSOR_SIZE 64

struct rebuild {
	struct ctl *c;
	struct arena *mem; /* of one batch */
	struct sql *sql;
	struct doc *doc;
	struct kv *kv;
	char cursor[REBUILD_CURSOR_SIZE]; /* of the last row that is done, as --from takes it */
	bool dry;
	int64_t limit; /* of one batch */
	uint64_t seen, written, skipped;
};

struct rebuild_kind {
	const char *name, *first; /* first: the cursor before all */
	const char *from, *to;    /* what is read and written, for people */
	bool needs_doc, needs_kv;
	bool (*cursor_valid)(const char *text);
	int (*begin)(struct rebuild *r, struct err *e); /* before the first write; may be NULL */
	int (*count)(struct rebuild *r, int64_t *out, struct err *e); /* behind the cursor */
	/* The next batch; moves the cursor behind it. *n 0: there is none. */
	int (*batch)(struct rebuild *r, size_t *n, struct err *e);
	int (*finish)(struct rebuild *r, struct err *e); /* may be NULL */
};

/* ---- rebuild_state.c ---- */

/* True: *cursor is where an earlier run between the same servers stopped. */
bool rebuild_state_read(const struct rebuild *r, const struct rebuild_kind *k, const char *path,
	char cursor[static REBUILD_CURSOR_SIZE]);
/* Replaces the file at once: a kill leaves the old one or the new one. */
int rebuild_state_write(const struct rebuild *r, const struct rebuild_kind *k, const char *path,
	struct err *e) MUST_CHECK;

/* At the end: an index that still cannot be made is a failure. */
int rebuild_indexes(struct rebuild *r, const char *collection, struct err *e) MUST_CHECK;
bool rebuild_user_valid(const char *cursor); /* of a kind whose cursor is a user's id */

extern const struct rebuild_kind rebuild_cache, rebuild_events, rebuild_segments;
