/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of the consumer runtime; no other file includes it.
 *
 *	consumer.c          the daemon: what it opens, when it is ready, how it drains
 *	consumer_state.c    the state: one enum, one setter
 *	consumer_io.c       the I/O thread, which owns the connection to the broker
 *	consumer_take.c     the subscription: how messages come in
 *	consumer_bunch.c    bunches and lists of bunches
 *	consumer_fate.c     the fate of a delivery: ack, retry, dead letter
 *	consumer_work.c     the worker: the thread that runs the handler
 *	consumer_pause.c    an operator's pause
 *	consumer_indexes.c  the indexes of its MongoDB collection
 *
 * A bunch is a batch with its messages and their fates. It goes from the I/O thread
 * to the worker and back, by two boxes; the thread that holds a bunch owns it.
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
#define CONSUMER_QUIET_MS 250 /* no message came for this long: the queue may be empty */
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
	enum retry_class class; /* of RETRY and REJECT */
	const char *why;
	enum outcome out;
	bool sent;     /* its copy is published and not confirmed yet */
	bool settled;  /* acked */
	bool returned; /* no queue took its copy */
	uint64_t publish_tag;
	struct retry *retry;
};

struct bunch {
	struct arena *mem;
	struct held *list;   /* room for batch_max */
	size_t count, open;  /* open: not settled yet */
	uint64_t connection; /* the number of the connection that delivered them */
	int64_t first_ms;    /* when the first was delivered; monotonic */
	int64_t handled_us;
	bool full; /* takes no more deliveries */
	struct bunch *next;
};

/* How many messages the broker may send without an ack. */
enum intake {
	INTAKE_ONE,      /* one: redelivered messages may be poison */
	INTAKE_WIDENING, /* still one: the first message that is new has come */
	INTAKE_MANY,
};

#define BUNCH_ARENA_FIRST (64u << 10)
#define BUNCH_ARENA_LIMIT (512u << 20) /* the largest message there is fits */
#define BUNCH_BYTES (4u << 20)         /* past it a bunch is full */

struct consumer {
	const struct handler *handler;
	const struct consumer_row *place;
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
	struct thread *self; /* the worker's own copy of `worker` */
	size_t batch_max, prefetch;
	int64_t linger_ms, check_every_ms;
	char *topology_only; /* our own copy of topology.consumers; NULL: all */
	struct loop_timer *drain_look;

	char lack_shown[200]; /* the main thread's copy of `lack` */

	/* the worker's */
	int64_t indexes_ms; /* when to look for the indexes again */

	/* between the threads */
	pthread_mutex_t lock;
	struct bunch *to_worker, *to_io; /* to_io: a list */
	char lack[200];                  /* which index is missing, and why; "": none */
	struct consumer_status status;   /* consumer_state.h says who changes it, and when */
	atomic_bool consuming; /* the broker has our subscription; set by the I/O thread */

	/* the I/O thread's */
	struct bunch *ready, *spare, *settling; /* lists; the last of `ready` is still forming */
	bool worker_busy;                       /* the worker has a batch */
	bool lost; /* subscribe anew: the broker has cancelled, or a channel or a turn has failed */
	enum intake intake;
	size_t window;           /* messages that the broker may send without an ack */
	size_t worker_holds;     /* deliveries of the worker's bunch; 0: given back */
	int64_t worker_first_ms; /* when the first of them was delivered */
	int64_t linger_until_ms; /* until then a bunch that is not full waits for more */
	uint64_t connection;     /* counts connections and consuming channels */
	char tag[32];            /* the subscription's name */
	unsigned consumed;       /* counts subscriptions, for their names */
	int64_t declare_ms;      /* when to declare the topology again */
	int64_t again_ms;        /* until then no copy is published */
	bool came;               /* a message came in this turn */
	int64_t came_ms;         /* when the last message came */
	int64_t drain_ms;        /* when draining began; 0: it has not */
	int64_t leave_ms;        /* when the pause or the drain began; 0: neither */
	uint32_t got; /* messages since then that queue_look_if_empty() got beside the window */
	int64_t pause_look_ms;
	unsigned pause_misses; /* looks in a row that found no pause */
};

/* consumer.c */
void consumer_threads_wait(struct consumer *c); /* waits until c->io and c->worker are set */

/* consumer_bunch.c */
/* The bunch that takes the next delivery. alone: one that holds no other delivery. */
struct bunch *consumer_bunch_forming(struct consumer *c, bool alone);
void consumer_bunch_drop(struct consumer *c, struct bunch *b);   /* keeps a few for later use */
void consumer_bunches_add(struct bunch **list, struct bunch *b); /* at its end */
void consumer_bunches_drop(struct consumer *c, struct bunch **list);
/* Drops bunches of a connection or channel that is gone: their tags mean other messages now. */
void consumer_bunches_drop_stale(struct consumer *c, struct bunch **list);
void consumer_bunches_free(struct consumer *c); /* after the threads */
size_t consumer_held(const struct consumer *c); /* deliveries that are not settled yet */

/* consumer_take.c */
struct broker *consumer_broker_new(struct consumer *c, const char *url, const char *name,
	unsigned heartbeat_s, struct err *e) MUST_CHECK;
/* In each turn: subscribes or cancels as the state wants it. -1: the connection is lost. */
int consumer_take_as_wanted(struct consumer *c, struct err *e) MUST_CHECK;
/* The window fills before we cancel, so nothing may be acked now. */
bool consumer_acks_wait(const struct consumer *c);
/* The broker has taken back all deliveries of this connection or channel. */
void consumer_connection_gone(struct consumer *c);

/* consumer_io.c */
void consumer_io_run(struct thread *t, void *arg);
void consumer_io_end(struct consumer *c); /* after the thread */

/* consumer_fate.c */
enum { FATE_DONE, FATE_RETRY, FATE_PERMANENT, FATE_EXHAUSTED, FATE_POISON, FATE_COUNT };
extern const char *const consumer_fates[FATE_COUNT];
int consumer_ack_front(struct consumer *c, struct err *e) MUST_CHECK;
/* Publishes copies and acks the deliveries that need none. -1: the connection is lost. */
int consumer_settle(struct consumer *c, struct bunch *b, struct err *e) MUST_CHECK;
void consumer_confirmed(void *arg, uint64_t tag, bool nacked);
void consumer_returned(void *arg, const struct broker_message *m, int code, const char *why);

/* consumer_pause.c */
/* In each turn, before we subscribe. -1: the connection is lost. */
int consumer_pause_look(struct consumer *c, struct err *e) MUST_CHECK;

/* consumer_indexes.c */
/* In the worker; does nothing until it is time. -1: the store is away. */
int consumer_indexes_look(struct consumer *c, struct err *e) MUST_CHECK;
const char *consumer_indexes_notice(struct consumer *c); /* main thread; NULL: all are there */

/* consumer_work.c */
void consumer_work_run(struct thread *t, void *arg);
