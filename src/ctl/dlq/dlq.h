/* SPDX-License-Identifier: MIT */
/*
 * onboardctl dlq: what its verbs share. One command works at a time, `topology mend`
 * included, so that no replay goes into a queue that is being replaced. The lock is
 * an exclusive queue, so it ends with its holder's connection. Each file is one
 * subject: dlq_entry reads a message, dlq_filter chooses, dlq_lock connects, dlq_read looks,
 * dlq_sort orders more than memory holds, dlq_line is the NDJSON of export.
 */
#pragma once

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/json_out.h"
#include "base/err.h"
#include "ctl/kit/ctl.h"
#include "link/broker.h"
#include "ctl/kit/progress.h"

#define DLQ_ID_SIZE 65

/* ---- dlq_entry.c: what an operator wants to know of a message ---- */

struct dlq_entry {
	char id[DLQ_ID_SIZE]; /* x-dead-id, or a hash of body and headers */
	/* NULL: not known. The arena's. */
	const char *event_id, *consumer, *queue, *type, *class, *error;
	const char *first_failed_at, *failed_at;
	int64_t retry_count, failed_us; /* -1: not known */
	int64_t user_id;                /* 0: not known */
	bool by_broker;                 /* put there by the broker itself: read from x-death */
};

/* Never fails: a field that cannot be read stays unknown. */
void dlq_entry_read(struct dlq_entry *out, const struct broker_message *m, struct arena *mem);
void dlq_entry_json(const struct dlq_entry *d, struct json_out *o); /* ten members */
#define DLQ_KEY_SIZE (DLQ_ID_SIZE + 33)
/*
 * The id and a hash of body and headers. An x-dead-id alone names no entry: an
 * export that was repaired and imported has the same id as the entry in the DLQ.
 */
void dlq_entry_key(const struct dlq_entry *d, const struct broker_message *m,
	char out[static DLQ_KEY_SIZE]);

/* ---- dlq_fingerprint.c ---- */

#define DLQ_FINGERPRINT_MAX 200
/* The error without its ids, numbers, addresses and quoted texts: equal for errors of one kind. */
void dlq_fingerprint(const char *error, char out[static DLQ_FINGERPRINT_MAX + 1]);

/* ---- dlq_filter.c ---- */

struct dlq_filter {
	const char *consumer, *class, *type, *error_text; /* NULL: any */
	regex_t error;
	bool has_error;
	int64_t user;               /* 0: any */
	int64_t since_us, until_us; /* 0: none */
	int64_t limit;              /* 0: none */
};

/* The option --error, as kit/options hands it on: filter is a struct dlq_filter. */
int dlq_filter_error(void *filter, const char *regex, struct err *e) MUST_CHECK;
void dlq_filter_fini(struct dlq_filter *f);
bool dlq_filter_any(const struct dlq_filter *f); /* any filter is set, limit included */
bool dlq_filter_match(const struct dlq_filter *f, const struct dlq_entry *d);
void dlq_filter_json(const struct dlq_filter *f,
	struct json_out *o); /* the filters that are set, as members */
/* word: a whole id, an event's id, or the first 8 characters or more of an id. */
#define DLQ_FRONT_MIN 8
bool dlq_id_match(const struct dlq_entry *d, const char *word);

/* ---- dlq_set.c ---- */

struct dlq_hash {
	uint64_t half[2];
};
void dlq_hash_begin(struct dlq_hash *h);
void dlq_hash_add(struct dlq_hash *h, const void *bytes, size_t length);

/* A set of ids, by their hash: about 16 bytes each. */
struct dlq_set {
	uint64_t *list;
	size_t count, room;
	uint64_t salt;
};
bool dlq_set_add(struct dlq_set *s, const char *a,
	const char *b); /* b may be NULL; false: has it */
bool dlq_set_has(struct dlq_set *s, const char *a, const char *b);
/*
 * Moves all of from into s; from is empty then, and has the salt of s. Before, s must
 * be empty, or from must have its salt.
 */
void dlq_set_merge(struct dlq_set *s, struct dlq_set *from);
void dlq_set_fini(struct dlq_set *s);

/* ---- dlq_sort.c: a stable sort by key; spills to a temporary file ---- */

struct dlq_sort;
typedef int dlq_sort_fn(void *arg, const char *bytes, size_t length, struct err *e);
/* limit: keeps only this many records with the least keys; 0: all. memory: bytes before a spill. */
struct dlq_sort *dlq_sort_new(uint64_t limit, size_t memory);
int dlq_sort_add(struct dlq_sort *s, int64_t key, const void *bytes, size_t length, struct err *e)
	MUST_CHECK;
int dlq_sort_each(struct dlq_sort *s, dlq_sort_fn *fn, void *arg, struct err *e) MUST_CHECK;
size_t dlq_sort_runs(const struct dlq_sort *s); /* in the file */
void dlq_sort_free(struct dlq_sort *s);         /* NULL is fine */

/* ---- dlq_line.c: a message as a line of NDJSON and back, byte for byte ---- */

/* The largest body as base64, its headers, the ten fields. */
#define DLQ_LINE_MAX (200u << 20)
/* With a line end; without the headers that the broker added for this delivery. */
int dlq_line_write(struct buf *out, const struct dlq_entry *d, const struct broker_message *m,
	struct err *e) MUST_CHECK;
/* out points into mem; ERR_INVALID says what is wrong with the line. */
int dlq_line_read(const char *line, size_t length, struct arena *mem, struct broker_message *out,
	struct err *e) MUST_CHECK;

/* ---- dlq.c ---- */

struct dlq_options {
	struct dlq_filter filter;
	char **words; /* ids, or a file */
	size_t word_count;
	bool all, dry_run, canary, edit, yes, force, no_wait;
	const char *plan, *apply, *why, *to;
	int64_t rate, canary_wait_s; /* rate 0: as fast as it goes */
};

struct dlq_reader;

struct dlq {
	struct ctl *ctl;
	struct dlq_options o;
	const char *what; /* "replay"; of another verb "topology mend" */
	struct broker *b;
	struct arena *mem;         /* of one message */
	struct dlq_reader *reader; /* gets the messages */
	bool locked;
};

/* Each answers an exit code; a fault has been told. */
int dlq_list(struct dlq *d);
int dlq_stats(struct dlq *d);
int dlq_show(struct dlq *d);
int dlq_replay(struct dlq *d);
int dlq_edit(struct dlq *d);
int dlq_export(struct dlq *d);
int dlq_import(struct dlq *d);
int dlq_purge(struct dlq *d);

/* ---- dlq_read.c: the look; dlq_lock.c: the connection and the lock ---- */

struct dlq_reader {
	const char *what; /* of the progress bar */
	/* Each message in turn; an error ends the look. */
	int (*message)(void *arg, const struct broker_message *m, struct err *e);
	/* May be NULL. turn: called after each pump; busy: true while it works and takes no more */
	int (*turn)(void *arg, struct err *e);
	bool (*busy)(void *arg);
	void (*confirmed)(void *arg, uint64_t tag, bool nacked);
	void (*returned)(void *arg, const struct broker_message *m, int code, const char *why);
	void *arg;
	struct dlq_set *done; /* keys of acked entries, in case an ack gets lost; may be NULL */
	uint16_t prefetch;    /* of one consumer; each further one comes when it is used up */
	uint64_t seen, acked, total;
	uint64_t held; /* delivered, handled or not */
	struct err error;
	bool failed, stop;
};

int dlq_connect(struct dlq *d, struct err *e) MUST_CHECK; /* and takes the lock */
void dlq_disconnect(struct dlq *d);
/*
 * Reads the entries that were in the queue when it began, and returns those that
 * were not acked. An entry that does not arrive is an error.
 */
int dlq_read(struct dlq *d, struct dlq_reader *r, struct err *e) MUST_CHECK;

/* ---- dlq_select.c: which entries a verb is about ---- */

struct dlq_selection {
	const struct dlq_options *o;
	struct dlq_set ids; /* when by_set: whole ids, or with --limit keys */
	bool by_set, by_key;
	uint64_t found;
};
/* Beginnings of ids and --limit need a look of their own. */
int dlq_select(struct dlq *d, struct dlq_selection *s, struct err *e) MUST_CHECK;
/* m is the entry's message. */
bool dlq_selected(struct dlq_selection *s, const struct dlq_entry *entry,
	const struct broker_message *m);
void dlq_selection_fini(struct dlq_selection *s);
/* For the audit log, as one object. */
void dlq_options_json(const struct dlq_options *options, struct buf *out);

/* ---- dlq_return.c: whether a dead letter may go back to its consumer ---- */

/*
 * 0: entry->queue is a queue that the entry may go back to. Anybody may have
 * written its headers, so the queue must be the one of its consumer in the
 * topology, or a queue of the topology file. ERR_CONFLICT says why it stays.
 */
int dlq_return_check(const struct dlq_entry *entry, struct err *e) MUST_CHECK;
