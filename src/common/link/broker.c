/* SPDX-License-Identifier: MIT */
/* RabbitMQ: making, opening, losing and closing a connection. */
#include "link/broker_own.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

#define CONNECT_TOTAL_MS 5000
#define CONNECT_LEAST_MS 250 /* with less time left, the next URL waits for the next try */

static int
urls_parse(struct broker *b, const char *list, struct err *e)
{
	size_t commas = 0;

	for (const char *p = list; *p; p++)
		commas += *p == ',';
	b->urls = arena_alloc(b->mem, (commas + 1) * sizeof *b->urls);
	if (!b->urls)
		return err_set(e, ERR_INVALID, "too many RabbitMQ URLs");
	while (*list) {
		size_t n = strcspn(list, ",");
		char *one = arena_strndup(b->mem, list, n);
		struct url *u = &b->urls[b->url_count];

		if (!one)
			return err_set(e, ERR_INVALID, "too many RabbitMQ URLs");
		if (url_parse(URL_AMQP, one, b->mem, u, e))
			return -1;
		if (!*u->path)
			u->path = "/";
		b->url_count++;
		list += n + (list[n] == ',');
	}
	return b->url_count ? 0 : err_set(e, ERR_INVALID, "no RabbitMQ URL");
}

struct broker *
broker_new(const struct broker_options *o, struct err *e)
{
	struct broker *b = must_calloc(1, sizeof *b);

	link_init(&b->link, o->link_name ? o->link_name : "rabbitmq");
	b->mem = arena_new(1024, 256 << 10);
	b->name = arena_strdup(b->mem, o->name ? o->name : "onboard");
	b->connect_ms = o->connect_ms ? o->connect_ms : 2000;
	b->call_ms = o->call_ms ? o->call_ms : 4000;
	b->heartbeat_s = o->heartbeat_s ? o->heartbeat_s : 10;
	b->window = o->window ? o->window : 4096;
	b->done = must_calloc(b->window, 1);
	if (o->events)
		b->events = *o->events;
	b->arg = o->arg;
	b->fd = -1;
	buf_init(&b->out, BROKER_OUTPUT_MAX);
	for (size_t i = 0; i < CH_COUNT; i++) {
		buf_init(&b->ch[i].in.head, BROKER_HEAD_MAX);
		buf_init(&b->ch[i].in.body, BROKER_BODY_MAX);
	}
	snprintf(b->why, sizeof b->why, "not connected yet");
	if (!b->name || urls_parse(b, o->url, e)) {
		broker_free(b);
		return NULL;
	}
	return b;
}

/* Drops the connection and its state. */
void
broker_discard(struct broker *b)
{
	if (b->conn)
		amqp_destroy_connection(b->conn);
	b->conn = NULL;
	b->fd = -1;
	b->blocked = b->more = false;
	broker_buf_rest(&b->out);
	b->out_at = 0;
	for (size_t i = 0; i < CH_COUNT; i++) {
		b->ch[i].open = false;
		b->ch[i].in.id = 0;
		broker_buf_rest(&b->ch[i].in.body);
	}
	b->next_tag = b->open_tag = 1;
	b->unconfirmed = 0;
}

void
broker_free(struct broker *b)
{
	if (!b)
		return;
	broker_close(b);
	for (size_t i = 0; i < CH_COUNT; i++) {
		buf_fini(&b->ch[i].in.head);
		buf_fini(&b->ch[i].in.body);
	}
	buf_fini(&b->out);
	free(b->done);
	arena_free(b->mem);
	link_fini(&b->link);
	free(b);
}

/*
 * Shuts the connection down now, so that the broker notices. The descriptor stays
 * open until the next try, because a frame in use lives in the library's memory.
 */
static int
connection_end(struct broker *b, enum err_kind kind, struct err *e, const char *format,
	va_list args)
{
	vsnprintf(b->why, sizeof b->why, format, args);
	if (b->fd >= 0)
		(void)shutdown(b->fd, SHUT_RDWR);
	b->fd = -1;
	b->blocked = false;
	link_state_set(&b->link, LINK_DOWN, b->why);
	b->due_ms = clock_mono_ms() + link_wait_ms(&b->link);
	return err_set(e, kind, "%s", b->why);
}

int
broker_lost(struct broker *b, struct err *e, const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = connection_end(b, ERR_AWAY, e, format, args);
	va_end(args);
	return rc;
}

int
broker_broken(struct broker *b, struct err *e, const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = connection_end(b, ERR_INTERNAL, e, format, args);
	va_end(args);
	return rc;
}

int
broker_usable(const struct broker *b, struct err *e)
{
	return b->fd >= 0 ? 0 : err_set(e, ERR_AWAY, "RabbitMQ is away: %s", b->why);
}

enum err_kind
broker_code_kind(int code)
{
	switch (code) {
	case 404: return ERR_MISSING;
	case 311: return ERR_LIMIT;
	case 403:
	case 405:
	case 406:
	case 530: return ERR_CONFLICT;
	default: return ERR_INTERNAL;
	}
}

int
broker_connect(struct broker *b, struct err *e)
{
	int64_t until = clock_mono_ms() + CONNECT_TOTAL_MS;

	must(!b->in_call);
	broker_close(b);
	link_state_set(&b->link, LINK_CONNECTING, NULL);
	for (size_t i = 0; i < b->url_count; i++) {
		/* the link never showed this address; the next try begins with the next URL */
		if (broker_login(b, &b->urls[b->url_at], until, e) == 0) {
			b->due_ms = 0;
			link_state_set(&b->link, LINK_UP, NULL);
			if (b->blocked)
				link_state_set(&b->link, LINK_BLOCKED, "an alarm");
			return 0;
		}
		b->url_at = (b->url_at + 1) % b->url_count;
		if (clock_mono_ms() + CONNECT_LEAST_MS > until)
			break;
		if (i + 1 < b->url_count)
			link_state_set(&b->link, LINK_CONNECTING, NULL);
	}
	return -1;
}

void
broker_close(struct broker *b)
{
	int64_t until = clock_mono_ms() + 1000, left;
	bool was_open = b->fd >= 0;
	size_t start;

	must(!b->in_call);
	if (was_open) {
		start = broker_method_begin(&b->out, 0, AMQP_CONNECTION_CLOSE_METHOD);
		broker_put(&b->out, AMQP_REPLY_SUCCESS, 2);
		(void)broker_put_name(&b->out, "bye");
		broker_put(&b->out, 0, 4);
		broker_frame_end(&b->out, start);
		b->ask = (struct question){ .id = AMQP_CONNECTION_CLOSE_OK_METHOD };
		while (b->fd >= 0 && !b->ask.answered && (left = until - clock_mono_ms()) > 0)
			if (broker_turn(b, left, NULL))
				break;
	}
	b->ask = (struct question){ 0 };
	if (b->fd >= 0) {
		snprintf(b->why, sizeof b->why, "closed");
		link_closed(&b->link);
	}
	broker_discard(b);
}

int64_t
broker_due_ms(const struct broker *b)
{
	int64_t left = b->due_ms - clock_mono_ms();

	return b->fd >= 0 || left < 0 ? 0 : left;
}

struct link *
broker_link(struct broker *b)
{
	return &b->link;
}

const char *
broker_server_version(const struct broker *b)
{
	return b->version;
}

bool
broker_server_at_least(const struct broker *b, unsigned major, unsigned minor)
{
	return b->version_major > major || (b->version_major == major && b->version_minor >= minor);
}
