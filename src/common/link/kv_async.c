/* SPDX-License-Identifier: MIT */
/*
 * Redis on a libevent loop. hiredis before 1.0 has no timeouts here, so one timer
 * serves each phase. All calls have the same time, so the oldest call's deadline
 * comes first. A late reply ends the connection, because replies carry no number
 * that would tell to which call they belong.
 */
#include "link/kv_own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <hiredis/alloc.h>
#include <hiredis/async.h>
#include <hiredis/adapters/libevent.h>

#include "base/clock.h"

enum phase { PHASE_WAITING, PHASE_CONNECTING, PHASE_READY };

enum call_kind { CALL_PLAIN, CALL_SCRIPT, CALL_HELLO };

/* A command given to hiredis, which calls back exactly once, also when the connection ends. */
struct call {
	struct kv_async *k;
	struct call *next;
	kv_done_fn *done;
	void *arg;
	int64_t deadline_ms;
	enum call_kind kind;
	const struct kv_script
		*script; /* SCRIPT: sent again with its text if the server lacks it */
	size_t argc, tail_length;
	char tail[];
};

struct kv_async {
	struct kv_settings settings;
	struct link link;
	struct event_base *base;
	redisAsyncContext *c; /* NULL: not connected */
	enum phase phase;
	struct event *timer;
	struct event *first;       /* for a channel's connection: see on_first_readable */
	struct call *head, **tail; /* in the order of the replies */
	size_t waiting, calls_max, hello_left;
	int64_t ping_ms;
	char *channel;
	kv_message_fn *message;
	void *message_arg;
	char why[160]; /* the reason of the loss, for the callers */
	bool closing;
	unsigned calling;
};

static void on_reply(redisAsyncContext *c, void *reply, void *arg);

static void
timer_set(struct kv_async *k, int64_t ms)
{
	const struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (ms < 0)
		must(event_del(k->timer) == 0);
	else
		must(event_add(k->timer, &tv) == 0);
}

/* Sets the timer of a usable connection: the oldest call's deadline, or the next ping. */
static void
timer_next(struct kv_async *k)
{
	int64_t left;

	if (k->phase != PHASE_READY)
		return;
	left = k->head ? k->head->deadline_ms - clock_mono_ms() : k->channel ? -1 : k->ping_ms;
	timer_set(k, k->head && left < 0 ? 0 : left);
}

/* Gives the context up. hiredis then calls back for all waiting calls, without a reply. */
static void
connection_lost(struct kv_async *k, const char *why, bool free_it)
{
	redisAsyncContext *c = k->c;

	if (k->phase == PHASE_WAITING)
		return;
	snprintf(k->why, sizeof k->why, "%s", why);
	k->c = NULL;
	k->phase = PHASE_WAITING;
	k->hello_left = 0;
	if (k->first)
		event_free(k->first);
	k->first = NULL;
	if (k->closing)
		link_closed(&k->link);
	else
		link_state_set(&k->link, LINK_DOWN, k->why);
	timer_set(k, k->closing ? -1 : link_wait_ms(&k->link));
	if (c && free_it)
		redisAsyncFree(c);
}

static struct call *
call_new(struct kv_async *k, enum call_kind kind, size_t tail_length)
{
	struct call *call = must_calloc(1, sizeof *call + tail_length);

	call->k = k;
	call->kind = kind;
	call->tail_length = tail_length;
	return call;
}

/*
 * Hands the encoded command to hiredis. False: hiredis did not take it; the caller
 * still owns call.
 */
static bool
call_send(struct call *call, const struct buf *b)
{
	struct kv_async *k = call->k;

	call->next = NULL;
	call->deadline_ms = clock_mono_ms() + k->settings.call_ms;
	if (redisAsyncFormattedCommand(k->c, on_reply, call, b->data, b->length) != REDIS_OK)
		return false;
	*k->tail = call;
	k->tail = &call->next;
	k->waiting++;
	if (k->head == call)
		timer_next(k);
	return true;
}

static bool
script_again(struct call *call)
{
	struct buf b;
	bool sent;

	buf_init(&b, KV_PIPELINE_BYTES_MAX);
	kv_encode_eval(&b, call->script, false, call->argc, call->tail, call->tail_length);
	call->kind = CALL_PLAIN;
	sent = !buf_failed(&b) && call_send(call, &b);
	buf_fini(&b);
	return sent;
}

static void
ready_set(struct kv_async *k)
{
	k->phase = PHASE_READY;
	link_state_set(&k->link, LINK_UP, NULL);
	timer_next(k);
}

static void
on_message(redisAsyncContext *c, void *reply, void *arg)
{
	struct kv_async *k = arg;
	struct kv_reply v, type, body;

	if (!reply || k->c != c)
		return;
	v = kv_view(reply);
	if (v.type != KV_ARRAY || v.count != 3)
		return;
	type = kv_reply_at(&v, 0);
	body = kv_reply_at(&v, 2);
	k->calling++;
	if (type.type == KV_TEXT && strcmp(type.text, "subscribe") == 0) {
		k->message(k->message_arg, NULL);
		ready_set(k);
	} else if (type.type == KV_TEXT && strcmp(type.text, "message") == 0)
		k->message(k->message_arg, &body);
	k->calling--;
}

static void
hello_replied(struct kv_async *k, const struct kv_reply *v)
{
	struct err e = ERR_INIT;

	if (kv_hello_check(v, &e)) {
		connection_lost(k, e.text, true);
		return;
	}
	if (--k->hello_left > 0)
		return;
	if (k->channel) { /* usable once the server confirms the subscription */
		const char *argv[] = { "SUBSCRIBE", k->channel };

		if (redisAsyncCommandArgv(k->c, on_message, k, 2, argv, NULL) != REDIS_OK)
			connection_lost(k, "could not subscribe", true);
		return;
	}
	ready_set(k);
}

static void
on_reply(redisAsyncContext *c, void *reply, void *arg)
{
	struct call *call = arg;
	struct kv_async *k = call->k;
	struct kv_reply v = { 0 };
	struct err e = ERR_INIT;

	must(k->head == call);
	k->head = call->next;
	if (!k->head)
		k->tail = &k->head;
	k->waiting--;
	if (!reply)
		connection_lost(k, c->errstr && *c->errstr ? c->errstr : "the connection was lost",
			false);
	else
		v = kv_view(reply);
	if (reply && k->c == c && call->kind == CALL_SCRIPT && kv_is_noscript(&v) &&
		script_again(call)) {
		timer_next(k);
		return;
	}
	timer_next(k);
	if (call->kind == CALL_HELLO) {
		if (reply && k->c == c && k->phase == PHASE_CONNECTING)
			hello_replied(k, &v);
	} else if (call->done) {
		if (!reply)
			err_set(&e, ERR_AWAY, "%s is away: %s", k->link.name, k->why);
		k->calling++;
		call->done(call->arg, reply ? &v : NULL, reply ? NULL : &e);
		k->calling--;
	}
	free(call);
}

/*
 * Reads the channel's messages before any other socket in the same turn of the
 * loop. So a request that arrives after a message is handled after that message.
 * hiredis' own event then finds nothing to read.
 */
static void
on_first_readable(evutil_socket_t fd, short what, void *arg)
{
	struct kv_async *k = arg;

	(void)fd;
	(void)what;
	redisAsyncHandleRead(k->c);
}

static void
first_begin(struct kv_async *k)
{
	k->first = event_new(k->base, k->c->c.fd, EV_READ | EV_PERSIST, on_first_readable, k);
	must(k->first && event_priority_set(k->first, 0) == 0 && event_add(k->first, NULL) == 0);
}

static void
on_connect(const redisAsyncContext *c, int status)
{
	struct kv_async *k = c->data;
	struct call *call;
	struct buf b;

	if (k->c != c)
		return;
	if (status != REDIS_OK) {
		connection_lost(k, c->errstr, false); /* hiredis frees it */
		return;
	}
	link_socket_set(c->c.fd);
	if (k->channel)
		first_begin(k);
	buf_init(&b, 256 << 10);
	/* one at a time: hiredis counts replies by commands */
	for (size_t i = 0; kv_hello(&k->settings, i, &b); i++) {
		call = call_new(k, CALL_HELLO, 0);
		if (!buf_failed(&b) && call_send(call, &b))
			k->hello_left++;
		else
			free(call); /* without the PONG the connect times out */
		buf_clear(&b);
	}
	buf_fini(&b);
}

static void
on_disconnect(const redisAsyncContext *c, int status)
{
	struct kv_async *k = c->data;

	(void)status;
	if (k && k->c == c)
		connection_lost(k,
			c->errstr && *c->errstr ? c->errstr : "the server closed the connection",
			false);
}

static void
connect_begin(struct kv_async *k)
{
	struct err e = ERR_INIT;
	redisAsyncContext *c;

	link_state_set(&k->link, LINK_CONNECTING, NULL);
	k->phase = PHASE_CONNECTING;
	timer_set(k, k->settings.connect_ms);
	k->c = c = redisAsyncConnect(k->settings.host, k->settings.port);
	if (!c || c->err) {
		connection_lost(k, c ? c->errstr : "out of memory", true);
		return;
	}
	c->data = k;
	if (kv_tls_begin(&k->settings, &c->c, &e)) {
		connection_lost(k, e.text, true);
		return;
	}
	must(redisLibeventAttach(c, k->base) == REDIS_OK);
	must(redisAsyncSetConnectCallback(c, on_connect) == REDIS_OK);
	must(redisAsyncSetDisconnectCallback(c, on_disconnect) == REDIS_OK);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kv_async *k = arg;
	struct err e = ERR_INIT;

	(void)fd;
	(void)what;
	if (k->phase == PHASE_WAITING)
		connect_begin(k);
	else if (k->phase == PHASE_CONNECTING)
		connection_lost(k, "no answer to the connect in time", true);
	else if (k->head && k->head->deadline_ms <= clock_mono_ms())
		connection_lost(k, "no answer in time", true);
	else if (k->head ||
		kv_async_run(k, 1, (const char *const[]){ "PING" }, NULL, NULL, NULL, &e))
		timer_next(k);
}

struct kv_async *
kv_async_open(struct event_base *base, const struct kv_options *o, struct err *e)
{
	struct kv_async *k = must_calloc(1, sizeof *k);

	if (kv_settings_init(&k->settings, o, e)) {
		free(k);
		return NULL;
	}
	must(!o->channel || o->message);
	link_init(&k->link, o->link_name ? o->link_name : "redis");
	k->base = base;
	k->tail = &k->head;
	k->calls_max = o->calls_max ? o->calls_max : 1024;
	k->ping_ms = o->ping_ms ? o->ping_ms : 2000;
	k->channel = o->channel ? must_strdup(o->channel) : NULL;
	k->message = o->message;
	k->message_arg = o->message_arg;
	k->timer = event_new(base, -1, 0, on_timer, k);
	must(k->timer);
	timer_set(k, 0);
	return k;
}

void
kv_async_close(struct kv_async *k)
{
	if (!k)
		return;
	must(k->calling == 0);
	k->closing = true;
	connection_lost(k, "closing", true);
	must(!k->head);
	event_free(k->timer);
	link_fini(&k->link);
	kv_settings_fini(&k->settings);
	free(k->channel);
	free(k);
}

struct link *
kv_async_link(struct kv_async *k)
{
	return &k->link;
}

size_t
kv_async_waiting(const struct kv_async *k)
{
	return k->waiting;
}

static int
send_encoded(struct kv_async *k, struct call *call, const struct buf *b, struct err *e)
{
	struct link_view v;
	int rc = 0;

	must(!k->channel);
	if (k->phase != PHASE_READY) {
		link_look(&k->link, &v);
		rc = err_set(e, ERR_AWAY, "%s is away: %s", v.name, v.why);
	} else if (k->waiting >= k->calls_max) {
		rc = err_set(e, ERR_LIMIT, "%zu calls already wait for %s", k->waiting,
			k->link.name);
	} else if (buf_failed(b)) {
		rc = err_set(e, ERR_LIMIT, "a command is too large");
	} else if (!call_send(call, b)) {
		rc = err_set(e, ERR_AWAY, "%s is away: the connection was lost", k->link.name);
	}
	if (rc)
		free(call);
	return rc;
}

int
kv_async_run(struct kv_async *k, size_t argc, const char *const *argv, const size_t *lengths,
	kv_done_fn *done, void *arg, struct err *e)
{
	struct call *call = call_new(k, CALL_PLAIN, 0);
	struct buf b;
	int rc;

	call->done = done;
	call->arg = arg;
	buf_init(&b, KV_PIPELINE_BYTES_MAX);
	kv_encode(&b, argc, argv, lengths);
	rc = send_encoded(k, call, &b, e);
	buf_fini(&b);
	return rc;
}

int
kv_async_script(struct kv_async *k, const struct kv_script *s, size_t keys, size_t argc,
	const char *const *argv, const size_t *lengths, kv_done_fn *done, void *arg, struct err *e)
{
	struct call *call;
	struct buf tail, b;
	int rc;

	buf_init(&tail, KV_PIPELINE_BYTES_MAX / 2);
	buf_init(&b, KV_PIPELINE_BYTES_MAX);
	kv_encode_tail(&tail, keys, argc, argv, lengths);
	b.failed = buf_failed(&tail);
	kv_encode_eval(&b, s, true, argc, buf_text(&tail), tail.length);
	call = call_new(k, CALL_SCRIPT, tail.length);
	memcpy(call->tail, buf_text(&tail), tail.length);
	call->done = done;
	call->arg = arg;
	call->script = s;
	call->argc = argc;
	rc = send_encoded(k, call, &b, e);
	buf_fini(&tail);
	buf_fini(&b);
	return rc;
}
