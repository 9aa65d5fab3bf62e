/* SPDX-License-Identifier: MIT */
/*
 * Everything that consumers share. A consumer's main() is one call with a struct
 * handler, which holds what this consumer alone does. The handler sees no AMQP, no
 * signal and no thread.
 *
 * The story: the next batch of events forms while handle() works on the last one.
 * handle() gives each delivery an outcome. One bad event never fails its neighbours:
 *
 *	DONE    the runtime acks the delivery
 *	RETRY   it publishes a copy to the next retry queue (1, 2, 4 s), after the
 *	        third to the dead-letter exchange as "exhausted", and then acks
 *	REJECT  the event can never succeed: a copy goes to the dead-letter
 *	        exchange as "permanent", and then the runtime acks
 *
 * handle() answers 0, or -1 with an error. ERR_AWAY means that a store is away. No
 * event is at fault then: the consumer takes no more messages, keeps those that it
 * holds unacked, probes the store until it answers, and gives handle() the same
 * batch again. It takes more once a batch has succeeded. Any other error means
 * RETRY for every delivery that has no outcome yet.
 *
 * The handler never sees a message that is no event, or that violates the schema of
 * its type. A message that was delivered five times without an end (the process
 * died over it) goes to the dead-letter exchange as "poison" before the handler
 * sees it. After a start the runtime handles redelivered messages one at a time.
 *
 * handle() runs in a thread of its own, and never twice at once. It may block as
 * long as the deadlines of the links allow. It allocates everything in b->mem.
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
	const char *body; /* the bytes of the message */
	size_t length;
	enum outcome out;
	const char *why; /* reason of RETRY and REJECT: b->mem's or a constant; names no address */
	bool test;       /* header x-test */
	bool own;        /* app_id says that onboard-api published it, and it is no test */
	bool last;       /* no retry is left: RETRY makes it a dead letter */
};

struct batch {
	struct delivery *d;
	size_t n;
	struct arena *mem;
};

/* NEED_SQL_READ: a PostgreSQL that takes no writes is enough. */
enum { NEED_DOC = 1, NEED_KV = 2, NEED_SQL = 4, NEED_SQL_READ = 8 };

struct consumer;
struct doc;
struct kv;
struct link;
struct metrics;
struct sql;

struct handler {
	const char *name;    /* of its row in model/consumers.h, which has the rest of the facts */
	const char *summary; /* for --help */
	unsigned needs;      /* NEED_...: stores that must be usable */
	size_t batch_max, prefetch_max; /* bounds on the configured numbers; 0: none */
	size_t state_size;
	/* As in struct daemon_def: checks what the types of the keys cannot say. */
	int (*check)(const struct conf *conf, struct err *e);
	/* Once, in the main thread: opens links and metrics of its own. */
	int (*open)(struct consumer *c, void *state, struct err *e);
	/* In the main thread; handle() may run at the same time in its own. */
	void (*reload)(void *state, const struct conf *now);
	/* Probes what the handler opened itself: ERR_AWAY while that is away. May be NULL. */
	int (*probe)(struct consumer *c, void *state, struct err *e);
	/* Before the first batch; repeated until it succeeds. May be NULL. */
	int (*start)(struct consumer *c, void *state, struct err *e);
	int (*handle)(struct consumer *c, void *state, struct batch *b, struct err *e);
	void (*stop)(void *state); /* may be NULL */
};

int consumer_main(int argc, char **argv, const struct handler *h);

/* In start and handle. */
struct doc *consumer_doc(struct consumer *c);
struct kv *consumer_kv(struct consumer *c);
struct sql *consumer_sql(struct consumer *c);
/* In open only: the configuration belongs to the main thread. */
const struct conf *consumer_conf(struct consumer *c);
void consumer_depends(struct consumer *c, struct link *l);
void consumer_metrics(struct consumer *c, struct metrics *m);
/*
 * For a handle() that takes long: waits, and tells the watchdog that it makes
 * progress. False, at once, when the daemon ends: handle() should then answer
 * ERR_AWAY, and the runtime hands the rest back.
 */
bool consumer_wait(struct consumer *c, int64_t ms);
/* Copies e's text into the batch. */
const char *consumer_why(struct batch *b, const struct err *e);
