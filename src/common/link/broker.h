/* SPDX-License-Identifier: MIT */
/*
 * RabbitMQ: one connection. broker_connect opens it. Any error ends it, and the
 * owner calls broker_connect again, waiting broker_due_ms between tries.
 * The connection has three channels: one for publishing (in confirm mode), one for
 * consuming, and one for declaring and deleting, so that a refused declaration
 * closes neither of the other two. A channel that the broker closes is opened
 * again when it is next needed.
 *
 * Threads: a connection belongs to one thread; any thread may read its link.
 * The process ignores SIGPIPE.
 *
 * Time: no call waits longer than its deadline (connect_ms, call_ms, the pump's
 * wait_ms), not even in the middle of a message. The C library resolves a host
 * *name*, and its wait depends on resolv.conf. Calls that wait send and watch the
 * heartbeats: let no more than broker_poll_ms pass between two pumps.
 *
 * Callbacks run inside the pump and inside any call that waits for the broker. A
 * callback may call broker_publish, broker_ack and broker_nack, which only queue.
 * It must not call functions that wait: pump, flush, connect, close, declare ...
 *
 * Errors: ERR_AWAY: not connected, lost, blocked or too slow. ERR_INTERNAL: the
 * broker broke the protocol, and the connection was given up. A refusal keeps the
 * broker's words: ERR_MISSING (404), ERR_CONFLICT (403, 405, 406). ERR_LIMIT: the
 * window of confirms or the output is full. ERR_INVALID: a name over 255 bytes, or
 * a URL. Texts name neither passwords nor addresses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "link/broker_value.h"
#include "link/link.h"

struct broker;

#define BROKER_BODY_MAX (128u << 20)
#define BROKER_HEAD_MAX (1u << 20)
#define BROKER_OUTPUT_MAX (160u << 20)

struct broker_properties {
	/* NULL: absent. Each at most 255 bytes. */
	const char *content_type, *content_encoding, *correlation_id, *reply_to, *expiration;
	const char *message_id, *type, *user_id, *app_id, *cluster_id;
	uint8_t delivery_mode; /* 2: persistent; 0: absent */
	bool has_priority, has_timestamp;
	uint8_t priority;
	uint64_t timestamp; /* seconds since 1970 */
	struct broker_table headers;
};

/* A message from the broker. It is valid during the callback only; broker_message_copy keeps it. */
struct broker_message {
	const char *body; /* not NUL-ended */
	size_t length;
	const char *exchange, *routing_key;
	const char *consumer; /* the consumer's tag; "" for a returned message and for broker_get */
	uint64_t tag;         /* for ack and nack; 0 for a returned message */
	bool redelivered;
	int64_t delivery_count; /* x-delivery-count; 0 when absent */
	struct broker_properties props;
};

/* Any may be NULL. */
struct broker_events {
	void (*deliver)(void *arg, const struct broker_message *m);
	/* Called once for each published tag, also when the broker confirms several at once. */
	void (*confirmed)(void *arg, uint64_t tag, bool nacked);
	/* Called before the confirm of the same message; its message_id identifies it. */
	void (*returned)(void *arg, const struct broker_message *m, int code, const char *why);
	void (*cancelled)(void *arg,
		const char *consumer); /* the broker cancelled: the queue is gone */
	void (*blocked)(void *arg,
		const char *why); /* an alarm of the broker; the link shows it too */
	void (*unblocked)(void *arg);
	/* The consuming or publishing channel. Its unacked deliveries went back to the broker. */
	void (*channel_closed)(void *arg, int code, const char *why);
};

struct broker_options {
	const char *url;       /* amqp(s)://...; of a comma list, the first that answers */
	const char *name;      /* the daemon's name: connection_name */
	const char *link_name; /* NULL: "rabbitmq" */
	int64_t connect_ms;    /* for connecting and TLS with a URL, again for the login; 0: 2000 */
	int64_t call_ms;       /* for a flush, and for the answer to a question; 0: 4000 */
	unsigned heartbeat_s;  /* 0: 10 */
	size_t window;         /* the most unconfirmed messages; 0: 4096 */
	const struct broker_events *events;
	void *arg;
};

/* Parses the URLs and does not connect yet. NULL on error (ERR_INVALID). */
struct broker *broker_new(const struct broker_options *o, struct err *e) MUST_CHECK;
void broker_free(struct broker *b);                             /* closes first; NULL is fine */
int broker_connect(struct broker *b, struct err *e) MUST_CHECK; /* one try, 5 s at most */
/* Sends the queued frames and closes in order, within 1 s. broker_connect may follow. */
void broker_close(struct broker *b);
int64_t broker_due_ms(
	const struct broker *b); /* time until the next try is due; 0: now, or connected */
struct link *broker_link(struct broker *b);
const char *broker_server_version(const struct broker *b); /* "4.3.0"; "" before the first login */
bool broker_server_at_least(const struct broker *b, unsigned major, unsigned minor);

/*
 * Waits at most wait_ms (0: not at all) for work, then does all of it: reads
 * frames, calls the callbacks, sends queued frames and heartbeats. -1: the
 * connection is lost. The broker takes back unacked deliveries, and unconfirmed
 * messages stay unconfirmed.
 */
int broker_pump(struct broker *b, int64_t wait_ms, struct err *e) MUST_CHECK;
/* For the caller's own poll(2): descriptor (-1: none), events, longest wait. Then pump with 0. */
int broker_fd(const struct broker *b);
short broker_poll_events(const struct broker *b);
int64_t broker_poll_ms(const struct broker *b);

/* ---- publishing ---- */

struct broker_publish {
	const char *exchange, *routing_key;
	bool mandatory;
	const char *body;
	size_t length;
	struct broker_properties props; /* its headers are sent byte for byte, except */
	const char *const *drop; /* these names, ended by NULL; "x-death*": names that begin so */
	const struct broker_field *headers; /* these are added; each replaces one of its name */
	size_t header_count;
	bool headers_optional; /* leave out `headers` if they do not fit into a frame */
	size_t carried_max;    /* leave out carried headers above this size; 0: keep all */
};

/*
 * Queues a message. broker_flush or the pump sends many in one write. tag (may be
 * NULL) counts from 1 on each new connection. ERR_AWAY while the broker blocks.
 */
int broker_publish(struct broker *b, const struct broker_publish *p, uint64_t *tag, struct err *e)
	MUST_CHECK;
/*
 * If the headers are too large for a frame, sets carried_max so that the largest
 * are left out and the rest fits. False: they fit, or no limit makes them fit.
 */
bool broker_publish_trim(const struct broker *b, struct broker_publish *p) MUST_CHECK;
/*
 * Sends all queued frames. If that takes over call_ms, the connection is given up.
 * 0 with broker_unsent > 0: the broker blocks, and the pump sends the rest later.
 */
int broker_flush(struct broker *b, struct err *e) MUST_CHECK;
size_t broker_unsent(const struct broker *b);      /* bytes */
size_t broker_unconfirmed(const struct broker *b); /* messages */
/* Pumps until every message is confirmed; ERR_AWAY: not within wait_ms. */
int broker_settle(struct broker *b, int64_t wait_ms, struct err *e) MUST_CHECK;

/* ---- consuming ---- */

int broker_qos(struct broker *b, uint16_t prefetch, struct err *e) MUST_CHECK; /* before consume */
/* tag: a name for the consumer, which the caller chooses. */
int broker_consume(struct broker *b, const char *queue, const char *tag, bool exclusive,
	struct err *e) MUST_CHECK;
/* Deliveries in flight arrive before this returns. Unacked deliveries stay unacked. */
int broker_cancel(struct broker *b, const char *tag, struct err *e) MUST_CHECK;
/* Queued behind earlier publishes; ERR_AWAY: the connection is lost. */
int broker_ack(struct broker *b, uint64_t tag, bool multiple, struct err *e) MUST_CHECK;
int broker_nack(struct broker *b, uint64_t tag, bool multiple, bool requeue, struct err *e)
	MUST_CHECK;
/* Gets one message, in mem, without consuming; *out NULL: the queue is empty. */
int broker_get(struct broker *b, const char *queue, struct arena *mem, struct broker_message **out,
	struct err *e) MUST_CHECK;
/*
 * Closes the consuming channel and opens it again, so all unacked deliveries go
 * back unchanged. The queue takes them back a little later: an immediate get may
 * miss them.
 */
int broker_give_back(struct broker *b, struct err *e) MUST_CHECK;
/* NULL: mem is full. */
struct broker_message *broker_message_copy(const struct broker_message *m, struct arena *mem)
	MUST_CHECK;

/* ---- exchanges and queues ---- */

struct broker_queue {
	const char *name; /* "": the broker chooses a name */
	bool passive, durable, exclusive, auto_delete;
	const struct broker_field *args;
	size_t arg_count;
};
struct broker_queue_info {
	char name[256];
	uint32_t messages, consumers; /* ready messages; consumers */
};

int broker_exchange_declare(struct broker *b, const char *name, const char *type, bool passive,
	bool durable, struct err *e) MUST_CHECK;
int broker_exchange_delete(struct broker *b, const char *name, struct err *e) MUST_CHECK;
/* out may be NULL. passive only reads the queue's depth; ERR_MISSING: no such queue. */
int broker_queue_declare(struct broker *b, const struct broker_queue *q,
	struct broker_queue_info *out, struct err *e) MUST_CHECK;
int broker_queue_bind(struct broker *b, const char *queue, const char *exchange, const char *key,
	struct err *e) MUST_CHECK;
int broker_queue_unbind(struct broker *b, const char *queue, const char *exchange, const char *key,
	struct err *e) MUST_CHECK;
/* messages (may be NULL): how many were removed. */
int broker_queue_purge(struct broker *b, const char *queue, uint32_t *messages, struct err *e)
	MUST_CHECK;
int broker_queue_delete(struct broker *b, const char *queue, uint32_t *messages, struct err *e)
	MUST_CHECK;
