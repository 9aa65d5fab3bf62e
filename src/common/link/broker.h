/* SPDX-License-Identifier: MIT */
/*
 * RabbitMQ: one connection, opened by broker_connect, lost for good after any
 * error, then opened anew. Whoever owns it waits broker_due_ms between tries.
 * It has three channels: publishing (in confirm mode), consuming, and a third
 * for declaring and deleting, so that a refused declaration closes neither of
 * the first two. A refused one is opened again by itself.
 *
 * Threads: a connection belongs to one thread; its link may be read by any.
 * The process ignores SIGPIPE.
 *
 * Time: no call waits longer than its deadline (connect_ms, call_ms, the pump's
 * wait_ms), also in mid-message. A host *name* is resolved by the C library,
 * which waits as resolv.conf says. Heartbeats are sent and watched by whatever
 * waits here: let no more than broker_poll_ms pass between two pumps.
 *
 * Callbacks are called from the pump and from any call that waits for the
 * broker. In one, broker_publish, broker_ack and broker_nack may be called,
 * since they only queue; what waits (pump, flush, connect, close, declare ...)
 * may not (must).
 *
 * Errors: ERR_AWAY: not connected, lost, blocked or too slow. ERR_INTERNAL: lost
 * over something that came and breaks the protocol. The broker's own
 * refusals keep its words: ERR_MISSING (404), ERR_CONFLICT (403, 405, 406).
 * ERR_LIMIT: the window of confirms or the output is full. ERR_INVALID: a name
 * over 255 bytes, a URL. Text names neither passwords nor addresses.
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

/* What came. All of it is valid during the callback only; broker_message_copy keeps it. */
struct broker_message {
	const char *body; /* not NUL-ended */
	size_t length;
	const char *exchange, *routing_key;
	const char *consumer; /* tag; "" of a got or returned message */
	uint64_t tag;         /* for ack and nack; 0 of a returned message */
	bool redelivered;
	int64_t delivery_count; /* x-delivery-count; 0 when absent */
	struct broker_properties props;
};

/* Any may be NULL. */
struct broker_events {
	void (*deliver)(void *arg, const struct broker_message *m);
	/* Once for each published tag; "multiple" is already taken apart. */
	void (*confirmed)(void *arg, uint64_t tag, bool nacked);
	/* Before the confirm of the same message; tell it by its message_id. */
	void (*returned)(void *arg, const struct broker_message *m, int code, const char *why);
	void (*cancelled)(void *arg, const char *consumer); /* by the broker: the queue is gone */
	void (*blocked)(void *arg, const char *why);        /* an alarm; the link says it too */
	void (*unblocked)(void *arg);
	/* The consuming or publishing channel; what it held is the broker's again. */
	void (*channel_closed)(void *arg, int code, const char *why);
};

struct broker_options {
	const char *url;       /* amqp(s)://..., of several (commas) the first that answers */
	const char *name;      /* the daemon's: connection_name */
	const char *link_name; /* NULL: "rabbitmq" */
	int64_t connect_ms;    /* of one URL: connect, TLS; then again login. 0: 2000 */
	int64_t call_ms;       /* of a flush and of an answer to a question; 0: 4000 */
	unsigned heartbeat_s;  /* 0: 10 */
	size_t window;         /* unconfirmed messages at most; 0: 4096 */
	const struct broker_events *events;
	void *arg;
};

/* Parses; connects nothing. NULL on error (ERR_INVALID). */
struct broker *broker_new(const struct broker_options *o, struct err *e) MUST_CHECK;
void broker_free(struct broker *b);                             /* closes too; NULL is fine */
int broker_connect(struct broker *b, struct err *e) MUST_CHECK; /* one try, 5 s at most */
/* Sends what is queued and says goodbye, 1 s at most. The next broker_connect may follow. */
void broker_close(struct broker *b);
int64_t broker_due_ms(const struct broker *b); /* until the next try is due; 0: now, or connected */
struct link *broker_link(struct broker *b);
const char *broker_server_version(const struct broker *b); /* "4.3.0"; "" before the first login */
bool broker_server_at_least(const struct broker *b, unsigned major, unsigned minor);

/*
 * Waits at most wait_ms (0: not at all) for anything to do, then does all there
 * is: reads, calls back, sends what is queued, heartbeats. -1: the connection
 * is lost, and with it every unacked delivery and unconfirmed message.
 */
int broker_pump(struct broker *b, int64_t wait_ms, struct err *e) MUST_CHECK;
/* For a poll(2) of one's own: descriptor (-1: none), events, longest wait. Then pump with 0. */
int broker_fd(const struct broker *b);
short broker_poll_events(const struct broker *b);
int64_t broker_poll_ms(const struct broker *b);

/* ---- publishing ---- */

struct broker_publish {
	const char *exchange, *routing_key;
	bool mandatory;
	const char *body;
	size_t length;
	struct broker_properties
		props;           /* its headers go along as they are, byte for byte, but for */
	const char *const *drop; /* these; NULL-ended; "x-death*" also drops what begins so */
	const struct broker_field *headers; /* then these, each in place of any of its name */
	size_t header_count;
	bool headers_optional; /* "headers" are left out where they do not fit into a frame */
	size_t carried_max;    /* carried headers over this many bytes are left out; 0: none is */
};

/*
 * Queues it; broker_flush or the pump sends it, many in one write. tag (may be
 * NULL) counts from 1 anew with each connection. Not while the broker blocks.
 */
int broker_publish(struct broker *b, const struct broker_publish *p, uint64_t *tag, struct err *e)
	MUST_CHECK;
/*
 * Where the headers are too large for a frame: sets carried_max so that they
 * fit, the largest being left out. False: they fit, or no limit makes them fit.
 */
bool broker_publish_trim(const struct broker *b, struct broker_publish *p) MUST_CHECK;
/*
 * Sends all that is queued, within call_ms; past that the connection is lost.
 * 0 with broker_unsent > 0: the broker blocks; the pump sends the rest later.
 */
int broker_flush(struct broker *b, struct err *e) MUST_CHECK;
size_t broker_unsent(const struct broker *b);      /* bytes */
size_t broker_unconfirmed(const struct broker *b); /* messages */
/* Pumps until nothing is unconfirmed; ERR_AWAY when that takes over wait_ms. */
int broker_settle(struct broker *b, int64_t wait_ms, struct err *e) MUST_CHECK;

/* ---- consuming ---- */

int broker_qos(struct broker *b, uint16_t prefetch, struct err *e) MUST_CHECK; /* before consume */
/* tag: the consumer's name, one's own choice. */
int broker_consume(struct broker *b, const char *queue, const char *tag, bool exclusive,
	struct err *e) MUST_CHECK;
/* Deliveries that are on their way still come, before it returns; what is unacked stays so. */
int broker_cancel(struct broker *b, const char *tag, struct err *e) MUST_CHECK;
/* Queued as publishes are, behind them; ERR_AWAY when the connection is lost. */
int broker_ack(struct broker *b, uint64_t tag, bool multiple, struct err *e) MUST_CHECK;
int broker_nack(struct broker *b, uint64_t tag, bool multiple, bool requeue, struct err *e)
	MUST_CHECK;
/* One message without consuming; *out NULL: the queue is empty. All of it is mem's. */
int broker_get(struct broker *b, const char *queue, struct arena *mem, struct broker_message **out,
	struct err *e) MUST_CHECK;
/*
 * Closes the consuming channel and opens it again: all that is unacked goes back
 * as it was. The queue does so in its own time: a get right after may miss it.
 */
int broker_give_back(struct broker *b, struct err *e) MUST_CHECK;
/* NULL when mem is full. */
struct broker_message *broker_message_copy(const struct broker_message *m, struct arena *mem)
	MUST_CHECK;

/* ---- exchanges and queues ---- */

struct broker_queue {
	const char *name; /* "": the broker makes one up */
	bool passive, durable, exclusive, auto_delete;
	const struct broker_field *args;
	size_t arg_count;
};
struct broker_queue_info {
	char name[256];
	uint32_t messages, consumers; /* ready ones; consumers */
};

int broker_exchange_declare(struct broker *b, const char *name, const char *type, bool passive,
	bool durable, struct err *e) MUST_CHECK;
int broker_exchange_delete(struct broker *b, const char *name, struct err *e) MUST_CHECK;
/* out may be NULL. passive: ERR_MISSING where there is none, else its depth. */
int broker_queue_declare(struct broker *b, const struct broker_queue *q,
	struct broker_queue_info *out, struct err *e) MUST_CHECK;
int broker_queue_bind(struct broker *b, const char *queue, const char *exchange, const char *key,
	struct err *e) MUST_CHECK;
int broker_queue_unbind(struct broker *b, const char *queue, const char *exchange, const char *key,
	struct err *e) MUST_CHECK;
/* messages (may be NULL): how many went. */
int broker_queue_purge(struct broker *b, const char *queue, uint32_t *messages, struct err *e)
	MUST_CHECK;
int broker_queue_delete(struct broker *b, const char *queue, uint32_t *messages, struct err *e)
	MUST_CHECK;
