/* SPDX-License-Identifier: MIT */
/*
 * What the files of the consumer runtime share; nobody else includes it.
 *
 *	consumer.c       the daemon: what it opens, when it is ready, how it drains
 *	consumer_state.c the state: one enum, one setter
 *	consumer_io.c    the thread that owns the connection to the broker: its turn
 *	consumer_take.c  the subscription: how messages come in
 *	consumer_bunch.c bunches and lists of them
 *	consumer_fate.c  what becomes of a delivery: ack, retry, dead letter
 *	consumer_work.c  the thread that runs the handler
 *	consumer_pause.c whether an operator has paused it
 *	consumer_indexes.c  the indexes of its MongoDB collection
 *
 * A bunch is a batch with what it was made of. It goes I/O → worker → I/O by
 * two one-place boxes; whoever holds it owns it.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/metrics.h"
#include "link/broker.h"
#include "run/consumer.h"
#include "run/consumer_state.h"
#include "run/daemon.h"
#include "model/retry.h"
#include "run/thread.h"
#include "model/topology.h"

#define CONSUMER_BATCH_MAX 1000
#define CONSUMER_QUIET_MS 250 /* nothing came for so long: the queue may be empty */
#define POISON_AFTER 5        /* deliveries without an end */

enum consumer_metric {
	CM_DELIVERIES,
	CM_SECONDS,
	CM_BATCHES,
	CM_HELD,
	CM_AWAY,
	CM_PAUSED,
	CM_REDELIVERED,
	CM_INDEXES,
	CM_COUNT
};

/* One delivery of a bunch. */
struct held {
	struct broker_message *m;
	struct event ev;
	enum retry_class class; /* of what is neither done nor again */
	const char *why;
	enum outcome out;
	bool sent;    /* its copy is published, not confirmed yet */
	bool settled; /* acked */
	bool returned;
	uint64_t publish_tag;
	struct retry *retry;
};

struct bunch {
	struct arena *mem;
	struct held *list;   /* of batch_max */
	size_t count, open;  /* open: not settled yet */
	uint64_t connection; /* the one they came by */
	int64_t first_ms;    /* the first came; monotonic */
	int64_t handled_us;
	bool full; /* takes no more */
	struct bunch *next;
};

/* How many messages the broker may send without an ack. */
enum intake {
	INTAKE_ONE,      /* one: redelivered messages may be poison */
	INTAKE_WIDENING, /* still one: the first that is not redelivered has come */
	INTAKE_MANY,
};

#define BUNCH_ARENA_FIRST (64u << 10)
#define BUNCH_ARENA_LIMIT (512u << 20) /* the largest message there is fits */
#define BUNCH_BYTES (4u << 20)         /* past it a bunch is full */

struct consumer {
	const struct handler *handler;
	const struct topology_consumer *place;
	struct daemon *daemon;
	void *state;
	struct broker *broker;
	struct doc *doc;
	struct kv *kv;
	struct sql *sql;
	struct schema_check *schema;
	struct metrics *metrics;
	struct metric_cell *cells[CM_COUNT];
	struct metric_cell *outcomes[8];
	struct thread *io, *worker;
	struct thread *self; /* the worker, as it knows itself */
	size_t batch_max, prefetch;
	int64_t linger_ms, check_every_ms;
	char *topology_only; /* topology.consumers; our own copy, NULL: all */
	struct loop_timer *drain_look;

	char lack_shown[200]; /* the main thread's copy */

	/* the worker's */
	int64_t indexes_ms; /* the next look */

	/* between the threads */
	pthread_mutex_t lock;
	struct bunch *to_worker, *to_io; /* to_io: a list */
	char lack[200];                  /* the index that is missing, and why; "": none */
	struct consumer_status status;   /* consumer_state.h says who changes it, and when */
	atomic_bool consuming; /* the broker has our subscription; set by the I/O thread */

	/* the I/O thread's */
	struct bunch *ready, *spare, *settling; /* lists; of ready the last is still forming */
	bool worker_busy;                       /* the worker has a batch */
	bool lost; /* the subscription: cancelled by the broker, or its channel has closed */
	enum intake intake;
	size_t window;           /* deliveries that the broker may send without an ack */
	size_t worker_holds;     /* deliveries of the bunch that the worker has; 0: given back */
	int64_t worker_first_ms; /* when its first came */
	int64_t linger_until_ms; /* until then a batch that is not full waits for more */
	uint64_t connection;
	char tag[32];      /* the consumer's name */
	unsigned consumed; /* times, for the next name */
	int64_t declare_ms, again_ms;
	bool came;                 /* a delivery, in the last turn */
	int64_t came_ms, drain_ms; /* the last delivery; draining began (0: it has not) */
	int64_t leave_ms;          /* it began to take no more, for good or for a pause */
	uint32_t got;              /* since then, by look_if_empty(): outside the window */
	int64_t pause_look_ms;
	unsigned pause_misses; /* looks in a row that found no pause */
};

/* consumer.c */
void consumer_threads_wait(struct consumer *c); /* until c->io and c->worker are known */

/* consumer_bunch.c */
struct bunch *consumer_bunch_forming(struct consumer *c, bool alone);
void consumer_bunch_drop(struct consumer *c, struct bunch *b);
void consumer_bunches_add(struct bunch **list, struct bunch *b);
void consumer_bunches_drop(struct consumer *c, struct bunch **list);
void consumer_bunches_drop_stale(struct consumer *c, struct bunch **list);
void consumer_bunches_free(struct consumer *c);
size_t consumer_held(const struct consumer *c);

/* consumer_take.c */
struct broker *consumer_broker_new(struct consumer *c, const char *url, const char *name,
	unsigned heartbeat_s, struct err *e) MUST_CHECK;
int consumer_take_as_wanted(struct consumer *c, struct err *e) MUST_CHECK;
bool consumer_acks_wait(const struct consumer *c);
void consumer_connection_gone(struct consumer *c);

/* consumer_io.c */
void consumer_io_run(struct thread *t, void *arg);
void consumer_io_end(struct consumer *c); /* after the thread */

/* consumer_fate.c */
enum { FATE_DONE, FATE_RETRY, FATE_PERMANENT, FATE_EXHAUSTED, FATE_POISON, FATE_COUNT };
extern const char *const consumer_fates[FATE_COUNT];
int consumer_ack_front(struct consumer *c, struct err *e) MUST_CHECK;
/* Publishes copies and acks what needs none. -1: the connection is lost. */
int consumer_settle(struct consumer *c, struct bunch *b, struct err *e) MUST_CHECK;
void consumer_confirmed(void *arg, uint64_t tag, bool nacked);
void consumer_returned(void *arg, const struct broker_message *m, int code, const char *why);

/* consumer_pause.c */
/* Before consuming, in each turn. -1: the connection is lost. */
int consumer_pause_look(struct consumer *c, struct err *e) MUST_CHECK;

/* consumer_indexes.c */
/* In the worker. Does nothing before its time. -1: the store is away. */
int consumer_indexes_look(struct consumer *c, struct err *e) MUST_CHECK;
const char *consumer_indexes_notice(struct consumer *c); /* main thread; NULL: none is missing */

/* consumer_work.c */
void consumer_work_run(struct thread *t, void *arg);
