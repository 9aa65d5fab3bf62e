/* SPDX-License-Identifier: MIT */
/*
 * What every consumer is made of, but for its effect. A consumer's main() is
 * one call with a struct handler; the handler sees neither AMQP nor signals
 * nor threads.
 *
 * The story: events come in batches, while the last batch is being handled.
 * handle() gives each delivery its outcome, and one bad event never fails its
 * neighbours:
 *
 *	DONE    acked
 *	RETRY   to the next retry queue (1, 2, 4 s), after the third to the
 *	        dead-letter exchange as "exhausted"; then acked
 *	REJECT  can never succeed: to the dead-letter exchange as "permanent"
 *
 * handle() answers 0, or -1 with an error: ERR_AWAY means that a store is
 * away, which is no event's fault: nothing more is taken, what is held stays
 * unacked, the store is probed until it is back, and handle() gets the same
 * batch again. Once a batch succeeds, the consumer takes more. Any other error
 * means RETRY for all that are still unset.
 *
 * What is no event, or against its type's schema, never reaches the handler.
 * What was delivered five times without an end, since the process died on it,
 * goes to the dead-letter exchange as "poison" before the handler sees it;
 * after a start, what comes redelivered is handled one at a time.
 *
 * handle() runs in a thread of its own, never twice at once; it may block as
 * long as the links' deadlines do. Everything it makes goes into b->mem.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/conf.h"
#include "base/err.h"
#include "model/event.h"

enum outcome { OUT_UNSET, OUT_DONE, OUT_RETRY, OUT_REJECT };

struct delivery {
	const struct event *ev;
	const char *body; /* as it came */
	size_t length;
	enum outcome out;
	const char *why; /* of RETRY and REJECT: b->mem's or a constant; no address in it */
	bool test;       /* header x-test */
	bool own;        /* app_id says that onboard-api published it, and it is no test */
	bool last;       /* no retry is left: RETRY is its end */
};

struct batch {
	struct delivery *d;
	size_t n;
	struct arena *mem;
};

/* NEED_SQL_READ: a PostgreSQL that takes no writes does, too. */
enum { NEED_DOC = 1, NEED_KV = 2, NEED_SQL = 4, NEED_SQL_READ = 8 };

struct consumer;
struct doc;
struct kv;
struct link;
struct metrics;
struct sql;

struct handler {
	const char *name;    /* as in the topology: "eventlog"; the daemon is onboard-NAME */
	const char *summary; /* for --help */
	unsigned short admin_port;
	unsigned needs;         /* NEED_...: stores that must be there */
	const char *collection; /* model/doc_indexes.h: the runtime keeps its indexes; NULL: none */
	size_t batch_max, prefetch_max; /* whatever is configured; 0: no bound of its own */
	size_t state_size;
	/* As in struct daemon_def: of the configuration, what the keys' types don't say. */
	int (*check)(const struct conf *conf, struct err *e);
	/* Once, in the main thread: what it needs beside those stores, its links and metrics. */
	int (*open)(struct consumer *c, void *state, struct err *e);
	/* In the main thread, while handle() may run in its own. */
	void (*reload)(void *state, const struct conf *now);
	/* Beside those stores: ERR_AWAY while what it works on is. May be NULL. */
	int (*probe)(struct consumer *c, void *state, struct err *e);
	/* Before the first batch, and again until it succeeds. May be NULL. */
	int (*start)(struct consumer *c, void *state, struct err *e);
	int (*handle)(struct consumer *c, void *state, struct batch *b, struct err *e);
	void (*stop)(void *state); /* may be NULL */
};

int consumer_main(int argc, char **argv, const struct handler *h);

/* In start and handle. */
struct doc *consumer_doc(struct consumer *c);
struct kv *consumer_kv(struct consumer *c);
struct sql *consumer_sql(struct consumer *c);
/* In open: the configuration is the main thread's. */
const struct conf *consumer_conf(struct consumer *c);
void consumer_depends(struct consumer *c, struct link *l);
void consumer_metrics(struct consumer *c, struct metrics *m);
/*
 * In handle, where that may take long: waits, and says that progress is made.
 * False, at once, when the daemon ends: what is not done by then is handed back
 * by answering ERR_AWAY.
 */
bool consumer_wait(struct consumer *c, int64_t ms);
/* e's text, kept in the batch. */
const char *consumer_why(struct batch *b, const struct err *e);
