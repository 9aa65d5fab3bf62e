/* SPDX-License-Identifier: MIT */
/*
 * Redis. struct kv blocks and works in pipelines (consumers, tools), struct
 * kv_async lives on a libevent loop (the API). Each is one connection that
 * opens itself, notices that it is lost, and comes back on a new context after
 * any connection error. Commands are encoded by length: no text is ever part of
 * a format.
 *
 * Threads: each struct belongs to one thread; its link may be read by any. The
 * process ignores SIGPIPE.
 *
 * Errors: while the server is away and the next try is not due, a call answers
 * ERR_AWAY at once. A reply that is an error (KV_ERROR) is no error of the
 * call: see kv_check. After a lost connection nobody knows which of the
 * commands were carried out: send only what is harmless twice.
 *
 * Time: connecting lasts at most connect_ms, a flush call_ms in all. A host
 * *name* is resolved by the C library, which waits as resolv.conf says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "link/link.h"

struct event_base;
struct kv;
struct kv_async;
struct kv_reply;

#define KV_PIPELINE_MAX 4096
#define KV_PIPELINE_BYTES_MAX (16u << 20)
#define KV_REPLIES_BYTES_MAX (64u << 20) /* of the replies that are not read yet */

/* r NULL: the subscription has just begun (again), so messages may have been missed. */
typedef void kv_message_fn(void *arg, const struct kv_reply *r);

struct kv_options {
	const char *url;       /* redis://[[user]:password@]host:port/number */
	const char *link_name; /* NULL: "redis" */
	int64_t connect_ms;    /* 0: 2000 */
	int64_t call_ms;       /* 0: 2000 */
	int64_t ping_ms;       /* async: asks an idle server this often; 0: 2000, -1: never */
	size_t calls_max;      /* async: commands in flight; 0: 1024 */
	/* async: this connection only listens to a channel, and takes no commands */
	const char *channel;
	kv_message_fn *message;
	void *message_arg;
};

enum kv_type { KV_NIL, KV_TEXT, KV_INT, KV_ARRAY, KV_ERROR };

/* A view: lives as long as the arena of the flush, or the callback. */
struct kv_reply {
	enum kv_type type;
	const char *text; /* TEXT, ERROR: ends with a NUL that is not counted; may hold others */
	size_t length;
	int64_t number; /* INT */
	size_t count;   /* ARRAY */
	const void *own;
};

struct kv_reply kv_reply_at(const struct kv_reply *array, size_t i); /* i < count */
/* 0 unless the reply is an error; the text has no part of any command. */
int kv_check(const struct kv_reply *r, struct err *e) MUST_CHECK;
enum err_kind kv_error_kind(const char *text); /* by the error's first word, one table */

/* A Lua script: EVALSHA, and EVAL where the server does not have it yet. A constant. */
struct kv_script {
	const char *text;
	char sha[41];
};
void kv_script_init(struct kv_script *s, const char *text);
/*
 * The begin of a script: of_type(key, 'hash') answers 'hash' or 'none'. A key of
 * another type is nothing of ours and goes.
 */
#define KV_LUA_OF_TYPE \
	"local function of_type(key, want)\n" \
	" local has = redis.call('TYPE', key).ok\n" \
	" if has == want or has == 'none' then return has end\n" \
	" redis.call('DEL', key)\n" \
	" return 'none'\n" \
	"end\n"

/* One command at b's end; lengths NULL: texts. */
void kv_encode(struct buf *b, size_t argc, const char *const *argv, const size_t *lengths);

/* ---- blocking ---- */

/* Connects at the first flush. ERR_INVALID: the URL. NULL on error. */
struct kv *kv_open(const struct kv_options *o, struct err *e) MUST_CHECK;
void kv_close(struct kv *k); /* NULL is fine */
struct link *kv_link(struct kv *k);
int kv_ping(struct kv *k, struct err *e) MUST_CHECK; /* with nothing added: the probe */
int64_t kv_due_ms(const struct kv *k); /* until a call may try to connect; 0: now, or connected */

/* Adds to the pipeline, copied; ERR_LIMIT past its bounds. lengths NULL: texts. */
int kv_add(struct kv *k, size_t argc, const char *const *argv, const size_t *lengths, struct err *e)
	MUST_CHECK;
/* argv: keys, then arguments. A script the server lacks runs after the rest of its pipeline. */
int kv_add_script(struct kv *k, const struct kv_script *s, size_t keys, size_t argc,
	const char *const *argv, const size_t *lengths, struct err *e) MUST_CHECK;
size_t kv_added(const struct kv *k);
void kv_forget(struct kv *k); /* empties the pipeline */
/* Sends it all; replies[n], n = kv_added. The pipeline is empty after, whatever happened. */
int kv_flush(struct kv *k, struct arena *mem, struct kv_reply *replies, size_t n, struct err *e)
	MUST_CHECK;
/* Whatever is added, if anything; -1 also where a reply is an error. replies: NULL, or all of them, mem's. */
int kv_flush_all(struct kv *k, struct arena *mem, struct kv_reply **replies, struct err *e)
	MUST_CHECK;
/* One command with nothing added; an error reply is an error (kv_check). */
int kv_run(struct kv *k, struct arena *mem, size_t argc, const char *const *argv,
	const size_t *lengths, struct kv_reply *reply, struct err *e) MUST_CHECK;

/* ---- on the loop ---- */

/* Exactly one of r and e is not NULL. May call kv_async_run, not close. */
typedef void kv_done_fn(void *arg, const struct kv_reply *r, const struct err *e);

/* Begins to connect at once, and by itself again after each loss. */
struct kv_async *kv_async_open(struct event_base *base, const struct kv_options *o, struct err *e)
	MUST_CHECK;
void kv_async_close(struct kv_async *k); /* answers what waits with ERR_AWAY; NULL is fine */
struct link *kv_async_link(struct kv_async *k);
size_t kv_async_waiting(const struct kv_async *k);
/*
 * 0: done will be called, once, from the loop and never from in here. −1: it
 * never will (ERR_AWAY, ERR_LIMIT). What argv points to is copied.
 */
int kv_async_run(struct kv_async *k, size_t argc, const char *const *argv, const size_t *lengths,
	kv_done_fn *done, void *arg, struct err *e) MUST_CHECK;
int kv_async_script(struct kv_async *k, const struct kv_script *s, size_t keys, size_t argc,
	const char *const *argv, const size_t *lengths, kv_done_fn *done, void *arg, struct err *e)
	MUST_CHECK;
