/* SPDX-License-Identifier: MIT */
/* Shared by the files of link/broker. Other files must not include it. */
#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif

#include "base/buf.h"
#include "base/url.h"
#include "link/broker.h"

/* Channel 0 is the connection itself. An error closes only its own channel. */
enum { CH_CONSUME = 1, CH_PUBLISH, CH_RULE, CH_COUNT };

/* For TLS: a frame of this size fits into a socket that polls as writable. */
#define TLS_FRAME_MAX 16384
#define BUF_KEPT (1u << 20)
#define TEXTS_MAX 13 /* short strings of a message, 255 bytes each */

/* A message whose frames are still arriving. */
struct incoming {
	amqp_method_number_t id; /* deliver, return, get-ok; 0: none */
	bool has_header;
	uint64_t size, got;
	struct buf head; /* the raw properties; m.props.headers points into it */
	struct buf body; /* a body of several frames; a single frame is used in place */
	int return_code;
	char return_text[256];
	struct broker_message m;
	char texts[TEXTS_MAX * 256];
	size_t texts_used;
};

struct channel {
	bool open;
	struct incoming in;
};

/* The one open question. */
struct question {
	uint16_t channel;
	amqp_method_number_t id, or_id; /* the methods that answer it; id 0: no open question */
	bool answered;
	int refused;          /* the reply code; 0: not refused */
	char words[256];      /* the broker's words */
	amqp_method_t answer; /* the library owns `decoded`, valid until the next read */
	struct arena *mem;    /* for broker_get: the message goes here */
	struct broker_message *got;
};

struct broker {
	struct link link;
	struct arena *mem; /* holds urls and name */
	struct url *urls;
	size_t url_count, url_at; /* url_at: the URL to try first */
	const char *name;
	int64_t connect_ms, call_ms;
	unsigned heartbeat_s;
	struct broker_events events;
	void *arg;

	amqp_connection_state_t conn; /* NULL: not connected yet, or closed */
	int fd;                       /* -1 unless the connection can be used */
	bool tls, blocked;
	bool in_call;    /* a callback runs */
	bool more;       /* the library may still hold bytes that poll does not show */
	int64_t due_ms;  /* no try before this time (monotonic) */
	int64_t beat_ms; /* the agreed heartbeat */
	int64_t heard_ms, sent_ms;
	uint64_t frames; /* received */
	uint32_t frame_max;
	char why[256]; /* why the connection was lost */
	struct channel ch[CH_COUNT];
	struct question ask;

	struct buf out; /* whole frames; the first out_at bytes are sent */
	size_t out_at;

	size_t window;
	uint8_t *done;               /* flags by tag % window: 1 is confirmed */
	uint64_t next_tag, open_tag; /* the next tag to assign; the oldest unconfirmed tag */
	size_t unconfirmed;

	char version[32];
	unsigned version_major, version_minor;
};

/* broker.c */
/* Ends the connection: the link is DOWN, nothing more is sent. Returns -1. */
int broker_lost(struct broker *b, struct err *e, const char *format, ...) PRINTF_LIKE(3, 4);
/*
 * The same with ERR_INTERNAL: the broker broke the protocol, and may do so again after
 * a reconnect.
 */
int broker_broken(struct broker *b, struct err *e, const char *format, ...) PRINTF_LIKE(3, 4);
int broker_usable(const struct broker *b, struct err *e) MUST_CHECK;
void broker_discard(struct broker *b); /* drops the connection and its state */
enum err_kind broker_code_kind(int code);

/* broker_login.c */
int broker_login(struct broker *b, const struct url *u, int64_t until_ms, struct err *e) MUST_CHECK;

/* broker_frames.c */
size_t broker_frame_begin(struct buf *out, uint8_t type, uint16_t channel);
void broker_frame_end(struct buf *out, size_t start);
size_t broker_method_begin(struct buf *out, uint16_t channel, amqp_method_number_t id);
void broker_put(struct buf *out, uint64_t v, size_t bytes);
int broker_put_name(struct buf *out, const char *text); /* -1: over 255 bytes */
int broker_send(struct broker *b, struct err *e)
	MUST_CHECK;                  /* sends as much as possible without waiting */
void broker_buf_rest(struct buf *b); /* empties b; frees the memory of a large message */

/* broker_turn.c */
int broker_turn(struct broker *b, int64_t wait_ms, struct err *e) MUST_CHECK;

/* broker_dispatch.c */
int broker_dispatch(struct broker *b, const amqp_frame_t *f, struct err *e) MUST_CHECK;

/* broker_message.c */
void broker_message_begin(struct incoming *in, const amqp_method_t *method);
int broker_message_header(struct incoming *in, const uint8_t *raw, size_t length, uint64_t size,
	struct err *e) MUST_CHECK;
int broker_properties_parse(struct incoming *in, const uint8_t *raw, size_t length) MUST_CHECK;

/* broker_publish.c */
void broker_confirm(struct broker *b, uint64_t tag, bool multiple, bool nacked);
int broker_publish_encode(struct buf *out, const struct broker_publish *p, uint32_t frame_max,
	struct err *e) MUST_CHECK;

/* broker_ask.c */
int broker_ask(struct broker *b, uint16_t channel, size_t start, int bad_name,
	amqp_method_number_t id, amqp_method_number_t or_id, struct err *e) MUST_CHECK;
int broker_ready(struct broker *b, uint16_t channel, struct err *e)
	MUST_CHECK; /* opens a closed channel again */
int broker_channels_open(struct broker *b, int64_t until_ms, struct err *e) MUST_CHECK;
