/* SPDX-License-Identifier: MIT */
/*
 * Redis, blocking, in pipelines. Once connected, the context is non-blocking, and
 * each read and write waits in poll() with a deadline. A socket timeout would
 * begin again with every byte of a slow answer.
 */
#include "link/kv_own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct script_at {
	const struct kv_script *script; /* NULL: a plain command */
	size_t argc, tail, tail_length; /* where its tail stands in out */
};

struct kv {
	struct kv_settings settings;
	struct link link;
	redisContext *c;      /* NULL: not connected */
	int64_t due_ms;       /* when the next try may begin */
	struct buf out;       /* the pipeline, encoded */
	struct script_at *at; /* one entry for each command in out */
	size_t count, room;
};

struct kv *
kv_open(const struct kv_options *o, struct err *e)
{
	struct kv *k = must_calloc(1, sizeof *k);

	if (kv_settings_init(&k->settings, o, e)) {
		free(k);
		return NULL;
	}
	link_init(&k->link, o->link_name ? o->link_name : "redis");
	buf_init(&k->out, KV_PIPELINE_BYTES_MAX);
	return k;
}

void
kv_close(struct kv *k)
{
	if (!k)
		return;
	if (k->c)
		redisFree(k->c);
	buf_fini(&k->out);
	free(k->at);
	link_fini(&k->link);
	kv_settings_fini(&k->settings);
	free(k);
}

struct link *
kv_link(struct kv *k)
{
	return &k->link;
}

int64_t
kv_due_ms(const struct kv *k)
{
	int64_t left = k->c ? 0 : k->due_ms - clock_mono_ms();

	return left > 0 ? left : 0;
}

static void
connection_drop(struct kv *k, const char *why, int64_t wait_ms)
{
	if (k->c)
		redisFree(k->c);
	k->c = NULL;
	k->due_ms = clock_mono_ms() + wait_ms;
	link_state_set(&k->link, LINK_DOWN, why);
}

static int
away(struct kv *k, struct err *e)
{
	struct link_view v;

	link_look(&k->link, &v);
	return err_set(e, ERR_AWAY, "%s is away: %s", v.name, v.why);
}

/* Waits for the next reply until the deadline, and writes the rest of out. NULL: see why. */
static redisReply *
next_reply(redisContext *c, int64_t deadline_ms, const char **why)
{
	struct pollfd p = { .fd = c->fd };
	void *reply = NULL;
	size_t before;
	int64_t left;
	int written = 0;

	*why = "the connection was lost";
	for (;;) {
		if (redisGetReplyFromReader(c, &reply) != REDIS_OK)
			return NULL;
		if (reply)
			return reply;
		if (!written && redisBufferWrite(c, &written) != REDIS_OK)
			return NULL;
		before = c->reader->len;
		if (redisBufferRead(c) != REDIS_OK)
			return NULL;
		if (c->reader->len > KV_REPLIES_BYTES_MAX) {
			*why = "the replies are too large";
			return NULL;
		}
		left = deadline_ms - clock_mono_ms();
		if (left <= 0) {
			*why = "no answer in time";
			return NULL;
		}
		p.events = written ? POLLIN : POLLIN | POLLOUT;
		if (c->reader->len == before)
			(void)poll(&p, 1,
				(int)left); /* the loop checks the deadline, also after a signal */
	}
}

/* Sends AUTH, SELECT and PING on a new connection. */
static int
greet(struct kv *k, int64_t deadline_ms, struct err *e)
{
	struct buf out;
	struct kv_reply v;
	const char *why;
	redisReply *r;
	size_t n = 0;
	int rc = 0;

	buf_init(&out, 256 << 10);
	while (kv_hello(&k->settings, n, &out))
		n++;
	if (buf_failed(&out) || redisAppendFormattedCommand(k->c, out.data, out.length) != REDIS_OK)
		rc = err_set(e, ERR_AWAY, "out of memory");
	buf_fini(&out);
	for (; rc == 0 && n > 0; n--) {
		r = next_reply(k->c, deadline_ms, &why);
		if (!r)
			return err_set(e, ERR_AWAY, "%s", why);
		v = kv_view(r);
		rc = kv_hello_check(&v, e);
		freeReplyObject(r);
	}
	return rc;
}

static int
reach(struct kv *k, struct err *e)
{
	const struct kv_settings *s = &k->settings;
	const struct timeval tv = { s->connect_ms / 1000, s->connect_ms % 1000 * 1000 };
	int64_t deadline = clock_mono_ms() + s->connect_ms;
	struct err why = ERR_INIT;
	redisContext *c;
	int flags;

	link_state_set(&k->link, LINK_CONNECTING, NULL);
	k->c = c = redisConnectWithTimeout(s->host, s->port, tv);
	if (!c || c->err) {
		err_set(&why, ERR_AWAY, "%s", c ? c->errstr : "out of memory");
		goto bad;
	}
	link_socket_set(c->fd);
	(void)redisSetTimeout(c, tv); /* for the TLS handshake, the only step that still blocks */
	if (kv_tls_begin(s, c, &why))
		goto bad;
	flags = fcntl(c->fd, F_GETFL);
	if (flags < 0 || fcntl(c->fd, F_SETFL, flags | O_NONBLOCK)) {
		err_set(&why, ERR_INTERNAL, "fcntl: %s", strerror(errno));
		goto bad;
	}
	c->flags &= ~REDIS_BLOCK;
	if (greet(k, deadline, &why))
		goto bad;
	link_state_set(&k->link, LINK_UP, NULL);
	return 0;
bad:
	connection_drop(k, why.text, link_wait_ms(&k->link));
	return away(k, e);
}

/* 0: connected. Replaces an idle connection that has ended. */
static int
ensure(struct kv *k, struct err *e)
{
	struct pollfd p;

	if (k->c) {
		p = (struct pollfd){ .fd = k->c->fd, .events = POLLIN };
		if (poll(&p, 1, 0) <= 0)
			return 0;
		connection_drop(k, "the server closed the connection",
			0); /* no reply is due, so readable means the end */
	}
	return kv_due_ms(k) > 0 ? away(k, e) : reach(k, e);
}

static int
added(struct kv *k, size_t before, const struct script_at *at, struct err *e)
{
	if (buf_failed(&k->out) || k->count >= KV_PIPELINE_MAX) {
		/* undo the addition */
		k->out.failed = false;
		k->out.length = before;
		return err_set(e, ERR_LIMIT, "the pipeline is full: %zu commands", k->count);
	}
	if (k->count == k->room) {
		k->room = k->room ? 2 * k->room : 64;
		k->at = must_realloc(k->at, k->room * sizeof *k->at);
	}
	k->at[k->count++] = *at;
	return 0;
}

int
kv_add(struct kv *k, size_t argc, const char *const *argv, const size_t *lengths, struct err *e)
{
	size_t before = k->out.length;

	kv_encode(&k->out, argc, argv, lengths);
	return added(k, before, &(struct script_at){ 0 }, e);
}

int
kv_add_script(struct kv *k, const struct kv_script *s, size_t keys, size_t argc,
	const char *const *argv, const size_t *lengths, struct err *e)
{
	struct script_at at = { .script = s, .argc = argc };
	size_t before = k->out.length;

	kv_encode_eval(&k->out, s, true, argc, "", 0);
	at.tail = k->out.length;
	kv_encode_tail(&k->out, keys, argc, argv, lengths);
	at.tail_length = k->out.length - at.tail;
	return added(k, before, &at, e);
}

size_t
kv_added(const struct kv *k)
{
	return k->count;
}

void
kv_forget(struct kv *k)
{
	buf_clear(&k->out);
	k->count = 0;
}

static void
reply_free(void *r)
{
	freeReplyObject(r);
}

static int
receive(struct kv *k, struct arena *mem, int64_t deadline_ms, struct kv_reply *out, struct err *e)
{
	const char *why;
	redisReply *r = next_reply(k->c, deadline_ms, &why);

	if (!r)
		return err_set(e, ERR_AWAY, "%s", why);
	if (!arena_defer(mem, reply_free, r))
		return err_set(e, ERR_LIMIT, "no room for the replies");
	*out = kv_view(r);
	return 0;
}

/* Sends the scripts that the server lacks once more, with their text. */
static int
with_text(struct kv *k, struct arena *mem, int64_t deadline_ms, struct kv_reply *replies,
	struct err *e)
{
	struct buf b;
	int rc = 0;

	buf_init(&b, 2 * KV_PIPELINE_BYTES_MAX);
	for (size_t i = 0; i < k->count; i++)
		if (k->at[i].script && kv_is_noscript(&replies[i]))
			kv_encode_eval(&b, k->at[i].script, false, k->at[i].argc,
				k->out.data + k->at[i].tail, k->at[i].tail_length);
	if (buf_failed(&b))
		rc = err_set(e, ERR_LIMIT, "too many scripts in one pipeline");
	else if (b.length > 0 &&
		redisAppendFormattedCommand(k->c, buf_text(&b), b.length) != REDIS_OK)
		rc = err_set(e, ERR_AWAY, "out of memory");
	buf_fini(&b);
	for (size_t i = 0; rc == 0 && i < k->count; i++)
		if (k->at[i].script && kv_is_noscript(&replies[i]))
			rc = receive(k, mem, deadline_ms, &replies[i], e);
	return rc;
}

int
kv_flush(struct kv *k, struct arena *mem, struct kv_reply *replies, size_t n, struct err *e)
{
	struct err own = ERR_INIT;
	int64_t deadline;
	int rc = 0;

	must(n == k->count);
	if (ensure(k, e)) {
		kv_forget(k);
		return -1;
	}
	deadline = clock_mono_ms() + k->settings.call_ms;
	if (n > 0 && redisAppendFormattedCommand(k->c, k->out.data, k->out.length) != REDIS_OK)
		rc = err_set(&own, ERR_AWAY, "out of memory");
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = receive(k, mem, deadline, &replies[i], &own);
	if (rc == 0)
		rc = with_text(k, mem, deadline, replies, &own);
	if (rc) {
		/*
		 * replies to the sent commands may still come, so never use this
		 * connection again
		 */
		connection_drop(k, own.text, link_wait_ms(&k->link));
		if (e)
			*e = own;
	}
	kv_forget(k);
	return rc;
}

int
kv_flush_all(struct kv *k, struct arena *mem, struct kv_reply **replies, struct err *e)
{
	size_t n = k->count;
	struct kv_reply *all = arena_alloc(mem, (n + 1) * sizeof *all);

	if (!all)
		return err_set(e, ERR_LIMIT, "no room for %zu replies", n);
	if (n > 0 && kv_flush(k, mem, all, n, e))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (kv_check(&all[i], e))
			return -1;
	if (replies)
		*replies = all;
	return 0;
}

int
kv_run(struct kv *k, struct arena *mem, size_t argc, const char *const *argv, const size_t *lengths,
	struct kv_reply *reply, struct err *e)
{
	must(k->count == 0);
	if (kv_add(k, argc, argv, lengths, e) || kv_flush(k, mem, reply, 1, e))
		return -1;
	return kv_check(reply, e);
}

int
kv_ping(struct kv *k, struct err *e)
{
	struct arena *mem = arena_new(512, 64 << 10);
	struct kv_reply r;
	int rc = kv_run(k, mem, 1, (const char *const[]){ "PING" }, NULL, &r, e);

	arena_free(mem);
	return rc;
}
