/* SPDX-License-Identifier: MIT */
/*
 * Cache-aside in three tiers: the process' own copies (base/lru), Redis, the
 * database. All of it works on keys. A kind says how the keys of one form are
 * kept; a source says how an answer of that kind is made.
 *
 *	if (!tiers_answer(t, &source, key, r))      the process has no copy: asks Redis,
 *		tiers_load(t, &source, key, r, arg);    then source.ask, once for all requests
 *	tiers_made(read, &text, version);           the database has answered: keeps and answers
 *
 *	tiers_changed(t, key, version, done, arg);  after the commit; done answers the client
 *
 * A change reaches Redis and, by the channel cache:invalidate, every other
 * process before its client gets an answer.
 *
 * A process uses copies, its own and those in Redis, only while it hears that
 * channel, and while no process owes an invalidation that Redis refused
 * (run/tiers_owed.h).
 *
 * Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/redis_keys.h"

struct arena;
struct buf;
struct daemon;
struct http_request;
struct loop;
struct tiers;
struct tiers_read;

/* How the keys of one form are kept. A constant. */
struct tiers_kind {
	const char *begin, *end; /* of every key of this kind, and of no other kind's */
	/*
	 * A version guards each key: no process replaces a text by an older one. Redis has
	 * the version under the key with this word in place of end, and keeps it when the
	 * text goes. NULL: a text is kept unless its key changed while it was being read.
	 */
	const char *guard;
	int64_t ttl_s; /* in Redis; 0: tiers_options.ttl_s */
	/*
	 * While copies may not be used, nobody tells this process of changes. Then a request
	 * waits only for an answer that began to be made less than join_ms ago.
	 */
	int64_t join_ms;
	bool local; /* in this process alone, for tiers_options.local_ms; nothing invalidates it */
};

struct tiers_source {
	const struct tiers_kind *kind;
	/* A text from Redis, where anybody may have written it: false when it is no such answer. */
	bool (*accept)(void *arg, struct arena *mem, const char *text, size_t length,
		int64_t *version);
	/* Asks the database. 0: tiers_made or tiers_failed follows, from the loop. */
	int (*ask)(void *arg, struct tiers_read *read, struct err *e);
	/* Answers one request. NULL: 200 with the text as JSON. */
	void (*answer)(struct http_request *r, const char *text, size_t length, int64_t version);
};

struct tiers_options {
	struct loop *loop;
	const char *redis_url, *postgres_url;
	const char *application; /* PostgreSQL's name for the connection that looks after debts */
	const struct tiers_kind *const *kinds; /* all but local ones; NULL-ended, static */
	int64_t ttl_s;
	size_t lru_entries, lru_bytes;
	int64_t lru_ms, local_ms;
};

/* e NULL: everyone who reads from now on sees the change. Else some may still see the old state. */
typedef void tiers_done_fn(void *arg, const struct err *e);

struct tiers *tiers_new(const struct tiers_options *o, struct err *e) MUST_CHECK;
/* After the connections of all sources: then nothing is being read. NULL is fine. */
void tiers_free(struct tiers *t);
/* In the daemon's start: its links, none of them required, and its metrics. */
void tiers_attach(struct tiers *t, struct daemon *d);

/* true: answered from the process' memory, and r is gone. */
bool tiers_answer(struct tiers *t, const struct tiers_source *s, const char *key,
	struct http_request *r) MUST_CHECK;
/*
 * Answers r later. arg must live as long as r: the arena of r is the place for it.
 * s and arg are not used when r waits for another request's answer.
 */
void tiers_load(struct tiers *t, const struct tiers_source *s, const char *key,
	struct http_request *r, void *arg);
/* Ends a read: keeps the text where it may be kept and answers all requests. arg is gone after it. */
void tiers_made(struct tiers_read *read, const struct buf *text, int64_t version);
void tiers_failed(struct tiers_read *read, const struct err *e);

/*
 * The key has changed in the database; version: the new one (0 where no version guards).
 * done is called later or from in here; NULL: nobody waits.
 */
void tiers_changed(struct tiers *t, const char *key, int64_t version, tiers_done_fn *done,
	void *arg);

/* ---- pure ---- */

/* The kind that key is of; NULL: none of these. */
const struct tiers_kind *tiers_kind_of(const struct tiers_kind *const *kinds, const char *key);
/* The key of the version that guards key. The kind has a guard. */
void tiers_guard_key(const struct tiers_kind *kind, const char *key,
	char out[static REDIS_KEY_SIZE]);
