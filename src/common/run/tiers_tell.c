/* SPDX-License-Identifier: MIT */
/* Invalidations: deleting a key's text in Redis, and telling the other processes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/tiers_own.h"

/* One invalidation on its way to Redis. */
struct telling {
	struct tiers *tiers;
	const struct tiers_kind *kind; /* NULL: of another program, from the table of debts */
	struct owed_item item;
	bool paying;  /* a row in PostgreSQL owes it already */
	bool failed;  /* Redis refused a command, or none reached it */
	bool plain;   /* without the script, which Redis has refused */
	bool pinged;  /* PING has been sent, after everything else */
	unsigned due; /* replies that have not come yet */
	char why[128];
	tiers_done_fn *done;
	void *arg;
};

static void on_told(void *arg, const struct kv_reply *r, const struct err *e);

static void
telling_failed(struct telling *t, const char *why)
{
	if (!t->failed)
		snprintf(t->why, sizeof t->why, "%.*s", (int)sizeof t->why - 1, why);
	t->failed = true;
}

static void
telling_run(struct telling *t, size_t argc, const char *const *argv)
{
	struct err e = ERR_INIT;

	if (kv_async_run(t->tiers->kv, argc, argv, NULL, on_told, t, &e))
		telling_failed(t, e.text);
	else
		t->due++;
}

static void
telling_send_plain(struct telling *t)
{
	telling_run(t, 2, (const char *const[]){ "DEL", t->item.key });
	telling_run(t, 3, (const char *const[]){ "PUBLISH", CACHE_INVALIDATE, t->item.key });
}

static void
telling_send_guarded(struct telling *t)
{
	struct kv_async *kv = t->tiers->kv;
	struct guarded_write w;
	struct err e = ERR_INIT;

	memcpy(w.key, t->item.key, sizeof w.key);
	tiers_guard_key(t->kind, w.key, w.guard);
	guarded_write_make(&w, t->item.version, "", 0, 0, true);
	if (t->plain) { /* The version goes first: then no process puts an older text back. */
		(void)!kv_async_run(kv, 5,
			(const char *const[]){ "SET", w.guard, w.version, "EX", w.guard_ttl }, NULL,
			tiers_ignore, NULL, NULL);
		telling_send_plain(t);
	} else if (kv_async_script(kv, guarded_script(), 2, GUARDED_WORDS, w.argv, w.lengths,
			   on_told, t, &e)) {
		telling_failed(t, e.text);
	} else {
		t->due++;
	}
}

static bool
telling_guarded(const struct telling *t)
{
	return t->kind && t->kind->guard;
}

static void
telling_send(struct telling *t)
{
	t->failed = false;
	if (telling_guarded(t))
		telling_send_guarded(t);
	else
		telling_send_plain(t);
}

static void
telling_end(struct telling *t)
{
	struct owed *o = t->tiers->owed;

	if (t->paying)
		owed_paid(o, &t->item, !t->failed);
	else if (t->failed)
		owed_add(o, &t->item, t->why, t->done, t->arg);
	else if (t->done && owed_pending(o))
		/* One of the same change may be pending: its client waits for both. */
		owed_add(o, &t->item, "one before it", t->done, t->arg);
	else if (t->done)
		t->done(t->arg, NULL);
	free(t);
}

static void
on_told(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct telling *t = arg;
	struct err why = ERR_INIT;

	if (e)
		telling_failed(t, e->text);
	else if (kv_check(r, &why))
		telling_failed(t, why.text);
	if (--t->due > 0)
		return;
	if (t->failed && !e && telling_guarded(t) && !t->plain) {
		t->plain = true;
		telling_send(t);
	} else if (!t->failed && !t->pinged && (t->done || t->paying)) {
		/*
		 * Redis writes to its clients at the end of a round, in any order. Only the
		 * answer to a command of a later round shows that the others have been told.
		 */
		t->pinged = true;
		telling_run(t, 1, (const char *const[]){ "PING" });
	}
	if (t->due == 0)
		telling_end(t);
}

static void
telling_start(struct tiers *tiers, const struct owed_item *item, bool paying, tiers_done_fn *done,
	void *arg)
{
	struct telling *t = must_calloc(1, sizeof *t);

	t->tiers = tiers;
	t->kind = tiers_kind_of(tiers->kinds, item->key);
	t->item = *item;
	t->paying = paying;
	t->done = done;
	t->arg = arg;
	telling_send(t);
	if (t->due == 0)
		telling_end(t);
}

void
tiers_tell(struct tiers *t, const struct owed_item *item, tiers_done_fn *done, void *arg)
{
	telling_start(t, item, false, done, arg);
}

void
tiers_pay(void *arg, const struct owed_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		telling_start(arg, &items[i], true, NULL, NULL);
}
