/* SPDX-License-Identifier: MIT */
/*
 * Redis. struct kv blocks and works in pipelines (consumers, tools). struct
 * kv_async lives on a libevent loop (the API). Each is one connection, which
 * connects, notices a loss and connects again by itself. Commands are encoded with
 * their lengths, so no text is ever part of a format.
 *
 * Threads: each struct belongs to one thread; any thread may read its link. The
 * process ignores SIGPIPE.
 *
 * Errors: while the server is away and the next try is not due, a call returns
 * ERR_AWAY at once. An error reply (KV_ERROR) does not fail the call: see
 * kv_check. After a lost connection it is unknown which commands ran, so send only
 * commands that may run twice.
 *
 * Time: connecting takes at most connect_ms, a whole flush at most call_ms. The C
 * library resolves a host *name*, and its wait depends on resolv.conf.
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
#define KV_REPLIES_BYTES_MAX (64u << 20) /* the unread replies of a flush */

/* r NULL: a subscription has begun, and messages before it may have been missed. */
typedef void kv_message_fn(void *arg, const struct kv_reply *r);

struct kv_options {
	const char *url;       /* redis://[[user]:password@]host:port/number */
	const char *link_name; /* NULL: "redis" */
	int64_t connect_ms;    /* 0: 2000 */
	int64_t call_ms;       /* 0: 2000 */
	int64_t ping_ms;       /* async: how often to ping an idle server; 0: 2000, -1: never */
	size_t calls_max;      /* async: commands in flight; 0: 1024 */
	/* async: the connection only listens to this channel and takes no commands */
	const char *channel;
	kv_message_fn *message;
	void *message_arg;
};

enum kv_type { KV_NIL, KV_TEXT, KV_INT, KV_ARRAY, KV_ERROR };

/* A view that lives as long as the flush's arena, or during the callback. */
struct kv_reply {
	enum kv_type type;
	const char *text; /* TEXT, ERROR: a NUL follows its length bytes, which may hold others */
	size_t length;
	int64_t number; /* INT */
	size_t count;   /* ARRAY */
	const void *own;
};

struct kv_reply kv_reply_at(const struct kv_reply *array, size_t i); /* i < count */
/* -1: the reply is an error. The text quotes no part of a command. */
int kv_check(const struct kv_reply *r, struct err *e) MUST_CHECK;
enum err_kind kv_error_kind(const char *text); /* by the error's first word; the only table */

/* A constant Lua script: sent by EVALSHA, or by EVAL if the server does not have it yet. */
struct kv_script {
	const char *text;
	char sha[41];
};
void kv_script_init(struct kv_script *s, const char *text);
/*
 * Begins a script: of_type(key, 'hash') returns 'hash' or 'none'. It deletes a key
 * of another type, which cannot be ours.
 */
#define KV_LUA_OF_TYPE \
	"local function of_type(key, want)\n" \
	" local has = redis.call('TYPE', key).ok\n" \
	" if has == want or has == 'none' then return has end\n" \
	" redis.call('DEL', key)\n" \
	" return 'none'\n" \
	"end\n"

/* Appends one command to b; lengths NULL: the words end with a NUL. */
void kv_encode(struct buf *b, size_t argc, const char *const *argv, const size_t *lengths);

/* ---- blocking ---- */

/* Connects at the first flush. ERR_INVALID: the URL. NULL on error. */
struct kv *kv_open(const struct kv_options *o, struct err *e) MUST_CHECK;
void kv_close(struct kv *k); /* NULL is fine */
struct link *kv_link(struct kv *k);
int kv_ping(struct kv *k, struct err *e) MUST_CHECK; /* the probe; the pipeline must be empty */
int64_t kv_due_ms(
	const struct kv *k); /* time until a call may try to connect; 0: now, or connected */

/*
 * Copies a command into the pipeline; ERR_LIMIT: the pipeline is full. lengths NULL:
 * see kv_encode.
 */
int kv_add(struct kv *k, size_t argc, const char *const *argv, const size_t *lengths, struct err *e)
	MUST_CHECK;
/* argv: the keys, then the arguments. A script that the server lacks runs last in its pipeline. */
int kv_add_script(struct kv *k, const struct kv_script *s, size_t keys, size_t argc,
	const char *const *argv, const size_t *lengths, struct err *e) MUST_CHECK;
size_t kv_added(const struct kv *k);
void kv_forget(struct kv *k); /* empties the pipeline */
/* Sends the pipeline; n = kv_added replies. The pipeline is empty afterwards, also on error. */
int kv_flush(struct kv *k, struct arena *mem, struct kv_reply *replies, size_t n, struct err *e)
	MUST_CHECK;
/*
 * Sends the pipeline if it holds anything; -1 also for an error reply. *replies (or
 * NULL): in mem.
 */
int kv_flush_all(struct kv *k, struct arena *mem, struct kv_reply **replies, struct err *e)
	MUST_CHECK;
/* Runs one command; the pipeline must be empty. An error reply is an error (kv_check). */
int kv_run(struct kv *k, struct arena *mem, size_t argc, const char *const *argv,
	const size_t *lengths, struct kv_reply *reply, struct err *e) MUST_CHECK;

/* ---- on the loop ---- */

/* Exactly one of r and e is not NULL. It may call kv_async_run but not kv_async_close. */
typedef void kv_done_fn(void *arg, const struct kv_reply *r, const struct err *e);

/* Begins to connect at once, and again by itself after each loss. */
struct kv_async *kv_async_open(struct event_base *base, const struct kv_options *o, struct err *e)
	MUST_CHECK;
void kv_async_close(struct kv_async *k); /* fails waiting calls with ERR_AWAY; NULL is fine */
struct link *kv_async_link(struct kv_async *k);
size_t kv_async_waiting(const struct kv_async *k);
/*
 * 0: the loop will call done once, never this function itself. −1: done is never
 * called (ERR_AWAY, ERR_LIMIT). argv is copied.
 */
int kv_async_run(struct kv_async *k, size_t argc, const char *const *argv, const size_t *lengths,
	kv_done_fn *done, void *arg, struct err *e) MUST_CHECK;
int kv_async_script(struct kv_async *k, const struct kv_script *s, size_t keys, size_t argc,
	const char *const *argv, const size_t *lengths, kv_done_fn *done, void *arg, struct err *e)
	MUST_CHECK;
